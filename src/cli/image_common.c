/* What the commands of `kvik image` share. */
#include "cli/image.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/commands.h"
#include "util/log.h"

static bool is_humane_now;

bool image_is_humane(void)
{
	return is_humane_now;
}

void image_set_humane(bool is_humane)
{
	is_humane_now = is_humane;
}

int image_fail(const struct error *error)
{
	log_error("%s", error->message);
	return EXIT_ERROR;
}

int image_usage_status(void)
{
	/* qemu-img knows no other status for it. */
	return image_is_humane() ? EXIT_USAGE : EXIT_ERROR;
}

int image_usage(const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	log_error("%s", text);
	return image_usage_status();
}

bool image_is_help(const char *list)
{
	return strcmp(list, "help") == 0 || strcmp(list, "?") == 0;
}

int image_print_options(const char *format, bool is_amend)
{
	static const struct {
		const char *name, *what;
		bool can_change;
	} options[] = {
		{"backing_file=<str>", "File name of a base image", false},
		{"backing_fmt=<str>", "Image format of the base image", false},
		{"cluster_size=<size>", "qcow2 cluster size", false},
		{"compat=<str>", "Compatibility level (v2 [0.10] or v3 [1.1])", true},
		{"compression_type=<str>", "Compression method used for image cluster compression", false},
		{"data_file=<str>", "File name of an external data file", true},
		{"data_file_raw=<bool (on/off)>", "The external data file must stay valid as a raw image", true},
		{"extended_l2=<bool (on/off)>", "Extended L2 tables", false},
		{"lazy_refcounts=<bool (on/off)>", "Postpone refcount updates", true},
		{"preallocation=<str>", "Preallocation mode (allowed values: off, metadata, falloc, full)", false},
		{"refcount_bits=<num>", "Width of a reference count entry in bits", true},
		{"size=<size>", "Virtual disk size", true},
	};
	bool is_raw = strcmp(format, "raw") == 0;
	unsigned i;

	if (is_amend)
		printf("Amend options for '%s':\n", format);
	else
		printf("Supported %s options:\n", format);
	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (is_raw ? strncmp(options[i].name, "size", 4) == 0 || strncmp(options[i].name, "prea", 4) == 0
			   : !is_amend || options[i].can_change)
			printf("  %-22s - %s\n", options[i].name, options[i].what);
	return EXIT_OK;
}

int image_size_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "bkmgtpe";
	const char *unit;
	char *end;
	double fraction;
	unsigned long long whole;
	unsigned shift = 0;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, 0);
	if (errno)
		return -ERANGE;
	fraction = 0;
	if (*end == '.') {
		const char *digits = end + 1;

		fraction = strtod(end, &end);
		/* No exponent, which E is not. */
		if (end != digits + strspn(digits, "0123456789"))
			return -EINVAL;
	}
	if (*end) {
		unit = strchr(units, tolower((unsigned char)*end));
		if (!unit)
			return -EINVAL;
		shift = (unit - units) * 10;
		end++;
		if (shift > 0 && (strcasecmp(end, "b") == 0 || strcasecmp(end, "ib") == 0))
			end += strlen(end);
	}
	if (*end || (fraction > 0 && shift == 0))
		return -EINVAL;
	if (shift > 0 && whole >> (64 - shift))
		return -ERANGE;
	*bytes = (uint64_t)whole << shift;
	*bytes += (uint64_t)(fraction * (double)(1ull << shift));
	return *bytes > INT64_MAX ? -ERANGE : 0;
}

int image_output_parse(const char *text)
{
	if (strcmp(text, "json") == 0)
		return 1;
	return strcmp(text, "human") == 0 ? 0 : -1;
}

void image_print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(4));
	putchar('\n');
	json_decref(value);
}

int image_preallocation_parse(const char *text, enum image_preallocation *preallocation)
{
	static const char *const names[] = {"off", "metadata", "falloc", "full"};
	unsigned i;

	for (i = 0; i < 4; i++)
		if (strcmp(text, names[i]) == 0) {
			*preallocation = i;
			return 0;
		}
	return -EINVAL;
}

void image_creation_init(struct image_creation *creation, const char *format)
{
	*creation = (struct image_creation){
		.format = format,
		.version = 3,
		.cluster_size = 65536,
		.refcount_bits = 16,
		.compression = "zlib",
	};
}

