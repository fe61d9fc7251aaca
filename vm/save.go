package vm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
	"github.com/lockstep-vm/lockstep/replay"
)

// EventSaved: a snapshot of the running VM was written.
const EventSaved EventKind = "saved"

// savePatience bounds how long the guest stands still, in ns, until nothing is
// held at the gate. After that the VM goes on without a snapshot.
const savePatience = 2_000_000_000

// Saved is a snapshot that was written.
type Saved struct {
	Path  string
	Pos   machine.Icount
	Size  int64         // of the file, in bytes
	Stood time.Duration // how long the guest stood still for it
}

// saving is a snapshot that was asked for and waits until the gate is empty.
type saving struct {
	path  string
	guest snapshot.Guest
	since int64 // host time at which the guest stopped
	done  chan<- saveResult
}

type saveResult struct {
	saved Saved
	err   error
}

// Save writes a snapshot of the running VM to a file, whole or not at all, and
// returns when it is there; a file of that name is replaced. With an empty path
// the name is NAME-POSITION.snapshot, in the present directory. It fails at a
// backup, and while another snapshot is being written. It may be called from any
// goroutine but Run's, while Run runs or before it.
func (r *Replica) Save(path string) (Saved, error) {
	done := make(chan saveResult, 1)
	guest := snapshot.GuestOf(r.cfg.Machine) // hashes much: not while the guest stands still
	r.box.do(func() { r.beginSave(&saving{path: path, guest: guest, done: done}) })
	select {
	case res := <-done:
		return res.saved, res.err
	case <-r.gone:
	}
	select {
	case res := <-done:
		return res.saved, res.err
	default:
		return Saved{}, errors.New("vm: no snapshot: the VM has ended")
	}
}

// beginSave stops the guest for a snapshot.
func (r *Replica) beginSave(s *saving) {
	why := ""
	switch {
	case r.saving != nil || r.writing:
		why = "another one is being written; try again after it"
	case r.backup != nil:
		why = "this is the backup; save at the primary"
	case !r.running():
		why = "the VM does not run yet; try again when it does"
	case r.live.exit == machine.PoweredOff:
		why = "the guest is off"
	}
	if why != "" {
		r.notSaved(s, errors.New("vm: no snapshot: "+why))
		return
	}
	s.since = r.now()
	r.saving = s
}

func (r *Replica) notSaved(s *saving, err error) {
	r.event(EventNote, "%v", err)
	s.done <- saveResult{err: err}
}

// save takes the snapshot that was asked for, if it can be taken: State does not
// have what waits at the gate, so the guest stands still until that is empty
// (R11). Disk requests that are not completed are in State. False while the
// guest must not go on.
func (r *Replica) save() bool {
	s := r.saving
	if !r.out.empty() {
		if r.now()-s.since < savePatience {
			return false
		}
		r.saving = nil
		r.notSaved(s, fmt.Errorf("vm: no snapshot: outputs wait at the gate for more than %v; try again when the VM is protected, or alone", time.Duration(savePatience)))
		return true
	}
	r.saving = nil
	h := r.header(s.guest)
	var state memory
	if err := r.m.Save(&state); err != nil {
		panic(fmt.Sprintf("BUG: vm: saving to memory failed: %v", err))
	}
	h.Size = state.size
	if s.path == "" {
		s.path = fmt.Sprintf("%s-%d.snapshot", h.VM, h.Pos)
	}
	saved := Saved{Path: s.path, Pos: h.Pos, Stood: time.Duration(r.now() - s.since)}
	r.writing = true
	r.task(func() {
		var err error
		saved.Size, err = writeSnapshot(s.path, h, state.reader())
		r.box.do(func() {
			r.writing = false
			if err != nil {
				r.event(EventNote, "no snapshot: %v", err)
				return
			}
			r.event(EventSaved, "saved %d MB to %s at position %d; the guest stood still for %d ms", saved.Size>>20, saved.Path, saved.Pos, saved.Stood.Milliseconds())
		})
		s.done <- saveResult{saved, err}
	})
	return true
}

// header tells of the State at the present position.
func (r *Replica) header(guest snapshot.Guest) snapshot.FileHeader {
	return snapshot.FileHeader{
		VM: r.cfg.Name, RunOrdinal: r.run.Ordinal, RunID: r.run.ID, Taken: time.Now().Unix(),
		Pos: r.m.Icount(), Digest: r.m.Digest(), LogSeq: uint64(r.last.Seq), Machine: guest,
	}
}

// empty says whether nothing is held.
func (x *outlet) empty() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, _ := x.gate.Waiting()
	return n == 0
}

// memory is a State that was saved: pieces, which need not be copied to grow.
type memory struct {
	pieces [][]byte
	size   uint64
}

const memoryPiece = 4 << 20

func (m *memory) Write(p []byte) (int, error) {
	n := len(p)
	m.size += uint64(n)
	for len(p) > 0 {
		last := len(m.pieces) - 1
		if last < 0 || len(m.pieces[last]) == memoryPiece {
			m.pieces = append(m.pieces, make([]byte, 0, memoryPiece))
			last++
		}
		take := min(len(p), memoryPiece-len(m.pieces[last]))
		m.pieces[last], p = append(m.pieces[last], p[:take]...), p[take:]
	}
	return n, nil
}

