// Package store is the block store: an NBD server that decides with fence
// numbers who may write, and keeps the arbiter's cells beside the blocks (R19).
//
// What it promises: once a claim is answered, its number is on stable storage,
// and no write of an earlier connection can reach the file. Writes under way
// were waited for, and whatever of theirs arrives later, from a process that was
// frozen or over a network that held it back, is discarded.
package store

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// Export is a file under the name by which clients ask for it.
type Export struct {
	Name, File string
	ReadOnly   bool
}

// Config is what a Server is made of.
type Config struct {
	Listen  []string // HOST:PORT or unix:PATH
	Exports []Export
	// Insecure allows addresses that other hosts reach: NBD is neither encrypted
	// nor authenticated.
	Insecure bool
	// State is the directory of the exports' fence records; empty puts each
	// beside its file.
	State string
	// Cells, if set, are served to arbiters. The server closes them.
	Cells cells.Store
	// Note, if set, is told what a person may want to know. It may be called from
	// several goroutines.
	Note func(text string)
}

const (
	// maxConns bounds the connections of one server. Together with the bound on
	// each (maxBytes) it bounds the server's memory.
	maxConns = 64
	// maxBytes bounds the data of the requests of one connection that are under
	// way; the connection is not read while they are more.
	maxBytes = nbd.MaxPayload
	// maxRequests bounds their number.
	maxRequests = 128
)

// Server serves exports.
type Server struct {
	cfg       Config
	exports   map[string]*export
	order     []string // as they were given
	listeners []net.Listener
	wg        sync.WaitGroup

	mu     sync.Mutex
	conns  map[*conn]bool
	closed bool
}

// Start opens the exports and listens. It serves until Close.
func Start(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, exports: map[string]*export{}, conns: map[*conn]bool{}}
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, err
	}
	for _, l := range s.listeners {
		s.wg.Go(func() { s.accept(l) })
	}
	return s, nil
}

// open opens the exports and the listeners.
func (s *Server) open() error {
	cfg := s.cfg
	if len(cfg.Exports) == 0 && cfg.Cells == nil {
		return errors.New("store: there is nothing to serve; say --export NAME=FILE")
	}
	if cfg.State != "" {
		if err := os.MkdirAll(cfg.State, 0o700); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	for _, c := range cfg.Exports {
		if s.exports[c.Name] != nil {
			return fmt.Errorf("store: there are two exports named %q", c.Name)
		}
		e, err := openExport(c, cfg.State)
		if err != nil {
			return err
		}
		s.exports[c.Name] = e
		s.order = append(s.order, c.Name)
		if file, ok := e.records.(recordFile); ok && !c.ReadOnly {
			if why := forgets(filepath.Dir(file.path)); why != "" {
				s.note("export %s: its fence record is not durable: %s", c.Name, why)
			}
		}
	}
	if len(cfg.Listen) == 0 {
		return errors.New("store: nowhere to listen; say --listen HOST:PORT or unix:PATH")
	}
	for _, text := range cfg.Listen {
		l, err := listen(text, cfg.Insecure)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

// checkName says whether an export may have this name: it goes into URLs and
// terminals.
func checkName(name string) error {
	if name == "" || len(name) > 255 {
		return fmt.Errorf("store: an export's name has 1 to 255 bytes; %.40q has %d", name, len(name))
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) || r == unicode.ReplacementChar {
			return fmt.Errorf("store: %q cannot name an export", name)
		}
	}
	return nil
}

// Addresses are where the server listens, in the form of Config.Listen.
func (s *Server) Addresses() []string {
	var list []string
	for _, l := range s.listeners {
		if l.Addr().Network() == "unix" {
			list = append(list, "unix:"+l.Addr().String())
		} else {
			list = append(list, l.Addr().String())
		}
	}
	return list
}

// URL is where the export is found on the first address.
func (s *Server) URL(export string) string {
	a := s.listeners[0].Addr()
	return nbd.Address{Net: a.Network(), Path: a.String(), Export: export}.String()
}

// Close stops listening, lets what is under way end, and frees the files.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()
	for _, l := range s.listeners {
		l.Close()
	}
	s.wg.Wait()
	var all error
	for _, e := range s.exports {
		all = errors.Join(all, e.file.Close())
	}
	if s.cfg.Cells != nil {
		all = errors.Join(all, s.cfg.Cells.Close())
	}
	if all != nil {
		return fmt.Errorf("store: %w", all)
	}
	return nil
}

func (s *Server) note(format string, args ...any) {
	if s.cfg.Note != nil {
		s.cfg.Note(fmt.Sprintf(format, args...))
	}
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, or a client that gave up: those there are go on.
			s.note("accept: %v", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		s.serve(c)
	}
}

// serve makes the connection one of the server's.
func (s *Server) serve(raw net.Conn) {
	c := newConn(s, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		raw.Close()
		return
	case len(s.conns) >= maxConns:
		s.note("%s: turned away: there are %d connections already", c.peer, maxConns)
		raw.Close()
		return
	}
	s.conns[c] = true
	s.wg.Go(func() {
		c.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	})
}

// listen opens an address. A socket that nobody answers on is left over from a
// killed store and is removed.
func listen(text string, insecure bool) (net.Listener, error) {
	network, path, err := nbd.ParseListen(text)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if network == "tcp" && !insecure && !nbd.Loopback(path) {
		return nil, fmt.Errorf("store: %q is not a loopback address, and whoever reaches it can read and write the disks, unencrypted; "+
			"use loopback or a unix socket, or allow it with --insecure on a network that you trust", text)
	}
	l, err := net.Listen(network, path)
	if err != nil && network == "unix" && errors.Is(err, syscall.EADDRINUSE) {
		info, statErr := os.Lstat(path)
		if statErr != nil || info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("store: %s exists and is not a socket; remove it or choose another path", path)
		}
		probe, dialErr := net.Dial("unix", path)
		if dialErr == nil {
			probe.Close()
			return nil, fmt.Errorf("store: another server is listening at %s; stop it or choose another path", path)
		}
		if !errors.Is(dialErr, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("store: %s is in use: %w", path, dialErr)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("store: remove the left-over socket: %w", err)
		}
		l, err = net.Listen(network, path)
	}
	if err != nil {
		return nil, fmt.Errorf("store: listen at %s: %w", text, err)
	}
	if network == "unix" {
		if err := os.Chmod(path, 0o600); err != nil {
			l.Close()
			return nil, fmt.Errorf("store: make %s private: %w", path, err)
		}
	}
	return l, nil
}
