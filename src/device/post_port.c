/*
 * Port 0x80 of the PC/AT: the latch of the manufacturing test card, which shows the last byte.
 * Linux writes to it for its I/O delay, so it is silent below debug level.
 */
#include "device/post_port.h"

#include "util/log.h"

static uint32_t post_port_read(void *device, uint16_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return __atomic_load_n((uint8_t *)device, __ATOMIC_RELAXED);
}

static void post_port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	(void)offset;
	(void)size;
	/* Most guests write it again and again, to pass time. */
	if (__atomic_load_n((uint8_t *)device, __ATOMIC_RELAXED) != value &&
	    __atomic_exchange_n((uint8_t *)device, (uint8_t)value, __ATOMIC_RELAXED) != value)
		log_guest_at(LOG_DEBUG, "POST code 0x%02x", value);
}

const struct pio_ops post_port_pio_ops = {
	.read = post_port_read,
	.write = post_port_write,
	.widest_access = 1,
};

static void post_port_reset(void *device)
{
	__atomic_store_n((uint8_t *)device, 0, __ATOMIC_RELAXED);
}

static void post_port_save(void *device, struct state_stream *state)
{
	state_u8(state, "code", device);
}

static void post_port_load(void *device, struct state_stream *state)
{
	uint8_t code = 0;

	state_u8(state, "code", &code);
	if (state_complete(state))
		__atomic_store_n((uint8_t *)device, code, __ATOMIC_RELAXED);
}

const struct device_ops post_port_device_ops = {
	.version = 1,
	.reset = post_port_reset,
	.save = post_port_save,
	.load = post_port_load,
};
