/*
 * The VGA's registers (IBM VGA technical reference, "Registers"), and those of the VBE extensions (Bochs
 * VBE_DISPI; QEMU docs/specs/standard-vga.rst).
 *
 * Timing isn't modelled: the retrace bits change at each look, so that whoever waits for either goes on.
 */
#include <string.h>

#include "device/display/vga_parts.h"

#define PORT_ATTRIBUTE	    0x3c0 /* index and data in turns; 0x3c1 reads data */
#define PORT_MISC_WRITE	    0x3c2 /* reads: input status 0 */
#define PORT_SEQUENCER	    0x3c4
#define PORT_PALETTE_MASK   0x3c6
#define PORT_PALETTE_READ   0x3c7 /* reads: which way it goes */
#define PORT_PALETTE_WRITE  0x3c8
#define PORT_PALETTE_DATA   0x3c9
#define PORT_FEATURE	    0x3ca
#define PORT_MISC_READ	    0x3cc
#define PORT_GRAPHICS	    0x3ce
#define PORT_CRTC_MONO	    0x3b4
#define PORT_CRTC_COLOUR    0x3d4
#define PORT_STATUS_COLOUR  0x3da

#define MISC_COLOUR	    0x01 /* which of the CRTC's ports there are */
#define STATUS1_RETRACE	    0x08
#define STATUS1_BLANK	    0x01
#define CRTC_PROTECTED	    0x80 /* of the vertical retrace's end, 0x11: 0 to 7 are read-only */
#define CRTC_LINE_COMPARE   0x10 /* what of the overflow register isn't protected */

#define DISPI_ID_NEWEST 0xb0c5
#define DISPI_ID_OLDEST 0xb0c0

