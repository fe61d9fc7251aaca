package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/network"
	"github.com/lockstep-vm/lockstep/sim"
)

// patience bounds how long a test waits for something that must come; it is
// not a claim about speed.
const patience = 60 * time.Second

// stage is a switch, a disk and an arbiter for toys.
type stage struct {
	t      *testing.T
	dir    string
	sw     string
	toy    sim.ToyConfig
	memory uint64
	reads  bool // by the backup
	// host has the image of a local disk; empty for a shared one. both: a flush
	// waits for both copies.
	host string
	both bool
	// store is the socket of a block store that has the disk and the arbiter;
	// empty for a file and a directory.
	store string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{t: t, dir: dir, sw: "unix:" + filepath.Join(dir, "sw"), toy: sim.ToyConfig{Seed: 7}, memory: 16 << 20}
	if err := os.WriteFile(s.disk(), make([]byte, 16*512), 0o600); err != nil {
		t.Fatal(err)
	}
	sw, err := network.NewSwitch(network.SwitchConfig{Listen: []string{s.sw}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sw.Close() })
	return s
}

func (s *stage) disk() string { return filepath.Join(s.dir, "disk"+s.host+".img") }

// config is a replica of a toy on the stage.
func (s *stage) config(log *events) Config {
	path, arb := s.disk(), filepath.Join(s.dir, "arbiter")
	if s.store != "" {
		path, arb = "nbd+unix:///disk0?socket="+s.store, "store:unix:"+s.store
	}
	cfg := Config{
		Name: "toy",
		Machine: &machine.Config{
			Memory: s.memory,
			Disks:  []machine.DiskConfig{{Sectors: 16}},
			NICs:   []machine.NICConfig{{MAC: [6]byte{2, 0, 0, 0, 0, 1}}},
		},
		Disks:   []Disk{{Path: path}},
		NICs:    []NIC{{Switch: s.sw}},
		Arbiter: arb,
		OnEvent: log.add,
		build: func(*machine.Config, machine.Birth) (machine.Machine, error) {
			return sim.NewToy(s.toy), nil
		},
	}
	if s.host != "" {
		cfg.Machine.Disks[0] = machine.DiskConfig{Sectors: localSectors, Local: true}
		cfg.Disks[0].FlushBoth, cfg.digestEvery = s.both, 20_000
		s.toy.LocalDisk = true
	}
	if s.reads {
		cfg.Disks[0].BackupReads, cfg.digestEvery = true, 20_000
	}
	return cfg
}

// events is what a replica has told.
type events struct {
	mu   sync.Mutex
	cond *sync.Cond
	list []Event
	over bool // the replica has ended: there is nothing more to come
}

func newEvents() *events {
	e := &events{}
	e.cond = sync.NewCond(&e.mu)
	return e
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
	e.cond.Broadcast()
}

// has says whether an event of the kind was told.
func (e *events) has(kind EventKind) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.list, func(ev Event) bool { return ev.Kind == kind })
}

// end says that nothing more will be told.
func (e *events) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	e.cond.Broadcast()
}

// await waits until an event of the kind was told.
func (e *events) await(t *testing.T, kind EventKind) {
	t.Helper()
	e.awaitEvent(t, string(kind), func(ev Event) bool { return ev.Kind == kind })
}

// awaitText waits until an event has the text.
func (e *events) awaitText(t *testing.T, text string) {
	t.Helper()
	e.awaitEvent(t, text, func(ev Event) bool { return strings.Contains(ev.Text, text) })
}

// awaitEvent fails as soon as the replica has ended without such an event.
func (e *events) awaitEvent(t *testing.T, what string, is func(Event) bool) {
	t.Helper()
	late := time.AfterFunc(patience, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.cond.Broadcast()
	})
	defer late.Stop()
	end := time.Now().Add(patience)
	e.mu.Lock()
	defer e.mu.Unlock()
	for !slices.ContainsFunc(e.list, is) {
		if e.over {
			t.Fatalf("ended, and had not told %q: %v", what, e.list)
		}
		if time.Now().After(end) {
			t.Fatalf("no %q among %v", what, e.list)
		}
		e.cond.Wait()
	}
}

// running is a replica that runs in the background.
type running struct {
	*Replica
	log    *events
	cancel context.CancelFunc
	done   chan struct{}
	got    Outcome
	err    error
}

func run(t *testing.T, r *Replica, log *events) *running {
	ctx, cancel := context.WithCancel(context.Background())
	g := &running{Replica: r, log: log, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(g.done)
		g.got, g.err = r.Run(ctx)
		log.end()
	}()
	t.Cleanup(func() {
		cancel()
		<-g.done
	})
	return g
}

func (g *running) wait(t *testing.T, want Outcome) {
	t.Helper()
	select {
	case <-g.done:
	case <-time.After(patience):
		t.Fatalf("still running; told %v", g.log.list)
	}
	if g.got != want {
		t.Fatalf("outcome %v (%v), want %v; told %v", g.got, g.err, want, g.log.list)
	}
}

