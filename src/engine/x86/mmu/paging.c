/*
 * Page walks (paging.h; Intel SDM vol. 3 §4.3 32-bit, §4.4 PAE, §4.5 4-level paging).
 *
 * One loop serves all formats; what differs stands in struct format: levels, entry size, index
 * width, and which bits are reserved. A guest may change entries while they are walked: accessed
 * and dirty flags are set with compare-and-exchange on the entry that was checked, and a failed
 * exchange starts the walk again.
 */
#include "engine/x86/mmu/paging.h"

#include "engine/x86/features.h"
#include "engine/x86/exception.h"
#include "engine/x86/mmu/page.h"
#include "engine/x86/mmu/watch.h"
#include "engine/x86/system.h"

#define ENTRY_PRESENT  (1ull << 0)
#define ENTRY_WRITABLE (1ull << 1)
#define ENTRY_USER     (1ull << 2)
#define ENTRY_ACCESSED (1ull << 5)
#define ENTRY_DIRTY    (1ull << 6)
#define ENTRY_PS       (1ull << 7)
#define ENTRY_GLOBAL   (1ull << 8)
#define ENTRY_XD       (1ull << 63)

#define BITS(high, low) ((~0ull >> (63 - (high))) & (~0ull << (low)))
#define ADDRESS_MASK    BITS(51, 12)
#define MAX_LEVELS      4

/* One entry that a walk went through, for setting its flags. */
struct walk_step {
	void *hva; /* NULL: the tables are read-only, flags stay as they are */
	uint64_t gpa;
	uint64_t entry;
};

struct page_walk {
	unsigned entry_size; /* bytes: 4 or 8 */
	unsigned index_bits; /* 9, or 10 with 32-bit paging */
	uint64_t reserved;   /* bits reserved in present entries of every level */
	struct walk_step steps[MAX_LEVELS];
	unsigned count;
};

/* The memory of the entry at gpa; entries never cross a page. False: no memory there. */
static bool entry_page(struct cpu *cpu, uint64_t gpa, struct cpu_page *page)
{
	return memory_page(cpu, gpa, page) && page->hva;
}

static uint64_t entry_load(const void *hva, unsigned size)
{
	if (size == 4)
		return __atomic_load_n((const uint32_t *)hva, __ATOMIC_ACQUIRE);
	return __atomic_load_n((const uint64_t *)hva, __ATOMIC_ACQUIRE);
}

