/*
 * Creation and end of a vCPU, and what its VM tells it.
 */
#include "engine/vcpu/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/handle.h"
#include "engine/run/runner.h"
#include "engine/vcpu/pv_clock.h"
#include "engine/vcpu/sampler.h"
#include "engine/vcpu/signals.h"
#include "engine/vm/vm.h"
#include "util/zeroes.h"

#define APIC_BASE_DEFAULT UINT64_C(0xfee00000)
#define APIC_BASE_ENABLE  (UINT64_C(1) << 11)
#define APIC_BASE_BSP     (UINT64_C(1) << 8)

/* The vCPU's descriptor keeps the VM alive; the vCPU itself stays with the VM. */
static void release_handle(void *object)
{
	struct vcpu *vcpu = object;

	vm_put(vcpu->vm);
}

/* What x86 vCPUs of a VM share. */
struct execution {
	struct vm_execution vm; /* first: execution_of */
	struct run_vm run;
};

static struct execution *execution_of(struct vm_execution *execution)
{
	return (struct execution *)execution;
}

static void memory_gone(struct vm_execution *execution, uint64_t gpa, uint64_t last)
{
	run_vm_memory_gone(&execution_of(execution)->run, gpa, last);
}

static void destroy_execution(struct vm_execution *execution)
{
	run_vm_destroy(&execution_of(execution)->run);
	free(execution);
}

/* With the VM's lock held, as all that creates vCPUs. NULL without memory. */
static struct run_vm *get_execution(struct vm *vm)
{
	struct jit_options options = {
		.cache_size = vm->options.code_cache_bytes,
		.warmth = vm->options.warmth,
		.promotion = vm->options.promotion,
		.counts_lookups = vm->options.keeps_statistics,
		.dump_fd = vm->options.code_dump_fd,
		.kept_fd = vm->options.kept_code_fd,
		.kept_requests_fd = vm->options.kept_requests_fd,
	};

	if (!vm->execution) {
		struct execution *execution = calloc(1, sizeof(*execution));

		if (!execution)
			return NULL;
		execution->vm.memory_gone = memory_gone;
		execution->vm.destroy = destroy_execution;
		run_vm_init(&execution->run, &options);
		execution->run.stubs = vm->options.stubs;
		execution->run.tsc_khz = host_tsc_khz();
		if (vm->shared.base)
			execution->run.memory = (struct direct_memory){
				vm->shared.base, vm->shared.size, vm->shared.fd };
		vm->execution = &execution->vm;
	}
	return &execution_of(vm->execution)->run;
}

static const enum run_choice choices[] = {
	[ENGINE_TIER_AUTO] = RUN_BEST,
	[ENGINE_TIER_INTERPRETER] = RUN_INTERPRETED,
	[ENGINE_TIER_TRANSLATOR] = RUN_TRANSLATED,
	[ENGINE_TIER_DIRECT] = RUN_DIRECT,
	[ENGINE_TIER_LOCKSTEP] = RUN_LOCKSTEP,
	[ENGINE_TIER_DIRECT_LOCKSTEP] = RUN_DIRECT_COMPARED,
};

static int create_parts(struct vcpu *vcpu)
{
	struct run_vm *execution = get_execution(vcpu->vm);
	int result;

	if (!execution)
		return -ENOMEM;

	vcpu->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vcpu->wake_fd < 0)
		return -errno;
	result = runner_create(&vcpu->runner, execution, choices[vcpu->vm->options.tier],
			       vcpu->member.id, vcpu->run, &vcpu_platform, vcpu);
	if (result < 0)
		goto close_wake;
	vcpu->cpu.outside_interrupts = irqchip_outside_interrupts(vcpu->vm->irqchip);
	result = signals_add(vcpu);
	if (result < 0)
		goto destroy_cpu;
	/* Last: from now on interrupts may come. */
	if (irqchip_has_lapics(vcpu->vm->irqchip)) {
		vcpu->lapic = lapic_create(vcpu->vm->irqchip, vcpu->member.id, vcpu);
		if (!vcpu->lapic) {
			result = -ENOMEM;
			goto remove_signals;
		}
	}
	return 0;

remove_signals:
	signals_remove(vcpu);
destroy_cpu:
	runner_destroy(&vcpu->runner);
close_wake:
	close(vcpu->wake_fd);
	return result;
}

static void destroy(struct vm_member *member)
{
	struct vcpu *vcpu = vcpu_of(member);

	sampler_remove(vcpu);
	signals_remove(vcpu);
	if (vcpu->lapic)
		lapic_destroy(vcpu->lapic);
	runner_destroy(&vcpu->runner);
	statistics_close(&vcpu->statistics);
	close(vcpu->wake_fd);
	munmap(vcpu->run, vcpu->file_size);
	pthread_mutex_destroy(&vcpu->lock);
	zeroes_unmap(vcpu, sizeof(*vcpu));
}

