#include "engine/irqchip/routing.h"

#include <errno.h>
#include <string.h>

void routing_replace(struct routing *routing, const struct route *routes, unsigned count)
{
	unsigned i;

	atomic_fetch_add(&routing->version, 1);
	for (i = 0; i < VM_GSI_MAX; i++)
		routing->routes[i].kind = 0;
	memset(routing->gsi_of, -1, sizeof(routing->gsi_of));
	for (i = 0; i < count; i++) {
		const struct route *from = &routes[i];
		struct gsi_route *to = &routing->routes[from->gsi];
		unsigned controller;
		int16_t *gsi;

		atomic_fetch_or(&to->kind, from->kind);
		if (from->kind == GSI_TO_MSI) {
			to->msi_address_low = from->msi.address_lo;
			to->msi_address_high = from->msi.address_hi;
			to->msi_data = from->msi.data;
			continue;
		}
		controller = __builtin_ctz(from->kind);
		to->inputs[controller] = from->input;
		gsi = &routing->gsi_of[controller][from->input];
		/* Of several the first. */
		if (*gsi < 0 || *gsi > (int)from->gsi)
			*gsi = from->gsi;
	}
	atomic_fetch_add(&routing->version, 1);
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

int routing_read(const struct kvm_irq_routing_entry *entries, unsigned count, routing_convert *convert, const void *context,
		 struct route *routes)
{
	unsigned i;
	int result;

	for (i = 0; i < count; i++) {
		if (entries[i].gsi >= VM_GSI_MAX || entries[i].flags)
			return -EINVAL;
		routes[i] = (struct route){.gsi = entries[i].gsi};
		result = convert(context, &entries[i], &routes[i]);
		if (result)
			return result;
	}
	return has_conflict(routes, count) ? -EINVAL : 0;
}
