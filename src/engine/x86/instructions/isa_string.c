/*
 * String instructions: MOVS, STOS, LODS, CMPS, SCAS (Intel SDM vol. 1 §7.3.9).
 *
 * Registers are updated after each iteration, or after a run of iterations that cannot fault, so an
 * instruction that faults or is interrupted in the midst goes on where it was. A repeated one does a
 * portion of its count at a time; while some is left, next_rip stays on it and the block ends, so
 * that requests are seen in between.
 *
 * MOVS and STOS on memory go by the page: the host's own REP MOVS on the two host addresses, with DF as the guest
 * has it. Overlap behaves as it must, since the element size and the direction are the same. They look at requests
 * after each page and go on while there are none. So does a page that holds code, such as one that a kernel
 * clears for its next use: what was stored is reported once, and ends the portion.
 */
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/instructions/operand.h"
#include "util/page.h"

#define PORTION 4096 /* iterations, at most, between looks at requests */

struct memory_string {
	struct cpu *cpu;
	const struct insn *insn;
	uint64_t count;   /* iterations left; 1 without a REP prefix */
	int64_t step;     /* bytes from one element to the next */
	unsigned portion; /* iterations that may be done now */
	bool is_repeated;
};

/* Intel's processors truncate registers that have 32-bit addresses before they see that there is
 * nothing to do: RCX, and those that MOVS and STOS advance. */
static void string_truncate(struct cpu *cpu, unsigned pointers)
{
	cpu->gpr[CPU_RCX] = 0;
	for (unsigned reg = CPU_RSI; reg <= CPU_RDI; reg++)
		if (pointers >> reg & 1)
			cpu->gpr[reg] = (uint32_t)cpu->gpr[reg];
}

/* `pointers`: bits of those registers. */
ALWAYS_INLINE struct memory_string string_begin(struct cpu *cpu, const struct insn *insn, unsigned size,
						unsigned pointers)
{
	struct memory_string string = {.cpu = cpu, .insn = insn, .count = 1, .portion = 1};

	string.is_repeated = insn->prefixes & (INSN_REP | INSN_REPNE);
	string.step = cpu->rflags & RFLAGS_DF ? -(int64_t)size : (int64_t)size;
	if (string.is_repeated) {
		string.count = truncate_to(cpu->gpr[CPU_RCX], insn->address_size);
		string.portion = PORTION;
		/* What watches instructions watches iterations. */
		if (cpu->rflags & RFLAGS_TF || cpu->data_breakpoints ||
		    (cpu->guest_debug & KVM_GUESTDBG_SINGLESTEP))
			string.portion = 1;
		if (string.portion > string.count)
			string.portion = (unsigned)string.count;
		if (!string.count && insn->address_size == 4 && !cpu->is_amd)
			string_truncate(cpu, pointers);
	}
	return string;
}

ALWAYS_INLINE uint64_t string_offset(const struct memory_string *string, enum cpu_register reg)
{
	return truncate_to(string->cpu->gpr[reg], string->insn->address_size);
}

ALWAYS_INLINE void string_advance(const struct memory_string *string, enum cpu_register reg, unsigned n)
{
	uint64_t *value = &string->cpu->gpr[reg];

	register_write(value, *value + (uint64_t)(string->step * (int64_t)n),
		       string->insn->address_size);
}

/* n iterations are done. */
ALWAYS_INLINE void string_count(struct memory_string *string, unsigned n)
{
	struct cpu *cpu = string->cpu;

	string->count -= n;
	string->portion -= n;
	if (string->is_repeated)
		register_write(&cpu->gpr[CPU_RCX], string->count, string->insn->address_size);
	if (__builtin_expect(cpu->io.done | cpu->io.cursor, 0)) {
		/* A device saw this iteration: let it, and the run loop, have their turn. */
		io_reset(cpu);
		string->portion = 0;
	}
	if (__builtin_expect(cpu->requests & CPU_REQUEST_STOP_BLOCK, 0))
		string->portion = 0;
}

