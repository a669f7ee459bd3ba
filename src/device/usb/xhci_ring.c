/* What the controller does in memory: rings that it reads, and the one of events that it writes. */
#include <errno.h>

#include "device/usb/xhci_parts.h"
#include "util/log.h"

/* --- memory and rings --- */

void xhci_fail(struct xhci *xhci, uint32_t status)
{
	if (!(xhci->now.status & status))
		log_guest_at(LOG_INFO, "xHCI: the driver has it stop with an error (status 0x%x)", status);
	xhci->now.status |= status | STS_HALTED;
	xhci->now.command &= ~CMD_RUN;
	xhci->now.command_runs = false;
}

bool xhci_read(struct xhci *xhci, uint64_t gpa, void *data, size_t size)
{
	if (pci_dma_read(&xhci->function, gpa, data, size) == 0)
		return true;
	xhci_fail(xhci, STS_HOST_ERROR);
	return false;
}

bool xhci_write(struct xhci *xhci, uint64_t gpa, const void *data, size_t size)
{
	if (pci_dma_write(&xhci->function, gpa, data, size) == 0)
		return true;
	xhci_fail(xhci, STS_HOST_ERROR);
	return false;
}

static bool read_trb(struct xhci *xhci, uint64_t gpa, struct xhci_trb *trb)
{
	uint32_t words[4];

	if (!xhci->budget) {
		xhci_fail(xhci, STS_CONTROLLER_ERROR);
		return false;
	}
	xhci->budget--;
	if (!xhci_read(xhci, gpa, words, sizeof(words)))
		return false;
	*trb = (struct xhci_trb){(uint64_t)words[1] << 32 | words[0], words[2], words[3], gpa};
	return true;
}

int xhci_ring_peek(struct xhci *xhci, struct xhci_ring *ring, struct xhci_trb *trb)
{
	unsigned links;

	for (links = 0; links < XHCI_LINKS_MAX; links++) {
		if (!read_trb(xhci, ring->dequeue, trb))
			return -EFAULT;
		if ((trb->control & TRB_CYCLE) != ring->cycle)
			return 0;
		if (TRB_TYPE(trb->control) != TRB_LINK)
			return 1;
		ring->dequeue = trb->parameter & ~0xfull;
		if (trb->control & TRB_TOGGLE)
			ring->cycle = !ring->cycle;
	}
	xhci_fail(xhci, STS_CONTROLLER_ERROR);
	return -ELOOP;
}

void xhci_ring_advance(struct xhci_ring *ring)
{
	ring->dequeue += TRB_BYTES;
}

/* --- events (§4.9.4) --- */

void xhci_update_line(struct xhci *xhci)
{
	pci_set_intx(&xhci->function, (xhci->now.iman & IMAN_PENDING) && (xhci->now.iman & IMAN_ENABLED) &&
					      (xhci->now.command & CMD_INTE));
}

static void interrupt(struct xhci *xhci)
{
	struct xhci_state *now = &xhci->now;

	now->iman |= IMAN_PENDING;
	now->status |= STS_EVENT;
	if (pci_has_messages(&xhci->function)) {
		if ((now->iman & IMAN_ENABLED) && (now->command & CMD_INTE)) {
			/* A message is as good as an acknowledgement (§4.17.5). */
			now->iman &= ~IMAN_PENDING;
			pci_notify(&xhci->function, 0);
		}
		return;
	}
	xhci_update_line(xhci);
}

static bool put_event(struct xhci *xhci, uint64_t parameter, uint32_t status, uint32_t control)
{
	struct xhci_state *now = &xhci->now;
	uint32_t words[4] = {parameter, parameter >> 32, status, control | now->event_cycle};

	if (!xhci_write(xhci, now->event_ring + now->event_next * TRB_BYTES, words, sizeof(words)))
		return false;
	if (++now->event_next == now->event_count) {
		now->event_next = 0;
		now->event_cycle = !now->event_cycle;
	}
	return true;
}

/* How many events have room. */
static unsigned event_room(const struct xhci *xhci)
{
	const struct xhci_state *now = &xhci->now;
	uint64_t offset = now->event_dequeue - now->event_ring;
	uint32_t at;

	/* A driver that points elsewhere has read nothing. */
	if (!now->event_count || offset >= (uint64_t)now->event_count * TRB_BYTES)
		return 0;
	at = offset / TRB_BYTES;
	return (at + now->event_count - now->event_next - 1) % now->event_count;
}

void xhci_event(struct xhci *xhci, uint64_t parameter, uint32_t status, uint32_t control)
{
	struct xhci_state *now = &xhci->now;
	unsigned room = event_room(xhci);
	bool was_busy = now->event_dequeue & ERDP_BUSY;

	if (!xhci_runs(xhci) || !room)
		return; /* full already: it is lost, as the driver was told */
	if (room == 1)
		put_event(xhci, 0, CC_EVENT_RING_FULL << 24, TRB_HOST_EVENT << 10);
	else
		put_event(xhci, parameter, status, control);
	now->event_dequeue |= ERDP_BUSY;
	if (!was_busy)
		interrupt(xhci);
}

/* The table of segments, of which there is one (§6.5). */
void xhci_take_table(struct xhci *xhci)
{
	struct xhci_state *now = &xhci->now;
	uint32_t entry[4];

	now->event_count = now->event_next = 0;
	now->event_cycle = true;
	if (!now->table_size || !xhci_read(xhci, now->table, entry, sizeof(entry)))
		return;
	now->event_ring = ((uint64_t)entry[1] << 32 | entry[0]) & ~0x3full;
	now->event_count = entry[2] & 0xffff;
	if (now->event_count < 16 || now->event_count > 4096)
		xhci_fail(xhci, STS_CONTROLLER_ERROR);
}

void xhci_write_event_dequeue(struct xhci *xhci, bool is_high, uint32_t value)
{
	struct xhci_state *now = &xhci->now;
	uint64_t busy = now->event_dequeue & ERDP_BUSY;

	if (is_high) {
		now->event_dequeue = (now->event_dequeue & UINT32_MAX) | (uint64_t)value << 32;
	} else {
		now->event_dequeue = (now->event_dequeue & ~(uint64_t)UINT32_MAX) | (value & ~0xfu) |
				     (value & ERDP_BUSY ? 0 : busy);
	}
	/* There are more that it has not read. */
	if ((value & ERDP_BUSY) && !is_high && now->event_count && event_room(xhci) != now->event_count - 1) {
		now->event_dequeue |= ERDP_BUSY;
		interrupt(xhci);
	}
}
