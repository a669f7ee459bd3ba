/*
 * Executing thunks (thunk.h): enable bits, the memory operand, the call, exceptions.
 *
 * Each handler has the same order: may the instruction run at all, where is its operand (page
 * faults), run. Guest memory is used in place when the operand lies in one page of plain RAM;
 * otherwise the operand goes through the scratch buffer. Nothing may come between fpu_enter and
 * the thunk, as the memory functions may take the state out of the registers again.
 *
 * Alignment is the linear address's, checked here: the host would check it with a signal, and
 * would not for the scratch buffer.
 */
#include "engine/x86/instructions/fpu_execute.h"

#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/mmu/memory.h"

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* Unmasked invalid, overflow and underflow exceptions keep a store from happening. */
#define X87_STORE_EXCEPTIONS 0x19u

void fpu_gate_closed(struct cpu *cpu, const struct thunk_traits *traits)
{
	enum exception vector = EXCEPTION_NM;

	switch (traits->gate) {
	case THUNK_GATE_X87:
		break;
	case THUNK_GATE_SSE:
		if (!(cpu->cr4 & FPU_CR4_OSFXSR))
			vector = EXCEPTION_UD;
		/* fall through */
	case THUNK_GATE_MMX:
		if (cpu->cr0 & FPU_CR0_EM)
			vector = EXCEPTION_UD;
		break;
	case THUNK_GATE_AVX:
		if (!(cpu->cr4 & FPU_CR4_OSXSAVE) || (~cpu->xcr0 & traits->xcr0_required))
			vector = EXCEPTION_UD;
		break;
	}
	cpu_raise(cpu, vector);
}

_Noreturn static void raise_result(struct cpu *cpu, uint64_t result)
{
	switch (result) {
	case THUNK_X87_EXCEPTION:
		/* CR0.NE = 0 would ask for FERR# and IRQ 13; like KVM on VMX, which cannot run
		 * with NE = 0 either, always deliver #MF. */
		cpu_raise(cpu, EXCEPTION_MF);
	case THUNK_SIMD_EXCEPTION:
		cpu_raise(cpu, cpu->cr4 & FPU_CR4_OSXMMEXCPT ? EXCEPTION_XM : EXCEPTION_UD);
	default:
		cpu_raise(cpu, EXCEPTION_UD);
	}
}

static inline void run(struct cpu *cpu, const struct thunk *thunk, void *memory)
{
	fpu_enter(cpu);

	uint64_t result = thunk->run(cpu, memory);

	if (unlikely(result != THUNK_DONE))
		raise_result(cpu, result);
}

/* Where AMD's processors take a misaligned operand all the same; the host may be another. */
static bool takes_misaligned(struct cpu *cpu, const struct thunk_traits *traits)
{
	uint32_t mxcsr;

	if (!cpu->is_amd)
		return false;
	if (!(traits->flags & THUNK_MAY_MISALIGN))
		return traits->flags & THUNK_AMD_UNALIGNED;
	if (cpu->fpu.live)
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	else
		mxcsr = bytes_load32(cpu->fpu.area + FPU_IMAGE_MXCSR);
	return mxcsr & FPU_MXCSR_MM;
}

static inline uint64_t operand_linear(struct cpu *cpu, const struct insn *insn,
				      const struct thunk_traits *traits, bool is_write)
{
	uint64_t gva = segment_linear(cpu, insn->segment, mem_offset(cpu, insn), traits->size,
				      is_write);

	if (unlikely(gva & traits->alignment) && !takes_misaligned(cpu, traits))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	return gva;
}

void fpu_run_register(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;

	fpu_check_gate(cpu, &thunk->traits);
	run(cpu, thunk, NULL);
}

/* The operand at gva for reading: in place, or copied to the scratch buffer. The latter, too, when it
 * has not the alignment that the host may ask for. */
static inline void *load_operand(struct cpu *cpu, const struct insn *insn, uint64_t gva,
				 unsigned size, unsigned alignment)
{
	void *memory = lin_pointer(cpu, gva, size, false, insn->segment);

	if (likely(memory != NULL) && likely(!(gva & alignment)))
		return memory;
	lin_read_bytes(cpu, gva, cpu->fpu.scratch, size, insn->segment);
	return cpu->fpu.scratch;
}

void fpu_run_load(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	uint64_t gva;

	fpu_check_gate(cpu, &thunk->traits);
	gva = operand_linear(cpu, insn, &thunk->traits, false);
	run(cpu, thunk, load_operand(cpu, insn, gva, thunk->traits.size, thunk->traits.alignment));
}

