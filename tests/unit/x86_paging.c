/*
 * Page walks, the TLB and the slow paths of memory accesses, against hand-made page tables (Intel
 * SDM vol. 3 §4): formats, rights, error codes, accessed and dirty flags, flushes, dirty logging,
 * code pages, MMIO restart. Linked with these files of the CPU alone: what they raise ends in
 * `raised`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "engine/x86/features.h"
#include "engine/x86/breakpoint.h"
#include "engine/x86/exception.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/mmu/paging.h"
#include "engine/x86/system.h"

#define MEMORY_SIZE (16u << 20)
#define MMIO_GPA    0xfee00000ull

#define P  0x001ull
#define W  0x002ull
#define U  0x004ull
#define A  0x020ull
#define D  0x040ull
#define PS 0x080ull
#define G  0x100ull
#define XD (1ull << 63)

/* Where the tests put things in guest memory. */
#define TOP   0x1000ull /* PML4, or page directory with 32-bit paging */
#define PDPT  0x2000ull
#define PD    0x3000ull
#define PT    0x4000ull
#define TOP2  0x5000ull
#define DATA  0x10000ull
#define DATA2 0x20000ull

static struct machine {
	struct cpu cpu;
	struct kvm_run *run;
	uint8_t *memory;
	bool dirty_logging, readonly;
	unsigned pages_dirty, code_writes, mmio_calls, exclusive;
	uint64_t last_dirty;
	bool mmio_taken;
	_Atomic uint64_t code;  /* the code word of DATA's page */
	/* What was raised last. */
	jmp_buf unwind;
	int vector;             /* -1: an exit to user space */
	uint32_t error;
	uint64_t address;
} machine;

static struct cpu *const cpu = &machine.cpu;

_Noreturn void cpu_raise(struct cpu *c, enum exception vector)
{
	(void)c;
	machine.vector = vector;
	longjmp(machine.unwind, 1);
}

_Noreturn void cpu_raise_error(struct cpu *c, enum exception vector, uint32_t error_code)
{
	machine.error = error_code;
	cpu_raise(c, vector);
}

_Noreturn void cpu_raise_page_fault(struct cpu *c, uint64_t gva, uint32_t error_code)
{
	machine.address = gva;
	cpu_raise_error(c, EXCEPTION_PF, error_code);
}

_Noreturn void cpu_exit_to_user(struct cpu *c)
{
	(void)c;
	machine.vector = -1;
	longjmp(machine.unwind, 1);
}

bool cpu_exclusive_begin(struct cpu *c)
{
	if (c->exclusive)
		return false;
	machine.exclusive++;
	c->exclusive = CPU_IS_ALONE;
	return true;
}

bool cpu_exclusive_begin_beside(struct cpu *c)
{
	return cpu_exclusive_begin(c);
}

void cpu_exclusive_end(struct cpu *c)
{
	c->exclusive = CPU_SHARES;
}

void fpu_leave_slow(struct cpu *c)
{
	(void)c;
	abort();
}

bool breakpoint_watches_page(const struct cpu *c, uint64_t gva)
{
	(void)c, (void)gva;
	return false;
}

void breakpoint_check_access(struct cpu *c, uint64_t gva, unsigned size, bool is_write)
{
	(void)c, (void)gva, (void)size, (void)is_write;
}

static bool page_lookup(void *context, uint64_t gpa, struct cpu_page *page)
{
	(void)context;
	if (gpa >= MEMORY_SIZE)
		return false;
	page->hva = machine.memory + gpa;
	page->writable = !(machine.readonly && gpa == DATA);
	page->dirty_logging = machine.dirty_logging;
	return true;
}

static void page_dirty(void *context, uint64_t gpa)
{
	(void)context;
	machine.pages_dirty++;
	machine.last_dirty = gpa;
}

static bool mmio(void *context, uint64_t gpa, void *data, unsigned size, bool is_write)
{
	(void)context;
	machine.mmio_calls++;
	if (machine.mmio_taken && !is_write)
		memset(data, 0xa0 + (gpa & 0xf), size);
	return machine.mmio_taken;
}

static uint64_t code_word(struct cpu *c, uint64_t gpa)
{
	(void)c;
	return gpa >> 12 == DATA >> 12 ? machine.code : 0;
}

static void code_written(struct cpu *c, uint64_t gpa, unsigned size)
{
	(void)c, (void)gpa, (void)size;
	machine.code_writes++;
}

static void tlb_changed(struct cpu *c, enum tlb_change change, uint64_t where)
{
	(void)c, (void)change, (void)where;
}

static void access_changed(struct cpu *c)
{
	(void)c;
}

static void fetch_mapped(struct cpu *c, uint64_t gpa)
{
	(void)c, (void)gpa;
}

static const struct cpu_observer observer = {
	.tlb_changed = tlb_changed,
	.access_changed = access_changed,
	.fetch_mapped = fetch_mapped,
	.code_word = code_word,
	.code_written = code_written,
};

static const struct cpu_platform platform = {
	.page_lookup = page_lookup,
	.page_dirty = page_dirty,
	.mmio = mmio,
};

