/* virtio-console on streams of the test's own: what ports are told, bytes both ways, slow readers. */
#include <errno.h>
#include <linux/virtio_console.h>
#include <stdlib.h>

#include "device/virtio/console.h"
#include "util/clock.h"
#include "virtio_driver.h"

#define BUFFERS	 DRIVER_DATA
#define MESSAGES (DRIVER_DATA + 0x1000)
#define PORTS	 1ull << VIRTIO_CONSOLE_F_MULTIPORT

enum { IN0, OUT0, CONTROL_IN, CONTROL_OUT, IN1, OUT1 };

static struct driver driver;
static struct char_stream *streams[2];
static char printed[2][256];
static size_t printed_count[2];

static void print(void *context, const uint8_t *data, size_t size)
{
	size_t stream = (size_t)context;

	assert_true(size <= sizeof(printed[0]) - printed_count[stream]);
	memcpy(printed[stream] + printed_count[stream], data, size);
	printed_count[stream] += size;
}

static struct {
	unsigned count, port;
	bool is_open;
} heard;

static void hear(void *context, unsigned port, bool is_open)
{
	(void)context;
	heard.count++;
	heard.port = port;
	heard.is_open = is_open;
}

/* Without a loop nobody hears. */
static void open_console_on(struct event_loop *loop, uint64_t features)
{
	const struct virtio_console_listener listener = {loop ? hear : NULL, NULL};
	struct virtio_console_port ports[2] = {{NULL, NULL}, {NULL, "agent"}};
	struct error error;
	size_t i;

	driver_init(&driver);
	driver.host.loop = loop;
	for (i = 0; i < 2; i++) {
		ports[i].stream = streams[i] = char_callback_create(print, (void *)i, &error);
		printed_count[i] = 0;
	}
	driver_start(&driver, virtio_console_create(&driver.host, ports, 2, &listener, &error), features);
}

static void open_console(uint64_t features)
{
	open_console_on(NULL, features);
}

static void close_console(void)
{
	driver.virtio->kind->destroy(driver.virtio);
	char_destroy(streams[0]);
	char_destroy(streams[1]);
}

static void send_message(uint32_t id, uint16_t event, uint16_t value)
{
	const struct driver_buffer buffer = {MESSAGES + 0x800, 8, false};
	struct virtio_console_control *message = driver_at(&driver, MESSAGES + 0x800);

	*message = (struct virtio_console_control){id, event, value};
	driver_do(&driver, CONTROL_OUT, &buffer, 1);
}

/* The next message has come: its bytes behind the header. */
static const char *expect_message(unsigned slot, uint32_t id, uint16_t event, uint32_t size)
{
	struct virtio_console_control *message = driver_at(&driver, MESSAGES + 64 * slot);
	uint32_t written = 0;

	assert_true(driver_take(&driver, CONTROL_IN, &written));
	assert_int_equal(written, size);
	assert_int_equal(message->id, id);
	assert_int_equal(message->event, event);
	assert_int_equal(message->value, 1);
	return (const char *)(message + 1);
}

static void offer_messages(unsigned first, unsigned count)
{
	struct driver_buffer buffer = {.size = 64, .is_writable = true};

	for (; count; count--, first++) {
		buffer.offset = MESSAGES + 64 * first;
		driver_offer(&driver, CONTROL_IN, &buffer, 1);
	}
	virtio_notify(driver.virtio, CONTROL_IN);
}

