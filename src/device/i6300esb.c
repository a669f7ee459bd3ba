/*
 * The watchdog of Intel's 6300ESB I/O Controller Hub (datasheet, order number 300641, chapter 17): function
 * 8086:25ab with 16 bytes of registers in memory. A counter of two stages runs down from one preload value,
 * then from the other; a driver that lives reloads it in time. The end of the first stage may interrupt,
 * which is not modelled: drivers have it off. The end of the second resets the machine, unless the
 * driver has turned that off, and is remembered until the driver clears it.
 *
 * Preload values and the reload register are locked: a write is taken after 80h and 86h were written to
 * the reload register.
 */
#include "device/i6300esb.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define VENDOR	  0x8086
#define DEVICE_ID 0x25ab
#define CLASS	  0x088000 /* a system peripheral, other */

/* Configuration space. */
#define CONFIG_REGISTER	 0x60 /* two bytes */
#define CONFIG_NO_REBOOT 0x20
#define CONFIG_FAST	 0x04 /* the counter's clock is PCI's by 2^5, not by 2^15 */
#define CONFIG_INTERRUPT 0x03
#define LOCK_REGISTER	 0x68 /* one byte */
#define LOCK_LOCKED	 0x01 /* until the next reset this register cannot be written */
#define LOCK_ENABLED	 0x02
#define LOCK_FREE_RUN	 0x04 /* begin anew after the second stage */

/* Memory. */
#define PRELOAD_1	0x00
#define PRELOAD_2	0x04
#define INTERRUPT	0x08
#define RELOAD		0x0c
#define RELOAD_PING	0x0100
#define RELOAD_TIMEOUT	0x0200 /* it has run out; cleared by writing a one */
#define UNLOCK_1	0x80
#define UNLOCK_2	0x86
#define WINDOW_BYTES	16
#define PRELOAD_MAX	0xfffff

#define PCI_CLOCK_MHZ 33

struct i6300esb {
	struct pci_function function;
	struct power power;
	struct event_timer timer; /* the end of the stage */
	pthread_mutex_t lock;	  /* guards what follows */
	uint32_t preload[2];
	uint8_t unlocked; /* how much of the sequence was written: 0 to 2 */
	bool has_timed_out, is_running;
	uint8_t lock_register; /* as it was last taken over */
	uint8_t stage;		/* 0 or 1 */
	uint64_t deadline_ns;	/* of the stage, CLOCK_MONOTONIC, while nothing stands still */
	uint64_t remaining_ns;	/* of it, while the guest stands still */
	bool stands_still;
};

/* --- the counter; with the lock held --- */

static uint64_t stage_ns(struct i6300esb *watchdog)
{
	uint32_t config = pci_config_get(&watchdog->function, CONFIG_REGISTER, 2);
	unsigned shift = config & CONFIG_FAST ? 5 : 15;

	/* A counter from 0 on ends with the next clock. */
	return (((uint64_t)watchdog->preload[watchdog->stage] + 1) << shift) * 1000 / PCI_CLOCK_MHZ;
}

static void run_for(struct i6300esb *watchdog, uint64_t ns)
{
	watchdog->remaining_ns = ns;
	if (watchdog->stands_still)
		return;
	watchdog->deadline_ns = monotonic_ns() + ns;
	event_timer_set(&watchdog->timer, watchdog->deadline_ns, 0);
}

static void start_stage(struct i6300esb *watchdog, unsigned stage)
{
	watchdog->stage = stage;
	watchdog->is_running = true;
	run_for(watchdog, stage_ns(watchdog));
}

static void stop(struct i6300esb *watchdog)
{
	watchdog->is_running = false;
	event_timer_set(&watchdog->timer, 0, 0);
}

/* What the rest of the stage takes. */
static uint64_t remaining_ns(const struct i6300esb *watchdog)
{
	uint64_t now = monotonic_ns();

	if (watchdog->stands_still)
		return watchdog->remaining_ns;
	return watchdog->deadline_ns > now ? watchdog->deadline_ns - now : 0;
}

