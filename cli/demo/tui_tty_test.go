//go:build linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/internal/citest"
)

// tty is a terminal of 80 x 24 characters whose other end the test holds.
type tty struct {
	t        *testing.T
	hand     *os.File // types and sees
	terminal *os.File
	before   *unix.Termios

	mu      sync.Mutex
	screen  strings.Builder
	changed *sync.Cond
}

func newTTY(t *testing.T) *tty {
	t.Helper()
	hand, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		citest.Unable(t, err)
	}
	fd := int(hand.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	y := &tty{t: t, hand: hand, terminal: terminal}
	y.changed = sync.NewCond(&y.mu)
	y.before = y.termios()
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := hand.Read(b)
			if err != nil {
				return
			}
			y.mu.Lock()
			y.screen.Write(b[:n])
			y.mu.Unlock()
			y.changed.Broadcast()
		}
	}()
	t.Cleanup(func() {
		terminal.Close()
		hand.Close()
	})
	return y
}

func (y *tty) termios() *unix.Termios {
	y.t.Helper()
	s, err := unix.IoctlGetTermios(int(y.terminal.Fd()), unix.TCGETS)
	if err != nil {
		y.t.Fatal(err)
	}
	return s
}

// awaits waits until the terminal has been sent a text, and returns all that it
// was sent.
func (y *tty) awaits(text string) string {
	return y.until(func(all string) bool { return strings.Contains(all, text) })
}

// until waits for a condition on all that the terminal was sent; a test that
// waits in vain ends without it.
func (y *tty) until(holds func(string) bool) string {
	late := false
	defer time.AfterFunc(20*time.Second, func() {
		y.mu.Lock()
		defer y.mu.Unlock()
		late = true
		y.changed.Broadcast()
	}).Stop()
	y.mu.Lock()
	defer y.mu.Unlock()
	for !late && !holds(y.screen.String()) {
		y.changed.Wait()
	}
	if late {
		y.t.Errorf("the terminal was only sent %q", y.screen.String())
	}
	return y.screen.String()
}

// Sequences that take the alternate screen and leave it.
const (
	altScreen = "\x1b[?1049h"
	mainAgain = "\x1b[?1049l"
)

// restored wants the terminal as it was, with last on the main screen.
func (y *tty) restored(last string) {
	y.t.Helper()
	if diff := cmp.Diff(y.before, y.termios()); diff != "" {
		y.t.Errorf("the terminal's settings (-before +after):\n%s", diff)
	}
	all := y.until(func(all string) bool {
		return strings.LastIndex(all, last) > strings.LastIndex(all, mainAgain) && strings.Contains(all, mainAgain)
	})
	if strings.LastIndex(all, mainAgain) < strings.LastIndex(all, altScreen) {
		y.t.Error("the alternate screen is not left")
	}
	if strings.LastIndex(all, "\x1b[?25h") < strings.LastIndex(all, "\x1b[?25l") {
		y.t.Error("the cursor stays hidden")
	}
}

func atWork() *scene { return &scene{killed: KillNone, act: actWork} }

func TestWatchEndsByKey(t *testing.T) {
	y, s := newTTY(t), atWork()
	want := &Report{}
	got, err := watch(t.Context(), s, y.terminal, y.terminal, func(ctx context.Context) (*Report, error) {
		s.note("a note of the play")
		y.awaits("Protected")
		if _, err := y.hand.WriteString("q"); err != nil {
			return nil, err
		}
		select {
		case <-s.quit:
			return want, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	if err != nil || got != want {
		t.Errorf("%p, %v; want the play's report", got, err)
	}
	y.restored("a note of the play")
}

func TestWatchAborts(t *testing.T) {
	y, s := newTTY(t), atWork()
	s.act = actSetUp
	_, err := watch(t.Context(), s, y.terminal, y.terminal, func(ctx context.Context) (*Report, error) {
		s.note("a note of the play")
		y.awaits("quit")
		if _, err := y.hand.WriteString("\x03"); err != nil { // Ctrl-C
			return nil, err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if !errors.Is(err, errLeft) {
		t.Errorf("%v; want %v", err, errLeft)
	}
	y.restored("a note of the play")
}

// A signal ends the context: the screen is left at once, however long the play
// takes to tear down.
func TestWatchEndsWithItsContext(t *testing.T) {
	y, s := newTTY(t), atWork()
	ctx, cancel := context.WithCancelCause(t.Context())
	signal := errors.New("terminated")
	_, err := watch(ctx, s, y.terminal, y.terminal, func(ctx context.Context) (*Report, error) {
		s.note("a note of the play")
		y.awaits("quit")
		cancel(signal)
		<-ctx.Done()
		y.awaits(mainAgain)
		return nil, ctx.Err()
	})
	if !errors.Is(err, signal) {
		t.Errorf("%v; want %v", err, signal)
	}
	y.restored("a note of the play")
}

func TestWatchEndsWithItsTerminal(t *testing.T) {
	y, s := newTTY(t), atWork()
	_, err := watch(t.Context(), s, y.terminal, y.terminal, func(ctx context.Context) (*Report, error) {
		s.note("a note of the play")
		y.awaits("quit")
		if err := unix.Kill(os.Getpid(), unix.SIGHUP); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want %v", err, context.Canceled)
	}
	y.restored("a note of the play")
}

func TestWatchSaysWhatFailed(t *testing.T) {
	y, s := newTTY(t), atWork()
	broken := errors.New("the connection broke")
	_, err := watch(t.Context(), s, y.terminal, y.terminal, func(context.Context) (*Report, error) {
		s.note("a note of the play")
		y.awaits("quit")
		return nil, broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("%v; want %v", err, broken)
	}
	y.restored("a note of the play")
}

// A bug of the play is told on a terminal that can show it.
func TestWatchRestoresAtAPanic(t *testing.T) {
	y, s := newTTY(t), atWork()
	var bug any
	func() {
		defer func() { bug = recover() }()
		_, _ = watch(t.Context(), s, y.terminal, y.terminal, func(context.Context) (*Report, error) {
			s.note("a note of the play")
			y.awaits("quit")
			panic("BUG: a test's")
		})
	}()
	if bug != "BUG: a test's" {
		t.Errorf("the panic is %v", bug)
	}
	y.restored("a note of the play")
}

func TestNoColor(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	t.Setenv("TERM", "xterm-256color")
	y, s := newTTY(t), atWork()
	if _, err := watch(t.Context(), s, y.terminal, y.terminal, func(context.Context) (*Report, error) {
		y.awaits("quit")
		return &Report{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	all := y.awaits(mainAgain)
	for _, sgr := range regexp.MustCompile(`\x1b\[([0-9;]*)m`).FindAllStringSubmatch(all, -1) {
		for _, n := range strings.Split(sgr[1], ";") {
			if len(n) > 1 {
				t.Fatalf("a colour: %q", sgr[0])
			}
		}
	}
}
