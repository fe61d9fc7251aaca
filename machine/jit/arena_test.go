//go:build linux && amd64

package jit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/internal/citest"
)

const testSize = 1 << 16

func testArena(t *testing.T) *arena {
	t.Helper()
	a, err := newArena(testSize)
	if err != nil {
		citest.Unable(t, err)
	}
	return a
}

// What is written through one view is there in the other.
func TestViewsShowTheSameMemory(t *testing.T) {
	a := testArena(t)
	for i := range a.write {
		a.write[i] = byte(i * 7)
	}
	if string(a.view) != string(a.write) {
		t.Error("the views differ")
	}
}

// The executable view cannot be written, and cannot be made writable.
func TestExecutableViewStaysReadOnly(t *testing.T) {
	a := testArena(t)
	a.write[5] = 42
	if !faults(func() { a.view[5] = 1 }) {
		t.Error("the executable view was written")
	}
	for _, prot := range []int{unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC, unix.PROT_WRITE} {
		if err := unix.Mprotect(a.view, prot); err == nil {
			t.Errorf("mprotect to %#x succeeded", prot)
		}
	}
	if !faults(func() { a.view[5] = 2 }) || a.write[5] != 42 {
		t.Error("the executable view was written after mprotect had failed")
	}
}

// faults says whether f touches memory that it must not.
func faults(f func()) (fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if e, ok := recover().(interface{ Addr() uintptr }); ok && e.Addr() != 0 {
			fault = true
		}
	}()
	f()
	return false
}

// The process cannot write code past its views, through the system's own.
func TestSystemDoesNotWriteTheExecutableView(t *testing.T) {
	a := testArena(t)
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		citest.Unable(t, err)
	}
	defer mem.Close()
	if _, err := mem.WriteAt([]byte{1}, int64(a.exec)); err == nil {
		t.Error("/proc/self/mem writes it")
	}
}

// There is no third view that can be written, and the memory keeps its size.
func TestFileIsSealed(t *testing.T) {
	a := testArena(t)
	// The file is closed; whoever may look behind a mapping opens it again.
	name := fmt.Sprintf("/proc/self/map_files/%x-%x", a.exec, a.exec+testSize)
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		citest.Unable(t, err)
	}
	defer file.Close()
	fd := int(file.Fd())
	if b, err := unix.Mmap(fd, 0, testSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		_ = unix.Munmap(b)
		t.Error("a third view is writable")
	}
	b, err := unix.Mmap(fd, 0, testSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE) == nil {
		t.Error("a third view was made writable")
	}
	_ = unix.Munmap(b)
	if _, err := file.WriteAt([]byte{1}, 0); err == nil {
		t.Error("the file was written")
	}
	for _, size := range []int64{0, 2 * testSize} {
		if file.Truncate(size) == nil {
			t.Errorf("the file has %d bytes now", size)
		}
	}
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err == nil {
		t.Error("the seals can be changed")
	}
}

// The view that is written cannot be made executable, where the kernel can
// promise that.
func TestWritableViewIsNotMadeExecutable(t *testing.T) {
	a := testArena(t)
	if !refusesExecGain() {
		t.Skip("this kernel does not know PR_SET_MDWE with PR_MDWE_NO_INHERIT (6.7 or later)")
	}
	for _, prot := range []int{unix.PROT_READ | unix.PROT_EXEC, unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC} {
		if err := unix.Mprotect(a.write, prot); err == nil {
			t.Errorf("mprotect to %#x succeeded", prot)
		}
	}
	// Programs that this one starts may do as they like.
	if out, err := exec.Command("true").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Ways to deny executable memory, by the value of the variable that has a copy
// of the test's process take them.
const denyVariable = "LOCKSTEP_TEST_DENY"

var denials = map[string]func() error{
	"seccomp: mmap": func() error { return filter(unix.SYS_MMAP, 2, unix.PROT_EXEC) },
	"seccomp: seal": func() error { return filter(unix.SYS_FCNTL, 1, unix.F_ADD_SEALS&^0x3) },
	"seccomp: memfd": func() error {
		return filter(unix.SYS_MEMFD_CREATE, 1, unix.MFD_CLOEXEC)
	},
	"vm.memfd_noexec": func() error {
		return os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0)
	},
}

const (
	exitDenied  = 10 // as it should be
	exitAllowed = 11
	exitUnable  = 12 // to deny
)

func TestMain(m *testing.M) {
	deny := denials[os.Getenv(denyVariable)]
	if deny == nil {
		os.Exit(m.Run())
	}
	if err := deny(); err != nil {
		fmt.Println(err)
		os.Exit(exitUnable)
	}
	_, err := New(0)
	if err == nil {
		os.Exit(exitAllowed)
	}
	fmt.Println(err)
	os.Exit(exitDenied)
}

// Where executable memory is denied New says so, whichever step it fails at.
func TestDenial(t *testing.T) {
	testArena(t)
	for name := range denials {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), denyVariable+"="+name)
			if name == "vm.memfd_noexec" { // belongs to a namespace of processes
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
			}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				citest.Unable(t, err)
			}
			switch exit.ExitCode() {
			case exitDenied:
				if !strings.Contains(string(out), "jit: no executable memory: ") {
					t.Errorf("New says %q", out)
				}
			case exitUnable:
				t.Skip(string(out))
			default:
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// filter makes a system call fail whose argument has a bit set.
func filter(call, arg, bit uint32) error {
	argument := 16 + 8*arg // offset in struct seccomp_data
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: argument},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: bit, Jf: 1},
		{Code: unix.BPF_RET, K: 0x0005_0000 | uint32(unix.EACCES)}, // SECCOMP_RET_ERRNO
		{Code: unix.BPF_RET, K: 0x7fff_0000},                       // SECCOMP_RET_ALLOW
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	const setFilter, allThreads = 1, 1
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(&f))); e != 0 {
		return e
	}
	return nil
}

// An engine that is not used any more gives its memory back.
func TestArenasAreFreed(t *testing.T) {
	testArena(t)
	before := maps(t)
	for range 200 {
		if _, err := newArena(testSize); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		debug.FreeOSMemory() // collects
		if maps(t) < before+100 {
			return
		}
	}
	t.Errorf("%d mappings, %d before", maps(t), before)
}

func maps(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("/proc/self/map_files/*")
	if err != nil || len(names) == 0 {
		t.Skip("no list of mappings")
	}
	return len(names)
}