static void expired(void *context)
{
	struct i6300esb *watchdog = context;
	uint32_t config = pci_config_get(&watchdog->function, CONFIG_REGISTER, 2);
	uint32_t lock = pci_config_get(&watchdog->function, LOCK_REGISTER, 1);

	pthread_mutex_lock(&watchdog->lock);
	/* Reloaded, or stopped, meanwhile. */
	if (!watchdog->is_running || watchdog->stands_still ||
	    monotonic_ns() < watchdog->deadline_ns) {
		pthread_mutex_unlock(&watchdog->lock);
		return;
	}
	if (watchdog->stage == 0) {
		start_stage(watchdog, 1);
	} else {
		watchdog->has_timed_out = true;
		if (lock & LOCK_FREE_RUN)
			start_stage(watchdog, 0);
		else
			stop(watchdog);
		if (!(config & CONFIG_NO_REBOOT))
			power_request(&watchdog->power, POWER_WATCHDOG, 0);
	}
	pthread_mutex_unlock(&watchdog->lock);
}

static void stand_still(void *device, bool stands_still)
{
	struct i6300esb *watchdog = device;

	pthread_mutex_lock(&watchdog->lock);
	if (stands_still && !watchdog->stands_still) {
		watchdog->remaining_ns = remaining_ns(watchdog);
		watchdog->stands_still = true;
		event_timer_set(&watchdog->timer, 0, 0);
	} else if (!stands_still && watchdog->stands_still) {
		watchdog->stands_still = false;
		if (watchdog->is_running)
			run_for(watchdog, watchdog->remaining_ns);
	}
	pthread_mutex_unlock(&watchdog->lock);
}

/* --- registers --- */

/* A write that the sequence precedes. With the lock held. */
static bool take_unlock(struct i6300esb *watchdog)
{
	bool is_unlocked = watchdog->unlocked == 2;

	watchdog->unlocked = 0;
	return is_unlocked;
}

static void write_reload(struct i6300esb *watchdog, uint32_t value)
{
	if (watchdog->unlocked == 0 && value == UNLOCK_1) {
		watchdog->unlocked = 1;
	} else if (watchdog->unlocked == 1 && value == UNLOCK_2) {
		watchdog->unlocked = 2;
	} else if (take_unlock(watchdog)) {
		if (value & RELOAD_TIMEOUT)
			watchdog->has_timed_out = false;
		if ((value & RELOAD_PING) && watchdog->is_running)
			start_stage(watchdog, 0);
	}
}

static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	struct i6300esb *watchdog = device;
	uint64_t value = 0;

	(void)size;
	pthread_mutex_lock(&watchdog->lock);
	if (offset == PRELOAD_1 || offset == PRELOAD_2)
		value = watchdog->preload[offset / 4];
	else if (offset == RELOAD)
		value = watchdog->has_timed_out ? RELOAD_TIMEOUT : 0;
	pthread_mutex_unlock(&watchdog->lock);
	return value;
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i6300esb *watchdog = device;

	(void)size;
	pthread_mutex_lock(&watchdog->lock);
	if (offset == RELOAD)
		write_reload(watchdog, value);
	else if ((offset == PRELOAD_1 || offset == PRELOAD_2) && take_unlock(watchdog))
		watchdog->preload[offset / 4] = value & PRELOAD_MAX;
	pthread_mutex_unlock(&watchdog->lock);
}

static const struct mmio_ops window_ops = {window_read, window_write};

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct i6300esb *watchdog = (struct i6300esb *)function;
	uint32_t lock;

	if (offset > LOCK_REGISTER || offset + size <= LOCK_REGISTER)
		return;
	pthread_mutex_lock(&watchdog->lock);
	lock = pci_config_get(function, LOCK_REGISTER, 1);
	if (watchdog->lock_register & LOCK_LOCKED) {
		pci_config_set(function, LOCK_REGISTER, 1, watchdog->lock_register);
	} else {
		if (!(lock & LOCK_ENABLED))
			stop(watchdog);
		else if (!(watchdog->lock_register & LOCK_ENABLED))
			start_stage(watchdog, 0);
		watchdog->lock_register = lock;
	}
	pthread_mutex_unlock(&watchdog->lock);
}

/* --- life --- */

static void forget(struct i6300esb *watchdog)
{
	stop(watchdog);
	watchdog->preload[0] = watchdog->preload[1] = PRELOAD_MAX;
	watchdog->unlocked = watchdog->stage = watchdog->lock_register = 0;
}

/* That it has run out is what a guest wants to know after the reset. */
static void reset(void *device)
{
	struct i6300esb *watchdog = device;

	pthread_mutex_lock(&watchdog->lock);
	forget(watchdog);
	pthread_mutex_unlock(&watchdog->lock);
}

