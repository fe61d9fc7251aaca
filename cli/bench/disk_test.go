package bench

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/vm"
)

// The line with the log's size is behind the program's end, whatever pieces the
// console comes in, and of a status that is younger than the end.
func TestLogTellerTellsBehindEachEnd(t *testing.T) {
	var out bytes.Buffer
	asked := 0
	l := &logTeller{out: &out, status: func() (s vm.Status) {
		if asked++; asked%2 == 1 {
			s.Log.Bytes = 1 // an old one
			return s
		}
		s.Time, s.Log.Bytes = time.Now().Add(time.Second), uint64(100*asked)
		return s
	}}
	for _, piece := range []string{"@@start a\r\n@@e", "nd a 0\r", "\n@@result a x\r\n@@end b 1\r\n", "end"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("wrote %d of %d: %v", n, len(piece), err)
		}
	}
	want := "@@start a\r\n@@end a 0\r\n@@log a 200\n@@result a x\r\n@@end b 1\r\n@@log b 400\nend"
	if out.String() != want {
		t.Errorf("told %q, want %q", out.String(), want)
	}
}

// The guest's last line may come when its replica has told all that it will.
func TestLogTellerDoesNotWaitForAReplicaThatHasEnded(t *testing.T) {
	for _, state := range []vm.Outcome{vm.Ended, vm.Halted} {
		var out bytes.Buffer
		l := &logTeller{out: &out, status: func() (s vm.Status) {
			s.State, s.Log.Bytes = state.String(), 7
			return s
		}}
		if _, err := l.Write([]byte("@@end a 0\n")); err != nil || !strings.HasSuffix(out.String(), "@@log a 7\n") {
			t.Errorf("told %q, %v", out.String(), err)
		}
	}
}

func TestDiskReport(t *testing.T) {
	r := newDiskReport(2, []DiskMode{SharedLogged, OnStore}, diskPrograms, "6.12", "jit")
	for round := range 2 {
		for _, m := range []DiskMode{SharedLogged, OnStore} {
			for _, on := range diskMachines {
				for _, p := range diskPrograms {
					one := Measurement{Seconds: 1 + float64(3*round), Elapsed: 2}
					if on == Beside {
						one.Seconds = 2
					}
					if on == Pair {
						one = Measurement{Seconds: 1.5 + float64(round), Elapsed: 4, Logged: uint64(megabytes(p.name) * 1e6)}
					}
					if err := r.add(m, on, p.name, one); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if s := r.Rows[0].Ratio(Beside); s.All != 1 {
		t.Errorf("it costs %+v of a guest beside another", s)
	}
	// 1.5 s and 2.5 s over 1 s and 4 s.
	if s := r.Rows[0].Ratio(Alone); s.Min != 0.625 || s.All != 0.8 || s.Max != 1.5 {
		t.Errorf("a pair costs %+v", s)
	}
	if s := r.Rows[len(r.Rows)-1].LogRatio(); s != 1 {
		t.Errorf("it logs %v", s)
	}
	var text bytes.Buffer
	r.Print(&text)
	r.Markdown(&text)
	for _, want := range []string{"0.80 (0.62 to 1.50)", "| nbd | randwrite |", "100.00 %"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
	if err := r.add(OnStore, Pair, "seqread", Measurement{Failed: "exit status 4"}); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("a program that fails: %v", err)
	}
}

func TestDiskModesThatAreNot(t *testing.T) {
	_, err := RunDisk(context.Background(), DiskOptions{Rounds: 1, Modes: []DiskMode{"floppy"}})
	if err == nil || !strings.Contains(err.Error(), "floppy") || !strings.Contains(err.Error(), string(SharedReads)) {
		t.Errorf("got %v", err)
	}
}
