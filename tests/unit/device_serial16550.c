/* The 16550A: registers, both FIFOs, interrupts in their priority, loopback, break, overrun. */
#include "device/char/serial16550.h"
#include "device_fixture.h"

struct line {
	struct fixture fixture;
	struct char_stream *stream;
	struct serial16550 *uart;
	char sent[64];
	size_t sent_bytes;
};

static void line_output(void *context, const uint8_t *data, size_t size)
{
	struct line *line = context;

	assert_true(line->sent_bytes + size <= sizeof(line->sent));
	memcpy(line->sent + line->sent_bytes, data, size);
	line->sent_bytes += size;
}

static int setup(void **state)
{
	static struct line line;
	struct error error;

	memset(&line, 0, sizeof(line));
	fixture_init(&line.fixture);
	line.stream = char_callback_create(line_output, &line, &error);
	line.uart = serial16550_create(line.stream, &line.fixture.irq, &error);
	assert_non_null(line.uart);
	*state = &line;
	return 0;
}

static int teardown(void **state)
{
	struct line *line = *state;

	serial16550_device_ops.destroy(line->uart);
	char_destroy(line->stream);
	return 0;
}

static uint8_t in(struct line *line, uint16_t offset)
{
	return serial16550_pio_ops.read(line->uart, offset, 1);
}

static void out(struct line *line, uint16_t offset, uint8_t value)
{
	serial16550_pio_ops.write(line->uart, offset, 1, value);
}

static void receive(struct line *line, const char *text)
{
	line->stream->reader.receive(line->stream->reader.context, (const uint8_t *)text,
				     strlen(text));
}

static void test_transmit(void **state)
{
	struct line *line = *state;

	out(line, 4, 0x08);
	assert_int_equal(in(line, 5), 0x60);
	out(line, 0, 'H');
	out(line, 0, 'i');
	assert_memory_equal(line->sent, "Hi", 2);
	assert_false(line->fixture.irq_level);
	/* Enabling the interrupt while the register is empty raises it; reading IIR clears it. */
	out(line, 1, 0x02);
	assert_true(line->fixture.irq_level);
	assert_int_equal(in(line, 2), 0x02);
	assert_false(line->fixture.irq_level);
	assert_int_equal(in(line, 2), 0x01);
	out(line, 0, '!');
	assert_true(line->fixture.irq_level);
}

/* The far end doesn't take more: the transmitter stays full until it does. */
static void test_stalled_line(void **state)
{
	struct line *line = *state;

	out(line, 4, 0x08);
	out(line, 1, 0x02);
	assert_int_equal(in(line, 2), 0x02);
	char_callback_stall(line->stream, true);
	assert_int_equal(in(line, 5), 0x00);
	/* What is written all the same isn't lost. */
	out(line, 0, 'x');
	assert_int_equal(line->sent_bytes, 1);
	assert_false(line->fixture.irq_level);
	/* Neither enabling the interrupt nor a reset of the FIFO makes room. */
	out(line, 1, 0x00);
	out(line, 1, 0x02);
	out(line, 2, 0x05);
	assert_false(line->fixture.irq_level);
	/* The loop needs no line. */
	out(line, 4, 0x18);
	assert_int_equal(in(line, 5), 0x60);
	out(line, 0, 'L');
	assert_int_equal(in(line, 2), 0xc2);
	assert_int_equal(in(line, 0), 'L');
	out(line, 4, 0x08);
	assert_int_equal(in(line, 5), 0x00);
	assert_int_equal(in(line, 2), 0xc1);
	assert_false(line->fixture.irq_level);

	char_callback_stall(line->stream, false);
	assert_true(line->fixture.irq_level);
	assert_int_equal(in(line, 5), 0x60);
	assert_int_equal(in(line, 2), 0xc2);
	assert_false(line->fixture.irq_level);
}

static struct device device_of(struct line *line)
{
	return (struct device){.name = "serial0", .ops = &serial16550_device_ops, .device = line->uart};
}

