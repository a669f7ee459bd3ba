/* The VGA but for where it sits: how ports, windows, memory and registers are accessed, what is saved. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device/display/vga_parts.h"
#include "util/guarded.h"
#include "util/log.h"

/* Registers by memory: ports 0x3c0 to 0x3df, the VBE registers of 16 bits each, and what byte order they have. */
#define REGISTERS_PORTS	 0x400
#define REGISTERS_DISPI	 0x500
#define REGISTERS_ORDER	 0x604
#define LITTLE_ENDIAN_ORDER 0x1e1e1e1e
#define PORTS_FIRST	 0x3c0
#define PORTS_COUNT	 0x20

/* --- ports --- */

static uint32_t port_read(void *device, uint16_t offset, unsigned size)
{
	struct vga *vga = device;
	uint8_t value;

	(void)size;
	pthread_mutex_lock(&vga->lock);
	value = vga_read_port(vga, VGA_FIRST_PORT + offset);
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct vga *vga = device;

	(void)size;
	pthread_mutex_lock(&vga->lock);
	vga_write_port(vga, VGA_FIRST_PORT + offset, value);
	pthread_mutex_unlock(&vga->lock);
}

const struct pio_ops vga_pio_ops = {port_read, port_write, 1};

/* Index and data are words at adjacent ports: the data's second byte is beyond both. */
static uint32_t dispi_read(void *device, uint16_t offset, unsigned size)
{
	struct vga *vga = device;
	uint16_t value = UINT16_MAX;

	(void)size;
	pthread_mutex_lock(&vga->lock);
	if (offset == 0)
		value = vga->state.dispi_index;
	else if (offset == 1)
		value = vga_read_dispi(&vga->state, vga->state.dispi_index);
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void dispi_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct vga *vga = device;

	(void)size;
	pthread_mutex_lock(&vga->lock);
	if (offset == 0)
		vga->state.dispi_index = value;
	else if (offset == 1)
		vga_write_dispi(vga, vga->state.dispi_index, value);
	pthread_mutex_unlock(&vga->lock);
}

const struct pio_ops vga_dispi_pio_ops = {dispi_read, dispi_write, 2};

/* --- memory --- */

static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	struct vga *vga = device;
	uint64_t value = 0;
	unsigned i;

	pthread_mutex_lock(&vga->lock);
	for (i = 0; i < size; i++)
		value |= (uint64_t)vga_read_window(vga, offset + i) << (8 * i);
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga *vga = device;
	unsigned i;

	pthread_mutex_lock(&vga->lock);
	for (i = 0; i < size; i++)
		vga_write_window(vga, offset + i, value >> (8 * i));
	pthread_mutex_unlock(&vga->lock);
}

const struct mmio_ops vga_window_ops = {.read = window_read, .write = window_write};

/* Without a slot, or before it is there. */
static uint64_t memory_read(void *device, uint64_t offset, unsigned size)
{
	struct vga *vga = device;
	uint64_t value = 0;

	memcpy(&value, vga->memory + offset, size);
	return value;
}

static void memory_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga *vga = device;

	memcpy(vga->memory + offset, &value, size);
}

static const struct mmio_ops memory_ops = {.read = memory_read, .write = memory_write};

static void set_slot(struct vga *vga, uint64_t gpa, uint64_t size)
{
	struct kvm_userspace_memory_region slot = {
		.slot = vga->slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)vga->memory,
	};
	int result;

	if (!vga->vm)
		return;
	vga->slot_gpa = gpa;
	result = kvm_vm_ioctl(vga->vm, KVM_SET_USER_MEMORY_REGION, &slot);
	/* Accesses come here then, one by one. A guest may put it where RAM is. */
	if (result < 0 && size)
		log_guest("the display's memory at 0x%llx: %s", (unsigned long long)gpa,
			  strerror(-result));
}

