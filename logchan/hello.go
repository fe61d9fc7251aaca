package logchan

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/replay"
)

// Role is the part a process has in a pairing. The numbers are for ever.
type Role uint8

const (
	RolePrimary Role = 1
	RoleBackup  Role = 2
)

func (r Role) String() string {
	switch r {
	case RolePrimary:
		return "primary"
	case RoleBackup:
		return "backup"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// Hello is the handshake: the dialling side sends one, the other side answers
// with its own or with a refusal.
type Hello struct {
	Format     uint16
	VM         string
	ConfigHash [32]byte
	Run        ft.Run // zero from a backup that was not paired yet
	Epoch      ft.Epoch
	Process    ft.ProcessID
	Expect     ft.ProcessID // the process the sender was paired with; zero at first
	Role       Role
	Gen        uint64     // number of the connection, given by the primary; 0 from a dialling backup
	HaveState  bool       // backup: the whole State is here
	Received   replay.Seq // backup: every entry up to here was received
	DialBack   string     // host:port; an empty or unspecified host means the connection's own
}

// RefuseCode is the reason of a refusal. The numbers are for ever.
type RefuseCode uint8

const (
	RefuseFormat     RefuseCode = 1 // another format version
	RefuseVM         RefuseCode = 2 // another VM
	RefuseConfig     RefuseCode = 3 // the same VM with another configuration
	RefuseUnknownRun RefuseCode = 4 // this process has never taken part in that pairing
	RefuseClosed     RefuseCode = 5 // the epoch is sealed or over
	RefuseRole       RefuseCode = 6 // both are primary, or both backup
	RefuseBusy       RefuseCode = 7 // paired with another process
	RefuseMalformed  RefuseCode = 8 // not a handshake
)

// Gone says whether the refusal means that the process that was the peer is
// gone, or as good as gone: it counts as "refused" in R17.
func (c RefuseCode) Gone() bool { return c == RefuseUnknownRun || c == RefuseClosed }

// Refusal is the error for a refused handshake, on both sides.
type Refusal struct {
	Code RefuseCode
	Text string
	Ours bool // this side refused
}

func (r *Refusal) Error() string {
	if r.Ours {
		return "logchan: refused a peer: " + r.Text
	}
	return "logchan: the peer refuses: " + r.Text
}
