/* The firmware configuration device: named blobs that firmware and guests read from the monitor. */
#ifndef KVIK_DEVICE_FW_CFG_H
#define KVIK_DEVICE_FW_CFG_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/guest_memory.h"

#define FW_CFG_FIRST_PORT 0x510
#define FW_CFG_PORTS	  12 /* selector, data, (gap), DMA address */

/* Standard keys. */
#define FW_CFG_UUID	 0x02
#define FW_CFG_RAM_BYTES 0x03
#define FW_CFG_CPUS	 0x05
#define FW_CFG_BOOT_MENU 0x0e
#define FW_CFG_MAX_CPUS	 0x0f
#define FW_CFG_IRQ0_OVERRIDE 0x8002 /* a PC's own: IRQ 0 is wired to the I/O APIC's pin 2 */

struct fw_cfg;

/* Without items but its own, for DMA to `memory`, which outlives it. NULL and `error`: no memory. */
struct fw_cfg *fw_cfg_create(const struct guest_memory *memory, struct error *error);

/* Set an item under one of the standard keys; the bytes are copied. 0 or -ENOMEM, -EINVAL. */
int fw_cfg_add(struct fw_cfg *fw_cfg, uint16_t key, const void *data, size_t size);
/* Add a file ("etc/e820", at most 55 characters); the bytes are copied. Before the guest runs. */
int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size);
/* The same for one that the guest may write to, too; who keeps it saves and resets it. */
int fw_cfg_add_writable_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size);
/* A file's bytes, of which it has as many. 0 or -EINVAL. Any thread. */
int fw_cfg_read_file(struct fw_cfg *fw_cfg, const char *name, void *data, size_t size);
/* Put other bytes into an item or a file, as many as it has. 0 or -EINVAL. Any thread. */
int fw_cfg_renew(struct fw_cfg *fw_cfg, uint16_t key, const void *data, size_t size);
int fw_cfg_renew_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size);

/* device: struct fw_cfg */
extern const struct device_ops fw_cfg_device_ops;
extern const struct pio_ops fw_cfg_pio_ops;

#endif
