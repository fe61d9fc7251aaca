package demo

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// plain shows the demo as lines, for pipes and log files.
type plain struct {
	start time.Time

	mu  sync.Mutex
	out io.Writer
}

func newPlain(out io.Writer) *plain { return &plain{start: time.Now(), out: out} }

// note prints one line with the time since the start.
func (p *plain) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%7.2f  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// follow prints how the scene stands every few seconds.
func (p *plain) follow(ctx context.Context, s *scene) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, line := range s.lines() {
				p.note("%s", line)
			}
		}
	}
}
