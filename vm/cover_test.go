package vm

import (
	"io"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
	"github.com/lockstep-vm/lockstep/sim"
	"github.com/lockstep-vm/lockstep/storage"
)

// leaving is a machine out of which comes what a test says.
type leaving struct {
	machine.Machine
	out []machine.Output
}

func (l *leaving) Outputs(buf []machine.Output) []machine.Output { return append(buf, l.out...) }

// Disk writes of a guest that runs on share a marker. No output is without one
// when the guest waits, after coverAfter, or behind one for which somebody may wait.
func TestDiskWritesShareAMarker(t *testing.T) {
	const writes = 5
	for name, c := range map[string]struct {
		then    func(r *Replica, m *leaving)
		covered bool
	}{
		"the guest runs on":      {func(r *Replica, _ *leaving) { r.flush() }, false},
		"it has run for a while": {func(r *Replica, _ *leaving) { r.live.leftAt -= coverAfter; r.flush() }, true},
		"it waits":               {func(r *Replica, _ *leaving) { r.sleep(0) }, true},
		"a frame leaves": {func(r *Replica, m *leaving) {
			m.out = []machine.Output{{Port: machine.Port{Kind: machine.PortNIC}, Bytes: []byte("a frame")}}
			r.collect()
		}, true},
		"the log is sent": {func(r *Replica, _ *leaving) { r.send() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			recorder, err := replay.NewRecorder(io.Discard, replay.Header{})
			if err != nil {
				t.Fatal(err)
			}
			m := &leaving{Machine: sim.NewToy(sim.ToyConfig{})}
			r := &Replica{start: time.Now().Add(-time.Hour), box: newMailbox(), m: m, recorder: recorder, cfg: Config{Disks: make([]Disk, 1)}}
			r.nextTick = time.Duration(r.now())
			r.out = newOutlet(r.now, func() {})
			disk := storage.NewDisk(blind{}, storage.DiskOptions{Done: func(machine.DiskDone) {}})
			disk.Use()
			r.disks = []*storage.Disk{disk}
			for id := range uint64(writes) {
				m.out = []machine.Output{{Port: machine.Port{Kind: machine.PortDisk}, ID: id + 1, Op: machine.DiskWrite, Sector: id, Bytes: make([]byte, 512)}}
				r.collect()
			}
			if r.last.Seq != 0 || !r.out.gate.Uncovered() {
				t.Errorf("%d entries after %d writes of a guest that runs on", r.last.Seq, writes)
			}
			c.then(r, m)
			want := replay.Seq(0)
			if c.covered {
				want = 1
			}
			if r.last.Seq != want || r.out.gate.Uncovered() == c.covered {
				t.Errorf("%d entries, want %d; something is without a marker: %v", r.last.Seq, want, r.out.gate.Uncovered())
			}
		})
	}
}
