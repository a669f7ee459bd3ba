/* Zones and their ring: coalesced.h; Linux virt/kvm/coalesced_mmio.c for what api.rst leaves open. */
#include "engine/vm/coalesced.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vm/exclusive.h"
#include "util/page.h" /* KVM_COALESCED_MMIO_MAX goes by it */

static bool contains(const struct kvm_coalesced_mmio_zone *zone, uint64_t address, uint64_t size)
{
	return address >= zone->addr && address + size >= address &&
	       address + size <= zone->addr + zone->size;
}

int coalesced_register(struct coalesced *coalesced, struct exclusive *exclusive,
		       const struct kvm_coalesced_mmio_zone *zone)
{
	struct kvm_coalesced_mmio_zone *zones;

	if (zone->pio > 1)
		return -EINVAL;
	if (coalesced->count == COALESCED_ZONES_MAX)
		return -ENOSPC;
	exclusive_begin(exclusive, NULL);
	zones = reallocarray(coalesced->zones, coalesced->count + 1, sizeof(*zones));
	if (zones) {
		coalesced->zones = zones;
		zones[coalesced->count++] = *zone;
	}
	exclusive_end(exclusive, NULL);
	return zones ? 0 : -ENOMEM;
}

int coalesced_unregister(struct coalesced *coalesced, struct exclusive *exclusive,
			 const struct kvm_coalesced_mmio_zone *zone)
{
	unsigned kept = 0;

	if (zone->pio > 1)
		return -EINVAL;
	exclusive_begin(exclusive, NULL);
	for (unsigned i = 0; i < coalesced->count; i++) {
		const struct kvm_coalesced_mmio_zone *old = &coalesced->zones[i];

		/* Linux asks whether what is taken away lies in the zone, not the other way round. */
		if (old->pio != zone->pio || !contains(old, zone->addr, zone->size))
			coalesced->zones[kept++] = *old;
	}
	coalesced->count = kept;
	exclusive_end(exclusive, NULL);
	return 0;
}

void coalesced_destroy(struct coalesced *coalesced)
{
	free(coalesced->zones);
	coalesced->zones = NULL;
	coalesced->count = 0;
}

bool coalesced_write(const struct coalesced *coalesced, struct kvm_coalesced_mmio_ring *ring,
		     bool is_pio, uint64_t address, const void *data, unsigned size)
{
	const unsigned slots = KVM_COALESCED_MMIO_MAX;
	struct kvm_coalesced_mmio *entry;
	uint32_t last, next;
	unsigned i;

	for (i = 0; i < coalesced->count; i++)
		if (coalesced->zones[i].pio == is_pio &&
		    contains(&coalesced->zones[i], address, size))
			break;
	if (i == coalesced->count)
		return false;
	/* User space can write both: `first` it moves on as it reads, `last` is ours. */
	last = __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
	next = (last + 1) % slots;
	if (last >= slots || next == __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE))
		return false;
	entry = &ring->coalesced_mmio[last];
	entry->phys_addr = address;
	entry->len = size;
	entry->pio = is_pio;
	memcpy(entry->data, data, size);
	__atomic_store_n(&ring->last, next, __ATOMIC_RELEASE);
	return true;
}
