package board

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/boot"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// firmware is a flat binary of a bare-metal program for the start of RAM.
func firmware(body func(p *asm.Program)) []byte {
	p := asm.New(0x8000_0000)
	body(p)
	return p.Bytes()
}

// Firmware starts in machine mode as OpenSBI expects it, with nothing set up,
// and what it learns leads to the kernel; ecalls of the kernel are its own.
func TestFirmwareStartsFirst(t *testing.T) {
	cfg := testConfig(func(p *asm.Program) {
		say(p, "k")
		p.ECALL()
		say(p, "never")
	})
	cfg.Firmware = firmware(func(p *asm.Program) {
		p.MV(asm.S0, asm.A2)
		p.MV(asm.S1, asm.A1)
		p.LI(asm.T2, 0)
		sayIf(p, "hart", asm.A0, asm.T2, 'h', 'x')
		p.LI(asm.T2, 0xedfe0dd0)
		p.LWU(asm.S2, 0, asm.S1)
		sayIf(p, "tree", asm.S2, asm.T2, 't', 'x')
		for i, want := range []int64{0x4942534f, 2, imageBase, 1, 0, 0} {
			p.LI(asm.T2, want)
			p.LD(asm.S2, int64(i)*8, asm.S0)
			sayIf(p, "info "+string(rune('0'+i)), asm.S2, asm.T2, rune('0'+i), 'x')
		}
		for _, csr := range []asm.CSR{asm.MEDELEG, asm.MIDELEG, asm.MCOUNTEREN, asm.MIE} {
			p.CSRR(asm.S2, csr)
			p.BNEZ(asm.S2, "set up")
		}
		say(p, "m")
		p.Label("set up")
		p.LA(asm.T0, "handler")
		p.CSRW(asm.MTVEC, asm.T0)
		p.LI(asm.T0, 1<<11) // mstatus.MPP: supervisor
		p.CSRW(asm.MSTATUS, asm.T0)
		// All memory for everyone, if there is memory protection: NAPOT, RWX.
		p.LI(asm.T0, -1)
		p.CSRW(asm.CSR(rv64.PMPADDR0), asm.T0)
		p.LI(asm.T0, 0x1f)
		p.CSRW(asm.CSR(rv64.PMPCFG0), asm.T0)
		p.LD(asm.T0, 16, asm.S0)
		p.CSRW(asm.MEPC, asm.T0)
		p.MRET()
		p.Align(4)
		p.Label("handler")
		p.CSRR(asm.S2, asm.MCAUSE)
		p.LI(asm.T2, int64(rv64.EcallS))
		sayIf(p, "cause", asm.S2, asm.T2, 'e', 'x')
		store(p, 0x10_0000, 0x5555)
		p.Label("end")
		p.J("end")
	})
	b := newBoard(t, cfg)
	if text, end := drive(t, b, 2000); text != "ht012345mke" || end != machine.PoweredOff {
		t.Errorf("the guest wrote %q and ended %v", text, end)
	}
}

// A guest reset starts the firmware again, from a fresh copy.
func TestResetStartsFirmwareAgain(t *testing.T) {
	cfg := testConfig(func(p *asm.Program) { p.NOP() })
	cfg.Firmware = firmware(func(p *asm.Program) {
		p.LA(asm.T0, "counter")
		p.LBU(asm.T1, 0, asm.T0)
		p.ADDI(asm.T1, asm.T1, 1)
		p.SB(asm.T1, 0, asm.T0)
		p.CSRW(asm.MSCRATCH, asm.T1)
		p.SB(asm.Zero, 0, asm.A2) // OpenSBI spoils what it was told, too
		p.LI(asm.T2, 0x1000_0000)
		p.SB(asm.T1, 0, asm.T2)
		store(p, 0x10_0000, 0x7777)
		p.Label("counter")
		p.Byte('a')
	})
	b := newBoard(t, cfg)
	for range 3 {
		if got := b.Run(b.Icount() + 1000); got != machine.OutputReady {
			t.Fatalf("exit %v", got)
		}
		h := b.hart
		info, _ := b.ram.Load32(machine.GPA(h.X[12]))
		if h.PC != 0x8000_0000 || h.Priv != rv64.MachineMode || h.Mscratch != 0 || h.X[11] != uint64(b.layout.Tree) || info != 0x4942534f {
			t.Fatalf("after the reset: pc %#x, mode %d, mscratch %#x, info %#x", h.PC, h.Priv, h.Mscratch, info)
		}
	}
	if _, tail := b.ConsoleTail(0); string(tail) != "bbb" {
		t.Errorf("the firmware wrote %q", tail)
	}
}

