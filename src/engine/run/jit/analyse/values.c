#include "engine/run/jit/analyse/values.h"

/* Offsets stay small enough to be added without a look at overflow. */
#define OFFSET_MAX (1 << 28)

void values_begin(struct values *values)
{
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		values->reg[i] = (struct value){ .symbol = i };
	values->symbols = CPU_REGISTERS;
}

static void forget(struct values *values, unsigned reg)
{
	values->reg[reg] = (struct value){ .symbol = values->symbols++ };
}

static void assign(struct values *values, unsigned to, unsigned from, int64_t distance)
{
	int64_t offset = values->reg[from].offset + distance;

	if (distance != (int32_t)distance || offset > OFFSET_MAX || offset < -OFFSET_MAX) {
		forget(values, to);
		return;
	}
	values->reg[to] = (struct value){ values->reg[from].symbol, offset };
}

/* A copied instruction whose result is a register plus a constant; false: it is none. */
static bool step_copy(struct values *values, const struct jit_item *item)
{
	const struct insn *insn = &item->insn;
	unsigned to = insn->reg[0] / 8;

	if (insn->kind[0] != INSN_OPERAND_REGISTER || insn->operand_size != 8)
		return false;
	switch ((enum insn_operation)item->form.operation) {
	case INSN_MOVES:
		if (insn->kind[1] != INSN_OPERAND_REGISTER)
			return false;
		assign(values, to, insn->reg[1] / 8, 0);
		return true;
	case INSN_ADDS:
	case INSN_SUBTRACTS:
		if (insn->kind[1] != INSN_OPERAND_IMMEDIATE)
			return false;
		assign(values, to, to,
		       item->form.operation == INSN_ADDS ? insn->immediate : -insn->immediate);
		return true;
	case INSN_INCREMENTS: assign(values, to, to, 1); return true;
	case INSN_DECREMENTS: assign(values, to, to, -1); return true;
	default: return false;
	}
}

static bool step_lea(struct values *values, const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	if (insn->address_size != 8 || insn->operand_size != 8 || insn->base >= CPU_REGISTERS ||
	    insn->index < CPU_REGISTERS)
		return false;
	assign(values, insn->reg[0] / 8, insn->base, insn->displacement);
	return true;
}

void values_step(struct values *values, const struct jit_item *item)
{
	uint16_t written = item->form.gpr_written;

	switch (item->kind) {
	case ITEM_FALLBACK:
		written = UINT16_MAX;
		break;
	case ITEM_COPY:
		if (step_copy(values, item))
			return;
		break;
	case ITEM_LEA:
		if (step_lea(values, item))
			return;
		break;
	case ITEM_PUSH: case ITEM_PUSH_MEMORY: case ITEM_PUSH_FLAGS:
		assign(values, CPU_RSP, CPU_RSP, -8);
		return;
	case ITEM_POP:
		assign(values, CPU_RSP, CPU_RSP, 8);
		forget(values, item->insn.reg[0] / 8);
		return;
	case ITEM_POP_FLAGS:
		assign(values, CPU_RSP, CPU_RSP, 8);
		return;
	case ITEM_LEAVE:
		assign(values, CPU_RSP, CPU_RBP, 8);
		forget(values, CPU_RBP);
		return;
	default:
		break;
	}
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (written >> i & 1)
			forget(values, i);
}

bool item_has_access(const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_COPY:
		return item->form.has_memory;
	case ITEM_NOTHING: case ITEM_LEA: case ITEM_JUMP: case ITEM_JUMP_IF: case ITEM_JUMP_COUNT:
	case ITEM_CLI: case ITEM_STI: case ITEM_CLD: case ITEM_STD: case ITEM_CLAC: case ITEM_STAC:
	case ITEM_SWAPGS: case ITEM_RDTSC: case ITEM_RDTSCP: case ITEM_READ_BASE:
	case ITEM_WRITE_BASE: case ITEM_READ_SELECTOR: case ITEM_FENCE: case ITEM_NEXT_PAGE:
		return false;
	case ITEM_DIVIDE: case ITEM_JUMP_INDIRECT:
		return item->insn.kind[0] == INSN_OPERAND_MEMORY;
	default:
		return true;
	}
}

