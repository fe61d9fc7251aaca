package hart

import (
	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/mem"
	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// atomic executes the A extension. Misaligned addresses trap as misaligned
// before anything else; devices do not take atomics. The result is as load's.
func (h *Hart) atomic(in *rv64.Inst, pc uint64, i machine.Icount) bool {
	h.at(in, pc, i)
	va := h.X[in.Rs1&31]
	word := in.Raw>>12&7 == 2
	size := uint8(8)
	if word {
		size = 4
	}
	isLoad := in.Op == rv64.LRW || in.Op == rv64.LRD
	if va&uint64(size-1) != 0 {
		if isLoad {
			h.trap(rv64.LoadMisaligned, va)
		} else {
			h.trap(rv64.StoreMisaligned, va)
		}
		return false
	}
	if isLoad {
		return h.loadReserved(in, va, size)
	}
	conditional := in.Op == rv64.SCW || in.Op == rv64.SCD
	if conditional && !h.Reserved {
		h.setX(in.Rd, 1)
		return h.stay(in)
	}
	m, ok := h.translateAtomic(va, size, accessStore)
	if !ok {
		return false
	}
	if conditional {
		h.Reserved = false
		if m.gpa != h.Reservation {
			h.setX(in.Rd, 1)
			return h.stay(in)
		}
	}
	h.commit(&m)
	src := h.X[in.Rs2&31]
	if conditional {
		h.setX(in.Rd, 0)
		h.writeRAM(&m, va, size, src)
		return h.stay(in)
	}
	old := h.readRAM(uint64(m.gpa-mem.Base), size)
	if word {
		old = uint64(int32(old))
		src = uint64(int32(src))
	}
	h.setX(in.Rd, old)
	h.writeRAM(&m, va, size, amo(in.Op, old, src))
	return h.stay(in)
}

// translateAtomic is a walk that only RAM satisfies.
func (h *Hart) translateAtomic(va uint64, size uint8, a access) (mapping, bool) {
	m, fault, ok := h.walk(va, h.DataContext, a)
	if ok && !h.ram.Contains(m.gpa, uint64(size)) {
		fault, ok = a.accessFault(), false
	}
	if !ok {
		h.trap(fault, va)
	}
	return m, ok
}

// loadReserved leaves a reservation on the physical address.
func (h *Hart) loadReserved(in *rv64.Inst, va uint64, size uint8) bool {
	m, ok := h.translateAtomic(va, size, accessLoad)
	if !ok {
		return false
	}
	h.commit(&m)
	v := h.readRAM(uint64(m.gpa-mem.Base), size)
	if size == 4 {
		v = uint64(int32(v))
	}
	h.Reserved, h.Reservation = true, m.gpa
	h.setX(in.Rd, v)
	return h.stay(in)
}

// amo is what an AMO stores. Operands of word operations are sign-extended,
// which keeps the order of unsigned ones as well.
func amo(op rv64.Op, old, src uint64) uint64 {
	switch op {
	case rv64.AMOSWAPW, rv64.AMOSWAPD:
		return src
	case rv64.AMOADDW, rv64.AMOADDD:
		return old + src
	case rv64.AMOXORW, rv64.AMOXORD:
		return old ^ src
	case rv64.AMOANDW, rv64.AMOANDD:
		return old & src
	case rv64.AMOORW, rv64.AMOORD:
		return old | src
	case rv64.AMOMINW, rv64.AMOMIND:
		return uint64(min(int64(old), int64(src)))
	case rv64.AMOMAXW, rv64.AMOMAXD:
		return uint64(max(int64(old), int64(src)))
	case rv64.AMOMINUW, rv64.AMOMINUD:
		return min(old, src)
	case rv64.AMOMAXUW, rv64.AMOMAXUD:
		return max(old, src)
	}
	panic("hart: BUG: not an AMO")
}
