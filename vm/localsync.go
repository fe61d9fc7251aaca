package vm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/logchan"
	"github.com/lockstep-vm/lockstep/storage/local"
)

// The copies of a pairing are made alike before it is armed:
//
//	primary   Run of all sources -- guest stands still: Hold, State -- Commit of all -- CopySynced
//	             | hashes, blocks                | End                 ^ Prepared           ^
//	backup    Run of all targets --------------- fsync, marked --------+-- State loaded --- synced
//
// When the connection is lost it goes on where it was on the next one, until the
// State is taken: that belongs to the point at which the copies are alike. What
// else fails ends the pairing before it is armed.

// localSync is the re-synchronisation that begins a pairing.
type localSync struct {
	cancel context.CancelFunc
	done   chan struct{}
	conns  chan uint64 // the newest connection, until it is taken

	still     bool             // primary: the guest stands still for the last blocks and the State,
	since     int64            // from this host time on
	committed bool             // primary: its own copy is done
	theirs    logchan.DiskNote // primary: the backup's word that its copy is
	prepared  bool             // backup: it has all blocks
	state     bool             // backup: it has the whole State

	mu      sync.Mutex
	sources []*local.Source
}

// SyncStatus is what the status tells of a re-synchronisation, in bytes.
type SyncStatus struct {
	Full  bool   `json:"full"`          // all blocks are compared
	Why   string `json:"why,omitempty"` // of a full one
	Total int64  `json:"total"`         // to compare
	Done  int64  `json:"done"`          // compared, and copied if different
	Sent  int64  `json:"sent"`          // that differed
}

// beginSync makes a re-synchronisation on connection gen the one that is under
// way, and runs f beside the owner once what was before has let go of the images.
func (l *localDisks) beginSync(r *Replica, gen uint64, f func(ctx context.Context, s *localSync) error, failed func(error)) {
	l.endSync()
	l.beginCuts(r.now())
	before, worked := l.last, l.cutDone()
	ctx, cancel := context.WithCancel(r.ctx)
	s := &localSync{cancel: cancel, done: make(chan struct{}), conns: make(chan uint64, 1)}
	s.conns <- gen
	l.sync, l.last = s, s
	l.tasks.Go(func() {
		defer close(s.done)
		defer cancel()
		if before != nil {
			<-before.done
		}
		if worked != nil {
			<-worked
		}
		if err := f(ctx, s); err != nil {
			r.box.do(func() {
				if l.sync == s {
					failed(err)
				}
			})
		}
	})
}

// endSync gives up what is under way.
func (l *localDisks) endSync() {
	if l != nil && l.sync != nil {
		l.sync.cancel()
		l.sync = nil
	}
}

// resumeSync has what is under way go on with another connection.
func (l *localDisks) resumeSync(gen uint64) {
	if l == nil || l.sync == nil {
		return
	}
	select {
	case <-l.sync.conns: // nobody has taken the one before
	default:
	}
	l.sync.conns <- gen
}

