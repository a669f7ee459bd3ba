/* Memory that monitors add and take away. All on the I/O thread. */
#ifndef KVIK_CLI_QEMU_HOTPLUG_MEMORY_H
#define KVIK_CLI_QEMU_HOTPLUG_MEMORY_H

#include "cli/qemu/hotplug_state.h"

bool hotplug_is_dimm(const json_t *device);
/* device_add and device_del, of one. 0, or -errno and `error`. */
int hotplug_add_dimm(struct hotplug *hotplug, json_t *device, struct error *error);
int hotplug_delete_dimm(struct hotplug *hotplug, const json_t *device, struct error *error);
/* Those that are there from the start get their places told. */
void hotplug_note_dimms(struct hotplug *hotplug);
/* machine_observer's, with a struct hotplug. */
void hotplug_memory_unplugged(void *context, unsigned slot);
void hotplug_memory_reported(void *context, unsigned slot, uint32_t event, uint32_t status);
/* monitor_facts.find_memory, likewise. */
const json_t *hotplug_find_memory(void *context, unsigned slot);
/* monitor_facts.describe_memory, likewise. */
json_t *hotplug_describe_memory(void *context);

#endif
