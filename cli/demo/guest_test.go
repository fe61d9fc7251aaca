package demo

import (
	"bytes"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
)

func TestGuest(t *testing.T) {
	var g guest
	console := "[    0.000000] Linux version 6.12.48+deb13-riscv64 (debian-kernel@lists.debian.org)\r\n" +
		"[    1.0] a line\r\n\r\n" +
		image.DiskProgressLine + "12 blocks verified\r\n" +
		image.DiskProgressLine + "40 blocks verified\r\n"
	text := []byte(console + "no end of line yet")
	for i := range text { // cut anywhere
		g.hear(uint64(i), text[i:i+1])
	}
	if v := g.kernelVersion(); v != "Linux version 6.12.48+deb13-riscv64" {
		t.Errorf("kernel %q", v)
	}
	if l := g.lastLine(); l != image.DiskProgressLine+"40 blocks verified" {
		t.Errorf("last line %q", l)
	}
	if n, bad := g.blocks(); n != 40 || bad != 0 {
		t.Errorf("%d blocks, %d mismatches", n, bad)
	}
	g.hear(uint64(len(text)), []byte("\r\n"+image.DiskMismatchLine+" at block 3\r\n"+image.DiskProgressLine+"99999999999999999999999 blocks verified\n"))
	if n, bad := g.blocks(); n != 40 || bad != 1 {
		t.Errorf("%d blocks, %d mismatches", n, bad)
	}
}

// At a failover the survivor tells of some bytes again, cut otherwise: nothing
// is heard twice. After a gap the rest of a line is no line.
func TestGuestHearsOnce(t *testing.T) {
	var g guest
	bad := image.DiskMismatchLine + " at block 3\n"
	text := []byte(bad + bad)
	cut := len(bad) + 5
	g.hear(0, text[:cut])
	g.hear(0, text[:cut-1])
	g.hear(0, text)
	g.hear(uint64(cut), text[cut:])
	if _, n := g.blocks(); n != 2 {
		t.Errorf("%d mismatches were heard, 2 were told", n)
	}
	at := uint64(len(text))
	g.hear(at, []byte(image.DiskProgressLine+"1"))
	g.hear(at+100, []byte("2 blocks verified\n"+image.DiskProgressLine+"3 blocks verified\n"))
	if n, _ := g.blocks(); n != 3 {
		t.Errorf("%d blocks, of which it heard without the middle of the line", n)
	}
}

// The guest must not write to the demo's screen.
func TestGuestCannotPaint(t *testing.T) {
	var g guest
	g.hear(0, []byte("\x1b[2J\x1b[31mred\x1b[0m\tand \x07bell\x00 \xff\x1b]0;title\x07!\n"))
	if l := g.lastLine(); l != "red and bell !" && l != "red and bell \ufffd!" {
		t.Errorf("%q", l)
	}
}

// A guest that never ends its line fills no memory.
func TestGuestLineIsBounded(t *testing.T) {
	var g guest
	for i := range uint64(1000) {
		g.hear(1000*i, bytes.Repeat([]byte("x"), 1000))
	}
	if len(g.partial) > 2*maxLine {
		t.Errorf("%d bytes are kept", len(g.partial))
	}
}
