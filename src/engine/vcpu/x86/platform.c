/*
 * What the CPU asks of the machine around it (struct cpu_platform), answered by the VM: memory
 * slots, controllers in the engine, eventfds, clocks. All on the vCPU's own thread.
 */
#include <errno.h>
#include <linux/kvm_para.h>
#include <sched.h>

#include "engine/vcpu/signals.h"
#include "engine/vcpu/x86/platform_memory.h"
#include "engine/vcpu/x86/pv_clock.h"
#include "engine/vcpu/x86/steal_time.h"
#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/vm/vm.h"
#include "engine/x86/host/host_claims.h"
#include "engine/x86/system.h"

/* <linux/kvm_para.h> errors that guests know (Linux include/uapi/linux/kvm_para.h). */
#define HYPERCALL_ERROR(code) ((uint64_t)-(int64_t)(code))

static bool collect_write(const struct x86_vcpu *vcpu, bool is_pio, uint64_t address, const void *data,
			  unsigned size)
{
	return vcpu->common.coalesced &&
	       coalesced_write(&vcpu->common.vm->coalesced, vcpu->common.coalesced, is_pio, address, data, size);
}

static bool mmio(void *context, uint64_t gpa, void *data, unsigned size, bool is_write)
{
	struct x86_vcpu *vcpu = context;
	struct vm *vm = vcpu->common.vm;

	if (vcpu->lapic && lapic_mmio(vcpu->lapic, gpa, data, size, is_write))
		return true;
	if (irqchip_mmio(x86_vcpu_vm(vcpu)->irqchip, gpa, data, size, is_write))
		return true;
	return is_write && (ioeventfd_write(&vm->ioeventfds, false, gpa, data, size) ||
			    collect_write(vcpu, false, gpa, data, size));
}

static bool pio(void *context, uint16_t port, void *data, unsigned size, bool is_write)
{
	struct x86_vcpu *vcpu = context;
	struct vm *vm = vcpu->common.vm;

	if (irqchip_pio(x86_vcpu_vm(vcpu)->irqchip, port, data, size, is_write))
		return true;
	return is_write && (ioeventfd_write(&vm->ioeventfds, true, port, data, size) ||
			    collect_write(vcpu, true, port, data, size));
}

static bool interrupt_pending(void *context)
{
	struct x86_vcpu *vcpu = context;

	return vcpu->lapic && lapic_interrupt_pending(vcpu->lapic);
}

static int interrupt_acknowledge(void *context)
{
	struct x86_vcpu *vcpu = context;

	return vcpu->lapic ? lapic_interrupt_acknowledge(vcpu->lapic) : -1;
}

/* With a full irqchip there is nothing to inject; with a split one LINT0 decides. */
static bool injection_possible(void *context)
{
	struct x86_vcpu *vcpu = context;

	if (!vcpu->lapic)
		return true;
	return !irqchip_is_full(x86_vcpu_vm(vcpu)->irqchip) && lapic_accepts_extint(vcpu->lapic);
}

static bool process_events(void *context)
{
	steal_time_update(context);
	return x86_process_events(context);
}

static uint8_t read_cr8(void *context)
{
	return x86_get_cr8(context);
}

static void write_cr8(void *context, uint8_t value)
{
	struct x86_vcpu *vcpu = context;

	if (vcpu->lapic)
		lapic_set_cr8(vcpu->lapic, value);
	else
		vcpu->cr8 = value;
}

static const struct host_claims *claims(void *context)
{
	const struct x86_vcpu *vcpu = context;

	return host_claims(vcpu->common.vm->options.avoids_host_kvm);
}

static int msr_read(void *context, uint32_t index, uint64_t *value)
{
	struct x86_vcpu *vcpu = context;
	int result = -ENOENT;

	if (index == MSR_STEAL_TIME)
		*value = vcpu->steal.msr, result = 0;
	else if (vcpu->lapic)
		result = lapic_msr_read(vcpu->lapic, index, value);
	else if (index == MSR_APIC_BASE)
		*value = vcpu->apic_base, result = 0;
	return result == -ENOENT ? pv_clock_msr_read(vcpu, index, value) : result;
}

static int msr_write(void *context, uint32_t index, uint64_t value)
{
	struct x86_vcpu *vcpu = context;
	int result = -ENOENT;

	if (index == MSR_APIC_BASE && !x86_apic_base_is_valid(vcpu, value))
		return -EINVAL;
	if (index == MSR_STEAL_TIME)
		return steal_time_set_msr(vcpu, value);
	if (vcpu->lapic)
		result = lapic_msr_write(vcpu->lapic, index, value);
	else if (index == MSR_APIC_BASE)
		vcpu->apic_base = value, result = 0;
	return result == -ENOENT ? pv_clock_msr_write(vcpu, index, value) : result;
}

static bool msr_allowed(void *context, uint32_t index, bool is_write)
{
	const struct x86_vcpu *vcpu = context;

	return msr_filter_allows(x86_vcpu_vm(vcpu)->msr_filter, index, is_write);
}

static bool msr_exits(void *context, uint32_t reason)
{
	const struct x86_vcpu *vcpu = context;

	return atomic_load(&x86_vcpu_vm(vcpu)->msr_exits) & reason;
}

static uint64_t read_tsc(void *context)
{
	return x86_scale_tsc(context, host_tsc());
}

static void begin_section(struct x86_vcpu *vcpu,
			  void (*begin)(struct exclusive *exclusive, struct exclusive_member *self))
{
	uint64_t began = host_tsc();

	begin(&vcpu->common.vm->exclusive, &vcpu->common.member.exclusive);
	vcpu->common.sections++;
	vcpu->sections_ticks += host_tsc() - began;
}

static void platform_exclusive_begin(void *context)
{
	begin_section(context, exclusive_begin);
}

