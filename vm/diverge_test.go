package vm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/board"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
	"github.com/lockstep-vm/lockstep/replay"
)

// What the bare-metal guest holds in a register, a page and a device for ever.
const (
	heldRegister = 0x1d5a_0000_6b3c_77e1
	heldWord     = 0x29c4_1111_8f0a_55d3
	heldText     = "held by the console"
	heldPage     = 0x8050_0000
)

// bareMetal is a guest that never rests: it counts in a register and in a page
// beside what it holds there.
func bareMetal() *machine.Config {
	p := asm.New(0x8020_0040)
	p.LI(asm.T0, 0x1000_0000)
	for _, c := range heldText {
		p.LI(asm.T1, int64(c))
		p.SB(asm.T1, 0, asm.T0)
	}
	p.LI(asm.S0, heldPage)
	p.LI(asm.T0, heldWord)
	p.SD(asm.T0, 8, asm.S0)
	p.LI(asm.S5, heldRegister)
	p.Label("count")
	p.ADDI(asm.S1, asm.S1, 1)
	p.SD(asm.S1, 0, asm.S0)
	p.J("count")
	head := make([]byte, 64)
	binary.LittleEndian.PutUint32(head, 0x0400_006f) // j .+64
	binary.LittleEndian.PutUint64(head[8:], 0x20_0000)
	binary.LittleEndian.PutUint64(head[16:], 2<<20)
	copy(head[0x38:], "RSC\x05")
	return &machine.Config{Memory: 16 << 20, Kernel: append(head, p.Bytes()...)}
}

// A faulty machine is a board in whose State one bit flips right after its
// second account, or at once when a State is loaded: where those bytes stand, or
// so far behind, in a page or not.
type faulty struct {
	machine.Machine
	accounts int
	bytes    []byte
	behind   int
	inPage   bool
	atOnce   bool
}

func (f *faulty) Account() machine.Account {
	a := f.Machine.Account()
	if f.accounts++; f.accounts == 2 && !f.atOnce {
		f.flip()
	}
	return a
}

func (f *faulty) Load(r io.Reader) error {
	err := f.Machine.Load(r)
	if f.atOnce && err == nil {
		f.flip()
	}
	return err
}

// flip changes the State by way of a snapshot: header of 48 bytes, state
// section, pages, a sum of all.
func (f *faulty) flip() {
	var buf bytes.Buffer
	if err := f.Save(&buf); err != nil {
		panic(err)
	}
	b := buf.Bytes()
	pages := 48 + int(binary.LittleEndian.Uint64(b[40:]))
	from, to := 48, pages
	if f.inPage {
		from, to = pages, len(b)
	}
	at := bytes.Index(b[from:to], f.bytes)
	if at < 0 {
		panic("the bytes are not in the snapshot")
	}
	b[from+at+f.behind] ^= 1
	binary.LittleEndian.PutUint64(b[len(b)-8:], xxh3.Hash(b[:len(b)-8]))
	if err := f.Machine.Load(&buf); err != nil {
		panic(err)
	}
}

// A stuck machine stops executing after its third account until it is let go.
type stuck struct {
	machine.Machine
	accounts int
	letGo    chan struct{}
}

func (s *stuck) Account() machine.Account {
	s.accounts++
	return s.Machine.Account()
}

func (s *stuck) Run(until machine.Icount) machine.Exit {
	if s.accounts > 3 {
		<-s.letGo
	}
	return s.Machine.Run(until)
}

// bareMetalPair runs the guest on two replicas whose machines are wrapped.
func bareMetalPair(t *testing.T, wrapPrimary, wrapBackup func(machine.Machine) machine.Machine) (primary, backup *running) {
	t.Helper()
	mc, dir := bareMetal(), t.TempDir()
	config := func(log *events, wrap func(machine.Machine) machine.Machine) Config {
		return Config{
			Name: "bare", Machine: mc, Arbiter: filepath.Join(dir, "arbiter"), OnEvent: log.add,
			digestEvery: 1_000_000,
			build: func(mc *machine.Config, birth machine.Birth) (machine.Machine, error) {
				b, err := board.New(mc, birth)
				if wrap == nil || err != nil {
					return b, err
				}
				return wrap(b), nil
			},
		}
	}
	blog, plog := newEvents(), newEvents()
	cfg := config(blog, wrapBackup)
	cfg.Listen = porttest.Address()
	b, err := Follow(cfg)
	if err != nil {
		t.Fatal(err)
	}
	backup = run(t, b, blog)
	cfg = config(plog, wrapPrimary)
	cfg.Peer = b.Addr()
	p, err := PowerOn(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, p, plog), backup
}

// diverged is what the event of that kind told.
func (e *events) diverged(t *testing.T) Event {
	t.Helper()
	e.await(t, EventDiverged)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.list {
		if ev.Kind == EventDiverged {
			return ev
		}
	}
	return Event{}
}