static void test_ports(void **state)
{
	uint32_t written;

	(void)state;
	open_console(PORTS);
	/* One buffer at first: the second port's message waits for the next. */
	offer_messages(0, 1);
	send_message(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_message(0, 0, VIRTIO_CONSOLE_PORT_ADD, 8);
	assert_false(driver_take(&driver, CONTROL_IN, &written));
	offer_messages(1, 5);
	expect_message(1, 1, VIRTIO_CONSOLE_PORT_ADD, 8);
	send_message(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_message(2, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 8);
	expect_message(3, 0, VIRTIO_CONSOLE_PORT_OPEN, 8);
	send_message(1, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_memory_equal(expect_message(4, 1, VIRTIO_CONSOLE_PORT_NAME, 13), "agent", 5);
	expect_message(5, 1, VIRTIO_CONSOLE_PORT_OPEN, 8);
	/* Of a port that isn't there, and none that we know: nothing. */
	send_message(7, VIRTIO_CONSOLE_PORT_READY, 1);
	send_message(1, 99, 1);
	assert_int_equal(virtio_status(driver.virtio), 15);
	close_console();
}

static void test_output(void **state)
{
	const struct driver_buffer buffers[] = {{BUFFERS, 5, false}, {BUFFERS + 100, 3, false}};
	uint32_t written;

	(void)state;
	open_console(PORTS);
	memcpy(driver_at(&driver, BUFFERS), "hello", 5);
	memcpy(driver_at(&driver, BUFFERS + 100), " you", 3);
	driver_do(&driver, OUT1, buffers, 2);
	assert_int_equal(printed_count[1], 8);
	assert_memory_equal(printed[1], "hello yo", 8);
	assert_int_equal(printed_count[0], 0);
	/* A reader that has stalled: the chain waits, and goes on with it. */
	char_callback_stall(streams[0], true);
	driver_offer(&driver, OUT0, buffers, 1);
	virtio_notify(driver.virtio, OUT0);
	assert_false(driver_take(&driver, OUT0, &written));
	char_callback_stall(streams[0], false);
	virtio_notify(driver.virtio, OUT0);
	assert_true(driver_take(&driver, OUT0, &written));
	assert_memory_equal(printed[0], "hello", 5);
	close_console();
}

static void test_input(void **state)
{
	const struct driver_buffer small = {BUFFERS, 4, true}, large = {BUFFERS + 4, 100, true};
	uint32_t written;

	(void)state;
	open_console(PORTS);
	/* Nobody has it open: what comes stays outside. */
	driver_offer(&driver, IN1, &small, 1);
	virtio_notify(driver.virtio, IN1);
	assert_int_equal(char_callback_input(streams[1], (const uint8_t *)"abcdef", 6), 0);
	send_message(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(char_callback_input(streams[1], (const uint8_t *)"abcdef", 6), 6);
	assert_true(driver_take(&driver, IN1, &written));
	assert_int_equal(written, 4);
	assert_false(driver_take(&driver, IN1, &written));
	driver_offer(&driver, IN1, &large, 1);
	virtio_notify(driver.virtio, IN1);
	assert_true(driver_take(&driver, IN1, &written));
	assert_int_equal(written, 2);
	assert_memory_equal(driver_at(&driver, BUFFERS), "abcdef", 6);
	/* What came while it was open waits for it to be open again, whatever buffers there are. */
	assert_int_equal(char_callback_input(streams[1], (const uint8_t *)"gh", 2), 2);
	send_message(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_int_equal(char_callback_input(streams[1], (const uint8_t *)"i", 1), 0);
	driver_offer(&driver, IN1, &large, 1);
	virtio_notify(driver.virtio, IN1);
	assert_false(driver_take(&driver, IN1, &written));
	send_message(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_true(driver_take(&driver, IN1, &written));
	assert_int_equal(written, 2);
	assert_memory_equal(driver_at(&driver, BUFFERS + 4), "gh", 2);
	close_console();
}

/* A driver without ports has a console, and a way to print before all else. */
static void test_plain(void **state)
{
	const struct driver_buffer buffer = {BUFFERS, 10, true};
	static const uint8_t character[4] = "!";
	uint32_t written;

	(void)state;
	open_console(0);
	virtio_write_config(driver.virtio, 8, 4, character);
	assert_memory_equal(printed[0], "!", 1);
	assert_int_equal(printed_count[0], 1);
	driver_offer(&driver, IN0, &buffer, 1);
	virtio_notify(driver.virtio, IN0);
	assert_int_equal(char_callback_input(streams[0], (const uint8_t *)"key", 3), 3);
	assert_true(driver_take(&driver, IN0, &written));
	assert_int_equal(written, 3);
	close_console();
}

static void stop(void *context)
{
	event_loop_stop(context);
}

/* Have the loop do what there is to do. */
static void run_loop(struct event_loop *loop)
{
	struct event_timer timer = {.expired = NULL};

	assert_int_equal(event_timer_init(&timer, loop, stop, loop), 0);
	event_timer_set(&timer, monotonic_ns() + 20000000, 0);
	assert_int_equal(event_loop_run(loop), 0);
	event_timer_destroy(&timer);
}

/* With a loop it is that where queues are worked on. */
static void open_port_on(struct event_loop *loop, bool is_open)
{
	const struct driver_buffer buffer = {MESSAGES + 0x800, 8, false};
	uint32_t written;

	*(struct virtio_console_control *)driver_at(&driver, MESSAGES + 0x800) =
		(struct virtio_console_control){1, VIRTIO_CONSOLE_PORT_OPEN, is_open};
	driver_offer(&driver, CONTROL_OUT, &buffer, 1);
	virtio_notify(driver.virtio, CONTROL_OUT);
	run_loop(loop);
	assert_true(driver_take(&driver, CONTROL_OUT, &written));
}

/* Whom it concerns hears of the ports that the guest opens, and what a reset closes, on the loop. */
static void test_listener(void **state)
{
	struct error error;
	struct event_loop *loop = event_loop_create(&error);

	(void)state;
	memset(&heard, 0, sizeof(heard));
	open_console_on(loop, PORTS);
	open_port_on(loop, true);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.port, 1);
	assert_true(heard.is_open);
	open_port_on(loop, true); /* as it was */
	assert_int_equal(heard.count, 1);
	virtio_set_status(driver.virtio, 0);
	run_loop(loop);
	assert_int_equal(heard.count, 2);
	assert_false(heard.is_open);
	close_console();
	event_loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
