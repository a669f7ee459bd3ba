#include "device/gsi_routes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct routed_message {
	bool is_claimed, is_set;
	struct kvm_irq_routing_msi msi;
};

struct gsi_routes {
	const struct kvm_vm *vm;
	unsigned messages_max;
	pthread_mutex_t lock; /* guards what follows */
	struct kvm_irq_routing_entry chips[GSI_ROUTES_CHIPS];
	unsigned chip_count;
	struct routed_message *messages; /* of GSI_ROUTES_MESSAGES and up */
	unsigned message_count;
};

/* Give KVM the table as it is here. With the lock held. */
static int commit(const struct gsi_routes *routes)
{
	size_t most = routes->chip_count + routes->message_count;
	struct kvm_irq_routing *table = calloc(1, sizeof(*table) + most * sizeof(table->entries[0]));
	struct kvm_irq_routing_entry *entry;
	unsigned i;
	int result;

	if (!table)
		return -ENOMEM;
	memcpy(table->entries, routes->chips, routes->chip_count * sizeof(table->entries[0]));
	table->nr = routes->chip_count;
	for (i = 0; i < routes->message_count; i++) {
		if (!routes->messages[i].is_set)
			continue;
		entry = &table->entries[table->nr++];
		entry->gsi = GSI_ROUTES_MESSAGES + i;
		entry->type = KVM_IRQ_ROUTING_MSI;
		entry->u.msi = routes->messages[i].msi;
	}
	result = kvm_vm_ioctl(routes->vm, KVM_SET_GSI_ROUTING, table);
	free(table);
	return result;
}

int gsi_routes_set_chips(struct gsi_routes *routes, const struct kvm_irq_routing_entry *entries,
			 unsigned count)
{
	struct kvm_irq_routing_entry old[GSI_ROUTES_CHIPS];
	unsigned old_count;
	int result = 0;

	pthread_mutex_lock(&routes->lock);
	old_count = routes->chip_count;
	if (count == old_count && !memcmp(routes->chips, entries, count * sizeof(*entries)))
		goto out;
	memcpy(old, routes->chips, sizeof(old));
	memcpy(routes->chips, entries, count * sizeof(*entries));
	routes->chip_count = count;
	result = commit(routes);
	if (result < 0) {
		memcpy(routes->chips, old, sizeof(old));
		routes->chip_count = old_count;
	}
out:
	pthread_mutex_unlock(&routes->lock);
	return result;
}

/* Room for one more message. With the lock held. */
static int grow(struct gsi_routes *routes)
{
	struct routed_message *larger;

	if (routes->message_count >= routes->messages_max)
		return -ENOSPC;
	larger = realloc(routes->messages, (routes->message_count + 1) * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	routes->messages = larger;
	routes->message_count++;
	return 0;
}

int gsi_routes_claim(struct gsi_routes *routes)
{
	unsigned i;
	int result = 0;

	pthread_mutex_lock(&routes->lock);
	for (i = 0; i < routes->message_count && routes->messages[i].is_claimed; i++)
		;
	if (i == routes->message_count)
		result = grow(routes);
	if (result == 0) {
		routes->messages[i] = (struct routed_message){.is_claimed = true};
		result = GSI_ROUTES_MESSAGES + i;
	}
	pthread_mutex_unlock(&routes->lock);
	return result;
}

void gsi_routes_release(struct gsi_routes *routes, unsigned gsi)
{
	pthread_mutex_lock(&routes->lock);
	/* KVM's table may keep the entry until the next change: nobody raises this GSI. */
	routes->messages[gsi - GSI_ROUTES_MESSAGES] = (struct routed_message){.is_claimed = false};
	pthread_mutex_unlock(&routes->lock);
}

int gsi_routes_set_message(struct gsi_routes *routes, unsigned gsi, uint64_t address, uint32_t data)
{
	struct routed_message *message;
	int result;

	pthread_mutex_lock(&routes->lock);
	message = &routes->messages[gsi - GSI_ROUTES_MESSAGES];
	message->is_set = true;
	message->msi = (struct kvm_irq_routing_msi){
		.address_lo = address, .address_hi = address >> 32, .data = data};
	result = commit(routes);
	if (result < 0) {
		/* One bad message must not keep the others' from being set. */
		message->is_set = false;
		commit(routes);
	}
	pthread_mutex_unlock(&routes->lock);
	return result;
}

struct gsi_routes *gsi_routes_create(const struct kvm_vm *vm, struct error *error)
{
	struct gsi_routes *routes = calloc(1, sizeof(*routes));
	int most = kvm_check_extension(vm->system, KVM_CAP_IRQ_ROUTING);

	if (!routes) {
		error_set_errno(error, ENOMEM, "cannot route interrupts");
		return NULL;
	}
	routes->vm = vm;
	/* Entries are counted as GSIs are: the controllers need more than one for some. */
	if (most > GSI_ROUTES_CHIPS)
		routes->messages_max = most - GSI_ROUTES_CHIPS;
	pthread_mutex_init(&routes->lock, NULL);
	return routes;
}

void gsi_routes_destroy(struct gsi_routes *routes)
{
	if (!routes)
		return;
	pthread_mutex_destroy(&routes->lock);
	free(routes->messages);
	free(routes);
}
