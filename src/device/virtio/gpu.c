/*
 * A GPU (virtio 1.2 §5.7) in 2D mode. Queues: 0 has commands, 1 those for the cursor (§5.7.2).
 *
 * Each command is done when it is taken, so that a fence (§5.7.6.7) has nothing to wait for: its answer is its end. A
 * driver's mistake is answered and changes nothing; where the specification names no answer for one, INVALID_PARAMETER
 * is for a command that is wrong whatever there is, and UNSPEC for one that comes at the wrong time or is not known.
 *
 * The configuration has no events: the display never changes. Of several outputs only the first has a display
 * connected. Cursors are accepted, and nobody sees them: pictures are without one, as QEMU's are.
 *
 * Commands are done on the loop's thread, with the device's lock; after some MiB that were copied the others of that thread have
 * their turn.
 */
#include "device/virtio/gpu.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "device/virtio/gpu_parts.h"

#define CONTROL_QUEUE_SIZE 64
#define CURSOR_QUEUE_SIZE  16
#define TURN_BYTES	   (8u << 20)
#define COMMAND_BYTES	   1024 /* what a command counts for besides what it copies */

enum { QUEUE_CONTROL, QUEUE_CURSOR, QUEUES };

struct gpu {
	struct virtio_device virtio;
	/* With the lock held: */
	struct gpu_resources resources, loaded_resources;
	struct gpu_screen screen, loaded_screen;
	uint64_t turn_bytes; /* of this turn */
	/* Fixed: */
	struct virtio_gpu_setup setup;
};

union gpu_request {
	struct virtio_gpu_ctrl_hdr header;
	struct virtio_gpu_resource_create_2d create;
	struct virtio_gpu_resource_unref unref;
	struct virtio_gpu_set_scanout set_scanout;
	struct virtio_gpu_resource_flush flush;
	struct virtio_gpu_transfer_to_host_2d transfer;
	struct virtio_gpu_resource_attach_backing attach;
	struct virtio_gpu_resource_detach_backing detach;
	struct virtio_gpu_cmd_get_edid get_edid;
	struct virtio_gpu_update_cursor cursor;
};

union gpu_response {
	struct virtio_gpu_ctrl_hdr header;
	struct virtio_gpu_resp_display_info display_info;
	struct virtio_gpu_resp_edid edid;
};

/* A command with what it has beside its structure, and its answer. */
struct gpu_command {
	const struct virtqueue_chain *chain;
	union gpu_request request;
	union gpu_response response;
	size_t response_bytes;
};

static struct gpu *gpu_of(struct virtio_device *virtio)
{
	return (struct gpu *)((char *)virtio - offsetof(struct gpu, virtio));
}

/* --- commands: what they answer --- */

static uint32_t get_display_info(struct gpu *gpu, struct gpu_command *command)
{
	struct virtio_gpu_resp_display_info *info = &command->response.display_info;

	info->pmodes[0].r.width = gpu->setup.width;
	info->pmodes[0].r.height = gpu->setup.height;
	info->pmodes[0].enabled = 1;
	command->response_bytes = sizeof(*info);
	return VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
}

