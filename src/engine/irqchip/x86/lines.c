/*
 * The lines of a PC: which inputs of PIC and I/O APIC, or which MSI, a GSI reaches, and who drives it.
 *
 * One GSI may reach one input of each controller (ISA interrupts reach PIC and I/O APIC at once),
 * or one MSI. The default table is Linux's: GSI n is PIC input n and I/O APIC input n below 16, and
 * I/O APIC input n from 16 to 23. With a split irqchip there is none by default and only MSIs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/irqchip/x86/internal.h"

#define PIC_INPUTS 16

_Static_assert(I82093_PINS <= GSI_INPUTS_MAX && PIC_INPUTS <= GSI_INPUTS_MAX, "the table has them");

void lines_set_default(struct irqchip *chip)
{
	struct route routes[PIC_INPUTS + I82093_PINS];
	unsigned count = 0, gsi;

	for (gsi = 0; gsi < I82093_PINS; gsi++) {
		if (gsi < PIC_INPUTS)
			routes[count++] =
				(struct route){.gsi = gsi, .kind = GSI_TO_PIC, .input = gsi};
		routes[count++] = (struct route){.gsi = gsi, .kind = GSI_TO_IOAPIC, .input = gsi};
	}
	routing_replace(&chip->routing, routes, count);
}

static int convert_entry(const void *context, const struct kvm_irq_routing_entry *entry, struct route *route)
{
	const struct irqchip *chip = context;
	uint32_t pin = entry->u.irqchip.pin;

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
	route->input = pin;
	return 0;
}

/* The vectors of level-triggered entries of the user-space I/O APIC, as MSI routes tell. */
static void find_reserved(const struct irqchip *chip, const struct route *routes, unsigned count, uint64_t vectors[4])
{
	unsigned i;

	for (i = 0; i < count; i++) {
		uint8_t vector = routes[i].msi.data & I82093_VECTOR;

		if (routes[i].kind == GSI_TO_MSI && routes[i].gsi < chip->reserved_routes && (routes[i].msi.data & I82093_LEVEL))
			vectors[vector / 64] |= UINT64_C(1) << (vector % 64);
	}
}

/* With the lock held. What a new route sends is reserved before, and what an old one sent as long as it is there. */
static void replace(struct irqchip *chip, const struct route *routes, unsigned count)
{
	uint64_t reserved[4] = {0};
	unsigned i;

	find_reserved(chip, routes, count, reserved);
	for (i = 0; i < 4; i++)
		atomic_fetch_or(&chip->reserved_vectors[i], reserved[i]);
	routing_replace(&chip->routing, routes, count);
	for (i = 0; i < 4; i++)
		chip->reserved_vectors[i] = reserved[i];
}

int irqchip_set_routing(struct irqchip *chip, const struct kvm_irq_routing *routing,
			const struct kvm_irq_routing_entry *entries)
{
	struct route *routes = NULL;
	int result;

	if (!chip_has_lapics(chip) || routing->nr > VM_GSI_MAX || routing->flags)
		return -EINVAL;
	if (routing->nr) {
		routes = calloc(routing->nr, sizeof(*routes));
		if (!routes)
			return -ENOMEM;
	}
	irqchip_lock(chip);
	result = routing_read(entries, routing->nr, convert_entry, chip, routes);
	if (!result)
		replace(chip, routes, routing->nr);
	irqchip_unlock(chip);
	free(routes);
	return result;
}

static int drive_pins(struct irqchip *chip, const struct route_copy *route, unsigned source, bool level)
{
	int result = -1, one;

	if (route->kind & GSI_TO_PIC)
		result = pic_set_line(chip, route->inputs[GSI_PIC], source, level);
	if (route->kind & GSI_TO_IOAPIC) {
		one = ioapic_set_line(chip, route->inputs[GSI_IOAPIC], source, level);
		if (one >= 0)
			result = one + (result < 0 ? 0 : result);
	}
	return result;
}

int lines_set(struct irqchip *chip, unsigned source, uint32_t gsi, bool level)
{
	struct route_copy route = routing_find(&chip->routing, gsi);

	if (route.kind & GSI_TO_MSI)
		return level ? msi_deliver(chip, &route.msi) : -1;
	return drive_pins(chip, &route, source, level);
}

/* Without the lock: an MSI needs none, and for pins this takes it. */
static int drive(struct irqchip *chip, unsigned source, uint32_t gsi, bool level)
{
	struct route_copy route = routing_find(&chip->routing, gsi);
	int result;

	if (route.kind & GSI_TO_MSI)
		return level ? msi_deliver(chip, &route.msi) : -1;
	irqchip_lock(chip);
	result = lines_set(chip, source, gsi, level);
	irqchip_unlock(chip);
	return result;
}

int irqchip_set_line(struct irqchip *chip, unsigned source, uint32_t gsi, int level)
{
	if (!chip_has_lapics(chip))
		return -ENXIO;
	atomic_fetch_add(&chip->outside_interrupts, 1);
	return drive(chip, source, gsi, level);
}

static void pulse(void *context, uint32_t gsi)
{
	struct irqchip *chip = context;

	atomic_fetch_add(&chip->outside_interrupts, 1);
	drive(chip, IRQCHIP_SOURCE_USER, gsi, true);
	drive(chip, IRQCHIP_SOURCE_USER, gsi, false);
}

static void hold(void *context, uint32_t gsi)
{
	struct irqchip *chip = context;

	atomic_fetch_add(&chip->outside_interrupts, 1);
	drive(chip, IRQCHIP_SOURCE_RESAMPLE, gsi, true);
}

static void release(void *context, uint32_t gsi)
{
	lines_set(context, IRQCHIP_SOURCE_RESAMPLE, gsi, false);
}

const struct irqfd_host lines_irqfd_host = {
	.pulse = pulse,
	.hold = hold,
	.release = release,
};

int irqchip_irqfd(struct irqchip *chip, const struct kvm_irqfd *request)
{
	if (!irqfd_is_valid(request))
		return -EINVAL;
	if (request->flags & KVM_IRQFD_FLAG_DEASSIGN)
		return irqfd_deassign(&chip->irqfds, request);
	if (!chip_has_lapics(chip))
		return -EAGAIN;
	if ((request->flags & KVM_IRQFD_FLAG_RESAMPLE) && chip->kind != IRQCHIP_FULL)
		return -EINVAL;
	return irqfd_assign(&chip->irqfds, request);
}
