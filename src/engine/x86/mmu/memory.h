/*
 * Guest memory as instructions see it.
 *
 * Three layers. `mem_*` take a segment and an offset, do segmentation and then `lin_*`, which take
 * a linear address, go through the TLB and raise page faults with the current privilege. `sys_*`
 * are implicit supervisor accesses (descriptor tables, TSS, stacks of a privilege change, SDM vol.
 * 3 §4.6.1). All raise the guest's exceptions by unwinding (exception.h) and serve MMIO (restart
 * after user space's answer). Sizes are 1, 2, 4 or 8 bytes. Values are little-endian,
 * zero-extended.
 *
 * How long a host address is good. Memory slots, and what their dirty logs hold, change in exclusive
 * sections of other threads. A CPU that executes lets such a section pass at three points only:
 * between blocks (platform->pause), and where it begins or ends a section of its own
 * (cpu_exclusive_begin, cpu_exclusive_end). Behind each of them tlb_obey_flush empties the TLB and
 * counts cpu->tlb_sets.host_generation up, before memory is touched again; and the present block, or
 * translated code that has looked places up ahead, ends with the instruction. So a TLB entry is always
 * good, and a host address is, until the next thing that may begin a section: any mem_*, lin_*, sys_*
 * or fetch, since each may walk page tables in a page that holds code. Whoever needs two pages at once
 * looks both up, and starts again if host_generation has changed by then: memory.c for accesses that
 * cross a page, exec.c for instructions that do, isa_string.c for MOVS. Nothing else keeps two.
 */
#ifndef KVIK_ENGINE_X86_MMU_MEMORY_H
#define KVIK_ENGINE_X86_MMU_MEMORY_H

#include <assert.h>

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/insn.h"
#include "engine/x86/mmu/page.h"
#include "engine/x86/mmu/watch.h"

/* The slow paths (memory.c): TLB fill, page crossing, MMIO, dirty log, code writes. */
uint64_t lin_read_slow(struct cpu *cpu, uint64_t gva, unsigned size, enum cpu_segment segment);
void lin_write_slow(struct cpu *cpu, uint64_t gva, uint64_t value, unsigned size,
		    enum cpu_segment segment);
/*
 * Check and translate an access of `size` (1..64) bytes for reading and writing (is_write) or
 * reading. Returns the host address when all bytes lie in one page of RAM that may be accessed
 * directly; NULL when the access needs lin_read/lin_write or lin_copy_* instead (MMIO, page
 * crossing, code or clean page): all of its page faults have been raised by then, as for a write
 * when is_write. The pointer is good until the next access or the end of the instruction: see above.
 */
void *lin_pointer_slow(struct cpu *cpu, uint64_t gva, unsigned size, bool is_write,
		       enum cpu_segment segment);

/*
 * For runs of stores within a page that holds code, which would each be reported alone. The host address for a write
 * whose first element lies at gva, or NULL: the page holds no code, or is none of RAM, or stores are watched; all
 * page faults have been raised by then. The caller stores there at once, and then calls lin_code_stored with *gpa.
 */
void *lin_code_pointer(struct cpu *cpu, uint64_t gva, unsigned size, enum cpu_segment segment, uint64_t *gpa);
/* What was stored may have been code: an exclusive section if it was. */
void lin_code_stored(struct cpu *cpu, uint64_t gpa, unsigned size);

/* Copy any number of bytes up to 4,096 (FXSAVE, XSAVE, vectors); all or nothing as to faults. */
void lin_read_bytes(struct cpu *cpu, uint64_t gva, void *buffer, unsigned size,
		    enum cpu_segment segment);
void lin_write_bytes(struct cpu *cpu, uint64_t gva, const void *buffer, unsigned size,
		     enum cpu_segment segment);

/* Instruction fetch: see lin_fetch_pointer. */
const uint8_t *lin_fetch_slow(struct cpu *cpu, uint64_t gva, uint64_t *gpa);

/* Implicit supervisor accesses, whatever the CPL. */
uint64_t sys_read(struct cpu *cpu, uint64_t gva, unsigned size);
void sys_write(struct cpu *cpu, uint64_t gva, uint64_t value, unsigned size);
/* Raise the #PF that a write of these bytes would raise, write nothing. */
void sys_check_write(struct cpu *cpu, uint64_t gva, unsigned size);

/*
 * Segmentation: the linear address of offset in segment for an access of `size` bytes; raises
 * #GP(0), or #SS(0) for SS, on a limit, type, null or canonical violation (SDM vol. 3 §5.3, §5.5).
 */
uint64_t segment_linear_checked(struct cpu *cpu, enum cpu_segment segment, uint64_t offset,
				unsigned size, bool is_write);

