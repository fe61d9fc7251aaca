package amd64

import "github.com/lockstep-vm/lockstep/machine/rv64"

// A group is a run of instructions whose accesses have one base register that
// none of them writes. One look-up, of the bytes from the lowest access to the
// end of the highest, serves them all: it leaves the host's address of the
// lowest in RDX, which the code in between keeps.
//
// If those bytes do not lie in one page that the table knows, the instructions
// are executed one by one by code out of line. There, too, code goes on that has
// left from the middle of a group.
type group struct {
	low, high int32 // offsets from the base: the first byte, and behind the last
	writes    bool
}

// maxGroup bounds the code that is emitted twice, in instructions.
const maxGroup = 24

// sizeOf is how many bytes a load or store accesses; 0 for anything else.
func sizeOf(op rv64.Op) int32 {
	switch op {
	case rv64.LB, rv64.LBU, rv64.SB:
		return 1
	case rv64.LH, rv64.LHU, rv64.SH:
		return 2
	case rv64.LW, rv64.LWU, rv64.SW, rv64.FLW, rv64.FSW:
		return 4
	case rv64.LD, rv64.SD, rv64.FLD, rv64.FSD:
		return 8
	}
	return 0
}

func writesMemory(op rv64.Op) bool {
	return op >= rv64.SB && op <= rv64.SD || op == rv64.FSW || op == rv64.FSD
}

// keepsRDX says whether the code of an instruction leaves RDX alone.
func keepsRDX(op rv64.Op) bool {
	switch {
	case op <= rv64.SRAW, op == rv64.MUL, op == rv64.MULW, op == rv64.FENCE:
		return true
	case op.BitManip():
		return op != rv64.CZEROEQZ && op != rv64.CZERONEZ && op != rv64.ORCB
	}
	return op >= rv64.FADDS
}

// writesX says whether an instruction writes an x register.
func writesX(in *rv64.Inst, r uint8) bool {
	if in.Rd != r {
		return false
	}
	switch op := in.Op; {
	case writesMemory(op), op == rv64.FLW, op == rv64.FLD:
		return false
	case op >= rv64.FADDS:
		return intResult(op)
	}
	return true
}

// intResult says whether an operation of F or D writes an x register.
func intResult(op rv64.Op) bool {
	switch op {
	case rv64.FCVTWS, rv64.FCVTWUS, rv64.FCVTLS, rv64.FCVTLUS, rv64.FMVXW, rv64.FEQS, rv64.FLTS, rv64.FLES, rv64.FCLASSS,
		rv64.FCVTWD, rv64.FCVTWUD, rv64.FCVTLD, rv64.FCVTLUD, rv64.FMVXD, rv64.FEQD, rv64.FLTD, rv64.FLED, rv64.FCLASSD:
		return true
	}
	return false
}

// groupAt is the group that begins with instruction i, and how many instructions
// it has; 0 if there is none.
func (e *Emitter) groupAt(i int) (g group, n int) {
	insts := e.s.Insts[i:min(i+maxGroup, len(e.s.Insts))]
	base := insts[0].Rs1
	if sizeOf(insts[0].Op) == 0 || base == 0 {
		return g, 0
	}
	g = group{low: insts[0].Imm, high: insts[0].Imm}
	members := 0
	for j := range insts {
		in := &insts[j]
		if size := sizeOf(in.Op); size > 0 {
			low, high := min(g.low, in.Imm), max(g.high, in.Imm+size)
			if in.Rs1 != base || high-low > pageSize/2 {
				break
			}
			g = group{low, high, g.writes || writesMemory(in.Op)}
			members++
			n = j + 1
		} else if in.Op.EndsBlock() || !keepsRDX(in.Op) {
			break
		}
		if writesX(in, base) {
			break
		}
	}
	if members < 2 {
		return g, 0
	}
	return g, n
}

// emitGroup emits the n instructions from i on as a group.
func (e *Emitter) emitGroup(g group, i, n int) {
	insts := e.s.Insts[i : i+n]
	for j := range insts {
		if insts[j].Op.Float() {
			e.unit(i) // once, for both copies of the code
			break
		}
	}
	boxed := e.boxed
	head := insts[0]
	head.Imm = g.low
	e.address(&head)
	table := e.at.ReadTLB
	if g.writes {
		table = e.at.WriteTLB
	}
	apart := &label{}
	e.access(i, table, g.high-g.low, apart)
	end := 0
	// First among what is out of line, so that whoever leaves from the middle
	// comes back to it.
	e.later(apart, func() {
		e.boxed = boxed
		for j := 0; j < n; {
			j += e.instOrPair(i + j)
		}
		e.aim(e.jmp(), end)
	})
	e.mov(q, RDX, reg(RAX))
	e.group = &g
	for j := 0; j < n; {
		j += e.instOrPair(i + j)
	}
	e.group = nil
	end = e.pos()
}
