package hart_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// eachField calls f for each plain value in a struct, by its path.
func eachField(v reflect.Value, path string, f func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			eachField(v.Field(i), path+"."+v.Type().Field(i).Name, f)
		}
	case reflect.Array:
		for i := range v.Len() {
			eachField(v.Index(i), fmt.Sprintf("%s[%d]", path, i), f)
		}
	default:
		f(path, v)
	}
}

// Every field of State is saved, and is one of the registers, but the position.
func TestEveryFieldIsSavedAndNamed(t *testing.T) {
	w := newWorld(hartOptions)
	names := map[string]bool{}
	for _, r := range w.Registers() {
		if names[r.Name] {
			t.Errorf("there are two registers %q", r.Name)
		}
		names[r.Name] = true
	}
	saved := func() string {
		e := snapshot.NewEncoder(nil)
		w.Save(e)
		return string(e.Bytes())
	}
	bytes, regs, fields := saved(), w.Registers(), 0
	eachField(reflect.ValueOf(&w.State).Elem(), "State", func(path string, v reflect.Value) {
		before := reflect.New(v.Type()).Elem()
		before.Set(v)
		fields++
		if v.Kind() == reflect.Bool {
			v.SetBool(!v.Bool())
		} else {
			v.SetUint(v.Uint() ^ 1)
		}
		changed := 0
		for i, r := range w.Registers() {
			if r.Name != regs[i].Name {
				t.Fatalf("%s: register %d is %q and was %q", path, i, r.Name, regs[i].Name)
			}
			if r != regs[i] {
				changed++
			}
		}
		if want := 1; path != "State.Icount" && changed != want {
			t.Errorf("%s changes %d registers, want %d", path, changed, want)
		}
		if saved() == bytes {
			t.Errorf("%s is not saved", path)
		}
		v.Set(before)
	})
	if fields != len(regs)+1 {
		t.Errorf("%d fields, %d registers", fields, len(regs))
	}
}

// What is saved is loaded.
func TestEveryFieldIsLoaded(t *testing.T) {
	w := newWorld(hartOptions)
	n := uint64(0)
	eachField(reflect.ValueOf(&w.State).Elem(), "State", func(path string, v reflect.Value) {
		n += 2
		if v.Kind() == reflect.Uint64 {
			v.SetUint(n)
		}
	})
	// What must have a possible value.
	s := &w.State
	s.X[0], s.Priv, s.Icount, s.Fflags, s.Frm = 0, 1, 1<<40, 31, 5
	s.Waiting, s.Reserved, s.Reservation = true, true, 0x8000_1000
	s.Lines, s.Mip, s.Mideleg, s.Mie, s.Medeleg = 0x800, 0x202, 0x22, 0xa2a, 0x3ff
	s.Mstatus, s.Mcounteren, s.Scounteren, s.Mcountinhibit = 3<<13, 5, 6, 4
	s.Menvcfg, s.Senvcfg, s.Satp = 1<<63|3<<4, 1<<7, 8<<60|1
	for i := range s.Pmpaddr {
		s.Pmpaddr[i], s.Pmpcfg[i] = uint64(i+1)<<9, 0x1f
	}
	e := snapshot.NewEncoder(nil)
	w.Save(e)
	other := newWorld(hart.Options{NoCache: true})
	if err := other.Hart.Load(snapshot.NewDecoder(e.Bytes())); err != nil {
		t.Fatal(err)
	}
	if other.State != w.State {
		t.Errorf("loaded %+v\nsaved  %+v", other.State, w.State)
	}
}
