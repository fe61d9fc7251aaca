package replay

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/s2"
)

// The data of a disk read travels packed where that is shorter:
//
//	sectors varint   of the whole, at least 1
//	runs             zeros varint, literals varint: sectors, in turns, to the
//	                 end of the data; the last may be zeros alone
//	method byte      0: the literals as they are, 1: as an S2 block
//	length varint    bytes that follow
//	bytes            all literals
//
// What a run of zeros costs is two bytes, however long it is: blocks that were
// never written, and holes, are nearly free. What an Encoder writes may differ
// between hosts (S2 has several encoders), what a Decoder makes of it does not.
const (
	packSector = 512
	packPlain  = 0
	packS2     = 1

	// maxUnpacked bounds what a batch may unpack to, in bytes, so that a small
	// frame never takes much memory.
	maxUnpacked = 16 << 20
)

var zeroSector [packSector]byte

// A packer packs data. It keeps what it works in, for a guest that reads a disk
// has much to pack.
type packer struct {
	literals, small []byte
	misses, skip    int
}

// packable says whether data may be packed at all.
func packable(data []byte) bool {
	return len(data) > 0 && len(data)%packSector == 0 && len(data) <= MaxDiskData
}

// append appends data in its packed form; false, and buf as it was, if that is
// not shorter than the data.
func (p *packer) append(buf, data []byte) ([]byte, bool) {
	out := binary.AppendUvarint(buf, uint64(len(data)/packSector))
	literals := p.literals[:0]
	for rest := data; len(rest) > 0; {
		zeros := run(rest, true)
		out = binary.AppendUvarint(out, uint64(zeros/packSector))
		if rest = rest[zeros:]; len(rest) == 0 {
			break
		}
		n := run(rest, false)
		out = binary.AppendUvarint(out, uint64(n/packSector))
		if n == len(data) {
			literals = data // nothing to gather
		} else {
			literals = append(literals, rest[:n]...)
			p.literals = literals
		}
		rest = rest[n:]
	}
	method, body := byte(packPlain), literals
	if small := p.compress(literals); small != nil {
		method, body = packS2, small
	}
	out = binary.AppendUvarint(append(out, method), uint64(len(body)))
	if len(out)-len(buf)+len(body) >= len(data) {
		return buf, false
	}
	return append(out, body...), true
}

// mostMisses bounds what is not tried after data that did not shrink: twice as
// much after each, up to 2^mostMisses - 1 reads. A guest that reads what does
// not shrink goes on doing so.
const mostMisses = 4

// compress is data as an S2 block; nil if it was not tried or does not shrink
// enough to be worth unpacking.
func (p *packer) compress(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	if p.skip > 0 {
		p.skip--
		return nil
	}
	if shrinks(data) {
		p.small = slices.Grow(p.small[:0], max(s2.MaxEncodedLen(len(data)), 0))
		if small := s2.Encode(p.small[:cap(p.small)], data); len(small) < len(data)-len(data)/8 {
			p.misses = 0
			return small
		}
	}
	p.misses = min(p.misses+1, mostMisses)
	p.skip = 1<<p.misses - 1
	return nil
}

// Of data longer than probeAll a few windows are compressed first: most of what
// does not shrink (media, archives, ciphertext) shows it there.
const (
	probeAll    = 16 << 10
	probeWindow = 2 << 10
	probes      = 4
)

// shrinks says whether it is worth while to compress data.
func shrinks(data []byte) bool {
	if len(data) <= probeAll {
		return true
	}
	var small [probeWindow + probeWindow/4]byte
	n := 0
	for i := range probes {
		at := i * (len(data) - probeWindow) / (probes - 1)
		n += len(s2.Encode(small[:], data[at:at+probeWindow]))
	}
	return n < probes*(probeWindow-probeWindow/16)
}

// run is how many bytes at the start of data are sectors of zeros, or are not.
func run(data []byte, zeros bool) int {
	n := 0
	for n < len(data) && bytes.Equal(data[n:n+packSector], zeroSector[:]) == zeros {
		n += packSector
	}
	return n
}

// packed reads what a packer has written, if it is at most limit bytes.
func (f *fields) packed(limit int) []byte {
	sectors := f.varint()
	if f.short || sectors == 0 || sectors > MaxDiskData/packSector || int(sectors)*packSector > limit {
		f.short = true
		return nil
	}
	type piece struct{ at, n uint64 }
	var literals []piece
	total := uint64(0)
	for at := uint64(0); at < sectors && !f.short; {
		zeros := f.varint()
		if zeros > sectors-at || zeros == 0 && at > 0 {
			f.short = true
			break
		}
		if at += zeros; at == sectors {
			break
		}
		n := f.varint()
		if n == 0 || n > sectors-at {
			f.short = true
			break
		}
		literals = append(literals, piece{at, n})
		at, total = at+n, total+n
	}
	method := f.u8()
	body := f.blob(MaxDiskData)
	plain, ok := unpackLiterals(method, body, int(total)*packSector)
	if f.short || !ok {
		f.short = true
		return nil
	}
	data := make([]byte, sectors*packSector)
	for _, p := range literals {
		plain = plain[copy(data[p.at*packSector:(p.at+p.n)*packSector], plain):]
	}
	return data
}

// unpackLiterals is exactly size bytes.
func unpackLiterals(method byte, body []byte, size int) ([]byte, bool) {
	switch method {
	case packPlain:
		return body, len(body) == size
	case packS2:
		if n, err := s2.DecodedLen(body); err != nil || n != size || size == 0 {
			return nil, false
		}
		plain, err := s2.Decode(nil, body)
		return plain, err == nil
	}
	return nil, false
}
