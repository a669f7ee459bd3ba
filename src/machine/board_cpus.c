/*
 * CPUs that come and go by ACPI (device/acpi_cpus.h), on a PC that may have more than it begins with: who hears of
 * them, and what the DSDT says. Ports, names and methods are those that QEMU's PCs have.
 */
#include <errno.h>
#include <stdio.h>

#include "device/rtc.h"
#include "machine/acpi/aml_terms.h"
#include "machine/board.h"
#include "machine/board_parts.h"

#define PC_CPUS_PORT  0xaf00
#define Q35_CPUS_PORT 0x0cd8

#define NOTIFY_CHECK 1 /* ACPI 6.4 §5.6.6: a device check, */
#define NOTIFY_EJECT 3 /* and a request to let go */
#define STATUS_ALL   0xf /* _STA: present, enabled, shown, working */

#define REGISTERS "\\_SB.PRES"
#define MUTEX	  REGISTERS ".CPLK"
#define SELECTOR  REGISTERS ".CSEL"
#define COMMAND	  REGISTERS ".CCMD"
#define DATA	  REGISTERS ".CDAT"
#define ENABLED	  REGISTERS ".CPEN"
#define COMES	  REGISTERS ".CINS"
#define LEAVES	  REGISTERS ".CRMV"
#define EJECT	  REGISTERS ".CEJ0"

static uint16_t cpus_port(const struct board *board)
{
	return board_is_q35(board) ? Q35_CPUS_PORT : PC_CPUS_PORT;
}

static void ejected(void *context, unsigned cpu)
{
	struct board *board = context;

	ospm_note_ejected(&board->cpu_notes, cpu);
}

static void reported(void *context, unsigned cpu)
{
	struct board *board = context;

	ospm_note_reported(&board->cpu_notes, cpu);
}

/* I/O thread. What was said of a CPU comes before its end. */
static void hear(void *context, unsigned cpu, bool is_reported, bool is_ejected)
{
	struct board *board = context;
	const struct board_config *config = &board->config;
	uint32_t event, status;

	acpi_cpus_last_report(board->acpi_cpus, cpu, &event, &status);
	if (is_reported && config->cpu_reported)
		config->cpu_reported(config->cpu_context, cpu, event, status);
	if (is_ejected && config->cpu_ejected)
		config->cpu_ejected(config->cpu_context, cpu);
}

int board_add_cpus(struct board *board, struct error *error)
{
	const struct acpi_cpus_config config = {
		.count = board->config.max_cpus,
		.present = board->config.present_cpus,
		.apic_ids = board->apic_ids,
		.pm = board->acpi_pm,
		.ejected = ejected,
		.reported = reported,
		.context = board,
	};
	int result;

	_Static_assert(ACPI_CPUS_MAX <= OSPM_NOTES_MAX, "a number each");
	if (!board_is_pc(board) || board->config.max_cpus <= board->config.cpus)
		return 0;
	result = ospm_notes_init(&board->cpu_notes, board->config.loop, hear, board);
	if (result < 0)
		return error_set_errno(error, -result, "cannot watch CPUs");
	board->acpi_cpus = acpi_cpus_create(&config, error);
	if (!board->acpi_cpus)
		return -ENOMEM;
	result = board_add(board, "acpi-cpus", &acpi_cpus_device_ops, board->acpi_cpus, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, cpus_port(board), ACPI_CPUS_PORTS, "ACPI's CPUs", &acpi_cpus_pio_ops,
			   board->acpi_cpus, error);
}

uint64_t board_present_cpus(const struct board *board)
{
	return board->acpi_cpus ? acpi_cpus_present(board->acpi_cpus) : board->config.present_cpus;
}

void board_renew_cpus(struct board *board)
{
	uint16_t count = __builtin_popcountll(board_present_cpus(board));

	if (!board->acpi_cpus)
		return;
	rtc_set_cpus(board->rtc, count);
	fw_cfg_renew(board->fw_cfg, FW_CFG_CPUS, &count, sizeof(count));
}

int board_plug_cpu(struct board *board, unsigned cpu, struct error *error)
{
	if (!board->acpi_cpus)
		return error_set(error, ENOTSUP, "this machine has all of its CPUs from the start");
	acpi_cpus_add(board->acpi_cpus, cpu);
	return 0;
}

int board_unplug_cpu(struct board *board, unsigned cpu, struct error *error)
{
	if (!board->acpi_cpus || !cpu)
		return error_set(error, ENOTSUP, "the CPU stays");
	if (acpi_cpus_ask(board->acpi_cpus, cpu))
		return 0;
	/* It has nothing to let go of. */
	acpi_cpus_remove(board->acpi_cpus, cpu);
	ejected(board, cpu);
	return 0;
}

void board_cpu_report(const struct board *board, unsigned cpu, uint32_t *event, uint32_t *status)
{
	*event = *status = 0;
	if (board->acpi_cpus)
		acpi_cpus_last_report(board->acpi_cpus, cpu, event, status);
}

/* -- what the DSDT says -- */