void fpu_run_store(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	unsigned size = thunk->traits.size;
	uint64_t gva;
	void *memory;

	fpu_check_gate(cpu, &thunk->traits);
	gva = operand_linear(cpu, insn, &thunk->traits, true);
	memory = lin_pointer(cpu, gva, size, true, insn->segment);
	if (likely(memory != NULL)) {
		run(cpu, thunk, memory);
		lin_pointer_used(cpu);
	} else {
		/* Running it again after user space answered for MMIO does no harm: such
		 * instructions change nothing but memory and sticky flags. */
		run(cpu, thunk, cpu->fpu.scratch);
		lin_write_bytes(cpu, gva, cpu->fpu.scratch, size, insn->segment);
	}
}

/* -- x87: the same, with the last-instruction pointers -- */

static inline void track(struct cpu *cpu, const struct insn *insn, const struct thunk *thunk)
{
	if (thunk->traits.flags & THUNK_X87_CONTROL) {
		if (thunk->traits.flags & THUNK_X87_INIT) {
			cpu->fpu.fip = 0;
			cpu->fpu.fdp = 0;
			cpu->fpu.fop = 0;
		}
		return;
	}
	cpu->fpu.fip = cpu->rip;
	cpu->fpu.fop = insn->immediate2;
}

void fpu_run_x87_register(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;

	fpu_check_gate(cpu, &thunk->traits);
	run(cpu, thunk, NULL);
	track(cpu, insn, thunk);
}

void fpu_run_x87_load(struct cpu *cpu, const struct insn *insn)
{
	fpu_run_load(cpu, insn);
	track(cpu, insn, insn->thunk);
	cpu->fpu.fdp = mem_offset(cpu, insn);
}

/*
 * A store that may pop the stack into memory that is not plain RAM. The write may unwind, to be run
 * again, so the stack must not have been popped by then; afterwards it is popped for good.
 */
static void x87_store_slow(struct cpu *cpu, const struct insn *insn, uint64_t gva)
{
	const struct thunk *thunk = insn->thunk;
	uint16_t status, control;
	uint64_t result;

	fpu_enter(cpu);
	fpu_save_x87(cpu);
	result = thunk->run(cpu, cpu->fpu.scratch);
	if (result != THUNK_DONE)
		raise_result(cpu, result);
	__asm__ volatile("fnstsw %0" : "=m"(status));
	__asm__ volatile("fnstcw %0" : "=m"(control));
	if (status & ~control & X87_STORE_EXCEPTIONS)
		return;
	fpu_restore_x87(cpu);
	lin_write_bytes(cpu, gva, cpu->fpu.scratch, thunk->traits.size, insn->segment);
	run(cpu, thunk, cpu->fpu.scratch);
}

void fpu_run_x87_store(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	uint64_t gva;
	void *memory;

	fpu_check_gate(cpu, &thunk->traits);
	gva = operand_linear(cpu, insn, &thunk->traits, true);
	memory = lin_pointer(cpu, gva, thunk->traits.size, true, insn->segment);
	if (likely(memory != NULL))
		run(cpu, thunk, memory);
	else
		x87_store_slow(cpu, insn, gva);
	track(cpu, insn, thunk);
	cpu->fpu.fdp = mem_offset(cpu, insn);
}

/* -- masked operands: only the active elements may fault (SDM vol. 2 §2.7.7) -- */

struct active_extent {
	uint64_t active;        /* by element, after packing */
	unsigned first, end;    /* bytes of the operand that are touched: [first, end) */
};

static unsigned count_bits(uint64_t bits)
{
	unsigned count = 0;

	for (; bits != 0; bits &= bits - 1)
		count++;
	return count;
}

