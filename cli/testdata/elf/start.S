# Calls main with floating point on and a stack, and reports what it returns.
	.section .text.start, "ax"
	.globl _start
_start:
	li	t0, 0x6000
	csrs	mstatus, t0
	csrw	fcsr, zero
	la	t0, trap
	csrw	mtvec, t0
	la	sp, stack_end
	call	main
	slli	a0, a0, 1
	ori	a0, a0, 1
	la	t0, tohost
1:	sd	a0, 0(t0)
	j	1b

# Notes cause and skips the instruction, which has four bytes.
	.balign	4
trap:
	addi	sp, sp, -16
	sd	t0, 0(sp)
	sd	t1, 8(sp)
	csrr	t0, mcause
	la	t1, last_cause
	sd	t0, 0(t1)
	csrr	t0, mepc
	addi	t0, t0, 4
	csrw	mepc, t0
	ld	t0, 0(sp)
	ld	t1, 8(sp)
	addi	sp, sp, 16
	mret

	.section .tohost, "aw", @progbits
	.globl	tohost, fromhost
	.type	tohost, @object
	.size	tohost, 8
	.type	fromhost, @object
	.size	fromhost, 8
	.balign	64
tohost:	.dword	0
	.balign	64
fromhost: .dword 0

	.bss
	.globl	last_cause
	.balign	16
last_cause: .dword 0
	.balign	16
	.space	8192
stack_end:
