/*
 * What a stub's address space may have of a page of the guest's: the rules by which pages come in (fill.c), and stay
 * (settle.c). Vector registers free.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_LOOK_H
#define KVIK_ENGINE_RUN_DIRECT_LOOK_H

#include "engine/run/direct/internal.h"
#include "engine/x86/mmu/memory.h"

#define LOOK_RESTLESS 2u /* times that a page turned from code to data, on any CPU, from which on it may be both */

/* A page as it would be mapped. */
struct candidate {
	uint64_t offset; /* in the memory's file */
	uint64_t gpa;
	uint32_t rights;
	bool is_there;
};

/* In memory that stubs can map. */
bool look_is_shared(const struct direct *direct, const uint8_t *hva);
/* Of user addresses, and none of the stub's own. */
bool look_may_place(const struct direct_process *process, uint64_t gva);

/* What ring 3 may execute: enum sensitive_allowed. */
unsigned look_allowed(const struct direct *direct);
/* All of gpa's page is marked in the code index. */
bool look_is_marked(const struct direct *direct, uint64_t gpa);
/* How the page of gva may run, which is gpa's: with the next one as the guest's tables have it now. */
enum scan_verdict look_scan(struct direct *direct, uint64_t gva, uint64_t gpa, const uint8_t *bytes);
/* Code of the page is cut off at its end, and shows the host by what the next page begins with. */
bool look_is_cut(struct direct *direct, uint64_t gva, const uint8_t *bytes);

/* Where gva's page is, if ring 3 has accessed it before. */
bool look_find_page(struct direct *direct, const struct direct_process *process, uint64_t gva,
		    struct paging_near *near, struct paging_result *result, struct cpu_page *page);
bool look_may_write(struct cpu *cpu, const struct paging_result *result, const struct cpu_page *page);
/* Whether a page that the guest may write and execute is to be both here; nobody keeps code of it. */
bool look_may_do_both(struct direct *direct, uint64_t gva, const struct paging_result *result, const struct cpu_page *page);

/* Whether all of the large page that `result` is of is plain memory of one kind, in one piece of the file, and as it
 * would be mapped: rights as its 4 KiB would all have them. */
bool look_at_whole(struct direct *direct, const struct paging_result *result, struct candidate *whole);

#endif
