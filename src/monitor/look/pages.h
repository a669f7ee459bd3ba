/* A CPU's page tables (SDM vol. 3 §4), read from memory as they are now. */
#ifndef KVIK_MONITOR_LOOK_PAGES_H
#define KVIK_MONITOR_LOOK_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/look/look.h"

struct look_page {
	uint64_t gva, gpa, size_bytes;
	uint64_t entry;	    /* that maps it */
	bool is_writable, is_user; /* all entries on the way to it allow that */
};

/*
 * Call `visit` for each page that is mapped, by rising addresses, until it says false. False: the CPU has paging
 * switched off. Tables that lead to themselves end nowhere: `*is_whole` is false when only a part was looked at.
 */
bool look_visit_pages(const struct look *look, bool (*visit)(void *context, const struct look_page *page),
		      void *context, bool *is_whole);

void look_tlb(const struct look *look);	   /* each page */
void look_ranges(const struct look *look); /* ranges of one protection */

#endif
