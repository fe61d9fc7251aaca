package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// patience is how long a guest may take for all of its programs.
const patience = 20 * time.Minute

// rig is a machine that runs. What it needs ends with it.
type rig struct {
	guests []*runningGuest // the first is measured, the others are beside it
	backup *process        // of a pair
}

// runningGuest is a process that is a guest's machine, and its console.
type runningGuest struct {
	*process
	*meter
}

// begin starts a machine and the guests on it. All methods of the rig are for the
// goroutine that called begin.
func (s *stage) begin(ctx context.Context, m Machine) (r *rig, err error) {
	r = &rig{}
	defer func() {
		if err != nil {
			r.end()
		}
	}()
	switch m {
	case QEMU:
		return r, r.start(ctx, s.qemuArgs()...)
	case QEMUIcount:
		return r, r.start(ctx, append(s.qemuArgs(), "-icount", "shift=1,sleep=off")...)
	}
	g, err := s.guest(m, s.disk)
	if err != nil {
		return r, err
	}
	if m == Pair {
		if g.Peer, err = s.startBackup(ctx, r, g); err != nil {
			return r, err
		}
	}
	if err := s.startGuest(ctx, r, g); err != nil || m != Beside {
		return r, err
	}
	second, err := s.guest(m, s.other)
	if err != nil {
		return r, err
	}
	return r, s.startGuest(ctx, r, second)
}

func (s *stage) startGuest(ctx context.Context, r *rig, g Guest) error {
	args, err := s.guestArgs(g)
	if err != nil {
		return err
	}
	return r.start(ctx, args...)
}

// startBackup starts the backup of a pair whose primary is to be g, and is its
// address.
func (s *stage) startBackup(ctx context.Context, r *rig, g Guest) (addr string, err error) {
	g.Machine = backupOfPair
	args, err := s.guestArgs(g)
	if err != nil {
		return "", err
	}
	if r.backup, err = start(ctx, args...); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(r.backup.stdout).ReadString('\n')
	if err != nil {
		return "", r.backup.explain(errors.New("bench: the backup does not start"))
	}
	return strings.TrimSpace(line), nil
}

// start starts a process that is a guest's machine.
func (r *rig) start(ctx context.Context, args ...string) error {
	p, err := start(ctx, args...)
	if err != nil {
		return err
	}
	r.guests = append(r.guests, &runningGuest{p, newMeter(p.stdout, func() (float64, error) { return cpuSeconds(p.cmd.Process.Pid) })})
	return nil
}

// all has the guests run all their programs, and is what they cost the first.
func (r *rig) all() (map[string]Measurement, error) {
	for _, g := range r.guests[1:] {
		go func() { _, _ = io.Copy(io.Discard, g.stdout) }() // or its console would fill up
	}
	got, err := r.guests[0].all()
	return got, r.guests[0].explain(err)
}

// turn has the guests, which wait to be asked, run their next program, and is
// what it cost the first.
func (r *rig) turn(name string) (Measurement, error) {
	for _, g := range r.guests {
		if err := g.until(askMark); err != nil {
			return Measurement{}, g.explain(err)
		}
	}
	for _, g := range r.guests {
		if _, err := io.WriteString(g.stdin, "\n"); err != nil {
			return Measurement{}, g.explain(fmt.Errorf("bench: %w", err))
		}
	}
	for _, g := range r.guests {
		if err := g.until(resultMark + name); err != nil {
			return Measurement{}, g.explain(err)
		}
	}
	return r.guests[0].got[name], nil
}

// end kills what still runs.
func (r *rig) end() {
	for _, g := range r.guests {
		g.process.end()
	}
	if r.backup != nil {
		r.backup.end()
	}
}
