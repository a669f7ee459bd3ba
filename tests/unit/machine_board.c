/* RAM's layout, the memory map, and the tables that the boards leave for guests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 5ull << 30, NULL, NULL, &error), 0);
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
		assert_int_equal(ram_create(&ram, &ram_layout_pc, sizes[i], NULL, NULL, &error), 0);
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
	assert_true(load_board(board, "\3fax\1\0\0\0\0\0\0", 12, &error) < 0);
	assert_string_equal(error.message, "the saved state of the machine: it has fax where this "
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

	assert_int_equal(ram_create(&ram, kind == BOARD_Q35 ? &ram_layout_q35 : &ram_layout_pc,
				    16 << 20, NULL, NULL, &error), 0);
	config.ram = &ram;
	config.pio = pio_bus_create();
	config.mmio = mmio_bus_create();
	config.loop = event_loop_create(&error);
	config.streams.serial = char_none_create(&error);
	board = board_create(&config, &error);
	assert_non_null(board);
	assert_true(board_press_power_button(board));
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
		assert_true(ecam_gpa == ram.layout->ecam_gpa);
	}
	if (kind == BOARD_Q35) {
		/* All buses, once firmware, or who takes its place, has put it there. */
		mcfg = find_table(&ram, "MCFG");
		memcpy(&ecam_gpa, mcfg + 44, 8);
		assert_int_equal(mcfg[55], 255);
		mmio_bus_read(config.mmio, ecam_gpa + 0xf8000, (uint8_t *)&length, 4);
		assert_int_equal(length, 0xffffffff);
		board_reset(board);
		mmio_bus_read(config.mmio, ecam_gpa + 0xf8000, (uint8_t *)&length, 4);
		assert_int_equal(length, 0x29188086);
		/* Where the FADT has general-purpose events: 16 bytes. */
		memcpy(&length, fadt + 80, 4);
		assert_int_equal(length, 0x620);
		assert_int_equal(fadt[92], 16);
		pio_bus_write(config.pio, length + 8, 2, 0x1234);
		assert_int_equal(pio_bus_read(config.pio, length + 8, 2), 0x1234);
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

static void test_q35(void **state)
{
	(void)state;
	check_board(BOARD_Q35);
}

static void test_microvm(void **state)
{
	(void)state;
	check_board(BOARD_MICROVM);
}

/* What firmware does with fw_cfg. */
#define FILES_MAX 16

struct firmware_view {
	struct pio_bus *pio;
	struct {
		char name[57];
		uint8_t *bytes; /* owned */
		uint32_t size;
	} files[FILES_MAX];
	unsigned count;
};

static void read_item(struct pio_bus *pio, uint16_t key, uint8_t *bytes, size_t size)
{
	pio_bus_write(pio, 0x510, 2, key);
	while (size--)
		*bytes++ = pio_bus_read(pio, 0x511, 1);
}

static void read_files(struct firmware_view *firmware)
{
	uint8_t count[4], directory[4 + FILES_MAX * 64], *entry;
	unsigned i;

	read_item(firmware->pio, 0x19, count, 4);
	firmware->count = count[3];
	assert_in_range(firmware->count, 1, FILES_MAX);
	read_item(firmware->pio, 0x19, directory, 4 + firmware->count * 64);
	for (i = 0; i < firmware->count; i++) {
		entry = directory + 4 + i * 64;
		memcpy(firmware->files[i].name, entry + 8, 56);
		firmware->files[i].size = entry[0] << 24 | entry[1] << 16 | entry[2] << 8 | entry[3];
		firmware->files[i].bytes = malloc(firmware->files[i].size);
		assert_non_null(firmware->files[i].bytes);
		read_item(firmware->pio, entry[4] << 8 | entry[5], firmware->files[i].bytes,
			  firmware->files[i].size);
	}
}

static unsigned find_file(const struct firmware_view *firmware, const char *name)
{
	unsigned i;

	for (i = 0; i < firmware->count; i++)
		if (strcmp(firmware->files[i].name, name) == 0)
			return i;
	fail_msg("there is no %s", name);
	return 0;
}