// DESIGN R8: "a difference stops the backup at once (it must never go live)",
// and the report names what differs first. The primary goes on alone.
func TestDivergenceIsNamed(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		flip faulty
		want string // of the first difference
	}{
		// The first digest after a pairing: the primary's pages count from there.
		"from the start": {faulty{bytes: []byte("\x04\x00\x00\x00hart"), behind: 8 + 18*8, atOnce: true}, "register s2: 0x0 there, 0x1 here"},
		"register":       {faulty{bytes: le.AppendUint64(nil, heldRegister)}, "register s5: 0x1d5a00006b3c77e1 there, 0x1d5a00006b3c77e0 here"},
		"device":         {faulty{bytes: []byte(heldText)}, "device uart: hash "},
		"page":           {faulty{bytes: le.AppendUint64(nil, heldWord), inPage: true}, "page 1280 at 0x80500000: hash "},
	} {
		t.Run(name, func(t *testing.T) {
			flip := c.flip
			primary, backup := bareMetalPair(t, nil, func(m machine.Machine) machine.Machine {
				flip.Machine = m
				return &flip
			})
			backup.wait(t, Halted)
			ev := backup.log.diverged(t)
			d := ev.Divergence
			if d == nil || len(d.Parts) != 1 || !strings.HasPrefix(d.Parts[0].String(), c.want) {
				t.Fatalf("told %q, %+v; want %q", ev.Text, d, c.want)
			}
			if !strings.Contains(ev.Text, "first difference: "+c.want) {
				t.Errorf("the report is %q", ev.Text)
			}
			if n := d.Pos - d.Since; n < 1_000_000 || n > 1_000_000+maxSlice {
				t.Errorf("the interval is (%d, %d]", d.Since, d.Pos)
			}
			var again Event
			if b, err := json.Marshal(ev); err != nil || json.Unmarshal(b, &again) != nil || again.Divergence.Parts[0] != d.Parts[0] {
				t.Errorf("the event does not survive JSON: %v", err)
			}
			if st := backup.Status(); (st.Digests.Compared == 0) != flip.atOnce || st.Digests.Different != 1 {
				t.Errorf("digests: %+v", st.Digests)
			}
			if backup.log.has(EventClaimWon) || backup.log.has(EventLive) {
				t.Errorf("a backup that has diverged goes on: %v", backup.log.list)
			}
			primary.log.await(t, EventLive)
			primary.cancel()
			primary.wait(t, Ended)
		})
	}
}

// Without an answer the report has this side only, and the backup halts as well.
func TestDivergenceWithoutAnAnswer(t *testing.T) {
	hold := &stuck{letGo: make(chan struct{})}
	primary, backup := bareMetalPair(t,
		func(m machine.Machine) machine.Machine { hold.Machine = m; return hold },
		func(m machine.Machine) machine.Machine {
			return &faulty{Machine: m, bytes: binary.LittleEndian.AppendUint64(nil, heldRegister)}
		})
	ev := backup.log.diverged(t)
	close(hold.letGo)
	backup.wait(t, Halted)
	if d := ev.Divergence; d == nil || len(d.Parts) > 0 || !strings.Contains(ev.Text, "the primary has not answered for") {
		t.Errorf("told %q, %+v", ev.Text, ev.Divergence)
	}
	if backup.log.has(EventClaimWon) || backup.log.has(EventPeerLost) {
		t.Errorf("a backup that has diverged claims: %v", backup.log.list)
	}
	primary.log.await(t, EventLive)
	primary.cancel()
	primary.wait(t, Ended)
}

// The primary keeps the accounts that the backup may still ask for, within limits.
func TestAccountsAreKeptUntilTheyAreCompared(t *testing.T) {
	var k accounts
	for n := 1; n <= 10; n++ {
		k.keep(account{replay.Seq(n), machine.Account{Pos: machine.Icount(n * 100)}}, 500)
	}
	if k.of(4) != nil || k.of(5) == nil || k.of(10) == nil {
		t.Errorf("kept %v", k.kept)
	}
	for n := 11; n <= 1000; n++ {
		k.keep(account{replay.Seq(n), machine.Account{Pos: machine.Icount(n * 100)}}, 500)
	}
	if len(k.kept) != maxAccounts || k.of(1000) == nil || k.of(1000).Pos != 100_000 {
		t.Errorf("%d accounts are kept", len(k.kept))
	}
	large := machine.Account{Pos: 1 << 40, Pages: make([]machine.PageSum, maxAccountSize/24-10)}
	k.keep(account{2000, large}, 500)
	if k.of(2000) == nil || k.size > maxAccountSize {
		t.Errorf("%d accounts of %d bytes are kept", len(k.kept), k.size)
	}
	large.Pages = make([]machine.PageSum, maxAccountSize/24+10)
	k.keep(account{2001, large}, 500)
	if len(k.kept) != 0 || k.size != 0 {
		t.Errorf("%d accounts of %d bytes are kept", len(k.kept), k.size)
	}
}
