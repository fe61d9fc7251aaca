package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

func fencedBy(t *testing.T, err error, by ft.Fence) {
	t.Helper()
	var fenced storage.ErrFenced
	if !errors.As(err, &fenced) || fenced.By != by {
		t.Fatalf("%v; want to be fenced off by %v", err, by)
	}
}

// DESIGN R19: a connection with a lower number is refused, and so is another
// process with the same one.
func TestGreatestNumberWins(t *testing.T) {
	a := address(t, serve(t, image(t, diskSize)))
	first := open(t, a, 1)
	claim(t, first, number(1, 3))
	if err := first.WriteAt(block(1), 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range []ft.Fence{number(1, 3), number(1, 2), number(0, 9)} {
		fencedBy(t, open(t, a, 2).Claim(t.Context(), n, nil), number(1, 3))
	}
	// A client that is refused or overtaken says the same; the store's own word:
	p := greeted(t, a)
	defer p.close()
	p.option(nbd.OptFence, nbd.Fence{Process: process(2), Number: number(1, 3), Export: "disk0", VM: "web"}.Append(nil))
	if kind, text := p.optionEnd(); kind != nbd.RepErrFenced {
		t.Fatalf("the same number of another process: %#x %s", kind, text)
	}
	claim(t, first, number(1, 3)) // asked again
	second := open(t, a, 2)
	claim(t, second, number(2, 0)) // a later run
	fencedBy(t, first.WriteAt(block(2), 0), number(2, 0))
	fencedBy(t, first.Sync(), number(2, 0))
	fencedBy(t, first.ReadAt(make([]byte, 512), 0), number(2, 0))
	fencedBy(t, first.Claim(t.Context(), number(3, 0), nil), number(2, 0))
	if err := second.WriteAt(block(3), 0); err != nil {
		t.Fatal(err)
	}
	other, err := nbd.Open(t.Context(), nbd.Config{Address: a, VM: "mail", Process: process(9)})
	if err == nil {
		other.Close()
	}
	fencedBy(t, err, number(2, 0))
	if !strings.Contains(err.Error(), "belongs to VM web") {
		t.Errorf("another VM: %v", err)
	}
}

// DESIGN R19: "A write that the old primary had in flight may reach a shared disk
// late and land over newer data". The old primary is frozen in the middle of a
// write: half of it has reached the store.
func TestLateWriteOfFrozenClientIsDiscarded(t *testing.T) {
	for _, cut := range []int{1, nbd.RequestSize - 1, nbd.RequestSize, nbd.RequestSize + 2048, nbd.RequestSize + 4095} {
		path := image(t, diskSize)
		said := &notes{}
		s := serve(t, path, func(c *Config) { c.Note = said.add })
		p := newProxy(t, address(t, s))
		old := open(t, p.address(), 1)
		claim(t, old, number(1, 1))
		if err := old.WriteAt(block(1), 0); err != nil {
			t.Fatal(err)
		}
		g := p.fresh()
		g.arm(cut)
		late := make(chan error, 1)
		go func() { late <- old.WriteAt(block(2), 0) }()
		<-g.stuck

		winner := open(t, address(t, s), 2)
		claim(t, winner, number(1, 3)) // at once: the frozen one is not waited for
		if err := winner.WriteAt(block(3), 0); err != nil {
			t.Fatal(err)
		}
		g.thaw()
		fencedBy(t, <-late, number(1, 3))
		said.until(t, "cut off from export disk0")
		if got := onDisk(t, path, 0); got != 3 {
			t.Errorf("held back after %d bytes: in the file is %d, want the winner's 3", cut, got)
		}
	}
}

// The same process comes again on a new connection. What the old connection
// still brings must not land after what the new one wrote.
func TestLateWriteOfOwnOldConnectionIsDiscarded(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	a := address(t, s)
	old := greeted(t, a)
	defer old.close()
	f := nbd.Fence{Process: process(1), Number: number(1, 1), Export: "disk0", VM: "web"}
	enter := func(p *raw) {
		p.option(nbd.OptFence, f.Append(nil))
		if kind, text := p.optionEnd(); kind != nbd.RepAck {
			t.Fatalf("%#x %s", kind, text)
		}
		p.option(nbd.OptGo, nbd.Select{Export: "disk0"}.Append(nil))
		if kind, text := p.optionEnd(); kind != nbd.RepAck {
			t.Fatalf("%#x %s", kind, text)
		}
	}
	enter(old)
	words := append(nbd.Request{Type: nbd.CmdWrite, Handle: 1, Length: 4096}.Append(nil), block(1)...)
	old.raw.Write(words[:100])
	again := greeted(t, a)
	defer again.close()
	enter(again)
	again.send(nbd.Request{Type: nbd.CmdWrite, Handle: 1, Length: 4096}, block(2))
	again.expect(1, 0, 0)
	old.raw.Write(words[100:])
	old.gone()
	if got := onDisk(t, path, 0); got != 2 {
		t.Errorf("in the file is %d", got)
	}
}

// What has entered is waited for; what has not is answered with an error.
func TestClaimWaitsForWritesUnderWay(t *testing.T) {
	s := serve(t, image(t, diskSize))
	e := s.exports["disk0"]
	cut := make(chan struct{})
	m := &member{role: plain, cut: func() { close(cut) }}
	if err := e.attach(m); err != nil {
		t.Fatal(err)
	}
	if !e.enter(m) {
		t.Fatal("not let in")
	}
	under := make(chan int)
	go func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.expel(func(*member) bool { return true })
		under <- m.in
	}()
	<-cut
	left := make(chan struct{})
	go func() { e.leave(m); close(left) }()
	if n := <-under; n != 0 {
		t.Errorf("cut off with %d writes under way", n)
	}
	<-left
	if e.enter(m) {
		t.Error("let in after the cut")
	}
}

