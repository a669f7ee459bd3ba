/*
 * The local APIC of a vCPU (Intel SDM vol. 3 chapter 11): registers, priorities, acceptance of
 * interrupts, EOI, local vector table, and xAPIC MMIO.
 *
 * Version register 0x14 with six LVT entries, no CMCI entry, no EOI-broadcast suppression, like
 * Linux's KVM with a full irqchip. x2APIC MSRs and IA32_APIC_BASE are in lapic_msr.c, the timer in
 * lapic_timer.c, interprocessor interrupts and destination matching in lapic_ipi.c, save and
 * restore in lapic_state.c.
 *
 * There is no lock. A local APIC is its vCPU's own, and what others do to it is posting: a bit of
 * IRR, an event. `deliverable` says that there may be an interrupt to take now. Who posts sets it and
 * notifies the vCPU when it was not set; the vCPU clears it and then looks at what was posted. All of
 * that is sequentially consistent: either the vCPU sees the bit, or its clearing comes before the
 * poster's setting. The same holds for what makes an interrupt deliverable on the vCPU's side (TPR,
 * LINT0, the enable bits): it changes that and then looks at IRR, the poster sets IRR and then looks
 * at that. So the vCPU polls one atomic, and no notification is lost.
 *
 * Not modelled: thermal and performance-counter sources, arbitration priority, remote read, focus
 * processor checking, delivery status (delivery takes no time).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/irqchip/internal.h"

#define VERSION         (0x14 | 5 << 16) /* integrated APIC; highest LVT entry is number 5 */
#define DEFAULT_BASE    0xfee00000ull
#define BASE_ADDRESS    0x000ffffffffff000ull
#define PAGE_BYTES      0x1000
#define FIRST_VECTOR    16 /* 0..15 are illegal as interrupts (§11.5.2) */
#define LVT_LINT0_RESET ((uint32_t)IRQ_MODE_EXTINT << 8)
#define DFR_FLAT        0xffffffffu
#define SPIV_WRITABLE   0x3ffu

#define LVT_COMMON (LAPIC_LVT_MASKED | 0xffu)
#define LVT_MODE   (7u << 8)
#define LVT_LINT   (LVT_COMMON | LVT_MODE | 1u << 13 | LAPIC_LVT_LEVEL) /* bit 13: polarity */

/* What can be written in each LVT entry, from LAPIC_LVT_TIMER on; status bits read as zero. */
static const uint32_t lvt_writable[] = {
	LVT_COMMON | LAPIC_TIMER_MODE_MASK,
	LVT_COMMON | LVT_MODE,
	LVT_COMMON | LVT_MODE,
	LVT_LINT,
	LVT_LINT,
	LVT_COMMON,
};

static void vector_set(_Atomic uint32_t *bits, uint8_t vector)
{
	atomic_fetch_or(&bits[vector / 32], 1u << (vector % 32));
}

static void vector_clear(_Atomic uint32_t *bits, uint8_t vector)
{
	atomic_fetch_and(&bits[vector / 32], ~(1u << (vector % 32)));
}

static bool vector_test(const _Atomic uint32_t *bits, uint8_t vector)
{
	return bits[vector / 32] & (1u << (vector % 32));
}

/* The highest vector in a 256-bit register, or -1. */
static int vector_highest(const _Atomic uint32_t *bits)
{
	uint32_t value;
	int word;

	for (word = 7; word >= 0; word--) {
		value = bits[word];
		if (value)
			return word * 32 + 31 - __builtin_clz(value);
	}
	return -1;
}

static bool takes_extint(const struct lapic *lapic)
{
	uint32_t lint0 = lapic->regs[LAPIC_LVT_LINT0];

	/* Disabled in IA32_APIC_BASE, the pin is the CPU's INTR (§11.4.3). */
	if (!lapic_is_enabled(lapic))
		return true;
	return !(lint0 & LAPIC_LVT_MASKED) && (lint0 & LVT_MODE) == LVT_LINT0_RESET;
}

static bool extint_pending(const struct lapic *lapic)
{
	return (lapic->chip->int_pin || lapic->external_vector >= 0) && takes_extint(lapic);
}

/* §11.8.3.1: the processor priority is the class of TPR or of the vector in service. */
static void update_ppr(struct lapic *lapic)
{
	int in_service = vector_highest(&lapic->regs[LAPIC_ISR]);
	uint32_t tpr = lapic->regs[LAPIC_TPR], class = in_service < 0 ? 0 : in_service & 0xf0;

	lapic->regs[LAPIC_PPR] = (tpr & 0xf0) >= class ? tpr : class;
}

