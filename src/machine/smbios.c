/*
 * System Management BIOS 3.4 (DMTF DSP0134): the 64-bit entry point (§5.2.2) and the structures that tools look
 * for: BIOS, system, chassis, a processor, the memory's array and its one device, boot information (§7.1 to
 * §7.4, §7.5, §7.17, §7.18, §7.33); a board and strings of the manufacturer's where the user says some (§7.3, §7.12).
 */
#include "machine/smbios.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_OFFSET 0x20 /* after the entry point */

enum {
	TYPE_BIOS = 0,
	TYPE_SYSTEM = 1,
	TYPE_BOARD = 2,
	TYPE_CHASSIS = 3,
	TYPE_PROCESSOR = 4,
	TYPE_OEM_STRINGS = 11,
	TYPE_MEMORY_ARRAY = 16,
	TYPE_MEMORY_DEVICE = 17,
	TYPE_BOOT = 32,
	TYPE_END = 127,
};

/* The n-th of a kind has the handle HANDLE(type) + n. */
#define HANDLE(type) ((type) << 8)

#define BIOS_CHARACTERISTICS_UNSUPPORTED 0x08
#define BIOS_EXTENSION_UEFI		 0x08
#define BIOS_EXTENSION_VIRTUAL_MACHINE	 0x10
#define SYSTEM_WAKE_POWER_SWITCH	 6
#define BOARD_MOTHERBOARD		 0x0a
#define BOARD_HOSTING			 0x01
#define CHASSIS_OTHER			 0x01
#define STATE_SAFE			 0x03
#define SECURITY_NONE			 0x03
#define PROCESSOR_CENTRAL		 0x03
#define PROCESSOR_OTHER			 0x01
#define PROCESSOR_ENABLED		 0x41 /* and its socket is populated */
#define ARRAY_OTHER			 0x01
#define ARRAY_SYSTEM			 0x03
#define ARRAY_MULTI_BIT_ECC		 0x06
#define DEVICE_DIMM			 0x09
#define DEVICE_RAM			 0x07
#define DEVICE_OTHER_DETAIL		 0x02
#define NO_HANDLE			 0xfffe
#define KIB_MAX_32			 0x80000000ull /* from here on sizes are in another field */
#define MIB_MAX_16			 0x7fffull

/* What each structure lets its user say. */
static const struct {
	unsigned type;
	const char *names[10];
} structures[] = {
	{TYPE_BIOS, {"vendor", "version", "date", "release", "uefi"}},
	{TYPE_SYSTEM, {"manufacturer", "product", "version", "serial", "uuid", "sku", "family"}},
	{TYPE_BOARD, {"manufacturer", "product", "version", "serial", "asset", "location"}},
	{TYPE_CHASSIS, {"manufacturer", "version", "serial", "asset", "sku"}},
	{TYPE_PROCESSOR, {"sock_pfx", "manufacturer", "version", "serial", "asset", "part", "max-speed", "current-speed"}},
	{TYPE_OEM_STRINGS, {"value"}},
	{TYPE_MEMORY_DEVICE, {"loc_pfx", "bank", "manufacturer", "serial", "asset", "part", "speed"}},
};
#define STRUCTURES (sizeof(structures) / sizeof(structures[0]))

struct smbios_entry_point {
	char anchor[5];
	uint8_t checksum, length, major, minor, revision_of_document, revision, reserved;
	uint32_t table_max;
	uint64_t table_gpa;
} __attribute__((packed));

struct smbios_header {
	uint8_t type, length;
	uint16_t handle;
} __attribute__((packed));

struct smbios_bios {
	struct smbios_header header;
	uint8_t vendor, version;
	uint16_t segment;
	uint8_t release_date, rom_size;
	uint64_t characteristics;
	uint8_t extension[2], major, minor, controller_major, controller_minor;
} __attribute__((packed));

struct smbios_system {
	struct smbios_header header;
	uint8_t manufacturer, product, version, serial, uuid[16], wake_up, sku, family;
} __attribute__((packed));

struct smbios_board {
	struct smbios_header header;
	uint8_t manufacturer, product, version, serial, asset, features, location;
	uint16_t chassis;
	uint8_t kind, contained;
} __attribute__((packed));