/* The next n iterations are one run: they do not use the portion up while nothing is requested. */
ALWAYS_INLINE void string_extend(struct memory_string *string, unsigned n)
{
	uint64_t left = string->count - string->portion;

	if (!atomic_load_explicit(&string->cpu->requests, memory_order_relaxed))
		string->portion += left < n ? (unsigned)left : n;
}

/* The instruction is not over: it is the next one again. */
ALWAYS_INLINE void string_end(const struct memory_string *string)
{
	if (string->is_repeated && string->count)
		string->cpu->next_rip = string->cpu->rip;
}

/*
 * How many elements from `offset` up, or with DF down, at most `n`, lie in one page and within the segment, so
 * that checking the first checks them all. Its linear address is in *gva.
 */
ALWAYS_INLINE unsigned string_span(const struct memory_string *string, enum cpu_segment segment,
				   uint64_t offset, unsigned size, bool is_write, unsigned n,
				   uint64_t *gva)
{
	struct cpu *cpu = string->cpu;
	unsigned in_page;

	*gva = segment_linear(cpu, segment, offset, size, is_write);
	in_page = *gva & (PAGE_SIZE - 1);
	if (string->step > 0)
		in_page = (PAGE_SIZE - in_page) / size;
	else
		in_page = in_page + size <= PAGE_SIZE ? in_page / size + 1 : 1;
	if (n > in_page)
		n = in_page;
	/* Offsets wrap below 0, where the linear address need not. */
	if (string->step < 0 && offset / size < n - 1)
		n = (unsigned)(offset / size) + 1;
	if (!cpu_is_64(cpu)) {
		const struct kvm_segment *s = &cpu->segment[segment];
		uint64_t last = string->insn->address_size == 2 ? 0xffff : 0xffffffff;
		bool expands_down = s->s && (s->type & 0xc) == 4;

		if (expands_down)
			return 1;
		if (string->step < 0)
			return n;
		if (last > s->limit)
			last = s->limit;
		if ((last - offset + 1) / size < n)
			n = (unsigned)((last - offset + 1) / size);
	}
	return n ? n : 1;
}

/* The host address of a page-wise run, or NULL: the page's every byte can be accessed directly. */
ALWAYS_INLINE void *string_pointer(struct cpu *cpu, uint64_t gva, unsigned size, bool is_write,
				   enum cpu_segment segment)
{
	struct tlb_entry *entry = tlb_entry_of(cpu->tlb, gva);

	if (!lin_pointer(cpu, gva, size, is_write, segment))
		return NULL;
	if ((is_write ? entry->tag_write : entry->tag_read) != (gva & ~(uint64_t)(PAGE_SIZE - 1)))
		return NULL;
	return tlb_host(entry, gva);
}

/* Where a page-wise run is stored. */
struct string_target {
	void *at;     /* NULL: it goes element by element */
	bool is_code; /* string_stored is to follow */
	uint64_t gpa; /* if so */
};

ALWAYS_INLINE struct string_target string_target(struct cpu *cpu, uint64_t gva, unsigned size)
{
	struct string_target target = {.at = string_pointer(cpu, gva, size, true, CPU_ES)};

	if (!target.at) {
		target.at = lin_code_pointer(cpu, gva, size, CPU_ES, &target.gpa);
		target.is_code = target.at;
	}
	return target;
}

/* n elements are. */
ALWAYS_INLINE void string_stored(const struct memory_string *string, const struct string_target *target,
				 unsigned size, unsigned n)
{
	if (target->is_code)
		lin_code_stored(string->cpu, string->step < 0 ? target->gpa - (n - 1) * size : target->gpa, n * size);
}

/* Both ends of a page-wise copy, or false. The second one's look-up may have waited: memory.h. */
ALWAYS_INLINE bool string_pointers(struct cpu *cpu, unsigned size, uint64_t from,
				   enum cpu_segment segment, const void **source, uint64_t to,
				   struct string_target *target)
{
	uint64_t generation;

	*source = string_pointer(cpu, from, size, false, segment);
	if (!*source)
		return false;
	generation = cpu->tlb_sets.host_generation;
	*target = string_target(cpu, to, size);
	return target->at && cpu->tlb_sets.host_generation == generation;
}

