package guests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
)

// A piece of a console is a line of JSON on a replica's standard output.
type piece struct {
	Offset uint64
	Bytes  []byte
}

// lines is what a process writes, line by line.
type lines struct {
	mu   sync.Mutex
	cond *sync.Cond
	list []string
	end  bool
}

func newLines() *lines {
	l := &lines{}
	l.cond = sync.NewCond(&l.mu)
	return l
}

func readLines(r io.Reader) *lines {
	l := newLines()
	go func() {
		s := bufio.NewScanner(r)
		for s.Scan() {
			l.add(s.Text())
		}
		l.close()
	}()
	return l
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, line)
	l.cond.Broadcast()
}

// close says that there will be no more.
func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = true
	l.cond.Broadcast()
}

// A reader is who reads the console of a guest at all its replicas. It attaches
// to each by offset.
type reader struct {
	*lines
	mu       sync.Mutex
	next     uint64 // offset behind the last byte
	partial  []byte
	replicas int // that have not ended
	gap      error
}

func newReader(replicas int) *reader { return &reader{lines: newLines(), replicas: replicas} }

// attach reads the console of a replica until that ends.
func (c *reader) attach(r io.Reader) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		dec := json.NewDecoder(r)
		for {
			var p piece
			if dec.Decode(&p) != nil { // a replica that is killed may leave half of one
				break
			}
			c.hear(p)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.replicas--; c.replicas == 0 {
			c.add(string(c.partial))
			c.close()
		}
	}()
	return ended
}

// hear takes what it has not heard before.
func (c *reader) hear(p piece) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := p.Offset + uint64(len(p.Bytes)); end <= c.next {
		return
	}
	switch {
	case c.next == 0: // of a guest that was restored
		c.next = p.Offset
	case p.Offset > c.next && c.gap == nil:
		c.gap = fmt.Errorf("the console goes on at %d; it was heard up to %d", p.Offset, c.next)
		c.next = p.Offset
	}
	fresh := p.Bytes[max(p.Offset, c.next)-p.Offset:]
	c.next += uint64(len(fresh))
	c.partial = append(c.partial, fresh...)
	for {
		line, rest, whole := bytes.Cut(c.partial, []byte("\n"))
		if !whole {
			return
		}
		c.add(strings.TrimRight(string(line), "\r"))
		c.partial = rest
	}
}

// missed tells of bytes that no replica told of.
func (c *reader) missed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gap
}

// await waits until n lines begin with a word, or until there will be no more,
// and returns the last of those.
func (l *lines) await(word string, n int) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, seen := 0, 0; ; {
		for ; i < len(l.list); i++ {
			if strings.HasPrefix(l.list[i], word) {
				if seen++; seen == n {
					return l.list[i], true
				}
			}
		}
		if l.end {
			return "", false
		}
		l.cond.Wait()
	}
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.list...)
}
