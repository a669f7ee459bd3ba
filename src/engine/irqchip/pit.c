/*
 * Intel 8254 Programmable Interval Timer (data sheet 231164) as in the PC: channel 0 raises IRQ 0,
 * channel 2's gate and output are in port 0x61 (with KVM_PIT_SPEAKER_DUMMY), channel 1 refreshes
 * nothing.
 *
 * Modelled: all six modes, binary and BCD, latch and read-back commands, gate of channel 2. A count
 * is never stored while it runs: it follows from the time of its load. Simplified: a count that is
 * written while a cycle runs starts at once (modes 1, 2, 3 and 5 would finish the cycle first), and
 * a count of mode 3 that is odd has a high half longer by one.
 *
 * Ticks of channel 0 that the guest had no time for are made up for ("reinjection", as Linux's KVM):
 * a tick is only raised once the one before was acknowledged, and those in between are counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/irqchip/internal.h"

#define FREQUENCY_HZ  1193182
#define NS_PER_SECOND 1000000000ull
#define GSI_PIT       0

/* As Linux's min_timer_period_us, so that a guest cannot keep the timer thread busy for ever. */
#define PERIOD_MIN_NS 200000

/* Ticks to make up for at most; a VM that was stopped for an hour should not race for minutes. */
#define PENDING_MAX 10000

enum { PORT_CHANNEL0 = 0x40, PORT_CHANNEL2 = 0x42, PORT_CONTROL = 0x43, PORT_61 = 0x61 };

/* Which byte is next (kvm_pit_channel_state's read_state, write_state, count_latched, rw_mode). */
enum { BYTE_NONE, BYTE_LOW, BYTE_HIGH, WORD_LOW, WORD_HIGH };

/* Control word. */
#define CONTROL_CHANNEL(value) ((value) >> 6)
#define CONTROL_ACCESS(value)  (((value) >> 4) & 3) /* 0: latch the count */
#define CONTROL_MODE(value)    (((value) >> 1) & 7)
#define CONTROL_BCD            0x01
#define CONTROL_READ_BACK      3 /* as the channel */
#define READ_BACK_NO_COUNT     0x20
#define READ_BACK_NO_STATUS    0x10
#define READ_BACK_CHANNEL(n)   (2 << (n))

/* Port 0x61 (82371SB §4.2.2, NMI status and control). */
#define PORT_61_GATE2   0x01
#define PORT_61_SPEAKER 0x02
#define PORT_61_REFRESH 0x10
#define PORT_61_OUT2    0x20
#define REFRESH_NS      15085 /* half a period of the refresh toggle */

static uint64_t ticks_to_ns(uint64_t ticks)
{
	return ticks * NS_PER_SECOND / FREQUENCY_HZ;
}

/* Input clocks since the count was loaded or triggered, without those while the gate held it. */
static uint64_t elapsed_ticks(const struct pit_channel *channel, uint64_t now_ns)
{
	int64_t elapsed_ns = channel->stopped_ns;

	if (elapsed_ns < 0)
		elapsed_ns = now_ns - channel->state.count_load_time;
	if (elapsed_ns < 0)
		elapsed_ns = 0;
	return (unsigned __int128)elapsed_ns * FREQUENCY_HZ / NS_PER_SECOND;
}

static uint32_t count_modulus(const struct pit_channel *channel)
{
	return channel->state.bcd ? 10000 : 0x10000;
}

static bool is_periodic(const struct pit_channel *channel)
{
	return channel->state.mode == 2 || channel->state.mode == 3;
}

/* Modes 1 and 5 start at a rising edge of the gate, the others when the count is written. */
static bool is_triggered(const struct pit_channel *channel)
{
	return channel->state.mode == 1 || channel->state.mode == 5;
}

static uint16_t to_bcd(unsigned value)
{
	return value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12;
}

static unsigned from_bcd(uint16_t value)
{
	return (value & 0xf) + (value >> 4 & 0xf) * 10 + (value >> 8 & 0xf) * 100 +
	       (value >> 12 & 0xf) * 1000;
}

