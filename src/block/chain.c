/* The images of a disk, from the topmost down, each opened before the process gives up paths. */
#include "block/chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/foreign/formats.h"
#include "block/image.h"
#include "block/nbd/name.h"
#include "block/probe.h"
#include "block/qcow2/whole.h"

/* What the options mean for the files. */
static unsigned file_flags(const struct block_options *options, unsigned flags)
{
	unsigned result = 0;

	if (!options->readonly)
		result |= FILE_WRITABLE;
	if (options->cache == BLOCK_CACHE_NONE || options->cache == BLOCK_CACHE_DIRECTSYNC)
		result |= FILE_DIRECT;
	if (options->cache == BLOCK_CACHE_UNSAFE)
		result |= FILE_UNSAFE;
	if (options->unlocked)
		result |= FILE_UNLOCKED;
	if (flags & IMAGE_SHARED)
		result |= FILE_SHARED_WRITES;
	return result;
}

/* "ssh:...", "json:{...}": what is neither a path nor an export. */
static bool is_protocol(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.0123456789");

	return name[length] == ':' && strncmp(name, "file:", 5) != 0 && !nbd_name_is_one(name);
}

static int open_image(const char *path, int fd, const struct block_options *options, unsigned flags,
		      unsigned depth, struct node **opened, struct error *error);

/* Open the data file that a qcow2 image wants. */
static int open_data_file(struct qcow2 *image, const struct block_options *options, unsigned flags,
			  struct error *error)
{
	char *path;
	int result;

	if (!(image->incompatible & INCOMPATIBLE_DATA_FILE))
		return 0;
	if (!image->data_name || !image->data_name[0] || is_protocol(image->data_name))
		return error_set(error, EINVAL, "%s has its data in another file, and names none",
				 image->node.file.path);
	/* QEMU means the current folder, unlike with backing files; images are moved together. */
	path = access(image->data_name, F_OK) == 0
		       ? strdup(image->data_name)
		       : file_resolve(image->node.file.path, image->data_name);
	if (!path)
		return error_set_errno(error, ENOMEM, "%s", image->node.file.path);
	result = file_open(&image->data_file, path, file_flags(options, flags), error);
	if (result < 0)
		error_prefix(error, "the data file of %s", image->node.file.path);
	else
		image->data = &image->data_file;
	free(path);
	return result;
}

/* Open what is below `node`, whose image names it unless the options do. */
static int open_backing(struct node *node, const char *name, const char *format,
			const struct block_options *options, unsigned flags, unsigned depth,
			struct error *error)
{
	struct block_options below = *options;
	char *path;
	int result;

	if (options->backing) {
		name = options->backing;
		format = options->backing_format ? options->backing_format : format;
	}
	if (!name || !name[0] || flags & IMAGE_ALONE)
		return 0;
	if (is_protocol(name))
		return error_set(error, ENOTSUP, "%s: its backing file '%s' is neither a file of this host nor an NBD export",
				 node->file.path, name);
	if (depth == CHAIN_MAX)
		return error_set(error, ELOOP, "%s: more than %d images on top of one another",
				 node->file.path, CHAIN_MAX);
	path = file_resolve(node->file.path, name);
	if (!path)
		return error_set_errno(error, ENOMEM, "%s", node->file.path);
	below.format = format && format[0] ? format : NULL;
	below.readonly = true;
	below.snapshot = false;
	below.backing = below.backing_format = NULL;
	result = open_image(path, -1, &below, flags & ~IMAGE_FOR_CHECK, depth + 1, &node->backing,
			    error);
	if (result < 0)
		error_prefix(error, "the backing file of %s", node->file.path);
	free(path);
	return result;
}

static int open_qcow2(struct file *file, const struct block_options *options, unsigned flags,
		      unsigned depth, struct node **opened, struct error *error)
{
	struct qcow2 *image;
	int result = qcow2_open(file, flags & IMAGE_FOR_CHECK, &image, error);

	if (result < 0)
		return result;
	image->node.discards = options->discard;
	result = open_data_file(image, options, flags, error);
	if (result == 0)
		result = open_backing(&image->node, image->backing_name, image->backing_format,
				      options, flags, depth, error);
	if (result == 0)
		result = qcow2_start(image, flags & IMAGE_FOR_CHECK, error);
	if (result < 0) {
		/* As it is: nothing of it is to be written. */
		image->node.is_writable = false;
		*file = image->node.file;
		image->node.file = (struct file){.fd = -1, .direct_fd = -1};
		node_close(&image->node);
		return result;
	}
	*opened = &image->node;
	return 0;
}

static int open_raw(struct file *file, const struct block_options *options, bool was_probed,
		    struct node **opened, struct error *error)
{
	struct node *node = raw_open(file);

