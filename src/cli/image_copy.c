/* `kvik image convert` and compare: images side by side. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/image.h"
#include "util/log.h"

#define CHUNK (2u << 20) /* bytes that are read at once */
#define SALVAGE_BYTES 65536 /* the same where that fails */

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* ---- convert ---- */

struct conversion {
	struct node **sources;
	unsigned source_count;
	struct node *target;
	uint64_t size;	     /* of all sources */
	uint64_t sparse;     /* zeroes of this many bytes are not written; 0: all are */
	uint64_t cluster;    /* of the target, when compressing */
	bool target_is_zero; /* what isn't written reads as zeroes */
	unsigned levels;     /* of the source's chain that are copied; 0: all */
	bool compresses, salvages;
	struct image_progress progress;
	uint8_t *buffer;
};

/* The source that `offset` of all of them is in; it becomes the offset in that one. */
static struct node *source_at(const struct conversion *conversion, uint64_t *offset)
{
	unsigned i;

	for (i = 0; *offset >= image_size(conversion->sources[i]); i++)
		*offset -= image_size(conversion->sources[i]);
	return conversion->sources[i];
}

static int copy_zeroes(struct conversion *conversion, uint64_t at, uint64_t size)
{
	return conversion->target_is_zero ? 0 : image_zero(conversion->target, at, size, true);
}

/* Write a buffer, leaving out what is zeroes for long enough. */
static int write_sparse(struct conversion *conversion, uint64_t at, const uint8_t *data,
			uint64_t size)
{
	uint64_t step = conversion->sparse ? conversion->sparse : size, done = 0, run, end;
	int result = 0;
	bool zero;

	while (done < size && result == 0) {
		run = size - done < step ? size - done : step;
		zero = conversion->sparse && is_zero(data + done, run);
		for (end = done + run; end < size; end += run) {
			run = size - end < step ? size - end : step;
			if (zero != (conversion->sparse && is_zero(data + end, run)))
				break;
		}
		result = zero ? copy_zeroes(conversion, at + done, end - done)
			      : image_write(conversion->target, at + done, data + done, end - done);
		done = end;
	}
	return result;
}

static int write_compressed(struct conversion *conversion, uint64_t at, const uint8_t *data,
			    uint64_t size)
{
	uint64_t done, length;
	int result = 0;

	for (done = 0; done < size && result == 0; done += length) {
		length = size - done < conversion->cluster ? size - done : conversion->cluster;
		if (conversion->sparse && is_zero(data + done, length))
			result = copy_zeroes(conversion, at + done, length);
		else
			result = image_write_compressed(conversion->target, at + done, data + done,
							length);
	}
	return result;
}

/* Sector by sector, with zeroes for those that cannot be read. */
static int salvage(struct node *source, uint64_t offset, uint8_t *data, uint64_t size)
{
	uint64_t done, length;

	for (done = 0; done < size; done += length) {
		length = size - done < BLOCK_SECTOR_SIZE ? size - done : BLOCK_SECTOR_SIZE;
		if (image_read(source, offset + done, data + done, length) < 0) {
			log_error("%s: %llu bytes at %llu cannot be read: they are zeroes now", image_path(source),
				  (unsigned long long)length, (unsigned long long)(offset + done));
			memset(data + done, 0, length);
		}
	}
	return 0;
}

/* Read up to a chunk at `at`, over the borders of sources. */
static int read_sources(struct conversion *conversion, uint64_t at, uint64_t size)
{
	uint64_t done, length, offset;
	int result = 0;

	for (done = 0; done < size && result == 0; done += length) {
		struct node *source;

		offset = at + done;
		source = source_at(conversion, &offset);
		length = image_size(source) - offset;
		if (length > size - done)
			length = size - done;
		result = image_read(source, offset, conversion->buffer + done, length);
		if (result < 0 && conversion->salvages)
			result = salvage(source, offset, conversion->buffer + done, length);
	}
	return result;
}

static uint64_t salvage_step(const struct conversion *conversion, uint64_t at)
{
	uint64_t left = conversion->size - at;

	return left < SALVAGE_BYTES ? left : SALVAGE_BYTES;
}