static void put(uint64_t gpa, uint64_t entry)
{
	memcpy(machine.memory + gpa, &entry, 8);
}

static void put32(uint64_t gpa, uint32_t entry)
{
	memcpy(machine.memory + gpa, &entry, 4);
}

static uint64_t get(uint64_t gpa)
{
	uint64_t entry;

	memcpy(&entry, machine.memory + gpa, 8);
	return entry;
}

/* Linear page 0x400000 + n to PT entry n, through tables that allow everything. */
static void use_long_mode(void)
{
	cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
	cpu->cr4 = CR4_PAE | CR4_PGE;
	cpu->efer = EFER_LME | EFER_LMA | EFER_NX;
	cpu->mode = CPU_MODE_CODE64 | CPU_MODE_LONG | CPU_MODE_PROTECTED;
	cpu->cr3 = TOP;
	put(TOP, PDPT | P | W | U);
	put(PDPT, PD | P | W | U);
	put(PD + 2 * 8, PT | P | W | U);
	put(PT, DATA | P | W | U);
}

#define LINEAR 0x400000ull

static int set_up(void **state)
{
	(void)state;
	memset(&machine, 0, sizeof(machine));
	machine.memory = aligned_alloc(4096, MEMORY_SIZE);
	memset(machine.memory, 0, MEMORY_SIZE);
	machine.run = calloc(2, 4096);
	cpu->platform = &platform;
	cpu->observer = &observer;
	cpu->physical_bits = 40;
	cpu->features[CPU_FEATURES_EXT1_EDX] = 1 << 26;
	cpu->run = machine.run;
	assert_int_equal(tlb_create(cpu), 0);
	use_long_mode();
	tlb_update(cpu);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tlb_destroy(cpu);
	free(machine.run);
	free(machine.memory);
	return 0;
}

/* The error code of an access, or -1 when it is allowed. */
static int64_t walk(uint64_t gva, enum paging_access access, enum tlb_privilege privilege)
{
	struct paging_result result;
	uint32_t error;

	return paging_walk(cpu, gva, access, privilege, &result, &error) ? -1 : (int64_t)error;
}

static uint64_t translate(uint64_t gva)
{
	struct paging_result result;

	return paging_translate(cpu, gva, &result) ? result.gpa : UINT64_MAX;
}

/* Run an access; whether it raised something (machine.vector tells what). */
#define RAISES(access) (setjmp(machine.unwind) ? true : ((void)(access), false))

static void page_sizes_of_long_mode(void **state)
{
	(void)state;
	assert_int_equal(translate(LINEAR + 0x123), DATA + 0x123);
	put(PD + 3 * 8, 0x40000000 | P | PS);
	assert_int_equal(translate(0x600000 + 0x12345), 0x40012345);
	put(PDPT + 8, 0x80000000 | P | PS);
	assert_int_equal(translate(0x40000000 + 0x1234567), 0x81234567);
	assert_int_equal(translate(0x80000000), UINT64_MAX);
	assert_int_equal(translate(0x8000000000000000), UINT64_MAX);
	/* Looking is not accessing. */
	assert_int_equal(get(PT) & A, 0);
}

/* What paging_is_user_page is certain of, by a look at the page alone. */
static bool is_user_page(const struct paging_result *result, enum paging_access access)
{
	return result->page_size == 4096 && result->user && result->accessed &&
	       (access != PAGING_WRITE || (result->writable && result->dirty)) &&
	       (access != PAGING_FETCH || !result->no_execute);
}

/* Whatever the entries are, a look at many addresses says what a look at each says. */
static void many_looks_are_as_one(void **state)
{
	uint64_t seed = 88172645463325252ull;

	(void)state;
	put(PDPT + 8, 0x80000000 | P | PS | A | U);
	put(PD + 3 * 8, 0x40000000 | P | PS | D | U);
	for (unsigned turn = 0; turn < 2000; turn++) {
		struct paging_near near = { 0 };

		put(TOP, PDPT | P | U | (turn & 1 ? W : 0) | (turn & 2 ? A : 0));
		put(PD + 2 * 8, PT | P | W | (turn & 4 ? U : 0) | (turn & 8 ? A : 0) | (turn & 16 ? XD : 0));
		cpu->efer = EFER_LME | EFER_LMA | (turn & 32 ? 0 : EFER_NX);
		for (unsigned i = 0; i < 64; i++) {
			struct paging_result one, many;
			uint64_t gva;
			bool is_there;

			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			/* Mostly entries as they are; now and then any bits. */
			put(PT + (seed >> 8 & 511) * 8, seed >> 20 & 7 ? (seed & 0xff0000fff) | P : seed | seed << 40);
			gva = (seed >> 40 & 15 ? LINEAR : seed >> 44 & 1 ? 0x600000 : 0x40000000) + (seed >> 3 & 0x1fffff);
			memset(&one, 0, sizeof(one));
			memset(&many, 0, sizeof(many));
			is_there = paging_translate(cpu, gva, &one);
			for (int access = PAGING_READ; access <= PAGING_FETCH; access++) {
				uint64_t page = is_there ? one.gpa & ~0xfffull : DATA;

				assert_int_equal(paging_is_user_page(cpu, gva, page, access, &near),
						 is_there && is_user_page(&one, access));
				assert_false(paging_is_user_page(cpu, gva, page ^ 0x1000, access, &near));
			}
			assert_int_equal(paging_translate_near(cpu, gva, &near, &many), is_there);
			if (!is_there)
				continue;
			assert_int_equal(many.gpa, one.gpa);
			assert_int_equal(many.page_size, one.page_size);
			assert_int_equal(many.user << 4 | many.writable << 3 | many.no_execute << 2 | many.dirty << 1 | many.accessed,
					 one.user << 4 | one.writable << 3 | one.no_execute << 2 | one.dirty << 1 | one.accessed);
			assert_int_equal(many.global, one.global);
		}
	}
}

