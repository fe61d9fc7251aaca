package demo

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/lockstep-vm/lockstep/vm"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// shown is a screen without its colours and without blanks at the ends of lines.
func shown(m tui) string {
	lines := strings.Split(ansi.Strip(m.View().Content), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func status(state string, at time.Duration) vm.Status {
	st := vm.Status{State: state, Time: epoch.Add(at), Position: 1_234_567_890, GuestNS: 12_345_000_000}
	st.CPUNS = int64(10*time.Second + at/4)
	return st
}

func booting() snapshot {
	s := snapshot{elapsed: 2 * time.Second, lastLine: "[    0.412] virtio_net virtio1: eth0", plan: KillNone}
	s.failover.killed = KillNone
	s.primary = part{started: true, pid: 101, status: status("protected", 0)}
	s.backup = part{started: true, pid: 100, status: status("replaying", 0)}
	s.notes = []note{{10 * time.Millisecond, "demo: switch, backup and primary are started as processes of their own"}, {time.Second, "primary: the backup is armed"}}
	return s
}

func working(at time.Duration) snapshot {
	s := booting()
	s.elapsed, s.act, s.kernel = 15*time.Second+at, actWork, "Linux version 6.12.48+deb13-riscv64"
	s.boot.took, s.boot.instructions = 14*time.Second, 1_050_000_000
	s.plan, s.planIn = KillPrimary, 5*time.Second-at
	s.primary.status, s.backup.status = status("protected", at), status("replaying", at)
	s.primary.status.Log = vm.LogStatus{Entries: 12_345, Bytes: uint64(1_000_000 + at/40_000)}
	s.primary.status.Lag = vm.Quantiles{Count: 10, P50: 412_000, P99: 2_100_000}
	s.primary.status.OutputDelay = vm.Quantiles{Count: 10, P50: 350_000, P99: 12_000_000}
	s.backup.status.Digests.Compared = 77
	s.tally = Tally{Connections: 1, Operations: 4321, Acknowledged: 3241, LongestStall: 12.3}
	for i := range 80 {
		s.recent = append(s.recent, -1)
		if i > 40 {
			s.recent[i] = 50 + i%7
		}
	}
	return s
}

func failedOver() snapshot {
	s := working(6 * time.Second)
	detected, live := 23.4, 61.2
	s.plan = KillNone
	s.failover = failover{killed: KillPrimary, at: 20 * time.Second, survivor: "backup", detected: &detected, live: &live}
	s.primary.ended, s.primary.code = true, -1
	s.backup.status.State = "alone"
	s.recent[70] = 0
	for i := range 80 {
		s.around = append(s.around, 10+i%3)
		if i >= lossBefore && i < lossBefore+4 {
			s.around[i] = 0
		}
	}
	return s
}

func feed(m tui, msgs ...tea.Msg) tui {
	for _, msg := range msgs {
		next, _ := m.Update(msg)
		m = next.(tui)
	}
	return m
}

func TestScreens(t *testing.T) {
	twoRates := []tea.Msg{frame(working(0)), frame(working(500 * time.Millisecond)), frame(working(time.Second))}
	for _, c := range []struct {
		name string
		msgs []tea.Msg
	}{
		{"start", nil},
		{"boot", []tea.Msg{frame(booting())}},
		{"work", twoRates},
		{"loss", append(twoRates, frame(failedOver()))},
		{"leaving", append(twoRates, tea.KeyPressMsg{Code: 'q', Text: "q"})},
		{"small", []tea.Msg{tea.WindowSizeMsg{Width: 30, Height: 10}, frame(booting())}},
		{"large", []tea.Msg{tea.WindowSizeMsg{Width: 120, Height: 30}, frame(failedOver())}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := feed(newTUI(nil, hands{}), c.msgs...)
			golden(t, c.name+".screen", shown(m))
		})
	}
}

// Every line of every stage fits the screen, whatever its size.
func TestScreenFits(t *testing.T) {
	long := failedOver()
	long.notes = append(long.notes, note{time.Second, strings.Repeat("a long story ", 40)})
	long.kernel = strings.Repeat("Linux ", 60)
	for _, s := range []snapshot{{}, booting(), working(0), long} {
		for width := 1; width < 200; width += 19 {
			for height := 1; height < 60; height += 7 {
				m := feed(newTUI(nil, hands{}), tea.WindowSizeMsg{Width: width, Height: height}, frame(s))
				if width < minWidth || height < minHeight {
					_ = m.View()
					continue
				}
				lines := strings.Split(m.View().Content, "\n")
				if len(lines) != height {
					t.Fatalf("%d x %d: %d lines", width, height, len(lines))
				}
				for _, line := range lines {
					if w := ansi.StringWidth(line); w > width {
						t.Fatalf("%d x %d: a line of %d: %q", width, height, w, line)
					}
				}
			}
		}
	}
}

func TestKeys(t *testing.T) {
	over := failedOver()
	reading := failedOver()
	reading.act = actReading
	for _, c := range []struct {
		name string
		at   snapshot
		keys string
		want string
	}{
		{"kill the primary", working(0), "p", "primary "},
		{"kill the backup", working(0), "b", "backup "},
		{"partition", working(0), "x", "partition "},
		{"nothing to kill while booting", booting(), "pbx", ""},
		{"no second kill", over, "pbx", ""},
		{"no kill when leaving", working(0), "qp", "leave "},
		{"leave", over, "q", "leave "},
		{"leave twice is abort", over, "qq", "leave abort "},
		{"abort the boot", booting(), "q", "abort "},
		{"abort the final read", reading, "q", "abort "},
		{"other keys", working(0), "az1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			did := ""
			m := newTUI(nil, hands{
				kill:  func(k Kill) { did += string(k) + " " },
				leave: func() { did += "leave " },
				abort: func() { did += "abort " },
			})
			m = feed(m, frame(c.at))
			for _, k := range c.keys {
				next, cmd := m.Update(tea.KeyPressMsg{Code: k, Text: string(k)})
				m = next.(tui)
				if cmd != nil {
					cmd()
				}
			}
			if did != c.want {
				t.Errorf("keys %q did %q, want %q", c.keys, did, c.want)
			}
		})
	}
}

