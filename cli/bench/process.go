package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// cpuSeconds is the CPU time that a running process has used, all its threads
// and garbage collectors included: its CPU-time clock (clock_getcpuclockid(3)),
// which counts in ns where /proc counts in hundredths of a second.
func cpuSeconds(pid int) (float64, error) {
	const schedulersClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulersClock), &t); err != nil {
		return 0, fmt.Errorf("bench: CPU time of process %d: %w", pid, err)
	}
	return float64(t.Nano()) / 1e9, nil
}

// process is a process that ends with this one.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *os.File
	stderr tail
	once   sync.Once
}

// start starts a process that is killed when ctx ends or this process does.
func start(ctx context.Context, args ...string) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	p := &process{cmd: exec.CommandContext(ctx, args[0], args[1:]...), stdout: r}
	p.cmd.Stdout, p.cmd.Stderr = w, &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("bench: %w", errors.Join(err, r.Close(), w.Close()))
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// The kernel sends the signal when the thread that started the process ends.
	runtime.LockOSThread()
	err = p.cmd.Start()
	_ = w.Close()
	if err != nil {
		runtime.UnlockOSThread()
		_ = r.Close()
		return nil, fmt.Errorf("bench: %s: %w", args[0], err)
	}
	return p, nil
}

// explain is an error of a process with the end of what the process said.
func (p *process) explain(err error) error {
	if text := p.stderr.String(); err != nil && text != "" {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(text))
	}
	return err
}

// end kills the process if it is still there. It must be called by the
// goroutine that started it.
func (p *process) end() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_ = p.stdout.Close()
		runtime.UnlockOSThread()
	})
}

// tail keeps the end of what a process says.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b = append(t.b, b...); len(t.b) > 4096 {
		t.b = t.b[len(t.b)-4096:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
