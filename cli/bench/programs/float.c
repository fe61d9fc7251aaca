// Floating point: matrix multiply, n-body, FFT, in double.
#include "rt.h"

// Two matrices of 256 by 256, eight times.
uint64_t matmul(void) {
	enum { N = 256 };
	double *a = pages(8 * N * N), *b = pages(8 * N * N), *c = pages(8 * N * N);
	for (int i = 0; i < N * N; i++)
		a[i] = i % 7 * 0.25, b[i] = i % 5 * 0.125;
	for (int round = 0; round < 8; round++)
		for (int i = 0; i < N; i++)
			for (int j = 0; j < N; j++) {
				double s = c[i * N + j];
				for (int k = 0; k < N; k++)
					s += a[i * N + k] * b[k * N + j];
				c[i * N + j] = s;
			}
	double sum = 0;
	for (int i = 0; i < N * N; i++)
		sum += c[i];
	return bits(sum);
}

// Five bodies, two million steps.
uint64_t nbody(void) {
	enum { BODIES = 5 };
	double x[BODIES][3], v[BODIES][3], m[BODIES];
	for (int i = 0; i < BODIES; i++) {
		m[i] = 1.0 / (i + 1);
		for (int k = 0; k < 3; k++)
			x[i][k] = i * 1.1 + k * 0.3, v[i][k] = 0.01 * (i - k);
	}
	for (int step = 0; step < 2000000; step++) {
		for (int i = 0; i < BODIES; i++)
			for (int j = i + 1; j < BODIES; j++) {
				double d[3], square = 1e-3;
				for (int k = 0; k < 3; k++) {
					d[k] = x[i][k] - x[j][k];
					square += d[k] * d[k];
				}
				double pull = 0.001 / (square * __builtin_sqrt(square));
				for (int k = 0; k < 3; k++) {
					v[i][k] -= d[k] * m[j] * pull;
					v[j][k] += d[k] * m[i] * pull;
				}
			}
		for (int i = 0; i < BODIES; i++)
			for (int k = 0; k < 3; k++)
				x[i][k] += 0.001 * v[i][k];
	}
	return bits(x[0][0] + x[1][1] + x[2][2]);
}

// sine by its series; good for small angles, which is all that is asked for.
static double sine(double a) {
	double term = a, sum = a;
	for (int i = 1; i < 12; i++) {
		term *= -a * a / (2 * i * (2 * i + 1));
		sum += term;
	}
	return sum;
}

// 32768 points, 250 times.
uint64_t fft(void) {
	enum { N = 1 << 15 };
	const double pi = 3.14159265358979323846;
	double *re = pages(8 * N), *im = pages(8 * N);
	for (int round = 0; round < 250; round++) {
		for (int i = 0; i < N; i++)
			re[i] = i % 17 + round, im[i] = 0;
		for (int i = 1, j = 0; i < N; i++) {
			int bit = N >> 1;
			for (; j & bit; bit >>= 1)
				j ^= bit;
			j ^= bit;
			if (i < j) {
				double t = re[i];
				re[i] = re[j];
				re[j] = t;
			}
		}
		for (int size = 2; size <= N; size <<= 1) {
			double half = sine(pi / size); // of half the angle: cos = 1 - 2 sin^2
			double wr = 1 - 2 * half * half, wi = -sine(2 * pi / size);
			for (int i = 0; i < N; i += size) {
				double cr = 1, ci = 0;
				for (int k = 0; k < size / 2; k++) {
					int lo = i + k, hi = lo + size / 2;
					double vr = re[hi] * cr - im[hi] * ci, vi = re[hi] * ci + im[hi] * cr;
					re[hi] = re[lo] - vr, im[hi] = im[lo] - vi;
					re[lo] += vr, im[lo] += vi;
					double t = cr * wr - ci * wi;
					ci = cr * wi + ci * wr;
					cr = t;
				}
			}
		}
	}
	return bits(re[7] + im[11]);
}
