/* The port by which a test guest ends the run with a status of its own. */
#ifndef KVIK_DEVICE_DEBUG_EXIT_H
#define KVIK_DEVICE_DEBUG_EXIT_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/power.h"

#define DEBUG_EXIT_PORTS 4

/* device: struct power, which it only reads. */
extern const struct device_ops debug_exit_device_ops;
extern const struct pio_ops debug_exit_pio_ops;

#endif
