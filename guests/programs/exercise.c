// Random reads, writes, holes, truncations and flushes on one file or block
// device, which follow from a seed alone. What is read is compared with a model
// in memory. After each fsync that returned it prints "@durable N N.": the
// first N operations must survive whatever happens. exercise_test.go has the
// same sequence, and says what an image may hold.
//
//	exercise PATH SIZE SEED COUNT ALIGN [file] [direct]
//
// SIZE is at most 4 MiB, ALIGN what offsets and lengths are multiples of. file:
// PATH is made, and truncated too. direct: past the page cache.
#include <stddef.h>
#include <stdint.h>

// Numbers: include/uapi/asm-generic/unistd.h and fcntl.h.
enum {
	NR_ftruncate = 46, NR_fallocate = 47, NR_openat = 56, NR_write = 64, NR_pread64 = 67, NR_pwrite64 = 68,
	NR_fsync = 82, NR_exit_group = 94, NR_fadvise64 = 223,
	AT_FDCWD = -100, O_RDWR = 2, O_CREAT = 0100, O_DIRECT = 040000,
	KEEP_SIZE = 1, PUNCH_HOLE = 2, DONTNEED = 4,
};

static long call(long n, long a, long b, long c, long d) {
	register long a7 __asm__("a7") = n;
	register long a0 __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;
	__asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a7) : "memory");
	return a0;
}

enum { MAX = 4 << 20, LONGEST = 64 << 10 };
static unsigned char model[MAX] __attribute__((aligned(4096)));
static unsigned char buffer[LONGEST] __attribute__((aligned(4096)));

static int equal(const char *a, const char *b) {
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static uint64_t number(const char *s) {
	uint64_t n = 0;
	while (*s >= '0' && *s <= '9')
		n = n * 10 + (*s++ - '0');
	return n;
}

static char line[256];
static size_t used;
static void text(const char *s) {
	while (*s)
		line[used++] = *s++;
}
static void decimal(uint64_t n) {
	if (n >= 10)
		decimal(n / 10);
	line[used++] = '0' + n % 10;
}
static void say(void) {
	line[used++] = '\n';
	call(NR_write, 1, (long)line, used, 0);
	used = 0;
}

static _Noreturn void fail(const char *what, uint64_t op, uint64_t at, uint64_t n) {
	text("@failed "), text(what), text(" in operation "), decimal(op);
	text(" at "), decimal(at), text(": "), decimal(n), say();
	for (;;)
		call(NR_exit_group, 1, 0, 0, 0);
}

// splitmix64.
static uint64_t mix(uint64_t z) {
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}
static uint64_t seed, state;
static uint64_t random64(void) { return mix(state += 0x9e3779b97f4a7c15u); }

// fill makes what operation op writes at an offset: each byte says which
// operation wrote it, and where.
static void fill(unsigned char *b, uint64_t op, uint64_t at, size_t n) {
	uint64_t word = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t p = at + i;
		if (i == 0 || p % 8 == 0)
			word = mix(seed + op * 0xd1342543de82ef95u + (p / 8) * 0x9e3779b97f4a7c15u);
		b[i] = word >> 8 * (p % 8);
	}
}

static void zero(unsigned char *b, size_t n) {
	for (size_t i = 0; i < n; i++)
		b[i] = 0;
}

static int run(int argc, char **argv) {
	if (argc < 6)
		fail("too few arguments", 0, 0, argc);
	uint64_t size = number(argv[2]), count = number(argv[4]), align = number(argv[5]), end = size;
	int file = 0, flags = O_RDWR;
	seed = state = number(argv[3]);
	for (int i = 6; i < argc; i++) {
		if (equal(argv[i], "file"))
			file = 1, flags |= O_CREAT, end = 0;
		else if (equal(argv[i], "direct"))
			flags |= O_DIRECT;
	}
	if (size > MAX || size == 0 || align == 0 || align > 4096 || size % align)
		fail("a bad size or alignment", 0, size, align);
	long fd = call(NR_openat, AT_FDCWD, (long)argv[1], flags, 0600);
	if (fd < 0)
		fail("open", 0, 0, -fd);
	for (uint64_t op = 1; op <= count; op++) {
		uint64_t kind = random64() % 100, at = random64() % (size / align) * align;
		uint64_t n = (random64() % (LONGEST / align) + 1) * align;
		if (n > size - at)
			n = size - at;
		long got;
		if (op == count || kind < 10) {
			if ((got = call(NR_fsync, fd, 0, 0, 0)) < 0)
				fail("fsync", op, 0, -got);
			text("@durable "), decimal(op), text(" "), decimal(op), text("."), say();
			call(NR_fadvise64, fd, 0, 0, DONTNEED);
		} else if (kind < 55) {
			fill(buffer, op, at, n);
			if ((got = call(NR_pwrite64, fd, (long)buffer, n, at)) != (long)n)
				fail("write", op, at, got < 0 ? -got : got);
			fill(model + at, op, at, n);
			if (file && at + n > end)
				end = at + n;
		} else if (kind < 65) {
			if ((got = call(NR_fallocate, fd, KEEP_SIZE | PUNCH_HOLE, at, n)) < 0)
				fail("fallocate", op, at, -got);
			zero(model + at, n);
		} else if (kind < 72 && file) {
			if ((got = call(NR_ftruncate, fd, at, 0, 0)) < 0)
				fail("truncate", op, at, -got);
			if (at < end)
				zero(model + at, end - at);
			end = at;
		} else {
			uint64_t want = at >= end ? 0 : n < end - at ? n : end - at;
			if ((got = call(NR_pread64, fd, (long)buffer, n, at)) != (long)want)
				fail("read", op, at, got < 0 ? -got : got);
			for (uint64_t i = 0; i < want; i++)
				if (buffer[i] != model[at + i])
					fail("WRONG DATA READ", op, at, at + i);
		}
	}
	return 0;
}

// begin is called by _start with the stack as the kernel made it.
__attribute__((used)) _Noreturn void begin(long *stack) {
	int status = run((int)*stack, (char **)(stack + 1));
	for (;;)
		call(NR_exit_group, status, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n"
	".option push\n.option norelax\nla gp, __global_pointer$\n.option pop\n"
	"mv a0, sp\nandi sp, sp, -16\ncall begin\n");
