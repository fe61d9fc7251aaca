// Package network is the guest's network: a user-mode Ethernet switch with a
// gateway (DHCP, DNS, NAT, port forwards) that needs no privileges, and the
// host half of a NIC that plugs into it.
//
// The switch is one process that plays the physical switch. The VM processes
// of a protected pair plug into the same logical port (VM name, NIC index), and
// only the one with the highest fence number that has gone live speaks (R15,
// R19). Frames to the guest are kept until the live port confirms that they are
// logged, and given to the next live port; so a failover loses no frame and
// TCP need not repeat any (DESIGN, section 5). Connections through the gateway
// end in the switch, not in a VM process, and so survive one.
//
// Fence numbers are held in memory: a switch that is started anew learns them
// from the first process that goes live.
package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockstep-vm/lockstep/ft"
)

// SwitchConfig describes a switch. The zero value of every field but Listen is usable.
type SwitchConfig struct {
	Listen   []string // where VM processes attach: "unix:/path", "tcp:127.0.0.1:port"
	Insecure bool     // allow TCP addresses beyond loopback, and forwards listening there

	Subnet       netip.Prefix     // of the guests; default 10.0.2.0/24. The gateway is its .2, leases start at .15
	Resolvers    []netip.AddrPort // for the guests' DNS; default: those of the host's resolv.conf
	HostLoopback bool             // let guests reach the host's loopback at the gateway's address
	Forwards     []Forward

	// Frames of one port that are not confirmed: bounds and age. What is older
	// or too much is dropped, oldest first. Defaults: 4096, 4 MiB, 5 s.
	RetainFrames int
	RetainBytes  int
	RetainFor    time.Duration

	// OnEvent is told what happens. It is called from many goroutines and must not wait. May be nil.
	OnEvent func(SwitchEvent)
}

// SwitchEventKind is what happened on a switch.
type SwitchEventKind string

const (
	SwitchAttached SwitchEventKind = "attached" // a process attached to a port in standby
	SwitchLive     SwitchEventKind = "live"     // a process went live on a port
	SwitchRefused  SwitchEventKind = "refused"  // a process was refused
	SwitchDetached SwitchEventKind = "detached" // a process is gone
	SwitchLease    SwitchEventKind = "lease"    // a guest was given an address
)

// SwitchEvent is one event of a switch.
type SwitchEvent struct {
	Kind  SwitchEventKind `json:"kind"`
	VM    string          `json:"vm,omitempty"`
	NIC   uint8           `json:"nic"`
	MAC   MAC             `json:"mac"`
	Fence ft.Fence        `json:"fence"` // for live and refused
	Text  string          `json:"text"`
}

// Limits of a switch.
const (
	maxAttachments = 256
	maxPorts       = 256
	maxMACsPerPort = 256
)

// Switch is a running switch. Close stops it.
type Switch struct {
	cfg       SwitchConfig
	id        [16]byte
	listeners []net.Listener
	gateway   *gateway
	forwards  []*forwarder
	wait      sync.WaitGroup

	mu     sync.RWMutex
	closed bool
	ports  map[portName]*port
	macs   map[MAC]*port
	conns  map[net.Conn]struct{}

	flooded, malformed atomic.Uint64
}

// NewSwitch starts a switch; it listens when NewSwitch returns.
func NewSwitch(cfg SwitchConfig) (*Switch, error) {
	if len(cfg.Listen) == 0 {
		return nil, errors.New("network: a switch needs an address to listen at, such as unix:/path")
	}
	if cfg.RetainFrames == 0 {
		cfg.RetainFrames = 4096
	}
	if cfg.RetainBytes == 0 {
		cfg.RetainBytes = 4 << 20
	}
	if cfg.RetainFor == 0 {
		cfg.RetainFor = 5 * time.Second
	}
	s := &Switch{cfg: cfg, ports: map[portName]*port{}, macs: map[MAC]*port{}, conns: map[net.Conn]struct{}{}}
	rand.Read(s.id[:])
	var err error
	if s.gateway, err = newGateway(s, cfg); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	for _, l := range s.listeners {
		s.wait.Go(func() { s.accept(l) })
	}
	return s, nil
}

