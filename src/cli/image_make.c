/* `kvik image create`, resize, snapshot, measure. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/image.h"
#include "util/snapshot_text.h"

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* The size of the disk in a backing file, as the new image's; and that it can be opened at all. */
static int read_backing_size(const char *path, struct image_creation *creation, struct error *error)
{
	struct block_options options = {.format = creation->backing_format, .readonly = true};
	char *name = image_resolve(path, creation->backing);
	struct node *image;
	int result;

	if (!name)
		return error_set_errno(error, ENOMEM, "%s", path);
	result = image_open(name, &options, IMAGE_SHARED, &image, error);
	free(name);
	if (result < 0)
		return result;
	if (creation->size == UINT64_MAX)
		creation->size = image_size(image);
	image_close(image);
	return 0;
}

/* The line that qemu-img prints; without -q, before kvik's own size for people. */
static void print_creation(const char *path, const struct image_creation *creation)
{
	static const char *const preallocations[] = {"off", "metadata", "falloc", "full"};
	bool is_qcow2 = strcmp(creation->format, "qcow2") == 0;
	char size[32];

	printf("Formatting '%s', fmt=%s", path, creation->format);
	if (is_qcow2) {
		printf(" cluster_size=%llu extended_l2=%s", (unsigned long long)creation->cluster_size,
		       creation->is_extended ? "on" : "off");
		if (creation->has_preallocation)
			printf(" preallocation=%s", preallocations[creation->preallocation]);
		printf(" compression_type=%s", creation->compression);
	}
	printf(" size=%llu", (unsigned long long)creation->size);
	if (creation->backing)
		printf(" backing_file=%s", creation->backing);
	if (creation->backing_format)
		printf(" backing_fmt=%s", creation->backing_format);
	if (is_qcow2) {
		if (creation->has_version)
			printf(" compat=%s", creation->version == 2 ? "0.10" : "1.1");
		if (creation->data_file)
			printf(" data_file=%s", creation->data_file);
		if (creation->is_data_raw)
			printf(" data_file_raw=on");
		printf(" lazy_refcounts=%s refcount_bits=%u", creation->is_lazy ? "on" : "off", creation->refcount_bits);
	} else if (creation->has_preallocation) {
		printf(" preallocation=%s", preallocations[creation->preallocation]);
	}
	size_text(size, sizeof(size), creation->size);
	if (image_is_humane())
		printf(" (%s)", size);
	putchar('\n');
}

