package bench

import (
	"bytes"
	"io"
)

// prompter passes a console on, and calls answer once, beside it, when
// lineProgram begins to wait.
type prompter struct {
	out    io.Writer
	text   []byte // so far
	answer func()
}

func (p *prompter) Write(b []byte) (int, error) {
	if p.answer != nil {
		if p.text = append(p.text, b...); bytes.Contains(p.text, []byte("@@start "+lineProgram)) {
			go p.answer()
			p.answer, p.text = nil, nil
		}
	}
	return p.out.Write(b)
}
