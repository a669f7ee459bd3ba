/* virtio-gpu as its driver has it draw: commands and their answers, good and bad ones; what pictures show; drivers that lie of
 * sizes, lists and places; turns of the loop; resets, saved state; displays' EDIDs. */
#include <errno.h>
#include <linux/virtio_gpu.h>
#include <stdlib.h>

#include "device/virtio/gpu.h"
#include "virtio_driver.h"

#define REQUEST	   DRIVER_DATA
#define LIST	   (REQUEST + sizeof(struct virtio_gpu_resource_attach_backing))
#define ANSWER	   (DRIVER_DATA + 0x2000)
#define PIXELS	   (DRIVER_DATA + 0x4000)
#define PIXELS_GPA (DRIVER_GPA + PIXELS)
#define MEMORY	   (1u << 20) /* of the device's */
#define WIDTH	   16u
#define HEIGHT	   8u
#define BGRX	   VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM

enum { CONTROL, CURSOR };

static struct virtio_gpu_setup setup = {.outputs = 2, .width = 1280, .height = 800, .has_edid = true, .memory_bytes = MEMORY};
static struct driver driver;

static void open_gpu(void)
{
	struct error error;

	driver_init(&driver);
	driver_start(&driver, virtio_gpu_create(&driver.host, &setup, &error), 1ull << VIRTIO_GPU_F_EDID);
}

static void close_gpu(void)
{
	driver.virtio->kind->destroy(driver.virtio);
}

/* Its answer's type; with room for `room` bytes of it. */
static uint32_t ask_with(unsigned queue, uint32_t type, void *request, uint32_t size, uint32_t room)
{
	const struct driver_buffer buffers[] = {{REQUEST, size, false}, {ANSWER, room, true}};
	struct virtio_gpu_ctrl_hdr header = {.type = type};

	memcpy(request, &header.type, sizeof(header.type));
	memcpy(driver_at(&driver, REQUEST), request, size);
	memset(driver_at(&driver, ANSWER), 0xee, 0x1000);
	driver_do(&driver, queue, buffers, room ? 2 : 1);
	memcpy(&header, driver_at(&driver, ANSWER), sizeof(header));
	return header.type;
}

#define ask(type, request) ask_with(CONTROL, type, &(request), sizeof(request), 0x1000)

static uint32_t create(uint32_t id, uint32_t format, uint32_t width, uint32_t height)
{
	struct virtio_gpu_resource_create_2d create = {
		.resource_id = id, .format = format, .width = width, .height = height};

	return ask(VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, create);
}

static uint32_t unref(uint32_t id)
{
	struct virtio_gpu_resource_unref unref = {.resource_id = id};

	return ask(VIRTIO_GPU_CMD_RESOURCE_UNREF, unref);
}

static uint32_t attach(uint32_t id, const struct virtio_gpu_mem_entry *entries, uint32_t count, uint32_t said)
{
	uint8_t bytes[sizeof(struct virtio_gpu_resource_attach_backing) + 64 * sizeof(*entries)] = {0};
	const struct virtio_gpu_resource_attach_backing attach = {.resource_id = id, .nr_entries = said};

	memcpy(bytes, &attach, sizeof(attach));
	memcpy(bytes + sizeof(attach), entries, count * sizeof(*entries));
	return ask_with(CONTROL, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, bytes, sizeof(attach) + count * sizeof(*entries), 0x1000);
}

static uint32_t attach_pixels(uint32_t id, uint32_t bytes)
{
	const struct virtio_gpu_mem_entry entry = {PIXELS_GPA, bytes, 0};

	return attach(id, &entry, 1, 1);
}

static uint32_t detach(uint32_t id)
{
	struct virtio_gpu_resource_detach_backing detach = {.resource_id = id};

	return ask(VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, detach);
}

static uint32_t transfer(uint32_t id, struct virtio_gpu_rect rect, uint64_t offset)
{
	struct virtio_gpu_transfer_to_host_2d transfer = {.r = rect, .resource_id = id, .offset = offset};

	return ask(VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, transfer);
}

