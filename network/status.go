package network

import (
	"cmp"
	"slices"
)

// SwitchStatus is what a switch is doing, for JSON.
type SwitchStatus struct {
	Addresses []string        `json:"addresses"`
	Subnet    string          `json:"subnet"`
	Gateway   string          `json:"gateway"`
	Flooded   uint64          `json:"flooded"`   // frames sent to all ports
	Malformed uint64          `json:"malformed"` // connections ended for breaking the protocol
	TCP       int             `json:"tcp"`       // connections through the gateway now
	UDP       int             `json:"udp"`       // sessions through the gateway now
	Forwards  []ForwardStatus `json:"forwards"`
	Ports     []PortStatus    `json:"ports"`
}

// ForwardStatus is one port forward.
type ForwardStatus struct {
	Listen string `json:"listen"`
	Guest  string `json:"guest"`
	Active int64  `json:"active"` // connections now
	Total  uint64 `json:"total"`
	Failed uint64 `json:"failed"` // the guest did not answer or refused
}

// PortStatus is one logical port.
type PortStatus struct {
	VM        string `json:"vm"`
	NIC       uint8  `json:"nic"`
	MAC       MAC    `json:"mac"`
	Address   string `json:"address"`  // its lease
	Attached  int    `json:"attached"` // processes, the live one included
	Live      bool   `json:"live"`     // a process is attached as live
	Fence     string `json:"fence"`    // highest that has gone live; empty if none has
	FromGuest uint64 `json:"from_guest"`
	ToGuest   uint64 `json:"to_guest"`
	Held      int    `json:"held"`       // frames not yet confirmed
	HeldBytes int    `json:"held_bytes"` // their size
	Dropped   uint64 `json:"dropped"`    // frames dropped unconfirmed: too old or too many
	Overrun   uint64 `json:"overrun"`    // frames that the live process was too slow to take
	Confirmed uint64 `json:"confirmed"`  // number of a frame
}

// Status describes the switch.
func (s *Switch) Status() SwitchStatus {
	g := s.gateway
	out := SwitchStatus{
		Addresses: s.Addresses(),
		Subnet:    g.subnet.String(),
		Gateway:   g.addr.String(),
		Flooded:   s.flooded.Load(),
		Malformed: s.malformed.Load(),
		Forwards:  []ForwardStatus{},
		Ports:     []PortStatus{},
	}
	g.mu.Lock()
	out.TCP, out.UDP = g.connections, g.datagrams
	g.mu.Unlock()
	for _, f := range s.forwards {
		out.Forwards = append(out.Forwards, ForwardStatus{
			Listen: f.listener.Addr().String(), Guest: f.guest.String(),
			Active: f.active.Load(), Total: f.total.Load(), Failed: f.fails.Load(),
		})
	}
	s.mu.RLock()
	ports := make([]*port, 0, len(s.ports))
	for _, p := range s.ports {
		ports = append(ports, p)
	}
	s.mu.RUnlock()
	for _, p := range ports {
		st := p.status()
		if ip, ok := g.leases.known(p.mac); ok {
			st.Address = ip.String()
		}
		out.Ports = append(out.Ports, st)
	}
	slices.SortFunc(out.Ports, func(a, b PortStatus) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), cmp.Compare(a.NIC, b.NIC))
	})
	return out
}

func (p *port) status() PortStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := PortStatus{
		VM: p.name.vm, NIC: p.name.index, MAC: p.mac,
		Attached: p.attachments, Live: p.live != nil,
		FromGuest: p.fromGuest, ToGuest: p.toGuest,
		Held: p.keep.len(), HeldBytes: p.keep.bytes, Dropped: p.keep.dropped,
		Overrun: p.overrun, Confirmed: p.confirmed,
	}
	if p.everLive {
		st.Fence = p.fence.String()
	}
	return st
}
