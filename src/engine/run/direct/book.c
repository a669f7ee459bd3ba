#include "engine/run/direct/book.h"

#include <stddef.h>

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/mmu/memory.h"

#define TABLE_MASK 0x000ffffffffff000ull

static struct book_entry *entry_of(struct book *book, uint64_t owner)
{
	uint64_t page = owner >> 12;

	return &book->entries[(page ^ page >> 8 ^ page >> 16) & (BOOK_ENTRIES - 1)];
}

static uint64_t root_of(struct cpu *cpu, uint64_t owner)
{
	uint64_t gpa = owner + (cpu->gpr[CPU_RSP] >> 39 & 511) * 8;
	struct cpu_page page;

	if (!memory_page(cpu, gpa, &page) || !page.hva)
		return 0;
	return bytes_load64(page.hva + (gpa & 0xfff)) & TABLE_MASK;
}

/* SYSRET leaves RCX and R11 behind, and an interrupt rarely so much of nothing. */
static bool is_first_instruction(const struct cpu *cpu)
{
	if (cpu->gpr[CPU_RCX] | cpu->gpr[CPU_R11] | cpu->gpr[CPU_RBP] | cpu->gpr[CPU_RBX])
		return false;
	for (unsigned i = 0; i < 16; i++)
		if (i != CPU_RSP && cpu->gpr[i])
			return false;
	return true;
}

struct book_entry *book_find(struct book *book, struct cpu *cpu)
{
	bool is_new = is_first_instruction(cpu);
	struct book_entry *entry = book->last;

	if (!entry) {
		uint64_t owner = cpu->cr3 & TABLE_MASK, root = root_of(cpu, owner);

		entry = entry_of(book, owner);
		is_new |= entry->owner != owner || entry->root != root;
		entry->owner = owner;
		entry->root = root;
		book->last = entry;
	}
	if (is_new)
		entry->policy = (struct policy){ 0 };
	return entry;
}
