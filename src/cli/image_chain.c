/* `kvik image commit` and rebase: images and those below them. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/image.h"

#define CHUNK (2u << 20)

/* ---- commit ---- */

struct commit {
	const char *path, *format, *base_name;
	struct image_names names;
	struct node *chain; /* from the topmost image down: read, and unlocked as the others hold it */
	struct node *top;   /* alone, to be emptied */
	struct node *base;
	unsigned levels; /* images above the base */
	struct image_progress progress;
	uint8_t *buffer;
};

static int find_base(struct commit *commit, const char **path, const char **format,
		     struct error *error)
{
	struct image_description description;
	struct node *node;
	char *wanted = NULL, *real;

	if (commit->base_name) {
		wanted = realpath(commit->base_name, NULL);
		if (!wanted)
			return error_set_errno(error, errno, "-b %s", commit->base_name);
	}
	for (node = image_below(commit->chain), commit->levels = 1; node;
	     node = image_below(node), commit->levels++) {
		real = wanted ? realpath(image_path(node), NULL) : NULL;
		if (!wanted || (real && strcmp(real, wanted) == 0)) {
			free(real);
			free(wanted);
			image_describe(node, &description);
			*path = image_path(node);
			*format = description.format;
			return 0;
		}
		free(real);
	}
	free(wanted);
	if (commit->base_name)
		return error_set(error, ENOENT, "-b %s: it is not below %s", commit->base_name,
				 commit->path);
	return error_set(error, EINVAL, "%s has no backing file to commit to", commit->path);
}

static int open_commit(struct commit *commit, enum block_cache cache, struct error *error)
{
	struct block_options top = {.format = commit->format, .cache = cache, .discard = true};
	struct block_options chain = {.format = commit->format, .readonly = true, .unlocked = true};
	struct block_options base = {.cache = cache, .discard = true};
	const char *path = NULL;
	int result;

	result = image_open_named(commit->path, &commit->names, &top, IMAGE_ALONE, &commit->top, error);
	if (result == 0)
		result = image_open_named(commit->path, &commit->names, &chain, 0, &commit->chain, error);
	if (result == 0)
		result = find_base(commit, &path, &base.format, error);
	if (result == 0)
		result = image_open(path, &base, 0, &commit->base, error);
	if (result == 0 && image_size(commit->base) < image_size(commit->chain))
		result = image_resize(commit->base, image_size(commit->chain),
				      IMAGE_PREALLOCATION_OFF, error);
	return result;
}

static int copy_down(struct commit *commit)
{
	uint64_t size = image_size(commit->chain), at, length, end = 0;
	struct image_extent extent = {0};
	int result = 0;

	for (at = 0; at < size && result == 0; at += length) {
		image_progress(&commit->progress, at, size);
		if (at >= end) {
			result = image_extent(commit->chain, at, size - at, commit->levels, &extent);
			end = at + extent.size;
		}
		length = end - at;
		if (result < 0 || !extent.is_present)
			continue;
		if (extent.is_zero) {
			result = image_zero(commit->base, at, length, true);
			continue;
		}
		if (length > CHUNK)
			length = CHUNK;
		result = image_read(commit->chain, at, commit->buffer, length);
		if (result == 0)
			result = image_write(commit->base, at, commit->buffer, length);
	}
	return result == 0 ? image_flush(commit->base) : result;
}

