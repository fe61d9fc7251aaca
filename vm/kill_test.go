package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/sim"
)

// childEnv makes this test binary a replica: "backup DIR SWITCH [LISTEN]",
// "primary DIR SWITCH PEER" or "restored DIR SWITCH PEER", from the stage's
// snapshot. It writes its events to the standard output as JSON lines.
const childEnv = "LOCKSTEP_TEST_REPLICA"

// readsEnv, if set, has the backup read the disk.
const readsEnv = "LOCKSTEP_TEST_BACKUP_READS"

// storeEnv is the stage's block store, for a child.
const storeEnv = "LOCKSTEP_TEST_STORE"

// consoleEnv, if set, has a child tell of its console.
const consoleEnv = "LOCKSTEP_TEST_CONSOLE"

// hostEnv is the host of a child's local disk.
const hostEnv = "LOCKSTEP_TEST_HOST"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(child(strings.Fields(role)))
	}
	os.Exit(m.Run())
}

func child(args []string) int {
	s := &stage{dir: args[1], sw: args[2], toy: sim.ToyConfig{Seed: 7}, memory: 16 << 20, store: os.Getenv(storeEnv), reads: os.Getenv(readsEnv) != "", host: os.Getenv(hostEnv)}
	if args[0] == "store" {
		return serveStore(s)
	}
	out := json.NewEncoder(os.Stdout)
	cfg := s.config(newEvents())
	var mu sync.Mutex
	tell := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(e)
	}
	cfg.OnEvent = tell
	s.forgetting(&cfg)
	if os.Getenv(consoleEnv) != "" {
		cfg.ConsoleAt = func(offset uint64, b []byte) error {
			tell(Event{Kind: "console", Text: fmt.Sprintf("%d %x", offset, b)})
			return nil
		}
	}
	begin := Follow
	cfg.Listen = porttest.Address()
	switch args[0] {
	case "restored":
		cfg.Restore = s.snapshot()
		fallthrough
	case "primary":
		cfg.Peer, begin = args[3], PowerOn
	default:
		if len(args) > 3 {
			cfg.Listen = args[3]
		}
	}
	r, err := begin(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	tell(Event{Kind: "address", Text: r.Addr()})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o, err := r.Run(ctx)
	if toy, ok := r.m.(corruptible); ok && toy.Corrupt()+toy.Failed() > 0 {
		tell(Event{Kind: "corrupt", Text: fmt.Sprintf("%d reads, %d errors", toy.Corrupt(), toy.Failed())})
	}
	fmt.Fprintln(os.Stderr, o, err)
	return int(o)
}

// process is a replica in a process of its own, which can be killed.
type process struct {
	*exec.Cmd
	log  *events
	done chan struct{}
}

func (s *stage) start(args ...string) *process {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self), log: newEvents(), done: make(chan struct{})}
	args = append([]string{args[0], s.dir, s.sw}, args[1:]...)
	p.Env = append(os.Environ(), childEnv+"="+strings.Join(args, " "), storeEnv+"="+s.store, hostEnv+"="+s.host)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e Event
			if err := json.Unmarshal(lines.Bytes(), &e); err == nil {
				p.log.add(e)
			}
		}
		_ = p.Wait()
		p.log.end()
	}()
	s.t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
	})
	return p
}

func (p *process) address(t *testing.T) string {
	t.Helper()
	p.log.await(t, "address")
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return p.log.list[0].Text
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the process and checks how it ended.
func (p *process) ends(t *testing.T, want Outcome) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("still running; told %v", p.log.list)
	}
	if code := p.ProcessState.ExitCode(); code != int(want) {
		t.Fatalf("exit code %d, want %d (%v); told %v", code, int(want), want, p.log.list)
	}
	if p.log.has("corrupt") {
		t.Errorf("the guest read something else than it wrote: %v", p.log.list)
	}
}

func (s *stage) pairOfProcesses() (primary, backup *process) {
	s.t.Helper()
	backup = s.start("backup")
	primary = s.start("primary", backup.address(s.t))
	primary.log.await(s.t, EventProtected)
	backup.log.await(s.t, EventProtected)
	return primary, backup
}