static void save(struct line *line, struct state_stream *saved)
{
	struct device device = device_of(line);

	device_save(&device, saved);
}

/* Its state in a machine that has just been made, with a line of its own. */
static void load_elsewhere(struct state_stream *saved, struct line *other)
{
	struct state_stream state;
	struct device device;
	struct error error;
	const void *bytes;
	size_t size;

	memset(other, 0, sizeof(*other));
	fixture_init(&other->fixture);
	other->stream = char_callback_create(line_output, other, &error);
	other->uart = serial16550_create(other->stream, &other->fixture.irq, &error);
	assert_int_equal(state_saved(saved, &bytes, &size, &error), 0);
	state_load_begin(&state, bytes, size);
	device = device_of(other);
	device_load(&device, &state);
	assert_int_equal(state_loaded(&state, &error), 0);
	state_end(&state);
}

static void destroy_other(struct line *other)
{
	serial16550_device_ops.destroy(other->uart);
	char_destroy(other->stream);
}

/*
 * A driver that sleeps until the transmitter has room gets its interrupt where the machine is loaded. The
 * interrupt controllers are loaded after the devices, as they were saved after them: so they must have seen
 * it when they were.
 */
static void test_saved_while_full(void **state)
{
	struct line *line = *state, other;
	struct state_stream saved;

	out(line, 4, 0x08);
	char_callback_stall(line->stream, true);
	out(line, 1, 0x02);
	out(line, 0, 'x');
	assert_false(line->fixture.irq_level);
	state_save_begin(&saved);
	save(line, &saved);
	assert_true(line->fixture.irq_level);
	load_elsewhere(&saved, &other);
	state_end(&saved);
	assert_true(other.fixture.irq_level);
	assert_int_equal(in(&other, 5), 0x60);
	assert_int_equal(in(&other, 2), 0x02);
	assert_false(other.fixture.irq_level);
	destroy_other(&other);
	/* A machine that goes on is told once more when it is true. */
	assert_int_equal(in(line, 5), 0x00);
	assert_int_equal(in(line, 2), 0x02);
	assert_false(line->fixture.irq_level);
	char_callback_stall(line->stream, false);
	assert_true(line->fixture.irq_level);
}

struct saving_watch {
	struct char_watch watch;
	struct line *line;
	struct state_stream saved;
};

static void save_first(void *context)
{
	struct saving_watch *saving = context;

	assert_true(char_is_ready(saving->line->stream));
	save(saving->line, &saving->saved);
}

/* The same, saved when the line is ready again and the UART has not been told yet. */
static void test_saved_before_it_is_told(void **state)
{
	struct line *line = *state, other;
	struct saving_watch saving = {.watch = {.ready = save_first, .context = &saving}, .line = line};

	state_save_begin(&saving.saved);
	out(line, 4, 0x08);
	out(line, 1, 0x02);
	assert_int_equal(in(line, 2), 0x02);
	char_callback_stall(line->stream, true);
	out(line, 0, 'x');
	char_watch(line->stream, &saving.watch); /* the last one is called first */
	char_callback_stall(line->stream, false);
	char_unwatch(line->stream, &saving.watch);
	load_elsewhere(&saving.saved, &other);
	state_end(&saving.saved);
	assert_true(other.fixture.irq_level);
	assert_int_equal(in(&other, 2), 0x02);
	destroy_other(&other);
}

static void test_receive_without_fifo(void **state)
{
	struct line *line = *state;

	out(line, 4, 0x08);
	out(line, 1, 0x01);
	assert_int_equal(char_callback_input(line->stream, (const uint8_t *)"ab", 2), 1);
	assert_true(line->fixture.irq_level);
	assert_int_equal(in(line, 2), 0x04);
	assert_int_equal(in(line, 5), 0x61);
	assert_int_equal(in(line, 0), 'a');
	assert_false(line->fixture.irq_level);
	assert_int_equal(in(line, 5), 0x60);
}

