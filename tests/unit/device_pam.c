/* The registers that open shadow RAM: which half of which one is whose, and what software can write. */
#include "device_fixture.h"

#include "device/pam.h"

#define FIRST 0x59

struct rig {
	struct pci_bus *bus;
	struct pci_function host;
	uint8_t access[PAM_SEGMENTS];
};

static void rig_init(struct rig *rig)
{
	struct pci_bus_config config = {.pio = NULL};
	struct error error;

	memset(rig, 0, sizeof(*rig));
	rig->bus = pci_bus_create(&config, &error);
	pci_function_init(&rig->host, 0x8086, 0x1237, 0x060000, 2);
	pam_describe(&rig->host, FIRST);
	pci_bus_add(rig->bus, 0, &rig->host);
}

static void rig_destroy(struct rig *rig)
{
	pci_function_destroy(&rig->host);
	pci_bus_device_ops.destroy(rig->bus);
}

static void expect_all(struct rig *rig, uint8_t access)
{
	unsigned i;

	pam_get(&rig->host, FIRST, rig->access);
	for (i = 0; i < PAM_SEGMENTS; i++)
		assert_int_equal(rig->access[i], access);
}

static void test_reset(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	expect_all(&rig, 0);
	pam_open(&rig.host, FIRST);
	expect_all(&rig, PAM_READ | PAM_WRITE);
	pci_bus_device_ops.reset(rig.bus);
	expect_all(&rig, 0);
	rig_destroy(&rig);
}

static void test_segments(void **state)
{
	struct rig rig;
	unsigned i, at;

	(void)state;
	rig_init(&rig);
	/* Each segment by itself: the last one is in the first register's high half. */
	for (i = 0; i < PAM_SEGMENTS; i++) {
		pci_bus_device_ops.reset(rig.bus);
		at = i == PAM_SEGMENTS - 1 ? 0 : 1 + i / 2;
		pci_config_write(rig.bus, 0, FIRST + at, 1,
				 (i == PAM_SEGMENTS - 1 || i % 2) ? PAM_WRITE << 4 : PAM_WRITE);
		pam_get(&rig.host, FIRST, rig.access);
		for (at = 0; at < PAM_SEGMENTS; at++)
			assert_int_equal(rig.access[at], at == i ? PAM_WRITE : 0);
	}
	rig_destroy(&rig);
}

static void test_reserved(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	pci_config_write(rig.bus, 0, FIRST - 1, 4, 0xffffffff);
	pci_config_write(rig.bus, 0, FIRST + 3, 4, 0xffffffff);
	assert_int_equal(pci_config_read(rig.bus, 0, FIRST - 1, 4), 0x33333000);
	assert_int_equal(pci_config_read(rig.bus, 0, FIRST + 3, 4), 0x33333333);
	assert_int_equal(pci_config_read(rig.bus, 0, FIRST + PAM_REGISTERS, 1), 0);
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_reserved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
