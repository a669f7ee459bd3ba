/* A vCPU's kvm-clock page: see pv_clock.h. */
#include "engine/vcpu/x86/pv_clock.h"

#include <errno.h>

#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/vm/vm.h"
#include "util/clock.h"

/* arch/x86/include/asm/pvclock-abi.h */
struct pvclock_vcpu_time_info {
	uint32_t version;
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};

#define PVCLOCK_TSC_STABLE    (1 << 0)
#define PVCLOCK_GUEST_STOPPED (1 << 1)

#define SYSTEM_TIME_ENABLED UINT64_C(1)

/* The shift and multiplier that turn ticks of `khz` into nanoseconds (pvclock-abi.h). */
static void get_scale(uint32_t khz, int8_t *shift, uint32_t *multiplier)
{
	uint64_t hz = khz * UINT64_C(1000), target = NS_PER_SECOND;

	*shift = 0;
	/* Bring the ratio into [0.5, 1), so that the multiplier has all of its 32 bits. */
	while (hz <= target) {
		hz <<= 1;
		(*shift)++;
	}
	while (hz > 2 * target) {
		hz >>= 1;
		(*shift)--;
	}
	*multiplier = ((unsigned __int128)target << 32) / hz;
}

void pv_clock_write(struct x86_vcpu *vcpu)
{
	struct vm *vm = vcpu->common.vm;
	struct pv_clock *clock = &vcpu->clock;
	uint64_t gpa = clock->msr & ~SYSTEM_TIME_ENABLED;
	uint64_t base_tsc;
	uint32_t version;
	struct pvclock_vcpu_time_info page = { .flags = PVCLOCK_TSC_STABLE };

	if (!(clock->msr & SYSTEM_TIME_ENABLED))
		return;
	page.system_time = vm_clock_base(&x86_vcpu_vm(vcpu)->clock, &base_tsc);
	page.tsc_timestamp = x86_scale_tsc(vcpu, base_tsc);
	clock->tsc_offset = vcpu->cpu.tsc_offset;
	page.tsc_timestamp += clock->tsc_offset;
	clock->tsc_khz = vcpu->tsc_khz;
	get_scale(vcpu->tsc_khz, &page.tsc_shift, &page.tsc_to_system_mul);
	if (clock->guest_was_stopped)
		page.flags |= PVCLOCK_GUEST_STOPPED;
	clock->guest_was_stopped = false;

	/*
	 * An odd version tells readers that the rest is not to be trusted yet. It goes on from what is
	 * there: a guest that was saved in the middle of reading goes on in another process, and must see
	 * that the page is not the one that it began with.
	 */
	if (memslots_read(&vm->memslots, gpa, &version, sizeof(version)) < 0)
		return;
	page.version = (version | 1) + 2;
	if (memslots_write(&vm->memslots, gpa, &page.version, sizeof(page.version)) < 0)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	memslots_write(&vm->memslots, gpa + sizeof(page.version),
		       (uint8_t *)&page + sizeof(page.version),
		       sizeof(page) - sizeof(page.version));
	atomic_thread_fence(memory_order_seq_cst);
	page.version++;
	memslots_write(&vm->memslots, gpa, &page.version, sizeof(page.version));
	vm_written(vm, gpa, sizeof(page));
}

int pv_clock_msr_read(struct x86_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	switch (index) {
	case MSR_WALL_CLOCK_OLD:
	case MSR_WALL_CLOCK:
		*value = vm_clock_get_wall(&x86_vcpu_vm(vcpu)->clock);
		return 0;
	case MSR_SYSTEM_TIME_OLD:
	case MSR_SYSTEM_TIME:
		*value = vcpu->clock.msr;
		return 0;
	default:
		return -ENOENT;
	}
}

int pv_clock_msr_write(struct x86_vcpu *vcpu, uint32_t index, uint64_t value)
{
	switch (index) {
	case MSR_WALL_CLOCK_OLD:
	case MSR_WALL_CLOCK:
		vm_clock_set_wall(&x86_vcpu_vm(vcpu)->clock, &vcpu->common.vm->memslots, value);
		vm_written(vcpu->common.vm, value, VM_WALL_CLOCK_BYTES);
		return 0;
	case MSR_SYSTEM_TIME_OLD:
	case MSR_SYSTEM_TIME:
		vcpu->clock.msr = value;
		pv_clock_write(vcpu);
		return 0;
	default:
		return -ENOENT;
	}
}

int pv_clock_set_stopped(struct x86_vcpu *vcpu)
{
	if (!(vcpu->clock.msr & SYSTEM_TIME_ENABLED))
		return -EINVAL;
	vcpu->clock.guest_was_stopped = true;
	pv_clock_write(vcpu);
	return 0;
}

void pv_clock_refresh(struct x86_vcpu *vcpu)
{
	if ((vcpu->clock.msr & SYSTEM_TIME_ENABLED) &&
	    (vcpu->clock.tsc_offset != vcpu->cpu.tsc_offset ||
	     vcpu->clock.tsc_khz != vcpu->tsc_khz))
		pv_clock_write(vcpu);
}
