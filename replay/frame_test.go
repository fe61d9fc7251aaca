package replay

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

func readFrames(b []byte) (types []FrameType, err error) {
	for r := NewFrameReader(bytes.NewReader(b)); ; {
		t, _, err := r.Next()
		if err != nil {
			return types, err
		}
		types = append(types, t)
	}
}

// DESIGN section 4: "frames chain their checksums, so that a cut, reordered or
// altered log is refused". Each frame here is whole in itself.
func TestFramesAreChained(t *testing.T) {
	var c Chain
	a := c.Append(nil, 1, []byte("first"))
	b := c.Append(nil, 2, []byte("second"))
	d := c.Append(nil, 3, nil)
	if types, err := readFrames(slices.Concat(a, b, d)); err != io.EOF || !slices.Equal(types, []FrameType{1, 2, 3}) {
		t.Fatalf("%v %v", types, err)
	}
	for name, frames := range map[string][]byte{
		"taken out": slices.Concat(a, d),
		"exchanged": slices.Concat(a, d, b),
		"repeated":  slices.Concat(a, a, b, d),
		"first cut": slices.Concat(b, d),
	} {
		if _, err := readFrames(frames); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFrameLimits(t *testing.T) {
	var c Chain
	if _, err := readFrames(c.Append(nil, 1, make([]byte, MaxFrameBody))); err != io.EOF {
		t.Errorf("largest frame: %v", err)
	}
	if _, err := readFrames([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a frame of 4 GiB: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a body over the limit is written")
		}
	}()
	c.Append(nil, 1, make([]byte, MaxFrameBody+1))
}
