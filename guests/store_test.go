package guests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-vm/lockstep/cli"
)

// storeVariable makes this test binary `lockstep store` with the arguments of
// its command line.
const storeVariable = "LOCKSTEP_GUESTS_STORE"

// beStore is the store until it is told to end.
func beStore() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, append([]string{"store"}, os.Args[1:]...))
}

// blockStore is `lockstep store` in a process of its own.
type blockStore struct {
	cmd     *exec.Cmd
	said    *lines
	address string
	urls    []string
	late    *time.Timer
	ended   bool
}

// startStore starts a store that serves files and keeps an arbiter in a
// directory.
func startStore(t testing.TB, arbiter string, files []string) *blockStore {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--listen", "127.0.0.1:0", "--arbiter", arbiter}
	for i, file := range files {
		args = append(args, "--export", fmt.Sprintf("disk%d=%s", i, file))
	}
	s := &blockStore{cmd: exec.Command(self, args...)}
	s.cmd.Env = append(os.Environ(), storeVariable+"=1")
	errs, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.said = readLines(errs)
	s.late = time.AfterFunc(2*patience, func() { _ = s.cmd.Process.Kill() })
	t.Cleanup(func() {
		if !s.ended {
			_ = s.cmd.Process.Kill()
			s.wait()
		}
	})
	s.address = s.says(t, "lockstep: store at ", 1)
	for i, file := range files {
		line := s.says(t, "lockstep: export ", i+1)
		_, url, ok := strings.Cut(line, filepath.Base(file)+" at ")
		if !ok {
			t.Fatalf("the store says %q of export %d", line, i)
		}
		s.urls = append(s.urls, url)
	}
	return s
}

// says is what follows the words of the n-th line that begins with them.
func (s *blockStore) says(t testing.TB, words string, n int) string {
	t.Helper()
	line, ok := s.said.await(words, n)
	if !ok {
		t.Fatalf("the store ended and said\n%s", strings.Join(s.said.all(), "\n"))
	}
	return strings.TrimPrefix(line, words)
}

func (s *blockStore) wait() error {
	s.ended = true
	s.said.await("\x00", 1)
	s.late.Stop()
	return s.cmd.Wait()
}

// stop ends the store by order.
func (s *blockStore) stop(t testing.TB) {
	t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.wait(); err != nil {
		t.Fatalf("%v; the store said\n%s", err, strings.Join(s.said.all(), "\n"))
	}
}
