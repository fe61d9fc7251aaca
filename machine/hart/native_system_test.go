package hart_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/rv64/asm"
)

// systemWorld runs a small kernel that does at random what kernels do: it enters
// and leaves user mode, opens and closes critical sections and user memory, lets
// interrupts come, zeroes blocks, and fails at all of it now and then. Whatever
// traps is noted in S2 and followed by the next segment.
func systemWorld(seed uint64, opt hart.Options) *world {
	const (
		segments = 12
		mTrap    = base + 0x1000
		sTrap    = base + 0x2000
		kernel   = base + 0x10000 // segments, a page each
		user     = base + 0x40000
		data     = base + 0x60000
	)
	r := rand.New(rand.NewPCG(seed, 4))
	w := newWorld(opt)
	w.pageTables()
	for i := range uint64(segments) {
		w.leaf(userCode+i<<12, user+i<<12, pteV|pteR|pteX|pteU|pteA)
	}
	w.leaf(0x20000, data, pteV|pteR|pteW|pteU|pteA|pteD)
	w.leaf(0x21000, data+0x1000, pteV|pteX|pteA)
	note := func(p *asm.Program, registers ...asm.CSR) {
		p.LI(asm.T0, 0x61c88647)
		for _, c := range registers {
			p.CSRR(asm.T1, c)
			p.ADD(asm.S2, asm.S2, asm.T1)
			p.MUL(asm.S2, asm.S2, asm.T0)
		}
	}
	w.put(mTrap, func(p *asm.Program) {
		note(p, asm.MCAUSE, asm.MEPC, asm.MSTATUS, asm.MINSTRET)
		p.LI(asm.T1, int64(rv64.StatusMPP))
		p.CSRRC(asm.Zero, asm.MSTATUS, asm.T1)
		p.LI(asm.T1, int64(rv64.StatusSPP)<<3) // MPP is S
		p.CSRRS(asm.Zero, asm.MSTATUS, asm.T1)
		p.LI(asm.T1, int64(sTrap))
		p.CSRW(asm.MEPC, asm.T1)
		p.MRET()
	})
	w.put(sTrap, func(p *asm.Program) {
		note(p, asm.SCAUSE, asm.SEPC, asm.STVAL, asm.SSTATUS, asm.INSTRET, asm.SSCRATCH)
		p.CSRRCI(asm.Zero, asm.SIP, 2)
		p.ADDI(asm.S3, asm.S3, 1)
		p.LI(asm.T0, segments)
		p.BLT(asm.S3, asm.T0, "go on")
		p.LI(asm.S3, 0)
		p.Label("go on")
		p.SLLI(asm.T0, asm.S3, 12)
		p.LI(asm.T1, int64(kernel))
		p.ADD(asm.T0, asm.T0, asm.T1)
		p.JALR(asm.Zero, 0, asm.T0)
	})
	registers := []asm.CSR{asm.SSTATUS, asm.SSTATUS, asm.SSTATUS, asm.SSCRATCH, asm.SEPC, asm.SCAUSE, asm.STVAL}
	values := []uint64{
		0, rv64.StatusSIE, rv64.StatusSUM, rv64.StatusSPP, rv64.StatusSPIE, rv64.StatusFS, 1 << 13, rv64.StatusSUM | rv64.StatusSIE,
		rv64.StatusMXR, ^uint64(0), rv64.StatusSPIE | rv64.StatusSPP, userCode + 1,
	}
	anywhere := func() int64 { return []int64{int64(data), 0x20000}[r.IntN(2)] + 8*int64(r.IntN(2)) }
	operation := func(p *asm.Program) {
		c, to, from := registers[r.IntN(len(registers))], asm.Reg(r.IntN(2))*asm.A0, asm.T2
		p.LI(from, int64(values[r.IntN(len(values))]))
		small := uint(r.IntN(4)) * 2
		switch r.IntN(18) {
		case 0:
			p.CSRRW(to, c, from)
		case 1, 2:
			p.CSRRS(to, c, from)
		case 3, 4:
			p.CSRRC(to, c, from)
		case 5:
			p.CSRRWI(to, c, small)
		case 6:
			p.CSRRSI(to, c, small)
		case 7:
			p.CSRRCI(to, c, small)
		case 8:
			p.CSRR(asm.A0, c)
		case 9:
			p.CSRRSI(asm.Zero, asm.SIP, 2) // an interrupt, if enabled
		case 10:
			p.LI(asm.T3, 0x20000+0x1000*int64(r.IntN(2))+int64(r.IntN(64)))
			if r.IntN(2) == 0 {
				p.LD(asm.A0, 0, asm.T3)
			}
			p.SD(asm.S2, 8, asm.T3)
		case 11:
			p.LI(asm.T3, int64(data)+int64(r.IntN(128)))
			p.SD(asm.S2, 0, asm.T3)
			p.CBOZERO(asm.T3)
		case 12:
			p.SFENCEVMA(asm.Zero, asm.Zero)
		case 13:
			p.LI(asm.T3, anywhere())
			p.LRD(asm.A0, asm.T3)
		case 14:
			p.LI(asm.T3, anywhere())
			p.SCD(asm.A0, asm.S2, asm.T3)
		case 15, 16, 17:
			p.FADDD(1, 2, 1, 0)
		}
		p.ADD(asm.S2, asm.S2, asm.A0)
	}
	for i := range uint64(segments) {
		w.put(kernel+i<<12, func(p *asm.Program) {
			for range r.IntN(8) {
				operation(p)
			}
			p.LI(asm.T3, int64(userCode)+int64(r.IntN(segments))<<12)
			p.CSRW(asm.SEPC, asm.T3)
			if r.IntN(4) > 0 {
				p.LI(asm.T3, int64(rv64.StatusSPP))
				p.CSRRC(asm.Zero, asm.SSTATUS, asm.T3)
			}
			p.SRET()
		})
		w.put(user+i<<12, func(p *asm.Program) {
			for range r.IntN(3) {
				operation(p)
			}
			if r.IntN(8) == 0 {
				p.SRET()
			}
			p.ECALL()
		})
	}
	w.restart(sTrap, rv64.Supervisor)
	w.Satp = 8<<60 | rootTable>>12
	w.Mtvec, w.Stvec = mTrap, sTrap
	w.Medeleg, w.Mideleg, w.Mie = 0xb3ff, 1<<rv64.SSIP, 1<<rv64.SSIP
	if r.IntN(4) == 0 {
		w.Medeleg &^= 1 << rv64.EcallU
	}
	w.Mcounteren = 7
	w.Mcountinhibit = uint64(r.IntN(2)) * hart.InhibitInstret
	w.F[1], w.F[2] = math.Float64bits(1), math.Float64bits(0.1)
	w.Menvcfg |= rv64.EnvCBCFE
	w.Menvcfg |= uint64(r.IntN(4)/3^1) * rv64.EnvCBZE
	w.Mstatus |= []uint64{0, 0, 0, rv64.StatusTVM, rv64.StatusTSR}[r.IntN(5)]
	return w
}