/* Set flags in an entry that still has the value it was checked with. False: walk again. */
static bool entry_set(struct cpu *cpu, struct walk_step *step, unsigned size, uint64_t flags)
{
	uint32_t expected32 = step->entry;
	uint64_t expected64 = step->entry;
	bool done;

	if (!step->hva || (step->entry & flags) == flags)
		return true;
	memory_watch_lasting(cpu); /* the guest may look at them */
	if (size == 4)
		done = __atomic_compare_exchange_n((uint32_t *)step->hva, &expected32,
						   expected32 | (uint32_t)flags, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	else
		done = __atomic_compare_exchange_n((uint64_t *)step->hva, &expected64,
						   expected64 | flags, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_SEQ_CST);
	if (!done)
		return false;
	step->entry |= flags;
	memory_page_dirty(cpu, step->gpa);
	if (memory_code_word(cpu, step->gpa) >> ((step->gpa & 0xfff) / 64) & 1) {
		bool began = cpu_exclusive_begin_beside(cpu);

		fpu_leave(cpu);
		cpu->observer->code_written(cpu, step->gpa, size);
		if (began)
			cpu_exclusive_end(cpu);
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
		/* Memory slots may have changed meanwhile. */
		return false;
	}
	return true;
}

/* Reserved address bits of a leaf above 4 KiB: all below the page, except PAT in bit 12. */
static uint64_t large_reserved(const struct cpu *cpu, const struct page_walk *walk, unsigned shift)
{
	unsigned bits = cpu->physical_bits < 40 ? cpu->physical_bits : 40;

	if (walk->entry_size == 8)
		return BITS(shift - 1, 13);
	/* PSE-36 (§4.3 table 4-4): bits 20:13 hold address bits 39:32, as many as there are. */
	return bits < 40 ? BITS(21, bits - 19) : BITS(21, 21);
}

static uint64_t large_address(uint64_t entry, const struct page_walk *walk, uint64_t gva, unsigned shift)
{
	uint64_t offset = gva & BITS(shift - 1, 0);

	if (walk->entry_size == 8)
		return (entry & ADDRESS_MASK & ~BITS(shift - 1, 0)) | offset;
	return (entry & 0xffc00000) | (entry & BITS(20, 13)) << 19 | offset;
}

/*
 * Go down the tables. 0 with `result` filled, else PAGE_FAULT_* bits that tell why not:
 * `*not_present` is set when an entry is missing (error code bit 0 clear).
 */
static bool walk_tables(struct cpu *cpu, struct page_walk *walk, uint64_t gva,
			struct paging_result *result, uint32_t *fault)
{
	bool is_pae = cpu->cr4 & CR4_PAE;
	bool is_long = cpu->efer & EFER_LMA;
	uint64_t upper_reserved = 0; /* of PML4 entries: PS */
	uint64_t table, entry;
	unsigned level, shift;

	walk->entry_size = is_pae ? 8 : 4;
	walk->index_bits = is_pae ? 9 : 10;
	walk->count = 0;
	walk->reserved = 0;
	if (is_pae) {
		walk->reserved = BITS(51, 0) & ~BITS(cpu->physical_bits - 1, 0);
		if (!is_long)
			walk->reserved |= BITS(62, 52);
		if (!(cpu->efer & EFER_NX))
			walk->reserved |= ENTRY_XD;
	}

	*fault = 0;
	result->user = result->writable = result->accessed = true;
	result->no_execute = false;

	if (is_long) {
		level = 4;
		table = cpu->cr3 & ADDRESS_MASK;
	} else if (is_pae) {
		level = 2;
		table = cpu->pdptr[(gva >> 30) & 3];
		if (!(table & ENTRY_PRESENT))
			return false;
		table &= ADDRESS_MASK;
	} else {
		level = 2;
		table = cpu->cr3 & 0xfffff000;
	}

	for (;; level--) {
		struct walk_step *step = &walk->steps[walk->count];
		struct cpu_page page;

		shift = 12 + (level - 1) * walk->index_bits;
		step->gpa = table +
			    ((gva >> shift) & BITS(walk->index_bits - 1, 0)) * walk->entry_size;
		if (!entry_page(cpu, step->gpa, &page))
			return false;
		step->hva = page.hva + (step->gpa & 0xfff);
		entry = entry_load(step->hva, walk->entry_size);
		step->entry = entry;
		if (!page.writable)
			step->hva = NULL;
		walk->count++;

		if (!(entry & ENTRY_PRESENT))
			return false;
		upper_reserved = level == 4 ? ENTRY_PS : 0;
		if (level == 3 && (entry & ENTRY_PS) && !cpu_has(cpu, FEATURE_GB_PAGES))
			upper_reserved = ENTRY_PS;
		if (entry & (walk->reserved | upper_reserved)) {
			*fault = PAGE_FAULT_PRESENT | PAGE_FAULT_RESERVED;
			return false;
		}
		result->user &= (entry & ENTRY_USER) != 0;
		result->accessed &= (entry & ENTRY_ACCESSED) != 0;
		result->writable &= (entry & ENTRY_WRITABLE) != 0;
		result->no_execute |= walk->entry_size == 8 && (entry & ENTRY_XD);

		if (level == 1)
			break;
		if ((entry & ENTRY_PS) && (is_pae || (cpu->cr4 & CR4_PSE)))
			break;
		table = entry & (is_pae ? ADDRESS_MASK : 0xfffff000);
	}

	if (level > 1) {
		if (entry & large_reserved(cpu, walk, shift)) {
			*fault = PAGE_FAULT_PRESENT | PAGE_FAULT_RESERVED;
			return false;
		}
		result->gpa = large_address(entry, walk, gva, shift);
	} else {
		result->gpa = (entry & (is_pae ? ADDRESS_MASK : 0xfffff000)) | (gva & 0xfff);
	}
	result->page_size = 1ull << shift;
	result->global = (entry & ENTRY_GLOBAL) && (cpu->cr4 & CR4_PGE);
	result->dirty = entry & ENTRY_DIRTY;
	return true;
}

static void identity(struct paging_result *result, uint64_t gva)
{
	/* Without paging, linear addresses have 32 bits and are guest-physical ones (§4.1.1). */
	*result = (struct paging_result){
		.gpa = (uint32_t)gva,
		.page_size = 4096,
		.user = true,
		.writable = true,
		.dirty = true,
		.accessed = true,
	};
}

struct tlb_page_rights paging_rights(const struct cpu *cpu, const struct paging_result *result,
				     enum tlb_privilege privilege)
{
	struct tlb_page_rights rights;

	if (!(cpu->cr0 & CR0_PG))
		return (struct tlb_page_rights){true, true, true};
	if (privilege == TLB_USER) {
		rights.readable = result->user;
		rights.writable = result->user && result->writable;
		rights.executable = result->user && !result->no_execute;
		return rights;
	}
	rights.readable = !(result->user && (cpu->cr4 & CR4_SMAP) && privilege == TLB_SUPERVISOR);
	rights.writable = rights.readable && (result->writable || !(cpu->cr0 & CR0_WP));
	rights.executable = !result->no_execute && !(result->user && (cpu->cr4 & CR4_SMEP));
	return rights;
}

static bool access_allowed(const struct cpu *cpu, const struct paging_result *result,
			   enum paging_access access, enum tlb_privilege privilege)
{
	struct tlb_page_rights rights = paging_rights(cpu, result, privilege);

	switch (access) {
	case PAGING_WRITE: return rights.writable;
	case PAGING_FETCH: return rights.executable;
	default: return rights.readable;
	}
}

/* The error code's bits that describe the access rather than the tables (§4.7). */
static uint32_t access_error(const struct cpu *cpu, enum paging_access access,
			     enum tlb_privilege privilege)
{
	uint32_t error = privilege == TLB_USER ? PAGE_FAULT_USER : 0;
	bool has_xd = (cpu->cr4 & CR4_PAE) && (cpu->efer & EFER_NX);

	if (access == PAGING_WRITE)
		error |= PAGE_FAULT_WRITE;
	if (access == PAGING_FETCH && (has_xd || (cpu->cr4 & CR4_SMEP)))
		error |= PAGE_FAULT_FETCH;
	return error;
}

/* Set A in every entry and D in the leaf of a write. False: an entry changed, walk again. */
static bool set_flags(struct cpu *cpu, struct page_walk *walk, enum paging_access access)
{
	for (unsigned i = 0; i < walk->count; i++) {
		bool is_leaf = i == walk->count - 1;
		uint64_t flags = ENTRY_ACCESSED;

		if (is_leaf && access == PAGING_WRITE)
			flags |= ENTRY_DIRTY;
		if (!entry_set(cpu, &walk->steps[i], walk->entry_size, flags))
			return false;
	}
	return true;
}

bool paging_walk(struct cpu *cpu, uint64_t gva, enum paging_access access,
		 enum tlb_privilege privilege, struct paging_result *result, uint32_t *error_code)
{
	struct page_walk walk;
	uint32_t fault;

	if (!(cpu->cr0 & CR0_PG)) {
		identity(result, gva);
		return true;
	}
	do {
		if (!walk_tables(cpu, &walk, gva, result, &fault)) {
			*error_code = fault | access_error(cpu, access, privilege);
			return false;
		}
		if (!access_allowed(cpu, result, access, privilege)) {
			*error_code = PAGE_FAULT_PRESENT | access_error(cpu, access, privilege);
			return false;
		}
	} while (!set_flags(cpu, &walk, access));
	result->dirty |= access == PAGING_WRITE;
	result->accessed = true;
	return true;
}

bool paging_translate(struct cpu *cpu, uint64_t gva, struct paging_result *result)
{
	struct page_walk walk;
	uint32_t fault;

	if (!(cpu->cr0 & CR0_PG)) {
		identity(result, gva);
		return true;
	}
	if ((cpu->efer & EFER_LMA) && !cpu_is_canonical(gva))
		return false;
	return walk_tables(cpu, &walk, gva, result, &fault);
}

#define NEAR_SHIFT 21

/* Keep the last table of a walk by four levels. */
static void keep_near(struct paging_near *near, const struct page_walk *walk, uint64_t gva)
{
	const struct walk_step *leaf = &walk->steps[MAX_LEVELS - 1];

	near->table = NULL;
	if (walk->count != MAX_LEVELS || !leaf->hva)
		return;
	near->table = (const uint8_t *)((uintptr_t)leaf->hva & ~(uintptr_t)0xfff);
	near->region = gva >> NEAR_SHIFT;
	near->above = (struct paging_result){ .user = true, .writable = true, .accessed = true };
	for (unsigned i = 0; i < MAX_LEVELS - 1; i++) {
		uint64_t entry = walk->steps[i].entry;

		near->above.user &= (entry & ENTRY_USER) != 0;
		near->above.writable &= (entry & ENTRY_WRITABLE) != 0;
		near->above.accessed &= (entry & ENTRY_ACCESSED) != 0;
		near->above.no_execute |= (entry & ENTRY_XD) != 0;
	}
}

bool paging_translate_near(struct cpu *cpu, uint64_t gva, struct paging_near *near,
			   struct paging_result *result)
{
	struct page_walk walk;
	uint32_t fault;
	uint64_t entry;

	if (!(cpu->efer & EFER_LMA) || !(cpu->cr0 & CR0_PG))
		return paging_translate(cpu, gva, result);
	if (!near->table || near->region != gva >> NEAR_SHIFT) {
		bool is_there;

		near->table = NULL;
		if (!cpu_is_canonical(gva))
			return false;
		is_there = walk_tables(cpu, &walk, gva, result, &fault);
		/* Also where it ended in the last table: most of those around a page that is new are not there. */
		keep_near(near, &walk, gva);
		return is_there;
	}
	entry = entry_load(near->table + (gva >> 12 & 511) * 8, 8);
	/* What is reserved is for a walk to find out. */
	if (!(entry & ENTRY_PRESENT))
		return false;
	if (entry & (BITS(51, 0) & ~BITS(cpu->physical_bits - 1, 0)) ||
	    (entry & ENTRY_XD && !(cpu->efer & EFER_NX)))
		return paging_translate(cpu, gva, result);
	*result = near->above;
	result->user &= (entry & ENTRY_USER) != 0;
	result->writable &= (entry & ENTRY_WRITABLE) != 0;
	result->accessed &= (entry & ENTRY_ACCESSED) != 0;
	result->no_execute |= (entry & ENTRY_XD) != 0;
	result->dirty = entry & ENTRY_DIRTY;
	result->global = (entry & ENTRY_GLOBAL) && (cpu->cr4 & CR4_PGE);
	result->gpa = (entry & ADDRESS_MASK) | (gva & 0xfff);
	result->page_size = 4096;
	return true;
}

bool paging_is_user_page(struct cpu *cpu, uint64_t gva, uint64_t gpa, enum paging_access access,
			 struct paging_near *near)
{
	const uint64_t user = ENTRY_PRESENT | ENTRY_USER | ENTRY_ACCESSED;
	uint64_t entry, wanted = user;
	struct paging_result result;

	if (!near->table || near->region != gva >> NEAR_SHIFT) {
		if (!(cpu->efer & EFER_LMA) || !paging_translate_near(cpu, gva, near, &result) || !near->table)
			return false;
	}
	if (!near->above.user || !near->above.accessed)
		return false;
	if (access == PAGING_WRITE) {
		if (!near->above.writable)
			return false;
		wanted |= ENTRY_WRITABLE | ENTRY_DIRTY;
	}
	entry = entry_load(near->table + (gva >> 12 & 511) * 8, 8);
	/* No other bit of the address, so none that is reserved. */
	if ((entry & (wanted | BITS(51, 12))) != (wanted | gpa))
		return false;
	return access == PAGING_FETCH ? !near->above.no_execute && !(entry & ENTRY_XD) :
					!(entry & ENTRY_XD) || (cpu->efer & EFER_NX);
}

bool paging_load_pdptrs(struct cpu *cpu, uint64_t cr3, uint64_t pdptr[4])
{
	/* §4.4.1: bits 2:1, 8:5 and those above MAXPHYADDR are reserved in present entries. */
	uint64_t reserved = BITS(2, 1) | BITS(8, 5) | (~0ull & ~BITS(cpu->physical_bits - 1, 0));
	uint64_t table = cr3 & 0xffffffe0;
	uint64_t entries[4];
	struct cpu_page page;

	if (!entry_page(cpu, table, &page))
		return false;
	for (unsigned i = 0; i < 4; i++) {
		entries[i] = entry_load(page.hva + (table & 0xfff) + i * 8, 8);
		if ((entries[i] & ENTRY_PRESENT) && (entries[i] & reserved))
			return false;
	}
	for (unsigned i = 0; i < 4; i++)
		pdptr[i] = entries[i];
	return true;
}
