/*
 * Coalesced MMIO and port I/O: guest writes that are collected in a ring, for user space to look at when
 * it comes by (api.rst 4.116, KVM_CAP_COALESCED_MMIO, KVM_CAP_COALESCED_PIO).
 *
 * Linux keeps one ring a VM, and every vCPU's mapping shows it. Here a vCPU's mapping is a file of its
 * own, so the ring is in the first vCPU's, where VMMs look for it, and only that vCPU's writes are
 * collected. Those of others leave to user space as without zones, which is always right: a ring may be
 * full at any time.
 *
 * Zones are read by running vCPUs without a lock and changed inside exclusive sections.
 */
#ifndef KVIK_ENGINE_VM_COALESCED_H
#define KVIK_ENGINE_VM_COALESCED_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define COALESCED_PAGE_OFFSET KVM_COALESCED_MMIO_PAGE_OFFSET /* of the ring in a vCPU's mapping */
#define COALESCED_ZONES_MAX   1000 /* as Linux's NR_IOBUS_DEVS */

struct exclusive;

struct coalesced {
	struct kvm_coalesced_mmio_zone *zones; /* owned */
	unsigned count;
};

void coalesced_destroy(struct coalesced *coalesced);

/* KVM_REGISTER_COALESCED_MMIO and KVM_UNREGISTER_COALESCED_MMIO, which removes the zones inside `zone`:
 * 0, -EINVAL, -ENOSPC, -ENOMEM. vm->lock is held. */
int coalesced_register(struct coalesced *coalesced, struct exclusive *exclusive,
		       const struct kvm_coalesced_mmio_zone *zone);
int coalesced_unregister(struct coalesced *coalesced, struct exclusive *exclusive,
			 const struct kvm_coalesced_mmio_zone *zone);

/* A guest's write of 1..8 bytes: true when it is in the ring. On the thread of the vCPU that has it. */
bool coalesced_write(const struct coalesced *coalesced, struct kvm_coalesced_mmio_ring *ring,
		     bool is_pio, uint64_t address, const void *data, unsigned size);

#endif
