/*
 * What the operating system (ACPI's OSPM) says of things that come and go, of which each has a number: that one may be
 * taken out, and how it went (_OST, ACPI 6.4 §6.3.5). vCPUs' threads note it, in accesses to ports that taking out would
 * wait for; the I/O thread hears of it.
 */
#ifndef KVIK_MACHINE_OSPM_NOTES_H
#define KVIK_MACHINE_OSPM_NOTES_H

#include <stdbool.h>
#include <stdint.h>

#include "util/event_signal.h"

#define OSPM_NOTES_MAX 64

/* Owned and embedded by the user; all zeroes before ospm_notes_init. */
struct ospm_notes {
	struct event_signal signal;
	_Atomic uint64_t ejected, reported; /* which, a bit each */
	void (*hear)(void *context, unsigned number, bool is_reported, bool is_ejected);
	void *context;
};

/* Have `hear` called, on the loop's thread, once for all that was noted of a number. 0 or -errno. */
int ospm_notes_init(struct ospm_notes *notes, struct event_loop *loop,
		    void (*hear)(void *context, unsigned number, bool is_reported, bool is_ejected), void *context);
void ospm_notes_destroy(struct ospm_notes *notes); /* also fine on a zeroed one */

/* Any thread; `number` is below OSPM_NOTES_MAX. */
void ospm_note_ejected(struct ospm_notes *notes, unsigned number);
void ospm_note_reported(struct ospm_notes *notes, unsigned number);

#endif
