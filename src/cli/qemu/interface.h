/* Which of virtio's interfaces on PCI a -device asks for: by its driver's name, or disable-legacy=,
 * disable-modern=. */
#ifndef KVIK_CLI_QEMU_INTERFACE_H
#define KVIK_CLI_QEMU_INTERFACE_H

#include <jansson.h>

#include "machine/board_config.h"

/* Of a device whose place is known. 0, or -EINVAL and `error`. */
int interface_of_device(const json_t *device, enum board_interface *interface, struct error *error);

#endif
