/*
 * What fuzz targets share: the entry point that libFuzzer and replay.c call, a reader that takes
 * values off the input, and a check that ends the process loudly.
 */
#ifndef KVIK_TESTS_FUZZ_FUZZ_H
#define KVIK_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One input; returns 0. A finding is a crash, a sanitizer's report, a timeout or fuzz_check. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* Fill `buffer` from the input; what the input does not have any more is zero. */
static inline void fuzz_take(struct fuzz_input *input, void *buffer, size_t size)
{
	size_t taken = size < input->size ? size : input->size;

	memset(buffer, 0, size);
	if (taken)
		memcpy(buffer, input->data, taken);
	input->data += taken;
	input->size -= taken;
}

static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
	uint8_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
	uint16_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

static inline uint32_t fuzz_u32(struct fuzz_input *input)
{
	uint32_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

static inline uint64_t fuzz_u64(struct fuzz_input *input)
{
	uint64_t value;

	fuzz_take(input, &value, sizeof(value));
	return value;
}

#define fuzz_check(condition)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__,           \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
