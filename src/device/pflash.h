/* Flash memory that software can write: where UEFI firmware keeps its variables. */
#ifndef KVIK_DEVICE_PFLASH_H
#define KVIK_DEVICE_PFLASH_H

#include "device/bus/mmio.h"
#include "device/device.h"
#include "kvm/kvm.h"

#define PFLASH_BLOCK_BYTES 4096 /* what an erasure erases */

struct pflash;

struct pflash_config {
	const struct kvm_vm *vm; /* NULL: all reads are accesses, too */
	unsigned slot;		 /* the VM's memory slot that shows it while it is read only */
	uint64_t gpa;		 /* as the size, a multiple of PFLASH_BLOCK_BYTES */
	/* A file that is to have what the flash has, from its first byte on; -1: none. It stays the
	 * caller's, and outlives the flash. */
	int fd;
};

/* A flash with a copy of these bytes. */
struct pflash *pflash_create(const struct pflash_config *config, const uint8_t *bytes, size_t size,
			     struct error *error);

/* device: struct pflash. What is in it is saved, and goes into the file when it is loaded. */
extern const struct device_ops pflash_device_ops;
extern const struct mmio_ops pflash_mmio_ops; /* of all its bytes */

#endif
