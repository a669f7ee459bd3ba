/*
 * Intel 8254 Programmable Interval Timer (data sheet 231164) as in the PC: channel 0 raises IRQ 0,
 * channel 2's gate and output are in port 0x61, channel 1 refreshes nothing.
 *
 * Modelled: all six modes, binary and BCD, latch and read-back commands, gate of channel 2. A count
 * is never stored while it runs: it follows from the time of its load. Simplified: a count that is
 * written while a cycle runs starts at once (modes 1, 2, 3 and 5 would finish the cycle first).
 */
#include "util/i8254.h"

#include <stddef.h>
#include <string.h>

#include "util/clock.h"

#define FREQUENCY_HZ  1193182

/* As Linux's min_timer_period_us: a guest cannot keep the host busy for ever. */
#define PERIOD_MIN_NS 200000

enum { PORT_CHANNEL0 = 0x40, PORT_CHANNEL2 = 0x42, PORT_CONTROL = 0x43, PORT_61 = 0x61 };

/* As Linux's KVM says it of a channel whose mode was never written: it does not count. */
#define MODE_NONE 0xff

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
static uint64_t elapsed_ticks(const struct i8254_channel *channel, uint64_t now_ns)
{
	int64_t elapsed_ns = channel->stopped_ns;

	if (elapsed_ns < 0)
		elapsed_ns = now_ns - channel->state.count_load_time;
	if (elapsed_ns < 0)
		elapsed_ns = 0;
	return (unsigned __int128)elapsed_ns * FREQUENCY_HZ / NS_PER_SECOND;
}

static uint32_t count_modulus(const struct i8254_channel *channel)
{
	return channel->state.bcd ? 10000 : 0x10000;
}

static bool is_periodic(const struct i8254_channel *channel)
{
	return channel->state.mode == 2 || channel->state.mode == 3;
}

/* Modes 1 and 5 start at a rising edge of the gate, the others when the count is written. */
static bool is_triggered(const struct i8254_channel *channel)
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
static uint16_t current_count(const struct i8254_channel *channel, uint64_t now_ns)
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

static bool output_level(const struct i8254_channel *channel, uint64_t now_ns)
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

/* Have channel 0's interrupt follow its state; its count was just loaded. */
static void schedule(struct i8254 *pit)
{
	const struct i8254_channel *channel = &pit->channel[0];
	uint64_t delay_ns = ticks_to_ns(channel->state.count), period_ns = 0;

	/* Channel 0's gate never rises, so modes 1 and 5 never start. */
	if (pit->is_irq_disabled || is_triggered(channel) || channel->state.mode == MODE_NONE) {
		pit->host->schedule(pit->context, 0, 0);
		return;
	}
	if (is_periodic(channel)) {
		if (delay_ns < PERIOD_MIN_NS)
			delay_ns = PERIOD_MIN_NS;
		period_ns = delay_ns;
	}
	pit->host->schedule(pit->context, channel->state.count_load_time + delay_ns, period_ns);
}

/* `value` as the guest wrote it; 0 means the largest count. */
static void load_count(struct i8254 *pit, unsigned index, uint32_t value, uint64_t now_ns)
{
	struct i8254_channel *channel = &pit->channel[index];

	if (channel->state.bcd)
		value = from_bcd(value);
	channel->state.count = value ? value : count_modulus(channel);
	if (is_triggered(channel))
		return;
	channel->state.count_load_time = now_ns;
	channel->stopped_ns = channel->state.gate ? -1 : 0;
	if (index == 0)
		schedule(pit);
}

/* Data sheet, "Gate pin operations summary". */
static void set_gate(struct i8254_channel *channel, bool gate, uint64_t now_ns)
{
	bool rises = gate && !channel->state.gate, falls = !gate && channel->state.gate;

	channel->state.gate = gate;
	if (is_triggered(channel)) {
		if (rises)
			channel->state.count_load_time = now_ns;
	} else if (is_periodic(channel)) {
		if (rises) {
			channel->state.count_load_time = now_ns;
			channel->stopped_ns = -1;
		} else if (falls) {
			channel->stopped_ns = 0;
		}
	} else if (rises && channel->stopped_ns >= 0) {
		channel->state.count_load_time = now_ns - channel->stopped_ns;
		channel->stopped_ns = -1;
	} else if (falls && channel->stopped_ns < 0) {
		channel->stopped_ns = now_ns - channel->state.count_load_time;
	}
}

static void latch_count(struct i8254_channel *channel, uint64_t now_ns)
{
	struct kvm_pit_channel_state *state = &channel->state;

	if (state->count_latched)
		return;
	state->latched_count = current_count(channel, now_ns);
	state->count_latched = state->rw_mode;
}

