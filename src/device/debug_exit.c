/*
 * isa-debug-exit, as QEMU has it (hw/misc/debugexit.c, "-device isa-debug-exit"): a write of
 * `value` ends the run with exit status value * 2 + 1, so that no value looks like success.
 */
#include "device/debug_exit.h"

static uint32_t debug_exit_read(void *device, uint16_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return 0;
}

static void debug_exit_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	(void)offset;
	(void)size;
	/* exit(3) keeps eight bits. */
	power_request(device, POWER_EXIT, (value << 1 | 1) & 0xff);
}

const struct pio_ops debug_exit_pio_ops = {
	.read = debug_exit_read,
	.write = debug_exit_write,
	.widest_access = 4,
};

const struct device_ops debug_exit_device_ops = {.version = 1};
