/* State streams: the bytes of the format, and what a damaged or foreign stream gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "util/state.h"

struct fields {
	uint8_t byte;
	uint16_t word;
	uint32_t doubleword;
	uint64_t quadword;
	int64_t difference;
	bool flag;
	uint8_t run[3];
};

static const struct fields sample = {0x11, 0x2233, 0x44556677, 0x8899aabbccddeeff,
                                     -2,   true,   {7, 8, 9}};

/* A section named "ab" of version 3 with one field of each kind. */
static const uint8_t format[] = {
    2,    'a',  'b',  3,    0,    0,    0,    38,   0,    0,    0,    1,    0x11,
    2,    0x33, 0x22, 4,    0x77, 0x66, 0x55, 0x44, 8,    0xff, 0xee, 0xdd, 0xcc,
    0xbb, 0xaa, 0x99, 0x88, 8,    0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    1,    1,    0x40, 3,    0,    0,    0,    7,    8,    9,
};

static void transfer(struct state_stream *state, struct fields *fields)
{
	state_u8(state, "byte", &fields->byte);
	state_u16(state, "word", &fields->word);
	state_u32(state, "doubleword", &fields->doubleword);
	state_u64(state, "quadword", &fields->quadword);
	state_i64(state, "difference", &fields->difference);
	state_bool(state, "flag", &fields->flag);
	state_bytes(state, "run", fields->run, sizeof(fields->run));
}

/* What loading these bytes as section "ab" says; "" when all is well. */
static const char *load(const uint8_t *bytes, size_t size, uint32_t version, struct fields *fields)
{
	static struct error error;
	struct state_stream state;

	error.message[0] = 0;
	memset(fields, 0x5a, sizeof(*fields));
	state_load_begin(&state, bytes, size);
	state_section_begin(&state, "ab", version);
	transfer(&state, fields);
	state_section_end(&state);
	state_loaded(&state, &error);
	state_end(&state);
	return error.message;
}

static void test_format(void **test)
{
	struct fields fields = sample;
	struct state_stream state;
	struct error error;
	const void *bytes;
	size_t size;

	(void)test;
	state_save_begin(&state);
	state_section_begin(&state, "ab", 3);
	transfer(&state, &fields);
	state_section_end(&state);
	assert_int_equal(state_saved(&state, &bytes, &size, &error), 0);
	assert_int_equal(size, sizeof(format));
	assert_memory_equal(bytes, format, size);
	state_end(&state);
	assert_string_equal(load(format, sizeof(format), 3, &fields), "");
	assert_int_equal(fields.byte, sample.byte);
	assert_int_equal(fields.word, sample.word);
	assert_int_equal(fields.doubleword, sample.doubleword);
	assert_true(fields.quadword == sample.quadword);
	assert_int_equal(fields.difference, -2);
	assert_true(fields.flag);
	assert_memory_equal(fields.run, sample.run, 3);
	/* A later build loads it. */
	assert_string_equal(load(format, sizeof(format), 9, &fields), "");
}

static void test_grows(void **test)
{
	struct state_stream state;
	struct error error;
	const void *bytes;
	uint8_t big[3000];
	size_t size;
	unsigned i;

	(void)test;
	state_save_begin(&state);
	for (i = 0; i < 10; i++) {
		memset(big, i, sizeof(big));
		state_section_begin(&state, "big", 1);
		state_bytes(&state, "bytes", big, sizeof(big));
		state_section_end(&state);
	}
	assert_int_equal(state_saved(&state, &bytes, &size, &error), 0);
	assert_int_equal(size, 10 * (1 + 3 + 4 + 4 + 5 + sizeof(big)));
	assert_int_equal(((const uint8_t *)bytes)[size - 1], 9);
	state_end(&state);
}

static void test_truncated(void **test)
{
	struct fields fields;
	uint8_t *copy;
	size_t size;

	(void)test;
	for (size = 0; size < sizeof(format); size++) {
		/* Exactly as long, for the address sanitizer. */
		copy = malloc(size ? size : 1);
		memcpy(copy, format, size);
		assert_non_null(strstr(load(copy, size, 3, &fields), "ends too early"));
		free(copy);
	}
}

