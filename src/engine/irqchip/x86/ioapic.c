/*
 * The I/O APIC of a full irqchip: the chip itself is util/i82093.c; here are its lines, which
 * several sources may share, its messages to the local APICs, and their EOIs.
 */
#include "engine/irqchip/x86/internal.h"

static void note_vector(struct irqchip *chip, uint8_t vector)
{
	atomic_fetch_or(&chip->ioapic_vectors[vector / 64], UINT64_C(1) << (vector % 64));
}

void ioapic_note_vectors(struct irqchip *chip)
{
	uint64_t vectors[4] = {0};
	unsigned pin, i;

	for (pin = 0; pin < I82093_PINS; pin++) {
		uint8_t vector = chip->ioapic.redirect[pin] & I82093_VECTOR;

		vectors[vector / 64] |= UINT64_C(1) << (vector % 64);
	}
	for (i = 0; i < 4; i++)
		chip->ioapic_vectors[i] = vectors[i];
}

int ioapic_deliver(struct irqchip *chip, uint64_t entry)
{
	struct irq_message message = {
		.destination = entry >> I82093_DESTINATION_BITS,
		.vector = entry & I82093_VECTOR,
		.mode = (entry & I82093_DELIVERY_MODE) >> 8,
		.is_logical = entry & I82093_LOGICAL,
		.is_level = entry & I82093_LEVEL,
		.is_assert = true,
	};

	note_vector(chip, message.vector);
	return irq_deliver(chip, NULL, &message);
}

int ioapic_set_line(struct irqchip *chip, unsigned pin, unsigned source, bool level)
{
	uint8_t *sources = &chip->ioapic_sources[pin];

	if (level)
		*sources |= 1 << source;
	else
		*sources &= ~(1 << source);
	return i82093_set_line(&chip->ioapic, pin, *sources);
}

void ioapic_eoi(struct lapic *lapic, uint8_t vector, bool is_level)
{
	struct irqchip *chip = lapic->chip;

	if (chip->kind != IRQCHIP_FULL) {
		if (is_level && chip_has_reserved_vector(chip, vector))
			chip->host->vcpu_eoi_exit(lapic->vcpu_context, vector);
		return;
	}
	/* Most are of IPIs, timers and MSIs. */
	if (!(chip->ioapic_vectors[vector / 64] & UINT64_C(1) << (vector % 64)))
		return;
	irqchip_lock(chip);
	i82093_eoi(&chip->ioapic, vector, is_level);
	irqchip_unlock(chip);
}
