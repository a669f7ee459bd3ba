/*
 * The 8259A pair of a full irqchip: the chip itself is util/i8259.c; here are its lines, which
 * several sources may share, and its wires to LINT0 and to those who wait for an EOI.
 */
#include "engine/irqchip/internal.h"

static void output_changed(void *context, bool level)
{
	lapic_set_lint0(context, level);
}

static void acked(void *context, unsigned irq)
{
	routing_notify_acked(context, KVM_IRQCHIP_PIC_MASTER, irq);
}

static void mask_changed(void *context, unsigned irq, bool masked)
{
	if (!masked)
		routing_notify_unmasked(context, KVM_IRQCHIP_PIC_MASTER, irq);
}

static const struct i8259_host pic_host = {
	.output = output_changed,
	.acked = acked,
	.mask_changed = mask_changed,
};

int pic_set_line(struct irqchip *chip, unsigned irq, unsigned source, bool level)
{
	uint8_t *sources = &chip->pic_sources[irq];

	if (level)
		*sources |= 1 << source;
	else
		*sources &= ~(1 << source);
	return i8259_set_line(&chip->pic, irq, *sources);
}

void pic_create(struct irqchip *chip)
{
	i8259_init(&chip->pic, &pic_host, chip);
}
