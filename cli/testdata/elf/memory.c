/* Loads and stores of every width at every alignment, atomics, and code that
 * is written and run. */
#include "suite.h"

static u8 bytes[64] __attribute__((aligned(64)));

#define STORE(name, off) __asm__ volatile(name " %0, 0(%1)" :: "r"(v), "r"(bytes + (off)) : "memory")
#define LOAD(name, off) { u64 r; __asm__ volatile(name " %0, 0(%1)" : "=r"(r) : "r"(bytes + (off)) : "memory"); note(r); }
#define AMO(name, at) { u64 r; __asm__ volatile(name " %0, %1, (%2)" : "=&r"(r) : "r"(v), "r"(at) : "memory"); note(r); note(*(u64 *)(at)); }

int main(void)
{
	for (u64 off = 0; off < 16; off++) {
		u64 v = 0x8182838485868788 + off;
		STORE("sd", off); STORE("sw", off + 9); STORE("sh", off + 14); STORE("sb", off + 17);
		LOAD("ld", off) LOAD("lw", off + 1) LOAD("lwu", off + 2) LOAD("lh", off + 3) LOAD("lhu", off + 4)
		LOAD("lb", off + 5) LOAD("lbu", off + 6) LOAD("ld", off + 7)
	}
	for (u64 i = 0; i < CORNERS; i++) {
		u64 v = corners[i];
		AMO("amoadd.d", bytes) AMO("amomax.d", bytes) AMO("amominu.d", bytes + 8) AMO("amoxor.w", bytes + 16)
		AMO("amomin.w", bytes + 20) AMO("amoswap.w", bytes + 24) AMO("amomaxu.w", bytes + 28) AMO("amoor.d", bytes + 32)
		u64 failed, old;
		__asm__ volatile("lr.d %0, (%2)\n\tsc.d %1, %3, (%2)" : "=&r"(old), "=&r"(failed) : "r"(bytes + 40), "r"(v) : "memory");
		note(old); note(failed);
	}

	static u32 code[2];
	for (u32 i = 0; i < 20; i++) {
		code[0] = i << 20 | 0x513; /* li a0, i */
		code[1] = 0x8067;          /* ret */
		__asm__ volatile("fence.i" ::: "memory");
		note(((u64 (*)(void))code)());
	}
	return 0;
}
