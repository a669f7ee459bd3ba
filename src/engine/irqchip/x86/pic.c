/*
 * The 8259A pair of a full irqchip: the chip itself is util/i8259.c; here are its lines, which
 * several sources may share.
 */
#include "engine/irqchip/x86/internal.h"

int pic_set_line(struct irqchip *chip, unsigned irq, unsigned source, bool level)
{
	uint8_t *sources = &chip->pic_sources[irq];

	if (level)
		*sources |= 1 << source;
	else
		*sources &= ~(1 << source);
	return i8259_set_line(&chip->pic, irq, *sources);
}
