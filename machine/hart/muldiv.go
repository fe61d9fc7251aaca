package hart

import (
	"math"
	"math/bits"

	"github.com/lockstep-vm/lockstep/machine/rv64"
)

// muldiv is the rare part of the M extension. Division by zero and overflow
// give the results of table 11 of the unprivileged spec; nothing traps.
func muldiv(op rv64.Op, a, b uint64) uint64 {
	switch op {
	case rv64.MULH:
		hi, _ := bits.Mul64(a, b)
		return hi - uint64(int64(a)>>63)&b - uint64(int64(b)>>63)&a
	case rv64.MULHSU:
		hi, _ := bits.Mul64(a, b)
		return hi - uint64(int64(a)>>63)&b
	case rv64.DIV:
		return uint64(divide(int64(a), int64(b)))
	case rv64.DIVU:
		if b == 0 {
			return math.MaxUint64
		}
		return a / b
	case rv64.REM:
		return uint64(remainder(int64(a), int64(b)))
	case rv64.REMU:
		if b == 0 {
			return a
		}
		return a % b
	case rv64.DIVW:
		return uint64(int32(divide(int64(int32(a)), int64(int32(b)))))
	case rv64.DIVUW:
		if uint32(b) == 0 {
			return math.MaxUint64
		}
		return uint64(int32(uint32(a) / uint32(b)))
	case rv64.REMW:
		return uint64(int32(remainder(int64(int32(a)), int64(int32(b)))))
	case rv64.REMUW:
		if uint32(b) == 0 {
			return uint64(int32(a))
		}
		return uint64(int32(uint32(a) % uint32(b)))
	}
	panic("hart: BUG: not a multiplication or division")
}

func divide(a, b int64) int64 {
	switch {
	case b == 0:
		return -1
	case b == -1:
		return -a // also for the most negative number, which stays itself
	}
	return a / b
}

func remainder(a, b int64) int64 {
	switch b {
	case 0:
		return a
	case -1:
		return 0
	}
	return a % b
}