// A queued request is discarded and answered with an error.
func TestQueuedWriteIsAnsweredWithAnError(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	p := plainClient(t, address(t, s))
	defer p.close()
	p.send(nbd.Request{Type: nbd.CmdRead, Handle: 1, Length: 512}, nil)
	p.expect(1, 0, 512)
	// Cut off, but not yet hung up on: what comes now was queued before.
	e := s.exports["disk0"]
	e.mu.Lock()
	for m := range e.members {
		m.out = true
	}
	e.mu.Unlock()
	p.send(nbd.Request{Type: nbd.CmdWrite, Handle: 2, Length: 4096}, block(1))
	p.expect(2, nbd.ESHUTDOWN, 0)
	if got := onDisk(t, path, 0); got != 0 {
		t.Errorf("in the file is %d", got)
	}
}

func TestPlainClientIsRefusedWhereAnExportIsClaimed(t *testing.T) {
	s := serve(t, image(t, diskSize))
	a := address(t, s)
	before := plainClient(t, a)
	defer before.close()
	before.send(nbd.Request{Type: nbd.CmdWrite, Handle: 1, Length: 512}, make([]byte, 512))
	before.expect(1, 0, 0)
	claim(t, open(t, a, 1), number(1, 1))
	before.gone() // it was cut off
	p := greeted(t, a)
	defer p.close()
	for _, option := range []uint32{nbd.OptInfo, nbd.OptGo} {
		p.option(option, nbd.Select{Export: "disk0"}.Append(nil))
		kind, text := p.optionEnd()
		if kind != nbd.RepErrPolicy || !strings.Contains(text, "belongs to VM web") || !strings.Contains(text, "lockstep store release --vm web") {
			t.Errorf("option %d: %#x %q", option, kind, text)
		}
	}
	p.option(nbd.OptExportName, []byte("disk0"))
	p.gone()
}

