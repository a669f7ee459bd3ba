/*
 * A shelf: records of a code cache file that is to be written, each but once. What is put there first stays
 * when there is no more room.
 */
#ifndef KVIK_ENGINE_JIT_KEPT_SHELF_H
#define KVIK_ENGINE_JIT_KEPT_SHELF_H

#include "engine/run/jit/kept/file.h"

#define KEPT_NEW UINT32_MAX /* run of a record that is used now */

struct kept_shelf {
	uint64_t limit; /* bytes of a file */
	uint64_t bytes; /* of the records */
	struct kept_environment environments[KEPT_ENVIRONMENTS];
	unsigned environment_count;
	struct kept_record **records; /* with all that follows each; owned */
	unsigned count, room;
	uint32_t *table; /* by hash: number of the record + 1; owned */
	unsigned table_size; /* a power of 2 */
};

void kept_shelf_init(struct kept_shelf *shelf, uint64_t limit);
void kept_shelf_free(struct kept_shelf *shelf);

/* Put a copy there, used in that run. Whether it was not there, and there was room for it. */
bool kept_shelf_add(struct kept_shelf *shelf, const struct kept_environment *environment,
		    const struct kept_parts *parts, uint32_t run);
/* All of another; all of a file, what was used last first. */
void kept_shelf_add_shelf(struct kept_shelf *shelf, const struct kept_shelf *other);
void kept_shelf_add_file(struct kept_shelf *shelf, const struct kept_file *file);

/* A file of them, for free(); NULL without memory. */
uint8_t *kept_shelf_write(const struct kept_shelf *shelf, const struct kept_maker *maker, uint32_t run,
			  size_t *size);

#endif
