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
			found(t, harm[b], 1, 1500, Config{Break: b})
		})
	}
}

// found fails unless one of the worlds, with one seed after the other, does the
// harm.
func found(t *testing.T, harm []string, from, to uint64, worlds ...Config) {
	t.Helper()
	other := ""
	for seed := from; seed <= to; seed++ {
		for _, cfg := range worlds {
			cfg.Seed = seed
			r := Run(cfg)
			for _, h := range harm {
				if strings.Contains(r.Violation, h) {
					t.Logf("seed %d: %s", seed, r.Violation)
					return
				}
			}
			if other == "" {
				other = r.Violation
			}
		}
	}
	t.Errorf("not found up to seed %d (another violation: %q)", to, other)
}
