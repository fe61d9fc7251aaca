package ft

import "fmt"

// State is where a replica stands.
type State uint8

const (
	// Waiting: power-on with a wanted backup that is not there yet. The gate
	// is closed.
	Waiting State = iota + 1
	// Alone: live without a backup. The gate is open.
	Alone
	// Seeding: State and log go to a new backup. The gate is as it was.
	Seeding
	// Gated: releases only what is acknowledged in the new epoch; Arm is not
	// acknowledged yet.
	Gated
	// Protected: Arm is acknowledged.
	Protected
	// Joining: a backup that does not have the whole State.
	Joining
	// Replaying: a backup that re-executes the log.
	Replaying
	// Draining: the peer is lost; the backup executes what it has. The
	// channel may still be resumed.
	Draining
	// Sealed: the end of the backup's log is fixed.
	Sealed
	// Claiming: a claim was sent. It is never taken back.
	Claiming
	// Fencing: the backup has won and raises its fence.
	Fencing
	// Ending: the power-off was released; "ended" goes to the run record.
	Ending
	// Halted: lost the claim, diverged or fenced off. Nothing leaves any more.
	Halted
	// Gone: a backup that was never armed lost its primary.
	Gone
	// Ended: the run ended as planned.
	Ended
	// Yielding: a primary whose copy of the disks has failed leaves the VM to
	// its backup. The guest stands still, the channel is closed for good; if
	// nobody claims, this side does.
	Yielding
)

var stateNames = [...]string{"", "waiting", "alone", "seeding", "gated", "protected", "joining", "replaying",
	"draining", "sealed", "claiming", "fencing", "ending", "halted", "gone", "ended", "yielding"}

func (s State) String() string {
	if s > 0 && int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Final says that the replica has nothing more to do.
func (s State) Final() bool { return s == Halted || s == Gone || s == Ended }
