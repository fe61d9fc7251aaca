package bench

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/lockstep-vm/lockstep/vm"
)

// logTeller passes a guest's console on and puts a line of logMark behind each
// of endMark. The guest does not wait for it, but to be asked, which who reads
// that line does.
type logTeller struct {
	out    io.Writer
	status func() vm.Status
	line   []byte
}

func (l *logTeller) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if _, err := l.out.Write(line); err != nil {
			return 0, err
		}
		if l.line = append(l.line, line...); line[len(line)-1] != '\n' {
			continue
		}
		if _, rest, ok := bytes.Cut(l.line, []byte(endMark)); ok {
			name, _, _ := bytes.Cut(rest, []byte(" "))
			if _, err := fmt.Fprintf(l.out, "%s%s %d\n", logMark, name, l.logged()); err != nil {
				return 0, err
			}
		}
		l.line = l.line[:0]
	}
	return len(b), nil
}

// logged is the bytes of log of a status that is younger than the call, or of the
// last one: a guest that has powered off has no younger.
func (l *logTeller) logged() uint64 {
	asked := time.Now()
	for {
		s := l.status()
		if s.Time.After(asked) || s.State == vm.Ended.String() || s.State == vm.Halted.String() {
			return s.Log.Bytes
		}
		time.Sleep(time.Millisecond)
	}
}