static void describe_registers(struct aml *aml, const struct board *board)
{
	size_t device = aml_ports_begin(aml, "PRES", "CPU Hotplug resources", cpus_port(board), ACPI_CPUS_PORTS), mark;

	aml_mutex(aml, "CPLK");
	aml_io_region(aml, "PRST", cpus_port(board), ACPI_CPUS_PORTS);
	mark = aml_byte_fields_begin(aml, "PRST");
	aml_field_gap(aml, ACPI_CPUS_STATUS * 8);
	aml_field(aml, "CPEN", 1);
	aml_field(aml, "CINS", 1);
	aml_field(aml, "CRMV", 1);
	aml_field(aml, "CEJ0", 1);
	aml_field_gap(aml, 4);
	aml_field(aml, "CCMD", 8);
	aml_end(aml, mark);
	mark = aml_fields_begin(aml, "PRST");
	aml_field32(aml, "CSEL");
	aml_field_gap(aml, 32);
	aml_field32(aml, "CDAT");
	aml_end(aml, mark);
	aml_end(aml, device);
}

static void name_cpu(char name[5], unsigned cpu)
{
	snprintf(name, 5, "C%03X", cpu % 0x1000);
}

/* Method (CTFY, 2): tell Arg1 of the CPU that is number Arg0. */
static void describe_notices(struct aml *aml, const struct board *board)
{
	size_t method = aml_method_begin(aml, "CTFY", 2);
	char name[5];
	unsigned i;

	for (i = 0; i < board->config.max_cpus; i++) {
		name_cpu(name, i);
		aml_notify_if(aml, i, name);
	}
	aml_end(aml, method);
}

/* Method (CSTA, 1): _STA of the CPU that is number Arg0. */
static void describe_status(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CSTA", 1), mark;

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	aml_store_local(aml, 0);
	mark = aml_if_set_begin(aml, ENABLED);
	aml_store_local(aml, STATUS_ALL);
	aml_end(aml, mark);
	aml_release(aml, MUTEX);
	aml_return_local(aml);
	aml_end(aml, method);
}

/* Method (CEJ0, 1): let go of the CPU that is number Arg0. */
static void describe_eject(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CEJ0", 1);

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	aml_store_integer(aml, 1, EJECT);
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

/* Method (COST, 4): what the operating system says, Arg1 and Arg2, of the CPU that is number Arg0. */
static void describe_report(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "COST", 4);

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, SELECTOR);
	aml_store_integer(aml, ACPI_CPUS_OST_EVENT, COMMAND);
	aml_store_operator(aml, AML_ARG0 + 1, DATA);
	aml_store_integer(aml, ACPI_CPUS_OST_STATUS, COMMAND);
	aml_store_operator(aml, AML_ARG0 + 2, DATA);
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

/* If an event waits: tell of it, clear it, and look for another. */
static void describe_look_for(struct aml *aml, const char *event, unsigned notice)
{
	size_t mark = aml_if_set_begin(aml, event);

	aml_name(aml, "CTFY");
	aml_name(aml, DATA);
	aml_integer(aml, notice);
	aml_store_integer(aml, 1, event);
	aml_store_local(aml, 1);
	aml_end(aml, mark);
}

/* Method (CSCN): tell of all CPUs that have come, or shall go. */
static void describe_scan(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CSCN", 0), loop;

	aml_acquire(aml, MUTEX);
	aml_store_integer(aml, 0, SELECTOR);
	aml_store_local(aml, 1);
	loop = aml_while_begin(aml);
	aml_operator(aml, AML_EQUAL);
	aml_operator(aml, AML_LOCAL0);
	aml_integer(aml, 1);
	aml_store_local(aml, 0);
	aml_store_integer(aml, ACPI_CPUS_NEXT, COMMAND);
	describe_look_for(aml, COMES, NOTIFY_CHECK);
	describe_look_for(aml, LEAVES, NOTIFY_EJECT);
	aml_end(aml, loop);
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

static void describe_cpu(struct aml *aml, const struct board *board, unsigned cpu)
{
	uint8_t entry[ACPI_LAPIC_BYTES];
	char name[5];
	size_t device, method;

	name_cpu(name, cpu);
	device = aml_device_begin(aml, name);
	aml_name_string(aml, "_HID", "ACPI0007");
	aml_name_integer(aml, "_UID", cpu);
	method = aml_method_begin(aml, "_STA", 0);
	aml_return_call(aml, "CSTA", cpu);
	aml_end(aml, method);
	acpi_lapic_entry(entry, cpu, board->apic_ids[cpu]);
	aml_name_declare(aml, "_MAT");
	aml_buffer(aml, entry, sizeof(entry));
	if (cpu) {
		method = aml_method_begin(aml, "_EJ0", 1);
		aml_call(aml, "CEJ0", cpu, 0);
		aml_end(aml, method);
	}
	method = aml_method_begin(aml, "_OST", 3);
	aml_call(aml, "COST", cpu, 3);
	aml_end(aml, method);
	aml_end(aml, device);
}

void board_describe_cpus(struct aml *aml, const struct board *board)
{
	size_t container;
	unsigned i;

	if (!board->acpi_cpus)
		return;
	describe_registers(aml, board);
	container = aml_device_begin(aml, "CPUS");
	aml_name_string(aml, "_HID", "ACPI0010");
	aml_name_eisa_id(aml, "_CID", "PNP0A05");
	describe_notices(aml, board);
	describe_status(aml);
	describe_eject(aml);
	describe_report(aml);
	describe_scan(aml);
	for (i = 0; i < board->config.max_cpus; i++)
		describe_cpu(aml, board, i);
	aml_end(aml, container);
}

void board_describe_cpus_event(struct aml *aml, const struct board *board)
{
	if (board->acpi_cpus)
		aml_event_method(aml, "_E02", "\\_SB.CPUS.CSCN");
}
