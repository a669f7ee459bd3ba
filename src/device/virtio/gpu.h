/*
 * A GPU that draws nothing by itself (virtio 1.2 §5.7, without the 3D mode): its driver puts pictures into resources, and
 * says which of them an output shows. Nobody looks at an output but by virtio_gpu_take_picture.
 */
#ifndef KVIK_DEVICE_VIRTIO_GPU_H
#define KVIK_DEVICE_VIRTIO_GPU_H

#include "device/display/picture.h"
#include "device/virtio/virtio.h"

#define VIRTIO_GPU_OUTPUTS_MAX	16 /* what §5.7 has room for */
#define VIRTIO_GPU_MEMORY_BYTES (256ull << 20) /* what its resources take at most, unless said otherwise */
#define VIRTIO_GPU_SIDE_MIN	16
#define VIRTIO_GPU_SIDE_MAX	16384
#define VIRTIO_GPU_EDID_SIDE_MAX 4095 /* of what an EDID's detailed timing can tell */

struct virtio_gpu_setup {
	unsigned outputs; /* 1 to VIRTIO_GPU_OUTPUTS_MAX: scanouts; a display is connected to the first */
	uint32_t width, height; /* that this display likes best: VIRTIO_GPU_SIDE_MIN to _MAX */
	bool has_edid; /* ... and tells by an EDID (VIRTIO_GPU_F_EDID): up to VIRTIO_GPU_EDID_SIDE_MAX */
	uint64_t memory_bytes; /* of the host's, for resources: up to VIRTIO_GPU_MEMORY_BYTES_MAX */
};
/* More than that could not be saved. */
#define VIRTIO_GPU_MEMORY_BYTES_MAX (2ull << 30)

/* NULL, and `error`, on failure. */
struct virtio_device *virtio_gpu_create(const struct virtio_host *host, const struct virtio_gpu_setup *setup,
					struct error *error);

/*
 * What the first output shows now, black where it shows nothing; the caller frees with picture_free. 0; -ENODATA: since its last
 * reset the driver has not had it show anything, so that a VGA in the same function is still to be seen (§5.7.7); -ENOMEM.
 * Any thread, without the device's lock.
 */
int virtio_gpu_take_picture(struct virtio_device *virtio, struct picture *picture);

#endif
