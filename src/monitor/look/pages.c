#include "monitor/look/pages.h"

#include <inttypes.h>

#include "kvm/kvm.h"
#include "util/x86_registers.h"

#define PAGE_BITS   12
#define TABLE_BYTES 4096
#define TABLES_MAX  (256u << 10) /* that are read: those of 512 GiB in pages of 4 KiB */

enum {
	PRESENT = 1 << 0, WRITABLE = 1 << 1, USER = 1 << 2, WRITE_THROUGH = 1 << 3, CACHE_DISABLE = 1 << 4,
	ACCESSED = 1 << 5, DIRTY = 1 << 6, LARGE = 1 << 7, GLOBAL = 1 << 8,
};
#define NO_EXECUTE   (1ull << 63)
#define ADDRESS_MASK 0x000ffffffffff000ull

struct walk {
	const struct guest_memory *memory;
	bool (*visit)(void *context, const struct look_page *page);
	void *context;
	unsigned entry_bytes, index_bits;
	unsigned levels;
	bool has_large; /* pages of 32 bits */
	unsigned address_bits;
	unsigned tables_left;
};

/* What address bit a table's index begins at. */
static unsigned shift_of(const struct walk *walk, unsigned level)
{
	return PAGE_BITS + (level - 1) * walk->index_bits;
}

static bool is_page(const struct walk *walk, unsigned level, uint64_t entry)
{
	if (level == 1)
		return true;
	return (entry & LARGE) && (walk->entry_bytes == 8 ? level <= 3 : walk->has_large);
}

