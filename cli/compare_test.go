package cli

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/zeebo/xxh3"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// faultAt is the position of the fault of the engine "faulty", which scripts
// can examine: register s2 gains a bit.
const faultAt = 345_678

func init() {
	engines = append([]engine{{"faulty", func(mc *machine.Config, birth machine.Birth) (machine.Machine, error) {
		m, err := newBoard(mc, birth)
		return &faulty{m}, err
	}}}, engines...)
}

type faulty struct{ machine.Machine }

func (f *faulty) Run(until machine.Icount) machine.Exit {
	if f.Icount() < faultAt && faultAt <= until {
		if exit := f.Machine.Run(faultAt); f.Icount() < faultAt {
			return exit
		}
		f.flip()
	}
	return f.Machine.Run(until)
}

// flip changes the State by way of a snapshot, in which the registers follow
// the name of the section and a sum is the last thing.
func (f *faulty) flip() {
	var buf bytes.Buffer
	if err := f.Save(&buf); err != nil {
		panic(err)
	}
	b := buf.Bytes()
	b[bytes.Index(b, []byte("\x04\x00\x00\x00hart"))+8+18*8+2] ^= 0x10
	binary.LittleEndian.PutUint64(b[len(b)-8:], xxh3.Hash(b[:len(b)-8]))
	if err := f.Load(&buf); err != nil {
		panic(err)
	}
}

// forge copies a log whose last digest it alters, as a machine that differs
// would have recorded it.
func forge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: forge LOG FILE")
	}
	log, err := replay.NewReader(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	var out bytes.Buffer
	rec, err := replay.NewRecorder(&out, log.Header())
	ts.Check(err)
	altered := false
	for {
		e, err := log.Next()
		if err == io.EOF {
			break
		}
		ts.Check(err)
		if d, ok := e.Body.(replay.DigestCheck); ok {
			d.Digest[0] ^= 1
			e.Body, altered = d, true
		}
		ts.Check(rec.Append(e))
	}
	if !altered {
		ts.Fatalf("there is no digest in %s", args[0])
	}
	ts.Check(rec.End())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o600))
}

func TestDisassemble(t *testing.T) {
	for encoding, want := range map[uint32]string{
		0x00c58533: "0x00c58533  add a0,a1,a2",
		0x8082:     "0x8082  ret",
		0xffffffff: "0xffffffff",
		0:          "0x0000  unimp",
	} {
		if got := disassemble(encoding); got != want {
			t.Errorf("%#x: %q, want %q", encoding, got, want)
		}
	}
}
