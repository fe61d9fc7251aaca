// Package nbd speaks the network block device protocol: the vocabulary of both
// sides, and a client that is the storage.Backend of a disk on another machine.
//
// It is the fixed newstyle negotiation with simple replies, as the protocol's
// document has it (doc/proto.md of the NetworkBlockDevice project; sections are
// named as there). Three options of our own carry fence numbers and cells, so
// that the store that keeps the blocks also decides who may write them (R19).
// docs/storage.md describes them byte by byte.
package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// DefaultPort is the port that IANA assigned to NBD.
const DefaultPort = "10809"

// Magic numbers ("Newstyle negotiation", "Transmission phase").
const (
	Magic            = 0x4e42444d41474943 // "NBDMAGIC", first from the server
	OptionMagic      = 0x49484156454f5054 // "IHAVEOPT", then, and before every option
	OptionReplyMagic = 0x0003e889045565a9
	RequestMagic     = 0x25609513
	ReplyMagic       = 0x67446698 // of a simple reply
)

// Handshake flags of the server; the client's are the same bits.
const (
	FixedNewstyle uint16 = 1 << 0
	NoZeroes      uint16 = 1 << 1
)

// Option numbers ("Option types"). Those from OptFence on are ours: the
// protocol counts up from 1 and leaves the high numbers alone.
const (
	OptExportName uint32 = 1
	OptAbort      uint32 = 2
	OptList       uint32 = 3
	OptInfo       uint32 = 6
	OptGo         uint32 = 7

	OptFence   uint32 = 0x4c534b01 // claim an export with a fence number, or be its reader
	OptCells   uint32 = 0x4c534b02 // the arbiter's cells on this store
	OptRelease uint32 = 0x4c534b03 // a person gives up the claim of an export
)

// Reply types ("Option reply types"). Those with RepError set are errors and
// carry a text, RepErrFenced two numbers before it.
const (
	RepAck    uint32 = 1
	RepServer uint32 = 2
	RepInfo   uint32 = 3
	RepCells  uint32 = 0x4c534b02

	RepError       uint32 = 1 << 31
	RepErrUnsup           = RepError + 1
	RepErrPolicy          = RepError + 2
	RepErrInvalid         = RepError + 3
	RepErrUnknown         = RepError + 6
	RepErrShutdown        = RepError + 7
	RepErrTooBig          = RepError + 9
	RepErrFenced          = RepError + 0x4c534b01
)

// Information types of RepInfo.
const (
	InfoExport    uint16 = 0
	InfoName      uint16 = 1
	InfoBlockSize uint16 = 3
)

// Transmission flags.
const (
	HasFlags        uint16 = 1 << 0
	ReadOnly        uint16 = 1 << 1
	SendFlush       uint16 = 1 << 2
	SendFUA         uint16 = 1 << 3
	SendTrim        uint16 = 1 << 5
	SendWriteZeroes uint16 = 1 << 6
	CanMultiConn    uint16 = 1 << 8
)

// Commands ("Request types").
const (
	CmdRead        uint16 = 0
	CmdWrite       uint16 = 1
	CmdDisc        uint16 = 2
	CmdFlush       uint16 = 3
	CmdTrim        uint16 = 4
	CmdWriteZeroes uint16 = 6
)

// Command flags.
const (
	FlagFUA    uint16 = 1 << 0
	FlagNoHole uint16 = 1 << 1
)

// Error values of a reply.
const (
	EPERM     uint32 = 1
	EIO       uint32 = 5
	ENOMEM    uint32 = 12
	EINVAL    uint32 = 22
	ENOSPC    uint32 = 28
	EOVERFLOW uint32 = 75
	ENOTSUP   uint32 = 95
	ESHUTDOWN uint32 = 108
)

const (
	// MaxPayload bounds the data of one read or write, in bytes ("Block size
	// constraints": what every server should take).
	MaxPayload = 32 << 20
	// MaxOption bounds the data of one option.
	MaxOption = 128 << 10
	// MaxOptionReply bounds the data of one reply to an option; the longest is a
	// list of cells.
	MaxOptionReply = 4 << 20
	// MaxName bounds a string ("Conventions").
	MaxName = 4096
)

// Sizes of headers, in bytes.
const (
	OptionSize      = 16
	OptionReplySize = 20
	RequestSize     = 28
	ReplySize       = 16
)