/* Carry out the script, with each file at an address of its own. */
static void run_script(struct firmware_view *firmware)
{
	unsigned script = find_file(firmware, "etc/table-loader"), file, target;
	const uint8_t *at = firmware->files[script].bytes, *end = at + firmware->files[script].size;
	uint32_t offset, start, length;
	uint64_t pointer;
	bool has_summed = false;

	for (; at < end; at += 128) {
		file = find_file(firmware, (const char *)at + 4);
		if (at[0] == 2) {
			assert_false(has_summed);
			target = find_file(firmware, (const char *)at + 60);
			memcpy(&offset, at + 116, 4);
			assert_true(at[120] == 4 || at[120] == 8);
			assert_true(offset + at[120] <= firmware->files[file].size);
			pointer = 0;
			memcpy(&pointer, firmware->files[file].bytes + offset, at[120]);
			assert_true(pointer < firmware->files[target].size);
			pointer += 0x10000000u * (target + 1);
			memcpy(firmware->files[file].bytes + offset, &pointer, at[120]);
		} else if (at[0] == 3) {
			has_summed = true;
			memcpy(&offset, at + 60, 4);
			memcpy(&start, at + 64, 4);
			memcpy(&length, at + 68, 4);
			assert_true(start + length <= firmware->files[file].size);
			assert_int_equal(firmware->files[file].bytes[offset], 0);
			firmware->files[file].bytes[offset] =
				-sum(firmware->files[file].bytes + start, length);
		} else {
			assert_int_equal(at[0], 1);
		}
	}
	assert_true(has_summed);
}

static const uint8_t *table_behind(const struct firmware_view *firmware, const uint8_t *at, unsigned size)
{
	uint64_t pointer = 0;
	uint32_t length;
	const uint8_t *table;
	unsigned file;

	memcpy(&pointer, at, size);
	file = pointer / 0x10000000u - 1;
	assert_string_equal(firmware->files[file].name, "etc/acpi/tables");
	pointer %= 0x10000000u;
	assert_true(pointer + 36 <= firmware->files[file].size);
	table = firmware->files[file].bytes + pointer;
	memcpy(&length, table + 4, 4);
	assert_true(pointer + length <= firmware->files[file].size);
	if (memcmp(table, "FACS", 4) != 0)
		assert_int_equal(sum(table, length), 0);
	return table;
}

/* Both lists name the same tables, all of which add up. */
static void check_linked(const struct firmware_view *firmware, bool has_ecam)
{
	const uint8_t *rsdp = firmware->files[find_file(firmware, "etc/acpi/rsdp")].bytes;
	const uint8_t *rsdt = table_behind(firmware, rsdp + 16, 4), *table, *fadt = NULL;
	const uint8_t *xsdt = table_behind(firmware, rsdp + 24, 8);
	unsigned i, count = (rsdt[4] - 36) / 4;

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_memory_equal(rsdt, "RSDT", 4);
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(count, has_ecam ? 3 : 2);
	for (i = 0; i < count; i++) {
		table = table_behind(firmware, rsdt + 36 + 4 * i, 4);
		assert_ptr_equal(table, table_behind(firmware, xsdt + 36 + 8 * i, 8));
		if (!has_ecam)
			assert_memory_not_equal(table, "MCFG", 4);
		if (memcmp(table, "FACP", 4) == 0)
			fadt = table;
	}
	assert_non_null(fadt);
	assert_memory_equal(table_behind(firmware, fadt + 36, 4), "FACS", 4);
	assert_memory_equal(table_behind(firmware, fadt + 40, 4), "DSDT", 4);
	assert_memory_equal(table_behind(firmware, fadt + 140, 8), "DSDT", 4);
}

