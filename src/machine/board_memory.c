/*
 * Memory that comes and goes by ACPI (device/acpi_memory.h), on a PC that has slots for it: who hears of it, and what the
 * DSDT says. Ports, names and methods are those that QEMU's PCs have.
 */
#include <errno.h>
#include <stdio.h>

#include "machine/acpi/aml_terms.h"
#include "machine/board.h"
#include "machine/board_parts.h"

#define MEMORY_PORT 0x0a00

#define NOTIFY_CHECK 1 /* ACPI 6.4 §5.6.6: a device check, */
#define NOTIFY_EJECT 3 /* and a request to let go */
#define STATUS_ALL   0xf /* _STA: present, enabled, shown, working */

#define MUTEX	 "MLCK"
#define SELECTOR "MSEL"

static void ejected(void *context, unsigned slot)
{
	struct board *board = context;

	ospm_note_ejected(&board->memory_notes, slot);
}

static void reported(void *context, unsigned slot)
{
	struct board *board = context;

	ospm_note_reported(&board->memory_notes, slot);
}

static bool may_eject(void *context, unsigned slot)
{
	const struct board *board = context;

	return board->config.memory_may_go && board->config.memory_may_go(board->config.memory_context, slot);
}

/* I/O thread. What was said of memory comes before its end. */
static void hear(void *context, unsigned slot, bool is_reported, bool is_ejected)
{
	struct board *board = context;
	const struct board_config *config = &board->config;
	uint32_t event, status;

	acpi_memory_last_report(board->acpi_memory, slot, &event, &status);
	if (is_reported && config->memory_reported)
		config->memory_reported(config->memory_context, slot, event, status);
	if (!is_ejected)
		return;
	acpi_memory_empty(board->acpi_memory, slot);
	if (config->memory_ejected)
		config->memory_ejected(config->memory_context, slot);
}

int board_add_memory(struct board *board, struct error *error)
{
	const struct acpi_memory_config config = {
		.slots = board->config.memory_slots,
		.pm = board->acpi_pm,
		.may_eject = may_eject,
		.ejected = ejected,
		.reported = reported,
		.context = board,
	};
	int result;

	_Static_assert(ACPI_MEMORY_SLOTS_MAX <= OSPM_NOTES_MAX, "a number each");
	if (!board_is_pc(board) || !board->config.memory_slots)
		return 0;
	result = ospm_notes_init(&board->memory_notes, board->config.loop, hear, board);
	if (result < 0)
		return error_set_errno(error, -result, "cannot watch memory");
	board->acpi_memory = acpi_memory_create(&config, error);
	if (!board->acpi_memory)
		return -ENOMEM;
	result = board_add(board, "acpi-memory", &acpi_memory_device_ops, board->acpi_memory, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, MEMORY_PORT, ACPI_MEMORY_PORTS, "ACPI's memory", &acpi_memory_pio_ops,
			   board->acpi_memory, error);
}

void board_fill_memory(struct board *board, unsigned slot, uint64_t gpa, uint64_t size_bytes, bool comes_now)
{
	if (board->acpi_memory)
		acpi_memory_fill(board->acpi_memory, slot, gpa, size_bytes, comes_now);
}

int board_unplug_memory(struct board *board, unsigned slot, struct error *error)
{
	if (!board->acpi_memory)
		return error_set(error, ENOTSUP, "this machine has no slots for memory");
	if (acpi_memory_ask(board->acpi_memory, slot))
		return 0;
	/* Nobody could use it yet. */
	ejected(board, slot);
	return 0;
}

void board_memory_report(const struct board *board, unsigned slot, uint32_t *event, uint32_t *status)
{
	*event = *status = 0;
	if (board->acpi_memory)
		acpi_memory_last_report(board->acpi_memory, slot, event, status);
}

/* -- what the DSDT says -- */

