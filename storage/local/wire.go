package local

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/lockstep-vm/lockstep/ft"
)

// MaxMessage is the most bytes that one message has.
const MaxMessage = 1<<20 - 64

// kind is the first byte of a message. Numbers are for ever.
type kind uint8

const (
	kindHello    kind = 1  // target: who it is
	kindMap      kind = 2  // target: part of its map
	kindBegin    kind = 3  // source: what it will do
	kindAsk      kind = 4  // source: hashes wanted
	kindHashes   kind = 5  // target: the answer; all messages before the Ask are done
	kindData     kind = 6  // source: contents of one chunk
	kindZero     kind = 7  // source: a range is zeros
	kindEnd      kind = 8  // source: that was all, here is the point
	kindPrepared kind = 9  // target: it is durable
	kindCommit   kind = 10 // source: the point is common
)

type (
	// Hello comes first, from the target; its map follows in Maps.
	Hello struct {
		Status   Status
		Instance [16]byte // of the Target: what it has got is lost with it
		Map      bool     // it has one
	}
	// MapPart is a part of the target's map: words from First on.
	MapPart struct {
		First uint64
		Words []uint64
		Last  bool
	}
	// Begin starts or goes on with a session.
	Begin struct {
		Source  ft.CopyID
		Session [16]byte
		Common  Point // none for a full copy
	}
	// Ask wants the hashes of those chunks of a region whose bits are in Mask.
	Ask struct {
		Region uint64
		Mask   uint16
	}
	// Hashes answers an Ask: one hash for each bit in Mask.
	Hashes struct {
		Region uint64
		Mask   uint16
		Hashes []Hash
	}
	// Data is the contents of a range in one chunk.
	Data struct {
		Off   int64
		Bytes []byte
	}
	// Zero is a range that is zeros.
	Zero struct{ Off, Len int64 }
	// End says that the target has the contents of a point, when it is synced.
	End struct{ Point Point }
	// Prepared says that the target has it durably.
	Prepared struct{ Point Point }
	// Commit says that the source has noted the common point.
	Commit struct{ Point Point }
)

// Hash is of a chunk's contents: the first 16 bytes of BLAKE3, since a guest
// must not be able to make two chunks that are taken for the same. All zeros is
// the hash of zeros.
type Hash [16]byte

var errMessage = errors.New("storage: a re-synchronisation's message cannot be understood: both hosts need the same version")

var (
	zstdEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	zstdDecoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<20))
)

// mapPart is how many words of a map go into one message.
const mapPart = 1 << 15

// Encode makes the bytes of a message, one of the types above.
func Encode(m any) []byte {
	le := binary.LittleEndian
	switch m := m.(type) {
	case Hello:
		b := append([]byte{byte(kindHello)}, m.Instance[:]...)
		s := m.Status
		b = append(b, s.Copy[:]...)
		b = appendGeneration(b, s.Gen)
		b = append(b, byte(s.State), flag(m.Map))
		b = le.AppendUint64(b, s.Sectors)
		b = le.AppendUint64(b, uint64(s.RegionSize))
		b = le.AppendUint64(b, s.Regions)
		b = le.AppendUint64(b, s.Marked)
		b = appendPoint(b, s.Common)
		b = appendPoint(b, s.Prepared)
		b = appendText(b, s.VM)
		return appendText(b, s.Reason)
	case MapPart:
		b := le.AppendUint64([]byte{byte(kindMap), flag(m.Last)}, m.First)
		raw := make([]byte, 0, 8*len(m.Words))
		for _, w := range m.Words {
			raw = le.AppendUint64(raw, w)
		}
		return zstdEncoder.EncodeAll(raw, b)
	case Begin:
		b := append([]byte{byte(kindBegin)}, m.Source[:]...)
		b = append(b, m.Session[:]...)
		return appendPoint(b, m.Common)
	case Ask:
		return le.AppendUint16(le.AppendUint64([]byte{byte(kindAsk)}, m.Region), m.Mask)
	case Hashes:
		b := le.AppendUint16(le.AppendUint64([]byte{byte(kindHashes)}, m.Region), m.Mask)
		for _, h := range m.Hashes {
			b = append(b, h[:]...)
		}
		return b
	case Data:
		b := le.AppendUint64([]byte{byte(kindData)}, uint64(m.Off))
		return zstdEncoder.EncodeAll(m.Bytes, b)
	case Zero:
		return le.AppendUint64(le.AppendUint64([]byte{byte(kindZero)}, uint64(m.Off)), uint64(m.Len))
	case End:
		return appendPoint([]byte{byte(kindEnd)}, m.Point)
	case Prepared:
		return appendPoint([]byte{byte(kindPrepared)}, m.Point)
	case Commit:
		return appendPoint([]byte{byte(kindCommit)}, m.Point)
	}
	panic(fmt.Sprintf("BUG: storage: no message: %T", m))
}