static void platform_exclusive_begin_beside(void *context)
{
	struct x86_vcpu *vcpu = context;

	begin_section(vcpu, exclusive_begin_beside);
	vcpu->common.sections_beside++;
}

static void platform_exclusive_widen(void *context)
{
	struct x86_vcpu *vcpu = context;
	uint64_t began = host_tsc();

	exclusive_widen(&vcpu->common.vm->exclusive);
	vcpu->common.sections_widened++;
	vcpu->sections_ticks += host_tsc() - began;
}

static void platform_go_apart(void *context)
{
	struct x86_vcpu *vcpu = context;

	exclusive_go_apart(&vcpu->common.member.exclusive);
}

static void platform_come_back(void *context)
{
	struct x86_vcpu *vcpu = context;

	exclusive_come_back(&vcpu->common.vm->exclusive, &vcpu->common.member.exclusive);
}

/*
 * A guest that is mostly in sections, or waits for others' or for the host's processor, looks as if it
 * did not run: the watcher may sleep by now.
 */
static void platform_exclusive_end(void *context)
{
	struct x86_vcpu *vcpu = context;

	exclusive_end(&vcpu->common.vm->exclusive, &vcpu->common.member.exclusive);
	signals_watch(&vcpu->common);
}

static void platform_pause(void *context)
{
	struct x86_vcpu *vcpu = context;

	vcpu->common.stops++;
	vcpu_leave_guest(&vcpu->common);
	vcpu_enter_guest(&vcpu->common);
	signals_watch(&vcpu->common);
}

/*
 * One that gives the processor away with each turn is in the guest for microseconds of many
 * milliseconds: the watcher would find it there by luck alone, so it looks for signals itself.
 */
static void platform_yield(void *context)
{
	struct x86_vcpu *vcpu = context;

	steal_time_leave(vcpu, true);
	vcpu_leave_guest(&vcpu->common);
	sched_yield();
	vcpu_enter_guest(&vcpu->common);
	steal_time_enter(vcpu);
	if (!vcpu->common.ignores_signals)
		cpu_request(&vcpu->cpu, CPU_REQUEST_EXIT);
}

/* KVM_HC_KICK_CPU: end another vCPU's HLT although nothing interrupts it. */
static uint64_t kick_cpu(struct x86_vcpu *vcpu, uint64_t apic_id)
{
	struct vm_member *member =
		apic_id < VM_VCPU_ID_MAX ? vm_find_member(vcpu->common.vm, apic_id) : NULL;
	struct x86_vcpu *target = member ? x86_vcpu_of(vcpu_of(member)) : NULL;

	if (target) {
		atomic_store(&target->pv_unhalted, true);
		vcpu_notify(&target->common);
	}
	return 0;
}

/*
 * KVM_HC_SCHED_YIELD: a vCPU that waits for another. Linux has no call to yield to one thread; on a host
 * with spare processors the other one runs already.
 */
static uint64_t yield_to(struct x86_vcpu *vcpu)
{
	cpu_request(&vcpu->cpu, CPU_REQUEST_YIELD);
	return 0;
}

/* KVM_HC_SEND_IPI: to the APIC ids `lowest` and on whose bits are set. How many took it. */
static uint64_t send_ipi(struct x86_vcpu *vcpu, const uint64_t arguments[4])
{
	bool is_64 = cpu_is_64(&vcpu->cpu);
	uint64_t mask = is_64 ? UINT64_MAX : UINT32_MAX;
	struct irqchip_ipi ipi = {
		.ids = { arguments[0] & mask, arguments[1] & mask },
		.ids_in_word = is_64 ? 64 : 32,
		.lowest = arguments[2] & mask,
		.icr = arguments[3],
	};
	int result;

	if (!vcpu->lapic)
		return 0;
	result = irqchip_send_ipi(x86_vcpu_vm(vcpu)->irqchip, &ipi);
	return result < 0 ? HYPERCALL_ERROR(KVM_EINVAL) : (uint64_t)result;
}

/* Linux Documentation/virt/kvm/x86/hypercalls.rst. */
static uint64_t hypercall(void *context, uint64_t number, const uint64_t arguments[4])
{
	struct x86_vcpu *vcpu = context;

	if (vcpu->cpu.cpl != 0)
		return HYPERCALL_ERROR(KVM_EPERM);
	switch (number) {
	case KVM_HC_VAPIC_POLL_IRQ:
		return 0;
	case KVM_HC_KICK_CPU:
		return kick_cpu(vcpu, arguments[1]);
	case KVM_HC_SEND_IPI:
		return send_ipi(vcpu, arguments);
	case KVM_HC_SCHED_YIELD:
		return yield_to(vcpu);
	default:
		return HYPERCALL_ERROR(KVM_ENOSYS);
	}
}

const struct cpu_platform x86_platform = {
	.lookups = &platform_lookups,
	.mmio = mmio,
	.pio = pio,
	.interrupt_pending = interrupt_pending,
	.interrupt_acknowledge = interrupt_acknowledge,
	.injection_possible = injection_possible,
	.process_events = process_events,
	.read_cr8 = read_cr8,
	.write_cr8 = write_cr8,
	.host_claims = claims,
	.msr_read = msr_read,
	.msr_write = msr_write,
	.msr_allowed = msr_allowed,
	.msr_exits = msr_exits,
	.read_tsc = read_tsc,
	.exclusive_begin = platform_exclusive_begin,
	.exclusive_end = platform_exclusive_end,
	.exclusive_begin_beside = platform_exclusive_begin_beside,
	.exclusive_widen = platform_exclusive_widen,
	.go_apart = platform_go_apart,
	.come_back = platform_come_back,
	.pause = platform_pause,
	.yield = platform_yield,
	.hypercall = hypercall,
};