struct smbios_chassis {
	struct smbios_header header;
	uint8_t manufacturer, kind, version, serial, asset, boot_state, power_state, thermal_state, security;
	uint32_t oem;
	uint8_t height, power_cords, contained, contained_length, sku;
} __attribute__((packed));

struct smbios_processor {
	struct smbios_header header;
	uint8_t socket, kind, family, manufacturer;
	uint64_t id;
	uint8_t version, voltage;
	uint16_t external_mhz, max_mhz, current_mhz;
	uint8_t status, upgrade;
	uint16_t l1, l2, l3;
	uint8_t serial, asset, part, cores, enabled_cores, threads;
	uint16_t characteristics, family2, cores2, enabled_cores2, threads2;
} __attribute__((packed));

struct smbios_oem_strings {
	struct smbios_header header;
	uint8_t count;
} __attribute__((packed));

struct smbios_memory_array {
	struct smbios_header header;
	uint8_t location, use, correction;
	uint32_t kib;
	uint16_t error, devices;
	uint64_t bytes;
} __attribute__((packed));

struct smbios_memory_device {
	struct smbios_header header;
	uint16_t array, error, total_width, data_width, mib;
	uint8_t form, set, locator, bank, kind;
	uint16_t detail, speed;
	uint8_t manufacturer, serial, asset, part, attributes;
	uint32_t extended_mib;
	uint16_t current_speed, voltages[3];
} __attribute__((packed));

struct smbios_boot {
	struct smbios_header header;
	uint8_t reserved[6], status;
} __attribute__((packed));

/* Tables under way: a structure, and behind it its strings, of which the first is number 1. */
struct smbios_writer {
	struct smbios *smbios;
	const struct smbios_config *config;
	uint8_t strings; /* of the structure under way */
	uint8_t number;	 /* ... which is the n-th of its kind */
	char text[SMBIOS_TABLES_MAX];
	size_t text_size;
	bool is_full;
};

static void append(struct smbios_writer *writer, const void *bytes, size_t size)
{
	struct smbios *smbios = writer->smbios;

	if (size > sizeof(smbios->tables) - smbios->tables_size) {
		writer->is_full = true;
		return;
	}
	memcpy(smbios->tables + smbios->tables_size, bytes, size);
	smbios->tables_size += size;
}

/* A string's number; 0: there is none. */
static uint8_t add_string(struct smbios_writer *writer, const char *text)
{
	size_t size = text ? strlen(text) + 1 : 0;

	if (size <= 1)
		return 0;
	if (size > sizeof(writer->text) - writer->text_size || writer->strings == UINT8_MAX) {
		writer->is_full = true;
		return 0;
	}
	memcpy(writer->text + writer->text_size, text, size);
	writer->text_size += size;
	return ++writer->strings;
}

/* The structure, its strings, and a NUL behind those; two when there are none (§6.1.3). */
static void finish(struct smbios_writer *writer, struct smbios_header *header, unsigned type, size_t size)
{
	*header = (struct smbios_header){type, size, HANDLE(type) + writer->number};
	append(writer, header, size);
	append(writer, writer->text, writer->text_size);
	append(writer, "\0", writer->text_size ? 1 : 2);
	writer->text_size = writer->strings = writer->number = 0;
}
#define FINISH(writer, structure, type) \
	finish(writer, &(structure)->header, type, sizeof(*(structure)))

static const char *said(const struct smbios_writer *writer, unsigned type, const char *name)
{
	const struct smbios_config *config = writer->config;
	unsigned i = config ? config->field_count : 0;

	while (i--)
		if (config->fields[i].type == type && strcmp(config->fields[i].name, name) == 0)
			return config->fields[i].value;
	return NULL;
}

static uint8_t string(struct smbios_writer *writer, unsigned type, const char *name, const char *otherwise)
{
	const char *text = said(writer, type, name);

	return add_string(writer, text ? text : otherwise);
}

