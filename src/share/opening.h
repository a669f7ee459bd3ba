/*
 * Files and directories that a peer has open: descriptors with numbers. One thread.
 */
#ifndef KVIK_SHARE_OPENING_H
#define KVIK_SHARE_OPENING_H

#include "share/node.h"

#define OPENING_BUFFER 32768 /* of a directory that is being read */

struct opening {
	uint64_t number;
	struct share_node *node; /* in use */
	int fd;
	bool is_directory;
	struct opening *older; /* of the same node */
	/* A directory's entries that were read from the host: [at, filled) of the buffer comes next. */
	uint8_t *buffer;
	unsigned at, filled;
	uint64_t next_offset; /* of the entry at `at` */
};

struct opening_table {
	struct opening **openings;
	uint64_t count, first_free;
};

/* A opening of an open descriptor, which is the opening's on success. NULL: no memory. */
struct opening *opening_create(struct opening_table *table, struct share_node *node, int fd,
			     bool is_directory);
/* The one of that number and kind, or NULL. */
struct opening *opening_find(const struct opening_table *table, uint64_t number, bool is_directory);
void opening_destroy(struct opening_table *table, struct folder *folder, struct opening *opening);
void opening_destroy_all(struct opening_table *table, struct folder *folder);

/* A directory's entry, as getdents64(2) fills it in. */
struct opening_entry {
	uint64_t inode;
	int64_t next_offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

/* Go on reading a directory behind that offset: the host's cookie of an entry, or 0. 0 or -errno. */
int opening_seek(struct opening *opening, uint64_t offset);
/* The next entry, again and again until it is taken; NULL: `*result` is 0 at the end, else -errno. */
struct opening_entry *opening_next_entry(struct opening *opening, int *result);
void opening_take_entry(struct opening *opening, const struct opening_entry *entry);
/* What it says of the kind (DT_*); what it cannot: DT_UNKNOWN. */
uint8_t opening_entry_type(const struct folder *folder, const struct opening_entry *entry);

/* Open a node with open(2)'s flags: a regular file or a directory, and nothing else. A descriptor or -errno. */
int node_open(struct folder *folder, struct share_node *node, int flags);
/* A descriptor that can be written to or not, for a moment: a opening's, or one that is made; `is_made` says
 * that the caller closes it. */
int node_borrow(struct folder *folder, struct share_node *node, int flags, bool *is_made);

#endif
