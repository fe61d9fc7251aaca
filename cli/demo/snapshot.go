package demo

import (
	"time"

	"github.com/lockstep-vm/lockstep/vm"
)

// snapshot is how the scene stands at one moment: a plain copy, so that a face
// needs nothing else of the scene.
type snapshot struct {
	elapsed  time.Duration // since the demo began
	act      act
	kernel   string
	lastLine string // of the guest's console
	boot     struct {
		took         time.Duration // to the client's first answer; 0 before
		instructions uint64
	}
	primary, backup part

	tally          Tally
	recent, around []int // operations per span, see client.rates

	plan     Kill          // what will be done to the pair unless somebody does it before
	planIn   time.Duration // until then
	failover failover
	disk     bool   // the guest checks a disk
	verified uint64 // blocks of it
	notes    []note
}

// part is one replica.
type part struct {
	started bool
	ended   bool
	code    int // exit code, -1 killed
	pid     int
	status  vm.Status
}

// failover is what happened at the loss.
type failover struct {
	killed   Kill
	at       time.Duration // since the demo began
	survivor string        // "" while nobody has gone live
	detected *float64      // ms from the signal; nil while nobody has noticed
	live     *float64
}

// Spans of the client's operations.
const (
	recentWidth = 100 * time.Millisecond
	lossWidth   = 20 * time.Millisecond
	lossBefore  = 20 // spans ahead of the loss
)

// look makes a snapshot, with as many spans and notes as a face can show.
func (s *scene) look(j *journal, spans, notes int) snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := snapshot{
		elapsed: time.Since(j.start), act: s.act,
		kernel: s.guest.kernelVersion(), lastLine: s.guest.lastLine(),
		primary: s.primary.part(), backup: s.backup.part(),
		tally: s.client.snapshot(), notes: j.newest(notes), disk: s.disk,
	}
	if !s.answered.IsZero() {
		v.boot.took, v.boot.instructions = s.answered.Sub(s.began), s.bootPos
	}
	if v.plan = KillNone; s.act == actWork && s.killed == KillNone && s.plan != "" {
		v.plan, v.planIn = s.plan, time.Until(s.planAt)
	}
	v.failover.killed = s.killed
	if s.killed != KillNone {
		v.failover.at = s.killedAt.Sub(j.start)
		v.failover.survivor, v.failover.detected, v.failover.live = s.outcome(s.killedAt)
	}
	v.recent, v.around = s.client.rates(spans, s.killedAt)
	v.verified, _ = s.guest.blocks()
	return v
}

// outcome is who survived the loss and, in ms after it, when it was noticed and
// when the survivor went live.
func (s *scene) outcome(loss time.Time) (survivor string, detected, live *float64) {
	if c, _ := s.survivor(loss); c != nil {
		return c.name, since(c, vm.EventPeerLost, loss), since(c, vm.EventLive, loss)
	}
	for _, c := range []*child{s.backup, s.primary} {
		if detected = since(c, vm.EventPeerLost, loss); detected != nil {
			break
		}
	}
	return "", detected, nil
}

// part is a copy of how a replica stands; the zero part if there is none yet.
func (c *child) part() part {
	if c == nil {
		return part{}
	}
	p := part{started: true, pid: c.cmd.Process.Pid, status: c.latest()}
	p.code, p.ended = c.ended()
	return p
}
