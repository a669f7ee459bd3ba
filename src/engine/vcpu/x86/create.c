/*
 * The x86 part of creating and ending a vCPU, and what its VM tells it. What the vCPUs of a VM share to
 * execute is made with the first of them.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/vcpu/x86/pv_clock.h"
#include "engine/vcpu/x86/x86_vcpu.h"

#define APIC_BASE_DEFAULT UINT64_C(0xfee00000)
#define APIC_BASE_ENABLE  (UINT64_C(1) << 11)
#define APIC_BASE_BSP     (UINT64_C(1) << 8)

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

static void written(struct vm_execution *execution, uint64_t gpa, uint64_t size)
{
	run_vm_written(&execution_of(execution)->run, gpa, size);
}

static void destroy_execution(struct vm_execution *execution)
{
	run_vm_destroy(&execution_of(execution)->run);
	free(execution);
}

static const enum run_choice choices[] = {
	[ENGINE_TIER_AUTO] = RUN_BEST,
	[ENGINE_TIER_INTERPRETER] = RUN_INTERPRETED,
	[ENGINE_TIER_TRANSLATOR] = RUN_TRANSLATED,
	[ENGINE_TIER_DIRECT] = RUN_DIRECT,
	[ENGINE_TIER_LOCKSTEP] = RUN_LOCKSTEP,
	[ENGINE_TIER_DIRECT_LOCKSTEP] = RUN_DIRECT_COMPARED,
};

/* With the VM's lock held, as all that creates vCPUs. NULL without memory. */
static struct run_vm *get_execution(struct vm *vm)
{
	struct jit_options options = {
		.cache_size = vm->options.code_cache_bytes,
		.warmth = vm->options.warmth,
		.promotion = vm->options.promotion,
		.counts_lookups = vm->options.keeps_statistics,
		.measures_time = vm->options.keeps_statistics,
		.dump_fd = vm->options.code_dump_fd,
		.kept_fd = vm->options.kept_code_fd,
		.kept_requests_fd = vm->options.kept_requests_fd,
	};

	if (!vm->execution) {
		struct execution *execution = calloc(1, sizeof(*execution));

		if (!execution)
			return NULL;
		execution->vm.memory_gone = memory_gone;
		execution->vm.written = written;
		execution->vm.destroy = destroy_execution;
		run_vm_init(&execution->run, &options);
		execution->run.stubs = vm->options.stubs;
		execution->run.tsc_khz = host_tsc_khz();
		if (vm->shared.base)
			execution->run.memory = (struct direct_memory){
				vm->shared.base, vm->shared.size, vm->shared.fd };
		/* Begins at 0, but for user programs that run directly and read the host's. */
		x86_vm_of(vm)->tsc_offset = run_may_be_direct(&execution->run, choices[vm->options.tier])
						    ? 0
						    : -x86_vm_of(vm)->created;
		vm->execution = &execution->vm;
	}
	return &execution_of(vm->execution)->run;
}

static void start_clock(struct x86_vcpu *vcpu)
{
	x86_set_tsc_khz(vcpu, x86_vcpu_vm(vcpu)->default_tsc_khz);
	vcpu->cpu.tsc_offset = x86_vcpu_vm(vcpu)->tsc_offset;
}

static int create(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);
	struct vm *vm = common->vm;
	struct x86_vm *x86_vm = x86_vm_of(vm);
	struct run_vm *execution = get_execution(vm);
	int result;

	if (!execution)
		return -ENOMEM;
	vcpu->tsc_khz = host_tsc_khz();
	vcpu->apic_base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE;
	if (x86_is_bsp(vcpu))
		vcpu->apic_base |= APIC_BASE_BSP;
	result = runner_create(&vcpu->runner, execution, choices[vm->options.tier], common->member.id,
			       common->run, &x86_platform, vcpu);
	if (result < 0)
		return result;
	common->activity = &vcpu->runner.tiers.activity;
	vcpu->cpu.tells_outside_writes = vm->tells_writes;
	vcpu->cpu.outside_interrupts = irqchip_outside_interrupts(x86_vm->irqchip);
	if (irqchip_has_lapics(x86_vm->irqchip)) {
		vcpu->lapic = lapic_create(x86_vm->irqchip, common->member.id, vcpu);
		if (!vcpu->lapic) {
			runner_destroy(&vcpu->runner);
			return -ENOMEM;
		}
	}
	x86_reset(vcpu, false);
	start_clock(vcpu);
	vcpu->cpu.is_alone = vm->owns_memory && atomic_load(&vm->member_count) == 0;
	vcpu->cpu.has_msr_filter = x86_vm->msr_filter;
	return 0;
}

static void destroy(struct vcpu *common)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);

	if (vcpu->lapic)
		lapic_destroy(vcpu->lapic);
	runner_destroy(&vcpu->runner);
}

static void request(struct vcpu *common, enum vcpu_request what)
{
	static const uint32_t requests[] = {
		[VCPU_LOOK_FOR_EVENTS] = CPU_REQUEST_EVENT,
		[VCPU_LEAVE_GUEST] = CPU_REQUEST_EXIT,
		[VCPU_PAUSE] = CPU_REQUEST_PAUSE,
	};

	cpu_request(&x86_vcpu_of(common)->cpu, requests[what]);
}

static struct x86_vcpu *member_vcpu(struct vm_member *member)
{
	return x86_vcpu_of(vcpu_of(member));
}

static void slots_changed(struct vm_member *member)
{
	cpu_request(&member_vcpu(member)->cpu, CPU_REQUEST_TLB_FLUSH);
}

/* Translations that only one CPU may run lack LOCK and alignment. */
static void solitude_ended(struct vm_member *member)
{
	struct x86_vcpu *vcpu = member_vcpu(member);

	vcpu->cpu.is_alone = false;
	run_vm_memory_gone(&execution_of(vcpu->common.vm->execution)->run, 0, UINT64_MAX);
	slots_changed(member);
}

static void msr_filter_changed(struct vm_member *member)
{
	struct x86_vcpu *vcpu = member_vcpu(member);

	vcpu->cpu.has_msr_filter = x86_vcpu_vm(vcpu)->msr_filter;
}

static void clock_changed(struct vm_member *member)
{
	pv_clock_write(member_vcpu(member));
}

static const struct x86_member_operations member_operations = {
	.common = {
		.destroy = vcpu_destroy,
		.slots_changed = slots_changed,
		.solitude_ended = solitude_ended,
	},
	.irqchip = &x86_irqchip_host,
	.msr_filter_changed = msr_filter_changed,
	.clock_changed = clock_changed,
};

const struct vcpu_architecture x86_architecture = {
	.size = sizeof(struct x86_vcpu),
	.member = &member_operations.common,
	.create = create,
	.destroy = destroy,
	.request = request,
	.begin = x86_begin_run,
	.end = x86_end_run,
	.has_answer = x86_has_answer,
	.has_exit = x86_has_exit,
	.take_exit = x86_take_exit,
	.execute = x86_execute,
	.has_event = x86_has_event,
	.take_event = x86_take_event,
	.ioctl = x86_ioctl,
	.touches_memory = x86_touches_memory,
	.activities = x86_activities,
	.activity_count = X86_ACTIVITIES,
	.visit_counters = x86_visit_counters,
};