static int convert(struct conversion *conversion)
{
	struct image_extent extent = {0};
	uint64_t at, size, offset, end = 0; /* end: of what is known by `extent` */
	bool zero;
	int result = 0;

	for (at = 0; at < conversion->size && result == 0; at += size) {
		image_progress(&conversion->progress, at, conversion->size);
		if (at >= end) {
			offset = at;
			result = image_extent(source_at(conversion, &offset), offset,
					      conversion->size - at, conversion->levels, &extent);
			/* Where nothing can be said of it, it is read, a bit at a time. */
			if (result < 0 && conversion->salvages) {
				extent = (struct image_extent){.size = salvage_step(conversion, at), .is_present = true};
				result = 0;
			}
			if (result < 0)
				return result;
			end = at + extent.size;
		}
		size = end - at;
		zero = extent.is_zero;
		if (conversion->levels > 0 && !extent.is_present && !extent.is_zero)
			continue; /* the target's backing file has it */
		if (conversion->compresses) {
			/* Whole clusters, whatever they are made of. */
			size -= size % conversion->cluster;
			if (size == 0 || at % conversion->cluster != 0)
				size = conversion->cluster;
			if (size > conversion->size - at)
				size = conversion->size - at;
			zero = zero && size <= end - at;
		}
		if (zero && conversion->sparse) {
			result = copy_zeroes(conversion, at, size);
			continue;
		}
		if (size > CHUNK)
			size = CHUNK;
		result = read_sources(conversion, at, size);
		if (result == 0)
			result = conversion->compresses
					 ? write_compressed(conversion, at, conversion->buffer, size)
					 : write_sparse(conversion, at, conversion->buffer, size);
	}
	return result;
}

/* What convert was asked for. */
struct convert_request {
	char *list; /* -o's */
	const char *format, *target_format, *snapshot, *backing, *backing_format;
	bool is_new, compresses, is_quiet, is_zero_target, are_target_options;
	bool copies_bitmaps, skips_broken;
	struct image_names names;
	enum block_cache source_cache, target_cache;
	struct conversion conversion;
};

static int open_sources(struct convert_request *request, char **paths, unsigned count, struct error *error)
{
	struct conversion *conversion = &request->conversion;
	struct block_options open = {.readonly = true,
				     .format = request->format,
				     .cache = request->source_cache};
	int result = 0;

	conversion->sources = calloc(count, sizeof(struct node *));
	if (!conversion->sources)
		return error_set_errno(error, ENOMEM, "convert");
	for (; conversion->source_count < count && result == 0;) {
		struct node **source = &conversion->sources[conversion->source_count];

		result = image_open_named(paths[conversion->source_count], &request->names, &open, 0, source, error);
		if (result < 0)
			break;
		conversion->source_count++;
		if (request->snapshot)
			result = image_snapshot_view(*source, request->snapshot, error);
		conversion->size += image_size(*source);
	}
	return result;
}

/* How many images of the source's chain are above the one that the target will stand on. */
static int count_levels(struct convert_request *request, const char *target, struct error *error)
{
	struct conversion *conversion = &request->conversion;
	char *wanted, *real_wanted = NULL, *real;
	struct node *node;
	unsigned levels = 0;

	if (!request->backing)
		return 0;
	if (conversion->source_count != 1)
		return error_set(error, EINVAL, "-B wants one image to convert");
	wanted = image_resolve(target, request->backing);
	real_wanted = wanted ? realpath(wanted, NULL) : NULL;
	for (node = conversion->sources[0]; node && conversion->levels == 0;
	     node = image_below(node), levels++) {
		real = realpath(image_path(node), NULL);
		if (levels > 0 && real && real_wanted && strcmp(real, real_wanted) == 0)
			conversion->levels = levels;
		free(real);
	}
	free(wanted);
	free(real_wanted);
	/* Another image with the same content: all that isn't there is compared, as it were. */
	return 0;
}

