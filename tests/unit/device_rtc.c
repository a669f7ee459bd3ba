/* The MC146818: time in its formats, setting it, update-in-progress, alarm, CMOS cells. */
#include "device/rtc.h"
#include "device_fixture.h"

/* 2024-02-29 13:59:58 UTC, a Thursday. */
#define LEAP_DAY_NS 1709215198000000000ull

struct clock {
	struct fixture fixture;
	struct event_loop *loop;
	struct rtc *rtc;
	uint64_t now_ns;
};

static uint64_t clock_now(void *context)
{
	return ((struct clock *)context)->now_ns;
}

static int setup(void **state)
{
	static struct clock clock;
	struct error error;
	struct rtc_config config = {
		.low_end = 0xc0000000,
		.above_4g_bytes = 1ull << 30,
		.cpus = 2,
		.now_ns = clock_now,
		.now_context = &clock,
	};

	memset(&clock, 0, sizeof(clock));
	fixture_init(&clock.fixture);
	clock.now_ns = LEAP_DAY_NS;
	clock.loop = event_loop_create(&error);
	clock.rtc = rtc_create(&config, clock.loop, &clock.fixture.irq, &error);
	assert_non_null(clock.rtc);
	*state = &clock;
	return 0;
}

static int teardown(void **state)
{
	struct clock *clock = *state;

	rtc_device_ops.destroy(clock->rtc);
	event_loop_destroy(clock->loop);
	return 0;
}

static uint8_t get(struct clock *clock, uint8_t index)
{
	rtc_pio_ops.write(clock->rtc, 0, 1, index);
	return rtc_pio_ops.read(clock->rtc, 1, 1);
}

static void set(struct clock *clock, uint8_t index, uint8_t value)
{
	rtc_pio_ops.write(clock->rtc, 0, 1, index);
	rtc_pio_ops.write(clock->rtc, 1, 1, value);
}

static void test_time_bcd(void **state)
{
	struct clock *clock = *state;

	assert_int_equal(get(clock, 0x00), 0x58);
	assert_int_equal(get(clock, 0x02), 0x59);
	assert_int_equal(get(clock, 0x04), 0x13);
	assert_int_equal(get(clock, 0x06), 5); /* Sunday is 1 */
	assert_int_equal(get(clock, 0x07), 0x29);
	assert_int_equal(get(clock, 0x08), 0x02);
	assert_int_equal(get(clock, 0x09), 0x24);
	assert_int_equal(get(clock, 0x32), 0x20);
	assert_int_equal(get(clock, 0x0d), 0x80);
	clock->now_ns += 2000000000;
	assert_int_equal(get(clock, 0x04), 0x14);
	assert_int_equal(get(clock, 0x00), 0x00);
}

static void test_time_binary_12_hours(void **state)
{
	struct clock *clock = *state;

	set(clock, 0x0b, 0x04);
	assert_int_equal(get(clock, 0x04), 0x81); /* 1 PM */
	assert_int_equal(get(clock, 0x00), 58);
	clock->now_ns -= 13ull * 3600 * 1000000000;
	assert_int_equal(get(clock, 0x04), 12); /* midnight */
	clock->now_ns += 12ull * 3600 * 1000000000;
	assert_int_equal(get(clock, 0x04), 0x8c); /* noon */
}

static void test_set_time(void **state)
{
	struct clock *clock = *state;

	set(clock, 0x0b, 0x82); /* SET stops the clock */
	set(clock, 0x00, 0x30);
	set(clock, 0x02, 0x15);
	set(clock, 0x04, 0x06);
	set(clock, 0x07, 0x31);
	set(clock, 0x08, 0x12);
	set(clock, 0x09, 0x99);
	set(clock, 0x32, 0x19);
	clock->now_ns += 5000000000;
	assert_int_equal(get(clock, 0x00), 0x30);
	set(clock, 0x0b, 0x02);
	clock->now_ns += 1000000000;
	assert_int_equal(get(clock, 0x00), 0x31);
	assert_int_equal(get(clock, 0x09), 0x99);
	assert_int_equal(get(clock, 0x32), 0x19);
	/* Bytes that are no time are some time, and do no harm. */
	set(clock, 0x08, 0xff);
	set(clock, 0x07, 0xff);
	get(clock, 0x08);
}

