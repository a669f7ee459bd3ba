/*
 * What has happened on a hardware-reduced ACPI machine, for its generic event device (ACPI 6.4 §5.6.9): the fixed events
 * of acpi_pm.h are not there.
 */
#ifndef KVIK_DEVICE_ACPI_EVENTS_H
#define KVIK_DEVICE_ACPI_EVENTS_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "util/error.h"

#define ACPI_EVENTS_PORTS 4
/* Bits of its register, a doubleword: which events there were. Ones that are written are taken away. */
#define ACPI_EVENT_POWER_BUTTON 0x1

struct acpi_events;

/* The line is level-triggered: high while there is an event. */
struct acpi_events *acpi_events_create(const struct irq_line *line, struct error *error);

/* The power button was pressed: asks a guest to power off. Any thread. */
void acpi_events_press_power_button(struct acpi_events *events);

/* device: struct acpi_events */
extern const struct device_ops acpi_events_device_ops;
extern const struct pio_ops acpi_events_pio_ops;

#endif
