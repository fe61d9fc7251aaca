// The system's side of rt.h without a library, for Linux on RISC-V
// (numbers: include/uapi/asm-generic/unistd.h).
#include "rt.h"

static long call(long n, long a, long b, long c, long d, long e, long f) {
	register long a7 __asm__("a7") = n;
	register long a0 __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;
	register long a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;
	__asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
	return a0;
}

enum {
	NR_openat = 56, NR_close = 57, NR_pipe2 = 59, NR_read = 63, NR_write = 64, NR_pread64 = 67, NR_pwrite64 = 68,
	NR_fsync = 82, NR_exit_group = 94, NR_getppid = 173,
	NR_munmap = 215, NR_clone = 220, NR_execve = 221, NR_mmap = 222, NR_wait4 = 260,
};

void *pages(size_t n) {
	long p = call(NR_mmap, 0, n, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0);
	if (p < 0 && p > -4096)
		sys_exit(3);
	return (void *)p;
}
void unmap(void *p, size_t n) { call(NR_munmap, (long)p, n, 0, 0, 0, 0); }

static char **environment;

int sys_fork(void) { return call(NR_clone, 17 /* SIGCHLD */, 0, 0, 0, 0, 0); }
int sys_exec(const char *path, char *const argv[]) { return call(NR_execve, (long)path, (long)argv, (long)environment, 0, 0, 0); }
int sys_wait(int pid) {
	int status = -1;
	return call(NR_wait4, pid, (long)&status, 0, 0, 0, 0) < 0 ? -1 : status;
}
int sys_pipe(int ends[2]) { return call(NR_pipe2, (long)ends, 0, 0, 0, 0, 0); }
long sys_read(int fd, void *b, size_t n) { return call(NR_read, fd, (long)b, n, 0, 0, 0); }
long sys_write(int fd, const void *b, size_t n) { return call(NR_write, fd, (long)b, n, 0, 0, 0); }
int sys_close(int fd) { return call(NR_close, fd, 0, 0, 0, 0, 0); }
int sys_open_direct(const char *path) { return call(NR_openat, -100 /* AT_FDCWD */, (long)path, 02 | 040000 /* O_RDWR, O_DIRECT */, 0, 0, 0); }
long sys_pread(int fd, void *b, size_t n, uint64_t at) { return call(NR_pread64, fd, (long)b, n, at, 0, 0); }
long sys_pwrite(int fd, const void *b, size_t n, uint64_t at) { return call(NR_pwrite64, fd, (long)b, n, at, 0, 0); }
int sys_fsync(int fd) { return call(NR_fsync, fd, 0, 0, 0, 0, 0); }
int sys_getppid(void) { return call(NR_getppid, 0, 0, 0, 0, 0, 0); }
_Noreturn void sys_exit(int status) {
	for (;;)
		call(NR_exit_group, status, 0, 0, 0, 0, 0);
}

int main(int argc, char **argv);

// begin is called by _start with the stack as the kernel made it: the count of
// arguments, the arguments, a null, the environment.
__attribute__((used)) _Noreturn void begin(long *stack) {
	char **argv = (char **)(stack + 1);
	environment = argv + *stack + 1;
	sys_exit(main((int)*stack, argv));
}

__asm__(".globl _start\n_start:\n"
	".option push\n.option norelax\nla gp, __global_pointer$\n.option pop\n"
	"mv a0, sp\nandi sp, sp, -16\ncall begin\n");

// Eight words at a time when both sides are aligned, as a library would.
void *memcpy(void *to, const void *from, size_t n) {
	char *t = to;
	const char *f = from;
	if ((((uintptr_t)t | (uintptr_t)f) & 7) == 0) {
		for (; n >= 64; n -= 64, t += 64, f += 64) {
			uint64_t *x = (uint64_t *)t;
			const uint64_t *y = (const uint64_t *)f;
			uint64_t a = y[0], b = y[1], c = y[2], d = y[3], e = y[4], g = y[5], h = y[6], i = y[7];
			x[0] = a, x[1] = b, x[2] = c, x[3] = d, x[4] = e, x[5] = g, x[6] = h, x[7] = i;
		}
	}
	while (n--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int c, size_t n) {
	char *t = to;
	for (; n && ((uintptr_t)t & 7); n--)
		*t++ = c;
	uint64_t w = 0x0101010101010101u * (unsigned char)c;
	for (; n >= 8; n -= 8, t += 8)
		*(uint64_t *)t = w;
	while (n--)
		*t++ = c;
	return to;
}

int memcmp(const void *a, const void *b, size_t n) {
	const unsigned char *x = a, *y = b;
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

int strcmp(const char *a, const char *b) {
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}
