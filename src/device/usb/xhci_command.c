/* Commands (xHCI §4.6), and the contexts that they change. Input contexts are read once and checked; the slots in here
 * are what counts, and what the guest's memory has of them is for the guest to read. */
#include <string.h>

#include "device/usb/xhci_parts.h"

#define ADD_SLOT     0x1u
#define ADD_CONTROL  0x2u

/* An input context's parts that commands look at. */
struct input {
	uint32_t drop, add;
	uint32_t slot[CONTEXT_WORDS];
};

static struct xhci_slot *enabled_slot(struct xhci *xhci, unsigned number)
{
	return number && number <= XHCI_SLOTS && xhci->now.slots[number - 1].is_enabled ? &xhci->now.slots[number - 1]
											  : NULL;
}

static bool read_input(struct xhci *xhci, uint64_t gpa, struct input *input)
{
	uint32_t control[CONTEXT_WORDS];

	gpa &= ~0xfull;
	if (!xhci_read(xhci, gpa, control, sizeof(control)) ||
	    !xhci_read(xhci, gpa + CONTEXT_BYTES, input->slot, sizeof(input->slot)))
		return false;
	input->drop = control[0];
	input->add = control[1];
	return true;
}

static uint64_t context_of(const struct xhci_slot *slot, unsigned endpoint)
{
	return slot->context + (endpoint + 1) * CONTEXT_BYTES;
}

void xhci_tell_endpoint(struct xhci *xhci, struct xhci_slot *slot, unsigned number)
{
	const struct xhci_endpoint *endpoint = &slot->endpoints[number];
	uint32_t words[4];

	if (!xhci_read(xhci, context_of(slot, number), words, sizeof(words)))
		return;
	words[0] = (words[0] & ~7u) | endpoint->state;
	words[2] = (uint32_t)endpoint->ring.dequeue | endpoint->ring.cycle;
	words[3] = endpoint->ring.dequeue >> 32;
	xhci_write(xhci, context_of(slot, number), words, sizeof(words));
}

static void set_state(struct xhci *xhci, struct xhci_slot *slot, unsigned number, uint8_t state)
{
	slot->endpoints[number].state = state;
	xhci_tell_endpoint(xhci, slot, number);
}

/* The slot's state and address in its context. */
static void tell_slot(struct xhci *xhci, struct xhci_slot *slot, uint32_t words[CONTEXT_WORDS])
{
	unsigned number = slot - xhci->now.slots + 1;

	words[3] = (uint32_t)slot->state << SLOT_STATE_SHIFT | (slot->is_addressed ? number : 0);
	xhci_write(xhci, slot->context, words, CONTEXT_BYTES);
}

static void retell_slot(struct xhci *xhci, struct xhci_slot *slot, unsigned entries)
{
	uint32_t words[CONTEXT_WORDS];

	if (!xhci_read(xhci, slot->context, words, sizeof(words)))
		return;
	words[0] = (words[0] & 0x07ffffffu) | entries << 27;
	tell_slot(xhci, slot, words);
}

/* An endpoint as an input context describes it. A completion code. */
static unsigned enable_endpoint(struct xhci *xhci, struct xhci_slot *slot, unsigned number, uint64_t input)
{
	struct xhci_endpoint *endpoint = &slot->endpoints[number];
	uint32_t words[CONTEXT_WORDS];
	unsigned type;

	if (!xhci_read(xhci, (input & ~0xfull) + (number + 2) * CONTEXT_BYTES, words, sizeof(words)))
		return CC_TRB;
	type = words[1] >> 3 & 7;
	/* Even indices are IN endpoints', odd ones OUT; no streams (§6.2.3). */
	if (!type || (number == 0) != (type == EP_CONTROL) || (words[0] >> 10 & 0x1f) ||
	    (number && (type > EP_OUT_LAST) != (number % 2 == 0)))
		return CC_PARAMETER;
	*endpoint = (struct xhci_endpoint){
		.state = EP_RUNNING,
		.type = type,
		.ring = {((uint64_t)words[3] << 32 | words[2]) & ~0xfull, words[2] & TRB_CYCLE},
	};
	words[0] = (words[0] & ~7u) | EP_RUNNING;
	return xhci_write(xhci, context_of(slot, number), words, sizeof(words)) ? CC_SUCCESS : CC_TRB;
}

