/*
 * The pc's slots, whose devices come and go by ACPI (acpi_slots.h): who may, and what the DSDT says of them. The
 * ports, the names and the methods are those that QEMU's pc has.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "machine/acpi/aml_terms.h"
#include "machine/board_parts.h"

#define SLOTS_PORT	0xae00
#define FIRST_SLOT	2 /* behind the host bridge and the chipset's functions */
#define NOTIFY_CHECK	1 /* ACPI 6.4 §5.6.6: a device check, */
#define NOTIFY_EJECT	3 /* and a request to let go */

#define MUTEX "\\_SB.PCI0.BLCK"

/* A vCPU's thread, or a reset's: taking out waits for accesses under way. */
static void ejected(void *context, uint32_t slots)
{
	struct board *board = context;

	atomic_fetch_or(&board->ejected, slots);
	event_signal_raise(&board->off_signal);
}

int board_add_slots(struct board *board, struct error *error)
{
	const struct acpi_slots_config config = {board->acpi_pm, ejected, board};
	int result;

	if (board->config.kind != BOARD_PC)
		return 0;
	board->slots = acpi_slots_create(&config, error);
	if (!board->slots)
		return -ENOMEM;
	result = board_add(board, "acpi-slots", &acpi_slots_device_ops, board->slots, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, SLOTS_PORT, ACPI_SLOTS_PORTS, "ACPI's PCI slots",
			   &acpi_slots_pio_ops, board->slots, error);
}

unsigned board_seat(const struct board *board, unsigned place)
{
	if (place == BOARD_ANYWHERE || (!BOARD_PLACE_PORT(place) && !board->slots))
		return 0;
	return BOARD_PLACE_SLOT(place);
}

void board_note_seat(struct board *board, unsigned place)
{
	unsigned seat = board_seat(board, place);
	struct device *device = &board->devices[board->device_count - 1];

	if (!seat)
		return;
	device->seat = seat;
	if (!BOARD_PLACE_PORT(place))
		acpi_slots_fill(board->slots, BOARD_PLACE_FUNCTION(seat) >> 3, board->is_complete);
}

/* Whether something may come into a slot, or go from there. */
static bool is_movable(const struct board *board, unsigned slot)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		if (board->devices[i].seat == BOARD_PLACE(0, PCI_SLOT_FUNCTION(slot, 0)))
			return true;
	for (i = 0; i < 8; i++)
		if (pci_bus_at(board->pci, PCI_SLOT_FUNCTION(slot, i)))
			return false;
	return true;
}

static void name_slot(char name[5], unsigned slot)
{
	snprintf(name, 5, "S%02X", slot % PCI_SLOTS);
}

/* Method (PCEJ, 2): eject slot Arg1 of bus Arg0. */
static void describe_eject(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "PCEJ", 2);

	aml_acquire(aml, MUTEX);
	aml_store_operator(aml, AML_ARG0, "BNUM");
	aml_operator(aml, AML_STORE);
	aml_operator(aml, AML_SHIFT_LEFT);
	aml_integer(aml, 1);
	aml_operator(aml, AML_ARG0 + 1);
	aml_no_target(aml);
	aml_name(aml, "B0EJ");
	aml_release(aml, MUTEX);
	aml_operator(aml, AML_RETURN);
	aml_integer(aml, 0);
	aml_end(aml, method);
}

static void describe_slot(struct aml *aml, unsigned slot)
{
	char name[5];
	size_t device, method;

	name_slot(name, slot);
	device = aml_device_begin(aml, name);
	aml_name_integer(aml, "_SUN", slot);
	aml_name_integer(aml, "_ADR", slot << 16);
	method = aml_method_begin(aml, "_EJ0", 1);
	aml_name(aml, "PCEJ");
	aml_integer(aml, 0);
	aml_integer(aml, slot);
	aml_end(aml, method);
	aml_end(aml, device);
}

/* Method (DVNT, 2): tell Arg1 of each slot whose bit is in Arg0. */
static void describe_notices(struct aml *aml, const struct board *board)
{
	size_t method = aml_method_begin(aml, "DVNT", 2), mark;
	unsigned slot;
	char name[5];

	for (slot = FIRST_SLOT; slot < PCI_SLOTS; slot++) {
		if (!is_movable(board, slot))
			continue;
		name_slot(name, slot);
		mark = aml_if_begin(aml);
		aml_operator(aml, AML_AND);
		aml_operator(aml, AML_ARG0);
		aml_integer(aml, 1ull << slot);
		aml_no_target(aml);
		aml_operator(aml, AML_NOTIFY);
		aml_name(aml, name);
		aml_operator(aml, AML_ARG0 + 1);
		aml_end(aml, mark);
	}
	aml_end(aml, method);
}

static void describe_look(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "PCNT", 0);

	aml_store_integer(aml, 0, "BNUM");
	aml_name(aml, "DVNT");
	aml_name(aml, "PCIU");
	aml_integer(aml, NOTIFY_CHECK);
	aml_name(aml, "DVNT");
	aml_name(aml, "PCID");
	aml_integer(aml, NOTIFY_EJECT);
	aml_end(aml, method);
}

static void describe_registers(struct aml *aml)
{
	size_t mark;

	aml_io_region(aml, "PCST", SLOTS_PORT + ACPI_SLOTS_ADDED, 8);
	mark = aml_fields_begin(aml, "PCST");
	aml_field32(aml, "PCIU");
	aml_field32(aml, "PCID");
	aml_end(aml, mark);
	aml_io_region(aml, "SEJ", SLOTS_PORT + ACPI_SLOTS_EJECT, 4);
	mark = aml_fields_begin(aml, "SEJ");
	aml_field32(aml, "B0EJ");
	aml_end(aml, mark);
	aml_io_region(aml, "BNMR", SLOTS_PORT + ACPI_SLOTS_BUS, 4);
	mark = aml_fields_begin(aml, "BNMR");
	aml_field32(aml, "BNUM");
	aml_end(aml, mark);
	aml_mutex(aml, "BLCK");
}

void board_describe_slots(struct aml *aml, const struct board *board)
{
	unsigned slot;

	if (!board->slots)
		return;
	aml_end(aml, aml_ports_begin(aml, "PHPR", "PCI slots", SLOTS_PORT, ACPI_SLOTS_PORTS));
	describe_registers(aml);
	describe_eject(aml);
	for (slot = FIRST_SLOT; slot < PCI_SLOTS; slot++)
		if (is_movable(board, slot))
			describe_slot(aml, slot);
	describe_notices(aml, board);
	describe_look(aml);
}

void board_describe_slots_event(struct aml *aml, const struct board *board)
{
	size_t scope, method;

	if (!board->slots)
		return;
	scope = aml_scope_begin(aml, "\\_GPE");
	method = aml_method_begin(aml, "_E01", 0);
	aml_acquire(aml, MUTEX);
	aml_name(aml, "\\_SB.PCI0.PCNT");
	aml_release(aml, MUTEX);
	aml_end(aml, method);
	aml_end(aml, scope);
}
