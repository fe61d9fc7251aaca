// Package demo runs Lockstep before your eyes: it boots a Debian guest on a
// primary and a backup, has a client talk to the guest's server over one TCP
// connection, kills one side, and counts what the client noticed.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/lockstep-vm/lockstep/image"
)

// Options of a run.
type Options struct {
	Kill     Kill
	After    time.Duration // from the client's first answer to the kill
	Duration time.Duration // of the client's work in all; with a terminal the user ends it
	Disk     bool          // the guest writes and checks a raw disk all the while
	JSON     string        // where the report goes; "" nowhere
	Check    bool          // unattended: no terminal
	Mirror   string
	Progress func(image.Event)

	Stdin  *os.File
	Stdout io.Writer
}

// Run runs the demo and returns its report. The error says why there is none.
func Run(ctx context.Context, o Options) (*Report, error) {
	img, dir, done, err := prepare(ctx, image.Options{Name: image.Demo, Mirror: o.Mirror, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	defer done()

	screen := terminal(o)
	s := &scene{dir: dir, disk: o.Disk, relays: screen != nil || o.Kill == KillPartition, killed: KillNone}
	if screen != nil {
		return watch(ctx, s, o.Stdin, screen, func(ctx context.Context) (*Report, error) { return s.play(ctx, o, img) })
	}
	v := newPlain(o.Stdout)
	s.note = v.note
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go v.follow(ctx, s)
	return s.play(ctx, o, img)
}

// prepare has the guest's image built and makes a directory for the scene, which
// done removes.
func prepare(ctx context.Context, o image.Options) (img *image.Image, dir string, done func(), err error) {
	if img, err = image.Ensure(ctx, o); err != nil {
		return nil, "", nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, "", nil, fmt.Errorf("demo: %w", err)
	}
	// Not under /tmp, which may lie on tmpfs: a claim must be durable.
	cache = filepath.Join(cache, "lockstep")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, "", nil, fmt.Errorf("demo: %w", err)
	}
	if dir, err = os.MkdirTemp(cache, "demo-"); err != nil {
		return nil, "", nil, fmt.Errorf("demo: %w", err)
	}
	return img, dir, func() { _ = os.RemoveAll(dir) }, nil
}

// terminal is where the demo can be watched and steered by a person; nil if
// that is not wanted or the streams are not a terminal's.
func terminal(o Options) *os.File {
	out, ok := o.Stdout.(*os.File)
	if !ok || o.Check || o.JSON == "-" || o.Stdin == nil || !term.IsTerminal(int(o.Stdin.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return nil
	}
	return out
}

// play runs the scene from its beginning to the final read of every key.
func (s *scene) play(ctx context.Context, o Options, img *image.Image) (*Report, error) {
	defer s.tearDown()
	s.note("demo: switch, backup and primary are started as processes of their own")
	if err := s.setUp(img); err != nil {
		return nil, err
	}
	if err := s.boot(ctx); err != nil {
		return nil, err
	}
	s.note("demo: the guest's server answered after %.1f s; one connection from here on", s.answered.Sub(s.began).Seconds())
	if err := s.work(ctx, o); err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	s.enter(actReading)
	s.note("demo: reading every key again over the same connection")
	if err := s.client.verify(); err != nil {
		return nil, fmt.Errorf("demo: the final read failed: %w", err)
	}
	s.enter(actOver)
	r := s.report(img)
	if o.JSON != "" {
		if err := r.write(o.JSON); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// work has the client work for the duration, or until the user has seen enough,
// and kills in between.
func (s *scene) work(ctx context.Context, o Options) error {
	done := make(chan struct{})
	result := make(chan error, 1)
	s.enter(actWork)
	go func() { result <- s.client.work(done) }()
	kill := time.NewTimer(o.After)
	defer kill.Stop()
	s.planKill(o.Kill, o.After)
	var over <-chan time.Time
	if s.quit == nil {
		t := time.NewTimer(o.Duration)
		defer t.Stop()
		over = t.C
	}
	for {
		select {
		case <-kill.C:
			s.kill(o.Kill)
			continue
		case err := <-result:
			return fmt.Errorf("demo: the client's connection broke: %w", err)
		case <-over:
		case <-s.quit:
		case <-ctx.Done():
			_ = s.client.conn.Close()
			_ = <-result
			return ctx.Err()
		}
		break
	}
	close(done)
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		_ = s.client.conn.Close()
		_ = <-result
		return ctx.Err()
	case <-time.After(time.Minute):
		_ = s.client.conn.Close()
		return errors.Join(errors.New("demo: the client has waited a minute for an answer"), <-result)
	}
}
