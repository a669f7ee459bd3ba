/*
 * A request is a chain: a header of 16 bytes, data, a byte of status (§5.2.6). What its header says and
 * its buffers are is checked before the disk sees it; what is wrong in it gets an error status. A chain
 * without a whole header or a status byte cannot be answered, and breaks the device.
 *
 * Ordering is the driver's matter: it flushes after it has seen what it wants to be durable. Where it
 * has not learnt to (no VIRTIO_BLK_F_FLUSH), or has turned the write cache off, each write is durable
 * before it completes.
 */
#include "device/virtio/disk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "block/error_policy.h"
#include "device/virtio/requests.h"
#include "util/log.h"

#define QUEUE_SIZE	  256
#define HEADER_BYTES	  sizeof(struct virtio_blk_outhdr)
#define STATUS_BYTES	  1
#define BATCH_MAX	  32
#define DISCARD_SECTORS	  (BLOCK_REQUEST_MAX / BLOCK_SECTOR_SIZE)
#define PHYSICAL_MAX	  4096 /* what guests take for a physical sector's size at most */

struct disk {
	struct virtio_device virtio;
	struct block *block; /* owned */
	/* With the lock held: */
	bool has_write_cache; /* the driver's choice, where it has one */
	bool loaded_write_cache;
	struct virtio_requests requests;
};

struct disk_request {
	struct block_request request;
	struct disk *disk;
	struct virtio_request taken;
	struct iovec parts[];
};

static struct disk *disk_of(struct virtio_device *virtio)
{
	return (struct disk *)((char *)virtio - offsetof(struct disk, virtio));
}

/* --- answers; with the lock held --- */

static void answer(struct disk *disk, unsigned queue, struct virtqueue_chain *chain, uint8_t status)
{
	uint32_t written = chain->writable_bytes;

	virtqueue_write(chain, chain->writable_bytes - STATUS_BYTES, &status, STATUS_BYTES);
	virtio_push(&disk->virtio, queue, chain, written);
}