static void test_fifo_trigger_and_timeout(void **state)
{
	struct line *line = *state;

	out(line, 4, 0x08);
	out(line, 2, 0x41); /* FIFO on, trigger at 4 */
	out(line, 1, 0x01);
	receive(line, "123");
	assert_int_equal(in(line, 2), 0xcc); /* below the trigger: the time-out tells */
	receive(line, "4");
	assert_int_equal(in(line, 2), 0xc4);
	assert_int_equal(in(line, 0), '1');
	assert_int_equal(in(line, 2), 0xcc);
	out(line, 2, 0x43); /* reset the receive FIFO */
	assert_int_equal(in(line, 2), 0xc1);
	assert_false(line->fixture.irq_level);
}

static void test_overrun(void **state)
{
	struct line *line = *state;
	unsigned i;

	out(line, 4, 0x08);
	out(line, 2, 0x01);
	out(line, 1, 0x05);
	receive(line, "0123456789abcdefX");
	assert_int_equal(in(line, 2), 0xc6); /* line status comes first */
	assert_int_equal(in(line, 5), 0x63);
	assert_int_equal(in(line, 5), 0x61); /* cleared by reading */
	for (i = 0; i < 16; i++)
		assert_int_equal(in(line, 0), "0123456789abcdef"[i]);
	assert_int_equal(in(line, 5), 0x60);
}

static void test_break(void **state)
{
	struct line *line = *state;

	out(line, 2, 0x01);
	line->stream->reader.receive_break(line->stream->reader.context);
	assert_int_equal(in(line, 5), 0x71);
	assert_int_equal(in(line, 0), 0);
}

static void test_loopback(void **state)
{
	struct line *line = *state;

	assert_int_equal(in(line, 6), 0xb0); /* CTS, DSR, DCD: somebody is there */
	out(line, 4, 0x1a);		     /* loop, OUT2, RTS */
	assert_int_equal(in(line, 6) & 0xf0, 0x90);
	out(line, 0, 'L');
	assert_int_equal(line->sent_bytes, 0);
	assert_int_equal(in(line, 0), 'L');
	receive(line, "x"); /* the line is cut */
	assert_int_equal(in(line, 5), 0x60);
	out(line, 1, 0x02);
	assert_false(line->fixture.irq_level); /* so is the interrupt's gate */
}

static void test_modem_deltas(void **state)
{
	struct line *line = *state;

	out(line, 4, 0x08);
	out(line, 1, 0x08);
	out(line, 4, 0x18); /* loop: CTS, DSR drop; OUT2 makes DCD */
	out(line, 4, 0x08);
	assert_true(line->fixture.irq_level);
	assert_int_equal(in(line, 2), 0x00);
	assert_int_equal(in(line, 6), 0xb3);
	assert_false(line->fixture.irq_level);
	assert_int_equal(in(line, 6), 0xb0);
}

static void test_registers(void **state)
{
	struct line *line = *state;

	out(line, 3, 0x83);
	out(line, 0, 0x01);
	out(line, 1, 0x02);
	assert_int_equal(in(line, 0), 0x01);
	assert_int_equal(in(line, 1), 0x02);
	out(line, 3, 0x03);
	assert_int_equal(in(line, 1), 0x00);
	out(line, 7, 0x5a);
	assert_int_equal(in(line, 7), 0x5a);
	out(line, 4, 0xff);
	assert_int_equal(in(line, 4), 0x1f);
	out(line, 2, 0xc0); /* without the enable bit nothing is programmed */
	assert_int_equal(in(line, 2) & 0xc0, 0);
	serial16550_device_ops.reset(line->uart);
	assert_int_equal(in(line, 4), 0);
	assert_int_equal(in(line, 7), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_transmit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved_while_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved_before_it_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_without_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fifo_trigger_and_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overrun, setup, teardown),
		cmocka_unit_test_setup_teardown(test_break, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modem_deltas, setup, teardown),
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
