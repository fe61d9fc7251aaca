package network

import (
	"net/netip"
	"os"
	"strings"
)

// hostResolvers reads the nameservers of a resolv.conf. Called for each
// session, so that the guests follow a host that changes networks.
func hostResolvers(path string) []netip.AddrPort {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []netip.AddrPort
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if ip, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, netip.AddrPortFrom(ip, dnsPort))
		}
	}
	return out
}

func (g *gateway) resolvers() []netip.AddrPort {
	if len(g.cfg.Resolvers) > 0 {
		return g.cfg.Resolvers
	}
	return hostResolvers("/etc/resolv.conf")
}

// dnsServer is the resolver that guests' queries are relayed to.
func (g *gateway) dnsServer() (netip.AddrPort, bool) {
	list := g.resolvers()
	if len(list) == 0 {
		return netip.AddrPort{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return list[g.resolver%len(list)], true
}

// nextResolver turns to the next resolver after one gave no answer.
func (g *gateway) nextResolver(silent netip.AddrPort) {
	list := g.resolvers()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(list) > 0 && list[g.resolver%len(list)] == silent {
		g.resolver = (g.resolver + 1) % len(list)
	}
}