/* The counting element as the guest reads it. */
static uint16_t current_count(const struct pit_channel *channel, uint64_t now_ns)
{
	uint64_t elapsed = elapsed_ticks(channel, now_ns);
	uint32_t count = channel->state.count, modulus = count_modulus(channel), value;

	if (channel->state.mode == 2)
		value = count - elapsed % count;
	else if (channel->state.mode == 3)
		value = count - 2 * elapsed % count;
	else
		value = (count + modulus - elapsed % modulus) % modulus;
	value %= modulus;
	return channel->state.bcd ? to_bcd(value) : value;
}

static bool output_level(const struct pit_channel *channel, uint64_t now_ns)
{
	uint64_t elapsed = elapsed_ticks(channel, now_ns);
	uint32_t count = channel->state.count;

	switch (channel->state.mode) {
	case 0:
	case 1:
		return elapsed >= count;
	case 2:
		return channel->stopped_ns >= 0 || elapsed % count != count - 1;
	case 3:
		return channel->stopped_ns >= 0 || elapsed % count < (count + 1) / 2;
	default: /* 4, 5: low for one clock */
		return elapsed != count;
	}
}

static void raise_tick(struct pit *pit)
{
	pit->acked = false;
	routing_set_line(pit->chip, IRQCHIP_SOURCE_PIT, GSI_PIT, true);
	routing_set_line(pit->chip, IRQCHIP_SOURCE_PIT, GSI_PIT, false);
}