static void latch_status(struct i8254_channel *channel, uint64_t now_ns)
{
	struct kvm_pit_channel_state *state = &channel->state;

	if (state->status_latched)
		return;
	state->status = output_level(channel, now_ns) << 7 | state->rw_mode << 4 |
			(state->mode & 7) << 1 | state->bcd;
	state->status_latched = 1;
}

static void write_control(struct i8254 *pit, uint8_t value, uint64_t now_ns)
{
	unsigned index = CONTROL_CHANNEL(value), access = CONTROL_ACCESS(value);
	unsigned mode = CONTROL_MODE(value);
	struct i8254_channel *channel;

	if (index == CONTROL_READ_BACK) {
		for (index = 0; index < 3; index++) {
			if (!(value & READ_BACK_CHANNEL(index)))
				continue;
			if (!(value & READ_BACK_NO_COUNT))
				latch_count(&pit->channel[index], now_ns);
			if (!(value & READ_BACK_NO_STATUS))
				latch_status(&pit->channel[index], now_ns);
		}
		return;
	}
	channel = &pit->channel[index];
	if (!access) {
		latch_count(channel, now_ns);
		return;
	}
	channel->state.rw_mode = access;
	channel->state.read_state = access;
	channel->state.write_state = access;
	channel->state.count_latched = BYTE_NONE;
	channel->state.status_latched = 0;
	channel->state.mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
	channel->state.bcd = value & CONTROL_BCD;
	/* OUT takes its initial level, and nothing counts before a count is written; for a
	 * triggered mode that level is the one long after a trigger. */
	channel->state.count_load_time = 0;
	channel->stopped_ns = is_triggered(channel) ? -1 : 0;
	if (index == 0)
		pit->host->schedule(pit->context, 0, 0);
}

static void write_count(struct i8254 *pit, unsigned index, uint8_t value, uint64_t now_ns)
{
	struct kvm_pit_channel_state *state = &pit->channel[index].state;

	switch (state->write_state) {
	case BYTE_LOW:
		load_count(pit, index, value, now_ns);
		break;
	case BYTE_HIGH:
		load_count(pit, index, (uint32_t)value << 8, now_ns);
		break;
	case WORD_LOW:
		state->write_latch = value;
		state->write_state = WORD_HIGH;
		break;
	case WORD_HIGH:
		state->write_state = WORD_LOW;
		load_count(pit, index, state->write_latch | (uint32_t)value << 8, now_ns);
		break;
	}
}

static uint8_t read_latched(struct kvm_pit_channel_state *state)
{
	uint8_t which = state->count_latched;

	state->count_latched = which == WORD_LOW ? BYTE_HIGH : BYTE_NONE;
	return which == BYTE_HIGH ? state->latched_count >> 8 : state->latched_count;
}

