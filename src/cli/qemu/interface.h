/* What a -device says of virtio itself: which interfaces it has on PCI, by its driver's name, or disable-legacy=,
 * disable-modern=; and what its rings may be (packed=, event_idx=, indirect_desc=). */
#ifndef KVIK_CLI_QEMU_INTERFACE_H
#define KVIK_CLI_QEMU_INTERFACE_H

#include <jansson.h>

#include "machine/board_config.h"

/* Of a device whose place is known. 0, or -EINVAL and `error`. */
int interface_of_device(const json_t *device, enum board_interface *interface, struct error *error);
struct board_rings rings_of_device(const json_t *device);

#endif