static void memory_activate(struct pci_function *function, unsigned bar, uint64_t address)
{
	set_slot(function->bars[bar].device, address, VGA_MEMORY_BYTES);
}

static void memory_deactivate(struct pci_function *function, unsigned bar, uint64_t address)
{
	set_slot(function->bars[bar].device, address, 0);
}

void vga_describe_memory(struct vga *vga, struct pci_bar *bar)
{
	*bar = (struct pci_bar){
		.kind = PCI_BAR_MEMORY32,
		.is_prefetchable = true,
		.size_bytes = VGA_MEMORY_BYTES,
		.name = "display memory",
		.mmio = &memory_ops,
		.device = vga,
		.activate = memory_activate,
		.deactivate = memory_deactivate,
	};
}

/* --- registers by memory --- */

static uint64_t registers_read(void *device, uint64_t offset, unsigned size)
{
	struct vga *vga = device;
	uint64_t value = UINT64_MAX;
	unsigned i;

	pthread_mutex_lock(&vga->lock);
	if (offset >= REGISTERS_PORTS && offset + size <= REGISTERS_PORTS + PORTS_COUNT) {
		for (i = 0, value = 0; i < size; i++)
			value |= (uint64_t)vga_read_port(vga, offset - REGISTERS_PORTS + PORTS_FIRST + i)
				 << (8 * i);
	} else if (offset >= REGISTERS_DISPI && offset < REGISTERS_DISPI + 2 * DISPI_REGISTERS) {
		value = vga_read_dispi(&vga->state, (offset - REGISTERS_DISPI) / 2);
		value >>= 8 * (offset & 1);
	} else if (offset == REGISTERS_ORDER && size == 4) {
		value = LITTLE_ENDIAN_ORDER;
	}
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void registers_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct vga *vga = device;
	unsigned i;

	pthread_mutex_lock(&vga->lock);
	if (offset >= REGISTERS_PORTS && offset + size <= REGISTERS_PORTS + PORTS_COUNT)
		for (i = 0; i < size; i++)
			vga_write_port(vga, offset - REGISTERS_PORTS + PORTS_FIRST + i,
				       value >> (8 * i));
	else if (offset >= REGISTERS_DISPI && offset < REGISTERS_DISPI + 2 * DISPI_REGISTERS &&
		 size == 2 && !(offset & 1))
		vga_write_dispi(vga, (offset - REGISTERS_DISPI) / 2, value);
	pthread_mutex_unlock(&vga->lock);
}

const struct mmio_ops vga_register_ops = {.read = registers_read, .write = registers_write};

/* --- life --- */

int vga_init(struct vga *vga, const struct kvm_vm *vm, unsigned slot, struct error *error)
{
	vga->memory = guarded_map(VGA_MEMORY_BYTES, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, false);
	if (!vga->memory)
		return error_set_errno(error, ENOMEM, "cannot create the display");
	pthread_mutex_init(&vga->lock, NULL);
	vga->vm = vm;
	vga->slot = slot;
	vga_state_reset(&vga->state);
	return 0;
}

void vga_finish(struct vga *vga)
{
	pthread_mutex_destroy(&vga->lock);
	guarded_unmap(vga->memory, VGA_MEMORY_BYTES);
}

void vga_reset(struct vga *vga)
{
	pthread_mutex_lock(&vga->lock);
	vga_state_reset(&vga->state);
	pthread_mutex_unlock(&vga->lock);
}

