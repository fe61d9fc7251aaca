package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/lockstep-vm/lockstep/cli/control"
	"github.com/lockstep-vm/lockstep/vm"
)

// statusEvery is how often --control gets a status.
const statusEvery = 100 * time.Millisecond

// face shows a replica: to a person on the terminal, or to a program that
// started it with --control.
type face struct {
	env Env
	lineWriter

	out    *control.Writer // --control; nil without
	saveTo string          // --save; may be empty
}

func newFace(env Env, controlled bool) *face {
	f := &face{env: env, lineWriter: lineWriter{env.Stderr}}
	if controlled {
		f.out = control.NewWriter()
	}
	return f
}

// see has a replica show its console and its events here.
func (f *face) see(cfg *vm.Config) {
	cfg.OnEvent = f.event
	if f.out == nil {
		cfg.Console = f.env.Stdout
		return
	}
	cfg.ConsoleAt = func(offset uint64, b []byte) error {
		f.out.Write(control.Line{Console: b, Offset: offset})
		return nil
	}
}

func (f *face) event(e vm.Event) {
	if f.out == nil {
		f.say("%s", e.Text)
		return
	}
	f.out.Write(control.Line{Event: &e})
}

// attach connects the replica to its input; the function that it returns
// disconnects. end stops the replica.
func (f *face) attach(ctx context.Context, r *vm.Replica, end func()) (detach func()) {
	if f.saveTo != "" {
		go onSignal(ctx, unix.SIGUSR1, func() { f.save(r, f.saveTo) })
	}
	go onSignal(ctx, unix.SIGCONT, r.Resume)
	if f.out != nil {
		f.out.Write(control.Line{Address: r.Addr()})
		go f.obey(r)
		ctx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.report(ctx, r)
		}()
		return func() {
			stop()
			<-done
			st := r.Status()
			f.out.Write(control.Line{Status: &st})
		}
	}
	restore := func() {}
	if fd := int(f.env.Stdin.Fd()); term.IsTerminal(fd) {
		if old, err := term.MakeRaw(fd); err == nil {
			restore = func() { _ = term.Restore(fd, old) }
			f.say("the terminal is the guest's console; Ctrl-A x ends the VM, Ctrl-A s saves a snapshot, Ctrl-A r tries stopped disks again, Ctrl-A Ctrl-A sends Ctrl-A")
		}
	}
	go typeConsole(f.env.Stdin, r, keys{
		'x': func() bool { end(); return false },
		's': func() bool { go f.save(r, f.saveTo); return true },
		'r': func() bool { r.Resume(); return true },
	})
	return restore
}

// save writes a snapshot; the replica tells how it went.
func (f *face) save(r *vm.Replica, path string) { _, _ = r.Save(path) }

// onSignal calls f at each signal.
func onSignal(ctx context.Context, s os.Signal, f func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, s)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			f()
		}
	}
}

// obey carries out the commands of the program that controls this one, and ends
// this process when that program is gone, however it went.
func (f *face) obey(r *vm.Replica) {
	lines := bufio.NewScanner(os.NewFile(control.Commands, "commands"))
	for lines.Scan() {
		if path, ok := strings.CutPrefix(lines.Text(), control.Save); ok {
			go f.save(r, path)
		} else if lines.Text() == control.ResetStatistics {
			r.ResetStatistics()
		} else if lines.Text() == control.Resume {
			r.Resume()
		}
	}
	os.Exit(ExitFailed)
}

func (f *face) report(ctx context.Context, r *vm.Replica) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			st := r.Status()
			f.out.Write(control.Line{Status: &st})
		}
	}
}

// escape is Ctrl-A, which introduces commands to lockstep itself.
const escape = 1

// keys are what the keys after the escape do; false when the input ends with it.
type keys map[byte]func() (more bool)

// typeConsole passes the terminal's input to the guest.
func typeConsole(in io.Reader, r *vm.Replica, after keys) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return
	}
	session, offset := binary.LittleEndian.Uint64(id[:]), uint64(0)
	buf := make([]byte, 256)
	escaped := false
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		typed := make([]byte, 0, n)
		for _, c := range buf[:n] {
			switch {
			case escaped && after[c|0x20] != nil:
				escaped = false
				if !after[c|0x20]() {
					return
				}
			case escaped && c == escape, !escaped && c != escape:
				typed = append(typed, c)
				escaped = false
			default:
				escaped = !escaped
			}
		}
		if len(typed) > 0 && !r.Type(session, offset, typed) {
			return
		}
		offset += uint64(len(typed))
	}
}
