// A compressor: Lempel-Ziv matches from hash chains, then an adaptive binary
// range coder. What it writes is read back and compared.
#include "rt.h"

enum { WINDOW = 1 << 16, HASH = 1 << 14, CHAIN = 16, MIN = 3, MAX = 258 };

// Probabilities that a bit is 0, of 4096.
typedef struct {
	uint16_t match, literal[256], length[256], low[256], high[256];
} Model;

static void reset(Model *m) {
	uint16_t *p = (uint16_t *)m;
	for (size_t i = 0; i < sizeof *m / sizeof *p; i++)
		p[i] = 2048;
}

// The coder keeps the interval [low, low + range) in 32 bits; a carry goes back
// into the bytes that are written.
typedef struct {
	uint32_t low, range, code;
	uint8_t *at;
} Coder;

static void put(Coder *c, uint16_t *p, int bit) {
	uint32_t bound = (c->range >> 12) * *p;
	if (bit) {
		uint32_t low = c->low + bound;
		if (low < c->low)
			for (uint8_t *b = c->at - 1; ++*b == 0; b--)
				;
		c->low = low;
		c->range -= bound;
		*p -= *p >> 5;
	} else {
		c->range = bound;
		*p += (4096 - *p) >> 5;
	}
	for (; c->range < 1 << 24; c->range <<= 8, c->low <<= 8)
		*c->at++ = c->low >> 24;
}

static int get(Coder *c, uint16_t *p) {
	uint32_t bound = (c->range >> 12) * *p;
	int bit = c->code >= bound;
	if (bit) {
		c->code -= bound;
		c->range -= bound;
		*p -= *p >> 5;
	} else {
		c->range = bound;
		*p += (4096 - *p) >> 5;
	}
	for (; c->range < 1 << 24; c->range <<= 8)
		c->code = c->code << 8 | *c->at++;
	return bit;
}

// A byte is eight bits, each with the probability that those before it select.
static void put8(Coder *c, uint16_t *tree, int byte) {
	int node = 1;
	for (int i = 7; i >= 0; i--) {
		int bit = byte >> i & 1;
		put(c, &tree[node], bit);
		node = 2 * node + bit;
	}
}

static int get8(Coder *c, uint16_t *tree) {
	int node = 1;
	while (node < 256)
		node = 2 * node + get(c, &tree[node]);
	return node & 255;
}

static size_t encode(uint8_t *to, const uint8_t *b, size_t n, Model *m, int32_t *head, int32_t *before) {
	*to = 0; // room for a carry
	Coder c = {0, ~0u, 0, to + 1};
	reset(m);
	for (int i = 0; i < HASH; i++)
		head[i] = -1;
	for (size_t i = 0; i < n;) {
		size_t length = 0, distance = 0, h = 0;
		size_t most = n - i < MAX ? n - i : MAX;
		if (most >= MIN) {
			h = (b[i] | b[i + 1] << 8 | b[i + 2] << 16) * 0x9e3779b1u >> 18;
			long at = head[h];
			for (int k = 0; k < CHAIN && at >= 0 && i - at < WINDOW; k++, at = before[at & (WINDOW - 1)]) {
				size_t l = 0;
				while (l < most && b[at + l] == b[i + l])
					l++;
				if (l > length)
					length = l, distance = i - at;
			}
		}
		size_t step = length >= MIN ? length : 1;
		put(&c, &m->match, step > 1);
		if (step > 1) {
			put8(&c, m->length, length - MIN);
			put8(&c, m->high, distance >> 8);
			put8(&c, m->low, distance & 255);
		} else
			put8(&c, m->literal, b[i]);
		for (; step; step--, i++) {
			if (n - i < MIN)
				continue;
			h = (b[i] | b[i + 1] << 8 | b[i + 2] << 16) * 0x9e3779b1u >> 18;
			before[i & (WINDOW - 1)] = head[h];
			head[h] = i;
		}
	}
	for (int i = 0; i < 4; i++, c.low <<= 8)
		*c.at++ = c.low >> 24;
	// The carry of the last bytes is in them: low was exact.
	return c.at - to;
}

static void decode(uint8_t *b, size_t n, const uint8_t *from, Model *m) {
	Coder c = {0, ~0u, 0, (uint8_t *)from + 1};
	reset(m);
	for (int i = 0; i < 4; i++)
		c.code = c.code << 8 | *c.at++;
	for (size_t i = 0; i < n;) {
		if (!get(&c, &m->match)) {
			b[i++] = get8(&c, m->literal);
			continue;
		}
		size_t length = get8(&c, m->length) + MIN;
		size_t distance = get8(&c, m->high) << 8;
		distance |= get8(&c, m->low);
		for (; length && i < n; length--, i++)
			b[i] = b[i - distance];
	}
}

// Half a megabyte of sentences over 512 words, six times.
uint64_t compress(void) {
	enum { N = 1 << 19 };
	uint8_t *text = pages(N), *packed = pages(2 * N), *again = pages(N);
	Model *m = pages(sizeof *m);
	int32_t *head = pages(4 * HASH), *before = pages(4 * WINDOW);
	uint64_t sum = 0;
	for (int round = 0; round < 6; round++) {
		for (size_t i = 0; i < N;) {
			uint64_t r = random64();
			uint64_t word = (r & 511) * (r >> 9 & 511) >> 9; // small numbers are frequent
			for (word = (word + 1) * 0x9e3779b97f4a7c15u; word > 0xffff && i < N; word >>= 9)
				text[i++] = 'a' + word % 26;
			if (i < N)
				text[i++] = r >> 60 ? ' ' : '\n';
		}
		size_t size = encode(packed, text, N, m, head, before);
		decode(again, N, packed, m);
		if (memcmp(text, again, N) != 0)
			return 0;
		sum = sum * 31 + size;
	}
	return sum;
}
