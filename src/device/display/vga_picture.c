/* What the screen shows, made from registers and memory as they are now. */
#include <string.h>

#include "device/display/vga_parts.h"

/* A picture under way: a copy of the registers, as the guest goes on. */
struct view {
	struct vga_state state;
	const uint8_t *memory;
	struct picture *picture;
};

/* Six bits or eight of each colour. */
static void put_palette(const struct view *view, uint8_t *pixel, uint8_t index)
{
	const uint8_t *entry = view->state.palette + (index & view->state.palette_mask) * 3;
	bool is_8_bit = view->state.dispi[DISPI_ENABLE] & DISPI_8_BIT_DAC;
	unsigned i;

	for (i = 0; i < 3; i++)
		pixel[i] = is_8_bit ? entry[i] : (entry[i] & 0x3f) << 2 | (entry[i] & 0x3f) >> 4;
}

/* One of 16 colours, by the attribute controller's palette. */
static void put_attribute(const struct view *view, uint8_t *pixel, uint8_t index)
{
	const uint8_t *attribute = view->state.attribute;
	uint8_t value = attribute[index & 0xf] & 0x3f;

	if (attribute[ATTR_MODE] & 0x80)
		value = (attribute[ATTR_COLOUR] & 0x0f) << 4 | (value & 0x0f);
	else
		value |= (attribute[ATTR_COLOUR] & 0x0c) << 4;
	put_palette(view, pixel, value);
}

static uint8_t byte_at(const struct view *view, uint64_t at)
{
	return view->memory[at % VGA_MEMORY_BYTES];
}

/* The planes' word number `at`. */
static uint8_t plane_at(const struct view *view, uint32_t at, unsigned plane)
{
	return byte_at(view, at * 4ull + plane);
}

static uint8_t *pixel_at(const struct view *view, unsigned x, unsigned y)
{
	return view->picture->pixels + 3ul * (y * (unsigned long)view->picture->width + x);
}

static unsigned crtc_start(const struct vga_state *state)
{
	return state->crtc[CRTC_START] << 8 | state->crtc[CRTC_START + 1];
}

/* Lines that are shown, before they are doubled. */
static unsigned visible_lines(const struct vga_state *state)
{
	return (state->crtc[CRTC_HEIGHT] | (state->crtc[CRTC_OVERFLOW] & 0x02) << 7 |
		(state->crtc[CRTC_OVERFLOW] & 0x40) << 3) + 1;
}

/* --- linear modes --- */

static void put_colour(const struct view *view, uint8_t *pixel, uint64_t at, unsigned depth)
{
	unsigned value = byte_at(view, at) | byte_at(view, at + 1) << 8;

	switch (depth) {
	case 8: put_palette(view, pixel, byte_at(view, at)); break;
	case 15:
		pixel[0] = (value >> 10 & 0x1f) * 255 / 31;
		pixel[1] = (value >> 5 & 0x1f) * 255 / 31;
		pixel[2] = (value & 0x1f) * 255 / 31;
		break;
	case 16:
		pixel[0] = (value >> 11 & 0x1f) * 255 / 31;
		pixel[1] = (value >> 5 & 0x3f) * 255 / 63;
		pixel[2] = (value & 0x1f) * 255 / 31;
		break;
	default: /* blue, green, red */
		pixel[0] = byte_at(view, at + 2);
		pixel[1] = byte_at(view, at + 1);
		pixel[2] = byte_at(view, at);
		break;
	}
}

static uint8_t planar_pixel(const struct view *view, uint32_t at, unsigned bit)
{
	unsigned plane, value = 0;

	for (plane = 0; plane < 4; plane++)
		value |= (plane_at(view, at, plane) >> (7 - bit) & 1) << plane;
	return value;
}

static int take_linear(struct view *view)
{
	const uint16_t *dispi = view->state.dispi;
	unsigned depth = dispi[DISPI_DEPTH], bytes = (depth + 7) / 8, x, y;
	uint64_t line;
	int result = picture_create(view->picture, dispi[DISPI_WIDTH], dispi[DISPI_HEIGHT]);

	for (y = 0; y < view->picture->height && result == 0; y++) {
		line = (uint64_t)(dispi[DISPI_Y] + y) * dispi[DISPI_VIRTUAL_WIDTH] + dispi[DISPI_X];
		for (x = 0; x < view->picture->width; x++) {
			if (depth <= 4)
				put_attribute(view, pixel_at(view, x, y),
					      planar_pixel(view, (line + x) / 8, (line + x) % 8));
			else
				put_colour(view, pixel_at(view, x, y), (line + x) * bytes, depth);
		}
	}
	return result;
}

/* --- text --- */

