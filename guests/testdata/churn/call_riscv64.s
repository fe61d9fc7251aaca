#include "textflag.h"

// func call(fn uintptr, a0, a1, a2 uint64) uint64
TEXT ·call(SB), NOSPLIT, $8-40
	MOV	fn+0(FP), X5
	MOV	a0+8(FP), X10
	MOV	a1+16(FP), X11
	MOV	a2+24(FP), X12
	JALR	X1, X5
	MOV	X10, ret+32(FP)
	RET

// func fence()
TEXT ·fence(SB), NOSPLIT, $0-0
	WORD	$0x0000100f // fence.i
	RET

// func divide(mode uint64, a, b float64) (q float64, flags uint64)
TEXT ·divide(SB), NOSPLIT, $0-40
	MOV	mode+0(FP), X5
	SLLI	$5, X5, X5
	MOVD	a+8(FP), F0
	MOVD	b+16(FP), F1
	WORD	$0x00329373 // csrrw t1, fcsr, t0
	MOV	$100, X7
before:
	ADDI	$-1, X7, X7
	BNEZ	X7, before
	WORD	$0x1a107153 // fdiv.d f2, f0, f1, dyn
	MOV	$100, X7
after:
	ADDI	$-1, X7, X7
	BNEZ	X7, after
	WORD	$0x00301373 // csrrw t1, fcsr, x0
	ANDI	$31, X6, X6
	MOVD	F2, q+24(FP)
	MOV	X6, flags+32(FP)
	RET
