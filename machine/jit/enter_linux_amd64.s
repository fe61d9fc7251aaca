#include "go_asm.h"
#include "textflag.h"

// func enter(core unsafe.Pointer, code uint64)
//
// RBX points some way into the core, so that all of X has displacements of one
// byte. Translated code keeps RSP as it is, calls nothing, and returns with
// everything stored in the core. The assembler saves and restores RBP.
TEXT ·enter(SB), NOSPLIT, $24-16
	MOVQ core+0(FP), BX
	MOVQ code+8(FP), AX
	ADDQ $const_bias, BX
	CALL AX
	MOVL $0x1f80, saved-8(SP)
	LDMXCSR saved-8(SP)
	RET
