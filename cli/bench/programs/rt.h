// What the programs need of the system: as little as a host's compiler and the
// guest's kernel both give without a library for the guest.
#ifndef RT_H
#define RT_H

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
int strcmp(const char *a, const char *b);

// pages maps n bytes of zeros, private to the process; unmap gives them back.
void *pages(size_t n);
void unmap(void *p, size_t n);

// What POSIX has under these names without the prefix.
int sys_fork(void);
int sys_exec(const char *path, char *const argv[]);
int sys_wait(int pid);
int sys_pipe(int ends[2]);
long sys_read(int fd, void *b, size_t n);
long sys_write(int fd, const void *b, size_t n);
int sys_close(int fd);
int sys_getppid(void);
int sys_open_direct(const char *path); // O_RDWR and O_DIRECT
long sys_pread(int fd, void *b, size_t n, uint64_t at);
long sys_pwrite(int fd, const void *b, size_t n, uint64_t at);
int sys_fsync(int fd);
_Noreturn void sys_exit(int status);

// random64 is the next number of a fixed sequence (xorshift).
uint64_t random64(void);

// bits is the representation of a number: what a program prints of it is exact.
static inline uint64_t bits(double d) {
	union { double d; uint64_t u; } b = {d};
	return b.u;
}

// The programs. Each returns a number that depends on all of its work.
uint64_t sieve(void), crc32(void), sort(void), hash(void), compress(void);
uint64_t matmul(void), nbody(void), fft(void);
uint64_t chase(void), copy(void);
uint64_t fib(void), interp(void), loop(void);
uint64_t forkexec(void), pingpong(void), churn(void), faults(void), calls(void);
uint64_t seqread(void), seqread4k(void), randread(void);
uint64_t seqwrite(void), seqwrite4k(void), randwrite(void);

#endif