static uint8_t read_count(struct i8254_channel *channel, uint64_t now_ns)
{
	struct kvm_pit_channel_state *state = &channel->state;
	uint16_t count;

	if (state->status_latched) {
		state->status_latched = 0;
		return state->status;
	}
	if (state->count_latched)
		return read_latched(state);
	count = current_count(channel, now_ns);
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

static uint8_t read_port_61(const struct i8254 *pit, uint64_t now_ns)
{
	const struct i8254_channel *channel = &pit->channel[2];
	uint8_t value = 0;

	if (channel->state.gate)
		value |= PORT_61_GATE2;
	if (pit->speaker_data)
		value |= PORT_61_SPEAKER;
	if (now_ns / REFRESH_NS & 1)
		value |= PORT_61_REFRESH;
	if (output_level(channel, now_ns))
		value |= PORT_61_OUT2;
	return value;
}

uint8_t i8254_read(struct i8254 *pit, uint16_t port, uint64_t now_ns)
{
	if (port == PORT_61)
		return read_port_61(pit, now_ns);
	if (port == PORT_CONTROL)
		return 0; /* write-only */
	return read_count(&pit->channel[port & 3], now_ns);
}

void i8254_write(struct i8254 *pit, uint16_t port, uint8_t value, uint64_t now_ns)
{
	if (port == PORT_61) {
		pit->speaker_data = value & PORT_61_SPEAKER;
		set_gate(&pit->channel[2], value & PORT_61_GATE2, now_ns);
	} else if (port == PORT_CONTROL) {
		write_control(pit, value, now_ns);
	} else {
		write_count(pit, port & 3, value, now_ns);
	}
}

void i8254_get_state(const struct i8254 *pit, struct kvm_pit_state2 *state, uint64_t now_ns)
{
	unsigned i;

	memset(state, 0, sizeof(*state));
	for (i = 0; i < 3; i++) {
		state->channels[i] = pit->channel[i].state;
		if (pit->channel[i].stopped_ns >= 0)
			state->channels[i].count_load_time = now_ns - pit->channel[i].stopped_ns;
	}
	if (pit->is_irq_disabled)
		state->flags |= KVM_PIT_FLAGS_HPET_LEGACY;
	if (pit->speaker_data)
		state->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
}

/* Values out of range would be used as divisors and indices. */
static void sanitize(struct kvm_pit_channel_state *state)
{
	state->bcd &= 1;
	state->gate = !!state->gate;
	if (state->mode != MODE_NONE) {
		state->mode &= 7;
		if (state->mode > 5)
			state->mode -= 4;
	}
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

void i8254_set_state(struct i8254 *pit, const struct kvm_pit_state2 *state, uint64_t now_ns)
{
	struct i8254_channel *channel;
	unsigned i;

	pit->is_irq_disabled = state->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	pit->speaker_data = state->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	for (i = 0; i < 3; i++) {
		channel = &pit->channel[i];
		channel->state = state->channels[i];
		sanitize(&channel->state);
		channel->stopped_ns = -1;
		if (is_triggered(channel))
			continue;
		channel->state.count_load_time = now_ns;
		if (!channel->state.gate)
			channel->stopped_ns = 0;
	}
	schedule(pit);
}

void i8254_init(struct i8254 *pit, const struct i8254_host *host, void *context, uint64_t now_ns)
{
	struct kvm_pit_channel_state *state;
	unsigned i;

	memset(pit, 0, sizeof(*pit));
	pit->host = host;
	pit->context = context;
	for (i = 0; i < 3; i++) {
		state = &pit->channel[i].state;
		/* Power-on leaves the chip undefined, and firmware programs it. */
		state->mode = MODE_NONE;
		state->gate = i != 2;
		state->rw_mode = WORD_LOW;
		state->read_state = WORD_LOW;
		state->write_state = WORD_LOW;
		load_count(pit, i, 0, now_ns);
	}
}

static void transfer_channel(struct i8254_channel *channel, struct state_stream *state,
			     uint64_t now_ns)
{
	struct kvm_pit_channel_state *chip = &channel->state;
	int64_t passed_ns = now_ns - chip->count_load_time;

	state_u8(state, "mode", &chip->mode);
	state_check(state, "mode", chip->mode <= 5 || chip->mode == MODE_NONE);
	state_u8(state, "bcd", &chip->bcd);
	state_check(state, "bcd", chip->bcd <= 1);
	state_u8(state, "gate", &chip->gate);
	state_check(state, "gate", chip->gate <= 1);
	state_u32(state, "count", &chip->count);
	state_check(state, "count", chip->count && chip->count <= count_modulus(channel));
	state_u16(state, "latched_count", &chip->latched_count);
	state_u8(state, "count_latched", &chip->count_latched);
	state_check(state, "count_latched", chip->count_latched <= WORD_LOW);
	state_u8(state, "status_latched", &chip->status_latched);
	state_check(state, "status_latched", chip->status_latched <= 1);
	state_u8(state, "status", &chip->status);
	state_u8(state, "read_state", &chip->read_state);
	state_check(state, "read_state", chip->read_state <= WORD_HIGH);
	state_u8(state, "write_state", &chip->write_state);
	state_check(state, "write_state", chip->write_state <= WORD_HIGH);
	state_u8(state, "write_latch", &chip->write_latch);
	state_u8(state, "rw_mode", &chip->rw_mode);
	state_check(state, "rw_mode", chip->rw_mode <= WORD_LOW);
	state_i64(state, "passed_ns", &passed_ns);
	state_check(state, "passed_ns", passed_ns >= 0 && passed_ns <= INT64_MAX / 2);
	chip->count_load_time = now_ns - passed_ns;
	state_i64(state, "stopped_ns", &channel->stopped_ns);
	state_check(state, "stopped_ns", channel->stopped_ns >= -1);
}

void i8254_transfer(struct i8254 *pit, struct state_stream *state, uint64_t now_ns)
{
	unsigned i;

	for (i = 0; i < 3; i++)
		transfer_channel(&pit->channel[i], state, now_ns);
	state_bool(state, "speaker_data", &pit->speaker_data);
	state_bool(state, "is_irq_disabled", &pit->is_irq_disabled);
}
