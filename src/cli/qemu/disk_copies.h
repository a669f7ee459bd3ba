/* Copies of disks that monitors ask for: which disk, and into what. All on the I/O thread. */
#ifndef KVIK_CLI_QEMU_DISK_COPIES_H
#define KVIK_CLI_QEMU_DISK_COPIES_H

#include "cli/qemu/hotplug_state.h"

/* monitor_facts.start_copy and copy_ended, with a struct hotplug. */
int disk_copies_start(void *context, const char *command, const json_t *arguments, void (*changed)(void *context),
		      void *changed_context, struct block_copy **copy, struct error *error);
void disk_copies_ended(void *context, const char *command, const json_t *arguments, bool was_finished);

#endif
