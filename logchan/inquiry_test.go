package logchan

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// account has n pages, which are more than one frame takes from about 15,000 on.
func account(n int) machine.Account {
	a := machine.Account{
		Pos: 77, Digest: machine.Digest{5}, Base: 0x8000_0000,
		Registers: []machine.Register{{Name: "pc", Value: 1 << 63}, {Name: "a0"}},
		Devices:   []machine.PartSum{{Name: "uart", Sum: [16]byte{1}}},
	}
	for i := range n {
		p := machine.PageSum{Page: uint32(3 * i)}
		binary.LittleEndian.PutUint64(p.Sum[:], uint64(i)*0x9e3779b97f4a7c15)
		a.Pages = append(a.Pages, p)
	}
	return a
}

// DESIGN R13, "acknowledged means replayed": a backup that has diverged gets the
// primary's account, while nothing that comes in is acknowledged any more.
func TestInquiryIsAnswered(t *testing.T) {
	for name, a := range map[string]*machine.Account{"small": ptr(account(0)), "large": ptr(account(60_000)), "none": nil} {
		t.Run(name, func(t *testing.T) {
			x := connect(t, config('p'), config('b'), "")
			_ = x.p.SendState(stateOf(nil))
			await(t, x.be, StateReady)
			_ = x.p.Append(horizon(1))
			x.p.Flush()
			until(t, "entry 1 is acknowledged", func() bool { return x.lastAck().Seq == 1 })
			if !x.b.Inquire(1) {
				t.Fatal("there is no connection")
			}
			if ev := await(t, x.pe, Inquired); ev.Seq != 1 {
				t.Fatalf("asked for %d", ev.Seq)
			}
			for n := 2; n < 50; n++ {
				_ = x.p.Append(frame(n, 1000))
				x.p.Flush()
			}
			count := func() int {
				x.mu.Lock()
				defer x.mu.Unlock()
				return len(x.acks)
			}
			acks := count()
			x.p.link.mu.Lock()
			x.p.beat(x.p.link.cur) // is answered by an acknowledgement before a divergence
			x.p.link.mu.Unlock()
			x.p.Answer(2, nil) // nobody asked for this
			x.p.Answer(1, a)
			ev := await(t, x.be, Answered)
			if ev.Seq != 1 || !cmp.Equal(ev.Account, a) {
				t.Errorf("answer for entry %d: %s", ev.Seq, cmp.Diff(a, ev.Account))
			}
			if got := len(x.b.Take(nil)); got != 0 {
				t.Errorf("%d entries were received after the divergence", got)
			}
			go x.b.Bye(ByeHalted, patience)
			if ev := await(t, x.pe, PeerBye); ev.Bye != ByeHalted {
				t.Errorf("bye %d", ev.Bye)
			}
			if n := count(); n != acks || x.lastAck().Seq != 1 {
				t.Errorf("%d acknowledgements after the divergence, the last of entry %d", n-acks, x.lastAck().Seq)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// A backup that has diverged does not come back: what its Hello would say of
// the log counts as an acknowledgement.
func TestInquirerDoesNotResume(t *testing.T) {
	x := connect(t, config('p'), config('b'), "")
	ignore(t, x.pe)
	_ = x.p.SendState(stateOf(nil))
	await(t, x.be, StateReady)
	if !x.b.Inquire(1) {
		t.Fatal("there is no connection")
	}
	x.p.Drop()
	await(t, x.be, Closed)
	ev := await(t, x.be, PeerRefused) // the primary dials
	if ev.Code != RefuseClosed {
		t.Errorf("%+v", ev)
	}
	if x.b.Inquire(1) {
		t.Error("a question left without a connection")
	}
}

// The answer must get past a reader that waits for entries to be taken.
func TestInquiryWithAFullMailbox(t *testing.T) {
	bc := config('b')
	bc.MailboxLimit = 1 << 10
	x := connect(t, config('p'), bc, "")
	_ = x.p.SendState(stateOf(nil))
	await(t, x.be, StateReady)
	for n := 1; n <= 100; n++ {
		_ = x.p.Append(frame(n, 50_000))
		x.p.Flush()
	}
	until(t, "the reader waits", func() bool {
		x.b.link.mu.Lock()
		defer x.b.link.mu.Unlock()
		return x.b.link.cur != nil && x.b.link.cur.stalled.Load()
	})
	x.b.Inquire(1)
	x.p.Answer(await(t, x.pe, Inquired).Seq, ptr(account(1)))
	if ev := await(t, x.be, Answered); ev.Account == nil {
		t.Error("no account")
	}
}

// What is no answer to a question closes the connection.
func TestAccountsThatDoNotBelongHere(t *testing.T) {
	good := replay.AppendAccount(nil, account(1))
	for name, c := range map[string]struct {
		ask    replay.Seq
		bodies [][]byte
	}{
		"unasked":       {0, [][]byte{append([]byte{1, accountLast}, good...)}},
		"another entry": {2, [][]byte{append([]byte{1, accountLast}, good...)}},
		"malformed":     {1, [][]byte{{1, accountLast, 9}}},
		"half none":     {1, [][]byte{{1, accountPart, 9}, {1, accountNone}}},
		"empty":         {1, [][]byte{{}}},
		"unknown kind":  {1, [][]byte{{1, 4}}},
		"twice":         {1, [][]byte{{1, accountNone}, {1, accountNone}}},
	} {
		t.Run(name, func(t *testing.T) {
			x := connect(t, config('p'), config('b'), "")
			await(t, x.pe, Connected)
			await(t, x.be, Connected)
			if c.ask != 0 {
				x.b.Inquire(c.ask)
			}
			x.p.link.mu.Lock()
			for _, b := range c.bodies {
				x.p.link.cur.send(replay.FrameAccount, b)
			}
			x.p.link.mu.Unlock()
			if ev := await(t, x.be, Closed); ev.Err == nil {
				t.Error("closed without a reason")
			}
		})
	}
	t.Run("asked twice", func(t *testing.T) {
		x := connect(t, config('p'), config('b'), "")
		ignore(t, x.be)
		await(t, x.pe, Connected)
		until(t, "the backup is connected", func() bool { _, _, _, ok := x.b.Pairing(); return ok })
		x.b.Inquire(1)
		x.b.Inquire(1)
		if ev := await(t, x.pe, Closed); ev.Err == nil {
			t.Error("closed without a reason")
		}
	})
}
