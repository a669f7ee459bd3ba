/*
 * The local APIC's MSRs: IA32_APIC_BASE with its mode transitions (Intel SDM vol. 3
 * §11.4.3-§11.4.4, §11.12.5), the x2APIC register space (§11.12.1), IA32_TSC_DEADLINE (§11.5.4.1).
 */
#include <errno.h>

#include "engine/irqchip/x86/internal.h"
#include "util/x86_registers.h"

#define MSR_X2APIC_FIRST  0x800
#define MSR_X2APIC_LAST   0x8ff
/* Address bits above 52, and the bits that mean nothing: 0-7 and 9. */
#define BASE_RESERVED     (0xfff0000000000000ull | 0x2ff)
#define ICR_RESERVED      (0xfffu << 20 | 3u << 16 | 1u << 13)
#define SELF_IPI_RESERVED (~0xffull)

/* A base that has a reserved bit, or x2APIC mode without the enable bit. */
static bool base_is_valid(uint64_t base)
{
	if (base & BASE_RESERVED)
		return false;
	return !(base & LAPIC_BASE_X2APIC) || (base & LAPIC_BASE_ENABLED);
}

/* §11.12.5: only these lead from one mode to another; the rest is #GP. */
static bool transition_is_valid(uint64_t from, uint64_t to)
{
	bool was_enabled = from & LAPIC_BASE_ENABLED, was_x2apic = from & LAPIC_BASE_X2APIC;
	bool is_enabled = to & LAPIC_BASE_ENABLED, is_x2apic = to & LAPIC_BASE_X2APIC;

	if (was_x2apic)
		return is_x2apic || !is_enabled;
	return was_enabled || !is_x2apic;
}

static void apply_base(struct lapic *lapic, uint64_t base)
{
	uint64_t changed = lapic->base ^ base;

	lapic->base = base;
	/* The id register starts again from the id that the CPU was made with. */
	if (changed & base & LAPIC_BASE_ENABLED)
		lapic->regs[LAPIC_ID] = lapic->id << 24;
	lapic_update(lapic);
}

uint64_t lapic_get_base(struct lapic *lapic)
{
	return lapic->base;
}

int lapic_set_base(struct lapic *lapic, uint64_t base)
{
	if (!base_is_valid(base))
		return -EINVAL;
	apply_base(lapic, base);
	return 0;
}

static int write_base(struct lapic *lapic, uint64_t base)
{
	if (!base_is_valid(base) || !transition_is_valid(lapic->base, base))
		return -EINVAL;
	apply_base(lapic, base);
	return 0;
}

static int read_x2apic(struct lapic *lapic, unsigned number, uint64_t *value)
{
	uint32_t low;
	int result;

	if (!lapic_is_x2apic(lapic) || number == LAPIC_ICR2)
		return -EINVAL;
	result = lapic_register_read(lapic, number, &low);
	if (result)
		return result;
	*value = low;
	if (number == LAPIC_ICR)
		*value |= (uint64_t)lapic->regs[LAPIC_ICR2] << 32;
	return 0;
}

static int send_self_ipi(struct lapic *lapic, uint64_t value)
{
	struct irq_message message = {
		.vector = value,
		.shorthand = IRQ_SELF,
		.is_assert = true,
	};

	if (value & SELF_IPI_RESERVED)
		return -EINVAL;
	irq_deliver(lapic->chip, lapic, &message);
	return 0;
}

static int write_x2apic(struct lapic *lapic, unsigned number, uint64_t value)
{
	if (!lapic_is_x2apic(lapic))
		return -EINVAL;
	switch (number) {
	case LAPIC_ICR:
		if ((uint32_t)value & ICR_RESERVED)
			return -EINVAL;
		lapic->regs[LAPIC_ICR2] = value >> 32;
		return lapic_register_write(lapic, LAPIC_ICR, value);
	case LAPIC_ICR2:
		return -EINVAL;
	case LAPIC_SELF_IPI:
		return send_self_ipi(lapic, value);
	default:
		if (value >> 32)
			return -EINVAL;
		return lapic_register_write(lapic, number, value);
	}
}

static bool is_ours(uint32_t index)
{
	return index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE ||
	       (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST);
}

int lapic_msr_read(struct lapic *lapic, uint32_t index, uint64_t *value)
{
	int result = 0;

	if (!is_ours(index))
		return -ENOENT;
	if (index == MSR_APIC_BASE)
		*value = lapic->base;
	else if (index == MSR_TSC_DEADLINE)
		*value = lapic_timer_read_deadline(lapic);
	else
		result = read_x2apic(lapic, index - MSR_X2APIC_FIRST, value);
	return result;
}

int lapic_msr_write(struct lapic *lapic, uint32_t index, uint64_t value)
{
	int result = 0;

	if (!is_ours(index))
		return -ENOENT;
	if (index == MSR_APIC_BASE)
		result = write_base(lapic, value);
	else if (index == MSR_TSC_DEADLINE)
		lapic_timer_write_deadline(lapic, value);
	else
		result = write_x2apic(lapic, index - MSR_X2APIC_FIRST, value);
	return result;
}
