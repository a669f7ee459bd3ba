/*
 * GSI routing: what a global system interrupt reaches (KVM api.rst 4.52, KVM_SET_GSI_ROUTING): inputs of interrupt
 * controllers, one of each, or one MSI. What controllers there are, and how they take an interrupt, is for who asks.
 *
 * The table is indexed by GSI, and by what leads back: inputs of controllers. Who raises a GSI reads its
 * entry without a lock, and again when `version` tells that the table was about to change (a sequence
 * lock). So an MSI takes no lock at all.
 */
#ifndef KVIK_ENGINE_IRQCHIP_ROUTING_H
#define KVIK_ENGINE_IRQCHIP_ROUTING_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/limits.h"

#define GSI_CONTROLLERS 2  /* that one GSI may reach at once: x86's PIC and I/O APIC */
#define GSI_INPUTS_MAX  24 /* of one of them: the I/O APIC's */

/* Bits: bit n is an input of controller n. */
enum gsi_kind { GSI_TO_MSI = 1 << GSI_CONTROLLERS };

/* Where one GSI leads: to inputs, or to an MSI. */
struct gsi_route {
	_Atomic uint32_t kind; /* bits of enum gsi_kind */
	_Atomic uint8_t inputs[GSI_CONTROLLERS];
	_Atomic uint32_t msi_address_low, msi_address_high, msi_data;
};

struct routing {
	_Atomic uint32_t version; /* odd while routes change */
	struct gsi_route routes[VM_GSI_MAX];
	/* The GSI of a controller's input, or -1; with the lock of who changes routes. */
	int16_t gsi_of[GSI_CONTROLLERS][GSI_INPUTS_MAX];
};

/* An entry of the table that is to be. */
struct route {
	uint32_t gsi;
	uint32_t kind; /* one bit */
	uint8_t input;
	struct kvm_irq_routing_msi msi;
};

/* One of the entries that user space gives, of which GSI and flags are good. 0 or -EINVAL. */
typedef int routing_convert(const void *context, const struct kvm_irq_routing_entry *entry, struct route *route);

/* All of them, into `count` routes. 0; -EINVAL, also when a GSI reaches a controller twice, or an MSI and anything else. */
int routing_read(const struct kvm_irq_routing_entry *entries, unsigned count, routing_convert *convert, const void *context,
		 struct route *routes);
/* No two of the routes are of one kind and GSI. One caller at a time. */
void routing_replace(struct routing *routing, const struct route *routes, unsigned count);

/* A GSI's route as it was at one moment. */
struct route_copy {
	uint32_t kind;
	uint8_t inputs[GSI_CONTROLLERS];
	struct kvm_irq_routing_msi msi;
};

/* Any thread, without a lock. */
static inline struct route_copy routing_find(const struct routing *routing, uint32_t gsi)
{
	const struct gsi_route *route;
	struct route_copy copy = {0};
	uint32_t version;

	if (gsi >= VM_GSI_MAX)
		return copy;
	route = &routing->routes[gsi];
	do {
		while ((version = routing->version) & 1)
			__builtin_ia32_pause();
		copy.kind = route->kind;
		for (unsigned i = 0; i < GSI_CONTROLLERS; i++)
			copy.inputs[i] = route->inputs[i];
		copy.msi.address_lo = route->msi_address_low;
		copy.msi.address_hi = route->msi_address_high;
		copy.msi.data = route->msi_data;
	} while (routing->version != version);
	return copy;
}

/* The GSI of a controller's input, or -1. With the lock of who changes routes. */
static inline int routing_gsi_of(const struct routing *routing, unsigned controller, unsigned input)
{
	return routing->gsi_of[controller][input];
}

#endif
