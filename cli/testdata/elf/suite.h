/* What the programs here share: results go to the signature, one after another. */
typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

#define RESULTS 1024

extern volatile u64 tohost, fromhost, last_cause;

__asm__(".pushsection .signature, \"aw\", @nobits\n"
	".globl begin_signature, end_signature\n"
	".balign 16\n"
	"begin_signature: .space 8192\n"
	"end_signature:\n"
	".popsection");
extern u64 begin_signature[RESULTS];

static u64 results;

/* note adds a result; after the last place it folds into the first ones. */
static void note(u64 v)
{
	u64 *at = &begin_signature[results++ % RESULTS];
	*at = (*at << 7 | *at >> 57) ^ v;
}

/* corner gives operands on which arithmetic goes wrong if anywhere. */
static const u64 corners[] = {
	0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff,
	0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0x8000000000000001, 0xfffffffffffffffe,
	0xffffffffffffffff, 0x123456789abcdef0, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa,
};
#define CORNERS (sizeof corners / sizeof corners[0])
