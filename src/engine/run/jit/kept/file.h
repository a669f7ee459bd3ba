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

static inline const struct kept_bucket *kept_buckets(const struct kept_file *file)
{
	return (const struct kept_bucket *)(kept_header(file) + 1);
}

/* Whether it is one that a VM can have. */
bool kept_environment_is_sensible(const struct kept_environment *environment);
/* The number of an environment in the file, or -1. */
int kept_find_environment(const struct kept_file *file, const struct kept_environment *environment);

/* The record that a bucket names, by its number, which may be any. It may be damaged: its parts lie in the file, but
 * nothing is said of what they hold. */
bool kept_record_in(const struct kept_file *file, uint32_t bucket, struct kept_parts *parts);
/* The same for a record of `size` bytes at most. */
bool kept_record_divide(const void *bytes, size_t size, struct kept_parts *parts);
/* What its `check` should be, and whether it is. */
uint64_t kept_record_check(const struct kept_record *record);
bool kept_record_is_whole(const struct kept_parts *parts);
/* Whether the page, all of it, has the bytes that the record was made from. */
bool kept_record_matches(const struct kept_parts *parts, const uint8_t *page);

/* No vector registers. */
uint32_t kept_hash(const uint8_t *page, unsigned start, uint32_t mode);
#define KEPT_NONE UINT32_MAX
/* The number of the first bucket with this hash from `*next` on, which moves on; KEPT_NONE: there are no more. Begin with 0. */
uint32_t kept_find(const struct kept_file *file, uint32_t hash, uint32_t *next);
uint64_t kept_check(const void *bytes, size_t size);

#endif
