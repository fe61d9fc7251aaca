// The system's side of rt.h by the host's C library, for native times.
#define _GNU_SOURCE
#include "rt.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void *pages(size_t n) {
	void *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		_exit(3);
	return p;
}
void unmap(void *p, size_t n) { munmap(p, n); }
int sys_fork(void) { return fork(); }
int sys_exec(const char *path, char *const argv[]) { return execv(path, argv); }
int sys_wait(int pid) {
	int status = -1;
	return waitpid(pid, &status, 0) < 0 ? -1 : status;
}
int sys_pipe(int ends[2]) { return pipe(ends); }
long sys_read(int fd, void *b, size_t n) { return read(fd, b, n); }
long sys_write(int fd, const void *b, size_t n) { return write(fd, b, n); }
int sys_close(int fd) { return close(fd); }
int sys_open_direct(const char *path) { return open(path, O_RDWR | O_DIRECT); }
long sys_pread(int fd, void *b, size_t n, uint64_t at) { return pread(fd, b, n, at); }
long sys_pwrite(int fd, const void *b, size_t n, uint64_t at) { return pwrite(fd, b, n, at); }
int sys_fsync(int fd) { return fsync(fd); }
int sys_getppid(void) { return getppid(); }
_Noreturn void sys_exit(int status) { _exit(status); }
