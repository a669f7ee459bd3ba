/*
 * Shadow RAM: what a PC's chipset can hide from the CPUs, in segments and for reads and writes apart. Reads
 * then see the firmware's ROM, or nothing. At first all of it is open, as firmware leaves it to those that
 * were started without any. Devices reach the RAM in any case.
 */
#ifndef KVIK_MACHINE_RAM_SHADOW_H
#define KVIK_MACHINE_RAM_SHADOW_H

#include <pthread.h>

#include "device/bus/mmio.h"
#include "device/guest_memory.h"
#include "kvm/kvm.h"

#define RAM_SHADOW_START 0xc0000ull
#define RAM_SHADOW_END	 0x100000ull

/* Its segments, by rising address: twelve of 16 KiB, and the last 64 KiB. */
#define RAM_SHADOW_SEGMENTS 13
#define RAM_SHADOW_READ	    0x1 /* reads see RAM */
#define RAM_SHADOW_WRITE    0x2 /* writes reach RAM */
#define RAM_SHADOW_OPEN	    (RAM_SHADOW_READ | RAM_SHADOW_WRITE)

/* Its memory slots are those from here on, one for each segment at most. */
#define RAM_SHADOW_FIRST_SLOT GUEST_MEMORY_MAX_REGIONS

struct ram_shadow {
	const struct guest_memory *memory;
	uint8_t *ram;	    /* of RAM_SHADOW_START on */
	const uint8_t *rom; /* whose end lies at RAM_SHADOW_END; NULL: none */
	uint64_t rom_bytes;
	pthread_mutex_t lock; /* guards what follows; held while slots are changed */
	uint8_t access[RAM_SHADOW_SEGMENTS];
	/* The slots that are there, by the segment that they begin with; size 0: none does. */
	struct kvm_userspace_memory_region slots[RAM_SHADOW_SEGMENTS];
	bool is_logging, has_changed; /* since the log was read: what it had is not known */
};

/* `memory` has all of it, at `ram`. Nothing is open. */
void ram_shadow_init(struct ram_shadow *shadow, const struct guest_memory *memory, uint8_t *ram);
void ram_shadow_destroy(struct ram_shadow *shadow); /* after the VM is closed */

/*
 * What reads see in its place: the last bytes of a ROM, which stays the caller's and outlives the VM. Before
 * the guest runs; seen from the next routing on.
 */
void ram_shadow_set_rom(struct ram_shadow *shadow, const uint8_t *rom, uint64_t rom_bytes);

/* Open and hide it: RAM_SHADOW_... of each segment. Any thread; 0 or -errno. */
int ram_shadow_route(struct ram_shadow *shadow, const struct kvm_vm *vm,
		     const uint8_t access[RAM_SHADOW_SEGMENTS], struct error *error);

/* Accesses that no slot takes; device: struct ram_shadow. */
extern const struct mmio_ops ram_shadow_mmio_ops;

/* Switch the log of its slots on, with nothing in it, or off. 0 or -errno. */
int ram_shadow_log(struct ram_shadow *shadow, const struct kvm_vm *vm, bool is_logging,
		   struct error *error);
/* Take its pages that were written since the last time: one word. 0 or -errno. */
int ram_shadow_log_read(struct ram_shadow *shadow, const struct kvm_vm *vm, uint64_t *bitmap);

#endif
