/*
 * Writing compressed clusters: tools do that, one after the other, and then they are packed: several
 * share a host cluster, each holding a reference to it. See unpack.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "block/qcow2/qcow2.h"

/* Bytes, or 0: it gets no smaller; or -errno. */
static int64_t deflate_all(const uint8_t *from, uint8_t *to, size_t size)
{
	z_stream stream = {.next_in = (uint8_t *)from,
			   .avail_in = size,
			   .next_out = to,
			   .avail_out = size - 1};
	int64_t result;

	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -DEFLATE_WINDOW_BITS, 9,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	result = deflate(&stream, Z_FINISH) == Z_STREAM_END ? (int64_t)stream.total_out : 0;
	deflateEnd(&stream);
	return result;
}

static int64_t pack(const struct qcow2 *image, const uint8_t *from, uint8_t *to)
{
	size_t result;

	if (image->compression == COMPRESSION_ZLIB)
		return deflate_all(from, to, image->cluster_size);
	result = ZSTD_compress(to, image->cluster_size - 1, from, image->cluster_size, 0);
	return ZSTD_isError(result) ? 0 : (int64_t)result;
}

/* Room for `size` bytes, by references to one or two host clusters. */
static int make_bytes(struct qcow2 *image, uint64_t size, uint64_t *offset)
{
	uint64_t in_cluster = image->byte_hint & (image->cluster_size - 1);
	uint64_t room = image->byte_hint ? image->cluster_size - in_cluster : 0;
	uint64_t cluster = image->byte_hint >> image->cluster_bits, next, count;
	int result;

	if (room > 0 && in_cluster == 0)
		room = 0;
	if (room > 0) {
		result = refcount_get(image, cluster, &count);
		if (result < 0)
			return result;
		if (count == refcount_max(image))
			room = 0;
	}
	if (room < size) {
		result = clusters_make(image, 1, &next);
		if (result < 0)
			return result;
		if (room == 0 || next != (cluster + 1) << image->cluster_bits) {
			*offset = next;
			image->byte_hint = next + size;
			return 0;
		}
	}
	result = refcount_change(image, cluster, 1, 1);
	if (result < 0)
		return result;
	*offset = image->byte_hint;
	image->byte_hint += size;
	return 0;
}

/* Have the entry of `offset` say that `size` bytes at `host` are it. Under the lock. */
static int point_to(struct qcow2 *image, uint64_t offset, uint64_t host, uint64_t size)
{
	unsigned shift = 62 - (image->cluster_bits - 8);
	uint64_t sectors = (host % 512 + size + 511) / 512;
	struct cluster old;
	struct table *table;
	uint8_t *at;
	int result;

	if (host >> shift != 0)
		return -EFBIG;
	result = l2_own(image, offset, &table);
	if (result < 0)
		return result;
	at = l2_entry(image, table, offset);
	result = cluster_decode(image, offset, at, &old);
	if (result == 0)
		result = cluster_release(image, &old);
	if (result < 0)
		return result;
	put_be64(at, ENTRY_COMPRESSED | (sectors - 1) << shift | host);
	if (image->subclusters > 1)
		put_be64(at + 8, 0);
	table_dirty(&image->l2_tables, table);
	return 0;
}

int qcow2_write_compressed(struct node *node, uint64_t offset, const void *data, uint64_t size)
{
	struct qcow2 *image = qcow2_of(node);
	struct iovec vector = {(void *)data, size};
	uint8_t *whole, *packed;
	uint64_t host;
	int64_t length;
	int result;

	if (!is_cluster_aligned(image, offset) || image->data != &node->file ||
	    (size != image->cluster_size && offset + size != node->size))
		return -EINVAL;
	result = changes_begin(image);
	if (result < 0)
		return result;
	whole = calloc(1, image->cluster_size);
	packed = malloc(image->cluster_size);
	if (!whole || !packed) {
		result = -ENOMEM;
		goto out;
	}
	memcpy(whole, data, size);
	length = pack(image, whole, packed);
	if (length <= 0) {
		result = length < 0 ? length : qcow2_write(node, offset, size, &vector, 1);
		goto out;
	}
	bitmaps_mark(image, offset, size);
	pthread_mutex_lock(&image->lock);
	result = make_bytes(image, length, &host);
	pthread_mutex_unlock(&image->lock);
	if (result == 0)
		result = file_write_at(&node->file, host, packed, length);
	if (result == 0) {
		pthread_mutex_lock(&image->lock);
		result = point_to(image, offset, host, length);
		pthread_mutex_unlock(&image->lock);
	}
out:
	free(whole);
	free(packed);
	return result;
}