static uint64_t low_bits(unsigned count)
{
	return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

static struct active_extent masked_extent(struct cpu *cpu, const struct thunk *thunk)
{
	const struct thunk_traits *traits = &thunk->traits;
	struct active_extent extent = {.active = 0};

	fpu_enter(cpu);
	extent.active = thunk->second(cpu, NULL) & low_bits(traits->elements);
	if (extent.active == 0)
		return extent;
	if (traits->mask == THUNK_MASK_PACKED)
		extent.active = low_bits(count_bits(extent.active));
	if (traits->mask == THUNK_MASK_FOLDED) {
		unsigned in_memory = traits->size / traits->element_size;

		for (unsigned half = traits->elements / 2; half >= in_memory; half /= 2)
			extent.active |= extent.active >> half;
		extent.active &= low_bits(in_memory);
	}
	extent.first = (unsigned)__builtin_ctzll(extent.active) * traits->element_size;
	extent.end = (64 - (unsigned)__builtin_clzll(extent.active)) * traits->element_size;
	return extent;
}

/* The linear address of the operand whose active part is checked against the segment. */
static uint64_t masked_linear(struct cpu *cpu, const struct insn *insn, const struct active_extent *extent,
			      bool is_write)
{
	const struct thunk *thunk = insn->thunk;
	uint64_t gva = segment_linear(cpu, insn->segment, mem_offset(cpu, insn) + extent->first,
				      extent->end - extent->first, is_write) -
		       extent->first;

	if (gva & thunk->traits.alignment)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	return gva;
}

/* Copy the active elements, run by run, between memory and the scratch buffer. */
static void copy_active(struct cpu *cpu, const struct insn *insn, uint64_t gva,
			const struct active_extent *extent, bool is_write)
{
	const struct thunk *thunk = insn->thunk;
	unsigned size = thunk->traits.element_size;
	uint64_t active = extent->active;
	unsigned element = 0;

	while (active != 0) {
		unsigned skip = (unsigned)__builtin_ctzll(active);
		unsigned length, offset;

		active >>= skip;
		element += skip;
		length = ~active == 0 ? 64 : (unsigned)__builtin_ctzll(~active);
		offset = element * size;
		if (is_write)
			lin_write_bytes(cpu, gva + offset, cpu->fpu.scratch + offset, length * size,
					insn->segment);
		else
			lin_read_bytes(cpu, gva + offset, cpu->fpu.scratch + offset, length * size,
				       insn->segment);
		active = length == 64 ? 0 : active >> length;
		element += length;
	}
}

/* Raise the page faults of writing the active elements, before any is written. */
static void check_active_writes(struct cpu *cpu, const struct insn *insn, uint64_t gva,
				const struct active_extent *extent)
{
	const struct thunk *thunk = insn->thunk;
	unsigned size = thunk->traits.element_size;
	uint64_t boundary = ((gva + extent->first) | 0xfff) + 1;

	/* Once on either side of the page boundary, and for an element across it, both sides. */
	for (unsigned element = 0; element < 64 && extent->active >> element != 0; element++) {
		uint64_t start = gva + element * size;

		if (!(extent->active >> element & 1))
			continue;
		if (start < boundary && start + size > boundary) {
			lin_pointer(cpu, start, (unsigned)(boundary - start), true, insn->segment);
			lin_pointer(cpu, boundary, (unsigned)(start + size - boundary), true,
				    insn->segment);
		} else {
			lin_pointer(cpu, start, size, true, insn->segment);
		}
	}
}

/*
 * Where the thunk may run on guest memory itself, or NULL: the active part is plain RAM, and the
 * rest of the operand is in the same page. What is behind a page's end on the host is anyone's, or
 * nobody's, and whether the host looks there is its own affair: not all instructions suppress
 * faults.
 */
static uint8_t *masked_pointer(struct cpu *cpu, const struct insn *insn, uint64_t gva,
                               const struct active_extent *extent, bool is_write)
{
	const struct thunk *thunk = insn->thunk;
	uint8_t *memory = lin_pointer(cpu, gva + extent->first, extent->end - extent->first,
	                              is_write, insn->segment);

	if (memory == NULL || (gva & 0xfff) + thunk->traits.size > 0x1000)
		return NULL;
	return memory - extent->first;
}

void fpu_run_masked_load(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	struct active_extent extent;
	uint64_t gva;
	uint8_t *memory;

	fpu_check_gate(cpu, &thunk->traits);
	extent = masked_extent(cpu, thunk);
	if (extent.active == 0) {
		run(cpu, thunk, cpu->fpu.scratch);
		return;
	}
	gva = masked_linear(cpu, insn, &extent, false);
	memory = masked_pointer(cpu, insn, gva, &extent, false);
	if (likely(memory != NULL)) {
		run(cpu, thunk, memory);
	} else {
		copy_active(cpu, insn, gva, &extent, false);
		run(cpu, thunk, cpu->fpu.scratch);
	}
}

void fpu_run_masked_store(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	struct active_extent extent;
	uint64_t gva;
	uint8_t *memory;

	fpu_check_gate(cpu, &thunk->traits);
	if (thunk->traits.flags & THUNK_FULL_CHECK) {
		gva = operand_linear(cpu, insn, &thunk->traits, true);
		lin_pointer(cpu, gva, thunk->traits.size, true, insn->segment);
	}
	extent = masked_extent(cpu, thunk);
	if (extent.active == 0) {
		run(cpu, thunk, cpu->fpu.scratch);
		return;
	}
	gva = masked_linear(cpu, insn, &extent, true);
	memory = masked_pointer(cpu, insn, gva, &extent, true);
	if (likely(memory != NULL)) {
		run(cpu, thunk, memory);
	} else {
		check_active_writes(cpu, insn, gva, &extent);
		run(cpu, thunk, cpu->fpu.scratch);
		copy_active(cpu, insn, gva, &extent, true);
	}
}

/* MASKMOVQ, MASKMOVDQU: the first function leaves the data in the scratch buffer, the second
 * returns the mask of bytes. */
void fpu_run_masked_bytes(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	struct active_extent extent;
	uint64_t gva;

	fpu_check_gate(cpu, &thunk->traits);
	run(cpu, thunk, cpu->fpu.scratch);
	extent = masked_extent(cpu, thunk);
	if (extent.active == 0)
		return;
	gva = masked_linear(cpu, insn, &extent, true);
	check_active_writes(cpu, insn, gva, &extent);
	copy_active(cpu, insn, gva, &extent, true);
}

/* -- gather and scatter -- */

/*
 * Gathers and scatters go element by element in software. The second function stores the index and
 * data vectors to the scratch buffer and returns the mask, all before memory is touched; `run`
 * then loads the data vector (gather) and clears the mask. Done this way they complete all or
 * nothing: a fault finds the mask unchanged, as if the first element to fault came first, which
 * the architecture allows for all but the order of loads.
 */
static uint64_t element_linear(struct cpu *cpu, const struct insn *insn, uint64_t base,
			       unsigned element, bool is_write)
{
	const struct thunk_traits *traits = &((const struct thunk *)insn->thunk)->traits;
	const uint8_t *index = cpu->fpu.scratch + FPU_SCRATCH_INDEX + element * traits->index_size;
	int64_t value = traits->index_size == 8 ? (int64_t)bytes_load64(index)
						: (int32_t)bytes_load32(index);
	uint64_t offset = base + ((uint64_t)value << insn->scale);

	if (insn->address_size == 4)
		offset = (uint32_t)offset;
	return segment_linear(cpu, insn->segment, offset, traits->element_size, is_write);
}

void fpu_run_gather(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	const struct thunk_traits *traits = &thunk->traits;
	uint8_t *data = cpu->fpu.scratch + FPU_SCRATCH_DATA;
	uint64_t base = mem_offset(cpu, insn);
	unsigned used = traits->elements * traits->element_size;
	uint64_t active;

	fpu_check_gate(cpu, traits);
	fpu_enter(cpu);
	active = thunk->second(cpu, cpu->fpu.scratch);
	bytes_zero(data + used, 64 - used);
	for (unsigned i = 0; i < traits->elements; i++) {
		uint64_t gva, value;

		if (!(active >> i & 1))
			continue;
		gva = element_linear(cpu, insn, base, i, false);
		value = lin_read(cpu, gva, traits->element_size, insn->segment);
		store_host(data + i * traits->element_size, value, traits->element_size);
	}
	run(cpu, thunk, cpu->fpu.scratch);
}

void fpu_run_scatter(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	const struct thunk_traits *traits = &thunk->traits;
	const uint8_t *data = cpu->fpu.scratch + FPU_SCRATCH_DATA;
	uint64_t base = mem_offset(cpu, insn);
	uint64_t active;

	fpu_check_gate(cpu, traits);
	fpu_enter(cpu);
	active = thunk->second(cpu, cpu->fpu.scratch);
	/* Elements are written in order, so that the last of those that overlap stays. */
	for (unsigned i = 0; i < traits->elements; i++) {
		uint64_t gva, value;

		if (!(active >> i & 1))
			continue;
		gva = element_linear(cpu, insn, base, i, true);
		value = load_host(data + i * traits->element_size, traits->element_size);
		lin_write(cpu, gva, value, traits->element_size, insn->segment);
	}
	run(cpu, thunk, cpu->fpu.scratch);
}
