/* RAM's layout, the memory map, and the tables that the boards leave for guests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "machine/board.h"
#include "machine/e820.h"

#define FADT_FLAGS 112

static uint8_t sum(const uint8_t *bytes, size_t size)
{
	uint8_t total = 0;

	while (size--)
		total += *bytes++;
	return total;
}

static void test_ram_layout(void **state)
{
	struct error error;
	struct ram ram;
	uint8_t byte = 0x5a, back = 0;

	(void)state;
	assert_int_equal(ram_create(&ram, 5ull << 30, &error), 0);
	assert_int_equal(ram.low_end, RAM_LOW_LIMIT);
	assert_int_equal(ram.high_end, RAM_HIGH_START + (2ull << 30));
	assert_true(guest_memory_contains(&ram.memory, 0x100000000, 2ull << 30));
	assert_false(guest_memory_contains(&ram.memory, 0x100000000, (2ull << 30) + 1));
	assert_false(guest_memory_contains(&ram.memory, RAM_LOW_LIMIT, 1));
	assert_false(guest_memory_contains(&ram.memory, 0xa0000, 1));
	assert_false(guest_memory_contains(&ram.memory, 0x9ffff, 2));
	assert_false(guest_memory_contains(&ram.memory, UINT64_MAX, 2));
	assert_false(guest_memory_contains(&ram.memory, 0x1000, UINT64_MAX));
	assert_int_equal(guest_memory_write(&ram.memory, 0x100000000, &byte, 1), 0);
	assert_int_equal(guest_memory_read(&ram.memory, 0x100000000, &back, 1), 0);
	assert_int_equal(back, byte);
	assert_true(guest_memory_write(&ram.memory, RAM_LOW_LIMIT, &byte, 1) < 0);
	ram_destroy(&ram);
}

static void test_memory_map(void **state)
{
	static const uint64_t sizes[] = {1 << 20, 64 << 20, 0xc0000000, 4ull << 30};
	struct e820_map map;
	struct error error;
	struct ram ram;
	unsigned i, j;

	(void)state;
	for (i = 0; i < 4; i++) {
		assert_int_equal(ram_create(&ram, sizes[i], &error), 0);
		e820_build(&ram, &map);
		for (j = 0; j < map.count; j++) {
			if (j)
				assert_true(map.entries[j].gpa >=
					    map.entries[j - 1].gpa + map.entries[j - 1].size_bytes);
			if (map.entries[j].type == E820_RAM)
				assert_true(guest_memory_contains(&ram.memory, map.entries[j].gpa,
								  map.entries[j].size_bytes));
		}
		ram_destroy(&ram);
	}
}

/* Check a table and, when it lists others (8-byte addresses), them. */
static const uint8_t *find_table(const struct ram *ram, const char *signature)
{
	const uint8_t *rsdp = guest_memory_at(&ram->memory, 0xe0000, 36), *table;
	uint64_t xsdt_gpa, gpa;
	uint32_t length, listed;

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	memcpy(&xsdt_gpa, rsdp + 24, 8);
	table = guest_memory_at(&ram->memory, xsdt_gpa, 36);
	memcpy(&listed, table + 4, 4);
	assert_int_equal(sum(table, listed), 0);
	for (uint32_t at = 36; at < listed; at += 8) {
		memcpy(&gpa, table + at, 8);
		const uint8_t *found = guest_memory_at(&ram->memory, gpa, 36);

		memcpy(&length, found + 4, 4);
		assert_int_equal(sum(found, length), 0);
		if (memcmp(found, signature, 4) == 0)
			return found;
	}
	fail();
	return NULL;
}

/* What a board's devices save, into `state`. */
static size_t save_board(const struct board *board, struct state_stream *state, const void **bytes)
{
	size_t size;

	state_save_begin(state);
	board_save(board, state);
	assert_int_equal(state_saved(state, bytes, &size, NULL), 0);
	return size;
}

static int load_board(struct board *board, const void *bytes, size_t size, struct error *error)
{
	struct state_stream state;

	state_load_begin(&state, bytes, size);
	board_load(board, &state);
	return state_loaded(&state, error);
}

