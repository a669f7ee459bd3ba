/* What firmware leaves of PCI: BARs sized, placed without overlap, switched on; lines told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "machine/pci_setup.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static uint32_t no_port(void *device, uint16_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return 0;
}

static void no_port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	(void)device;
	(void)offset;
	(void)size;
	(void)value;
}

static const struct pio_ops ports = {no_port, no_port_write, 1};

static const struct pci_layout layout = {
	.io_first = 0xc000,
	.io_end = 0xc100,
	.low_first = 0xc0000000,
	.low_end = 0xfeb00000,
	.high_first = 0x400000000,
	.high_end = 0x400000000 + 16 * GIB,
	.link_gsi = {10, 10, 11, 11},
};

static const struct {
	unsigned bar;
	enum pci_bar_kind kind;
	uint64_t size;
} shapes[] = {
	{0, PCI_BAR_IO, 4},	       {1, PCI_BAR_MEMORY32, 16},	{2, PCI_BAR_MEMORY64, 4 * GIB},
	{0, PCI_BAR_MEMORY32, 512 * MIB}, {1, PCI_BAR_IO, 64},		{4, PCI_BAR_MEMORY64, 8 * MIB},
	{0, PCI_BAR_MEMORY64, 16 * GIB},  {2, PCI_BAR_IO, 256},		{5, PCI_BAR_MEMORY32, 4096},
};

#define FUNCTIONS 3
#define SHAPES	  (sizeof(shapes) / sizeof(shapes[0]))

/* Where a BAR is now; 0: nowhere. */
static uint64_t address_of(struct pci_function *function, unsigned index)
{
	return function->bars[index].is_mapped ? function->bars[index].address : 0;
}

static void test_placed(void **state)
{
	struct pci_bus_config config = {.pio = pio_bus_create(), .mmio = mmio_bus_create()};
	struct pci_function functions[FUNCTIONS], *function;
	struct pci_bus *bus;
	struct error error;
	uint64_t at[SHAPES];
	unsigned i, j;

	(void)state;
	bus = pci_bus_create(&config, &error);
	for (i = 0; i < FUNCTIONS; i++) {
		pci_function_init(&functions[i], 0x1234, i, 0xff0000, 0);
		pci_function_set_pin(&functions[i], 1 + i);
	}
	for (i = 0; i < SHAPES; i++)
		functions[i / 3].bars[shapes[i].bar] = (struct pci_bar){
			.kind = shapes[i].kind, .size_bytes = shapes[i].size, .name = "shape",
			.pio = shapes[i].kind == PCI_BAR_IO ? &ports : NULL};
	for (i = 0; i < FUNCTIONS; i++)
		pci_bus_add(bus, PCI_SLOT_FUNCTION(2 + i, 0), &functions[i]);
	pci_setup(bus, &layout);
	for (i = 0; i < SHAPES; i++)
		at[i] = address_of(&functions[i / 3], shapes[i].bar);
	/* The largest come first: 64 and 4 ports don't fit beside 256, nor 4 GiB beside 16. */
	assert_int_equal(at[7], 0xc000);
	assert_int_equal(at[0] + at[4], 0);
	assert_true(at[6] == layout.high_first);
	assert_int_equal(at[2], 0);
	for (i = 0; i < SHAPES; i++) {
		if (!at[i])
			continue;
		assert_true(at[i] % shapes[i].size == 0);
		if (shapes[i].kind != PCI_BAR_IO && i != 6)
			assert_true(at[i] >= layout.low_first &&
				    at[i] + shapes[i].size <= layout.low_end);
		for (j = 0; j < i; j++)
			assert_true(at[j] == 0 || at[j] + shapes[j].size <= at[i] ||
				    at[i] + shapes[i].size <= at[j] ||
				    (shapes[i].kind == PCI_BAR_IO) != (shapes[j].kind == PCI_BAR_IO));
	}
	for (i = 0; i < FUNCTIONS; i++) {
		function = &functions[i];
		assert_int_equal(pci_config_get(function, PCI_COMMAND, 2) & 7,
				 PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
		assert_int_equal(pci_config_get(function, PCI_INTERRUPT_LINE, 1),
				 layout.link_gsi[pci_link_of(2 + i, i)]);
		pci_function_destroy(function);
	}
	pci_bus_device_ops.destroy(bus);
	mmio_bus_destroy(config.mmio);
	pio_bus_destroy(config.pio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_placed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
