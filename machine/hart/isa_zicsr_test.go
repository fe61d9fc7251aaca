package hart_test

import (
	"testing"

	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// Unprivileged specification, chapter 6: read, write, set and clear.
func TestZicsr(t *testing.T) {
	const old = 0xff00ff00ff00ff00
	for _, r := range []struct {
		name     string
		code     func(p *asm.Program)
		rd, want uint64 // A0 and mscratch
	}{
		{"csrrw", func(p *asm.Program) { p.CSRRW(asm.A0, asm.MSCRATCH, asm.A1) }, old, 0x0ff0},
		{"csrrw x0 writes", func(p *asm.Program) { p.CSRRW(asm.Zero, asm.MSCRATCH, asm.A1) }, 42, 0x0ff0},
		{"csrrw from x0 writes zero", func(p *asm.Program) { p.CSRRW(asm.A0, asm.MSCRATCH, asm.Zero) }, old, 0},
		{"csrrs", func(p *asm.Program) { p.CSRRS(asm.A0, asm.MSCRATCH, asm.A1) }, old, 0xff00ff00ff00fff0},
		{"csrrs x0 reads", func(p *asm.Program) { p.CSRRS(asm.A0, asm.MSCRATCH, asm.Zero) }, old, old},
		{"csrrc", func(p *asm.Program) { p.CSRRC(asm.A0, asm.MSCRATCH, asm.A1) }, old, 0xff00ff00ff00f000},
		{"csrrwi", func(p *asm.Program) { p.CSRRWI(asm.A0, asm.MSCRATCH, 31) }, old, 31},
		{"csrrwi 0 writes", func(p *asm.Program) { p.CSRRWI(asm.A0, asm.MSCRATCH, 0) }, old, 0},
		{"csrrsi", func(p *asm.Program) { p.CSRRSI(asm.A0, asm.MSCRATCH, 5) }, old, old | 5},
		{"csrrci 0 reads", func(p *asm.Program) { p.CSRRCI(asm.A0, asm.MSCRATCH, 0) }, old, old},
		{"csrrci", func(p *asm.Program) { p.CSRRCI(asm.A0, asm.MSCRATCH, 31) }, old, old &^ 31},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			w.Mscratch = old
			w.X[asm.A0], w.X[asm.A1] = 42, 0x0ff0
			w.steps(t, 1)
			if w.X[asm.A0] != r.rd || w.Mscratch != r.want {
				t.Errorf("rd %#x, mscratch %#x; want %#x, %#x", w.X[asm.A0], w.Mscratch, r.rd, r.want)
			}
		})
	}
	eachRow(t, "rd is rs1", func(t *testing.T, opt hart.Options) {
		w := isaWorld(opt, func(p *asm.Program) { p.CSRRW(asm.A0, asm.MSCRATCH, asm.A0) })
		w.X[asm.A0], w.Mscratch = 7, 9
		w.steps(t, 1)
		if w.X[asm.A0] != 9 || w.Mscratch != 7 {
			t.Errorf("no swap: %d, %d", w.X[asm.A0], w.Mscratch)
		}
	})
}

