/* What ACPI tells of PCI: its windows, its interrupts, and who runs PCI Express's services. */
#include "machine/board_parts.h"

#define ECAM_LIMIT 0x100000000ull

/* Control bits of _OSC that an operating system may take (PCI Firmware 3.2 §4.5.1): native hotplug, power
 * management events, the capability itself. */
#define OSC_GRANTED	  0x15
#define OSC_REVISION	  1
#define OSC_WRONG_UUID	  0x04
#define OSC_WRONG_REVISION 0x08
#define OSC_MASKED	  0x10

uint64_t board_ecam(const struct board *board, uint64_t *bytes)
{
	const struct ram_layout *layout = board->config.ram->layout;

	*bytes = PCI_ECAM_BYTES;
	if (!board->pci || (!board_is_q35(board) && board_has_firmware(board)))
		return 0;
	if (!board_is_q35(board))
		return layout->ecam_gpa;
	/* Until firmware has said where. */
	*bytes = layout->ecam_end - layout->ecam_gpa;
	if (!board->ecam_bytes || board->ecam_gpa >= ECAM_LIMIT)
		return layout->ecam_gpa;
	*bytes = board->ecam_bytes;
	return board->ecam_gpa;
}

void board_describe_ecam(struct aml *aml, const struct board *board)
{
	struct aml_resources resources = {.used = 0};
	uint64_t bytes, gpa = board_ecam(board, &bytes);
	size_t mark = aml_device_begin(aml, "ECAM");

	aml_name_eisa_id(aml, "_HID", "PNP0C02");
	aml_name_integer(aml, "_UID", 0);
	aml_resource_memory_fixed(&resources, gpa, bytes);
	aml_current_resources(aml, &resources);
	aml_end(aml, mark);
}

void board_describe_interrupt_mode(struct aml *aml)
{
	size_t mark;

	aml_name_integer(aml, "\\PICF", 0);
	mark = aml_method_begin(aml, "\\_PIC", 1);
	aml_operator(aml, AML_STORE);
	aml_operator(aml, AML_ARG0);
	aml_name(aml, "\\PICF");
	aml_end(aml, mark);
}

/* Which GSI each slot's interrupt pins drive: level-triggered, as PCI's are (§6.2.13, _PRT). */
static void describe_interrupts(struct aml *aml, const struct board *board, bool by_apic)
{
	size_t table = aml_package_begin(aml, PCI_SLOTS * PCI_PINS), row;
	unsigned slot, pin, link;

	for (slot = 0; slot < PCI_SLOTS; slot++) {
		for (pin = 0; pin < PCI_PINS; pin++) {
			link = pci_bus_link_of(board->pci, slot, pin);
			row = aml_package_begin(aml, 4);
			aml_integer(aml, slot << 16 | 0xffff); /* any function */
			aml_integer(aml, pin);
			aml_integer(aml, 0);
			aml_integer(aml, by_apic ? Q35_FIRST_APIC_GSI + link
						 : board->pci_layout.link_gsi[link]);
			aml_end(aml, row);
		}
	}
	aml_end(aml, table);
}

/* A q35's links have inputs of their own at the I/O APIC, which is in use after _PIC (1). */
static void describe_interrupt_choice(struct aml *aml, const struct board *board)
{
	size_t method, mark;

	aml_name_declare(aml, "PRTA");
	describe_interrupts(aml, board, true);
	aml_name_declare(aml, "PRTP");
	describe_interrupts(aml, board, false);
	method = aml_method_begin(aml, "_PRT", 0);
	mark = aml_if_begin(aml);
	aml_name(aml, "\\PICF");
	aml_operator(aml, AML_RETURN);
	aml_name(aml, "PRTA");
	aml_end(aml, mark);
	aml_operator(aml, AML_RETURN);
	aml_name(aml, "PRTP");
	aml_end(aml, method);
}

/* CreateDWordField (Arg3, offset, name) */
static void name_field(struct aml *aml, unsigned offset, const char *name)
{
	aml_operator(aml, AML_CREATE_DWORD_FIELD);
	aml_operator(aml, AML_ARG0 + 3);
	aml_integer(aml, offset);
	aml_name(aml, name);
}

static void set_bits(struct aml *aml, const char *name, unsigned bits)
{
	aml_operator(aml, AML_OR);
	aml_name(aml, name);
	aml_integer(aml, bits);
	aml_name(aml, name);
}

