/*
 * Views: which page of code is known to be at which address, for each address space that the TLB keeps
 * (a context, x86/mmu/tlb.h), and for user code and the rest apart, because their rights differ.
 *
 * Nothing else in the translator depends on the address space. Jumps to other pages are linked, and the
 * jump table leads from addresses to blocks, whatever is mapped; a block's entry looks into the present
 * view whether its page is where the jump went (emit_entry), and leaves to the dispatcher if that is not
 * known. The dispatcher finds what is there, with a fetch, which makes it known. So what a CR3 load
 * costs is another view; a new process costs one way through the dispatcher for each page of code; and
 * what no CR3 load changes, global pages, is in all views.
 *
 * A view holds no more than the TLB could: it is emptied when the context's translations are (SDM vol. 3
 * §4.10.4), and all are when any translation of code may have gone by address, or when code is to be
 * compared with memory again.
 */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_VIEW_H
#define KVIK_ENGINE_RUN_JIT_CACHE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/x86/mmu/tlb_set.h"

struct jit_frame;

/* A CPU's. Its own thread's, but for jit_views_new_page. */
struct jit_views {
	/* By context, privilege (1: user) and the pages' index: gva + 1, or 0 where it is not known. */
	uint64_t *pages;
	unsigned limit; /* of indices */
	/* The indices that are in use in each context, and those of global pages in all. */
	struct jit_view_list {
		uint32_t *used;
		uint8_t *is_used; /* by index */
		unsigned count;
	} lists[TLB_CONTEXTS + 1];
	uint64_t losses[TLB_CONTEXTS]; /* tlb.context[].losses that have been heard of */
	uint64_t global_generation;    /* likewise of struct tlb */
	uint64_t generation;           /* of struct tlb, when the frame's view was chosen */
	unsigned current;              /* context */
};

int jit_views_create(struct jit_views *views, unsigned limit); /* 0 or -ENOMEM */
void jit_views_destroy(struct jit_views *views);

/* Give the frame the present context's view, without what the TLB has lost, or with nothing at all. */
void jit_views_update(struct jit_views *views, const struct tlb *tlb, struct jit_frame *frame);
void jit_views_forget(struct jit_views *views);
/* The index belongs to another page. Any thread, with the cache's lock held. */
void jit_views_new_page(struct jit_views *views, unsigned index);
/* In the present view: the page is at gva. */
void jit_view_add(struct jit_views *views, unsigned index, bool is_user, uint64_t gva, bool is_global);
bool jit_view_has(const struct jit_views *views, unsigned index, bool is_user, uint64_t gva);

#endif
