package sim

import (
	"strings"
	"testing"
)

// "Break R9, R13, R16, R17, R18 and R19 on purpose once each and see it fail":
// a checker that never fails proves nothing. Each rule is broken by a switch of
// the configuration, and must be found, as the harm that the rule prevents,
// within so many seeds.
func TestBrokenRulesAreFound(t *testing.T) {
	harm := map[Break][]string{
		BreakR9NoMarker:            {"has left"},
		BreakR11NoWait:             {"has left"},
		BreakR13AckAfterEnd:        {"has left", "does not have"},
		BreakR13AckBeforeReceipt:   {"has left", "does not have"},
		BreakR16Forget:             {"have both won"},
		BreakR16TakeBack:           {"nobody is live"},
		BreakR17ResumeWithWinner:   {"does not have", "contradicts"},
		BreakR17ReleaseAtReconnect: {"has left"},
		BreakR18ArmBeforeGate:      {"has left"},
		BreakR18ArmOutOfOrder:      {"has left"},
		BreakR18UnarmedClaims:      {"has left"},
		BreakR19NoFence:            {"the disk accepts", "reads from the disk"},
		BreakR19NoSwitchFence:      {"the switch accepts"},
		BreakR19FenceLate:          {"the disk accepts", "reads from the disk"},
		BreakR19OneNumber:          {"the disk accepts", "the switch accepts", "reads from the disk"},
	}
	for b := BreakNothing + 1; b < BreakReadsNoWait; b++ {
		t.Run(b.String(), func(t *testing.T) {
			other := ""
			for seed := uint64(1); seed <= 1500; seed++ {
				r := Run(Config{Seed: seed, Break: b})
				for _, h := range harm[b] {
					if strings.Contains(r.Violation, h) {
						t.Logf("seed %d: %s", seed, r.Violation)
						return
					}
				}
				if r.Violation != "" && other == "" {
					other = r.Violation
				}
			}
			t.Errorf("not found in 1500 seeds (another violation: %q)", other)
		})
	}
}
