/* The images of a disk, from the topmost down, each opened before the process gives up paths. */
#include "block/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/image.h"

/* What the options mean for the files. */
static unsigned file_flags(const struct block_options *options)
{
	unsigned flags = 0;

	if (!options->readonly)
		flags |= FILE_WRITABLE;
	if (options->cache == BLOCK_CACHE_NONE || options->cache == BLOCK_CACHE_DIRECTSYNC)
		flags |= FILE_DIRECT;
	if (options->cache == BLOCK_CACHE_UNSAFE)
		flags |= FILE_UNSAFE;
	if (options->unlocked)
		flags |= FILE_UNLOCKED;
	return flags;
}

static int open_node(struct file *file, const struct block_options *options, struct node **opened,
		     struct error *error)
{
	uint8_t start[BLOCK_SECTOR_SIZE];
	const char *format = options->format;
	struct node *node;
	int result;

	if (!format) {
		result = file_read_at(file, 0, start, sizeof(start));
		if (result < 0)
			return error_set_errno(error, -result, "cannot read %s", file->path);
		format = image_probe(start, sizeof(start));
	}
	if (strcmp(format, "raw") != 0)
		return error_set(error, ENOTSUP, "%s: images of format '%s' cannot be read: raw can",
				 file->path, format);
	node = raw_open(file);
	if (!node)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	node->was_probed = !options->format;
	node->discards = options->discard;
	*opened = node;
	return 0;
}

int chain_open(const char *path, int fd, const struct block_options *options, struct node **node,
	       struct error *error)
{
	unsigned flags = file_flags(options);
	struct file file;
	int result;

	if (options->snapshot)
		return error_set(error, ENOTSUP, "%s: snapshot: not for this format", path);
	result = fd >= 0 ? file_open_fd(&file, fd, path, flags, error)
			 : file_open(&file, path, flags, error);
	if (result < 0)
		return result;
	result = open_node(&file, options, node, error);
	if (result < 0)
		file_close(&file);
	return result;
}
