/* CPUs that come and go by ACPI: the registers as the DSDT's methods and firmware use them, the event, what may be let
 * go of, resets and saved state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/acpi_cpus.h"

static struct event_loop *loop;
static struct acpi_pm *pm;
static int let_go, told; /* which one was last; -1: none */

static void set_sci(void *context, unsigned gsi, bool level)
{
	(void)context;
	(void)gsi;
	(void)level;
}

static void ejected(void *context, unsigned cpu)
{
	(void)context;
	let_go = cpu;
}

static void reported(void *context, unsigned cpu)
{
	(void)context;
	told = cpu;
}

static uint32_t get(struct acpi_cpus *cpus, unsigned offset)
{
	return acpi_cpus_pio_ops.read(cpus, offset, offset == ACPI_CPUS_STATUS ? 1 : 4);
}

static void set(struct acpi_cpus *cpus, unsigned offset, uint32_t value)
{
	acpi_cpus_pio_ops.write(cpus, offset, offset == ACPI_CPUS_SELECTOR || offset == ACPI_CPUS_DATA ? 4 : 1, value);
}

static bool take_event(void)
{
	const uint32_t bit = 1u << ACPI_CPUS_EVENT;
	bool was_there = acpi_pm_pio_ops.read(pm, ACPI_PM_GPE_OFFSET, 2) & bit;

	acpi_pm_pio_ops.write(pm, ACPI_PM_GPE_OFFSET, 2, bit);
	return was_there;
}

static void listen(void)
{
	acpi_pm_pio_ops.write(pm, ACPI_PM_GPE_OFFSET + 2, 2, 1u << ACPI_CPUS_EVENT);
}

static struct acpi_cpus *create(unsigned count, uint64_t present)
{
	static const uint8_t apic_ids[ACPI_CPUS_MAX] = {0, 1, 2, 4, 5, 6};
	const struct acpi_cpus_config config = {count, present, apic_ids, pm, ejected, reported, NULL};
	struct error error;
	struct acpi_cpus *cpus = acpi_cpus_create(&config, &error);

	assert_non_null(cpus);
	return cpus;
}

static struct acpi_cpus *open_cpus(unsigned count, uint64_t present)
{
	const struct irq_line line = {set_sci, NULL, 9};
	const struct power power = {0};
	struct error error;

	loop = event_loop_create(&error);
	pm = acpi_pm_create(loop, &line, &power, false, &error);
	assert_non_null(pm);
	let_go = told = -1;
	return create(count, present);
}

static void close_cpus(struct acpi_cpus *cpus)
{
	acpi_cpus_device_ops.destroy(cpus);
	acpi_pm_device_ops.destroy(pm);
	event_loop_destroy(loop);
}

static uint32_t status(struct acpi_cpus *cpus, unsigned cpu)
{
	set(cpus, ACPI_CPUS_SELECTOR, cpu);
	return get(cpus, ACPI_CPUS_STATUS);
}

/* As the DSDT's CSCN has it: which one comes or leaves next, and its status; -1: none. */
static int scan(struct acpi_cpus *cpus, uint32_t *what)
{
	set(cpus, ACPI_CPUS_COMMAND, ACPI_CPUS_NEXT);
	*what = get(cpus, ACPI_CPUS_STATUS) & (ACPI_CPUS_COMES | ACPI_CPUS_LEAVES);
	return *what ? (int)get(cpus, ACPI_CPUS_DATA) : -1;
}

/* OVMF counts those that can be there, and those that are. */
static void test_count(void **state)
{
	struct acpi_cpus *cpus = open_cpus(5, 0x13);
	unsigned possible = 0, present = 0, ids = 0;

	(void)state;
	set(cpus, ACPI_CPUS_SELECTOR, 0);
	set(cpus, ACPI_CPUS_SELECTOR, 0);
	set(cpus, ACPI_CPUS_COMMAND, ACPI_CPUS_NEXT);
	assert_int_equal(get(cpus, ACPI_CPUS_DATA_HIGH), 0);
	do {
		present += get(cpus, ACPI_CPUS_STATUS) & ACPI_CPUS_PRESENT;
		set(cpus, ACPI_CPUS_COMMAND, ACPI_CPUS_APIC_ID);
		ids |= 1u << get(cpus, ACPI_CPUS_DATA);
		set(cpus, ACPI_CPUS_SELECTOR, ++possible);
		set(cpus, ACPI_CPUS_COMMAND, ACPI_CPUS_NEXT);
	} while (get(cpus, ACPI_CPUS_DATA) == possible);
	assert_int_equal(possible, 5);
	assert_int_equal(ids, 0x37);
	assert_int_equal(present, 3);
	close_cpus(cpus);
}

