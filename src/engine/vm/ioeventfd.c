/*
 * KVM_IOEVENTFD (api.rst 4.59; Linux virt/kvm/eventfd.c for what the document leaves open).
 *
 * Deassigning recognizes the eventfd even through another descriptor.
 */
#include "engine/vm/ioeventfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/vm/exclusive.h"
#include "util/eventfd.h"

enum ioeventfd_bus { BUS_MMIO, BUS_PIO, BUS_CCW };

struct ioeventfd {
	uint64_t address, datamatch;
	uint32_t length;      /* bytes; 0: any */
	enum ioeventfd_bus bus;
	bool is_wildcard;     /* no datamatch */
	int fd;               /* our own duplicate */
	int user_fd;          /* the number it was given as */
};

static enum ioeventfd_bus bus_of(const struct kvm_ioeventfd *request)
{
	if (request->flags & KVM_IOEVENTFD_FLAG_PIO)
		return BUS_PIO;
	if (request->flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY)
		return BUS_CCW;
	return BUS_MMIO;
}

static bool collides(const struct ioeventfd *a, const struct ioeventfd *b)
{
	if (a->bus != b->bus || a->address != b->address)
		return false;
	if (!a->length || !b->length)
		return true;
	return a->length == b->length &&
	       (a->is_wildcard || b->is_wildcard || a->datamatch == b->datamatch);
}

static int assign(struct ioeventfds *table, struct exclusive *exclusive,
		  const struct kvm_ioeventfd *request)
{
	struct ioeventfd entry = {
		.address = request->addr,
		.length = request->len,
		.bus = bus_of(request),
		.is_wildcard = !(request->flags & KVM_IOEVENTFD_FLAG_DATAMATCH),
		.user_fd = request->fd,
	};
	struct ioeventfd *entries;
	unsigned i;

	switch (request->len) {
	case 0: case 1: case 2: case 4: case 8:
		break;
	default:
		return -EINVAL;
	}
	if (request->addr + request->len < request->addr ||
	    (request->flags & ~KVM_IOEVENTFD_VALID_FLAG_MASK))
		return -EINVAL;
	if (!entry.is_wildcard) {
		if (!request->len)
			return -EINVAL;
		entry.datamatch = request->datamatch;
	}

	entry.fd = fcntl(request->fd, F_DUPFD_CLOEXEC, 0);
	if (entry.fd < 0)
		return -errno;
	if (eventfd_check(entry.fd) < 0) {
		close(entry.fd);
		return -EINVAL;
	}
	for (i = 0; i < table->count; i++)
		if (collides(&table->entries[i], &entry)) {
			close(entry.fd);
			return -EEXIST;
		}

	exclusive_begin(exclusive, NULL);
	entries = reallocarray(table->entries, table->count + 1, sizeof(*entries));
	if (entries) {
		table->entries = entries;
		entries[table->count++] = entry;
	}
	exclusive_end(exclusive, NULL);
	if (!entries)
		close(entry.fd);
	return entries ? 0 : -ENOMEM;
}

static int deassign(struct ioeventfds *table, struct exclusive *exclusive,
		    const struct kvm_ioeventfd *request)
{
	enum ioeventfd_bus bus = bus_of(request);
	bool is_wildcard = !(request->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
	int result = eventfd_check(request->fd);
	unsigned i;

	if (result < 0)
		return result;
	for (i = 0; i < table->count; i++) {
		struct ioeventfd *entry = &table->entries[i];
		int fd = entry->fd;

		if (entry->bus != bus || entry->address != request->addr ||
		    entry->length != request->len || entry->is_wildcard != is_wildcard ||
		    (!is_wildcard && entry->datamatch != request->datamatch) ||
		    !eventfd_is_same(fd, entry->user_fd, request->fd))
			continue;
		exclusive_begin(exclusive, NULL);
		table->count--;
		memmove(entry, entry + 1, (table->count - i) * sizeof(*entry));
		exclusive_end(exclusive, NULL);
		close(fd);
		return 0;
	}
	return -ENOENT;
}

int ioeventfd_request(struct ioeventfds *table, struct exclusive *exclusive,
		      const struct kvm_ioeventfd *request)
{
	if (request->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		return deassign(table, exclusive, request);
	return assign(table, exclusive, request);
}

void ioeventfds_destroy(struct ioeventfds *table)
{
	unsigned i;

	for (i = 0; i < table->count; i++)
		close(table->entries[i].fd);
	free(table->entries);
	table->entries = NULL;
	table->count = 0;
}

bool ioeventfd_write(const struct ioeventfds *table, bool is_pio, uint64_t address,
		     const void *data, unsigned size)
{
	enum ioeventfd_bus bus = is_pio ? BUS_PIO : BUS_MMIO;
	uint64_t value = 0, one = 1;
	unsigned i;

	memcpy(&value, data, size);
	for (i = 0; i < table->count; i++) {
		const struct ioeventfd *entry = &table->entries[i];

		if (entry->bus != bus || entry->address != address)
			continue;
		if (entry->length && (entry->length != size ||
				      (!entry->is_wildcard && entry->datamatch != value)))
			continue;
		/* EAGAIN: the counter is full, and so the event is pending already. */
		if (write(entry->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
			return false;
		return true;
	}
	return false;
}
