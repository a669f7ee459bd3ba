/* The 6300ESB's watchdog as its driver goes about it: what unlocks, what runs out, what a reload saves, what a
 * guest that stands still has left; saved and loaded. */
#include "device_fixture.h"

#include "device/i6300esb.h"
#include "util/state.h"

#define PLACE PCI_SLOT_FUNCTION(4, 0)
#define GPA   0xe0000000u
#define SHORT 30u   /* 31 clocks of about a millisecond */
#define LONG  0xfffffu

static struct rig {
	struct fixture fixture;
	struct event_loop *loop;
	struct event_timer end;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct pci_bus *bus;
	struct i6300esb *watchdog;
} rig;

static void end_wait(void *loop)
{
	event_loop_stop(loop);
}

static int set_up(void **state)
{
	struct pci_bus_config config = {0};
	struct error error;

	(void)state;
	memset(&rig, 0, sizeof(rig));
	fixture_init(&rig.fixture);
	config.pio = rig.pio = pio_bus_create();
	config.mmio = rig.mmio = mmio_bus_create();
	rig.loop = event_loop_create(&error);
	assert_int_equal(event_timer_init(&rig.end, rig.loop, end_wait, rig.loop), 0);
	rig.bus = pci_bus_create(&config, &error);
	rig.watchdog = i6300esb_create(rig.bus, PLACE, rig.loop, &rig.fixture.power, &error);
	assert_non_null(rig.watchdog);
	pci_config_write(rig.bus, PLACE, 0x10, 4, GPA);
	pci_config_write(rig.bus, PLACE, 0x04, 2, 2);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	i6300esb_device_ops.destroy(rig.watchdog);
	pci_bus_device_ops.destroy(rig.bus);
	event_timer_destroy(&rig.end);
	event_loop_destroy(rig.loop);
	mmio_bus_destroy(rig.mmio);
	pio_bus_destroy(rig.pio);
	return 0;
}

static void wait_ms(unsigned ms)
{
	event_timer_set(&rig.end, monotonic_ns() + ms * 1000000ull, 0);
	assert_int_equal(event_loop_run(rig.loop), 0);
}

static uint32_t get(unsigned offset)
{
	uint32_t value = 0;

	mmio_bus_read(rig.mmio, GPA + offset, (uint8_t *)&value, 4);
	return value;
}

static void put(unsigned offset, unsigned size, uint32_t value)
{
	mmio_bus_write(rig.mmio, GPA + offset, (uint8_t *)&value, size);
}

static void unlock(void)
{
	put(0xc, 2, 0x80);
	put(0xc, 2, 0x86);
}

static void set_up_stages(uint32_t first, uint32_t second)
{
	unlock();
	put(0, 4, first);
	unlock();
	put(4, 4, second);
}

static void reload(void)
{
	unlock();
	put(0xc, 2, 0x100);
}

static void set_lock(uint8_t value)
{
	pci_config_write(rig.bus, PLACE, 0x68, 1, value);
}

static void test_locked_registers(void **state)
{
	(void)state;
	assert_int_equal(pci_config_read(rig.bus, PLACE, 0, 4), 0x25ab8086);
	assert_int_equal(get(0), LONG);
	put(0, 4, 1);
	put(0xc, 2, 0x86);
	put(0xc, 2, 0x80);
	put(0, 4, 2);
	put(0xc, 2, 0x86);
	put(0, 4, 3);
	assert_int_equal(get(0), LONG);
	unlock();
	put(0, 4, 0xffffff03);
	assert_int_equal(get(0), 0xfff03);
	/* Once is once. */
	put(0, 4, 4);
	assert_int_equal(get(0), 0xfff03);
	/* What is locked stays until a reset. */
	set_lock(3);
	set_lock(0);
	assert_int_equal(pci_config_read(rig.bus, PLACE, 0x68, 1), 3);
	pci_bus_device_ops.reset(rig.bus);
	i6300esb_device_ops.reset(rig.watchdog);
	assert_int_equal(pci_config_read(rig.bus, PLACE, 0x68, 1), 0);
	assert_int_equal(rig.fixture.requests, 0);
}