func TestControlCLeaves(t *testing.T) {
	left := false
	m := feed(newTUI(nil, hands{leave: func() { left = true }}), frame(working(0)))
	if _, cmd := m.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}); cmd != nil {
		cmd()
	}
	if !left {
		t.Error("Ctrl-C does nothing")
	}
}

// The final read makes thousands of operations in a moment; they are not the
// client's work.
func TestFinalReadStaysOutOfTheGraph(t *testing.T) {
	before := failedOver()
	reading := failedOver()
	reading.act = actReading
	reading.recent = []int{9999}
	m := feed(newTUI(nil, hands{}), frame(before), frame(reading))
	if diff := cmp.Diff(before.recent, m.now.recent); diff != "" {
		t.Error(diff)
	}
}

// The client forgets what is long ago; the screen keeps the failover.
func TestFailoverStaysOnTheScreen(t *testing.T) {
	later := failedOver()
	for i := range later.around {
		later.around[i] = -1
	}
	m := feed(newTUI(nil, hands{}), frame(failedOver()), frame(later))
	if diff := cmp.Diff(failedOver().around, m.now.around); diff != "" {
		t.Error(diff)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	for i := range 40 {
		at := time.Duration(i) * 100 * time.Millisecond
		m = m.with(part{started: true, status: vm.Status{Time: epoch.Add(at), CPUNS: int64(at / 2), Log: vm.LogStatus{Bytes: uint64(at / 8000)}}})
	}
	if len(m) != 11 {
		t.Errorf("%d statuses are kept for %v", len(m), meterSpan)
	}
	if cpu, mbit, ok := m.rates(); !ok || cpu != 0.5 || mbit != 1 {
		t.Errorf("cpu %v, %v Mbit/s, %v", cpu, mbit, ok)
	}
	again := m.with(part{started: true, status: vm.Status{Time: epoch.Add(time.Minute)}})
	if _, _, ok := again.rates(); ok {
		t.Error("a rate over a count that began anew")
	}
	if m.with(part{started: true, ended: true, status: vm.Status{Time: epoch.Add(time.Hour)}}) != nil {
		t.Error("an ended process has a rate")
	}
}

func TestGraph(t *testing.T) {
	got := graph([]int{-1, 0, 1, 8, 16, 12}, 2, 3)
	want := []string{"   ┊ █▄", " ·▁┊███"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := perSecond([]int{100, 10, 20, -1}, 2); r != 150 {
		t.Errorf("%v a second", r)
	}
}
