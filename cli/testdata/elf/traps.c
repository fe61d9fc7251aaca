/* Traps by their causes, and characters through the host-target interface. */
#include "suite.h"

#define TRAP(text) last_cause = -1; __asm__ volatile(".option push\n.option norvc\n" text "\n.option pop" ::: "t0", "memory"); note(last_cause)

int main(void)
{
	TRAP("ecall");
	TRAP("ebreak");
	TRAP(".word 0xffffffff");
	TRAP("csrw cycle, zero");
	TRAP("ld t0, 0(zero)");
	TRAP("sd t0, 0(zero)");
	TRAP("addi t0, sp, 1\nlr.w t0, (t0)");
	TRAP("nop");
	for (const char *s = "traps\n"; *s; s++) {
		tohost = 0x0101000000000000 | (u8)*s;
		while (tohost)
			;
		fromhost = 0;
	}
	return 42;
}
