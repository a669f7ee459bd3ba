/*
 * A code cache file, as those who read it see it: bytes that are mapped read-only, of which nothing is
 * believed before it has been looked at.
 */
#ifndef KVIK_ENGINE_RUN_JIT_KEPT_FILE_H
#define KVIK_ENGINE_RUN_JIT_KEPT_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/run/jit/kept/format.h"

struct kept_file {
	const uint8_t *bytes; /* NULL: there is none */
	size_t size;
	bool is_mapped; /* by kept_file_map */
};

/* The parts of a record. */
struct kept_parts {
	const struct kept_record *record;
	const struct kept_range *ranges;
	const uint8_t *bytes;
	const struct kept_link *links;
	const void *sites; /* 8 bytes each: struct jit_site */
	const struct kept_relocation *relocations;
	const uint8_t *code;
};

/* This process's. False: it does not know its build, and keeps nothing. */
bool kept_maker_describe(struct kept_maker *maker);

/* Whether they are a file of this maker's: its header, and how large all is. */
bool kept_file_open(struct kept_file *file, const void *bytes, size_t size, const struct kept_maker *maker);
/* Map a descriptor and open that; what is mapped stays when the descriptor is closed. False: nothing. */
bool kept_file_map(struct kept_file *file, int fd, const struct kept_maker *maker);
void kept_file_unmap(struct kept_file *file);

static inline const struct kept_header *kept_header(const struct kept_file *file)
{
	return (const struct kept_header *)file->bytes;
}

/* The number of an environment in the file, or -1. */
int kept_find_environment(const struct kept_file *file, const struct kept_environment *environment);

/* The record at `at` (as struct kept_bucket has it), if it is whole and lies in the file. */
bool kept_record_at(const struct kept_file *file, uint32_t at, struct kept_parts *parts);
/* Whether a record of `size` bytes at most is one in itself. */
bool kept_record_look(const void *bytes, size_t size, struct kept_parts *parts);
/* Whether the page, all of it, has the bytes that the record was made from. */
bool kept_record_matches(const struct kept_parts *parts, const uint8_t *page);

/* No vector registers. */
uint32_t kept_hash(const uint8_t *page, unsigned start, uint32_t mode);
/* The buckets with this hash: the first from `*next` on, which moves on; 0: there are no more. Begin with 0. */
uint32_t kept_find(const struct kept_file *file, uint32_t hash, uint32_t *next);
uint64_t kept_check(const void *bytes, size_t size);

#endif
