/*
 * The slow paths of guest memory accesses (memory.h).
 *
 * Every path resolves all pages of its access first, for the rights it needs, so that an access
 * that crosses into a bad page changes nothing (Intel SDM vol. 3 §4.7). A resolved page is a
 * `struct access_target`: memory that may be touched at once, memory whose writes must be compared with
 * the code bitmap, or no memory (MMIO; also writes to read-only slots, KVM api.rst 4.35).
 *
 * Checks come in the CPU's order: canonical address, alignment (§6.15 "Interrupt 17"), page faults.
 */
#include "engine/x86/mmu/memory.h"

#include "engine/x86/breakpoint.h"
#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/mmu/paging.h"
#include "engine/x86/system.h"

#define PAGE_OFFSET 0xfffull

/* Where one byte of an access, and the rest of its page, lives. */
struct access_target {
	uint8_t *hva; /* NULL: not memory for this kind of access */
	uint64_t gpa;
	uint64_t generation; /* tlb_sets.host_generation when hva was got */
	bool has_code; /* written bytes must be reported when they hold decoded code */
};

/* No wait for an exclusive section lies between the resolution of the page and its use. */
static void assert_current(const struct cpu *cpu, const struct access_target *target)
{
#ifdef KVIK_CHECKS
	assert(target->generation == cpu->tlb_sets.host_generation);
#else
	(void)cpu;
	(void)target;
#endif
}

/* The granules of 64 bytes in [gpa, gpa + size), which lie in one page, as code bitmap bits. */
static uint64_t granule_mask(uint64_t gpa, unsigned size)
{
	unsigned first = (gpa & PAGE_OFFSET) / 64;
	unsigned last = ((gpa & PAGE_OFFSET) + size - 1) / 64;

	return (~0ull << first) & (~0ull >> (63 - last));
}

/*
 * Bytes of a page with code were written. Blocks are dropped after the store: a CPU that decodes
 * between the two sees the new bytes, and this instruction isn't complete before all have dropped.
 */
