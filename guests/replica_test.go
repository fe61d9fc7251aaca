package guests

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/vm"
)

// replicaVariable names the file that makes this test binary a replica.
const replicaVariable = "LOCKSTEP_GUESTS_REPLICA"

// readyLine is what a guest prints when it waits for a line of shell.
const readyLine = "@ready"

// waitingScript makes a guest run the line that is typed at it.
const waitingScript = "echo " + readyLine + "\nread -r line\neval \"$line\""

// A part is what a process that is a replica is told.
type part struct {
	Memory         uint64
	Kernel, Initrd string // paths
	Cmdline        string
	Guest          []machine.DiskConfig
	Host           []vm.Disk
	Arbiter        string
	Backup         bool
	Peer           string
	Listen         string // any address if it is empty
	Restore        string
	Save           string // where to save the guest that waits; then it ends
	Line           string // typed at the guest
}

// patience bounds how long a test waits for what must come.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	if path := os.Getenv(replicaVariable); path != "" {
		if err := beReplica(path); err != nil {
			fmt.Fprintln(os.Stderr, "error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(storeVariable) != "" {
		os.Exit(beStore())
	}
	os.Exit(m.Run())
}

// beReplica is a replica from its begin to its end. The console goes to the
// standard output, in pieces; each event is a line on the standard error.
func beReplica(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var p part
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	mc := &machine.Config{Memory: p.Memory, Cmdline: p.Cmdline, Disks: p.Guest}
	if mc.Kernel, err = os.ReadFile(p.Kernel); err != nil {
		return err
	}
	if mc.Initrd, err = os.ReadFile(p.Initrd); err != nil {
		return err
	}
	var screen console
	pieces := json.NewEncoder(os.Stdout)
	// A guest that has a backup works when it is protected. The line may be lost
	// with the primary that had it, so who goes on types it again: the guest takes
	// each byte of a session once.
	works := make(chan struct{})
	begins := sync.OnceFunc(func() { close(works) })
	when := vm.EventProtected
	if p.Backup {
		when = vm.EventLive
	}
	cfg := vm.Config{
		// Nothing here is ever slow enough to be taken for dead: a process that
		// is killed closes its connections.
		Name: "guest", Machine: mc, Disks: p.Host, Arbiter: p.Arbiter, Peer: p.Peer, Restore: p.Restore,
		Timeout: 20 * time.Second,
		ConsoleAt: func(offset uint64, b []byte) error {
			screen.write(b)
			return pieces.Encode(piece{offset, b})
		},
		OnEvent: func(e vm.Event) {
			fmt.Fprintln(os.Stderr, e.Kind, e.Text)
			if e.Kind == when {
				begins()
			}
		},
	}
	begin := vm.PowerOn
	if p.Backup {
		begin = vm.Follow
	}
	if p.Backup || p.Peer != "" {
		cfg.Listen = cmp.Or(p.Listen, porttest.Address())
	}
	r, err := begin(cfg)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "address", r.Addr())
	ctx, end := context.WithCancel(context.Background())
	defer end()
	var saved error
	if p.Save != "" {
		screen.mark, screen.seen = []byte(readyLine), func() {
			_, saved = r.Save(p.Save)
			end()
		}
	} else {
		if !p.Backup && p.Peer == "" {
			begins()
		}
		go func() {
			<-works
			r.Type(1, 0, []byte(p.Line+"\n"))
		}()
	}
	outcome, err := r.Run(ctx)
	if err == nil && outcome != vm.Ended {
		err = errors.New(outcome.String())
	}
	return errors.Join(err, saved)
}

// console calls seen once, in a goroutine of its own, when a mark was printed.
type console struct {
	text, mark []byte
	seen       func()
}

func (c *console) write(b []byte) {
	if c.seen != nil {
		if c.text = append(c.text, b...); bytes.Contains(c.text, c.mark) {
			go c.seen()
			c.seen = nil
		}
	}
}

// replica is a replica in a process of its own, which can be killed.
type replica struct {
	cmd     *exec.Cmd
	console *reader // of the guest
	told    chan struct{}
	events  *lines
	late    *time.Timer
	stuck   atomic.Bool // it was late
	err     error
	ended   sync.Once
}

func startReplica(t testing.TB, p part, console *reader) *replica {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "part.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{cmd: exec.Command(self)}
	r.cmd.Env = append(os.Environ(), replicaVariable+"="+file)
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	events, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.console, r.told, r.events = console, console.attach(out), readLines(events)
	r.late = time.AfterFunc(patience, func() {
		r.stuck.Store(true)
		_ = r.cmd.Process.Signal(syscall.SIGQUIT) // it tells where its goroutines stand
	})
	t.Cleanup(func() {
		r.kill()
		_ = r.wait()
		if r.stuck.Load() {
			t.Errorf("a replica was not through after %v; it told\n%s", patience, strings.Join(r.events.all(), "\n"))
		}
	})
	return r
}

func (r *replica) kill() { _ = r.cmd.Process.Signal(syscall.SIGKILL) }

// wait waits for the end of the process.
func (r *replica) wait() error {
	r.ended.Do(func() {
		<-r.told
		r.events.await("\x00", 1)
		r.err = r.cmd.Wait()
		r.late.Stop()
	})
	return r.err
}

// tells waits for an event.
func (r *replica) tells(t testing.TB, kind string) string {
	t.Helper()
	return r.comes(t, vm.EventKind(kind), 1)
}

// comes waits for the n-th event of a kind.
func (r *replica) comes(t testing.TB, event vm.EventKind, n int) string {
	t.Helper()
	kind := string(event)
	line, ok := r.events.await(kind, n)
	if !ok {
		t.Fatalf("a replica ended before it told %q; it told\n%s\nand its console said\n%s",
			kind, strings.Join(r.events.all(), "\n"), tail(strings.Join(r.console.all(), "\n")))
	}
	return strings.TrimSpace(strings.TrimPrefix(line, kind))
}
