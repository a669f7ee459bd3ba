/*
 * GSI routing: which controller inputs, or which MSI, a global system interrupt reaches (KVM
 * api.rst 4.52, KVM_SET_GSI_ROUTING).
 *
 * One GSI may reach one input of each controller (ISA interrupts reach PIC and I/O APIC at once),
 * or one MSI. The default table is Linux's: GSI n is PIC input n and I/O APIC input n below 16, and
 * I/O APIC input n from 16 to 23. With a split irqchip there is none by default and only MSIs.
 *
 * The table is indexed by GSI, and by what leads back: inputs of controllers, and vectors of a
 * user-space I/O APIC. Who raises a GSI reads its entry without a lock, and again when `version`
 * tells that the table was about to change (a sequence lock). So an MSI takes no lock at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/irqchip/internal.h"

#define PIC_INPUTS 16

/* An entry of the table that is to be. */
struct route {
	uint32_t gsi;
	enum gsi_kind kind;
	uint8_t pin;
	struct kvm_irq_routing_msi msi;
};

/* No two of the routes are of one kind and GSI. With the lock held. */
static void replace(struct irqchip *chip, const struct route *routes, unsigned count)
{
	struct routing *routing = &chip->routing;
	uint64_t reserved[4] = {0};
	unsigned i;

	atomic_fetch_add(&routing->version, 1);
	for (i = 0; i < VM_GSI_MAX; i++)
		routing->routes[i].kind = 0;
	memset(routing->gsi_of_pic, -1, sizeof(routing->gsi_of_pic));
	memset(routing->gsi_of_ioapic, -1, sizeof(routing->gsi_of_ioapic));
	for (i = 0; i < count; i++) {
		const struct route *from = &routes[i];
		struct gsi_route *to = &routing->routes[from->gsi];
		int16_t *gsi;

		atomic_fetch_or(&to->kind, from->kind);
		if (from->kind == GSI_TO_MSI) {
			uint8_t vector = from->msi.data & I82093_VECTOR;

			to->msi_address_low = from->msi.address_lo;
			to->msi_address_high = from->msi.address_hi;
			to->msi_data = from->msi.data;
			if (from->gsi < chip->reserved_routes && (from->msi.data & I82093_LEVEL))
				reserved[vector / 64] |= UINT64_C(1) << (vector % 64);
			continue;
		}
		*(from->kind == GSI_TO_PIC ? &to->pic_pin : &to->ioapic_pin) = from->pin;
		gsi = from->kind == GSI_TO_PIC ? &routing->gsi_of_pic[from->pin]
					       : &routing->gsi_of_ioapic[from->pin];
		/* Of several the first. */
		if (*gsi < 0 || *gsi > (int)from->gsi)
			*gsi = from->gsi;
	}
	for (i = 0; i < 4; i++)
		routing->reserved_vectors[i] = reserved[i];
	atomic_fetch_add(&routing->version, 1);
}

void routing_set_default(struct irqchip *chip)
{
	struct route routes[PIC_INPUTS + I82093_PINS];
	unsigned count = 0, gsi;

	for (gsi = 0; gsi < I82093_PINS; gsi++) {
		if (gsi < PIC_INPUTS)
			routes[count++] =
				(struct route){.gsi = gsi, .kind = GSI_TO_PIC, .pin = gsi};
		routes[count++] = (struct route){.gsi = gsi, .kind = GSI_TO_IOAPIC, .pin = gsi};
	}
	replace(chip, routes, count);
}

static int convert_entry(const struct irqchip *chip, const struct kvm_irq_routing_entry *entry,
			 struct route *route)
{
	uint32_t pin = entry->u.irqchip.pin;

