#include "kvm/slots.h"

#include <pthread.h>
#include <stdlib.h>

struct kvm_slots {
	pthread_mutex_t lock; /* guards what follows; nothing is done below it */
	struct kvm_userspace_memory_region *list; /* of size 0: it is gone */
	unsigned count, room;
};

struct kvm_slots *kvm_slots_create(void)
{
	struct kvm_slots *slots = calloc(1, sizeof(*slots));

	if (slots)
		pthread_mutex_init(&slots->lock, NULL);
	return slots;
}

void kvm_slots_destroy(struct kvm_slots *slots)
{
	if (!slots)
		return;
	pthread_mutex_destroy(&slots->lock);
	free(slots->list);
	free(slots);
}

/* Where the slot of that number is noted, or may be. NULL: no memory. */
static struct kvm_userspace_memory_region *place(struct kvm_slots *slots, uint32_t number)
{
	struct kvm_userspace_memory_region *list = slots->list, *free_one = NULL;
	unsigned i, room;

	for (i = 0; i < slots->count; i++) {
		if (list[i].slot == number)
			return &list[i];
		if (!list[i].memory_size)
			free_one = &list[i];
	}
	if (free_one)
		return free_one;
	if (slots->count == slots->room) {
		room = slots->room ? 2 * slots->room : 16;
		list = realloc(list, room * sizeof(*list));
		if (!list)
			return NULL;
		slots->list = list;
		slots->room = room;
	}
	return &slots->list[slots->count++];
}

void kvm_slots_note(struct kvm_slots *slots, const struct kvm_userspace_memory_region *slot)
{
	struct kvm_userspace_memory_region *here;

	pthread_mutex_lock(&slots->lock);
	here = place(slots, slot->slot);
	if (here)
		*here = *slot;
	pthread_mutex_unlock(&slots->lock);
}

const uint8_t *kvm_slots_at(struct kvm_slots *slots, uint64_t gpa, uint64_t *size_bytes)
{
	const uint8_t *found = NULL;
	unsigned i;

	pthread_mutex_lock(&slots->lock);
	for (i = 0; i < slots->count && !found; i++) {
		const struct kvm_userspace_memory_region *one = &slots->list[i];
		uint64_t offset = gpa - one->guest_phys_addr;

		if (gpa < one->guest_phys_addr || offset >= one->memory_size)
			continue;
		found = (const uint8_t *)(uintptr_t)one->userspace_addr + offset;
		if (size_bytes)
			*size_bytes = one->memory_size - offset;
	}
	pthread_mutex_unlock(&slots->lock);
	return found;
}
