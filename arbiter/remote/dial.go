package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Unix dials a driver that listens on a unix socket.
func Unix(path string) Dial {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, fmt.Errorf("%w; is it running?", err)
		}
		return conn, nil
	}
}

// Exec starts a driver: command is a line for sh, so that blanks are quoted as
// people know it. The driver speaks on its standard input and output.
func Exec(command string) Dial {
	return func(context.Context) (io.ReadWriteCloser, error) {
		p := &process{cmd: exec.Command("/bin/sh", "-c", "exec "+command)}
		// Its own process group: an interrupt from the terminal stops the VM, and
		// the VM's planned end needs the arbiter.
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		p.cmd.Stderr = &p.words
		p.cmd.WaitDelay = time.Second // for what the driver may have left behind
		var err error
		if p.WriteCloser, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		if p.Reader, err = p.cmd.StdoutPipe(); err != nil {
			return nil, err
		}
		if err := p.cmd.Start(); err != nil {
			return nil, err
		}
		return p, nil
	}
}

// process is a driver that was started.
type process struct {
	io.Reader
	io.WriteCloser
	cmd   *exec.Cmd
	words tail
	once  sync.Once
	how   error
}

// grace is how long a driver whose input has ended may take to leave.
const grace = time.Second

// Close ends the process and says how it ended, if that was not well, and what
// it said last on its standard error.
func (p *process) Close() error {
	p.once.Do(func() {
		_ = p.WriteCloser.Close()
		kill := time.AfterFunc(grace, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
		err := p.cmd.Wait()
		kill.Stop()
		said := p.words.String()
		switch {
		case err != nil && said != "":
			err = fmt.Errorf("%w: %s", err, said)
		case said != "":
			err = errors.New(said)
		}
		p.how = err
	})
	return p.how
}

// tail keeps the end of what a driver says on its standard error.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const maxTail = 1 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if over := len(t.last) - maxTail; over > 0 {
		t.last = bytes.Clone(t.last[over:])
	}
	return len(b), nil
}

// String is the last line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	said := strings.TrimSpace(string(t.last))
	return said[strings.LastIndexByte(said, '\n')+1:]
}

// Split takes the name of a driver apart: exec:COMMAND or unix:PATH. ok is false
// if it is neither.
func Split(name string) (dial Dial, ok bool, err error) {
	form, rest, _ := strings.Cut(name, ":")
	rest = strings.TrimSpace(rest)
	switch form {
	case "exec":
		dial = Exec(rest)
	case "unix":
		dial = Unix(rest)
	default:
		return nil, false, nil
	}
	if rest == "" {
		return nil, true, errors.New("write exec:COMMAND or unix:PATH")
	}
	return dial, true, nil
}
