/*
 * Which guest instructions become host instructions, and what they need for it: their class
 * (insn.h), where the operands and the mode allow it.
 */
#include "engine/run/jit/analyse/item.h"
#include "engine/run/jit/analyse/registers.h"

/* insn_form.vector_levels has them as bits, too. */
_Static_assert(JIT_VECTOR_X87 == INSN_LEVEL_X87 - 1 && JIT_VECTOR_AVX512 == INSN_LEVEL_AVX512 - 1, "");

/* Whether its copy locks the bus or a cache line: not a LOCK that is left out (emit_copy). */
bool item_locks(const struct jit_item *item, bool is_alone)
{
	if (item->kind != ITEM_COPY || !item->form.has_memory)
		return false;
	if (item->insn.traits & INSN_LOCKS)
		return true;
	return (item->insn.prefixes & INSN_LOCK) &&
	       (!is_alone || item_is_fence(item));
}

/* What is locked must be aligned so as not to cross cache lines: there the handler does without the
 * host's LOCK. */
bool item_needs_alignment(const struct jit_item *item)
{
	return item->locks ? item->insn.memory_size > 1 : item->form.is_aligned;
}

uint8_t item_vector_levels(const struct jit_item *item)
{
	return item->kind == ITEM_COPY ? item->form.vector_levels : 0;
}

bool item_is_update(const struct jit_item *item)
{
	if (item->kind != ITEM_COPY || item->insn.operand_size < 4 ||
	    item->insn.kind[0] != INSN_OPERAND_MEMORY || item->insn.kind[1] != INSN_OPERAND_REGISTER)
		return false;
	switch ((enum insn_operation)item->form.operation) {
	case INSN_ADDS:
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR: return true;
	default: return false;
	}
}

/*
 * The idioms: an operation that changes nothing (LOCK ADD $0; LOCK OR $0; LOCK AND $-1), or any on the
 * top of the stack, which nobody else looks at.
 */
bool item_is_fence(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	if (insn->base == CPU_RSP)
		return true;
	if (insn->kind[1] != INSN_OPERAND_IMMEDIATE)
		return false;
	return insn->immediate == (item->form.operation == INSN_AND ? -1 : 0);
}

bool insn_loads_segment(const struct insn *insn)
{
	return insn->traits & INSN_LOADS_FS_GS ||
	       (insn->traits & INSN_LOADS_SEGMENT && insn->reg[0] >= CPU_FS);
}

unsigned item_cycles(const struct jit_item *item)
{
	if (item->kind == ITEM_DIVIDE)
		return 40;
	if (item->insn.traits & INSN_SLOW)
		return 30;
	return item_vector_levels(item) ? 5 : 2;
}

bool item_is_bit_string(const struct jit_item *item)
{
	return item->insn.traits & INSN_BIT_STRING && item->insn.kind[0] == INSN_OPERAND_MEMORY &&
	       item->insn.kind[1] == INSN_OPERAND_REGISTER;
}

/* Whether access.c can compute where the bit is, and the copy on the host gets there, too. */
static bool is_simple_bit_string(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	return insn->operand_size >= 4 && insn->address_size == 8 && insn->segment < CPU_FS &&
	       (insn->index >= CPU_REGISTERS || host_register(insn->index) != HOST_NONE);
}

static enum item_kind classify_copy(const struct jit_item *item)
{
	const struct insn_form *form = &item->form;
	uint16_t registers = form->copy_read | form->copy_written;

	if (!form->is_copyable || !form->host_has_it || form->gpr_implicit & GUEST_MOVED)
		return ITEM_FALLBACK;
	if (item_is_bit_string(item) && !is_simple_bit_string(item))
		return ITEM_FALLBACK;
	if (form->high_byte && form->has_memory)
		return ITEM_FALLBACK;
	/* VZEROALL and VZEROUPPER leave registers 8 to 15 alone in 32-bit code. */
	if (form->is_32 && item->insn.traits & INSN_ALL_VECTORS)
		return ITEM_FALLBACK;
	/* Code segments cannot be written, flat or not. */
	if (form->is_32 && form->memory_written && item->insn.segment == CPU_CS)
		return ITEM_FALLBACK;
	if (guest_home_count(registers) > (form->has_memory ? 1u : 2u))
		return ITEM_FALLBACK;
	/* The scratch registers stand in for home registers; AH needs an encoding without REX. */
	if (form->high_byte && registers & GUEST_MOVED)
		return ITEM_FALLBACK;
	return ITEM_COPY;
}

static enum item_kind classify_push(const struct jit_item *item)
{
	switch (item->insn.kind[0]) {
	case INSN_OPERAND_IMMEDIATE:
	case INSN_OPERAND_REGISTER: return ITEM_PUSH;
	case INSN_OPERAND_MEMORY: return ITEM_PUSH_MEMORY;
	default: return ITEM_FALLBACK;
	}
}

/* `direct` or `indirect`, by where a near branch goes. */
static enum item_kind classify_branch(const struct jit_item *item, enum item_kind direct,
				      enum item_kind indirect)
{
	if (item->insn.traits & INSN_FAR)
		return ITEM_FALLBACK;
	if (item->insn.kind[0] == INSN_OPERAND_RELATIVE)
		return direct;
	return item->insn.operand_size == (item->form.is_32 ? 4 : 8) ? indirect : ITEM_FALLBACK;
}