static void rights_and_error_codes(void **state)
{
	(void)state;
	assert_int_equal(walk(LINEAR, PAGING_WRITE, TLB_USER), -1);
	assert_int_equal(walk(LINEAR + 0x1000, PAGING_READ, TLB_SUPERVISOR), 0);
	assert_int_equal(walk(LINEAR + 0x1000, PAGING_WRITE, TLB_USER), 6);
	assert_int_equal(walk(LINEAR + 0x1000, PAGING_FETCH, TLB_USER), 0x14);

	put(PT, DATA | P | U);
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_USER), -1);
	assert_int_equal(walk(LINEAR, PAGING_WRITE, TLB_USER), 7);
	assert_int_equal(walk(LINEAR, PAGING_WRITE, TLB_SUPERVISOR), 3);
	cpu->cr0 &= ~CR0_WP;
	assert_int_equal(walk(LINEAR, PAGING_WRITE, TLB_SUPERVISOR), -1);
	assert_int_equal(walk(LINEAR, PAGING_WRITE, TLB_USER), 7);

	put(PT, DATA | P | W);
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_USER), 5);
	put(PT, DATA | P | W | U | XD);
	assert_int_equal(walk(LINEAR, PAGING_FETCH, TLB_USER), 0x15);
	assert_int_equal(walk(LINEAR, PAGING_FETCH, TLB_SUPERVISOR), 0x11);
	/* XD of an upper level counts, R/W and U/S of an upper level restrict. */
	put(PT, DATA | P | W | U);
	put(PDPT, PD | P | W | U | XD);
	assert_int_equal(walk(LINEAR, PAGING_FETCH, TLB_SUPERVISOR), 0x11);
	put(PDPT, PD | P | W);
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_USER), 5);
}

static void smep_and_smap(void **state)
{
	(void)state;
	cpu->cr4 |= CR4_SMEP | CR4_SMAP;
	assert_int_equal(walk(LINEAR, PAGING_FETCH, TLB_SUPERVISOR), 0x11);
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_SUPERVISOR), 1);
	assert_int_equal(walk(LINEAR, PAGING_WRITE, TLB_SUPERVISOR), 3);
	assert_int_equal(walk(LINEAR, PAGING_WRITE, TLB_SUPERVISOR_AC), -1);
	assert_int_equal(walk(LINEAR, PAGING_FETCH, TLB_USER), -1);
	/* Without NX the error code tells fetches apart only with SMEP. */
	cpu->efer &= ~EFER_NX;
	assert_int_equal(walk(LINEAR + 0x1000, PAGING_FETCH, TLB_SUPERVISOR), 0x10);
	cpu->cr4 &= ~CR4_SMEP;
	assert_int_equal(walk(LINEAR + 0x1000, PAGING_FETCH, TLB_SUPERVISOR), 0);
}

static void reserved_bits(void **state)
{
	(void)state;
	put(PT, DATA | P | W | U | 1ull << 40);
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_USER), 0xd);
	put(PT, DATA | P | W | U | 1ull << 52); /* ignored bit */
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_USER), -1);
	put(PT, DATA | P | W | U | XD);
	cpu->efer &= ~EFER_NX;
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_USER), 0xd);
	put(PT, 1ull << 40); /* not present: nothing is reserved */
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_USER), 4);
	put(PD + 3 * 8, 0x40000000 | P | PS | 1 << 13);
	assert_int_equal(walk(0x600000, PAGING_READ, TLB_SUPERVISOR), 9);
	put(PD + 3 * 8, 0x40000000 | P | PS | 1 << 12); /* PAT */
	assert_int_equal(walk(0x600000, PAGING_READ, TLB_SUPERVISOR), -1);
	put(PDPT + 8, 0x80000000 | P | PS);
	assert_int_equal(walk(0x40000000, PAGING_READ, TLB_SUPERVISOR), -1);
	cpu->features[CPU_FEATURES_EXT1_EDX] = 0;
	assert_int_equal(walk(0x40000000, PAGING_READ, TLB_SUPERVISOR), 9);
	put(TOP, PDPT | P | PS);
	assert_int_equal(walk(LINEAR, PAGING_READ, TLB_SUPERVISOR), 9);
}

