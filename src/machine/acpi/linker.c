#include "machine/acpi/linker.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "machine/acpi/tables.h"

/* Offsets of what points and what is summed (ACPI 6.4 §5.2.5.3, §5.2.6 to §5.2.9). */
#define RSDP_CHECKSUM	       8
#define RSDP_CHECKSUM_BYTES    20 /* what the first one covers */
#define RSDP_RSDT	       16
#define RSDP_XSDT	       24
#define RSDP_EXTENDED_CHECKSUM 32
#define TABLE_LENGTH	       4
#define TABLE_CHECKSUM	       9
#define TABLE_HEADER_BYTES     36
#define FADT_FACS	       36
#define FADT_DSDT	       40
#define FADT_X_DSDT	       140
#define TPM2_LOG	       68 /* TCG ACPI Specification 1.3, table 7: its address */

#define RSDP_ROOM 64 /* what acpi_tables_build leaves for the RSDP before the tables */

#define NAME_BYTES 56

enum linker_command { COMMAND_ALLOCATE = 1, COMMAND_ADD_POINTER, COMMAND_ADD_CHECKSUM };
enum zone { ZONE_HIGH = 1, ZONE_BIOS_AREA };

/* An entry of the script; numbers are little-endian. */
struct linker_entry {
	uint32_t command;
	union {
		struct {
			char file[NAME_BYTES];
			uint32_t alignment;
			uint8_t zone;
		} __attribute__((packed)) allocate;
		struct {
			char file[NAME_BYTES], target[NAME_BYTES];
			uint32_t offset;
			uint8_t size;
		} __attribute__((packed)) pointer;
		struct {
			char file[NAME_BYTES];
			uint32_t offset, start, length;
		} __attribute__((packed)) checksum;
		uint8_t padding[124];
	};
};
_Static_assert(sizeof(struct linker_entry) == 128, "as firmware steps through them");

/* More than a board's tables need: each has a sum and at most four pointers, and is on two lists. */
#define ENTRIES_MAX 64

struct linker {
	struct acpi_linked *linked;
	/* Sums are made when all addresses are filled in, whatever order the tables are visited in. */
	struct linker_entry *entries, *sums; /* ENTRIES_MAX each */
	unsigned entry_count, sum_count;
	bool is_full;
};

static struct linker_entry *add(struct linker *linker, enum linker_command command)
{
	struct linker_entry *list = command == COMMAND_ADD_CHECKSUM ? linker->sums : linker->entries;
	unsigned *count = command == COMMAND_ADD_CHECKSUM ? &linker->sum_count
							  : &linker->entry_count;

	/* The last one is written again and again, and nothing is used of it all. */
	if (*count == ENTRIES_MAX) {
		linker->is_full = true;
		--*count;
	}
	list += (*count)++;
	memset(list, 0, sizeof(*list));
	list->command = command;
	return list;
}

static void add_allocation(struct linker *linker, const char *file, uint32_t alignment,
			   enum zone zone)
{
	struct linker_entry *entry = add(linker, COMMAND_ALLOCATE);

	strncpy(entry->allocate.file, file, NAME_BYTES - 1);
	entry->allocate.alignment = alignment;
	entry->allocate.zone = zone;
}

/* `size` bytes at `at`, which hold an address in the tables as they were built: they become an offset, and
 * firmware adds where the tables are. */
static void add_pointer(struct linker *linker, const char *file, uint8_t *start, uint8_t *at,
			unsigned size)
{
	struct linker_entry *entry = add(linker, COMMAND_ADD_POINTER);
	uint64_t value = 0;

	memcpy(&value, at, size);
	value -= ACPI_TABLES_GPA + RSDP_ROOM;
	memcpy(at, &value, size);
	strncpy(entry->pointer.file, file, NAME_BYTES - 1);
	strncpy(entry->pointer.target, ACPI_LINKER_TABLES_FILE, NAME_BYTES - 1);
	entry->pointer.offset = at - start;
	entry->pointer.size = size;
}

/* Firmware may add up with the checksum's byte among the others: it has to be 0. */
static void add_checksum(struct linker *linker, const char *file, uint8_t *start, uint8_t *table,
			 uint32_t length, unsigned offset)
{
	struct linker_entry *entry = add(linker, COMMAND_ADD_CHECKSUM);

	table[offset] = 0;
	strncpy(entry->checksum.file, file, NAME_BYTES - 1);
	entry->checksum.offset = table + offset - start;
	entry->checksum.start = table - start;
	entry->checksum.length = length;
}

static uint8_t *table_at(const struct acpi_linked *linked, const uint8_t *pointer, unsigned size)
{
	uint64_t gpa = 0;

	memcpy(&gpa, pointer, size);
	return linked->tables + (gpa - ACPI_TABLES_GPA - RSDP_ROOM);
}

static uint32_t length_of(const uint8_t *table)
{
	uint32_t length;

	memcpy(&length, table + TABLE_LENGTH, sizeof(length));
	return length;
}

static void link_table(struct linker *linker, uint8_t *table)
{
	uint8_t *start = linker->linked->tables;

	add_checksum(linker, ACPI_LINKER_TABLES_FILE, start, table, length_of(table),
		     TABLE_CHECKSUM);
}

