package vm

import "io"

// pieceSize is the size of a piece, in bytes.
const pieceSize = 1 << 20

// pieces are bytes that were written, in pieces that are never moved: a State of
// some hundred MB is written while the guest stands still.
type pieces struct {
	list [][]byte // all but the last are full
	size int
}

// Write implements io.Writer. It never fails.
func (p *pieces) Write(b []byte) (int, error) {
	n := len(b)
	p.size += n
	for len(b) > 0 {
		last := len(p.list) - 1
		if last < 0 || len(p.list[last]) == pieceSize {
			p.list = append(p.list, make([]byte, 0, pieceSize))
			last++
		}
		take := min(len(b), pieceSize-len(p.list[last]))
		p.list[last] = append(p.list[last], b[:take]...)
		b = b[take:]
	}
	return n, nil
}

// reader reads them from the beginning.
func (p *pieces) reader() io.Reader { return &piecesReader{list: p.list} }

// piecesReader reads a list of pieces.
type piecesReader struct {
	list [][]byte
	at   int // in the first
}

// Read implements io.Reader.
func (r *piecesReader) Read(b []byte) (int, error) {
	if len(r.list) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.list[0][r.at:])
	if r.at += n; r.at == len(r.list[0]) {
		r.list, r.at = r.list[1:], 0
	}
	return n, nil
}
