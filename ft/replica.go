package ft

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/replay"
)

// Config is what a Replica is told at its start. Times are in ticks: the driver
// calls Tick at one fixed interval and drops ticks it is late for, so that a
// process that was stopped does not count the time it slept as silence.
type Config struct {
	VM   string
	Run  Run
	Self ProcessID
	// Backup: a backup is wanted.
	Backup bool
	// Timeout is how long silence lasts before it starts a claim. Heartbeats
	// come several times as often.
	Timeout int
	// DialEvery is the time between attempts to reach a lost peer.
	DialEvery int
	// AskEvery is the time between two questions to an arbiter that did not
	// answer.
	AskEvery int
	// Copy is this replica's copy of the local disks; zero if there are none.
	Copy CopyID
	// Flush is when a guest's flush of a local disk is done.
	Flush FlushMode
}

// DefaultConfig has the times for ticks of 10 ms: 500 ms, 50 ms and 100 ms.
func DefaultConfig() Config { return Config{Timeout: 50, DialEvery: 5, AskEvery: 10} }

// Validate says what is wrong with the configuration, if anything.
func (c *Config) Validate() error {
	switch {
	case c.Self == ProcessID{}:
		return fmt.Errorf("ft: the process has no id")
	case c.Run.Ordinal == 0:
		return fmt.Errorf("ft: the run has no ordinal; begin it in the run record first")
	case c.Timeout < 2 || c.DialEvery < 1 || c.AskEvery < 1:
		return fmt.Errorf("ft: times of %d, %d and %d ticks; the time-out must be at least 2 and the others 1", c.Timeout, c.DialEvery, c.AskEvery)
	}
	return nil
}

// Replica decides who is alive (DESIGN section 6). One value serves a process
// from its start to its end: a backup that goes live is a primary from then on.
//
//	                        State sent,
//	            join        arbiter alive       Arm acknowledged
//	Waiting ----------+   +---------------> Gated -------> Protected
//	   ^              v   |                  |  |              |
//	   +--cut off-- Seeding <--join-- Alone  |  +--peer lost---+
//	                  |                ^ ^   |         v
//	                  +----cut off-----+ |   |      Claiming --lost--> Halted
//	                                   | +-won---------+
//	                                   |     |
//	                                   +-----+ cut off before Arm was written
//
//	                                     drained         end executed
//	Joining --> Replaying --peer lost--> Draining --> Sealed --> Claiming --lost--> Halted
//	   |          |   ^                     |                       |
//	   |          |   +------resumed--------+                       +--won--> Fencing --> Alone
//	   +-- Gone <-+ not armed                                                 (goes live)
//
//	Protected --own copy of the disks fails--> Yielding --nobody claims--> Claiming
//
//	any live state --power-off released--> Ending --"ended" written--> Ended
//	any state of a backup --divergence--> Halted; --peer said it ended--> Ended
//	any state --fenced off--> Halted
//
// Events are methods; what has to be done for them comes out of Ready. An
// event that does not fit the state (a late answer, an old connection) changes
// nothing.
type Replica struct {
	cfg    Config
	state  State
	reason string
	rd     Ready

	won    Epoch // the last claim this process has won; the primary's right to open won+1
	epoch  Epoch // of the pairing, or won if there is none
	peer   ProcessID
	number Fence
	home   State // Waiting or Alone: where a primary returns to that is cut off before Arm

	gen     uint64 // current connection; 0 is none
	linkUp  bool
	alive   bool // the arbiter has answered since the last Ping
	pinging bool
	silent  int // ticks since the peer was heard
	dial    int // ticks to the next attempt to dial; 0 if none is due
	ask     int // ticks to the next question to the arbiter; 0 if none is due

	seeded bool       // primary: the State is written
	synced bool       // the backup's copy of the local disks is complete
	theirs CopyID     // primary: the backup's copy
	naming bool       // primary: the record was asked to name it
	arm    replay.Seq // primary: of this epoch's Arm; 0 until it is appended
	armed  bool       // backup
	backup bool       // not live yet
	// claimed: a claim of this epoch was sent; it stays so even when the
	// power-off, released before, ends the run.
	claimed bool
	end     replay.Seq // backup: the end of the log, once sealed
	done    replay.Seq // backup: executed and compared up to here
}

