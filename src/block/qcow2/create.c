/*
 * Making an image: the smallest that there is (header, refcount table, one refcount block, and a disk
 * of no bytes), which is then opened and grows to its size like any other.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/whole.h"

static int check_creation(const char *path, const struct image_creation *creation,
			  struct error *error)
{
	uint64_t cluster = creation->cluster_size;

	if (creation->version != 2 && creation->version != 3)
		return error_set(error, EINVAL, "%s: compat=%u: 2 and 3 are possible", path,
				 creation->version);
	if (cluster & (cluster - 1) || cluster < 1ull << CLUSTER_BITS_MIN ||
	    cluster > 1ull << CLUSTER_BITS_MAX)
		return error_set(error, EINVAL,
				 "%s: cluster_size=%llu: a power of two between 512 and 2M is possible",
				 path, (unsigned long long)cluster);
	if (creation->refcount_bits == 0 || creation->refcount_bits > 64 ||
	    creation->refcount_bits & (creation->refcount_bits - 1))
		return error_set(error, EINVAL,
				 "%s: refcount_bits=%u: a power of two up to 64 is possible", path,
				 creation->refcount_bits);
	if (creation->is_extended && cluster < 1ull << EXTENDED_BITS_MIN)
		return error_set(error, EINVAL,
				 "%s: extended_l2 wants clusters of at least 16k", path);
	if (creation->version == 2 &&
	    (creation->refcount_bits != 16 || creation->is_lazy || creation->is_extended ||
	     creation->data_file || strcmp(creation->compression, "zlib") != 0))
		return error_set(error, EINVAL,
				 "%s: compat=0.10 has none of refcount_bits, lazy_refcounts, "
				 "extended_l2, data_file and compression_type",
				 path);
	if (strcmp(creation->compression, "zlib") != 0 && strcmp(creation->compression, "zstd") != 0)
		return error_set(error, EINVAL, "%s: compression_type=%s: zlib and zstd are possible",
				 path, creation->compression);
	if (creation->is_data_raw && !creation->data_file)
		return error_set(error, EINVAL, "%s: data_file_raw wants a data_file", path);
	if (creation->is_data_raw && creation->backing)
		return error_set(error, EINVAL, "%s: data_file_raw and a backing file exclude each other",
				 path);
	if (creation->backing && creation->preallocation != IMAGE_PREALLOCATION_OFF)
		return error_set(error, EINVAL,
				 "%s: preallocation would hide the backing file: one of the two", path);
	if (creation->backing && strlen(creation->backing) > NAME_MAX_BYTES)
		return error_set(error, EINVAL, "%s: a backing file's name has at most %d bytes", path,
				 NAME_MAX_BYTES);
	return 0;
}

/* The first three clusters. */
static int write_start(struct file *file, const struct image_creation *creation)
{
	struct qcow2 image = {
		.node = {.file = *file},
		.version = creation->version,
		.cluster_bits = __builtin_ctzll(creation->cluster_size),
		.cluster_size = creation->cluster_size,
		.refcount_order = __builtin_ctz(creation->refcount_bits),
		.reftable_clusters = 1,
		.backing_name = (char *)creation->backing,
		.backing_format = creation->backing ? (char *)creation->backing_format : NULL,
		.data_name = (char *)creation->data_file,
	};
	unsigned bits = creation->refcount_bits, i;
	uint8_t *cluster = calloc(1, image.cluster_size);
	int result;

	if (!cluster)
		return -ENOMEM;
	image.reftable_offset = image.cluster_size;
	image.incompatible = (creation->is_extended ? INCOMPATIBLE_EXTENDED_L2 : 0) |
			     (creation->data_file ? INCOMPATIBLE_DATA_FILE : 0);
	if (strcmp(creation->compression, "zstd") == 0) {
		image.incompatible |= INCOMPATIBLE_COMPRESSION;
		image.compression = COMPRESSION_ZSTD;
	}
	image.compatible = creation->is_lazy ? COMPATIBLE_LAZY : 0;
	image.autoclear = creation->is_data_raw ? AUTOCLEAR_RAW_DATA : 0;

	put_be64(cluster, 2 * image.cluster_size);
	result = file_write_at(file, image.cluster_size, cluster, image.cluster_size);
	memset(cluster, 0, 8);
	/* Three entries of 1: big-endian, or from the least significant bit on. */
	for (i = 0; i < 3; i++)
		if (bits >= 8)
			cluster[(i + 1) * bits / 8 - 1] = 1;
		else
			cluster[i * bits / 8] |= 1u << (i * bits % 8);
	if (result == 0)
		result = file_write_at(file, 2 * image.cluster_size, cluster, image.cluster_size);
	free(cluster);
	if (result == 0)
		result = file_sync(file);
	if (result == 0) {
		image.node.file.size = file->size;
		result = header_write(&image);
		pthread_mutex_destroy(&image.node.file.sync_lock);
		file_has_grown(file, image.node.file.size);
	}
	return result;
}

/* Make the data file, and have the image use it. */
static int add_data_file(struct qcow2 *image, const char *path,
			 const struct image_creation *creation, struct error *error)
{
	int result = file_open(&image->data_file, creation->data_file, FILE_WRITABLE | FILE_CREATE,
			       error);

	if (result < 0)
		error_prefix(error, "the data file of %s", path);
	else
		image->data = &image->data_file;
	return result;
}

int qcow2_create(const char *path, int fd, const struct image_creation *creation, struct error *error)
{
	const unsigned flags = FILE_WRITABLE | FILE_CREATE;
	enum image_preallocation preallocation = creation->preallocation;
	struct file file;
	struct qcow2 *image;
	int result = check_creation(path, creation, error), closed;

	if (result < 0)
		return result;
	/* Raw data is where it is from the beginning. */
	if (creation->is_data_raw && preallocation == IMAGE_PREALLOCATION_OFF)
		preallocation = IMAGE_PREALLOCATION_METADATA;
	/* Locked until the end, so that nobody begins with half of it. */
	result = fd < 0 ? file_open(&file, path, flags, error) : file_open_fd(&file, fd, path, flags, error);
	if (result < 0)
		return result;
	result = write_start(&file, creation);
	if (result < 0)
		error_set_errno(error, -result, "cannot write %s", path);
	else
		result = qcow2_open(&file, false, &image, error);
	if (result < 0) {
		file_close(&file);
		return result;
	}
	if (creation->data_file)
		result = add_data_file(image, path, creation, error);
	if (result == 0)
		result = qcow2_start(image, false, error);
	if (result == 0)
		result = qcow2_resize(image, creation->size, preallocation, error);
	closed = node_close(&image->node);
	if (result == 0 && closed < 0)
		result = error_set_errno(error, -closed, "cannot write %s", path);
	return result;
}