// What kernels do with CSRs, traps and critical sections leads to the same State
// in translated code as in the reference, wherever it is cut.
func TestTranslatedSystemCodeIsInvisible(t *testing.T) {
	const end = 8000
	seeds := uint64(60)
	if testing.Short() {
		seeds = 15
	}
	causes := map[string]bool{}
	for seed := range seeds {
		native, ref := systemWorld(seed, translated(t, 1)), systemWorld(seed, hart.Options{NoCache: true})
		r := rand.New(rand.NewPCG(seed, 5))
		for native.Icount < end {
			next := native.Icount + 1 + machine.Icount(r.IntN(1<<r.IntN(12)))
			native.advance(next)
			ref.advance(next)
			if native.state() != ref.state() {
				t.Fatalf("seed %d: at position %d the states differ; pages %v\n%s", seed, next, differing(native.ram, ref.ram), differingRegisters(native, ref))
			}
			causes[fmt.Sprint("S", ref.Scause)] = true
			causes[fmt.Sprint("M", ref.Mcause)] = true
		}
	}
	for _, c := range []string{"S8", "M8", "S2", "S13", "S15", fmt.Sprint("S", rv64.CauseInterrupt|uint64(rv64.SSIP))} {
		if !causes[c] {
			t.Errorf("no trap with cause %s was among those seen: %v", c, causes)
		}
	}
}
