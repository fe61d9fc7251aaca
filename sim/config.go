package sim

// Break is a rule of DESIGN that a world breaks on purpose, to show that its
// checkers would see it.
type Break uint8

const (
	// BreakNothing keeps every rule.
	BreakNothing Break = iota
	// BreakR9NoMarker: an output is covered by the last input instead of a
	// marker.
	BreakR9NoMarker
	// BreakR11NoWait: outputs leave before they are acknowledged.
	BreakR11NoWait
	// BreakR13AckAfterEnd: the reader still acknowledges when the end of the
	// log is fixed.
	BreakR13AckAfterEnd
	// BreakR13AckBeforeReceipt: entries are acknowledged before they are kept.
	BreakR13AckBeforeReceipt
	// BreakR16Forget: the arbiter forgets its cells when it restarts.
	BreakR16Forget
	// BreakR16TakeBack: a claim without an answer is taken back.
	BreakR16TakeBack
	// BreakR17ResumeWithWinner: a winner lets the old pairing resume.
	BreakR17ResumeWithWinner
	// BreakR17ReleaseAtReconnect: what was sent on the old connection counts
	// as acknowledged at a resume.
	BreakR17ReleaseAtReconnect
	// BreakR18ArmBeforeGate: Arm is appended, and only then the gate closed.
	BreakR18ArmBeforeGate
	// BreakR18ArmOutOfOrder: Arm overtakes the entries before it.
	BreakR18ArmOutOfOrder
	// BreakR18UnarmedClaims: a backup that is not armed claims.
	BreakR18UnarmedClaims
	// BreakR19NoFence: the disk compares no numbers.
	BreakR19NoFence
	// BreakR19NoSwitchFence: the switch compares no numbers.
	BreakR19NoSwitchFence
	// BreakR19FenceLate: the winner reads and writes before its fence stands.
	BreakR19FenceLate
	// BreakR19OneNumber: the winner carries the number of the old primary.
	BreakR19OneNumber
	// BreakReadsNoWait: a write does not wait until the backup has read. This and
	// the following are of DESIGN section 7, reads by the backup.
	BreakReadsNoWait
	// BreakReadsToldOnce: on a new connection the backup does not say again how
	// many reads it has done.
	BreakReadsToldOnce
	// BreakReadsEarlierPairing: reads that an earlier backup has done count.
	BreakReadsEarlierPairing
	// BreakReadsUnordered: the backup reads at once, whatever is under way.
	BreakReadsUnordered
	// BreakReadsOldState: it does not wait for the changes of its State.
	BreakReadsOldState
	// BreakReadsNotTriedAgain: it takes a read that has failed for done.
	BreakReadsNotTriedAgain
	// BreakReadsRepeated: at going live it reads again what it has read, after
	// what was written since.
	BreakReadsRepeated
	// BreakReadsStray: it hands on what it has read although the log had an error.
	BreakReadsStray
	// BreakReadsFailedHolds: a write waits for a read that has failed at the
	// primary.
	BreakReadsFailedHolds
	// BreakReadsNeverEnd: a primary that goes on alone still waits.
	BreakReadsNeverEnd
	// BreakReadsOffWaits: a guest that is off waits for reads that were never
	// completed.
	BreakReadsOffWaits
	// BreakReadsStandStill: after an error of the disk the guest stands still
	// until nothing is left to do, not even what waits for a read that the guest
	// has not been told of.
	BreakReadsStandStill
	// BreakLocalClaimKeepsCopies: a claim does not take the loser's copy out of
	// the run record. This and the following are of DESIGN section 7.
	BreakLocalClaimKeepsCopies
	// BreakLocalNameBeforeGate: the record names the backup's copy, and only
	// then the gate is closed.
	BreakLocalNameBeforeGate
	// BreakLocalArmUnsynced: a copy is added before it is synchronised.
	BreakLocalArmUnsynced
	// BreakLocalStalePowerOn: any copy powers the VM on.
	BreakLocalStalePowerOn
	// BreakLocalBackupUnattended: the backup's copy powers it on unattended.
	BreakLocalBackupUnattended
	// BreakLocalFlushOwn: with both copies named for power-on, a flush is done
	// when one is flushed.
	BreakLocalFlushOwn
	// BreakLocalNoCatchUp: the backup's copy is named for power-on before it
	// has what was flushed while it was made.
	BreakLocalNoCatchUp
	// BreakLocalOwnMapOnly: a synchronisation copies what the live copy wrote.
	BreakLocalOwnMapOnly
	// BreakLocalTheirMapOnly: it copies what the other copy wrote.
	BreakLocalTheirMapOnly
	// BreakLocalNoFullCopy: the maps count without a common point.
	BreakLocalNoFullCopy
	// BreakLocalSyncedOnce: what the guest writes while a copy is made is not
	// copied again.
	BreakLocalSyncedOnce
	// BreakLocalSyncUnflushed: the common point is taken before the copies are
	// flushed.
	BreakLocalSyncUnflushed
	// BreakLocalIntentLate: a write begins before the map is durable.
	BreakLocalIntentLate
	// BreakLocalCutForgetsPending: it leaves although a write to it is pending.
	BreakLocalCutForgetsPending
	// BreakLocalOlderHalfDoes: a write begins that is noted in the half of the map
	// that the next common point forgets.
	BreakLocalOlderHalfDoes
	// BreakLocalCommitUnsettled: that half is forgotten before the other one is
	// durable.
	BreakLocalCommitUnsettled
	// BreakLocalCutUnflushed: a common point is taken before the copies are flushed.
	BreakLocalCutUnflushed
	// BreakLocalCutEarly: the backup cuts before it has executed up to the entry.
	BreakLocalCutEarly
	// BreakLocalNoHold: the backup does not wait for its own copy.
	BreakLocalNoHold
	// BreakLocalErrorIgnored: a failed write counts as done.
	BreakLocalErrorIgnored
	// BreakLocalErrorToGuest: a failed write is the guest's.
	BreakLocalErrorToGuest
	// BreakLocalPowerOnUnflushed: a run begins with what is not flushed.
	BreakLocalPowerOnUnflushed
	numBreaks
)

