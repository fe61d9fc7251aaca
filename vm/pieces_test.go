package vm

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestPieces(t *testing.T) {
	for _, size := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3*pieceSize + 77} {
		want := make([]byte, size)
		r := rand.New(rand.NewPCG(1, uint64(size)))
		for i := range want {
			want[i] = byte(r.Uint32())
		}
		var p pieces
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(pieceSize*3/2))
			if m, err := p.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		if p.size != size {
			t.Errorf("%d bytes count as %d", size, p.size)
		}
		for range 2 { // each reader begins at the beginning
			if err := iotest.TestReader(p.reader(), want); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
		if got, _ := io.ReadAll(p.reader()); !bytes.Equal(got, want) {
			t.Errorf("%d bytes come back as %d others", size, len(got))
		}
	}
}
