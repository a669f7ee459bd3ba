/* Transfers (xHCI §4.11): what is on endpoints' rings, moved to devices and back. A transfer is looked at whole, each time
 * it is worked on: how far it had come is all that is kept of one whose device has said "not now". */
#include <string.h>

#include "device/usb/xhci_parts.h"

#define OUTCOME_NONE 0 /* not now */

static struct usb_device *device_of(struct xhci *xhci, const struct xhci_slot *slot)
{
	return slot->port ? xhci->devices[slot->port - 1] : NULL;
}

static bool moves_data(const struct xhci_trb *trb)
{
	unsigned type = TRB_TYPE(trb->control);

	return type == TRB_NORMAL || type == TRB_DATA || type == TRB_ISOCHRONOUS;
}

/* The TRBs from the ring's head to the end of the transfer, and the ring behind them. How many; 0: it is not whole, or the
 * controller has stopped; -1: it is none. */
static int take_transfer(struct xhci *xhci, struct xhci_ring *ring)
{
	struct xhci_trb *trb;
	int count = 0;

	do {
		trb = &xhci->td[count];
		if (xhci_ring_peek(xhci, ring, trb) != 1)
			return 0;
		xhci_ring_advance(ring);
		count++;
	} while ((trb->control & TRB_CHAIN) && count < XHCI_TD_TRBS);
	return trb->control & TRB_CHAIN ? -1 : count;
}

static uint32_t transfer_bytes(const struct xhci *xhci, int count)
{
	uint32_t bytes = 0;

	while (count-- > 0)
		if (moves_data(&xhci->td[count]))
			bytes += TRB_LENGTH(xhci->td[count].status);
	return bytes;
}

/* Copy between the bounce buffer and the transfer's memory from byte `from` on. False: it is no memory. */
static bool copy(struct xhci *xhci, int count, bool to_guest, uint32_t from, uint32_t size)
{
	const struct xhci_trb *trb;
	uint32_t at = 0, length, skip, part, done = 0;
	int i;

	for (i = 0; i < count && done < size; i++) {
		trb = &xhci->td[i];
		length = moves_data(trb) ? TRB_LENGTH(trb->status) : 0;
		skip = from + done - at;
		at += length;
		if (skip >= length)
			continue;
		part = length - skip < size - done ? length - skip : size - done;
		if (trb->control & TRB_IMMEDIATE) {
			/* Its data is where the address would be: 8 bytes at most, and never the guest's memory. */
			if (to_guest || length > sizeof(trb->parameter))
				return false;
			memcpy(xhci->bounce + done, (const uint8_t *)&trb->parameter + skip, part);
		} else if (to_guest ? !xhci_write(xhci, trb->parameter + skip, xhci->bounce + done, part)
				    : !xhci_read(xhci, trb->parameter + skip, xhci->bounce + done, part)) {
			return false;
		}
		done += part;
	}
	return true;
}

/* Events that a transfer of `count` TRBs, `moved` of its bytes, asks for (§4.10). */
static void report(struct xhci *xhci, unsigned slot, unsigned endpoint, int count, uint32_t moved, unsigned code)
{
	uint32_t at = 0, length, target = (slot + 1) << 24 | (endpoint + 1) << 16 | TRB_TRANSFER_EVENT << 10, part;
	bool is_short = false, is_told = false, is_bad = code != CC_SUCCESS && code != CC_SHORT_PACKET;
	const struct xhci_trb *trb;
	int i;

	for (i = 0; i < count; i++) {
		trb = &xhci->td[i];
		if (TRB_TYPE(trb->control) == TRB_EVENT_DATA) {
			if (trb->control & TRB_INTERRUPT) {
				xhci_event(xhci, trb->parameter, code << 24 | (moved & 0xffffff), target | 0x4);
				is_told = true;
			}
			continue;
		}
		length = moves_data(trb) ? TRB_LENGTH(trb->status) : 0;
		part = moved > at ? (moved - at < length ? moved - at : length) : 0;
		at += length;
		/* Where it ended: the first that was not filled. */
		if (code != CC_SUCCESS && !is_short && (part < length || i == count - 1)) {
			is_short = true;
			if (is_bad || (trb->control & (TRB_SHORT | TRB_INTERRUPT))) {
				xhci_event(xhci, trb->gpa, code << 24 | (length - part), target);
				is_told = true;
			}
			if (is_bad)
				return;
		} else if (!is_told && (trb->control & TRB_INTERRUPT)) {
			xhci_event(xhci, trb->gpa, code << 24 | (length - part), target);
		}
	}
}

/* -- control endpoints -- */

static unsigned take_setup(struct xhci_endpoint *endpoint, const struct xhci_trb *trb)
{
	const uint64_t packet = trb->parameter;

	if (!(trb->control & TRB_IMMEDIATE) || TRB_LENGTH(trb->status) != 8)
		return CC_TRB;
	endpoint->setup = (struct usb_setup){packet, packet >> 8, packet >> 16, packet >> 32, packet >> 48};
	endpoint->has_setup = true;
	endpoint->has_data = false;
	return CC_SUCCESS;
}

