/* Power-off and reset registers of a hardware-reduced ACPI machine. */
#ifndef KVIK_DEVICE_ACPI_SLEEP_H
#define KVIK_DEVICE_ACPI_SLEEP_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/power.h"

#define ACPI_SLEEP_PORTS	  4
#define ACPI_SLEEP_CONTROL_OFFSET 0
#define ACPI_SLEEP_STATUS_OFFSET  1
#define ACPI_SLEEP_RESET_OFFSET	  2
#define ACPI_SLEEP_RESET_VALUE	  1

/* device: struct power, which it only reads. */
extern const struct device_ops acpi_sleep_device_ops;
extern const struct pio_ops acpi_sleep_pio_ops;

#endif
