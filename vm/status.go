package vm

import (
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// Status is what a replica tells of itself: a plain copy, made between two
// slices. Its JSON is what scripts and the demo read.
type Status struct {
	Time     time.Time `json:"time"`
	VM       string    `json:"vm"`
	Run      string    `json:"run,omitempty"`
	Epoch    uint64    `json:"epoch"`
	Engine   string    `json:"engine,omitempty"` // that executes the guest: jit, interp or reference
	State    string    `json:"state"`            // of DESIGN section 6: alone, protected, replaying, ...
	Position uint64    `json:"position"`         // Icount
	GuestNS  uint64    `json:"guest_ns"`         // virtual time since power-on
	CPUNS    int64     `json:"cpu_ns"`           // user and system time of this process
	Idle     bool      `json:"idle"`             // the hart waits for an interrupt

	Log         LogStatus `json:"log"`
	Lag         Quantiles `json:"lag"`          // execution lag of the backup, as the primary sees it
	OutputDelay Quantiles `json:"output_delay"` // output taken from the machine -> written on the host
	Digests     struct {
		Compared  uint64 `json:"compared"`
		Different uint64 `json:"different"`
	} `json:"digests"`

	// Stopped has the disks that errors of the host have stopped: the guest
	// stands still until they go on.
	Stopped []StoppedDisk `json:"stopped_disks,omitempty"`

	// Sync is the re-synchronisation of the backup's copy of local disks.
	Sync *SyncStatus `json:"sync,omitempty"`

	// Survives says what this set-up survives, or what it does not.
	Survives string `json:"survives,omitempty"`
}

// LogStatus counts what was logged since power-on.
type LogStatus struct {
	Entries  uint64 `json:"entries"`
	Bytes    uint64 `json:"bytes"`    // encoded entries, without framing
	Unacked  uint64 `json:"unacked"`  // entries that the backup has not acknowledged
	Throttle uint   `json:"throttle"` // percent of the host's time that the primary leaves unused for the backup's sake
}

// Quantiles of durations, in nanoseconds, since the last ResetStatistics.
type Quantiles struct {
	Count uint64 `json:"count"`
	P50   uint64 `json:"p50_ns"`
	P99   uint64 `json:"p99_ns"`
}

func (h *histogram) quantiles() Quantiles {
	return Quantiles{Count: h.total, P50: h.quantile(0.5), P99: h.quantile(0.99)}
}

// Event is one thing that happened to a replica. Faces, scripts and tests read
// the same stream.
type Event struct {
	Time time.Time `json:"time"`
	Kind EventKind `json:"kind"`
	Text string    `json:"text"` // a sentence for a person; of a divergence several lines
	// Divergence is what EventDiverged tells, in fields.
	Divergence *replay.Divergence `json:"divergence,omitempty"`
}

// EventKind names events; the names are for ever.
type EventKind string

const (
	EventWaiting     EventKind = "waiting"      // the primary waits for its backup
	EventPowerOn     EventKind = "power-on"     // the first instruction is about to run
	EventProtected   EventKind = "protected"    // the backup is armed
	EventPeerLost    EventKind = "peer-lost"    // the loss of the peer was noticed
	EventClaimWon    EventKind = "claim-won"    // this side goes on
	EventClaimLost   EventKind = "claim-lost"   // the other side goes on
	EventLive        EventKind = "live"         // this side runs on alone, its gate open
	EventLockWait    EventKind = "lock-wait"    // waiting for the other process to let go of a disk
	EventDiskStopped EventKind = "disk-stopped" // an error of the host; the guest stands still
	EventDiskResumed EventKind = "disk-resumed" // the disk works again
	EventDiverged    EventKind = "diverged"     // this replica's state differs from the primary's
	EventPanic       EventKind = "guest-panic"
	EventEnded       EventKind = "ended"  // the guest powered off
	EventHalted      EventKind = "halted" // this side has stopped for good
	EventNote        EventKind = "note"
)

// Outcome is how a replica came to its end.
type Outcome uint8

const (
	Ended    Outcome = iota // the guest powered off, or was stopped by order
	Halted                  // lost the claim, was fenced, or diverged
	Gone                    // a backup that was never armed lost its primary
	Refused                 // the two sides do not fit
	Panicked                // the guest's kernel panicked, or called its power-off a failure
)

func (o Outcome) String() string {
	return [...]string{"ended", "halted", "gone", "refused", "panicked"}[o]
}

// guestTime is the virtual time of a position in nanoseconds.
func guestTime(c machine.Clock, i machine.Icount) uint64 { return uint64(c.At(i)) * nsPerTick }

// publish makes the status that Status returns until the next tick.
func (r *Replica) publish() {
	st := Status{Time: time.Now(), VM: r.cfg.Name, Engine: r.engine.Name, State: "waiting for a primary", CPUNS: cpuTime(), OutputDelay: r.out.delays()}
	if r.proto != nil {
		st.Run, st.Epoch, st.State = r.run.String(), uint64(r.proto.Epoch()), r.proto.State().String()
	}
	if r.m != nil {
		st.Position = uint64(r.m.Icount())
		st.GuestNS = guestTime(r.m.Clock(), r.m.Icount())
	}
	st.Idle = r.live.exit == machine.Idle
	if r.primary != nil {
		s := r.primary.Stats()
		st.Log = LogStatus{Entries: s.Entries, Bytes: s.Bytes, Throttle: r.live.throttle.percent}
		if a, ok := r.primary.Acked(); ok {
			st.Log.Unacked = uint64(r.last.Seq - a.Seq)
		}
		st.Lag = Quantiles{Count: s.Lag.Samples, P50: uint64(s.Lag.P50), P99: uint64(s.Lag.P99)}
	}
	if r.follow.replayer != nil {
		r.follow.compared = r.follow.replayer.Compared().Digests
	}
	st.Digests.Compared = r.follow.compared
	if r.follow.diverged {
		st.Digests.Different = 1
	}
	st.Stopped = r.stops.status()
	st.Sync = r.local.syncStatus()
	st.Survives = r.survives()
	r.shared.Lock()
	defer r.shared.Unlock()
	r.shared.status = st
}

// cpuTime is the user and system time of this process in ns.
func cpuTime() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// survives says what a pair that cannot outlive its machine does outlive; empty
// if the replicas are, as far as this one can tell, on two hosts.
func (r *Replica) survives() string {
	near := r.cfg.Peer
	if near == "" {
		near = r.cfg.Listen
	}
	host, _, err := net.SplitHostPort(near)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return ""
	}
	return "both replicas are on this machine: the VM survives a killed process, not the loss of the machine"
}
