package ft

import "github.com/lockstep-vm/lockstep/replay"

// Ready is what the driver has to do now, in the order of the fields. It
// carries out one Ready entirely before it reports the next event, and reports
// what it did by the Replica's methods. Zero fields ask for nothing.
type Ready struct {
	State  State
	Reason string // why State was entered, for people

	// Seal: close the channel for good. On return no acknowledgement can
	// leave and no entry can be appended to the received log: check, append
	// and acknowledge share one lock with it (R13). A backup reports Sealed.
	Seal bool
	// Gate, if not nil, goes to Gate.Obey before anything below.
	Gate *GateOrder
	// Seed: take the State at the current position, send it on this
	// connection followed by the entries after it, and report Seeded when it
	// is written.
	Seed *Seed
	// Resume: this connection carries the epoch now; older ones are closed. A
	// primary calls Gate.Connection, Gate.Acked with Received and sends the
	// entries after Received again (a Hello may be older than the last
	// acknowledgement on the old connection: what is acknowledged need not be
	// sent); a backup reads on.
	Resume *Resume
	// CatchUp: append an entry, have the backup flush its copy once it has
	// executed up to it, and report CaughtUp; again on a new connection.
	CatchUp bool
	// Name: the backup's copy is added to the run record. Mark the own images
	// with Copies.Gen, durably, then ask the arbiter to record Copies, and
	// report Named. Asking twice is harmless.
	Name *Name
	// AppendArm: append replay.Arm for this epoch to the log, call Gate.Arm
	// and report ArmAppended, before any other event. 0 asks for nothing.
	AppendArm Epoch
	// Drop: close the current connection.
	Drop bool
	// Dial the peer's address and say Hello; report Connected, Refused, or
	// nothing if there was no answer.
	Dial bool
	// Ping: ask the arbiter for a sign of life; report ArbiterAlive.
	Ping bool
	// Claim: ask the arbiter; report ClaimResult. Asking twice is harmless. With
	// local disks: first mark the own images with Copies.Gen, durably.
	Claim *Claim
	// Drain: execute all that was received; report Drained whenever the end
	// is reached.
	Drain bool
	// Fence: raise the fence of every shared disk to this number, durably,
	// wait for the locks of files, attach to the switch with it; report
	// Fenced. Nothing is read or written before (R19).
	Fence *Fence
	// GoLive: attach the host halves, announce the MACs, send again what the
	// old primary may not have released, issue pending requests again. If the
	// guest is off, its power-off counts as released again, whatever the old
	// primary said: "ended" may not be in the run record. Carry out Open
	// afterwards.
	GoLive bool
	// Open: Gate.Obey(GateOrder{Mode: GateOpen}), after GoLive.
	Open bool
	// EndRun: write "ended" into the run record; report RunEnded.
	EndRun bool
	// Bye: tell the peer that the run has ended as planned.
	Bye bool
	// Halt: nothing more is handed to an adapter, ever.
	Halt bool
	// Stop: the replica's work is done; leave.
	Stop bool
}

// Empty says that there is nothing to do.
func (r Ready) Empty() bool {
	r.State, r.Reason = 0, ""
	return r == Ready{}
}

// GateOrder sets a Gate. Epoch and Gen matter for GatePaired only.
type GateOrder struct {
	Mode  GateMode
	Epoch Epoch
	Gen   uint64
}

// Seed starts a pairing on connection Gen.
type Seed struct {
	Epoch Epoch
	Gen   uint64
	Peer  ProcessID
}

// Resume takes a pairing up again on connection Gen. Received is the last entry
// that the backup has.
type Resume struct {
	Epoch    Epoch
	Gen      uint64
	Received replay.Seq
}

// Claim asks the arbiter for a cell (R16).
type Claim struct {
	Cell Cell
	By   ProcessID
	// Copies is what the run record names if the claim is won: the winner's
	// copy alone. It is part of the cell. Zero without local disks.
	Copies Copies
}

// Name asks the arbiter to record the copies of a pairing that is to be armed.
type Name struct {
	Epoch  Epoch
	Copies Copies
}

// Result is the arbiter's answer to a claim.
type Result uint8

const (
	// Unknown: no answer; ask again, it is part of the claim.
	Unknown Result = iota
	Won
	Lost
)

func (r Result) String() string {
	switch r {
	case Won:
		return "won"
	case Lost:
		return "lost"
	}
	return "unknown"
}

// Hello is what a process says of itself on a new connection.
type Hello struct {
	VM       string
	Run      Run
	Epoch    Epoch      // 0: wants to become the backup of a new pairing
	Process  ProcessID  // who speaks
	Peer     ProcessID  // to whom; zero if Epoch is 0
	Received replay.Seq // backup: the last entry it has
}

// Answer is what a Hello is answered.
type Answer uint8

const (
	// AnswerClosed: this pairing is sealed or over. For who asked it counts
	// as refused.
	AnswerClosed Answer = iota
	// AnswerUnknown: no such process, run or VM here. It counts as refused.
	AnswerUnknown
	// AnswerBusy: no backup is wanted now; it may ask again later.
	AnswerBusy
	// AnswerResume: the pairing goes on by this connection.
	AnswerResume
	// AnswerJoin: a new pairing begins.
	AnswerJoin
)

// Refused says that the process that answered, or was meant, takes no part in
// the pairing any more.
func (a Answer) Refused() bool { return a == AnswerClosed || a == AnswerUnknown }

func (a Answer) String() string {
	switch a {
	case AnswerClosed:
		return "closed"
	case AnswerUnknown:
		return "unknown"
	case AnswerBusy:
		return "busy"
	case AnswerResume:
		return "resume"
	case AnswerJoin:
		return "join"
	}
	return "?"
}