/* Whether a string instruction is in a form that has a stub: of 64-bit code, with REP. */
static bool is_simple_string(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	if (insn->address_size != 8)
		return false;
	switch ((enum insn_class)item->form.class) {
	case INSN_STRING_COPY: return insn->prefixes == INSN_REP && insn->segment < CPU_FS;
	case INSN_STRING_FILL: return insn->prefixes == INSN_REP;
	/* Its ES cannot be overridden. */
	case INSN_STRING_SCAN: return insn->prefixes == INSN_REP || insn->prefixes == INSN_REPNE;
	default: return false;
	}
}

static enum item_kind kind_if(bool condition, enum item_kind kind)
{
	return condition ? kind : ITEM_FALLBACK;
}

/* To AMD's processors, F2 and F3 make LOOPE and LOOPNE one another. */
static enum item_kind classify_count(const struct jit_item *item)
{
	return kind_if(!(item->insn.prefixes & (INSN_REP | INSN_REPNE)), ITEM_JUMP_COUNT);
}

/* Whether code of this privilege may execute it, whatever IOPL is: user code has CPL 3, all other
 * that is translated CPL 0. */
static bool is_privileged(const struct jit_item *item, bool is_user)
{
	return is_user && item->insn.traits & (INSN_RING0 | INSN_IOPL);
}

/* RDFSBASE and its like, without a prefix of no meaning. */
static enum item_kind classify_base(const struct jit_item *item, enum item_kind kind)
{
	return kind_if(!item->form.is_32 && !item->form.is_sized, kind);
}

enum item_kind item_classify(const struct jit_item *item, bool is_user)
{
	const struct insn *insn = &item->insn;
	bool is_64 = !item_is_32(item);
	unsigned width = is_64 ? 8 : 4; /* of stack slots and near pointers */

	/* A branch of 16 bits cuts its target. */
	if (insn->address_size == 2 || (insn->traits & INSN_BRANCHES && insn->operand_size == 2) ||
	    is_privileged(item, is_user))
		return ITEM_FALLBACK;
	switch ((enum insn_class)item->form.class) {
	case INSN_HANDLED: return ITEM_FALLBACK;
	case INSN_NOTHING: return ITEM_NOTHING;
	case INSN_COPIED:
	case INSN_VECTOR: return classify_copy(item);
	case INSN_SELECTOR_READ: return kind_if(insn->kind[0] == INSN_OPERAND_REGISTER, ITEM_READ_SELECTOR);
	case INSN_LEA: return kind_if(insn->operand_size >= 4, ITEM_LEA);
	case INSN_DIVIDED:
	case INSN_DIVIDED_SIGNED: return kind_if(insn->operand_size >= 4, ITEM_DIVIDE);
	case INSN_PUSHED: return insn->stack_width == width ? classify_push(item) : ITEM_FALLBACK;
	case INSN_FLAGS_PUSHED: return kind_if(insn->stack_width == 8, ITEM_PUSH_FLAGS);
	case INSN_POPPED:
		return kind_if(insn->stack_width == width && insn->kind[0] == INSN_OPERAND_REGISTER,
			       ITEM_POP);
	case INSN_FLAGS_POPPED: return kind_if(insn->stack_width == 8, ITEM_POP_FLAGS);
	case INSN_LEFT: return kind_if(insn->stack_width == width, ITEM_LEAVE);
	case INSN_JUMP: return classify_branch(item, ITEM_JUMP, ITEM_JUMP_INDIRECT);
	case INSN_JUMP_IF: return ITEM_JUMP_IF;
	case INSN_JUMP_COUNT: return classify_count(item);
	case INSN_CALL: return classify_branch(item, ITEM_CALL, ITEM_CALL_INDIRECT);
	case INSN_RETURN:
		return kind_if(!(insn->traits & INSN_FAR) && insn->stack_width == width, ITEM_RETURN);
	case INSN_STRING_COPY:
	case INSN_STRING_FILL:
	case INSN_STRING_SCAN: return kind_if(is_simple_string(item), ITEM_STRING);
	case INSN_CLI: return ITEM_CLI;
	case INSN_STI: return ITEM_STI;
	case INSN_CLD: return ITEM_CLD;
	case INSN_STD: return ITEM_STD;
	case INSN_CLAC: return ITEM_CLAC;
	case INSN_STAC: return ITEM_STAC;
	case INSN_SWAPGS: return kind_if(is_64, ITEM_SWAPGS);
	case INSN_RDTSC: return ITEM_RDTSC;
	case INSN_RDTSCP: return ITEM_RDTSCP;
	/* Code that changes is found by the stores to it. */
	case INSN_SERIALIZE: return ITEM_FENCE;
	case INSN_MXCSR_LOADED: return kind_if(item->form.host_has_it, ITEM_LOAD_MXCSR);
	case INSN_READ_FS_BASE:
	case INSN_READ_GS_BASE: return classify_base(item, ITEM_READ_BASE);
	case INSN_WRITE_FS_BASE:
	case INSN_WRITE_GS_BASE: return classify_base(item, ITEM_WRITE_BASE);
	}
	return ITEM_FALLBACK;
}

/* Whether control never reaches the instruction after this one inside the block. */
bool item_ends_block(const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_JUMP: case ITEM_CALL: case ITEM_RETURN: case ITEM_JUMP_INDIRECT:
	case ITEM_CALL_INDIRECT:
		return true;
	case ITEM_FALLBACK:
		return item->insn.ends_block;
	default:
		return false;
	}
}
