/* The PC/AT's keyboard controller, with the reset and A20 lines that it came to drive. */
#ifndef KVIK_DEVICE_I8042_H
#define KVIK_DEVICE_I8042_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "device/power.h"

#define I8042_DATA_PORT	   0x60
#define I8042_COMMAND_PORT 0x64
#define I8042_SYSTEM_PORT  0x92 /* "System Control Port A": fast A20 and reset */

struct i8042;

struct i8042 *i8042_create(const struct irq_line *keyboard_irq, const struct power *power,
			   struct error *error);

/* device: struct i8042. One port each. */
extern const struct device_ops i8042_device_ops;
extern const struct pio_ops i8042_data_pio_ops, i8042_command_pio_ops, i8042_system_pio_ops;

#endif
