/* Base integer, multiplication and division on corner operands. */
#include "suite.h"

#define OP(name) { u64 r; __asm__ volatile(name " %0, %1, %2" : "=r"(r) : "r"(a), "r"(b)); note(r); }

int main(void)
{
	for (u64 i = 0; i < CORNERS; i++)
		for (u64 j = 0; j < CORNERS; j++) {
			u64 a = corners[i], b = corners[j];
			OP("add") OP("sub") OP("sll") OP("srl") OP("sra") OP("slt") OP("sltu") OP("xor") OP("or") OP("and")
			OP("addw") OP("subw") OP("sllw") OP("srlw") OP("sraw")
			OP("mul") OP("mulh") OP("mulhu") OP("mulhsu") OP("div") OP("divu") OP("rem") OP("remu")
			OP("mulw") OP("divw") OP("divuw") OP("remw") OP("remuw")
		}
	return 0;
}
