// A disk, the way a database uses one: around the page cache. The device is
// /dev/vda; its first SPAN bytes are read and the next SPAN are written, so that what is
// read stays what the host made.
#include "rt.h"

enum {
	SPAN = 64 << 20,
	LARGE = 256 << 10,
	SMALL = 4096,
	WORKERS = 8,        // processes that each have one small request under way
	EACH = 1024,        // small requests of one of them
};

static uint64_t fail(void) { sys_exit(4); }

static int open_disk(void) {
	int fd = sys_open_direct("/dev/vda");
	if (fd < 0)
		fail();
	return fd;
}

static void fill(uint64_t *b, size_t n) {
	for (size_t i = 0; i < n / 8; i++)
		b[i] = random64();
}

static void request(int fd, int write, void *b, size_t n, uint64_t at) {
	if ((write ? sys_pwrite(fd, b, n, at) : sys_pread(fd, b, n, at)) != (long)n)
		fail();
}

// All of the span, one large request after the other.
static uint64_t sequence(int write) {
	int fd = open_disk();
	char *b = pages(LARGE);
	fill((uint64_t *)b, LARGE);
	for (uint64_t at = 0; at < SPAN; at += LARGE)
		request(fd, write, b, LARGE, write * SPAN + at);
	if (write && sys_fsync(fd) != 0)
		fail();
	return SPAN;
}

// Small requests of one process: anywhere, or in a row in a part of its own.
static void small(int worker, int write, int row) {
	int fd = open_disk();
	char *b = pages(SMALL);
	fill((uint64_t *)b, SMALL);
	for (int i = 0; i < worker * EACH; i++)
		random64();
	for (int i = 0; i < EACH; i++) {
		uint64_t block = row ? (uint64_t)(worker * EACH + i) : random64() % (SPAN / SMALL);
		request(fd, write, b, SMALL, write * SPAN + block * SMALL);
	}
	if (write && sys_fsync(fd) != 0)
		fail();
	sys_exit(0);
}

// Small requests, several under way.
static uint64_t several(int write, int row) {
	int pid[WORKERS];
	for (int w = 0; w < WORKERS; w++)
		if ((pid[w] = sys_fork()) == 0)
			small(w, write, row);
	for (int w = 0; w < WORKERS; w++)
		if (pid[w] < 0 || sys_wait(pid[w]) != 0)
			fail();
	return (uint64_t)WORKERS * EACH * SMALL;
}

uint64_t seqread(void) { return sequence(0); }
uint64_t seqwrite(void) { return sequence(1); }
uint64_t seqread4k(void) { return several(0, 1); }
uint64_t seqwrite4k(void) { return several(1, 1); }
uint64_t randread(void) { return several(0, 0); }
uint64_t randwrite(void) { return several(1, 0); }
