package replay

import (
	"bytes"
	"encoding/binary"

	"github.com/lockstep-vm/lockstep/machine"
)

// LogVersion is the version of the log on disk, apart from the product's.
const LogVersion = 1

const maxName = 255

var logMagic = []byte("LOCKSTEP LOG")

// Header is the beginning of a log on disk: which machine it belongs to, and
// what is random or dated in its first State.
type Header struct {
	VM         string // at most 255 bytes
	ConfigHash [32]byte
	RunOrdinal uint64
	RunID      [16]byte
	Birth      machine.Birth
	Start      Point // the entries follow this point; zero from power-on
	// StartDigest is the digest of the State at Start.Pos that the log begins
	// with, if that is a snapshot's; Birth says nothing then. Zero from power-on.
	StartDigest machine.Digest
}

// FromSnapshot says whether the log begins with the State of a snapshot, which
// it does not hold, and not at power-on.
func (h *Header) FromSnapshot() bool { return h.StartDigest != machine.Digest{} }

// The body of the header frame: magic, version (2 bytes), then the fields in
// the order of the struct, numbers little-endian, the name after one byte of
// length, Start as the head of a batch, StartDigest only if it is not zero.
func appendHeader(b []byte, h Header) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(append(b, logMagic...), LogVersion)
	b = append(append(b, byte(len(h.VM))), h.VM...)
	b = append(b, h.ConfigHash[:]...)
	b = append(le.AppendUint64(b, h.RunOrdinal), h.RunID[:]...)
	b = le.AppendUint64(append(b, h.Birth.Seed[:]...), h.Birth.RTC)
	b = le.AppendUint64(b, uint64(h.Birth.Clock.T0))
	b = le.AppendUint64(b, uint64(h.Birth.Clock.I0))
	b = le.AppendUint64(b, h.Birth.Clock.Mul)
	b = AppendPoint(b, h.Start)
	if h.FromSnapshot() {
		b = append(b, h.StartDigest[:]...)
	}
	return b
}

func decodeHeader(b []byte) (Header, error) {
	var h Header
	f := fields{b: b}
	if !bytes.Equal(f.take(len(logMagic)), logMagic) {
		return h, malformed("this is not a log")
	}
	if v := f.take(2); f.short || binary.LittleEndian.Uint16(v) != LogVersion {
		return h, malformed("the log has another version than %d", LogVersion)
	}
	h.VM = string(f.take(int(f.u8())))
	copy(h.ConfigHash[:], f.take(len(h.ConfigHash)))
	h.RunOrdinal = f.u64()
	copy(h.RunID[:], f.take(len(h.RunID)))
	copy(h.Birth.Seed[:], f.take(len(h.Birth.Seed)))
	h.Birth.RTC = f.u64()
	h.Birth.Clock = machine.Clock{T0: machine.VTime(f.u64()), I0: machine.Icount(f.u64()), Mul: f.u64()}
	h.Start = f.point()
	if len(f.b) > 0 {
		copy(h.StartDigest[:], f.take(len(h.StartDigest)))
	}
	if f.short || len(f.b) > 0 {
		return h, malformed("the log's header has a wrong length")
	}
	return h, nil
}
