/*
 * MC146818A real-time clock plus RAM (Motorola, 1984), with the PC/AT's use of its RAM
 * (IBM PC/AT Technical Reference, "Real-Time Clock/CMOS RAM"; the memory cells above 16 MiB and
 * the CPU count as Bochs's and QEMU's firmware reads them).
 *
 * Modelled: time in BCD or binary, 12 or 24 hours, century; setting the time; alarm, periodic and
 * update-ended interrupts; update-in-progress. Not modelled: the square-wave pin, daylight saving,
 * the divider chain's other crystals. The clock runs with the host's; what the guest sets is kept
 * as a difference to it.
 */
#include "device/rtc.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/clock.h"


#define REG_SECONDS	  0x00
#define REG_SECONDS_ALARM 0x01
#define REG_MINUTES	  0x02
#define REG_MINUTES_ALARM 0x03
#define REG_HOURS	  0x04
#define REG_HOURS_ALARM	  0x05
#define REG_WEEKDAY	  0x06
#define REG_DAY		  0x07
#define REG_MONTH	  0x08
#define REG_YEAR	  0x09
#define REG_A		  0x0a
#define REG_B		  0x0b
#define REG_C		  0x0c
#define REG_D		  0x0d
#define CMOS_CENTURY	  0x32
#define CMOS_SHUTDOWN	  0x0f
#define SHUTDOWN_RESUME	  0xfe /* as QEMU's firmware knows it */

/* Base memory and extended memory in KiB; above 16 MiB and above 4 GiB in 64 KiB; CPUs - 1. */
#define CMOS_BASE_KIB	  0x15
#define CMOS_EXTENDED_KIB 0x17
#define CMOS_EXTENDED_KIB_ACTUAL 0x30
#define CMOS_ABOVE_16M	  0x34
#define CMOS_ABOVE_4G	  0x5b
#define CMOS_CPUS	  0x5f
#define CMOS_EQUIPMENT	  0x14
#define CMOS_BYTES	  128

#define A_UPDATE_IN_PROGRESS 0x80
#define A_DIVIDER_MASK	     0x70
#define A_DIVIDER_32768	     0x20
#define A_RATE_MASK	     0x0f
#define A_RATE_1024HZ	     0x06

#define B_SET	       0x80
#define B_PERIODIC     0x40
#define B_ALARM	       0x20
#define B_UPDATE_ENDED 0x10
#define B_BINARY       0x04
#define B_24_HOURS     0x02
#define B_SOURCES      (B_PERIODIC | B_ALARM | B_UPDATE_ENDED) /* at the same bits as C's flags */

#define C_IRQ 0x80

#define D_VALID_RAM_AND_TIME 0x80

#define HOUR_PM	       0x80
#define ALARM_ANY      0xc0 /* an alarm byte of 11xxxxxx matches everything */
#define UIP_BEFORE_NS  244000 /* the data sheet's t_BUC: flagged this long before an update */

struct rtc {
	pthread_mutex_t lock; /* guards everything below */
	struct irq_line irq;
	struct rtc_config config;
	struct event_timer second_timer, periodic_timer;
	int64_t offset_ns; /* the guest's clock minus the host's */
	uint8_t index;
	uint8_t cmos[CMOS_BYTES]; /* clock registers are rendered into it when read */
	bool is_stopped;	  /* B_SET, or the divider is held in reset */
	uint64_t stopped_ns;	  /* the guest's time then */
};

