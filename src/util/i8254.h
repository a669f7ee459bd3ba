/*
 * The 8254 Programmable Interval Timer of a PC, with port 0x61, as a pure state machine: no locks,
 * no threads, no clock of its own. The engine wraps it for a full in-kernel irqchip, the monitor
 * for a split one. Times are nanoseconds on CLOCK_MONOTONIC.
 */
#ifndef KVIK_UTIL_I8254_H
#define KVIK_UTIL_I8254_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/state.h"

#define I8254_GSI 0 /* what channel 0 drives */

struct i8254_host {
	/* Channel 0's OUT is to rise at `deadline_ns`, and then every `period_ns` unless that is 0.
	 * A deadline of 0: not any more. */
	void (*schedule)(void *context, uint64_t deadline_ns, uint64_t period_ns);
};

struct i8254_channel {
	struct kvm_pit_channel_state state;
	int64_t stopped_ns; /* while the gate holds the count: how long it had run; -1: it runs */
};

struct i8254 {
	struct i8254_channel channel[3];
	bool speaker_data;    /* port 0x61 bit 1 */
	bool is_irq_disabled; /* the HPET has taken channel 0's place */
	const struct i8254_host *host;
	void *context;
};

/* As after power-on, at this time of the owner's clock, by which all times here are. */
void i8254_init(struct i8254 *pit, const struct i8254_host *host, void *context, uint64_t now_ns);

/* Ports 0x40-0x43 and 0x61, byte-wide. */
uint8_t i8254_read(struct i8254 *pit, uint16_t port, uint64_t now_ns);
void i8254_write(struct i8254 *pit, uint16_t port, uint8_t value, uint64_t now_ns);

/* KVM_GET_PIT2 and KVM_SET_PIT2, which begins every count anew, as Linux does. */
void i8254_get_state(const struct i8254 *pit, struct kvm_pit_state2 *state, uint64_t now_ns);
void i8254_set_state(struct i8254 *pit, const struct kvm_pit_state2 *state, uint64_t now_ns);

/* Save or load all channels, checked; counts go on from where they were. Nothing is scheduled: the
 * owner knows when the next tick was due. */
void i8254_transfer(struct i8254 *pit, struct state_stream *state, uint64_t now_ns);

#endif
