/* The PC16550D serial port (UART): eight I/O ports, one interrupt line, one character stream. */
#ifndef KVIK_DEVICE_CHAR_SERIAL16550_H
#define KVIK_DEVICE_CHAR_SERIAL16550_H

#include "device/bus/pio.h"
#include "device/char/char.h"
#include "device/device.h"
#include "device/irq_line.h"

#define SERIAL16550_PORTS 8

struct serial16550;

/* A UART whose far end is `stream`; it is the stream's reader. The stream must outlive it. */
struct serial16550 *serial16550_create(struct char_stream *stream, const struct irq_line *irq,
				       struct error *error);

/* device: struct serial16550. Reset is the MR pin. */
extern const struct device_ops serial16550_device_ops;
extern const struct pio_ops serial16550_pio_ops;

#endif
