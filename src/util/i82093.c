/*
 * Intel 82093AA I/O Advanced Programmable Interrupt Controller (data sheet 290566), with 24 inputs,
 * version 0x11 as Linux's KVM shows it: an EOI comes from the local APICs only (there is no EOI
 * register), and messages go over the system bus rather than an APIC bus.
 *
 * A level-triggered entry sends once and sets its remote IRR; the local APIC's EOI clears it, and a
 * line that is still asserted sends again. A guest may also clear remote IRR by switching the entry
 * to edge and back, which Linux and Xen do.
 * Not modelled: delivery status (sending takes no time), polarity (lines here are logical levels),
 * the arbitration id beyond reading back the id.
 */
#include "util/i82093.h"

#include <stddef.h>
#include <string.h>

enum { MMIO_SELECT = 0x00, MMIO_WINDOW = 0x10 };
enum { REGISTER_ID, REGISTER_VERSION, REGISTER_ARBITRATION, REGISTER_TABLE = 0x10 };

#define VERSION 0x11

/* What a guest cannot write in an entry. */
#define ENTRY_READ_ONLY (I82093_DELIVERY_STATUS | I82093_REMOTE_IRR)

static void count_vectors(struct i82093 *ioapic)
{
	unsigned pin, vector;

	memset(ioapic->vectors, 0, sizeof(ioapic->vectors));
	for (pin = 0; pin < I82093_PINS; pin++) {
		vector = ioapic->redirect[pin] & I82093_VECTOR;
		ioapic->vectors[vector / 32] |= 1u << (vector % 32);
	}
}

static int service(struct i82093 *ioapic, unsigned pin)
{
	uint64_t *entry = &ioapic->redirect[pin];
	bool is_level = *entry & I82093_LEVEL;
	int result;

	if ((*entry & I82093_MASKED) || (is_level && (*entry & I82093_REMOTE_IRR)))
		return -1;
	/* Set before sending: what `deliver` wakes up may already ask. */
	if (!is_level)
		ioapic->delivered |= 1u << pin;
	result = ioapic->host->deliver(ioapic->context, pin, *entry);
	if (is_level && result > 0)
		*entry |= I82093_REMOTE_IRR;
	return result;
}

int i82093_set_line(struct i82093 *ioapic, unsigned pin, bool level)
{
	uint32_t bit = 1u << pin;
	uint64_t entry = ioapic->redirect[pin];
	bool was_high = ioapic->lines & bit;

	if (!level) {
		ioapic->lines &= ~bit;
		return 1;
	}
	ioapic->lines |= bit;
	if (entry & I82093_LEVEL) {
		if (entry & I82093_REMOTE_IRR)
			return 0;
	} else {
		/* Asserted again while high: coalesced, but due again after a restore (as Linux). */
		ioapic->delivered &= ~bit;
		if (was_high)
			return 0;
	}
	return service(ioapic, pin);
}

void i82093_eoi(struct i82093 *ioapic, uint8_t vector, bool is_level)
{
	unsigned pin;
	uint64_t entry;

	if (!(ioapic->vectors[vector / 32] & (1u << (vector % 32))))
		return;
	for (pin = 0; pin < I82093_PINS; pin++) {
		if ((ioapic->redirect[pin] & I82093_VECTOR) != vector)
			continue;
		if (ioapic->host->acked)
			ioapic->host->acked(ioapic->context, pin);
		entry = ioapic->redirect[pin];
		if (!is_level || !(entry & I82093_LEVEL))
			continue;
		ioapic->redirect[pin] &= ~I82093_REMOTE_IRR;
		if (ioapic->lines & (1u << pin))
			service(ioapic, pin);
	}
}

static void write_entry(struct i82093 *ioapic, unsigned pin, bool is_high_half, uint32_t value)
{
	uint64_t old = ioapic->redirect[pin], entry;

	if (is_high_half)
		entry = (old & 0xffffffff) | (uint64_t)value << 32;
	else
		entry = (old & ~0xffffffffull) | (old & ENTRY_READ_ONLY) |
			(value & ~(uint32_t)ENTRY_READ_ONLY);
	if (!(entry & I82093_LEVEL))
		entry &= ~I82093_REMOTE_IRR;
	ioapic->redirect[pin] = entry;
	count_vectors(ioapic);
	if (ioapic->host->entry_changed)
		ioapic->host->entry_changed(ioapic->context, pin, old);
	/* A level that waited for its entry to be unmasked; an edge that came while masked is
	 * lost. */
	if ((entry & I82093_LEVEL) && (ioapic->lines & (1u << pin)))
		service(ioapic, pin);
}

