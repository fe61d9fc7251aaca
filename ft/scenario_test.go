package ft

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/lockstep-vm/lockstep/replay"
)

// TestScenarios plays the scripts in testdata/scenarios. A script says what happens to a
// pair; below stands every intention that came out of it. Commands:
//
//	power-on [alone]            a powers on, with a wanted backup or without
//	join [until=seeding|armed]  b joins a, up to there or until it is protected
//	tick N                      time passes; heartbeats where they can
//	partition a b, heal a b     nothing arrives between them, or again
//	cut                         the connection breaks; both learn it
//	kill x                      the process is gone; its host refuses
//	arbiter away | back         questions get no answer, or do again
//	arbiter first=x             answers the claims that wait, x's first
//	arbiter unknown             the answers to the waiting claims are lost
//	link x down | up            x's own link
//	lag b | catch-up b          b cannot, or can, execute all it has
//	fenced x, refuse x          x's fence is raised; x's number is refused
//	diverge b, power-off x, ended x [unknown]
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		s := &scenario{t: t, sides: map[string]*side{}, arbiter: true}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			args := []string{}
			for _, a := range d.CmdArgs {
				args = append(args, a.String())
			}
			s.command(d.Cmd, args)
			if s.out.Len() == 0 {
				return "(nothing)\n"
			}
			return s.out.String()
		})
	})
}

type side struct {
	name    string
	r       *Replica
	dead    bool
	gen     uint64
	conn    bool
	log     replay.Seq // primary: appended; backup: received
	lag     bool
	drain   bool
	claims  []Claim
	pinging bool
}

type scenario struct {
	t       *testing.T
	out     strings.Builder
	sides   map[string]*side
	arbiter bool
	cut     bool
	cells   []Claim
	until   string
}

func process(name string) ProcessID { return ProcessID{name[0]} }

func (s *scenario) config(name string) Config {
	return Config{VM: "web", Run: Run{Ordinal: 1, ID: [16]byte{1}}, Self: process(name), Backup: true, Timeout: 5, DialEvery: 2, AskEvery: 2}
}

func (s *scenario) a() *side { return s.sides["a"] }
func (s *scenario) b() *side { return s.sides["b"] }

func (s *scenario) other(x *side) *side {
	if x == s.a() {
		return s.b()
	}
	return s.a()
}

func (s *scenario) command(cmd string, args []string) {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch cmd {
	case "power-on":
		c := s.config("a")
		c.Backup = arg(0) != "alone"
		s.sides["a"] = &side{name: "a", r: NewPrimary(c)}
		s.sides["a"].r.WantBackup(true)
		s.settle()
	case "join":
		s.join(strings.TrimPrefix(arg(0), "until="))
	case "tick":
		n := 0
		fmt.Sscan(arg(0), &n)
		for range n {
			s.tick()
		}
	case "partition":
		s.cut = true
	case "heal":
		s.cut = false
	case "cut":
		s.closed()
	case "kill":
		s.sides[arg(0)].dead = true
		s.closed()
	case "arbiter":
		s.arbitrate(arg(0))
	case "link":
		s.sides[arg(0)].r.OwnLink(arg(1) == "up")
	case "lag":
		s.sides[arg(0)].lag = true
	case "catch-up":
		s.sides[arg(0)].lag = false
	case "fenced":
		s.sides[arg(0)].r.Fenced()
	case "refuse":
		s.sides[arg(0)].r.FencedOff()
	case "diverge":
		s.sides[arg(0)].r.Diverged("marker 7 differs")
	case "power-off":
		s.sides[arg(0)].r.PowerOffReleased()
	case "ended":
		s.sides[arg(0)].r.RunEnded(arg(1) != "unknown")
	default:
		s.t.Fatalf("unknown command %q", cmd)
	}
	s.settle()
}

// settle carries out intentions until there are none.
func (s *scenario) settle() {
	for again := true; again; {
		again = false
		for _, n := range []string{"a", "b"} {
			if x := s.sides[n]; x != nil && !x.dead {
				again = s.perform(x) || again
			}
		}
	}
}

func (s *scenario) perform(x *side) bool {
	if x.drain && !x.lag {
		x.drain = false
		x.r.Drained(x.log)
	}
	rd := x.r.Ready()
	if rd.Empty() {
		return false
	}
	fmt.Fprintf(&s.out, "%s %v (%s):%s\n", x.name, rd.State, rd.Reason, words(rd))
	peer := s.other(x)
	if rd.Seal {
		x.conn = false
		x.r.Sealed(x.log)
	}
	if rd.AppendArm != 0 {
		x.log++
		x.r.ArmAppended(x.log)
		if s.until == "" {
			s.deliverArm(x)
		}
	}
	if rd.Seed != nil && s.until != "seeding" {
		peer.r.StateLoaded()
		x.r.Seeded(x.gen)
	}
	if rd.Dial {
		s.dial(x, peer)
	}
	if rd.Ping {
		x.pinging = true
		if s.arbiter {
			x.r.ArbiterAlive(true)
		}
	}
	if rd.Claim != nil {
		x.claims = append(x.claims, *rd.Claim)
	}
	x.drain = x.drain || rd.Drain
	if rd.Bye && !s.cut && peer != nil {
		peer.r.PeerEnded()
	}
	if rd.Stop {
		x.dead = true
		s.closed()
	}
	return true
}

