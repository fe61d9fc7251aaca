/* Floating point in every rounding mode, with the flags that each operation raises. */
#include "suite.h"

static const u64 doubles[] = {
	0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x3ff8000000000000, 0x7fefffffffffffff,
	0x0010000000000000, 0x000fffffffffffff, 1, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000,
	0x7ff0000000000001, 0x3fd5555555555555, 0xc1e0000000200000, 0x43e0000000000000, 0x380fffffe0000000,
};
#define DOUBLES (sizeof doubles / sizeof doubles[0])

static void flags(void)
{
	u64 f;
	__asm__ volatile("csrrw %0, fflags, zero" : "=r"(f));
	note(f);
}

#define BITS(r) { u64 v; __asm__ volatile("fmv.x.d %0, %1" : "=r"(v) : "f"(r)); note(v); flags(); }
#define OP(name) { double r; __asm__ volatile(name " %0, %1, %2" : "=f"(r) : "f"(a), "f"(b)); BITS(r) }
#define ONE(name) { double r; __asm__ volatile(name " %0, %1" : "=f"(r) : "f"(a)); BITS(r) }
#define INT(name) { u64 r; __asm__ volatile(name " %0, %1" : "=r"(r) : "f"(a)); note(r); flags(); }
#define CMP(name) { u64 r; __asm__ volatile(name " %0, %1, %2" : "=r"(r) : "f"(a), "f"(b)); note(r); flags(); }

int main(void)
{
	for (u64 mode = 0; mode < 5; mode++) {
		__asm__ volatile("csrw frm, %0" :: "r"(mode));
		for (u64 i = 0; i < DOUBLES; i++) {
			double a, b;
			__asm__ volatile("fmv.d.x %0, %1" : "=f"(a) : "r"(doubles[i]));
			ONE("fsqrt.d") ONE("fcvt.s.d")
			INT("fcvt.w.d") INT("fcvt.wu.d") INT("fcvt.l.d") INT("fcvt.lu.d") INT("fclass.d")
			for (u64 j = 0; j < DOUBLES; j++) {
				__asm__ volatile("fmv.d.x %0, %1" : "=f"(b) : "r"(doubles[j]));
				OP("fadd.d") OP("fsub.d") OP("fmul.d") OP("fdiv.d") OP("fmin.d") OP("fmax.d") OP("fsgnjx.d")
				CMP("feq.d") CMP("flt.d") CMP("fle.d")
				double r;
				__asm__ volatile("fmadd.d %0, %1, %2, %1" : "=f"(r) : "f"(a), "f"(b)); BITS(r)
				__asm__ volatile("fnmsub.d %0, %1, %2, %2" : "=f"(r) : "f"(a), "f"(b)); BITS(r)
			}
		}
	}
	return 0;
}
