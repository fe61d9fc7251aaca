package format

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// windowSize is that of the deflate streams in qcow2 images, in bytes.
const windowSize = 4096

// packedAt is where in the file a compressed cluster lies. Its length is in
// whole sectors from the one in which it begins: the stream may end before.
func (h *header) packedAt(e uint64) (off uint64, n int64) {
	bits := 62 - (h.clusterBits - 8)
	off = e & (1<<bits - 1)
	n = int64(e>>bits)&(1<<(h.clusterBits-8)-1) + 1
	return off, n*SectorSize - int64(off%SectorSize)
}

// unpack fills q.unpacked with the cluster of entry e, which has byte off of the
// disk.
func (q *qcow2) unpack(e uint64, off int64) error {
	if q.unpacked != nil && q.unpackedE == e {
		return nil
	}
	at, n := q.packedAt(e)
	if !q.holds(at, 1) {
		return q.damaged("the cluster of byte %d of the disk at %d, where none can be", off, at)
	}
	in := make([]byte, max(0, min(n, q.length-int64(at))))
	if err := readFull(q.file, in, int64(at)); err != nil {
		return q.wrap(err)
	}
	if q.unpacked == nil {
		q.unpacked = make([]byte, q.cluster())
	}
	q.unpackedE = 0 // no entry of a compressed cluster is 0
	if err := q.unpacker.unpack(q.unpacked, in, q.compression); err != nil {
		return q.damaged("a compressed cluster for byte %d of the disk that cannot be unpacked: %w", off, err)
	}
	q.unpackedE = e
	return nil
}

// unpacker has the decoders, which are made when they are needed.
type unpacker struct {
	deflate io.ReadCloser
	zstd    *zstd.Decoder
}

// unpack fills out from a stream, after whose end anything may follow.
func (u *unpacker) unpack(out, in []byte, how Compression) error {
	var r io.Reader
	switch how {
	case Zlib:
		if u.deflate == nil {
			u.deflate = flate.NewReader(nil)
		}
		if err := u.deflate.(flate.Resetter).Reset(bytes.NewReader(in), nil); err != nil {
			return err
		}
		r = u.deflate
	case Zstd:
		if u.zstd == nil {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
			if err != nil {
				return err
			}
			u.zstd = d
		}
		// A reader without a length is not decoded as a whole.
		if err := u.zstd.Reset(io.MultiReader(bytes.NewReader(in))); err != nil {
			return err
		}
		r = u.zstd
	default:
		panic("BUG: format: nothing is compressed with " + how.String())
	}
	_, err := io.ReadFull(r, out)
	return err
}

// packer compresses clusters.
type packer struct {
	how     Compression
	out     bytes.Buffer
	deflate *flate.Writer
	zstd    *zstd.Encoder
}

func newPacker(how Compression) (*packer, error) {
	p := &packer{how: how}
	var err error
	switch how {
	case Zlib:
		p.deflate, err = flate.NewWriterWindow(&p.out, windowSize)
	case Zstd:
		p.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	}
	if err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	return p, nil
}

// pack compresses a cluster; nil if that does not make it smaller. The result
// holds until the next call.
func (p *packer) pack(cluster []byte) ([]byte, error) {
	var packed []byte
	switch p.how {
	case None:
		return nil, nil
	case Zlib:
		p.out.Reset()
		p.deflate.Reset(&p.out)
		if _, err := p.deflate.Write(cluster); err != nil {
			return nil, fmt.Errorf("format: %w", err)
		}
		if err := p.deflate.Close(); err != nil {
			return nil, fmt.Errorf("format: %w", err)
		}
		packed = p.out.Bytes()
	case Zstd:
		packed = p.zstd.EncodeAll(cluster, packed)
	}
	if len(packed) >= len(cluster)-SectorSize {
		return nil, nil
	}
	return packed, nil
}
