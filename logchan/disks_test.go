package logchan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// both are the two ends of one disk's re-synchronisation.
func (x *pair) both(t *testing.T, gen uint64, disk uint8) (p, b *DiskConn) {
	t.Helper()
	p, err := x.p.Sync(gen, disk)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = x.b.Sync(gen, disk); err != nil {
		t.Fatal(err)
	}
	return p, b
}

func connected(t *testing.T, x *pair) uint64 {
	t.Helper()
	gen := await(t, x.pe, Connected).Gen
	if b := await(t, x.be, Connected).Gen; b != gen {
		t.Fatalf("the primary has connection %d, the backup %d", gen, b)
	}
	return gen
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// What is sent for each disk comes whole and in order, more of it than sockets
// and queues hold, in both directions at once and beside the log.
func TestDiskMessagesComeInOrder(t *testing.T) {
	pc, bc := config(1), config(2)
	// A host so busy that nothing is read for four heartbeats would be given
	// another connection, and the messages of the first are over then.
	pc.Heartbeat, bc.Heartbeat = patience, patience
	x := connect(t, pc, bc, "")
	gen := connected(t, x)
	ctx := limited(t)
	const n = 60
	message := func(from string, disk uint8, i int) []byte {
		return append(fmt.Appendf(nil, "%s %d %d ", from, disk, i), bytes.Repeat([]byte{byte(i)}, i*(MaxDiskMessage-64)/n)...)
	}
	done := make(chan error, 8)
	send := func(d *DiskConn, from string) {
		for i := range n {
			if err := d.Send(ctx, message(from, d.disk, i)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}
	receive := func(d *DiskConn, from string) {
		for i := range n {
			m, err := d.Receive(ctx)
			if err == nil && !bytes.Equal(m, message(from, d.disk, i)) {
				err = fmt.Errorf("message %d of disk %d is another one, of %d bytes", i, d.disk, len(m))
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}
	for _, disk := range []uint8{0, machine.MaxDisks - 1} {
		p, b := x.both(t, gen, disk)
		go send(p, "p")
		go receive(b, "p")
		go send(b, "b")
		go receive(p, "b")
	}
	if err := x.p.SendState(stateOf([]byte("state"))); err != nil {
		t.Fatal(err)
	}
	await(t, x.be, StateReady)
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A receiver that is slow makes the sender wait, and its host is not silent
// meanwhile.
func TestDiskMessagesAreBounded(t *testing.T) {
	pc, bc := config(1), config(2)
	pc.Heartbeat, bc.Heartbeat = time.Hour, time.Hour // a slow host must not make another connection
	x := connect(t, pc, bc, "")
	gen := connected(t, x)
	p, b := x.both(t, gen, 3)
	ctx, stop := context.WithCancel(limited(t))
	sent := make(chan int, 1)
	go func() {
		n := 0
		for p.Send(ctx, make([]byte, MaxDiskMessage)) == nil {
			n++
		}
		sent <- n
	}()
	for deadline := time.Now().Add(patience); !x.b.link.curStalled(); {
		if time.Now().After(deadline) {
			t.Fatal("the backup's reader takes everything")
		}
		time.Sleep(time.Millisecond)
	}
	if since := time.Since(x.b.LastHeard()); since > time.Second {
		t.Errorf("while the reader waits for its own side the peer was last heard %v ago", since)
	}
	if _, err := b.Receive(ctx); err != nil {
		t.Error(err)
	}
	stop()
	// The queues at both ends, and what two sockets' buffers may hold.
	if n := <-sent; n > 2*disksAhead+64 {
		t.Errorf("%d messages were sent and none taken", n)
	}
}

func (l *link) curStalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cur != nil && l.cur.stalled.Load()
}

// Nothing of an old connection shows on a new one, and who waits on the old one
// is told.
func TestDiskMessagesEndWithTheirConnection(t *testing.T) {
	x := connect(t, config(1), config(2), "")
	gen := connected(t, x)
	p, b := x.both(t, gen, 0)
	ctx := limited(t)
	if err := p.Send(ctx, []byte("old")); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := p.Receive(ctx)
		waiting <- err
	}()
	x.p.Drop()
	if err := <-waiting; !errors.Is(err, ErrLost) {
		t.Fatalf("who waits on a lost connection is told %v", err)
	}
	again := await(t, x.be, Connected).Gen
	for d, end := range map[*DiskConn]string{p: "primary", b: "backup"} {
		if err := d.Send(ctx, []byte("late")); !errors.Is(err, ErrLost) {
			t.Errorf("%s: sending on a connection that is gone: %v", end, err)
		}
		if m, err := d.Receive(ctx); !errors.Is(err, ErrLost) {
			t.Errorf("%s: received %q, %v on a connection that is gone", end, m, err)
		}
	}
	if _, err := x.b.Sync(gen, 0); !errors.Is(err, ErrLost) {
		t.Errorf("a connection that is gone is opened: %v", err)
	}
	await(t, x.pe, Connected)
	p, b = x.both(t, again, 0)
	if err := p.Send(ctx, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if m, err := b.Receive(ctx); err != nil || string(m) != "new" {
		t.Errorf("the new connection begins with %q, %v", m, err)
	}
	x.p.Seal()
	if err := p.Send(ctx, []byte("sealed")); err == nil {
		t.Error("sent after the seal")
	}
	if x.p.TellDisk(again, DiskNote{Kind: NoteCommon}) {
		t.Error("told after the seal")
	}
}

func TestDiskNotes(t *testing.T) {
	x := connect(t, config(1), config(2), "")
	gen := connected(t, x)
	fromBackup := []DiskNote{
		{Kind: NoteSynced, Copy: ft.CopyID{1, 15: 2}},
		{Kind: NoteFlushed, Disk: machine.MaxDisks - 1, ID: 1 << 40},
		{Kind: NoteFlushedTo, Seq: 77},
	}
	for _, n := range fromBackup {
		if !x.b.TellDisk(gen, n) {
			t.Fatalf("%+v is not sent", n)
		}
	}
	if !x.p.TellDisk(gen, DiskNote{Kind: NoteCommon, Seq: 9}) {
		t.Fatal("the primary's note is not sent")
	}
	if x.b.TellDisk(gen+1, fromBackup[0]) || x.b.TellDisk(gen-1, fromBackup[0]) {
		t.Error("a note is sent on a connection that is not the newest")
	}
	collect := func(take func([]DiskNote) []DiskNote, wake <-chan struct{}, want []DiskNote) {
		var got []DiskNote
		timeout := time.After(patience)
		for len(got) < len(want) {
			select {
			case <-wake:
				got = take(got)
			case <-timeout:
				t.Fatalf("took %+v; want %+v", got, want)
			}
		}
		for i, n := range want {
			if n.Gen = gen; got[i] != n {
				t.Errorf("note %d is %+v; want %+v", i, got[i], n)
			}
		}
		if again := take(nil); len(again) > 0 {
			t.Errorf("taken twice: %+v", again)
		}
	}
	collect(x.p.DiskNotes, x.p.Wake(), fromBackup)
	collect(x.b.DiskNotes, x.b.Wake(), []DiskNote{{Kind: NoteCommon, Seq: 9}})
}

func TestNoteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := DiskNote{Kind: rapid.SampledFrom([]NoteKind{NoteFlushed, NoteFlushedTo, NoteCommon, NoteSynced, NoteCut, NotePrepared}).Draw(t, "kind")}
		switch n.Kind {
		case NoteFlushed:
			n.Disk, n.ID = rapid.Uint8Max(machine.MaxDisks-1).Draw(t, "disk"), rapid.Uint64().Draw(t, "id")
		case NoteSynced:
			copy(n.Copy[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "copy"))
		case NoteCut:
			n.Seq = replay.Seq(rapid.Uint64().Draw(t, "seq"))
			copy(n.Point[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "point"))
		default:
			n.Seq = replay.Seq(rapid.Uint64().Draw(t, "seq"))
		}
		b := n.append(nil)
		if got, err := decodeNote(n.Kind.from(), b); err != nil || got != n {
			t.Fatalf("%+v, %v; want %+v", got, err, n)
		}
		other := RolePrimary
		if n.Kind.from() == RolePrimary {
			other = RoleBackup
		}
		if _, err := decodeNote(other, b); err == nil || !strings.Contains(err.Error(), "does not belong here") {
			t.Fatalf("the %s says %+v: %v", other, n, err)
		}
		if _, err := decodeNote(n.Kind.from(), b[:len(b)-1]); err == nil {
			t.Fatal("a note that was cut is accepted")
		}
		if _, err := decodeNote(n.Kind.from(), append(b, 0)); err == nil {
			t.Fatal("a note with a tail is accepted")
		}
	})
}

func TestBadDiskFramesAreRefused(t *testing.T) {
	for _, body := range [][]byte{
		{}, {0}, {diskMessage}, {diskMessage, machine.MaxDisks}, append([]byte{diskMessage, 0}, make([]byte, MaxDiskMessage+1)...),
		{diskFlushed, machine.MaxDisks, 1}, {diskFlushed, 0, 0x81, 0}, {diskCommon, 1}, {diskCut, 1}, {diskPrepared}, {diskPrepared + 1},
	} {
		l := &link{role: RolePrimary}
		c := &conn{done: make(chan struct{})}
		l.cur = c
		if err := l.disk(c, body, make(chan struct{}, 1)); err == nil {
			t.Errorf("%d bytes, %x...: accepted", len(body), body[:min(len(body), 4)])
		}
	}
}