static int open_target(struct convert_request *request, const char *named, struct error *error)
{
	struct image_names target = {.are_options = request->are_target_options};
	const char *path, *said_format = NULL;
	struct conversion *conversion = &request->conversion;
	struct block_options open = {.format = request->target_format,
				     .cache = request->target_cache,
				     .discard = true};
	struct image_description description;
	struct image_creation creation;
	int result = image_name_parse(named, target.are_options, &path, &said_format, error);

	if (result < 0)
		return result;
	image_creation_init(&creation, request->target_format);
	creation.size = conversion->size;
	if (request->list) {
		result = image_options_parse(request->list, &creation, error);
		if (result < 0)
			return result;
	}
	if (request->backing)
		creation.backing = request->backing;
	if (request->backing_format)
		creation.backing_format = request->backing_format;
	if (request->is_new) {
		if (creation.backing && !creation.backing_format)
			return error_set(error, EINVAL, "-B wants -F: the backing file's format");
		result = image_create(path, &creation, error);
		if (result < 0)
			return result;
	}
	result = image_open_named(named, &target, &open, 0, &conversion->target, error);
	if (result < 0)
		return result;
	if (image_size(conversion->target) < conversion->size)
		return error_set(error, ENOSPC, "%s is smaller than what is to be put there", path);
	image_describe(conversion->target, &description);
	conversion->cluster = description.cluster_size;
	if (conversion->compresses && (!description.is_qcow2 || description.data_file))
		return error_set(error, ENOTSUP, "%s: compression (-c) is for qcow2 images", path);
	conversion->target_is_zero = request->is_zero_target ||
				     (request->is_new && !creation.backing && !creation.is_data_raw &&
				      (image_has_new_file(conversion->target) ||
				       (description.is_qcow2 && creation.preallocation == IMAGE_PREALLOCATION_OFF)));
	return 0;
}

/* Those of the one source, each of which begins with what it said when it was copied. */
static int copy_bitmaps(const struct convert_request *request, struct error *error)
{
	struct node *source = request->conversion.sources[0], *target = request->conversion.target;
	struct image_description description;
	struct image_bitmap bitmap;
	unsigned i;
	int result = 0;

	image_describe(source, &description);
	for (i = 0; i < description.bitmap_count && result == 0; i++) {
		image_bitmap_describe(source, i, &bitmap);
		if (bitmap.is_in_use && request->skips_broken) {
			log_error("%s: bitmap '%s' was not closed: it is not copied", image_path(source), bitmap.name);
			continue;
		}
		if (bitmap.is_in_use)
			return error_set(error, EINVAL, "%s: bitmap '%s' was not closed: remove it, or --skip-broken-bitmaps",
					 image_path(source), bitmap.name);
		result = image_bitmap_change(target, IMAGE_BITMAP_ADD_DISABLED, bitmap.name, bitmap.granularity, error);
		if (result == 0)
			result = image_bitmap_merge(target, bitmap.name, source, bitmap.name, error);
		if (result == 0 && bitmap.is_auto)
			result = image_bitmap_change(target, IMAGE_BITMAP_ENABLE, bitmap.name, 0, error);
	}
	return result;
}

static int run_convert(struct convert_request *request, int count, char **paths)
{
	struct conversion *conversion = &request->conversion;
	const char *target = paths[count - 1];
	struct error error;
	unsigned i;
	int result, closed;

	result = open_sources(request, paths, count - 1, &error);
	if (result == 0)
		result = count_levels(request, target, &error);
	if (result == 0)
		result = open_target(request, target, &error);
	conversion->buffer = aligned_alloc(4096, CHUNK);
	if (result == 0 && !conversion->buffer)
		result = error_set_errno(&error, ENOMEM, "convert");
	if (result == 0) {
		result = convert(conversion);
		if (result == 0)
			image_progress_end(&conversion->progress);
		else
			error_set_errno(&error, -result, "cannot convert to %s", target);
	}
	if (result == 0 && request->copies_bitmaps)
		result = conversion->source_count == 1
				 ? copy_bitmaps(request, &error)
				 : error_set(&error, EINVAL, "--bitmaps wants one image to convert");
	if (conversion->target) {
		if (result == 0 && (closed = image_flush(conversion->target)) < 0)
			result = error_set_errno(&error, -closed, "cannot write %s", target);
		closed = image_close(conversion->target);
		if (result == 0 && closed < 0)
			result = error_set_errno(&error, -closed, "cannot write %s", target);
	}
	for (i = 0; i < conversion->source_count; i++)
		image_close(conversion->sources[i]);
	free(conversion->sources);
	free(conversion->buffer);
	return result < 0 ? image_fail(&error) : EXIT_OK;
}