int image_command_commit(int count, char **arguments)
{
	static const struct option options[] = {IMAGE_COMMON_OPTIONS, {NULL}};
	struct image_names names = {false};
	struct commit commit = {NULL};
	enum block_cache cache = BLOCK_CACHE_WRITEBACK;
	bool drops = false, is_quiet = false;
	struct error error;
	int option, result, closed;

	while ((option = getopt_long(count, arguments, "b:df:pqr:t:", options, NULL)) != -1)
		switch (option) {
		case 'b': commit.base_name = optarg; break;
		case 'd': drops = true; break;
		case 'f': commit.format = optarg; break;
		case 'p': commit.progress.is_wanted = true; break;
		case 'q': is_quiet = true; break;
		case 'r': break;
		case 't':
			if (block_cache_parse(optarg, &cache) < 0)
				return image_usage("-t %s: no cache mode", optarg);
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (count - optind != 1)
		return image_usage("image commit wants a file");
	commit.names = names;
	commit.path = arguments[optind];
	commit.buffer = aligned_alloc(4096, CHUNK);
	result = commit.buffer ? open_commit(&commit, cache, &error)
			       : error_set_errno(&error, ENOMEM, "commit");
	if (result == 0) {
		result = copy_down(&commit);
		if (result < 0)
			error_set_errno(&error, -result, "cannot commit %s", commit.path);
	}
	/* Into an image further down: those in between still say what they said, so it stays. */
	if (result == 0 && !drops && commit.levels == 1)
		result = image_empty(commit.top, &error);
	if (result == 0)
		image_progress_end(&commit.progress);
	closed = image_close(commit.base);
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write the base of %s", commit.path);
	image_close(commit.chain);
	closed = image_close(commit.top);
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write %s", commit.path);
	free(commit.buffer);
	if (result < 0)
		return image_fail(&error);
	if (!is_quiet)
		printf("Image committed.\n");
	return EXIT_OK;
}

/* ---- rebase ---- */

struct rebase {
	struct node *image, *below; /* below: what the image will stand on; NULL: nothing */
	struct image_progress progress;
	uint8_t *old, *new;
};

/*
 * Where the image has nothing itself, and what was below differs from what will be, it gets what was.
 */
static int keep_content(struct rebase *rebase)
{
	uint64_t size = image_size(rebase->image), at, length;
	struct node *was = image_below(rebase->image);
	struct image_extent extent;
	int result = 0;

	for (at = 0; at < size && result == 0; at += length) {
		image_progress(&rebase->progress, at, size);
		result = image_extent(rebase->image, at, size - at, 1, &extent);
		length = extent.size;
		if (result < 0 || extent.is_present)
			continue;
		if (length > CHUNK)
			length = CHUNK;
		if (was)
			result = image_read(was, at, rebase->old, length);
		else
			memset(rebase->old, 0, length);
		if (result == 0 && rebase->below)
			result = image_read(rebase->below, at, rebase->new, length);
		else
			memset(rebase->new, 0, length);
		if (result == 0 && memcmp(rebase->old, rebase->new, length) != 0) {
			/* A cluster at a time: the others need no room. */
			struct image_description description;
			uint64_t step, part;

			image_describe(rebase->image, &description);
			step = description.cluster_size;
			for (part = 0; part < length && result == 0; part += step) {
				uint64_t bytes = length - part < step ? length - part : step;

				if (memcmp(rebase->old + part, rebase->new + part, bytes) != 0)
					result = image_write(rebase->image, at + part,
							     rebase->old + part, bytes);
			}
		}
	}
	return result == 0 ? image_flush(rebase->image) : result;
}

int image_command_rebase(int count, char **arguments)
{
	static const struct option options[] = {IMAGE_COMMON_OPTIONS, {NULL}};
	struct image_names names = {false};
	struct rebase rebase = {NULL};
	struct block_options open = {.discard = true}, below = {.readonly = true};
	const char *backing = NULL, *format = NULL, *path;
	bool is_unsafe = false;
	struct error error;
	char *name = NULL;
	int option, result, closed;

	while ((option = getopt_long(count, arguments, "b:F:f:pqt:T:uU", options, NULL)) != -1)
		switch (option) {
		case 'b': backing = optarg; break;
		case 'F': format = optarg; break;
		case 'f': open.format = optarg; break;
		case 'p': rebase.progress.is_wanted = true; break;
		case 'q': break;
		case 't':
		case 'T':
			if (block_cache_parse(optarg, option == 't' ? &open.cache : &below.cache) < 0)
				return image_usage("-%c %s: no cache mode", option, optarg);
			break;
		case 'u': is_unsafe = true; break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (count - optind != 1 || !backing)
		return image_usage("image rebase wants -b (\"\": no backing file) and a file");
	if (backing[0] && !format)
		return image_usage("-b wants -F: the backing file's format");
	path = arguments[optind];
	below.format = format;
	result = image_open_named(path, &names, &open, is_unsafe ? IMAGE_ALONE : 0, &rebase.image, &error);
	if (result < 0)
		return image_fail(&error);
	if (!is_unsafe) {
		rebase.old = malloc(CHUNK);
		rebase.new = malloc(CHUNK);
		name = backing[0] ? image_resolve(image_path(rebase.image), backing) : NULL;
		if (!rebase.old || !rebase.new || (backing[0] && !name))
			result = error_set_errno(&error, ENOMEM, "rebase");
		if (result == 0 && name)
			result = image_open(name, &below, names.flags, &rebase.below, &error);
		if (result == 0) {
			result = keep_content(&rebase);
			if (result < 0)
				error_set_errno(&error, -result, "cannot rebase %s", path);
		}
	}
	if (result == 0)
		result = image_set_backing(rebase.image, backing[0] ? backing : NULL, format, &error);
	if (result == 0)
		image_progress_end(&rebase.progress);
	image_close(rebase.below);
	closed = image_close(rebase.image);
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write %s", path);
	free(rebase.old);
	free(rebase.new);
	free(name);
	return result < 0 ? image_fail(&error) : EXIT_OK;
}
