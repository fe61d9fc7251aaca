package image

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// maxControlLine bounds one line of a control file; the longest real ones are
// dependency fields of some ten KiB.
const maxControlLine = 1 << 20

// A paragraph is one block of "Field: value" lines (Debian Policy 5.1). Field
// names are in lower case; continuation lines are joined with newlines.
type paragraph map[string]string

// readControl calls each for every paragraph. Lines that begin with "#" are
// comments. It stops at the first error.
func readControl(r io.Reader, each func(paragraph) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxControlLine)
	p, last, number := paragraph{}, "", 0
	flush := func() error {
		if len(p) == 0 {
			return nil
		}
		done := p
		p, last = paragraph{}, ""
		return each(done)
	}
	for lines.Scan() {
		line := lines.Text()
		number++
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			if err := flush(); err != nil {
				return err
			}
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return fmt.Errorf("line %d continues no field", number)
			}
			p[last] += "\n" + strings.TrimSpace(line)
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return fmt.Errorf("line %d is no field: %.40q", number, line)
			}
			last = strings.ToLower(strings.TrimSpace(name))
			p[last] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", number+1, err)
	}
	return flush()
}