static bool passes_ppr(const struct lapic *lapic, int vector)
{
	return (vector & 0xf0) > (int)(lapic->regs[LAPIC_PPR] & 0xf0);
}

/* The vector of IRR that PPR lets through, or -1. */
static int requested_vector(const struct lapic *lapic)
{
	int vector = vector_highest(&lapic->regs[LAPIC_IRR]);

	if (vector < 0 || !lapic_is_enabled(lapic))
		return -1;
	return passes_ppr(lapic, vector) ? vector : -1;
}

static bool is_deliverable(const struct lapic *lapic)
{
	return requested_vector(lapic) >= 0 || extint_pending(lapic);
}

/* There is something to deliver. Any thread. */
static void make_deliverable(struct lapic *lapic)
{
	if (!atomic_exchange(&lapic->deliverable, true))
		lapic->chip->host->vcpu_notify(lapic->vcpu_context);
}

void lapic_update(struct lapic *lapic)
{
	bool was;

	update_ppr(lapic);
	/* Who posts from here on sets it again, after what is_deliverable looks at. */
	was = atomic_exchange(&lapic->deliverable, false);
	if (!is_deliverable(lapic))
		return;
	if (was) /* told already */
		atomic_store(&lapic->deliverable, true);
	else
		make_deliverable(lapic);
}

bool lapic_interrupt_pending(struct lapic *lapic)
{
	if (!atomic_load_explicit(&lapic->deliverable, memory_order_acquire))
		return false;
	/* Posters judge by what they see from outside. */
	if (!is_deliverable(lapic))
		lapic_update(lapic);
	return atomic_load_explicit(&lapic->deliverable, memory_order_acquire);
}

/* The vector of the PIC or of user space in its place, or -1: another CPU was quicker. */
static int acknowledge_extint(struct lapic *lapic)
{
	struct irqchip *chip = lapic->chip;
	int vector = lapic->external_vector;

	if (vector >= 0) {
		lapic->external_vector = -1;
		return vector;
	}
	irqchip_lock(chip);
	if (chip->pic.output)
		vector = i8259_acknowledge(&chip->pic);
	irqchip_unlock(chip);
	return vector;
}

int lapic_interrupt_acknowledge(struct lapic *lapic)
{
	int vector = -1;

	if (!lapic_interrupt_pending(lapic))
		return -1;
	if (extint_pending(lapic))
		vector = acknowledge_extint(lapic);
	if (vector < 0) {
		vector = requested_vector(lapic);
		if (vector >= 0) {
			vector_clear(&lapic->regs[LAPIC_IRR], vector);
			vector_set(&lapic->regs[LAPIC_ISR], vector);
		}
	}
	lapic_update(lapic);
	return vector;
}

void lapic_raise_event(struct lapic *lapic, enum lapic_event event)
{
	atomic_fetch_or(&lapic->events, event);
	lapic->chip->host->vcpu_notify(lapic->vcpu_context);
}

/* More than two the CPU would not keep. Counted before the event: who takes that takes them. */
static void raise_nmi(struct lapic *lapic)
{
	uint8_t count = lapic->nmis;

	while (count < 2 && !atomic_compare_exchange_weak(&lapic->nmis, &count, count + 1))
		;
	lapic_raise_event(lapic, LAPIC_EVENT_NMI);
}

/* §11.5.3. Once per kind of error between two writes of ESR, so that an LVT error vector that is
 * itself illegal cannot recurse. */
void lapic_raise_error(struct lapic *lapic, uint32_t errors)
{
	if ((atomic_fetch_or(&lapic->errors, errors) & errors) == errors)
		return;
	lapic_deliver_local(lapic, LAPIC_LVT_ERROR);
}

static bool accept_fixed(struct lapic *lapic, const struct irq_message *message)
{
	if (!lapic_is_enabled(lapic) || !lapic_is_software_enabled(lapic))
		return false;
	if (message->vector < FIRST_VECTOR) {
		lapic_raise_error(lapic, LAPIC_ERROR_RECEIVE_VECTOR);
		return false;
	}
	if (message->is_level)
		vector_set(&lapic->regs[LAPIC_TMR], message->vector);
	else
		vector_clear(&lapic->regs[LAPIC_TMR], message->vector);
	vector_set(&lapic->regs[LAPIC_IRR], message->vector);
	/* Otherwise the owner finds it when its priority falls. */
	if (passes_ppr(lapic, message->vector))
		make_deliverable(lapic);
	return true;
}

