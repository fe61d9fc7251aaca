package demo

import (
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/image"
)

func TestGuest(t *testing.T) {
	var g guest
	console := "[    0.000000] Linux version 6.12.48+deb13-riscv64 (debian-kernel@lists.debian.org)\r\n" +
		"[    1.0] a line\r\n\r\n" +
		image.DiskProgressLine + "12 blocks verified\r\n" +
		image.DiskProgressLine + "40 blocks verified\r\n" +
		image.DiskProgressLine + "40 blocks verified\r\n" // twice, at a failover
	for _, b := range []byte(console + "no end of line yet") { // cut anywhere
		g.hear(string(b))
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
	g.hear("\r\n" + image.DiskMismatchLine + " at block 3\r\n" + image.DiskProgressLine + "99999999999999999999999 blocks verified\n")
	if n, bad := g.blocks(); n != 40 || bad != 1 {
		t.Errorf("%d blocks, %d mismatches", n, bad)
	}
}

// The guest must not write to the demo's screen.
func TestGuestCannotPaint(t *testing.T) {
	var g guest
	g.hear("\x1b[2J\x1b[31mred\x1b[0m\tand \x07bell\x00 \xff\x1b]0;title\x07!\n")
	if l := g.lastLine(); l != "red and bell !" && l != "red and bell \ufffd!" {
		t.Errorf("%q", l)
	}
}

// A guest that never ends its line fills no memory.
func TestGuestLineIsBounded(t *testing.T) {
	var g guest
	for range 1000 {
		g.hear(strings.Repeat("x", 1000))
	}
	if len(g.partial) > 2*maxLine {
		t.Errorf("%d bytes are kept", len(g.partial))
	}
}