static uint16_t number(const struct smbios_writer *writer, unsigned type, const char *name, uint16_t otherwise)
{
	const char *text = said(writer, type, name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

static void set_entry(struct smbios *smbios, uint64_t table_gpa)
{
	struct smbios_entry_point entry = {
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

static void add_bios(struct smbios_writer *writer)
{
	struct smbios_bios bios = {
		.segment = 0xe000,
		.characteristics = BIOS_CHARACTERISTICS_UNSUPPORTED,
		.extension = {0, BIOS_EXTENSION_VIRTUAL_MACHINE},
		.controller_major = 0xff,
		.controller_minor = 0xff,
	};
	const char *release = said(writer, TYPE_BIOS, "release"), *uefi = said(writer, TYPE_BIOS, "uefi");
	unsigned major = 0, minor = 0;

	bios.vendor = string(writer, TYPE_BIOS, "vendor", "kvik");
	bios.version = string(writer, TYPE_BIOS, "version", KVIK_VERSION);
	bios.release_date = string(writer, TYPE_BIOS, "date", "01/01/2025");
	if (release && sscanf(release, "%u.%u", &major, &minor) == 2) {
		bios.major = major;
		bios.minor = minor;
	}
	if (uefi && strcmp(uefi, "on") == 0)
		bios.extension[1] |= BIOS_EXTENSION_UEFI;
	FINISH(writer, &bios, TYPE_BIOS);
}

static void add_system(struct smbios_writer *writer, const char *product)
{
	struct smbios_system system = {.wake_up = SYSTEM_WAKE_POWER_SWITCH};
	const char *uuid = said(writer, TYPE_SYSTEM, "uuid");
	uint8_t bytes[16] = {0};
	unsigned i;

	if (uuid)
		smbios_parse_uuid(uuid, bytes);
	else if (writer->config && writer->config->has_uuid)
		memcpy(bytes, writer->config->uuid, sizeof(bytes));
	/* Its first three numbers are little-endian (§7.2.1). */
	for (i = 0; i < 16; i++)
		system.uuid[i] = bytes[i < 4 ? 3 - i : i < 6 ? 9 - i : i < 8 ? 13 - i : i];
	system.manufacturer = string(writer, TYPE_SYSTEM, "manufacturer", "kvik");
	system.product = string(writer, TYPE_SYSTEM, "product", product);
	system.version = string(writer, TYPE_SYSTEM, "version", KVIK_VERSION);
	system.serial = string(writer, TYPE_SYSTEM, "serial", NULL);
	system.sku = string(writer, TYPE_SYSTEM, "sku", NULL);
	system.family = string(writer, TYPE_SYSTEM, "family", NULL);
	FINISH(writer, &system, TYPE_SYSTEM);
}

static bool has_any(const struct smbios_writer *writer, unsigned type)
{
	unsigned i;

	for (i = 0; writer->config && i < writer->config->field_count; i++)
		if (writer->config->fields[i].type == type)
			return true;
	return false;
}

static void add_board(struct smbios_writer *writer, const char *product)
{
	struct smbios_board board = {
		.features = BOARD_HOSTING, .chassis = HANDLE(TYPE_CHASSIS), .kind = BOARD_MOTHERBOARD};

	if (!has_any(writer, TYPE_BOARD))
		return;
	board.manufacturer = string(writer, TYPE_BOARD, "manufacturer", "kvik");
	board.product = string(writer, TYPE_BOARD, "product", product);
	board.version = string(writer, TYPE_BOARD, "version", KVIK_VERSION);
	board.serial = string(writer, TYPE_BOARD, "serial", NULL);
	board.asset = string(writer, TYPE_BOARD, "asset", NULL);
	board.location = string(writer, TYPE_BOARD, "location", NULL);
	FINISH(writer, &board, TYPE_BOARD);
}

static void add_chassis(struct smbios_writer *writer)
{
	struct smbios_chassis chassis = {
		.kind = CHASSIS_OTHER,
		.boot_state = STATE_SAFE,
		.power_state = STATE_SAFE,
		.thermal_state = STATE_SAFE,
		.security = SECURITY_NONE,
	};

	chassis.manufacturer = string(writer, TYPE_CHASSIS, "manufacturer", "kvik");
	chassis.version = string(writer, TYPE_CHASSIS, "version", KVIK_VERSION);
	chassis.serial = string(writer, TYPE_CHASSIS, "serial", NULL);
	chassis.asset = string(writer, TYPE_CHASSIS, "asset", NULL);
	chassis.sku = string(writer, TYPE_CHASSIS, "sku", NULL);
	FINISH(writer, &chassis, TYPE_CHASSIS);
}

static void add_processor(struct smbios_writer *writer, unsigned number_of, const struct smbios_facts *facts)
{
	struct smbios_processor processor = {
		.kind = PROCESSOR_CENTRAL,
		.family = PROCESSOR_OTHER,
		.family2 = PROCESSOR_OTHER,
		.max_mhz = number(writer, TYPE_PROCESSOR, "max-speed", 2000),
		.current_mhz = number(writer, TYPE_PROCESSOR, "current-speed", 2000),
		.status = PROCESSOR_ENABLED,
		.upgrade = PROCESSOR_OTHER,
		.l1 = UINT16_MAX,
		.l2 = UINT16_MAX,
		.l3 = UINT16_MAX,
		.cores = facts->cores,
		.enabled_cores = facts->cores,
		.threads = facts->threads,
		.characteristics = 0x02, /* unknown */
		.cores2 = facts->cores,
		.enabled_cores2 = facts->cores,
		.threads2 = facts->threads,
	};
	const char *prefix = said(writer, TYPE_PROCESSOR, "sock_pfx");
	char socket[64];

	snprintf(socket, sizeof(socket), "%.50s %u", prefix ? prefix : "CPU", number_of);
	processor.socket = add_string(writer, socket);
	processor.manufacturer = string(writer, TYPE_PROCESSOR, "manufacturer", "kvik");
	processor.version = string(writer, TYPE_PROCESSOR, "version", KVIK_VERSION);
	processor.serial = string(writer, TYPE_PROCESSOR, "serial", NULL);
	processor.asset = string(writer, TYPE_PROCESSOR, "asset", NULL);
	processor.part = string(writer, TYPE_PROCESSOR, "part", NULL);
	writer->number = number_of;
	FINISH(writer, &processor, TYPE_PROCESSOR);
}

static void add_oem_strings(struct smbios_writer *writer)
{
	const struct smbios_config *config = writer->config;
	struct smbios_oem_strings strings = {.count = 0};
	unsigned i;

	for (i = 0; config && i < config->field_count; i++)
		if (config->fields[i].type == TYPE_OEM_STRINGS && add_string(writer, config->fields[i].value))
			strings.count++;
	if (strings.count)
		FINISH(writer, &strings, TYPE_OEM_STRINGS);
}

static void add_memory(struct smbios_writer *writer, uint64_t ram_bytes)
{
	uint64_t kib = ram_bytes >> 10, mib = ram_bytes >> 20;
	struct smbios_memory_array array = {
		.location = ARRAY_OTHER,
		.use = ARRAY_SYSTEM,
		.correction = ARRAY_MULTI_BIT_ECC,
		.kib = kib < KIB_MAX_32 ? kib : KIB_MAX_32,
		.error = NO_HANDLE,
		.devices = 1,
		.bytes = kib < KIB_MAX_32 ? 0 : ram_bytes,
	};
	struct smbios_memory_device device = {
		.array = HANDLE(TYPE_MEMORY_ARRAY),
		.error = NO_HANDLE,
		.total_width = UINT16_MAX,
		.data_width = UINT16_MAX,
		.mib = mib < MIB_MAX_16 ? mib : MIB_MAX_16,
		.form = DEVICE_DIMM,
		.kind = DEVICE_RAM,
		.detail = DEVICE_OTHER_DETAIL,
		.speed = number(writer, TYPE_MEMORY_DEVICE, "speed", 0),
		.extended_mib = mib < MIB_MAX_16 ? 0 : mib,
	};
	const char *prefix = said(writer, TYPE_MEMORY_DEVICE, "loc_pfx");
	char locator[64];

	FINISH(writer, &array, TYPE_MEMORY_ARRAY);
	device.current_speed = device.speed;
	snprintf(locator, sizeof(locator), "%.50s 0", prefix ? prefix : "DIMM");
	device.locator = add_string(writer, locator);
	device.bank = string(writer, TYPE_MEMORY_DEVICE, "bank", NULL);
	device.manufacturer = string(writer, TYPE_MEMORY_DEVICE, "manufacturer", "kvik");
	device.serial = string(writer, TYPE_MEMORY_DEVICE, "serial", NULL);
	device.asset = string(writer, TYPE_MEMORY_DEVICE, "asset", NULL);
	device.part = string(writer, TYPE_MEMORY_DEVICE, "part", NULL);
	FINISH(writer, &device, TYPE_MEMORY_DEVICE);
}

int smbios_build(struct smbios *smbios, const struct smbios_facts *facts,
		 const struct smbios_config *config, struct error *error)
{
	struct smbios_writer *writer = calloc(1, sizeof(*writer));
	struct smbios_boot boot = {.status = 0};
	struct smbios_header end;
	bool is_full;
	unsigned i;

	if (!writer)
		return error_set_errno(error, ENOMEM, "SMBIOS tables");
	writer->smbios = smbios;
	writer->config = config;
	smbios->tables_size = 0;
	add_bios(writer);
	add_system(writer, facts->product);
	add_board(writer, facts->product);
	add_chassis(writer);
	for (i = 0; i < facts->sockets; i++)
		add_processor(writer, i, facts);
	add_oem_strings(writer);
	add_memory(writer, facts->ram_bytes);
	FINISH(writer, &boot, TYPE_BOOT);
	finish(writer, &end, TYPE_END, sizeof(end));
	set_entry(smbios, 0);
	is_full = writer->is_full;
	free(writer);
	return is_full ? error_set(error, E2BIG, "SMBIOS tables have room for %u bytes and 255 strings each",
				   SMBIOS_TABLES_MAX)
		       : 0;
}

int smbios_write(const struct guest_memory *memory, const struct smbios_facts *facts,
		 const struct smbios_config *config, struct error *error)
{
	struct smbios *smbios = malloc(sizeof(*smbios));
	int result = smbios ? smbios_build(smbios, facts, config, error)
			    : error_set_errno(error, ENOMEM, "SMBIOS tables");

	if (result == 0) {
		set_entry(smbios, SMBIOS_GPA + TABLE_OFFSET);
		if (guest_memory_write(memory, SMBIOS_GPA, smbios->entry, sizeof(smbios->entry)) < 0 ||
		    guest_memory_write(memory, SMBIOS_GPA + TABLE_OFFSET, smbios->tables,
				       smbios->tables_size) < 0)
			result = error_set_errno(error, EFAULT, "SMBIOS tables");
	}
	free(smbios);
	return result;
}

int smbios_check_type(unsigned type, struct error *error)
{
	unsigned i;

	for (i = 0; i < STRUCTURES; i++)
		if (structures[i].type == type)
			return 0;
	return error_set(error, EINVAL, "type=%u: use 0, 1, 2, 3, 4, 11 or 17", type);
}

int smbios_check_field(unsigned type, const char *name, struct error *error)
{
	char all[128] = "";
	unsigned i, j, used = 0;

	if (smbios_check_type(type, error) < 0)
		return -EINVAL;
	for (i = 0; structures[i].type != type; i++)
		;
	for (j = 0; structures[i].names[j]; j++) {
		if (strcmp(structures[i].names[j], name) == 0)
			return 0;
		used += snprintf(all + used, sizeof(all) - used, "%s%s", used ? ", " : "",
				 structures[i].names[j]);
	}
	return error_set(error, EINVAL, "type=%u has no %.40s, but %s", type, name, all);
}

int smbios_parse_uuid(const char *text, uint8_t uuid[16])
{
	char digits[3] = "";
	unsigned i;

	for (i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*text++ != '-')
				return -EINVAL;
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]))
			return -EINVAL;
		memcpy(digits, text, 2);
		uuid[i] = strtoul(digits, NULL, 16);
		text += 2;
	}
	return *text ? -EINVAL : 0;
}