/* A vCPU in the guest obeys through the CPU's requests: platform.c. */
static void pause_member(struct exclusive_member *exclusive)
{
	struct vm_member *member =
		(struct vm_member *)((char *)exclusive - offsetof(struct vm_member, exclusive));

	cpu_request(&vcpu_of(member)->cpu, CPU_REQUEST_PAUSE);
}

static void slots_changed(struct vm_member *member)
{
	cpu_request(&vcpu_of(member)->cpu, CPU_REQUEST_TLB_FLUSH);
}

/* Translations that only one CPU may run lack LOCK and alignment. */
static void solitude_ended(struct vm_member *member)
{
	struct vcpu *vcpu = vcpu_of(member);

	vcpu->cpu.is_alone = false;
	run_vm_memory_gone(&execution_of(vcpu->vm->execution)->run, 0, UINT64_MAX);
	slots_changed(member);
}

static void msr_filter_changed(struct vm_member *member)
{
	struct vcpu *vcpu = vcpu_of(member);

	vcpu->cpu.has_msr_filter = vcpu->vm->msr_filter;
}

static void clock_changed(struct vm_member *member)
{
	vcpu_clock_write(vcpu_of(member));
}

static const struct vm_member_operations member_operations = {
	.destroy = destroy,
	.slots_changed = slots_changed,
	.solitude_ended = solitude_ended,
	.msr_filter_changed = msr_filter_changed,
	.clock_changed = clock_changed,
};

/* With vm->lock held. */
static int create(struct vm *vm, unsigned long id)
{
	unsigned count = atomic_load(&vm->member_count);
	struct vcpu *vcpu;
	int fd, result;

	if (id >= vm->max_vcpu_id || count == VM_VCPUS_MAX)
		return -EINVAL;
	if (vm_find_member(vm, id))
		return -EEXIST;
	vcpu = zeroes_map(sizeof(*vcpu));
	if (!vcpu)
		return -ENOMEM;
	vcpu->vm = vm;
	vcpu->member = (struct vm_member){ .operations = &member_operations, .id = id,
					   .exclusive.pause = pause_member };
	pthread_mutex_init(&vcpu->lock, NULL);
	vcpu->tsc_khz = host_tsc_khz();
	vcpu->apic_base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE;
	if (vcpu_is_bsp(vcpu))
		vcpu->apic_base |= APIC_BASE_BSP;

	vcpu->file_size = VCPU_MMAP_SIZE;
	if (vm->dirty_ring_bytes)
		vcpu->file_size = DIRTY_RING_OFFSET + vm->dirty_ring_bytes;

	vm_get(vm);
	fd = handle_create(HANDLE_VCPU, "kvm-vcpu", vcpu->file_size, vcpu, release_handle);
	if (fd < 0) {
		vm_put(vm);
		result = fd;
		goto free_vcpu;
	}
	vcpu->run = mmap(NULL, vcpu->file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (vcpu->run == MAP_FAILED) {
		result = -errno;
		goto close_handle;
	}
	result = create_parts(vcpu);
	if (result < 0)
		goto unmap_run;

	vcpu_set_tsc_khz(vcpu, vm->default_tsc_khz);
	vcpu_reset(vcpu, false);
	vcpu->cpu.tsc_offset = vm->tsc_offset;
	vcpu->cpu.is_alone = vm->owns_memory && count == 0;
	vcpu->cpu.has_msr_filter = vm->msr_filter;
	if (vm->dirty_ring_bytes) {
		dirty_ring_init(&vcpu->dirty_ring, (char *)vcpu->run + DIRTY_RING_OFFSET,
				vm->dirty_ring_bytes);
		vcpu->member.dirty_ring = &vcpu->dirty_ring;
		if (count == 0)
			vm->memslots.writers_ring = &vcpu->dirty_ring;
	}
	if (count == 0)
		vcpu->coalesced = (void *)((char *)vcpu->run + COALESCED_PAGE_OFFSET * VCPU_PAGE_SIZE);
	vm_add_member(vm, &vcpu->member);
	if (vm->options.keeps_statistics)
		sampler_add(vcpu);
	return fd;

unmap_run:
	munmap(vcpu->run, vcpu->file_size);
close_handle:
	handle_close(fd);
free_vcpu:
	pthread_mutex_destroy(&vcpu->lock);
	zeroes_unmap(vcpu, sizeof(*vcpu));
	return result;
}

int vcpu_create(struct vm *vm, unsigned long id)
{
	int fd;

	pthread_mutex_lock(&vm->lock);
	fd = create(vm, id);
	pthread_mutex_unlock(&vm->lock);
	return fd;
}
