/*
 * ACPI 6.4 §4.8, "ACPI Register Model": the PM1a event and control blocks, the 24-bit power
 * management timer (§4.8.3.3) and one general-purpose event block.
 *
 * The machine is in ACPI mode from the start (FADT.SMI_CMD is 0), so SCI_EN always reads as set.
 * Sleep states are S5 and, if it is to be there, S3.
 */
#include "device/acpi_pm.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/log.h"

#define PM_TIMER_HZ   3579545ull
#define PM_TIMER_BITS 24

#define EVENT_TIMER	   0x0001
#define EVENT_GLOBAL	   0x0020
#define EVENT_POWER_BUTTON 0x0100
#define EVENT_SLEEP_BUTTON 0x0200
#define EVENT_RTC	   0x0400
#define EVENT_WAKE	   0x8000
#define EVENT_ENABLES                                                                              \
	(EVENT_TIMER | EVENT_GLOBAL | EVENT_POWER_BUTTON | EVENT_SLEEP_BUTTON | EVENT_RTC)

#define CONTROL_SCI_ENABLED  0x0001
#define CONTROL_SLEEP_SHIFT  10
#define CONTROL_SLEEP_MASK   0x1c00
#define CONTROL_SLEEP_ENABLE 0x2000
#define SLEEP_TYPE_OFF	     0 /* what firmware writes that does not read \_S5: QEMU's */

struct acpi_pm {
	pthread_mutex_t lock; /* guards everything below */
	struct irq_line sci;
	struct power power;
	struct event_timer overflow; /* when the timer's top bit changes next, if that is enabled */
	uint64_t start_ns;	     /* when the timer was 0 */
	uint64_t half_periods;	     /* changes of the top bit that the status has shown */
	uint16_t status, enable, control;
	uint16_t gpe_status, gpe_enable;
	bool is_asleep; /* since S3 was written; a reset ends it */
	bool can_sleep; /* fixed */
};

/* Ticks since start, and how often the top bit has changed: 23 bits a half period. */
static uint64_t timer_ticks(const struct acpi_pm *pm)
{
	return (unsigned __int128)(monotonic_ns() - pm->start_ns) * PM_TIMER_HZ / NS_PER_SECOND;
}

static void update_timer_status(struct acpi_pm *pm)
{
	uint64_t half_periods = timer_ticks(pm) >> (PM_TIMER_BITS - 1);

	if (half_periods != pm->half_periods) {
		pm->half_periods = half_periods;
		pm->status |= EVENT_TIMER;
	}
}

static void update_sci(struct acpi_pm *pm)
{
	uint64_t next_ticks;

	update_timer_status(pm);
	irq_line_set(&pm->sci, (pm->status & pm->enable) || (pm->gpe_status & pm->gpe_enable));
	if ((pm->enable & EVENT_TIMER) && !(pm->status & EVENT_TIMER)) {
		next_ticks = (pm->half_periods + 1) << (PM_TIMER_BITS - 1);
		event_timer_set(&pm->overflow,
				pm->start_ns + 1 + (unsigned __int128)next_ticks * NS_PER_SECOND /
							   PM_TIMER_HZ,
				0);
	} else {
		event_timer_set(&pm->overflow, 0, 0);
	}
}

/*
 * The one place where events wake. Hardware records an event whether the machine sleeps or not, and wakes one
 * that sleeps, or is about to, while an event that is enabled has not been cleared (ACPI 6.4 §4.8.3.1). What the
 * rest of the machine is asked for while it still falls asleep is lost; then acpi_pm_fell_asleep asks again.
 */
static void update_wake(struct acpi_pm *pm)
{
	uint16_t events = pm->status & pm->enable;

	if (!pm->is_asleep)
		return;
	if (events & EVENT_RTC)
		power_request(&pm->power, POWER_WAKE, ACPI_PM_WOKEN_BY_ALARM);
	else if (events & EVENT_POWER_BUTTON)
		power_request(&pm->power, POWER_WAKE, ACPI_PM_WOKEN_BY_BUTTON);
}

