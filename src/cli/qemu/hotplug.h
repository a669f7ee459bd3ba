/* What monitors change while the machine is there: devices behind root ports, and the disks, networks and objects that
 * they stand on. All on the I/O thread. */
#ifndef KVIK_CLI_QEMU_HOTPLUG_H
#define KVIK_CLI_QEMU_HOTPLUG_H

#include "cli/qemu/hotplug_state.h"

/* monitor_facts.change, with a struct hotplug, and monitor_facts.parse_device. */
int hotplug_change(void *context, enum monitor_change what, const json_t *arguments, struct error *error);
/* monitor_facts.add_fd, remove_fd, read_fdsets, likewise. */
json_t *hotplug_add_fd(void *context, const json_t *arguments, struct error *error);
int hotplug_remove_fd(void *context, const json_t *arguments, struct error *error);
json_t *hotplug_read_fdsets(void *context);
/* monitor_facts.read_user_networks, likewise. */
json_t *hotplug_read_user_networks(void *context);
/* monitor_facts.look, likewise. */
void hotplug_look(void *context);
/* monitor_facts.find_device, likewise. */
const char *hotplug_find_device(void *context, unsigned place);
const char *hotplug_port_changed(void *context, unsigned port, bool is_open);
json_t *hotplug_parse_device(const char *text, struct error *error);

/* The machine there is; before it runs. */
void hotplug_set_machine(struct hotplug *hotplug, struct machine *machine);

#endif
