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
	unsigned environment_count, environment_limit;
	struct kept_entry {
		const struct kept_record *record; /* with all that follows it */
		uint32_t run;         /* these two in place of the record's */
		uint8_t environment;
		bool is_owned;        /* by the shelf; else it stays where it is as long as the shelf */
		uint16_t source_size; /* bytes of the ranges, and of what is in them */
		uint32_t hash;        /* the record's */
		uint32_t at;          /* behind the first record, in units of 8 bytes */
	} *entries; /* owned */
	unsigned count, room;
	/* The file's buckets, as they will be: number of the entry + 1, or 0. Owned. */
	uint32_t *table;
	unsigned table_size; /* a power of 2 */
	uint64_t compared;   /* bytes of guest code with others: what adding has cost so far (tests) */
};

/* `environments`: how many it takes at most. */
void kept_shelf_init(struct kept_shelf *shelf, uint64_t limit, unsigned environments);
void kept_shelf_free(struct kept_shelf *shelf);

enum kept_added {
	KEPT_ADDED,
	KEPT_THERE,   /* it was: and used last in that run, if that is later */
	KEPT_NO_ROOM, /* for so many bytes, environments, or records of one hash or neighbouring ones */
};

/* Put a whole record there, or a copy of it, used in that run. The work is bounded, whatever is there. */
enum kept_added kept_shelf_add(struct kept_shelf *shelf, const struct kept_environment *environment,
			       const struct kept_parts *parts, uint32_t run, bool is_copied);
/* All of another, of a file, what was used last first. These stay as long as the shelf. */
void kept_shelf_add_shelf(struct kept_shelf *shelf, const struct kept_shelf *other);
void kept_shelf_add_file(struct kept_shelf *shelf, const struct kept_file *file);

/* Write a file of them, of which there is one at least. 0 or -errno. */
int kept_shelf_write(const struct kept_shelf *shelf, const struct kept_maker *maker, uint32_t run, int fd);

#endif
