/*
 * What a display says of itself (VESA E-EDID A.2, EDID 1.4): one block, whose detailed timing is the size that it likes best,
 * with the reduced blanking of VESA CVT 1.2 at 60 Hz, or at less where a timing's clock has no room for that.
 */
#include <string.h>

#include "device/virtio/gpu_parts.h"

#define REFRESH_HZ	 60u
#define MAKER		 (11 << 10 | 22 << 5 | 11) /* KVK, five bits a letter */
#define PRODUCT		 1
#define YEAR		 34 /* since 1990 */
#define DIGITAL_8_BITS	 0xa0
#define GAMMA_2_2	 120
#define FEATURES	 0x06 /* sRGB; the first timing is the display's own */
#define PIXELS_PER_CM	 40   /* some 100 in an inch */
#define DESCRIPTOR_BYTES 18
#define TIMING		 54 /* where the descriptors begin */
#define RANGE		 (TIMING + DESCRIPTOR_BYTES)
#define NAME		 (RANGE + DESCRIPTOR_BYTES)
#define UNUSED		 (NAME + DESCRIPTOR_BYTES)
#define SUM		 127
#define IS_RANGE	 0xfd /* descriptors' tags */
#define IS_NAME		 0xfc
#define IS_UNUSED	 0x10
#define RANGE_ONLY	 0x01
#define SEPARATE_H_PLUS	 0x1a /* syncs: digital, separate, the horizontal one positive */

/* CVT 1.2 §4: pixels and lines of reduced blanking. */
#define H_BLANK		160
#define H_FRONT		48
#define H_SYNC		32
#define V_BLANK_NS	460000u
#define V_FRONT		3
#define V_BACK_MIN	6
#define CLOCK_UNITS	25 /* a clock is so many times 10 kHz */
#define CLOCK_MAX	(UINT16_MAX / CLOCK_UNITS * CLOCK_UNITS)

struct timing {
	uint32_t width, height, v_sync, v_blank, clock_10khz;
};

