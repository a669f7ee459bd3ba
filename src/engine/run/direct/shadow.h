/*
 * What is mapped in the stubs: a record of each page, by its guest-virtual address in each address space
 * and by the guest-physical page behind it.
 *
 * A space belongs to page tables, by the address of the topmost, and to the PCID that they were used with
 * last. It loses what the TLB loses, when the CPU says so: single pages at once; but where a TLB loses
 * a whole PCID, the space is in doubt, and its pages are compared with the page tables before it is used
 * again (fill.h). What a space loses is not its stub's at the same time: that happens when the stub is
 * entered next, and before.
 *
 * No function here calls anything: they run while the guest's vector state may be in registers. The CPU's
 * own thread, or while it stands between instructions.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_SHADOW_H
#define KVIK_ENGINE_RUN_DIRECT_SHADOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SHADOW_SPACES  8 /* side by side */
#define SHADOW_PAGES   49152u /* in each: below vm.max_map_count, if each is a mapping */
#define SHADOW_BUCKETS 16384u
#define SHADOW_FRAMES  32768u /* buckets of guest-physical pages */
#define SHADOW_WRITERS 65536u /* counts of guest-physical pages that may be written */
#define SHADOW_LOSSES  48u    /* pages that a space remembers to unmap one by one */
#define SHADOW_WHOLES  512u   /* buckets of whole large pages, of a space and of guest-physical memory */
#define SHADOW_WHOLE_BYTES ((uint64_t)2 << 20)
#define SHADOW_WHOLE_LOSSES 8u

enum shadow_rights {
	SHADOW_WRITE = 1 << 0,
	SHADOW_EXECUTE = 1 << 1,
	SHADOW_LARGE = 1 << 2, /* of a page above 4 KiB */
	SHADOW_WHOLE = 1 << 3, /* a page of 2 MiB as it is, not to be executed */
	SHADOW_COPY = 1 << 4,  /* a copy is executed in its place (copies.h) */
};

/* Of 4 KiB, or whole: those of 4 KiB lie over it, where code is, or where it has lost some. */
struct shadow_page {
	uint64_t gva, gpa; /* of the page's first byte */
	uint32_t offset;   /* in the file of guest memory, or of copies, in pages */
	uint32_t next;     /* in its bucket, or of those that are free: index + 1, 0 ends */
	/* Others of the same guest-physical page: space * SHADOW_PAGES + index + 1. */
	uint32_t next_of_frame, previous_of_frame;
	uint8_t rights; /* enum shadow_rights; reading is always among them */
	bool is_used;
};

struct shadow_space {
	bool is_valid;    /* `root` and `pcid` mean something */
	bool is_lost;     /* everything is to be unmapped */
	bool is_in_doubt; /* everything is to be compared */
	bool doubts_memory; /* not with page tables alone: what is behind them may be other memory, logged, or code */
	uint16_t pcid;
	uint32_t last_used;
	uint64_t root;    /* CR3's bits 51:12 */
	uint64_t checked; /* host TSC: when it was compared last */
	uint32_t high, free, count; /* pages [0, high) have been used; the free ones' list; used ones */
	uint32_t whole_count;     /* of `count` */
	uint32_t hand;            /* where to look for a page that may give way */
	uint64_t large;           /* bit gva >> 21 & 63: there may be a page of 4 KiB that is SHADOW_LARGE */
	uint64_t copies;          /* bit offset: there may be a page with SHADOW_COPY of this offset */
	uint32_t loss_count, whole_loss_count;
	uint64_t losses[SHADOW_LOSSES]; /* gvas of pages to be unmapped */
	uint64_t whole_losses[SHADOW_WHOLE_LOSSES];
	uint32_t buckets[SHADOW_BUCKETS], wholes[SHADOW_WHOLES];
	struct shadow_page pages[SHADOW_PAGES];
};

struct shadow {
	struct shadow_space spaces[SHADOW_SPACES];
	uint32_t frames[SHADOW_FRAMES], whole_frames[SHADOW_WHOLES];
	/* How many pages with SHADOW_WRITE there are of a guest-physical page and of those that share its place: by its
	 * number. Written by the CPU's thread, or while it stands still; others may look. */
	_Atomic uint32_t writers[SHADOW_WRITERS], whole_writers[SHADOW_WHOLES];
};

/* The page of gva, or NULL: of 4 KiB, or any. */
struct shadow_page *shadow_find_small(struct shadow_space *space, uint64_t gva);
struct shadow_page *shadow_find(struct shadow_space *space, uint64_t gva);

static inline uint64_t shadow_page_bytes(const struct shadow_page *page)
{
	return page->rights & SHADOW_WHOLE ? SHADOW_WHOLE_BYTES : 4096;
}

/* Record the page; one that is there changes. What is whole takes the place of all that is there. False:
 * the space is full. */
bool shadow_set(struct shadow *shadow, struct shadow_space *space, uint64_t gva, uint64_t gpa,
		uint32_t offset, uint32_t rights);
/* Whether `count` more can be recorded. */
static inline bool shadow_has_room(const struct shadow_space *space, uint32_t count)
{
	return space->count + count <= SHADOW_PAGES;
}
/* A page that may give way to others, or NULL: there is none. */
struct shadow_page *shadow_victim(struct shadow_space *space);

/* Lose a page, or with a large one all that is around it. What a space cannot remember to unmap stays, and
 * the space is in doubt. */
void shadow_lose_page(struct shadow *shadow, struct shadow_space *space, uint64_t gva);
void shadow_lose_space(struct shadow *shadow, struct shadow_space *space);
/* Take its right to write away; to do so in the stub is the caller's. */
void shadow_forbid_write(struct shadow *shadow, struct shadow_page *page);
/* Whether any space may write to the guest-physical page at gpa. False is certain: see x86/mmu/tlb.h on what this
 * is ordered against. Any thread. */
bool shadow_may_write(const struct shadow *shadow, uint64_t gpa);
/* Likewise, exactly. The CPU's thread, or while it stands still or is apart. */
bool shadow_writes(const struct shadow *shadow, uint64_t gpa);
/* Forget a page that is there; to unmap it is the caller's. */
void shadow_forget_page(struct shadow *shadow, struct shadow_space *space, struct shadow_page *page);
/* The page tables of these may be others; or memory as well. */
void shadow_doubt_all(struct shadow *shadow, bool doubts_memory);
void shadow_doubt_pcid(struct shadow *shadow, uint16_t pcid);
/* Lose what may be executed of [gpa, last], in all spaces; whether there was any. */
bool shadow_lose_code(struct shadow *shadow, uint64_t gpa, uint64_t last);
/* Lose what may be written of the guest-physical page at gpa, in all spaces: 4 KiB of what is whole. */
void shadow_lose_writes(struct shadow *shadow, uint64_t gpa);

/* The space of these page tables, or NULL; a free one for them, or the one used longest ago, which loses
 * what it has. */
struct shadow_space *shadow_space_find(struct shadow *shadow, uint64_t root);
struct shadow_space *shadow_space_take(struct shadow *shadow, uint64_t root, uint16_t pcid);

#endif