static void disable_endpoints(struct xhci *xhci, struct xhci_slot *slot, uint32_t which)
{
	unsigned i;

	for (i = 0; i < XHCI_ENDPOINTS; i++)
		if ((which >> (i + 1) & 1) && slot->endpoints[i].state) {
			set_state(xhci, slot, i, EP_DISABLED);
			memset(&slot->endpoints[i], 0, sizeof(slot->endpoints[i]));
		}
}

static unsigned entries_of(const struct xhci_slot *slot)
{
	unsigned i = XHCI_ENDPOINTS;

	while (i > 1 && !slot->endpoints[i - 1].state)
		i--;
	return i;
}

/* -- slots -- */

static unsigned enable_slot(struct xhci *xhci, unsigned *number)
{
	unsigned i, most = xhci->now.config < XHCI_SLOTS ? xhci->now.config : XHCI_SLOTS;

	for (i = 0; i < most; i++)
		if (!xhci->now.slots[i].is_enabled) {
			memset(&xhci->now.slots[i], 0, sizeof(xhci->now.slots[i]));
			xhci->now.slots[i].is_enabled = true;
			*number = i + 1;
			return CC_SUCCESS;
		}
	return CC_NO_SLOTS;
}

static unsigned disable_slot(struct xhci *xhci, struct xhci_slot *slot)
{
	uint32_t words[CONTEXT_WORDS] = {0};

	if (slot->context) {
		slot->state = 0;
		slot->is_addressed = false;
		if (xhci_read(xhci, slot->context, words, sizeof(words)))
			tell_slot(xhci, slot, words);
	}
	memset(slot, 0, sizeof(*slot));
	return CC_SUCCESS;
}

/* Whether another slot has that port's device already. */
static bool is_taken(const struct xhci *xhci, const struct xhci_slot *slot, unsigned port)
{
	unsigned i;

	for (i = 0; i < XHCI_SLOTS; i++)
		if (&xhci->now.slots[i] != slot && xhci->now.slots[i].is_enabled && xhci->now.slots[i].port == port)
			return true;
	return false;
}

/* Address Device (§4.6.5). */
static unsigned address(struct xhci *xhci, struct xhci_slot *slot, const struct xhci_trb *trb)
{
	unsigned number = slot - xhci->now.slots + 1, port, code;
	bool only_context = trb->control & TRB_BSR;
	struct input input;
	uint64_t context;

	if (!read_input(xhci, trb->parameter, &input) ||
	    !xhci_read(xhci, xhci->now.contexts + number * sizeof(context), &context, sizeof(context)))
		return CC_TRB;
	if ((input.add & (ADD_SLOT | ADD_CONTROL)) != (ADD_SLOT | ADD_CONTROL) || input.drop)
		return CC_TRB;
	/* No hubs: a route has no steps. */
	port = input.slot[1] >> 16 & 0xff;
	if (!port || port > XHCI_USB2_PORTS || (input.slot[0] & 0xfffff))
		return CC_TRB;
	if (slot->state > SLOT_DEFAULT)
		return CC_CONTEXT_STATE;
	if (!xhci->devices[port - 1] || !(xhci->now.portsc[port - 1] & PORTSC_ENABLED) || is_taken(xhci, slot, port))
		return CC_TRANSACTION;
	slot->context = context & ~0x3full;
	slot->port = port;
	code = enable_endpoint(xhci, slot, 0, trb->parameter);
	if (code != CC_SUCCESS) {
		slot->context = slot->port = 0;
		return code;
	}
	slot->state = only_context ? SLOT_DEFAULT : SLOT_ADDRESSED;
	slot->is_addressed = !only_context;
	input.slot[0] = (input.slot[0] & 0x07ffffffu) | 1u << 27;
	tell_slot(xhci, slot, input.slot);
	return CC_SUCCESS;
}