static inline uint64_t segment_linear(struct cpu *cpu, enum cpu_segment segment, uint64_t offset,
				      unsigned size, bool is_write)
{
	/* 64-bit mode: only FS and GS have bases, no limits; a non-canonical address misses the
	 * TLB and is caught on its slow path. */
	if ((cpu->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64)
		return segment >= CPU_FS ? offset + cpu->segment[segment].base : offset;
	return segment_linear_checked(cpu, segment, offset, size, is_write);
}

static inline struct tlb_entry *tlb_entry_of(struct tlb_set *set, uint64_t gva)
{
	return &set->entries[(gva >> 12) & (TLB_ENTRIES - 1)];
}

/* The host address of gva, which is in the entry's page. */
static inline uint8_t *tlb_host(const struct tlb_entry *entry, uint64_t gva)
{
	return (uint8_t *)(uintptr_t)(entry->delta + gva);
}

static inline void *lin_pointer(struct cpu *cpu, uint64_t gva, unsigned size, bool is_write,
				enum cpu_segment segment)
{
	struct tlb_entry *entry = tlb_entry_of(cpu->tlb, gva);
	uint64_t page = (gva + size - 1) & ~(uint64_t)0xfff;

	void *pointer;

	if (__builtin_expect((is_write ? entry->tag_write : entry->tag_read) == page, 1))
		pointer = tlb_host(entry, gva);
	else
		pointer = lin_pointer_slow(cpu, gva, size, is_write, segment);
#ifdef KVIK_CHECKS
	cpu->tlb_sets.pointer_generation = cpu->tlb_sets.host_generation;
#endif
	return pointer;
}

/* The host address that lin_pointer gave last is about to be used. */
static inline void lin_pointer_used(const struct cpu *cpu)
{
#ifdef KVIK_CHECKS
	assert(cpu->tlb_sets.pointer_generation == cpu->tlb_sets.host_generation);
#else
	(void)cpu;
#endif
}

static inline uint64_t load_host(const void *pointer, unsigned size)
{
	switch (size) {
	case 1: return *(const volatile uint8_t *)pointer;
	case 2: return bytes_load16(pointer);
	case 4: return bytes_load32(pointer);
	default: return bytes_load64(pointer);
	}
}

static inline void store_host(void *pointer, uint64_t value, unsigned size)
{
	switch (size) {
	case 1: *(volatile uint8_t *)pointer = value; break;
	case 2: bytes_store16(pointer, (uint16_t)value); break;
	case 4: bytes_store32(pointer, (uint32_t)value); break;
	default: bytes_store64(pointer, value); break;
	}
}

static inline __attribute__((always_inline)) uint64_t
lin_read(struct cpu *cpu, uint64_t gva, unsigned size, enum cpu_segment segment)
{
	struct tlb_entry *entry = tlb_entry_of(cpu->tlb, gva);

	if (__builtin_expect(entry->tag_read == ((gva + size - 1) & ~(uint64_t)0xfff), 1))
		return load_host(tlb_host(entry, gva), size);
	return lin_read_slow(cpu, gva, size, segment);
}

static inline __attribute__((always_inline)) void
lin_write(struct cpu *cpu, uint64_t gva, uint64_t value, unsigned size, enum cpu_segment segment)
{
	struct tlb_entry *entry = tlb_entry_of(cpu->tlb, gva);

	if (__builtin_expect(entry->tag_write == ((gva + size - 1) & ~(uint64_t)0xfff), 1))
		store_host(tlb_host(entry, gva), value, size);
	else
		lin_write_slow(cpu, gva, value, size, segment);
}

static inline __attribute__((always_inline)) uint64_t
mem_read(struct cpu *cpu, enum cpu_segment segment, uint64_t offset, unsigned size)
{
	return lin_read(cpu, segment_linear(cpu, segment, offset, size, false), size, segment);
}

static inline __attribute__((always_inline)) void
mem_write(struct cpu *cpu, enum cpu_segment segment, uint64_t offset, uint64_t value, unsigned size)
{
	lin_write(cpu, segment_linear(cpu, segment, offset, size, true), value, size, segment);
}

/*
 * The host address of the instruction byte at gva, good for the rest of its page, and its
 * guest-physical address in *gpa. NULL when the page is not memory. Raises #PF as a fetch, or
 * #GP(0) for a non-canonical address (in 64-bit mode).
 */
static inline const uint8_t *lin_fetch_pointer(struct cpu *cpu, uint64_t gva, uint64_t *gpa)
{
	struct tlb_entry *entry = tlb_entry_of(cpu->tlb, gva);

	if (__builtin_expect(entry->tag_execute == (gva & ~(uint64_t)0xfff), 1)) {
		*gpa = (cpu->tlb->gpa[entry - cpu->tlb->entries] & ~(uint64_t)TLB_PAGE_FLAGS) |
		       (gva & 0xfff);
		return tlb_host(entry, gva);
	}
	return lin_fetch_slow(cpu, gva, gpa);
}

/*
 * The offset (effective address before segmentation, truncated to the address size) of the
 * instruction's memory operand.
 */
static inline __attribute__((always_inline)) uint64_t mem_offset(const struct cpu *cpu,
								 const struct insn *insn)
{
	const uint64_t *registers = cpu->gpr; /* and rip, next_rip, zero: see INSN_BASE_RIP */
	uint64_t offset = (uint64_t)insn->displacement + registers[insn->base] +
			  (registers[insn->index] << insn->scale);

	if (insn->address_size == 8)
		return offset;
	return insn->address_size == 4 ? (uint32_t)offset : (uint16_t)offset;
}

#endif
