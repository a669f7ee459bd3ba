/* SMBIOS tables as a reader takes them apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/smbios.h"

static const struct smbios_facts facts = {"kvik pc", 2, 3, 6, 512ull << 20};

/* The n-th structure of a type, or NULL; its strings go to `strings`. */
static const uint8_t *find(const struct smbios *smbios, unsigned type, const char **strings)
{
	const uint8_t *at = smbios->tables, *end = at + smbios->tables_size, *text;

	while (at + 4 <= end) {
		text = at + at[1];
		*strings = (const char *)text;
		if (at[0] == type)
			return at;
		while (text[0] || text[1])
			text++;
		at = text + 2;
	}
	return NULL;
}

static const char *string(const char *strings, unsigned number)
{
	while (--number)
		strings += strlen(strings) + 1;
	return strings;
}

/* A structure for each socket, with a handle of its own. */
static void test_sockets(void **state)
{
	struct smbios *smbios = malloc(sizeof(*smbios));
	const uint8_t *at, *end, *text;
	struct error error;
	unsigned sockets = 0;

	(void)state;
	assert_int_equal(smbios_build(smbios, &facts, NULL, &error), 0);
	at = smbios->tables;
	end = at + smbios->tables_size;
	while (at < end) {
		if (at[0] == 4) {
			assert_int_equal(at[2] | at[3] << 8, 0x400 + sockets);
			assert_int_equal(at[0x23], 3); /* cores, */
			assert_int_equal(at[0x25], 6); /* and threads */
			sockets++;
		}
		for (text = at + at[1]; text[0] || text[1]; text++)
			;
		at = text + 2;
	}
	assert_int_equal(sockets, 2);
	free(smbios);
}

static void test_said(void **state)
{
	struct smbios *smbios = malloc(sizeof(*smbios));
	struct smbios_config *config = calloc(1, sizeof(*config));
	const char *strings;
	const uint8_t *at;
	struct error error;
	uint8_t sum = 0;
	unsigned i;

	(void)state;
	config->fields[0] = (struct smbios_field){1, "serial", "a serial"};
	config->fields[1] = (struct smbios_field){11, "value", "one"};
	config->fields[2] = (struct smbios_field){11, "value", "two"};
	config->fields[3] = (struct smbios_field){0, "release", "3.7"};
	config->field_count = 4;
	config->has_uuid = true;
	assert_int_equal(smbios_parse_uuid("01234567-89ab-cdef-0123-456789abcdef", config->uuid), 0);
	assert_int_equal(smbios_build(smbios, &facts, config, &error), 0);
	for (i = 0; i < sizeof(smbios->entry); i++)
		sum += smbios->entry[i];
	assert_int_equal(sum, 0);
	at = find(smbios, 1, &strings);
	assert_non_null(at);
	assert_string_equal(string(strings, at[5]), "kvik pc");
	assert_string_equal(string(strings, at[7]), "a serial");
	/* Its first three numbers are little-endian. */
	assert_memory_equal(at + 8, "\x67\x45\x23\x01\xab\x89\xef\xcd\x01\x23\x45\x67\x89\xab\xcd\xef", 16);
	at = find(smbios, 11, &strings);
	assert_int_equal(at[4], 2);
	assert_string_equal(string(strings, 2), "two");
	at = find(smbios, 0, &strings);
	assert_int_equal(at[20] << 8 | at[21], 0x307);
	at = find(smbios, 17, &strings);
	assert_int_equal(at[12] | at[13] << 8, 512);
	assert_null(find(smbios, 2, &strings)); /* nobody said anything of a board */
	assert_non_null(find(smbios, 127, &strings));
	assert_ptr_equal(strings + 2, smbios->tables + smbios->tables_size);
	free(config);
	free(smbios);
}

static void test_too_much(void **state)
{
	struct smbios *smbios = malloc(sizeof(*smbios));
	struct smbios_config *config = calloc(1, sizeof(*config));
	char *text = malloc(SMBIOS_TABLES_MAX);
	struct error error = {.message = ""};
	uint8_t uuid[16];

	(void)state;
	memset(text, 'x', SMBIOS_TABLES_MAX - 1);
	text[SMBIOS_TABLES_MAX - 1] = 0;
	config->fields[0] = (struct smbios_field){11, "value", text};
	config->field_count = 1;
	assert_true(smbios_build(smbios, &facts, config, &error) < 0);
	assert_non_null(strstr(error.message, "room"));
	assert_true(smbios_check_field(1, "colour", &error) < 0);
	assert_non_null(strstr(error.message, "serial"));
	assert_true(smbios_check_field(5, "serial", &error) < 0);
	assert_true(smbios_parse_uuid("01234567-89ab-cdef-0123-456789abcde", uuid) < 0);
	assert_true(smbios_parse_uuid("0123456789abcdef0123456789abcdef", uuid) < 0);
	assert_true(smbios_parse_uuid("", uuid) < 0);
	free(text);
	free(config);
	free(smbios);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sockets),
		cmocka_unit_test(test_said),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
