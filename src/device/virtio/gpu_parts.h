/* The GPU from inside, for its own files: gpu_resources.c is what the driver draws into, gpu_screen.c what outputs show of it,
 * gpu_edid.c what displays say of themselves, gpu.c the device and its commands. */
#ifndef KVIK_DEVICE_VIRTIO_GPU_PARTS_H
#define KVIK_DEVICE_VIRTIO_GPU_PARTS_H

#include <linux/virtio_gpu.h>

#include <stdbool.h>
#include <stdint.h>

#include "device/display/picture.h"
#include "device/guest_memory.h"
#include "util/state.h"

#define GPU_PIXEL_BYTES 4 /* of each format */
#define GPU_BUCKETS	1024
#define GPU_ENTRIES_MAX 65536 /* of a resource's backing */
#define GPU_EDID_BYTES	128

/* Where the guest has a resource's pixels, piece by piece: not looked up until it is read. */
struct gpu_entry {
	uint64_t gpa;
	uint32_t bytes;
};

/* A picture: rows of `width` pixels, one after the other, of the host's memory. */
struct gpu_resource {
	uint32_t id, format, width, height; /* id: not 0 */
	uint8_t *pixels;
	struct gpu_entry *entries; /* NULL: it has no backing */
	uint32_t entry_count;
	uint64_t backing_bytes; /* all of them together */
	struct gpu_resource *next;
};

/* By their ids, as bits say; all zero but for max_bytes: none. */
struct gpu_resources {
	struct gpu_resource *buckets[GPU_BUCKETS];
	uint64_t used_bytes, max_bytes; /* each takes what it needs, and at least a page */
};

struct gpu_scanout {
	uint32_t resource_id; /* 0: it shows nothing */
	struct virtio_gpu_rect area;
};

struct gpu_screen {
	struct gpu_scanout scanouts[VIRTIO_GPU_MAX_SCANOUTS];
	bool is_native; /* it has shown something since the last reset (§5.7.7) */
};

/* Whether a rectangle that is not empty lies in a picture of this size. */
static inline bool gpu_rect_is_inside(const struct virtio_gpu_rect *rect, uint32_t width, uint32_t height)
{
	return rect->width && rect->height && rect->x <= width && rect->y <= height && rect->width <= width - rect->x &&
	       rect->height <= height - rect->y;
}

static inline uint64_t gpu_resource_bytes(const struct gpu_resource *resource)
{
	return (uint64_t)resource->width * resource->height * GPU_PIXEL_BYTES;
}

/* --- resources; those that return a number: VIRTIO_GPU_RESP_... --- */

struct gpu_resource *gpu_resource_find(const struct gpu_resources *resources, uint32_t id);
/* A new one, all zeroes, with the id, format and size of `wanted`. */
uint32_t gpu_resource_create(struct gpu_resources *resources, const struct gpu_resource *wanted);
void gpu_resource_destroy(struct gpu_resources *resources, struct gpu_resource *resource);
/* Give it a backing: a copy of the list, which must be RAM; and take it away. */
uint32_t gpu_resource_attach(struct gpu_resources *resources, struct gpu_resource *resource, const struct guest_memory *memory,
			     const struct virtio_gpu_mem_entry *entries, uint32_t count);
void gpu_resource_detach(struct gpu_resources *resources, struct gpu_resource *resource);
/* Copy a rectangle from its backing, whose row `rect->y` begins at `offset` there with the rectangle's first pixel. */
uint32_t gpu_resource_fetch(struct gpu_resource *resource, const struct guest_memory *memory, const struct virtio_gpu_rect *rect,
			    uint64_t offset);
void gpu_resources_clear(struct gpu_resources *resources);
/* Save them, or load some into what is empty, and check them. */
void gpu_resources_transfer(struct gpu_resources *resources, struct state_stream *state);

/* --- what outputs show --- */

uint32_t gpu_screen_set(struct gpu_screen *screen, const struct gpu_resources *resources, unsigned output, uint32_t id,
			const struct virtio_gpu_rect *area);
/* A resource goes. */
void gpu_screen_forget(struct gpu_screen *screen, uint32_t id);
/* What `output` shows, black and of this size where that is nothing. 0 or -ENOMEM. */
int gpu_screen_take(const struct gpu_screen *screen, const struct gpu_resources *resources, unsigned output, uint32_t width,
		    uint32_t height, struct picture *picture);
/* With the resources that were saved or loaded before; the first `outputs` of them. */
void gpu_screen_transfer(struct gpu_screen *screen, const struct gpu_resources *resources, unsigned outputs,
			 struct state_stream *state);

/* --- displays --- */

/* The EDID of one that likes this size best: up to what its timing has 12 bits for. */
void gpu_edid_make(uint8_t edid[GPU_EDID_BYTES], uint32_t width, uint32_t height);

#endif
