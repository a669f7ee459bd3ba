/*
 * System Management BIOS 3.4 (DMTF DSP0134): the 64-bit entry point (§5.2.2) and the three
 * structures without which tools complain: BIOS, system, end of table (§7.1, §7.2, §7.45).
 */
#include "machine/smbios.h"

#include <string.h>

#define TABLE_OFFSET 0x20 /* after the entry point */

#define TYPE_BIOS   0
#define TYPE_SYSTEM 1
#define TYPE_END    127

#define BIOS_CHARACTERISTICS_UNSUPPORTED 0x08
#define BIOS_EXTENSION_VIRTUAL_MACHINE	 0x10
#define SYSTEM_WAKE_POWER_SWITCH	 6

struct entry_point {
	char anchor[5];
	uint8_t checksum, length, major, minor, revision_of_document, revision, reserved;
	uint32_t table_max;
	uint64_t table_gpa;
} __attribute__((packed));

struct bios {
	uint8_t type, length;
	uint16_t handle;
	uint8_t vendor, version;
	uint16_t segment;
	uint8_t release_date, rom_size;
	uint64_t characteristics;
	uint8_t extension[2], major, minor, controller_major, controller_minor;
} __attribute__((packed));

struct system {
	uint8_t type, length;
	uint16_t handle;
	uint8_t manufacturer, product, version, serial, uuid[16], wake_up, sku, family;
} __attribute__((packed));

struct end {
	uint8_t type, length;
	uint16_t handle;
} __attribute__((packed));

static void append(struct smbios *smbios, const void *bytes, size_t size)
{
	if (size > sizeof(smbios->tables) - smbios->tables_size)
		return;
	memcpy(smbios->tables + smbios->tables_size, bytes, size);
	smbios->tables_size += size;
}

static void set_entry(struct smbios *smbios, uint64_t table_gpa)
{
	struct entry_point entry = {
		.anchor = {'_', 'S', 'M', '3', '_'},
		.length = sizeof(entry),
		.major = 3,
		.minor = 4,
		.revision = 1,
		.table_max = smbios->tables_size,
		.table_gpa = table_gpa,
	};
	const uint8_t *at = (const uint8_t *)&entry;
	uint8_t sum = 0;
	unsigned i;

	_Static_assert(sizeof(entry) == SMBIOS_ENTRY_BYTES, "as the header says");
	for (i = 0; i < sizeof(entry); i++)
		sum += at[i];
	entry.checksum = -sum;
	memcpy(smbios->entry, &entry, sizeof(entry));
}

void smbios_build(struct smbios *smbios, const char *product)
{
	static const char bios_strings[] = "kvik\0" KVIK_VERSION "\0" "01/01/2025\0";
	struct bios bios = {
		.type = TYPE_BIOS,
		.length = sizeof(bios),
		.vendor = 1,
		.version = 2,
		.segment = 0xe000,
		.release_date = 3,
		.characteristics = BIOS_CHARACTERISTICS_UNSUPPORTED,
		.extension = {0, BIOS_EXTENSION_VIRTUAL_MACHINE},
		.controller_major = 0xff,
		.controller_minor = 0xff,
	};
	struct system system = {
		.type = TYPE_SYSTEM,
		.length = sizeof(system),
		.handle = 1,
		.manufacturer = 1,
		.product = 2,
		.version = 3,
		.wake_up = SYSTEM_WAKE_POWER_SWITCH,
	};
	struct end end = {TYPE_END, sizeof(end), 2};

	smbios->tables_size = 0;
	/* Each structure is followed by its strings, and those by one more NUL. */
	append(smbios, &bios, sizeof(bios));
	append(smbios, bios_strings, sizeof(bios_strings));
	append(smbios, &system, sizeof(system));
	append(smbios, "kvik", sizeof("kvik"));
	append(smbios, product, strlen(product) + 1);
	append(smbios, KVIK_VERSION "\0", sizeof(KVIK_VERSION "\0"));
	append(smbios, &end, sizeof(end));
	append(smbios, "\0", 2);
	set_entry(smbios, 0);
}

int smbios_write(const struct guest_memory *memory, const char *product)
{
	struct smbios smbios;
	int result;

	smbios_build(&smbios, product);
	set_entry(&smbios, SMBIOS_GPA + TABLE_OFFSET);
	result = guest_memory_write(memory, SMBIOS_GPA, smbios.entry, sizeof(smbios.entry));
	if (result == 0)
		result = guest_memory_write(memory, SMBIOS_GPA + TABLE_OFFSET, smbios.tables,
					    smbios.tables_size);
	return result;
}
