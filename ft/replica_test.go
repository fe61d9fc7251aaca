package ft

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-vm/lockstep/replay"
)

func testConfig(self byte) Config {
	return Config{VM: "web", Run: Run{Ordinal: 3}, Self: ProcessID{self}, Backup: true, Timeout: 4, DialEvery: 2, AskEvery: 2}
}

// armedBackup is a backup of epoch 1 on connection 1 that may claim.
func armedBackup() *Replica {
	r := NewBackup(testConfig('b'), 1, ProcessID{'a'}, 1)
	r.StateLoaded()
	r.ArmSeen(1)
	r.Ready()
	return r
}

// protectedPrimary has Arm(1) as entry 5, acknowledged on connection 1.
func protectedPrimary() *Replica {
	r := NewPrimary(testConfig('a'))
	r.Joined(1, ProcessID{'b'})
	r.Seeded(1)
	r.ArbiterAlive(true)
	r.ArmAppended(5)
	r.Acked(1, 5)
	r.Ready()
	return r
}

func ticks(r *Replica, n int) (all []Ready) {
	for range n {
		r.Tick()
		all = append(all, r.Ready())
	}
	return all
}

// R13: "A backup seals the channel [...] before it fixes the end of its log,
// and claims only after that".
func TestBackupExecutesWhatCameInBeforeTheSeal(t *testing.T) {
	r := armedBackup()
	r.Refused(ProcessID{'a'})
	if rd := r.Ready(); !rd.Drain || rd.Seal || rd.Claim != nil {
		t.Fatalf("lost the peer: %+v", rd)
	}
	r.Drained(20)
	if rd := r.Ready(); !rd.Seal || rd.Claim != nil {
		t.Fatalf("drained: %+v", rd)
	}
	r.Sealed(22) // two more were acknowledged in the meantime
	if rd := r.Ready(); !rd.Drain || rd.Claim != nil {
		t.Fatalf("sealed with two entries to go: %+v", rd)
	}
	r.Drained(21)
	if rd := r.Ready(); rd.Claim != nil {
		t.Fatalf("claims with an entry to go: %+v", rd)
	}
	r.Drained(22)
	if rd := r.Ready(); rd.Claim == nil || rd.Claim.Cell.Epoch != 1 || rd.Claim.By != (ProcessID{'b'}) {
		t.Fatalf("does not claim: %+v", rd)
	}
}

// R13: "a sealed channel cannot be resumed".
func TestSealedChannelCannotBeResumed(t *testing.T) {
	r := armedBackup()
	h := Hello{VM: "web", Run: Run{Ordinal: 3}, Epoch: 1, Process: ProcessID{'a'}, Peer: ProcessID{'b'}}
	r.Refused(ProcessID{'a'})
	if got := r.Greet(h); got != AnswerResume {
		t.Errorf("while draining: %v", got)
	}
	r.Drained(20)
	if got := r.Greet(h); got != AnswerClosed || r.Connected(2, 20) {
		t.Errorf("after the seal: %v", got)
	}
}

// R16: "A claim is never taken back" (R17), whatever comes.
func TestClaimIsNeverTakenBack(t *testing.T) {
	for name, r := range map[string]*Replica{"primary": protectedPrimary(), "backup": armedBackup()} {
		peer := r.Peer()
		r.Refused(peer)
		r.Drained(9)
		r.Ready()
		r.Sealed(9)
		if r.State() != Claiming {
			t.Fatalf("%s is %v", name, r.State())
		}
		r.Ready()
		r.Heard(1)
		r.Acked(1, 99)
		r.ArmSeen(1)
		r.PeerEnded()
		r.ArbiterAlive(true)
		r.ClaimResult(7, Lost) // of another epoch
		r.ClaimResult(1, Unknown)
		if r.Connected(9, 9) || r.State() != Claiming {
			t.Errorf("%s is %v", name, r.State())
		}
		asked := 0
		for _, rd := range ticks(r, 2) {
			if rd.Claim != nil {
				asked++
			}
			if rd.Dial || rd.Resume != nil {
				t.Errorf("%s dials after its claim: %+v", name, rd)
			}
		}
		if asked != 1 {
			t.Errorf("%s asked again %d times", name, asked)
		}
	}
}

