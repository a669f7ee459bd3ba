/*
 * A local APIC's registers as software sees them (Intel SDM vol. 3 §11.4 to §11.8): EOI, spurious
 * vector, local vector table, xAPIC MMIO; and its beginning, reset and end.
 *
 * Version register 0x14 with six LVT entries, no CMCI entry, no EOI-broadcast suppression, like
 * Linux's KVM with a full irqchip.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/irqchip/x86/internal.h"
#include "util/page.h"

#define VERSION         (0x14 | 5 << 16) /* integrated APIC; highest LVT entry is number 5 */
#define DEFAULT_BASE    0xfee00000ull
#define BASE_ADDRESS    0x000ffffffffff000ull
#define DFR_FLAT        0xffffffffu
#define SPIV_WRITABLE   0x3ffu

#define LVT_COMMON (LAPIC_LVT_MASKED | 0xffu)
#define LVT_LINT   (LVT_COMMON | LAPIC_LVT_MODE | 1u << 13 | LAPIC_LVT_LEVEL) /* bit 13: polarity */

/* What can be written in each LVT entry, from LAPIC_LVT_TIMER on; status bits read as zero. */
static const uint32_t lvt_writable[] = {
	LVT_COMMON | LAPIC_TIMER_MODE_MASK,
	LVT_COMMON | LAPIC_LVT_MODE,
	LVT_COMMON | LAPIC_LVT_MODE,
	LVT_LINT,
	LVT_LINT,
	LVT_COMMON,
};

/* §11.8.5. An EOI with nothing in service does nothing. */
static void end_of_interrupt(struct lapic *lapic)
{
	bool is_level;
	int vector = lapic_end_service(lapic, &is_level);

	if (vector < 0)
		return;
	ioapic_eoi(lapic, vector, is_level);
	lapic_update(lapic);
}

static void write_spurious(struct lapic *lapic, uint32_t value)
{
	unsigned entry;

	lapic->regs[LAPIC_SPIV] = value & SPIV_WRITABLE;
	if (lapic_is_software_enabled(lapic))
		return;
	/* §11.4.7.2: all LVT entries become masked, and cannot be unmasked until enabled. */
	for (entry = LAPIC_LVT_TIMER; entry <= LAPIC_LVT_ERROR; entry++)
		lapic->regs[entry] |= LAPIC_LVT_MASKED;
}

static void write_lvt(struct lapic *lapic, unsigned entry, uint32_t value)
{
	value &= lvt_writable[entry - LAPIC_LVT_TIMER];
	if (!lapic_is_software_enabled(lapic))
		value |= LAPIC_LVT_MASKED;
	if (entry == LAPIC_LVT_TIMER)
		lapic_timer_write_lvt(lapic, value);
	else
		lapic->regs[entry] = value;
}

int lapic_register_read(struct lapic *lapic, unsigned number, uint32_t *value)
{
	switch (number) {
	case LAPIC_ID:
		*value = lapic_is_x2apic(lapic) ? lapic->id : lapic->regs[LAPIC_ID];
		return 0;
	case LAPIC_LDR:
		*value = lapic_is_x2apic(lapic) ? lapic_x2apic_ldr(lapic) : lapic->regs[LAPIC_LDR];
		return 0;
	case LAPIC_APR:
	case LAPIC_RRD:
	case LAPIC_DFR:
		if (lapic_is_x2apic(lapic))
			return -EINVAL;
		*value = lapic->regs[number];
		return 0;
	case LAPIC_EOI:
	case LAPIC_SELF_IPI:
		return -EINVAL; /* write-only */
	case LAPIC_TIMER_CURRENT:
		*value = lapic_timer_current(lapic);
		return 0;
	case LAPIC_VERSION:
	case LAPIC_TPR:
	case LAPIC_PPR:
	case LAPIC_SPIV:
	case LAPIC_ISR ... LAPIC_ESR:
	case LAPIC_ICR:
	case LAPIC_ICR2:
	case LAPIC_LVT_TIMER ... LAPIC_TIMER_INITIAL:
	case LAPIC_TIMER_DIVIDE:
		*value = lapic->regs[number];
		return 0;
	default:
		return -EINVAL;
	}
}

/* The registers that only xAPIC mode can write. */
static int write_xapic_only(struct lapic *lapic, unsigned number, uint32_t value)
{
	if (lapic_is_x2apic(lapic))
		return -EINVAL;
	switch (number) {
	case LAPIC_ID:
		if (value >> 24 != (uint8_t)lapic->id)
			lapic->chip->ids_are_initial = false;
		lapic->regs[LAPIC_ID] = value & 0xff000000;
		break;
	case LAPIC_LDR:
		lapic->regs[LAPIC_LDR] = value & 0xff000000;
		break;
	case LAPIC_DFR:
		lapic->regs[LAPIC_DFR] = value | 0x0fffffff;
		break;
	}
	return 0;
}