// Which accesses are illegal, by mode.
func TestZicsrAccess(t *testing.T) {
	const u, s, m = rv64.User, rv64.Supervisor, rv64.MachineMode
	read := func(c asm.CSR) func(p *asm.Program) {
		return func(p *asm.Program) { p.CSRRS(asm.A0, c, asm.Zero) }
	}
	for _, r := range []struct {
		name  string
		priv  uint8
		code  func(p *asm.Program)
		set   func(w *world)
		legal bool
	}{
		{"machine register in S", s, read(asm.MSTATUS), nil, false},
		{"machine register in M", m, read(asm.MSTATUS), nil, true},
		{"supervisor register in U", u, read(asm.SSTATUS), nil, false},
		{"supervisor register in M", m, read(asm.SEPC), nil, true},
		{"read-only register is read", m, read(asm.MHARTID), nil, true},
		{"read-only register is written", m, func(p *asm.Program) { p.CSRRW(asm.Zero, asm.MHARTID, asm.Zero) }, nil, false},
		{"read-only register: set nothing", m, func(p *asm.Program) { p.CSRRSI(asm.A0, asm.MVENDORID, 0) }, nil, true},
		{"read-only register: set something", m, func(p *asm.Program) { p.CSRRSI(asm.A0, asm.MVENDORID, 1) }, nil, false},
		{"no such register", m, read(0x7c0), nil, false},
		{"no such register in U", u, read(0x800), nil, false},
		{"fcsr in U", u, read(asm.FCSR), nil, true},
		{"cycle in U, closed by both", u, read(asm.CYCLE), nil, false},
		{"cycle in U, closed by scounteren", u, read(asm.CYCLE), func(w *world) { w.Mcounteren = 1 }, false},
		{"cycle in U, open", u, read(asm.CYCLE), func(w *world) { w.Mcounteren, w.Scounteren = 1, 1 }, true},
		{"time in S, open", s, read(asm.TIME), func(w *world) { w.Mcounteren = 2 }, true},
		{"time in S, closed", s, read(asm.TIME), func(w *world) { w.Mcounteren = 5 }, false},
		{"satp in S", s, read(asm.SATP), nil, true},
		{"satp in S under TVM", s, read(asm.SATP), func(w *world) { w.Mstatus |= rv64.StatusTVM }, false},
		{"satp in M under TVM", m, read(asm.SATP), func(w *world) { w.Mstatus |= rv64.StatusTVM }, true},
		{"stimecmp in S without STCE", s, read(asm.STIMECMP), func(w *world) { w.Mcounteren = 2 }, false},
		{"stimecmp in S", s, read(asm.STIMECMP), func(w *world) { w.Mcounteren = 2; w.Menvcfg |= rv64.EnvSTCE }, true},
		{"sfence.vma in S", s, func(p *asm.Program) { p.SFENCEVMA(asm.Zero, asm.Zero) }, nil, true},
		{"sfence.vma in S under TVM", s, func(p *asm.Program) { p.SFENCEVMA(asm.Zero, asm.Zero) }, func(w *world) { w.Mstatus |= rv64.StatusTVM }, false},
		{"sfence.vma in U", u, func(p *asm.Program) { p.SFENCEVMA(asm.Zero, asm.Zero) }, nil, false},
		{"sinval.vma in S", s, func(p *asm.Program) { p.SINVALVMA(asm.Zero, asm.Zero) }, nil, true},
		{"sinval.vma in S under TVM", s, func(p *asm.Program) { p.SINVALVMA(asm.Zero, asm.Zero) }, func(w *world) { w.Mstatus |= rv64.StatusTVM }, false},
		{"sinval.vma in U", u, func(p *asm.Program) { p.SINVALVMA(asm.Zero, asm.Zero) }, nil, false},
		{"sinval.vma in M under TVM", m, func(p *asm.Program) { p.SINVALVMA(asm.Zero, asm.Zero) }, func(w *world) { w.Mstatus |= rv64.StatusTVM }, true},
		{"sfence.w.inval in S under TVM", s, func(p *asm.Program) { p.SFENCEWINVAL() }, func(w *world) { w.Mstatus |= rv64.StatusTVM }, true},
		{"sfence.w.inval in U", u, func(p *asm.Program) { p.SFENCEWINVAL() }, nil, false},
		{"sfence.inval.ir in S under TVM", s, func(p *asm.Program) { p.SFENCEINVALIR() }, func(w *world) { w.Mstatus |= rv64.StatusTVM }, true},
		{"sfence.inval.ir in U", u, func(p *asm.Program) { p.SFENCEINVALIR() }, nil, false},
		{"wrs.nto in S under TW", s, func(p *asm.Program) { p.WRSNTO() }, func(w *world) { w.Mstatus |= rv64.StatusTW }, true},
		{"wrs.nto in U under TW", u, func(p *asm.Program) { p.WRSNTO() }, func(w *world) { w.Mstatus |= rv64.StatusTW }, true},
		{"wrs.sto in U", u, func(p *asm.Program) { p.WRSSTO() }, nil, true},
		{"wfi in U", u, func(p *asm.Program) { p.WFI() }, nil, false},
		{"hpmcounter3 in M", m, read(0xc03), nil, true},
		{"hpmcounter3 in S", s, read(0xc03), func(w *world) { w.Mcounteren = 7 }, false},
		{"mhpmcounter31 in M", m, read(0xb1f), nil, true},
		{"mhpmevent3 in M", m, read(0x323), nil, true},
		{"mhpmcounter2 does not exist", m, read(0xb01), nil, false},
		{"mseccfg does not exist", m, read(0x747), nil, false},
		{"mstateen0 does not exist", m, read(0x30c), nil, false},
		{"hypervisor's register in S", s, read(0x600), nil, false},
		{"sret in S under TSR", s, func(p *asm.Program) { p.SRET() }, func(w *world) { w.Mstatus |= rv64.StatusTSR }, false},
		{"sret in U", u, func(p *asm.Program) { p.SRET() }, nil, false},
		{"mret in S", s, func(p *asm.Program) { p.MRET() }, nil, false},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, r.code)
			if r.set != nil {
				r.set(w)
			}
			w.become(r.priv)
			w.X[asm.A0] = 42
			w.steps(t, 1)
			switch {
			case r.legal && w.trapped() != noTrap:
				t.Errorf("trapped with cause %d", w.trapped())
			case !r.legal && (w.trapped() != rv64.IllegalInstruction || w.X[asm.A0] != 42 || w.Mtval == 0):
				t.Errorf("cause %d, rd %d, mtval %#x; want an illegal instruction", w.trapped(), w.X[asm.A0], w.Mtval)
			}
		})
	}
}

