// Calls and branches: recursion, an interpreter, a loop that fits in registers.
#include "rt.h"

__attribute__((noinline, noclone)) static uint64_t fibonacci(int n) {
	return n < 2 ? (uint64_t)n : fibonacci(n - 1) + fibonacci(n - 2);
}

uint64_t fib(void) {
	uint64_t sum = 0;
	for (int i = 0; i < 4; i++)
		sum += fibonacci(34 + (sum & 1));
	return sum;
}

// A stack machine that counts Collatz steps of the numbers below 40,000.
uint64_t interp(void) {
	enum { END, PUSH, LOAD, STORE, ADD, MUL, HALF, ODD, LESS, JUMP, JUMPZ };
	enum { I, X, STEPS };
	static const int32_t code[] = {
		/*  0 */ PUSH, 1, STORE, I,
		/*  4 */ LOAD, I, PUSH, 40000, LESS, JUMPZ, 0,
		/* 11 */ LOAD, I, STORE, X,
		/* 15 */ PUSH, 1, LOAD, X, LESS, JUMPZ, 0,
		/* 22 */ LOAD, STEPS, PUSH, 1, ADD, STORE, STEPS,
		/* 29 */ LOAD, X, ODD, JUMPZ, 0,
		/* 34 */ LOAD, X, PUSH, 3, MUL, PUSH, 1, ADD,
		/* 42 */ STORE, X, JUMP, 15,
	};
	// The three jumps to 0 go to what follows here: the even case, the end of a
	// number, the end.
	int32_t p[96];
	int n = 0;
	for (size_t i = 0; i < sizeof code / sizeof code[0]; i++)
		p[n++] = code[i];
	int even = n;
	p[n++] = LOAD, p[n++] = X, p[n++] = HALF, p[n++] = STORE, p[n++] = X, p[n++] = JUMP, p[n++] = 15;
	int done = n;
	p[n++] = LOAD, p[n++] = I, p[n++] = PUSH, p[n++] = 1, p[n++] = ADD, p[n++] = STORE, p[n++] = I, p[n++] = JUMP, p[n++] = 4;
	int end = n;
	p[n++] = END;
	p[10] = end, p[21] = done, p[33] = even;

	int64_t stack[16], *top = stack, var[3] = {0};
	for (const int32_t *pc = p;;) {
		switch (*pc++) {
		case END:
			return var[STEPS];
		case PUSH:
			*top++ = *pc++;
			break;
		case LOAD:
			*top++ = var[*pc++];
			break;
		case STORE:
			var[*pc++] = *--top;
			break;
		case ADD:
			top--, top[-1] += *top;
			break;
		case MUL:
			top--, top[-1] *= *top;
			break;
		case HALF:
			top[-1] >>= 1;
			break;
		case ODD:
			top[-1] &= 1;
			break;
		case LESS:
			top--, top[-1] = top[-1] < *top;
			break;
		case JUMP:
			pc = p + *pc;
			break;
		case JUMPZ:
			pc = *--top ? pc + 1 : p + *pc;
			break;
		}
	}
}

// 400 million turns of four instructions.
uint64_t loop(void) {
	uint64_t a = 1, b = 3;
	for (long i = 0; i < 400000000; i++) {
		a = a * 5 + b;
		b ^= a >> 7;
	}
	return a ^ b;
}