static void accessed_and_dirty(void **state)
{
	(void)state;
	put(PT, DATA | P | U);
	walk(LINEAR, PAGING_WRITE, TLB_USER);
	assert_int_equal(get(TOP) & A, 0); /* a refused access sets nothing */
	walk(LINEAR, PAGING_READ, TLB_USER);
	assert_int_equal(get(TOP), PDPT | P | W | U | A);
	assert_int_equal(get(PDPT), PD | P | W | U | A);
	assert_int_equal(get(PD + 16), PT | P | W | U | A);
	assert_int_equal(get(PT), DATA | P | U | A);
	put(PT, DATA | P | W);
	walk(LINEAR, PAGING_WRITE, TLB_SUPERVISOR);
	assert_int_equal(get(PT), DATA | P | W | A | D);
	assert_int_equal(get(PD + 16) & D, 0);
}

static void pae(void **state)
{
	(void)state;
	cpu->efer = EFER_NX;
	cpu->mode = CPU_MODE_CODE32 | CPU_MODE_PROTECTED;
	put(PDPT + 3 * 8, TOP2 | P);
	put(TOP2, PT | P | W | U);
	put(TOP2 + 8, 0x600000 | P | W | U | PS | XD);
	/* Entry 0 has R/W and U/S set, which are reserved there. */
	assert_false(paging_load_pdptrs(cpu, PDPT, cpu->pdptr));
	put(PDPT, 0);
	assert_true(paging_load_pdptrs(cpu, PDPT, cpu->pdptr));
	assert_int_equal(translate(0xc0000010), DATA + 0x10);
	assert_int_equal(translate(0xc0212345), 0x612345);
	assert_int_equal(translate(0), UINT64_MAX);
	assert_int_equal(walk(0xc0212345, PAGING_FETCH, TLB_USER), 0x15);
	put(TOP2 + 8, 0x600000 | P | W | U | PS | 1ull << 52); /* reserved here */
	assert_int_equal(walk(0xc0212345, PAGING_READ, TLB_USER), 0xd);
}

static void legacy32(void **state)
{
	(void)state;
	cpu->efer = 0;
	cpu->cr4 = CR4_PSE;
	cpu->mode = CPU_MODE_CODE32 | CPU_MODE_PROTECTED;
	memset(machine.memory, 0, 0x6000);
	put32(TOP + 4, PT | P | W | U);
	put32(PT + 4 * 3, DATA | P | W | U);
	assert_int_equal(translate(0x403123), DATA + 0x123);
	assert_int_equal(walk(0x403123, PAGING_WRITE, TLB_USER), -1);
	assert_int_equal((uint32_t)get(PT + 12), DATA | P | W | U | A | D);
	put32(TOP + 8, 0x00c00000 | P | PS);
	assert_int_equal(translate(0x00812345), 0x00c12345);
	put32(TOP + 8, 0x00c00000 | P | PS | 0x7 << 13); /* PSE-36: address bits 34:32 */
	assert_int_equal(translate(0x00812345), 0x700c12345);
	put32(TOP + 8, 0x00c00000 | P | PS | 1 << 21);
	assert_int_equal(walk(0x00812345, PAGING_READ, TLB_SUPERVISOR), 9);
	cpu->physical_bits = 36;
	put32(TOP + 8, 0x00c00000 | P | PS | 1 << 17);
	assert_int_equal(walk(0x00812345, PAGING_READ, TLB_SUPERVISOR), 9);
	/* No page size extension: PS is ignored, the entry names a table. */
	cpu->cr4 = 0;
	put32(TOP + 8, PT | P | PS);
	assert_int_equal(translate(0x00803000), DATA);
	assert_int_equal(walk(0x00800000, PAGING_FETCH, TLB_USER), 4);
}

static void accesses_fill_the_tlb(void **state)
{
	(void)state;
	put(PT, DATA | P | W);
	lin_write(cpu, LINEAR + 8, 0x1122334455667788, 8, CPU_DS);
	assert_int_equal(get(DATA + 8), 0x1122334455667788);
	put(PT, 0);
	assert_int_equal(lin_read(cpu, LINEAR + 8, 2, CPU_DS), 0x7788);
	assert_int_equal(cpu->tlb_misses, 1);
	tlb_flush_page(cpu, LINEAR + 0xfff);
	assert_true(RAISES(lin_read(cpu, LINEAR + 8, 2, CPU_DS)));
	assert_int_equal(machine.vector, EXCEPTION_PF);
	assert_int_equal(machine.address, LINEAR + 8);
	assert_int_equal(machine.error, 0);
	assert_true(RAISES(lin_read(cpu, 0x800000000000, 1, CPU_DS)));
	assert_int_equal(machine.vector, EXCEPTION_GP);
	assert_true(RAISES(lin_read(cpu, 0x7ffffffffffd, 4, CPU_SS)));
	assert_int_equal(machine.vector, EXCEPTION_SS);
}

