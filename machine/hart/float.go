package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/softfloat"
)

func (h *Hart) floatOn() bool { return h.Mstatus&rv64.StatusFS != 0 }

// dirtyFloat: FS is precise; it becomes dirty when an f register or fcsr
// changes hands, and not otherwise.
func (h *Hart) dirtyFloat() { h.Mstatus |= rv64.StatusFS }

func (h *Hart) setF(rd uint8, v uint64) {
	h.F[rd&31] = v
	h.dirtyFloat()
}

// floatMemory executes FLW, FLD, FSW and FSD. The result is as load's.
func (h *Hart) floatMemory(in *rv64.Inst, pc uint64, i machine.Icount) bool {
	if !h.floatOn() {
		h.at(in, pc, i)
		return h.illegal(in)
	}
	va := h.X[in.Rs1&31] + uint64(in.Imm)
	last := va + uint64(sizes[in.Op]) - 1
	entry := va >> mem.PageShift & tlbMask
	tag := last&^uint64(pageMask) | h.DataContext
	switch in.Op {
	case rv64.FLW:
		if e := &h.ReadTLB[entry]; e.Tag == tag {
			h.setF(in.Rd, softfloat.Box(h.window.At32(va+e.Delta)))
			return true
		}
		return h.load(in, va, pc, i)
	case rv64.FLD:
		if e := &h.ReadTLB[entry]; e.Tag == tag {
			h.setF(in.Rd, h.window.At64(va+e.Delta))
			return true
		}
		return h.load(in, va, pc, i)
	case rv64.FSW:
		if e := &h.WriteTLB[entry]; e.Tag == tag {
			h.window.Put32(va+e.Delta, uint32(h.F[in.Rs2&31]))
			return true
		}
	default:
		if e := &h.WriteTLB[entry]; e.Tag == tag {
			h.window.Put64(va+e.Delta, h.F[in.Rs2&31])
			return true
		}
	}
	return h.store(in, va, pc, i)
}

// rounds says whether the operation has a rounding mode field.
func rounds(op rv64.Op) bool {
	switch op {
	case rv64.FSGNJS, rv64.FSGNJNS, rv64.FSGNJXS, rv64.FMINS, rv64.FMAXS, rv64.FMVXW, rv64.FMVWX,
		rv64.FEQS, rv64.FLTS, rv64.FLES, rv64.FCLASSS,
		rv64.FSGNJD, rv64.FSGNJND, rv64.FSGNJXD, rv64.FMIND, rv64.FMAXD, rv64.FMVXD, rv64.FMVDX,
		rv64.FEQD, rv64.FLTD, rv64.FLED, rv64.FCLASSD:
		return false
	}
	return true
}

// float executes an operation of F or D that does not access memory. The
// result is as load's.
func (h *Hart) float(in *rv64.Inst, pc uint64, i machine.Icount) bool {
	rm := in.RM()
	if rm == 7 {
		rm = h.Frm
	}
	if !h.floatOn() || rm > 4 && rounds(in.Op) {
		h.at(in, pc, i)
		return h.illegal(in)
	}
	if in.Op >= rv64.FADDD {
		h.double(in, softfloat.RoundingMode(rm))
	} else {
		h.single(in, softfloat.RoundingMode(rm))
	}
	return true
}

func (h *Hart) accrue(f softfloat.Flags) {
	if f != 0 {
		h.Fflags |= uint8(f)
		h.dirtyFloat()
	}
}

func (h *Hart) setS(rd uint8, v uint32, f softfloat.Flags) {
	h.setF(rd, softfloat.Box(v))
	h.Fflags |= uint8(f)
}

func (h *Hart) setD(rd uint8, v uint64, f softfloat.Flags) {
	h.setF(rd, v)
	h.Fflags |= uint8(f)
}

// setInt sets an x register from a conversion or comparison.
func (h *Hart) setInt(rd uint8, v uint64, f softfloat.Flags) {
	h.setX(rd, v)
	h.accrue(f)
}

const (
	sign32 = 1 << 31
	sign64 = 1 << 63
)

func (h *Hart) single(in *rv64.Inst, rm softfloat.RoundingMode) {
	a := softfloat.Unbox(h.F[in.Rs1&31])
	b := softfloat.Unbox(h.F[in.Rs2&31])
	xa := h.X[in.Rs1&31]
	var v uint32
	var f softfloat.Flags
	switch in.Op {
	case rv64.FADDS:
		v, f = softfloat.Add32(a, b, rm)
	case rv64.FSUBS:
		v, f = softfloat.Sub32(a, b, rm)
	case rv64.FMULS:
		v, f = softfloat.Mul32(a, b, rm)
	case rv64.FDIVS:
		v, f = softfloat.Div32(a, b, rm)
	case rv64.FSQRTS:
		v, f = softfloat.Sqrt32(a, rm)
	case rv64.FSGNJS:
		v = a&^sign32 | b&sign32
	case rv64.FSGNJNS:
		v = a&^sign32 | ^b&sign32
	case rv64.FSGNJXS:
		v = a ^ b&sign32
	case rv64.FMINS:
		v, f = softfloat.Min32(a, b)
	case rv64.FMAXS:
		v, f = softfloat.Max32(a, b)
	case rv64.FMADDS:
		v, f = softfloat.FMA32(a, b, softfloat.Unbox(h.F[in.Rs3&31]), rm)
	case rv64.FMSUBS:
		v, f = softfloat.FMA32(a, b, softfloat.Unbox(h.F[in.Rs3&31])^sign32, rm)
	case rv64.FNMSUBS:
		v, f = softfloat.FMA32(a^sign32, b, softfloat.Unbox(h.F[in.Rs3&31]), rm)
	case rv64.FNMADDS:
		v, f = softfloat.FMA32(a^sign32, b, softfloat.Unbox(h.F[in.Rs3&31])^sign32, rm)
	case rv64.FCVTSW:
		v, f = softfloat.I32ToF32(int32(xa), rm)
	case rv64.FCVTSWU:
		v, f = softfloat.U32ToF32(uint32(xa), rm)
	case rv64.FCVTSL:
		v, f = softfloat.I64ToF32(int64(xa), rm)
	case rv64.FCVTSLU:
		v, f = softfloat.U64ToF32(xa, rm)
	case rv64.FMVWX:
		v = uint32(xa)
	default:
		h.singleToX(in, a, b, rm)
		return
	}
	h.setS(in.Rd, v, f)
}

