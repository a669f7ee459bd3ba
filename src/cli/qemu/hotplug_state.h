/* What changes what there is while the machine is there (hotplug.h, media.h) stands on. */
#ifndef KVIK_CLI_QEMU_HOTPLUG_STATE_H
#define KVIK_CLI_QEMU_HOTPLUG_STATE_H

#include "cli/qemu/line_state.h"
#include "machine/inspect.h"
#include "monitor/monitor.h"

struct door;
struct nbd_server;
struct served_export;

struct hotplug {
	struct line *line;
	struct monitor_facts *facts;
	struct door *door; /* NULL: this process is not confined */
	struct monitor *monitor;
	struct machine *machine;
	struct machine_observer observer;
	struct {
		struct nbd_server *server; /* NULL: none */
		struct served_export *exports;
	} served; /* served.c's */
};

#endif
