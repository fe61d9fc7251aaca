package vm

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/internal/porttest"
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/jit"
)

// needJIT skips a test where the host has no JIT.
func needJIT(t *testing.T) {
	t.Helper()
	if _, err := jit.New(0); err != nil {
		t.Skip(err)
	}
}

// mixedPair runs the bare-metal guest on two replicas with engines of their own.
func mixedPair(t *testing.T, ofPrimary, ofBackup string) (primary, backup *running) {
	t.Helper()
	mc, dir := bareMetal(), t.TempDir()
	config := func(engine string) (Config, *events) {
		log := newEvents()
		return Config{
			Name: "bare", Machine: mc, Arbiter: filepath.Join(dir, "arbiter"), OnEvent: log.add,
			Engine: engine, digestEvery: 1_000_000,
		}, log
	}
	cfg, log := config(ofBackup)
	cfg.Listen = porttest.Address()
	b, err := Follow(cfg)
	if err != nil {
		t.Fatal(err)
	}
	backup = run(t, b, log)
	cfg, log = config(ofPrimary)
	cfg.Peer = b.Addr()
	p, err := PowerOn(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, p, log), backup
}

// Engines are no part of a State: a primary and a backup that have different
// ones agree on every digest (R5, R8).
func TestReplicasWithDifferentEnginesAgree(t *testing.T) {
	needJIT(t)
	for _, c := range [][2]string{{EngineJIT, EngineInterp}, {EngineInterp, EngineJIT}, {EngineAuto, EngineReference}} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			primary, backup := mixedPair(t, c[0], c[1])
			backup.until(t, "digests", func() bool { return backup.Status().Digests.Compared >= 5 })
			if got := backup.Status().Engine; got != c[1] {
				t.Errorf("the backup's engine is %q", got)
			}
			if got := primary.Status().Engine; got != c[0] && c[0] != EngineAuto || got == EngineAuto || got == "" {
				t.Errorf("the primary's engine is %q", got)
			}
			primary.cancel()
			primary.wait(t, Ended)
			backup.wait(t, Ended)
			if d := backup.Status().Digests.Different; d != 0 {
				t.Errorf("%d digests differ", d)
			}
		})
	}
}

// A snapshot that was saved on one engine goes on on another.
func TestSnapshotsMoveBetweenEngines(t *testing.T) {
	needJIT(t)
	mc := bareMetal()
	r := &Replica{cfg: Config{Machine: mc}}
	machineOn := func(engine string) machine.Machine {
		r.cfg.Engine = engine
		m, err := r.build(mc, machine.Birth{Clock: machine.Clock{Mul: 1 << 30}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ref := machineOn(EngineInterp)
	moved := machineOn(EngineJIT)
	for i := range 12 {
		ref.Run(ref.Icount() + 250_001)
		moved.Run(moved.Icount() + 250_001)
		if a, b := ref.Digest(), moved.Digest(); a != b {
			t.Fatalf("after %d moves the digests are %v and %v", i, a, b)
		}
		var state bytes.Buffer
		if err := moved.Save(&state); err != nil {
			t.Fatal(err)
		}
		moved = machineOn([]string{EngineInterp, EngineJIT}[i%2])
		if err := moved.Load(&state); err != nil {
			t.Fatal(err)
		}
	}
}

// Who asks for no engine is told once that it is the interpreter, and why.
func TestDeniedJITIsTold(t *testing.T) {
	for _, e := range []Engine{{Name: EngineJIT}, {Name: EngineInterp}} {
		if text := e.Slower(); text != "" {
			t.Errorf("of %s is told %q", e.Name, text)
		}
	}
	log := newEvents()
	r := &Replica{cfg: Config{OnEvent: log.add}, engine: Engine{Name: EngineInterp, Denied: errors.New("the weather")}}
	r.tellEngine()
	if len(log.list) != 1 || log.list[0].Kind != EventNote || !strings.Contains(log.list[0].Text, "the weather") {
		t.Errorf("told %+v", log.list)
	}
	if _, err := OpenEngine("magic"); err == nil || !strings.Contains(err.Error(), "auto, jit, interp and reference") {
		t.Errorf("an engine that is none: %v", err)
	}
	if _, err := newReplica(Config{Name: "x", Machine: bareMetal(), Engine: "magic"}); err == nil {
		t.Error("a replica on an engine that is none")
	}
}