// NewPrimary is the replica that powers the VM on. Its caller has begun the
// run in the run record, won the claim of epoch 0, and fenced with Number. If
// a backup is wanted it is Waiting, else Alone.
func NewPrimary(c Config) *Replica {
	r := newReplica(c)
	r.number = WinnerFence(c.Run, 0)
	if c.Backup {
		r.home = Waiting
		r.enter(Waiting, "waiting for a backup")
		r.gate(GateOrder{Mode: GateClosed})
	} else {
		r.home = Alone
		r.enter(Alone, "no backup is wanted")
		r.rd.Open = true
	}
	r.rd.GoLive = true
	return r
}

// NewBackup is a replica that a primary has answered with AnswerJoin: process
// peer opens epoch e and sends the State on connection gen.
func NewBackup(c Config, e Epoch, peer ProcessID, gen uint64) *Replica {
	r := newReplica(c)
	r.backup, r.epoch, r.peer, r.gen = true, e, peer, gen
	r.enter(Joining, "receiving the State")
	return r
}

func newReplica(c Config) *Replica {
	if err := c.Validate(); err != nil {
		panic("BUG: " + err.Error())
	}
	return &Replica{cfg: c, linkUp: true}
}

// Ready is what has to be done since the last call.
func (r *Replica) Ready() Ready {
	rd := r.rd
	rd.State, rd.Reason = r.state, r.reason
	r.rd = Ready{}
	return rd
}

// State is where the replica stands.
func (r *Replica) State() State { return r.state }

// Reason says why the state was entered.
func (r *Replica) Reason() string { return r.reason }

// WantBackup says that a backup is wanted from now on, or no more. It does not
// end a pairing.
func (r *Replica) WantBackup(yes bool) { r.cfg.Backup = yes }

// Epoch is the pairing's epoch, or the last one won if there is no pairing.
func (r *Replica) Epoch() Epoch { return r.epoch }

// Peer is the other process of the pairing; zero if there is none.
func (r *Replica) Peer() ProcessID { return r.peer }

// Live says that this replica's machine is the VM: it takes inputs from the
// host and its outputs go to the gate.
func (r *Replica) Live() bool { return !r.backup && !r.state.Final() }

// Running says that the machine may execute new instructions. At power-on it
// waits for a wanted backup, and until that is seeded: then the State that is
// sent is that of position 0, and the gate holds nothing that the backup has not
// seen. With local disks it waits only until a backup joins (Joined).
func (r *Replica) Running() bool {
	return r.Live() && r.state != Waiting && r.state != Yielding && !(r.state == Seeding && r.home == Waiting)
}

// Armed says that a backup may claim.
func (r *Replica) Armed() bool { return r.armed }

// Number is the fence number that the adapters of a live replica carry now.
func (r *Replica) Number() Fence { return r.number }

func (r *Replica) enter(s State, reason string) { r.state, r.reason = s, reason }

func (r *Replica) gate(o GateOrder) { r.rd.Gate = &o }

// resumable: a connection may be taken up again in this state.
func (r *Replica) resumable() bool {
	switch r.state {
	case Gated, Protected, Replaying, Draining:
		return true
	case Ending:
		return r.peer != ProcessID{} && !r.claimed
	}
	return false
}

// Greet is how a Hello that came in on a new connection is to be answered. It
// changes nothing. After AnswerJoin and AnswerResume the driver sends the answer
// and reports Joined or Connected. When both sides dial at once, the one with
// the greater process id leaves the other's Hello unanswered while its own is
// under way; else each would supersede the other's connection.
func (r *Replica) Greet(h Hello) Answer {
	if h.VM != r.cfg.VM {
		return AnswerUnknown
	}
	if h.Epoch == 0 {
		if (r.state == Waiting || r.state == Alone) && r.cfg.Backup && h.Process != r.cfg.Self {
			return AnswerJoin
		}
		return AnswerBusy
	}
	switch {
	case h.Run != r.cfg.Run || h.Peer != r.cfg.Self:
		return AnswerUnknown
	case h.Process == r.peer && h.Epoch == r.epoch && r.resumable():
		return AnswerResume
	}
	return AnswerClosed
}

// Hello is what this replica says when it dials its peer. The driver fills in
// Received at a backup.
func (r *Replica) Hello() Hello {
	return Hello{VM: r.cfg.VM, Run: r.cfg.Run, Epoch: r.epoch, Process: r.cfg.Self, Peer: r.peer}
}

