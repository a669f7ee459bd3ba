/*
 * Creation and end of a VM, and the requests that touch its memory slots.
 */
#include "engine/vm/vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/handle.h"

int vm_create(const struct vm_architecture *architecture, const struct vm_member_operations *member_operations,
	      const struct engine_options *options, unsigned long type)
{
	struct vm *vm = calloc(1, architecture->size);
	int result;

	if (!vm)
		return -ENOMEM;
	vm->architecture = architecture;
	vm->member_operations = member_operations;
	vm->options = *options;
	vm->references = 1;
	pthread_mutex_init(&vm->lock, NULL);
	memslots_init(&vm->memslots);
	exclusive_init(&vm->exclusive);
	vm->max_vcpu_id = VM_VCPU_ID_MAX;
	result = architecture->create(vm, type);
	if (result < 0)
		goto destroy_parts;
	result = handle_create(HANDLE_VM, "kvm-vm", 0, vm, vm_put);
	if (result >= 0)
		return result;

	architecture->destroy(vm);
destroy_parts:
	exclusive_destroy(&vm->exclusive);
	memslots_destroy(&vm->memslots);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
	return result;
}

void vm_get(struct vm *vm)
{
	atomic_fetch_add(&vm->references, 1);
}

void vm_put(void *object)
{
	struct vm *vm = object;
	unsigned i;

	if (atomic_fetch_sub(&vm->references, 1) != 1)
		return;
	/* Nothing runs any more: the architecture's threads, which notify vCPUs, and then the rest. */
	vm->architecture->stop(vm);
	ahead_stop(&vm->ahead);
	for (i = 0; i < vm->member_count; i++)
		vm->member_operations->destroy(vm->members[i]);
	if (vm->execution)
		vm->execution->destroy(vm->execution);
	vm->architecture->destroy(vm);
	statistics_close(&vm->statistics);
	coalesced_destroy(&vm->coalesced);
	ioeventfds_destroy(&vm->ioeventfds);
	exclusive_destroy(&vm->exclusive);
	memslots_destroy(&vm->memslots);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

struct vm_member *vm_find_member(struct vm *vm, unsigned id)
{
	unsigned count = atomic_load(&vm->member_count), i;

	for (i = 0; i < count; i++)
		if (vm->members[i]->id == id)
			return vm->members[i];
	return NULL;
}

enum vm_count { VM_COUNT_VCPUS, VM_COUNT_SLOTS, VM_COUNTS };

static void store_statistics(struct vm *vm)
{
	statistics_store(&vm->statistics, VM_COUNT_VCPUS, atomic_load(&vm->member_count));
	statistics_store(&vm->statistics, VM_COUNT_SLOTS, vm->memslots.count);
}

int vm_open_statistics(struct vm *vm)
{
	static const struct statistics_row rows[VM_COUNTS] = {
		[VM_COUNT_VCPUS] = { "vcpus", KVM_STATS_TYPE_INSTANT },
		[VM_COUNT_SLOTS] = { "memory_slots", KVM_STATS_TYPE_INSTANT },
	};
	char id[STATISTICS_NAME_SIZE];
	int fd;

	snprintf(id, sizeof(id), "kvm-%d", getpid());
	fd = statistics_open(&vm->statistics, id, rows, VM_COUNTS);
	if (fd >= 0)
		store_statistics(vm);
	return fd;
}

void vm_add_member(struct vm *vm, struct vm_member *member)
{
	unsigned count = atomic_load(&vm->member_count);

	if (count == 1) {
		exclusive_begin(&vm->exclusive, NULL);
		vm->member_operations->solitude_ended(vm->members[0]);
		exclusive_end(&vm->exclusive, NULL);
	}
	vm->members[count] = member;
	atomic_store(&vm->member_count, count + 1);
	exclusive_add(&vm->exclusive, &member->exclusive);
	store_statistics(vm);
}

/* Inside an exclusive section. */
static void tell_slots_changed(struct vm *vm)
{
	unsigned count = atomic_load(&vm->member_count), i;

	for (i = 0; i < count; i++)
		vm->member_operations->slots_changed(vm->members[i]);
}

void vm_own_memory(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->owns_memory = true;
	pthread_mutex_unlock(&vm->lock);
}

void vm_tell_writes(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->tells_writes = true;
	pthread_mutex_unlock(&vm->lock);
}

void vm_written(struct vm *vm, uint64_t gpa, uint64_t size)
{
	struct vm_execution *execution = atomic_load(&vm->execution);

	/* Before there are vCPUs nothing was made of anything. */
	if (vm->tells_writes && execution)
		execution->written(execution, gpa, size);
}

void vm_share_memory(struct vm *vm, void *base, uint64_t size, int fd)
{
	pthread_mutex_lock(&vm->lock);
	vm->shared.base = base;
	vm->shared.size = size;
	vm->shared.fd = fd;
	ahead_start(&vm->ahead, base, size);
	pthread_mutex_unlock(&vm->lock);
}

int vm_set_memory_region(struct vm *vm, const struct kvm_userspace_memory_region *region)
{
	uint64_t gpa, last;
	bool is_gone;
	int result;

	exclusive_begin(&vm->exclusive, NULL);
	is_gone = memslots_gone(&vm->memslots, region, &gpa, &last);
	result = memslots_set(&vm->memslots, region);
	if (result == 0 && is_gone && vm->execution)
		vm->execution->memory_gone(vm->execution, gpa, last);
	if (result == 0)
		tell_slots_changed(vm);
	exclusive_end(&vm->exclusive, NULL);
	store_statistics(vm);
	return result;
}

int vm_get_dirty_log(struct vm *vm, struct kvm_dirty_log *log)
{
	int result;

	exclusive_begin(&vm->exclusive, NULL);
	result = memslots_get_dirty_log(&vm->memslots, log);
	/* Pages are clean again, so the next write must take the slow path that logs it. */
	if (result == 0 && !vm->memslots.manual_log)
		tell_slots_changed(vm);
	exclusive_end(&vm->exclusive, NULL);
	return result;
}

int vm_clear_dirty_log(struct vm *vm, const struct kvm_clear_dirty_log *log)
{
	int result;

	exclusive_begin(&vm->exclusive, NULL);
	result = memslots_clear_dirty_log(&vm->memslots, log);
	if (result == 0)
		tell_slots_changed(vm);
	exclusive_end(&vm->exclusive, NULL);
	return result;
}

/* Writes to the page are logged again. */
static void give_back(void *slots, uint32_t slot, uint64_t page)
{
	memslots_forget_dirty(slots, slot, page);
}

int vm_reset_dirty_rings(struct vm *vm)
{
	unsigned count = atomic_load(&vm->member_count), given_back = 0, i;

	if (!vm->dirty_ring_bytes)
		return -EINVAL;
	exclusive_begin(&vm->exclusive, NULL);
	for (i = 0; i < count; i++)
		given_back += dirty_ring_reset(vm->members[i]->dirty_ring, give_back,
					       &vm->memslots);
	if (given_back)
		tell_slots_changed(vm);
	exclusive_end(&vm->exclusive, NULL);
	return (int)given_back;
}
