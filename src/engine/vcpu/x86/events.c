/*
 * What befalls an x86 vCPU: reset, events from other CPUs, and what its interrupt controllers ask.
 */
#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/x86/features.h"

bool x86_is_bsp(const struct x86_vcpu *vcpu)
{
	return vcpu->common.member.id == x86_vcpu_vm(vcpu)->boot_cpu_id;
}

void x86_reset(struct x86_vcpu *vcpu, bool is_init)
{
	cpu_reset(&vcpu->cpu, is_init);
	if (vcpu->lapic)
		lapic_reset(vcpu->lapic, is_init);
	vcpu->cr8 = 0;
	vcpu->is_sipi_pending = false;
	atomic_store(&vcpu->pv_unhalted, false);
	if (!vcpu->lapic || x86_is_bsp(vcpu))
		vcpu->common.mp_state = KVM_MP_STATE_RUNNABLE;
	else
		vcpu->common.mp_state = is_init ? KVM_MP_STATE_INIT_RECEIVED : KVM_MP_STATE_UNINITIALIZED;
}

static void start_at(struct x86_vcpu *vcpu, uint8_t vector)
{
	struct kvm_segment *cs = &vcpu->cpu.segment[CPU_CS];

	cs->selector = vector << 8;
	cs->base = (uint64_t)vector << 12;
	vcpu->cpu.rip = 0;
	cpu_update_mode(&vcpu->cpu);
	vcpu->common.mp_state = KVM_MP_STATE_RUNNABLE;
}

bool x86_process_events(struct x86_vcpu *vcpu)
{
	bool goes_on = true;
	uint8_t vector;

	if (!vcpu->lapic)
		return true;
	cpu_post_nmi(&vcpu->cpu, lapic_take_nmis(vcpu->lapic));
	if (lapic_take_init(vcpu->lapic)) {
		x86_reset(vcpu, true);
		goes_on = false;
	}
	/* A start-up IPI counts only after INIT (SDM vol. 3 §8.4.3). */
	if (lapic_take_sipi(vcpu->lapic, &vector)) {
		vcpu->sipi_vector = vector;
		if (vcpu->common.mp_state == KVM_MP_STATE_INIT_RECEIVED) {
			start_at(vcpu, vector);
			goes_on = false;
		}
	} else if (vcpu->is_sipi_pending && vcpu->common.mp_state == KVM_MP_STATE_INIT_RECEIVED) {
		vcpu->is_sipi_pending = false;
		start_at(vcpu, vcpu->sipi_vector);
		goes_on = false;
	}
	return goes_on;
}

/* The address has MAXPHYADDR bits; bits 0 to 7 and 9, and what CPUID does not have, are reserved (SDM
 * vol. 3 §11.4.4, §11.12.1). */
bool x86_apic_base_is_valid(const struct x86_vcpu *vcpu, uint64_t base)
{
	const uint64_t is_enabled = 1 << 11, is_x2apic = 1 << 10, reserved = 0x2ff;

	if (base >> vcpu->cpu.physical_bits || (base & reserved))
		return false;
	return !(base & is_x2apic) || ((base & is_enabled) && cpu_has(&vcpu->cpu, FEATURE_X2APIC));
}

static void notify(void *context)
{
	struct x86_vcpu *vcpu = context;

	vcpu_notify(&vcpu->common);
}

static uint64_t read_tsc(void *context)
{
	struct x86_vcpu *vcpu = context;

	/* The timers run on other threads, and the offset may change under them: a deadline that
	 * was computed with the old one is then late or early, as on Linux. */
	return x86_scale_tsc(vcpu, host_tsc()) + vcpu->cpu.tsc_offset;
}

static uint32_t tsc_khz(void *context)
{
	struct x86_vcpu *vcpu = context;

	return vcpu->tsc_khz;
}

static void eoi_exit(void *context, uint8_t vector)
{
	struct x86_vcpu *vcpu = context;

	atomic_fetch_or(&vcpu->eoi_exits[vector / 64], UINT64_C(1) << (vector % 64));
	cpu_request(&vcpu->cpu, CPU_REQUEST_EXIT);
}

const struct irqchip_host x86_irqchip_host = {
	.vcpu_notify = notify,
	.vcpu_read_tsc = read_tsc,
	.vcpu_tsc_khz = tsc_khz,
	.vcpu_eoi_exit = eoi_exit,
};
