package logchan

import (
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

func TestStateThenEntriesThenAcknowledgement(t *testing.T) {
	x := connect(t, config('p'), config('b'), "")
	if ev := await(t, x.pe, Connected); ev.Gen != 1 || ev.Peer.Process != x.be.cfg.Process {
		t.Fatalf("connected to %+v", ev)
	}
	want := bytes.Repeat([]byte("state and zeros\x00\x00\x00\x00"), 200_000)
	s := stateOf(want)
	s.Base = replay.Point{Seq: 10, Pos: 1000}
	if err := x.p.SendState(s); err != nil {
		t.Fatal(err)
	}
	await(t, x.be, StateReady)
	await(t, x.pe, StateSent)
	until(t, "the State is acknowledged", func() bool { return x.lastAck().Seq == 10 })
	if n := x.p.Stats().Resumes; n != 0 {
		t.Fatalf("%d connections were lost by it", n)
	}
	got := x.b.State()
	if got.Base != s.Base || string(got.Meta) != "meta" || got.Size != int64(len(want)) {
		t.Fatalf("got %+v", got)
	}
	r, err := got.Open()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, want) {
		t.Fatalf("State of %d bytes, %v", len(b), err)
	}
	_ = r.Close()

	var sent, taken []replay.Entry
	for n := 11; n <= 30; n++ {
		e := frame(n, n*1000)
		sent = append(sent, e)
		if err := x.p.Append(e); err != nil {
			t.Fatal(err)
		}
		if n%3 == 0 {
			x.p.Flush()
		}
	}
	x.b.SetExecuted(2900)
	x.p.SetReleased(17)
	x.p.Flush()
	until(t, "30 is acknowledged", func() bool { return x.lastAck().Seq == 30 })
	taken = x.b.Take(taken)
	if !reflect.DeepEqual(sent, taken) {
		t.Errorf("took %d entries that are not those that were sent", len(taken))
	}
	if got := x.b.Received(); got != (replay.Point{Seq: 30, Pos: 3000}) {
		t.Errorf("received %+v", got)
	}
	until(t, "the buffer is empty", func() bool { return x.p.Stats().Buffered == 0 })
	until(t, "the backup knows what was released", func() bool { return x.b.Released() == 17 })
	if a := x.lastAck(); a.Gen < 1 || a.Epoch != 1 {
		t.Errorf("acknowledged %+v", a)
	}
	if s := x.p.Stats(); s.Entries != 20 || s.Trip.Samples == 0 {
		t.Errorf("stats %+v", s)
	}
}

