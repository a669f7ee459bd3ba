/*
 * Reading compressed clusters (qcow2.txt, "Compressed Clusters Descriptor"): deflate without a header
 * and with a window of 4 KiB (the most that QEMU's decoder takes), or a zstd frame. The cluster that was
 * unpacked last is kept, as small reads come one after the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "block/qcow2/qcow2.h"
#include "block/vector.h"

static int inflate_all(const uint8_t *from, size_t from_size, uint8_t *to, size_t to_size)
{
	z_stream stream = {.next_in = (uint8_t *)from,
			   .avail_in = from_size,
			   .next_out = to,
			   .avail_out = to_size};
	int result;

	if (inflateInit2(&stream, -DEFLATE_WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	result = inflate(&stream, Z_FINISH);
	/* It ends with the cluster: what follows is somebody else's. */
	result = (result == Z_STREAM_END || result == Z_BUF_ERROR || result == Z_OK) &&
				 stream.avail_out == 0
			 ? 0
			 : -EIO;
	inflateEnd(&stream);
	return result;
}

static int unzstd_all(const uint8_t *from, size_t from_size, uint8_t *to, size_t to_size)
{
	ZSTD_inBuffer in = {from, from_size, 0};
	ZSTD_outBuffer out = {to, to_size, 0};
	ZSTD_DStream *stream = ZSTD_createDStream();
	int result = 0;

	if (!stream)
		return -ENOMEM;
	while (out.pos < out.size && result == 0) {
		size_t in_before = in.pos, out_before = out.pos;
		size_t left = ZSTD_decompressStream(stream, &out, &in);

		if (ZSTD_isError(left) || (left == 0 && out.pos < out.size) ||
		    (in.pos == in_before && out.pos == out_before))
			result = -EIO;
	}
	ZSTD_freeDStream(stream);
	return result;
}

/* Decompress the cluster of `entry` into `image->unpacked`. Under unpacked_lock. */
static int unpack(struct qcow2 *image, uint64_t entry)
{
	uint8_t bytes[16] = {0}, *packed;
	struct cluster cluster;
	int result;

	if (image->unpacked_entry == entry)
		return 0;
	put_be64(bytes, entry);
	result = cluster_decode(image, 0, bytes, &cluster);
	if (result < 0)
		return result;
	if (!image->unpacked && !(image->unpacked = malloc(image->cluster_size)))
		return -ENOMEM;
	packed = malloc(cluster.packed_bytes);
	if (!packed)
		return -ENOMEM;
	image->unpacked_entry = 0;
	result = file_read_at(&image->node.file, cluster.host, packed, cluster.packed_bytes);
	if (result == 0 && image->compression == COMPRESSION_ZSTD)
		result = unzstd_all(packed, cluster.packed_bytes, image->unpacked,
				    image->cluster_size);
	else if (result == 0)
		result = inflate_all(packed, cluster.packed_bytes, image->unpacked,
				     image->cluster_size);
	if (result == 0)
		image->unpacked_entry = entry;
	free(packed);
	return result;
}

int compressed_read(struct qcow2 *image, uint64_t entry, uint64_t skip, uint64_t size,
		    const struct iovec *vector, unsigned count, uint64_t at)
{
	int result;

	pthread_mutex_lock(&image->unpacked_lock);
	result = unpack(image, entry);
	if (result == 0)
		vector_put(vector, count, at, image->unpacked + skip, size);
	pthread_mutex_unlock(&image->unpacked_lock);
	return result;
}
