/*
 * The local APIC's timer: one-shot, periodic and TSC-deadline (Intel SDM vol. 3 §11.5.4).
 *
 * The count runs at 1 GHz divided by the divide configuration, as Linux's KVM has it, and is never
 * stored while it runs: it follows from the time at which it reaches zero. A mask in the LVT entry
 * stops the interrupt, not the count. Switching to or from TSC-deadline mode disarms (§11.5.4.1).
 *
 * The static functions are called with timer_lock held, but for expire, which the timer thread calls.
 */
#include "engine/irqchip/x86/internal.h"

#define TICK_NS 1

/* A periodic timer does not tick more often, or a guest could keep the timer thread busy for
 * ever. */
#define PERIOD_MIN_NS 200000

enum timer_mode { ONE_SHOT = 0, PERIODIC = 1, TSC_DEADLINE = 2 };

static enum timer_mode mode_of(uint32_t lvt)
{
	return (lvt & LAPIC_TIMER_MODE_MASK) >> 17;
}

static uint64_t period_ns(const struct lapic *lapic)
{
	uint64_t period = (uint64_t)lapic->regs[LAPIC_TIMER_INITIAL] * lapic->divide * TICK_NS;

	if (mode_of(lapic->regs[LAPIC_LVT_TIMER]) == PERIODIC && period < PERIOD_MIN_NS)
		period = PERIOD_MIN_NS;
	return period;
}

static void start_at(struct lapic *lapic, uint64_t target_ns)
{
	lapic->target_ns = target_ns;
	timer_arm(&lapic->chip->timers, &lapic->timer, target_ns);
}

static void stop(struct lapic *lapic)
{
	lapic->target_ns = 0;
	lapic->tsc_deadline = 0;
	timer_cancel(&lapic->chip->timers, &lapic->timer);
}

static void fire(struct lapic *lapic)
{
	uint64_t now, period;

	if (mode_of(lapic->regs[LAPIC_LVT_TIMER]) == PERIODIC) {
		now = monotonic_ns();
		period = period_ns(lapic);
		/* Periods that were missed altogether would only coalesce in IRR. */
		if (now > lapic->target_ns)
			lapic->target_ns += (now - lapic->target_ns) / period * period;
		start_at(lapic, lapic->target_ns + period);
	} else {
		lapic->target_ns = 0;
		lapic->tsc_deadline = 0;
	}
	lapic_deliver_local(lapic, LAPIC_LVT_TIMER);
}

static void expire(void *context)
{
	struct lapic *lapic = context;

	pthread_mutex_lock(&lapic->timer_lock);
	if (timer_claim(&lapic->chip->timers, &lapic->timer))
		fire(lapic);
	pthread_mutex_unlock(&lapic->timer_lock);
}

/* Guest TSC ticks as nanoseconds, rounded up: never early. */
static uint64_t tsc_to_ns(const struct lapic *lapic, uint64_t ticks)
{
	uint32_t khz = lapic->chip->host->vcpu_tsc_khz(lapic->vcpu_context);
	unsigned __int128 ns = (unsigned __int128)ticks * 1000000;

	if (khz == 0)
		khz = 1;
	ns = (ns + khz - 1) / khz;
	return ns > INT64_MAX ? INT64_MAX : (uint64_t)ns;
}

static void write_deadline(struct lapic *lapic, uint64_t tsc)
{
	uint64_t now_tsc;

	/* §11.5.4.1: in other modes a write has no effect. */
	if (mode_of(lapic->regs[LAPIC_LVT_TIMER]) != TSC_DEADLINE)
		return;
	if (!tsc) {
		stop(lapic);
		return;
	}
	lapic->tsc_deadline = tsc;
	now_tsc = lapic->chip->host->vcpu_read_tsc(lapic->vcpu_context);
	if (now_tsc >= tsc) {
		timer_cancel(&lapic->chip->timers, &lapic->timer);
		fire(lapic);
		return;
	}
	start_at(lapic, monotonic_ns() + tsc_to_ns(lapic, tsc - now_tsc));
}

void lapic_timer_write_deadline(struct lapic *lapic, uint64_t tsc)
{
	pthread_mutex_lock(&lapic->timer_lock);
	write_deadline(lapic, tsc);
	pthread_mutex_unlock(&lapic->timer_lock);
}

uint64_t lapic_timer_read_deadline(struct lapic *lapic)
{
	uint64_t tsc;

	pthread_mutex_lock(&lapic->timer_lock);
	tsc = lapic->tsc_deadline;
	pthread_mutex_unlock(&lapic->timer_lock);
	return tsc;
}

