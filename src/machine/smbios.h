/* SMBIOS tables: what the machine calls itself, and what its user says of it. */
#ifndef KVIK_MACHINE_SMBIOS_H
#define KVIK_MACHINE_SMBIOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/guest_memory.h"
#include "util/error.h"

/* In the range where guests look for the entry point (SMBIOS 3.4 §5.2), which ends at 1 MiB. */
#define SMBIOS_GPA 0xf0000

#define SMBIOS_ENTRY_BYTES  24
#define SMBIOS_TABLES_MAX   (32u << 10)
#define SMBIOS_FIELDS_MAX   64

/* One field of one of the structures, as QEMU's -smbios names them: type 1 has "serial", for one. */
struct smbios_field {
	unsigned type;
	const char *name;
	const char *value; /* its bytes up to the NUL */
};

/* What the user says; outlives the machine. */
struct smbios_config {
	struct smbios_field fields[SMBIOS_FIELDS_MAX]; /* of several with one name the last counts; of "value" all do */
	unsigned field_count;
	bool has_uuid;
	uint8_t uuid[16]; /* as it is written, its first byte first */
};

/* Whether there is a structure of that type. Otherwise -EINVAL, and `error` with those that there are. */
int smbios_check_type(unsigned type, struct error *error);
/* Whether a structure has a field of that name. Otherwise -EINVAL, and `error` with those that it has. */
int smbios_check_field(unsigned type, const char *name, struct error *error);
/* "01234567-89ab-cdef-0123-456789abcdef". 0 or -EINVAL. */
int smbios_parse_uuid(const char *text, uint8_t uuid[16]);

/* What the machine itself puts there. */
struct smbios_facts {
	const char *product; /* names the board */
	unsigned sockets, cores, threads; /* of CPUs; the latter two in one socket */
	uint64_t ram_bytes;
};

/* What firmware puts into memory itself: an entry point, for tables at no address yet, and the tables. */
struct smbios {
	uint8_t entry[SMBIOS_ENTRY_BYTES];
	uint8_t tables[SMBIOS_TABLES_MAX];
	size_t tables_size;
};
/* `config` may be NULL. 0, or -E2BIG and `error`: there is no room for all that was said. */
int smbios_build(struct smbios *smbios, const struct smbios_facts *facts,
		 const struct smbios_config *config, struct error *error);

/* Write entry point and tables. 0, or -errno and `error`. */
int smbios_write(const struct guest_memory *memory, const struct smbios_facts *facts,
		 const struct smbios_config *config, struct error *error);

#endif
