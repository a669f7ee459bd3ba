/* The header and its extensions: qcow2.txt, "Header", "Header extensions". */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "util/log.h"

/* Names of features, for programs that don't know them ("Feature name table"). */
static const struct {
	uint8_t type, bit;
	const char *name;
} feature_names[] = {
	{0, 0, "dirty bit"},	  {0, 1, "corrupt bit"},	 {0, 2, "external data file"},
	{0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
	{2, 0, "bitmaps"},	  {2, 1, "raw external data"},
};

#define FEATURE_NAMES  (sizeof(feature_names) / sizeof(feature_names[0]))
#define FEATURE_BYTES  48
#define FEATURE_LENGTH 46

int image_is_corrupt(struct qcow2 *image, const char *format, ...)
{
	char what[256];
	va_list arguments;

	if (image->is_checking)
		return -EIO;
	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	if (__atomic_exchange_n(&image->is_corrupt, true, __ATOMIC_RELAXED))
		return -EIO;
	if (!image->node.is_writable) {
		log_guest_at(LOG_WARNING, "%s is damaged: %s", image->node.file.path, what);
		return -EIO;
	}
	log_guest_at(LOG_WARNING,
		     "%s is damaged: %s; nothing is written to it any more (kvik image check -r all)",
		     image->node.file.path, what);
	if (image->version >= 3)
		header_set_feature(image, INCOMPATIBLE_CORRUPT, true);
	return -EIO;
}

int header_set_feature(struct qcow2 *image, uint64_t feature, bool is_set)
{
	uint64_t features = is_set ? image->incompatible | feature : image->incompatible & ~feature;
	uint8_t field[8];
	int result;

	if (features == image->incompatible)
		return 0;
	put_be64(field, features);
	result = file_write_at(&image->node.file, HEADER_INCOMPATIBLE, field, sizeof(field));
	if (result == 0)
		result = file_sync(&image->node.file);
	if (result == 0)
		image->incompatible = features;
	return result;
}

/* ---- Reading ---- */

static char *copy_string(const uint8_t *bytes, size_t length)
{
	char *text = malloc(length + 1);

	if (text) {
		memcpy(text, bytes, length);
		text[length] = 0;
	}
	return text;
}

static int damaged(const struct qcow2 *image, struct error *error, const char *what)
{
	return error_set(error, EINVAL, "%s is a damaged qcow2 image: %s", image->node.file.path,
			 what);
}

static int keep_extension(struct qcow2 *image, uint32_t type, const uint8_t *data, uint32_t length)
{
	struct extension *more = realloc(image->extensions,
					 (image->extension_count + 1) * sizeof(*more));
	uint8_t *copy = malloc(length ? length : 1);

	if (more)
		image->extensions = more;
	if (!more || !copy) {
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy, data, length);
	more[image->extension_count++] = (struct extension){type, length, copy};
	return 0;
}

static int set_string(char **string, const uint8_t *data, uint32_t length)
{
	free(*string);
	*string = copy_string(data, length);
	return *string ? 0 : -ENOMEM;
}

static int read_bitmaps_extension(struct qcow2 *image, const uint8_t *data, uint32_t length,
				  struct error *error)
{
	if (length != 24)
		return damaged(image, error, "its bitmaps extension is not of 24 bytes");
	image->bitmap_count = get_be32(data);
	image->bitmaps_bytes = get_be64(data + 8);
	image->bitmaps_offset = get_be64(data + 16);
	if (image->bitmap_count == 0 || image->bitmap_count > BITMAPS_MAX ||
	    image->bitmaps_bytes > SNAPSHOT_BYTES_MAX ||
	    !is_cluster_aligned(image, image->bitmaps_offset) || image->bitmaps_offset == 0 ||
	    image->bitmaps_offset >= HOST_OFFSET_MAX)
		return damaged(image, error, "its bitmaps extension points nowhere");
	return 0;
}

static int read_extension(struct qcow2 *image, uint32_t type, const uint8_t *data, uint32_t length,
			  struct error *error)
{
	switch (type) {
	case EXTENSION_BACKING_FORMAT:
		return set_string(&image->backing_format, data, length);
	case EXTENSION_DATA_FILE:
		if (length > NAME_MAX_BYTES)
			return damaged(image, error, "the name of its data file is too long");
		return set_string(&image->data_name, data, length);
	case EXTENSION_FEATURE_NAMES:
		return 0; /* written anew */
	case EXTENSION_BITMAPS:
		/* Without its bit it is stale, and goes with the next writing of the header. */
		if (image->autoclear & AUTOCLEAR_BITMAPS)
			return read_bitmaps_extension(image, data, length, error);
		return 0;
	default: return keep_extension(image, type, data, length);
	}
}

static int read_extensions(struct qcow2 *image, const uint8_t *bytes, uint64_t at, uint64_t end,
			   struct error *error)
{
	int result;

	while (end - at >= 8) {
		uint32_t type = get_be32(bytes + at), length = get_be32(bytes + at + 4);

		at += 8;
		if (type == EXTENSION_END)
			break;
		if (length > end - at)
			return damaged(image, error, "a header extension ends outside of the header");
		result = read_extension(image, type, bytes + at, length, error);
		if (result == -ENOMEM)
			return error_set_errno(error, ENOMEM, "%s", image->node.file.path);
		if (result < 0)
			return result;
		at += (length + 7ull) & ~7ull;
		if (at > end)
			break;
	}
	return 0;
}

/* An unknown incompatible feature: by its name, if the image has one for it. */
static int refuse_features(struct qcow2 *image, const uint8_t *bytes, uint64_t at, uint64_t end,
			   struct error *error)
{
	uint64_t unknown = image->incompatible & ~INCOMPATIBLE_KNOWN;
	int bit = __builtin_ctzll(unknown);

	while (end - at >= 8) {
		uint32_t type = get_be32(bytes + at), length = get_be32(bytes + at + 4), i;

		at += 8;
		if (type == EXTENSION_END || length > end - at)
			break;
		for (i = 0; type == EXTENSION_FEATURE_NAMES && i + FEATURE_BYTES <= length;
		     i += FEATURE_BYTES)
			if (bytes[at + i] == 0 && bytes[at + i + 1] == bit)
				return error_set(error, ENOTSUP, "%s needs a feature that kvik lacks: %.*s",
						 image->node.file.path, FEATURE_LENGTH,
						 (const char *)bytes + at + i + 2);
		at += (length + 7ull) & ~7ull;
		if (at > end)
			break;
	}
	return error_set(error, ENOTSUP, "%s needs a feature that kvik lacks: incompatible feature bit %d",
			 image->node.file.path, bit);
}

static int check_features(struct qcow2 *image, const uint8_t *bytes, struct error *error)
{
	uint32_t length = get_be32(bytes + HEADER_LENGTH);

	if (get_be32(bytes + HEADER_CRYPT_METHOD) != 0)
		return error_set(error, ENOTSUP, "%s is encrypted, which kvik cannot read",
				 image->node.file.path);
	if (image->version == 2)
		return 0;
	if (image->incompatible & ~INCOMPATIBLE_KNOWN)
		return refuse_features(image, bytes, length, image->cluster_size, error);
	if (image->incompatible & INCOMPATIBLE_COMPRESSION) {
		image->compression = length > HEADER_COMPRESSION ? bytes[HEADER_COMPRESSION] : 0;
		if (image->compression == COMPRESSION_ZLIB)
			return damaged(image, error, "its compression type is 0, and said not to be");
	} else if (length > HEADER_COMPRESSION && bytes[HEADER_COMPRESSION] != 0) {
		return damaged(image, error, "its compression type is not 0, and said to be");
	}
	if (image->compression > COMPRESSION_ZSTD)
		return error_set(error, ENOTSUP, "%s: compression type %u is unknown",
				 image->node.file.path, image->compression);
	if (image->incompatible & INCOMPATIBLE_EXTENDED_L2 && image->cluster_bits < EXTENDED_BITS_MIN)
		return damaged(image, error, "its clusters are too small for extended L2 entries");
	if (image->autoclear & AUTOCLEAR_RAW_DATA && !(image->incompatible & INCOMPATIBLE_DATA_FILE))
		image->autoclear &= ~AUTOCLEAR_RAW_DATA;
	return 0;
}

static int read_fixed(struct qcow2 *image, const uint8_t *bytes, struct error *error)
{
	uint32_t cluster_bits = get_be32(bytes + HEADER_CLUSTER_BITS), length;

	if (get_be32(bytes) != QCOW2_MAGIC)
		return error_set(error, EINVAL, "%s is no qcow2 image", image->node.file.path);
	image->version = get_be32(bytes + HEADER_VERSION);
	if (image->version != 2 && image->version != 3)
		return error_set(error, ENOTSUP, "%s: qcow2 version %u is unknown: 2 and 3 are known",
				 image->node.file.path, image->version);
	if (cluster_bits < CLUSTER_BITS_MIN || cluster_bits > CLUSTER_BITS_MAX)
		return error_set(error, ENOTSUP, "%s: clusters of 2^%u bytes: 2^%d to 2^%d are possible",
				 image->node.file.path, cluster_bits, CLUSTER_BITS_MIN,
				 CLUSTER_BITS_MAX);
	image->cluster_bits = cluster_bits;
	image->cluster_size = 1ull << cluster_bits;
	image->node.size = get_be64(bytes + HEADER_SIZE);
	image->l1_size = get_be32(bytes + HEADER_L1_SIZE);
	image->l1_offset = get_be64(bytes + HEADER_L1_OFFSET);
	image->reftable_offset = get_be64(bytes + HEADER_REFTABLE_OFFSET);
	image->reftable_clusters = get_be32(bytes + HEADER_REFTABLE_CLUSTERS);
	image->snapshot_count = get_be32(bytes + HEADER_SNAPSHOT_COUNT);
	image->snapshots_offset = get_be64(bytes + HEADER_SNAPSHOTS_OFFSET);
	image->refcount_order = 4;
	if (image->version == 2)
		return 0;
	length = get_be32(bytes + HEADER_LENGTH);
	if (length < HEADER_SIZE_V3 || length > image->cluster_size || length % 8 != 0)
		return damaged(image, error, "its header's length cannot be");
	image->header_length = length;
	image->incompatible = get_be64(bytes + HEADER_INCOMPATIBLE);
	image->compatible = get_be64(bytes + HEADER_COMPATIBLE);
	image->autoclear = get_be64(bytes + HEADER_AUTOCLEAR);
	image->refcount_order = get_be32(bytes + HEADER_REFCOUNT_ORDER);
	if (image->refcount_order > 6)
		return damaged(image, error, "refcounts are wider than 64 bits");
	return 0;
}

/* A table that the header points to. */
static bool is_table_place(const struct qcow2 *image, uint64_t offset, uint64_t bytes)
{
	return is_cluster_aligned(image, offset) && offset < HOST_OFFSET_MAX &&
	       bytes < HOST_OFFSET_MAX;
}

static int check_places(struct qcow2 *image, struct error *error)
{
	uint64_t l1_needed;

	image->subclusters = image->incompatible & INCOMPATIBLE_EXTENDED_L2 ? SUBCLUSTERS : 1;
	image->subcluster_bits = image->cluster_bits - (image->subclusters == 1 ? 0 : 5);
	image->entry_bytes = image->subclusters == 1 ? 8 : 16;
	image->l2_bits = image->cluster_bits - (image->subclusters == 1 ? 3 : 4);
	image->refblock_bits = image->cluster_bits + 3 - image->refcount_order;
	image->is_lazy = image->compatible & COMPATIBLE_LAZY;

	if (image->node.size > INT64_MAX - image->cluster_size)
		return damaged(image, error, "its disk is larger than 2^63 bytes");
	if (image->l1_size > L1_BYTES_MAX / 8)
		return error_set(error, EFBIG, "%s: its L1 table has more than %u bytes",
				 image->node.file.path, L1_BYTES_MAX);
	l1_needed = (image->node.size + (1ull << (image->cluster_bits + image->l2_bits)) - 1) >>
		    (image->cluster_bits + image->l2_bits);
	if (image->l1_size < l1_needed)
		return damaged(image, error, "its L1 table is too small for its disk");
	if (!is_table_place(image, image->l1_offset, image->l1_size * 8ull) ||
	    (image->l1_size > 0 && image->l1_offset == 0))
		return damaged(image, error, "its L1 table is at no possible place");
	if (image->reftable_clusters > REFTABLE_BYTES_MAX >> image->cluster_bits)
		return error_set(error, EFBIG, "%s: its refcount table has more than %u bytes",
				 image->node.file.path, REFTABLE_BYTES_MAX);
	/* A check can make a new one. */
	if (image->is_checking && (image->reftable_clusters == 0 || image->reftable_offset == 0 ||
				   !is_table_place(image, image->reftable_offset, 0)))
		image->reftable_clusters = image->reftable_offset = 0;
	else if (image->reftable_clusters == 0 || image->reftable_offset == 0 ||
		 !is_table_place(image, image->reftable_offset, 0))
		return damaged(image, error, "its refcount table is at no possible place");
	return 0;
}

int header_read(struct qcow2 *image, struct error *error)
{
	uint8_t start[HEADER_SIZE_V3], *bytes = NULL;
	uint64_t backing_offset, extensions_at, extensions_end;
	uint32_t backing_size;
	int result;

	result = file_read_at(&image->node.file, 0, start, sizeof(start));
	if (result < 0)
		return error_set_errno(error, -result, "cannot read %s", image->node.file.path);
	result = read_fixed(image, start, error);
	if (result < 0)
		return result;
	bytes = malloc(image->cluster_size);
	if (!bytes)
		return error_set_errno(error, ENOMEM, "%s", image->node.file.path);
	result = file_read_at(&image->node.file, 0, bytes, image->cluster_size);
	if (result < 0) {
		error_set_errno(error, -result, "cannot read %s", image->node.file.path);
		goto out;
	}
	/* The file may have changed in between: what was checked counts. */
	memcpy(bytes, start, sizeof(start));
	result = check_features(image, bytes, error);
	if (result == 0)
		result = check_places(image, error);
	if (result < 0)
		goto out;

	backing_offset = get_be64(bytes + HEADER_BACKING_OFFSET);
	backing_size = get_be32(bytes + HEADER_BACKING_SIZE);
	extensions_at = image->version == 2 ? HEADER_SIZE_V2 : get_be32(bytes + HEADER_LENGTH);
	extensions_end = image->cluster_size;
	if (image->header_length > HEADER_TAIL) {
		image->header_tail = malloc(image->header_length - HEADER_TAIL);
		if (!image->header_tail) {
			result = error_set_errno(error, ENOMEM, "%s", image->node.file.path);
			goto out;
		}
		memcpy(image->header_tail, bytes + HEADER_TAIL, image->header_length - HEADER_TAIL);
	}
	if (backing_offset != 0) {
		if (backing_offset < extensions_at || backing_offset > image->cluster_size ||
		    backing_size > NAME_MAX_BYTES ||
		    backing_size > image->cluster_size - backing_offset) {
			result = damaged(image, error, "the name of its backing file is at no possible place");
			goto out;
		}
		extensions_end = backing_offset;
		if (backing_size > 0)
			image->backing_name = copy_string(bytes + backing_offset, backing_size);
	}
	result = read_extensions(image, bytes, extensions_at, extensions_end, error);
	if (result == 0 && image->incompatible & INCOMPATIBLE_DATA_FILE && image->snapshot_count > 0)
		result = damaged(image, error, "it has a data file and snapshots");
out:
	free(bytes);
	return result;
}

/* ---- Writing ---- */

struct header_writer {
	uint8_t *bytes;
	uint64_t at, size;
	bool is_full;
};

static void put_extension(struct header_writer *writer, uint32_t type, const void *data, uint32_t length)
{
	uint64_t padded = (length + 7ull) & ~7ull;

	if (writer->size - writer->at < 8 + padded) {
		writer->is_full = true;
		return;
	}
	put_be32(writer->bytes + writer->at, type);
	put_be32(writer->bytes + writer->at + 4, length);
	memcpy(writer->bytes + writer->at + 8, data, length);
	writer->at += 8 + padded;
}

static void put_feature_names(struct header_writer *writer)
{
	uint8_t names[FEATURE_NAMES * FEATURE_BYTES] = {0};
	unsigned i;

	for (i = 0; i < FEATURE_NAMES; i++) {
		names[i * FEATURE_BYTES] = feature_names[i].type;
		names[i * FEATURE_BYTES + 1] = feature_names[i].bit;
		memcpy(names + i * FEATURE_BYTES + 2, feature_names[i].name,
		       strlen(feature_names[i].name));
	}
	put_extension(writer, EXTENSION_FEATURE_NAMES, names, sizeof(names));
}

/* At least what kvik knows of. */
static uint32_t length_to_write(const struct qcow2 *image)
{
	return image->header_length > HEADER_SIZE_MAX ? image->header_length : HEADER_SIZE_MAX;
}

static void put_fixed(const struct qcow2 *image, uint8_t *bytes)
{
	put_be32(bytes + HEADER_MAGIC, QCOW2_MAGIC);
	put_be32(bytes + HEADER_VERSION, image->version);
	put_be32(bytes + HEADER_CLUSTER_BITS, image->cluster_bits);
	put_be64(bytes + HEADER_SIZE, image->node.size);
	put_be32(bytes + HEADER_L1_SIZE, image->l1_size);
	put_be64(bytes + HEADER_L1_OFFSET, image->l1_offset);
	put_be64(bytes + HEADER_REFTABLE_OFFSET, image->reftable_offset);
	put_be32(bytes + HEADER_REFTABLE_CLUSTERS, image->reftable_clusters);
	put_be32(bytes + HEADER_SNAPSHOT_COUNT, image->snapshot_count + image->snapshots_lost);
	put_be64(bytes + HEADER_SNAPSHOTS_OFFSET, image->snapshots_offset);
	if (image->version < 3)
		return;
	put_be64(bytes + HEADER_INCOMPATIBLE, image->incompatible);
	put_be64(bytes + HEADER_COMPATIBLE, image->compatible);
	put_be64(bytes + HEADER_AUTOCLEAR, image->autoclear);
	put_be32(bytes + HEADER_REFCOUNT_ORDER, image->refcount_order);
	put_be32(bytes + HEADER_LENGTH, length_to_write(image));
	bytes[HEADER_COMPRESSION] = image->compression;
	if (image->header_tail)
		memcpy(bytes + HEADER_TAIL, image->header_tail, image->header_length - HEADER_TAIL);
}

static void put_extensions(const struct qcow2 *image, struct header_writer *writer, bool with_names)
{
	uint8_t bitmaps[24] = {0};
	unsigned i;

	if (image->backing_format)
		put_extension(writer, EXTENSION_BACKING_FORMAT, image->backing_format,
			      strlen(image->backing_format));
	if (image->data_name)
		put_extension(writer, EXTENSION_DATA_FILE, image->data_name, strlen(image->data_name));
	if (with_names)
		put_feature_names(writer);
	if (image->bitmap_count > 0) {
		put_be32(bitmaps, image->bitmap_count);
		put_be64(bitmaps + 8, image->bitmaps_bytes);
		put_be64(bitmaps + 16, image->bitmaps_offset);
		put_extension(writer, EXTENSION_BITMAPS, bitmaps, sizeof(bitmaps));
	}
	for (i = 0; i < image->extension_count; i++)
		put_extension(writer, image->extensions[i].type, image->extensions[i].data,
			      image->extensions[i].length);
	/* The cluster's end, or the backing file's name, ends them, too. */
	if (writer->size - writer->at >= 8)
		put_extension(writer, EXTENSION_END, "", 0);
}

/* The first cluster as it should be, which is the caller's to free. 0, -ENOMEM or -ENOSPC. */
static int compose(const struct qcow2 *image, uint8_t **bytes)
{
	struct header_writer writer = {.size = image->cluster_size};
	bool with_names = image->version >= 3;
	size_t name_length = image->backing_name ? strlen(image->backing_name) : 0;

	*bytes = writer.bytes = calloc(1, image->cluster_size);
	if (!writer.bytes)
		return -ENOMEM;
again:
	memset(writer.bytes, 0, writer.size);
	writer.is_full = false;
	writer.at = image->version >= 3 ? length_to_write(image) : HEADER_SIZE_V2;
	put_fixed(image, writer.bytes);
	put_extensions(image, &writer, with_names);
	if (image->backing_name && writer.size - writer.at >= name_length) {
		put_be64(writer.bytes + HEADER_BACKING_OFFSET, writer.at);
		put_be32(writer.bytes + HEADER_BACKING_SIZE, name_length);
		memcpy(writer.bytes + writer.at, image->backing_name, name_length);
		writer.at += name_length;
	} else if (image->backing_name) {
		writer.is_full = true;
	}
	if (writer.is_full && with_names) {
		/* The names are a comfort; in small clusters other things have the room. */
		with_names = false;
		goto again;
	}
	return writer.is_full ? -ENOSPC : 0;
}

int header_write(struct qcow2 *image)
{
	uint8_t *bytes;
	int result = compose(image, &bytes);

	if (result == 0)
		result = file_write_at(&image->node.file, 0, bytes, image->cluster_size);
	free(bytes);
	return result;
}

int header_switch(struct qcow2 *image)
{
	uint8_t *bytes;
	int result = compose(image, &bytes);

	if (result < 0)
		goto out;
	result = file_write_at(&image->node.file, 0, bytes, image->cluster_size);
	if (result == 0)
		result = file_sync(&image->node.file);
	/* Each of the two tables is sound for as long as nothing is written any more. */
	if (result < 0 && !__atomic_exchange_n(&image->is_corrupt, true, __ATOMIC_RELAXED))
		log_error("%s: its header could not be written for certain: %s; nothing is written to it any more",
			  image->node.file.path, strerror(-result));
out:
	free(bytes);
	return result;
}
