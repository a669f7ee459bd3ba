/*
 * A GPU's resources (virtio 1.2 §5.7.6.8): pictures in the host's memory, and where the guest has its own of each. The
 * driver copies from there to here (TRANSFER_TO_HOST_2D), and what is here is shown.
 *
 * What the driver says is bounded: by the memory that all of them take, lists and all, of which each takes a page at least.
 * A backing is a list of guest-physical addresses, which are RAM when it is attached; as RAM may go, they are looked up
 * for each copy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/virtio/gpu_parts.h"

#define LEAST_BYTES 4096

static bool format_is_known(uint32_t format)
{
	switch (format) {
	case VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM:
	case VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM:
	case VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM:
	case VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM:
	case VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM:
	case VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM:
	case VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM:
	case VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM: return true;
	default: return false;
	}
}

/* --- which there are --- */

struct gpu_resource *gpu_resource_find(const struct gpu_resources *resources, uint32_t id)
{
	struct gpu_resource *resource = resources->buckets[id % GPU_BUCKETS];

	while (resource && resource->id != id)
		resource = resource->next;
	return resource;
}

static uint64_t cost_of(const struct gpu_resource *resource)
{
	uint64_t bytes = gpu_resource_bytes(resource);

	return bytes < LEAST_BYTES ? LEAST_BYTES : bytes;
}

uint32_t gpu_resource_create(struct gpu_resources *resources, const struct gpu_resource *wanted)
{
	struct gpu_resource **link = &resources->buckets[wanted->id % GPU_BUCKETS], *resource;

	if (!wanted->id || gpu_resource_find(resources, wanted->id))
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (!format_is_known(wanted->format) || !wanted->width || !wanted->height)
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	/* The number of bytes might not be one of 64 bits. */
	if (wanted->width > resources->max_bytes / GPU_PIXEL_BYTES / wanted->height ||
	    cost_of(wanted) > resources->max_bytes - resources->used_bytes)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	resource = calloc(1, sizeof(*resource));
	if (!resource)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	*resource = (struct gpu_resource){
		.id = wanted->id,
		.format = wanted->format,
		.width = wanted->width,
		.height = wanted->height,
		.pixels = calloc(1, gpu_resource_bytes(wanted)),
	};
	if (!resource->pixels) {
		free(resource);
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	}
	resources->used_bytes += cost_of(resource);
	/* At the end, so that what is loaded is saved in the order that it had. */
	while (*link)
		link = &(*link)->next;
	*link = resource;
	return VIRTIO_GPU_RESP_OK_NODATA;
}

void gpu_resource_destroy(struct gpu_resources *resources, struct gpu_resource *resource)
{
	struct gpu_resource **link = &resources->buckets[resource->id % GPU_BUCKETS];

	while (*link != resource)
		link = &(*link)->next;
	*link = resource->next;
	gpu_resource_detach(resources, resource);
	resources->used_bytes -= cost_of(resource);
	free(resource->pixels);
	free(resource);
}

void gpu_resources_clear(struct gpu_resources *resources)
{
	unsigned i;

	for (i = 0; i < GPU_BUCKETS; i++)
		while (resources->buckets[i])
			gpu_resource_destroy(resources, resources->buckets[i]);
}

/* --- their backing --- */

static uint64_t list_cost(uint32_t count)
{
	return count * (uint64_t)sizeof(struct gpu_entry);
}

