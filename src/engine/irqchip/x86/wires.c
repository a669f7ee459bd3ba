/*
 * The way back of an interrupt, and what else PIC and I/O APIC tell: the PIC's output goes to LINT0, an
 * entry's message to the local APICs; an input that was acknowledged or unmasked concerns whoever drives
 * its GSI, the PIT and resampling irqfds. With the lock held.
 */
#include "engine/irqchip/x86/internal.h"

static void notify_acked(struct irqchip *chip, unsigned controller, unsigned pin)
{
	int gsi;

	gsi = routing_gsi_of(&chip->routing, controller, pin);
	if (gsi == I8254_GSI && chip->pit)
		pit_acked(chip->pit);
	if (gsi >= 0)
		irqfd_acked(&chip->irqfds, gsi);
}

static void notify_unmasked(struct irqchip *chip, unsigned controller, unsigned pin)
{
	if (chip->pit && routing_gsi_of(&chip->routing, controller, pin) == I8254_GSI)
		pit_unmasked(chip->pit);
}

static void output_changed(void *context, bool level)
{
	lapic_set_lint0(context, level);
}

static void pic_acked(void *context, unsigned irq)
{
	notify_acked(context, GSI_PIC, irq);
}

static void mask_changed(void *context, unsigned irq, bool masked)
{
	if (!masked)
		notify_unmasked(context, GSI_PIC, irq);
}

static const struct i8259_host pic_host = {
	.output = output_changed,
	.acked = pic_acked,
	.mask_changed = mask_changed,
};

void pic_create(struct irqchip *chip)
{
	i8259_init(&chip->pic, &pic_host, chip);
}

static int deliver_entry(void *context, unsigned pin, uint64_t entry)
{
	(void)pin;
	return ioapic_deliver(context, entry);
}

static void ioapic_acked(void *context, unsigned pin)
{
	notify_acked(context, GSI_IOAPIC, pin);
}

static void entry_changed(void *context, unsigned pin, uint64_t old)
{
	struct irqchip *chip = context;

	ioapic_note_vectors(chip);
	if ((old & I82093_MASKED) && !(chip->ioapic.redirect[pin] & I82093_MASKED))
		notify_unmasked(chip, GSI_IOAPIC, pin);
}

static const struct i82093_host ioapic_host = {
	.deliver = deliver_entry,
	.acked = ioapic_acked,
	.entry_changed = entry_changed,
};

void ioapic_create(struct irqchip *chip)
{
	i82093_init(&chip->ioapic, &ioapic_host, chip);
	ioapic_note_vectors(chip);
}
