/*
 * The local APIC of a vCPU (Intel SDM vol. 3 chapter 11): acceptance of interrupts, priorities, what
 * is delivered to the CPU next.
 *
 * Above it stand the timer (lapic_timer.c), interprocessor interrupts and destination matching
 * (lapic_ipi.c), the registers as software sees them (lapic_registers.c), x2APIC MSRs and
 * IA32_APIC_BASE (lapic_msr.c), save and restore (lapic_state.c).
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

#include "engine/irqchip/x86/internal.h"

#define FIRST_VECTOR 16 /* 0..15 are illegal as interrupts (§11.5.2) */

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
	return !(lint0 & LAPIC_LVT_MASKED) && (lint0 & LAPIC_LVT_MODE) == LAPIC_LVT_EXTINT;
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

static void raise_event(struct lapic *lapic, enum lapic_event event)
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
	raise_event(lapic, LAPIC_EVENT_NMI);
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
		raise_event(lapic, LAPIC_EVENT_INIT);
		return true;
	case IRQ_MODE_STARTUP:
		lapic->sipi_vector = message->vector;
		raise_event(lapic, LAPIC_EVENT_SIPI);
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
		.mode = (lvt & LAPIC_LVT_MODE) >> 8,
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

/* §11.12.10.2: cluster in the upper half, a bit for each of its 16 members in the lower. */
uint32_t lapic_x2apic_ldr(const struct lapic *lapic)
{
	return (lapic->id >> 4) << 16 | 1u << (lapic->id & 0xf);
}

/* §11.8.5 */
int lapic_end_service(struct lapic *lapic, bool *is_level)
{
	int vector = vector_highest(&lapic->regs[LAPIC_ISR]);

	if (vector >= 0) {
		vector_clear(&lapic->regs[LAPIC_ISR], vector);
		*is_level = vector_test(&lapic->regs[LAPIC_TMR], vector);
	}
	return vector;
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
