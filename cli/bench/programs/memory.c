// Memory: loads that wait for one another, and copies.
#include "rt.h"

// A random cycle through 128 Ki entries of 4 bytes, sixty million steps.
uint64_t chase(void) {
	enum { N = 1 << 17 };
	uint32_t *next = pages(4 * N);
	for (uint32_t i = 0; i < N; i++)
		next[i] = i;
	for (uint32_t i = N - 1; i > 0; i--) { // one cycle through all
		uint32_t j = random64() % i, t = next[i];
		next[i] = next[j];
		next[j] = t;
	}
	uint32_t at = 0;
	for (long i = 0; i < 60000000; i++)
		at = next[at];
	return at;
}

// 1 MiB to and fro, 5000 times.
uint64_t copy(void) {
	enum { N = 1 << 20 };
	unsigned char *a = pages(N), *b = pages(N);
	memset(a, 1, N);
	for (int i = 0; i < 5000; i++) {
		memcpy(b, a, N);
		b[i] += b[N - 1 - i] + i;
		unsigned char *t = a;
		a = b;
		b = t;
	}
	uint64_t sum = 0;
	for (int i = 0; i < 5000; i++)
		sum = sum * 31 + a[i];
	return sum;
}
