/*
 * GSI routing: which controller inputs, or which MSI, a global system interrupt reaches (KVM
 * api.rst 4.52, KVM_SET_GSI_ROUTING), and back, whom an acknowledged input concerns.
 *
 * One GSI may reach one input of each controller (ISA interrupts reach PIC and I/O APIC at once),
 * or one MSI. The default table is Linux's: GSI n is PIC input n and I/O APIC input n below 16, and
 * I/O APIC input n from 16 to 23. With a split irqchip there is none by default and only MSIs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/irqchip/internal.h"

#define PIC_INPUTS 16

static int compare_gsi(const void *left, const void *right)
{
	const struct route *a = left, *b = right;

	if (a->gsi != b->gsi)
		return a->gsi < b->gsi ? -1 : 1;
	/* Keep the order of controllers stable, whatever the order of the table. */
	return (int)a->controller - (int)b->controller;
}

/* The first route of `gsi`, or where it would be. */
static unsigned first_route(const struct routing *routing, uint32_t gsi)
{
	unsigned low = 0, high = routing->count, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (routing->routes[middle].gsi < gsi)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void replace(struct routing *routing, struct route *routes, unsigned count)
{
	if (count)
		qsort(routes, count, sizeof(*routes), compare_gsi);
	free(routing->routes);
	routing->routes = routes;
	routing->count = count;
}

int routing_set_default(struct irqchip *chip)
{
	struct route *routes = calloc(PIC_INPUTS + I82093_PINS, sizeof(*routes));
	unsigned count = 0, gsi;

	if (!routes)
		return -ENOMEM;
	for (gsi = 0; gsi < I82093_PINS; gsi++) {
		if (gsi < PIC_INPUTS)
			routes[count++] = (struct route){.gsi = gsi,
							 .type = KVM_IRQ_ROUTING_IRQCHIP,
							 .controller = KVM_IRQCHIP_PIC_MASTER,
							 .pin = gsi};
		routes[count++] = (struct route){.gsi = gsi,
						 .type = KVM_IRQ_ROUTING_IRQCHIP,
						 .controller = KVM_IRQCHIP_IOAPIC,
						 .pin = gsi};
	}
	replace(&chip->routing, routes, count);
	return 0;
}

static int convert_entry(const struct irqchip *chip, const struct kvm_irq_routing_entry *entry,
			 struct route *route)
{
	uint32_t pin = entry->u.irqchip.pin;

	memset(route, 0, sizeof(*route));
	if (entry->gsi >= ROUTING_GSI_MAX || entry->flags)
		return -EINVAL;
	route->gsi = entry->gsi;
	route->type = entry->type;
	switch (entry->type) {
	case KVM_IRQ_ROUTING_MSI:
		if (!msi_is_valid(chip, entry->u.msi.address_hi))
			return -EINVAL;
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
		route->controller = KVM_IRQCHIP_PIC_MASTER;
		break;
	case KVM_IRQCHIP_IOAPIC:
		if (pin >= I82093_PINS)
			return -EINVAL;
		route->controller = KVM_IRQCHIP_IOAPIC;
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
	unsigned i;

	for (i = 1; i < count; i++) {
		if (routes[i].gsi != routes[i - 1].gsi)
			continue;
		if (routes[i].type != KVM_IRQ_ROUTING_IRQCHIP ||
		    routes[i - 1].type != KVM_IRQ_ROUTING_IRQCHIP ||
		    routes[i].controller == routes[i - 1].controller)
			return true;
	}
	return false;
}

int irqchip_set_routing(struct irqchip *chip, const struct kvm_irq_routing *routing,
			const struct kvm_irq_routing_entry *entries)
{
	struct route *routes = NULL;
	int result = -EINVAL;
	unsigned i;

	if (!irqchip_has_lapics(chip) || routing->nr > ROUTING_GSI_MAX || routing->flags)
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
	if (routing->nr)
		qsort(routes, routing->nr, sizeof(*routes), compare_gsi);
	result = -EINVAL;
	if (has_conflict(routes, routing->nr))
		goto out_unlock;
	replace(&chip->routing, routes, routing->nr);
	routes = NULL;
	result = 0;
out_unlock:
	irqchip_unlock(chip);
	free(routes);
	return result;
}

int routing_set_line(struct irqchip *chip, unsigned source, uint32_t gsi, bool level)
{
	const struct routing *routing = &chip->routing;
	unsigned i = first_route(routing, gsi);
	int result = -1, one;

	for (; i < routing->count && routing->routes[i].gsi == gsi; i++) {
		const struct route *route = &routing->routes[i];

		if (route->type == KVM_IRQ_ROUTING_MSI)
			one = level ? msi_deliver(chip, &route->msi) : -1;
		else if (route->controller == KVM_IRQCHIP_IOAPIC)
			one = ioapic_set_line(chip, route->pin, source, level);
		else
			one = pic_set_line(chip, route->pin, source, level);
		if (one < 0)
			continue;
		result = one + (result < 0 ? 0 : result);
	}
	return result;
}

int irqchip_set_line(struct irqchip *chip, unsigned source, uint32_t gsi, int level)
{
	int result;

	if (!irqchip_has_lapics(chip))
		return -ENXIO;
	atomic_fetch_add(&chip->outside_interrupts, 1);
	irqchip_lock(chip);
	result = routing_set_line(chip, source, gsi, level);
	irqchip_unlock(chip);
	return result;
}

/* The GSI of a controller's input, or -1. */
static int gsi_of_input(const struct routing *routing, unsigned controller, unsigned pin)
{
	unsigned i;

	for (i = 0; i < routing->count; i++)
		if (routing->routes[i].type == KVM_IRQ_ROUTING_IRQCHIP &&
		    routing->routes[i].controller == controller && routing->routes[i].pin == pin)
			return routing->routes[i].gsi;
	return -1;
}

void routing_notify_acked(struct irqchip *chip, unsigned controller, unsigned pin)
{
	int gsi;

	if (!chip->pit && !chip->irqfds.first)
		return;
	gsi = gsi_of_input(&chip->routing, controller, pin);
	if (gsi == I8254_GSI && chip->pit)
		pit_acked(chip->pit);
	if (gsi >= 0)
		irqfd_notify_acked(chip, gsi);
}

void routing_notify_unmasked(struct irqchip *chip, unsigned controller, unsigned pin)
{
	if (chip->pit && gsi_of_input(&chip->routing, controller, pin) == I8254_GSI)
		pit_unmasked(chip->pit);
}

bool routing_has_reserved_vector(const struct irqchip *chip, uint8_t vector)
{
	const struct routing *routing = &chip->routing;
	unsigned i;

	for (i = 0; i < routing->count && routing->routes[i].gsi < chip->reserved_routes; i++)
		if (routing->routes[i].type == KVM_IRQ_ROUTING_MSI &&
		    (routing->routes[i].msi.data & (I82093_LEVEL | I82093_VECTOR)) ==
			    (I82093_LEVEL | vector))
			return true;
	return false;
}