static void transfer(struct state_stream *state, struct vga_state *vga)
{
	unsigned i;

	state_u8(state, "misc", &vga->misc);
	state_u8(state, "sequencer_index", &vga->sequencer_index);
	state_bytes(state, "sequencer", vga->sequencer, sizeof(vga->sequencer));
	state_u8(state, "graphics_index", &vga->graphics_index);
	state_bytes(state, "graphics", vga->graphics, sizeof(vga->graphics));
	state_u8(state, "crtc_index", &vga->crtc_index);
	state_bytes(state, "crtc", vga->crtc, sizeof(vga->crtc));
	state_u8(state, "attribute_index", &vga->attribute_index);
	state_bytes(state, "attribute", vga->attribute, sizeof(vga->attribute));
	state_u8(state, "status1", &vga->status1);
	state_bool(state, "attribute_wants_data", &vga->attribute_wants_data);
	state_bytes(state, "palette", vga->palette, sizeof(vga->palette));
	state_u8(state, "palette_mask", &vga->palette_mask);
	state_u8(state, "palette_at", &vga->palette_at);
	state_u8(state, "palette_read_at", &vga->palette_read_at);
	state_u8(state, "palette_part", &vga->palette_part);
	state_check(state, "palette_part", vga->palette_part < 3);
	state_bytes(state, "palette_parts", vga->palette_parts, sizeof(vga->palette_parts));
	state_bool(state, "palette_reads", &vga->palette_reads);
	state_u32(state, "latch", &vga->latch);
	state_u16(state, "dispi_index", &vga->dispi_index);
	for (i = 0; i < DISPI_REGISTERS; i++)
		state_u16(state, "dispi", &vga->dispi[i]);
	/* What the picture's size is made of. */
	state_check(state, "dispi", vga->dispi[DISPI_WIDTH] <= DISPI_MAX_WIDTH &&
					    vga->dispi[DISPI_HEIGHT] <= DISPI_MAX_HEIGHT);
}

/* Memory without the zeroes at its end. */
static void transfer_memory(struct state_stream *state, uint8_t *memory, uint32_t *used)
{
	state_u32(state, "memory_used", used);
	state_check(state, "memory_used", *used <= VGA_MEMORY_BYTES);
	if (!state->has_failed)
		state_bytes(state, "memory", memory, *used);
}

void vga_save(struct vga *vga, struct state_stream *state)
{
	uint32_t used = VGA_MEMORY_BYTES;

	while (used && !vga->memory[used - 1])
		used--;
	pthread_mutex_lock(&vga->lock);
	transfer(state, &vga->state);
	pthread_mutex_unlock(&vga->lock);
	transfer_memory(state, vga->memory, &used);
}

uint8_t *vga_load(struct vga_state *loaded, struct state_stream *state)
{
	uint8_t *memory = calloc(1, VGA_MEMORY_BYTES);
	uint32_t used = 0;

	if (!memory)
		state_fail(state, "%s", strerror(ENOMEM));
	transfer(state, loaded);
	if (memory)
		transfer_memory(state, memory, &used);
	return memory;
}

void vga_restore(struct vga *vga, const struct vga_state *loaded, const uint8_t *memory)
{
	pthread_mutex_lock(&vga->lock);
	vga->state = *loaded;
	memcpy(vga->memory, memory, VGA_MEMORY_BYTES);
	pthread_mutex_unlock(&vga->lock);
}

/* --- as a part of another function --- */

static void part_reset(void *device)
{
	vga_reset(device);
}

static void part_save(void *device, struct state_stream *state)
{
	vga_save(device, state);
}

static void part_load(void *device, struct state_stream *state)
{
	struct vga_state loaded = {.misc = 0};
	uint8_t *memory = vga_load(&loaded, state);

	if (state_complete(state))
		vga_restore(device, &loaded, memory);
	free(memory);
}

static void part_destroy(void *device)
{
	vga_finish(device);
	free(device);
}

const struct device_ops vga_part_device_ops = {
	.version = 1,
	.reset = part_reset,
	.save = part_save,
	.load = part_load,
	.destroy = part_destroy,
};

struct vga *vga_part_create(const struct kvm_vm *vm, unsigned slot, struct error *error)
{
	struct vga *vga = calloc(1, sizeof(*vga));

	if (!vga)
		error_set_errno(error, ENOMEM, "cannot create the display");
	else if (vga_init(vga, vm, slot, error) == 0)
		return vga;
	free(vga);
	return NULL;
}
