/*
 * Arithmetic of every kind with known-good printing: digits of pi in integers, SHA-256, matrices in
 * float, double and long double, 128-bit integers, bit operations, conversions. `numbers SEED`.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint64_t next(void)
{
	state += 0x9e3779b97f4a7c15u;
	uint64_t z = state;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void pi_digits(unsigned count)
{
	unsigned length = count * 10 / 3 + 2, nines = 0, before = 0;
	unsigned *a = malloc(length * sizeof(*a));
	unsigned sum = 0;

	for (unsigned i = 0; i < length; i++)
		a[i] = 2;
	for (unsigned digit = 0; digit < count; digit++) {
		unsigned carry = 0;

		for (unsigned i = length; i-- > 0;) {
			unsigned value = a[i] * 10 + carry;

			a[i] = value % (2 * i + 1);
			carry = i ? value / (2 * i + 1) * i : value / (2 * i + 1);
		}
		a[0] = carry % 10;
		carry /= 10;
		if (carry == 9) {
			nines++;
		} else {
			unsigned over = carry == 10;

			sum = sum * 31 + before + over;
			for (; nines; nines--)
				sum = sum * 31 + (over ? 0 : 9);
			before = over ? 0 : carry;
		}
	}
	printf("pi %08x\n", sum);
	free(a);
}

static void rounds_of_sha256(uint32_t h[8], const uint8_t *block)
{
	static uint32_t k[64];
	uint32_t w[64], v[8];

	if (!k[0]) {
		for (unsigned n = 2, i = 0; i < 64; n++) {
			unsigned d = 2;

			while (d * d <= n && n % d)
				d++;
			if (d * d > n)
				k[i++] = (uint32_t)((cbrtl(n) - floorl(cbrtl(n))) * 4294967296.0L);
		}
	}
	for (unsigned i = 0; i < 16; i++)
		w[i] = (uint32_t)block[i * 4] << 24 | block[i * 4 + 1] << 16 | block[i * 4 + 2] << 8 |
		       block[i * 4 + 3];
#define ROR(x, n) ((x) >> (n) | (x) << (32 - (n)))
	for (unsigned i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (ROR(w[i - 15], 7) ^ ROR(w[i - 15], 18) ^ w[i - 15] >> 3) +
		       (ROR(w[i - 2], 17) ^ ROR(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(v, h, sizeof(v));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t a = v[7] + (ROR(v[4], 6) ^ ROR(v[4], 11) ^ ROR(v[4], 25)) +
			     ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
		uint32_t b = (ROR(v[0], 2) ^ ROR(v[0], 13) ^ ROR(v[0], 22)) +
			     ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof(*v));
		v[4] += a;
		v[0] = a + b;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += v[i];
}

static void hash(unsigned blocks)
{
	uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	uint8_t block[64];

	while (blocks--) {
		for (unsigned i = 0; i < 64; i += 8) {
			uint64_t value = next();

			memcpy(block + i, &value, 8);
		}
		rounds_of_sha256(h, block);
	}
	printf("sha256 %08x%08x%08x%08x\n", h[0], h[1], h[6], h[7]);
}

#define MATRIX(name, type, format)                                                              \
	static void name(unsigned rounds)                                                       \
	{                                                                                       \
		enum { N = 60 };                                                                \
		static type a[N][N], b[N][N], c[N][N];                                          \
                                                                                                \
		for (unsigned i = 0; i < N; i++)                                                \
			for (unsigned j = 0; j < N; j++) {                                      \
				a[i][j] = (type)(next() % 2001) / 1000 - 1;                     \
				b[i][j] = (type)(next() % 2001) / 1000 - 1;                     \
			}                                                                       \
		while (rounds--) {                                                              \
			for (unsigned i = 0; i < N; i++)                                        \
				for (unsigned j = 0; j < N; j++) {                              \
					type sum = 0;                                           \
                                                                                                \
					for (unsigned k = 0; k < N; k++)                        \
						sum += a[i][k] * b[k][j];                       \
					c[i][j] = sum / 5;                                      \
				}                                                               \
			for (unsigned i = 0; i < N; i++)                                        \
				for (unsigned j = 0; j < N; j++)                                \
					a[i][j] = c[j][i] + b[i][j] / (1 + i + j);              \
		}                                                                               \
		printf(#name " " format "\n", a[3][7]);                                         \
	}
MATRIX(floats, float, "%a")
MATRIX(doubles, double, "%a")
MATRIX(long_doubles, long double, "%La")
MATRIX(integers, uint32_t, "%u")

#ifdef __SIZEOF_INT128__
static void wide(void)
{
	unsigned __int128 value = (unsigned __int128)next() << 64 | next(), total = 0;
	const unsigned __int128 factor = (unsigned __int128)0x2360ed051fc65da4u << 64 |
					 0x4385df649fccf645u;
	__int128 difference = 0;

	for (unsigned i = 0; i < 200000; i++) {
		value = value * factor + 0x5851f42d4c957f2du;
		total += value / ((next() >> (i % 60)) + 1);
		difference -= (__int128)value % (int64_t)(next() | 1);
		total ^= value << (i % 128) | value >> (127 - i % 127);
	}
	printf("wide %016llx%016llx %016llx\n", (unsigned long long)(total >> 64),
	       (unsigned long long)total, (unsigned long long)difference);
}

#else
static void wide(void)
{
}
#endif

static void bits(void)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < 500000; i++) {
		uint64_t a = next(), b = next() >> (i % 64);
		int32_t narrow;
		int64_t full;

		total += (uint64_t)__builtin_popcountll(a) * 3 + (uint64_t)__builtin_clzll(b | 1) +
			 (uint64_t)__builtin_ctzll(b | 1ull << 63);
		total = total << (a & 63) | total >> (-a & 63);
		total ^= __builtin_bswap64(b) + __builtin_bswap32(a);
		total += (uint64_t)__builtin_add_overflow((int32_t)a, (int32_t)b, &narrow) + (uint32_t)narrow;
		total += (uint64_t)__builtin_mul_overflow((int64_t)a >> (i % 40), (int64_t)b, &full) +
			 (uint64_t)full;
		total -= (uint64_t)((int64_t)a >> (b & 63)) ^ (uint64_t)((int8_t)a * (int16_t)b);
		if ((int64_t)a < (int64_t)b)
			total += a > b ? 7 : 11;
	}
	printf("bits %016llx\n", (unsigned long long)total);
}

static void conversions(void)
{
	double sum = 0;
	uint64_t total = 0;
	char text[64];

	for (unsigned i = 0; i < 30000; i++) {
		int64_t value = (int64_t)next() >> (i % 64);
		double real = (double)value * 1.37e-9;

		sum += sin(real) + sqrt(fabs(real)) + log1p(fabs(real)) + pow(fabs(real), 0.31);
		total += (uint64_t)(int64_t)(float)value + (uint64_t)llrint(fmod(real, 1e9)) +
			 (uint64_t)(uint32_t)(int32_t)fmod(real, 1e6);
		snprintf(text, sizeof(text), "%.17g %lld %.6Lg", real, (long long)value,
			 (long double)value / 3);
		for (char *c = text; *c; c++)
			total = total * 131 + (unsigned char)*c;
		total += (uint64_t)(int64_t)strtod(text, NULL);
	}
	printf("conversions %a %016llx\n", sum, (unsigned long long)total);
}

int main(int count, char **arguments)
{
	state = count > 1 ? strtoull(arguments[1], NULL, 0) : 1;
	pi_digits(400);
	hash(8000);
	floats(20);
	doubles(20);
	long_doubles(4);
	integers(20);
	wide();
	bits();
	conversions();
	return 0;
}