static uint64_t page_address(const struct walk *walk, unsigned level, uint64_t entry)
{
	/* PSE-36: bits 13 to 20 are address bits 32 to 39 (SDM vol. 3 table 4-4). */
	if (walk->entry_bytes == 4 && level == 2)
		return (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
	return entry & ADDRESS_MASK & ~((1ull << shift_of(walk, level)) - 1);
}

/* False: enough. */
static bool walk_table(struct walk *walk, uint64_t table, unsigned level, uint64_t begin, uint64_t rights)
{
	union {
		uint64_t wide[TABLE_BYTES / 8];
		uint32_t narrow[TABLE_BYTES / 4];
	} entries;
	/* Of PAE's first table there are four entries, which have no rights (SDM vol. 3 table 4-8). */
	bool is_short = walk->entry_bytes == 8 && walk->levels == 3 && level == 3;
	unsigned i, count = is_short ? 4 : TABLE_BYTES / walk->entry_bytes;
	struct look_page page;
	uint64_t entry, allowed;

	if (!walk->tables_left)
		return false;
	walk->tables_left--;
	if (guest_memory_read(walk->memory, table, &entries, count * walk->entry_bytes) < 0)
		return true; /* it leads nowhere */
	for (i = 0; i < count; i++) {
		entry = walk->entry_bytes == 8 ? entries.wide[i] : entries.narrow[i];
		if (!(entry & PRESENT))
			continue;
		page.gva = begin | (uint64_t)i << shift_of(walk, level);
		if (walk->levels >= 4 && page.gva >> (walk->address_bits - 1) & 1)
			page.gva |= ~0ull << walk->address_bits;
		allowed = rights & (is_short ? WRITABLE | USER : entry);
		if (!is_page(walk, level, entry)) {
			if (!walk_table(walk, entry & ADDRESS_MASK, level - 1, page.gva, allowed))
				return false;
			continue;
		}
		page.size_bytes = 1ull << shift_of(walk, level);
		page.gpa = page_address(walk, level, entry);
		page.entry = entry;
		page.is_writable = allowed & WRITABLE;
		page.is_user = allowed & USER;
		if (!walk->visit(walk->context, &page))
			return false;
	}
	return true;
}

bool look_visit_pages(const struct look *look, bool (*visit)(void *context, const struct look_page *page),
		      void *context, bool *is_whole)
{
	struct kvm_sregs sregs;
	struct walk walk = {
		.memory = machine_memory(look->machine),
		.visit = visit,
		.context = context,
		.entry_bytes = 8,
		.index_bits = 9,
		.tables_left = TABLES_MAX,
	};
	uint64_t root;

	if (kvm_vcpu_ioctl(machine_cpu(look->machine, look->cpu), KVM_GET_SREGS, &sregs) < 0 ||
	    !(sregs.cr0 & CR0_PG))
		return false;
	root = sregs.cr3 & ADDRESS_MASK;
	if (sregs.efer & EFER_LMA) {
		walk.levels = sregs.cr4 & CR4_LA57 ? 5 : 4;
	} else if (sregs.cr4 & CR4_PAE) {
		walk.levels = 3;
		root = sregs.cr3 & 0xffffffe0;
	} else {
		walk.levels = 2;
		walk.entry_bytes = 4;
		walk.index_bits = 10;
		walk.has_large = sregs.cr4 & CR4_PSE;
		root &= 0xffffffff;
	}
	walk.address_bits = PAGE_BITS + walk.levels * walk.index_bits;
	*is_whole = walk_table(&walk, root, walk.levels, 0, WRITABLE | USER);
	return true;
}

static bool print_page(void *context, const struct look_page *page)
{
	static const struct {
		uint64_t bit;
		char name;
	} bits[] = {{NO_EXECUTE, 'X'},	{GLOBAL, 'G'},	      {LARGE, 'P'},	    {DIRTY, 'D'}, {ACCESSED, 'A'},
		    {CACHE_DISABLE, 'C'}, {WRITE_THROUGH, 'T'}, {USER, 'U'}, {WRITABLE, 'W'}};
	const struct look *look = context;
	char flags[sizeof(bits) / sizeof(bits[0]) + 1] = "";
	unsigned i;

	for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		flags[i] = page->entry & bits[i].bit ? bits[i].name : '-';
	/* In a page's own entry that bit is another: the page attribute table's. */
	if (page->size_bytes == 1u << PAGE_BITS)
		flags[2] = '-';
	hmp_print(look->text, "%016" PRIx64 ": %016" PRIx64 " %s\n", page->gva, page->gpa, flags);
	return !look->text->is_full;
}

struct ranges {
	const struct look *look;
	uint64_t begin, end;
	bool is_writable, is_user, has_begun;
};

static void print_range(struct ranges *ranges)
{
	if (ranges->has_begun)
		hmp_print(ranges->look->text, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %cr%c\n",
			  ranges->begin, ranges->end, ranges->end - ranges->begin, ranges->is_user ? 'u' : '-',
			  ranges->is_writable ? 'w' : '-');
	ranges->has_begun = false;
}

static bool add_to_range(void *context, const struct look_page *page)
{
	struct ranges *ranges = context;

	if (!ranges->has_begun || page->gva != ranges->end || page->is_writable != ranges->is_writable ||
	    page->is_user != ranges->is_user) {
		print_range(ranges);
		ranges->begin = page->gva;
		ranges->is_writable = page->is_writable;
		ranges->is_user = page->is_user;
		ranges->has_begun = true;
	}
	ranges->end = page->gva + page->size_bytes;
	return !ranges->look->text->is_full;
}

static void conclude(const struct look *look, bool has_paging, bool is_whole)
{
	if (!has_paging)
		hmp_print(look->text, "PG disabled\n");
	else if (!is_whole)
		hmp_print(look->text, "... there are more page tables than are looked at\n");
}

void look_tlb(const struct look *look)
{
	bool is_whole = true, has_paging = look_visit_pages(look, print_page, (void *)look, &is_whole);

	conclude(look, has_paging, is_whole);
}

void look_ranges(const struct look *look)
{
	struct ranges ranges = {.look = look};
	bool is_whole = true, has_paging = look_visit_pages(look, add_to_range, &ranges, &is_whole);

	print_range(&ranges);
	conclude(look, has_paging, is_whole);
}
