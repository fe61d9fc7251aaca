package hart_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// A snapshot that is cut short is refused, and leaves the hart as it was.
func TestShortSnapshotIsRefused(t *testing.T) {
	w := newWorld(hartOptions)
	e := snapshot.NewEncoder(nil)
	w.Save(e)
	before := w.state()
	for n := range e.Bytes() {
		if w.Hart.Load(snapshot.NewDecoder(e.Bytes()[:n])) == nil {
			t.Fatalf("%d of %d bytes were taken", n, len(e.Bytes()))
		}
	}
	if w.state() != before {
		t.Error("a refused snapshot changed the hart")
	}
}

// Whatever a damaged snapshot says, the hart refuses it or runs.
func TestDamagedSnapshotCannotCrash(t *testing.T) {
	e := snapshot.NewEncoder(nil)
	newWorld(hartOptions).Save(e)
	rapid.Check(t, func(t *rapid.T) {
		b := append([]byte(nil), e.Bytes()...)
		for range rapid.IntRange(1, 8).Draw(t, "bytes") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "b")
		}
		w := newWorld(hartOptions)
		if w.Hart.Load(snapshot.NewDecoder(b)) == nil {
			w.Run(w.Icount + 100)
		}
	})
}

// Values that no run can lead to are refused.
func TestImpossibleStateIsRefused(t *testing.T) {
	for name, damage := range map[string]func(s *hart.State){
		"x0":                             func(s *hart.State) { s.X[0] = 1 },
		"odd pc":                         func(s *hart.State) { s.PC++ },
		"mode 2":                         func(s *hart.State) { s.Priv = 2 },
		"clock of the future":            func(s *hart.State) { s.Clock.I0 = s.Icount + 1 },
		"reservation outside RAM":        func(s *hart.State) { s.Reserved, s.Reservation = true, 0x1000 },
		"satp":                           func(s *hart.State) { s.Satp = 9 << 60 },
		"mstatus":                        func(s *hart.State) { s.Mstatus |= 1 << 9 },
		"MPP":                            func(s *hart.State) { s.Mstatus |= 2 << 11 },
		"medeleg":                        func(s *hart.State) { s.Medeleg = 1 << 11 },
		"lines":                          func(s *hart.State) { s.Lines = 1 },
		"fcsr":                           func(s *hart.State) { s.Fflags = 32 },
		"mcounteren":                     func(s *hart.State) { s.Mcounteren = 8 },
		"menvcfg":                        func(s *hart.State) { s.Menvcfg |= 1 << 62 },
		"menvcfg.CBIE":                   func(s *hart.State) { s.Menvcfg |= 2 << 4 },
		"senvcfg":                        func(s *hart.State) { s.Senvcfg |= 1 << 61 },
		"senvcfg.CBIE":                   func(s *hart.State) { s.Senvcfg |= 2 << 4 },
		"pmpcfg: a reserved bit":         func(s *hart.State) { s.Pmpcfg[15] = 1 << 5 },
		"pmpcfg: W without R":            func(s *hart.State) { s.Pmpcfg[0] = 2 },
		"pmpcfg: NA4":                    func(s *hart.State) { s.Pmpcfg[0] = 1 | 2<<3 },
		"pmpaddr: finer than a page":     func(s *hart.State) { s.Pmpaddr[15] = 1 << 8 },
		"pmpaddr: more than 56 bits":     func(s *hart.State) { s.Pmpaddr[3] = 1 << 54 },
		"mcountinhibit: what counts not": func(s *hart.State) { s.Mcountinhibit = 2 },
	} {
		w := newWorld(hartOptions)
		damage(&w.State)
		e := snapshot.NewEncoder(nil)
		w.Save(e)
		err := newWorld(hartOptions).Hart.Load(snapshot.NewDecoder(e.Bytes()))
		if err == nil || !strings.HasPrefix(err.Error(), "hart: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