static void test_firmware(void **state)
{
	static uint8_t rom[0x20000];
	const struct firmware code = {.code = rom, .code_size = sizeof(rom), .vars_fd = -1};
	struct board_config config = {.kind = BOARD_PC, .cpus = 64, .print_port = -1,
				      .debug_exit_port = -1, .firmware = &code,
				      .firmware_prints = true};
	struct firmware_view firmware = {.count = 0};
	struct error error;
	struct board *board;
	struct ram ram;
	uint8_t bytes[4];
	uint64_t word;
	uint32_t type;
	unsigned i, file;

	(void)state;
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 16 << 20, NULL, NULL, &error), 0);
	config.ram = &ram;
	firmware.pio = config.pio = pio_bus_create();
	config.mmio = mmio_bus_create();
	config.loop = event_loop_create(&error);
	config.streams.serial = char_none_create(&error);
	board = board_create(&config, &error);
	assert_non_null(board);
	board_reset(board);
	/* Nothing is set up but the ACPI registers that the tables name: no routes, no configuration space by
	 * memory. */
	assert_int_equal(pio_bus_read(config.pio, 0x604, 2), 1);
	assert_int_equal(pio_bus_read(config.pio, 0xb004, 2), 0xffff);
	pio_bus_write(config.pio, 0xcf8, 4, 0x80000860);
	assert_int_equal(pio_bus_read(config.pio, 0xcfc, 4), 0x80808080);
	mmio_bus_read(config.mmio, ram.layout->ecam_gpa, bytes, 4);
	assert_int_equal(bytes[0] & bytes[1] & bytes[2] & bytes[3], 0xff);
	/* The button is there; it is seen once firmware has placed the registers. */
	assert_true(board_press_power_button(board));
	pio_bus_write(config.pio, 0xcf8, 4, 0x80000b40);
	pio_bus_write(config.pio, 0xcfc, 4, 0xb001);
	pio_bus_write(config.pio, 0xcf8, 4, 0x80000b80);
	pio_bus_write(config.pio, 0xcfc, 1, 1);
	assert_int_equal(pio_bus_read(config.pio, 0xb000, 2) & 0x100, 0x100);
	assert_int_equal(pio_bus_read(config.pio, 0x600, 2) & 0x100, 0x100);
	/* Where something else is, they are not; elsewhere again they are. */
	pio_bus_write(config.pio, 0xcf8, 4, 0x80000b40);
	pio_bus_write(config.pio, 0xcfc, 4, 0x3c1);
	assert_int_equal(pio_bus_read(config.pio, 0xb000, 2), 0xffff);
	pio_bus_write(config.pio, 0xcfc, 4, 0x601);
	assert_int_equal(pio_bus_read(config.pio, 0x600, 2) & 0x100, 0x100);

	read_files(&firmware);
	run_script(&firmware);
	check_linked(&firmware, false);
	file = find_file(&firmware, "etc/smbios/smbios-anchor");
	assert_int_equal(firmware.files[file].size, 24);
	assert_int_equal(sum(firmware.files[file].bytes, 24), 0);
	memcpy(&type, firmware.files[file].bytes + 12, 4);
	assert_int_equal(type, firmware.files[find_file(&firmware, "etc/smbios/smbios-tables")].size);
	file = find_file(&firmware, "etc/e820");
	memcpy(&word, firmware.files[file].bytes + 8, 8);
	memcpy(&type, firmware.files[file].bytes + 16, 4);
	assert_true(word == 16 << 20 && type == E820_RAM);
	file = find_file(&firmware, "etc/sercon-port");
	assert_int_equal(firmware.files[file].bytes[0] | firmware.files[file].bytes[1] << 8, 0x3f8);

	for (i = 0; i < firmware.count; i++)
		free(firmware.files[i].bytes);
	check_saved(board, &config);
	board_destroy(board);
	char_destroy(config.streams.serial);
	event_loop_destroy(config.loop);
	mmio_bus_destroy(config.mmio);
	pio_bus_destroy(config.pio);
	ram_destroy(&ram);
}

/* Firmware puts configuration space where it likes, and reads the tables afterwards. */
static void test_q35_firmware(void **state)
{
	static uint8_t rom[0x20000];
	static const uint64_t places[] = {0xe0000000, 0xb0000000};
	const struct firmware code = {.code = rom, .code_size = sizeof(rom), .vars_fd = -1};
	struct board_config config = {.kind = BOARD_Q35, .cpus = 4, .print_port = -1,
				      .debug_exit_port = -1, .firmware = &code};
	struct firmware_view firmware = {.count = 0};
	struct error error;
	struct board *board;
	struct ram ram;
	const uint8_t *tables, *at;
	uint64_t told;
	uint32_t value, i, size;

	(void)state;
	assert_int_equal(ram_create(&ram, &ram_layout_q35, 16 << 20, NULL, NULL, &error), 0);
	config.ram = &ram;
	firmware.pio = config.pio = pio_bus_create();
	config.mmio = mmio_bus_create();
	config.loop = event_loop_create(&error);
	config.streams.serial = char_none_create(&error);
	board = board_create(&config, &error);
	assert_non_null(board);
	board_reset(board);
	/* As OVMF asks for system management mode. */
	assert_int_equal(pio_bus_read(config.pio, 0x630, 4), 0x21);
	for (i = 0; i < 2; i++) {
		pio_bus_write(config.pio, 0xcf8, 4, 0x80000060);
		pio_bus_write(config.pio, 0xcfc, 4, places[i] | 1);
		mmio_bus_read(config.mmio, places[i], (uint8_t *)&value, 4);
		assert_int_equal(value, 0x29c08086);
		read_files(&firmware);
		tables = firmware.files[find_file(&firmware, "etc/acpi/tables")].bytes;
		size = firmware.files[find_file(&firmware, "etc/acpi/tables")].size;
		at = memmem(tables, size, "MCFG", 4);
		assert_non_null(at);
		memcpy(&told, at + 44, 8);
		assert_true(told == places[i]);
		run_script(&firmware);
		check_linked(&firmware, true);
		while (firmware.count)
			free(firmware.files[--firmware.count].bytes);
	}
	board_destroy(board);
	char_destroy(config.streams.serial);
	event_loop_destroy(config.loop);
	mmio_bus_destroy(config.mmio);
	pio_bus_destroy(config.pio);
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ram_layout),
		cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_pc),
		cmocka_unit_test(test_microvm),
		cmocka_unit_test(test_q35),
		cmocka_unit_test(test_q35_firmware),
		cmocka_unit_test(test_firmware),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
