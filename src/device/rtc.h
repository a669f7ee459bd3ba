/* The MC146818 real-time clock with the PC's CMOS RAM: ports 0x70 (index) and 0x71 (data). */
#ifndef KVIK_DEVICE_RTC_H
#define KVIK_DEVICE_RTC_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "util/event_loop.h"

#define RTC_FIRST_PORT 0x70
#define RTC_PORTS      2

struct rtc;

/* What the CMOS RAM tells firmware about the machine. */
struct rtc_config {
	uint64_t low_end;	  /* end of RAM below 4 GiB */
	uint64_t above_4g_bytes;  /* RAM above 4 GiB */
	unsigned cpus;
	int64_t offset_s; /* what it shows first, less the time of day */
	/* The alarm rings, with its interrupt enabled; the clock's lock is held. NULL: nobody wants to know. */
	void (*alarm)(void *context);
	void *alarm_context;
	/* The time of day in nanoseconds since 1970, UTC; NULL: the host's clock. For tests. */
	uint64_t (*now_ns)(void *context);
	void *now_context;
};

/* Its timers run on `loop`, which outlives it. NULL and `error`: no memory or descriptor. */
struct rtc *rtc_create(const struct rtc_config *config, struct event_loop *loop,
		       const struct irq_line *irq, struct error *error);

/* The machine sleeps with memory on: firmware that begins next is to go on, and not to begin anew (the shutdown
 * status, CMOS RAM's byte 0fh). Any thread. */
void rtc_note_sleep(struct rtc *rtc);

/* How many CPUs CMOS RAM tells from now on. Any thread. */
void rtc_set_cpus(struct rtc *rtc, unsigned cpus);

/* device: struct rtc. Over a reset the clock and the RAM go on, they have a battery. */
extern const struct device_ops rtc_device_ops;
extern const struct pio_ops rtc_pio_ops;

#endif