// satp takes the modes up to the configured one, and no wider.
func TestSatpModes(t *testing.T) {
	for _, mmu := range []machine.MMU{machine.Sv39, machine.Sv48, machine.Sv57} {
		cfg := testConfig(func(p *asm.Program) {
			// An identity map at each level: the entry for RAM is a leaf of 1 GiB
			// under a chain of tables, the devices' one beside it.
			const table = scratch + 0x10_0000
			for level := range int64(2) { // the two upper levels of Sv57
				p.LI(asm.T0, table+level*0x1000)
				p.LI(asm.T1, (table+(level+1)*0x1000)>>2|1)
				p.SD(asm.T1, 0, asm.T0)
			}
			for _, giga := range []int64{0, 2} {
				p.LI(asm.T0, table+0x2000+giga*8)
				p.LI(asm.T1, giga<<28|0xcf)
				p.SD(asm.T1, 0, asm.T0)
			}
			for mode := int64(8); mode <= 10; mode++ {
				p.LI(asm.T0, mode<<1)
				p.SLLI(asm.T0, asm.T0, 59)
				p.LI(asm.T1, (table+(10-mode)*0x1000)>>12)
				p.OR(asm.S0, asm.T0, asm.T1)
				p.CSRW(asm.SATP, asm.S0)
				p.CSRR(asm.S1, asm.SATP)
				p.CSRW(asm.SATP, asm.Zero)
				sayIf(p, "mode "+string(rune('0'+mode)), asm.S0, asm.S1, 'y', 'n')
			}
			powerOff(p)
		})
		cfg.MMU = mmu
		want := "yyy"[:1+mmu] + "nnn"[:2-mmu]
		if text, _ := drive(t, newBoard(t, cfg), 1000); text != want {
			t.Errorf("%v: %s, want %s", mmu, text, want)
		}
	}
}

// linuxFirmware are the firmwares to boot Linux through: the files that
// LOCKSTEP_FIRMWARE names, separated by colons.
func linuxFirmware(t *testing.T) []string {
	t.Helper()
	list := filepath.SplitList(os.Getenv("LOCKSTEP_FIRMWARE"))
	if len(list) == 0 {
		const want = "LOCKSTEP_FIRMWARE names no firmware; give OpenSBI's fw_dynamic.bin and fw_jump.bin, separated by a colon"
		if os.Getenv("CI") == "true" && os.Getenv("LOCKSTEP_GUEST") != "" {
			t.Fatal(want)
		}
		t.Skip(want)
	}
	return list
}

// shellConfig is linuxConfig with a shell on the console, in a hurry.
func shellConfig(t *testing.T) *machine.Config {
	t.Helper()
	cfg := linuxConfig(t)
	cfg.Cmdline += " ipv6.disable=1 init_on_alloc=0 cryptomgr.notests initcall_blacklist=jent_mod_init lockstep.shell"
	return cfg
}

const (
	shellPrompt = "~ # "
	shellEnd    = 4_000_000_000
)

// sees asserts that the console shows all of the texts, in this order.
func sees(t *testing.T, b *Board, texts ...string) {
	t.Helper()
	_, tail := b.ConsoleTail(0)
	rest := string(tail)
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Fatalf("the console does not show %q at its place; it ends with %q", text, tail[max(0, len(tail)-800):])
		}
		rest = after
	}
}

