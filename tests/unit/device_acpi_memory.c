/* Memory that comes and goes by ACPI: the registers as the DSDT's methods use them, the event, what may be let go of,
 * resets and saved state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/acpi_memory.h"

#define GPA  0x123456789000ull
#define SIZE 0x8000200000ull

static struct event_loop *loop;
static struct acpi_pm *pm;
static bool may_go;
static int let_go, told; /* which slot was last; -1: none */

static void set_sci(void *context, unsigned gsi, bool level)
{
	(void)context;
	(void)gsi;
	(void)level;
}

static bool may_eject(void *context, unsigned slot)
{
	(void)context;
	(void)slot;
	return may_go;
}

static void ejected(void *context, unsigned slot)
{
	(void)context;
	let_go = slot;
}

static void reported(void *context, unsigned slot)
{
	(void)context;
	told = slot;
}

static uint32_t get(struct acpi_memory *memory, unsigned offset)
{
	return acpi_memory_pio_ops.read(memory, offset, offset == ACPI_MEMORY_STATUS ? 1 : 4);
}

static void set(struct acpi_memory *memory, unsigned offset, uint32_t value)
{
	acpi_memory_pio_ops.write(memory, offset, offset == ACPI_MEMORY_CONTROL ? 1 : 4, value);
}

static uint32_t status(struct acpi_memory *memory, unsigned slot)
{
	set(memory, ACPI_MEMORY_SELECTOR, slot);
	return get(memory, ACPI_MEMORY_STATUS);
}

static bool take_event(void)
{
	const uint32_t bit = 1u << ACPI_MEMORY_EVENT;
	bool was_there = acpi_pm_pio_ops.read(pm, ACPI_PM_GPE_OFFSET, 2) & bit;

	acpi_pm_pio_ops.write(pm, ACPI_PM_GPE_OFFSET, 2, bit);
	return was_there;
}

static void listen(void)
{
	acpi_pm_pio_ops.write(pm, ACPI_PM_GPE_OFFSET + 2, 2, 1u << ACPI_MEMORY_EVENT);
}

static struct acpi_memory *create(unsigned slots)
{
	const struct acpi_memory_config config = {slots, pm, may_eject, ejected, reported, NULL};
	struct error error;
	struct acpi_memory *memory = acpi_memory_create(&config, &error);

	assert_non_null(memory);
	return memory;
}

static struct acpi_memory *open_memory(unsigned slots)
{
	const struct irq_line line = {set_sci, NULL, 9};
	const struct power power = {0};
	struct error error;

	loop = event_loop_create(&error);
	pm = acpi_pm_create(loop, &line, &power, false, &error);
	assert_non_null(pm);
	let_go = told = -1;
	may_go = true;
	return create(slots);
}

static void close_memory(struct acpi_memory *memory)
{
	acpi_memory_device_ops.destroy(memory);
	acpi_pm_device_ops.destroy(pm);
	event_loop_destroy(loop);
}

static void test_come_and_go(void **state)
{
	struct acpi_memory *memory = open_memory(64);

	(void)state;
	/* What is there from the start is told to nobody. */
	acpi_memory_fill(memory, 0, 1ull << 32, 1 << 30, false);
	assert_false(take_event());
	assert_int_equal(status(memory, 0), ACPI_MEMORY_PRESENT);
	assert_false(acpi_memory_ask(memory, 0)); /* nobody listens yet */
	listen();
	acpi_memory_fill(memory, 63, GPA, SIZE, true);
	assert_true(take_event());
	assert_int_equal(status(memory, 63), ACPI_MEMORY_PRESENT | ACPI_MEMORY_COMES);
	assert_int_equal(get(memory, ACPI_MEMORY_ADDRESS_LOW), (uint32_t)GPA);
	assert_int_equal(get(memory, ACPI_MEMORY_ADDRESS_HIGH), GPA >> 32);
	assert_int_equal(get(memory, ACPI_MEMORY_SIZE_LOW), (uint32_t)SIZE);
	assert_int_equal(get(memory, ACPI_MEMORY_SIZE_HIGH), SIZE >> 32);
	assert_int_equal(get(memory, ACPI_MEMORY_DOMAIN), 0);
	set(memory, ACPI_MEMORY_CONTROL, ACPI_MEMORY_COMES);
	assert_int_equal(status(memory, 63), ACPI_MEMORY_PRESENT);
	assert_true(acpi_memory_ask(memory, 63));
	assert_true(take_event());
	assert_int_equal(status(memory, 63), ACPI_MEMORY_PRESENT | ACPI_MEMORY_LEAVES);
	set(memory, ACPI_MEMORY_CONTROL, ACPI_MEMORY_LEAVES);
	/* One that has to stay is there after it was let go of. */
	may_go = false;
	set(memory, ACPI_MEMORY_CONTROL, ACPI_MEMORY_EJECT);
	assert_int_equal(let_go, -1);
	assert_int_equal(status(memory, 63), ACPI_MEMORY_PRESENT);
	may_go = true;
	set(memory, ACPI_MEMORY_CONTROL, ACPI_MEMORY_EJECT);
	assert_int_equal(let_go, 63);
	assert_int_equal(status(memory, 63), 0);
	close_memory(memory);
}