// Paper, section 2.3: "If the operation fails, then the other VM must have
// already gone live, so the current VM actually halts itself."
func TestLoserHalts(t *testing.T) {
	r := protectedPrimary()
	r.Refused(r.Peer())
	r.Ready()
	r.ClaimResult(1, Lost)
	rd := r.Ready()
	if !rd.Halt || rd.Gate == nil || rd.Gate.Mode != GateHalted || rd.Open {
		t.Errorf("%+v", rd)
	}
	r.ClaimResult(1, Won)
	r.PowerOffReleased()
	if rd := r.Ready(); !rd.Empty() || r.State() != Halted {
		t.Errorf("a halted replica goes on: %+v", rd)
	}
}

// R18: "A backup that is not armed never claims."
func TestUnarmedBackupNeverClaims(t *testing.T) {
	for _, loaded := range []bool{false, true} {
		r := NewBackup(testConfig('b'), 1, ProcessID{'a'}, 1)
		if loaded {
			r.StateLoaded()
		}
		r.ArmSeen(2) // of another epoch
		for _, rd := range ticks(r, 30) {
			if rd.Claim != nil || rd.Drain {
				t.Errorf("loaded %v: %+v", loaded, rd)
			}
		}
		if r.State() != Gone {
			t.Errorf("loaded %v: %v", loaded, r.State())
		}
	}
}

// R18: "The primary first stops releasing anything that is not acknowledged in
// epoch e, and only then appends Arm(e)"; one Ready, whose fields are in order.
func TestGateClosesBeforeArm(t *testing.T) {
	r := NewPrimary(testConfig('a'))
	r.Ready()
	r.Joined(1, ProcessID{'b'})
	r.Ready()
	r.Seeded(1)
	if rd := r.Ready(); !rd.Ping || rd.AppendArm != 0 || rd.Gate != nil {
		t.Fatalf("before the arbiter's sign of life: %+v", rd)
	}
	r.ArbiterAlive(false)
	if rd := r.Ready(); !rd.Empty() {
		t.Fatalf("no sign of life: %+v", rd)
	}
	r.ArbiterAlive(true)
	rd := r.Ready()
	if rd.AppendArm != 1 || rd.Gate == nil || *rd.Gate != (GateOrder{Mode: GatePaired, Epoch: 1, Gen: 1}) {
		t.Fatalf("%+v", rd)
	}
	r.ArmAppended(5)
	r.Acked(1, 4)
	if r.State() != Gated {
		t.Errorf("%v before Arm is acknowledged", r.State())
	}
	r.Acked(1, 5)
	if r.State() != Protected {
		t.Errorf("%v after Arm is acknowledged", r.State())
	}
}

// R15: "only the winner of e opens e+1. Fence numbers are (run, 2e) for the
// primary of pairing e and (run, 2e+1) for the winner of claim e."
func TestEpochsAndNumbers(t *testing.T) {
	r := NewPrimary(testConfig('a'))
	check := func(e Epoch, n uint64) {
		t.Helper()
		if r.Epoch() != e || r.Number() != (Fence{Run: 3, Number: n}) {
			t.Errorf("epoch %d with %v, want %d with 3.%d", r.Epoch(), r.Number(), e, n)
		}
	}
	check(0, 1)
	for e := Epoch(1); e < 4; e++ {
		gen := uint64(e) * 10
		if r.NextEpoch() != e || !r.Joined(gen, ProcessID{'b'}) || r.Joined(gen+1, ProcessID{'c'}) {
			t.Fatalf("epoch %d does not open once", e)
		}
		check(e, 2*uint64(e)-1)
		r.Closed(gen)
		r.Refused(ProcessID{'b'}) // cut off: the number is not used up
		check(e-1, 2*uint64(e)-1)
		r.Joined(gen+2, ProcessID{'b'})
		r.Seeded(gen + 2)
		r.ArbiterAlive(true)
		check(e, 2*uint64(e))
		r.ArmAppended(replay.Seq(gen))
		r.Refused(ProcessID{'b'})
		check(e, 2*uint64(e))
		r.ClaimResult(e, Won)
		check(e, 2*uint64(e)+1)
	}
	b := armedBackup()
	b.Refused(ProcessID{'a'})
	b.Drained(3)
	b.Sealed(3)
	b.ClaimResult(1, Won)
	if rd := b.Ready(); rd.Fence == nil || *rd.Fence != (Fence{Run: 3, Number: 3}) || rd.GoLive {
		t.Errorf("the winner: %+v", rd)
	}
	b.Fenced()
	if rd := b.Ready(); !rd.GoLive || !rd.Open || b.NextEpoch() != 2 {
		t.Errorf("the winner goes live: %+v", rd)
	}
}

