/*
 * Creation and end of a VM, and the requests that touch its memory slots.
 */
#include "engine/vm/vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/handle.h"
#include "engine/x86/host/host_tsc.h"

int vm_create(const struct engine_options *options, const struct irqchip_host *irqchip_host,
	      unsigned long type)
{
	struct vm *vm;
	bool runs_directly;
	int fd;

	if (type != 0)
		return -EINVAL;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->irqchip = irqchip_create(irqchip_host);
	if (!vm->irqchip) {
		fd = -ENOMEM;
		goto free_vm;
	}
	vm->references = 1;
	vm->options = *options;
	pthread_mutex_init(&vm->lock, NULL);
	memslots_init(&vm->memslots);
	exclusive_init(&vm->exclusive);
	vm_clock_init(&vm->clock);
	vm->max_vcpu_id = VM_VCPU_ID_MAX;
	vm->default_tsc_khz = host_tsc_khz();
	/* Begins at 0, but for user programs that run directly and read the host's. */
	runs_directly = options->tier == ENGINE_TIER_DIRECT || options->tier == ENGINE_TIER_DIRECT_LOCKSTEP ||
			(options->tier == ENGINE_TIER_AUTO && options->stubs);
	vm->tsc_offset = runs_directly ? 0 : -vm->clock.base_tsc;

	fd = handle_create(HANDLE_VM, "kvm-vm", 0, vm, vm_put);
	if (fd < 0)
		goto destroy_parts;
	return fd;

destroy_parts:
	vm_clock_destroy(&vm->clock);
	exclusive_destroy(&vm->exclusive);
	memslots_destroy(&vm->memslots);
	pthread_mutex_destroy(&vm->lock);
	irqchip_destroy(vm->irqchip);
free_vm:
	free(vm);
	return fd;
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
	/* Nothing runs any more: the controllers' threads, which notify vCPUs, and then the rest. */
	irqchip_stop(vm->irqchip);
	ahead_stop(&vm->ahead);
	for (i = 0; i < vm->member_count; i++)
		vm->members[i]->operations->destroy(vm->members[i]);
	if (vm->execution)
		vm->execution->destroy(vm->execution);
	irqchip_destroy(vm->irqchip);
	statistics_close(&vm->statistics);
	msr_filter_destroy(vm->msr_filter);
	coalesced_destroy(&vm->coalesced);
	ioeventfds_destroy(&vm->ioeventfds);
	vm_clock_destroy(&vm->clock);
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
		vm->members[0]->operations->solitude_ended(vm->members[0]);
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
		vm->members[i]->operations->slots_changed(vm->members[i]);
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

int vm_set_msr_filter(struct vm *vm, const void *user)
{
	struct msr_filter *old = vm->msr_filter, *filter;
	unsigned count = atomic_load(&vm->member_count), i;
	int result = msr_filter_create(user, &filter);

	if (result < 0)
		return result;
	exclusive_begin(&vm->exclusive, NULL);
	vm->msr_filter = filter;
	for (i = 0; i < count; i++)
		vm->members[i]->operations->msr_filter_changed(vm->members[i]);
	exclusive_end(&vm->exclusive, NULL);
	msr_filter_destroy(old);
	return 0;
}