/* An event of the status register has happened. */
static void raise_status(struct acpi_pm *pm, uint16_t event)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= event;
	update_sci(pm);
	update_wake(pm);
	pthread_mutex_unlock(&pm->lock);
}

static void overflow_expired(void *context)
{
	struct acpi_pm *pm = context;

	pthread_mutex_lock(&pm->lock);
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

static void write_control(struct acpi_pm *pm, uint16_t value)
{
	unsigned type = (value & CONTROL_SLEEP_MASK) >> CONTROL_SLEEP_SHIFT;

	/* SLP_EN is write-only; SCI_EN belongs to the firmware. */
	pm->control = value & ~(CONTROL_SLEEP_ENABLE | CONTROL_SCI_ENABLED);
	if (!(value & CONTROL_SLEEP_ENABLE))
		return;
	if (type == ACPI_PM_SLEEP_TYPE_S5 || type == SLEEP_TYPE_OFF) {
		power_request(&pm->power, POWER_OFF, 0);
	} else if (type == ACPI_PM_SLEEP_TYPE_S3 && pm->can_sleep) {
		pm->is_asleep = true;
		power_request(&pm->power, POWER_SLEEP, 0);
	} else {
		log_guest("ACPI sleep type %u doesn't exist", type);
	}
}

/* The registers as 16-bit words; the timer is read apart. */
static uint16_t read_word(struct acpi_pm *pm, unsigned offset)
{
	switch (offset) {
	case ACPI_PM_EVENT_OFFSET:
		update_timer_status(pm);
		return pm->status;
	case ACPI_PM_EVENT_OFFSET + 2: return pm->enable;
	case ACPI_PM_CONTROL_OFFSET: return pm->control | CONTROL_SCI_ENABLED;
	case ACPI_PM_GPE_OFFSET: return pm->gpe_status;
	case ACPI_PM_GPE_OFFSET + 2: return pm->gpe_enable;
	default: return 0;
	}
}

/* `mask` says which bits the access writes. Status bits are cleared by writing ones. */
static void write_word(struct acpi_pm *pm, unsigned offset, uint16_t value, uint16_t mask)
{
	switch (offset) {
	case ACPI_PM_EVENT_OFFSET:
		update_timer_status(pm);
		pm->status &= ~(value & mask);
		break;
	case ACPI_PM_EVENT_OFFSET + 2:
		pm->enable = ((pm->enable & ~mask) | (value & mask)) & EVENT_ENABLES;
		break;
	case ACPI_PM_CONTROL_OFFSET:
		write_control(pm, (pm->control & ~mask) | (value & mask));
		break;
	case ACPI_PM_GPE_OFFSET: pm->gpe_status &= ~(value & mask); break;
	case ACPI_PM_GPE_OFFSET + 2:
		pm->gpe_enable = (pm->gpe_enable & ~mask) | (value & mask);
		break;
	default: break;
	}
}

static uint32_t acpi_pm_read(void *device, uint16_t offset, unsigned size)
{
	struct acpi_pm *pm = device;
	uint32_t value;

	pthread_mutex_lock(&pm->lock);
	if (offset >= ACPI_PM_TIMER_OFFSET && offset < ACPI_PM_TIMER_OFFSET + 4) {
		value = timer_ticks(pm) & ((1u << PM_TIMER_BITS) - 1);
		value >>= 8 * (offset - ACPI_PM_TIMER_OFFSET);
	} else {
		value = read_word(pm, offset & ~1u) >> (8 * (offset & 1));
		if (size == 4)
			value |= (uint32_t)read_word(pm, (offset & ~1u) + 2) << 16;
	}
	pthread_mutex_unlock(&pm->lock);
	return value;
}

static void acpi_pm_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct acpi_pm *pm = device;
	unsigned shift = 8 * (offset & 1);

	pthread_mutex_lock(&pm->lock);
	write_word(pm, offset & ~1u, value << shift, size == 1 ? 0xffu << shift : 0xffff);
	if (size == 4)
		write_word(pm, (offset & ~1u) + 2, value >> 16, 0xffff);
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

const struct pio_ops acpi_pm_pio_ops = {
	.read = acpi_pm_read,
	.write = acpi_pm_write,
	.widest_access = 4,
};

/*
 * The same registers at an ICH9's offsets. Its SMI_EN tells that firmware has set up system management mode
 * already, which there is not, so that firmware leaves it alone.
 */
#define ICH9_GPE_ENABLE (ACPI_PM_ICH9_GPE_OFFSET + ACPI_PM_ICH9_GPE_BYTES / 2)
#define ICH9_SMI_ENABLE 0x30
#define ICH9_SMI_VALUE	0x0021 /* SMIs, and those by the APM control port */
#define NO_WORD		ACPI_PM_PORTS

static unsigned ich9_word(unsigned offset)
{
	if (offset < ACPI_PM_GPE_OFFSET)
		return offset;
	if (offset == ACPI_PM_ICH9_GPE_OFFSET)
		return ACPI_PM_GPE_OFFSET;
	return offset == ICH9_GPE_ENABLE ? ACPI_PM_GPE_OFFSET + 2 : NO_WORD;
}

static uint16_t ich9_read_word(struct acpi_pm *pm, unsigned offset)
{
	return offset == ICH9_SMI_ENABLE ? ICH9_SMI_VALUE : read_word(pm, ich9_word(offset));
}

static uint32_t ich9_read(void *device, uint16_t offset, unsigned size)
{
	struct acpi_pm *pm = device;
	uint32_t value;

	if (offset >= ACPI_PM_TIMER_OFFSET && offset < ACPI_PM_TIMER_OFFSET + 4)
		return acpi_pm_read(device, offset, size);
	pthread_mutex_lock(&pm->lock);
	value = ich9_read_word(pm, offset & ~1u) >> (8 * (offset & 1));
	if (size == 4)
		value |= (uint32_t)ich9_read_word(pm, (offset & ~1u) + 2) << 16;
	pthread_mutex_unlock(&pm->lock);
	return value;
}

static void ich9_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct acpi_pm *pm = device;
	unsigned shift = 8 * (offset & 1);

	pthread_mutex_lock(&pm->lock);
	write_word(pm, ich9_word(offset & ~1u), value << shift, size == 1 ? 0xffu << shift : 0xffff);
	if (size == 4)
		write_word(pm, ich9_word((offset & ~1u) + 2), value >> 16, 0xffff);
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

const struct pio_ops acpi_pm_ich9_pio_ops = {
	.read = ich9_read,
	.write = ich9_write,
	.widest_access = 4,
};

void acpi_pm_press_power_button(struct acpi_pm *pm)
{
	raise_status(pm, EVENT_POWER_BUTTON);
}

void acpi_pm_ring_alarm(struct acpi_pm *pm)
{
	raise_status(pm, EVENT_RTC);
}

void acpi_pm_fell_asleep(struct acpi_pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	update_wake(pm);
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_woke(struct acpi_pm *pm, enum acpi_pm_waker by)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= EVENT_WAKE | (by == ACPI_PM_WOKEN_BY_ALARM ? EVENT_RTC : EVENT_POWER_BUTTON);
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_raise_event(struct acpi_pm *pm, unsigned event)
{
	pthread_mutex_lock(&pm->lock);
	pm->gpe_status |= 1u << event;
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

bool acpi_pm_hears_event(struct acpi_pm *pm, unsigned event)
{
	bool hears;

	pthread_mutex_lock(&pm->lock);
	hears = pm->gpe_enable >> event & 1;
	pthread_mutex_unlock(&pm->lock);
	return hears;
}

static void acpi_pm_reset(void *device)
{
	struct acpi_pm *pm = device;

	pthread_mutex_lock(&pm->lock);
	pm->status = pm->enable = pm->control = 0;
	pm->gpe_status = pm->gpe_enable = 0;
	pm->is_asleep = false;
	pm->start_ns = monotonic_ns();
	pm->half_periods = 0;
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

/* The timer goes on from where it was: `start_ns` is told as the time that has passed. */
static void transfer(struct state_stream *state, struct acpi_pm *pm)
{
	uint64_t now_ns = monotonic_ns(), passed_ns = now_ns - pm->start_ns;

	state_u64(state, "passed_ns", &passed_ns);
	state_check(state, "passed_ns", passed_ns <= INT64_MAX);
	pm->start_ns = now_ns - passed_ns;
	state_u64(state, "half_periods", &pm->half_periods);
	state_check(state, "half_periods",
		    pm->half_periods <= timer_ticks(pm) >> (PM_TIMER_BITS - 1));
	state_u16(state, "status", &pm->status);
	state_u16(state, "enable", &pm->enable);
	state_check(state, "enable", !(pm->enable & ~EVENT_ENABLES));
	state_u16(state, "control", &pm->control);
	state_check(state, "control",
		    !(pm->control & (CONTROL_SLEEP_ENABLE | CONTROL_SCI_ENABLED)));
	state_u16(state, "gpe_status", &pm->gpe_status);
	state_u16(state, "gpe_enable", &pm->gpe_enable);
	if (state->version >= 2)
		state_bool(state, "asleep", &pm->is_asleep);
	state_check(state, "asleep", !pm->is_asleep || pm->can_sleep);
}

static void acpi_pm_save(void *device, struct state_stream *state)
{
	struct acpi_pm *pm = device;

	pthread_mutex_lock(&pm->lock);
	update_timer_status(pm);
	transfer(state, pm);
	pthread_mutex_unlock(&pm->lock);
}

static void acpi_pm_load(void *device, struct state_stream *state)
{
	struct acpi_pm *pm = device, loaded = {.can_sleep = pm->can_sleep};

	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&pm->lock);
	pm->start_ns = loaded.start_ns;
	pm->half_periods = loaded.half_periods;
	pm->status = loaded.status;
	pm->enable = loaded.enable;
	pm->control = loaded.control;
	pm->gpe_status = loaded.gpe_status;
	pm->gpe_enable = loaded.gpe_enable;
	pm->is_asleep = loaded.is_asleep;
	update_sci(pm);
	if (pm->is_asleep)
		power_request(&pm->power, POWER_SLEEP, 0);
	pthread_mutex_unlock(&pm->lock);
}

static void acpi_pm_destroy(void *device)
{
	struct acpi_pm *pm = device;

	event_timer_destroy(&pm->overflow);
	pthread_mutex_destroy(&pm->lock);
	free(pm);
}

const struct device_ops acpi_pm_device_ops = {
	.version = 2,
	.reset = acpi_pm_reset,
	.save = acpi_pm_save,
	.load = acpi_pm_load,
	.destroy = acpi_pm_destroy,
};

struct acpi_pm *acpi_pm_create(struct event_loop *loop, const struct irq_line *sci,
			       const struct power *power, bool can_sleep, struct error *error)
{
	struct acpi_pm *pm = calloc(1, sizeof(*pm));
	int result;

	if (!pm) {
		error_set_errno(error, ENOMEM, "cannot create the ACPI registers");
		return NULL;
	}
	pthread_mutex_init(&pm->lock, NULL);
	pm->sci = *sci;
	pm->power = *power;
	pm->can_sleep = can_sleep;
	pm->start_ns = monotonic_ns();
	result = event_timer_init(&pm->overflow, loop, overflow_expired, pm);
	if (result < 0) {
		error_set_errno(error, -result, "cannot create the ACPI registers");
		acpi_pm_destroy(pm);
		return NULL;
	}
	return pm;
}
