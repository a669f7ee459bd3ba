/*
 * Sleep control and sleep status registers (ACPI 6.4 §4.8.3.7) and a reset register (§4.8.3.6).
 * The only sleep state is S5, so nothing is ever woken and the status always reads 0.
 */
#include "device/acpi_sleep.h"

#include "device/acpi_pm.h"
#include "util/log.h"

#define CONTROL_TYPE_SHIFT 2
#define CONTROL_TYPE_MASK  0x1c
#define CONTROL_ENABLE	   0x20

static uint32_t acpi_sleep_read(void *device, uint16_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return 0;
}

static void acpi_sleep_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	const struct power *power = device;
	unsigned type = (value & CONTROL_TYPE_MASK) >> CONTROL_TYPE_SHIFT;

	(void)size;
	if (offset == ACPI_SLEEP_RESET_OFFSET && value == ACPI_SLEEP_RESET_VALUE) {
		power_request(power, POWER_RESET, 0);
	} else if (offset == ACPI_SLEEP_CONTROL_OFFSET && (value & CONTROL_ENABLE)) {
		if (type == ACPI_PM_SLEEP_TYPE_S5)
			power_request(power, POWER_OFF, 0);
		else
			log_guest("ACPI sleep type %u doesn't exist", type);
	}
}

const struct pio_ops acpi_sleep_pio_ops = {
	.read = acpi_sleep_read,
	.write = acpi_sleep_write,
	.widest_access = 1,
};

const struct device_ops acpi_sleep_device_ops = {.version = 1};