static unsigned run_control(struct xhci *xhci, struct usb_device *device, struct xhci_endpoint *endpoint, int count,
			    uint32_t *moved)
{
	const struct usb_setup *setup = &endpoint->setup;
	uint32_t wanted = transfer_bytes(xhci, count);
	bool is_in = setup->type & USB_TYPE_IN;
	int result;

	_Static_assert(USB_CONTROL_MAX <= XHCI_BOUNCE, "a request's data fit");
	if (wanted > setup->length)
		wanted = setup->length;
	if (wanted > USB_CONTROL_MAX)
		return CC_STALL;
	if (!is_in && !copy(xhci, count, false, 0, wanted))
		return CC_DATA_BUFFER;
	/* Less than it said: the rest is nothing. */
	if (!is_in && wanted < setup->length)
		memset(xhci->bounce + wanted, 0, (setup->length < USB_CONTROL_MAX ? setup->length : USB_CONTROL_MAX) - wanted);
	result = usb_control(device, setup, xhci->bounce);
	if (result < 0)
		return CC_STALL;
	endpoint->has_data = true;
	*moved = is_in && (uint32_t)result < wanted ? (uint32_t)result : wanted;
	if (is_in && !copy(xhci, count, true, 0, *moved))
		return CC_DATA_BUFFER;
	return *moved < transfer_bytes(xhci, count) && is_in ? CC_SHORT_PACKET : CC_SUCCESS;
}

static unsigned move_control(struct xhci *xhci, struct usb_device *device, struct xhci_endpoint *endpoint, int count,
			     uint32_t *moved)
{
	unsigned type = TRB_TYPE(xhci->td[0].control), code = CC_SUCCESS;

	switch (type) {
	case TRB_SETUP: return take_setup(endpoint, &xhci->td[0]);
	case TRB_NO_OP: return CC_SUCCESS;
	case TRB_DATA:
		return endpoint->has_setup && !endpoint->has_data ? run_control(xhci, device, endpoint, count, moved)
								  : CC_TRB;
	case TRB_STATUS:
		if (!endpoint->has_setup)
			return CC_TRB;
		/* A request without data is done now. */
		if (!endpoint->has_data)
			code = run_control(xhci, device, endpoint, 0, moved);
		endpoint->has_setup = endpoint->has_data = false;
		*moved = 0;
		return code == CC_SHORT_PACKET ? CC_SUCCESS : code;
	default: return CC_TRB;
	}
}

/* -- the others -- */

static unsigned move_data(struct xhci *xhci, struct usb_device *device, struct xhci_endpoint *endpoint, unsigned number,
			  int count, uint32_t *moved)
{
	uint32_t bytes = transfer_bytes(xhci, count), part;
	bool is_in = endpoint->type > EP_OUT_LAST;
	unsigned pipe = (number + 1) / 2;
	int result;

	if (TRB_TYPE(xhci->td[0].control) == TRB_NO_OP)
		return CC_SUCCESS;
	if (!moves_data(&xhci->td[0]) && TRB_TYPE(xhci->td[0].control) != TRB_EVENT_DATA)
		return CC_TRB;
	/* It was a longer one when it was begun. */
	if (endpoint->done > bytes)
		return CC_TRB;
	do {
		part = bytes - endpoint->done < XHCI_BOUNCE ? bytes - endpoint->done : XHCI_BOUNCE;
		if (!is_in && !copy(xhci, count, false, endpoint->done, part))
			return CC_DATA_BUFFER;
		result = is_in ? usb_in(device, pipe, xhci->bounce, part) : usb_out(device, pipe, xhci->bounce, part);
		if (result == USB_NAK)
			return OUTCOME_NONE;
		if (result < 0 || (uint32_t)result > part) {
			*moved = endpoint->done;
			return CC_STALL;
		}
		if (is_in && !copy(xhci, count, true, endpoint->done, result))
			return CC_DATA_BUFFER;
		endpoint->done += result;
	} while ((uint32_t)result == part && endpoint->done < bytes);
	*moved = endpoint->done;
	return endpoint->done < bytes ? CC_SHORT_PACKET : CC_SUCCESS;
}

/* One transfer. False: there is nothing more to be done now. */
static bool run_one(struct xhci *xhci, unsigned slot_number, unsigned number)
{
	struct xhci_slot *slot = &xhci->now.slots[slot_number];
	struct xhci_endpoint *endpoint = &slot->endpoints[number];
	struct usb_device *device = device_of(xhci, slot);
	struct xhci_ring ring = endpoint->ring;
	int count = take_transfer(xhci, &ring);
	uint32_t moved = 0;
	unsigned code;

	if (count == 0)
		return false;
	if (count < 0) {
		xhci_fail(xhci, STS_CONTROLLER_ERROR);
		return false;
	}
	if (!device)
		code = CC_TRANSACTION;
	else if (number == 0)
		code = move_control(xhci, device, endpoint, count, &moved);
	else
		code = move_data(xhci, device, endpoint, number, count, &moved);
	if (code == OUTCOME_NONE || !xhci_runs(xhci))
		return false;
	endpoint->done = 0;
	if (code == CC_SUCCESS || code == CC_SHORT_PACKET) {
		endpoint->ring = ring;
	} else {
		/* Stalled ones wait for Reset Endpoint, others for Set TR Dequeue Pointer (§4.8.3). */
		endpoint->has_setup = endpoint->has_data = false;
		endpoint->state = code == CC_TRB ? EP_ERROR : EP_HALTED;
		xhci_tell_endpoint(xhci, slot, number);
	}
	report(xhci, slot_number, number, count, moved, code);
	return endpoint->state == EP_RUNNING && xhci_runs(xhci);
}

void xhci_kick(struct xhci *xhci, unsigned slot_number, unsigned number)
{
	const struct xhci_slot *slot = &xhci->now.slots[slot_number];

	if (!slot->is_enabled || slot->endpoints[number].state != EP_RUNNING)
		return;
	while (run_one(xhci, slot_number, number))
		continue;
}

void xhci_start_endpoint(struct xhci *xhci, unsigned slot_number, unsigned number)
{
	struct xhci_slot *slot = &xhci->now.slots[slot_number];

	if (slot->is_enabled && slot->endpoints[number].state == EP_STOPPED) {
		slot->endpoints[number].state = EP_RUNNING;
		xhci_tell_endpoint(xhci, slot, number);
	}
	xhci_kick(xhci, slot_number, number);
}
