package replay

import (
	"bytes"
	"errors"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
)

// A log that begins with a snapshot's State names it; one from power-on is as
// long as ever.
func TestHeaderNamesTheSnapshotItBeginsWith(t *testing.T) {
	from := testHeader
	from.StartDigest = machine.Digest{12, 13}
	for _, h := range []Header{testHeader, from} {
		b := appendHeader(nil, h)
		got, err := decodeHeader(b)
		if err != nil || got != h {
			t.Errorf("%+v came back as %+v, %v", h, got, err)
		}
		for n := range len(b) {
			// Cut where the digest begins it is the header of another log.
			if got, err := decodeHeader(b[:n]); !errors.Is(err, ErrMalformed) && got != testHeader {
				t.Errorf("%d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := decodeHeader(append(bytes.Clone(b), make([]byte, 17)...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("more bytes than a header has: %v", err)
		}
	}
}
