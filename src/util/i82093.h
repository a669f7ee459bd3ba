/*
 * The I/O APIC as a pure state machine: no locks, no threads, no knowledge of what delivers its
 * messages. The engine wraps it for a full in-kernel irqchip, the monitor for a split one.
 */
#ifndef KVIK_UTIL_I82093_H
#define KVIK_UTIL_I82093_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/state.h"

#define I82093_PINS         KVM_IOAPIC_NUM_PINS
#define I82093_DEFAULT_BASE 0xfec00000 /* guest-physical address in a PC */
#define I82093_MMIO_SIZE    0x100      /* bytes that are decoded, as in Linux's KVM */

/* Redirection table entries (82093AA §3.2.4); the low 16 bits are laid out as an MSI's data. */
#define I82093_VECTOR           0xffull
#define I82093_DELIVERY_MODE    (7ull << 8)
#define I82093_LOGICAL          (1ull << 11)
#define I82093_DELIVERY_STATUS  (1ull << 12)
#define I82093_REMOTE_IRR       (1ull << 14)
#define I82093_LEVEL            (1ull << 15)
#define I82093_MASKED           (1ull << 16)
#define I82093_DESTINATION_BITS 56 /* shift of the 8-bit destination */

struct i82093_host {
	/* Send the message that `entry` describes: >0 accepted by a local APIC, <=0 not. */
	int (*deliver)(void *context, unsigned pin, uint64_t entry);
	/* An EOI arrived for the vector of `pin`. May be NULL. */
	void (*acked)(void *context, unsigned pin);
	/* The guest wrote the entry of `pin`, which was `old` before. May be NULL. */
	void (*entry_changed)(void *context, unsigned pin, uint64_t old);
};

struct i82093 {
	uint64_t redirect[I82093_PINS]; /* IOREDTBL */
	uint32_t vectors[8];            /* which vectors some entry names, a bit each */
	uint32_t lines;                 /* input levels, a bit a pin */
	uint32_t delivered;             /* of those, edges that were sent on */
	uint8_t select;                 /* IOREGSEL */
	uint8_t id;                     /* IOAPICID, 4 bits */
	const struct i82093_host *host;
	void *context;
};

/* As after power-on: all pins masked. `host` and `context` outlive it. */
void i82093_init(struct i82093 *ioapic, const struct i82093_host *host, void *context);

/* Drive input `pin` (0..23). >0 delivered, 0 coalesced with an earlier one, <0 masked or
 * refused. */
int i82093_set_line(struct i82093 *ioapic, unsigned pin, bool level);

/* A local APIC ended `vector`, which it had received as level- or edge-triggered. */
void i82093_eoi(struct i82093 *ioapic, uint8_t vector, bool is_level);

/* An access of 1, 2, 4 or 8 bytes at `offset` from the base. */
void i82093_mmio(struct i82093 *ioapic, uint64_t offset, void *data, unsigned size, bool is_write);

/* KVM_GET_IRQCHIP and KVM_SET_IRQCHIP: any values are taken, and what is pending then is delivered. */
void i82093_get_state(const struct i82093 *ioapic, struct kvm_ioapic_state *state);
void i82093_set_state(struct i82093 *ioapic, const struct kvm_ioapic_state *state);

/* Save or load all registers and lines, checked. What is loaded sends nothing: that was sent. */
void i82093_transfer(struct i82093 *ioapic, struct state_stream *state);

#endif
