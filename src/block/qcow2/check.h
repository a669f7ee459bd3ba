/* What a check counts (counts.c), for those who look at it: check.c, mend.c. */
#ifndef KVIK_BLOCK_QCOW2_CHECK_H
#define KVIK_BLOCK_QCOW2_CHECK_H

#include "block/qcow2/qcow2.h"

#define CHUNK_BITS  16
#define NO_L2_TABLE (1u << 31) /* in a cluster's count: something refers to it as what is no L2 table */

struct check {
	struct qcow2 *image;
	struct image_check *result;
	void (*say)(void *context, const char *line);
	void *context;
	uint64_t clusters;  /* that the file has, the last may be cut off */
	uint32_t **chunks;  /* references to each, 2^CHUNK_BITS a chunk; NULL: none */
	bool has_low_count; /* some refcount is too low */
};

void check_tell(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `size` bytes at `offset` are referred to by `what`; `mark`: NO_L2_TABLE, or 0 of such a table. 0 or -ENOMEM. */
int check_refer_marked(struct check *check, uint64_t offset, uint64_t size, const char *what, uint32_t mark);
/* The same of what is no L2 table. */
int check_refer(struct check *check, uint64_t offset, uint64_t size, const char *what);
/* How many referred to a cluster; 0 of one that the file does not have. */
uint32_t check_references(struct check *check, uint64_t cluster);
/* The first cluster from `cluster` on that something refers to; the end of the file: there is none. */
uint64_t check_next(struct check *check, uint64_t cluster);
void check_forget(struct check *check);
/* Whether some of a range, which is not empty, is not in the file. */
bool check_is_outside(const struct check *check, uint64_t offset, uint64_t size);
/* Whether there is one reference to each cluster of a range that is inside of the file. */
bool check_is_only(struct check *check, uint64_t offset, uint64_t size);
/* Whether what is at `place` is an L2 table and nothing else. `context`: the check. */
bool check_is_l2_table(void *context, uint64_t place);

/*
 * mend.c: change entries of L1 and L2 tables that cannot be, of the disk and of its snapshots. 0 or -errno; `has_mended`: there
 * were some.
 */
int check_mend(struct check *check, bool *has_mended);

#endif