/* The log of what firmware measures is a file of its own, with nothing in it. */
static void link_tpm2(struct linker *linker, uint8_t *table)
{
	struct linker_entry *entry;

	if (length_of(table) < TPM2_LOG + 8)
		return;
	linker->linked->has_tpm_log = true;
	add_allocation(linker, ACPI_LINKER_TPM_LOG_FILE, 1, ZONE_HIGH);
	entry = add(linker, COMMAND_ADD_POINTER);
	strncpy(entry->pointer.file, ACPI_LINKER_TABLES_FILE, NAME_BYTES - 1);
	strncpy(entry->pointer.target, ACPI_LINKER_TPM_LOG_FILE, NAME_BYTES - 1);
	entry->pointer.offset = table + TPM2_LOG - linker->linked->tables;
	entry->pointer.size = 8;
}

static void link_fadt(struct linker *linker, uint8_t *fadt)
{
	uint8_t *start = linker->linked->tables;

	/* The tables behind the pointers are visited while those are addresses still. */
	link_table(linker, table_at(linker->linked, fadt + FADT_DSDT, 4));
	add_pointer(linker, ACPI_LINKER_TABLES_FILE, start, fadt + FADT_FACS, 4);
	add_pointer(linker, ACPI_LINKER_TABLES_FILE, start, fadt + FADT_DSDT, 4);
	add_pointer(linker, ACPI_LINKER_TABLES_FILE, start, fadt + FADT_X_DSDT, 8);
}

/* The RSDT or the XSDT, with pointers of `size` bytes; what it lists, too, if it is the first to. */
static void link_list(struct linker *linker, uint8_t *list, unsigned size, bool is_first)
{
	uint8_t *at, *end = list + length_of(list), *table;

	for (at = list + TABLE_HEADER_BYTES; at < end; at += size) {
		table = table_at(linker->linked, at, size);
		if (is_first && memcmp(table, "FACP", 4) == 0)
			link_fadt(linker, table);
		if (is_first && memcmp(table, "TPM2", 4) == 0)
			link_tpm2(linker, table);
		if (is_first)
			link_table(linker, table);
		add_pointer(linker, ACPI_LINKER_TABLES_FILE, linker->linked->tables, at, size);
	}
	link_table(linker, list);
}

/* Turn addresses into offsets, and write down what undoes it. */
static void link_all(struct linker *linker)
{
	struct acpi_linked *linked = linker->linked;
	uint8_t *rsdp = linked->rsdp;

	add_allocation(linker, ACPI_LINKER_RSDP_FILE, 16, ZONE_BIOS_AREA);
	add_allocation(linker, ACPI_LINKER_TABLES_FILE, 64, ZONE_HIGH);
	link_list(linker, table_at(linked, rsdp + RSDP_RSDT, 4), 4, true);
	link_list(linker, table_at(linked, rsdp + RSDP_XSDT, 8), 8, false);
	add_pointer(linker, ACPI_LINKER_RSDP_FILE, rsdp, rsdp + RSDP_RSDT, 4);
	add_pointer(linker, ACPI_LINKER_RSDP_FILE, rsdp, rsdp + RSDP_XSDT, 8);
	/* The second covers the first. */
	add_checksum(linker, ACPI_LINKER_RSDP_FILE, rsdp, rsdp, RSDP_CHECKSUM_BYTES, RSDP_CHECKSUM);
	add_checksum(linker, ACPI_LINKER_RSDP_FILE, rsdp, rsdp, sizeof(linked->rsdp),
		     RSDP_EXTENDED_CHECKSUM);
}

int acpi_link(struct acpi_linked *linked, const uint8_t *bytes, size_t size, struct error *error)
{
	struct linker linker = {.linked = linked};
	uint8_t *script = malloc(2 * ENTRIES_MAX * sizeof(struct linker_entry));
	uint8_t *tables = malloc(size - RSDP_ROOM);
	size_t used;

	*linked = (struct acpi_linked){
		.tables = tables, .tables_size = size - RSDP_ROOM, .script = script};
	if (!tables || !script) {
		acpi_linked_free(linked);
		return error_set_errno(error, ENOMEM, "cannot build the ACPI tables");
	}
	linker.entries = (struct linker_entry *)script;
	linker.sums = linker.entries + ENTRIES_MAX;
	memcpy(linked->rsdp, bytes, sizeof(linked->rsdp));
	memcpy(tables, bytes + RSDP_ROOM, size - RSDP_ROOM);
	link_all(&linker);
	if (linker.is_full) {
		acpi_linked_free(linked);
		return error_set(error, ENOSPC, "the ACPI tables are too many to link");
	}
	used = linker.entry_count * sizeof(struct linker_entry);
	memmove(script + used, linker.sums, linker.sum_count * sizeof(struct linker_entry));
	linked->script_size = used + linker.sum_count * sizeof(struct linker_entry);
	return 0;
}

void acpi_linked_free(struct acpi_linked *linked)
{
	free(linked->tables);
	free(linked->script);
	linked->tables = linked->script = NULL;
}
