/*
 * Random values that find bugs: numbers at the edges of their types, addresses at the edges of the
 * test's memory, floating-point numbers of every class, and whole XSAVE images of them.
 */
#include "state.h"

#include "engine/x86/fpu/fpu.h"

#define LEGACY_USED 416 /* bytes of the legacy region with state */

#include <string.h>

#define IMAGES 16 /* different contents of the data pages */

static uint64_t random_state;

uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

void random_seed(uint64_t seed)
{
	random_state = seed;
}

uint64_t random64(void)
{
	return mix(random_state += 0x9e3779b97f4a7c15);
}

unsigned below(unsigned limit)
{
	return (random64() >> 32) * limit >> 32;
}

bool chance(unsigned percent)
{
	return below(100) < percent;
}

static uint64_t interesting_integer(void)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000,
		0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
		0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffffffe, 0xffffffffffffffff,
		0x8000000080000000, 0x5555555555555555, 0x0123456789abcdef,
	};

	return values[below(sizeof(values) / sizeof(values[0]))];
}

uint64_t data_address(unsigned size)
{
	unsigned place = below(100);
	uint64_t address;

	if (place < 55)
		address = ISA_DATA + ISA_PAGE - 320 + below(640);
	else if (place < 88)
		address = ISA_DATA + below(ISA_DATA_SIZE - 1024);
	else if (place < 94)
		address = ISA_DATA + ISA_DATA_SIZE - 1 - below(size + 64);
	else if (place < 97)
		address = ISA_READONLY + below(ISA_PAGE);
	else
		address = ISA_DATA - below(size + 8);
	/* Large operands want to be aligned, mostly. */
	if (size >= 512 && chance(90))
		return address & ~63ull;
	if (size >= 16 && chance(70))
		return address & ~(uint64_t)((size > 64 ? 64 : size) - 1);
	return address;
}

uint64_t random_register(void)
{
	switch (below(8)) {
	case 0:
	case 1: return data_address(8);
	case 2:
	case 3: return interesting_integer();
	case 4: return below(256);
	case 5: return (int64_t)(int32_t)random64();
	default: return random64();
	}
}

static uint32_t random_float(void)
{
	static const uint32_t values[] = {
		0, 0x80000000, 0x3f800000, 0xbf800000, 1, 0x007fffff, 0x00800000, 0x80800000,
		0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001,
		0xffbfffff, 0x3f000000, 0x40490fdb, 0x4f000000, 0xcf000000, 0x5f000000, 0x4b7fffff,
	};

	if (chance(60))
		return values[below(sizeof(values) / sizeof(values[0]))];
	if (chance(50))
		return 0x3f800000 + (random64() & 0x80ffffff);
	return random64();
}

static uint64_t random_double(void)
{
	static const uint64_t values[] = {
		0, 1ull << 63, 0x3ff0000000000000, 0xbff0000000000000, 1, 0x000fffffffffffff,
		0x0010000000000000, 0x7fefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000,
		0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001, 0x3fe0000000000000,
		0x400921fb54442d18, 0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000,
		0x433fffffffffffff, 0x3ca0000000000000,
	};

	if (chance(60))
		return values[below(sizeof(values) / sizeof(values[0]))];
	if (chance(50))
		return 0x3ff0000000000000 + (random64() & 0x801fffffffffffff);
	return random64();
}

static void random_vector(uint8_t *bytes, unsigned size)
{
	unsigned kind = below(6);

	for (unsigned i = 0; i < size; i += 8) {
		uint64_t value;

		switch (kind) {
		case 0: value = random_float() | (uint64_t)random_float() << 32; break;
		case 1: value = random_double(); break;
		case 2: value = below(256); break;
		case 3: value = interesting_integer(); break;
		case 4: value = below(512) | (uint64_t)below(512) << 32; break;
		default: value = random64(); break;
		}
		memcpy(bytes + i, &value, 8);
	}
}

/* An 80-bit number, now and then of a kind that only old coprocessors made. */
static void random_extended(uint8_t *bytes)
{
	static const struct {
		uint16_t exponent;
		uint64_t mantissa;
	} values[] = {
		{0, 0}, {0x8000, 0}, {0x3fff, 1ull << 63}, {0xbfff, 1ull << 63}, {0, 1},
		{0, 1ull << 63},
		{1, 1ull << 63}, {0x7ffe, ~0ull}, {0x7fff, 1ull << 63}, {0xffff, 1ull << 63},
		{0x7fff, 3ull << 62}, {0xffff, 3ull << 62}, {0x7fff, (1ull << 63) + 1},
		{0x4000, 0xc90fdaa22168c235}, {0x403e, ~0ull}, {0x3ffe, 1ull << 63},
		{0x4005, 1ull << 62},
		{0x7fff, 0}, {0x403d, 1ull << 63}, {0x401e, 0x9000000000000000},
	};
	uint16_t exponent = 0x3fff + below(128) - 64 + (chance(50) ? 0x8000 : 0);
	uint64_t mantissa = random64() | 1ull << 63;

	if (chance(60)) {
		unsigned i = below(sizeof(values) / sizeof(values[0]));

		exponent = values[i].exponent;
		mantissa = values[i].mantissa;
	} else if (chance(10)) {
		exponent = random64();
		mantissa = random64();
	}
	memcpy(bytes, &mantissa, 8);
	memcpy(bytes + 8, &exponent, 2);
	memset(bytes + 10, 0, 6);
}

