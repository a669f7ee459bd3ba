/* The PC/AT's keyboard controller with its keyboard and mouse, and the reset and A20 lines that it came to drive. */
#ifndef KVIK_DEVICE_I8042_H
#define KVIK_DEVICE_I8042_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/input/keys.h"
#include "device/input/ps2_mouse.h"
#include "device/irq_line.h"
#include "device/power.h"

#define I8042_DATA_PORT	   0x60
#define I8042_COMMAND_PORT 0x64
#define I8042_SYSTEM_PORT  0x92 /* "System Control Port A": fast A20 and reset */

struct i8042;

/* With both interrupt lines, and what resets the machine by its output port. NULL and `error`: no memory. */
struct i8042 *i8042_create(const struct irq_line *keyboard_irq, const struct irq_line *mouse_irq,
			   const struct power *power, struct error *error);

/* Somebody presses a key or lets it go; moves the mouse (y grows upwards) and its wheel (towards the user), by
 * counts; presses a button of it. What the guest does not listen to, or is far behind with, is lost, as on any
 * PC. Any thread. */
void i8042_key(struct i8042 *controller, const struct key *key, bool is_down);
void i8042_move(struct i8042 *controller, int x, int y, int wheel);
void i8042_press(struct i8042 *controller, enum mouse_button button, bool is_down);

/* device: struct i8042. One port each. */
extern const struct device_ops i8042_device_ops;
extern const struct pio_ops i8042_data_pio_ops, i8042_command_pio_ops, i8042_system_pio_ops;

#endif
