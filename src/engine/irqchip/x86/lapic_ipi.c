/*
 * Messages to local APICs: which ones are addressed (Intel SDM vol. 3 §11.6.2), the choice among
 * them for lowest-priority delivery (§11.6.2.4), and interprocessor interrupts from the ICR
 * (§11.6.1).
 *
 * I/O APIC and MSI messages carry an 8-bit destination. To an APIC in x2APIC mode 0xff is then only
 * an id, except with Linux's quirk, on by default, that makes it a broadcast
 * (KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, api.rst 7.7).
 */
#include <errno.h>

#include "engine/irqchip/x86/internal.h"

#define XAPIC_BROADCAST  0xffu
#define X2APIC_BROADCAST 0xffffffffu
#define DFR_MODEL(dfr)   ((dfr) >> 28)
#define FIRST_VECTOR     16

enum { MODEL_CLUSTER = 0x0, MODEL_FLAT = 0xf };

/* Interrupt command register (§11.6.1). */
#define ICR_MODE(icr)      (((icr) >> 8) & 7)
#define ICR_LOGICAL        (1u << 11)
#define ICR_ASSERT         (1u << 14)
#define ICR_LEVEL          (1u << 15)
#define ICR_SHORTHAND(icr) (((icr) >> 18) & 3)

static bool is_broadcast(const struct lapic *lapic, bool is_ipi, uint32_t destination)
{
	if (destination == X2APIC_BROADCAST)
		return true;
	if (destination != XAPIC_BROADCAST)
		return false;
	if (!lapic_is_x2apic(lapic))
		return true;
	return !is_ipi &&
	       !(lapic->chip->x2apic_flags & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
}

static bool matches_physical(const struct lapic *lapic, uint32_t destination)
{
	/* An id that does not fit in eight bits is taken even in xAPIC mode, as Linux's KVM does:
	 * a hot-plugged CPU could not be started otherwise. */
	if (lapic_is_x2apic(lapic) || destination > 0xff)
		return destination == lapic->id;
	return destination == lapic->regs[LAPIC_ID] >> 24;
}

static bool matches_logical(const struct lapic *lapic, uint32_t destination)
{
	uint32_t ldr;

	if (lapic_is_x2apic(lapic)) {
		ldr = lapic_x2apic_ldr(lapic);
		return ldr >> 16 == destination >> 16 && (ldr & destination & 0xffff);
	}
	ldr = lapic->regs[LAPIC_LDR] >> 24;
	switch (DFR_MODEL(lapic->regs[LAPIC_DFR])) {
	case MODEL_FLAT:
		return ldr & destination;
	case MODEL_CLUSTER:
		return ldr >> 4 == destination >> 4 && (ldr & destination & 0xf);
	default:
		return false;
	}
}

static bool matches(const struct lapic *lapic, const struct lapic *source,
		    const struct irq_message *message)
{
	switch (message->shorthand) {
	case IRQ_SELF:
		return lapic == source;
	case IRQ_ALL:
		return true;
	case IRQ_ALL_BUT_SELF:
		return lapic != source;
	}
	if (is_broadcast(lapic, source != NULL, message->destination))
		return true;
	return message->is_logical ? matches_logical(lapic, message->destination)
				   : matches_physical(lapic, message->destination);
}

/* Lower processor priority first, then who has had fewer of these messages. */
static bool is_lower(const struct lapic *lapic, const struct lapic *than)
{
	uint32_t class = lapic->regs[LAPIC_PPR] >> 4, than_class = than->regs[LAPIC_PPR] >> 4;

	if (class != than_class)
		return class < than_class;
	return (int32_t)(lapic->arbitration - than->arbitration) < 0;
}

int irq_deliver(struct irqchip *chip, struct lapic *source, const struct irq_message *message)
{
	/* A physical destination leaves no choice; as a broadcast it reaches all (as Linux's). */
	bool to_lowest = message->is_logical &&
			 (message->mode == IRQ_MODE_LOWEST_PRIORITY || message->to_lowest);
	struct lapic *lapic, *lowest = NULL;
	unsigned first = 0, end = chip->lapic_slots, i;
	int result = -1;

	/* The usual case needs no search. */
	if (message->shorthand == IRQ_NO_SHORTHAND && !message->is_logical &&
	    chip->ids_are_initial && message->destination < XAPIC_BROADCAST) {
		first = message->destination;
		if (end > first + 1)
			end = first + 1;
	}
	for (i = first; i < end; i++) {
		lapic = chip->lapics[i];
		if (!lapic || !lapic_is_enabled(lapic) || !matches(lapic, source, message))
			continue;
		if (!to_lowest) {
			result = (result < 0 ? 0 : result) + lapic_accept(lapic, message);
		} else if (lapic_is_software_enabled(lapic) &&
			   (!lowest || is_lower(lapic, lowest))) {
			lowest = lapic;
		}
	}
	if (lowest) {
		atomic_fetch_add(&lowest->arbitration, 1);
		result = lapic_accept(lowest, message);
	}
	return result;
}

void lapic_send_ipi(struct lapic *lapic)
{
	uint32_t icr = lapic->regs[LAPIC_ICR], high = lapic->regs[LAPIC_ICR2];
	struct irq_message message = {
		.destination = lapic_is_x2apic(lapic) ? high : high >> 24,
		.vector = icr & 0xff,
		.mode = ICR_MODE(icr),
		.shorthand = ICR_SHORTHAND(icr),
		.is_logical = icr & ICR_LOGICAL,
		.is_level = icr & ICR_LEVEL,
		.is_assert = icr & ICR_ASSERT,
	};

	if (message.mode <= IRQ_MODE_LOWEST_PRIORITY && message.vector < FIRST_VECTOR) {
		lapic_raise_error(lapic, LAPIC_ERROR_SEND_VECTOR);
		return;
	}
	irq_deliver(lapic->chip, lapic, &message);
}

int irqchip_send_ipi(struct irqchip *chip, const struct irqchip_ipi *ipi)
{
	unsigned slots = chip->lapic_slots, word;
	struct irq_message message = {
		.vector = ipi->icr & 0xff,
		.mode = ICR_MODE(ipi->icr),
		.is_level = ipi->icr & ICR_LEVEL,
		.is_assert = ipi->icr & ICR_ASSERT,
	};
	int count = 0;

	if ((ipi->icr & ICR_LOGICAL) || ICR_SHORTHAND(ipi->icr))
		return -EINVAL;
	for (word = 0; word < 2; word++) {
		uint64_t first = ipi->lowest + word * ipi->ids_in_word, left;

		if (first < ipi->lowest)
			break;
		for (left = ipi->ids[word]; left; left &= left - 1) {
			uint64_t id = first + __builtin_ctzll(left);
			struct lapic *lapic = id >= first && id < slots ? chip->lapics[id] : NULL;

			if (lapic && lapic_is_enabled(lapic))
				count += lapic_accept(lapic, &message);
		}
	}
	return count;
}