static void test_come_and_go(void **state)
{
	struct acpi_cpus *cpus = open_cpus(64, 1);
	uint32_t what;

	(void)state;
	assert_false(acpi_cpus_ask(cpus, 0)); /* nobody listens yet */
	listen();
	acpi_cpus_add(cpus, 63);
	acpi_cpus_add(cpus, 7);
	assert_true(take_event());
	assert_int_equal(acpi_cpus_present(cpus), 1ull | 1ull << 7 | 1ull << 63);
	set(cpus, ACPI_CPUS_SELECTOR, 0);
	assert_int_equal(scan(cpus, &what), 7);
	assert_int_equal(what, ACPI_CPUS_COMES);
	set(cpus, ACPI_CPUS_CONTROL, ACPI_CPUS_COMES);
	assert_int_equal(scan(cpus, &what), 63);
	set(cpus, ACPI_CPUS_CONTROL, ACPI_CPUS_COMES);
	assert_int_equal(scan(cpus, &what), -1);
	assert_int_equal(status(cpus, 7), ACPI_CPUS_PRESENT);
	assert_true(acpi_cpus_ask(cpus, 7));
	assert_true(take_event());
	/* From the last one on, and around. */
	set(cpus, ACPI_CPUS_SELECTOR, 63);
	assert_int_equal(scan(cpus, &what), 7);
	assert_int_equal(what, ACPI_CPUS_LEAVES);
	set(cpus, ACPI_CPUS_CONTROL, ACPI_CPUS_LEAVES);
	assert_int_equal(let_go, -1);
	set(cpus, ACPI_CPUS_CONTROL, ACPI_CPUS_EJECT);
	assert_int_equal(let_go, 7);
	assert_int_equal(status(cpus, 7), 0);
	assert_int_equal(acpi_cpus_present(cpus), 1ull | 1ull << 63);
	close_cpus(cpus);
}

static void test_report(void **state)
{
	struct acpi_cpus *cpus = open_cpus(2, 3);
	uint32_t event, result;

	(void)state;
	set(cpus, ACPI_CPUS_SELECTOR, 1);
	set(cpus, ACPI_CPUS_COMMAND, ACPI_CPUS_OST_EVENT);
	set(cpus, ACPI_CPUS_DATA, 0x103);
	assert_int_equal(told, -1);
	set(cpus, ACPI_CPUS_COMMAND, ACPI_CPUS_OST_STATUS);
	set(cpus, ACPI_CPUS_DATA, 0x84);
	assert_int_equal(told, 1);
	acpi_cpus_last_report(cpus, 1, &event, &result);
	assert_int_equal(event, 0x103);
	assert_int_equal(result, 0x84);
	close_cpus(cpus);
}

static void test_hostile(void **state)
{
	struct acpi_cpus *cpus = open_cpus(3, 3);
	unsigned offset, size, selector;

	(void)state;
	listen();
	/* Those that are not there, or stay, are not let go of. */
	for (selector = 0; selector < 70; selector++) {
		set(cpus, ACPI_CPUS_SELECTOR, selector);
		if (selector != 1)
			set(cpus, ACPI_CPUS_CONTROL, ACPI_CPUS_EJECT);
	}
	set(cpus, ACPI_CPUS_SELECTOR, UINT32_MAX);
	for (offset = 0; offset < ACPI_CPUS_PORTS; offset++)
		for (size = 1; size <= 4; size *= 2) {
			assert_int_equal(acpi_cpus_pio_ops.read(cpus, offset, size), 0);
			acpi_cpus_pio_ops.write(cpus, offset, size, 0xffffffff);
		}
	assert_int_equal(let_go, -1);
	assert_int_equal(told, -1);
	assert_int_equal(acpi_cpus_present(cpus), 3);
	close_cpus(cpus);
}

static void save(struct acpi_cpus *cpus, struct state_stream *state, const void **bytes, size_t *size)
{
	struct error error;

	state_save_begin(state);
	state_section_begin(state, "cpus", 1);
	acpi_cpus_device_ops.save(cpus, state);
	state_section_end(state);
	assert_int_equal(state_saved(state, bytes, size, &error), 0);
}

static int load(struct acpi_cpus *cpus, const void *bytes, size_t size)
{
	struct state_stream state;
	struct error error;

	state_load_begin(&state, bytes, size);
	state_section_begin(&state, "cpus", 1);
	acpi_cpus_device_ops.load(cpus, &state);
	state_section_end(&state);
	return state_loaded(&state, &error);
}

static void test_state(void **states)
{
	struct acpi_cpus *cpus = open_cpus(4, 1), *other = create(4, 3), *small = create(3, 1);
	struct state_stream state;
	const void *bytes;
	uint32_t what;
	size_t size;

	(void)states;
	listen();
	acpi_cpus_add(cpus, 3);
	save(cpus, &state, &bytes, &size);
	assert_int_equal(load(other, bytes, size), 0);
	assert_int_equal(acpi_cpus_present(other), 9);
	assert_int_equal(scan(other, &what), 3);
	/* One that can have fewer does not take it. */
	assert_true(load(small, bytes, size) < 0);
	assert_int_equal(acpi_cpus_present(small), 1);
	state_end(&state);
	/* Those that came stay over a reset, and are told to nobody any more. */
	acpi_cpus_device_ops.reset(cpus);
	assert_int_equal(acpi_cpus_present(cpus), 9);
	assert_int_equal(scan(cpus, &what), -1);
	acpi_cpus_device_ops.destroy(small);
	acpi_cpus_device_ops.destroy(other);
	close_cpus(cpus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),  cmocka_unit_test(test_come_and_go), cmocka_unit_test(test_report),
		cmocka_unit_test(test_hostile), cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