static uint32_t flush(uint32_t id, struct virtio_gpu_rect rect)
{
	struct virtio_gpu_resource_flush flush = {.r = rect, .resource_id = id};

	return ask(VIRTIO_GPU_CMD_RESOURCE_FLUSH, flush);
}

static uint32_t set_scanout(uint32_t scanout, uint32_t id, struct virtio_gpu_rect rect)
{
	struct virtio_gpu_set_scanout set = {.r = rect, .scanout_id = scanout, .resource_id = id};

	return ask(VIRTIO_GPU_CMD_SET_SCANOUT, set);
}

static const struct virtio_gpu_rect whole = {0, 0, WIDTH, HEIGHT};

#define assert_ok(what) assert_int_equal(what, VIRTIO_GPU_RESP_OK_NODATA)

/* Pixel number n of the guest's picture is n in its first byte, 100 and 200 in the others. */
static void fill_pixels(void)
{
	uint8_t *pixels = driver_at(&driver, PIXELS);
	unsigned i;

	for (i = 0; i < WIDTH * HEIGHT; i++) {
		pixels[4 * i] = i;
		pixels[4 * i + 1] = 100;
		pixels[4 * i + 2] = 200;
		pixels[4 * i + 3] = 50;
	}
}

static unsigned pixel(const struct picture *picture, unsigned x, unsigned y)
{
	const uint8_t *at = picture->pixels + 3 * (y * picture->width + x);

	assert_true(x < picture->width && y < picture->height);
	return at[0] << 16 | at[1] << 8 | at[2];
}

static unsigned shown(unsigned x, unsigned y)
{
	struct picture picture;
	unsigned value;

	assert_int_equal(virtio_gpu_take_picture(driver.virtio, &picture), 0);
	value = pixel(&picture, x, y);
	picture_free(&picture);
	return value;
}

/* A picture by way of a list of three pieces that are in another order in memory. */
static void show_picture(void)
{
	const uint32_t bytes = WIDTH * HEIGHT * 4;
	const struct virtio_gpu_mem_entry list[] = {{PIXELS_GPA, 36, 0}, {PIXELS_GPA + 36, 0, 0}, {PIXELS_GPA + 36, bytes - 36, 0}};

	fill_pixels();
	assert_ok(create(7, BGRX, WIDTH, HEIGHT));
	assert_ok(attach(7, list, 3, 3));
	assert_ok(transfer(7, whole, 0));
	assert_ok(set_scanout(0, 7, whole));
	assert_ok(flush(7, whole));
}

static void test_picture(void **state)
{
	struct picture picture;
	unsigned i;

	(void)state;
	open_gpu();
	assert_int_equal(virtio_gpu_take_picture(driver.virtio, &picture), -ENODATA);
	show_picture();
	assert_int_equal(virtio_gpu_take_picture(driver.virtio, &picture), 0);
	assert_int_equal(picture.width, WIDTH);
	assert_int_equal(picture.height, HEIGHT);
	for (i = 0; i < WIDTH * HEIGHT; i++)
		assert_int_equal(pixel(&picture, i % WIDTH, i / WIDTH), 200 << 16 | 100 << 8 | i);
	picture_free(&picture);
	/* What the guest changes is seen where it is transferred. */
	memset(driver_at(&driver, PIXELS), 0, WIDTH * HEIGHT * 4);
	assert_int_equal(shown(5, 3), 200 << 16 | 100 << 8 | (3 * WIDTH + 5));
	assert_ok(transfer(7, (struct virtio_gpu_rect){5, 3, 2, 2}, (3 * WIDTH + 5) * 4));
	for (i = 0; i < WIDTH * HEIGHT; i++)
		assert_int_equal(!shown(i % WIDTH, i / WIDTH), (i % WIDTH == 5 || i % WIDTH == 6) && (i / WIDTH == 3 || i / WIDTH == 4));
	/* A part of it; and nothing. */
	assert_ok(set_scanout(0, 7, (struct virtio_gpu_rect){4, 2, 8, 3}));
	assert_int_equal(virtio_gpu_take_picture(driver.virtio, &picture), 0);
	assert_int_equal(picture.width, 8);
	assert_int_equal(picture.height, 3);
	assert_int_equal(pixel(&picture, 0, 0), 200 << 16 | 100 << 8 | (2 * WIDTH + 4));
	picture_free(&picture);
	assert_ok(set_scanout(0, 0, whole));
	assert_int_equal(virtio_gpu_take_picture(driver.virtio, &picture), 0);
	assert_int_equal(picture.width, 1280);
	assert_int_equal(picture.height, 800);
	assert_int_equal(pixel(&picture, 0, 0), 0);
	picture_free(&picture);
	/* The same when what it shows goes. */
	assert_ok(set_scanout(0, 7, whole));
	assert_ok(unref(7));
	assert_int_equal(shown(1279, 799), 0);
	virtio_set_status(driver.virtio, 0);
	assert_int_equal(virtio_gpu_take_picture(driver.virtio, &picture), -ENODATA);
	close_gpu();
}

