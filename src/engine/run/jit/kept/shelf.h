/*
 * A shelf: records of a code cache file that is to be written, each but once. What is put there first stays
 * when there is no more room.
 */
#ifndef KVIK_ENGINE_RUN_JIT_KEPT_SHELF_H
#define KVIK_ENGINE_RUN_JIT_KEPT_SHELF_H

#include "engine/run/jit/kept/file.h"

#define KEPT_NEW UINT32_MAX /* run of a record that is used now */

struct kept_shelf {
	uint64_t limit; /* bytes of a file */
	uint64_t bytes; /* of the records */
	struct kept_environment environments[KEPT_ENVIRONMENTS];
	unsigned environment_count;
	struct kept_entry {
		const struct kept_record *record; /* with all that follows it */
		uint32_t run;         /* these two in place of the record's */
		uint8_t environment;
		bool is_owned;        /* by the shelf; else it stays where it is as long as the shelf */
	} *entries; /* owned */
	unsigned count, room;
	uint32_t *table; /* by hash: number of the record + 1; owned */
	unsigned table_size; /* a power of 2 */
};

void kept_shelf_init(struct kept_shelf *shelf, uint64_t limit);
void kept_shelf_free(struct kept_shelf *shelf);

/* Put a record there, or a copy of it, used in that run. Whether it was not there, and there was room for it. */
bool kept_shelf_add(struct kept_shelf *shelf, const struct kept_environment *environment,
		    const struct kept_parts *parts, uint32_t run, bool is_copied);
/* All of another, of a file, what was used last first. These stay as long as the shelf. */
void kept_shelf_add_shelf(struct kept_shelf *shelf, const struct kept_shelf *other);
void kept_shelf_add_file(struct kept_shelf *shelf, const struct kept_file *file);

/* Write a file of them. 0 or -errno. */
int kept_shelf_write(const struct kept_shelf *shelf, const struct kept_maker *maker, uint32_t run, int fd);

#endif