static void write_register(struct i82093 *ioapic, uint32_t value)
{
	unsigned pin = (ioapic->select - REGISTER_TABLE) / 2;

	switch (ioapic->select) {
	case REGISTER_ID:
		ioapic->id = (value >> 24) & 0xf;
		break;
	case REGISTER_VERSION:
	case REGISTER_ARBITRATION:
		break;
	default:
		if (ioapic->select >= REGISTER_TABLE && pin < I82093_PINS)
			write_entry(ioapic, pin, ioapic->select & 1, value);
		break;
	}
}

static uint32_t read_register(const struct i82093 *ioapic)
{
	unsigned pin = (ioapic->select - REGISTER_TABLE) / 2;

	switch (ioapic->select) {
	case REGISTER_ID:
	case REGISTER_ARBITRATION:
		return (uint32_t)ioapic->id << 24;
	case REGISTER_VERSION:
		return (I82093_PINS - 1) << 16 | VERSION;
	default:
		if (ioapic->select < REGISTER_TABLE || pin >= I82093_PINS)
			return UINT32_MAX;
		return ioapic->redirect[pin] >> (ioapic->select & 1 ? 32 : 0);
	}
}

void i82093_mmio(struct i82093 *ioapic, uint64_t offset, void *data, unsigned size, bool is_write)
{
	uint32_t value = 0;

	offset &= 0xff;
	if (is_write) {
		memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
		if (offset == MMIO_SELECT)
			ioapic->select = value;
		else if (offset == MMIO_WINDOW)
			write_register(ioapic, value);
		return;
	}
	if (offset == MMIO_SELECT)
		value = ioapic->select;
	else if (offset == MMIO_WINDOW)
		value = read_register(ioapic);
	memset(data, 0, size);
	memcpy(data, &value, size < sizeof(value) ? size : sizeof(value));
}

void i82093_get_state(const struct i82093 *ioapic, struct kvm_ioapic_state *state)
{
	unsigned pin;

	memset(state, 0, sizeof(*state));
	state->base_address = I82093_DEFAULT_BASE;
	state->ioregsel = ioapic->select;
	state->id = ioapic->id;
	/* An edge that was sent on is not to be sent again by whoever restores this. */
	state->irr = ioapic->lines & ~ioapic->delivered;
	for (pin = 0; pin < I82093_PINS; pin++)
		state->redirtbl[pin].bits = ioapic->redirect[pin];
}

void i82093_set_state(struct i82093 *ioapic, const struct kvm_ioapic_state *state)
{
	unsigned pin;

	ioapic->select = state->ioregsel;
	ioapic->id = state->id & 0xf;
	ioapic->lines = 0;
	ioapic->delivered = 0;
	for (pin = 0; pin < I82093_PINS; pin++)
		ioapic->redirect[pin] = state->redirtbl[pin].bits;
	count_vectors(ioapic);
	for (pin = 0; pin < I82093_PINS; pin++)
		if (state->irr & (1u << pin))
			i82093_set_line(ioapic, pin, true);
}

void i82093_transfer(struct i82093 *ioapic, struct state_stream *state)
{
	unsigned pin;

	for (pin = 0; pin < I82093_PINS; pin++) {
		state_u64(state, "redirect", &ioapic->redirect[pin]);
		state_check(state, "redirect",
			    !(ioapic->redirect[pin] & I82093_DELIVERY_STATUS) &&
				    ((ioapic->redirect[pin] & I82093_LEVEL) ||
				     !(ioapic->redirect[pin] & I82093_REMOTE_IRR)));
	}
	state_u32(state, "lines", &ioapic->lines);
	state_check(state, "lines", ioapic->lines < 1u << I82093_PINS);
	state_u32(state, "delivered", &ioapic->delivered);
	state_check(state, "delivered", ioapic->delivered < 1u << I82093_PINS);
	state_u8(state, "select", &ioapic->select);
	state_u8(state, "id", &ioapic->id);
	state_check(state, "id", ioapic->id <= 0xf);
	count_vectors(ioapic);
}

void i82093_init(struct i82093 *ioapic, const struct i82093_host *host, void *context)
{
	unsigned pin;

	memset(ioapic, 0, sizeof(*ioapic));
	for (pin = 0; pin < I82093_PINS; pin++)
		ioapic->redirect[pin] = I82093_MASKED;
	count_vectors(ioapic);
	ioapic->host = host;
	ioapic->context = context;
}
