#include "engine/run/direct/book.h"

#include <stddef.h>

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"

/* Crossings: a life that is worth a stub, in whatever tier it passes. */
#define LONG_LIFE  500u
#define TABLE_MASK 0x000ffffffffff000ull

static struct book_entry *entry_of(struct book *book, uint64_t owner)
{
	uint64_t page = owner >> 12;

	return &book->entries[(page ^ page >> 8 ^ page >> 16) & (BOOK_ENTRIES - 1)];
}

/* An entry of the highest table. */
static uint64_t root_of(struct cpu *cpu, uint64_t owner, unsigned number)
{
	uint64_t gpa = owner + number * 8;
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

/* Tell how it went. `is_over`: it has ended. */
static void tell(struct book *book, const struct book_entry *entry, bool is_over, uint64_t crossing)
{
	struct experience *experience = experience_get(book->experiences, entry->hash, false);

	if (!experience)
		return;
	if (is_over && !entry->was_long)
		experience_lived(experience, entry->direct + entry->translated >= LONG_LIFE * crossing);
	habit_end(&experience->habit, entry->life, &entry->policy, entry->direct, entry->translated);
	experience_put(book->experiences);
}

/* Have other CPUs know what is new of one of its threads; `area` 0: the first. */
static void tell_others(struct book *book, const struct book_entry *entry, uint64_t area, const struct policy *policy,
			enum policy_mode *told)
{
	struct known_space space;

	/* Compilers call memcpy and memset for whole structures. */
	space.owner = entry->owner;
	space.root = entry->root;
	space.area = area;
	space.first = entry->area;
	space.hash = entry->hash;
	bytes_copy(&space.policy, policy, sizeof(space.policy));
	*told = policy->mode;
	experience_tell_space(book->experiences, &space);
}

/* It has run on another CPU before, which knows it. */
static bool come_from_elsewhere(struct book *book, struct book_entry *entry)
{
	struct known_space space;

	space.owner = entry->owner;
	space.root = entry->root;
	space.area = 0;
	if (!experience_ask_space(book->experiences, &space))
		return false;
	policy_continue(&entry->policy, &space.policy);
	entry->area = space.first;
	entry->program = program_of(&book->programs, space.hash);
	/* What its life was like is the first CPU's to tell. */
	entry->was_long = true;
	entry->told = entry->policy.mode;
	return true;
}

/* What was there before has ended. */
static void begin(struct book *book, struct book_entry *entry, struct cpu *cpu, bool is_program,
		  uint64_t crossing)
{
	struct experience *experience;

	tell(book, entry, true, crossing);
	entry->program = is_program ? program_find(&book->programs, cpu) : &book->programs.all[0];
	bytes_zero(&entry->policy, sizeof(entry->policy));
	entry->was_long = false;
	entry->told = POLICY_NEW;
	entry->hash = entry->program->hash;
	entry->life = HABIT_FREE;
	entry->direct = entry->translated = 0;
	entry->number = ++book->lives;
	entry->area = 0;
	entry->first_rip = cpu->rip;
	entry->first_rsp = cpu->gpr[CPU_RSP];
	if (!is_program && come_from_elsewhere(book, entry))
		return;
	experience = experience_get(book->experiences, entry->hash, true);
	if (experience) {
		entry->life = habit_begin(&experience->habit, experience_lives_long(experience), &entry->policy);
		experience_put(book->experiences);
	}
	tell_others(book, entry, 0, &entry->policy, &entry->told);
}

struct book_entry *book_find(struct book *book, struct cpu *cpu, uint64_t crossing)
{
	bool is_program = is_first_instruction(cpu);
	struct book_entry *entry = book->last;
	bool is_other = false;

	if (!entry) {
		uint64_t owner = cpu->cr3 & TABLE_MASK;

		entry = entry_of(book, owner);
		is_other = entry->owner != owner || entry->root != root_of(cpu, owner, entry->stack);
		if (is_other) {
			entry->owner = owner;
			entry->stack = cpu->gpr[CPU_RSP] >> 39 & 511;
			entry->root = root_of(cpu, owner, entry->stack);
		}
		book->last = entry;
	}
	/* It faults first of all, and comes again. */
	if (is_program && !is_other && entry->first_rip == cpu->rip && entry->first_rsp == cpu->gpr[CPU_RSP])
		is_program = false;
	if (is_program || is_other || !entry->program)
		begin(book, entry, cpu, is_program, crossing);
	return entry;
}

/* Where the thread that is about to run in ring 3 has its variables. */
static uint64_t area_of(const struct cpu *cpu)
{
	return cpu->segment[cpu_is_64(cpu) ? CPU_FS : CPU_GS].base;
}

/* One of a space that knows no more of it than that. */
static struct thread *begin_thread(struct book *book, const struct book_entry *entry, uint64_t area)
{
	struct thread *thread = threads_add(&book->threads, entry->owner, entry->number, area);
	struct known_space space;

	space.owner = entry->owner;
	space.root = entry->root;
	space.area = area;
	policy_continue(&thread->policy, experience_ask_space(book->experiences, &space) ? &space.policy : &entry->policy);
	thread->told = thread->policy.mode;
	return thread;
}

struct policy *book_policy(struct book *book, struct book_entry *entry, const struct cpu *cpu)
{
	uint64_t area = area_of(cpu);
	struct thread *thread;

	if (area == entry->area)
		return &entry->policy;
	/* A program begins without, and all that is new is one. */
	if (!entry->area || entry->policy.mode == POLICY_NEW) {
		entry->area = area;
		return &entry->policy;
	}
	thread = threads_find(&book->threads, entry->owner, entry->number, area);
	if (!thread)
		thread = begin_thread(book, entry, area);
	return &thread->policy;
}

/* Other CPUs learn how a thread stands now. */
static void tell_change(struct book *book, struct book_entry *entry, const struct policy *policy)
{
	struct thread *thread;

	if (policy == &entry->policy) {
		if (policy->mode != entry->told)
			tell_others(book, entry, 0, policy, &entry->told);
		return;
	}
	thread = (struct thread *)((char *)policy - offsetof(struct thread, policy));
	if (policy->mode != thread->told)
		tell_others(book, entry, thread->area, policy, &thread->told);
}

void book_note(struct book *book, struct book_entry *entry, const struct policy *policy, uint64_t ticks, uint64_t crossings,
	       bool was_direct, uint64_t crossing)
{
	struct program *program = entry->program;
	struct experience *experience;

	program->crossings += crossings;
	*(was_direct ? &program->direct : &program->translated) += ticks;
	*(was_direct ? &entry->direct : &entry->translated) += ticks;
	/* A trial that was given up: others need not begin one until this life ends. */
	if (was_direct && (entry->life == HABIT_WARMS || entry->life == HABIT_TRANSLATED)) {
		tell(book, entry, false, crossing);
		entry->life = HABIT_FREE;
	}
	tell_change(book, entry, policy);
	if (entry->was_long || entry->direct + entry->translated < LONG_LIFE * crossing)
		return;
	entry->was_long = true;
	experience = experience_get(book->experiences, entry->hash, false);
	if (!experience)
		return;
	experience_lived(experience, true);
	experience_put(book->experiences);
}

void book_end(struct book *book, struct book_entry *entry, uint64_t crossing)
{
	tell(book, entry, true, crossing);
	/* Once is enough. */
	entry->hash = 0;
	entry->life = HABIT_FREE;
}
