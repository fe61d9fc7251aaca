// The kernel: processes, pipes, mappings, page faults, system calls.
#include "rt.h"

static uint64_t fail(void) {
	sys_exit(4);
}

// 400 processes that do nothing.
uint64_t forkexec(void) {
	char *argv[] = {"main", "true", NULL};
	for (int i = 0; i < 400; i++) {
		int pid = sys_fork();
		if (pid == 0) {
			sys_exec("/proc/self/exe", argv);
			sys_exit(1);
		}
		if (pid < 0 || sys_wait(pid) != 0)
			return fail();
	}
	return 400;
}

// A byte to another process and back, 20,000 times.
uint64_t pingpong(void) {
	int there[2], back[2];
	char c = 0;
	if (sys_pipe(there) != 0 || sys_pipe(back) != 0)
		return fail();
	int pid = sys_fork();
	if (pid == 0) {
		sys_close(there[1]);
		while (sys_read(there[0], &c, 1) == 1) {
			c++;
			if (sys_write(back[1], &c, 1) != 1)
				break;
		}
		sys_exit(0);
	}
	for (int i = 0; i < 20000; i++)
		if (sys_write(there[1], &c, 1) != 1 || sys_read(back[0], &c, 1) != 1)
			return fail();
	sys_close(there[1]);
	if (sys_wait(pid) != 0)
		return fail();
	return (unsigned char)c;
}

// Mappings of 64 KiB of which two pages are touched, 20,000 times.
uint64_t churn(void) {
	for (int i = 0; i < 20000; i++) {
		char *p = pages(65536);
		p[0] = p[8192] = 1;
		unmap(p, 65536);
	}
	return 20000;
}

// 100,000 pages touched for the first time, 12,500 at a time.
uint64_t faults(void) {
	enum { N = 12500 };
	for (int round = 0; round < 8; round++) {
		char *p = pages(N * 4096L);
		for (long i = 0; i < N; i++)
			p[i * 4096] = 1;
		unmap(p, N * 4096L);
	}
	return 8 * N;
}

// The shortest system call, a million times.
uint64_t calls(void) {
	uint64_t sum = 0;
	for (int i = 0; i < 1000000; i++)
		sum += sys_getppid() > 0;
	return sum;
}
