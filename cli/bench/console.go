package bench

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/lockstep-vm/lockstep/image"
)

// A Measurement is what one guest's run of a program cost.
type Measurement struct {
	Seconds float64 // of CPU, user and system, of the process that is the machine
	Elapsed float64 // seconds
	Logged  uint64  // bytes of log entries, of a pair that tells
	Result  string  // the first line that the program printed
	Failed  string  // why it counts for nothing; empty if it does not
}

// meter reads a guest's console and has cpu tell at each line how much CPU time
// has been used.
type meter struct {
	lines *bufio.Scanner
	cpu   func() (float64, error)
	got   map[string]Measurement // by program: the last one of each
	began float64                // CPU time and
	since time.Time              // time at which the program began that runs
	tail  []string               // the last lines
}

func newMeter(console io.Reader, cpu func() (float64, error)) *meter {
	m := &meter{lines: bufio.NewScanner(console), cpu: cpu, got: map[string]Measurement{}}
	m.lines.Buffer(make([]byte, 4096), 1<<20)
	return m
}

// all reads to the last program's end. It returns what has been measured by
// program, and with an error what there was until then.
func (m *meter) all() (map[string]Measurement, error) { return m.got, m.until(doneMark) }

// until reads up to a line that begins with a mark.
func (m *meter) until(mark string) error {
	for m.lines.Scan() {
		now, err := m.cpu()
		if err != nil {
			return err
		}
		line := strings.TrimSpace(m.lines.Text())
		if m.tail = append(m.tail, line); len(m.tail) > 12 {
			m.tail = m.tail[1:]
		}
		said := ""
		if i := strings.Index(line, "@@"); i >= 0 {
			said = line[i:]
		}
		if err := m.take(line, said, now); err != nil {
			return err
		}
		if strings.HasPrefix(said, mark) {
			return nil
		}
	}
	if err := m.lines.Err(); err != nil {
		return fmt.Errorf("bench: console: %w", err)
	}
	return fmt.Errorf("bench: the guest's console ended before its programs did; it said last:\n\t%s", strings.Join(m.tail, "\n\t"))
}

// take takes a line in with the mark in it, which may be empty; now is the CPU
// time at which it came.
func (m *meter) take(line, mark string, now float64) error {
	if rest, ok := strings.CutPrefix(mark, startMark); ok {
		m.began, m.since = now, time.Now()
		m.got[rest] = Measurement{Failed: "it did not end"}
	} else if rest, ok := strings.CutPrefix(mark, endMark); ok {
		name, status, _ := strings.Cut(rest, " ")
		one := Measurement{Seconds: now - m.began, Elapsed: time.Since(m.since).Seconds()}
		if code, err := strconv.Atoi(status); err != nil || code != 0 {
			one.Failed = "exit status " + status
		}
		m.got[name] = one
	} else if rest, ok := strings.CutPrefix(mark, resultMark); ok {
		name, result, _ := strings.Cut(rest, " ")
		one := m.got[name]
		one.Result = result
		if one.Failed != "" {
			one.Failed += ": " + result
		}
		m.got[name] = one
	} else if rest, ok := strings.CutPrefix(mark, logMark); ok {
		name, total, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseUint(total, 10, 64)
		if err != nil {
			return fmt.Errorf("bench: the machine tells of its log: %q", rest)
		}
		one := m.got[name]
		one.Logged = n
		m.got[name] = one
	} else if strings.Contains(line, image.ReadyLine) {
		m.got[Boot] = Measurement{Seconds: now}
	} else if strings.Contains(line, image.PanicLine) || strings.Contains(line, "Kernel panic") {
		return fmt.Errorf("bench: the guest failed: %s", line)
	}
	return nil
}
