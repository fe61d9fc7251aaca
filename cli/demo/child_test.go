package demo

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/cli/control"
	"github.com/lockstep-vm/lockstep/vm"
)

// TestMain is also the child that the tests start: start runs this program
// again with other arguments.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "be-a-child" {
		beAChild()
		return
	}
	os.Exit(m.Run())
}

// beAChild tells its process id, repeats every command as an event and ends
// when the commands do.
func beAChild() {
	out := control.NewWriter()
	fmt.Fprintln(os.Stderr, "a word on the standard error")
	out.Write(control.Line{Status: &vm.Status{State: "alone", Position: uint64(os.Getpid())}})
	out.Write(control.Line{Address: "here"})
	commands := bufio.NewScanner(os.NewFile(control.Commands, "commands"))
	for commands.Scan() {
		if commands.Text() == "exit" {
			os.Exit(5)
		}
		out.Write(control.Line{Event: &vm.Event{Time: time.Now(), Kind: vm.EventNote, Text: commands.Text()}})
	}
	os.Exit(0)
}

// born is a child that has said its first lines, and those that follow.
func born(t *testing.T) (*child, <-chan control.Line) {
	t.Helper()
	lines := make(chan control.Line, 100)
	c, err := start("test", func(_ *child, l control.Line) { lines <- l }, "be-a-child")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop(10 * time.Second) })
	for l := range lines {
		if l.Address == "here" {
			break
		}
	}
	return c, lines
}

func TestChildTells(t *testing.T) {
	c, lines := born(t)
	if st := c.latest(); st.State != "alone" || st.Position != uint64(c.cmd.Process.Pid) {
		t.Errorf("status %+v of process %d", st, c.cmd.Process.Pid)
	}
	before := time.Now()
	c.command("first")
	c.command("second")
	for _, want := range []string{"first", "second"} {
		if l := <-lines; l.Event == nil || l.Event.Text != want {
			t.Fatalf("%+v; want the event %q", l, want)
		}
	}
	if e, ok := c.first(vm.EventNote, before); !ok || e.Text != "first" {
		t.Errorf("the first note is %q", e.Text)
	}
	if _, ok := c.first(vm.EventNote, time.Now().Add(time.Hour)); ok {
		t.Error("an event of the future")
	}
	if _, ok := c.first(vm.EventLive, time.Time{}); ok {
		t.Error("an event that never was")
	}
	if _, ended := c.ended(); ended {
		t.Error("it has ended")
	}
}

// A child must not outlive the demo, however that ends: the kernel closes the
// pipe then.
func TestChildEndsWithThePipe(t *testing.T) {
	c, _ := born(t)
	c.commands.Close()
	<-c.done
	if code, ended := c.ended(); !ended || code != 0 {
		t.Errorf("code %d, %v", code, ended)
	}
}

func TestChildExitCode(t *testing.T) {
	c, _ := born(t)
	c.command("exit")
	<-c.done
	if code, _ := c.ended(); code != 5 {
		t.Errorf("code %d", code)
	}
	if text := c.stderr.String(); text != "a word on the standard error\n" {
		t.Errorf("standard error %q", text)
	}
}

func TestChildKilled(t *testing.T) {
	c, _ := born(t)
	c.signal(syscall.SIGKILL)
	<-c.done
	if code, ended := c.ended(); !ended || code != -1 {
		t.Errorf("code %d, %v", code, ended)
	}
	if p := c.part(); !p.ended || p.code != -1 || p.pid == 0 {
		t.Errorf("%+v", p)
	}
}

func TestNoChildStandsForNone(t *testing.T) {
	var c *child
	c.stop(0)
	if p := c.part(); p.started {
		t.Errorf("%+v", p)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var l tail
	for i := range 5000 {
		fmt.Fprintf(&l, "line %d\n", i)
	}
	if s := l.String(); len(s) > 8192 || !strings.HasSuffix(s, "line 4999\n") {
		t.Errorf("%d bytes, %q", len(s), s[max(0, len(s)-20):])
	}
}

// A person who kills a process by its id has done what the demo's key does.
func TestKillByAnotherHand(t *testing.T) {
	noted := make(chan string, 10)
	s := &scene{killed: KillNone, act: actWork, quit: make(chan struct{})}
	s.note = func(format string, args ...any) { noted <- fmt.Sprintf(format, args...) }
	s.primary, _ = born(t)
	s.backup, _ = born(t)
	s.planKill(KillNone, 0)
	s.backup.signal(syscall.SIGKILL)
	if text := <-noted; !strings.Contains(text, "the test, process") || !strings.Contains(text, "by another hand") {
		t.Errorf("note %q", text)
	}
	s.mu.Lock()
	killed := s.killed
	s.mu.Unlock()
	if killed != KillBackup {
		t.Errorf("killed %q", killed)
	}
	s.kill(KillPrimary)
	if _, ended := s.primary.ended(); ended || len(noted) > 0 {
		t.Error("a second side was killed")
	}
}
