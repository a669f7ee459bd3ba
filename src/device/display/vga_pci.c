/* The VGA as a PCI function of its own (QEMU docs/specs/standard-vga.rst): 1234:1111, with its memory behind BAR 0 and
 * its registers behind BAR 2, beside the ports and addresses that every VGA has. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "device/display/vga_parts.h"

#define VENDOR		 0x1234
#define DEVICE_ID	 0x1111
#define CLASS		 0x030000 /* VGA-compatible */
#define PLAIN_CLASS	 0x038000 /* another display */
#define REVISION	 2	  /* with the registers of BAR 2 */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100

#define BAR_MEMORY    0
#define BAR_REGISTERS 2

/* Others see the VGA in it. */
struct vga_card {
	struct pci_function function;
	struct vga vga;
};

static struct vga_card *card_of(struct vga *vga)
{
	return (struct vga_card *)((char *)vga - offsetof(struct vga_card, vga));
}

static void card_reset(void *device)
{
	vga_reset(device);
}

static void card_save(void *device, struct state_stream *state)
{
	pci_function_save(&card_of(device)->function, state);
	vga_save(device, state);
}

static void card_load(void *device, struct state_stream *state)
{
	struct pci_function *function = &card_of(device)->function;
	struct pci_function_state saved;
	struct vga_state loaded = {.misc = 0};
	uint8_t *memory;

	pci_function_transfer(function, &saved, state);
	memory = vga_load(&loaded, state);
	if (state_complete(state)) {
		pci_function_restore(function, &saved);
		vga_restore(device, &loaded, memory);
	}
	pci_function_state_free(&saved);
	free(memory);
}

static void card_destroy(void *device)
{
	struct vga_card *card = card_of(device);

	pci_function_destroy(&card->function);
	vga_finish(&card->vga);
	free(card);
}

const struct device_ops vga_device_ops = {
	.version = 1,
	.reset = card_reset,
	.save = card_save,
	.load = card_load,
	.destroy = card_destroy,
};

struct vga *vga_create(struct pci_bus *bus, unsigned slot_function, bool is_plain,
		       const struct kvm_vm *vm, unsigned slot, struct error *error)
{
	struct vga_card *card = calloc(1, sizeof(*card));
	struct pci_function *function;

	if (!card) {
		error_set_errno(error, ENOMEM, "cannot create the display");
		return NULL;
	}
	if (vga_init(&card->vga, vm, slot, error) < 0) {
		free(card);
		return NULL;
	}
	function = &card->function;
	pci_function_init(function, VENDOR, DEVICE_ID, is_plain ? PLAIN_CLASS : CLASS, REVISION);
	pci_function_set_subsystem(function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	vga_describe_memory(&card->vga, &function->bars[BAR_MEMORY]);
	function->bars[BAR_REGISTERS] = (struct pci_bar){
		.kind = PCI_BAR_MEMORY32,
		.size_bytes = VGA_REGISTER_BYTES,
		.name = "display registers",
		.mmio = &vga_register_ops,
		.device = &card->vga,
	};
	pci_bus_add(bus, slot_function, function);
	/* Its ports are no BAR's; firmware looks whether they are on. */
	if (!is_plain)
		function->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
	return &card->vga;
}