var breakNames = [numBreaks]string{
	"nothing", "R9 no marker", "R11 no wait", "R13 ack after end", "R13 ack before receipt", "R16 forgetful arbiter",
	"R16 claim taken back", "R17 resume with a winner", "R17 release at reconnect", "R18 arm before gate",
	"R18 arm out of order", "R18 unarmed claims", "R19 no fence", "R19 no fence at the switch",
	"R19 fence late", "R19 one number",
	"reads: no wait", "reads: told once", "reads: of an earlier pairing", "reads: unordered", "reads: changes of the State", "reads: not tried again",
	"reads: repeated", "reads: stray", "reads: failed", "reads: never end", "reads: off", "reads: stand still",
	"claim keeps copies", "name before gate", "arm before sync", "stale power-on", "backup powers on unattended", "flush of one copy",
	"no catch-up", "only the live copy's map", "only the other copy's map", "no full copy", "synchronised once",
	"common point unflushed", "intent late", "common point without the pending", "older half does", "commit unsettled", "cut unflushed", "cut early", "no hold",
	"error ignored", "error to the guest", "power-on unflushed",
}

func (b Break) String() string { return breakNames[b] }

// Config is what a world is made from. The same Config gives the same world.
type Config struct {
	Seed  uint64
	Break Break
	Disks Disks
	// OneFault: nothing goes wrong but one thing, once the VM is protected.
	// Then somebody must be live at the end, without excuse.
	OneFault bool
	// PowerCutAt is a step of the protocol at which, half of the times, both
	// hosts lose their power.
	PowerCutAt string
	// ResetAt is a step at which, now and then, the connection breaks.
	ResetAt string
	// Trace, if not nil, is told everything that happens.
	Trace func(line string)
}

// Times of the world, in its units of time; think of milliseconds.
const (
	tick       = 10 // interval of Replica.Tick
	timeout    = 8  // ticks of silence
	slice      = 4  // interval between two slices of one process
	perSlice   = 16 // instructions that a primary executes in one
	vtimeUnit  = 4  // guest time in one unit of the world's
	dialWait   = 40 // an attempt to dial is given up
	rpcWait    = 50 // a question to arbiter, disk or switch is given up
	faultsEnd  = 1800
	settled    = 3000 // end of the world
	retransmit = 120  // the client asks again
)
