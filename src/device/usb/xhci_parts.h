/* The controller from inside, for its own files: xhci_ring.c has rings and events, xhci_command.c commands and contexts,
 * xhci_transfer.c what is on endpoints' rings, xhci_controller.c registers, ports and life. All but that life has the
 * lock held. */
#ifndef KVIK_DEVICE_USB_XHCI_PARTS_H
#define KVIK_DEVICE_USB_XHCI_PARTS_H

#include "device/bus/pci.h"
#include "device/usb/usb.h"
#include "device/usb/xhci.h"
#include "device/usb/xhci_registers.h"

#define XHCI_SLOTS    32
#define XHCI_ENDPOINTS 31 /* by their device context index, less 1 */
#define XHCI_TD_TRBS  256 /* of one transfer: longer ones are an error */
/* Link TRBs one after the other, and all TRBs that one doorbell may have looked at: no driver has as many, and rings
 * that have no end are hostile. */
#define XHCI_LINKS_MAX 64
#define XHCI_TRBS_MAX  65536
#define XHCI_BOUNCE    65536 /* a TRB's data at most (§6.4.1.1) */

struct xhci_trb {
	uint64_t parameter;
	uint32_t status, control;
	uint64_t gpa; /* where it was */
};

/* Where a ring is read next. */
struct xhci_ring {
	uint64_t dequeue;
	bool cycle;
};

struct xhci_endpoint {
	uint8_t state, type; /* 0: disabled */
	struct xhci_ring ring;
	uint32_t done; /* bytes of the transfer at its head that were moved already */
	/* A control endpoint's request. */
	struct usb_setup setup;
	bool has_setup, has_data; /* it has come, and its data have been moved */
};

struct xhci_slot {
	bool is_enabled, is_addressed;
	uint8_t state, port; /* from 1 on; 0: none */
	uint64_t context;    /* the device context */
	struct xhci_endpoint endpoints[XHCI_ENDPOINTS];
};

/* What is saved, and what a reset begins with. */
struct xhci_state {
	uint32_t command, status, notification, config;
	uint64_t command_ring, contexts; /* CRCR without its flags; DCBAAP */
	bool command_cycle, command_runs;
	uint32_t portsc[XHCI_PORTS];
	uint32_t iman, imod, table_size;
	uint64_t table, event_dequeue;
	uint64_t event_ring; /* the segment, and what comes next in it */
	uint32_t event_count, event_next;
	bool event_cycle;
	struct xhci_slot slots[XHCI_SLOTS];
};

struct xhci {
	struct pci_function function;
	pthread_mutex_t lock; /* guards what follows */
	struct usb_device *devices[XHCI_PORTS]; /* owned */
	struct xhci_state now;
	unsigned budget; /* TRBs that may still be read at this doorbell */
	bool is_held;
	uint64_t started_ns; /* for MFINDEX */
	struct xhci_trb td[XHCI_TD_TRBS]; /* the transfer that is worked on */
	uint8_t bounce[XHCI_BOUNCE];
};

/* --- xhci_ring.c --- */

/* Memory; false: it is none, and the controller has stopped with a host system error (§4.10.2.6). */
bool xhci_read(struct xhci *xhci, uint64_t gpa, void *data, size_t size);
bool xhci_write(struct xhci *xhci, uint64_t gpa, const void *data, size_t size);
/* The next TRB of a ring, behind links, which stays there until xhci_ring_advance. 1: there is one; 0: none; negative:
 * the controller has stopped. */
int xhci_ring_peek(struct xhci *xhci, struct xhci_ring *ring, struct xhci_trb *trb);
void xhci_ring_advance(struct xhci_ring *ring);
/* Something is impossible: it stops, until it is reset (§4.24.1). */
void xhci_fail(struct xhci *xhci, uint32_t status);
void xhci_event(struct xhci *xhci, uint64_t parameter, uint32_t status, uint32_t control);
/* The interrupt line as the registers say (§4.17). */
void xhci_update_line(struct xhci *xhci);
/* The driver has said where events go; and what of them it has read. */
void xhci_take_table(struct xhci *xhci);
void xhci_write_event_dequeue(struct xhci *xhci, bool is_high, uint32_t value);
static inline bool xhci_runs(const struct xhci *xhci)
{
	return (xhci->now.command & CMD_RUN) && !(xhci->now.status & (STS_HALTED | STS_CONTROLLER_ERROR));
}

/* --- xhci_command.c --- */

void xhci_run_commands(struct xhci *xhci);
/* An endpoint's state in its context in memory, with where its ring is. */
void xhci_tell_endpoint(struct xhci *xhci, struct xhci_slot *slot, unsigned endpoint);

/* --- xhci_transfer.c --- */

/* Do what is on a running endpoint's ring, as far as its device can. `endpoint` counts from 0. */
void xhci_kick(struct xhci *xhci, unsigned slot, unsigned endpoint);
/* Its doorbell rings, which has a stopped one run again (§4.8.3). */
void xhci_start_endpoint(struct xhci *xhci, unsigned slot, unsigned endpoint);

#endif