/* Configure Endpoint (§4.6.6). */
static unsigned configure(struct xhci *xhci, struct xhci_slot *slot, const struct xhci_trb *trb)
{
	unsigned i, code = CC_SUCCESS;
	struct input input;

	if (slot->state < SLOT_ADDRESSED)
		return CC_CONTEXT_STATE;
	if (trb->control & TRB_DECONFIGURE) {
		disable_endpoints(xhci, slot, ~3u);
		slot->state = SLOT_ADDRESSED;
		retell_slot(xhci, slot, 1);
		return CC_SUCCESS;
	}
	if (!read_input(xhci, trb->parameter, &input))
		return CC_TRB;
	if ((input.drop & 3) || (input.add & ADD_CONTROL))
		return CC_TRB;
	disable_endpoints(xhci, slot, input.drop);
	for (i = 1; i < XHCI_ENDPOINTS && code == CC_SUCCESS; i++)
		if (input.add >> (i + 1) & 1)
			code = enable_endpoint(xhci, slot, i, trb->parameter);
	if (code != CC_SUCCESS)
		disable_endpoints(xhci, slot, input.add & ~3u);
	slot->state = entries_of(slot) > 1 ? SLOT_CONFIGURED : SLOT_ADDRESSED;
	retell_slot(xhci, slot, entries_of(slot));
	return code;
}

/* Evaluate Context (§4.6.7): how long a way out of sleep is, and the control endpoint's packets. */
static unsigned evaluate(struct xhci *xhci, struct xhci_slot *slot, const struct xhci_trb *trb)
{
	uint32_t words[CONTEXT_WORDS], changed[2];
	struct input input;

	if (!slot->state)
		return CC_CONTEXT_STATE;
	if (!read_input(xhci, trb->parameter, &input))
		return CC_TRB;
	if (input.add & ADD_SLOT) {
		if (!xhci_read(xhci, slot->context, words, sizeof(words)))
			return CC_TRB;
		words[1] = (words[1] & ~0xffffu) | (input.slot[1] & 0xffff);
		words[2] = (words[2] & 0x3fffffu) | (input.slot[2] & ~0x3fffffu);
		xhci_write(xhci, slot->context, words, sizeof(words));
	}
	if (input.add & ADD_CONTROL) {
		if (!xhci_read(xhci, (trb->parameter & ~0xfull) + 2 * CONTEXT_BYTES, changed, sizeof(changed)) ||
		    !xhci_read(xhci, context_of(slot, 0), words, sizeof(words)))
			return CC_TRB;
		words[1] = (words[1] & 0xffffu) | (changed[1] & ~0xffffu);
		xhci_write(xhci, context_of(slot, 0), words, sizeof(words));
	}
	return CC_SUCCESS;
}

static unsigned reset_device(struct xhci *xhci, struct xhci_slot *slot)
{
	if (slot->state < SLOT_ADDRESSED)
		return CC_CONTEXT_STATE;
	disable_endpoints(xhci, slot, ~3u);
	slot->state = SLOT_DEFAULT;
	slot->is_addressed = false;
	retell_slot(xhci, slot, 1);
	return CC_SUCCESS;
}

/* -- endpoints -- */

static unsigned stop_endpoint(struct xhci *xhci, struct xhci_slot *slot, unsigned number)
{
	struct xhci_endpoint *endpoint = &slot->endpoints[number];

	if (endpoint->state != EP_RUNNING)
		return CC_CONTEXT_STATE;
	set_state(xhci, slot, number, EP_STOPPED);
	return CC_SUCCESS;
}