static int parse_switch(const char *text, bool *is_on)
{
	*is_on = strcmp(text, "on") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
	return *is_on || strcmp(text, "off") == 0 || strcmp(text, "no") == 0 ||
			       strcmp(text, "false") == 0
		       ? 0
		       : -EINVAL;
}

static int parse_number(const char *text, unsigned *number)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	*number = value;
	return *text && !*end && value <= 1024 ? 0 : -EINVAL;
}

/* One option of -o. The value lives as long as the program. */
static int parse_option(const char *name, const char *value, struct image_creation *creation)
{
	bool is_raw = strcmp(creation->format, "raw") == 0;
	uint64_t size;
	int result;

	if (strcmp(name, "size") == 0)
		return image_size_parse(value, &creation->size);
	if (strcmp(name, "preallocation") == 0) {
		creation->has_preallocation = true;
		return image_preallocation_parse(value, &creation->preallocation);
	}
	if (is_raw)
		return strcmp(name, "nocow") == 0 ? 0 : -ENOENT;
	if (strcmp(name, "compat") == 0) {
		creation->version = strcmp(value, "0.10") == 0 || strcmp(value, "v2") == 0   ? 2
				    : strcmp(value, "1.1") == 0 || strcmp(value, "v3") == 0 ? 3
											     : 0;
		creation->has_version = true;
		return creation->version ? 0 : -EINVAL;
	}
	if (strcmp(name, "cluster_size") == 0) {
		result = image_size_parse(value, &size);
		creation->cluster_size = size;
		return result;
	}
	if (strcmp(name, "refcount_bits") == 0)
		return parse_number(value, &creation->refcount_bits);
	if (strcmp(name, "lazy_refcounts") == 0)
		return parse_switch(value, &creation->is_lazy);
	if (strcmp(name, "extended_l2") == 0)
		return parse_switch(value, &creation->is_extended);
	if (strcmp(name, "data_file_raw") == 0)
		return parse_switch(value, &creation->is_data_raw);
	if (strcmp(name, "data_file") == 0)
		creation->data_file = value;
	else if (strcmp(name, "compression_type") == 0)
		creation->compression = value;
	else if (strcmp(name, "backing_file") == 0)
		creation->backing = value;
	else if (strcmp(name, "backing_fmt") == 0)
		creation->backing_format = value;
	else
		return strcmp(name, "nocow") == 0 ? 0 : -ENOENT;
	return 0;
}

/* Cut the next option, in which two commas stand for one, off the list. */
static char *next_option(char **list)
{
	char *from = *list, *option = from, *to = option;

	for (; *from; from++) {
		if (*from == ',' && from[1] == ',')
			from++;
		else if (*from == ',')
			break;
		*to++ = *from;
	}
	*list = *from ? from + 1 : from;
	*to = 0;
	return option;
}

int image_options_parse(char *list, struct image_creation *creation, struct error *error)
{
	while (*list) {
		char *option = next_option(&list), *value = strchr(option, '=');
		int result;

		if (value)
			*value++ = 0;
		result = parse_option(option, value ? value : "on", creation);
		if (result == -ENOENT)
			return error_set(error, EINVAL, "-o %s: %s images have no such option", option,
					 creation->format);
		if (result < 0)
			return error_set(error, EINVAL, "-o %s=%s: that cannot be its value", option,
					 value ? value : "");
	}
	return 0;
}

const char *image_snapshot_name(const char *text)
{
	const char *equal = strchr(text, '=');

	return equal && strncmp(text, "snapshot.", 9) == 0 ? equal + 1 : text;
}

void image_progress(struct image_progress *progress, uint64_t done, uint64_t total)
{
	unsigned now = total ? (unsigned)((double)done / (double)total * 10000) + 1 : 10001;

	if (!progress->is_wanted || now == progress->shown)
		return;
	progress->shown = now;
	printf("    (%.2f/100%%)\r", (now - 1) / 100.0);
	fflush(stdout);
}

void image_progress_end(struct image_progress *progress)
{
	if (!progress->is_wanted)
		return;
	printf("    (100.00/100%%)\n");
}