int lapic_register_write(struct lapic *lapic, unsigned number, uint32_t value)
{
	bool is_x2apic = lapic_is_x2apic(lapic);

	switch (number) {
	case LAPIC_ID:
	case LAPIC_LDR:
	case LAPIC_DFR:
		return write_xapic_only(lapic, number, value);
	case LAPIC_TPR:
		if (is_x2apic && value > 0xff)
			return -EINVAL;
		lapic->regs[LAPIC_TPR] = value & 0xff;
		break;
	case LAPIC_EOI:
		if (is_x2apic && value)
			return -EINVAL;
		end_of_interrupt(lapic);
		return 0;
	case LAPIC_SPIV:
		write_spurious(lapic, value);
		break;
	case LAPIC_ESR:
		if (is_x2apic && value)
			return -EINVAL;
		lapic->regs[LAPIC_ESR] = atomic_exchange(&lapic->errors, 0);
		return 0;
	case LAPIC_ICR:
		lapic->regs[LAPIC_ICR] = value & ~LAPIC_ICR_BUSY;
		lapic_send_ipi(lapic);
		return 0;
	case LAPIC_ICR2:
		lapic->regs[LAPIC_ICR2] = is_x2apic ? value : value & 0xff000000;
		return 0;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
		write_lvt(lapic, number, value);
		break;
	case LAPIC_TIMER_INITIAL:
		lapic_timer_write_initial(lapic, value);
		return 0;
	case LAPIC_TIMER_DIVIDE:
		lapic_timer_write_divide(lapic, value & 0xb);
		return 0;
	default:
		return -EINVAL;
	}
	lapic_update(lapic);
	return 0;
}

bool lapic_mmio(struct lapic *lapic, uint64_t gpa, void *data, unsigned size, bool is_write)
{
	uint64_t base = atomic_load_explicit(&lapic->base, memory_order_relaxed);
	unsigned offset = gpa & (PAGE_SIZE - 1);
	uint32_t value = 0;
	int result;

	if ((gpa & BASE_ADDRESS) != (base & BASE_ADDRESS))
		return false;
	if (!lapic_is_enabled(lapic) || lapic_is_x2apic(lapic)) {
		if (!is_write)
			memset(data, 0xff, size);
		return true;
	}
	/* §11.4.1: registers are accessed as aligned 32-bit words; otherwise undefined. */
	if (is_write) {
		result = 0;
		if (size == 4 && !(offset & 0xf)) {
			memcpy(&value, data, sizeof(value));
			result = lapic_register_write(lapic, offset / 16, value);
			/* A register that can only be read is no error, only left alone. */
			if (result)
				result = lapic_register_read(lapic, offset / 16, &value);
		}
	} else {
		result = lapic_register_read(lapic, offset / 16, &value);
		memset(data, 0, size);
		if ((offset & 0xf) + size <= sizeof(value))
			memcpy(data, (uint8_t *)&value + (offset & 0xf), size);
	}
	if (result)
		lapic_raise_error(lapic, LAPIC_ERROR_REGISTER);
	return true;
}

/* §11.4.7.1 (power-up) and §11.4.7.3 (INIT keeps the id and IA32_APIC_BASE). */
void lapic_reset(struct lapic *lapic, bool is_init)
{
	struct irqchip *chip = lapic->chip;
	uint32_t id, entry;
	unsigned number;

	if (!is_init) {
		lapic->base = DEFAULT_BASE | LAPIC_BASE_ENABLED |
			      (lapic->id == chip->boot_cpu_id ? LAPIC_BASE_BSP : 0);
		lapic->regs[LAPIC_ID] = lapic->id << 24;
		atomic_store(&lapic->events, 0);
		atomic_store(&lapic->nmis, 0);
	}
	lapic_timer_reset(lapic); /* before what it would do when it expires changes */
	id = lapic->regs[LAPIC_ID];
	for (number = 0; number < LAPIC_REGISTERS; number++)
		lapic->regs[number] = 0;
	lapic->regs[LAPIC_ID] = id;
	lapic->regs[LAPIC_VERSION] = VERSION;
	lapic->regs[LAPIC_DFR] = DFR_FLAT;
	lapic->regs[LAPIC_SPIV] = 0xff;
	for (entry = LAPIC_LVT_TIMER; entry <= LAPIC_LVT_ERROR; entry++)
		lapic->regs[entry] = LAPIC_LVT_MASKED;
	/* As Linux's KVM_X86_QUIRK_LINT0_REENABLED: what firmware would set up (virtual wire mode),
	 * so that a guest without firmware gets the PIC's interrupts. */
	if (lapic->base & LAPIC_BASE_BSP)
		lapic->regs[LAPIC_LVT_LINT0] = LAPIC_LVT_EXTINT;
	lapic->errors = 0;
	lapic->external_vector = -1;
	lapic_timer_reset(lapic);
	/* The CPU forgets too what it was told. */
	lapic->deliverable = false;
	lapic_update(lapic);
}

struct lapic *lapic_create(struct irqchip *chip, unsigned id, void *vcpu_context)
{
	struct lapic *lapic;

	if (id >= VM_VCPU_ID_MAX)
		return NULL;
	lapic = calloc(1, sizeof(*lapic));
	if (!lapic)
		return NULL;
	lapic->chip = chip;
	lapic->vcpu_context = vcpu_context;
	lapic->id = id;
	lapic->external_vector = -1;
	if (lapic_timer_init(lapic)) {
		free(lapic);
		return NULL;
	}
	lapic_reset(lapic, false);
	irqchip_lock(chip);
	chip->lapics[id] = lapic;
	if (chip->lapic_slots <= id)
		chip->lapic_slots = id + 1;
	irqchip_unlock(chip);
	/* The PIC's output may have risen before it was to be seen there. */
	lapic_update(lapic);
	return lapic;
}

void lapic_destroy(struct lapic *lapic)
{
	lapic->chip->lapics[lapic->id] = NULL;
	lapic_timer_exit(lapic);
	free(lapic);
}