static void transfer(struct state_stream *state, struct i6300esb *watchdog)
{
	state_u32(state, "preload 1", &watchdog->preload[0]);
	state_u32(state, "preload 2", &watchdog->preload[1]);
	state_check(state, "preload", watchdog->preload[0] <= PRELOAD_MAX &&
					      watchdog->preload[1] <= PRELOAD_MAX);
	state_u8(state, "unlocked", &watchdog->unlocked);
	state_check(state, "unlocked", watchdog->unlocked <= 2);
	state_u8(state, "stage", &watchdog->stage);
	state_check(state, "stage", watchdog->stage <= 1);
	state_bool(state, "timed out", &watchdog->has_timed_out);
	state_bool(state, "running", &watchdog->is_running);
	state_u64(state, "remaining ns", &watchdog->remaining_ns);
	state_check(state, "remaining ns", watchdog->remaining_ns < UINT64_MAX / 4);
}

static void save(void *device, struct state_stream *state)
{
	struct i6300esb *watchdog = device;

	pci_function_save(&watchdog->function, state);
	pthread_mutex_lock(&watchdog->lock);
	watchdog->remaining_ns = remaining_ns(watchdog);
	transfer(state, watchdog);
	pthread_mutex_unlock(&watchdog->lock);
}

static void load(void *device, struct state_stream *state)
{
	struct i6300esb *watchdog = device, loaded = {0};
	struct pci_function_state saved;

	pci_function_transfer(&watchdog->function, &saved, state);
	transfer(state, &loaded);
	if (state_complete(state)) {
		pci_function_restore(&watchdog->function, &saved);
		pthread_mutex_lock(&watchdog->lock);
		forget(watchdog);
		watchdog->preload[0] = loaded.preload[0];
		watchdog->preload[1] = loaded.preload[1];
		watchdog->unlocked = loaded.unlocked;
		watchdog->stage = loaded.stage;
		watchdog->has_timed_out = loaded.has_timed_out;
		watchdog->is_running = loaded.is_running;
		watchdog->lock_register = pci_config_get(&watchdog->function, LOCK_REGISTER, 1);
		if (loaded.is_running)
			run_for(watchdog, loaded.remaining_ns);
		pthread_mutex_unlock(&watchdog->lock);
	}
	pci_function_state_free(&saved);
}

static void destroy(void *device)
{
	struct i6300esb *watchdog = device;

	pci_function_destroy(&watchdog->function);
	event_timer_destroy(&watchdog->timer);
	pthread_mutex_destroy(&watchdog->lock);
	free(watchdog);
}

const struct device_ops i6300esb_device_ops = {
	.version = 1,
	.reset = reset,
	.save = save,
	.load = load,
	.destroy = destroy,
	.stand_still = stand_still,
};

struct i6300esb *i6300esb_create(struct pci_bus *bus, unsigned slot_function, struct event_loop *loop,
				 const struct power *power, struct error *error)
{
	struct i6300esb *watchdog = calloc(1, sizeof(*watchdog));
	int result = watchdog ? 0 : -ENOMEM;

	if (result == 0)
		result = event_timer_init(&watchdog->timer, loop, expired, watchdog);
	if (result < 0) {
		error_set_errno(error, -result, "cannot create i6300esb");
		free(watchdog);
		return NULL;
	}
	pthread_mutex_init(&watchdog->lock, NULL);
	watchdog->power = *power;
	watchdog->preload[0] = watchdog->preload[1] = PRELOAD_MAX;
	pci_function_init(&watchdog->function, VENDOR, DEVICE_ID, CLASS, 0);
	watchdog->function.bars[0] = (struct pci_bar){.kind = PCI_BAR_MEMORY32,
						      .size_bytes = WINDOW_BYTES,
						      .name = "i6300esb",
						      .mmio = &window_ops,
						      .device = watchdog};
	watchdog->function.writable[CONFIG_REGISTER] = CONFIG_NO_REBOOT | CONFIG_FAST | CONFIG_INTERRUPT;
	watchdog->function.writable[LOCK_REGISTER] = LOCK_LOCKED | LOCK_ENABLED | LOCK_FREE_RUN;
	watchdog->function.config_written = config_written;
	pci_bus_add(bus, slot_function, &watchdog->function);
	return watchdog;
}
