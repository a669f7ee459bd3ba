/*
 * Where QEMU's virtio-vga has its parts: the VGA's memory behind BAR 0; behind BAR 2, 64 bits, in its first page the VGA's
 * registers as the VGA of 1234:1111 has them there, then virtio's, of which those that every device has take half a page
 * each; MSI-X behind BAR 4. And the ports and addresses of a VGA.
 */
#include "device/virtio/virtio_vga.h"

#include "device/display/vga.h"

#define MEMORY_BAR   0
#define REGISTER_BAR 2
#define TABLE_BAR    4

static void describe(void *other, struct pci_function *function)
{
	vga_describe_memory(other, &function->bars[MEMORY_BAR]);
}

const struct virtio_pci_layout virtio_vga_layout = {
	.table_bar = TABLE_BAR,
	.register_bar = REGISTER_BAR,
	.common_offset = VGA_REGISTER_BYTES,
	.isr_offset = VGA_REGISTER_BYTES + 0x800,
	.other_ops = &vga_register_ops,
	.describe = describe,
	.has_ports = true,
};