	if (!node)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	node->was_probed = was_probed;
	node->discards = options->discard;
	*opened = node;
	return 0;
}

/* Formats of other programs' that are only read. */
static const struct foreign {
	const char *name;
	int (*open)(struct file *file, struct node **opened, struct error *error);
} foreign_formats[] = {{"vdi", vdi_open}, {"vmdk", vmdk_open}, {"vhdx", vhdx_open}};

static const struct foreign *find_foreign(const char *format)
{
	unsigned i;

	for (i = 0; i < sizeof(foreign_formats) / sizeof(foreign_formats[0]); i++)
		if (strcmp(foreign_formats[i].name, format) == 0)
			return &foreign_formats[i];
	return NULL;
}

static int open_foreign(const struct foreign *foreign, struct file *file, const struct block_options *options,
			struct node **opened, struct error *error)
{
	if (!options->readonly)
		return error_set(error, ENOTSUP,
				 "%s: a %s image can only be read: use it with snapshot (what is written is lost), or make "
				 "it one that can be written to: kvik image convert -O qcow2 %s OUTPUT",
				 file->path, foreign->name, file->path);
	return foreign->open(file, opened, error);
}

bool image_format_is_known(const char *format)
{
	return strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0;
}

static int open_image(const char *path, int fd, const struct block_options *options, unsigned flags,
		      unsigned depth, struct node **opened, struct error *error)
{
	uint8_t start[BLOCK_SECTOR_SIZE];
	const char *format = options->format;
	struct file file;
	int result;

	result = fd >= 0 ? file_open_fd(&file, fd, path, file_flags(options, flags), error)
			 : file_open(&file, path, file_flags(options, flags), error);
	if (result < 0)
		return result;
	if (!format) {
		result = file_read_at(&file, 0, start, sizeof(start));
		if (result < 0) {
			error_set_errno(error, -result, "cannot read %s", path);
			goto fail;
		}
		format = image_probe(start, sizeof(start));
	}
	if (strcmp(format, "raw") == 0)
		result = open_raw(&file, options, !options->format, opened, error);
	else if (strcmp(format, "qcow2") == 0)
		result = open_qcow2(&file, options, flags, depth, opened, error);
	else if (find_foreign(format))
		result = open_foreign(find_foreign(format), &file, options, opened, error);
	else
		result = error_set(error, ENOTSUP,
				   "%s: images of format '%s' cannot be read: raw, qcow2, vdi, vmdk and vhdx can; "
				   "qemu-img convert makes it one of these", path, format);
	if (result == 0)
		return 0;
fail:
	file_close(&file);
	return result;
}

struct image_creation chain_new_image(uint64_t size)
{
	return (struct image_creation){
		.format = "qcow2",
		.size = size,
		.version = 3,
		.cluster_size = 65536,
		.refcount_bits = 16,
		.compression = "zlib",
	};
}

/* Put an image for what is written on top, in a file without a name. */
static int put_on_top(struct node *below, struct node **opened, struct error *error)
{
	const struct image_creation creation = chain_new_image(below->size);
	struct block_options options = {.format = "qcow2", .discard = true,
					.cache = BLOCK_CACHE_UNSAFE};
	const char *folder = getenv("TMPDIR");
	char *path = NULL;
	int fd = -1, result;

	if (asprintf(&path, "%s/kvik-snapshot-XXXXXX", folder ? folder : "/var/tmp") < 0 ||
	    (fd = mkstemp(path)) < 0) {
		result = error_set_errno(error, errno, "cannot make a temporary file in %s",
					 folder ? folder : "/var/tmp");
		free(path);
		return result;
	}
	close(fd);
	result = qcow2_create(path, -1, &creation, error);
	if (result == 0)
		result = open_image(path, -1, &options, IMAGE_ALONE, 0, opened, error);
	unlink(path);
	free(path);
	if (result == 0)
		(*opened)->backing = below;
	return result;
}

int chain_open(const char *path, int fd, const struct block_options *options, unsigned flags,
	       struct node **node, struct error *error)
{
	struct block_options below = *options;
	struct node *base;
	int result;

	if (!options->snapshot)
		return open_image(path, fd, options, flags, 0, node, error);
	below.readonly = true;
	result = open_image(path, fd, &below, flags, 0, &base, error);
	if (result < 0)
		return result;
	result = put_on_top(base, node, error);
	if (result < 0)
		node_close(base);
	return result;
}

static size_t folder_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 - path : 0;
}

const char *chain_name_below(const struct file *below, const char *path)
{
	size_t length = folder_length(path);

	if (below->place)
		return below->place;
	if (length == folder_length(below->path) && memcmp(below->path, path, length) == 0)
		return below->path + length;
	return below->path;
}