/* The vertical sync's lines tell the shape (CVT 1.2 §3.4). */
static uint32_t sync_lines(uint32_t width, uint32_t height)
{
	static const struct {
		uint32_t width, height, lines;
	} shapes[] = {{4, 3, 4}, {16, 9, 5}, {16, 10, 6}, {5, 4, 7}, {15, 9, 7}};
	unsigned i;

	for (i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (width * shapes[i].height == height * shapes[i].width)
			return shapes[i].lines;
	return 10;
}

static struct timing find_timing(uint32_t width, uint32_t height)
{
	struct timing timing = {.width = width, .height = height, .v_sync = sync_lines(width, height)};
	uint32_t line_ns = (1000000000u / REFRESH_HZ - V_BLANK_NS) / height;
	uint32_t least = V_FRONT + timing.v_sync + V_BACK_MIN;
	uint64_t clock;

	timing.v_blank = V_BLANK_NS / line_ns + 1;
	if (timing.v_blank < least)
		timing.v_blank = least;
	clock = (uint64_t)REFRESH_HZ * (width + H_BLANK) * (height + timing.v_blank) / 10000;
	clock = clock / CLOCK_UNITS * CLOCK_UNITS;
	timing.clock_10khz = clock > CLOCK_MAX ? CLOCK_MAX : clock < CLOCK_UNITS ? CLOCK_UNITS : clock;
	return timing;
}

/* EDID 1.4 §3.10.2. Sizes in millimetres. */
static void put_timing(uint8_t *at, const struct timing *timing, uint32_t width_mm, uint32_t height_mm)
{
	at[0] = timing->clock_10khz;
	at[1] = timing->clock_10khz >> 8;
	at[2] = timing->width;
	at[3] = H_BLANK & 0xff;
	at[4] = timing->width >> 8 << 4 | H_BLANK >> 8;
	at[5] = timing->height;
	at[6] = timing->v_blank;
	at[7] = timing->height >> 8 << 4 | timing->v_blank >> 8;
	at[8] = H_FRONT;
	at[9] = H_SYNC;
	at[10] = V_FRONT << 4 | timing->v_sync;
	at[12] = width_mm;
	at[13] = height_mm;
	at[14] = width_mm >> 8 << 4 | height_mm >> 8;
	at[17] = SEPARATE_H_PLUS;
}

/* EDID 1.4 §3.10.3.3: what it can be driven with, of which its own timing is a part. */
static void put_range(uint8_t *at, const struct timing *timing)
{
	const uint32_t clock_hz = timing->clock_10khz * 10000u;
	const uint32_t line_khz = clock_hz / (timing->width + H_BLANK) / 1000;
	const uint32_t refresh_hz = clock_hz / (timing->width + H_BLANK) / (timing->height + timing->v_blank);
	const uint8_t range[] = {0, 0, 0, IS_RANGE, 0, refresh_hz < 50 ? refresh_hz : 50, 75,
				 line_khz < 30 ? (line_khz ? line_khz : 1) : 30, line_khz < 160 ? 160 : line_khz + 1,
				 (timing->clock_10khz + 999) / 1000 < 20 ? 20 : (timing->clock_10khz + 999) / 1000, RANGE_ONLY,
				 '\n', ' ', ' ', ' ', ' ', ' ', ' '};

	memcpy(at, range, sizeof(range));
}

/* EDID 1.4 §3.9: width, shape and refresh rate. */
static void put_standard(uint8_t *at)
{
	enum { SHAPE_16_10, SHAPE_4_3, SHAPE_5_4, SHAPE_16_9 };
	static const struct {
		uint16_t width;
		uint8_t shape;
	} sizes[] = {{1280, SHAPE_16_9}, {1280, SHAPE_16_10}, {1280, SHAPE_5_4}, {1440, SHAPE_16_10},
		     {1600, SHAPE_16_9}, {1680, SHAPE_16_10}, {1920, SHAPE_16_9}, {1920, SHAPE_16_10}};
	unsigned i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		at[2 * i] = sizes[i].width / 8 - 31;
		at[2 * i + 1] = sizes[i].shape << 6;
	}
}

void gpu_edid_make(uint8_t edid[GPU_EDID_BYTES], uint32_t width, uint32_t height)
{
	/* Then the version; the colours are sRGB's; 640x480, 800x600 and 1024x768 at 60 Hz are among its modes. */
	static const uint8_t header[] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, MAKER >> 8, MAKER & 0xff, PRODUCT, 0},
			     colours[] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54}, modes[] = {0x21, 0x08, 0},
			     name[] = {0, 0, 0, IS_NAME, 0, 'k', 'v', 'i', 'k', '\n', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
	const struct timing timing = find_timing(width, height);
	uint32_t width_cm = (width + PIXELS_PER_CM / 2) / PIXELS_PER_CM, height_cm = (height + PIXELS_PER_CM / 2) / PIXELS_PER_CM;
	unsigned i;

	memset(edid, 0, GPU_EDID_BYTES);
	memcpy(edid, header, sizeof(header));
	width_cm = width_cm ? width_cm : 1;
	height_cm = height_cm ? height_cm : 1;
	edid[16] = 1; /* week */
	edid[17] = YEAR;
	edid[18] = 1;
	edid[19] = 4;
	edid[20] = DIGITAL_8_BITS;
	edid[21] = width_cm;
	edid[22] = height_cm;
	edid[23] = GAMMA_2_2;
	edid[24] = FEATURES;
	memcpy(edid + 25, colours, sizeof(colours));
	memcpy(edid + 35, modes, sizeof(modes));
	put_standard(edid + 38);
	put_timing(edid + TIMING, &timing, 10 * width_cm, 10 * height_cm);
	put_range(edid + RANGE, &timing);
	memcpy(edid + NAME, name, sizeof(name));
	edid[UNUSED + 3] = IS_UNUSED;
	for (i = 0; i < SUM; i++)
		edid[SUM] -= edid[i];
}
