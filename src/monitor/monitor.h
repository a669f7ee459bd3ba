/*
 * The room of monitors: how people and programs talk to a machine while it runs. QMP is JSON, for
 * programs, as its schema says (schema.json); HMP is lines of text for people, on top of QMP's commands.
 * Both are QEMU's, so that what talks to QEMU talks to kvik.
 *
 * It stands on machine/machine.h. What only the command line knows (names, what is behind a
 * device, which options there are) comes as facts, once. Everything here is called and calls on the
 * I/O thread.
 */
#ifndef KVIK_MONITOR_MONITOR_H
#define KVIK_MONITOR_MONITOR_H

#include <stdbool.h>

#include "device/char/char.h"
#include "machine/machine.h"
#include "monitor/facts.h"
#include "util/error.h"

struct monitor;

/* NULL, and `error`, on failure. */
struct monitor *monitor_create(const struct monitor_facts *facts, struct error *error);
void monitor_destroy(struct monitor *monitor); /* NULL is fine; before the streams */

/* A session on a stream, which has no other reader and outlives the monitor. 0, or -errno and `error`. */
int monitor_add_qmp(struct monitor *monitor, struct char_stream *stream, bool is_pretty,
		    struct error *error);
int monitor_add_hmp(struct monitor *monitor, struct char_stream *stream, struct error *error);

/* The machine there is to talk about, before it runs; without one there is none (-machine none). 0, or -errno
 * and `error`. */
int monitor_set_machine(struct monitor *monitor, struct machine *machine, struct error *error);

/* A device has gone that device_del asked for, or that the guest has switched off; `id` NULL: it had none. */
void monitor_device_deleted(struct monitor *monitor, const char *id);

/* Disks are not given to others any more by the export of that id. */
void monitor_export_deleted(struct monitor *monitor, const char *id);

/* The guest says something of what came, or shall go, by ACPI (_OST): a "CPU" or a "DIMM", of that slot and that id (NULL:
 * none). */
void monitor_acpi_reported(struct monitor *monitor, const char *slot_type, unsigned slot, const char *id,
			   uint32_t source, uint32_t status);

/* The guest keeps memory that it was asked to let go of; `id` NULL: it has none. */
void monitor_unplug_failed(struct monitor *monitor, const char *id);

/* The tray of a CD-ROM drive, of that name and that id ("": it has none), was opened or closed. */
void monitor_tray_moved(struct monitor *monitor, const char *name, const char *id, bool is_open);

/* A disk, of that name and that topmost node ("": it has none), has failed in reading or writing: what was done with the
 * request, in QEMU's word, whether there was no room, and why. */
void monitor_disk_failed(struct monitor *monitor, const char *name, const char *node, bool is_read, const char *action,
			 bool is_full, const char *why);

/* Have the machine, which waits for it (MACHINE_PAUSE_INCOMING), received on `fd`, which is the monitor's from now
 * on: a file, or a socket, which may listen. Before the machine runs. 0, or -errno and `error`. */
int monitor_receive(struct monitor *monitor, int fd, bool listens, struct error *error);

/* Somebody of the host's ends the run: `reason` is one of ShutdownCause, as "host-signal". */
void monitor_shutting_down(struct monitor *monitor, const char *reason);

#endif
