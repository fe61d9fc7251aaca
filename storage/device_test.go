package storage

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/ft"
)

// loop is a block device over a file of size bytes; the test is skipped where
// there is none to be had.
func loop(t *testing.T, size int64, blockSize uint32) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop devices: %v", err)
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Skipf("no free loop device: %v", err)
	}
	path := "/dev/loop" + strconv.Itoa(number)
	dev, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop devices: %v", err)
	}
	back, err := os.OpenFile(image(t, t.TempDir(), size), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	config := unix.LoopConfig{Fd: uint32(back.Fd()), Size: blockSize}
	if err := unix.IoctlLoopConfigure(int(dev.Fd()), &config); err != nil {
		_ = dev.Close()
		t.Skipf("no loop device can be set up: %v", err)
	}
	t.Cleanup(func() {
		_ = unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0)
		_ = dev.Close()
	})
	return path
}

func openDevice(t *testing.T, path string) *Device {
	t.Helper()
	d, err := OpenDevice(path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestDevice(t *testing.T) {
	for _, blockSize := range []uint32{512, 4096} {
		t.Run(strconv.Itoa(int(blockSize)), func(t *testing.T) {
			path := loop(t, 2<<20, blockSize)
			b, err := Open(path, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if b.Sectors() != 4096 || b.BlockSize() != blockSize {
				t.Errorf("%d sectors of %d", b.Sectors(), b.BlockSize())
			}
			check(t, claimed(t, b), path)
		})
	}
}

func TestDeviceIsOneProcessesAlone(t *testing.T) {
	path := loop(t, 1<<20, 512)
	first, second := openDevice(t, path), openDevice(t, path)
	claimed(t, first)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	told := 0
	if err := second.Claim(ctx, ft.Fence{}, func(string) { told++ }); !errors.Is(err, context.DeadlineExceeded) || told != 1 {
		t.Fatalf("claim while held: %v, told %d times", err, told)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	claimed(t, second)
}

func TestReadOnlyDevice(t *testing.T) {
	path := loop(t, 1<<20, 512)
	d, err := OpenDevice(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := claimed(t, d)
	if err := b.ReadAt(make([]byte, 700<<10), 0); err != nil {
		t.Error(err)
	}
	if b.WriteAt(make([]byte, 512), 0) == nil || b.Zero(0, 512) == nil {
		t.Error("wrote to a read-only disk")
	}
}

func TestNotADevice(t *testing.T) {
	if _, err := OpenDevice("/dev/zero", true); err == nil || !strings.Contains(err.Error(), "/dev/zero") {
		t.Errorf("%v", err)
	}
}
