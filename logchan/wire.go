package logchan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/replay"
)

// Bodies of the channel's frames. Fixed numbers are little-endian, varints are
// unsigned LEB128, strings follow one byte of length, blobs a varint.
//
//	Hello      magic 4, format 3, VM string, configuration hash 32, run ordinal 8, run id 16,
//	           epoch 8, process 16, expected process 16, role 1, connection 8, have State 1,
//	           received 8, dial-back string
//	Refuse     code 1, text to the end
//	Entries    released varint, time varint, batch (replay.DecodeBatch)
//	Ack        epoch varint, received varint, executed varint, own reads done varint, echoed time varint
//	Heartbeat  released varint, time varint
//	State      1: point of the base (2 varints), meta blob
//	           2: compressed bytes
//	           3: compressed size varint, size varint, xxh3-128 of the compressed bytes 16
//	Bye        code 1
//	Inquiry    entry varint
//	Account    entry varint, 1: bytes, more follow
//	                         2: bytes, the last (replay.DecodeAccount of all)
//	                         3: not kept
//	Disk       1: disk 1, a message of a re-synchronisation (package storage/local)
//	           2: disk 1, request varint      the backup's copy is flushed
//	           3: entry varint                the backup's copy is flushed up to it
//	           4: entry varint                both copies are
//	           5: copy 16                     the backup's copy is complete and flushed
//
// Times are opaque to the peer, which only echoes them.

var errShort = errors.New("logchan: a frame of the peer has a wrong length")

var helloMagic = []byte("LSCH")

const (
	stateBegin = 1
	stateData  = 2
	stateEnd   = 3

	maxName = 255
	maxText = 512
	maxMeta = 64 << 10
)

func appendHello(b []byte, h Hello) []byte {
	le := binary.LittleEndian
	str := func(s string) { b = append(append(b, byte(len(s))), s...) }
	b = le.AppendUint16(append(b, helloMagic...), h.Format)
	str(h.VM)
	b = append(b, h.ConfigHash[:]...)
	b = append(le.AppendUint64(b, h.Run.Ordinal), h.Run.ID[:]...)
	b = le.AppendUint64(b, uint64(h.Epoch))
	b = append(append(b, h.Process[:]...), h.Expect[:]...)
	b = le.AppendUint64(append(b, byte(h.Role)), h.Gen)
	have := byte(0)
	if h.HaveState {
		have = 1
	}
	b = le.AppendUint64(append(b, have), uint64(h.Received))
	str(h.DialBack)
	return b
}

// decodeHello reads no further than the format version if that is not ours.
func decodeHello(b []byte) (Hello, error) {
	var h Hello
	f := fields{b: b}
	if !bytes.Equal(f.take(len(helloMagic)), helloMagic) {
		return h, errors.New("logchan: the peer does not speak the logging channel's format")
	}
	if v := f.take(2); v != nil {
		h.Format = binary.LittleEndian.Uint16(v)
	}
	if f.short || h.Format != FormatVersion {
		return h, f.err()
	}
	h.VM = f.str()
	f.into(h.ConfigHash[:])
	h.Run.Ordinal = f.u64()
	f.into(h.Run.ID[:])
	h.Epoch = ft.Epoch(f.u64())
	f.into(h.Process[:])
	f.into(h.Expect[:])
	h.Role = Role(f.u8())
	h.Gen = f.u64()
	have := f.u8()
	h.HaveState = have == 1
	h.Received = replay.Seq(f.u64())
	h.DialBack = f.str()
	if f.short || len(f.b) > 0 || have > 1 {
		return h, errShort
	}
	return h, nil
}

func appendRefuse(b []byte, r *Refusal) []byte {
	return append(append(b, byte(r.Code)), r.Text[:min(len(r.Text), maxText)]...)
}

// decodeRefuse makes the peer's text fit for a terminal.
func decodeRefuse(b []byte) (*Refusal, error) {
	if len(b) < 1 || len(b) > 1+maxText {
		return nil, errShort
	}
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(b[1:]))
	return &Refusal{Code: RefuseCode(b[0]), Text: text}, nil
}

type ack struct {
	epoch    ft.Epoch
	seq      replay.Seq
	executed machine.Icount
	reads    uint64
	echo     uint64
}

func (a ack) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(a.epoch))
	b = binary.AppendUvarint(b, uint64(a.seq))
	b = binary.AppendUvarint(b, uint64(a.executed))
	b = binary.AppendUvarint(b, a.reads)
	return binary.AppendUvarint(b, a.echo)
}

func decodeAck(b []byte) (ack, error) {
	f := fields{b: b}
	a := ack{epoch: ft.Epoch(f.varint()), seq: replay.Seq(f.varint()), executed: machine.Icount(f.varint()), reads: f.varint(), echo: f.varint()}
	return a, f.end()
}

// pulse is the body of a Heartbeat and the head of Entries.
type pulse struct{ released, time uint64 }

func (p pulse) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, p.released), p.time)
}

func cutPulse(b []byte) (pulse, []byte, error) {
	f := fields{b: b}
	p := pulse{released: f.varint(), time: f.varint()}
	return p, f.b, f.err()
}

// fields takes primitives from the front of b; after the first that does not
// fit everything reads as zero.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) err() error {
	if f.short {
		return errShort
	}
	return nil
}

func (f *fields) end() error {
	if len(f.b) > 0 {
		return errShort
	}
	return f.err()
}

func (f *fields) take(n int) []byte {
	if f.short || n > len(f.b) {
		f.short = true
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) into(b []byte) { copy(b, f.take(len(b))) }

func (f *fields) u8() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (f *fields) str() string { return string(f.take(int(f.u8()))) }

func (f *fields) varint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.short = true
		return 0
	}
	f.take(n)
	return v
}

// blob is a copy.
func (f *fields) blob(limit int) []byte {
	n := f.varint()
	if n > uint64(limit) {
		f.short = true
		return nil
	}
	return append([]byte(nil), f.take(int(n))...)
}

func unexpected(t replay.FrameType) error {
	return fmt.Errorf("logchan: the peer sends a frame of type %d, which does not belong here", t)
}
