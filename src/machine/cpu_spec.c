/*
 * The text of `--cpu`. Like QEMU's: features are turned on by +NAME or NAME=on, off by -NAME or
 * NAME=off; the last word on a feature counts.
 */
#include "machine/cpu_spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What long mode and page tables allow (Intel SDM vol. 3 §4.1.4). */
#define PHYSICAL_BITS_MIN 32
#define PHYSICAL_BITS_MAX 52

#define NAME_MAX_LENGTH 32

/* The number of single-character changes between two names, at most NAME_MAX_LENGTH. */
static unsigned distance(const char *a, size_t a_length, const char *b)
{
	unsigned row[NAME_MAX_LENGTH + 1];
	size_t b_length = strlen(b), i, j;

	if (a_length > NAME_MAX_LENGTH || b_length > NAME_MAX_LENGTH)
		return NAME_MAX_LENGTH;
	for (j = 0; j <= b_length; j++)
		row[j] = j;
	for (i = 1; i <= a_length; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= b_length; j++) {
			unsigned change = diagonal + ((a[i - 1] | 0x20) != (b[j - 1] | 0x20));

			diagonal = row[j];
			if (row[j - 1] + 1 < change)
				change = row[j - 1] + 1;
			if (row[j] + 1 < change)
				change = row[j] + 1;
			row[j] = change;
		}
	}
	return row[b_length];
}

static const char *nearest_model(const char *name, size_t length)
{
	const char *best = "host";
	unsigned i, least = distance(name, length, best);

	for (i = 0; i < cpu_model_count; i++) {
		unsigned d = distance(name, length, cpu_models[i].name);

		if (d < least) {
			least = d;
			best = cpu_models[i].name;
		}
	}
	return best;
}

static const char *nearest_feature(const char *name, size_t length)
{
	const char *best = cpu_features[0].name;
	unsigned i, least = NAME_MAX_LENGTH;

	for (i = 0; i < cpu_feature_count; i++) {
		unsigned d = distance(name, length, cpu_features[i].name);

		if (d < least) {
			least = d;
			best = cpu_features[i].name;
		}
	}
	return best;
}

static int parse_model(struct cpu_spec *spec, const char *name, size_t length, struct error *error)
{
	char text[NAME_MAX_LENGTH + 1];

	if ((length == 4 && strncmp(name, "host", 4) == 0) ||
	    (length == 3 && strncmp(name, "max", 3) == 0))
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)length, name);
	spec->model = length < sizeof(text) ? cpu_model_find(text) : NULL;
	if (!spec->model)
		return error_set(error, EINVAL, "no CPU model '%s': is it %s? ('help' lists them)",
		                 text, nearest_model(name, length));
	return 0;
}

static int set_feature(struct cpu_spec *spec, const char *name, size_t length, bool is_on,
                       struct error *error)
{
	const struct named_cpu_feature *feature = cpu_feature_find(name, length);

	if (!feature)
		return error_set(error, EINVAL,
		                 "no CPU feature '%.*s': is it %s? ('help' lists them)",
		                 (int)length, name, nearest_feature(name, length));
	cpu_feature_put(&spec->on, feature, is_on);
	cpu_feature_put(&spec->off, feature, !is_on);
	return 0;
}

static int parse_number(const char *name, const char *value, size_t length, unsigned limit,
                        unsigned *number_plus_1, struct error *error)
{
	char text[16], *end;
	unsigned long result;

	snprintf(text, sizeof(text), "%.*s", (int)length, value);
	errno = 0;
	result = strtoul(text, &end, 0);
	if (!length || length >= sizeof(text) || *end || errno || text[0] == '-' || result > limit)
		return error_set(error, EINVAL, "%s=%.*s is none: use 0 to %u", name, (int)length,
		                 value, limit);
	*number_plus_1 = (unsigned)result + 1;
	return 0;
}

/* `on` or `off`, or nothing for on; -1 otherwise. */
static int parse_switch(const char *value, size_t length)
{
	if (!value || (length == 2 && strncmp(value, "on", 2) == 0))
		return 1;
	return length == 3 && strncmp(value, "off", 3) == 0 ? 0 : -1;
}

static bool is_word(const char *text, size_t length, const char *word)
{
	return strlen(word) == length && strncmp(text, word, length) == 0;
}

static int parse_vendor(struct cpu_spec *spec, const char *value, size_t length,
                        struct error *error)
{
	if (length != CPU_VENDOR_LENGTH)
		return error_set(error, EINVAL,
		                 "vendor=%.*s is not 12 characters long, as AuthenticAMD is",
		                 (int)length, value);
	memcpy(spec->vendor, value, length);
	return 0;
}