static void report_code_write(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	bool began;

	/* Pairs with code_mark: either the mark is seen here, or the new bytes are there. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!(memory_code_word(cpu, gpa) & granule_mask(gpa, size)))
		return;
	began = cpu_exclusive_begin_beside(cpu);
	fpu_leave(cpu);
	cpu->observer->code_written(cpu, gpa, size);
	if (began)
		cpu_exclusive_end(cpu);
	cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

#define AROUND 8 /* pages, a power of 2; no large page has fewer */

/*
 * One page of a large one was missed for data: the others around it have the same rights, and are mostly next.
 * They go where the TLB has nothing. Not for fetches, so that whoever follows code hears of each page.
 */
static void fill_around(struct cpu *cpu, uint64_t gva, enum tlb_privilege privilege,
			const struct paging_result *result, struct tlb_page_rights rights, unsigned flags)
{
	uint64_t first = gva & ~(uint64_t)(AROUND * 4096 - 1);
	uint64_t first_gpa = result->gpa & ~(uint64_t)(AROUND * 4096 - 1);

	if (!(flags & (TLB_PAGE_LARGE | TLB_PAGE_HUGE)) || cpu->data_breakpoints || cpu->watch)
		return;
	rights.executable = false;
	for (unsigned i = 0; i < AROUND; i++) {
		struct tlb_page_rights here = rights;
		uint64_t gpa = first_gpa + i * 4096;
		struct cpu_page page;
		bool has_code;

		if (!tlb_is_free(cpu, privilege, first + i * 4096) || !memory_page(cpu, gpa, &page) ||
		    !page.hva || page.dirty_logging)
			continue;
		here.writable = rights.writable && page.writable;
		if (here.writable)
			tlb_note_writable(cpu, gpa); /* before it is asked for code */
		has_code = here.writable && memory_code_word(cpu, gpa);
		tlb_fill(cpu, privilege, first + i * 4096, gpa, page.hva, here, has_code ? flags | TLB_PAGE_CODE : flags);
	}
}

/* Walk, look the page up, enter it into the TLB. Raises #PF. */
static struct access_target target_fill(struct cpu *cpu, uint64_t gva, enum paging_access access,
					enum tlb_privilege privilege)
{
	struct paging_result result;
	struct tlb_page_rights rights;
	struct access_target target = {0};
	struct cpu_page page;
	uint32_t error_code;
	unsigned flags = 0;
	bool can_write;

	cpu->tlb_misses++;
	if (!paging_walk(cpu, gva, access, privilege, &result, &error_code))
		cpu_raise_page_fault(cpu, gva, error_code);
	target.gpa = result.gpa;

	if (!memory_page(cpu, result.gpa, &page) || !page.hva)
		return target;
	if (access == PAGING_WRITE && !page.writable)
		return target;

	rights = paging_rights(cpu, &result, privilege);
	can_write = rights.writable && result.dirty && page.writable;
	if (page.dirty_logging) {
		if (access == PAGING_WRITE)
			memory_page_dirty(cpu, result.gpa);
		else
			can_write = false;
	}
	if (access == PAGING_FETCH && cpu->observer)
		cpu->observer->fetch_mapped(cpu, result.gpa);
	/* Also where there will be no entry: the present store goes by what is asked here. */
	if (can_write)
		tlb_note_writable(cpu, result.gpa);
	if (can_write && memory_code_word(cpu, result.gpa))
		flags |= TLB_PAGE_CODE;
	target.has_code = flags & TLB_PAGE_CODE;
	rights.writable = can_write;
	if (cpu->data_breakpoints && breakpoint_watches_page(cpu, gva))
		rights.readable = rights.writable = false;

	if (result.global)
		flags |= TLB_PAGE_GLOBAL;
	if (result.page_size > 4 << 20)
		flags |= TLB_PAGE_HUGE;
	else if (result.page_size > 4096)
		flags |= TLB_PAGE_LARGE;
	tlb_fill(cpu, privilege, gva, result.gpa, page.hva, rights, flags);
	if (access != PAGING_FETCH && !page.dirty_logging && page.writable)
		fill_around(cpu, gva, privilege, &result, rights, flags & ~(unsigned)TLB_PAGE_CODE);
	target.hva = page.hva + (gva & PAGE_OFFSET);
	return target;
}

/* The page of a write that has no tag only because it holds, or held, code. */
static bool target_code_page(struct cpu *cpu, struct tlb_set *set, struct tlb_entry *entry,
			     uint64_t gva, struct access_target *target)
{
	uint64_t page = gva & ~PAGE_OFFSET;
	uint64_t *gpa = &set->gpa[entry - set->entries];

	if (entry->tag_read != page || !(*gpa & TLB_PAGE_CODE))
		return false;
	target->hva = tlb_host(entry, gva);
	target->gpa = (*gpa & ~(uint64_t)TLB_PAGE_FLAGS) | (gva & PAGE_OFFSET);
	target->has_code = memory_code_word(cpu, target->gpa) != 0;
	if (!target->has_code) {
		entry->tag_write = page;
		*gpa &= ~(uint64_t)TLB_PAGE_CODE;
	}
	return true;
}

static struct access_target target_look_up(struct cpu *cpu, uint64_t gva, enum paging_access access,
					   enum tlb_privilege privilege)
{
	struct tlb_set *set = &cpu->tlb_sets.sets[privilege];
	struct tlb_entry *entry = tlb_entry_of(set, gva);
	uint64_t tag = access == PAGING_WRITE ? entry->tag_write :
		       access == PAGING_FETCH ? entry->tag_execute :
						entry->tag_read;
	struct access_target target = {0};

	if (tag == (gva & ~PAGE_OFFSET)) {
		target.hva = tlb_host(entry, gva);
		target.gpa = (set->gpa[entry - set->entries] & ~(uint64_t)TLB_PAGE_FLAGS) |
			     (gva & PAGE_OFFSET);
		return target;
	}
	if (access == PAGING_WRITE && target_code_page(cpu, set, entry, gva, &target))
		return target;
	return target_fill(cpu, gva, access, privilege);
}

static struct access_target target_resolve(struct cpu *cpu, uint64_t gva, enum paging_access access,
					   enum tlb_privilege privilege)
{
	struct access_target target = target_look_up(cpu, gva, access, privilege);

	target.generation = cpu->tlb_sets.host_generation;
	return target;
}

/* One access after its checks: at most two pages. */
struct checked_access {
	uint64_t gva;   /* of the first byte */
	unsigned first; /* bytes in the first page */
	unsigned rest;  /* bytes in the second page */
	struct access_target targets[2];
};

static void access_resolve(struct cpu *cpu, struct checked_access *access, uint64_t gva, unsigned size,
			   bool is_write, enum tlb_privilege privilege, uint64_t address_mask)
{
	enum paging_access kind = is_write ? PAGING_WRITE : PAGING_READ;
	unsigned left = 4096 - (gva & PAGE_OFFSET);
	uint64_t generation;

	access->gva = gva;
	access->first = size < left ? size : left;
	access->rest = size - access->first;
	/* The walk for the second page may have to wait, and the first page's slot go meanwhile, or
	 * its dirty bit be taken: then both are resolved again. */
	do {
		generation = cpu->tlb_sets.host_generation;
		access->targets[0] = target_resolve(cpu, gva, kind, privilege);
		if (access->rest)
			access->targets[1] = target_resolve(cpu, (gva + access->first) & address_mask,
							    kind, privilege);
	} while (cpu->tlb_sets.host_generation != generation);
}

/* An explicit access: canonical, alignment and breakpoint checks, then the pages. */
static void explicit_resolve(struct cpu *cpu, struct checked_access *access, uint64_t gva, unsigned size,
			     bool is_write, enum cpu_segment segment)
{
	uint64_t address_mask = UINT32_MAX;

	if (cpu_is_64(cpu)) {
		address_mask = UINT64_MAX;
		if (!cpu_is_canonical(gva) || !cpu_is_canonical(gva + size - 1))
			cpu_raise_error(cpu, segment == CPU_SS ? EXCEPTION_SS : EXCEPTION_GP, 0);
	}
	gva &= address_mask;
	if (cpu->cpl == 3 && (cpu->rflags & RFLAGS_AC) && (cpu->cr0 & CR0_AM)) {
		unsigned alignment = size == 10 ? 8 : size;

		if (alignment <= 8 && (gva & (alignment - 1)))
			cpu_raise_error(cpu, EXCEPTION_AC, 0);
	}
	if (cpu->data_breakpoints)
		breakpoint_check_access(cpu, gva, size, is_write);
	access_resolve(cpu, access, gva, size, is_write, tlb_privilege(cpu), address_mask);
}

/* An implicit supervisor access (§4.6.1). Outside IA-32e mode linear addresses have 32 bits. */
static void implicit_resolve(struct cpu *cpu, struct checked_access *access, uint64_t gva, unsigned size,
			     bool is_write)
{
	uint64_t address_mask = cpu_is_long(cpu) ? UINT64_MAX : UINT32_MAX;

	gva &= address_mask;
	if (!cpu_is_canonical(gva) || !cpu_is_canonical(gva + size - 1))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	access_resolve(cpu, access, gva, size, is_write, TLB_SUPERVISOR, address_mask);
}

static void target_read(struct cpu *cpu, const struct access_target *target, uint8_t *buffer,
			unsigned size)
{
	assert_current(cpu, target);
	if (target->hva)
		bytes_copy(buffer, target->hva, size);
	else
		mmio_read_bytes(cpu, target->gpa, buffer, size);
}

/* About to store to RAM. */
static void note_store(struct cpu *cpu, const struct access_target *target, unsigned size)
{
	assert_current(cpu, target);
	if (!cpu->watch)
		return;
	if (target->has_code)
		memory_watch_lasting(cpu);
	cpu->watch->store(cpu->watch, cpu, target->hva, size);
}

static void target_write(struct cpu *cpu, const struct access_target *target, const uint8_t *buffer,
			 unsigned size)
{
	if (!target->hva) {
		mmio_write_bytes(cpu, target->gpa, buffer, size);
		return;
	}
	note_store(cpu, target, size);
	bytes_copy(target->hva, buffer, size);
}

static void access_read(struct cpu *cpu, const struct checked_access *access, void *buffer)
{
	target_read(cpu, &access->targets[0], buffer, access->first);
	if (access->rest)
		target_read(cpu, &access->targets[1], (uint8_t *)buffer + access->first,
			    access->rest);
}

/*
 * MMIO goes first: it may unwind to user space, and memory must not have been written then.
 * Reports go last: host addresses are good only until then, since memory slots may change
 * meanwhile.
 */
static void access_write(struct cpu *cpu, const struct checked_access *access, const void *buffer)
{
	const uint8_t *rest = (const uint8_t *)buffer + access->first;
	bool rest_first = access->rest && access->targets[0].hva && !access->targets[1].hva;

	if (rest_first)
		target_write(cpu, &access->targets[1], rest, access->rest);
	target_write(cpu, &access->targets[0], buffer, access->first);
	if (access->rest && !rest_first)
		target_write(cpu, &access->targets[1], rest, access->rest);
	if (access->targets[0].has_code)
		report_code_write(cpu, access->targets[0].gpa, access->first);
	if (access->rest && access->targets[1].has_code)
		report_code_write(cpu, access->targets[1].gpa, access->rest);
}

/* 1, 2, 4 or 8 bytes; within a page the access stays one access, as other CPUs can tell. */
static uint64_t value_read(struct cpu *cpu, const struct checked_access *access, unsigned size)
{
	uint64_t value = 0;

	assert_current(cpu, &access->targets[0]);
	if (access->rest)
		access_read(cpu, access, &value);
	else if (access->targets[0].hva)
		value = load_host(access->targets[0].hva, size);
	else
		value = mmio_read(cpu, access->targets[0].gpa, size);
	return value;
}

static void value_write(struct cpu *cpu, const struct checked_access *access, uint64_t value, unsigned size)
{
	const struct access_target *target = &access->targets[0];

	if (access->rest) {
		access_write(cpu, access, &value);
	} else if (target->hva) {
		note_store(cpu, target, size);
		store_host(target->hva, value, size);
		if (target->has_code)
			report_code_write(cpu, target->gpa, size);
	} else {
		mmio_write(cpu, target->gpa, value, size);
	}
}

uint64_t lin_read_slow(struct cpu *cpu, uint64_t gva, unsigned size, enum cpu_segment segment)
{
	struct checked_access access;

	explicit_resolve(cpu, &access, gva, size, false, segment);
	return value_read(cpu, &access, size);
}

void lin_write_slow(struct cpu *cpu, uint64_t gva, uint64_t value, unsigned size,
		    enum cpu_segment segment)
{
	struct checked_access access;

	explicit_resolve(cpu, &access, gva, size, true, segment);
	value_write(cpu, &access, value, size);
}

void *lin_pointer_slow(struct cpu *cpu, uint64_t gva, unsigned size, bool is_write,
		       enum cpu_segment segment)
{
	struct checked_access access;

	explicit_resolve(cpu, &access, gva, size, is_write, segment);
	if (access.rest || access.targets[0].has_code)
		return NULL;
	if (is_write && access.targets[0].hva)
		note_store(cpu, &access.targets[0], size);
	return access.targets[0].hva;
}

void *lin_code_pointer(struct cpu *cpu, uint64_t gva, unsigned size, enum cpu_segment segment, uint64_t *gpa)
{
	struct checked_access access;

	explicit_resolve(cpu, &access, gva, size, true, segment);
	if (access.rest || !access.targets[0].has_code || cpu->watch)
		return NULL;
	*gpa = access.targets[0].gpa;
	return access.targets[0].hva;
}

void lin_code_stored(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	report_code_write(cpu, gpa, size);
}

void lin_read_bytes(struct cpu *cpu, uint64_t gva, void *buffer, unsigned size,
		    enum cpu_segment segment)
{
	struct checked_access access;

	explicit_resolve(cpu, &access, gva, size, false, segment);
	access_read(cpu, &access, buffer);
}

void lin_write_bytes(struct cpu *cpu, uint64_t gva, const void *buffer, unsigned size,
		     enum cpu_segment segment)
{
	struct checked_access access;

	explicit_resolve(cpu, &access, gva, size, true, segment);
	access_write(cpu, &access, buffer);
}

const uint8_t *lin_fetch_slow(struct cpu *cpu, uint64_t gva, uint64_t *gpa)
{
	struct access_target target;

	if (!cpu_is_64(cpu))
		gva = (uint32_t)gva;
	else if (!cpu_is_canonical(gva))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	target = target_resolve(cpu, gva, PAGING_FETCH, tlb_privilege(cpu));
	*gpa = target.gpa;
	return target.hva;
}

uint64_t sys_read(struct cpu *cpu, uint64_t gva, unsigned size)
{
	uint64_t linear = cpu_is_long(cpu) ? gva : (uint32_t)gva;
	const struct tlb_entry *entry = tlb_entry_of(&cpu->tlb_sets.sets[TLB_SUPERVISOR], linear);
	struct checked_access access;

	/* Each interrupt reads descriptors; what is not canonical has no tag. */
	if (__builtin_expect(entry->tag_read == ((linear + size - 1) & ~PAGE_OFFSET), 1))
		return load_host(tlb_host(entry, linear), size);
	implicit_resolve(cpu, &access, gva, size, false);
	return value_read(cpu, &access, size);
}

void sys_write(struct cpu *cpu, uint64_t gva, uint64_t value, unsigned size)
{
	struct checked_access access;

	implicit_resolve(cpu, &access, gva, size, true);
	value_write(cpu, &access, value, size);
}

void sys_check_write(struct cpu *cpu, uint64_t gva, unsigned size)
{
	struct checked_access access;

	implicit_resolve(cpu, &access, gva, size, true);
}
