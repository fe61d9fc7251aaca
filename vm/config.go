// Package vm is one replica of a VM on one host: the one goroutine that drives
// the pure rooms (machine, replay, ft) and hands what they intend to the
// adapters (logchan, arbiter, storage, network).
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// Config is what one replica is made of: the guest's computer, which both
// replicas share, and this host's halves of it, which never come from the peer.
type Config struct {
	Name    string
	Machine *machine.Config
	Disks   []Disk // one for each of Machine.Disks
	NICs    []NIC  // one for each of Machine.NICs
	// Openers open disks that are URLs, besides nbd:// and nbd+unix://. It may
	// be nil.
	Openers storage.Openers

	// Arbiter is what arbiter.Open takes, or store:ADDRESS for the cells of a
	// block store. Without one the VM can only run alone, and nobody keeps it
	// from being powered on twice.
	Arbiter string
	// Force powers on though the last run is not recorded as ended: a person
	// has made sure that its processes are gone.
	Force bool
	// Order is what a person has ordered about this host's copy of local disks.
	Order ft.Order

	// Peer is the address of the backup's channel (primary only); empty runs
	// without a backup.
	Peer string
	// Listen is the address of this replica's own end of the logging channel
	// and Advertise the one that the peer dials back, if it differs.
	Listen    string
	Advertise string
	// Insecure allows addresses beyond loopback: the channel is not encrypted.
	Insecure bool

	Heartbeat time.Duration // default 50 ms
	Timeout   time.Duration // silence before a claim; default 500 ms
	LagTarget time.Duration // execution lag above which the primary slows down; default 100 ms

	// Console receives what the guest writes to its first console, from the
	// moment when this replica is live. It may be nil.
	Console io.Writer
	// ConsoleAt receives the same, for who reads both replicas: bytes with the
	// offset of the first since power-on. At a failover they begin with what State
	// keeps of the console (machine.ConsoleTailSize bytes), so that nothing is
	// missing; what is below the offset that the reader has reached is repeated.
	// It may be nil; there is this or Console.
	ConsoleAt func(offset uint64, b []byte) error
	// OnEvent is called for every event, by the goroutine that Run is called
	// on. It must not wait. It may be nil.
	OnEvent func(Event)
	// Restore is the path of a snapshot whose State the run begins with; empty
	// to begin at power-on. Disks must be as they were when it was taken.
	Restore string
	// Record receives the log of a VM that runs alone, or what a backup
	// receives and then does. It may be nil.
	Record io.Writer
	// RecordState is where a backup that records writes the snapshot that its
	// log begins with.
	RecordState string

	// Engine is the name of what executes the guest, EngineAuto if it is empty.
	// The peer may have another one (R5).
	Engine string

	// build makes the machine; nil makes a board on Engine. The tests have a toy.
	build func(*machine.Config, machine.Birth) (machine.Machine, error)
	// digestEvery is the interval of digests in the log, in instructions; tests
	// have a shorter one.
	digestEvery machine.Icount
	// files is what local disks lie in; nil for the operating system's.
	files local.FS
	// wrapCopy puts tests between a local disk and its copy.
	wrapCopy func(storage.Backend) storage.Backend
	// paceSync is called before n bytes of a re-synchronisation are sent. It may be
	// nil; tests have one.
	paceSync func(ctx context.Context, n int) error
	// cutEvery and cutRegions say when the map of a local disk is cut; tests have
	// it sooner.
	cutEvery   time.Duration
	cutRegions uint64
	// retryEvery is the time between two attempts of a disk that has stopped;
	// tests have another one.
	retryEvery time.Duration
	// hungOwner is how long the owner may be stuck in the host; tests have it shorter.
	hungOwner time.Duration
}

// Disk is the host half of a disk.
type Disk struct {
	Path     string // raw image, block device, or a URL that Config.Openers knows
	ReadOnly bool
	// BackupReads: the backup reads a shared disk for itself, and the log
	// carries completions without data.
	BackupReads bool
	// FlushBoth: a flush of a local disk waits for both copies.
	FlushBoth bool
}

// supported refuses what this replica cannot do.
func (d *Disk) supported(index int, guest machine.DiskConfig) error {
	if d.FlushBoth && !guest.Local {
		return fmt.Errorf("vm: disk %d: flush: both is for local disks; leave it out", index)
	}
	return nil
}

// NIC is the host half of a NIC.
type NIC struct{ Switch string } // unix:PATH or tcp:HOST:PORT

func (c *Config) validate() error {
	switch {
	case c.Name == "":
		return errors.New("vm: the VM has no name")
	case len(c.Disks) != len(c.Machine.Disks) || len(c.NICs) != len(c.Machine.NICs):
		return errors.New("BUG: vm: disks or NICs of the machine and of the host do not match")
	case c.Peer != "" && c.Arbiter == "":
		return errors.New("vm: a VM with a backup needs an arbiter: add `arbiter: file:DIRECTORY` to the spec, on storage that both hosts reach")
	case c.Peer != "" && c.Record != nil:
		return errors.New("vm: the log of a VM with a backup goes to the backup; record there, or a VM that runs alone")
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 50 * time.Millisecond
	}
	if c.Timeout == 0 {
		c.Timeout = 500 * time.Millisecond
	}
	if c.LagTarget == 0 {
		c.LagTarget = 100 * time.Millisecond
	}
	if c.Heartbeat < 10*time.Millisecond || c.Timeout < 3*c.Heartbeat {
		return fmt.Errorf("vm: heartbeat %v and time-out %v: the heartbeat must be at least 10ms and the time-out at least three of them", c.Heartbeat, c.Timeout)
	}
	if c.digestEvery == 0 {
		c.digestEvery = digestEvery
	}
	if c.cutEvery == 0 {
		c.cutEvery, c.cutRegions = cutEvery, cutRegions
	}
	if c.hungOwner == 0 {
		c.hungOwner = hungOwner
	}
	if c.retryEvery == 0 {
		c.retryEvery = retryEvery
	}
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
	if err := c.recordsReads(); err != nil {
		return err
	}
	for i := range c.Disks {
		if err := c.Disks[i].supported(i, c.Machine.Disks[i]); err != nil {
			return err
		}
	}
	if err := c.localConfig(); err != nil {
		return err
	}
	return c.Machine.Validate()
}

// tick is the interval of the protocol's clock.
func (c *Config) tick() time.Duration { return c.Heartbeat }

// timeoutTicks is the time-out in ticks.
func (c *Config) timeoutTicks() int { return int((c.Timeout + c.tick() - 1) / c.tick()) }

func (c *Config) protocol(run ft.Run, self ft.ProcessID, l *localDisks) ft.Config {
	return ft.Config{
		VM:        c.Name,
		Run:       run,
		Self:      self,
		Backup:    c.Peer != "",
		Timeout:   c.timeoutTicks(),
		DialEvery: 1,
		AskEvery:  2,
		Copy:      l.copyID(),
		Flush:     l.flushMode(),
	}
}