static void clean_pages_become_dirty_by_writes_only(void **state)
{
	(void)state;
	lin_read(cpu, LINEAR, 1, CPU_DS);
	assert_int_equal(get(PT) & (A | D), A);
	lin_write(cpu, LINEAR, 1, 1, CPU_DS);
	assert_int_equal(get(PT) & (A | D), A | D);
}

static void crossing_accesses_are_all_or_nothing(void **state)
{
	(void)state;
	put(PT + 8, DATA2 | P);
	lin_write(cpu, LINEAR + 0xff8, -1ull, 8, CPU_DS);
	assert_true(RAISES(lin_write(cpu, LINEAR + 0xffe, 0, 4, CPU_DS)));
	assert_int_equal(machine.address, LINEAR + 0x1000);
	assert_int_equal(machine.error, 3);
	assert_int_equal(get(DATA + 0xff8), -1ull);
	put(PT + 8, DATA2 | P | W);
	lin_write(cpu, LINEAR + 0xffe, 0x44332211, 4, CPU_DS);
	assert_int_equal(lin_read(cpu, LINEAR + 0xffc, 8, CPU_DS), 0x44332211ffff);
	assert_int_equal(machine.memory[DATA2], 0x33);
	assert_null(lin_pointer(cpu, LINEAR + 0xff8, 16, false, CPU_DS));
	assert_ptr_equal(lin_pointer(cpu, LINEAR + 0xff0, 16, false, CPU_DS),
			 machine.memory + DATA + 0xff0);
}

static void flushes_respect_global_and_large_pages(void **state)
{
	(void)state;
	put(PT, DATA | P | W | G);
	put(PT + 8, DATA2 | P | W);
	put(PD + 3 * 8, 0x600000 | P | W | PS);
	lin_read(cpu, LINEAR, 1, CPU_DS);
	lin_read(cpu, LINEAR + 0x1000, 1, CPU_DS);
	lin_read(cpu, 0x600000, 1, CPU_DS);
	lin_read(cpu, 0x6ff000, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 4);

	tlb_flush_page(cpu, 0x7ff000);
	lin_read(cpu, 0x600000, 1, CPU_DS);
	lin_read(cpu, 0x6ff000, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 6);
	lin_read(cpu, LINEAR + 0x1000, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 6);

	tlb_switch(cpu, false);
	lin_read(cpu, LINEAR, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 6);
	lin_read(cpu, LINEAR + 0x1000, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 7);
	tlb_flush_all(cpu);
	lin_read(cpu, LINEAR, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 8);
}

/* How many of the next eight pages are not in the TLB, nor come there by reading others of them. */
static unsigned misses_of_eight(uint64_t gva, bool is_write)
{
	uint64_t before = cpu->tlb_misses;

	for (unsigned i = 0; i < 8; i++)
		if (is_write)
			lin_write(cpu, gva + i * 0x1000, i, 1, CPU_DS);
		else
			lin_read(cpu, gva + i * 0x1000, 1, CPU_DS);
	return (unsigned)(cpu->tlb_misses - before);
}

static void large_pages_come_in_runs(void **state)
{
	const uint64_t large = 0x600000, other = large + ((uint64_t)TLB_ENTRIES << 12);
	uint64_t gpa, fills;

	(void)state;
	put(PD + (large >> 21) * 8, large | P | W | PS);
	put(PD + (other >> 21) * 8, 0x800000 | P | W | PS);
	put(PD + 8 * 8, P | W | PS);
	lin_read(cpu, large + 0x3000, 1, CPU_DS);
	assert_int_equal(misses_of_eight(large, false), 0);
	assert_int_equal(misses_of_eight(large + 0x8000, false), 1);
	/* What nobody has written to is clean, and the first write says so. */
	assert_int_equal(get(PD + (large >> 21) * 8) & D, 0);
	assert_int_equal(misses_of_eight(large, true), 8);
	assert_int_equal(get(PD + (large >> 21) * 8) & D, D);
	fills = cpu->tlb_sets.writable_fills;
	assert_int_equal(misses_of_eight(large + 0x10000, true), 1);
	assert_int_equal(machine.memory[large + 0x17000], 7);
	/* Those that came along are noted as the one that was missed is. */
	assert_true(tlb_may_write(cpu, large + 0x10000) && tlb_may_write(cpu, large + 0x17000));
	assert_int_equal(cpu->tlb_sets.writable_fills - fills, 8);
	/* They go as one. */
	tlb_flush_page(cpu, large + 0x100000);
	assert_int_equal(misses_of_eight(large, false), 1);
	/* Nothing goes for them, and they hold no more than their own page. */
	assert_int_equal(misses_of_eight(other + 0x20000, true), 1);
	assert_int_equal(lin_read(cpu, large + 0x20000, 1, CPU_DS), 0);
	assert_int_equal(lin_read(cpu, other + 0x23000, 1, CPU_DS), 3);
	assert_int_equal(misses_of_eight(other + 0x20000, true), 1);
	assert_int_equal(misses_of_eight(large + 0x28000, true), 1);
	assert_int_equal(machine.memory[0x823000], 3);
	/* Code is fetched page by page, and where there may be code stores are looked at. */
	tlb_flush_all(cpu);
	lin_fetch_pointer(cpu, large, &gpa);
	assert_int_equal(misses_of_eight(large, false), 1);
	machine.code = 1 << 2; /* bytes 128..191 of DATA's page */
	lin_write(cpu, 0x1000000 + DATA + 0x1000, 1, 8, CPU_DS);
	lin_write(cpu, 0x1000000 + DATA + 128, 1, 8, CPU_DS);
	assert_int_equal(machine.code_writes, 1);
	tlb_flush_all(cpu);
	/* Nor where each page's first write is to be seen. */
	machine.dirty_logging = true;
	machine.pages_dirty = 0;
	assert_int_equal(misses_of_eight(large, false), 8);
	assert_int_equal(misses_of_eight(large, true), 8);
	assert_int_equal(machine.pages_dirty, 8);
	machine.dirty_logging = false;
}