static void test_update_in_progress(void **state)
{
	struct clock *clock = *state;

	assert_int_equal(get(clock, 0x0a) & 0x80, 0);
	clock->now_ns += 999900000;
	assert_int_equal(get(clock, 0x0a) & 0x80, 0x80);
	clock->now_ns += 100000;
	assert_int_equal(get(clock, 0x0a) & 0x80, 0);
}

static void stop_loop(void *context)
{
	event_loop_stop(context);
}

static void run_for(struct clock *clock, uint64_t ns)
{
	struct event_timer timer = {0};

	event_timer_init(&timer, clock->loop, stop_loop, clock->loop);
	event_timer_set(&timer, monotonic_ns() + ns, 0);
	event_loop_run(clock->loop);
	event_timer_destroy(&timer);
}

static void test_periodic_interrupt(void **state)
{
	struct clock *clock = *state;

	set(clock, 0x0b, 0x42); /* at 1024 Hz */
	run_for(clock, 50000000);
	assert_true(clock->fixture.irq_level);
	assert_int_equal(get(clock, 0x0c), 0xc0);
	assert_false(clock->fixture.irq_level);
	set(clock, 0x0b, 0x02);
	run_for(clock, 5000000);
	assert_int_equal(get(clock, 0x0c), 0x00);
}

static void test_alarm(void **state)
{
	struct clock *clock = *state;

	clock->now_ns += 990000000;
	set(clock, 0x01, 0xff); /* any second */
	set(clock, 0x03, 0x59);
	set(clock, 0x05, 0xc0); /* any hour */
	set(clock, 0x0b, 0x22);
	run_for(clock, 50000000);
	assert_true(clock->fixture.irq_level);
	assert_int_equal(get(clock, 0x0c), 0xb0); /* update ended is flagged, not enabled */
	assert_false(clock->fixture.irq_level);
}

static void test_memory_cells(void **state)
{
	struct clock *clock = *state;

	assert_int_equal(get(clock, 0x15) | get(clock, 0x16) << 8, 640);
	assert_int_equal(get(clock, 0x17) | get(clock, 0x18) << 8, 0xffff);
	assert_int_equal(get(clock, 0x34) | get(clock, 0x35) << 8, (0xc0000000 - (16 << 20)) >> 16);
	assert_int_equal(get(clock, 0x5b) | get(clock, 0x5c) << 8 | get(clock, 0x5d) << 16,
			 1 << 14);
	assert_int_equal(get(clock, 0x5f), 1);
	set(clock, 0x0f, 0x0a);
	rtc_device_ops.reset(clock->rtc);
	assert_int_equal(get(clock, 0x0f), 0x0a); /* the RAM has a battery */
	assert_int_equal(get(clock, 0x8f), 0x0a); /* bit 7 is the NMI mask */
}

/* What it shows first is what its owner wants. */
static void test_offset(void **state)
{
	struct clock *clock = *state;
	struct rtc_config config = {.cpus = 1, .offset_s = -86400, .now_ns = clock_now, .now_context = clock};
	struct error error;
	struct rtc *rtc = rtc_create(&config, clock->loop, &clock->fixture.irq, &error), *other = clock->rtc;

	clock->rtc = rtc;
	assert_int_equal(get(clock, 7), 0x28); /* the day before the leap day */
	rtc_device_ops.reset(rtc);
	assert_int_equal(get(clock, 7), 0x28);
	clock->rtc = other;
	assert_int_equal(get(clock, 7), 0x29);
	rtc_device_ops.destroy(rtc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_time_bcd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_time_binary_12_hours, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_update_in_progress, setup, teardown),
		cmocka_unit_test_setup_teardown(test_periodic_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alarm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory_cells, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