/* An empty list, with room for `count`. */
static uint32_t make_list(struct gpu_resources *resources, struct gpu_resource *resource, uint32_t count)
{
	if (list_cost(count) > resources->max_bytes - resources->used_bytes)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	resource->entries = calloc(count ? count : 1, sizeof(*resource->entries));
	if (!resource->entries)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	resource->entry_count = count;
	resource->backing_bytes = 0;
	resources->used_bytes += list_cost(count);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

uint32_t gpu_resource_attach(struct gpu_resources *resources, struct gpu_resource *resource, const struct guest_memory *memory,
			     const struct virtio_gpu_mem_entry *entries, uint32_t count)
{
	uint32_t result, i;

	if (resource->entries)
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	for (i = 0; i < count; i++)
		if (!guest_memory_contains(memory, entries[i].addr, entries[i].length))
			return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	result = make_list(resources, resource, count);
	for (i = 0; i < count && result == VIRTIO_GPU_RESP_OK_NODATA; i++) {
		resource->entries[i] = (struct gpu_entry){entries[i].addr, entries[i].length};
		resource->backing_bytes += entries[i].length;
	}
	return result;
}

void gpu_resource_detach(struct gpu_resources *resources, struct gpu_resource *resource)
{
	if (!resource->entries)
		return;
	resources->used_bytes -= list_cost(resource->entry_count);
	free(resource->entries);
	resource->entries = NULL;
	resource->entry_count = 0;
	resource->backing_bytes = 0;
}

/* A place in a backing, which only moves on. */
struct backing_place {
	uint32_t entry;
	uint64_t before; /* bytes of the entries before it */
};

/* Copy what is there, all of it inside of the backing. */
static int copy_from(const struct gpu_resource *resource, const struct guest_memory *memory, struct backing_place *place,
		     uint64_t offset, uint8_t *to, uint64_t size)
{
	const struct gpu_entry *entry;
	uint64_t at, piece;
	int result = 0;

	while (size && result == 0) {
		entry = &resource->entries[place->entry];
		at = offset - place->before;
		if (at >= entry->bytes) {
			place->before += entry->bytes;
			place->entry++;
			continue;
		}
		piece = entry->bytes - at < size ? entry->bytes - at : size;
		result = guest_memory_read(memory, entry->gpa + at, to, piece);
		to += piece;
		offset += piece;
		size -= piece;
	}
	return result;
}

uint32_t gpu_resource_fetch(struct gpu_resource *resource, const struct guest_memory *memory, const struct virtio_gpu_rect *rect,
			    uint64_t offset)
{
	struct backing_place place = {0};
	uint64_t stride = (uint64_t)resource->width * GPU_PIXEL_BYTES, row_bytes, extent;
	uint8_t *to;
	uint32_t y;

	if (!resource->entries)
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	if (!gpu_rect_is_inside(rect, resource->width, resource->height))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	row_bytes = (uint64_t)rect->width * GPU_PIXEL_BYTES;
	extent = stride * (rect->height - 1) + row_bytes;
	if (offset > resource->backing_bytes || extent > resource->backing_bytes - offset)
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	to = resource->pixels + rect->y * stride + (uint64_t)rect->x * GPU_PIXEL_BYTES;
	/* Whole rows are one. */
	if (row_bytes == stride) {
		row_bytes = extent;
		stride = 0;
	}
	for (y = 0; y < (stride ? rect->height : 1); y++)
		if (copy_from(resource, memory, &place, offset + y * stride, to + y * stride, row_bytes) < 0)
			return VIRTIO_GPU_RESP_ERR_UNSPEC;
	return VIRTIO_GPU_RESP_OK_NODATA;
}

/* --- saving and loading --- */

static void transfer_backing(struct gpu_resources *resources, struct gpu_resource *resource, struct state_stream *state)
{
	bool has_backing = resource->entries;
	uint32_t count = resource->entry_count, i;

	state_bool(state, "resource backed", &has_backing);
	state_u32(state, "resource entries", &count);
	state_check(state, "resource entries", count <= (has_backing ? GPU_ENTRIES_MAX : 0));
	if (state->has_failed || !has_backing)
		return;
	if (state->is_loading && make_list(resources, resource, count) != VIRTIO_GPU_RESP_OK_NODATA) {
		state_fail(state, "a resource's entries do not fit into the display's memory");
		return;
	}
	if (state->is_loading)
		resource->backing_bytes = 0;
	for (i = 0; i < count && !state->has_failed; i++) {
		state_u64(state, "entry address", &resource->entries[i].gpa);
		state_u32(state, "entry length", &resource->entries[i].bytes);
		if (state->is_loading)
			resource->backing_bytes += resource->entries[i].bytes;
	}
}

/* Pixels without the zeroes at their end. */
static void transfer_pixels(struct gpu_resource *resource, struct state_stream *state)
{
	uint32_t used = gpu_resource_bytes(resource);

	while (!state->is_loading && used && !resource->pixels[used - 1])
		used--;
	state_u32(state, "resource bytes", &used);
	state_check(state, "resource bytes", used <= gpu_resource_bytes(resource));
	if (!state->has_failed)
		state_bytes(state, "resource pixels", resource->pixels, used);
}

static void transfer_one(struct gpu_resources *resources, struct gpu_resource *resource, struct state_stream *state)
{
	struct gpu_resource wanted = {.id = 0};

	if (resource)
		wanted = *resource;
	state_u32(state, "resource id", &wanted.id);
	state_u32(state, "resource format", &wanted.format);
	state_u32(state, "resource width", &wanted.width);
	state_u32(state, "resource height", &wanted.height);
	if (state->has_failed)
		return;
	if (!resource) {
		if (gpu_resource_create(resources, &wanted) != VIRTIO_GPU_RESP_OK_NODATA) {
			state_fail(state, "a resource is none that the display can have");
			return;
		}
		resource = gpu_resource_find(resources, wanted.id);
	}
	transfer_backing(resources, resource, state);
	if (!state->has_failed)
		transfer_pixels(resource, state);
}

static void save(struct gpu_resources *resources, struct state_stream *state)
{
	struct gpu_resource *resource;
	uint32_t count = 0;
	unsigned i;

	for (i = 0; i < GPU_BUCKETS; i++)
		for (resource = resources->buckets[i]; resource; resource = resource->next)
			count++;
	state_u32(state, "resources", &count);
	for (i = 0; i < GPU_BUCKETS; i++)
		for (resource = resources->buckets[i]; resource; resource = resource->next)
			transfer_one(resources, resource, state);
}

void gpu_resources_transfer(struct gpu_resources *resources, struct state_stream *state)
{
	uint32_t count = 0, i;

	if (!state->is_loading) {
		save(resources, state);
		return;
	}
	state_u32(state, "resources", &count);
	for (i = 0; i < count && !state->has_failed; i++)
		transfer_one(resources, NULL, state);
}
