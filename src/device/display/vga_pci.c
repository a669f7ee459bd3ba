/* The VGA as a PCI function (QEMU docs/specs/standard-vga.rst): 1234:1111, with its memory behind BAR 0 and
 * its registers behind BAR 2, beside the ports and addresses that every VGA has. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device/display/vga_parts.h"
#include "util/guarded.h"
#include "util/log.h"

#define VENDOR		 0x1234
#define DEVICE_ID	 0x1111
#define CLASS		 0x030000 /* VGA-compatible */
#define PLAIN_CLASS	 0x038000 /* another display */
#define REVISION	 2	  /* with the registers of BAR 2 */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100

#define BAR_MEMORY    0
#define BAR_REGISTERS 2

/* BAR 2: ports 0x3c0 to 0x3df, the VBE registers of 16 bits each, and what byte order they have. */
#define REGISTERS_BYTES	 0x1000
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
	(void)bar;
	set_slot((struct vga *)function, address, VGA_MEMORY_BYTES);
}

static void memory_deactivate(struct pci_function *function, unsigned bar, uint64_t address)
{
	(void)bar;
	set_slot((struct vga *)function, address, 0);
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

static const struct mmio_ops registers_ops = {.read = registers_read, .write = registers_write};

/* --- life --- */

static void vga_reset(void *device)
{
	struct vga *vga = device;

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

static void vga_save(void *device, struct state_stream *state)
{
	struct vga *vga = device;
	uint32_t used = VGA_MEMORY_BYTES;

	pci_function_save(&vga->function, state);
	while (used && !vga->memory[used - 1])
		used--;
	pthread_mutex_lock(&vga->lock);
	transfer(state, &vga->state);
	pthread_mutex_unlock(&vga->lock);
	transfer_memory(state, vga->memory, &used);
}

static void vga_load(void *device, struct state_stream *state)
{
	struct vga *vga = device;
	struct pci_function_state saved;
	struct vga_state loaded = {.misc = 0};
	uint8_t *memory = calloc(1, VGA_MEMORY_BYTES);
	uint32_t used = 0;

	if (!memory)
		state_fail(state, "%s", strerror(ENOMEM));
	pci_function_transfer(&vga->function, &saved, state);
	transfer(state, &loaded);
	if (memory)
		transfer_memory(state, memory, &used);
	if (state_complete(state)) {
		pci_function_restore(&vga->function, &saved);
		pthread_mutex_lock(&vga->lock);
		vga->state = loaded;
		memcpy(vga->memory, memory, VGA_MEMORY_BYTES);
		pthread_mutex_unlock(&vga->lock);
	}
	pci_function_state_free(&saved);
	free(memory);
}

static void vga_destroy(void *device)
{
	struct vga *vga = device;

	pci_function_destroy(&vga->function);
	pthread_mutex_destroy(&vga->lock);
	guarded_unmap(vga->memory, VGA_MEMORY_BYTES);
	free(vga);
}

const struct device_ops vga_device_ops = {
	.version = 1,
	.reset = vga_reset,
	.save = vga_save,
	.load = vga_load,
	.destroy = vga_destroy,
};

struct vga *vga_create(struct pci_bus *bus, unsigned slot_function, bool is_plain,
		       const struct kvm_vm *vm, unsigned slot, struct error *error)
{
	struct vga *vga = calloc(1, sizeof(*vga));

	_Static_assert(offsetof(struct vga, function) == 0, "the function is the device");
	if (vga)
		vga->memory = guarded_map(VGA_MEMORY_BYTES, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, false);
	if (!vga || !vga->memory) {
		error_set_errno(error, ENOMEM, "cannot create the display");
		free(vga);
		return NULL;
	}
	pthread_mutex_init(&vga->lock, NULL);
	vga->vm = vm;
	vga->slot = slot;
	vga_state_reset(&vga->state);
	pci_function_init(&vga->function, VENDOR, DEVICE_ID, is_plain ? PLAIN_CLASS : CLASS,
			  REVISION);
	pci_function_set_subsystem(&vga->function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	vga->function.bars[BAR_MEMORY] = (struct pci_bar){
		.kind = PCI_BAR_MEMORY32,
		.is_prefetchable = true,
		.size_bytes = VGA_MEMORY_BYTES,
		.name = "display memory",
		.mmio = &memory_ops,
		.device = vga,
		.activate = memory_activate,
		.deactivate = memory_deactivate,
	};
	vga->function.bars[BAR_REGISTERS] = (struct pci_bar){
		.kind = PCI_BAR_MEMORY32,
		.size_bytes = REGISTERS_BYTES,
		.name = "display registers",
		.mmio = &registers_ops,
		.device = vga,
	};
	pci_bus_add(bus, slot_function, &vga->function);
	/* Its ports are no BAR's; firmware looks whether they are on. */
	if (!is_plain)
		vga->function.writable[PCI_COMMAND] |= PCI_COMMAND_IO;
	return vga;
}