void lapic_timer_write_lvt(struct lapic *lapic, uint32_t value)
{
	enum timer_mode before, after = mode_of(value);

	pthread_mutex_lock(&lapic->timer_lock);
	before = mode_of(lapic->regs[LAPIC_LVT_TIMER]);
	lapic->regs[LAPIC_LVT_TIMER] = value;
	if (before != after && (before == TSC_DEADLINE || after == TSC_DEADLINE)) {
		stop(lapic);
		lapic->regs[LAPIC_TIMER_INITIAL] = 0;
	}
	pthread_mutex_unlock(&lapic->timer_lock);
}

void lapic_timer_write_initial(struct lapic *lapic, uint32_t value)
{
	/* Only the owner changes the mode. */
	if (mode_of(lapic->regs[LAPIC_LVT_TIMER]) == TSC_DEADLINE)
		return;
	pthread_mutex_lock(&lapic->timer_lock);
	lapic->regs[LAPIC_TIMER_INITIAL] = value;
	if (value)
		start_at(lapic, monotonic_ns() + period_ns(lapic));
	else
		stop(lapic);
	pthread_mutex_unlock(&lapic->timer_lock);
}

static uint32_t current_count(const struct lapic *lapic)
{
	uint64_t now = monotonic_ns(), remaining, count;

	if (!lapic->target_ns || lapic->target_ns <= now || lapic->tsc_deadline)
		return 0;
	remaining = lapic->target_ns - now;
	count = remaining / TICK_NS / lapic->divide;
	/* A period that was stretched to PERIOD_MIN_NS must not show a count beyond its start. */
	return count > lapic->regs[LAPIC_TIMER_INITIAL] ? lapic->regs[LAPIC_TIMER_INITIAL] : count;
}

uint32_t lapic_timer_current(struct lapic *lapic)
{
	uint32_t current;

	pthread_mutex_lock(&lapic->timer_lock);
	current = current_count(lapic);
	pthread_mutex_unlock(&lapic->timer_lock);
	return current;
}

uint32_t lapic_timer_save(struct lapic *lapic)
{
	uint32_t current;

	pthread_mutex_lock(&lapic->timer_lock);
	current = current_count(lapic);
	/* Within the last tick, and past it when the timer thread is late: not fired yet. */
	if (!current && lapic->target_ns && !lapic->tsc_deadline)
		current = 1;
	pthread_mutex_unlock(&lapic->timer_lock);
	return current;
}

/* §11.5.4, figure 11-10: bits 3, 1 and 0 select 2, 4, ... 128, and all ones 1. */
static void update_divide(struct lapic *lapic)
{
	uint32_t value = lapic->regs[LAPIC_TIMER_DIVIDE];
	unsigned exponent = ((value & 3) | (value & 8) >> 1) + 1;

	lapic->divide = 1u << (exponent & 7);
}

void lapic_timer_write_divide(struct lapic *lapic, uint32_t value)
{
	uint32_t current;

	pthread_mutex_lock(&lapic->timer_lock);
	current = current_count(lapic);
	lapic->regs[LAPIC_TIMER_DIVIDE] = value;
	update_divide(lapic);
	/* The count goes on from where it is, at the new pace. */
	if (current)
		start_at(lapic, monotonic_ns() + (uint64_t)current * lapic->divide * TICK_NS);
	pthread_mutex_unlock(&lapic->timer_lock);
}

static void restore(struct lapic *lapic, uint32_t current)
{
	uint64_t remaining;

	stop(lapic);
	update_divide(lapic);
	if (mode_of(lapic->regs[LAPIC_LVT_TIMER]) == TSC_DEADLINE ||
	    !lapic->regs[LAPIC_TIMER_INITIAL])
		return;
	remaining = (uint64_t)current * lapic->divide * TICK_NS;
	/*
	 * A count of 0 is one that has run out, or that who saved the state did not know: QEMU does not.
	 * A one-shot fires then, like Linux's (lapic.c, set_target_expiration): once too often harms no
	 * guest, once too seldom stops its clock.
	 */
	if (remaining > period_ns(lapic) ||
	    (!current && mode_of(lapic->regs[LAPIC_LVT_TIMER]) == PERIODIC))
		remaining = period_ns(lapic);
	start_at(lapic, monotonic_ns() + remaining);
}

void lapic_timer_restore(struct lapic *lapic, uint32_t current)
{
	pthread_mutex_lock(&lapic->timer_lock);
	restore(lapic, current);
	pthread_mutex_unlock(&lapic->timer_lock);
}

void lapic_timer_reset(struct lapic *lapic)
{
	pthread_mutex_lock(&lapic->timer_lock);
	stop(lapic);
	update_divide(lapic);
	pthread_mutex_unlock(&lapic->timer_lock);
}

int lapic_timer_init(struct lapic *lapic)
{
	pthread_mutex_init(&lapic->timer_lock, NULL);
	return timer_init(&lapic->chip->timers, &lapic->timer, expire, lapic);
}

void lapic_timer_exit(struct lapic *lapic)
{
	timer_exit(&lapic->chip->timers, &lapic->timer);
	pthread_mutex_destroy(&lapic->timer_lock);
}