static void expire(void *context)
{
	struct pit *pit = context;
	uint64_t now, missed, ticks = 1;

	if (pit->period_ns) {
		now = timer_now_ns();
		missed = 0;
		if (now > pit->timer.deadline_ns)
			missed = (now - pit->timer.deadline_ns) / pit->period_ns;
		ticks += missed;
		timer_arm(pit->chip, &pit->timer,
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

/* Have channel 0's timer follow its state; its count was just loaded. */
static void start_irq_timer(struct pit *pit)
{
	const struct pit_channel *channel = &pit->channel[0];
	uint64_t delay_ns = ticks_to_ns(channel->state.count);

	timer_cancel(pit->chip, &pit->timer);
	pit_unmasked(pit);
	/* The HPET has taken over; channel 0's gate never rises, so modes 1 and 5 never start. */
	if ((pit->flags & KVM_PIT_FLAGS_HPET_LEGACY) || is_triggered(channel))
		return;
	if (is_periodic(channel) && delay_ns < PERIOD_MIN_NS)
		delay_ns = PERIOD_MIN_NS;
	pit->period_ns = is_periodic(channel) ? delay_ns : 0;
	timer_arm(pit->chip, &pit->timer, channel->state.count_load_time + delay_ns);
}

/* `value` as the guest wrote it; 0 means the largest count. */
static void load_count(struct pit *pit, unsigned index, uint32_t value)
{
	struct pit_channel *channel = &pit->channel[index];

	if (channel->state.bcd)
		value = from_bcd(value);
	channel->state.count = value ? value : count_modulus(channel);
	if (is_triggered(channel))
		return;
	channel->state.count_load_time = timer_now_ns();
	channel->stopped_ns = channel->state.gate ? -1 : 0;
	if (index == 0)
		start_irq_timer(pit);
}

/* Data sheet, "Gate pin operations summary". */
static void set_gate(struct pit_channel *channel, bool gate)
{
	uint64_t now = timer_now_ns();
	bool rises = gate && !channel->state.gate, falls = !gate && channel->state.gate;

	channel->state.gate = gate;
	if (is_triggered(channel)) {
		if (rises)
			channel->state.count_load_time = now;
	} else if (is_periodic(channel)) {
		if (rises) {
			channel->state.count_load_time = now;
			channel->stopped_ns = -1;
		} else if (falls) {
			channel->stopped_ns = 0;
		}
	} else if (rises && channel->stopped_ns >= 0) {
		channel->state.count_load_time = now - channel->stopped_ns;
		channel->stopped_ns = -1;
	} else if (falls && channel->stopped_ns < 0) {
		channel->stopped_ns = now - channel->state.count_load_time;
	}
}

static void latch_count(struct pit_channel *channel)
{
	struct kvm_pit_channel_state *state = &channel->state;

	if (state->count_latched)
		return;
	state->latched_count = current_count(channel, timer_now_ns());
	state->count_latched = state->rw_mode;
}

static void latch_status(struct pit_channel *channel)
{
	struct kvm_pit_channel_state *state = &channel->state;

	if (state->status_latched)
		return;
	state->status = output_level(channel, timer_now_ns()) << 7 | state->rw_mode << 4 |
			state->mode << 1 | state->bcd;
	state->status_latched = 1;
}

static void write_control(struct pit *pit, uint8_t value)
{
	unsigned index = CONTROL_CHANNEL(value), access = CONTROL_ACCESS(value);
	unsigned mode = CONTROL_MODE(value);
	struct pit_channel *channel;

	if (index == CONTROL_READ_BACK) {
		for (index = 0; index < 3; index++) {
			if (!(value & READ_BACK_CHANNEL(index)))
				continue;
			if (!(value & READ_BACK_NO_COUNT))
				latch_count(&pit->channel[index]);
			if (!(value & READ_BACK_NO_STATUS))
				latch_status(&pit->channel[index]);
		}
		return;
	}
	channel = &pit->channel[index];
	if (!access) {
		latch_count(channel);
		return;
	}
	channel->state.rw_mode = access;
	channel->state.read_state = access;
	channel->state.write_state = access;
	channel->state.count_latched = BYTE_NONE;
	channel->state.status_latched = 0;
	channel->state.mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
	channel->state.bcd = value & CONTROL_BCD;
	/* OUT takes its initial level, and nothing counts before a count is written; for a triggered
	 * mode that level is the one long after a trigger. */
	channel->state.count_load_time = 0;
	channel->stopped_ns = is_triggered(channel) ? -1 : 0;
	if (index == 0)
		timer_cancel(pit->chip, &pit->timer);
}

static void write_count(struct pit *pit, unsigned index, uint8_t value)
{
	struct kvm_pit_channel_state *state = &pit->channel[index].state;

	switch (state->write_state) {
	case BYTE_LOW:
		load_count(pit, index, value);
		break;
	case BYTE_HIGH:
		load_count(pit, index, (uint32_t)value << 8);
		break;
	case WORD_LOW:
		state->write_latch = value;
		state->write_state = WORD_HIGH;
		break;
	case WORD_HIGH:
		state->write_state = WORD_LOW;
		load_count(pit, index, state->write_latch | (uint32_t)value << 8);
		break;
	}
}

static uint8_t read_latched(struct kvm_pit_channel_state *state)
{
	uint8_t which = state->count_latched;

	state->count_latched = which == WORD_LOW ? BYTE_HIGH : BYTE_NONE;
	return which == BYTE_HIGH ? state->latched_count >> 8 : state->latched_count;
}

static uint8_t read_count(struct pit_channel *channel)
{
	struct kvm_pit_channel_state *state = &channel->state;
	uint16_t count;

	if (state->status_latched) {
		state->status_latched = 0;
		return state->status;
	}
	if (state->count_latched)
		return read_latched(state);
	count = current_count(channel, timer_now_ns());
	switch (state->read_state) {
	case BYTE_HIGH:
		return count >> 8;
	case WORD_LOW:
		state->read_state = WORD_HIGH;
		return count;
	case WORD_HIGH:
		state->read_state = WORD_LOW;
		return count >> 8;
	default:
		return count;
	}
}

static uint8_t read_port_61(const struct pit *pit)
{
	const struct pit_channel *channel = &pit->channel[2];
	uint64_t now = timer_now_ns();
	uint8_t value = 0;

	if (channel->state.gate)
		value |= PORT_61_GATE2;
	if (pit->speaker_data)
		value |= PORT_61_SPEAKER;
	if (now / REFRESH_NS & 1)
		value |= PORT_61_REFRESH;
	if (output_level(channel, now))
		value |= PORT_61_OUT2;
	return value;
}

bool pit_has_port(const struct pit *pit, uint16_t port)
{
	return (port >= PORT_CHANNEL0 && port <= PORT_CONTROL) ||
	       (port == PORT_61 && pit->has_port_61);
}

uint8_t pit_read(struct pit *pit, uint16_t port)
{
	if (port == PORT_61)
		return read_port_61(pit);
	if (port == PORT_CONTROL)
		return 0; /* write-only */
	return read_count(&pit->channel[port - PORT_CHANNEL0]);
}

void pit_write(struct pit *pit, uint16_t port, uint8_t value)
{
	if (port == PORT_61) {
		pit->speaker_data = value & PORT_61_SPEAKER;
		set_gate(&pit->channel[2], value & PORT_61_GATE2);
	} else if (port == PORT_CONTROL) {
		write_control(pit, value);
	} else {
		write_count(pit, port - PORT_CHANNEL0, value);
	}
}

int irqchip_get_pit2(struct irqchip *chip, struct kvm_pit_state2 *state)
{
	struct pit *pit;
	uint64_t now;
	unsigned i;
	int result = -ENXIO;

	memset(state, 0, sizeof(*state));
	irqchip_lock(chip);
	pit = chip->pit;
	if (!pit)
		goto out_unlock;
	now = timer_now_ns();
	for (i = 0; i < 3; i++) {
		state->channels[i] = pit->channel[i].state;
		if (pit->channel[i].stopped_ns >= 0)
			state->channels[i].count_load_time = now - pit->channel[i].stopped_ns;
	}
	state->flags = pit->flags;
	if (pit->speaker_data)
		state->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	result = 0;
out_unlock:
	irqchip_unlock(chip);
	return result;
}

/* Values out of range would be used as divisors and indices. */
static void sanitize(struct kvm_pit_channel_state *state)
{
	state->bcd &= 1;
	state->gate = !!state->gate;
	state->mode &= 7;
	if (state->mode > 5)
		state->mode -= 4;
	state->rw_mode &= 3;
	if (state->read_state > WORD_HIGH)
		state->read_state = BYTE_LOW;
	if (state->write_state > WORD_HIGH)
		state->write_state = BYTE_LOW;
	if (state->count_latched > WORD_LOW)
		state->count_latched = BYTE_NONE;
	state->count_load_time = 0;
	if (state->count == 0 || state->count > (state->bcd ? 10000 : 0x10000))
		state->count = state->bcd ? 10000 : 0x10000;
}

/* As Linux's: every count begins anew. */
int irqchip_set_pit2(struct irqchip *chip, const struct kvm_pit_state2 *state)
{
	struct pit *pit;
	struct pit_channel *channel;
	unsigned i;
	int result = -ENXIO;

	irqchip_lock(chip);
	pit = chip->pit;
	if (!pit)
		goto out_unlock;
	pit->flags = state->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	pit->speaker_data = state->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	for (i = 0; i < 3; i++) {
		channel = &pit->channel[i];
		channel->state = state->channels[i];
		sanitize(&channel->state);
		channel->stopped_ns = -1;
		if (is_triggered(channel))
			continue;
		channel->state.count_load_time = timer_now_ns();
		if (!channel->state.gate)
			channel->stopped_ns = 0;
	}
	start_irq_timer(pit);
	result = 0;
out_unlock:
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
	unsigned i;
	int result;

	if (!pit)
		return -ENOMEM;
	result = timer_init(chip, &pit->timer, expire, pit);
	if (result) {
		free(pit);
		return result;
	}
	pit->chip = chip;
	pit->has_port_61 = config->flags & KVM_PIT_SPEAKER_DUMMY;
	pit->reinject = true;
	pit->acked = true;
	for (i = 0; i < 3; i++) {
		pit->channel[i].state.mode = 3;
		pit->channel[i].state.gate = i != 2;
		pit->channel[i].state.rw_mode = WORD_LOW;
		pit->channel[i].state.read_state = WORD_LOW;
		pit->channel[i].state.write_state = WORD_LOW;
		load_count(pit, i, 0);
	}
	chip->pit = pit;
	return 0;
}

void pit_destroy(struct pit *pit)
{
	timer_exit(pit->chip, &pit->timer);
	free(pit);
}
