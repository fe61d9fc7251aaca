package amd64

import (
	"github.com/lockstep-vm/lockstep/machine/hart"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// Layout is where translated code finds the fields of hart.Core, as
// displacements from the register that points to it.
type Layout struct {
	X, F                               int32
	Fflags, FlagsOf                    int32
	PC, Page, Budget, Site             int32
	Float, MXCSR, Entry                int32
	DataContext, FetchContext          int32
	FetchHash                          int32
	RAM, Reserved, Reservation         int32
	Near, NearPatience, NearUsed       int32
	ReadTLB, WriteTLB, FetchTLB, Jumps int32
	JumpPC, JumpCode, JumpNative       int32
	TLBDelta, FetchCode                int32
	Priv, Pending                      int32
	Mstatus, Medeleg, Menvcfg          int32
	Mcountinhibit, Instret             int32
	Stvec, Sscratch, Sepc              int32
	Scause, Stval                      int32
	TLBShift, JumpShift                uint8 // log2 of the size of an entry
}

// Registers with fixed meaning. Guest registers in hosts keep their places
// from block to block.
const (
	core   = RBX
	budget = R14
)

// pinned has the host registers of guest registers; RSP is none.
var pinned = func() (p [32]Reg) {
	for i := range p {
		p[i] = RSP
	}
	p[1], p[2], p[8], p[9] = R15, RBP, R12, R13
	p[10], p[11], p[12], p[13], p[14], p[15] = RSI, RDI, R8, R9, R10, R11
	return p
}()

// Emitter translates blocks.
type Emitter struct {
	assembler
	at Layout
	// Vector: the host has AVX and fused multiply-add; Counts: it has LZCNT,
	// TZCNT and POPCNT.
	Vector, Counts bool
	// Offsets in the arena of the code that brings in what Core has, that leaves,
	// and that leaves with a target in RAX.
	enter, exit, miss int

	// Of the block at hand.
	s      *hart.Source
	origin int // its offset in the arena
	cold   []cold
	float  bool       // the unit is known to be on
	resume [64]uint64 // where code goes on behind each instruction that leaves
	group  *group     // the group whose hot code is emitted; nil outside
	loop   bool       // the block ends with a jump to its beginning
	near   int32      // the next place for an entry of Near
	boxed  uint32     // registers that are known to hold a boxed single
}

// A label is where jumps go that are emitted before it: their positions.
type label struct{ from []int }

// add makes the jump at a position go to the label.
func (t *label) add(at int) { t.from = append(t.from, at) }

// A cold is code out of line: what jumps to it, and what it does. Nothing is
// emitted if nothing jumps there.
type cold struct {
	*label
	emit func()
}

// New is an emitter for code that lies in an arena; the routines that every
// block uses are emitted to its beginning.
func New(at Layout) *Emitter { return &Emitter{at: at} }

// Routines is the code that the arena begins with.
func (e *Emitter) Routines() []byte {
	e.buf = e.buf[:0]
	e.enter = e.pos()
	e.op(0, l, []byte{0x0f, 0xae}, 2, e.field(e.at.MXCSR), false) // ldmxcsr
	e.aluImm(aluCMP, l, e.field(e.at.Float), floatLoaded)
	at := e.jcc(condNE)
	e.eachPinnedF(func(r uint8, x XMM) { e.vLoad(x, e.f(r)) })
	e.land(at)
	for x, r := range pinned {
		if r != RSP {
			e.mov(q, r, e.x(uint8(x)))
		}
	}
	e.mov(q, budget, e.field(e.at.Budget))
	e.jmpTo(e.field(e.at.Entry))

	e.miss = e.pos()
	e.movTo(q, e.field(e.at.PC), RAX)
	e.movImm32(e.field(e.at.Site), 0)
	e.exit = e.pos()
	for x, r := range pinned {
		if r != RSP {
			e.movTo(q, e.x(uint8(x)), r)
		}
	}
	e.movTo(q, e.field(e.at.Budget), budget)
	e.aluImm(aluCMP, l, e.field(e.at.Float), floatLoaded)
	at = e.jcc(condNE)
	e.eachPinnedF(func(r uint8, x XMM) { e.vStore(e.f(r), x) })
	e.land(at)
	e.op(0, l, []byte{0x0f, 0xae}, 3, e.field(e.at.MXCSR), false) // stmxcsr
	e.ret()
	return e.buf
}

// eachPinnedF calls f for the floating-point registers that are kept in the host's.
func (e *Emitter) eachPinnedF(f func(r uint8, x XMM)) {
	for r, x := range pinnedF {
		if x != 0 {
			f(uint8(r), x)
		}
	}
}

// Enter is the offset of the routine that begins at Core.Entry.
func (e *Emitter) Enter() int { return e.enter }

// Miss is the offset of the routine that leaves with a target in RAX.
func (e *Emitter) Miss() int { return e.miss }

func (e *Emitter) field(off int32) operand { return mem(core, off) }

// x is the memory of a guest register.
func (e *Emitter) x(r uint8) operand { return mem(core, e.at.X+8*int32(r)) }

// g is where a guest register other than x0 is kept.
func (e *Emitter) g(r uint8) operand {
	if p := pinned[r&31]; p != RSP {
		return reg(p)
	}
	return e.x(r)
}

// load brings a guest register into a host register.
func (e *Emitter) load(dst Reg, r uint8) {
	if r == 0 {
		e.movImm(reg(dst), 0)
		return
	}
	e.mov(q, dst, e.g(r))
}

// in is a host register that has the guest register's value: its own, or the
// scratch register after a load.
func (e *Emitter) in(r uint8, scratch Reg) Reg {
	if p := pinned[r&31]; p != RSP {
		return p
	}
	e.load(scratch, r)
	return scratch
}

// out is the host register to compute rd in, which done then puts in its place.
func (e *Emitter) out(rd uint8, scratch Reg) Reg {
	if p := pinned[rd&31]; p != RSP {
		return p
	}
	return scratch
}

func (e *Emitter) done(rd uint8, r Reg) {
	switch {
	case rd == 0:
	case pinned[rd&31] == RSP:
		e.movTo(q, e.x(rd), r)
	case pinned[rd&31] != r:
		e.mov(q, pinned[rd&31], reg(r))
	}
}

// later emits code out of line at a label.
func (e *Emitter) later(at *label, emit func()) { e.cold = append(e.cold, cold{at, emit}) }

// jump is a label with one jump to it.
func jump(at int) *label { return &label{from: []int{at}} }

// site adds a site and is its number.
func (e *Emitter) site(s hart.Site) uint32 {
	e.s.Sites = append(e.s.Sites, s)
	return uint32(len(e.s.Sites) - 1)
}

// leave emits the way out at a site.
func (e *Emitter) leave(s hart.Site) {
	e.movImm32(e.field(e.at.Site), e.site(s))
	at := e.jmp()
	e.aim(at, e.exit-e.origin)
}

// Block translates a block into code for the given offset in the arena. The
// sites' Resume are offsets in the arena, as is the Entry.
func (e *Emitter) Block(s *hart.Source, origin int) []byte {
	e.buf, e.cold = e.buf[:0], e.cold[:0]
	e.s, e.origin = s, origin
	e.float, e.boxed = false, 0
	last := &s.Insts[len(s.Insts)-1]
	e.loop = last.Op >= rv64.BEQ && last.Op <= rv64.JAL && last.Imm == 0
	s.Entry = uint64(origin)

	if s.Second != 0 {
		e.guard(s)
	}
	e.aluImm(aluSUB, q, reg(budget), int32(len(s.Insts)))
	e.later(jump(e.jcc(condS)), func() {
		e.aluImm(aluADD, q, reg(budget), int32(len(s.Insts)))
		e.mov(q, RAX, e.field(e.at.Page))
		if s.Start != 0 {
			e.aluImm(aluADD, q, reg(RAX), int32(s.Start))
		}
		e.movTo(q, e.field(e.at.PC), RAX)
		e.leave(hart.Site{Kind: hart.SiteBudget})
	})
	ended := false
	for i := 0; i < len(s.Insts); {
		in := &s.Insts[i]
		if in.Op.EndsBlock() {
			e.end(in, i)
			ended = true
			break
		}
		if g, n := e.groupAt(i); n > 0 {
			e.emitGroup(g, i, n)
			i += n
			continue
		}
		i += e.instOrPair(i)
	}
	if !ended {
		e.goTo(int64(s.Start + s.Bytes))
	}
	for i := 0; i < len(e.cold); i++ {
		c := e.cold[i]
		for _, from := range c.from {
			e.land(from)
		}
		if len(c.from) > 0 {
			c.emit()
		}
	}
	return e.buf
}

// guard leaves for a block to be looked for unless the code from which this one
// was made lies in the next page.
func (e *Emitter) guard(s *hart.Source) {
	at := &e.at
	e.mov(q, RAX, e.field(at.Page))
	e.aluImm(aluADD, q, reg(RAX), pageSize)
	e.fetchEntry()
	e.alu(aluOR, q, RAX, e.field(at.FetchContext))
	e.alu(aluCMP, q, RAX, memIndex(core, RCX, at.FetchTLB))
	other := jump(e.jcc(condNE))
	e.movImm(reg(RAX), int64(s.Second))
	e.alu(aluCMP, q, RAX, memIndex(core, RCX, at.FetchTLB+at.FetchCode))
	other.add(e.jcc(condNE))
	e.later(other, func() {
		e.mov(q, RAX, e.field(at.Page))
		e.aluImm(aluADD, q, reg(RAX), int32(s.Start))
		e.aim(e.jmp(), e.miss-e.origin)
	})
}

// fetchEntry computes in RCX where the address in RAX has its entry in FetchTLB,
// with RDX as scratch.
func (e *Emitter) fetchEntry() {
	e.mov(l, RCX, reg(RAX))
	e.mov(q, RDX, reg(RAX))
	e.shiftImm(shiftSHR, l, reg(RCX), 12-e.at.TLBShift)
	e.shiftImm(shiftSHR, q, reg(RDX), hart.FetchFold-e.at.TLBShift)
	e.alu(aluXOR, l, RCX, reg(RDX))
	e.alu(aluXOR, l, RCX, e.field(e.at.FetchHash))
	e.aluImm(aluAND, l, reg(RCX), (hart.TLBSize-1)<<e.at.TLBShift)
}

// goTo goes on at an offset from the page, which may lie in another.
func (e *Emitter) goTo(target int64) {
	at := -1
	if target >= 0 && target < pageSize {
		at = e.jmp()
	}
	e.arrive(target, at)
}

// arrive makes the jump at a position go to an offset from the page. Within
// the page it goes there directly once it has been linked.
func (e *Emitter) arrive(target int64, at int) {
	if target >= 0 && target < pageSize {
		e.later(jump(at), func() {
			e.leave(hart.Site{Kind: hart.SiteLink, To: uint16(target), Resume: uint64(e.origin + at)})
		})
		return
	}
	far := func() {
		e.mov(q, RAX, e.field(e.at.Page))
		e.aluImm(aluADD, q, reg(RAX), int32(target))
		e.dispatch()
	}
	if at < 0 {
		far()
	} else {
		e.later(jump(at), far)
	}
}

const pageSize = 4096

// dispatch goes on at the virtual address in RAX if Jumps knows the way.
func (e *Emitter) dispatch() {
	at := &e.at
	e.fetchEntry()
	e.mov(q, RDX, reg(RAX))
	e.aluImm(aluAND, q, reg(RDX), -pageSize)
	e.alu(aluOR, q, RDX, e.field(at.FetchContext))
	e.alu(aluCMP, q, RDX, memIndex(core, RCX, at.FetchTLB))
	unmapped := e.jcc(condNE)
	e.mov(q, RDX, memIndex(core, RCX, at.FetchTLB+at.FetchCode))
	e.mov(l, RCX, reg(RAX))
	e.shiftImm(shiftSHL, l, reg(RCX), at.JumpShift-1)
	e.aluImm(aluAND, l, reg(RCX), (hart.JumpSize-1)<<at.JumpShift)
	e.alu(aluCMP, q, RAX, memIndex(core, RCX, at.Jumps+at.JumpPC))
	elsewhere := e.jcc(condNE)
	e.alu(aluCMP, q, RDX, memIndex(core, RCX, at.Jumps+at.JumpCode))
	other := e.jcc(condNE)
	e.mov(q, RDX, reg(RAX))
	e.aluImm(aluAND, q, reg(RDX), -pageSize)
	e.movTo(q, e.field(at.Page), RDX)
	e.jmpTo(memIndex(core, RCX, at.Jumps+at.JumpNative))
	for _, from := range []int{unmapped, elsewhere, other} {
		e.aim(from, e.miss-e.origin)
	}
}

// step leaves for one instruction and comes back behind it.
func (e *Emitter) step(i int) { e.stepAt(i, jump(e.jmp())) }

// stepAt does so for those who jump to the label; everyone else goes on.
func (e *Emitter) stepAt(i int, at *label) {
	e.behind(i)
	e.later(at, func() { e.leaveFor(hart.SiteStep, i) })
}

// behind notes that an instruction has been emitted: there code goes on after
// the hart has executed it.
func (e *Emitter) behind(i int) { e.resume[i] = uint64(e.origin + e.pos()) }

// leaveFor leaves for one instruction.
func (e *Emitter) leaveFor(kind hart.SiteKind, i int) {
	e.leave(hart.Site{Kind: kind, Index: uint8(i), Resume: e.resume[i]})
}

// end translates the last instruction of a block.
func (e *Emitter) end(in *rv64.Inst, i int) {
	start := int64(e.s.Start)
	next := start + int64(e.s.Bytes)
	switch in.Op {
	case rv64.BEQ, rv64.BNE, rv64.BLT, rv64.BGE, rv64.BLTU, rv64.BGEU:
		c := e.compare(in)
		at := e.jcc(c)
		e.arrive(start+int64(in.Imm), at)
		e.goTo(next)
	case rv64.JAL:
		e.link(in.Rd, next)
		e.goTo(start + int64(in.Imm))
	case rv64.JALR:
		e.load(RAX, in.Rs1)
		if in.Imm != 0 {
			e.aluImm(aluADD, q, reg(RAX), in.Imm)
		}
		e.aluImm(aluAND, q, reg(RAX), -2)
		e.link(in.Rd, next)
		e.dispatch()
	default:
		if !e.system(in, i, next) {
			e.leave(hart.Site{Kind: hart.SiteEnd, Index: uint8(i)})
		}
	}
}

// compare sets the host's flags for a branch; the condition is that it is taken.
func (e *Emitter) compare(in *rv64.Inst) cond {
	c := map[rv64.Op]cond{rv64.BEQ: condE, rv64.BNE: condNE, rv64.BLT: condL, rv64.BGE: condGE, rv64.BLTU: condB, rv64.BGEU: condAE}[in.Op]
	switch {
	case in.Rs2 == 0 && in.Rs1 != 0:
		if p := pinned[in.Rs1]; p != RSP {
			e.test(q, reg(p), p)
		} else {
			e.aluImm(aluCMP, q, e.x(in.Rs1), 0)
		}
	default:
		a := e.in(in.Rs1, RAX)
		if in.Rs2 == 0 {
			e.test(q, reg(a), a)
		} else {
			e.alu(aluCMP, q, a, e.g(in.Rs2))
		}
	}
	return c
}

// link sets rd to an offset from the page. RAX is kept.
func (e *Emitter) link(rd uint8, off int64) {
	if rd == 0 {
		return
	}
	d := e.out(rd, RCX)
	e.mov(q, d, e.field(e.at.Page))
	if off != 0 {
		e.aluImm(aluADD, q, reg(d), int32(off))
	}
	e.done(rd, d)
}