bool lapic_accept(struct lapic *lapic, const struct irq_message *message)
{
	switch (message->mode) {
	case IRQ_MODE_LOWEST_PRIORITY:
	case IRQ_MODE_FIXED:
		return accept_fixed(lapic, message);
	case IRQ_MODE_NMI:
		raise_nmi(lapic);
		return true;
	case IRQ_MODE_INIT:
		/* INIT level de-assert only set arbitration ids, on old CPUs (§11.6.1). */
		if (message->is_level && !message->is_assert)
			return false;
		atomic_fetch_and(&lapic->events, ~LAPIC_EVENT_SIPI);
		lapic_raise_event(lapic, LAPIC_EVENT_INIT);
		return true;
	case IRQ_MODE_STARTUP:
		lapic->sipi_vector = message->vector;
		lapic_raise_event(lapic, LAPIC_EVENT_SIPI);
		return true;
	default:
		/* SMI: there is no SMM. ExtINT: only from LINT0, see takes_extint. */
		return false;
	}
}

void lapic_deliver_local(struct lapic *lapic, enum lapic_register entry)
{
	uint32_t lvt = lapic->regs[entry];
	struct irq_message message = {
		.vector = lvt & 0xff,
		.mode = (lvt & LVT_MODE) >> 8,
		.is_level = lvt & LAPIC_LVT_LEVEL,
		.is_assert = true,
	};

	if (!lapic_is_enabled(lapic) || (lvt & LAPIC_LVT_MASKED))
		return;
	lapic_accept(lapic, &message);
}

/* In ExtINT mode the pin's level counts, and each owner looks at it; in other modes its rise is an
 * event. */
void lapic_set_lint0(struct irqchip *chip, bool level)
{
	unsigned slots = chip->lapic_slots, id;
	struct lapic *lapic;

	chip->int_pin = level;
	for (id = 0; level && id < slots; id++) {
		lapic = chip->lapics[id];
		if (!lapic)
			continue;
		if (takes_extint(lapic))
			make_deliverable(lapic);
		else
			lapic_deliver_local(lapic, LAPIC_LVT_LINT0);
	}
}

/* §11.8.5. An EOI with nothing in service does nothing. */
static void end_of_interrupt(struct lapic *lapic)
{
	int vector = vector_highest(&lapic->regs[LAPIC_ISR]);

	if (vector < 0)
		return;
	vector_clear(&lapic->regs[LAPIC_ISR], vector);
	ioapic_eoi(lapic, vector, vector_test(&lapic->regs[LAPIC_TMR], vector));
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
	unsigned offset = gpa & (PAGE_BYTES - 1);
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

uint8_t lapic_get_cr8(struct lapic *lapic)
{
	return lapic->regs[LAPIC_TPR] >> 4;
}

void lapic_set_cr8(struct lapic *lapic, uint8_t value)
{
	lapic->regs[LAPIC_TPR] = (value & 0xf) << 4;
	lapic_update(lapic);
}

static bool take_event(struct lapic *lapic, enum lapic_event event)
{
	if (!(atomic_load_explicit(&lapic->events, memory_order_acquire) & event))
		return false;
	return atomic_fetch_and(&lapic->events, ~event) & event;
}

unsigned lapic_take_nmis(struct lapic *lapic)
{
	return take_event(lapic, LAPIC_EVENT_NMI) ? atomic_exchange(&lapic->nmis, 0) : 0;
}

bool lapic_take_init(struct lapic *lapic)
{
	return take_event(lapic, LAPIC_EVENT_INIT);
}

bool lapic_take_sipi(struct lapic *lapic, uint8_t *vector)
{
	if (!take_event(lapic, LAPIC_EVENT_SIPI))
		return false;
	*vector = lapic->sipi_vector;
	return true;
}

bool lapic_event_pending(struct lapic *lapic)
{
	return atomic_load_explicit(&lapic->events, memory_order_acquire);
}

void lapic_post_nmi(struct lapic *lapic)
{
	raise_nmi(lapic);
}

int lapic_inject_extint(struct lapic *lapic, uint8_t vector)
{
	if (lapic->external_vector >= 0)
		return -EEXIST;
	lapic->external_vector = vector;
	lapic_update(lapic);
	return 0;
}

bool lapic_accepts_extint(struct lapic *lapic)
{
	return lapic->external_vector < 0 && takes_extint(lapic);
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
		lapic->regs[LAPIC_LVT_LINT0] = LVT_LINT0_RESET;
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

	if (id >= IRQCHIP_LAPICS_MAX)
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
	if (extint_pending(lapic))
		make_deliverable(lapic);
	return lapic;
}

void lapic_destroy(struct lapic *lapic)
{
	lapic->chip->lapics[lapic->id] = NULL;
	lapic_timer_exit(lapic);
	free(lapic);
}