// singleToX executes the operations on singles whose result is an x register.
func (h *Hart) singleToX(in *rv64.Inst, a, b uint32, rm softfloat.RoundingMode) {
	var v uint64
	var f softfloat.Flags
	switch in.Op {
	case rv64.FCVTWS:
		i, g := softfloat.F32ToI32(a, rm)
		v, f = uint64(i), g
	case rv64.FCVTWUS:
		i, g := softfloat.F32ToU32(a, rm)
		v, f = uint64(int32(i)), g
	case rv64.FCVTLS:
		i, g := softfloat.F32ToI64(a, rm)
		v, f = uint64(i), g
	case rv64.FCVTLUS:
		v, f = softfloat.F32ToU64(a, rm)
	case rv64.FMVXW:
		v = uint64(int32(h.F[in.Rs1&31]))
	case rv64.FEQS:
		is, g := softfloat.Eq32(a, b)
		v, f = bit(is), g
	case rv64.FLTS:
		is, g := softfloat.Lt32(a, b)
		v, f = bit(is), g
	case rv64.FLES:
		is, g := softfloat.Le32(a, b)
		v, f = bit(is), g
	case rv64.FCLASSS:
		v = softfloat.Class32(a)
	default:
		panic("hart: BUG: not an operation on singles")
	}
	h.setInt(in.Rd, v, f)
}

func (h *Hart) double(in *rv64.Inst, rm softfloat.RoundingMode) {
	a, b := h.F[in.Rs1&31], h.F[in.Rs2&31]
	xa := h.X[in.Rs1&31]
	var v uint64
	var f softfloat.Flags
	switch in.Op {
	case rv64.FADDD:
		v, f = softfloat.Add64(a, b, rm)
	case rv64.FSUBD:
		v, f = softfloat.Sub64(a, b, rm)
	case rv64.FMULD:
		v, f = softfloat.Mul64(a, b, rm)
	case rv64.FDIVD:
		v, f = softfloat.Div64(a, b, rm)
	case rv64.FSQRTD:
		v, f = softfloat.Sqrt64(a, rm)
	case rv64.FSGNJD:
		v = a&^sign64 | b&sign64
	case rv64.FSGNJND:
		v = a&^sign64 | ^b&sign64
	case rv64.FSGNJXD:
		v = a ^ b&sign64
	case rv64.FMIND:
		v, f = softfloat.Min64(a, b)
	case rv64.FMAXD:
		v, f = softfloat.Max64(a, b)
	case rv64.FMADDD:
		v, f = softfloat.FMA64(a, b, h.F[in.Rs3&31], rm)
	case rv64.FMSUBD:
		v, f = softfloat.FMA64(a, b, h.F[in.Rs3&31]^sign64, rm)
	case rv64.FNMSUBD:
		v, f = softfloat.FMA64(a^sign64, b, h.F[in.Rs3&31], rm)
	case rv64.FNMADDD:
		v, f = softfloat.FMA64(a^sign64, b, h.F[in.Rs3&31]^sign64, rm)
	case rv64.FCVTDW:
		v = softfloat.I32ToF64(int32(xa))
	case rv64.FCVTDWU:
		v = softfloat.U32ToF64(uint32(xa))
	case rv64.FCVTDL:
		v, f = softfloat.I64ToF64(int64(xa), rm)
	case rv64.FCVTDLU:
		v, f = softfloat.U64ToF64(xa, rm)
	case rv64.FCVTDS:
		v, f = softfloat.F32ToF64(softfloat.Unbox(a))
	case rv64.FMVDX:
		v = xa
	case rv64.FCVTSD:
		s, g := softfloat.F64ToF32(a, rm)
		v, f = softfloat.Box(s), g
	default:
		h.doubleToX(in, a, b, rm)
		return
	}
	h.setD(in.Rd, v, f)
}

// doubleToX executes the operations on doubles whose result is an x register.
func (h *Hart) doubleToX(in *rv64.Inst, a, b uint64, rm softfloat.RoundingMode) {
	var v uint64
	var f softfloat.Flags
	switch in.Op {
	case rv64.FCVTWD:
		i, g := softfloat.F64ToI32(a, rm)
		v, f = uint64(i), g
	case rv64.FCVTWUD:
		i, g := softfloat.F64ToU32(a, rm)
		v, f = uint64(int32(i)), g
	case rv64.FCVTLD:
		i, g := softfloat.F64ToI64(a, rm)
		v, f = uint64(i), g
	case rv64.FCVTLUD:
		v, f = softfloat.F64ToU64(a, rm)
	case rv64.FMVXD:
		v = a
	case rv64.FEQD:
		is, g := softfloat.Eq64(a, b)
		v, f = bit(is), g
	case rv64.FLTD:
		is, g := softfloat.Lt64(a, b)
		v, f = bit(is), g
	case rv64.FLED:
		is, g := softfloat.Le64(a, b)
		v, f = bit(is), g
	case rv64.FCLASSD:
		v = softfloat.Class64(a)
	default:
		panic("hart: BUG: not an operation on doubles")
	}
	h.setInt(in.Rd, v, f)
}
