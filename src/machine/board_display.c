/* The display of a board: a VGA, one that is none, or a GPU, with or without a VGA in the same function. */
#include <errno.h>

#include "device/display/vga.h"
#include "device/virtio/gpu.h"
#include "device/virtio/virtio_vga.h"
#include "machine/board.h"
#include "machine/board_parts.h"

#define CLASS_DISPLAY 0x038000 /* one that is no VGA */
/* What is seen of a display that shows nothing. */
#define DARK_WIDTH  640
#define DARK_HEIGHT 480

/* What old software knows a VGA by. */
static int add_accesses(struct board *board, struct error *error)
{
	const struct board_config *config = &board->config;
	int result = pio_bus_add(config->pio, VGA_FIRST_PORT, VGA_PORTS, "VGA", &vga_pio_ops, board->vga, error);

	if (result == 0)
		result = pio_bus_add(config->pio, VGA_DISPI_FIRST_PORT, VGA_DISPI_PORTS, "VBE extensions",
				     &vga_dispi_pio_ops, board->vga, error);
	if (result < 0)
		return result;
	return mmio_bus_add(config->mmio, VGA_WINDOW_GPA, VGA_WINDOW_BYTES, "VGA window",
			    &vga_window_ops, board->vga, error);
}

/* By itself it takes the first of the slots that are free, so that disks come behind it. */
static int add_vga(struct board *board, struct error *error)
{
	const struct board_config *config = &board->config;
	bool is_plain = config->display == BOARD_PLAIN_DISPLAY;
	struct board_seat seat;
	int result = board_find_seat(board, "vga", config->display_place, &seat, error);

	if (result < 0)
		return result;
	board->vga = vga_create(seat.bus, seat.slot_function, is_plain, config->vm, SLOT_VGA, error);
	if (!board->vga)
		return -ENOMEM;
	result = board_add(board, "vga", &vga_device_ops, board->vga, error);
	return result < 0 || is_plain ? result : add_accesses(board, error);
}

/* The VGA comes first, so that it goes last. */
static int add_vga_part(struct board *board, struct error *error)
{
	int result;

	board->vga = vga_part_create(board->config.vm, SLOT_VGA, error);
	if (!board->vga)
		return -ENOMEM;
	result = board_add(board, "vga", &vga_part_device_ops, board->vga, error);
	return result < 0 ? result : add_accesses(board, error);
}

static int add_gpu(struct board *board, struct error *error)
{
	const struct board_gpu *gpu = &board->config.gpu;
	const struct virtio_gpu_setup setup = {
		.outputs = gpu->outputs,
		.width = gpu->width,
		.height = gpu->height,
		.has_edid = !gpu->has_no_edid,
		.memory_bytes = gpu->memory_bytes,
	};
	struct virtio_host host = board_virtio_host(board, &gpu->rings);
	bool is_vga = board->config.display == BOARD_VIRTIO_VGA;
	struct virtio_device *virtio;
	int result = is_vga ? add_vga_part(board, error) : 0;

	if (result < 0)
		return result;
	virtio = virtio_gpu_create(&host, &setup, error);
	if (!virtio)
		return -ENOMEM;
	result = board_add_virtio_display(board, "gpu", virtio, is_vga ? VIRTIO_VGA_CLASS : CLASS_DISPLAY,
					  is_vga ? &virtio_vga_layout : NULL, board->vga, error);
	if (result == 0)
		board->gpu = virtio;
	return result;
}

int board_add_display(struct board *board, struct error *error)
{
	switch (board->config.display) {
	case BOARD_NO_DISPLAY: return 0;
	case BOARD_VGA:
	case BOARD_PLAIN_DISPLAY: return add_vga(board, error);
	default: return add_gpu(board, error);
	}
}

int board_take_picture(struct board *board, struct picture *picture)
{
	int result = board->gpu ? virtio_gpu_take_picture(board->gpu, picture) : -ENODATA;

	if (result != -ENODATA)
		return result;
	if (board->vga)
		return vga_take_picture(board->vga, picture);
	return board->gpu ? picture_create(picture, DARK_WIDTH, DARK_HEIGHT) : -ENODEV;
}
