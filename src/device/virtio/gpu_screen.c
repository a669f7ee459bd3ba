/* What a GPU's outputs show: each a rectangle of a resource (virtio 1.2 §5.7.6.8, SET_SCANOUT), made into a picture. */
#include <errno.h>

#include "device/virtio/gpu_parts.h"

uint32_t gpu_screen_set(struct gpu_screen *screen, const struct gpu_resources *resources, unsigned output, uint32_t id,
			const struct virtio_gpu_rect *area)
{
	const struct gpu_resource *resource = gpu_resource_find(resources, id);

	if (!id) {
		screen->scanouts[output] = (struct gpu_scanout){.resource_id = 0};
		return VIRTIO_GPU_RESP_OK_NODATA;
	}
	if (!resource)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (!gpu_rect_is_inside(area, resource->width, resource->height))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	screen->scanouts[output] = (struct gpu_scanout){id, *area};
	screen->is_native = true;
	return VIRTIO_GPU_RESP_OK_NODATA;
}

void gpu_screen_forget(struct gpu_screen *screen, uint32_t id)
{
	unsigned i;

	for (i = 0; i < VIRTIO_GPU_MAX_SCANOUTS; i++)
		if (screen->scanouts[i].resource_id == id)
			screen->scanouts[i] = (struct gpu_scanout){.resource_id = 0};
}

/* Where red, green and blue are among a pixel's bytes: a format's name says them in the order of memory. */
static void find_colours(uint32_t format, unsigned at[3])
{
	unsigned red = 2, blue = 0, i;

	switch (format) {
	case VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM:
	case VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM: red = 1, blue = 3; break;
	case VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM:
	case VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM: red = 0, blue = 2; break;
	case VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM:
	case VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM: red = 3, blue = 1; break;
	default: break; /* B8G8R8A8, B8G8R8X8 */
	}
	for (i = 0; i < 3; i++)
		at[i] = i == 0 ? red : i == 1 ? (red + blue) / 2 : blue;
}

int gpu_screen_take(const struct gpu_screen *screen, const struct gpu_resources *resources, unsigned output, uint32_t width,
		    uint32_t height, struct picture *picture)
{
	const struct gpu_scanout *scanout = &screen->scanouts[output];
	const struct gpu_resource *resource = gpu_resource_find(resources, scanout->resource_id);
	const struct virtio_gpu_rect *area = &scanout->area;
	const uint8_t *from;
	uint8_t *to;
	unsigned at[3], i;
	uint32_t x, y;
	int result;

	if (!resource)
		return picture_create(picture, width, height);
	result = picture_create(picture, area->width, area->height);
	if (result < 0)
		return result;
	find_colours(resource->format, at);
	to = picture->pixels;
	for (y = 0; y < area->height; y++) {
		from = resource->pixels + ((uint64_t)(area->y + y) * resource->width + area->x) * GPU_PIXEL_BYTES;
		for (x = 0; x < area->width; x++, from += GPU_PIXEL_BYTES)
			for (i = 0; i < 3; i++)
				*to++ = from[at[i]];
	}
	return 0;
}

void gpu_screen_transfer(struct gpu_screen *screen, const struct gpu_resources *resources, unsigned outputs,
			 struct state_stream *state)
{
	const struct gpu_resource *resource;
	struct gpu_scanout *scanout;
	unsigned i;

	state_bool(state, "native", &screen->is_native);
	for (i = 0; i < outputs; i++) {
		scanout = &screen->scanouts[i];
		state_u32(state, "scanout resource", &scanout->resource_id);
		state_u32(state, "scanout x", &scanout->area.x);
		state_u32(state, "scanout y", &scanout->area.y);
		state_u32(state, "scanout width", &scanout->area.width);
		state_u32(state, "scanout height", &scanout->area.height);
		resource = gpu_resource_find(resources, scanout->resource_id);
		state_check(state, "scanout",
			    !scanout->resource_id ||
				    (screen->is_native && resource &&
				     gpu_rect_is_inside(&scanout->area, resource->width, resource->height)));
	}
}