static void complete(struct block_request *block_request, int result)
{
	struct disk_request *request = (struct disk_request *)block_request;
	struct disk *disk = request->disk;

	if (result < 0)
		log_guest_at(LOG_WARNING, "%s: %s at %llu: %s", block_info(disk->block)->path,
			     block_request->operation == BLOCK_READ    ? "reading"
			     : block_request->operation == BLOCK_FLUSH ? "flushing"
								       : "writing",
			     (unsigned long long)block_request->offset, strerror(-result));
	pthread_mutex_lock(&disk->virtio.lock);
	answer(disk, request->taken.queue, request->taken.chain, result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
	virtio_request_end(&disk->virtio, &request->taken);
	pthread_mutex_unlock(&disk->virtio.lock);
	free(request);
}

/* --- requests; with the lock held --- */

static bool is_inside(const struct disk *disk, uint64_t sector, uint64_t bytes)
{
	uint64_t size = block_size(disk->block);

	return sector <= size / BLOCK_SECTOR_SIZE && bytes <= size - sector * BLOCK_SECTOR_SIZE;
}

/* Whether writes wait until they are durable (§5.2.6.2). */
static bool is_write_through(const struct disk *disk)
{
	if (virtio_has(&disk->virtio, VIRTIO_BLK_F_CONFIG_WCE))
		return !disk->has_write_cache;
	return !virtio_has(&disk->virtio, VIRTIO_BLK_F_FLUSH);
}

/* Reads and writes: their buffers. A status to answer with at once, or -1. */
static int prepare_transfer(struct disk_request *request, uint64_t sector)
{
	struct block_request *transfer = &request->request;
	bool is_read = transfer->operation == BLOCK_READ;
	const struct virtqueue_chain *chain = request->taken.chain;
	uint64_t bytes = is_read ? chain->writable_bytes - STATUS_BYTES
				 : chain->readable_bytes - HEADER_BYTES;

	if (bytes % BLOCK_SECTOR_SIZE || bytes > BLOCK_REQUEST_MAX ||
	    !is_inside(request->disk, sector, bytes) ||
	    (!is_read && block_info(request->disk->block)->is_readonly))
		return VIRTIO_BLK_S_IOERR;
	if (!bytes)
		return VIRTIO_BLK_S_OK;
	transfer->offset = sector * BLOCK_SECTOR_SIZE;
	transfer->size = bytes;
	transfer->vector = request->parts;
	transfer->vector_count = virtqueue_slice(chain, is_read, is_read ? 0 : HEADER_BYTES, bytes,
						 request->parts, chain->readable + chain->writable);
	if (!is_read && is_write_through(request->disk))
		transfer->flags |= BLOCK_FUA;
	return -1;
}

/* Discards and zeroes: one segment, which is all that the configuration says there may be. */
static int prepare_range(struct disk_request *request)
{
	struct block_request *range = &request->request;
	bool is_discard = range->operation == BLOCK_DISCARD;
	struct virtio_blk_discard_write_zeroes segment;
	uint64_t bytes;

	if (request->taken.chain->readable_bytes != HEADER_BYTES + sizeof(segment))
		return VIRTIO_BLK_S_IOERR;
	virtqueue_read(request->taken.chain, HEADER_BYTES, &segment, sizeof(segment));
	bytes = (uint64_t)segment.num_sectors * BLOCK_SECTOR_SIZE;
	/* A discard has no flags (§5.2.6.2). */
	if (segment.flags & ~(is_discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return VIRTIO_BLK_S_UNSUPP;
	if (segment.num_sectors > DISCARD_SECTORS || !is_inside(request->disk, segment.sector, bytes) ||
	    block_info(request->disk->block)->is_readonly)
		return VIRTIO_BLK_S_IOERR;
	if (!bytes)
		return VIRTIO_BLK_S_OK;
	range->offset = segment.sector * BLOCK_SECTOR_SIZE;
	range->size = bytes;
	if (!is_discard) {
		range->flags |= segment.flags ? BLOCK_UNMAP : 0;
		range->flags |= is_write_through(request->disk) ? BLOCK_FUA : 0;
	}
	return -1;
}

static int tell_serial(const struct disk *disk, const struct virtqueue_chain *chain)
{
	const char *serial = block_info(disk->block)->serial;
	char id[VIRTIO_BLK_ID_BYTES] = {0};

	if (chain->writable_bytes - STATUS_BYTES < sizeof(id))
		return VIRTIO_BLK_S_IOERR;
	memcpy(id, serial, strnlen(serial, sizeof(id)));
	virtqueue_write(chain, 0, id, sizeof(id));
	return VIRTIO_BLK_S_OK;
}

/* What the header asks for. A status to answer with at once, or -1: the request goes to the disk. */
static int prepare(struct disk_request *request, const struct virtio_blk_outhdr *header)
{
	switch (header->type) {
	case VIRTIO_BLK_T_IN: request->request.operation = BLOCK_READ; break;
	case VIRTIO_BLK_T_OUT: request->request.operation = BLOCK_WRITE; break;
	case VIRTIO_BLK_T_FLUSH: request->request.operation = BLOCK_FLUSH; return -1;
	case VIRTIO_BLK_T_DISCARD:
		request->request.operation = BLOCK_DISCARD;
		return prepare_range(request);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		request->request.operation = BLOCK_WRITE_ZEROES;
		return prepare_range(request);
	case VIRTIO_BLK_T_GET_ID: return tell_serial(request->disk, request->taken.chain);
	default: return VIRTIO_BLK_S_UNSUPP;
	}
	return prepare_transfer(request, header->sector);
}

/* The request of a chain that goes to the disk; NULL: it was answered, or the device is broken. */
static struct disk_request *take(struct disk *disk, unsigned queue, struct virtqueue_chain *chain)
{
	unsigned parts = chain->readable + chain->writable;
	struct virtio_blk_outhdr header;
	struct disk_request *request;
	int status;

	if (virtqueue_read(chain, 0, &header, sizeof(header)) < sizeof(header) ||
	    chain->writable_bytes < STATUS_BYTES) {
		virtio_break(&disk->virtio, "a request has no header, or no room for its status");
		virtqueue_drop(chain);
		return NULL;
	}
	request = calloc(1, sizeof(*request) + parts * sizeof(request->parts[0]));
	if (!request) {
		answer(disk, queue, chain, VIRTIO_BLK_S_IOERR);
		return NULL;
	}
	request->request.complete = complete;
	request->request.flags = BLOCK_HOLDABLE;
	request->request.held = &disk->virtio.held;
	request->disk = disk;
	request->taken.queue = queue;
	request->taken.chain = chain;
	status = prepare(request, &header);
	if (status >= 0) {
		answer(disk, queue, chain, status);
		free(request);
		return NULL;
	}
	virtio_request_begin(&disk->virtio, &disk->requests, &request->taken);
	return request;
}

struct batch {
	struct disk *disk;
	struct block_request *requests[BATCH_MAX];
	unsigned count;
};

static void flush_batch(struct batch *batch)
{
	if (batch->count)
		block_submit(batch->disk->block, batch->requests, batch->count);
	batch->count = 0;
}

static void add(void *context, unsigned queue, struct virtqueue_chain *chain)
{
	struct batch *batch = context;
	struct disk_request *request = take(batch->disk, queue, chain);

	if (request)
		batch->requests[batch->count++] = &request->request;
	if (batch->count == BATCH_MAX)
		flush_batch(batch);
}

static void begin_anew(struct disk *disk)
{
	struct batch batch = {.disk = disk, .count = 0};

	virtio_requests_begin_anew(&disk->requests, add, &batch);
	flush_batch(&batch);
}

static void submit_batches(struct disk *disk, unsigned queue)
{
	struct batch batch = {.disk = disk, .count = 0};
	struct virtqueue_chain *chain;

	while (virtio_pop(&disk->virtio, queue, &chain))
		add(&batch, queue, chain);
	flush_batch(&batch);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue *ring = &virtio->queues[queue].ring;

	begin_anew(disk_of(virtio));
	do {
		virtqueue_want_notices(ring, false);
		submit_batches(disk_of(virtio), queue);
	} while (virtqueue_want_notices(ring, true) && virtio_is_running(virtio));
}

/* --- configuration --- */

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	const struct disk *disk = disk_of(virtio);
	const struct block_info *info = block_info(disk->block);
	uint32_t physical = info->block_bytes < BLOCK_SECTOR_SIZE ? BLOCK_SECTOR_SIZE
			    : info->block_bytes > PHYSICAL_MAX	   ? PHYSICAL_MAX
								   : info->block_bytes;
	uint32_t discard = info->discard_bytes < physical ? physical : info->discard_bytes;
	struct virtio_blk_config config = {
		.capacity = block_size(disk->block) / BLOCK_SECTOR_SIZE,
		.seg_max = QUEUE_SIZE - 2,
		.geometry = {info->geometry.cylinders, info->geometry.heads, info->geometry.sectors},
		.blk_size = BLOCK_SECTOR_SIZE,
		.physical_block_exp = __builtin_ctz(physical / BLOCK_SECTOR_SIZE),
		.min_io_size = physical / BLOCK_SECTOR_SIZE,
		.wce = disk->has_write_cache,
		.num_queues = virtio->queue_count,
		.max_discard_sectors = DISCARD_SECTORS,
		.max_discard_seg = 1,
		.discard_sector_alignment = discard / BLOCK_SECTOR_SIZE,
		.max_write_zeroes_sectors = DISCARD_SECTORS,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};

	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

static void write_config(struct virtio_device *virtio, unsigned offset, unsigned size,
			 const uint8_t *bytes)
{
	if (offset == offsetof(struct virtio_blk_config, wce) && size == 1 &&
	    virtio_has(virtio, VIRTIO_BLK_F_CONFIG_WCE))
		disk_of(virtio)->has_write_cache = bytes[0] & 1;
}

/* The disk has another size. */
static void resized(void *context)
{
	struct virtio_device *virtio = context;

	pthread_mutex_lock(&virtio->lock);
	virtio_config_changed(virtio);
	pthread_mutex_unlock(&virtio->lock);
}

/* --- life --- */

static void reset(struct virtio_device *virtio)
{
	struct disk *disk = disk_of(virtio);

	disk->has_write_cache = block_info(disk->block)->has_write_cache;
	virtio_requests_reset(&disk->requests);
}

static void give_up(struct virtio_device *virtio)
{
	block_give_up(disk_of(virtio)->block);
}

static void keep(struct virtio_device *virtio)
{
	block_keep(disk_of(virtio)->block);
}

static void transfer(struct virtio_device *virtio, struct state_stream *state)
{
	struct disk *disk = disk_of(virtio);
	uint64_t capacity = block_size(disk->block);

	if (!state->is_loading)
		disk->loaded_write_cache = disk->has_write_cache;
	state_bool(state, "write cache", &disk->loaded_write_cache);
	/* Another disk is no surprise that a guest could stand. */
	state_u64(state, "capacity", &capacity);
	state_check(state, "capacity", capacity == block_size(disk->block));
	if (state->version >= VIRTIO_STATE_CHAINS)
		virtio_requests_transfer(virtio, &disk->requests, state);
}

static void loaded(struct virtio_device *virtio)
{
	struct disk *disk = disk_of(virtio);

	disk->has_write_cache = disk->loaded_write_cache;
	if (!virtio_requests_restore(virtio, &disk->requests, 0))
		virtio_break(virtio, VIRTIO_REQUESTS_COMPLAINT);
}

static void detach(void *virtio)
{
	virtio_detach(virtio);
}

static void destroy(struct virtio_device *virtio)
{
	struct disk *disk = disk_of(virtio);
	struct error error;

	block_call(disk->block, detach, virtio);
	virtio_hold(virtio);
	if (block_close(disk->block, &error) < 0)
		log_error("%s", error.message);
	virtio_requests_destroy(&disk->requests);
	virtio_destroy(virtio);
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_BLOCK,
	.name = "virtio-blk",
	.read_config = read_config,
	.write_config = write_config,
	.reset = reset,
	.give_up = give_up,
	.keep = keep,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.loaded = loaded,
	.destroy = destroy,
};

static uint64_t features_of(const struct block_info *info, unsigned queues)
{
	uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_GEOMETRY |
			    1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_FLUSH |
			    1ull << VIRTIO_BLK_F_TOPOLOGY | 1ull << VIRTIO_BLK_F_CONFIG_WCE;

	if (queues > 1)
		features |= 1ull << VIRTIO_BLK_F_MQ;
	if (info->is_readonly)
		return features | 1ull << VIRTIO_BLK_F_RO;
	if (info->can_discard)
		features |= 1ull << VIRTIO_BLK_F_DISCARD;
	return features | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

struct virtio_device *virtio_disk_create(const struct virtio_host *host, struct block *block,
					 unsigned queues, struct error *error)
{
	struct virtio_host own = *host;
	uint16_t sizes[VIRTIO_DISK_QUEUES_MAX];
	const struct block_info *info = block_info(block);
	struct virtio_device *virtio;
	unsigned i;

	own.loop = block_loop(block);
	for (i = 0; i < queues; i++)
		sizes[i] = QUEUE_SIZE;
	virtio = virtio_device_create(sizeof(struct disk), &kind, &own, features_of(info, queues),
				      sizeof(struct virtio_blk_config), sizes, queues, error);
	if (virtio) {
		disk_of(virtio)->block = block;
		disk_of(virtio)->has_write_cache = info->has_write_cache;
		block_watch_size(block, resized, virtio);
		if (block_start(block, error) == 0)
			return virtio;
		virtio_destroy(virtio);
	}
	block_close(block, NULL);
	return NULL;
}
