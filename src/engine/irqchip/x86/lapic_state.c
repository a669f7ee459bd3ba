/*
 * KVM_GET_LAPIC and KVM_SET_LAPIC: a local APIC as an image of its register page (KVM api.rst 4.57,
 * 4.58), each register at 16 times its number.
 *
 * In x2APIC mode the id is in bits 31:24 of its register, or in all 32 with
 * KVM_X2APIC_API_USE_32BIT_IDS. IA32_APIC_BASE comes before and IA32_TSC_DEADLINE after it, as
 * MSRs.
 */
#include <errno.h>
#include <string.h>

#include "engine/irqchip/x86/internal.h"

static uint32_t load(const struct kvm_lapic_state *state, unsigned number)
{
	uint32_t value;

	memcpy(&value, state->regs + number * 16, sizeof(value));
	return value;
}

static void store(struct kvm_lapic_state *state, unsigned number, uint32_t value)
{
	memcpy(state->regs + number * 16, &value, sizeof(value));
}

int lapic_get_state(struct lapic *lapic, struct kvm_lapic_state *state)
{
	struct irqchip *chip = lapic->chip;
	unsigned number;
	uint32_t current;

	memset(state, 0, sizeof(*state));
	/* Before IRR: a timer that expires in between is saved as still counting and as having fired. The
	 * other way round it would be neither. */
	current = lapic_timer_save(lapic);
	for (number = 0; number < LAPIC_REGISTERS; number++)
		store(state, number, lapic->regs[number]);
	store(state, LAPIC_TIMER_CURRENT, current);
	if (lapic_is_x2apic(lapic)) {
		bool is_wide = chip->x2apic_flags & KVM_X2APIC_API_USE_32BIT_IDS;

		store(state, LAPIC_ID, is_wide ? lapic->id : lapic->id << 24);
		store(state, LAPIC_LDR, lapic_x2apic_ldr(lapic));
	}
	return 0;
}

int lapic_set_state(struct lapic *lapic, const struct kvm_lapic_state *state)
{
	struct irqchip *chip = lapic->chip;
	bool is_x2apic, is_wide;
	uint32_t id, version;
	unsigned number;

	is_x2apic = lapic_is_x2apic(lapic);
	is_wide = chip->x2apic_flags & KVM_X2APIC_API_USE_32BIT_IDS;
	id = load(state, LAPIC_ID);
	/* In x2APIC mode the id is not the guest's to choose. */
	if (is_x2apic && is_wide && id != lapic->id)
		return -EINVAL;
	lapic_timer_reset(lapic); /* before what it would do when it expires changes */
	version = lapic->regs[LAPIC_VERSION];
	for (number = 0; number < LAPIC_REGISTERS; number++)
		lapic->regs[number] = load(state, number);
	lapic->regs[LAPIC_VERSION] = version;
	lapic->regs[LAPIC_TPR] &= 0xff;
	lapic->regs[LAPIC_ICR] &= ~LAPIC_ICR_BUSY;
	lapic->regs[LAPIC_TIMER_CURRENT] = 0;
	lapic->regs[LAPIC_TIMER_DIVIDE] &= 0xb;
	if (is_x2apic) {
		lapic->regs[LAPIC_ID] = lapic->id << 24;
	} else {
		lapic->regs[LAPIC_ID] &= 0xff000000;
		if (id >> 24 != (uint8_t)lapic->id)
			chip->ids_are_initial = false;
	}
	lapic->errors = 0;
	lapic_timer_restore(lapic, load(state, LAPIC_TIMER_CURRENT));
	/* The vCPU is to look again, whatever it was told before. */
	lapic->deliverable = false;
	lapic_update(lapic);
	return 0;
}
