/* CPUs that monitors add and take away. All on the I/O thread. */
#ifndef KVIK_CLI_QEMU_HOTPLUG_CPUS_H
#define KVIK_CLI_QEMU_HOTPLUG_CPUS_H

#include "cli/qemu/hotplug_state.h"

bool hotplug_is_cpu(const json_t *device);
/* device_add and device_del, of one. 0, or -errno and `error`. */
int hotplug_add_cpu(struct hotplug *hotplug, json_t *device, struct error *error);
int hotplug_delete_cpu(struct hotplug *hotplug, const json_t *device, struct error *error);
/* machine_observer's, with a struct hotplug. */
void hotplug_cpu_unplugged(void *context, unsigned cpu);
void hotplug_cpu_reported(void *context, unsigned cpu, uint32_t event, uint32_t status);
/* monitor_facts.find_cpu, likewise. */
bool hotplug_find_cpu(void *context, unsigned cpu, const char **id);

#endif
