/*
 * What a guest says of files that their host cannot have said of them without privileges: whose a file is, its mode, that it
 * is a device. It is kept as QEMU keeps it (security_model=mapped-xattr, mapped-file), so folders go from one to the other:
 *
 * - in extended attributes of the file: user.virtfs.uid, .gid, .mode (32 bits, the lowest first), .rdev (64 bits);
 * - in a file of the same name in .virtfs_metadata of its directory, with lines as virtfs.uid=0; for the folder's top,
 *   in .virtfs_metadata_root. Guests don't see these.
 *
 * On the host such files are regular ones and directories that are the server's alone; a symbolic link of the guest's has
 * its target as content. What nothing is kept of is as the host has it.
 */
#ifndef KVIK_SHARE_KEPT_H
#define KVIK_SHARE_KEPT_H

#include <stdbool.h>
#include <stdint.h>

/* Modes on the host of what is made. */
#define MAPPED_FILE_MODE      0600
#define MAPPED_DIRECTORY_MODE 0700

enum share_keeping { SHARE_KEEPS_NOTHING, SHARE_KEEPS_ATTRIBUTES, SHARE_KEEPS_FILES };

enum mapped_field { MAPPED_USER, MAPPED_GROUP, MAPPED_MODE, MAPPED_DEVICE, MAPPED_FIELDS };

struct mapped {
	unsigned has; /* a bit for each field that is kept */
	uint64_t values[MAPPED_FIELDS];
};

static inline bool mapped_has(const struct mapped *mapped, enum mapped_field field)
{
	return mapped->has & 1u << field;
}

static inline void mapped_set(struct mapped *mapped, enum mapped_field field, uint64_t value)
{
	mapped->has |= 1u << field;
	mapped->values[field] = value;
}

#endif