/* What can be written of each. */
static const uint8_t sequencer_bits[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0xff};
static const uint8_t graphics_bits[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

void vga_state_reset(struct vga_state *state)
{
	memset(state, 0, sizeof(*state));
	state->palette_mask = 0xff;
	state->dispi[DISPI_ID] = DISPI_ID_NEWEST;
	state->graphics[GC_BIT_MASK] = 0xff;
}

/* The port as it is with colour: monochrome's are the same registers at other places, one at a time. */
static int port_of(const struct vga_state *state, uint16_t port)
{
	bool is_mono = port < 0x3c0, is_colour = port >= 0x3d0;

	if ((is_mono && (state->misc & MISC_COLOUR)) || (is_colour && !(state->misc & MISC_COLOUR)))
		return -1;
	return is_mono ? port + PORT_CRTC_COLOUR - PORT_CRTC_MONO : port;
}

static uint8_t read_palette(struct vga_state *state)
{
	uint8_t value = state->palette[state->palette_read_at * 3 + state->palette_part];

	if (++state->palette_part == 3) {
		state->palette_part = 0;
		state->palette_read_at++;
	}
	return value;
}

static void write_palette(struct vga_state *state, uint8_t value)
{
	state->palette_parts[state->palette_part++] = value;
	if (state->palette_part < 3)
		return;
	state->palette_part = 0;
	memcpy(state->palette + state->palette_at++ * 3, state->palette_parts, 3);
}

uint8_t vga_read_port(struct vga *vga, uint16_t port)
{
	struct vga_state *state = &vga->state;

	switch (port_of(state, port)) {
	case PORT_ATTRIBUTE: return state->attribute_index;
	case PORT_ATTRIBUTE + 1: return state->attribute[state->attribute_index & 0x1f];
	case PORT_MISC_WRITE: return 0;
	case PORT_SEQUENCER: return state->sequencer_index;
	case PORT_SEQUENCER + 1: return state->sequencer[state->sequencer_index & 7];
	case PORT_PALETTE_MASK: return state->palette_mask;
	case PORT_PALETTE_READ: return state->palette_reads ? 3 : 0;
	case PORT_PALETTE_WRITE: return state->palette_at;
	case PORT_PALETTE_DATA: return read_palette(state);
	case PORT_FEATURE: return 0;
	case PORT_MISC_READ: return state->misc;
	case PORT_GRAPHICS: return state->graphics_index;
	case PORT_GRAPHICS + 1: return state->graphics[state->graphics_index & 0xf];
	case PORT_CRTC_COLOUR: return state->crtc_index;
	case PORT_CRTC_COLOUR + 1: return state->crtc[state->crtc_index & 0x1f];
	case PORT_STATUS_COLOUR:
		state->attribute_wants_data = false;
		state->status1 ^= STATUS1_RETRACE | STATUS1_BLANK;
		return state->status1;
	default: return 0xff;
	}
}

static void write_attribute(struct vga_state *state, uint8_t value)
{
	unsigned index = state->attribute_index & 0x1f;

	if (!state->attribute_wants_data)
		state->attribute_index = value & 0x3f;
	/* The palette is the screen's while that is on. */
	else if (index >= 16 || !(state->attribute_index & ATTR_SCREEN_ON))
		state->attribute[index] = index < 16 ? value & 0x3f : value;
	state->attribute_wants_data = !state->attribute_wants_data;
}

static void write_crtc(struct vga_state *state, uint8_t value)
{
	unsigned index = state->crtc_index & 0x1f;

	if (index < 8 && (state->crtc[0x11] & CRTC_PROTECTED)) {
		if (index == CRTC_OVERFLOW)
			state->crtc[index] = (state->crtc[index] & ~CRTC_LINE_COMPARE) |
					     (value & CRTC_LINE_COMPARE);
		return;
	}
	state->crtc[index] = value;
}

void vga_write_port(struct vga *vga, uint16_t port, uint8_t value)
{
	struct vga_state *state = &vga->state;
	unsigned index;

	switch (port_of(state, port)) {
	case PORT_ATTRIBUTE: write_attribute(state, value); break;
	case PORT_MISC_WRITE: state->misc = value & ~0x10; break;
	case PORT_SEQUENCER: state->sequencer_index = value & 7; break;
	case PORT_SEQUENCER + 1:
		index = state->sequencer_index & 7;
		state->sequencer[index] = value & sequencer_bits[index];
		break;
	case PORT_PALETTE_MASK: state->palette_mask = value; break;
	case PORT_PALETTE_READ:
		state->palette_read_at = value;
		state->palette_part = 0;
		state->palette_reads = true;
		break;
	case PORT_PALETTE_WRITE:
		state->palette_at = value;
		state->palette_part = 0;
		state->palette_reads = false;
		break;
	case PORT_PALETTE_DATA: write_palette(state, value); break;
	case PORT_GRAPHICS: state->graphics_index = value & 0xf; break;
	case PORT_GRAPHICS + 1:
		index = state->graphics_index & 0xf;
		state->graphics[index] = value & graphics_bits[index];
		break;
	case PORT_CRTC_COLOUR: state->crtc_index = value & 0x1f; break;
	case PORT_CRTC_COLOUR + 1: write_crtc(state, value); break;
	default: break;
	}
}

uint16_t vga_read_dispi(const struct vga_state *state, unsigned index)
{
	bool wants_limits = state->dispi[DISPI_ENABLE] & DISPI_GET_LIMITS;

	if (index == DISPI_MEMORY)
		return VGA_MEMORY_BYTES >> 16;
	if (index >= DISPI_REGISTERS)
		return 0;
	if (wants_limits && index == DISPI_WIDTH)
		return DISPI_MAX_WIDTH;
	if (wants_limits && index == DISPI_HEIGHT)
		return DISPI_MAX_HEIGHT;
	if (wants_limits && index == DISPI_DEPTH)
		return DISPI_MAX_DEPTH;
	return state->dispi[index];
}

static unsigned line_bytes(const uint16_t *dispi, unsigned width)
{
	return dispi[DISPI_DEPTH] == 4 ? width / 2 : width * ((dispi[DISPI_DEPTH] + 7u) / 8);
}

/* Keep what is asked for inside of memory: the virtual screen is as high as that has room for. */
static void limit_dispi(uint16_t *dispi)
{
	unsigned line, lines;

	if (!dispi[DISPI_WIDTH])
		dispi[DISPI_WIDTH] = 1;
	if (dispi[DISPI_VIRTUAL_WIDTH] < dispi[DISPI_WIDTH])
		dispi[DISPI_VIRTUAL_WIDTH] = dispi[DISPI_WIDTH];
	line = line_bytes(dispi, dispi[DISPI_VIRTUAL_WIDTH]);
	if (!line)
		line = 1;
	lines = VGA_MEMORY_BYTES / line;
	if (dispi[DISPI_HEIGHT] > lines)
		dispi[DISPI_HEIGHT] = lines;
	dispi[DISPI_VIRTUAL_HEIGHT] = lines > UINT16_MAX ? UINT16_MAX : lines;
	if (dispi[DISPI_X] > dispi[DISPI_VIRTUAL_WIDTH] - dispi[DISPI_WIDTH])
		dispi[DISPI_X] = dispi[DISPI_VIRTUAL_WIDTH] - dispi[DISPI_WIDTH];
	if (dispi[DISPI_Y] > dispi[DISPI_VIRTUAL_HEIGHT] - dispi[DISPI_HEIGHT])
		dispi[DISPI_Y] = dispi[DISPI_VIRTUAL_HEIGHT] - dispi[DISPI_HEIGHT];
}

static void enable_dispi(struct vga *vga, uint16_t value)
{
	uint16_t *dispi = vga->state.dispi;
	bool was_on = dispi[DISPI_ENABLE] & DISPI_ENABLED;

	dispi[DISPI_ENABLE] = value;
	if (!(value & DISPI_ENABLED)) {
		dispi[DISPI_BANK] = 0;
		return;
	}
	if (was_on)
		return;
	dispi[DISPI_VIRTUAL_WIDTH] = dispi[DISPI_WIDTH];
	dispi[DISPI_X] = dispi[DISPI_Y] = 0;
	limit_dispi(dispi);
	if (!(value & DISPI_NO_CLEAR))
		memset(vga->memory, 0,
		       (size_t)line_bytes(dispi, dispi[DISPI_WIDTH]) * dispi[DISPI_HEIGHT]);
	vga_memory_written(vga);
}

void vga_write_dispi(struct vga *vga, unsigned index, uint16_t value)
{
	uint16_t *dispi = vga->state.dispi;
	bool is_on = dispi[DISPI_ENABLE] & DISPI_ENABLED;

	switch (index) {
	case DISPI_ID:
		if (value >= DISPI_ID_OLDEST && value <= DISPI_ID_NEWEST)
			dispi[index] = value;
		break;
	case DISPI_WIDTH:
		if (!is_on && value <= DISPI_MAX_WIDTH)
			dispi[index] = value;
		break;
	case DISPI_HEIGHT:
		if (!is_on && value <= DISPI_MAX_HEIGHT)
			dispi[index] = value;
		break;
	case DISPI_DEPTH:
		if (!is_on && (value == 4 || value == 8 || value == 15 || value == 16 ||
			       value == 24 || value == 32))
			dispi[index] = value;
		break;
	case DISPI_ENABLE: enable_dispi(vga, value); break;
	case DISPI_BANK: dispi[index] = value & (VGA_MEMORY_BYTES / 0x10000 - 1); break;
	case DISPI_VIRTUAL_WIDTH:
	case DISPI_X:
	case DISPI_Y:
		dispi[index] = value;
		limit_dispi(dispi);
		break;
	default: break;
	}
}