// The claim outlives the store, and only a person takes it back.
func TestClaimIsGivenUpOnlyByAPerson(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	old := open(t, address(t, s), 1)
	claim(t, old, number(5, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old.Close()
	s = serve(t, path)
	a := address(t, s)
	fencedBy(t, open(t, a, 2).Claim(t.Context(), number(1, 1), nil), number(5, 1))
	if err := nbd.GiveUp(t.Context(), a, "mail"); err == nil || !strings.Contains(err.Error(), "belongs to VM web, not to mail") {
		t.Fatalf("release for another VM: %v", err)
	}
	held := open(t, a, 1)
	claim(t, held, number(5, 1))
	if err := nbd.GiveUp(t.Context(), a, "web"); err != nil {
		t.Fatal(err)
	}
	fencedBy(t, held.WriteAt(block(1), 0), number(5, 1)) // it is told, and halts
	fencedBy(t, open(t, a, 1).Claim(t.Context(), number(9, 1), nil), number(5, 1))
	if err := nbd.GiveUp(t.Context(), a, "web"); err == nil || !strings.Contains(err.Error(), "is not claimed") {
		t.Errorf("released twice: %v", err)
	}
	plainClient(t, a).close()
	if err := s.Close(); err != nil { // a release is durable too
		t.Fatal(err)
	}
	s = serve(t, path)
	a = address(t, s)
	plainClient(t, a).close()
	claim(t, open(t, a, 3), number(1, 1))
}

// The backup reads the disk that the primary writes (`reads: backup`), and is
// nobody's writer.
func TestReaderBesideTheWriter(t *testing.T) {
	a := address(t, serve(t, image(t, diskSize)))
	backup := open(t, a, 2)
	primary := open(t, a, 1)
	claim(t, primary, number(1, 1))
	for i := range byte(5) {
		if err := primary.WriteAt(block(i), 0); err != nil {
			t.Fatal(err)
		}
		have := make([]byte, 4096)
		if err := backup.ReadAt(have, 0); err != nil || !bytes.Equal(have, block(i)) {
			t.Fatalf("read %d: %v", i, err)
		}
	}
	if err := backup.WriteAt(block(9), 0); err == nil {
		t.Error("the reader wrote")
	}
	claim(t, backup, number(1, 3))
	if err := backup.WriteAt(block(9), 0); err != nil {
		t.Error(err)
	}
	fencedBy(t, primary.WriteAt(block(1), 0), number(1, 3))
}

// crashing is a record whose server dies at a step of its save.
type crashing struct {
	recordFile
	before, after func() // the record is on stable storage
}

var errCrashed = errors.New("crashed")

func (c *crashing) save(r record) error {
	if c.before != nil {
		c.before()
		return errCrashed
	}
	err := c.recordFile.save(r)
	if c.after != nil {
		c.after()
		return errCrashed
	}
	return err
}

// The server dies between the fsync of a claim and its answer: the claimer does
// not know, asks again, and has it; nobody with a smaller number does.
func TestServerDiesBetweenFsyncAndAnswer(t *testing.T) {
	path := image(t, diskSize)
	s := serve(t, path)
	p := newProxy(t, address(t, s))
	old := open(t, p.address(), 1)
	claim(t, old, number(1, 1))
	e := s.exports["disk0"]
	died := make(chan struct{})
	var once sync.Once
	e.records = &crashing{recordFile: e.records.(recordFile), after: func() {
		once.Do(func() {
			p.listener.Close() // nothing reaches the dying server
			p.cut()
			close(died)
		})
	}}
	winner := open(t, address(t, s), 2)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- winner.Claim(ctx, number(1, 3), nil) }()
	<-died
	cancel()
	<-result
	winner.Close()
	old.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = serve(t, path)
	fencedBy(t, open(t, address(t, s), 1).Claim(t.Context(), number(1, 1), nil), number(1, 3))
	again := open(t, address(t, s), 2)
	claim(t, again, number(1, 3))
	if err := again.WriteAt(block(1), 0); err != nil {
		t.Error(err)
	}
}

// Before the fsync nothing has happened: the old writer goes on.
func TestClaimThatCannotBeWrittenDownIsNone(t *testing.T) {
	s := serve(t, image(t, diskSize))
	a := address(t, s)
	old := open(t, a, 1)
	claim(t, old, number(1, 1))
	e := s.exports["disk0"]
	kept := e.records.(recordFile)
	e.records = &crashing{recordFile: kept, before: func() {}}
	winner := open(t, a, 2)
	if err := winner.Claim(t.Context(), number(1, 3), nil); err == nil || !strings.Contains(err.Error(), "cannot be written down") {
		t.Fatalf("claim: %v", err)
	}
	if err := old.WriteAt(block(1), 0); err != nil {
		t.Fatal(err)
	}
	e.claiming.Lock()
	e.records = kept
	e.claiming.Unlock()
	claim(t, winner, number(1, 3))
	fencedBy(t, old.WriteAt(block(1), 0), number(1, 3))
}

func TestRecordIsChecked(t *testing.T) {
	r := record{VM: "web", Number: number(3, 4), Process: process(7)}
	good := r.encode()
	if have, err := decodeRecord(good); err != nil || have != r {
		t.Fatalf("%+v, %v", have, err)
	}
	r.Released = true
	if have, err := decodeRecord(r.encode()); err != nil || have != r {
		t.Fatalf("%+v, %v", have, err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if have, err := decodeRecord(bad); err == nil {
			t.Errorf("byte %d altered: %+v", i, have)
		}
		if have, err := decodeRecord(good[:i]); err == nil {
			t.Errorf("cut after %d bytes: %+v", i, have)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(record{VM: "web", Number: number(3, 4)}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRecord(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("%+v", r)
		}
	})
}

// State that is kept elsewhere is found again there.
func TestStateDirectory(t *testing.T) {
	path, state := image(t, diskSize), t.TempDir()+"/state"
	with := func(c *Config) { c.State = state }
	s := serve(t, path, with)
	claim(t, open(t, address(t, s), 1), number(1, 3))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".fence"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a record beside the file: %v", err)
	}
	s = serve(t, path, with)
	fencedBy(t, open(t, address(t, s), 2).Claim(t.Context(), number(1, 2), nil), number(1, 3))
}