int image_command_convert(int count, char **arguments)
{
	enum { TARGET_IS_ZERO = 256, TARGET_OPTIONS, BITMAPS, SKIP_BROKEN, SALVAGE };
	static const struct option options[] = {{"target-is-zero", no_argument, NULL, TARGET_IS_ZERO},
						{"target-image-opts", no_argument, NULL, TARGET_OPTIONS},
						{"bitmaps", no_argument, NULL, BITMAPS},
						{"skip-broken-bitmaps", no_argument, NULL, SKIP_BROKEN},
						{"salvage", no_argument, NULL, SALVAGE},
						IMAGE_COMMON_OPTIONS,
						{NULL}};
	struct convert_request request = {.target_format = NULL,
				  .is_new = true,
				  .target_cache = BLOCK_CACHE_UNSAFE,
				  .conversion = {.sparse = 4096}};
	struct image_names names = {false};
	int option;

	while ((option = getopt_long(count, arguments, "B:CF:O:S:T:UWcf:l:m:no:pqr:t:", options,
				     NULL)) != -1)
		switch (option) {
		case 'B': request.backing = optarg; break;
		case 'F': request.backing_format = optarg; break;
		case 'O': request.target_format = optarg; break;
		case 'S':
			if (image_size_parse(optarg, &request.conversion.sparse) < 0)
				return image_usage("-S %s: that is no size", optarg);
			break;
		case 'T':
		case 't':
			if (block_cache_parse(optarg, option == 't' ? &request.target_cache
								    : &request.source_cache) < 0)
				return image_usage("-%c %s: no cache mode", option, optarg);
			break;
		case 'C':
		case 'W':
		case 'm':
		case 'r': break; /* how fast, and in which order: as it is */
		case 'c': request.compresses = request.conversion.compresses = true; break;
		case 'f': request.format = optarg; break;
		case 'l': request.snapshot = image_snapshot_name(optarg); break;
		case 'n': request.is_new = false; break;
		case 'o': request.list = optarg; break;
		case 'p': request.conversion.progress.is_wanted = true; break;
		case 'q': request.is_quiet = true; break;
		case TARGET_IS_ZERO: request.is_zero_target = true; break;
		case TARGET_OPTIONS: request.are_target_options = true; break;
		case BITMAPS: request.copies_bitmaps = true; break;
		case SKIP_BROKEN: request.skips_broken = true; break;
		case SALVAGE: request.conversion.salvages = true; break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	request.names = names;
	if (request.list && image_is_help(request.list))
		return image_print_options(request.target_format ? request.target_format : "raw", false);
	if (request.skips_broken && !request.copies_bitmaps)
		return image_usage("--skip-broken-bitmaps wants --bitmaps");
	if (request.are_target_options && request.is_new)
		return image_usage("--target-image-opts wants -n");
	if (count - optind < 2)
		return image_usage("image convert wants an image and an output");
	if (request.is_quiet)
		request.conversion.progress.is_wanted = false;
	if (!request.target_format && request.is_new)
		request.target_format = "raw";
	if (request.target_format && !image_format_is_known(request.target_format))
		return image_usage("-O %s: raw and qcow2 can be made", request.target_format);
	if (!request.target_format && request.list)
		return image_usage("-n and -o exclude each other");
	return run_convert(&request, count - optind, arguments + optind);
}

/* ---- compare ---- */

#define EXIT_DIFFERENT 1
#define EXIT_FAILED    2

struct comparison {
	struct node *images[2];
	uint8_t *buffers[2];
	bool is_strict, is_quiet;
	struct image_progress progress;
};

static uint64_t size_of(const struct comparison *comparison, bool larger)
{
	uint64_t one = image_size(comparison->images[0]), two = image_size(comparison->images[1]);

	return (one > two) == larger ? one : two;
}

/* Whether a range is the same: what is beyond an image's end counts as zeroes. 1, 0 or -errno. */
static int compare_range(struct comparison *comparison, uint64_t at, uint64_t size,
			 uint64_t *different)
{
	uint64_t i;
	int result = image_read(comparison->images[0], at, comparison->buffers[0], size);

	if (result == 0)
		result = image_read(comparison->images[1], at, comparison->buffers[1], size);
	if (result < 0)
		return result;
	if (memcmp(comparison->buffers[0], comparison->buffers[1], size) == 0)
		return 1;
	for (i = 0; comparison->buffers[0][i] == comparison->buffers[1][i]; i++)
		;
	*different = at + i / 512 * 512;
	return 0;
}

static int compare(struct comparison *comparison, struct error *error)
{
	uint64_t end = size_of(comparison, true), at, size, different = 0;
	uint64_t one_end = 0, two_end = 0; /* of what is known by `one` and `two` */
	struct image_extent one = {0}, two = {0};
	int result;

	if (size_of(comparison, false) != end && comparison->is_strict) {
		if (!comparison->is_quiet)
			printf("Strict mode: Image size mismatch!\n");
		return EXIT_DIFFERENT;
	}
	for (at = 0; at < end; at += size) {
		image_progress(&comparison->progress, at, end);
		result = at < one_end
				 ? 0
				 : image_extent(comparison->images[0], at, end - at, 0, &one);
		if (result == 0 && at >= two_end)
			result = image_extent(comparison->images[1], at, end - at, 0, &two);
		if (result == 0 && at >= one_end)
			one_end = at + one.size;
		if (result == 0 && at >= two_end)
			two_end = at + two.size;
		if (result < 0) {
			error_set_errno(error, -result, "cannot read at %llu", (unsigned long long)at);
			return -1;
		}
		size = (one_end < two_end ? one_end : two_end) - at;
		if (comparison->is_strict && one.is_present != two.is_present) {
			if (!comparison->is_quiet)
				printf("Strict mode: Offset %llu allocation mismatch!\n",
				       (unsigned long long)at);
			return EXIT_DIFFERENT;
		}
		if (one.is_zero && two.is_zero)
			continue;
		if (size > CHUNK)
			size = CHUNK;
		result = compare_range(comparison, at, size, &different);
		if (result < 0) {
			error_set_errno(error, -result, "cannot read at %llu", (unsigned long long)at);
			return -1;
		}
		if (result == 0) {
			if (!comparison->is_quiet)
				printf("Content mismatch at offset %llu!\n",
				       (unsigned long long)different);
			return EXIT_DIFFERENT;
		}
	}
	image_progress_end(&comparison->progress);
	if (size_of(comparison, false) != end && !comparison->is_quiet)
		printf("Warning: Image size mismatch!\n");
	if (!comparison->is_quiet)
		printf("Images are identical.\n");
	return EXIT_OK;
}

int image_command_compare(int count, char **arguments)
{
	static const struct option options[] = {IMAGE_COMMON_OPTIONS, {NULL}};
	struct comparison comparison = {{NULL}};
	struct image_names names = {false};
	struct block_options one = {.readonly = true}, two = {.readonly = true};
	struct error error;
	int option, result = -1;

	while ((option = getopt_long(count, arguments, "f:F:pqsT:U", options, NULL)) != -1)
		switch (option) {
		case 'f': one.format = optarg; break;
		case 'F': two.format = optarg; break;
		case 'p': comparison.progress.is_wanted = true; break;
		case 'q': comparison.is_quiet = true; break;
		case 's': comparison.is_strict = true; break;
		case 'T': break; /* a cache mode */
		default:
			if (image_common_option(option, arguments, &names))
				return EXIT_FAILED;
		}
	if (count - optind != 2) {
		image_usage("image compare wants two images");
		return EXIT_FAILED;
	}
	comparison.buffers[0] = malloc(CHUNK);
	comparison.buffers[1] = malloc(CHUNK);
	if (!comparison.buffers[0] || !comparison.buffers[1])
		error_set_errno(&error, ENOMEM, "compare");
	else if (image_open_named(arguments[optind], &names, &one, 0, &comparison.images[0], &error) == 0 &&
		 image_open_named(arguments[optind + 1], &names, &two, 0, &comparison.images[1], &error) == 0)
		result = compare(&comparison, &error);
	image_close(comparison.images[0]);
	image_close(comparison.images[1]);
	free(comparison.buffers[0]);
	free(comparison.buffers[1]);
	if (result < 0) {
		image_fail(&error);
		return EXIT_FAILED;
	}
	return result;
}