static uint64_t code_moves(uint64_t gva)
{
	uint64_t before = cpu->tlb_sets.global_generation;

	tlb_flush_page(cpu, gva);
	return cpu->tlb_sets.global_generation - before;
}

static void invlpg_moves_code_where_there_is_some(void **state)
{
	uint64_t gpa;

	(void)state;
	put(PT, DATA | P | W);
	put(PT + 8, DATA2 | P | W);
	put(PD + 3 * 8, 0x600000 | P | W | PS);
	lin_read(cpu, LINEAR, 1, CPU_DS);
	assert_int_equal(code_moves(0x200000), 0);
	lin_fetch_pointer(cpu, LINEAR + 0x1000, &gpa);
	lin_fetch_pointer(cpu, 0x612000, &gpa);
	/* Another page of the large one, which may have lost its entries since. */
	assert_int_equal(code_moves(0x600000), 1);
	assert_int_equal(code_moves(0x600000), 1);
	assert_int_equal(code_moves(LINEAR + 0x1000), 1);
	assert_int_equal(code_moves(0x200000), 0);
	/* So many pages of code that the filter is made anew: what is still there stays known. */
	for (unsigned i = 0; i < 100000; i++) {
		tlb_fill(cpu, TLB_SUPERVISOR, (uint64_t)i << 12, DATA, machine.memory + DATA,
			 (struct tlb_page_rights){true, true, true}, 0);
		if (i % 512 == 511)
			assert_int_equal(code_moves((uint64_t)(i - 3) << 12), 1);
	}
	assert_int_equal(code_moves((uint64_t)99999 << 12), 1);
	tlb_flush_all(cpu);
	assert_int_equal(code_moves((uint64_t)99998 << 12), 0);
}

static void pcids_keep_their_translations(void **state)
{
	(void)state;
	memcpy(machine.memory + TOP2, machine.memory + TOP, 4096);
	cpu->cr4 |= CR4_PCIDE;
	tlb_flush_all(cpu);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned pcid = 1; pcid < 7; pcid++) {
			cpu->cr3 = TOP | pcid;
			tlb_switch(cpu, true);
			lin_read(cpu, LINEAR, 1, CPU_DS);
		}
		assert_int_equal(cpu->tlb_misses, 6);
	}
	tlb_flush_pcid(cpu, 3);
	cpu->cr3 = TOP | 3;
	tlb_switch(cpu, true);
	lin_read(cpu, LINEAR, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 7);
	cpu->cr3 = TOP | 4;
	tlb_switch(cpu, false); /* bit 63 clear: this PCID is flushed */
	lin_read(cpu, LINEAR, 1, CPU_DS);
	assert_int_equal(cpu->tlb_misses, 8);
	/* More PCIDs than contexts: one is replaced, and holds nothing old. */
	put(PT, DATA2 | P | W);
	for (unsigned pcid = 100; pcid < 120; pcid++) {
		cpu->cr3 = TOP | pcid;
		tlb_switch(cpu, true);
		machine.memory[DATA2] = pcid;
		assert_int_equal(lin_read(cpu, LINEAR, 1, CPU_DS), pcid);
	}
}

static void writes_are_logged(void **state)
{
	(void)state;
	put(TOP, get(TOP) | A);
	put(PDPT, get(PDPT) | A);
	put(PD + 16, get(PD + 16) | A);
	put(PT, get(PT) | A | D);
	machine.dirty_logging = true;
	lin_read(cpu, LINEAR, 1, CPU_DS);
	assert_int_equal(machine.pages_dirty, 0);
	lin_write(cpu, LINEAR, 1, 1, CPU_DS);
	lin_write(cpu, LINEAR + 5, 1, 1, CPU_DS);
	assert_int_equal(machine.pages_dirty, 1);
	assert_int_equal(machine.last_dirty, DATA);
	tlb_flush_writes(cpu, TLB_ALL_PAGES);
	lin_write(cpu, LINEAR, 1, 1, CPU_DS);
	assert_int_equal(machine.pages_dirty, 2);
	/* Setting A or D writes the page table. */
	put(PT, DATA | P | W | A);
	tlb_flush_all(cpu);
	lin_write(cpu, LINEAR, 1, 1, CPU_DS);
	assert_int_equal(machine.pages_dirty, 4);
}

