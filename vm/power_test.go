package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// powerEnv, if set, has a child's local disk lie on files that forget, and its map
// cut as often as it may be: "one AREA" or "both AREA", for what a flush waits for
// and which half of the disk the guest uses.
const powerEnv = "LOCKSTEP_TEST_POWER"

// forgetful is the operating system's files for a process whose death is a loss
// of power. Before a sector is overwritten that was not since the last sync, its
// contents go to a journal beside the file: who has killed the process gives them
// back, or not, sector by sector. Names are durable at once.
type forgetful struct{ local.OS }

const journalSuffix = ".forget"

func (f forgetful) Open(path string) (local.File, error) {
	return forgetfully(path)(f.OS.Open(path))
}

func (f forgetful) Create(path string) (local.File, error) {
	return forgetfully(path)(f.OS.Create(path))
}

func (f forgetful) Rename(from, to string) error {
	if err := os.Rename(from+journalSuffix, to+journalSuffix); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

func forgetfully(path string) func(local.File, error) (local.File, error) {
	return func(f local.File, err error) (local.File, error) {
		if err != nil {
			return nil, err
		}
		journal, err := os.OpenFile(path+journalSuffix, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &forgetfulFile{File: f, journal: journal, unsynced: map[int64]bool{}}, nil
	}
}

type forgetfulFile struct {
	local.File
	mu       sync.Mutex
	journal  *os.File
	unsynced map[int64]bool // sectors
}

// before notes what a range holds.
func (f *forgetfulFile) before(off, n int64) error {
	for s := off / 512; s*512 < off+n; s++ {
		if f.unsynced[s] {
			continue
		}
		record := binary.LittleEndian.AppendUint64(nil, uint64(s))
		record = append(record, make([]byte, 512)...)
		if _, err := f.ReadAt(record[8:], s*512); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := f.journal.Write(record); err != nil {
			return err
		}
		f.unsynced[s] = true
	}
	return nil
}

func (f *forgetfulFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.before(off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *forgetfulFile) PunchHole(off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.before(off, n); err != nil {
		return err
	}
	return f.File.PunchHole(off, n)
}

func (f *forgetfulFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.unsynced)
	return f.journal.Truncate(0)
}

func (f *forgetfulFile) Close() error { return errors.Join(f.journal.Close(), f.File.Close()) }

// forget is what a loss of power does to a file of a process that was killed.
func forget(t *testing.T, rng *rand.Rand, path string) {
	t.Helper()
	journal, err := os.ReadFile(path + journalSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for ; len(journal) >= 520; journal = journal[520:] {
		if rng.IntN(2) == 0 {
			scratch(t, path, int64(binary.LittleEndian.Uint64(journal))*512, journal[8:520])
		}
	}
	if err := os.Truncate(path+journalSuffix, 0); err != nil {
		t.Fatal(err)
	}
}

// wide is a toy whose sectors each lie in a region of their own, in one half of
// the disk or the other.
type wide struct {
	*sim.Toy
	area uint64
}

const (
	wideBy      = 2048
	wideSectors = 2 * 16 * wideBy
)

func (w wide) Outputs(buf []machine.Output) []machine.Output { return w.widen(w.Toy.Outputs(buf)) }
func (w wide) Pending(buf []machine.Output) []machine.Output { return w.widen(w.Toy.Pending(buf)) }

func (w wide) widen(all []machine.Output) []machine.Output {
	for i := range all {
		if all[i].Port.Kind == machine.PortDisk && all[i].Op != machine.DiskFlush {
			all[i].Sector = (all[i].Sector + 16*w.area) * wideBy
		}
	}
	return all
}

// corruptible is a machine that counts what it reads and has not written, and what
// has failed.
type corruptible interface {
	Corrupt() uint64
	Failed() uint64
}

// forgetting changes a child's configuration if powerEnv is set.
func (s *stage) forgetting(c *Config) {
	var flush string
	var area uint64
	if n, _ := fmt.Sscan(os.Getenv(powerEnv), &flush, &area); n != 2 {
		return
	}
	c.files, c.cutEvery, c.cutRegions = forgetful{}, 10*time.Millisecond, 1
	c.Disks[0].FlushBoth = flush == "both"
	c.Machine.Disks[0].Sectors = wideSectors
	c.Timeout = 10 * time.Second // a killed process is refused at once
	c.Force = true               // whoever ran it has lost its power
	c.wrapCopy = s.audit
	c.build = func(*machine.Config, machine.Birth) (machine.Machine, error) {
		return wide{sim.NewToy(s.toy), area}, nil
	}
}

// audited is a copy that tells, in a file that outlives the process, what was
// written to it and what was flushed.
type audited struct {
	storage.Backend
	mu    sync.Mutex
	file  *os.File
	wrote int64
}

// A record is an offset and the first bytes of what was written there, once with
// begun before the write and once after it; or, with the offset flushed, how many
// of the records before it were flushed.
const (
	recordSize = 24
	flushed    = ^uint64(0)
	begun      = uint64(1) << 62
)

func (s *stage) audit(b storage.Backend) storage.Backend {
	f, err := os.Create(s.disk() + ".audit")
	if err != nil {
		panic(err)
	}
	return &audited{Backend: b, file: f}
}

func (a *audited) record(off uint64, b []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrote++
	_, err := a.file.Write(append(binary.LittleEndian.AppendUint64(nil, off), b[:recordSize-8]...))
	return err
}

func (a *audited) WriteAt(p []byte, off int64) error {
	if err := a.record(uint64(off)|begun, p); err != nil {
		return err
	}
	if err := a.Backend.WriteAt(p, off); err != nil {
		return err
	}
	return a.record(uint64(off), p)
}

func (a *audited) Sync() error {
	a.mu.Lock()
	before := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), uint64(a.wrote))
	a.mu.Unlock()
	if err := a.Backend.Sync(); err != nil {
		return err
	}
	return a.record(flushed, before[:16])
}

// audits compares what a copy holds after a loss of power with what was flushed.
func (s *stage) audits(host string) {
	s.t.Helper()
	image, records := readImage(s.t, s.on(host).disk()), readImage(s.t, s.on(host).disk()+".audit")
	at := func(i int) (off uint64, b []byte) {
		r := records[i*recordSize : (i+1)*recordSize]
		return binary.LittleEndian.Uint64(r), r[8:]
	}
	n, floor := len(records)/recordSize, 0
	for i := range n {
		if off, b := at(i); off == flushed {
			floor = max(floor, int(binary.LittleEndian.Uint64(b)))
		}
	}
	last := map[uint64]int{} // of the writes that were flushed
	for i := range floor {
		if off, _ := at(i); off&begun == 0 {
			last[off] = i
		}
	}
	for off, first := range last {
		found := false
		for i := first; i < n && !found; i++ {
			o, b := at(i)
			found = o&^begun == off && bytes.Equal(b, image[off:][:len(b)])
		}
		if !found {
			s.t.Errorf("host %s: what was flushed at %d is lost", host, off)
		}
	}
	if len(last) == 0 {
		s.t.Logf("host %s: nothing was flushed", host)
	}
}

// newWideStage has hosts a and b with an image each.
func newWideStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	for _, host := range []string{"a", "b"} {
		if err := errors.Join(os.WriteFile(s.on(host).disk(), nil, 0o600), os.Truncate(s.disk(), wideSectors*512)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// losePower is what the host of a replica that was killed has lost with it.
func (s *stage) losePower(rng *rand.Rand, p *process, host string) {
	s.t.Helper()
	<-p.done
	forget(s.t, rng, s.on(host).disk())
	forget(s.t, rng, s.on(host).disk()+".lockstep")
}

// wideCopies are hosts with a copy each of a wide toy's disk, with what a flush
// waits for.
type wideCopies struct {
	*stage
	flush string
}

// start runs a pair whose guest uses an area of the disk.
func (s wideCopies) start(primary, backup string, area int) (live, other *process) {
	s.t.Helper()
	s.t.Setenv(powerEnv, fmt.Sprint(s.flush, " ", area))
	other = s.on(backup).start("backup")
	live = s.on(primary).start("primary", other.address(s.t))
	return live, s.armed(live, other, backup, 1)
}

// alike starts a pair whose guest leaves an area alone, so that nothing but the
// re-synchronisation makes the copies alike there, and sees that it has.
func (s wideCopies) alike(primary, backup string, area int) {
	s.t.Helper()
	live, other := s.start(primary, backup, 1-area)
	live.signal(s.t, syscall.SIGTERM)
	for _, p := range []*process{live, other} {
		<-p.done
		if p.ProcessState.ExitCode() != int(Ended) || p.log.has(EventDiverged) {
			s.t.Errorf("it ends with %v; told %v", p.ProcessState, p.log.list)
		}
	}
	if live.log.countText("compared") != 1 || live.log.countText("all blocks") != 0 {
		s.t.Errorf("told %v", live.log.list)
	}
	const half = wideSectors / 2 * 512
	x, y := readImage(s.t, s.on("a").disk()), readImage(s.t, s.on("b").disk())
	if !bytes.Equal(x[half*area:][:half], y[half*area:][:half]) {
		s.t.Fatal("the copies differ")
	}
}

// DESIGN section 7: "Crash of a host in mid-write must leave an image that its
// re-sync repairs": whichever host of a pair loses its power, whatever its copy
// and sidecar had not synced, and wherever the pair is on its way to a common
// point, the next pairing makes the copies alike, by their maps.
func TestPowerLossOfOneHost(t *testing.T) {
	for _, flush := range []string{"one", "both"} {
		t.Run("flush "+flush, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(len(flush))))
			s := wideCopies{newWideStage(t), flush}
			a, b := "a", "b"
			live, other := s.start(a, b, 0)
			all := []*process{live}
			for round := range 8 {
				other = s.armed(live, other, b, round+1)
				all = append(all, other)
				time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
				dead := other
				if rng.IntN(2) == 0 {
					dead, live, a, b = live, other, b, a
				}
				_ = dead.Process.Kill()
				s.losePower(rng, dead, b)
				live.log.awaitText(t, claimed(round+1))
				other = s.on(b).start("backup", dead.address(t))
			}
			other = s.armed(live, other, b, 9)
			all = append(all, other)
			_ = live.Process.Kill()
			_ = other.Process.Kill()
			full, told := 0, 0
			for _, p := range all {
				<-p.done
				if p.log.has(EventDiverged) {
					t.Errorf("told %v", p.log.list)
				}
				full += p.log.countText("all blocks")
				told += p.log.countText("is up to date")
			}
			if full != 1 || told != 9 {
				t.Errorf("%d of %d re-synchronisations were about all blocks", full, told)
			}
			if c := s.copyOn(a); s.record().Primary != c.Copy {
				a, b = b, a // it has claimed while the other one died
			}
			s.alike(a, b, 0)
		})
	}
}

