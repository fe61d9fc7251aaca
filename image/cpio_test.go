package image

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The bytes of the format, by hand: fourteen fields of which the guest sees
// kind and mode, size and name.
func TestCPIOGolden(t *testing.T) {
	var out bytes.Buffer
	err := writeCPIO(&out, []cpioEntry{
		{"usr/bin/x", modeFile | 0o755, []byte("hello")},
		{"bin", modeLink | 0o777, []byte("usr/bin")},
	})
	if err != nil {
		t.Fatal(err)
	}
	head := func(ino, mode, links, size, name int) string {
		return fmt.Sprintf("070701%08X%08X0000000000000000%08X00000000%08X00000000000000000000000000000000%08X00000000", ino, mode, links, size, name)
	}
	want := head(1, 0o120777, 1, 7, 4) + "bin\x00\x00\x00" + "usr/bin\x00" +
		head(2, 0o040755, 2, 0, 4) + "usr\x00\x00\x00" +
		head(3, 0o040755, 2, 0, 8) + "usr/bin\x00\x00\x00" +
		head(4, 0o100755, 1, 5, 10) + "usr/bin/x\x00" + "hello\x00\x00\x00" +
		head(0, 0, 1, 0, 11) + "TRAILER!!!\x00\x00\x00\x00"
	if got := out.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestCPIOIsTheSameInAnyOrder(t *testing.T) {
	entries := []cpioEntry{
		{"a", modeDir | 0o755, nil}, {"a/b", modeFile | 0o644, []byte("b")},
		{"a.b", modeFile | 0o644, []byte("c")}, {"c/d/e", modeLink | 0o777, []byte("f")},
	}
	sum := func() [32]byte {
		var out bytes.Buffer
		if err := writeCPIO(&out, entries); err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(out.Bytes())
	}
	first := sum()
	slices.Reverse(entries)
	if sum() != first {
		t.Error("the order of the entries shows in the archive")
	}
}

func TestCPIORefusals(t *testing.T) {
	for want, entries := range map[string][]cpioEntry{
		"no name":                 {{"/abs", modeFile, nil}},
		`".." is no name`:         {{"..", modeFile, nil}},
		`"a/../b" is no name`:     {{"a/../b", modeFile, nil}},
		"twice":                   {{"a", modeFile, nil}, {"a", modeFile, nil}},
		"below \"bin\", which is": {{"bin", modeLink, []byte("usr/bin")}, {"bin/sh", modeFile, nil}},
	} {
		err := writeCPIO(&bytes.Buffer{}, entries)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
