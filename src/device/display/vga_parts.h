/*
 * The VGA from inside, for its own files: vga_memory.c is how the CPU reaches memory by the window,
 * vga_picture.c what the screen shows, vga_registers.c the registers, vga_core.c the accesses and what is saved, vga_pci.c
 * the PCI function that is nothing else.
 */
#ifndef KVIK_DEVICE_DISPLAY_VGA_PARTS_H
#define KVIK_DEVICE_DISPLAY_VGA_PARTS_H

#include <pthread.h>

#include "device/display/vga.h"
#include "kvm/kvm.h"

#define VGA_MEMORY_BYTES (16u << 20)

/* Registers by index; names as in the IBM VGA's technical reference. */
#define SEQ_CLOCKING	 1
#define SEQ_MAP_MASK	 2
#define SEQ_FONT	 3
#define SEQ_MEMORY	 4
#define SEQ_CHAIN_4	 0x08 /* of SEQ_MEMORY */
#define SEQ_8_DOTS	 0x01 /* of SEQ_CLOCKING */
#define GC_SET_RESET	 0
#define GC_ENABLE_SET	 1
#define GC_COMPARE	 2
#define GC_ROTATE	 3
#define GC_READ_PLANE	 4
#define GC_MODE		 5
#define GC_MISC		 6
#define GC_DONT_CARE	 7
#define GC_BIT_MASK	 8
#define GC_GRAPHICS	 0x01 /* of GC_MISC */
#define GC_ODD_EVEN	 0x10 /* of GC_MODE */
#define CRTC_WIDTH	 0x01
#define CRTC_OVERFLOW	 0x07
#define CRTC_MAX_SCAN	 0x09
#define CRTC_CURSOR_START 0x0a
#define CRTC_CURSOR_END	 0x0b
#define CRTC_START	 0x0c /* and 0x0d */
#define CRTC_CURSOR	 0x0e /* and 0x0f */
#define CRTC_HEIGHT	 0x12
#define CRTC_OFFSET	 0x13
#define ATTR_MODE	 0x10
#define ATTR_COLOUR	 0x14
#define ATTR_SCREEN_ON	 0x20 /* of the index */

enum dispi {
	DISPI_ID,
	DISPI_WIDTH,
	DISPI_HEIGHT,
	DISPI_DEPTH,
	DISPI_ENABLE,
	DISPI_BANK,
	DISPI_VIRTUAL_WIDTH,
	DISPI_VIRTUAL_HEIGHT,
	DISPI_X,
	DISPI_Y,
	DISPI_MEMORY,
	DISPI_REGISTERS,
};
#define DISPI_ENABLED	 0x01
#define DISPI_GET_LIMITS 0x02 /* width, height and depth read as the most there is */
#define DISPI_8_BIT_DAC	 0x20
#define DISPI_NO_CLEAR	 0x80
#define DISPI_MAX_WIDTH	 2560
#define DISPI_MAX_HEIGHT 1600
#define DISPI_MAX_DEPTH	 32

/* What is saved as it is. */
struct vga_state {
	uint8_t misc, sequencer_index, sequencer[8], graphics_index, graphics[16];
	uint8_t crtc_index, crtc[32], attribute_index, attribute[32], status1;
	bool attribute_wants_data;
	uint8_t palette[768], palette_mask, palette_at, palette_read_at, palette_part, palette_parts[3];
	bool palette_reads; /* the last index was for reading */
	uint32_t latch;
	uint16_t dispi_index, dispi[DISPI_REGISTERS];
};

struct vga {
	const struct kvm_vm *vm;
	unsigned slot;
	_Atomic uint64_t slot_gpa; /* while the slot is there */
	uint8_t *memory; /* mapped; the guest writes to it without a lock. Planes are bytes of a word */
	pthread_mutex_t lock; /* guards what follows */
	struct vga_state state;
};

/* All but the function. -ENOMEM and `error` leave nothing behind. */
int vga_init(struct vga *vga, const struct kvm_vm *vm, unsigned slot, struct error *error);
void vga_finish(struct vga *vga);
void vga_reset(struct vga *vga);
void vga_save(struct vga *vga, struct state_stream *state);
/* What is loaded: registers, and memory, which the caller frees; NULL: the stream has failed. */
uint8_t *vga_load(struct vga_state *loaded, struct state_stream *state);
void vga_restore(struct vga *vga, const struct vga_state *loaded, const uint8_t *memory);

/* With the lock held. */
void vga_state_reset(struct vga_state *state);
uint8_t vga_read_port(struct vga *vga, uint16_t port);
void vga_write_port(struct vga *vga, uint16_t port, uint8_t value);
uint16_t vga_read_dispi(const struct vga_state *state, unsigned index);
void vga_write_dispi(struct vga *vga, unsigned index, uint16_t value);
uint8_t vga_read_window(struct vga *vga, uint32_t offset);
void vga_write_window(struct vga *vga, uint32_t offset, uint8_t value);

/* The memory was changed by others than the guest's stores into the slot: what it holds may be code. */
static inline void vga_memory_written(const struct vga *vga)
{
	if (vga->vm)
		kvm_vm_written(vga->vm, vga->slot_gpa, VGA_MEMORY_BYTES);
}

static inline bool vga_is_linear(const struct vga_state *state)
{
	return state->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}

#endif