static uint32_t get_edid(struct gpu *gpu, struct gpu_command *command)
{
	struct virtio_gpu_resp_edid *edid = &command->response.edid;

	if (!virtio_has(&gpu->virtio, VIRTIO_GPU_F_EDID))
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	if (command->request.get_edid.scanout >= gpu->setup.outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	edid->size = GPU_EDID_BYTES;
	gpu_edid_make(edid->edid, gpu->setup.width, gpu->setup.height);
	command->response_bytes = sizeof(*edid);
	return VIRTIO_GPU_RESP_OK_EDID;
}

static uint32_t create_2d(struct gpu *gpu, struct gpu_command *command)
{
	const struct virtio_gpu_resource_create_2d *create = &command->request.create;
	const struct gpu_resource wanted = {
		.id = create->resource_id, .format = create->format, .width = create->width, .height = create->height};

	return gpu_resource_create(&gpu->resources, &wanted);
}

static uint32_t unref(struct gpu *gpu, struct gpu_command *command)
{
	struct gpu_resource *resource = gpu_resource_find(&gpu->resources, command->request.unref.resource_id);

	if (!resource)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	gpu_screen_forget(&gpu->screen, resource->id);
	gpu_resource_destroy(&gpu->resources, resource);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

static uint32_t set_scanout(struct gpu *gpu, struct gpu_command *command)
{
	const struct virtio_gpu_set_scanout *set = &command->request.set_scanout;

	if (set->scanout_id >= gpu->setup.outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	return gpu_screen_set(&gpu->screen, &gpu->resources, set->scanout_id, set->resource_id, &set->r);
}

/* What a resource has is what is shown: there is nothing to be done. */
static uint32_t flush(struct gpu *gpu, struct gpu_command *command)
{
	const struct virtio_gpu_resource_flush *flush = &command->request.flush;
	const struct gpu_resource *resource = gpu_resource_find(&gpu->resources, flush->resource_id);

	if (!resource)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	return gpu_rect_is_inside(&flush->r, resource->width, resource->height) ? VIRTIO_GPU_RESP_OK_NODATA
										: VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
}

static uint32_t transfer_to_host_2d(struct gpu *gpu, struct gpu_command *command)
{
	const struct virtio_gpu_transfer_to_host_2d *transfer = &command->request.transfer;
	struct gpu_resource *resource = gpu_resource_find(&gpu->resources, transfer->resource_id);

	if (!resource)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	gpu->turn_bytes += (uint64_t)transfer->r.width * transfer->r.height * GPU_PIXEL_BYTES;
	return gpu_resource_fetch(resource, gpu->virtio.memory, &transfer->r, transfer->offset);
}

static uint32_t attach_backing(struct gpu *gpu, struct gpu_command *command)
{
	const struct virtio_gpu_resource_attach_backing *attach = &command->request.attach;
	struct gpu_resource *resource = gpu_resource_find(&gpu->resources, attach->resource_id);
	size_t bytes = (size_t)attach->nr_entries * sizeof(struct virtio_gpu_mem_entry);
	struct virtio_gpu_mem_entry *entries;
	uint32_t result = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;

	if (!resource)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (attach->nr_entries > GPU_ENTRIES_MAX)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	entries = malloc(bytes + 1);
	if (!entries)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	gpu->turn_bytes += bytes;
	if (virtqueue_read(command->chain, sizeof(*attach), entries, bytes) == bytes)
		result = gpu_resource_attach(&gpu->resources, resource, gpu->virtio.memory, entries, attach->nr_entries);
	free(entries);
	return result;
}

static uint32_t detach_backing(struct gpu *gpu, struct gpu_command *command)
{
	struct gpu_resource *resource = gpu_resource_find(&gpu->resources, command->request.detach.resource_id);

	if (!resource)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (!resource->entries)
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	gpu_resource_detach(&gpu->resources, resource);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

static uint32_t update_cursor(struct gpu *gpu, struct gpu_command *command)
{
	const struct virtio_gpu_update_cursor *cursor = &command->request.cursor;
	bool names_resource = cursor->hdr.type == VIRTIO_GPU_CMD_UPDATE_CURSOR && cursor->resource_id;

	if (cursor->pos.scanout_id >= gpu->setup.outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	return names_resource && !gpu_resource_find(&gpu->resources, cursor->resource_id) ? VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID
											  : VIRTIO_GPU_RESP_OK_NODATA;
}

static const struct command_kind {
	uint32_t type;
	size_t bytes;
	unsigned queue;
	uint32_t (*run)(struct gpu *gpu, struct gpu_command *command);
} kinds[] = {
	{VIRTIO_GPU_CMD_GET_DISPLAY_INFO, sizeof(struct virtio_gpu_ctrl_hdr), QUEUE_CONTROL, get_display_info},
	{VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, sizeof(struct virtio_gpu_resource_create_2d), QUEUE_CONTROL, create_2d},
	{VIRTIO_GPU_CMD_RESOURCE_UNREF, sizeof(struct virtio_gpu_resource_unref), QUEUE_CONTROL, unref},
	{VIRTIO_GPU_CMD_SET_SCANOUT, sizeof(struct virtio_gpu_set_scanout), QUEUE_CONTROL, set_scanout},
	{VIRTIO_GPU_CMD_RESOURCE_FLUSH, sizeof(struct virtio_gpu_resource_flush), QUEUE_CONTROL, flush},
	{VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, sizeof(struct virtio_gpu_transfer_to_host_2d), QUEUE_CONTROL, transfer_to_host_2d},
	{VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, sizeof(struct virtio_gpu_resource_attach_backing), QUEUE_CONTROL, attach_backing},
	{VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, sizeof(struct virtio_gpu_resource_detach_backing), QUEUE_CONTROL, detach_backing},
	{VIRTIO_GPU_CMD_GET_EDID, sizeof(struct virtio_gpu_cmd_get_edid), QUEUE_CONTROL, get_edid},
	{VIRTIO_GPU_CMD_UPDATE_CURSOR, sizeof(struct virtio_gpu_update_cursor), QUEUE_CURSOR, update_cursor},
	{VIRTIO_GPU_CMD_MOVE_CURSOR, sizeof(struct virtio_gpu_update_cursor), QUEUE_CURSOR, update_cursor},
};

/* --- queues --- */

static uint32_t run(struct gpu *gpu, unsigned queue, struct gpu_command *command, size_t bytes)
{
	const uint32_t type = command->request.header.type;
	unsigned i;

	if (bytes < sizeof(command->request.header))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].type == type && kinds[i].queue == queue)
			return bytes < kinds[i].bytes ? VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER : kinds[i].run(gpu, command);
	return VIRTIO_GPU_RESP_ERR_UNSPEC;
}

/* How many bytes of the answer were written: none of a cursor's command, whose driver leaves no room (§5.7.6.10). */
static uint32_t answer(struct gpu *gpu, unsigned queue, const struct virtqueue_chain *chain)
{
	struct gpu_command command = {.chain = chain, .response_bytes = sizeof(struct virtio_gpu_ctrl_hdr)};
	struct virtio_gpu_ctrl_hdr *header = &command.response.header;
	const struct virtio_gpu_ctrl_hdr *asked = &command.request.header;
	size_t bytes = virtqueue_read(chain, 0, &command.request, sizeof(command.request));

	header->type = run(gpu, queue, &command, bytes);
	/* §5.7.6.7: the answer has the fence of its command. */
	if (bytes >= sizeof(*asked) && (asked->flags & VIRTIO_GPU_FLAG_FENCE)) {
		header->flags = VIRTIO_GPU_FLAG_FENCE;
		header->fence_id = asked->fence_id;
		header->ctx_id = asked->ctx_id;
	}
	return virtqueue_write(chain, 0, &command.response, command.response_bytes);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct gpu *gpu = gpu_of(virtio);
	struct virtqueue *ring = &virtio->queues[queue].ring;
	struct virtqueue_chain *chain;

	gpu->turn_bytes = 0;
	do {
		virtqueue_want_notices(ring, false);
		while (virtio_pop(virtio, queue, &chain)) {
			virtio_push(virtio, queue, chain, answer(gpu, queue, chain));
			gpu->turn_bytes += COMMAND_BYTES;
			if (gpu->turn_bytes > TURN_BYTES && virtio->loop) {
				virtio_notify(virtio, queue);
				return;
			}
		}
	} while (virtqueue_want_notices(ring, true) && virtio_is_running(virtio));
}

/* --- configuration and life --- */

/* §5.7.4. There are no events to be cleared. */
static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	const struct virtio_gpu_config config = {.num_scanouts = gpu_of(virtio)->setup.outputs};

	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

static void forget_loaded(struct gpu *gpu)
{
	gpu_resources_clear(&gpu->loaded_resources);
	gpu->loaded_screen = (struct gpu_screen){.is_native = false};
}

static void reset(struct virtio_device *virtio)
{
	struct gpu *gpu = gpu_of(virtio);

	gpu_resources_clear(&gpu->resources);
	gpu->screen = (struct gpu_screen){.is_native = false};
}

static void transfer(struct virtio_device *virtio, struct state_stream *state)
{
	struct gpu *gpu = gpu_of(virtio);

	if (state->is_loading)
		forget_loaded(gpu);
	gpu_resources_transfer(state->is_loading ? &gpu->loaded_resources : &gpu->resources, state);
	gpu_screen_transfer(state->is_loading ? &gpu->loaded_screen : &gpu->screen,
			    state->is_loading ? &gpu->loaded_resources : &gpu->resources, gpu->setup.outputs, state);
}

static void loaded(struct virtio_device *virtio)
{
	struct gpu *gpu = gpu_of(virtio);

	gpu_resources_clear(&gpu->resources);
	gpu->resources = gpu->loaded_resources;
	gpu->screen = gpu->loaded_screen;
	gpu->loaded_resources = (struct gpu_resources){.max_bytes = gpu->setup.memory_bytes};
}

static void destroy(struct virtio_device *virtio)
{
	struct gpu *gpu = gpu_of(virtio);

	gpu_resources_clear(&gpu->resources);
	forget_loaded(gpu);
	virtio_destroy(virtio);
}

int virtio_gpu_take_picture(struct virtio_device *virtio, struct picture *picture)
{
	struct gpu *gpu = gpu_of(virtio);
	int result = -ENODATA;

	pthread_mutex_lock(&virtio->lock);
	if (gpu->screen.is_native)
		result = gpu_screen_take(&gpu->screen, &gpu->resources, 0, gpu->setup.width, gpu->setup.height, picture);
	pthread_mutex_unlock(&virtio->lock);
	return result;
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_GPU,
	.name = "virtio-gpu",
	.read_config = read_config,
	.reset = reset,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.loaded = loaded,
	.destroy = destroy,
};

struct virtio_device *virtio_gpu_create(const struct virtio_host *host, const struct virtio_gpu_setup *setup,
					struct error *error)
{
	static const uint16_t sizes[QUEUES] = {CONTROL_QUEUE_SIZE, CURSOR_QUEUE_SIZE};
	struct virtio_device *virtio =
		virtio_device_create(sizeof(struct gpu), &kind, host, (uint64_t)setup->has_edid << VIRTIO_GPU_F_EDID,
				     sizeof(struct virtio_gpu_config), sizes, QUEUES, error);
	struct gpu *gpu;

	if (!virtio)
		return NULL;
	gpu = gpu_of(virtio);
	gpu->setup = *setup;
	gpu->resources.max_bytes = gpu->loaded_resources.max_bytes = setup->memory_bytes;
	return virtio;
}