static void test_runs_out(void **state)
{
	uint64_t begin = monotonic_ns();

	(void)state;
	set_up_stages(SHORT, SHORT);
	wait_ms(100);
	assert_int_equal(rig.fixture.requests, 0);
	set_lock(2);
	while (!rig.fixture.requests)
		wait_ms(5);
	assert_true(monotonic_ns() - begin > 160000000);
	assert_int_equal(rig.fixture.request, POWER_WATCHDOG);
	assert_int_equal(get(0xc), 0x200);
	wait_ms(100);
	assert_int_equal(rig.fixture.requests, 1);
	/* A reset doesn't forget it, its driver does. */
	i6300esb_device_ops.reset(rig.watchdog);
	assert_int_equal(get(0xc), 0x200);
	put(0xc, 2, 0x200);
	assert_int_equal(get(0xc), 0x200);
	unlock();
	put(0xc, 2, 0x200);
	assert_int_equal(get(0xc), 0);
}

static void test_reloads(void **state)
{
	unsigned i;

	(void)state;
	/* A stage of half a second, which no load of the host's makes of these 20 ms. */
	set_up_stages(SHORT, 500);
	set_lock(2);
	for (i = 0; i < 40; i++) {
		wait_ms(20);
		reload();
	}
	assert_int_equal(rig.fixture.requests, 0);
	set_lock(0);
	wait_ms(700);
	assert_int_equal(rig.fixture.requests, 0);
	assert_int_equal(get(0xc), 0);
}

/* Without a reboot it only tells; a free-running one begins anew. */
static void test_tells_only(void **state)
{
	(void)state;
	pci_config_write(rig.bus, PLACE, 0x60, 2, 0x24);
	set_up_stages(1000, 1000);
	set_lock(6);
	while (!get(0xc))
		wait_ms(5);
	unlock();
	put(0xc, 2, 0x200);
	while (!get(0xc))
		wait_ms(5);
	assert_int_equal(rig.fixture.requests, 0);
}

static void test_stands_still(void **state)
{
	(void)state;
	set_up_stages(SHORT, SHORT);
	set_lock(2);
	i6300esb_device_ops.stand_still(rig.watchdog, true);
	i6300esb_device_ops.stand_still(rig.watchdog, true);
	wait_ms(200);
	reload();
	wait_ms(100);
	assert_int_equal(rig.fixture.requests, 0);
	i6300esb_device_ops.stand_still(rig.watchdog, false);
	while (!rig.fixture.requests)
		wait_ms(5);
}

static void test_saved(void **state)
{
	struct state_stream stream;
	uint8_t copy[1024];
	const void *bytes;
	size_t size;

	(void)state;
	set_up_stages(SHORT, SHORT + 1);
	set_lock(2);
	i6300esb_device_ops.stand_still(rig.watchdog, true);
	state_save_begin(&stream);
	state_section_begin(&stream, "watchdog", 1);
	i6300esb_device_ops.save(rig.watchdog, &stream);
	state_section_end(&stream);
	assert_int_equal(state_saved(&stream, &bytes, &size, NULL), 0);
	assert_true(size <= sizeof(copy));
	memcpy(copy, bytes, size);
	state_end(&stream);
	set_lock(0);
	set_up_stages(1, 1);
	state_load_begin(&stream, copy, size);
	state_section_begin(&stream, "watchdog", 1);
	i6300esb_device_ops.load(rig.watchdog, &stream);
	state_end(&stream);
	assert_int_equal(get(0), SHORT);
	assert_int_equal(get(4), SHORT + 1);
	assert_int_equal(rig.fixture.requests, 0);
	i6300esb_device_ops.stand_still(rig.watchdog, false);
	while (!rig.fixture.requests)
		wait_ms(5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_locked_registers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_runs_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reloads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tells_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stands_still, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_saved, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