func (s *scenario) deliverArm(x *side) {
	peer := s.other(x)
	if peer == nil || peer.dead || s.cut {
		return
	}
	peer.log = x.log
	peer.r.ArmSeen(x.r.Epoch())
	x.r.Acked(x.gen, x.log)
}

func (s *scenario) dial(x, peer *side) {
	switch {
	case s.cut:
	case peer == nil || peer.dead:
		x.r.Refused(x.r.Peer())
	default:
		h := x.r.Hello()
		h.Received = x.log
		switch a := peer.r.Greet(h); {
		case a.Refused():
			x.r.Refused(x.r.Peer())
		case a == AnswerResume:
			x.gen, peer.gen = x.gen+1, peer.gen+1
			x.conn = x.r.Connected(x.gen, min(x.log, peer.log))
			peer.conn = peer.r.Connected(peer.gen, min(x.log, peer.log))
			if primary := s.a(); primary.r.State() == Gated {
				s.deliverArm(primary)
			}
		}
	}
}

func (s *scenario) join(until string) {
	s.until = until
	b := &side{name: "b", gen: 1, conn: true}
	s.sides["b"] = b
	a := s.a()
	c := s.config("b")
	if got := a.r.Greet(Hello{VM: c.VM, Process: c.Self}); got != AnswerJoin {
		fmt.Fprintf(&s.out, "a answers %v\n", got)
		delete(s.sides, "b")
		return
	}
	a.gen, a.conn = a.gen+1, true
	b.r = NewBackup(c, a.r.NextEpoch(), process("a"), b.gen)
	a.r.Joined(a.gen, c.Self)
	s.settle()
	fmt.Fprintf(&s.out, "a is %v in epoch %d with %v, b is %v\n", a.r.State(), a.r.Epoch(), a.r.Number(), b.r.State())
}

func (s *scenario) closed() {
	for _, n := range []string{"a", "b"} {
		if x := s.sides[n]; x != nil && x.conn {
			x.conn = false
			if !x.dead {
				x.r.Closed(x.gen)
			}
		}
	}
}

func (s *scenario) tick() {
	a, b := s.a(), s.b()
	if b != nil && a.conn && b.conn && !s.cut {
		a.r.Heard(a.gen)
		b.r.Heard(b.gen)
	}
	for _, n := range []string{"a", "b"} {
		if x := s.sides[n]; x != nil && !x.dead {
			x.r.Tick()
		}
	}
	s.settle()
}

func (s *scenario) arbitrate(how string) {
	switch how {
	case "away":
		s.arbiter = false
		return
	case "back":
		s.arbiter = true
		return
	}
	order := []string{"a", "b"}
	if how == "first=b" {
		order = []string{"b", "a"}
	}
	for _, n := range order {
		x := s.sides[n]
		if x == nil || x.dead {
			continue
		}
		claims := x.claims
		x.claims = nil
		for _, c := range claims {
			res := s.testAndSet(c)
			if how == "unknown" {
				res = Unknown
			}
			x.r.ClaimResult(c.Cell.Epoch, res)
		}
	}
}

func (s *scenario) testAndSet(c Claim) Result {
	for _, x := range s.cells {
		if x.Cell == c.Cell {
			if x.By == c.By {
				return Won
			}
			return Lost
		}
	}
	s.cells = append(s.cells, c)
	return Won
}

func words(rd Ready) string {
	w := ""
	add := func(on bool, format string, args ...any) {
		if on {
			w += " " + fmt.Sprintf(format, args...)
		}
	}
	add(rd.Seal, "seal")
	if rd.Gate != nil {
		add(true, "gate=%v", rd.Gate.Mode)
		add(rd.Gate.Mode == GatePaired, "epoch=%d", rd.Gate.Epoch)
	}
	if rd.Seed != nil {
		add(true, "seed epoch=%d", rd.Seed.Epoch)
	}
	if rd.Resume != nil {
		add(true, "resume from=%d", rd.Resume.Received)
	}
	add(rd.AppendArm != 0, "append arm=%d", rd.AppendArm)
	add(rd.Drop, "drop")
	add(rd.Dial, "dial")
	add(rd.Ping, "ping")
	if rd.Claim != nil {
		add(true, "claim %v by %c", rd.Claim.Cell.Epoch, rd.Claim.By[0])
	}
	add(rd.Drain, "drain")
	if rd.Fence != nil {
		add(true, "fence %v", *rd.Fence)
	}
	add(rd.GoLive, "go-live")
	add(rd.Open, "open")
	add(rd.EndRun, "end-run")
	add(rd.Bye, "bye")
	add(rd.Halt, "halt")
	add(rd.Stop, "stop")
	return w
}
