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

// watch reads a guest's console to its end or to the last program's, and has
// cpu tell at each mark how much CPU time has been used. It returns what has
// been measured by program, and with an error what there was until then.
func watch(console io.Reader, cpu func() (float64, error)) (map[string]Measurement, error) {
	got := map[string]Measurement{}
	var began float64
	var since time.Time
	var logged uint64
	var tail []string
	lines := bufio.NewScanner(console)
	lines.Buffer(make([]byte, 4096), 1<<20)
	for lines.Scan() {
		now, err := cpu()
		if err != nil {
			return got, err
		}
		line := strings.TrimSpace(lines.Text())
		if tail = append(tail, line); len(tail) > 12 {
			tail = tail[1:]
		}
		mark := ""
		if i := strings.Index(line, "@@"); i >= 0 {
			mark = line[i:]
		}
		if rest, ok := strings.CutPrefix(mark, startMark); ok {
			began, since = now, time.Now()
			got[rest] = Measurement{Failed: "it did not end"}
		} else if rest, ok := strings.CutPrefix(mark, endMark); ok {
			name, status, _ := strings.Cut(rest, " ")
			m := Measurement{Seconds: now - began, Elapsed: time.Since(since).Seconds()}
			if code, err := strconv.Atoi(status); err != nil || code != 0 {
				m.Failed = "exit status " + status
			}
			got[name] = m
		} else if rest, ok := strings.CutPrefix(mark, resultMark); ok {
			name, result, _ := strings.Cut(rest, " ")
			m := got[name]
			m.Result = result
			if m.Failed != "" {
				m.Failed += ": " + result
			}
			got[name] = m
		} else if rest, ok := strings.CutPrefix(mark, logMark); ok {
			name, total, _ := strings.Cut(rest, " ")
			n, err := strconv.ParseUint(total, 10, 64)
			if err != nil {
				return got, fmt.Errorf("bench: the machine tells of its log: %q", rest)
			}
			m := got[name]
			m.Logged, logged = n-logged, n
			got[name] = m
		} else if mark == doneMark {
			return got, nil
		} else if strings.Contains(line, image.ReadyLine) {
			got[Boot] = Measurement{Seconds: now}
		} else if strings.Contains(line, image.PanicLine) || strings.Contains(line, "Kernel panic") {
			return got, fmt.Errorf("bench: the guest failed: %s", line)
		}
	}
	if err := lines.Err(); err != nil {
		return got, fmt.Errorf("bench: console: %w", err)
	}
	return got, fmt.Errorf("bench: the guest's console ended before its programs did; it said last:\n\t%s", strings.Join(tail, "\n\t"))
}
