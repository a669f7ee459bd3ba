/*
 * The wire from a device to the interrupt controllers: a global system interrupt (GSI) and who
 * drives it. Devices keep a copy of the struct; setting a line may be done on any thread, with the
 * device's lock held (below it there is only the KVM contract).
 */
#ifndef KVIK_DEVICE_IRQ_LINE_H
#define KVIK_DEVICE_IRQ_LINE_H

#include <stdbool.h>

struct irq_line {
	void (*set)(void *context, unsigned gsi, bool level);
	void *context;
	unsigned gsi;
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->context, line->gsi, level);
}

#endif
