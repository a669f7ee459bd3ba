/*
 * The software TLB: guest-virtual pages to host addresses, direct-mapped.
 *
 * A lookup is one compare: entry->tag_X == page of the access's last byte. An access that crosses
 * into the next page never matches the entry of its first page, so one compare also covers
 * crossing. Tags that must not match hold TLB_TAG_NONE. Pages that are MMIO, that are logged for
 * dirtiness and still clean, or (for writes) that hold decoded code have no tag, and so take the
 * slow path each time.
 */
#ifndef KVIK_ENGINE_X86_TLB_H
#define KVIK_ENGINE_X86_TLB_H

#include <stdint.h>

#define TLB_BITS     10
#define TLB_ENTRIES  (1u << TLB_BITS)
#define TLB_TAG_NONE UINT64_MAX

struct tlb_entry {
	uint64_t tag_read, tag_write, tag_execute; /* gva of the page, or TLB_TAG_NONE */
	uintptr_t addend;                          /* hva = gva + addend */
};

struct tlb_set {
	struct tlb_entry entries[TLB_ENTRIES];
	uint64_t gpa[TLB_ENTRIES];  /* guest-physical page of each entry; bit 0: global page */
};

/* Sets by privilege: which page rights apply (SDM vol. 3 §4.6). */
enum tlb_privilege {
	TLB_SUPERVISOR,      /* CPL 0-2, or implicit system accesses; SMAP enforced */
	TLB_SUPERVISOR_AC,   /* CPL 0-2 with RFLAGS.AC: SMAP lifted for explicit accesses */
	TLB_USER,            /* CPL 3 */
	TLB_PRIVILEGES,
};

struct tlb {
	struct tlb_set *sets; /* TLB_PRIVILEGES of them, owned */
};

#endif