/* Where a character's picture is: in plane 2, in one of eight fonts (SEQ_FONT). */
static uint8_t font_line(const struct view *view, uint8_t character, bool is_second, unsigned line)
{
	uint8_t chosen = view->state.sequencer[SEQ_FONT];
	unsigned font = is_second ? (chosen >> 5 & 1) | (chosen >> 1 & 6)
				  : (chosen >> 4 & 1) | (chosen << 1 & 6);

	return plane_at(view, font * 0x2000 + character * 32 + line, 2);
}

static void put_character(const struct view *view, unsigned column, unsigned row, uint32_t at,
			  unsigned width, unsigned height)
{
	const struct vga_state *state = &view->state;
	uint8_t character = plane_at(view, at, 0), colours = plane_at(view, at, 1), dots;
	bool blinks = state->attribute[ATTR_MODE] & 0x08, has_cursor;
	unsigned cursor = state->crtc[CRTC_CURSOR] << 8 | state->crtc[CRTC_CURSOR + 1];
	unsigned x, y, background = colours >> 4 & (blinks ? 7 : 15);

	for (y = 0; y < height; y++) {
		dots = font_line(view, character, colours & 0x08, y);
		has_cursor = (at & 0xffff) == cursor && !(state->crtc[CRTC_CURSOR_START] & 0x20) &&
			     y >= (state->crtc[CRTC_CURSOR_START] & 0x1fu) &&
			     y <= (state->crtc[CRTC_CURSOR_END] & 0x1fu);
		for (x = 0; x < width; x++) {
			bool is_on = x < 8 ? dots >> (7 - x) & 1
					   : (dots & 1) && character >= 0xc0 && character <= 0xdf &&
						     (state->attribute[ATTR_MODE] & 0x04);

			put_attribute(view, pixel_at(view, column * width + x, row * height + y),
				      is_on || has_cursor ? colours & 15 : background);
		}
	}
}

static int take_text(struct view *view)
{
	const struct vga_state *state = &view->state;
	unsigned columns = state->crtc[CRTC_WIDTH] + 1;
	unsigned height = (state->crtc[CRTC_MAX_SCAN] & 0x1f) + 1;
	unsigned rows = visible_lines(state) / height, row, column;
	unsigned width = state->sequencer[SEQ_CLOCKING] & SEQ_8_DOTS ? 8 : 9;
	unsigned start = crtc_start(state), pitch = state->crtc[CRTC_OFFSET] * 2;
	int result = picture_create(view->picture, columns * width, rows * height);

	for (row = 0; row < rows && result == 0; row++)
		for (column = 0; column < columns; column++)
			put_character(view, column, row, start + row * pitch + column, width, height);
	return result;
}

/* --- graphics by registers: 16 colours in planes, 256 in bytes (mode 13h), 4 as a CGA's --- */

static int take_graphics(struct view *view)
{
	const struct vga_state *state = &view->state;
	unsigned shift = state->graphics[GC_MODE] >> 5 & 3, x, y;
	unsigned dots = (state->crtc[CRTC_WIDTH] + 1) * 8, width = shift >= 2 ? dots / 2 : dots;
	unsigned repeat = ((state->crtc[CRTC_MAX_SCAN] & 0x1f) + 1) << (state->crtc[CRTC_MAX_SCAN] >> 7);
	unsigned height = visible_lines(state) / repeat;
	uint32_t line, start = crtc_start(state), pitch = state->crtc[CRTC_OFFSET] * 2;
	int result;

	if (!height)
		height = 1;
	result = picture_create(view->picture, width, height);
	for (y = 0; y < height && result == 0; y++) {
		line = start + y * pitch;
		for (x = 0; x < width; x++) {
			uint8_t *pixel = pixel_at(view, x, y);

			if (shift >= 2)
				put_palette(view, pixel, byte_at(view, line * 4ull + x));
			else if (shift == 0)
				put_attribute(view, pixel, planar_pixel(view, line + x / 8, x % 8));
			else /* two bits a pixel, even bytes in plane 0 and odd ones in 1 */
				put_attribute(view, pixel,
					      plane_at(view, line + x / 8, x / 4 & 1) >>
						      (6 - 2 * (x & 3)) & 3);
		}
	}
	return result;
}

int vga_take_picture(struct vga *vga, struct picture *picture)
{
	struct view view = {.memory = vga->memory, .picture = picture};

	pthread_mutex_lock(&vga->lock);
	view.state = vga->state;
	pthread_mutex_unlock(&vga->lock);
	if (vga_is_linear(&view.state))
		return take_linear(&view);
	if (!(view.state.attribute_index & ATTR_SCREEN_ON))
		return picture_create(picture, 640, 480);
	return view.state.graphics[GC_MISC] & GC_GRAPHICS ? take_graphics(&view) : take_text(&view);
}