/* Where each format has its colours. */
static void test_formats(void **state)
{
	static const struct {
		uint32_t format;
		unsigned colour;
	} formats[] = {
		{VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, 0x030201}, {VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, 0x030201},
		{VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM, 0x020304}, {VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM, 0x020304},
		{VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM, 0x010203}, {VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM, 0x010203},
		{VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM, 0x040302}, {VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM, 0x040302},
	};
	const struct virtio_gpu_rect one = {0, 0, 1, 1};
	unsigned i;

	(void)state;
	open_gpu();
	memcpy(driver_at(&driver, PIXELS), "\1\2\3\4", 4);
	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		assert_ok(create(i + 1, formats[i].format, 1, 1));
		assert_ok(attach_pixels(i + 1, 4));
		assert_ok(transfer(i + 1, one, 0));
		assert_ok(set_scanout(0, i + 1, one));
		assert_int_equal(shown(0, 0), formats[i].colour);
	}
	for (i = 0; i < 300; i++)
		if (i != 1 && i != 2 && i != 3 && i != 4 && i != 67 && i != 68 && i != 121 && i != 134)
			assert_int_equal(create(1000, i, 1, 1), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	close_gpu();
}

static void test_display(void **state)
{
	struct virtio_gpu_ctrl_hdr header = {.flags = VIRTIO_GPU_FLAG_FENCE, .fence_id = 0x123456789abcdefull, .ctx_id = 5};
	struct virtio_gpu_resp_display_info info;
	struct virtio_gpu_config config = {0};
	unsigned i;

	(void)state;
	open_gpu();
	virtio_read_config(driver.virtio, 0, sizeof(config), (uint8_t *)&config);
	assert_int_equal(config.num_scanouts, 2);
	assert_int_equal(config.num_capsets, 0);
	assert_int_equal(config.events_read, 0);
	assert_int_equal(ask(VIRTIO_GPU_CMD_GET_DISPLAY_INFO, header), VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	memcpy(&info, driver_at(&driver, ANSWER), sizeof(info));
	/* The answer has the fence of its command. */
	assert_int_equal(info.hdr.flags, VIRTIO_GPU_FLAG_FENCE);
	assert_true(info.hdr.fence_id == 0x123456789abcdefull);
	assert_int_equal(info.hdr.ctx_id, 5);
	assert_int_equal(info.pmodes[0].enabled, 1);
	assert_int_equal(info.pmodes[0].r.width, 1280);
	assert_int_equal(info.pmodes[0].r.height, 800);
	for (i = 1; i < VIRTIO_GPU_MAX_SCANOUTS; i++)
		assert_false(info.pmodes[i].enabled);
	header.flags = 0;
	assert_int_equal(ask(VIRTIO_GPU_CMD_GET_DISPLAY_INFO, header), VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	memcpy(&info, driver_at(&driver, ANSWER), sizeof(info));
	assert_int_equal(info.hdr.flags, 0);
	assert_true(info.hdr.fence_id == 0);
	close_gpu();
}

/* An EDID's detailed timing. */
static void check_timing(const uint8_t *at, unsigned width, unsigned height)
{
	unsigned clock = (at[0] | at[1] << 8) * 10000u, h_blank = at[3] | (at[4] & 15) << 8, v_blank = at[6] | (at[7] & 15) << 8;
	unsigned refresh_mhz = clock * 1000ull / (width + h_blank) / (height + v_blank);
	unsigned h_front = at[8] | (at[11] >> 6 & 3) << 8, h_sync = at[9] | (at[11] >> 4 & 3) << 8;
	unsigned v_front = at[10] >> 4 | (at[11] >> 2 & 3) << 4, v_sync = (at[10] & 15) | (at[11] & 3) << 4;

	assert_int_equal(at[2] | at[4] >> 4 << 8, width);
	assert_int_equal(at[5] | at[7] >> 4 << 8, height);
	assert_true(h_front + h_sync < h_blank && v_front + v_sync < v_blank);
	/* At 60 Hz, but for what is too large, and where a clock's steps are coarse. */
	if (width < 3000 && width > 600)
		assert_true(refresh_mhz > 59000 && refresh_mhz < 60500);
	assert_true(refresh_mhz > 20000 && refresh_mhz < 75000);
}

static void test_edid(void **state)
{
	static const struct {
		unsigned width, height;
	} sizes[] = {{1280, 800}, {640, 480}, {1920, 1080}, {4095, 4095}, {16, 16}, {16, 4095}, {1024, 768}, {2560, 1440}};
	struct virtio_gpu_cmd_get_edid get = {.scanout = 1};
	struct virtio_gpu_resp_edid edid;
	unsigned i, j;
	uint8_t sum;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		setup.width = sizes[i].width;
		setup.height = sizes[i].height;
		open_gpu();
		assert_int_equal(ask(VIRTIO_GPU_CMD_GET_EDID, get), VIRTIO_GPU_RESP_OK_EDID);
		memcpy(&edid, driver_at(&driver, ANSWER), sizeof(edid));
		assert_int_equal(edid.size, 128);
		for (j = 0, sum = 0; j < 128; j++)
			sum += edid.edid[j];
		assert_int_equal(sum, 0);
		assert_memory_equal(edid.edid, "\0\xff\xff\xff\xff\xff\xff\0", 8);
		check_timing(edid.edid + 54, sizes[i].width, sizes[i].height);
		close_gpu();
	}
	setup.width = 1280;
	setup.height = 800;
	open_gpu();
	get.scanout = 2;
	assert_int_equal(ask(VIRTIO_GPU_CMD_GET_EDID, get), VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	/* Only who has agreed to it. */
	get.scanout = 0;
	driver_start(&driver, driver.virtio, 0);
	assert_int_equal(ask(VIRTIO_GPU_CMD_GET_EDID, get), VIRTIO_GPU_RESP_ERR_UNSPEC);
	close_gpu();
}

static void test_ids(void **state)
{
	unsigned i;

	(void)state;
	open_gpu();
	assert_int_equal(create(0, BGRX, 4, 4), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	/* Those of one bucket, too. */
	for (i = 0; i < 4; i++)
		assert_ok(create(5 + 1024 * i, BGRX, 4, 4));
	assert_int_equal(create(5 + 1024, BGRX, 4, 4), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_ok(unref(5 + 1024));
	assert_int_equal(unref(5 + 1024), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_ok(flush(5, (struct virtio_gpu_rect){0, 0, 4, 4}));
	assert_ok(flush(5 + 2048, (struct virtio_gpu_rect){0, 0, 4, 4}));
	assert_ok(create(5 + 1024, BGRX, 4, 4));
	assert_int_equal(flush(6, whole), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_int_equal(transfer(6, whole, 0), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_int_equal(set_scanout(0, 6, whole), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_int_equal(attach_pixels(6, 64), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_int_equal(detach(6), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_int_equal(detach(5), VIRTIO_GPU_RESP_ERR_UNSPEC);
	assert_int_equal(transfer(5, (struct virtio_gpu_rect){0, 0, 4, 4}, 0), VIRTIO_GPU_RESP_ERR_UNSPEC);
	close_gpu();
}

/* What it takes of the host's memory is bounded, whatever it is called. */
static void test_memory(void **state)
{
	struct virtio_gpu_mem_entry entry = {PIXELS_GPA, 64, 0};
	unsigned count;

	(void)state;
	open_gpu();
	assert_int_equal(create(1, BGRX, 0, 4), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_int_equal(create(1, BGRX, 4, 0), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_int_equal(create(1, BGRX, 513, 512), VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	assert_int_equal(create(1, BGRX, UINT32_MAX, UINT32_MAX), VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	assert_int_equal(create(1, BGRX, 1u << 31, 1u << 31), VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	assert_int_equal(create(1, BGRX, 1, 1u << 30), VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	assert_ok(create(1, BGRX, 512, 512));
	assert_int_equal(create(2, BGRX, 1, 1), VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	assert_int_equal(attach(1, &entry, 1, 1), VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	assert_ok(unref(1));
	/* Small ones take a page. */
	for (count = 0; create(count + 1, BGRX, 1, 1) == VIRTIO_GPU_RESP_OK_NODATA; count++)
		assert_true(count < MEMORY / 4096);
	assert_int_equal(count, MEMORY / 4096);
	/* All of it comes back by a reset. */
	driver_start(&driver, driver.virtio, 0);
	assert_ok(create(1, BGRX, 512, 512));
	close_gpu();
}

static void test_backing(void **state)
{
	const struct virtio_gpu_rect row = {0, 0, WIDTH, 1};
	struct virtio_gpu_mem_entry list[64];
	unsigned i;

	(void)state;
	open_gpu();
	assert_ok(create(1, BGRX, WIDTH, HEIGHT));
	/* Not all of it is RAM; and fewer entries than it says, or more than there may be. */
	list[0] = (struct virtio_gpu_mem_entry){PIXELS_GPA, 64, 0};
	list[1] = (struct virtio_gpu_mem_entry){DRIVER_GPA + DRIVER_RAM - 4, 8, 0};
	assert_int_equal(attach(1, list, 2, 2), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	list[1] = (struct virtio_gpu_mem_entry){UINT64_MAX - 3, 8, 0};
	assert_int_equal(attach(1, list, 2, 2), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	list[1] = (struct virtio_gpu_mem_entry){PIXELS_GPA, UINT32_MAX, 0};
	assert_int_equal(attach(1, list, 2, 2), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	list[1] = list[0];
	assert_int_equal(attach(1, list, 2, 3), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_int_equal(attach(1, list, 2, UINT32_MAX), VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY);
	assert_int_equal(transfer(1, row, 0), VIRTIO_GPU_RESP_ERR_UNSPEC);
	assert_ok(attach(1, list, 2, 2));
	assert_int_equal(attach(1, list, 2, 2), VIRTIO_GPU_RESP_ERR_UNSPEC);
	/* 128 bytes: two rows. */
	assert_ok(transfer(1, row, 0));
	assert_ok(transfer(1, row, 64));
	assert_int_equal(transfer(1, row, 65), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_int_equal(transfer(1, row, UINT64_MAX - 32), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_ok(transfer(1, (struct virtio_gpu_rect){0, 0, 1, 2}, 60));
	assert_int_equal(transfer(1, (struct virtio_gpu_rect){0, 0, 1, 3}, 0), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_ok(detach(1));
	assert_int_equal(transfer(1, row, 0), VIRTIO_GPU_RESP_ERR_UNSPEC);
	/* A pixel each, the last one first. */
	fill_pixels();
	for (i = 0; i < 64; i++)
		list[i] = (struct virtio_gpu_mem_entry){PIXELS_GPA + 4 * (63 - i), 4, 0};
	assert_ok(attach(1, list, 64, 64));
	assert_ok(transfer(1, (struct virtio_gpu_rect){0, 0, WIDTH, 4}, 0));
	assert_ok(set_scanout(0, 1, whole));
	for (i = 0; i < 64; i++)
		assert_int_equal(shown(i % WIDTH, i / WIDTH) & 0xff, 63 - i);
	/* RAM that has gone since. */
	driver.memory.regions[1] = (struct guest_region){0x10000000, 4096, driver_at(&driver, PIXELS), NULL};
	driver.memory.region_count = 2;
	assert_ok(detach(1));
	list[0] = (struct virtio_gpu_mem_entry){0x10000000, 64, 0};
	assert_ok(attach(1, list, 1, 1));
	assert_ok(transfer(1, row, 0));
	driver.memory.region_count = 1;
	assert_int_equal(transfer(1, row, 0), VIRTIO_GPU_RESP_ERR_UNSPEC);
	close_gpu();
}

static void test_rectangles(void **state)
{
	static const struct virtio_gpu_rect bad[] = {
		{0, 0, 0, 1}, {0, 0, 1, 0}, {0, 0, WIDTH + 1, 1}, {0, 0, 1, HEIGHT + 1}, {1, 0, WIDTH, 1},
		{0, 1, 1, HEIGHT}, {WIDTH, 0, 1, 1}, {UINT32_MAX, 0, 2, 1}, {1, 0, UINT32_MAX, 1}, {0, UINT32_MAX, 1, 2},
	};
	unsigned i;

	(void)state;
	open_gpu();
	show_picture();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(transfer(7, bad[i], 0), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
		assert_int_equal(flush(7, bad[i]), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
		assert_int_equal(set_scanout(1, 7, bad[i]), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	}
	assert_int_equal(set_scanout(2, 7, whole), VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	assert_int_equal(set_scanout(UINT32_MAX, 0, whole), VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	assert_ok(set_scanout(1, 7, (struct virtio_gpu_rect){WIDTH - 1, HEIGHT - 1, 1, 1}));
	assert_int_equal(shown(1, 0), 200 << 16 | 100 << 8 | 1);
	close_gpu();
}

static void test_other_commands(void **state)
{
	static const uint32_t unknown[] = {0, VIRTIO_GPU_CMD_GET_CAPSET_INFO, VIRTIO_GPU_CMD_GET_CAPSET,
					   VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, VIRTIO_GPU_CMD_CTX_CREATE,
					   VIRTIO_GPU_CMD_SUBMIT_3D, VIRTIO_GPU_CMD_MOVE_CURSOR, UINT32_MAX};
	struct virtio_gpu_update_cursor cursor = {.pos = {.scanout_id = 1}, .resource_id = 9};
	const struct driver_buffer request = {REQUEST, sizeof(cursor), false};
	unsigned i;

	(void)state;
	open_gpu();
	for (i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(ask(unknown[i], cursor), VIRTIO_GPU_RESP_ERR_UNSPEC);
	/* Requests that are cut short, and room for no answer or a piece of one. */
	assert_int_equal(ask_with(CONTROL, VIRTIO_GPU_CMD_RESOURCE_UNREF, &cursor, 31, 0x1000), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_int_equal(ask_with(CONTROL, VIRTIO_GPU_CMD_GET_DISPLAY_INFO, &cursor, 23, 0x1000), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
	assert_int_equal(ask_with(CONTROL, VIRTIO_GPU_CMD_GET_DISPLAY_INFO, &cursor, 24, 0), (uint32_t)0xeeeeeeee);
	assert_int_equal(ask_with(CONTROL, VIRTIO_GPU_CMD_GET_DISPLAY_INFO, &cursor, 24, 4), VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	assert_memory_equal((uint8_t *)driver_at(&driver, ANSWER) + 4, "\xee\xee\xee\xee", 4);
	/* Cursors: with and without room for an answer, which no driver needs. */
	assert_int_equal(ask_with(CURSOR, VIRTIO_GPU_CMD_UPDATE_CURSOR, &cursor, sizeof(cursor), 0x1000),
			 VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	assert_ok(ask_with(CURSOR, VIRTIO_GPU_CMD_MOVE_CURSOR, &cursor, sizeof(cursor), 0x1000));
	assert_ok(create(9, BGRX, 64, 64));
	assert_ok(ask_with(CURSOR, VIRTIO_GPU_CMD_UPDATE_CURSOR, &cursor, sizeof(cursor), 0x1000));
	assert_int_equal(driver_do(&driver, CURSOR, &request, 1), 0);
	cursor.pos.scanout_id = 2;
	assert_int_equal(ask_with(CURSOR, VIRTIO_GPU_CMD_MOVE_CURSOR, &cursor, sizeof(cursor), 0x1000),
			 VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID);
	assert_int_equal(ask_with(CURSOR, VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, &cursor, sizeof(cursor), 0x1000), VIRTIO_GPU_RESP_ERR_UNSPEC);
	assert_false(virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET);
	close_gpu();
}

/* --- turns --- */

#define LARGE 1449u /* a side of a picture of 8 MiB */

/* event_loop_before_wait: it looks once. */
static void look_once(void *loop)
{
	event_loop_stop(loop);
}

/* Commands that copy much leave the loop's thread to others in between, and go on by themselves. */
static void test_turns(void **state)
{
	const struct driver_buffer buffers[] = {{REQUEST, sizeof(struct virtio_gpu_transfer_to_host_2d), false}, {ANSWER, 0x100, true}};
	struct virtio_gpu_transfer_to_host_2d transfer = {
		.hdr = {.type = VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D}, .r = {0, 0, LARGE, LARGE}, .resource_id = 1};
	const struct virtio_gpu_resource_create_2d create = {
		.hdr = {.type = VIRTIO_GPU_CMD_RESOURCE_CREATE_2D}, .resource_id = 1, .format = BGRX, .width = LARGE, .height = LARGE};
	struct virtio_gpu_resource_attach_backing attach = {
		.hdr = {.type = VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING}, .resource_id = 1, .nr_entries = 64};
	const struct virtio_gpu_mem_entry entry = {DRIVER_GPA, 0x21000, 0};
	const struct driver_buffer list = {REQUEST + 0x100, sizeof(attach) + 64 * sizeof(entry), false};
	const struct driver_buffer making = {REQUEST + 0x80, sizeof(create), false};
	struct error error;
	struct event_loop *loop = event_loop_create(&error);
	uint32_t written;
	unsigned i;

	(void)state;
	setup.memory_bytes = 16 << 20;
	driver_init(&driver);
	driver.host.loop = loop;
	event_loop_before_wait(loop, look_once, loop);
	driver_start(&driver, virtio_gpu_create(&driver.host, &setup, &error), 0);
	memcpy(driver_at(&driver, REQUEST), &transfer, sizeof(transfer));
	memcpy(driver_at(&driver, REQUEST + 0x80), &create, sizeof(create));
	memcpy(driver_at(&driver, REQUEST + 0x100), &attach, sizeof(attach));
	for (i = 0; i < 64; i++)
		memcpy(driver_at(&driver, REQUEST + 0x100 + sizeof(attach) + i * sizeof(entry)), &entry, sizeof(entry));
	driver_offer(&driver, CONTROL, &making, 1);
	driver_offer(&driver, CONTROL, &list, 1);
	for (i = 0; i < 3; i++)
		driver_offer(&driver, CONTROL, buffers, 2);
	virtio_notify(driver.virtio, CONTROL);
	assert_int_equal(event_loop_run(loop), 0);
	for (i = 0; i < 3; i++)
		assert_true(driver_take(&driver, CONTROL, &written));
	assert_int_equal(*(uint32_t *)driver_at(&driver, ANSWER), VIRTIO_GPU_RESP_OK_NODATA);
	for (i = 0; i < 2; i++) {
		assert_false(driver_take(&driver, CONTROL, &written));
		assert_int_equal(event_loop_run(loop), 0);
		assert_true(driver_take(&driver, CONTROL, &written));
	}
	close_gpu();
	event_loop_destroy(loop);
	setup.memory_bytes = MEMORY;
}

/* --- saved state --- */

static size_t save(uint8_t *copy, size_t room)
{
	struct virtio_state saved = {0};
	struct state_stream state;
	const void *bytes;
	size_t size;

	virtio_hold(driver.virtio);
	state_save_begin(&state);
	state_section_begin(&state, "gpu", VIRTIO_STATE_UNITS);
	virtio_transfer(driver.virtio, &saved, &state);
	state_section_end(&state);
	assert_int_equal(state_saved(&state, &bytes, &size, NULL), 0);
	assert_true(size <= room);
	memcpy(copy, bytes, size);
	state_end(&state);
	virtio_release(driver.virtio);
	return size;
}

static int load(const uint8_t *bytes, size_t size)
{
	struct virtio_state saved = {0};
	struct state_stream state;
	bool is_good;

	virtio_hold(driver.virtio);
	state_load_begin(&state, bytes, size);
	state_section_begin(&state, "gpu", VIRTIO_STATE_UNITS);
	virtio_transfer(driver.virtio, &saved, &state);
	is_good = state_complete(&state);
	if (is_good)
		virtio_restore(driver.virtio, &saved);
	virtio_release(driver.virtio);
	return is_good ? 0 : -EINVAL;
}

static void test_saved(void **state)
{
	static uint8_t bytes[1 << 16], other[sizeof(bytes)];
	static struct driver then; /* and its RAM */
	struct virtio_device *virtio;
	size_t size, i;

	(void)state;
	open_gpu();
	show_picture();
	assert_ok(create(1024 + 7, BGRX, 3, 3));
	size = save(bytes, sizeof(bytes));
	then = driver;
	assert_ok(set_scanout(0, 0, whole));
	assert_ok(unref(7));
	assert_ok(create(5, BGRX, 3, 3));
	driver = then;
	assert_int_equal(load(bytes, size), 0);
	assert_int_equal(save(other, sizeof(other)), size);
	assert_memory_equal(bytes, other, size);
	assert_int_equal(shown(2, 1), 200 << 16 | 100 << 8 | (WIDTH + 2));
	close_gpu();
	/* In another process, whose RAM is the same: the driver goes on with what is attached. */
	open_gpu();
	virtio = driver.virtio;
	driver = then;
	driver.virtio = virtio;
	assert_int_equal(load(bytes, size), 0);
	assert_int_equal(shown(2, 1), 200 << 16 | 100 << 8 | (WIDTH + 2));
	memset(driver_at(&driver, PIXELS), 0, WIDTH * HEIGHT * 4);
	assert_ok(transfer(7, whole, 0));
	assert_int_equal(shown(2, 1), 0);
	assert_int_equal(create(7, BGRX, 1, 1), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
	/* Each byte of it may be wrong: what is loaded then is something that can be saved, or nothing. */
	for (i = 0; i < size; i++) {
		bytes[i] ^= 0x40;
		if (load(bytes, size) == 0)
			save(other, sizeof(other));
		bytes[i] ^= 0x40;
		if (i % 16 == 0)
			assert_true(load(bytes, i) < 0);
	}
	/* A smaller device has no room for it. */
	close_gpu();
	setup.memory_bytes = 4096 + 100;
	open_gpu();
	assert_true(load(bytes, size) < 0);
	setup.memory_bytes = MEMORY;
	close_gpu();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_picture), cmocka_unit_test(test_formats),	       cmocka_unit_test(test_display),
		cmocka_unit_test(test_edid),	cmocka_unit_test(test_ids),	       cmocka_unit_test(test_memory),
		cmocka_unit_test(test_backing), cmocka_unit_test(test_rectangles), cmocka_unit_test(test_other_commands),
		cmocka_unit_test(test_turns),	cmocka_unit_test(test_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
