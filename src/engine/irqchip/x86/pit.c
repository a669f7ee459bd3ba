/*
 * The PIT of a full irqchip: the chip itself is util/i8254.c; here are its ports, its interrupt and
 * the timer behind it.
 *
 * Ticks of channel 0 that the guest had no time for are made up for ("reinjection", as Linux's
 * KVM): a tick is only raised once the one before was acknowledged, and those in between are
 * counted.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/irqchip/x86/internal.h"

/* Ticks to make up for at most; a VM that was stopped for an hour should not race for minutes. */
#define PENDING_MAX 10000

enum { PORT_CHANNEL0 = 0x40, PORT_CONTROL = 0x43, PORT_61 = 0x61 };

static void raise_tick(struct pit *pit)
{
	pit->acked = false;
	lines_set(pit->chip, IRQCHIP_SOURCE_PIT, I8254_GSI, true);
	lines_set(pit->chip, IRQCHIP_SOURCE_PIT, I8254_GSI, false);
}

static void tick(struct pit *pit)
{
	uint64_t now, missed, ticks = 1;

	if (pit->period_ns) {
		now = monotonic_ns();
		missed = 0;
		if (now > pit->timer.deadline_ns)
			missed = (now - pit->timer.deadline_ns) / pit->period_ns;
		ticks += missed;
		timer_arm(&pit->chip->timers, &pit->timer,
			  pit->timer.deadline_ns + ticks * pit->period_ns);
	}
	if (!pit->reinject) {
		raise_tick(pit);
		return;
	}
	pit->pending = ticks > PENDING_MAX - pit->pending ? PENDING_MAX : pit->pending + ticks;
	if (pit->acked)
		raise_tick(pit);
}

static void expire(void *context)
{
	struct pit *pit = context;

	irqchip_lock(pit->chip);
	if (timer_claim(&pit->chip->timers, &pit->timer))
		tick(pit);
	irqchip_unlock(pit->chip);
}

void pit_acked(struct pit *pit)
{
	pit->acked = true;
	if (!pit->reinject || !pit->pending)
		return;
	pit->pending--;
	if (pit->pending)
		raise_tick(pit);
}

/* What was missed while masked is not made up for, and nobody will acknowledge it. */
void pit_unmasked(struct pit *pit)
{
	pit->pending = 0;
	pit->acked = true;
}

static void schedule(void *context, uint64_t deadline_ns, uint64_t period_ns)
{
	struct pit *pit = context;

	if (!deadline_ns) {
		timer_cancel(&pit->chip->timers, &pit->timer);
		return;
	}
	/* A new count: nothing is owed any more for the one before. */
	pit_unmasked(pit);
	pit->period_ns = period_ns;
	timer_arm(&pit->chip->timers, &pit->timer, deadline_ns);
}

static const struct i8254_host pit_host = {
	.schedule = schedule,
};

bool pit_has_port(const struct pit *pit, uint16_t port)
{
	return (port >= PORT_CHANNEL0 && port <= PORT_CONTROL) ||
	       (port == PORT_61 && pit->has_port_61);
}

uint8_t pit_read(struct pit *pit, uint16_t port)
{
	return i8254_read(&pit->timer_chip, port, monotonic_ns());
}

void pit_write(struct pit *pit, uint16_t port, uint8_t value)
{
	i8254_write(&pit->timer_chip, port, value, monotonic_ns());
}

int irqchip_get_pit2(struct irqchip *chip, struct kvm_pit_state2 *state)
{
	int result = -ENXIO;

	irqchip_lock(chip);
	if (chip->pit) {
		i8254_get_state(&chip->pit->timer_chip, state, monotonic_ns());
		result = 0;
	}
	irqchip_unlock(chip);
	return result;
}

int irqchip_set_pit2(struct irqchip *chip, const struct kvm_pit_state2 *state)
{
	int result = -ENXIO;

	irqchip_lock(chip);
	if (chip->pit) {
		i8254_set_state(&chip->pit->timer_chip, state, monotonic_ns());
		result = 0;
	}
	irqchip_unlock(chip);
	return result;
}

int irqchip_pit_reinject(struct irqchip *chip, bool reinject)
{
	int result = -ENXIO;

	irqchip_lock(chip);
	if (chip->pit) {
		chip->pit->reinject = reinject;
		pit_unmasked(chip->pit);
		result = 0;
	}
	irqchip_unlock(chip);
	return result;
}

int pit_create(struct irqchip *chip, const struct kvm_pit_config *config)
{
	struct pit *pit = calloc(1, sizeof(*pit));
	int result;

	if (!pit)
		return -ENOMEM;
	result = timer_init(&chip->timers, &pit->timer, expire, pit);
	if (result) {
		free(pit);
		return result;
	}
	pit->chip = chip;
	pit->has_port_61 = config->flags & KVM_PIT_SPEAKER_DUMMY;
	pit->reinject = true;
	i8254_init(&pit->timer_chip, &pit_host, pit, monotonic_ns());
	chip->pit = pit;
	return 0;
}

void pit_destroy(struct pit *pit)
{
	timer_exit(&pit->chip->timers, &pit->timer);
	free(pit);
}
