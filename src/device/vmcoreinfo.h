/*
 * vmcoreinfo: where a guest's kernel leaves the note with which tools for its core files begin (QEMU
 * docs/specs/vmcoreinfo.rst). A file of fw_cfg, etc/vmcoreinfo, that the guest writes.
 */
#ifndef KVIK_DEVICE_VMCOREINFO_H
#define KVIK_DEVICE_VMCOREINFO_H

#include <stdbool.h>

#include "device/device.h"
#include "device/fw_cfg.h"

struct vmcoreinfo;

struct vmcoreinfo *vmcoreinfo_create(struct fw_cfg *fw_cfg, struct error *error);
/* Where the guest says its note is, an ELF note; false: it has said nothing of the kind. Any thread. */
bool vmcoreinfo_find(const struct vmcoreinfo *vmcoreinfo, uint64_t *gpa, uint32_t *size);

extern const struct device_ops vmcoreinfo_device_ops; /* device: struct vmcoreinfo, on the board before fw_cfg goes */

#endif