/* If (LNot (LEqual (first, second))) */
static size_t if_differs_begin(struct aml *aml, uint8_t first)
{
	size_t mark = aml_if_begin(aml);

	aml_operator(aml, AML_NOT);
	aml_operator(aml, AML_EQUAL);
	aml_operator(aml, first);
	return mark;
}

/* The operating system asks for what firmware would do else, and gets it (§6.2.11). */
static void describe_control(struct aml *aml)
{
	static const uint8_t uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
	size_t method = aml_method_begin(aml, "_OSC", 4), mark, inner;

	name_field(aml, 0, "CDW1");
	mark = aml_if_begin(aml);
	aml_operator(aml, AML_EQUAL);
	aml_operator(aml, AML_ARG0);
	aml_buffer(aml, uuid, sizeof(uuid));
	name_field(aml, 8, "CDW3");
	aml_operator(aml, AML_AND);
	aml_name(aml, "CDW3");
	aml_integer(aml, OSC_GRANTED);
	aml_operator(aml, AML_LOCAL0);
	inner = if_differs_begin(aml, AML_ARG0 + 1);
	aml_integer(aml, OSC_REVISION);
	set_bits(aml, "CDW1", OSC_WRONG_REVISION);
	aml_end(aml, inner);
	inner = if_differs_begin(aml, AML_LOCAL0);
	aml_name(aml, "CDW3");
	set_bits(aml, "CDW1", OSC_MASKED);
	aml_end(aml, inner);
	aml_operator(aml, AML_STORE);
	aml_operator(aml, AML_LOCAL0);
	aml_name(aml, "CDW3");
	aml_end(aml, mark);
	mark = aml_else_begin(aml);
	set_bits(aml, "CDW1", OSC_WRONG_UUID);
	aml_end(aml, mark);
	aml_operator(aml, AML_RETURN);
	aml_operator(aml, AML_ARG0 + 3);
	aml_end(aml, method);
}

/* Memory below 4 GiB. On a q35 the ECAM may be in the window's midst; there are two windows in any case, so that
 * the tables are as long as before wherever firmware puts it. */
static void describe_low_memory(struct aml_resources *resources, const struct board *board)
{
	const struct pci_layout *layout = &board->pci_layout;
	uint64_t bytes, gap = board_ecam(board, &bytes), gap_end = gap + bytes;

	if (!board_is_q35(board)) {
		aml_resource_memory_range(resources, layout->low_first, layout->low_end - 1);
		return;
	}
	/* It is elsewhere: any border between the two will do. */
	if (gap <= layout->low_first || gap_end >= layout->low_end)
		gap = gap_end = layout->low_end - PCI_ECAM_BUS_BYTES;
	aml_resource_memory_range(resources, layout->low_first, gap - 1);
	aml_resource_memory_range(resources, gap_end, layout->low_end - 1);
}

void board_describe_pci(struct aml *aml, const struct board *board)
{
	const struct pci_layout *layout = &board->pci_layout;
	struct aml_resources resources = {.used = 0};
	bool is_pc = board_is_pc(board), is_express = board->config.kind != BOARD_PC;
	uint64_t ecam_bytes;

	/* PCI Express's root is what software knows that is reached by memory alone, too. */
	aml_name_eisa_id(aml, "_HID", is_express ? "PNP0A08" : "PNP0A03");
	if (is_express)
		aml_name_eisa_id(aml, "_CID", "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	if (board_is_q35(board))
		describe_control(aml);
	/* As far as the ECAM reaches. */
	board_ecam(board, &ecam_bytes);
	aml_resource_bus_range(&resources, 0, ecam_bytes / PCI_ECAM_BUS_BYTES - 1);
	if (is_pc) {
		aml_resource_io(&resources, PCI_CONFIG_PORT, PCI_CONFIG_PORTS);
		aml_resource_io_range(&resources, 0, PCI_CONFIG_PORT - 1);
		aml_resource_io_range(&resources, PCI_CONFIG_PORT + PCI_CONFIG_PORTS, 0xffff);
		aml_resource_memory_range(&resources, RAM_VIDEO_HOLE, RAM_VIDEO_HOLE_END - 1);
	} else {
		aml_resource_io_range(&resources, layout->io_first, layout->io_end - 1);
	}
	describe_low_memory(&resources, board);
	if (layout->high_end > layout->high_first)
		aml_resource_memory_range64(&resources, layout->high_first, layout->high_end - 1);
	aml_current_resources(aml, &resources);
	if (board_is_q35(board)) {
		describe_interrupt_choice(aml, board);
		return;
	}
	aml_name_declare(aml, "_PRT");
	describe_interrupts(aml, board, false);
}