func (m *memory) reader() io.Reader {
	readers := make([]io.Reader, len(m.pieces))
	for i, p := range m.pieces {
		readers[i] = bytes.NewReader(p)
	}
	return io.MultiReader(readers...)
}

// writeSnapshot writes a snapshot file, which is there whole and durable, or not
// at all. Only its owner may read it: it holds all that the guest had in memory.
func writeSnapshot(path string, h snapshot.FileHeader, state io.Reader) (size int64, err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, fmt.Errorf("vm: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // again, perhaps
			err = fmt.Errorf("vm: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := snapshot.WriteFile(w, h, state); err != nil {
		return 0, err
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return 0, err
	}
	// The file is there under its name; make the name durable too.
	d, err := os.Open(dir)
	if err != nil {
		return info.Size(), nil
	}
	_ = d.Sync() // some file systems have no such thing
	_ = d.Close()
	return info.Size(), nil
}

// LoadSnapshot makes a machine of configuration mc in the State of a snapshot
// file, checked to the end, and says what the file's header tells.
func LoadSnapshot(path string, mc *machine.Config, build func(*machine.Config, machine.Birth) (machine.Machine, error)) (machine.Machine, snapshot.FileHeader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, snapshot.FileHeader{}, fmt.Errorf("vm: %w", err)
	}
	defer file.Close()
	m, h, err := loadSnapshot(bufio.NewReaderSize(file, 1<<20), mc, build)
	if err != nil {
		return nil, h, fmt.Errorf("vm: %s: %w", path, err)
	}
	return m, h, nil
}

func loadSnapshot(in io.Reader, mc *machine.Config, build func(*machine.Config, machine.Birth) (machine.Machine, error)) (machine.Machine, snapshot.FileHeader, error) {
	f, err := snapshot.OpenFile(in)
	if err != nil {
		return nil, snapshot.FileHeader{}, err
	}
	defer f.Close()
	h := f.Header()
	if err := h.Machine.Fits(mc); err != nil {
		return nil, h, err
	}
	m, err := build(mc, machine.Birth{})
	if err != nil {
		return nil, h, err
	}
	return m, h, f.LoadInto(m)
}

// firstState makes the machine of a new run, at power-on or in the State of a
// snapshot, and says how a log of the run begins.
func (r *Replica) firstState(birth machine.Birth) (replay.Header, error) {
	head := replay.Header{VM: r.cfg.Name, ConfigHash: r.cfg.Machine.Hash()}
	if r.cfg.Restore == "" {
		m, err := r.build(r.cfg.Machine, birth)
		r.m, head.Birth = m, birth
		return head, err
	}
	m, h, err := LoadSnapshot(r.cfg.Restore, r.cfg.Machine, r.build)
	if err != nil {
		return head, err
	}
	r.m = m
	r.last = replay.Point{Seq: replay.Seq(h.LogSeq), Pos: h.Pos}
	r.restored = &h
	head.Start, head.StartDigest = r.last, h.Digest
	return head, nil
}

// tellRestored says what a person should know of a VM that goes on from a
// snapshot.
func (r *Replica) tellRestored() {
	h := r.restored
	taken := time.Unix(h.Taken, 0)
	r.event(EventNote, "restored from %s: position %d, taken %s; the guest's clock goes on from there", r.cfg.Restore, h.Pos, taken.UTC().Format(time.RFC3339))
	for i, d := range r.cfg.Disks {
		if d.ReadOnly {
			continue
		}
		if info, err := os.Stat(d.Path); err == nil && info.ModTime().After(taken.Add(time.Second)) {
			r.event(EventNote, "disk %d, %s, was written after the snapshot was taken: unless it is the image of that moment, stop the VM at once, or the guest will damage it", i, d.Path)
		}
	}
}

// recordReceived opens the recording of a backup: a snapshot file with the State
// that the primary has sent, and a log that begins there.
func (r *Replica) recordReceived(state *logchan.ReceivedState) {
	if r.cfg.Record == nil {
		return
	}
	h := r.header(snapshot.GuestOf(r.cfg.Machine))
	h.Size = uint64(state.Size)
	rec, err := replay.NewRecorder(r.cfg.Record, replay.Header{
		VM: h.VM, ConfigHash: h.Machine.Hash, RunOrdinal: h.RunOrdinal, RunID: h.RunID,
		Start: replay.Point{Seq: r.last.Seq, Pos: h.Pos}, StartDigest: h.Digest,
	})
	if err != nil {
		r.recordLost(err)
		return
	}
	r.recorder = rec
	r.task(func() {
		err := func() error {
			in, err := state.Open()
			if err != nil {
				return err
			}
			defer in.Close()
			_, err = writeSnapshot(r.cfg.RecordState, h, in)
			return err
		}()
		if err != nil {
			r.box.do(func() { r.recordLost(err) })
		}
	})
}

// recordEntries records what a backup has received.
func (r *Replica) recordEntries(entries []replay.Entry) {
	if r.recorder == nil {
		return
	}
	for _, e := range entries {
		if err := r.recorder.Append(e); err != nil {
			r.recordLost(err)
			return
		}
	}
}

// recordLost ends a backup's recording: to protect the VM comes first, also
// after it has gone live.
func (r *Replica) recordLost(err error) {
	r.recorder = nil
	r.event(EventNote, "the recording ends here: %v", err)
}
