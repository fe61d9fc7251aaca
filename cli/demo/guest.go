package demo

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/lockstep-vm/lockstep/image"
)

// guest reads what the guest says on its console. Both replicas tell it; at a
// failover bytes come twice.
type guest struct {
	mu       sync.Mutex
	heard    uint64 // offset behind the last byte
	partial  string
	last     string // newest line
	kernel   string // "Linux version ..."
	verified uint64 // blocks, as the disk writer says
	mismatch int
}

// maxLine bounds a line that does not end, in bytes.
const maxLine = 4096

var (
	kernelLine = regexp.MustCompile(`Linux version \S+`)
	diskLine   = regexp.MustCompile(regexp.QuoteMeta(image.DiskProgressLine) + `(\d+) blocks verified`)
)

// hear takes console output, whose first byte has an offset, but nothing that it
// has heard before.
func (g *guest) hear(offset uint64, b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	end := offset + uint64(len(b))
	if end <= g.heard {
		return
	}
	if offset > g.heard {
		g.partial = "" // bytes are missing, and the end of that line with them
	}
	text := string(b[max(offset, g.heard)-offset:])
	g.heard = end
	g.partial += strings.ReplaceAll(text, "\r", "")
	for {
		line, rest, whole := strings.Cut(g.partial, "\n")
		if !whole {
			g.partial = g.partial[max(0, len(g.partial)-maxLine):]
			return
		}
		g.partial = rest
		g.line(line)
	}
}

func (g *guest) line(line string) {
	if shown := printable(line); shown != "" {
		g.last = shown
	}
	if g.kernel == "" {
		g.kernel = kernelLine.FindString(line)
	}
	if m := diskLine.FindStringSubmatch(line); m != nil {
		if n, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			g.verified = max(g.verified, n)
		}
	}
	if strings.Contains(line, image.DiskMismatchLine) {
		g.mismatch++
	}
}

// printable is a line without what a terminal would obey: the guest must not
// write to the demo's screen.
func printable(line string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, ansi.Strip(line)))
}

func (g *guest) lastLine() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

func (g *guest) blocks() (verified uint64, mismatches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verified, g.mismatch
}

func (g *guest) kernelVersion() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.kernel
}
