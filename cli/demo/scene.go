package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lockstep-vm/lockstep/cli/control"
	"github.com/lockstep-vm/lockstep/image"
	"github.com/lockstep-vm/lockstep/vm"
)

// Kill is what the demo does to the pair.
type Kill string

const (
	KillNone      Kill = "none"
	KillPrimary   Kill = "primary"
	KillBackup    Kill = "backup"
	KillPartition Kill = "partition"
)

// scene is the demo's stage: a switch, a primary, a backup and a client.
type scene struct {
	dir    string
	disk   bool
	relays bool
	note   func(format string, args ...any) // tells a person what happens
	quit   <-chan struct{}                  // closed when the user has seen enough; nil: the duration ends the work
	guest  guest
	client client

	// What follows is written by the goroutine that plays, under mu, which faces
	// take to read it.
	mu                       sync.Mutex
	act                      act
	network, primary, backup *child
	toBackup, toPrimary      *relay    // nil without relays
	began                    time.Time // the primary was started
	answered                 time.Time // the client's first answer
	bootPos                  uint64
	bootCPU                  [2]int64 // primary and backup, ns
	phase                    time.Time
	plan                     Kill // what will be done to the pair if nobody does it before
	planAt                   time.Time

	killed   Kill
	killedAt time.Time
	atKill   vm.Status // the first primary's last status before the loss
	backupAt vm.Status
	verified uint64
}

// act is how far the play has come.
type act uint8

const (
	actSetUp   act = iota // the processes are started, the guest boots
	actWork               // the client works
	actReading            // the client has stopped; the final read of every key
	actOver               // everything is measured, the processes are being ended
)

// enter begins an act.
func (s *scene) enter(a act) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.act = a
}

// cast gives a child its part.
func (s *scene) cast(part **child, c *child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*part = c
}

// With --disk the guest has a disk of this many blocks of 4 KiB, and writes and
// reads back this many of them in turn.
const (
	diskBlocks = 256
	passBlocks = 16
)

// setUp starts the switch, the backup and the primary.
func (s *scene) setUp(img *image.Image) error {
	socket := filepath.Join(s.dir, "switch.sock")
	specs := s.writeSpec(img, socket)
	if specs != nil {
		return specs
	}
	spec := filepath.Join(s.dir, "demo.yaml")

	addresses := make(chan string, 1)
	network, err := start("switch", func(_ *child, l control.Line) {
		if len(l.Forwards) > 0 {
			addresses <- l.Forwards[0]
		}
	}, "switch", "--control", "--listen", "unix:"+socket, "--forward", fmt.Sprintf("127.0.0.1:0=10.0.2.15:%d", image.ServerPort))
	if err != nil {
		return err
	}
	s.cast(&s.network, network)
	if s.client.addr, err = s.await(s.network, addresses); err != nil {
		return err
	}

	backup, err := start("backup", s.heard(addresses), "backup", "--control", "--listen", "127.0.0.1:0", spec)
	if err != nil {
		return err
	}
	s.cast(&s.backup, backup)
	backupAddr, err := s.await(s.backup, addresses)
	if err != nil {
		return err
	}
	args := []string{"run", "--control", "--backup", backupAddr, spec}
	if s.relays {
		if s.toBackup, err = newRelay(); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		if s.toPrimary, err = newRelay(); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		s.toBackup.forward(backupAddr)
		args = []string{"run", "--control", "--backup", s.toBackup.addr(), "--advertise", s.toPrimary.addr(), spec}
	}
	began := time.Now()
	primary, err := start("primary", s.heard(addresses), args...)
	if err != nil {
		return err
	}
	s.cast(&s.primary, primary)
	s.mu.Lock()
	s.began = began
	s.mu.Unlock()
	primaryAddr, err := s.await(s.primary, addresses)
	if err != nil {
		return err
	}
	if s.relays {
		s.toPrimary.forward(primaryAddr)
	}
	return nil
}

