/*
 * KVM_GET_STATS_FD: a VM's or vCPU's numbers in a file that describes itself (api.rst 4.134).
 *
 * The file is a memfd whose pages the engine keeps mapped: who counts stores there, who reads reads the
 * file, and nobody waits for the other. It is made when it is first asked for, and then kept; it can be
 * read by whoever has a descriptor, and written by nobody but us.
 */
#ifndef KVIK_ENGINE_VM_STATISTICS_H
#define KVIK_ENGINE_VM_STATISTICS_H

#include <linux/kvm.h>
#include <stdint.h>

struct statistics_row {
	const char *name; /* below KVM_STATS_NAME_SIZE bytes */
	uint32_t flags;   /* KVM_STATS_TYPE_* | KVM_STATS_UNIT_* */
};

struct statistics {
	int fd;      /* valid while `values` is */
	void *file;  /* mapped; NULL: nobody has asked yet */
	uint64_t *values; /* in the file, one a row */
};

#define STATISTICS_NAME_SIZE 48 /* KVM_STATS_NAME_SIZE, which is not in <linux/kvm.h> */
#define STATISTICS_SIZE      4096

/* A descriptor of the file, made from `rows` and `id` if there is none yet: -errno. Whoever calls stores
 * the values then. Callers exclude one another, and those who store. */
int statistics_open(struct statistics *statistics, const char *id, const struct statistics_row *rows,
		    unsigned count);
void statistics_close(struct statistics *statistics);

/* Any thread, one at a time for a value. */
static inline void statistics_store(const struct statistics *statistics, unsigned row, uint64_t value)
{
	if (statistics->values)
		__atomic_store_n(&statistics->values[row], value, __ATOMIC_RELAXED);
}

#endif