static void describe_registers(struct aml *aml)
{
	size_t mark;

	aml_mutex(aml, MUTEX);
	aml_io_region(aml, "HPMR", MEMORY_PORT, ACPI_MEMORY_PORTS);
	mark = aml_fields_begin(aml, "HPMR");
	aml_field32(aml, "MRBL");
	aml_field32(aml, "MRBH");
	aml_field32(aml, "MRLL");
	aml_field32(aml, "MRLH");
	aml_field32(aml, "MPX");
	aml_end(aml, mark);
	mark = aml_byte_fields_begin(aml, "HPMR");
	aml_field_gap(aml, ACPI_MEMORY_STATUS * 8);
	aml_field(aml, "MES", 1);
	aml_field(aml, "MINS", 1);
	aml_field(aml, "MRMV", 1);
	aml_field(aml, "MEJ", 1);
	aml_end(aml, mark);
	mark = aml_fields_begin(aml, "HPMR");
	aml_field32(aml, SELECTOR);
	aml_field32(aml, "MOEV");
	aml_field32(aml, "MOSC");
	aml_end(aml, mark);
}

static void name_slot(char name[5], unsigned slot)
{
	snprintf(name, 5, "MP%02X", slot % 0x100);
}

/* Method (MTFY, 2): tell Arg1 of the slot Arg0. */
static void describe_notices(struct aml *aml, unsigned slots)
{
	size_t method = aml_method_begin(aml, "MTFY", 2);
	char name[5];
	unsigned i;

	for (i = 0; i < slots; i++) {
		name_slot(name, i);
		aml_notify_if(aml, i, name);
	}
	aml_end(aml, method);
}

/* If an event of the slot Local0 waits: tell of it, and clear it. */
static void describe_look_for(struct aml *aml, const char *event, unsigned notice)
{
	size_t mark = aml_if_set_begin(aml, event);

	aml_name(aml, "MTFY");
	aml_operator(aml, AML_LOCAL0);
	aml_integer(aml, notice);
	aml_store_integer(aml, 1, event);
	aml_end(aml, mark);
}

/* Method (MSCN): tell of all memory that has come, or shall go. */
static void describe_scan(struct aml *aml, unsigned slots)
{
	size_t method = aml_method_begin(aml, "MSCN", 0), loop;

	aml_acquire(aml, MUTEX);
	aml_store_local(aml, 0);
	loop = aml_while_begin(aml);
	aml_operator(aml, AML_LESS);
	aml_operator(aml, AML_LOCAL0);
	aml_integer(aml, slots);
	aml_store_operator(aml, AML_LOCAL0, SELECTOR);
	describe_look_for(aml, "MINS", NOTIFY_CHECK);
	describe_look_for(aml, "MRMV", NOTIFY_EJECT);
	aml_operator(aml, AML_INCREMENT);
	aml_operator(aml, AML_LOCAL0);
	aml_end(aml, loop);
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

/* Method (MRST, 1): _STA of the slot Arg0. */
static void describe_status(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "MRST", 1), mark;

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	aml_store_local(aml, 0);
	mark = aml_if_set_begin(aml, "MES");
	aml_store_local(aml, STATUS_ALL);
	aml_end(aml, mark);
	aml_release(aml, MUTEX);
	aml_return_local(aml);
	aml_end(aml, method);
}

/* ShiftLeft (high, 32) | low into target */
static void join(struct aml *aml, const char *high, const char *low, const char *target)
{
	aml_operator(aml, AML_OR);
	aml_operator(aml, AML_SHIFT_LEFT);
	aml_name(aml, high);
	aml_integer(aml, 32);
	aml_no_target(aml);
	aml_name(aml, low);
	aml_name(aml, target);
}

static void name_field(struct aml *aml, unsigned offset, const char *name)
{
	aml_operator(aml, AML_CREATE_QWORD_FIELD);
	aml_name(aml, "MR64");
	aml_integer(aml, offset);
	aml_name(aml, name);
}

