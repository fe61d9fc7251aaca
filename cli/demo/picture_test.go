package demo

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// docs/demo.svg is docs/demo.ansi, drawn: a screen of a real run as tmux gives
// it (tmux capture-pane -e -p). To take a new one, run the demo in tmux, capture
// to docs/demo.ansi and run go test ./cli/demo -run Picture -update.
func TestPicture(t *testing.T) {
	const screen, picture = "../../docs/demo.ansi", "../../docs/demo.svg"
	b, err := os.ReadFile(screen)
	if err != nil {
		t.Fatal(err)
	}
	got := draw(parseScreen(string(b)))
	if *update {
		if err := os.WriteFile(picture, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.Clean(picture))
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not %s drawn; run go test ./cli/demo -run Picture -update", picture, screen)
	}
}

// glyph is a character of the screen.
type glyph struct {
	r      rune
	colour int // SGR foreground, 0 the terminal's own
	bold   bool
}

// parseScreen reads lines of text with SGR sequences; a colour lasts beyond the
// end of a line.
func parseScreen(text string) [][]glyph {
	var lines [][]glyph
	var pen glyph
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		var row []glyph
		for line != "" {
			if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
				params, after, _ := strings.Cut(rest, "m")
				for p := range strings.SplitSeq(params, ";") {
					switch n, _ := strconv.Atoi(p); {
					case n == 0:
						pen = glyph{}
					case n == 1:
						pen.bold = true
					case n == 22:
						pen.bold = false
					case n >= 30 && n <= 37 || n >= 90 && n <= 97:
						pen.colour = n
					case n == 39:
						pen.colour = 0
					}
				}
				line = after
				continue
			}
			for _, r := range line {
				pen.r = r
				row = append(row, pen)
				line = line[len(string(r)):]
				break
			}
		}
		lines = append(lines, row)
	}
	return lines
}

// A cell of the picture, and the space around the screen, in pixels.
const (
	cellW, cellH = 8.4, 17.0
	margin       = 12.0
	baseline     = 12.8 // of the text in its cell
)

var palette = map[int]string{0: "#d4d4d4", 31: "#f0707a", 32: "#7ec87e", 33: "#e0b050", 36: "#60c0d0", 90: "#808890"}

// draw makes an SVG. Text is text; bars and frames are drawn as shapes, which
// look the same in every font.
func draw(lines [][]glyph) string {
	width := 0
	for _, row := range lines {
		width = max(width, len(row))
	}
	var b strings.Builder
	w, h := 2*margin+float64(width)*cellW, 2*margin+float64(len(lines))*cellH
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14">`+"\n", w, h, w, h)
	b.WriteString(`<title>lockstep demo, after its primary was killed</title>` + "\n")
	fmt.Fprintf(&b, `<rect width="%.0f" height="%.0f" rx="8" fill="#1b1e24"/>`+"\n", w, h)
	for y, row := range lines {
		for x := 0; x < len(row); {
			end := x
			for end < len(row) && row[end].bold == row[x].bold && row[end].colour == row[x].colour && isShape(row[end].r) == isShape(row[x].r) {
				end++
			}
			if isShape(row[x].r) {
				drawShapes(&b, x, y, row[x:end])
			} else {
				drawText(&b, x, y, row[x:end])
			}
			x = end
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func drawText(b *strings.Builder, x, y int, run []glyph) {
	var text strings.Builder
	for _, g := range run {
		text.WriteRune(g.r)
	}
	trimmed := strings.TrimLeft(text.String(), " ")
	x += len(run) - len([]rune(trimmed))
	trimmed = strings.TrimRight(trimmed, " ")
	if trimmed == "" {
		return
	}
	weight := ""
	if run[0].bold {
		weight = ` font-weight="bold"`
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" textLength="%.1f" fill="%s"%s xml:space="preserve">%s</text>`+"\n",
		margin+float64(x)*cellW, margin+float64(y)*cellH+baseline, float64(len([]rune(trimmed)))*cellW,
		palette[run[0].colour], weight, html.EscapeString(trimmed))
}

// isShape says whether a character is drawn, not written.
func isShape(r rune) bool { return r >= '─' && r <= '█' }

// drawShapes draws bars and lines as one path.
func drawShapes(b *strings.Builder, x, y int, run []glyph) {
	var fill, line strings.Builder
	for i, g := range run {
		left, top := margin+float64(x+i)*cellW, margin+float64(y)*cellH
		midX, midY, right, bottom := left+cellW/2, top+cellH/2, left+cellW, top+cellH
		switch g.r {
		case '─':
			fmt.Fprintf(&line, "M%.1f %.1fH%.1f", left, midY, right)
		case '│':
			fmt.Fprintf(&line, "M%.1f %.1fV%.1f", midX, top, bottom)
		case '┊':
			fmt.Fprintf(&line, "M%.1f %.1fv4m0 4.5v4", midX, top+2)
		case '╭':
			fmt.Fprintf(&line, "M%.1f %.1fV%.1fQ%.1f %.1f %.1f %.1fH%.1f", midX, bottom, midY+4, midX, midY, midX+4, midY, right)
		case '╮':
			fmt.Fprintf(&line, "M%.1f %.1fV%.1fQ%.1f %.1f %.1f %.1fH%.1f", midX, bottom, midY+4, midX, midY, midX-4, midY, left)
		case '╰':
			fmt.Fprintf(&line, "M%.1f %.1fV%.1fQ%.1f %.1f %.1f %.1fH%.1f", midX, top, midY-4, midX, midY, midX+4, midY, right)
		case '╯':
			fmt.Fprintf(&line, "M%.1f %.1fV%.1fQ%.1f %.1f %.1f %.1fH%.1f", midX, top, midY-4, midX, midY, midX-4, midY, left)
		default: // a bar of eighths
			high := cellH * float64(g.r-'▁'+1) / 8
			fmt.Fprintf(&fill, "M%.1f %.1fh%.1fv%.1fh%.1fz", left, bottom, cellW-1, -high, 1-cellW)
		}
	}
	colour := palette[run[0].colour]
	if fill.Len() > 0 {
		fmt.Fprintf(b, `<path fill="%s" d="%s"/>`+"\n", colour, fill.String())
	}
	if line.Len() > 0 {
		fmt.Fprintf(b, `<path fill="none" stroke="%s" d="%s"/>`+"\n", colour, line.String())
	}
}