static struct span stack_span(const struct value *pointer, int32_t offset, bool is_write)
{
	return (struct span){
		.is_known = true, .base = pointer->symbol, .index = VALUE_NONE, .segment = CPU_DS,
		.offset = pointer->offset + offset, .size = 8, .alignment = 1, .is_write = is_write,
	};
}

/* Add a register's symbol and offset; false when the sum is too large. */
static bool add_register(const struct values *values, unsigned reg, unsigned shift,
			 uint16_t *symbol, int64_t *offset)
{
	*symbol = VALUE_NONE;
	if (reg >= CPU_REGISTERS)
		return true;
	*symbol = values->reg[reg].symbol;
	*offset += (int64_t)values->reg[reg].offset * (1 << shift);
	return *offset <= OFFSET_MAX && *offset >= -OFFSET_MAX;
}

static struct span copy_span(const struct jit_item *item, const struct values *values)
{
	const struct insn *insn = &item->insn;
	int64_t offset = insn->displacement;
	struct span span = {
		.shift = insn->index < CPU_REGISTERS ? insn->scale : 0,
		.segment = insn->segment == CPU_FS || insn->segment == CPU_GS ? insn->segment : CPU_DS,
		.size = item->insn.memory_size,
		.alignment = item_needs_alignment(item) ? item->insn.memory_size : 1,
		.is_write = item->form.memory_written,
	};

	if (insn->address_size != 8 || offset > OFFSET_MAX || offset < -OFFSET_MAX ||
	    item_is_bit_string(item))
		return span;
	if (insn->base == INSN_BASE_RIP) {
		span.base = VALUE_RIP;
		span.index = VALUE_NONE;
		span.offset = offset + item->offset + insn->length;
		span.is_known = true;
		return span;
	}
	if (!add_register(values, insn->base, 0, &span.base, &offset) ||
	    !add_register(values, insn->index, insn->scale, &span.index, &offset))
		return span;
	/* [a + b] is [b + a]. */
	if (span.shift == 0 && span.base > span.index) {
		uint16_t base = span.base;

		span.base = span.index;
		span.index = base;
	}
	span.offset = offset;
	span.is_known = true;
	return span;
}

struct span item_span(const struct jit_item *item, const struct values *values)
{
	switch (item->kind) {
	case ITEM_PUSH:
		return stack_span(&values->reg[CPU_RSP], -8, true);
	case ITEM_POP:
		return stack_span(&values->reg[CPU_RSP], 0, false);
	case ITEM_LEAVE:
		return stack_span(&values->reg[CPU_RBP], 0, false);
	case ITEM_COPY:
		if (item->form.has_memory)
			return copy_span(item, values);
		break;
	default:
		break;
	}
	return (struct span){ .is_known = false };
}

bool span_same_base(const struct span *a, const struct span *b)
{
	return a->is_known && b->is_known && a->base == b->base && a->index == b->index &&
	       a->shift == b->shift && a->segment == b->segment;
}

struct access_range range_of(const struct span *span)
{
	return (struct access_range){ span->offset, span->offset + span->size, span->alignment,
			       span->is_write };
}

static int32_t round_up(int32_t value, int32_t alignment)
{
	return (value + alignment - 1) & -alignment;
}

bool range_join(struct access_range *range, const struct span *span, int32_t size_max)
{
	int32_t low = range->low, high = range->high, aligned = range->low;
	uint8_t alignment = range->alignment;

	if (span->alignment > alignment) {
		if (alignment > 1 && (span->offset - low) % alignment)
			return false;
		alignment = span->alignment;
		aligned = span->offset;
	} else if ((span->offset - low) % span->alignment) {
		return false;
	}
	if (span->offset < low)
		low = span->offset;
	if (span->offset + span->size > high)
		high = span->offset + span->size;
	/* No page ends between the lowest byte and the aligned address below it. */
	low = aligned - round_up(aligned - low, alignment);
	if (high - low > size_max)
		return false;
	range->low = low;
	range->high = high;
	range->alignment = alignment;
	range->is_write |= span->is_write;
	return true;
}