// R17: who is answered what.
func TestGreet(t *testing.T) {
	run := Run{Ordinal: 3}
	resume := Hello{VM: "web", Run: run, Epoch: 1, Process: ProcessID{'b'}, Peer: ProcessID{'a'}}
	with := func(f func(h *Hello)) Hello { h := resume; f(&h); return h }
	alone := func() *Replica {
		r := protectedPrimary()
		r.Refused(ProcessID{'b'})
		r.ClaimResult(1, Won)
		return r
	}
	waiting := func() *Replica { return NewPrimary(testConfig('a')) }
	for _, c := range []struct {
		name string
		r    *Replica
		h    Hello
		want Answer
	}{
		{"the peer", protectedPrimary(), resume, AnswerResume},
		{"another process", protectedPrimary(), with(func(h *Hello) { h.Process = ProcessID{'x'} }), AnswerClosed},
		{"an older epoch", protectedPrimary(), with(func(h *Hello) { h.Epoch = 9 }), AnswerClosed},
		{"another run", protectedPrimary(), with(func(h *Hello) { h.Run.Ordinal = 4 }), AnswerUnknown},
		{"meant for another process", protectedPrimary(), with(func(h *Hello) { h.Peer = ProcessID{'x'} }), AnswerUnknown},
		{"another VM", protectedPrimary(), with(func(h *Hello) { h.VM = "db" }), AnswerUnknown},
		{"the old pairing after a win", alone(), resume, AnswerClosed},
		{"a new backup after a win", alone(), Hello{VM: "web", Process: ProcessID{'c'}}, AnswerJoin},
		{"a new backup at power-on", waiting(), Hello{VM: "web", Process: ProcessID{'c'}}, AnswerJoin},
		{"a second backup", protectedPrimary(), Hello{VM: "web", Process: ProcessID{'c'}}, AnswerBusy},
		{"a backup that joins a backup", armedBackup(), Hello{VM: "web", Process: ProcessID{'c'}}, AnswerBusy},
	} {
		if got := c.r.Greet(c.h); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// R17: a refusal counts only if it is the peer's.
func TestRefusalOfAnotherProcess(t *testing.T) {
	r := protectedPrimary()
	r.Refused(ProcessID{'x'})
	if r.State() != Protected {
		t.Errorf("%v", r.State())
	}
}

// R16: "Silence proves nothing." A peer that is heard again in time changes
// nothing, even if the backup was about to leave it.
func TestSilenceThatEnds(t *testing.T) {
	r := armedBackup()
	ticks(r, 3)
	r.Heard(1)
	for _, rd := range ticks(r, 3) {
		if rd.Drain {
			t.Error("silence is not counted anew")
		}
	}
	r.ArbiterAlive(true)
	ticks(r, 1)
	if r.State() != Draining {
		t.Fatalf("%v", r.State())
	}
	r.Heard(1)
	if r.State() != Replaying {
		t.Errorf("heard while draining: %v", r.State())
	}
	r.Drained(5) // what the driver was asked for before
	if r.State() != Replaying {
		t.Errorf("a late Drained: %v", r.State())
	}
}

// Whatever comes in whatever order: a claim only by who may claim and only once
// sealed; nothing of the old pairing after it; the gate opens only for who is
// Alone from the start or has won; nothing after a final state.
func TestReplicaUnderRandomEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r *Replica
		backup := rapid.Bool().Draw(t, "backup")
		if backup {
			r = NewBackup(testConfig('b'), 1, ProcessID{'a'}, 1)
		} else {
			r = NewPrimary(testConfig('a'))
		}
		var gen uint64 = 1
		var seq, arm replay.Seq
		armed, sealed, claimed, won, fenced := false, false, false, false, false
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			final := r.State().Final()
			g := rapid.Uint64Range(1, gen+1).Draw(t, "gen")
			switch what := rapid.IntRange(0, 19).Draw(t, "event"); what {
			case 0, 1, 2:
				r.Tick()
			case 3:
				gen++
				r.Connected(gen, seq)
			case 4:
				r.Closed(g)
			case 5:
				r.Refused(r.Peer())
			case 6:
				r.Heard(g)
			case 7:
				r.ArbiterAlive(rapid.Bool().Draw(t, "alive"))
			case 8:
				e := Epoch(rapid.IntRange(0, 3).Draw(t, "epoch"))
				res := Result(rapid.IntRange(0, 2).Draw(t, "result"))
				won = won || r.State() == Claiming && res == Won && e == r.Epoch()
				r.ClaimResult(e, res)
			case 9:
				gen++
				r.Joined(gen, ProcessID{'c'})
			case 10:
				r.Seeded(r.gen)
			case 11:
				r.Acked(g, seq)
			case 12:
				r.StateLoaded()
			case 13:
				armed = armed || (r.State() == Replaying || r.State() == Draining)
				r.ArmSeen(r.Epoch())
			case 14:
				seq++
				r.Drained(seq)
			case 15:
				fenced = fenced || r.State() == Fencing
				r.Fenced()
			case 16:
				if rapid.IntRange(0, 9).Draw(t, "rare") == 0 {
					r.PowerOffReleased()
				}
			case 17:
				r.RunEnded(rapid.Bool().Draw(t, "ended"))
			case 18:
				if rapid.IntRange(0, 9).Draw(t, "rare") == 0 {
					r.Diverged("x")
				}
			case 19:
				r.OwnLink(rapid.Bool().Draw(t, "up"))
			}
			rd := r.Ready()
			if final && !rd.Empty() {
				t.Fatalf("%v asks for something: %+v", r.State(), rd)
			}
			if claimed && !won && (rd.Resume != nil || rd.AppendArm != 0 || rd.Dial || rd.Open || rd.GoLive) {
				t.Fatalf("between claim and win: %+v", rd)
			}
			if rd.Open && !won {
				t.Fatalf("opens without a win: %+v", rd)
			}
			if rd.GoLive && backup && !(won && fenced) {
				t.Fatalf("goes live unfenced: %+v", rd)
			}
			if rd.Seal {
				sealed = true
				r.Sealed(seq)
			}
			if rd.AppendArm != 0 {
				if rd.Gate == nil || rd.Gate.Mode != GatePaired || rd.Gate.Epoch != rd.AppendArm {
					t.Fatalf("Arm without the gate: %+v", rd)
				}
				seq++
				arm = seq
				r.ArmAppended(arm)
			}
			if rd.Claim != nil {
				if backup && r.backup && !armed || !sealed || !backup && arm == 0 {
					t.Fatalf("claims: armed %v, sealed %v, Arm %d", armed, sealed, arm)
				}
				claimed = true
			}
			if r.State() == Alone {
				claimed, sealed, won = false, false, false
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, f := range []func(c *Config){
		func(c *Config) { c.Self = ProcessID{} },
		func(c *Config) { c.Run.Ordinal = 0 },
		func(c *Config) { c.Timeout = 1 },
		func(c *Config) { c.DialEvery = 0 },
		func(c *Config) { c.AskEvery = 0 },
	} {
		c := testConfig('a')
		f(&c)
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
	c := DefaultConfig()
	c.Self, c.Run = ProcessID{1}, Run{Ordinal: 1}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if fmt.Sprint(Alone, Won, AnswerJoin, GateOpen, State(99)) != "alone won join open State(99)" {
		t.Error(fmt.Sprint(Alone, Won, AnswerJoin, GateOpen, State(99)))
	}
}