	memset(route, 0, sizeof(*route));
	if (entry->gsi >= VM_GSI_MAX || entry->flags)
		return -EINVAL;
	route->gsi = entry->gsi;
	switch (entry->type) {
	case KVM_IRQ_ROUTING_MSI:
		if (!msi_is_valid(chip, entry->u.msi.address_hi))
			return -EINVAL;
		route->kind = GSI_TO_MSI;
		route->msi = entry->u.msi;
		return 0;
	case KVM_IRQ_ROUTING_IRQCHIP:
		if (chip->kind != IRQCHIP_FULL)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	switch (entry->u.irqchip.irqchip) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		if (pin >= PIC_INPUTS / 2)
			return -EINVAL;
		if (entry->u.irqchip.irqchip == KVM_IRQCHIP_PIC_SLAVE)
			pin += PIC_INPUTS / 2;
		route->kind = GSI_TO_PIC;
		break;
	case KVM_IRQCHIP_IOAPIC:
		if (pin >= I82093_PINS)
			return -EINVAL;
		route->kind = GSI_TO_IOAPIC;
		break;
	default:
		return -EINVAL;
	}
	route->pin = pin;
	return 0;
}

/* A GSI may not reach the same controller twice, nor an MSI and anything else. */
static bool has_conflict(const struct route *routes, unsigned count)
{
	uint8_t kinds[VM_GSI_MAX] = {0};
	unsigned i;

	for (i = 0; i < count; i++) {
		uint8_t *kind = &kinds[routes[i].gsi];

		if ((*kind & (routes[i].kind | GSI_TO_MSI)) ||
		    (*kind && routes[i].kind == GSI_TO_MSI))
			return true;
		*kind |= routes[i].kind;
	}
	return false;
}

int irqchip_set_routing(struct irqchip *chip, const struct kvm_irq_routing *routing,
			const struct kvm_irq_routing_entry *entries)
{
	struct route *routes = NULL;
	int result = -EINVAL;
	unsigned i;

	if (!chip_has_lapics(chip) || routing->nr > VM_GSI_MAX || routing->flags)
		return -EINVAL;
	if (routing->nr) {
		routes = calloc(routing->nr, sizeof(*routes));
		if (!routes)
			return -ENOMEM;
	}
	irqchip_lock(chip);
	for (i = 0; i < routing->nr; i++) {
		result = convert_entry(chip, &entries[i], &routes[i]);
		if (result)
			goto out_unlock;
	}
	result = -EINVAL;
	if (has_conflict(routes, routing->nr))
		goto out_unlock;
	replace(chip, routes, routing->nr);
	result = 0;
out_unlock:
	irqchip_unlock(chip);
	free(routes);
	return result;
}

/* A GSI's route as it was at one moment. */
struct route_copy {
	uint32_t kind;
	uint8_t pic_pin, ioapic_pin;
	struct kvm_irq_routing_msi msi;
};

static struct route_copy find_route(struct routing *routing, uint32_t gsi)
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
		copy.pic_pin = route->pic_pin;
		copy.ioapic_pin = route->ioapic_pin;
		copy.msi.address_lo = route->msi_address_low;
		copy.msi.address_hi = route->msi_address_high;
		copy.msi.data = route->msi_data;
	} while (routing->version != version);
	return copy;
}

static int drive_pins(struct irqchip *chip, const struct route_copy *route, unsigned source, bool level)
{
	int result = -1, one;

	if (route->kind & GSI_TO_PIC)
		result = pic_set_line(chip, route->pic_pin, source, level);
	if (route->kind & GSI_TO_IOAPIC) {
		one = ioapic_set_line(chip, route->ioapic_pin, source, level);
		if (one >= 0)
			result = one + (result < 0 ? 0 : result);
	}
	return result;
}

int routing_set_line(struct irqchip *chip, unsigned source, uint32_t gsi, bool level)
{
	struct route_copy route = find_route(&chip->routing, gsi);

	if (route.kind & GSI_TO_MSI)
		return level ? msi_deliver(chip, &route.msi) : -1;
	return drive_pins(chip, &route, source, level);
}

int routing_drive(struct irqchip *chip, unsigned source, uint32_t gsi, bool level)
{
	struct route_copy route = find_route(&chip->routing, gsi);
	int result;

	if (route.kind & GSI_TO_MSI)
		return level ? msi_deliver(chip, &route.msi) : -1;
	irqchip_lock(chip);
	result = routing_set_line(chip, source, gsi, level);
	irqchip_unlock(chip);
	return result;
}

int irqchip_set_line(struct irqchip *chip, unsigned source, uint32_t gsi, int level)
{
	if (!chip_has_lapics(chip))
		return -ENXIO;
	atomic_fetch_add(&chip->outside_interrupts, 1);
	return routing_drive(chip, source, gsi, level);
}
