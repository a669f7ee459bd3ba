/*
 * The software TLB as what looks addresses up sees it: guest-virtual pages to host addresses,
 * direct-mapped. tlb.h has what fills and flushes it.
 *
 * A lookup is one compare: entry->tag_X == page of the access's last byte. An access that crosses
 * into the next page never matches the entry of its first page, so one compare also covers
 * crossing. Pages that are MMIO, that are logged for dirtiness and still clean, or (for writes)
 * that hold decoded code have no tag, and so take the slow path each time.
 *
 * A tag that must not match (tlb_tag_none) lies in a page that another entry would hold, and that
 * is no neighbour of this entry's pages. So it is neither equal to a page that is looked up in its
 * entry, nor less than a page away from any address that is, whether the distance is taken by
 * subtraction or exclusive or. Nearly everywhere it is 0: an empty set is zeroes, and memory that
 * was never touched is almost one.
 *
 * Each set belongs to one privilege and one context. A context is what one PCID has cached (SDM
 * vol. 3 §4.10.1): a CR3 switch to a PCID whose context is still there loses nothing. Sets remember
 * which of their entries are in use, so a flush costs what is cached and not the TLB's size.
 *
 * cpu->tlb is the set that the fast paths look in. While every access's alignment must be checked
 * (CR0.AM and RFLAGS.AC at CPL 3) it is a set that is always empty, and the slow paths use the real
 * one. Pages that a data breakpoint watches are never entered for reads and writes.
 */
#ifndef KVIK_ENGINE_X86_MMU_TLB_SET_H
#define KVIK_ENGINE_X86_MMU_TLB_SET_H

#include <stdbool.h>
#include <stdint.h>

/* 64 MiB of address space: 16 were too few for Java, which missed three times as often. A set has 640 KiB,
 * of which no more is touched than is filled. */
#define TLB_BITS     14
#define TLB_ENTRIES  (1u << TLB_BITS)
#define TLB_CONTEXTS 8 /* PCIDs cached side by side; Linux uses six */

struct tlb_entry {
	uint64_t tag_read, tag_write, tag_execute; /* gva of the page, or tlb_tag_none */
	uint64_t delta;                            /* host address minus guest address */
};

/* Page 0 belongs in the first entry, and what ends the address space before it in the last. */
static inline uint64_t tlb_tag_none(unsigned index)
{
	return (index + 1) % TLB_ENTRIES < 2 ? (uint64_t)(TLB_ENTRIES / 2) << 12 | 0x801 : 0;
}

/* What the low bits of tlb_set.gpa say. */
enum tlb_page {
	TLB_PAGE_GLOBAL = 1 << 0,
	TLB_PAGE_LARGE = 1 << 1, /* 2 or 4 MiB page */
	TLB_PAGE_HUGE = 1 << 2,  /* 1 GiB page */
	/* The page may be written and is dirty, but holds decoded code: no tag_write, so that the
	 * slow path can compare each write with the code bitmap. */
	TLB_PAGE_CODE = 1 << 3,
	TLB_PAGE_FLAGS = 0xfff,
};

/* A set of pages or larger regions by hash: no member is ever missed, others rarely found. */
#define TLB_FILTER_BITS 15
struct tlb_filter {
	uint64_t words[(1 << TLB_FILTER_BITS) / 64];
	unsigned count; /* bits set */
};

struct tlb_set {
	struct tlb_entry entries[TLB_ENTRIES] __attribute__((aligned(64))); /* two a cache line */
	uint64_t gpa[TLB_ENTRIES]; /* guest-physical page of each entry; low bits: enum tlb_page */

	/* Which entries hold a translation, global and other ones apart. */
	uint64_t used_global[TLB_ENTRIES / 64], used_local[TLB_ENTRIES / 64];
	/* Which words of these may have bits: flushes cost what is in use. */
	uint64_t used_words[TLB_ENTRIES / 64 / 64];
	/* The regions of 4 MiB (1 GiB) that have entries of large (huge) pages: what INVLPG must
	 * search for. */
	struct tlb_filter large;
	/* The guest-physical pages that entries may have the right to write: first code on a page looks for these
	 * entries, mostly in vain. But for those whose index is that of their guest-physical page, which are looked at. */
	struct tlb_filter writable;
};

/* Sets by privilege: which page rights apply (SDM vol. 3 §4.6). */
enum tlb_privilege {
	TLB_SUPERVISOR,      /* CPL 0-2, or implicit system accesses; SMAP enforced */
	TLB_SUPERVISOR_AC,   /* CPL 0-2 with RFLAGS.AC: SMAP lifted for explicit accesses */
	TLB_USER,            /* CPL 3 */
	TLB_PRIVILEGES,
};

struct tlb {
	struct tlb_set *sets;     /* the present context's TLB_PRIVILEGES sets */
	struct tlb_set *contexts; /* TLB_CONTEXTS times TLB_PRIVILEGES sets, owned */
	unsigned contexts_used;   /* contexts [0, contexts_used) have been initialized */
	unsigned current;         /* the present context */
	uint32_t clock;           /* counts switches, for replacement */
	/* Count what may change where code is fetched from: any such thing (switches, flushes), and
	 * those that concern global pages, too. */
	uint64_t generation, global_generation;
	/* Counts what voids every host address that this CPU has got: tlb_obey_flush. */
	uint64_t host_generation;
#ifdef KVIK_CHECKS
	uint64_t pointer_generation; /* host_generation when lin_pointer gave its last answer */
#endif
	/* The pages and regions of large pages that somebody may still know as code: those that
	 * were executable since all_code_may_move last emptied it. INVLPG of others changes no code. */
	struct tlb_filter executable;
	/* The guest-physical pages that entries of any set may have the right to write: those that had it since
	 * the filter was last made anew. Other CPUs look at it (tlb.h). */
	struct tlb_filter writable;
	unsigned writable_fills; /* since then */
	struct tlb_set *empty;    /* a set that never holds anything; within `contexts` */
	struct {
		uint16_t pcid;
		bool valid;         /* false: holds nothing, may be taken for any PCID */
		uint64_t losses;    /* counts what may have taken all but global translations from it */
		uint32_t last_used; /* value of `clock` */
	} context[TLB_CONTEXTS];
};

#endif