// Connected reports that a connection of this pairing is up, whoever dialed;
// received is the last entry that the backup has. Generations of connections
// grow. False means that the pairing is sealed or over by now: close it.
func (r *Replica) Connected(gen uint64, received replay.Seq) bool {
	if (r.state == Seeding || r.state == Joining) && gen > r.gen {
		// The same two processes; the channel sends the State again if it has
		// to.
		r.gen, r.silent, r.pinging = gen, 0, false
		r.rd.Dial = false
		r.rd.Resume = &Resume{Epoch: r.epoch, Gen: gen, Received: received}
		if r.complete() {
			r.alive, r.rd.Ping, r.ask = false, true, r.cfg.AskEvery
		}
		return true
	}
	if !r.resumable() || gen <= r.gen {
		return false
	}
	r.gen, r.silent, r.dial, r.pinging = gen, 0, 0, false
	r.rd.Dial = false
	r.rd.Resume = &Resume{Epoch: r.epoch, Gen: gen, Received: received}
	if r.state == Draining {
		r.rd.Drain = false
		r.enter(Replaying, "resumed")
	}
	return true
}

// Closed reports that connection gen is closed.
func (r *Replica) Closed(gen uint64) {
	if gen != r.gen || gen == 0 {
		return
	}
	r.gen = 0
	switch {
	case r.resumable():
		r.dialNow()
	case r.state == Seeding, r.state == Joining:
		// A channel that can send the State again comes back with another
		// connection; else the peer's refusal or its silence ends the attempt.
		r.rd.Dial = true
	}
}

// Refused reports that a dial of peer was answered, and that this process is
// gone or takes no part any more: nobody listens at its address, another
// process does, or it answered AnswerClosed or AnswerUnknown. No route or no
// answer is not a refusal.
func (r *Replica) Refused(peer ProcessID) {
	if peer == r.peer && (r.resumable() || r.state == Seeding || r.state == Joining) {
		r.peerLost("the peer's process is gone")
	}
}

// Heard reports any message on connection gen.
func (r *Replica) Heard(gen uint64) {
	if gen == r.gen && gen != 0 {
		r.silent, r.pinging = 0, false
		if r.state == Draining {
			r.rd.Drain = false
			r.enter(Replaying, "heard again")
		}
	}
}

// OwnLink reports that this side's own link went down or up, or that it reaches
// nobody at all: neither peer nor arbiter nor switch.
func (r *Replica) OwnLink(up bool) { r.linkUp = up }

// ArbiterAlive reports the arbiter's answer to a Ping.
func (r *Replica) ArbiterAlive(ok bool) {
	if !ok {
		return
	}
	r.alive = true
	if r.state == Seeding && r.complete() && r.gen != 0 {
		r.close()
	}
}

// ClaimResult reports the arbiter's answer for epoch e.
func (r *Replica) ClaimResult(e Epoch, res Result) {
	if r.state != Claiming || e != r.epoch {
		return
	}
	switch res {
	case Won:
		r.claimWon()
	case Lost:
		r.halt("lost the claim of epoch %d", e)
	default:
		r.ask = r.cfg.AskEvery
	}
}

// FencedOff reports that a switch, a store or a lock has refused Number:
// another replica is live. Adapters must let what one process sends take effect
// in order, so that its own newer number never refuses its own older one.
func (r *Replica) FencedOff() {
	if !r.state.Final() {
		r.halt("fenced off: another replica is live")
	}
}

// Tick reports that one interval has passed.
func (r *Replica) Tick() {
	r.tickAsk()
	r.tickDial()
	switch r.state {
	case Seeding, Gated, Protected, Joining, Replaying:
		r.tickSilence()
	}
}

func (r *Replica) tickAsk() {
	if r.ask == 0 {
		return
	}
	if r.ask--; r.ask > 0 {
		return
	}
	switch {
	case r.state == Claiming:
		r.rd.Claim = r.claimOrder()
	case r.state == Ending:
		r.rd.EndRun = true
	case r.state == Seeding && r.complete():
		r.rd.Ping, r.ask = true, r.cfg.AskEvery
	case r.state == Gated && r.naming && r.arm == 0:
		r.name()
	case r.state == Yielding:
		r.claim(r.reason + "; the backup does not take over")
	}
}