// onConnections calls f with one connection after the other until it fails of
// something else than their loss, or does not fail.
func (s *localSync) onConnections(ctx context.Context, f func(gen uint64) error) error {
	for {
		select {
		case gen := <-s.conns:
			err := f(gen)
			var broken *local.Error
			if !errors.Is(err, logchan.ErrLost) || errors.As(err, &broken) {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// each runs f for every copy side by side. The first to fail ends the others, which
// may have hours to go, and its error is that of all.
func (l *localDisks) each(ctx context.Context, f func(ctx context.Context, i int, c *local.Copy) error) error {
	all, ctx := errgroup.WithContext(ctx)
	for i, c := range l.copies {
		if c != nil {
			all.Go(func() error { return f(ctx, i, c) })
		}
	}
	return all.Wait()
}

// feed begins a pairing whose backup has a copy of its own.
func (r *Replica) feed(seed ft.Seed) {
	p := r.primary
	r.local.catchUp = 0
	r.event(EventNote, "comparing the backup's copy of the disks with this one")
	r.local.beginSync(r, seed.Gen, func(ctx context.Context, s *localSync) error {
		return r.copyTo(ctx, s, p, seed)
	}, func(err error) {
		r.local.endSync()
		r.event(EventNote, "the backup's copy was not brought up to date: %v", err)
		if r.proto.State() == ft.Seeding {
			r.proto.Refused(r.proto.Peer()) // this attempt is over
		}
	})
}

func (r *Replica) copyTo(ctx context.Context, s *localSync, p *logchan.Primary, seed ft.Seed) error {
	l := r.local
	sources := make([]*local.Source, len(l.copies))
	defer func() {
		for _, src := range sources {
			if src != nil {
				src.Close()
			}
		}
	}()
	if err := l.each(ctx, func(_ context.Context, i int, c *local.Copy) (err error) {
		if sources[i], err = c.NewSource(local.SourceOptions{Pace: r.cfg.paceSync}); err == nil {
			s.watch(sources[i])
		}
		return err
	}); err != nil {
		return err
	}
	if err := s.onConnections(ctx, func(gen uint64) error {
		if err := l.each(ctx, func(ctx context.Context, i int, _ *local.Copy) error {
			conn, err := p.Sync(gen, uint8(i))
			if err != nil {
				return err
			}
			// One that does not converge is held for longer.
			if err := sources[i].Run(ctx, conn); !errors.Is(err, local.ErrNotConverging) {
				return err
			}
			return nil
		}); err != nil {
			return err
		}
		return r.hold(ctx, s, sources, ft.PairGeneration(r.run, seed.Epoch))
	}); err != nil {
		return err
	}
	if err := r.ask(ctx, func() {
		if l.sync == s && r.primary == p {
			r.seed()
		}
	}); err != nil {
		return err
	}
	r.release(s, sources)
	if err := l.each(ctx, func(ctx context.Context, i int, _ *local.Copy) error { return sources[i].Commit(ctx) }); err != nil {
		return err
	}
	r.box.do(func() {
		s.committed = true
		r.reportSynced()
	})
	return nil
}

// hold makes the guest stand still, at a point that all its disks have in common
// with the backup's; after an error it goes on.
func (r *Replica) hold(ctx context.Context, s *localSync, sources []*local.Source, gen ft.Generation) error {
	if err := r.ask(ctx, func() { s.still, s.since = true, r.now() }); err != nil {
		return err
	}
	held := make([]*local.Source, len(sources))
	err := r.local.each(ctx, func(ctx context.Context, i int, _ *local.Copy) error {
		err := sources[i].Hold(ctx, gen)
		if err == nil {
			held[i] = sources[i]
		}
		return err
	})
	if err != nil {
		r.release(s, held)
	}
	return err
}

// release lets the guest and its writes go on.
func (r *Replica) release(s *localSync, held []*local.Source) {
	for _, src := range held {
		if src != nil {
			src.Release()
		}
	}
	r.box.do(func() { s.still = false })
}

// ask has the owner do f between two slices and waits until it has.
func (r *Replica) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	r.box.do(func() {
		f()
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reportSynced tells the protocol that both copies are complete, flushed and
// marked.
func (r *Replica) reportSynced() {
	s := r.local.sync
	if s == nil || !s.committed || s.theirs.Gen == 0 || s.theirs.Gen != r.gen {
		return
	}
	r.local.sync = nil
	r.event(EventNote, "the backup's copy of the disks is up to date: %v", s.progress())
	r.proto.CopySynced(s.theirs.Gen, s.theirs.Copy)
}

// receive brings this backup's copy up to date. A target notes the generation
// when it has all blocks, before the State is loaded: until the record names it,
// it is a stale copy with the contents of that moment.
func (r *Replica) receive(gen uint64) {
	l, b := r.local, r.backup
	if l == nil {
		return
	}
	l.beginSync(r, gen, func(ctx context.Context, s *localSync) error {
		targets := make([]*local.Target, len(l.copies))
		conns := make([]*logchan.DiskConn, len(l.copies))
		defer func() {
			for _, t := range targets {
				if t != nil {
					t.Close()
				}
			}
		}()
		if err := s.onConnections(ctx, func(gen uint64) error {
			return l.each(ctx, func(ctx context.Context, i int, c *local.Copy) (err error) {
				if targets[i] == nil || targets[i].Prepared() { // with others that are not
					if targets[i], err = again(c, targets[i]); err != nil {
						return err
					}
				}
				if conns[i], err = b.Sync(gen, uint8(i)); err != nil {
					return err
				}
				return targets[i].Run(ctx, conns[i])
			})
		}); err != nil {
			return err
		}
		r.box.do(func() {
			s.prepared = true
			if l.sync == s && s.state {
				r.load()
			}
		})
		err := l.each(ctx, func(ctx context.Context, i int, _ *local.Copy) error { return targets[i].Run(ctx, conns[i]) })
		if err == nil {
			return nil
		}
		// With the State here the point counts all the same: this copy is prepared
		// for it. Without, who sends it may not know that, and have given up.
		whole := false
		if e := r.ask(ctx, func() { whole = s.state }); e != nil || whole {
			return e
		}
		return err
	}, func(err error) {
		var broken *local.Error
		if errors.As(err, &broken) {
			r.bye(logchan.ByeHalted)
			r.proto.CopyFailed(broken.Error())
			return
		}
		r.event(EventNote, "this copy was not brought up to date: %v", err)
		r.proto.Refused(r.proto.Peer())
	})
}

// again is a target that takes its copy's contents from the start.
func again(c *local.Copy, before *local.Target) (*local.Target, error) {
	if before != nil {
		before.Close()
	}
	return c.NewTarget()
}

// stateReady says whether the State can be loaded: the copy that belongs to it
// has to be complete.
func (r *Replica) stateReady() bool {
	if r.local == nil {
		return true
	}
	s := r.local.sync
	if s == nil {
		return false
	}
	s.state = true
	return s.prepared
}

// tellSynced says, again on every connection, that this backup's copy is
// complete, flushed and marked.
func (r *Replica) tellSynced() {
	if r.local == nil || r.backup == nil || r.follow.replayer == nil {
		return
	}
	r.proto.CopySynced(r.gen, r.local.id)
	r.backup.TellDisk(r.gen, logchan.DiskNote{Kind: logchan.NoteSynced, Copy: r.local.id})
	r.flushAgain()
}

func (s *localSync) watch(src *local.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = append(s.sources, src)
}

// progress sums up all disks.
func (s *localSync) progress() SyncStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum SyncStatus
	for _, src := range s.sources {
		p := src.Progress()
		sum.Total += p.Total
		sum.Done += p.Done()
		sum.Sent += p.Sent
		if p.Full {
			sum.Full, sum.Why = true, p.Why
		}
	}
	return sum
}

func (p SyncStatus) String() string {
	what := "what either copy wrote since they were alike"
	if p.Full {
		what = "all blocks, because " + p.Why
	}
	return fmt.Sprintf("compared %d of %d MB (%s), copied %.1f MB", p.Done>>20, p.Total>>20, what, float64(p.Sent)/(1<<20))
}

// standsStill says whether the guest waits for the last blocks to be copied.
func (l *localDisks) standsStill() bool { return l != nil && l.sync != nil && l.sync.still }

// syncStatus is that of the re-synchronisation under way; nil if there is none.
func (l *localDisks) syncStatus() *SyncStatus {
	if l == nil || l.sync == nil {
		return nil
	}
	s := l.sync.progress()
	return &s
}
