/*
 * CPUs that come and go by ACPI (device/acpi_cpus.h), on a PC that may have more than it begins with: who hears of
 * them, and what the DSDT says. Ports, names and methods are those that QEMU's PCs have.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "device/rtc.h"
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

/* A vCPU's thread. */
static void note(struct board *board, _Atomic uint64_t *which, unsigned cpu)
{
	const uint64_t one = 1;

	atomic_fetch_or(which, 1ull << cpu);
	if (write(board->cpu_source.fd, &one, sizeof(one)) < 0)
		return; /* it is signalled as much as it can be */
}

static void ejected(void *context, unsigned cpu)
{
	struct board *board = context;

	note(board, &board->ejected_cpus, cpu);
}

static void reported(void *context, unsigned cpu)
{
	struct board *board = context;

	note(board, &board->reported_cpus, cpu);
}

/* I/O thread. What was said of a CPU comes before its end. */
static void tell(void *context)
{
	struct board *board = context;
	const struct board_config *config = &board->config;
	uint64_t count, gone, said;
	uint32_t event, status;
	unsigned i;

	if (read(board->cpu_source.fd, &count, sizeof(count)) < 0)
		return;
	gone = atomic_exchange(&board->ejected_cpus, 0);
	said = atomic_exchange(&board->reported_cpus, 0);
	for (i = 0; i < config->max_cpus; i++) {
		acpi_cpus_last_report(board->acpi_cpus, i, &event, &status);
		if ((said >> i & 1) && config->cpu_reported)
			config->cpu_reported(config->cpu_context, i, event, status);
		if ((gone >> i & 1) && config->cpu_ejected)
			config->cpu_ejected(config->cpu_context, i);
	}
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

	_Static_assert(ACPI_CPUS_MAX <= 64, "a bit each");
	if (!board_is_pc(board) || board->config.max_cpus <= board->config.cpus)
		return 0;
	board->cpu_source = (struct event_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = tell, .context = board};
	if (board->cpu_source.fd < 0)
		return error_set_errno(error, errno, "cannot watch CPUs");
	result = event_loop_add(board->config.loop, &board->cpu_source);
	if (result < 0) {
		close(board->cpu_source.fd);
		return error_set_errno(error, -result, "cannot watch CPUs");
	}
	board->has_cpu_source = true;
	board->acpi_cpus = acpi_cpus_create(&config, error);
	if (!board->acpi_cpus)
		return -ENOMEM;
	result = board_add(board, "acpi-cpus", &acpi_cpus_device_ops, board->acpi_cpus, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, cpus_port(board), ACPI_CPUS_PORTS, "ACPI's CPUs", &acpi_cpus_pio_ops,
			   board->acpi_cpus, error);
}