// Both hosts lose their power: the copies are alike after it only if the maps of
// both cover all that may differ. What a copy was told to flush it has.
func TestPowerLossOfBothHosts(t *testing.T) {
	for _, flush := range []string{"one", "both"} {
		t.Run("flush "+flush, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, uint64(len(flush))))
			s := wideCopies{newWideStage(t), flush}
			for round := range 12 {
				primary, backup := s.start("a", "b", round%2)
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				// The backup first, which else might go live.
				_ = backup.Process.Kill()
				_ = primary.Process.Kill()
				s.losePower(rng, primary, "a")
				s.losePower(rng, backup, "b")
				s.audits("a")
				s.audits("b")
				s.alike("a", "b", round%2)
			}
		})
	}
}

// armed waits until both are armed for an epoch. A backup that is not armed leaves
// when its connection is lost: then another one is started on its host.
func (s wideCopies) armed(live, other *process, host string, epoch int) (backup *process) {
	s.t.Helper()
	text := fmt.Sprintf("armed for epoch %d", epoch)
	for end := time.Now().Add(patience); !live.log.says(text) || !other.log.says(text); time.Sleep(time.Millisecond) {
		select {
		case <-other.done:
			other = s.on(host).start("backup", other.address(s.t))
		default:
		}
		if time.Now().After(end) {
			s.t.Fatalf("nothing said %q among %v and %v", text, live.log.list, other.log.list)
		}
	}
	return other
}

// claimed is what who has won an epoch says when it goes on alone.
func claimed(epoch int) string {
	return fmt.Sprintf("outputs leave at once; won the claim of epoch %d", epoch)
}

// countText is how many events have the text.
func (e *events) countText(text string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.list {
		if strings.Contains(ev.Text, text) {
			n++
		}
	}
	return n
}