func flag(f bool) byte {
	if f {
		return 1
	}
	return 0
}

// Decode reads a message. What it says is checked against the disk by whom it
// is for.
func Decode(b []byte) (any, error) {
	if len(b) == 0 || len(b) > MaxMessage {
		return nil, errMessage
	}
	r := reader{b: b[1:]}
	m := r.message(kind(b[0]))
	if m == nil || r.bad || len(r.b) != 0 {
		return nil, errMessage
	}
	return m, nil
}

func (r *reader) flag() bool {
	f := r.u8()
	r.bad = r.bad || f > 1
	return f == 1
}

func (r *reader) message(k kind) any {
	switch k {
	case kindHello:
		return r.hello()
	case kindMap:
		m := MapPart{Last: r.flag(), First: r.u64()}
		raw := r.unpack(8 * mapPart)
		if len(raw)%8 != 0 {
			return nil
		}
		for words := (reader{b: raw}); len(words.b) > 0; {
			m.Words = append(m.Words, words.u64())
		}
		return m
	case kindBegin:
		var m Begin
		r.bytes(m.Source[:])
		r.bytes(m.Session[:])
		m.Common = r.point()
		return m
	case kindAsk:
		return Ask{Region: r.u64(), Mask: r.u16()}
	case kindHashes:
		m := Hashes{Region: r.u64(), Mask: r.u16()}
		for range len(r.b) / len(Hash{}) {
			var h Hash
			r.bytes(h[:])
			m.Hashes = append(m.Hashes, h)
		}
		return m
	case kindData:
		m := Data{Off: int64(r.u64()), Bytes: r.unpack(1 << maxRegionShift / tracksInRegion)}
		r.bad = r.bad || len(m.Bytes) == 0
		return m
	case kindZero:
		return Zero{Off: int64(r.u64()), Len: int64(r.u64())}
	case kindEnd:
		return End{Point: r.point()}
	case kindPrepared:
		return Prepared{Point: r.point()}
	case kindCommit:
		return Commit{Point: r.point()}
	}
	return nil
}

func (r *reader) hello() any {
	var m Hello
	r.bytes(m.Instance[:])
	s := &m.Status
	r.bytes(s.Copy[:])
	s.Gen = r.generation()
	s.State = State(r.u8())
	m.Map = r.flag()
	s.Sectors = r.u64()
	s.RegionSize = int64(r.u64())
	s.Regions = r.u64()
	s.Marked = r.u64()
	s.Common = r.point()
	s.Prepared = r.point()
	s.VM = string(r.take(int(r.u16())))
	s.Reason = string(r.take(int(r.u16())))
	return m
}

// unpack takes the rest, which has at most limit bytes when it is unpacked.
func (r *reader) unpack(limit int) []byte {
	raw, err := zstdDecoder.DecodeAll(r.b, nil)
	r.b = nil
	if err != nil || len(raw) > limit {
		r.bad = true
		return nil
	}
	return raw
}