/* The pages that may be written are remembered roughly, and anew when there have been too many. */
static void first_code_takes_writes_away(void **state)
{
	enum { PAGES = 60000, EACH = 500, BEFORE = 2100, BASE = 1 << 28 };
	const struct tlb_page_rights all = { true, true, true };
	const struct tlb_set *set = &cpu->tlb_sets.sets[TLB_SUPERVISOR];

	(void)state;
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t gva = BASE + (i << 12), gpa = (i * 7 % PAGES) << 12, last = gva - ((uint64_t)BEFORE << 12);
		unsigned index = gva >> 12 & (TLB_ENTRIES - 1), before = last >> 12 & (TLB_ENTRIES - 1);

		tlb_fill(cpu, TLB_SUPERVISOR, gva, gpa, machine.memory, all, i % 3 ? 0 : TLB_PAGE_CODE);
		if (i % EACH != EACH - 1 || i < BEFORE)
			continue;
		assert_true(tlb_may_write(cpu, ((i - BEFORE) * 7 % PAGES) << 12));
		tlb_flush_writes(cpu, ((i - BEFORE) * 7 % PAGES) << 12);
		tlb_renew_writable(cpu);
		assert_int_equal(set->entries[before].tag_read, last);
		assert_int_not_equal(set->entries[before].tag_write, last);
		assert_int_equal(set->gpa[before] & TLB_PAGE_CODE, 0);
		assert_int_equal(set->entries[index].tag_write == gva, i % 3 != 0);
	}
	tlb_flush_all(cpu);
}

static void writes_to_code_are_reported(void **state)
{
	(void)state;
	lin_write(cpu, LINEAR, 1, 8, CPU_DS);
	machine.code = 1 << 2; /* bytes 128..191 */
	tlb_flush_writes(cpu, DATA);
	lin_write(cpu, LINEAR + 120, 1, 8, CPU_DS);
	assert_int_equal(machine.code_writes, 0);
	cpu->requests = 0;
	lin_write(cpu, LINEAR + 121, 1, 8, CPU_DS);
	assert_int_equal(machine.code_writes, 1);
	assert_int_equal(machine.exclusive, 1);
	assert_int_equal(cpu->requests, CPU_REQUEST_STOP_BLOCK);
	assert_null(lin_pointer(cpu, LINEAR, 16, true, CPU_DS));
	lin_write_bytes(cpu, LINEAR + 64, machine.memory, 65, CPU_DS);
	assert_int_equal(machine.code_writes, 2);
	assert_int_equal(cpu->tlb_misses, 2);
	/* The code is gone: writes become fast again. */
	machine.code = 0;
	lin_write(cpu, LINEAR + 128, 1, 8, CPU_DS);
	assert_non_null(lin_pointer(cpu, LINEAR, 16, true, CPU_DS));
	assert_int_equal(machine.code_writes, 2);
}

static void mmio_restarts(void **state)
{
	uint64_t volatile value = 0;
	unsigned volatile exits = 0;

	(void)state;
	put(PT + 8, MMIO_GPA | P | W);
	put(PT + 16, (MMIO_GPA + 0x1000) | P | W);

	/* 8 bytes over two MMIO pages: two fragments, two exits. */
	while (RAISES(value = lin_read(cpu, LINEAR + 0x1ffd, 8, CPU_DS))) {
		assert_int_equal(machine.vector, -1);
		assert_int_equal(machine.run->exit_reason, KVM_EXIT_MMIO);
		assert_false(machine.run->mmio.is_write);
		assert_int_equal(machine.run->mmio.phys_addr, MMIO_GPA + (exits ? 0x1000 : 0xffd));
		assert_int_equal(machine.run->mmio.len, exits ? 5 : 3);
		memset(machine.run->mmio.data, 0x11 * (exits + 1), 8);
		exits++;
		io_resume(cpu);
	}
	assert_int_equal(exits, 2);
	assert_int_equal(value, 0x2222222222111111);
	io_reset(cpu);

	/* A read that a device of the engine takes, then a write that user space gets. */
	machine.mmio_calls = 0;
	machine.mmio_taken = true;
	assert_false(RAISES(value = lin_read(cpu, LINEAR + 0x1004, 4, CPU_DS)));
	assert_int_equal(value, 0xa4a4a4a4);
	assert_true(cpu->requests & CPU_REQUEST_STOP_BLOCK);
	machine.mmio_taken = false;
	assert_true(RAISES(lin_write(cpu, LINEAR + 0x1004, 0x1234, 4, CPU_DS)));
	assert_true(machine.run->mmio.is_write);
	assert_int_equal(machine.run->mmio.data[1], 0x12);
	io_resume(cpu);
	assert_int_equal(lin_read(cpu, LINEAR + 0x1004, 4, CPU_DS), 0xa4a4a4a4);
	assert_false(RAISES(lin_write(cpu, LINEAR + 0x1004, 0x1234, 4, CPU_DS)));
	assert_int_equal(machine.mmio_calls, 2);
	io_reset(cpu);

	/* Memory before MMIO in one write: memory changes when all is done. */
	put(PT, DATA | P | W);
	assert_true(RAISES(lin_write(cpu, LINEAR + 0xffe, 0x44332211, 4, CPU_DS)));
	assert_int_equal(machine.memory[DATA + 0xffe], 0);
	assert_int_equal(machine.run->mmio.len, 2);
	assert_int_equal(machine.run->mmio.data[0], 0x33);
	io_resume(cpu);
	assert_false(RAISES(lin_write(cpu, LINEAR + 0xffe, 0x44332211, 4, CPU_DS)));
	assert_int_equal(machine.memory[DATA + 0xffe], 0x11);
}