/* Method (MCRS, 1): _CRS of the slot Arg0, a range of 64 bits (§6.4.3.5.1) whose limits and length are filled in. */
static void describe_resources(struct aml *aml)
{
	static const uint8_t template[] = {
		0x8a, 0x2b, 0,	  /* QWord address space, */
		0,    0x0c, 0x03, /* of memory, both limits fixed, cacheable, for reading and writing */
		[46] = 0x79, 0,
	};
	size_t method;

	aml_name_declare(aml, "MR64");
	aml_buffer(aml, template, sizeof(template));
	name_field(aml, 14, "MMIN");
	name_field(aml, 22, "MMAX");
	name_field(aml, 38, "MLEN");
	method = aml_method_begin(aml, "MCRS", 1);
	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	join(aml, "MRBH", "MRBL", "MMIN");
	join(aml, "MRLH", "MRLL", "MLEN");
	aml_operator(aml, AML_SUBTRACT);
	aml_operator(aml, AML_ADD);
	aml_name(aml, "MMIN");
	aml_name(aml, "MLEN");
	aml_no_target(aml);
	aml_integer(aml, 1);
	aml_name(aml, "MMAX");
	aml_operator(aml, AML_STORE);
	aml_name(aml, "MR64");
	aml_operator(aml, AML_LOCAL0);
	aml_release(aml, MUTEX);
	aml_return_local(aml);
	aml_end(aml, method);
}

/* Method (MPXM, 1): _PXM of the slot Arg0. */
static void describe_domain(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "MPXM", 1);

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	aml_operator(aml, AML_STORE);
	aml_name(aml, "MPX");
	aml_operator(aml, AML_LOCAL0);
	aml_release(aml, MUTEX);
	aml_return_local(aml);
	aml_end(aml, method);
}

/* Method (MEJ0, 1): let go of the slot Arg0. */
static void describe_eject(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "MEJ0", 1);

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	aml_store_integer(aml, 1, "MEJ");
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

/* Method (MOST, 3): what the operating system says, Arg1 and Arg2, of the slot Arg0. */
static void describe_report(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "MOST", 3);

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	aml_store_operator(aml, AML_ARG0 + 1, "MOEV");
	aml_store_operator(aml, AML_ARG0 + 2, "MOSC");
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

/* Method (name): Return (of (slot)) */
static void describe_question(struct aml *aml, const char *name, const char *of, unsigned slot)
{
	size_t method = aml_method_begin(aml, name, 0);

	aml_return_call(aml, of, slot);
	aml_end(aml, method);
}

/* Method (name, arguments): of (slot, Arg0, ...), of which `passed` are passed on. */
static void describe_order(struct aml *aml, const char *name, unsigned arguments, const char *of, unsigned slot, unsigned passed)
{
	size_t method = aml_method_begin(aml, name, arguments);

	aml_call(aml, of, slot, passed);
	aml_end(aml, method);
}

static void describe_slot(struct aml *aml, unsigned slot)
{
	size_t device;
	char name[5];

	name_slot(name, slot);
	device = aml_device_begin(aml, name);
	aml_name_eisa_id(aml, "_HID", "PNP0C80");
	aml_name_integer(aml, "_UID", slot);
	describe_question(aml, "_CRS", "MCRS", slot);
	describe_question(aml, "_STA", "MRST", slot);
	describe_question(aml, "_PXM", "MPXM", slot);
	describe_order(aml, "_OST", 3, "MOST", slot, 2);
	describe_order(aml, "_EJ0", 1, "MEJ0", slot, 0);
	aml_end(aml, device);
}

void board_describe_memory(struct aml *aml, const struct board *board)
{
	unsigned i, slots = board->config.memory_slots;
	size_t container;

	if (!board->acpi_memory)
		return;
	container = aml_ports_begin(aml, "MHPC", "DIMM devices", MEMORY_PORT, ACPI_MEMORY_PORTS);
	describe_registers(aml);
	describe_notices(aml, slots);
	describe_scan(aml, slots);
	describe_status(aml);
	describe_resources(aml);
	describe_domain(aml);
	describe_eject(aml);
	describe_report(aml);
	for (i = 0; i < slots; i++)
		describe_slot(aml, i);
	aml_end(aml, container);
}

void board_describe_memory_event(struct aml *aml, const struct board *board)
{
	if (board->acpi_memory)
		aml_event_method(aml, "_E03", "\\_SB.MHPC.MSCN");
}
