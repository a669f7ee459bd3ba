/*
 * Creation and end of a vCPU, and what its VM tells it.
 */
#include "engine/vcpu/vcpu.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/handle.h"
#include "engine/run/jit/jit.h"
#include "engine/vcpu/pv_clock.h"
#include "engine/vcpu/sampler.h"
#include "engine/vcpu/signals.h"
#include "engine/vm/vm.h"
#include "engine/run/interp/code.h"
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

/* With the VM's lock held, as all that creates vCPUs. */
static int attach_translator(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	struct jit_options options = {
		.cache_size = vm->options.code_cache_bytes,
		.warmth = vm->options.warmth,
		.counts_lookups = vm->options.keeps_statistics,
		.dump_fd = vm->options.code_dump_fd,
	};
	int result;

	if (!vm->code_cache) {
		result = jit_cache_create(&options, &vm->code_cache);
		if (result < 0)
			return result;
	}
	return jit_attach(&vcpu->cpu, vm->code_cache);
}

static int create_parts(struct vcpu *vcpu)
{
	enum engine_tier tier = vcpu->vm->options.tier;
	int result;

	vcpu->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vcpu->wake_fd < 0)
		return -errno;
	result = cpu_create(&vcpu->cpu, vcpu->member.id, vcpu->run, &vcpu_platform, vcpu);
	if (result < 0)
		goto close_wake;
	vcpu->cpu.outside_interrupts = irqchip_outside_interrupts(vcpu->vm->irqchip);
	if (tier != ENGINE_TIER_INTERPRETER) {
		result = attach_translator(vcpu);
		if (result == 0 && tier == ENGINE_TIER_LOCKSTEP)
			result = jit_set_lockstep(&vcpu->cpu);
		if (result < 0 && tier != ENGINE_TIER_AUTO)
			goto destroy_cpu;
	}
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
	cpu_destroy(&vcpu->cpu);
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
	cpu_destroy(&vcpu->cpu);
	statistics_close(&vcpu->statistics);
	close(vcpu->wake_fd);
	munmap(vcpu->run, VCPU_MMAP_SIZE);
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

static void slots_changed(struct vm_member *member, bool code_too)
{
	struct cpu *cpu = &vcpu_of(member)->cpu;

	if (code_too)
		code_invalidate_all(cpu);
	cpu_request(cpu, CPU_REQUEST_TLB_FLUSH);
}

/* Translations that only one CPU may run lack LOCK and alignment. */
static void solitude_ended(struct vm_member *member)
{
	vcpu_of(member)->cpu.is_alone = false;
	slots_changed(member, true);
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

	vm_get(vm);
	fd = handle_create(HANDLE_VCPU, "kvm-vcpu", VCPU_MMAP_SIZE, vcpu, release_handle);
	if (fd < 0) {
		vm_put(vm);
		result = fd;
		goto free_vcpu;
	}
	vcpu->run = mmap(NULL, VCPU_MMAP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
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
	if (count == 0)
		vcpu->coalesced = (void *)((char *)vcpu->run + COALESCED_PAGE_OFFSET * VCPU_PAGE_SIZE);
	vm_add_member(vm, &vcpu->member);
	if (vm->options.keeps_statistics)
		sampler_add(vcpu);
	return fd;

unmap_run:
	munmap(vcpu->run, VCPU_MMAP_SIZE);
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
