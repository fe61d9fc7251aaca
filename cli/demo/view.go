package demo

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/vm"
)

// lines is how the scene stands, for a person.
func (s *scene) lines() []string {
	var out []string
	for _, c := range []*child{s.primary, s.backup} {
		if c == nil {
			continue
		}
		if _, ended := c.ended(); !ended {
			out = append(out, fmt.Sprintf("%-8s %s", c.name, describe(c.latest())))
		}
	}
	if t := s.client.snapshot(); t.Connections > 0 {
		out = append(out, fmt.Sprintf("%-8s %d operations, %d writes acknowledged, longest stall %.0f ms", "client", t.Operations, t.Acknowledged, t.LongestStall))
	} else if line := s.guest.lastLine(); line != "" {
		out = append(out, fmt.Sprintf("%-8s %s", "guest", line))
	}
	return out
}

func describe(st vm.Status) string {
	text := fmt.Sprintf("%-10s at %6.2f G instructions, guest time %6.1f s, cpu %5.1f s", st.State, float64(st.Position)/1e9, float64(st.GuestNS)/1e9, float64(st.CPUNS)/1e9)
	if st.Log.Entries > 0 {
		text += fmt.Sprintf(", log %d entries %.2f MB, lag %.1f ms, output delay %.0f us",
			st.Log.Entries, float64(st.Log.Bytes)/1e6, float64(st.Lag.P50)/1e6, float64(st.OutputDelay.P50)/1e3)
	}
	if st.Digests.Compared > 0 {
		text += fmt.Sprintf(", %d digests agree", st.Digests.Compared)
	}
	return text
}