void random_xsave(uint8_t *image, enum isa_class class)
{
	uint64_t components = native_components;
	uint16_t control = 0x37f, status = below(8) << 11 | (random64() & 0x4700);
	uint8_t tags = chance(50) ? 0xff : chance(50) ? 0 : random64();
	uint32_t mxcsr = 0x1f80;
	bool uses_x87 = class == ISA_X87 || class == ISA_MMX || chance(10);

	memset(image, 0, ISA_XSAVE_SIZE);
	if (chance(40))
		control = (random64() & 0x1f00) | 0x7f;
	if (chance(4))
		control = (random64() & 0x1f3f) | 0x40;
	if (chance(10))
		status |= random64() & 0x7f;
	/* ES and B follow from unmasked exceptions. */
	if (status & ~control & 0x3f)
		status |= 0x8080;
	if (chance(40))
		mxcsr |= random64() & 0xe07f;
	if (chance(4))
		mxcsr = random64() & 0xffff;

	if (!uses_x87) {
		components &= ~1ull;
		control = 0x37f;
		status = tags = 0;
	}
	memcpy(image, &control, 2);
	memcpy(image + 2, &status, 2);
	image[4] = tags;
	for (unsigned i = 0; i < 8 && uses_x87; i++)
		random_extended(image + 32 + i * 16);
	/* A component that is not in the header is in its initial state: the bytes then stay 0. */
	if (chance(5))
		components &= random64();
	if ((components & 0xe0) != 0xe0)
		components &= ~0xe0ull;
	if (!(components & 6))
		mxcsr = 0x1f80;
	memcpy(image + 24, &mxcsr, 4);
	if (components & 2)
		for (unsigned i = 0; i < 16; i++)
			random_vector(image + ISA_XMM + i * 16, 16);
	if (components & 4)
		for (unsigned i = 0; i < 16; i++)
			random_vector(image + ISA_YMM_HIGH + i * 16, 16);
	if (components & 0x20)
		for (unsigned i = 0; i < 8; i++) {
			uint64_t mask = chance(30) ? ~0ull : chance(30) ? below(256) : random64();

			memcpy(image + ISA_OPMASK + i * 8, &mask, 8);
		}
	if (components & 0x40)
		for (unsigned i = 0; i < 16; i++)
			random_vector(image + ISA_ZMM_HIGH + i * 32, 32);
	if (components & 0x80)
		for (unsigned i = 0; i < 16; i++)
			random_vector(image + ISA_ZMM16 + i * 64, 64);
	memcpy(image + ISA_XSTATE_BV, &components, 8);
}

const uint8_t *data_image(uint64_t seed, uint64_t index)
{
	static uint8_t images[IMAGES][ISA_DATA_SIZE];
	static bool is_made;
	static uint64_t made_for;
	uint64_t saved = random_state;

	if (!is_made || made_for != seed) {
		random_state = mix(seed);
		for (unsigned i = 0; i < IMAGES; i++)
			for (unsigned j = 0; j < ISA_DATA_SIZE; j += 16)
				random_vector(&images[i][j], 16);
		is_made = true;
		made_for = seed;
		random_state = saved;
	}
	return images[index % IMAGES];
}

/* Where components are that both sides have. */
static const struct {
	uint8_t component;
	uint16_t offset, size;
} places[] = {
	{2, ISA_YMM_HIGH, ISA_OPMASK - ISA_YMM_HIGH},
	{5, ISA_OPMASK, ISA_ZMM_HIGH - ISA_OPMASK},
	{6, ISA_ZMM_HIGH, ISA_ZMM16 - ISA_ZMM_HIGH},
	{7, ISA_ZMM16, ISA_XSAVE_SIZE - ISA_ZMM16},
};

void isa_state_to_host(uint8_t *area, const uint8_t *xsave)
{
	memcpy(area, xsave, LEGACY_USED);
	memcpy(area + ISA_XSTATE_BV, xsave + ISA_XSTATE_BV, 8);
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (native_components >> places[i].component & 1)
			memcpy(area + fpu_layout.offset[places[i].component],
			       xsave + places[i].offset, places[i].size);
}

void isa_state_from_host(uint8_t *xsave, const uint8_t *area)
{
	memcpy(xsave, area, LEGACY_USED);
	memcpy(xsave + ISA_XSTATE_BV, area + ISA_XSTATE_BV, 8);
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (native_components >> places[i].component & 1)
			memcpy(xsave + places[i].offset,
			       area + fpu_layout.offset[places[i].component], places[i].size);
}