static void test_report(void **state)
{
	struct acpi_memory *memory = open_memory(2);
	uint32_t event, result;

	(void)state;
	set(memory, ACPI_MEMORY_SELECTOR, 1);
	set(memory, ACPI_MEMORY_OST_EVENT, 3);
	assert_int_equal(told, -1);
	set(memory, ACPI_MEMORY_OST_STATUS, 0x80);
	assert_int_equal(told, 1);
	acpi_memory_empty(memory, 1);
	acpi_memory_last_report(memory, 1, &event, &result);
	assert_int_equal(event, 3);
	assert_int_equal(result, 0x80);
	close_memory(memory);
}

static void test_hostile(void **state)
{
	struct acpi_memory *memory = open_memory(3);
	unsigned offset, size, slot;

	(void)state;
	listen();
	for (slot = 0; slot < 70; slot++) {
		set(memory, ACPI_MEMORY_SELECTOR, slot);
		set(memory, ACPI_MEMORY_CONTROL, ACPI_MEMORY_EJECT);
	}
	assert_int_equal(let_go, -1); /* nothing was there */
	set(memory, ACPI_MEMORY_SELECTOR, UINT32_MAX);
	for (offset = 0; offset < ACPI_MEMORY_PORTS; offset++)
		for (size = 1; size <= 4; size *= 2) {
			assert_int_equal(acpi_memory_pio_ops.read(memory, offset, size), 0);
			acpi_memory_pio_ops.write(memory, offset, size, 0xffffffff);
		}
	assert_int_equal(let_go, -1);
	assert_int_equal(told, -1);
	close_memory(memory);
}

static void save(struct acpi_memory *memory, struct state_stream *state, const void **bytes, size_t *size)
{
	struct error error;

	state_save_begin(state);
	state_section_begin(state, "memory", 1);
	acpi_memory_device_ops.save(memory, state);
	state_section_end(state);
	assert_int_equal(state_saved(state, bytes, size, &error), 0);
}

static int load(struct acpi_memory *memory, const void *bytes, size_t size)
{
	struct state_stream state;
	struct error error;

	state_load_begin(&state, bytes, size);
	state_section_begin(&state, "memory", 1);
	acpi_memory_device_ops.load(memory, &state);
	state_section_end(&state);
	return state_loaded(&state, &error);
}

static void test_state(void **states)
{
	struct acpi_memory *memory = open_memory(2), *other = create(2);
	struct state_stream state;
	const void *bytes;
	size_t size;

	(void)states;
	listen();
	acpi_memory_fill(memory, 1, GPA, SIZE, true);
	save(memory, &state, &bytes, &size);
	/* Nothing is there that could come. */
	assert_true(load(other, bytes, size) < 0);
	acpi_memory_fill(other, 1, GPA, SIZE, false);
	assert_int_equal(load(other, bytes, size), 0);
	assert_int_equal(status(other, 1), ACPI_MEMORY_PRESENT | ACPI_MEMORY_COMES);
	assert_int_equal(get(other, ACPI_MEMORY_ADDRESS_HIGH), GPA >> 32);
	state_end(&state);
	/* It stays over a reset, and is told to nobody any more. */
	acpi_memory_device_ops.reset(other);
	assert_int_equal(status(other, 1), ACPI_MEMORY_PRESENT);
	acpi_memory_device_ops.destroy(other);
	close_memory(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_come_and_go), cmocka_unit_test(test_report),
		cmocka_unit_test(test_hostile),	    cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
