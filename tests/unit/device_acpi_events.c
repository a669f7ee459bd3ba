/* The events of a machine without ACPI's fixed ones: the register and its line, odd accesses, resets and saved state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/acpi_events.h"

static bool line_is_high;

static void set_line(void *context, unsigned gsi, bool level)
{
	(void)context;
	assert_int_equal(gsi, 9);
	line_is_high = level;
}

static struct acpi_events *create(void)
{
	const struct irq_line line = {set_line, NULL, 9};
	struct error error;
	struct acpi_events *events = acpi_events_create(&line, &error);

	assert_non_null(events);
	line_is_high = false;
	return events;
}

static uint32_t get(struct acpi_events *events)
{
	return acpi_events_pio_ops.read(events, 0, 4);
}

static void set(struct acpi_events *events, uint32_t value)
{
	acpi_events_pio_ops.write(events, 0, 4, value);
}

static void test_button(void **state)
{
	struct acpi_events *events = create();

	(void)state;
	assert_int_equal(get(events), 0);
	acpi_events_press_power_button(events);
	assert_true(line_is_high);
	assert_int_equal(get(events), ACPI_EVENT_POWER_BUTTON);
	/* Reading changes nothing; only what is taken away goes. */
	assert_int_equal(get(events), ACPI_EVENT_POWER_BUTTON);
	set(events, ~ACPI_EVENT_POWER_BUTTON);
	assert_true(line_is_high);
	set(events, ACPI_EVENT_POWER_BUTTON);
	assert_false(line_is_high);
	assert_int_equal(get(events), 0);
	/* Nobody but the button makes one. */
	set(events, UINT32_MAX);
	assert_int_equal(get(events), 0);
	acpi_events_press_power_button(events);
	acpi_events_device_ops.reset(events);
	assert_false(line_is_high);
	assert_int_equal(get(events), 0);
	acpi_events_device_ops.destroy(events);
}

/* In bytes and words, as a guest may. */
static void test_parts(void **state)
{
	struct acpi_events *events = create();

	(void)state;
	acpi_events_press_power_button(events);
	assert_int_equal(acpi_events_pio_ops.read(events, 0, 1) & 0xff, ACPI_EVENT_POWER_BUTTON);
	assert_int_equal(acpi_events_pio_ops.read(events, 2, 2) & 0xffff, 0);
	assert_int_equal(acpi_events_pio_ops.read(events, 3, 1) & 0xff, 0);
	acpi_events_pio_ops.write(events, 1, 1, 0xff);
	acpi_events_pio_ops.write(events, 2, 2, 0xffff);
	assert_true(line_is_high);
	acpi_events_pio_ops.write(events, 0, 1, 0xff);
	assert_false(line_is_high);
	acpi_events_device_ops.destroy(events);
}

static int load(struct acpi_events *events, const void *bytes, size_t size)
{
	struct state_stream stream;
	struct error error;

	state_load_begin(&stream, bytes, size);
	state_section_begin(&stream, "events", 1);
	acpi_events_device_ops.load(events, &stream);
	state_section_end(&stream);
	return state_loaded(&stream, &error);
}

static void save(struct acpi_events *events, struct state_stream *stream, const void **bytes, size_t *size)
{
	struct error error;

	state_save_begin(stream);
	state_section_begin(stream, "events", 1);
	acpi_events_device_ops.save(events, stream);
	state_section_end(stream);
	assert_int_equal(state_saved(stream, bytes, size, &error), 0);
}

/* One that was pressed before is pressed afterwards, and the line says so; what there cannot be is refused. */
static void test_state(void **state)
{
	struct acpi_events *events = create(), *other = create();
	struct state_stream stream;
	const void *bytes;
	size_t size;
	uint32_t wrong = 2;

	(void)state;
	acpi_events_press_power_button(events);
	save(events, &stream, &bytes, &size);
	line_is_high = false;
	assert_int_equal(load(other, bytes, size), 0);
	assert_true(line_is_high);
	assert_int_equal(get(other), ACPI_EVENT_POWER_BUTTON);
	state_end(&stream);
	state_save_begin(&stream);
	state_section_begin(&stream, "events", 1);
	state_u32(&stream, "pending", &wrong);
	state_section_end(&stream);
	assert_int_equal(state_saved(&stream, &bytes, &size, &(struct error){0}), 0);
	assert_true(load(other, bytes, size) < 0);
	assert_int_equal(get(other), ACPI_EVENT_POWER_BUTTON);
	state_end(&stream);
	acpi_events_device_ops.destroy(other);
	acpi_events_device_ops.destroy(events);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_button),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
