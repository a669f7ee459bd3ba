/* QEMU's pc-testdev: ports and memory by which kvm-unit-tests reach what they test. */
#ifndef KVIK_DEVICE_PC_TESTDEV_H
#define KVIK_DEVICE_PC_TESTDEV_H

#include "device/bus/mmio.h"
#include "device/bus/pio.h"
#include "device/device.h"
#include "device/guest_memory.h"
#include "device/irq_line.h"

/* Where its windows are. */
#define PC_TESTDEV_PORT		0xe0 /* a register of 4 bytes */
#define PC_TESTDEV_FLUSH_PORT	0xe4
#define PC_TESTDEV_BYTE_PORT	0xe8 /* the same register, byte by byte */
#define PC_TESTDEV_PORTS	4    /* each of these */
#define PC_TESTDEV_IRQ_PORT	0x2000
#define PC_TESTDEV_IRQS		24
#define PC_TESTDEV_MEMORY_GPA	0xff000000
#define PC_TESTDEV_MEMORY_BYTES 0x10000

struct pc_testdev;

/* NULL and `error`: no memory. */
struct pc_testdev *pc_testdev_create(const struct irq_line *irq, const struct guest_memory *memory,
				     struct error *error);

/* device: struct pc_testdev */
extern const struct device_ops pc_testdev_device_ops;
extern const struct pio_ops pc_testdev_pio_ops, pc_testdev_flush_ops, pc_testdev_byte_ops,
	pc_testdev_irq_ops;
extern const struct mmio_ops pc_testdev_mmio_ops;

#endif
