package machine

// Input is one of the values that may change State from outside: the one door
// in (R2). The set is closed: SetClock, Frame, ConsoleInput, DiskDone,
// Entropy and Stop.
type Input interface{ input() }

// SetClock replaces the virtual clock. Its I0 must be the position at which it
// is delivered and its T0 must not lie before the time shown there.
type SetClock struct{ Clock Clock }

// Frame is an Ethernet frame for a NIC that has room for it.
type Frame struct {
	NIC   uint8
	Bytes []byte
}

// ConsoleInput is bytes typed at a console. Session and Offset name the bytes:
// State knows how far it has taken a session, and drops what it has already.
type ConsoleInput struct {
	Console uint8
	Session uint64
	Offset  uint64
	Bytes   []byte
}

// DiskDone completes the request ID of a disk. Bytes is the data of a
// successful read and empty otherwise.
type DiskDone struct {
	Disk   uint8
	ID     uint64
	Status DiskStatus
	Bytes  []byte
}

// Entropy fills the oldest waiting request of the random number device; its
// length is that request's Length.
type Entropy struct{ Bytes []byte }

// Stop powers the machine off as if its plug were pulled; the power-off leaves
// as an output like any other.
type Stop struct{}

func (SetClock) input()     {}
func (Frame) input()        {}
func (ConsoleInput) input() {}
func (DiskDone) input()     {}
func (Entropy) input()      {}
func (Stop) input()         {}

// DiskStatus is the result of a disk request, numbered as in virtio 5.2.6.
type DiskStatus uint8

const (
	DiskOK          DiskStatus = 0
	DiskIOError     DiskStatus = 1
	DiskUnsupported DiskStatus = 2
)
