package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/vm"
)

// backupOfPair is the other side of Pair. It tells its address in a line and
// is not measured.
const backupOfPair Machine = "backup"

// pairTimeout keeps a pair together on a host that is busy with other things:
// nothing is killed here.
const pairTimeout = 30 * time.Second

// A Guest is what a process that is a guest's machine is told.
type Guest struct {
	Machine                         Machine
	Engine, Kernel, Initrd, Cmdline string
	Peer, Arbiter                   string // of a pair
	Disk                            *Disk  // it may have one
}

// A Disk is a guest's.
type Disk struct {
	Path        string // or the URL of an export
	Bytes       uint64
	BackupReads bool
	Backup      string // path of the backup's own image; empty for a shared disk
}

// RunGuest is a guest's machine, from power-on to power-off: the process that
// is measured. The console goes to stdout and what happens to stderr. Lines from
// stdin are typed at a guest with a disk once its machine is what it is to be.
func RunGuest(ctx context.Context, path string, stdin io.Reader, stdout, stderr io.Writer) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	var g Guest
	if err := json.Unmarshal(text, &g); err != nil {
		return fmt.Errorf("bench: %s: %w", path, err)
	}
	mc := &machine.Config{Memory: memoryMiB << 20, Cmdline: g.Cmdline}
	if mc.Kernel, err = os.ReadFile(g.Kernel); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if mc.Initrd, err = os.ReadFile(g.Initrd); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	cfg := vm.Config{
		Name: "bench", Machine: mc, Engine: g.Engine, Console: stdout, Peer: g.Peer, Arbiter: g.Arbiter,
		Timeout: pairTimeout,
	}
	ready := make(chan struct{})
	isReady := sync.OnceFunc(func() { close(ready) })
	cfg.OnEvent = func(e vm.Event) {
		fmt.Fprintln(stderr, e.Text)
		if e.Kind == vm.EventProtected {
			isReady()
		}
	}
	if d := g.Disk; d != nil {
		host := vm.Disk{Path: d.Path, BackupReads: d.BackupReads}
		if d.Backup != "" && g.Machine == backupOfPair {
			host.Path = d.Backup
		}
		mc.Disks = []machine.DiskConfig{{Sectors: d.Bytes / 512, Local: d.Backup != ""}}
		cfg.Disks = []vm.Disk{host}
	}
	var teller *logTeller
	begin := vm.PowerOn
	switch g.Machine {
	case Recording:
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		defer null.Close()
		cfg.Record = null
	case Pair:
		cfg.Listen = "127.0.0.1:0"
		if g.Disk != nil {
			teller = &logTeller{out: stdout}
			cfg.Console = teller
		}
	case backupOfPair:
		cfg.Listen, cfg.Console = "127.0.0.1:0", nil
		begin = vm.Follow
	}
	if g.Machine != Pair {
		isReady()
	}
	r, err := begin(cfg)
	if err != nil {
		return err
	}
	if teller != nil {
		teller.status = r.Status
	}
	if g.Machine == backupOfPair {
		fmt.Fprintln(stdout, r.Addr())
	}
	if g.Disk != nil && g.Machine != backupOfPair {
		go typeLines(r, stdin, ready)
	}
	outcome, err := r.Run(ctx)
	if err == nil && outcome != vm.Ended {
		err = errors.New("bench: the VM was not ended by its guest: " + outcome.String())
	}
	return err
}

// typeLines types lines at a guest that is ready. What it logs is counted from
// each of them on.
func typeLines(r *vm.Replica, lines io.Reader, ready <-chan struct{}) {
	offset := uint64(0)
	for in := bufio.NewScanner(lines); in.Scan(); {
		<-ready
		r.ResetStatistics()
		line := append(in.Bytes(), '\n')
		if !r.Type(1, offset, line) {
			return
		}
		offset += uint64(len(line))
	}
}