static int parse_model_id(struct cpu_spec *spec, const char *value, size_t length,
                          struct error *error)
{
	if (!length || length > CPU_MODEL_ID_LENGTH)
		return error_set(error, EINVAL, "model-id= takes 1 to %u characters",
		                 CPU_MODEL_ID_LENGTH);
	memcpy(spec->model_id, value, length);
	return 0;
}

static int parse_physical_bits(struct cpu_spec *spec, const char *value, size_t length,
                               struct error *error)
{
	unsigned bits_plus_1 = 0;
	int result = parse_number("phys-bits", value, length, PHYSICAL_BITS_MAX, &bits_plus_1, error);

	if (result == 0 && bits_plus_1 - 1 < PHYSICAL_BITS_MIN)
		return error_set(error, EINVAL, "phys-bits=%.*s: use %u to %u", (int)length, value,
		                 PHYSICAL_BITS_MIN, PHYSICAL_BITS_MAX);
	spec->physical_bits = bits_plus_1 - 1;
	return result;
}

static int parse_property(struct cpu_spec *spec, const char *name, size_t length, const char *value,
                          size_t value_length, struct error *error)
{
	int is_on = parse_switch(value, value_length);

	if (value && is_word(name, length, "vendor"))
		return parse_vendor(spec, value, value_length, error);
	if (value && is_word(name, length, "family"))
		return parse_number("family", value, value_length, 270, &spec->family_plus_1,
		                    error);
	if (value && is_word(name, length, "model"))
		return parse_number("model", value, value_length, 255, &spec->model_plus_1, error);
	if (value && is_word(name, length, "stepping"))
		return parse_number("stepping", value, value_length, 15, &spec->stepping_plus_1,
		                    error);
	if (value && is_word(name, length, "model-id"))
		return parse_model_id(spec, value, value_length, error);
	if (value && is_word(name, length, "phys-bits"))
		return parse_physical_bits(spec, value, value_length, error);
	if (is_on < 0)
		return error_set(error, EINVAL, "'%.*s' is neither on nor off in %.*s=%.*s",
		                 (int)value_length, value, (int)length, name, (int)value_length,
		                 value);
	if (is_word(name, length, "enforce"))
		spec->is_enforced = is_on;
	else if (is_word(name, length, "check"))
		spec->is_silent = !is_on;
	else if (is_word(name, length, "kvm"))
		spec->hides_kvm = !is_on;
	else
		return set_feature(spec, name, length, is_on, error);
	return 0;
}

static int parse_item(struct cpu_spec *spec, const char *item, size_t length, struct error *error)
{
	const char *equals = memchr(item, '=', length);
	size_t name_length = equals ? (size_t)(equals - item) : length;

	if (length == 0)
		return error_set(error, EINVAL, "there is nothing between two commas");
	if (!equals && (item[0] == '+' || item[0] == '-'))
		return set_feature(spec, item + 1, length - 1, item[0] == '+', error);
	return parse_property(spec, item, name_length, equals ? equals + 1 : NULL,
	                      equals ? length - name_length - 1 : 0, error);
}

int cpu_spec_parse(struct cpu_spec *spec, const char *text, struct error *error)
{
	size_t length = strcspn(text, ",");
	int result;

	memset(spec, 0, sizeof(*spec));
	result = parse_model(spec, text, length, error);
	while (result == 0 && text[length]) {
		text += length + 1;
		length = strcspn(text, ",");
		result = parse_item(spec, text, length, error);
	}
	return result;
}

/* Names in lines of up to 80 characters. */
static void print_name(FILE *file, const char *name, unsigned *column)
{
	unsigned length = strlen(name) + 1;

	if (*column + length > 80) {
		fputs("\n", file);
		*column = 0;
	}
	fprintf(file, " %s", name);
	*column += length;
}

void cpu_spec_print_help(FILE *file)
{
	unsigned i, column = 0;

	fputs("Models:\n", file);
	print_name(file, "host", &column);
	print_name(file, "max", &column);
	for (i = 0; i < cpu_model_count; i++)
		print_name(file, cpu_models[i].name, &column);
	fputs("\nFeatures:\n", file);
	for (i = 0, column = 0; i < cpu_feature_count; i++)
		print_name(file, cpu_features[i].name, &column);
	fputs("\nand vendor=, family=, model=, stepping=, model-id=, phys-bits=,\nkvm=off, check=off, enforce\n",
	      file);
}

void cpu_feature_names(const struct cpu_feature_set *set, char *text, size_t size)
{
	struct cpu_feature_set left = *set;
	size_t used = 0;
	unsigned i;

	text[0] = '\0';
	for (i = 0; i < cpu_feature_count && used < size; i++) {
		if (!cpu_feature_in(&left, &cpu_features[i]))
			continue;
		cpu_feature_put(&left, &cpu_features[i], false); /* second names come later */
		used += snprintf(text + used, size - used, "%s%s", used ? " " : "",
		                 cpu_features[i].name);
	}
}