// pair starts a backup and a primary and waits until they are protected.
func (s *stage) pair() (primary, backup *running) {
	s.t.Helper()
	backup = s.follow()
	primary = s.powerOn(backup.Addr())
	primary.log.await(s.t, EventProtected)
	backup.log.await(s.t, EventProtected)
	return primary, backup
}

func (s *stage) follow() *running {
	s.t.Helper()
	log := newEvents()
	cfg := s.config(log)
	cfg.Listen = porttest.Address()
	r, err := Follow(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return run(s.t, r, log)
}

func (s *stage) powerOn(peer string) *running {
	s.t.Helper()
	log := newEvents()
	cfg := s.config(log)
	cfg.Peer = peer
	r, err := PowerOn(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return run(s.t, r, log)
}

// ended says whether the run record says so.
func (s *stage) ended() bool {
	s.t.Helper()
	arb, err := arbiter.Open(filepath.Join(s.dir, "arbiter"))
	if err != nil {
		s.t.Fatal(err)
	}
	rec, any, err := arb.Last("toy")
	if err != nil || !any {
		s.t.Fatalf("run record: %v, %v", any, err)
	}
	return rec.Ended
}

// DESIGN section 6, planned ends: an order to stop is an entry in the log and
// its power-off the last output; both replicas end and nobody claims.
func TestStopOfAProtectedPairIsNoFailover(t *testing.T) {
	s := newStage(t)
	primary, backup := s.pair()
	primary.works(t, 50)
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	if !s.ended() {
		t.Error("the run record does not say that the run has ended")
	}
	for _, g := range []*running{primary, backup} {
		if g.log.has(EventPeerLost) || g.log.has(EventClaimWon) {
			t.Errorf("a planned end looked like a failover: %v", g.log.list)
		}
	}
}

// A backup whose process leaves is lost; the primary claims and goes on alone.
func TestPrimaryGoesOnAloneWhenTheBackupLeaves(t *testing.T) {
	s := newStage(t)
	primary, backup := s.pair()
	backup.cancel()
	backup.wait(t, Gone)
	primary.log.await(t, EventLive)
	primary.works(t, 1) // the gate is open
	primary.cancel()
	primary.wait(t, Ended)
}

// "a mismatch is a clear refusal on both sides"
func TestReplicasOfDifferentMachinesRefuseEachOther(t *testing.T) {
	s := newStage(t)
	backup := s.follow()
	s.memory *= 2
	primary := s.powerOn(backup.Addr())
	primary.wait(t, Refused)
	if primary.err == nil || !strings.Contains(primary.err.Error(), "the same computer") {
		t.Errorf("the primary says %v", primary.err)
	}
	backup.log.await(t, EventNote)
	if !s.ended() {
		t.Error("a run of which no instruction was executed bars the next one")
	}
}

// DESIGN R15: "nobody may conclude that a VM that is Alone is dead".
func TestSecondPowerOnIsRefusedUntilAPersonOrdersIt(t *testing.T) {
	s := newStage(t)
	first := s.powerOn("")
	first.log.await(t, EventPowerOn)
	cfg := s.config(newEvents())
	if _, err := PowerOn(cfg); !errors.Is(err, arbiter.ErrNotEnded) {
		t.Fatalf("second power-on: %v", err)
	}
	first.cancel()
	first.wait(t, Ended)
	second := s.powerOn("")
	second.log.await(t, EventPowerOn)
}

// "If the backup is not there yet the primary waits and says so, its gate
// closed from the first instruction."
func TestPrimaryWaitsForItsBackup(t *testing.T) {
	s := newStage(t)
	absent := s.follow()
	addr := absent.Addr()
	absent.cancel()
	absent.wait(t, Gone)
	primary := s.powerOn(addr)
	primary.log.await(t, EventWaiting)
	primary.until(t, "waiting", func() bool { return primary.Status().State == "waiting" })
	if st := primary.Status(); st.Position != 0 || st.OutputDelay.Count != 0 {
		t.Errorf("it ran to %d and released %d outputs", st.Position, st.OutputDelay.Count)
	}
	primary.cancel()
	primary.wait(t, Ended)
	if !s.ended() {
		t.Error("the run record does not say that the run has ended")
	}
}

func TestBadConfigurations(t *testing.T) {
	s := newStage(t)
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"backup without arbiter", func(c *Config) { c.Peer, c.Arbiter = "127.0.0.1:1", "" }, "needs an arbiter"},
		{"time-out below heartbeat", func(c *Config) { c.Heartbeat, c.Timeout = time.Second, time.Second }, "at least three"},
		{"no name", func(c *Config) { c.Name = "" }, "no name"},
		{"no disk image", func(c *Config) { c.Disks[0].Path += ".missing" }, "no such file"},
		{"not loopback", func(c *Config) { c.Listen = "0.0.0.0:0" }, "insecure"},
		{"no switch", func(c *Config) { c.NICs[0].Switch = "unix:" + s.dir + "/none" }, "no switch answers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := s.config(newEvents())
			tt.change(&cfg)
			_, err := PowerOn(cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