/* A board loads what one like it saved; nothing of a stream that is cut, or of another board's. */
static void check_saved(struct board *board, const struct board_config *config)
{
	struct state_stream state, reset;
	const void *bytes, *reset_bytes;
	size_t size, reset_size;
	struct error error;

	pio_bus_write(config->pio, 0x3ff, 1, 0x5a);
	pio_bus_write(config->pio, 0x80, 1, 0x77);
	size = save_board(board, &state, &bytes);
	board_reset(board);
	assert_int_equal(pio_bus_read(config->pio, 0x80, 1), 0);
	assert_int_equal(load_board(board, bytes, size, &error), 0);
	assert_int_equal(pio_bus_read(config->pio, 0x80, 1), 0x77);
	assert_int_equal(pio_bus_read(config->pio, 0x3ff, 1), 0x5a);
	/* The serial port's section is good, a later one isn't. */
	assert_true(load_board(board, bytes, size - 1, &error) < 0);
	assert_int_equal(pio_bus_read(config->pio, 0x80, 1), 0);
	assert_int_equal(pio_bus_read(config->pio, 0x3ff, 1), 0);
	/* Another board's. */
	reset_size = save_board(board, &reset, &reset_bytes);
	assert_int_equal(reset_size, size);
	assert_true(load_board(board, "\3pci\1\0\0\0\0\0\0", 12, &error) < 0);
	assert_string_equal(error.message, "the saved state of the machine: it has pci where this "
					   "machine has serial1");
	state_end(&reset);
	state_end(&state);
}

static void check_board(enum board_kind kind)
{
	struct board_config config = {
		.kind = kind, .cpus = 64, .print_port = -1, .debug_exit_port = 0xf4};
	const uint8_t *fadt, *madt, *dsdt, *mcfg, *smbios;
	struct error error;
	struct board *board;
	struct ram ram;
	uint64_t rsdp_gpa, dsdt_gpa, ecam_gpa;
	uint32_t length, flags;

	assert_int_equal(ram_create(&ram, 16 << 20, &error), 0);
	config.ram = &ram;
	config.pio = pio_bus_create();
	config.mmio = mmio_bus_create();
	config.loop = event_loop_create(&error);
	config.streams.serial = char_none_create(&error);
	board = board_create(&config, &error);
	assert_non_null(board);
	assert_int_equal(board_write_tables(board, &rsdp_gpa, &error), 0);
	assert_int_equal(rsdp_gpa, 0xe0000);

	fadt = find_table(&ram, "FACP");
	memcpy(&flags, fadt + FADT_FLAGS, 4);
	assert_int_equal(flags >> 20 & 1, kind == BOARD_MICROVM);
	memcpy(&dsdt_gpa, fadt + 140, 8);
	dsdt = guest_memory_at(&ram.memory, dsdt_gpa, 36);
	assert_memory_equal(dsdt, "DSDT", 4);
	memcpy(&length, dsdt + 4, 4);
	assert_int_equal(sum(dsdt, length), 0);
	if (kind == BOARD_PC) {
		/* Configuration space by memory, of bus 0, where the e820 map has it reserved. */
		mcfg = find_table(&ram, "MCFG");
		memcpy(&ecam_gpa, mcfg + 44, 8);
		mmio_bus_read(config.mmio, ecam_gpa + 0x8000, (uint8_t *)&length, 4);
		assert_int_equal(length, 0x70008086);
		assert_true(ecam_gpa == E820_ECAM_START);
	}
	madt = find_table(&ram, "APIC");
	memcpy(&length, madt + 4, 4);
	assert_true(length > 44 + 64 * 8);
	smbios = guest_memory_at(&ram.memory, 0xf0000, 24);
	assert_memory_equal(smbios, "_SM3_", 5);
	assert_int_equal(sum(smbios, 24), 0);

	check_saved(board, &config);
	board_destroy(board);
	char_destroy(config.streams.serial);
	event_loop_destroy(config.loop);
	mmio_bus_destroy(config.mmio);
	pio_bus_destroy(config.pio);
	ram_destroy(&ram);
}

static void test_pc(void **state)
{
	(void)state;
	check_board(BOARD_PC);
}

static void test_microvm(void **state)
{
	(void)state;
	check_board(BOARD_MICROVM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ram_layout),
		cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_pc),
		cmocka_unit_test(test_microvm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