// Option is the header of an option; Length bytes of data follow.
type Option struct{ Type, Length uint32 }

// Append encodes o behind b.
func (o Option) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, OptionMagic)
	b = binary.BigEndian.AppendUint32(b, o.Type)
	return binary.BigEndian.AppendUint32(b, o.Length)
}

// ParseOption decodes the header of an option.
func ParseOption(b *[OptionSize]byte) (Option, error) {
	if m := binary.BigEndian.Uint64(b[:]); m != OptionMagic {
		return Option{}, fmt.Errorf("nbd: an option begins with %#x; the other side does not speak NBD", m)
	}
	return Option{Type: binary.BigEndian.Uint32(b[8:]), Length: binary.BigEndian.Uint32(b[12:])}, nil
}

// OptionReply is the header of a reply to an option; Length bytes of data follow.
type OptionReply struct{ Option, Type, Length uint32 }

// Append encodes r behind b.
func (r OptionReply) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, OptionReplyMagic)
	b = binary.BigEndian.AppendUint32(b, r.Option)
	b = binary.BigEndian.AppendUint32(b, r.Type)
	return binary.BigEndian.AppendUint32(b, r.Length)
}

// ParseOptionReply decodes the header of a reply and refuses lengths that no
// reply has.
func ParseOptionReply(b *[OptionReplySize]byte) (OptionReply, error) {
	if m := binary.BigEndian.Uint64(b[:]); m != OptionReplyMagic {
		return OptionReply{}, fmt.Errorf("nbd: a reply to an option begins with %#x; the server does not speak NBD", m)
	}
	r := OptionReply{binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])}
	if r.Length > MaxOptionReply {
		return r, fmt.Errorf("nbd: a reply to an option of %d bytes; at most %d are read", r.Length, MaxOptionReply)
	}
	return r, nil
}

// Request is the header of a request; a write's data follows.
type Request struct {
	Flags, Type uint16
	Handle      uint64
	Offset      uint64 // bytes
	Length      uint32 // bytes
}

// Append encodes r behind b.
func (r Request) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, RequestMagic)
	b = binary.BigEndian.AppendUint16(b, r.Flags)
	b = binary.BigEndian.AppendUint16(b, r.Type)
	b = binary.BigEndian.AppendUint64(b, r.Handle)
	b = binary.BigEndian.AppendUint64(b, r.Offset)
	return binary.BigEndian.AppendUint32(b, r.Length)
}

// ParseRequest decodes the header of a request.
func ParseRequest(b *[RequestSize]byte) (Request, error) {
	if m := binary.BigEndian.Uint32(b[:]); m != RequestMagic {
		return Request{}, fmt.Errorf("nbd: a request begins with %#x; the client lost its place", m)
	}
	return Request{
		Flags: binary.BigEndian.Uint16(b[4:]), Type: binary.BigEndian.Uint16(b[6:]), Handle: binary.BigEndian.Uint64(b[8:]),
		Offset: binary.BigEndian.Uint64(b[16:]), Length: binary.BigEndian.Uint32(b[24:]),
	}, nil
}

// Reply is a simple reply; a read's data follows if Error is 0.
type Reply struct {
	Error  uint32
	Handle uint64
}

// Append encodes r behind b.
func (r Reply) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, ReplyMagic)
	b = binary.BigEndian.AppendUint32(b, r.Error)
	return binary.BigEndian.AppendUint64(b, r.Handle)
}

// ParseReply decodes a simple reply.
func ParseReply(b *[ReplySize]byte) (Reply, error) {
	if m := binary.BigEndian.Uint32(b[:]); m != ReplyMagic {
		return Reply{}, fmt.Errorf("nbd: a reply begins with %#x; the server lost its place", m)
	}
	return Reply{Error: binary.BigEndian.Uint32(b[4:]), Handle: binary.BigEndian.Uint64(b[8:])}, nil
}

var errShort = errors.New("nbd: the data of an option ends early")

// AppendString encodes a string with its length before it.
func AppendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// cutString decodes what AppendString made.
func cutString(b []byte) (s string, rest []byte, err error) {
	if len(b) < 4 {
		return "", nil, errShort
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return "", nil, errShort
	}
	if n > MaxName {
		return "", nil, fmt.Errorf("nbd: a name of %d bytes; the protocol allows %d", n, MaxName)
	}
	return string(b[:n]), b[n:], nil
}