static void expect(size_t at, uint8_t value, const char *message)
{
	uint8_t bytes[sizeof(format)];
	struct fields fields;

	memcpy(bytes, format, sizeof(format));
	bytes[at] = value;
	assert_string_equal(load(bytes, sizeof(bytes), 3, &fields), message);
}

static void test_refused(void **test)
{
	uint8_t longer[sizeof(format) + 1];
	struct fields fields;

	(void)test;
	expect(1, 'x', "the saved state of the machine: it has xb where this machine has ab");
	expect(1, '\n', "the saved state of the machine: it has ?b where this machine has ab");
	expect(0, 64,
	       "the saved state of the machine: a part's name has 64 characters, more than 63");
	expect(3, 4, "the saved state of ab: its version is 4, this kvik knows 1 to 3");
	expect(3, 0, "the saved state of ab: its version is 0, this kvik knows 1 to 3");
	expect(7, 39, "the saved state of ab: it ends too early");
	expect(10, 0xff, "the saved state of ab: it ends too early");
	expect(7, 37, "the saved state of ab: it ends too early");
	expect(11, 2, "the saved state of ab: byte is not a number of 8 bits");
	expect(40, 2, "the saved state of ab: flag has a value that it cannot have");
	expect(42, 4, "the saved state of ab: run is not a run of 3 bytes");
	memcpy(longer, format, sizeof(format));
	longer[sizeof(format)] = 0;
	assert_string_equal(
	    load(longer, sizeof(longer), 3, &fields),
	    "the saved state of the machine: 1 bytes are left that no part of it knows");
	longer[7]++;
	assert_string_equal(load(longer, sizeof(longer), 3, &fields),
	                    "the saved state of ab: it has 1 bytes more than this kvik knows");
	/* After a failure everything is zero. */
	expect(11, 2, "the saved state of ab: byte is not a number of 8 bits");
	load(format, 11, 3, &fields);
	assert_int_equal(fields.byte + fields.word + fields.doubleword + fields.run[0], 0);
}

/* What was saved apart is loaded as if it had been saved in its place; a failure goes along. */
/* What comes next, of streams that end at any byte or have a name that is too long. */
static void test_next(void **test)
{
	char name[STATE_NAME_MAX + 1];
	uint8_t bytes[128];
	struct state_stream state;
	size_t size;

	(void)test;
	for (size = 0; size <= sizeof(format); size++) {
		uint8_t *copy = malloc(size ? size : 1);

		memcpy(copy, format, size);
		state_load_begin(&state, copy, size);
		state_next_section(&state, name);
		assert_string_equal(name, size < 3 ? "" : "ab");
		state_end(&state);
		free(copy);
	}
	memset(bytes, 'x', sizeof(bytes));
	for (bytes[0] = STATE_NAME_MAX; bytes[0] <= STATE_NAME_MAX + 1; bytes[0]++) {
		state_load_begin(&state, bytes, sizeof(bytes));
		state_next_section(&state, name);
		assert_int_equal(strlen(name), bytes[0] <= STATE_NAME_MAX ? STATE_NAME_MAX : 0);
		state_end(&state);
	}
}

static void test_appended(void **test)
{
	struct fields fields = sample;
	struct state_stream state, apart;
	struct error error;
	const void *bytes;
	size_t size;

	(void)test;
	state_save_begin(&apart);
	state_section_begin(&apart, "ab", 3);
	transfer(&apart, &fields);
	state_section_end(&apart);
	state_save_begin(&state);
	state_append(&state, &apart);
	state_append(&state, &apart);
	assert_int_equal(state_saved(&state, &bytes, &size, &error), 0);
	assert_int_equal(size, 2 * sizeof(format));
	assert_memory_equal(bytes, format, sizeof(format));
	assert_memory_equal((const uint8_t *)bytes + sizeof(format), format, sizeof(format));
	state_fail(&apart, "no more ink");
	state_append(&state, &apart);
	assert_true(state_saved(&state, &bytes, &size, &error) < 0);
	assert_non_null(strstr(error.message, "no more ink"));
	state_end(&apart);
	state_end(&state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_format),
	    cmocka_unit_test(test_grows),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_next),
	    cmocka_unit_test(test_appended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