// The stock kernel boots through stock firmware to a shell; a reset and the
// power-off go through the firmware's SRST to the syscon. And all of it does
// the same when it is cut, and without caches.
func TestLinuxBootsThroughFirmware(t *testing.T) {
	cfg := shellConfig(t)
	for i, path := range linuxFirmware(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c := *cfg
			var err error
			if c.Firmware, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
			c.MMU = machine.MMU(i % 3)
			w := newWorld(11, c.Disks)
			w.script = []exchange{
				{shellPrompt, "grep mmu /proc/cpuinfo; reboot -f\n"},
				{shellPrompt, "poweroff -f\n"},
			}
			b := newBoard(t, &c)
			log := record(t, b, w, shellEnd, 20_000_000)
			comesUp := []string{"OpenSBI", "Linux version", "Run /init", shellPrompt}
			sees(t, b, append(append(comesUp, "mmu", ": "+c.MMU.String()), comesUp...)...)
			if !b.off || b.resets != 1 {
				t.Fatalf("off: %v, resets: %d", b.off, b.resets)
			}
			b = nil // its memory
			replay(t, "cuts", newBoard(t, &c), log, randomCuts(t, &c, 12, 3_000_000, 100))
			ref, err := NewReference(&c, testBirth)
			if err != nil {
				t.Fatal(err)
			}
			first := 0
			for first < len(log) && log[first].pos < 60_000_000 {
				first++
			}
			replay(t, "reference", ref, log[:first], nil)
		})
	}
}

// The stock kernel finds what the device tree names, and uses it: with each
// width of translation it comes up with the widest, and its own text has been
// patched to the instructions of extensions.
func TestLinuxUsesTheTree(t *testing.T) {
	cfg := shellConfig(t)
	for _, mmu := range []machine.MMU{machine.Sv39, machine.Sv48, machine.Sv57} {
		t.Run(mmu.String(), func(t *testing.T) {
			c := *cfg
			c.MMU = mmu
			w := newWorld(11, c.Disks)
			w.script = []exchange{{shellPrompt, "cat /proc/cpuinfo; poweroff -f\n"}}
			b := newBoard(t, &c)
			record(t, b, w, shellEnd, 100_000_000)
			if !b.off {
				t.Error("the guest is not off")
			}
			sees(t, b, "Run /init", "isa", ": rv64imafdc_", "mmu", ": "+mmu.String())
			_, tail := b.ConsoleTail(0)
			_, info, _ := strings.Cut(string(tail), ": rv64imafdc_")
			info, _, _ = strings.Cut(info, "\n")
			info = "_" + strings.TrimSpace(info) + "_"
			for _, e := range boot.Extensions {
				// Kernels before 6.13 do not know Svadu.
				if len(e) > 1 && e != "svadu" && !strings.Contains(info, "_"+e+"_") {
					t.Errorf("the kernel does not show %s: %s", e, info)
				}
			}
			for name, n := range patched(t, b) {
				if n == 0 {
					t.Errorf("the kernel has not patched in any %s", name)
				}
			}
		})
	}
}

// patched counts instructions of extensions in the kernel's text that stand
// near a place where the text is not that of the image: an alternative that the
// kernel has chosen, or the branch to one.
func patched(t *testing.T, b *Board) map[string]int {
	t.Helper()
	image := b.cfg.Kernel
	text := make([]byte, len(image))
	if !b.ram.Read(b.layout.Kernel, text) {
		t.Fatal("the kernel is outside RAM")
	}
	const near = 256
	found := map[string]int{"cbo.zero": 0, "orc.b": 0, "sinval.vma": 0}
	for at := near; at+near <= len(text); at += 2 {
		name := ""
		switch is := binary.LittleEndian.Uint32(text[at:]); {
		case is&^(31<<15) == 4<<20|2<<12|0x0f:
			name = "cbo.zero"
		case is&^(31<<15|31<<20) == 0x0b<<25|0x73:
			name = "sinval.vma"
		case is&^(31<<15|31<<7) == 0x287<<20|5<<12|0x13:
			name = "orc.b"
		default:
			continue
		}
		if !bytes.Equal(text[at-near:at+near], image[at-near:at+near]) {
			found[name]++
		}
	}
	return found
}