void board_unwatch_cpus(struct board *board)
{
	if (!board->has_cpu_source)
		return;
	event_loop_remove(&board->cpu_source);
	close(board->cpu_source.fd);
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

static void store_integer(struct aml *aml, uint64_t value, const char *target)
{
	aml_operator(aml, AML_STORE);
	aml_integer(aml, value);
	aml_name(aml, target);
}

static void store_argument(struct aml *aml, unsigned argument, const char *target)
{
	aml_operator(aml, AML_STORE);
	aml_operator(aml, AML_ARG0 + argument);
	aml_name(aml, target);
}

static void store_local(struct aml *aml, uint64_t value)
{
	aml_operator(aml, AML_STORE);
	aml_integer(aml, value);
	aml_operator(aml, AML_LOCAL0);
}

/* If (LEqual (name, 1)) */
static size_t if_set_begin(struct aml *aml, const char *name)
{
	size_t mark = aml_if_begin(aml);

	aml_operator(aml, AML_EQUAL);
	aml_name(aml, name);
	aml_integer(aml, 1);
	return mark;
}

static void describe_registers(struct aml *aml, const struct board *board)
{
	struct aml_resources resources = {.used = 0};
	size_t device = aml_device_begin(aml, "PRES"), mark;

	aml_name_eisa_id(aml, "_HID", "PNP0A06");
	aml_name_string(aml, "_UID", "CPU Hotplug resources");
	aml_name_integer(aml, "_STA", 0xb); /* there, but nothing to show */
	aml_resource_io(&resources, cpus_port(board), ACPI_CPUS_PORTS);
	aml_current_resources(aml, &resources);
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
	size_t method = aml_method_begin(aml, "CTFY", 2), mark;
	char name[5];
	unsigned i;

	for (i = 0; i < board->config.max_cpus; i++) {
		name_cpu(name, i);
		mark = aml_if_begin(aml);
		aml_operator(aml, AML_EQUAL);
		aml_operator(aml, AML_ARG0);
		aml_integer(aml, i);
		aml_operator(aml, AML_NOTIFY);
		aml_name(aml, name);
		aml_operator(aml, AML_ARG0 + 1);
		aml_end(aml, mark);
	}
	aml_end(aml, method);
}

/* Method (CSTA, 1): _STA of the CPU that is number Arg0. */
static void describe_status(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CSTA", 1), mark;

	aml_acquire(aml, MUTEX);
	store_argument(aml, 0, SELECTOR);
	store_local(aml, 0);
	mark = if_set_begin(aml, ENABLED);
	store_local(aml, STATUS_ALL);
	aml_end(aml, mark);
	aml_release(aml, MUTEX);
	aml_operator(aml, AML_RETURN);
	aml_operator(aml, AML_LOCAL0);
	aml_end(aml, method);
}

/* Method (CEJ0, 1): let go of the CPU that is number Arg0. */
static void describe_eject(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CEJ0", 1);

	aml_acquire(aml, MUTEX);
	store_argument(aml, 0, SELECTOR);
	store_integer(aml, 1, EJECT);
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

/* Method (COST, 4): what the operating system says, Arg1 and Arg2, of the CPU that is number Arg0. */
static void describe_report(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "COST", 4);

	aml_acquire(aml, MUTEX);
	store_argument(aml, 0, SELECTOR);
	store_integer(aml, ACPI_CPUS_OST_EVENT, COMMAND);
	store_argument(aml, 1, DATA);
	store_integer(aml, ACPI_CPUS_OST_STATUS, COMMAND);
	store_argument(aml, 2, DATA);
	aml_release(aml, MUTEX);
	aml_end(aml, method);
}

/* If an event waits: tell of it, clear it, and look for another. */
static void describe_look_for(struct aml *aml, const char *event, unsigned notice)
{
	size_t mark = if_set_begin(aml, event);

	aml_name(aml, "CTFY");
	aml_name(aml, DATA);
	aml_integer(aml, notice);
	store_integer(aml, 1, event);
	store_local(aml, 1);
	aml_end(aml, mark);
}

/* Method (CSCN): tell of all CPUs that have come, or shall go. */
static void describe_scan(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CSCN", 0), loop;

	aml_acquire(aml, MUTEX);
	store_integer(aml, 0, SELECTOR);
	store_local(aml, 1);
	loop = aml_while_begin(aml);
	aml_operator(aml, AML_EQUAL);
	aml_operator(aml, AML_LOCAL0);
	aml_integer(aml, 1);
	store_local(aml, 0);
	store_integer(aml, ACPI_CPUS_NEXT, COMMAND);
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
	unsigned i;

	name_cpu(name, cpu);
	device = aml_device_begin(aml, name);
	aml_name_string(aml, "_HID", "ACPI0007");
	aml_name_integer(aml, "_UID", cpu);
	method = aml_method_begin(aml, "_STA", 0);
	aml_operator(aml, AML_RETURN);
	aml_name(aml, "CSTA");
	aml_integer(aml, cpu);
	aml_end(aml, method);
	acpi_lapic_entry(entry, cpu, board->apic_ids[cpu]);
	aml_name_declare(aml, "_MAT");
	aml_buffer(aml, entry, sizeof(entry));
	if (cpu) {
		method = aml_method_begin(aml, "_EJ0", 1);
		aml_name(aml, "CEJ0");
		aml_integer(aml, cpu);
		aml_end(aml, method);
	}
	method = aml_method_begin(aml, "_OST", 3);
	aml_name(aml, "COST");
	aml_integer(aml, cpu);
	for (i = 0; i < 3; i++)
		aml_operator(aml, AML_ARG0 + i);
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
	size_t scope, method;

	if (!board->acpi_cpus)
		return;
	scope = aml_scope_begin(aml, "\\_GPE");
	method = aml_method_begin(aml, "_E02", 0);
	aml_name(aml, "\\_SB.CPUS.CSCN");
	aml_end(aml, method);
	aml_end(aml, scope);
}