static uint64_t host_now_ns(const struct rtc *rtc)
{
	struct timespec now;

	if (rtc->config.now_ns)
		return rtc->config.now_ns(rtc->config.now_context);
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static uint64_t guest_now_ns(const struct rtc *rtc)
{
	return rtc->is_stopped ? rtc->stopped_ns : host_now_ns(rtc) + rtc->offset_ns;
}

static uint8_t encode(const struct rtc *rtc, unsigned value)
{
	return rtc->cmos[REG_B] & B_BINARY ? value : (value / 10 % 10) << 4 | value % 10;
}

static unsigned decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 0xf);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return decode(rtc, value);
	return decode(rtc, value & ~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Put the time into the clock registers. */
static void render_time(struct rtc *rtc)
{
	time_t seconds = guest_now_ns(rtc) / NS_PER_SECOND;
	struct tm tm;

	if (rtc->is_stopped)
		return; /* the guest is writing them */
	gmtime_r(&seconds, &tm);
	rtc->cmos[REG_SECONDS] = encode(rtc, tm.tm_sec);
	rtc->cmos[REG_MINUTES] = encode(rtc, tm.tm_min);
	rtc->cmos[REG_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->cmos[REG_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->cmos[REG_DAY] = encode(rtc, tm.tm_mday);
	rtc->cmos[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->cmos[REG_YEAR] = encode(rtc, tm.tm_year % 100);
	rtc->cmos[CMOS_CENTURY] = encode(rtc, 19 + tm.tm_year / 100);
}

/* Take the time from the clock registers; any bytes are some time, as timegm carries over. */
static void set_time(struct rtc *rtc)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->cmos[REG_SECONDS]),
		.tm_min = decode(rtc, rtc->cmos[REG_MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->cmos[REG_HOURS]),
		.tm_mday = decode(rtc, rtc->cmos[REG_DAY]),
		.tm_mon = (int)decode(rtc, rtc->cmos[REG_MONTH]) - 1,
		.tm_year = (int)(decode(rtc, rtc->cmos[CMOS_CENTURY]) * 100 +
				 decode(rtc, rtc->cmos[REG_YEAR])) - 1900,
	};
	uint64_t fraction = guest_now_ns(rtc) % NS_PER_SECOND;
	uint64_t guest_ns = (uint64_t)timegm(&tm) * NS_PER_SECOND + fraction;

	if (rtc->is_stopped)
		rtc->stopped_ns = guest_ns;
	rtc->offset_ns = guest_ns - host_now_ns(rtc);
}

static bool is_clock_register(uint8_t index)
{
	return index == REG_SECONDS || index == REG_MINUTES || index == REG_HOURS ||
	       (index >= REG_WEEKDAY && index <= REG_YEAR) || index == CMOS_CENTURY;
}

static void update_irq(struct rtc *rtc)
{
	bool active = rtc->cmos[REG_C] & rtc->cmos[REG_B] & B_SOURCES;

	if (active)
		rtc->cmos[REG_C] |= C_IRQ;
	irq_line_set(&rtc->irq, active);
}

/* Nanoseconds between periodic interrupts (table 5, 32.768 kHz); 0 for none. */
static uint64_t period_ns(const struct rtc *rtc)
{
	unsigned rate = rtc->cmos[REG_A] & A_RATE_MASK;

	if (rate == 0 || (rtc->cmos[REG_A] & A_DIVIDER_MASK) != A_DIVIDER_32768)
		return 0;
	if (rate <= 2)
		rate += 7; /* the same as 8 and 9 */
	return (1ull << (rate - 1)) * NS_PER_SECOND / 32768;
}

/* Timers run only while the guest has their interrupts on: an idle guest costs nothing. */
static void update_timers(struct rtc *rtc)
{
	uint64_t now = monotonic_ns(), period = period_ns(rtc);
	bool wants_second = (rtc->cmos[REG_B] & (B_ALARM | B_UPDATE_ENDED)) && !rtc->is_stopped;

	if (wants_second)
		event_timer_set(&rtc->second_timer,
				now + NS_PER_SECOND - guest_now_ns(rtc) % NS_PER_SECOND,
				NS_PER_SECOND);
	else
		event_timer_set(&rtc->second_timer, 0, 0);
	if ((rtc->cmos[REG_B] & B_PERIODIC) && period)
		event_timer_set(&rtc->periodic_timer, now + period, period);
	else
		event_timer_set(&rtc->periodic_timer, 0, 0);
}

static bool alarm_matches(const struct rtc *rtc)
{
	static const uint8_t registers[][2] = {
		{REG_SECONDS, REG_SECONDS_ALARM}, {REG_MINUTES, REG_MINUTES_ALARM}, {REG_HOURS, REG_HOURS_ALARM}};
	unsigned i;

	for (i = 0; i < 3; i++) {
		uint8_t alarm = rtc->cmos[registers[i][1]];

		if ((alarm & ALARM_ANY) != ALARM_ANY && alarm != rtc->cmos[registers[i][0]])
			return false;
	}
	return true;
}

static void second_expired(void *context)
{
	struct rtc *rtc = context;

	pthread_mutex_lock(&rtc->lock);
	render_time(rtc);
	rtc->cmos[REG_C] |= B_UPDATE_ENDED;
	if (alarm_matches(rtc)) {
		rtc->cmos[REG_C] |= B_ALARM;
		if ((rtc->cmos[REG_B] & B_ALARM) && rtc->config.alarm)
			rtc->config.alarm(rtc->config.alarm_context);
	}
	update_irq(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static void periodic_expired(void *context)
{
	struct rtc *rtc = context;

	pthread_mutex_lock(&rtc->lock);
	rtc->cmos[REG_C] |= B_PERIODIC;
	update_irq(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static uint8_t read_register(struct rtc *rtc)
{
	uint8_t value;

	if (is_clock_register(rtc->index))
		render_time(rtc);
	value = rtc->cmos[rtc->index];
	switch (rtc->index) {
	case REG_A:
		if (!rtc->is_stopped &&
		    guest_now_ns(rtc) % NS_PER_SECOND >= NS_PER_SECOND - UIP_BEFORE_NS)
			value |= A_UPDATE_IN_PROGRESS;
		break;
	case REG_C:
		rtc->cmos[REG_C] = 0;
		update_irq(rtc);
		break;
	case REG_D: value = D_VALID_RAM_AND_TIME; break;
	}
	return value;
}

/* Whether the guest holds the clock: 11x in the divider holds the chain in reset. */
static bool is_held(const struct rtc *rtc)
{
	return (rtc->cmos[REG_B] & B_SET) || (rtc->cmos[REG_A] & 0x60) == 0x60;
}

/* Stop or go on, after A or B changed. */
static void update_running(struct rtc *rtc)
{
	bool stopped = is_held(rtc);

	if (stopped == rtc->is_stopped)
		return;
	if (stopped) {
		render_time(rtc);
		rtc->stopped_ns = guest_now_ns(rtc);
		rtc->is_stopped = true;
	} else {
		set_time(rtc);
		rtc->is_stopped = false;
	}
}

static void write_register(struct rtc *rtc, uint8_t value)
{
	switch (rtc->index) {
	case REG_A:
		rtc->cmos[REG_A] = value & ~A_UPDATE_IN_PROGRESS;
		update_running(rtc);
		update_timers(rtc);
		break;
	case REG_B:
		if (value & B_SET)
			value &= ~B_UPDATE_ENDED;
		/* The format may change while the clock runs: bring the bytes up to date first. */
		render_time(rtc);
		rtc->cmos[REG_B] = value;
		update_running(rtc);
		update_timers(rtc);
		update_irq(rtc);
		break;
	case REG_C:
	case REG_D: break;
	default:
		if (is_clock_register(rtc->index) && !rtc->is_stopped)
			render_time(rtc);
		rtc->cmos[rtc->index] = value;
		if (is_clock_register(rtc->index) && !rtc->is_stopped) {
			set_time(rtc);
			update_timers(rtc);
		}
		break;
	}
}

static uint32_t rtc_read(void *device, uint16_t offset, unsigned size)
{
	struct rtc *rtc = device;
	uint8_t value = 0xff; /* the index port can't be read */

	(void)size;
	pthread_mutex_lock(&rtc->lock);
	if (offset == 1)
		value = read_register(rtc);
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

static void rtc_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct rtc *rtc = device;

	(void)size;
	pthread_mutex_lock(&rtc->lock);
	if (offset == 0)
		rtc->index = value & (CMOS_BYTES - 1); /* bit 7 masks NMI, of which there is none */
	else
		write_register(rtc, value);
	pthread_mutex_unlock(&rtc->lock);
}

const struct pio_ops rtc_pio_ops = {
	.read = rtc_read,
	.write = rtc_write,
	.widest_access = 1,
};

void rtc_note_sleep(struct rtc *rtc)
{
	pthread_mutex_lock(&rtc->lock);
	rtc->cmos[CMOS_SHUTDOWN] = SHUTDOWN_RESUME;
	pthread_mutex_unlock(&rtc->lock);
}

static void put16(struct rtc *rtc, unsigned index, uint64_t value)
{
	if (value > UINT16_MAX)
		value = UINT16_MAX;
	rtc->cmos[index] = value;
	rtc->cmos[index + 1] = value >> 8;
}

static void fill_machine_cells(struct rtc *rtc)
{
	uint64_t low_end = rtc->config.low_end, above_4g = rtc->config.above_4g_bytes >> 16;
	uint64_t extended_kib = low_end > 1 << 20 ? (low_end - (1 << 20)) >> 10 : 0;

	put16(rtc, CMOS_BASE_KIB, 640);
	put16(rtc, CMOS_EXTENDED_KIB, extended_kib);
	put16(rtc, CMOS_EXTENDED_KIB_ACTUAL, extended_kib);
	put16(rtc, CMOS_ABOVE_16M, low_end > 16 << 20 ? (low_end - (16 << 20)) >> 16 : 0);
	rtc->cmos[CMOS_ABOVE_4G] = above_4g;
	rtc->cmos[CMOS_ABOVE_4G + 1] = above_4g >> 8;
	rtc->cmos[CMOS_ABOVE_4G + 2] = above_4g >> 16;
	rtc->cmos[CMOS_CPUS] = rtc->config.cpus - 1;
	rtc->cmos[CMOS_EQUIPMENT] = 0x06; /* FPU and mouse port, no floppy, no display */
}

void rtc_set_cpus(struct rtc *rtc, unsigned cpus)
{
	pthread_mutex_lock(&rtc->lock);
	rtc->config.cpus = cpus;
	rtc->cmos[CMOS_CPUS] = cpus - 1;
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_reset(void *device)
{
	struct rtc *rtc = device;

	pthread_mutex_lock(&rtc->lock);
	/* "RESET clears PIE, AIE, UIE, SQWE and the flags" (data sheet, RESET pin). */
	rtc->cmos[REG_B] &= B_SET | B_BINARY | B_24_HOURS | 0x01;
	rtc->cmos[REG_C] = 0;
	rtc->index = 0;
	update_timers(rtc);
	update_irq(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

/* The clock goes on with the host's: a loaded guest finds the time of day, not that of the save. */
static void transfer(struct state_stream *state, struct rtc *rtc)
{
	state_bytes(state, "cmos", rtc->cmos, sizeof(rtc->cmos));
	state_check(state, "register A", !(rtc->cmos[REG_A] & A_UPDATE_IN_PROGRESS));
	state_check(state, "register C", !(rtc->cmos[REG_C] & ~(B_SOURCES | C_IRQ)));
	state_u8(state, "index", &rtc->index);
	state_check(state, "index", rtc->index < CMOS_BYTES);
	state_i64(state, "offset_ns", &rtc->offset_ns);
	state_u64(state, "stopped_ns", &rtc->stopped_ns);
	rtc->is_stopped = is_held(rtc);
}

static void rtc_save(void *device, struct state_stream *state)
{
	struct rtc *rtc = device;

	pthread_mutex_lock(&rtc->lock);
	transfer(state, rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_load(void *device, struct state_stream *state)
{
	struct rtc *rtc = device, loaded = {.index = 0};

	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&rtc->lock);
	memcpy(rtc->cmos, loaded.cmos, sizeof(rtc->cmos));
	rtc->index = loaded.index;
	rtc->offset_ns = loaded.offset_ns;
	rtc->is_stopped = loaded.is_stopped;
	rtc->stopped_ns = loaded.stopped_ns;
	update_timers(rtc);
	update_irq(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_destroy(void *device)
{
	struct rtc *rtc = device;

	event_timer_destroy(&rtc->periodic_timer);
	event_timer_destroy(&rtc->second_timer);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}

const struct device_ops rtc_device_ops = {
	.version = 1,
	.reset = rtc_reset,
	.save = rtc_save,
	.load = rtc_load,
	.destroy = rtc_destroy,
};

struct rtc *rtc_create(const struct rtc_config *config, struct event_loop *loop,
		       const struct irq_line *irq, struct error *error)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int result;

	if (!rtc) {
		error_set_errno(error, ENOMEM, "cannot create the real-time clock");
		return NULL;
	}
	pthread_mutex_init(&rtc->lock, NULL);
	rtc->config = *config;
	rtc->irq = *irq;
	rtc->offset_ns = config->offset_s * (int64_t)NS_PER_SECOND;
	rtc->cmos[REG_A] = A_DIVIDER_32768 | A_RATE_1024HZ;
	rtc->cmos[REG_B] = B_24_HOURS;
	fill_machine_cells(rtc);
	result = event_timer_init(&rtc->second_timer, loop, second_expired, rtc);
	if (result == 0)
		result = event_timer_init(&rtc->periodic_timer, loop, periodic_expired, rtc);
	if (result < 0) {
		error_set_errno(error, -result, "cannot create the real-time clock");
		rtc_destroy(rtc);
		return NULL;
	}
	return rtc;
}
