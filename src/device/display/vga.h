/*
 * A VGA with the Bochs VBE extensions, as QEMU's "std" one: text and graphics that old software sets up by
 * registers, and linear modes for the others. Nobody sees the screen: it is looked at by vga_take_picture.
 */
#ifndef KVIK_DEVICE_DISPLAY_VGA_H
#define KVIK_DEVICE_DISPLAY_VGA_H

#include "device/bus/mmio.h"
#include "device/bus/pci.h"
#include "device/bus/pio.h"
#include "device/device.h"
#include "device/display/picture.h"
#include "kvm/kvm.h"

#define VGA_FIRST_PORT	     0x3b0
#define VGA_PORTS	     0x30
#define VGA_DISPI_FIRST_PORT 0x1ce /* index at 0x1ce, data at 0x1cf, both 16 bits wide */
#define VGA_DISPI_PORTS	     3
#define VGA_WINDOW_GPA	     0xa0000
#define VGA_WINDOW_BYTES     0x20000
#define VGA_REGISTER_BYTES   0x1000

struct vga;

/* On the bus, at PCI_SLOT_FUNCTION(...). Its memory is shown by memory slot `slot` of `vm` where the guest
 * has put it; `vm` NULL: by accesses alone. A plain one is a display that is no VGA, QEMU's bochs-display:
 * the same by PCI alone, and not for ports and windows. */
struct vga *vga_create(struct pci_bus *bus, unsigned slot_function, bool is_plain,
		       const struct kvm_vm *vm, unsigned slot, struct error *error);

/*
 * The same as a part of another PCI function, virtio-vga's: this describes the BAR that shows its memory, and the
 * function has its registers, VGA_REGISTER_BYTES of them, where it likes. It is on no bus, and outlives the function;
 * vga_part_device_ops resets, saves, loads and destroys it.
 */
struct vga *vga_part_create(const struct kvm_vm *vm, unsigned slot, struct error *error);
void vga_describe_memory(struct vga *vga, struct pci_bar *bar);

/* What the screen shows now; the caller frees with picture_free. 0 or -ENOMEM. Any thread. */
int vga_take_picture(struct vga *vga, struct picture *picture);

/* device: struct vga */
extern const struct device_ops vga_device_ops, vga_part_device_ops;
extern const struct pio_ops vga_pio_ops, vga_dispi_pio_ops;
extern const struct mmio_ops vga_window_ops, vga_register_ops;

#endif
