// Integers: sieve, crc32, sort, hash table, compression.
#include "rt.h"

uint64_t random64(void) {
	static uint64_t x = 0x2545f4914f6cdd1d;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

// Primes below four million, counted thirty times.
uint64_t sieve(void) {
	enum { N = 4000000 };
	char *composite = pages(N);
	uint64_t count = 0;
	for (int round = 0; round < 30; round++) {
		memset(composite, 0, N);
		for (long i = 2; i < N; i++) {
			if (composite[i])
				continue;
			count++;
			for (long j = i * i; j < N; j += i)
				composite[j] = 1;
		}
	}
	return count;
}

// The checksum of Ethernet and zip over 1 MiB, a hundred times, by table.
uint64_t crc32(void) {
	enum { N = 1 << 20 };
	static uint32_t table[256];
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320 ^ (c >> 1) : c >> 1;
		table[i] = c;
	}
	unsigned char *b = pages(N);
	for (int i = 0; i < N; i++)
		b[i] = random64();
	uint32_t c = ~0u;
	for (int round = 0; round < 100; round++)
		for (int i = 0; i < N; i++)
			c = table[(c ^ b[i]) & 255] ^ (c >> 8);
	return ~c;
}

static void sink(uint64_t *a, long root, long n) {
	uint64_t x = a[root];
	for (long child; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && a[child + 1] > a[child])
			child++;
		if (a[child] <= x)
			break;
		a[root] = a[child];
	}
	a[root] = x;
}

static void quick(uint64_t *a, long n) {
	while (n > 16) {
		uint64_t lo = a[0], mid = a[n / 2], hi = a[n - 1];
		uint64_t pivot = lo < mid ? (mid < hi ? mid : lo < hi ? hi : lo) : (lo < hi ? lo : mid < hi ? hi : mid);
		long i = -1, j = n;
		for (;;) {
			while (a[++i] < pivot)
				;
			while (a[--j] > pivot)
				;
			if (i >= j)
				break;
			uint64_t t = a[i];
			a[i] = a[j];
			a[j] = t;
		}
		if (j + 1 < n - j - 1) {
			quick(a, j + 1);
			a += j + 1;
			n -= j + 1;
		} else {
			quick(a + j + 1, n - j - 1);
			n = j + 1;
		}
	}
	for (long i = 1; i < n; i++) {
		uint64_t x = a[i];
		long j = i;
		for (; j > 0 && a[j - 1] > x; j--)
			a[j] = a[j - 1];
		a[j] = x;
	}
}

// Random numbers: a million by quicksort, twice, 400,000 by heapsort.
uint64_t sort(void) {
	enum { N = 1000000, H = 400000 };
	uint64_t *a = pages(8 * N), sum = 0;
	for (int round = 0; round < 2; round++) {
		for (long i = 0; i < N; i++)
			a[i] = random64();
		quick(a, N);
		for (long i = 0; i < N; i += 1000)
			sum = sum * 31 + a[i];
	}
	for (long i = 0; i < H; i++)
		a[i] = random64();
	for (long i = H / 2; i-- > 0;)
		sink(a, i, H);
	for (long i = H; i-- > 1;) {
		uint64_t t = a[0];
		a[0] = a[i];
		a[i] = t;
		sink(a, 0, i);
	}
	for (long i = 0; i < H; i += 1000)
		sum = sum * 31 + a[i];
	return sum;
}

// A table with open addressing in 2 MiB: counts under 64 Ki keys.
uint64_t hash(void) {
	enum { BITS = 17, N = 1 << BITS, KEYS = 1 << 16 };
	struct { uint64_t key, count; } *t = pages(N * 16);
	uint64_t sum = 0;
	for (int i = 0; i < 50000000; i++) {
		uint64_t key = (random64() & (KEYS - 1)) + 1;
		uint64_t h = key * 0x9e3779b97f4a7c15u >> (64 - BITS);
		while (t[h].key && t[h].key != key)
			h = (h + 1) & (N - 1);
		t[h].key = key;
		sum += t[h].count++;
	}
	return sum;
}