func (r *Replica) tickDial() {
	if r.dial == 0 || !r.resumable() || r.gen != 0 {
		return
	}
	if r.dial--; r.dial == 0 {
		r.dialNow()
	}
}

func (r *Replica) dialNow() { r.rd.Dial, r.dial = true, r.cfg.DialEvery }

// tickSilence: silence proves nothing, it only starts a claim (R16). Half way
// there the replica dials (a dead process on a live host refuses at once) and
// asks whether the arbiter is in reach; a side that reaches nobody, or whose
// own link is down, waits one time-out more, so that a host that dies in pieces
// does not win (R17).
func (r *Replica) tickSilence() {
	r.silent++
	if r.silent == (r.cfg.Timeout+1)/2 {
		r.rd.Ping, r.pinging = true, true
		if r.state != Seeding {
			r.alive = false
		}
		// A primary that is still seeding would refuse, and rightly so.
		if r.resumable() && r.dial == 0 && (r.armed || !r.backup) {
			r.rd.Dial = true
		}
	}
	limit := r.cfg.Timeout
	if !r.linkUp || r.pinging && !r.alive {
		limit *= 2
	}
	if r.silent >= limit {
		r.peerLost(fmt.Sprintf("silent for %d ticks", r.silent))
	}
}

func (r *Replica) peerLost(why string) {
	switch r.state {
	case Seeding:
		r.cutOff(why)
	case Gated, Protected:
		r.primaryLosesPeer(why)
	case Joining, Replaying:
		r.backupLosesPeer(why)
	case Draining, Ending:
		// Already acting on it.
	}
}

// claim sends the claim. From here on the epoch is sealed for this side (R17).
func (r *Replica) claim(why string) {
	r.enter(Claiming, why)
	r.claimed = true
	r.gen, r.dial, r.ask = 0, 0, 0
	r.rd.Dial, r.rd.Resume = false, nil
	r.rd.Name, r.rd.CatchUp, r.rd.AppendArm = nil, false, 0
	r.rd.Claim = r.claimOrder()
}

func (r *Replica) claimOrder() *Claim {
	c := &Claim{Cell: Cell{VM: r.cfg.VM, Run: r.cfg.Run, Epoch: r.epoch}, By: r.cfg.Self}
	if r.local() {
		c.Copies = ClaimedCopies(r.cfg.Run, r.epoch, r.cfg.Copy)
	}
	return c
}

func (r *Replica) claimWon() {
	r.won, r.ask, r.claimed = r.epoch, 0, false
	r.number = WinnerFence(r.cfg.Run, r.won)
	r.peer = ProcessID{}
	if r.backup {
		r.fence()
		return
	}
	r.alone(fmt.Sprintf("won the claim of epoch %d", r.won))
	r.rd.Open = true
}

func (r *Replica) alone(why string) {
	r.home = Alone
	r.synced, r.theirs, r.naming = false, CopyID{}, false
	r.epoch, r.peer, r.gen = r.won, ProcessID{}, 0
	r.enter(Alone, why)
}

func (r *Replica) halt(format string, args ...any) {
	r.enter(Halted, fmt.Sprintf(format, args...))
	r.rd = Ready{Seal: true, Gate: &GateOrder{Mode: GateHalted}, Halt: true, Stop: true}
	r.gen, r.dial, r.ask = 0, 0, 0
}

// PowerOffReleased reports that the power-off has passed the gate and that all
// earlier disk writes are done.
func (r *Replica) PowerOffReleased() {
	switch r.state {
	case Alone, Seeding, Gated, Protected, Claiming:
		if r.backup {
			return
		}
		r.enter(Ending, "the guest is off")
		r.ask = 0
		r.rd.Claim, r.rd.Name, r.rd.CatchUp, r.rd.AppendArm = nil, nil, false, 0
		r.rd.EndRun = true
	}
}

// RunEnded reports whether "ended" is in the run record.
func (r *Replica) RunEnded(ok bool) {
	switch {
	case r.state != Ending:
	case !ok:
		r.ask = r.cfg.AskEvery
	default:
		r.enter(Ended, "the run has ended")
		r.rd.Bye, r.rd.Stop = r.gen != 0, true
		r.gen = 0
	}
}