#define HOST_COPY(size, suffix)                                                                    \
	ALWAYS_INLINE void host_copy##size(void *to, const void *from, uint64_t n, bool is_down)   \
	{                                                                                          \
		if (is_down)                                                                       \
			__asm__ volatile("std; rep movs" suffix "; cld"                            \
					 : "+D"(to), "+S"(from), "+c"(n) : : "memory");            \
		else                                                                               \
			__asm__ volatile("rep movs" suffix                                         \
					 : "+D"(to), "+S"(from), "+c"(n) : : "memory");            \
	}                                                                                          \
	ALWAYS_INLINE void host_fill##size(void *to, uint64_t value, uint64_t n, bool is_down)     \
	{                                                                                          \
		if (is_down)                                                                       \
			__asm__ volatile("std; rep stos" suffix "; cld"                            \
					 : "+D"(to), "+c"(n) : "a"(value) : "memory");             \
		else                                                                               \
			__asm__ volatile("rep stos" suffix                                         \
					 : "+D"(to), "+c"(n) : "a"(value) : "memory");             \
	}

HOST_COPY(1, "b")
HOST_COPY(2, "w")
HOST_COPY(4, "l")
HOST_COPY(8, "q")

#define MOVES  (1u << CPU_RSI | 1u << CPU_RDI)
#define STORES (1u << CPU_RDI)

#define STRING_SIZE(size)                                                                          \
	static void movs##size(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		struct memory_string string = string_begin(cpu, insn, size, MOVES);                       \
                                                                                                   \
		while (string.portion) {                                                           \
			uint64_t source = string_offset(&string, CPU_RSI), from, to;               \
			uint64_t target = string_offset(&string, CPU_RDI);                         \
			unsigned n = string_span(&string, insn->segment, source, size, false,      \
						 string.portion, &from);                           \
			const void *q;                                                             \
			struct string_target p;                                                    \
                                                                                                   \
			n = string_span(&string, CPU_ES, target, size, true, n, &to);              \
			if (n > 1 && string_pointers(cpu, size, from, insn->segment, &q, to, &p)) { \
				host_copy##size(p.at, q, n, string.step < 0);                      \
				string_stored(&string, &p, size, n);                               \
				string_extend(&string, n);                                         \
			} else {                                                                   \
				lin_write(cpu, to, lin_read(cpu, from, size, insn->segment), size, \
					  CPU_ES);                                                 \
				n = 1;                                                             \
			}                                                                          \
			string_advance(&string, CPU_RSI, n);                                       \
			string_advance(&string, CPU_RDI, n);                                       \
			string_count(&string, n);                                                  \
		}                                                                                  \
		string_end(&string);                                                               \
	}                                                                                          \
	static void stos##size(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		struct memory_string string = string_begin(cpu, insn, size, STORES);                      \
                                                                                                   \
		while (string.portion) {                                                           \
			uint64_t to, value = cpu->gpr[CPU_RAX];                                    \
			unsigned n = string_span(&string, CPU_ES, string_offset(&string, CPU_RDI), \
						 size, true, string.portion, &to);                 \
			struct string_target p = {.at = NULL};                                     \
                                                                                                   \
			if (n > 1)                                                                 \
				p = string_target(cpu, to, size);                                  \
			if (p.at) {                                                                \
				host_fill##size(p.at, value, n, string.step < 0);                  \
				string_stored(&string, &p, size, n);                               \
				string_extend(&string, n);                                         \
			} else {                                                                   \
				lin_write(cpu, to, value, size, CPU_ES);                           \
				n = 1;                                                             \
			}                                                                          \
			string_advance(&string, CPU_RDI, n);                                       \
			string_count(&string, n);                                                  \
		}                                                                                  \
		string_end(&string);                                                               \
	}                                                                                          \
	static void lods##size(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		struct memory_string string = string_begin(cpu, insn, size, 0);                           \
                                                                                                   \
		while (string.portion) {                                                           \
			uint64_t value = mem_read(cpu, insn->segment,                              \
						  string_offset(&string, CPU_RSI), size);          \
                                                                                                   \
			register_write(&cpu->gpr[CPU_RAX], value, size);                           \
			string_advance(&string, CPU_RSI, 1);                                       \
			string_count(&string, 1);                                                  \
		}                                                                                  \
		string_end(&string);                                                               \
	}

