/* Port 0x80: power-on self-test codes, and what PC software writes to for a short delay. */
#ifndef KVIK_DEVICE_POST_PORT_H
#define KVIK_DEVICE_POST_PORT_H

#include "device/bus/pio.h"
#include "device/device.h"

#define POST_PORT_FIRST 0x80
#define POST_PORT_PORTS 1

/* device: a byte, the last code written. */
extern const struct device_ops post_port_device_ops;
extern const struct pio_ops post_port_pio_ops;

#endif