static unsigned reset_endpoint(struct xhci *xhci, struct xhci_slot *slot, unsigned number)
{
	struct xhci_endpoint *endpoint = &slot->endpoints[number];

	if (endpoint->state != EP_HALTED)
		return CC_CONTEXT_STATE;
	endpoint->done = 0;
	endpoint->has_setup = endpoint->has_data = false;
	set_state(xhci, slot, number, EP_STOPPED);
	return CC_SUCCESS;
}

static unsigned set_dequeue(struct xhci *xhci, struct xhci_slot *slot, unsigned number, const struct xhci_trb *trb)
{
	struct xhci_endpoint *endpoint = &slot->endpoints[number];

	if (endpoint->state != EP_STOPPED && endpoint->state != EP_ERROR)
		return CC_CONTEXT_STATE;
	endpoint->ring = (struct xhci_ring){trb->parameter & ~0xfull, trb->parameter & TRB_CYCLE};
	endpoint->done = 0;
	endpoint->has_setup = endpoint->has_data = false;
	set_state(xhci, slot, number, EP_STOPPED);
	return CC_SUCCESS;
}

static unsigned run_on_endpoint(struct xhci *xhci, struct xhci_slot *slot, const struct xhci_trb *trb)
{
	unsigned number = TRB_ENDPOINT(trb->control) - 1;

	if (number >= XHCI_ENDPOINTS)
		return CC_TRB;
	if (!slot->endpoints[number].state)
		return CC_ENDPOINT_DISABLED;
	switch (TRB_TYPE(trb->control)) {
	case TRB_RESET_ENDPOINT: return reset_endpoint(xhci, slot, number);
	case TRB_STOP_ENDPOINT: return stop_endpoint(xhci, slot, number);
	default: return set_dequeue(xhci, slot, number, trb);
	}
}

static unsigned run(struct xhci *xhci, const struct xhci_trb *trb, unsigned *number)
{
	struct xhci_slot *slot = enabled_slot(xhci, *number);

	switch (TRB_TYPE(trb->control)) {
	case TRB_NO_OP_COMMAND: return CC_SUCCESS;
	case TRB_ENABLE_SLOT: return enable_slot(xhci, number);
	case TRB_DISABLE_SLOT:
	case TRB_ADDRESS:
	case TRB_CONFIGURE:
	case TRB_EVALUATE:
	case TRB_RESET_DEVICE:
	case TRB_RESET_ENDPOINT:
	case TRB_STOP_ENDPOINT:
	case TRB_SET_DEQUEUE: break;
	default: return CC_TRB;
	}
	if (!slot)
		return CC_SLOT_DISABLED;
	switch (TRB_TYPE(trb->control)) {
	case TRB_DISABLE_SLOT: return disable_slot(xhci, slot);
	case TRB_ADDRESS: return address(xhci, slot, trb);
	case TRB_CONFIGURE: return configure(xhci, slot, trb);
	case TRB_EVALUATE: return evaluate(xhci, slot, trb);
	case TRB_RESET_DEVICE: return reset_device(xhci, slot);
	default: return run_on_endpoint(xhci, slot, trb);
	}
}

void xhci_run_commands(struct xhci *xhci)
{
	struct xhci_state *now = &xhci->now;
	struct xhci_ring ring = {now->command_ring, now->command_cycle};
	struct xhci_trb trb;
	unsigned slot, code;

	now->command_runs = true;
	while (xhci_ring_peek(xhci, &ring, &trb) == 1) {
		slot = TRB_SLOT(trb.control);
		xhci_ring_advance(&ring);
		code = run(xhci, &trb, &slot);
		if (!xhci_runs(xhci))
			return;
		xhci_event(xhci, trb.gpa, code << 24, slot << 24 | TRB_COMMAND_EVENT << 10);
	}
	now->command_ring = ring.dequeue;
	now->command_cycle = ring.cycle;
}
