package store

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/arbiter/arbitertest"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// Connections are lost all the time; nobody who reads and writes notices.
func TestLostConnectionsAreMadeGoodFor(t *testing.T) {
	path := image(t, 8*diskSize)
	p := newProxy(t, address(t, serve(t, path)))
	said := &notes{}
	c := open(t, p.address(), 1, func(c *nbd.Config) { c.Note = said.add })
	claim(t, c, number(1, 1))
	stop := make(chan struct{})
	var cutter, workers sync.WaitGroup
	cutter.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// The next connection gets stuck somewhere, and then is cut.
			p.mu.Lock()
			g := p.gate
			p.mu.Unlock()
			g.arm(200 + 3001*i%20000)
			<-g.stuck
			p.fresh()
			p.cut()
			g.thaw()
		}
	})
	for w := range 8 {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(w)))
			have, want := make([]byte, 4096), map[int64]byte{}
			for range 40 {
				at, b := int64(w)*diskSize+int64(r.IntN(20))*4096, byte(r.IntN(256))
				if err := c.WriteAt(block(b), at); err != nil {
					t.Error(err)
					return
				}
				want[at] = b
				at = int64(w)*diskSize + int64(r.IntN(20))*4096
				if err := c.ReadAt(have, at); err != nil || !bytes.Equal(have, block(want[at])) {
					t.Errorf("read at %d: %v, or other data than written", at, err)
					return
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	done := make(chan struct{})
	go func() { cutter.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			_ = c.ReadAt(make([]byte, 4096), 0) // until the last gate is full
		}
	}
	said.until(t, "is there again")
}

// The store is restarted: requests wait, and go on with the same number.
func TestStoreIsRestarted(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	listen := s.Addresses()[0]
	said := &notes{}
	c := open(t, address(t, s), 1, func(c *nbd.Config) { c.Note = said.add })
	claim(t, c, number(1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.WriteAt(block(4), 0) }()
	said.until(t, "is lost, connecting again")
	serve(t, path, func(cfg *Config) { cfg.Listen = []string{listen} })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	said.until(t, "is there again")
	if got := onDisk(t, path, 0); got != 4 {
		t.Errorf("in the file is %d", got)
	}
}

// A claim waits, visibly, for a store that cannot be reached, and can be given up.
func TestClaimWaitsForTheStore(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	listen := s.Addresses()[0]
	c := open(t, address(t, s), 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	waits := make(chan string, 8)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- c.Claim(ctx, number(1, 1), func(why string) { waits <- why }) }()
	if why := <-waits; why == "" {
		t.Error("no reason")
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatalf("given up: %v", err)
	}
	go func() { result <- c.Claim(t.Context(), number(1, 1), func(why string) { waits <- why }) }()
	<-waits
	serve(t, path, func(cfg *Config) { cfg.Listen = []string{listen} })
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if len(waits) != 0 {
		t.Errorf("waiting was called again: %s", <-waits)
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	said := &notes{}
	c := open(t, address(t, s), 1, func(c *nbd.Config) { c.Note = said.add })
	claim(t, c, number(1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.WriteAt(block(4), 0) }()
	said.until(t, "is lost")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, nbd.ErrClosed) {
		t.Errorf("the write that waited: %v", err)
	}
	if err := c.Sync(); !errors.Is(err, nbd.ErrClosed) {
		t.Errorf("after that: %v", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	s := serve(t, image(t, diskSize))
	a := address(t, s)
	none := a
	none.Export = "none"
	dead := nbd.Address{Net: "unix", Path: filepath.Join(t.TempDir(), "gone"), Export: "disk0"}
	for why, at := range map[string]nbd.Address{`there is no export "none"`: none, "no store answers": dead} {
		c, err := nbd.Open(t.Context(), nbd.Config{Address: at, VM: "web"})
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v; want an error that says %q", err, why)
		}
	}
}

var _ storage.Unmapper = (*nbd.Client)(nil)

// cellStore serves the cells of a directory.
func cellStore(t *testing.T) (*Server, *nbd.Cells) {
	t.Helper()
	dir, err := arbiter.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, image(t, diskSize), func(c *Config) { c.Cells = dir })
	cells, err := nbd.OpenCells(s.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cells.Close() })
	return s, cells
}

// DESIGN R16: the test-and-set lies on the store; asking again gives the same
// answer.
func TestArbiterOnTheStore(t *testing.T) {
	_, cells := cellStore(t)
	arb := arbiter.Over(cells)
	if err := arb.Ping(); err != nil {
		t.Fatal(err)
	}
	if ok, why := arb.Durable(); ok != (why == "") {
		t.Errorf("durable: %v %q", ok, why)
	}
	if ok, _ := arb.Outside(); ok {
		t.Error("a store on loopback is no third place")
	}
	if _, any, err := arb.Last("web"); any || err != nil {
		t.Fatalf("the record of a VM that never ran: %v %v", any, err)
	}
	run, err := arb.BeginRun(arbiter.PowerOn{VM: "web", By: process(1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := arb.BeginRun(arbiter.PowerOn{VM: "web", By: process(2)}); !errors.Is(err, arbiter.ErrNotEnded) {
		t.Errorf("a second run: %v", err)
	}
	var owners [8]ft.ProcessID
	var wg sync.WaitGroup
	cell := ft.Cell{VM: "web", Run: run, Epoch: 1}
	for i := range owners {
		wg.Go(func() {
			var err error
			if owners[i], err = arb.Claim(ft.Claim{Cell: cell, By: process(byte(i + 1))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, o := range owners {
		if o != owners[0] || o == (ft.ProcessID{}) {
			t.Fatalf("owners %v", owners)
		}
	}
	if err := arb.EndRun("web", run); err != nil {
		t.Fatal(err)
	}
	rec, any, err := arb.Last("web")
	if err != nil || !any || !rec.Ended || rec.Run != run || rec.Process != process(1) {
		t.Errorf("record %+v %v %v", rec, any, err)
	}
	if _, err := cells.Create("../x", "a", nil); err == nil || !strings.Contains(err.Error(), "cannot name a VM") {
		t.Errorf("a name that leaves the directory: %v", err)
	}
}

// The store keeps what every place of cells keeps.
func TestCellsAsAnywhere(t *testing.T) {
	arbitertest.Run(t, func(t *testing.T) func() arbiter.Arbiter {
		s, _ := cellStore(t)
		return func() arbiter.Arbiter {
			cells, err := nbd.OpenCells(s.Addresses()[0])
			if err != nil {
				t.Fatal(err)
			}
			return arbiter.Over(cells)
		}
	})
}

func TestCellsOfAStoreThatCannotAnswer(t *testing.T) {
	s, cells := cellStore(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cells.Ping(); err == nil {
		t.Error("a dead store answers")
	}
	if ok, why := cells.Durable(); ok || why == "" {
		t.Error("a dead store is durable")
	}
	without, err := nbd.OpenCells(serve(t, image(t, diskSize)).Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	if err := without.Ping(); err == nil || !strings.Contains(err.Error(), "--arbiter DIR") {
		t.Errorf("a store without cells: %v", err)
	}
	if _, err := nbd.OpenCells("nowhere"); err == nil {
		t.Error("an address that is none")
	}
}
