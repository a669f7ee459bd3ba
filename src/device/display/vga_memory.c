/* The window at 0xa0000, by which a CPU reaches the planes (IBM VGA technical reference, "Video Memory"). */
#include <string.h>

#include "device/display/vga_parts.h"

#define WINDOW_BANK 0x10000u
#define NOWHERE	    UINT32_MAX

/* A bit for each plane, as a word of whole bytes. */
static uint32_t planes(uint8_t bits)
{
	uint32_t word = 0;
	unsigned i;

	for (i = 0; i < 4; i++)
		if (bits >> i & 1)
			word |= 0xffu << (8 * i);
	return word;
}

static uint32_t replicate(uint8_t value)
{
	return value * 0x01010101u;
}

/* Where in the present map the byte at `offset` of the window is (GC_MISC, memory map select). */
static uint32_t map(const struct vga_state *state, uint32_t offset)
{
	switch (state->graphics[GC_MISC] >> 2 & 3) {
	case 0: return offset;
	case 1: return offset < 0x10000 ? offset : NOWHERE;
	case 2: return offset >= 0x10000 && offset < 0x18000 ? offset - 0x10000 : NOWHERE;
	default: return offset >= 0x18000 ? offset - 0x18000 : NOWHERE;
	}
}

/* Linear modes show 64 KiB of all memory. */
static uint8_t *banked(struct vga *vga, uint32_t offset)
{
	uint64_t at = vga->state.dispi[DISPI_BANK] * (uint64_t)WINDOW_BANK + offset;

	return offset < WINDOW_BANK && at < VGA_MEMORY_BYTES ? vga->memory + at : NULL;
}

/* Even addresses are in planes 0 and 2, odd ones in 1 and 3. */
static unsigned odd_even_plane(const struct vga_state *state, uint32_t at)
{
	return (state->graphics[GC_READ_PLANE] & 2) | (at & 1);
}

uint8_t vga_read_window(struct vga *vga, uint32_t offset)
{
	struct vga_state *state = &vga->state;
	uint32_t at, word;
	uint8_t *byte;

	if (vga_is_linear(state) && (state->sequencer[SEQ_MEMORY] & SEQ_CHAIN_4)) {
		byte = banked(vga, offset);
		return byte ? *byte : 0xff;
	}
	at = map(state, offset);
	if (at == NOWHERE)
		return 0xff;
	if (state->sequencer[SEQ_MEMORY] & SEQ_CHAIN_4)
		return vga->memory[at];
	if (state->graphics[GC_MODE] & GC_ODD_EVEN)
		return vga->memory[(at & ~1u) * 2 + odd_even_plane(state, at)];
	memcpy(&state->latch, vga->memory + at * 4, sizeof(state->latch));
	if (!(state->graphics[GC_MODE] & 0x08))
		return state->latch >> (8 * (state->graphics[GC_READ_PLANE] & 3));
	/* Read mode 1: ones where the planes that count have the colour. */
	word = (state->latch ^ planes(state->graphics[GC_COMPARE])) &
	       planes(state->graphics[GC_DONT_CARE]);
	word |= word >> 16;
	return ~(word | word >> 8);
}

/* What goes to the planes: write modes 0, 2 and 3. */
static uint32_t compose(const struct vga_state *state, uint8_t value)
{
	unsigned mode = state->graphics[GC_MODE] & 3, rotate = state->graphics[GC_ROTATE] & 7;
	uint32_t word, bits = replicate(state->graphics[GC_BIT_MASK]), set;

	if (mode != 2)
		value = value >> rotate | value << (8 - rotate);
	word = replicate(value);
	if (mode == 0) {
		set = planes(state->graphics[GC_ENABLE_SET]);
		word = (word & ~set) | (planes(state->graphics[GC_SET_RESET]) & set);
	} else if (mode == 2) {
		word = planes(value);
	} else {
		bits &= word;
		word = planes(state->graphics[GC_SET_RESET]);
	}
	switch (state->graphics[GC_ROTATE] >> 3 & 3) {
	case 1: word &= state->latch; break;
	case 2: word |= state->latch; break;
	case 3: word ^= state->latch; break;
	default: break;
	}
	return (word & bits) | (state->latch & ~bits);
}

static void write_planes(struct vga *vga, uint32_t offset, uint8_t value)
{
	struct vga_state *state = &vga->state;
	uint32_t at, word, old, mask = planes(state->sequencer[SEQ_MAP_MASK]);
	uint8_t *byte;

	if (vga_is_linear(state) && (state->sequencer[SEQ_MEMORY] & SEQ_CHAIN_4)) {
		byte = banked(vga, offset);
		if (byte)
			*byte = value;
		return;
	}
	at = map(state, offset);
	if (at == NOWHERE)
		return;
	if (state->sequencer[SEQ_MEMORY] & SEQ_CHAIN_4) {
		if (state->sequencer[SEQ_MAP_MASK] >> (at & 3) & 1)
			vga->memory[at] = value;
	} else if (state->graphics[GC_MODE] & GC_ODD_EVEN) {
		if (state->sequencer[SEQ_MAP_MASK] >> odd_even_plane(state, at) & 1)
			vga->memory[(at & ~1u) * 2 + odd_even_plane(state, at)] = value;
	} else {
		word = (state->graphics[GC_MODE] & 3) == 1 ? state->latch : compose(state, value);
		memcpy(&old, vga->memory + at * 4, sizeof(old));
		word = (word & mask) | (old & ~mask);
		memcpy(vga->memory + at * 4, &word, sizeof(word));
	}
}

void vga_write_window(struct vga *vga, uint32_t offset, uint8_t value)
{
	write_planes(vga, offset, value);
	vga_memory_written(vga);
}
