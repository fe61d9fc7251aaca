// One program holds all of them: main NAME runs one and prints what it computed.
#include "rt.h"

static const struct {
	const char *name;
	uint64_t (*run)(void);
} programs[] = {
	{"sieve", sieve}, {"crc32", crc32}, {"sort", sort}, {"hash", hash}, {"compress", compress},
	{"matmul", matmul}, {"nbody", nbody}, {"fft", fft},
	{"chase", chase}, {"copy", copy},
	{"fib", fib}, {"interp", interp}, {"loop", loop},
	{"forkexec", forkexec}, {"pingpong", pingpong}, {"churn", churn}, {"faults", faults}, {"calls", calls},
	{"seqread", seqread}, {"seqread4k", seqread4k}, {"randread", randread},
	{"seqwrite", seqwrite}, {"seqwrite4k", seqwrite4k}, {"randwrite", randwrite},
};

static void print(uint64_t x) {
	char line[17];
	for (int i = 15; i >= 0; i--, x >>= 4)
		line[i] = "0123456789abcdef"[x & 15];
	line[16] = '\n';
	sys_write(1, line, sizeof line);
}

int main(int argc, char **argv) {
	if (argc != 2)
		return 2;
	if (strcmp(argv[1], "true") == 0)
		return 0;
	for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
		if (strcmp(argv[1], programs[i].name) == 0) {
			print(programs[i].run());
			return 0;
		}
	return 2;
}