int image_command_create(int count, char **arguments)
{
	static const struct option options[] = {
		IMAGE_COMMON_OPTIONS, {NULL}};
	const char *format = NULL, *backing = NULL, *backing_format = NULL, *said_format = NULL, *path;
	char *list = NULL;
	struct image_names names = {false};
	bool is_quiet = false, is_unsafe = false;
	struct image_creation creation;
	struct error error;
	uint64_t named;
	int option, result;

	while ((option = getopt_long(count, arguments, "F:b:f:ho:qu", options, NULL)) != -1)
		switch (option) {
		case 'F': backing_format = optarg; break;
		case 'b': backing = optarg; break;
		case 'f': format = optarg; break;
		case 'o': list = optarg; break;
		case 'q': is_quiet = true; break;
		case 'u': is_unsafe = true; break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (list && image_is_help(list) && optind == count)
		return image_print_options(format ? format : "raw", false);
	if (optind >= count || count - optind > 2)
		return image_usage("image create wants a file, and a size unless a backing file has one");
	if (image_name_parse(arguments[optind], names.are_options, &path, &said_format, &error) < 0)
		return image_fail(&error);
	if (said_format && format && strcmp(format, said_format) != 0)
		return image_usage("-f %s: the name says %s", format, said_format);
	if (!format)
		format = said_format;
	if (!format)
		format = image_is_humane() && ends_with(path, ".qcow2") ? "qcow2" : "raw";
	if (!image_format_is_known(format))
		return image_usage("-f %s: raw and qcow2 can be made", format);
	image_creation_init(&creation, format);
	creation.size = UINT64_MAX;
	if (list && image_is_help(list))
		return image_print_options(format, false);
	if (list && image_options_parse(list, &creation, &error) < 0)
		return image_fail(&error);
	if (backing)
		creation.backing = backing;
	if (backing_format)
		creation.backing_format = backing_format;
	if (count - optind == 2 && image_size_parse(arguments[optind + 1], &creation.size) < 0)
		return image_usage("image create: '%s' is no size", arguments[optind + 1]);
	if (creation.backing && !creation.backing_format)
		return image_usage("-b wants -F: the backing file's format, which else its content "
				   "would tell");
	if (creation.backing && !(is_unsafe && creation.size != UINT64_MAX) &&
	    read_backing_size(path, &creation, &error) < 0)
		return image_fail(&error);
	if (creation.size == UINT64_MAX)
		return image_usage("image create wants a size");
	named = creation.size;
	if (strcmp(format, "qcow2") == 0)
		creation.size = (creation.size + 511) & ~511ull;
	result = image_create(path, &creation, &error);
	if (result < 0)
		return image_fail(&error);
	creation.size = named;
	if (!is_quiet)
		print_creation(path, &creation);
	return EXIT_OK;
}

int image_command_resize(int count, char **arguments)
{
	enum { SHRINK = 256, PREALLOCATION };
	static const struct option options[] = {{"shrink", no_argument, NULL, SHRINK},
						{"preallocation", required_argument, NULL, PREALLOCATION},
						IMAGE_COMMON_OPTIONS,
						{NULL}};
	enum image_preallocation preallocation = IMAGE_PREALLOCATION_OFF;
	struct block_options open = {.discard = true};
	struct image_names names = {false};
	bool is_quiet = false, may_shrink = false;
	const char *size_text, *path;
	struct error error;
	struct node *image;
	uint64_t size, old;
	int option, result, closed;
	char sign;

	/* A size may begin with a minus, as no option does; it is the last argument. */
	size_text = count > 1 ? arguments[--count] : "";
	while ((option = getopt_long(count, arguments, "f:q", options, NULL)) != -1)
		switch (option) {
		case 'f': open.format = optarg; break;
		case 'q': is_quiet = true; break;
		case SHRINK: may_shrink = true; break;
		case PREALLOCATION:
			if (image_preallocation_parse(optarg, &preallocation) < 0)
				return image_usage("--preallocation=%s: off, metadata, falloc, full",
						   optarg);
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (count - optind != 1)
		return image_usage("image resize wants a file and a size");
	path = arguments[optind];
	sign = size_text[0];
	if (image_size_parse(size_text + (sign == '+' || sign == '-'), &size) < 0)
		return image_usage("image resize: '%s' is no size", size_text);
	result = image_open_named(path, &names, &open, 0, &image, &error);
	if (result < 0)
		return image_fail(&error);
	old = image_size(image);
	if (sign == '+')
		size = size > INT64_MAX - old ? INT64_MAX : old + size;
	if (sign == '-')
		size = size > old ? 0 : old - size;
	if (size % 512 != 0 && image_is_qcow2(image)) {
		result = error_set(&error, EINVAL, "%s: the size of a disk is a multiple of 512: not %llu", path,
				   (unsigned long long)size);
	} else if (size < old && !may_shrink) {
		result = error_set(&error, EINVAL,
				   "%s would be cut from %llu to %llu bytes: --shrink if that is meant",
				   path, (unsigned long long)old, (unsigned long long)size);
	} else {
		result = image_resize(image, size, preallocation, &error);
	}
	closed = image_close(image);
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write %s", path);
	if (result < 0)
		return image_fail(&error);
	if (!is_quiet)
		printf("Image resized.\n");
	return EXIT_OK;
}

int image_command_snapshot(int count, char **arguments)
{
	static const struct option options[] = {IMAGE_COMMON_OPTIONS, {NULL}};
	struct block_options open = {.discard = true};
	struct image_names names = {false};
	const char *name = NULL;
	char action = 'l';
	struct error error;
	struct node *image;
	int option, result = 0, closed;

	while ((option = getopt_long(count, arguments, "la:c:d:f:qU", options, NULL)) != -1)
		switch (option) {
		case 'l':
		case 'a':
		case 'c':
		case 'd':
			if (name)
				return image_usage("image snapshot does one of -l, -a, -c and -d");
			action = option;
			name = option == 'l' ? "" : optarg;
			break;
		case 'f': open.format = optarg; break;
		case 'q': break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (count - optind != 1)
		return image_usage("image snapshot wants a file");
	open.readonly = action == 'l';
	if (image_open_named(arguments[optind], &names, &open, 0, &image, &error) < 0)
		return image_fail(&error);
	switch (action) {
	case 'l': image_print_snapshots(image); break;
	case 'a': result = image_snapshot_apply(image, name, &error); break;
	case 'c': result = image_snapshot_create(image, name, &error); break;
	case 'd': result = image_snapshot_delete(image, name, &error); break;
	}
	closed = image_close(image);
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write %s", arguments[optind]);
	return result < 0 ? image_fail(&error) : EXIT_OK;
}

/* Bytes of an image that are data and not zeroes, in whole clusters. */
static int count_data(struct node *image, uint64_t cluster, uint64_t *bytes, struct error *error)
{
	struct image_extent extent;
	uint64_t at, end;
	int result;

	*bytes = 0;
	for (at = 0; at < image_size(image); at = end) {
		result = image_extent(image, at, image_size(image) - at, 0, &extent);
		if (result < 0)
			return error_set_errno(error, -result, "cannot read %s", image_path(image));
		end = at + extent.size;
		if (!extent.is_data || extent.is_zero)
			continue;
		/* To the end of its last cluster: what else is in there costs no more. */
		end = (end + cluster - 1) & ~(cluster - 1);
		*bytes += end - (at & ~(cluster - 1));
	}
	return 0;
}

int image_command_measure(int count, char **arguments)
{
	enum { OUTPUT = 256, SIZE };
	static const struct option options[] = {{"output", required_argument, NULL, OUTPUT},
						{"size", required_argument, NULL, SIZE},
						IMAGE_COMMON_OPTIONS,
						{NULL}};
	struct block_options open = {.readonly = true};
	struct image_names names = {false};
	const char *format = "raw", *snapshot = NULL;
	char *list = NULL;
	struct image_creation creation;
	uint64_t size = UINT64_MAX, data = 0, required, full;
	int64_t bitmaps = -1;
	int option, output = 0, result;
	struct node *image;
	struct error error;

	while ((option = getopt_long(count, arguments, "f:l:o:O:U", options, NULL)) != -1)
		switch (option) {
		case 'f': open.format = optarg; break;
		case 'l': snapshot = image_snapshot_name(optarg); break;
		case 'o': list = optarg; break;
		case 'O': format = optarg; break;
		case OUTPUT: output = image_output_parse(optarg); break;
		case SIZE:
			if (image_size_parse(optarg, &size) < 0)
				return image_usage("--size %s: that is no size", optarg);
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (output < 0)
		return image_usage("--output= is human or json");
	if (!image_format_is_known(format))
		return image_usage("-O %s: raw and qcow2 can be made", format);
	if ((count - optind == 1) == (size != UINT64_MAX))
		return image_usage("image measure wants a file or --size");
	image_creation_init(&creation, format);
	if (list && image_options_parse(list, &creation, &error) < 0)
		return image_fail(&error);
	if (creation.cluster_size < 512 || creation.cluster_size > 2u << 20 ||
	    creation.cluster_size & (creation.cluster_size - 1) || creation.refcount_bits == 0 ||
	    creation.refcount_bits > 64 || creation.refcount_bits & (creation.refcount_bits - 1))
		return image_usage("-o: cluster_size is a power of two from 512 to 2M, "
				   "refcount_bits one up to 64");
	creation.size = size;
	if (size == UINT64_MAX) {
		if (image_open_named(arguments[optind], &names, &open, 0, &image, &error) < 0)
			return image_fail(&error);
		result = snapshot ? image_snapshot_view(image, snapshot, &error) : 0;
		if (result == 0)
			result = count_data(image, creation.cluster_size, &data, &error);
		creation.size = image_size(image);
		bitmaps = image_measure_bitmaps(image, creation.cluster_size);
		image_close(image);
		if (result < 0)
			return image_fail(&error);
	}
	image_measure(&creation, data, &required, &full);
	/* With only the tables written, what has no data takes no space. */
	if (creation.preallocation == IMAGE_PREALLOCATION_FALLOC || creation.preallocation == IMAGE_PREALLOCATION_FULL)
		required = full;
	if (strcmp(format, "qcow2") != 0 || creation.version < 3)
		bitmaps = -1;
	if (output) {
		json_t *sizes = json_pack("{s:I, s:I}", "required", (json_int_t)required, "fully-allocated", (json_int_t)full);

		if (bitmaps >= 0)
			json_object_set_new(sizes, "bitmaps", json_integer(bitmaps));
		image_print_json(sizes);
		return EXIT_OK;
	}
	printf("required size: %llu\nfully allocated size: %llu\n", (unsigned long long)required, (unsigned long long)full);
	if (bitmaps >= 0)
		printf("bitmaps size: %llu\n", (unsigned long long)bitmaps);
	return EXIT_OK;
}