// become sets the mode, as an MRET would.
func (w *world) become(priv uint8) {
	pc := w.PC
	w.put(base+0x3000, func(p *asm.Program) { p.MRET() })
	w.PC, w.Priv, w.Mepc = base+0x3000, rv64.MachineMode, pc
	w.Mstatus = w.Mstatus&^rv64.StatusMPP | uint64(priv)<<11
	w.Run(w.Icount + 1)
}

// Fields that a write cannot give any value.
func TestZicsrWARL(t *testing.T) {
	for _, r := range []struct {
		name  string
		csr   asm.CSR
		write uint64
		want  uint64
	}{
		{"mepc has bit 0 clear", asm.MEPC, ones, ones - 1},
		{"sepc has bit 0 clear", asm.SEPC, 0x1003, 0x1002},
		{"mtvec has no mode 2", asm.MTVEC, 0x1003, 0x1001},
		{"mstatus.MPP has no mode 2", asm.MSTATUS, 2 << 11, 2<<32 | 2<<34},
		{"mstatus.UXL and SXL are 2, SD follows FS", asm.MSTATUS, 3<<13 | 1<<32, 1<<63 | 2<<32 | 2<<34 | 3<<13},
		{"sstatus shows its part", asm.SSTATUS, ones, 1<<63 | 2<<32 | 3<<18 | 3<<13 | 1<<8 | 1<<5 | 1<<1},
		{"medeleg cannot delegate calls from M", asm.MEDELEG, ones, 0xb3ff},
		{"mideleg is of the supervisor's interrupts", asm.MIDELEG, ones, 0x222},
		{"mie", asm.MIE, ones, 0xaaa},
		{"fflags", asm.FFLAGS, ones, 31},
		{"frm", asm.FRM, ones, 7},
		{"fcsr", asm.FCSR, ones, 255},
		{"misa is fixed", asm.MISA, 0, 2<<62 | 0x14112f},
		{"menvcfg", asm.MENVCFG, ones, 1<<63 | 1<<61 | 1<<7 | 1<<6 | 3<<4 | 1},
		{"menvcfg.CBIE flushes", asm.MENVCFG, 1 << 4, 1 << 4},
		{"menvcfg.CBIE has no value 2: it stays", asm.MENVCFG, 2<<4 | 1, 1},
		{"senvcfg", asm.SENVCFG, ones, 1<<7 | 1<<6 | 3<<4 | 1},
		{"senvcfg.CBIE has no value 2: it stays", asm.SENVCFG, 2<<4 | 1, 1},
		{"mcounteren", asm.MCOUNTEREN, ones, 7},
		{"scounteren", asm.SCOUNTEREN, ones, 7},
		{"mcountinhibit", asm.MCOUNTINHIBIT, ones, 5},
		{"mip: lines and timers are not written", asm.MIP, ones, 0x222},
		{"stvec has no mode 2", asm.STVEC, 0x1003, 0x1001},
		{"satp without a mode that there is: the write is void", asm.SATP, 5 << 60, 0},
		{"satp of Sv39", asm.SATP, 8<<60 | 0xffff<<44 | 1, 8<<60 | 0xffff<<44 | 1},
	} {
		eachRow(t, r.name, func(t *testing.T, opt hart.Options) {
			w := isaWorld(opt, func(p *asm.Program) {
				p.CSRRW(asm.Zero, r.csr, asm.A1)
				p.CSRRS(asm.A0, r.csr, asm.Zero)
			})
			w.X[asm.A1] = r.write
			w.steps(t, 2)
			if w.X[asm.A0] != r.want {
				t.Errorf("%#x reads as %#x, want %#x (cause %d)", r.write, w.X[asm.A0], r.want, w.trapped())
			}
		})
	}
}