// worked is a while in which the guest writes its disk.
const worked = 200 * time.Millisecond

// Paper, section 2.3: if the primary fails, the backup "should go live".
func TestBackupGoesLiveWhenThePrimaryIsKilled(t *testing.T) {
	s := newStage(t)
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	primary.signal(t, syscall.SIGKILL)
	backup.log.await(t, EventLive)
	time.Sleep(worked)
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
	if !s.ended() {
		t.Error("the survivor did not record the end of the run")
	}
}

// Paper, section 2.3: if the backup fails, the primary "should stop sending
// entries on the logging channel and continue executing normally".
func TestPrimaryGoesOnWhenTheBackupIsKilled(t *testing.T) {
	s := newStage(t)
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	backup.signal(t, syscall.SIGKILL)
	primary.log.await(t, EventLive)
	time.Sleep(worked)
	primary.signal(t, syscall.SIGTERM)
	primary.ends(t, Ended)
}

// DESIGN R19: "a frozen process keeps it; so the winner of a claim waits,
// visibly, for that lock before it goes live". When the frozen one wakes it
// finds that it has lost, halts, and lets go.
func TestFrozenPrimaryLosesAndLetsGo(t *testing.T) {
	s := newStage(t)
	primary, backup := s.pairOfProcesses()
	time.Sleep(worked)
	primary.signal(t, syscall.SIGSTOP)
	backup.log.await(t, EventClaimWon)
	backup.log.await(t, EventLockWait)
	if backup.log.has(EventLive) {
		t.Fatal("the backup went live while the old primary holds the disk")
	}
	primary.signal(t, syscall.SIGCONT)
	primary.ends(t, Halted)
	backup.log.await(t, EventLive)
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
}

// A pause in the middle of a pairing, shorter than the time-out, only delays it:
// the channel makes another connection and sends the State again.
func TestPairingSurvivesAPauseOfTheBackup(t *testing.T) {
	s := newStage(t)
	backup := s.start("backup")
	primary := s.start("primary", backup.address(t))
	backup.log.await(t, EventNote) // the primary has dialled
	backup.signal(t, syscall.SIGSTOP)
	time.Sleep(300 * time.Millisecond)
	backup.signal(t, syscall.SIGCONT)
	primary.log.await(t, EventProtected)
	backup.log.await(t, EventProtected)
	primary.signal(t, syscall.SIGTERM)
	primary.ends(t, Ended)
	backup.ends(t, Ended)
}

// Who reads the consoles of both replicas by offset sees every byte once, and
// both tell the same of those that both tell.
func TestConsoleByOffsetAtATakeover(t *testing.T) {
	s := newStage(t)
	t.Setenv(consoleEnv, "1")
	primary, backup := s.pairOfProcesses()
	for { // until the backup knows that some of it was released
		if _, old := primary.console(t); len(old) > 64 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	primary.signal(t, syscall.SIGKILL)
	<-primary.done
	backup.log.await(t, EventLive)
	for { // until the guest has written more
		_, old := primary.console(t)
		if begin, young := backup.console(t); int(begin)+len(young) > len(old) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	backup.signal(t, syscall.SIGTERM)
	backup.ends(t, Ended)
	first, old := primary.console(t)
	begin, young := backup.console(t)
	if first != 0 || begin != 0 {
		t.Fatalf("the primary told from byte %d, the backup from %d; State has the last %d", first, begin, machine.ConsoleTailSize)
	}
	if !bytes.HasPrefix(young, old) {
		t.Errorf("the primary told %x, the backup %x", old, young)
	}
}

// console is what a replica told of its console, without a gap.
func (p *process) console(t *testing.T) (offset uint64, text []byte) {
	t.Helper()
	var h heard
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	for _, e := range p.log.list {
		if e.Kind == "console" {
			var o machine.Output
			if _, err := fmt.Sscanf(e.Text, "%d %x", &o.Offset, &o.Bytes); err != nil {
				t.Fatal(err)
			}
			h.pieces = append(h.pieces, o)
		}
	}
	offset, text, err := h.text()
	if err != nil {
		t.Fatal(err)
	}
	return offset, text
}