static void ports_restart(void **state)
{
	uint8_t *data = (uint8_t *)machine.run + 4096;

	(void)state;
	assert_true(RAISES(pio_read(cpu, 0x60, 2)));
	assert_int_equal(machine.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(machine.run->io.direction, KVM_EXIT_IO_IN);
	assert_int_equal(machine.run->io.data_offset, 4096);
	data[0] = 0x34;
	data[1] = 0x12;
	io_resume(cpu);
	assert_int_equal(pio_read(cpu, 0x60, 2), 0x1234);
	io_reset(cpu);
	assert_true(RAISES(pio_write(cpu, 0x3f8, 'x', 1)));
	assert_int_equal(data[0], 'x');
	io_resume(cpu);
	assert_false(RAISES(pio_write(cpu, 0x3f8, 'x', 1)));
}

static void readonly_slots_write_as_mmio(void **state)
{
	(void)state;
	machine.readonly = true;
	assert_int_equal(lin_read(cpu, LINEAR, 4, CPU_DS), 0);
	assert_true(RAISES(lin_write(cpu, LINEAR, 1, 4, CPU_DS)));
	assert_int_equal(machine.vector, -1);
	assert_int_equal(machine.run->mmio.phys_addr, DATA);
	assert_int_equal(get(DATA), 0);
}

static void alignment_checks(void **state)
{
	(void)state;
	lin_read(cpu, LINEAR + 1, 4, CPU_DS);
	cpu->cr0 |= CR0_AM;
	cpu->rflags |= RFLAGS_AC;
	cpu->cpl = 3;
	tlb_update(cpu);
	lin_read(cpu, LINEAR + 4, 4, CPU_DS);
	assert_true(RAISES(lin_read(cpu, LINEAR + 1, 4, CPU_DS)));
	assert_int_equal(machine.vector, EXCEPTION_AC);
	lin_read(cpu, LINEAR + 1, 1, CPU_DS);
	cpu->cpl = 0;
	tlb_update(cpu);
	lin_read(cpu, LINEAR + 1, 4, CPU_DS);
}

static void fetches(void **state)
{
	uint64_t gpa;

	(void)state;
	put(PT + 8, DATA2 | P | XD);
	put(PT + 16, MMIO_GPA | P);
	assert_ptr_equal(lin_fetch_pointer(cpu, LINEAR + 5, &gpa), machine.memory + DATA + 5);
	assert_int_equal(gpa, DATA + 5);
	assert_ptr_equal(lin_fetch_pointer(cpu, LINEAR + 6, &gpa), machine.memory + DATA + 6);
	assert_int_equal(gpa, DATA + 6);
	assert_int_equal(cpu->tlb_misses, 1);
	assert_true(RAISES(lin_fetch_pointer(cpu, LINEAR + 0x1000, &gpa)));
	assert_int_equal(machine.error, 0x11);
	assert_null(lin_fetch_pointer(cpu, LINEAR + 0x2000, &gpa));
	assert_int_equal(gpa, MMIO_GPA);
	assert_true(RAISES(lin_fetch_pointer(cpu, 1ull << 63, &gpa)));
	assert_int_equal(machine.vector, EXCEPTION_GP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(page_sizes_of_long_mode),
		TEST(many_looks_are_as_one),
		TEST(rights_and_error_codes),
		TEST(smep_and_smap),
		TEST(reserved_bits),
		TEST(accessed_and_dirty),
		TEST(pae),
		TEST(legacy32),
		TEST(accesses_fill_the_tlb),
		TEST(clean_pages_become_dirty_by_writes_only),
		TEST(crossing_accesses_are_all_or_nothing),
		TEST(flushes_respect_global_and_large_pages),
		TEST(large_pages_come_in_runs),
		TEST(invlpg_moves_code_where_there_is_some),
		TEST(pcids_keep_their_translations),
		TEST(writes_are_logged),
		TEST(first_code_takes_writes_away),
		TEST(writes_to_code_are_reported),
		TEST(mmio_restarts),
		TEST(ports_restart),
		TEST(readonly_slots_write_as_mmio),
		TEST(alignment_checks),
		TEST(fetches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
