/*
 * The software TLB: guest-virtual pages to host addresses, direct-mapped.
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
 *
 * All functions: on the CPU's own thread, or while the CPU is known to be between instructions.
 */
#ifndef KVIK_ENGINE_X86_TLB_H
#define KVIK_ENGINE_X86_TLB_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;

#define TLB_BITS     12
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
	/* The regions of 4 MiB (1 GiB) that have entries of large (huge) pages: what INVLPG must
	 * search for. */
	struct tlb_filter large;
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
	struct tlb_set *empty;    /* a set that never holds anything; within `contexts` */
	struct {
		uint16_t pcid;
		bool valid;         /* false: holds nothing, may be taken for any PCID */
		uint32_t last_used; /* value of `clock` */
	} context[TLB_CONTEXTS];
};

/* 0 or -ENOMEM. */
int tlb_create(struct cpu *cpu);
void tlb_destroy(struct cpu *cpu);

/*
 * Set cpu->tlb after CPL, RFLAGS.AC, CR0.AM or CR4.SMAP changed (cpu_update_mode calls this).
 * Rights are baked into entries: changes of CR0.PG and CR0.WP, of CR4.PSE, PAE, PGE, PCIDE, SMEP
 * and SMAP, of EFER.NXE and LMA, and of data breakpoints need tlb_flush_all besides.
 */
void tlb_update(struct cpu *cpu);

/* The privilege of the CPU's explicit accesses. */
enum tlb_privilege tlb_privilege(const struct cpu *cpu);

/*
 * CR3 was loaded (cpu->cr3 is the new value without bit 63): go on with the context of its PCID.
 * What that holds is flushed, global pages excepted, unless `keep` (bit 63 of MOV CR3, SDM vol. 3
 * §4.10.4.1). Also after CR4.PCIDE changed (following tlb_flush_all).
 */
void tlb_switch(struct cpu *cpu, bool keep);

void tlb_flush_all(struct cpu *cpu);       /* every PCID, with global pages; INVPCID type 2 */
void tlb_flush_nonglobal(struct cpu *cpu); /* every PCID, without global pages; INVPCID type 3 */
void tlb_flush_page(struct cpu *cpu, uint64_t gva); /* INVLPG */
void tlb_flush_pcid(struct cpu *cpu, uint16_t pcid); /* INVPCID type 1 */
void tlb_flush_pcid_page(struct cpu *cpu, uint16_t pcid, uint64_t gva); /* INVPCID type 0 */

/*
 * Obey CPU_REQUEST_TLB_FLUSH: memory slots, or what their dirty logs hold, changed while this CPU
 * stood still. Whoever has stood still calls this before anything else. True: there was such a
 * request; every host address from before is void (memory.h), and host_generation tells.
 */
bool tlb_obey_flush(struct cpu *cpu);

#define TLB_ALL_PAGES UINT64_MAX
/*
 * Take away write tags: of all entries for the page at gpa, or of all (TLB_ALL_PAGES). The next
 * write walks and so is logged (dirty log), or compared with the code bitmap (first code on a
 * page).
 */
void tlb_flush_writes(struct cpu *cpu, uint64_t gpa);

/* What tlb_fill enters; the rights of the set's privilege. */
struct tlb_page_rights {
	bool readable, writable, executable;
};

/* Enter the page of gva into the set of `privilege`; `flags` are enum tlb_page. */
void tlb_fill(struct cpu *cpu, enum tlb_privilege privilege, uint64_t gva, uint64_t gpa,
	      uint8_t *hva, struct tlb_page_rights rights, unsigned flags);

#endif
