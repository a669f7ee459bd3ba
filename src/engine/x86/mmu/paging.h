/*
 * Guest paging: linear to guest-physical addresses (Intel SDM vol. 3 §4).
 *
 * 32-bit paging (with 4 MiB pages and PSE-36), PAE and 4-level paging. The walk has the order of
 * Linux's KVM: entries are checked from the top; only a walk that allows the access sets accessed
 * and dirty flags, atomically, since other CPUs walk the same tables.
 */
#ifndef KVIK_ENGINE_X86_MMU_PAGING_H
#define KVIK_ENGINE_X86_MMU_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/x86/mmu/tlb.h"

struct cpu;

enum paging_access { PAGING_READ, PAGING_WRITE, PAGING_FETCH };

struct paging_result {
	uint64_t gpa;       /* of the byte asked for */
	uint64_t page_size; /* bytes: 4 KiB, 2 MiB, 4 MiB or 1 GiB; 4 KiB without paging */
	bool user;          /* U/S of all levels */
	bool writable;      /* R/W of all levels */
	bool no_execute;    /* XD of any level */
	bool dirty;         /* the leaf's D flag (after the walk) */
	bool accessed;      /* A of all levels; always after paging_walk */
	bool global;        /* the leaf's G flag, with CR4.PGE */
};

/*
 * Translate for an access with the rights of `privilege`. True with `result` filled; false with the
 * #PF error code (SDM vol. 3 §4.7). The CPU's own thread; calls the platform (fpu_leave is done
 * here).
 */
bool paging_walk(struct cpu *cpu, uint64_t gva, enum paging_access access,
		 enum tlb_privilege privilege, struct paging_result *result, uint32_t *error_code);

/* Which accesses the translation allows at `privilege` under the CPU's CR0, CR4 and EFER. */
struct tlb_page_rights paging_rights(const struct cpu *cpu, const struct paging_result *result,
				     enum tlb_privilege privilege);

/* Translate without an access: no rights apply, nothing is set (KVM_TRANSLATE, api.rst 4.17, and
 * debuggers). False when gva is not mapped. */
bool paging_translate(struct cpu *cpu, uint64_t gva, struct paging_result *result);

/* The table of 4 KiB pages that a translation went through last; zeroes to begin with. */
struct paging_near {
	const uint8_t *table; /* NULL: there is none */
	uint64_t region;      /* gva >> 21 */
	struct paging_result above; /* what the levels above it allow */
};

/*
 * The same for many addresses that are near one another: a table that was found for the one before is not
 * looked for again. As a CPU's cache of upper levels (SDM vol. 3 §4.10.3), `near` is void once the TLB has
 * lost something, and once memory slots change: it is for one look at many pages.
 */
bool paging_translate_near(struct cpu *cpu, uint64_t gva, struct paging_near *near,
			   struct paging_result *result);

/*
 * Whether a page of 4 KiB at gva is for certain the one at gpa and lets ring 3 do this without a change in the tables:
 * accessed, and dirty for a write. Quicker than to translate, for looks at many pages most of which are; false says
 * nothing.
 */
bool paging_is_user_page(struct cpu *cpu, uint64_t gva, uint64_t gpa, enum paging_access access,
			 struct paging_near *near);

/*
 * Read the four PAE page-directory-pointer entries of `cr3` and check their reserved bits (SDM
 * vol. 3 §4.4.1). False: #GP(0) for the instruction that loads CR3, CR0 or CR4; `pdptr` is then
 * unchanged.
 */
bool paging_load_pdptrs(struct cpu *cpu, uint64_t cr3, uint64_t pdptr[4]);

#endif