func (s *scene) writeSpec(img *image.Image, socket string) error {
	cmdline, disks := img.Cmdline, ""
	if s.disk {
		path := filepath.Join(s.dir, "disk.img")
		if err := os.WriteFile(path, make([]byte, diskBlocks*4096), 0o600); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		cmdline += fmt.Sprintf(" lockstep.disk=%d", passBlocks)
		disks = fmt.Sprintf("disks: [{path: %q, mode: shared}]\n", path)
	}
	text := fmt.Sprintf("name: demo\nmemory: 256M\nkernel: %q\ninitrd: %q\ncmdline: %q\n%snics: [{switch: %q}]\narbiter: %q\n",
		img.Kernel, img.Initrd, cmdline, disks, "unix:"+socket, "file:"+filepath.Join(s.dir, "arbiter"))
	if err := os.WriteFile(filepath.Join(s.dir, "demo.yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// heard takes the lines of a replica.
func (s *scene) heard(addresses chan<- string) func(*child, control.Line) {
	return func(c *child, l control.Line) {
		switch {
		case l.Address != "":
			addresses <- l.Address
		case len(l.Console) > 0:
			s.guest.hear(l.Offset, l.Console)
		case l.Event != nil:
			s.note("%s: %s", c.name, l.Event.Text)
		}
	}
}

// await is the address that a child tells of at its start.
func (s *scene) await(c *child, addresses <-chan string) (string, error) {
	select {
	case a := <-addresses:
		return a, nil
	case <-c.done:
		return "", fmt.Errorf("demo: the %s ended at its start: %s", c.name, strings.TrimSpace(c.stderr.String()))
	case <-time.After(30 * time.Second):
		return "", fmt.Errorf("demo: the %s does not start: %s", c.name, strings.TrimSpace(c.stderr.String()))
	}
}

// boot waits for the client's first answer.
func (s *scene) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		backup := s.backup.done
		for {
			select {
			case <-stop:
				return
			case <-s.primary.done:
				cancel()
				return
			case <-backup:
				if _, armed := s.primary.first(vm.EventProtected, s.began); !armed {
					cancel() // the primary would wait for another one
					return
				}
				backup = nil // the primary goes on alone
			}
		}
	}()
	if err := s.client.connect(ctx); err != nil {
		for _, c := range []*child{s.primary, s.backup} {
			if code, ended := c.ended(); ended {
				return fmt.Errorf("demo: the %s ended with exit code %d while the guest booted: %s", c.name, code, strings.TrimSpace(c.stderr.String()))
			}
		}
		return fmt.Errorf("%w (the guest's last line: %q)", err, s.guest.lastLine())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = time.Now()
	p, b := s.primary.latest(), s.backup.latest()
	s.bootPos, s.bootCPU = p.Position, [2]int64{p.CPUNS, b.CPUNS}
	s.primary.command(control.ResetStatistics)
	s.phase = time.Now()
	return nil
}

// planKill says what work will do, and when, for faces that count down.
func (s *scene) planKill(k Kill, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan, s.planAt = k, time.Now().Add(after)
	if s.quit != nil {
		go s.witness(s.primary, s.backup, KillPrimary)
		go s.witness(s.backup, s.primary, KillBackup)
	}
}

// witness takes a kill by another hand for one by the demo: a person who sees
// the process ids may try it. The loss counts from when the demo or the other
// side saw it, whoever was first.
func (s *scene) witness(c, other *child, k Kill) {
	<-c.done
	at := time.Now()
	if code, _ := c.ended(); code >= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lose(k) {
		if e, ok := other.first(vm.EventPeerLost, c.latest().Time); ok && e.Time.Before(at) {
			at = e.Time
		}
		s.killedAt = at
		s.note("demo: the %s, process %d, was killed by another hand", c.name, c.cmd.Process.Pid)
	}
}

// lose keeps how everything stands at a loss, under mu; false if there was one
// before, or the client does not work.
func (s *scene) lose(k Kill) bool {
	if s.killed != KillNone || s.act != actWork {
		return false
	}
	s.killed = k
	s.atKill, s.backupAt = s.primary.latest(), s.backup.latest()
	s.verified, _ = s.guest.blocks()
	s.killedAt = time.Now()
	return true
}

// kill does to the pair what it is told, once, while the client works.
func (s *scene) kill(k Kill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k == KillNone || k == KillPartition && s.toBackup == nil || !s.lose(k) {
		return
	}
	switch k {
	case KillPrimary:
		s.primary.signal(syscall.SIGKILL)
		s.note("demo: kill -9 to the primary, process %d", s.primary.cmd.Process.Pid)
	case KillBackup:
		s.backup.signal(syscall.SIGKILL)
		s.note("demo: kill -9 to the backup, process %d", s.backup.cmd.Process.Pid)
	case KillPartition:
		s.toBackup.partition()
		s.toPrimary.partition()
		s.note("demo: the logging channel goes silent both ways")
	}
}

// settle waits until whoever lost the peer has gone on or halted.
func (s *scene) settle(ctx context.Context) error {
	s.mu.Lock()
	killed, at := s.killed, s.killedAt
	s.mu.Unlock()
	if killed == KillNone {
		return nil
	}
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		live, other := s.survivor(at)
		if live != nil {
			if _, ended := other.ended(); ended {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("demo: 30 s after the loss it is not the case that one side lives and the other has ended")
}

// survivor is the replica that went on alone after the loss, and the other one.
func (s *scene) survivor(after time.Time) (live, other *child) {
	if _, ok := s.backup.first(vm.EventLive, after); ok {
		return s.backup, s.primary
	}
	if _, ok := s.primary.first(vm.EventLive, after); ok {
		return s.primary, s.backup
	}
	return nil, nil
}

// tearDown ends every process. The guest is stopped by order, which is a
// planned end: no failover.
func (s *scene) tearDown() {
	const patience = 10 * time.Second
	s.primary.stop(patience)
	s.backup.stop(patience)
	s.network.stop(patience)
	for _, r := range []*relay{s.toBackup, s.toPrimary} {
		if r != nil {
			r.close()
		}
	}
}

// report is what was measured.
func (s *scene) report(img *image.Image) *Report {
	r := &Report{}
	r.Guest.Kernel, r.Guest.ImageSHA256 = s.guest.kernelVersion(), img.SHA256
	r.Client = s.client.snapshot()
	s.mu.Lock()
	killed, at, status, backup := s.killed, s.killedAt, s.atKill, s.backupAt
	verifiedBefore := s.verified
	s.mu.Unlock()
	if killed == KillNone {
		status, backup = s.primary.latest(), s.backup.latest()
	}
	r.Failover.Killed, r.Failover.Survivor = killed, "both"
	if live, _ := s.survivor(s.answered); killed == KillNone && live != nil {
		r.Failover.Survivor = live.name // a loss that nobody wanted
	}
	if killed != KillNone {
		r.Failover.Survivor = "none"
		if live, other := s.survivor(at); live != nil {
			r.Failover.Survivor = live.name
			if _, both := other.first(vm.EventLive, at); both {
				r.Failover.Survivor = "both went live"
			}
			r.Failover.DetectedMS = since(live, vm.EventPeerLost, at)
			r.Failover.LiveMS = since(live, vm.EventLive, at)
		}
	}
	r.Log.Bytes, r.Log.Entries = status.Log.Bytes, status.Log.Entries
	if took := status.Time.Sub(s.phase).Seconds(); took > 0 {
		r.Log.Mbit = float64(status.Log.Bytes) * 8 / 1e6 / took
	}
	r.LagMS = Quantile{float64(status.Lag.P50) / 1e6, float64(status.Lag.P99) / 1e6}
	r.OutputDelayUS = Quantile{float64(status.OutputDelay.P50) / 1e3, float64(status.OutputDelay.P99) / 1e3}
	r.Digests.Compared, r.Digests.Different = backup.Digests.Compared, backup.Digests.Different
	r.Boot.Seconds = s.answered.Sub(s.began).Seconds()
	r.Boot.Instructions = s.bootPos
	r.Boot.CPUSeconds, r.Boot.BackupCPUSeconds = float64(s.bootCPU[0])/1e9, float64(s.bootCPU[1])/1e9
	if s.disk {
		verified, mismatches := s.guest.blocks()
		r.Disk = &DiskReport{VerifiedBefore: verifiedBefore, Verified: verified, Mismatches: mismatches}
	}
	r.check()
	return r
}

func since(c *child, kind vm.EventKind, at time.Time) *float64 {
	e, ok := c.first(kind, at)
	if !ok {
		return nil
	}
	ms := milliseconds(e.Time.Sub(at))
	return &ms
}