func (s *Switch) open() error {
	for _, text := range s.cfg.Listen {
		addr, err := ParseAddress(text, s.cfg.Insecure)
		if err != nil {
			return err
		}
		l, err := addr.listen()
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	for _, f := range s.cfg.Forwards {
		fw, err := s.gateway.forward(f, s.cfg.Insecure)
		if err != nil {
			return err
		}
		s.forwards = append(s.forwards, fw)
	}
	return nil
}

// Addresses are where VM processes attach, with the ports that the system chose.
func (s *Switch) Addresses() []string {
	var out []string
	for _, l := range s.listeners {
		out = append(out, l.Addr().Network()+":"+l.Addr().String())
	}
	return out
}

// ForwardAddresses are the host addresses of the configured forwards, in their
// order, with the ports that the system chose.
func (s *Switch) ForwardAddresses() []string {
	var out []string
	for _, f := range s.forwards {
		out = append(out, f.listener.Addr().String())
	}
	return out
}

// Close stops the switch: every attachment and every connection through the
// gateway ends. It waits for the switch's goroutines.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	for _, l := range s.listeners {
		l.Close()
	}
	for _, f := range s.forwards {
		f.listener.Close()
	}
	s.gateway.close()
	s.wait.Wait()
	return nil
}

func (s *Switch) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: the next one may do better.
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if !s.admit(c) {
			c.Close()
			continue
		}
		s.wait.Go(func() { s.serve(c) })
	}
}

func (s *Switch) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxAttachments {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Switch) event(e SwitchEvent) {
	if s.cfg.OnEvent != nil {
		s.cfg.OnEvent(e)
	}
}

// switchFrame carries a frame from a port (nil: the gateway) to where it
// belongs. The frame is not kept.
func (s *Switch) switchFrame(from *port, frame []byte) {
	dst, src := MAC(frame[:6]), MAC(frame[6:12])
	if from != nil && (src.group() || src == s.gateway.mac) {
		return // nobody has such an address, or only the gateway
	}
	if from != nil {
		s.learn(src, from)
	}
	if dst == s.gateway.mac {
		s.gateway.deliver(from, frame)
		return
	}
	s.mu.RLock()
	if to := s.macs[dst]; to != nil && !dst.group() {
		s.mu.RUnlock()
		if to != from {
			to.deliver(frame)
		}
		return
	}
	others := make([]*port, 0, len(s.ports))
	for _, p := range s.ports {
		if p != from {
			others = append(others, p)
		}
	}
	s.mu.RUnlock()
	s.flooded.Add(1)
	for _, p := range others {
		p.deliver(frame)
	}
	if from != nil && dst.group() {
		s.gateway.deliver(from, frame)
	}
}

// learn notes that an address lives behind a port. A port that shows too many
// addresses is believed no new ones: their frames are flooded.
func (s *Switch) learn(src MAC, from *port) {
	s.mu.RLock()
	known := s.macs[src] == from
	s.mu.RUnlock()
	if known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from.macs >= maxMACsPerPort {
		return
	}
	if old := s.macs[src]; old != nil {
		old.macs--
	}
	from.macs++
	s.macs[src] = from
}

// portOf finds or makes a logical port.
func (s *Switch) portOf(name portName, mac MAC) (*port, *RefusedError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.ports[name]; p != nil {
		return p, nil
	}
	if len(s.ports) >= maxPorts {
		return nil, &RefusedError{Reason: RefusedLimit, Text: fmt.Sprintf("the switch has %d ports already", maxPorts)}
	}
	p := &port{name: name, mac: mac, keep: newRetained(s.cfg)}
	s.ports[name] = p
	s.gateway.leases.get(mac) // in the order of attaching, not of booting
	return p, nil
}
