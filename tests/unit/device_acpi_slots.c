/* Slots that come and go by ACPI: the registers as the DSDT's methods use them, the event, what may be let go of,
 * resets and saved state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/acpi_slots.h"

static struct event_loop *loop;
static struct acpi_pm *pm;
static bool sci;
static uint32_t let_go; /* what was ejected last */

static void set_sci(void *context, unsigned gsi, bool level)
{
	(void)context;
	(void)gsi;
	sci = level;
}

static void ejected(void *context, uint32_t slots)
{
	(void)context;
	let_go = slots;
}

static uint32_t get(struct acpi_slots *slots, unsigned offset)
{
	return acpi_slots_pio_ops.read(slots, offset, 4);
}

static void set(struct acpi_slots *slots, unsigned offset, uint32_t value)
{
	acpi_slots_pio_ops.write(slots, offset, 4, value);
}

/* Have the event, and clear it; whether it was there. */
static bool take_event(void)
{
	const uint32_t bit = 1u << ACPI_SLOTS_EVENT;
	bool was_there = acpi_pm_pio_ops.read(pm, ACPI_PM_GPE_OFFSET, 2) & bit;

	acpi_pm_pio_ops.write(pm, ACPI_PM_GPE_OFFSET, 2, bit);
	return was_there;
}

static void listen(void)
{
	acpi_pm_pio_ops.write(pm, ACPI_PM_GPE_OFFSET + 2, 2, 1u << ACPI_SLOTS_EVENT);
}

static struct acpi_slots *create(void)
{
	const struct acpi_slots_config config = {pm, ejected, NULL};
	struct error error;
	struct acpi_slots *slots = acpi_slots_create(&config, &error);

	assert_non_null(slots);
	return slots;
}

static struct acpi_slots *open_slots(void)
{
	const struct irq_line line = {set_sci, NULL, 9};
	const struct power power = {0};
	struct error error;

	loop = event_loop_create(&error);
	pm = acpi_pm_create(loop, &line, &power, false, &error);
	assert_non_null(pm);
	let_go = 0;
	return create();
}

static void close_slots(struct acpi_slots *slots)
{
	acpi_slots_device_ops.destroy(slots);
	acpi_pm_device_ops.destroy(pm);
	event_loop_destroy(loop);
}

static void test_come_and_go(void **state)
{
	struct acpi_slots *slots = open_slots();

	(void)state;
	/* What is there from the start is told to nobody, but may go. */
	acpi_slots_fill(slots, 3, false);
	assert_false(take_event());
	assert_int_equal(get(slots, ACPI_SLOTS_ADDED), 0);
	assert_int_equal(get(slots, ACPI_SLOTS_MOVABLE), 1u << 3);
	/* Nobody listens yet. */
	assert_false(acpi_slots_ask(slots, 3));
	assert_int_equal(get(slots, ACPI_SLOTS_LEAVING), 0);
	listen();
	assert_false(sci);
	acpi_slots_fill(slots, 31, true);
	assert_true(sci);
	assert_true(take_event());
	assert_false(sci);
	assert_int_equal(get(slots, ACPI_SLOTS_ADDED), 1u << 31);
	assert_int_equal(get(slots, ACPI_SLOTS_ADDED), 0); /* told once */
	assert_true(acpi_slots_ask(slots, 3));
	assert_true(sci);
	assert_true(take_event());
	assert_int_equal(get(slots, ACPI_SLOTS_LEAVING), 1u << 3);
	set(slots, ACPI_SLOTS_EJECT, 1u << 3);
	assert_int_equal(let_go, 1u << 3);
	assert_int_equal(get(slots, ACPI_SLOTS_LEAVING), 0);
	acpi_slots_empty(slots, 3);
	assert_int_equal(get(slots, ACPI_SLOTS_MOVABLE), 1u << 31);
	close_slots(slots);
}

static void test_hostile(void **state)
{
	struct acpi_slots *slots = open_slots();
	unsigned offset, size;

	(void)state;
	listen();
	acpi_slots_fill(slots, 5, true);
	/* What stays cannot be let go of, nor anything of another bus. */
	set(slots, ACPI_SLOTS_EJECT, ~(1u << 5));
	assert_int_equal(let_go, 0);
	set(slots, ACPI_SLOTS_BUS, 1);
	set(slots, ACPI_SLOTS_EJECT, UINT32_MAX);
	assert_int_equal(let_go, 0);
	assert_int_equal(get(slots, ACPI_SLOTS_ADDED), 0);
	assert_int_equal(get(slots, ACPI_SLOTS_MOVABLE), 0);
	set(slots, ACPI_SLOTS_BUS, 0);
	assert_int_equal(get(slots, ACPI_SLOTS_ADDED), 1u << 5);
	/* Odd accesses do nothing. */
	for (offset = 0; offset < ACPI_SLOTS_PORTS; offset++)
		for (size = 1; size <= 2; size++) {
			acpi_slots_pio_ops.write(slots, offset, size, 0xffff);
			assert_int_equal(acpi_slots_pio_ops.read(slots, offset, size), 0);
		}
	assert_int_equal(let_go, 0);
	set(slots, ACPI_SLOTS_EJECT, UINT32_MAX);
	assert_int_equal(let_go, 1u << 5);
	close_slots(slots);
}

static void test_reset(void **state)
{
	struct acpi_slots *slots = open_slots();

	(void)state;
	listen();
	acpi_slots_fill(slots, 4, false);
	acpi_slots_fill(slots, 6, true);
	assert_true(acpi_slots_ask(slots, 4));
	acpi_slots_device_ops.reset(slots);
	/* It goes now; what came before is found by whoever begins anew. */
	assert_int_equal(let_go, 1u << 4);
	assert_int_equal(get(slots, ACPI_SLOTS_ADDED), 0);
	assert_int_equal(get(slots, ACPI_SLOTS_LEAVING), 0);
	close_slots(slots);
}

static void save(struct acpi_slots *slots, struct state_stream *state, const void **bytes, size_t *size)
{
	struct error error;

	state_save_begin(state);
	state_section_begin(state, "slots", 1);
	acpi_slots_device_ops.save(slots, state);
	state_section_end(state);
	assert_int_equal(state_saved(state, bytes, size, &error), 0);
}

static int load(struct acpi_slots *slots, const void *bytes, size_t size)
{
	struct state_stream state;
	struct error error;

	state_load_begin(&state, bytes, size);
	state_section_begin(&state, "slots", 1);
	acpi_slots_device_ops.load(slots, &state);
	state_section_end(&state);
	return state_loaded(&state, &error);
}

static void test_state(void **states)
{
	struct acpi_slots *slots = open_slots(), *other = create();
	struct state_stream state;
	const void *bytes;
	size_t size;

	(void)states;
	listen();
	acpi_slots_fill(slots, 7, true);
	acpi_slots_fill(slots, 8, false);
	assert_true(acpi_slots_ask(slots, 8));
	save(slots, &state, &bytes, &size);
	/* There is nothing that could leave. */
	assert_true(load(other, bytes, size) < 0);
	acpi_slots_fill(other, 8, false);
	assert_int_equal(load(other, bytes, size), 0);
	assert_int_equal(get(other, ACPI_SLOTS_ADDED), 1u << 7);
	assert_int_equal(get(other, ACPI_SLOTS_LEAVING), 1u << 8);
	state_end(&state);
	acpi_slots_device_ops.destroy(other);
	close_slots(slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