// DESIGN R17: "When the connection closes, either may dial and resume from the
// last acknowledged entry."
func TestResumeDeliversEverythingOnceInOrder(t *testing.T) {
	const total = 4000
	pe := config('p')
	be := config('b')
	bl := listen(t, be)
	proxy := newProxy(t, bl.Addr().String())
	x := &pair{pe: listen(t, pe), be: bl}
	ignore(t, x.pe)
	ignore(t, x.be)
	x.b, _ = bl.OpenBackup()
	x.p, _ = x.pe.OpenPrimary(Pairing{Run: testRun, Epoch: 1, Peer: proxy.ln.Addr().String(), OnAck: func(a Ack) {
		x.mu.Lock()
		x.acks = append(x.acks, a)
		x.mu.Unlock()
	}})
	if err := x.p.SendState(stateOf(bytes.Repeat([]byte("0123456789"), 100_000))); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var got []replay.Entry
	for n := 1; n <= total; n++ {
		if err := x.p.Append(frame(n, rng.IntN(1500))); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(4) == 0 {
			x.p.Flush()
		}
		if rng.IntN(200) == 0 {
			proxy.cut()
		}
		if rng.IntN(300) == 0 {
			x.p.Drop()
		}
		if rng.IntN(300) == 0 {
			x.b.Drop()
		}
		if rng.IntN(50) == 0 {
			got = x.b.Take(got)
			time.Sleep(time.Millisecond)
		}
	}
	x.p.Flush()
	until(t, "all is acknowledged", func() bool { return x.lastAck().Seq == total })
	got = x.b.Take(got)
	if len(got) != total {
		t.Fatalf("took %d entries", len(got))
	}
	for i, e := range got {
		if e.Seq != replay.Seq(i+1) {
			t.Fatalf("entry %d in place %d", e.Seq, i+1)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := 1; i < len(x.acks); i++ {
		a, b := x.acks[i-1], x.acks[i]
		if b.Gen < a.Gen || b.Gen == a.Gen && b.Seq < a.Seq {
			t.Fatalf("acknowledgement %+v after %+v", b, a)
		}
	}
	if x.p.Stats().Resumes == 0 {
		t.Error("the connection was never resumed")
	}
}

// DESIGN R13: "A backup seals the channel before it fixes the end of its log".
func TestNoAcknowledgementBeyondTheSeal(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	for round := range rounds {
		func() {
			pe, err := Listen(config('p'))
			if err != nil {
				t.Fatal(err)
			}
			defer pe.Close()
			be, err := Listen(config('b'))
			if err != nil {
				t.Fatal(err)
			}
			defer be.Close()
			b, _ := be.OpenBackup()
			acked := make(chan replay.Seq, 1<<12)
			p, err := pe.OpenPrimary(Pairing{Run: testRun, Epoch: 1, Peer: be.Addr().String(), OnAck: func(a Ack) { acked <- a.Seq }})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.SendState(stateOf(nil)); err != nil {
				t.Fatal(err)
			}
			await(t, be, StateReady)
			sealed := make(chan replay.Point)
			go func() {
				for b.Received().Seq < replay.Seq(round%7) {
					time.Sleep(10 * time.Microsecond)
				}
				sealed <- b.Seal()
			}()
			var end replay.Point
			for n, done := 1, false; !done; n++ {
				select {
				case end = <-sealed:
					done = true
				default:
				}
				_ = p.Append(horizon(n))
				p.Flush()
				if n > 200 {
					time.Sleep(100 * time.Microsecond)
				}
				runtime.Gosched()
			}
			await(t, pe, Closed)
			p.Seal()
			close(acked)
			last := replay.Seq(0)
			for s := range acked {
				last = max(last, s)
			}
			if last > end.Seq {
				t.Fatalf("entry %d was acknowledged but the log ends at %d", last, end.Seq)
			}
			if got := b.Received(); got != end {
				t.Fatalf("sealed at %+v, then %+v", end, got)
			}
			if n := len(b.Take(nil)); n != int(end.Seq) {
				t.Fatalf("%d entries can be taken, %d were received", n, end.Seq)
			}
		}()
	}
}

// DESIGN R16, R17: silence is noticed while the connection stays open, and a
// partition that heals is resumed.
func TestSilenceIsNoticedAndHeals(t *testing.T) {
	toPrimary := newProxy(t, "")
	pc := config('p')
	pc.Advertise = toPrimary.ln.Addr().String()
	toBackup := newProxy(t, "")
	x := connectVia(t, pc, config('b'), toPrimary, toBackup)
	ignore(t, x.be)
	if err := x.p.SendState(stateOf(nil)); err != nil {
		t.Fatal(err)
	}
	await(t, x.pe, StateSent)
	ignore(t, x.pe)
	until(t, "heartbeats", func() bool { return time.Since(x.p.LastHeard()) < patience && x.b.Released() == 0 })
	toPrimary.silence(true)
	toBackup.silence(true)
	at := time.Now()
	for n := 1; n <= 1000; n++ {
		if err := x.p.Append(frame(n, 1400)); err != nil {
			t.Fatal(err)
		}
		x.p.Flush() // does not block
	}
	until(t, "the backup misses the primary", func() bool { return time.Since(x.b.LastHeard()) > 10*x.be.cfg.Heartbeat })
	if heard := x.p.LastHeard(); heard.After(at.Add(x.pe.cfg.Heartbeat)) {
		t.Errorf("the primary heard something %v after silence began", heard.Sub(at))
	}
	if got := x.b.Received().Seq; got != 0 {
		t.Errorf("entry %d came through", got)
	}
	toPrimary.silence(false)
	toBackup.silence(false)
	until(t, "all is acknowledged", func() bool { return x.lastAck().Seq == 1000 })
}

// Whichever end is isolated, nothing comes through until it is not, and then all does.
func TestIsolatedEndpointIsCutOff(t *testing.T) {
	for _, end := range []string{"primary", "backup"} {
		t.Run(end, func(t *testing.T) {
			x := connect(t, config('p'), config('b'), "")
			ignore(t, x.be)
			if err := x.p.SendState(stateOf(nil)); err != nil {
				t.Fatal(err)
			}
			await(t, x.pe, StateSent)
			ignore(t, x.pe)
			cut := x.be
			if end == "primary" {
				cut = x.pe
			}
			cut.Isolate(true)
			before := x.p.LastHeard()
			for n := 1; n <= 100; n++ {
				if err := x.p.Append(frame(n, 1400)); err != nil {
					t.Fatal(err)
				}
				x.p.Flush()
			}
			until(t, "silence", func() bool { return time.Since(x.p.LastHeard()) > 20*x.pe.cfg.Heartbeat })
			if heard := x.p.LastHeard(); heard.After(before.Add(x.pe.cfg.Heartbeat)) || x.lastAck().Seq != 0 {
				t.Errorf("heard %v after the cut, acknowledged %+v", heard.Sub(before), x.lastAck())
			}
			cut.Isolate(false)
			until(t, "all is acknowledged", func() bool { return x.lastAck().Seq == 100 })
			if x.p.Stats().Resumes == 0 {
				t.Error("the connection was not cut")
			}
		})
	}
}

// The same with a network that holds everything back, and a buffer that fills.
func TestBlockedSocketDoesNotBlockTheOwner(t *testing.T) {
	bl := listen(t, config('b'))
	ignore(t, bl)
	proxy := newProxy(t, bl.Addr().String())
	pc := config('p')
	pc.BufferLimit = 8 << 20
	pl := listen(t, pc)
	ignore(t, pl)
	b, _ := bl.OpenBackup()
	p, err := pl.OpenPrimary(Pairing{Run: testRun, Epoch: 1, Peer: proxy.ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	_ = p.SendState(stateOf(nil))
	until(t, "an acknowledgement", func() bool { _, ok := p.Acked(); return ok })
	proxy.silence(true)
	n := 0
	for !p.Full() {
		n++
		if err := p.Append(frame(n, 60_000)); err != nil {
			t.Fatal(err)
		}
		p.Flush()
	}
	for err == nil { // R12: an owner that does not stop is stopped
		n++
		err = p.Append(frame(n, 60_000))
	}
	if err != ErrFull {
		t.Fatal(err)
	}
	proxy.silence(false)
	p.Flush()
	until(t, "all is received", func() bool { b.Take(nil); return b.Received().Seq == replay.Seq(n-1) })
	until(t, "the buffer is empty", func() bool { return p.Stats().Buffered == 0 })
}

func TestFullMailboxHoldsThePrimaryBack(t *testing.T) {
	bc := config('b')
	bc.MailboxLimit = 1 << 20
	x := connect(t, config('p'), bc, "")
	ignore(t, x.pe)
	ignore(t, x.be)
	_ = x.p.SendState(stateOf(nil))
	const total = 400
	for n := 1; n <= total; n++ {
		if err := x.p.Append(frame(n, 50_000)); err != nil {
			t.Fatal(err)
		}
		x.p.Flush()
	}
	stalled := func() bool {
		x.b.link.mu.Lock()
		defer x.b.link.mu.Unlock()
		return x.b.link.cur != nil && x.b.link.cur.stalled.Load()
	}
	until(t, "the reader waits", stalled)
	if got := x.b.Received().Seq; got >= total {
		t.Fatalf("%d entries in a mailbox of 1 MiB", got)
	}
	if time.Since(x.b.LastHeard()) > x.be.cfg.Heartbeat {
		t.Error("a reader that waits for its own side takes the peer for silent")
	}
	count := 0
	until(t, "all is taken", func() bool { count += len(x.b.Take(nil)); return count == total })

	// A reader that waits gives up when the channel is sealed.
	for n := total + 1; n <= 2*total; n++ {
		_ = x.p.Append(frame(n, 50_000))
		x.p.Flush()
	}
	until(t, "the reader waits again", stalled)
	end := x.b.Seal()
	if got := len(x.b.Take(nil)); got != int(end.Seq)-total {
		t.Errorf("%d entries left, sealed at %d", got, end.Seq)
	}
}

func TestByeComesAfterTheEntries(t *testing.T) {
	x := connect(t, config('p'), config('b'), "")
	ignore(t, x.pe)
	_ = x.p.SendState(stateOf(nil))
	await(t, x.be, StateReady)
	for n := 1; n <= 100; n++ {
		_ = x.p.Append(frame(n, 1000))
	}
	x.p.Flush()
	x.p.Bye(ByeEnded, patience)
	if ev := await(t, x.be, PeerBye); ev.Bye != ByeEnded {
		t.Errorf("bye %d", ev.Bye)
	}
	if got := x.b.Received().Seq; got != 100 {
		t.Errorf("received %d entries before the bye", got)
	}
	if err := x.p.Append(frame(101, 0)); err != ErrSealed {
		t.Errorf("append after bye: %v", err)
	}
}

func TestLagIsTheTimeSinceThePositionWasPassed(t *testing.T) {
	var m lagMeter
	ms := time.Millisecond
	m.sent(100, 10*ms)
	m.sent(200, 20*ms)
	m.sent(300, 30*ms)
	for _, c := range []struct {
		executed int
		want     time.Duration
	}{{50, 30 * ms}, {100, 20 * ms}, {250, 10 * ms}, {300, 0}} {
		if got := m.acked(machine.Icount(c.executed), 40*ms, ms); got != c.want {
			t.Errorf("executed %d: lag %v, want %v", c.executed, got, c.want)
		}
	}
	lag, trip := m.quantiles()
	if lag.Samples != 4 || lag.Max != 30*ms || trip.P50 < ms*15/16 || trip.P50 > ms*17/16 {
		t.Errorf("%+v %+v", lag, trip)
	}
	for i := range 3 * lagSamples {
		m.sent(machine.Icount(1000+i), time.Duration(i)*ms)
	}
	if len(m.samples) > lagSamples {
		t.Errorf("%d samples", len(m.samples))
	}
}

func BenchmarkAckRoundTrip(b *testing.B) {
	pl, bl := listen(b, config('p')), listen(b, config('b'))
	ignore(b, pl)
	ignore(b, bl)
	back, _ := bl.OpenBackup()
	acked := make(chan replay.Seq, 16)
	p, err := pl.OpenPrimary(Pairing{Run: testRun, Epoch: 1, Peer: bl.Addr().String(), OnAck: func(a Ack) {
		select {
		case acked <- a.Seq:
		default:
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	_ = p.SendState(stateOf(nil))
	<-acked
	var buf []replay.Entry
	n := 0
	for b.Loop() {
		n++
		if err := p.Append(horizon(n)); err != nil {
			b.Fatal(err)
		}
		p.Flush()
		for <-acked < replay.Seq(n) {
		}
		buf = back.Take(buf[:0])
	}
	q := p.Stats().Trip
	b.ReportMetric(float64(q.P50.Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(q.P99.Nanoseconds()), "p99-ns")
}

// The pairing after one that was sealed may have the same epoch and the same
// numbers of connections: what is still in the queue must not be taken for its.
func TestEventsOfASealedPairingAreOver(t *testing.T) {
	x := connect(t, config(1), config(2), "")
	before := await(t, x.pe, Connected)
	if before.Over() {
		t.Error("over before the seal")
	}
	x.p.Seal()
	if !before.Over() {
		t.Error("not over after the seal")
	}
	p, err := x.pe.OpenPrimary(Pairing{Run: ft.Run{Ordinal: 1}, Epoch: before.Epoch})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Seal()
	if !before.Over() {
		t.Error("not over when the next pairing is open")
	}
	if after := await(t, x.be, Connected); after.Over() {
		t.Error("over at the side that has not sealed")
	}
}
