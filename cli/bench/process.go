package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a guest may take for all of its programs.
const patience = 20 * time.Minute

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

// guestRun is one guest that runs its programs in the process that args name.
func guestRun(ctx context.Context, args ...string) (map[string]Measurement, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := start(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer p.end()
	got, err := watch(p.stdout, func() (float64, error) { return cpuSeconds(p.cmd.Process.Pid) })
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		if text := p.stderr.String(); text != "" {
			err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(text))
		}
	}
	return got, err
}

// process is a process that ends with this one.
type process struct {
	cmd    *exec.Cmd
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
