/* Read-only memory: what a guest's firmware is in. */
#ifndef KVIK_DEVICE_ROM_H
#define KVIK_DEVICE_ROM_H

#include "device/device.h"
#include "kvm/kvm.h"

#define ROM_ALIGNMENT 4096

struct rom;

/*
 * A ROM with a copy of these bytes at `gpa`, by memory slot `slot` of the VM; size and address are
 * multiples of ROM_ALIGNMENT. Writes are nobody's. `vm` NULL: nothing is mapped.
 */
struct rom *rom_create(const struct kvm_vm *vm, unsigned slot, uint64_t gpa, const uint8_t *bytes,
		       size_t size, struct error *error);
const uint8_t *rom_bytes(const struct rom *rom); /* as long as it lives */

/* device: struct rom. What is in it is saved: a loaded machine keeps its firmware. */
extern const struct device_ops rom_device_ops;

#endif
