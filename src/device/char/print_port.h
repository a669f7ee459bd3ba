/* A port that prints: what a guest writes to it, byte by byte, goes to a stream. */
#ifndef KVIK_DEVICE_CHAR_PRINT_PORT_H
#define KVIK_DEVICE_CHAR_PRINT_PORT_H

#include "device/bus/pio.h"
#include "device/char/char.h"
#include "device/device.h"

struct print_port;

/*
 * `readback` is what reading the port gives: 0xe9 for the Bochs debug console, by which guests
 * find it, 0xff for a bare port. The stream must outlive the port.
 */
struct print_port *print_port_create(struct char_stream *stream, uint8_t readback,
				     struct error *error);

/* device: struct print_port; one port */
extern const struct device_ops print_port_device_ops;
extern const struct pio_ops print_port_pio_ops;

#endif