STRING_SIZE(1)
STRING_SIZE(2)
STRING_SIZE(4)
STRING_SIZE(8)

/*
 * CMPS and SCAS compare a with b and go on while REPE's or REPNE's condition holds. A fault in a later
 * iteration shows the flags as they were before the instruction (SDM vol. 2, REP), so they are kept
 * apart until it is done. AMD's processors show those of the last iteration that was done.
 */
#define COMPARE_SIZE(name, T, size, first, second, uses_source)                                    \
	static void name##size(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		struct memory_string string = string_begin(cpu, insn, size, 0);                           \
		bool any = false, ended = false;                                                   \
		unsigned ax = 0;                                                                   \
                                                                                                   \
		while (string.portion && !ended) {                                                 \
			T a = (T)(first), b = (T)(second);                                         \
                                                                                                   \
			__asm__("cmp %[b], %[a]" FLAGS_OUT                                         \
				: "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");                      \
			if (uses_source)                                                           \
				string_advance(&string, CPU_RSI, 1);                               \
			string_advance(&string, CPU_RDI, 1);                                       \
			string_count(&string, 1);                                                  \
			any = true;                                                                \
			if (cpu->is_amd)                                                           \
				flags_unpack(cpu, ax);                                             \
			ended = string.is_repeated && (a == b) != !(insn->prefixes & INSN_REPNE);  \
		}                                                                                  \
		if (any && (ended || !string.is_repeated || !string.count))                        \
			flags_unpack(cpu, ax);                                                     \
		if (!ended)                                                                        \
			string_end(&string);                                                       \
	}

#define COMPARE_DEFINE(T, size)                                                                    \
	COMPARE_SIZE(cmps, T, size,                                                                \
		     mem_read(cpu, insn->segment, string_offset(&string, CPU_RSI), size),          \
		     mem_read(cpu, CPU_ES, string_offset(&string, CPU_RDI), size), true)           \
	COMPARE_SIZE(scas, T, size, cpu->gpr[CPU_RAX],                                             \
		     mem_read(cpu, CPU_ES, string_offset(&string, CPU_RDI), size), false)

COMPARE_DEFINE(uint8_t, 1)
COMPARE_DEFINE(uint16_t, 2)
COMPARE_DEFINE(uint32_t, 4)
COMPARE_DEFINE(uint64_t, 8)

/* Only repeated forms can come back to themselves. */
static insn_handler *bind_string(struct insn *insn, const struct decoded *decoded,
				 const struct isa_row *row)
{
	static insn_handler *const handlers[5][4] = {
		{movs1, movs2, movs4, movs8}, {stos1, stos2, stos4, stos8},
		{lods1, lods2, lods4, lods8}, {cmps1, cmps2, cmps4, cmps8},
		{scas1, scas2, scas4, scas8},
	};

	(void)decoded;
	return handlers[row->argument][size_index(insn->operand_size)];
}

#define ROW_SIZE(name, n, class_)                                                                  \
	{ZYDIS_MNEMONIC_##name, ISA_ENDS_IF_REPEATED, .argument = n, .bind = bind_string, .class = class_}
#define ROW_STRING(name, n, class_)                                                                \
	ROW_SIZE(name##B, n, class_), ROW_SIZE(name##W, n, class_), ROW_SIZE(name##D, n, class_),  \
	ROW_SIZE(name##Q, n, class_)

static const struct isa_row rows[] = {
	ROW_STRING(MOVS, 0, INSN_STRING_COPY), ROW_STRING(STOS, 1, INSN_STRING_FILL),
	ROW_STRING(LODS, 2, INSN_HANDLED), ROW_STRING(CMPS, 3, INSN_HANDLED),
	ROW_STRING(SCAS, 4, INSN_STRING_SCAN),
};

const struct isa_table isa_string = {rows, sizeof(rows) / sizeof(rows[0])};
