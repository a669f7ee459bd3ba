/*
 * Flags that can be recreated. Where the instruction that set the live flags left its sources, or a
 * result that tells them, in registers, flags may be destroyed by the code around a memory access, a
 * poll or a jump lookup, and are made again where somebody reads them: before an instruction that
 * does, before the block is left, and at the beginning of each slow path.
 *
 * What is made again is exact in all six flags: comparisons are repeated, additions and subtractions
 * are taken back and repeated, and logic operations have the flags of TEST with their result.
 */
#include "engine/jit/translation.h"
#include "engine/x86/decode.h"

/* How the flags of an instruction are made again; `a` and `b` are its operands. */
enum recipe {
	RECIPE_NONE,
	RECIPE_COMPARE,  /* cmp a, b */
	RECIPE_TEST,     /* test a, b */
	RECIPE_RESULT,   /* test a, a */
	RECIPE_ADD, RECIPE_SUBTRACT, /* take it back, repeat it */
	RECIPE_INCREMENT, RECIPE_DECREMENT,
};

/* Displacements of LEA and immediates stay in 32 bits with this much of RSP's way added. */
#define IMMEDIATE_MAX (1 << 30)

static int operand_gpr(const ZydisDecodedOperand *operand)
{
	if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return -1;
	switch (ZydisRegisterGetClass(operand->reg.value)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(
			ZYDIS_MACHINE_MODE_LONG_64, operand->reg.value));
	default:
		return -1;
	}
}

/* The guest registers that an instruction writes, hidden operands included. */
static uint16_t registers_written(const struct jit_item *item)
{
	uint16_t written = 0;

	for (unsigned i = 0; i < item->instruction.operand_count; i++) {
		const ZydisDecodedOperand *operand = &item->operands[i];
		int reg = operand_gpr(operand);

		if (reg >= 0 && operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			written |= 1u << reg;
	}
	return written;
}

static uint16_t flags_touched(const struct jit_item *item)
{
	const ZydisAccessedFlags *flags = item->instruction.cpu_flags;

	if (!flags)
		return 0;
	return (flags->tested | flags->modified | flags->set_0 | flags->set_1 | flags->undefined) &
	       FLAGS_ARITHMETIC;
}

static bool modifies_flags(const struct jit_item *item)
{
	const ZydisAccessedFlags *flags = item->instruction.cpu_flags;

	return flags && ((flags->modified | flags->set_0 | flags->set_1 | flags->undefined) &
			 FLAGS_ARITHMETIC);
}

static enum recipe recipe_of(const struct jit_item *item)
{
	const ZydisDecodedOperand *b = &item->operands[1];
	unsigned size = item->operands[0].size / 8;
	bool is_immediate = b->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	bool is_invertible;
	int first, second;

	if (item->kind != ITEM_COPY || item->info.high_byte)
		return RECIPE_NONE;
	first = operand_gpr(&item->operands[0]);
	if (first < 0)
		return RECIPE_NONE;
	second = item->instruction.operand_count > 1 ? operand_gpr(b) : -1;
	is_invertible = size >= 4 && (is_immediate ? item->insn.immediate < IMMEDIATE_MAX &&
							     item->insn.immediate > -IMMEDIATE_MAX
						   : second >= 0 && second != first);
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_CMP:
		return is_immediate || (second >= 0 && second != first) ? RECIPE_COMPARE
									: RECIPE_NONE;
	case ZYDIS_MNEMONIC_TEST:
		return second == first			? RECIPE_RESULT
		       : is_immediate || second >= 0 ? RECIPE_TEST
						     : RECIPE_NONE;
	case ZYDIS_MNEMONIC_AND: case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_XOR:
		return RECIPE_RESULT;
	case ZYDIS_MNEMONIC_ADD:
		return is_invertible ? RECIPE_ADD : RECIPE_NONE;
	case ZYDIS_MNEMONIC_SUB:
		return is_invertible ? RECIPE_SUBTRACT : RECIPE_NONE;
	case ZYDIS_MNEMONIC_INC:
		return size >= 4 ? RECIPE_INCREMENT : RECIPE_NONE;
	case ZYDIS_MNEMONIC_DEC:
		return size >= 4 ? RECIPE_DECREMENT : RECIPE_NONE;
	default:
		return RECIPE_NONE;
	}
}

/* The registers that a recipe needs as they were behind its instruction. */
static uint16_t recipe_registers(const struct jit_item *setter, enum recipe recipe)
{
	uint16_t registers = 1u << operand_gpr(&setter->operands[0]);
	bool has_second = recipe == RECIPE_COMPARE || recipe == RECIPE_TEST ||
			  recipe == RECIPE_ADD || recipe == RECIPE_SUBTRACT;

	if (has_second && operand_gpr(&setter->operands[1]) >= 0)
		registers |= 1u << operand_gpr(&setter->operands[1]);
	return registers;
}

/* Whether a recipe bears RSP moving by a known distance. */
static bool recipe_follows_rsp(const struct jit_item *setter, enum recipe recipe)
{
	return recipe >= RECIPE_ADD && operand_gpr(&setter->operands[0]) == CPU_RSP &&
	       operand_gpr(&setter->operands[1]) < 0;
}

static bool recipe_needs_scratch(const struct jit_item *setter, enum recipe recipe)
{
	uint16_t registers = recipe_registers(setter, recipe);

	return recipe >= RECIPE_ADD || guest_home_count(registers) > 1;
}

/* How far RSP goes by a push or pop; 0: another instruction. */
static int rsp_distance(const struct translation *t, const struct jit_item *item)
{
	return item->kind == ITEM_PUSH ? -(int)t->width : item->kind == ITEM_POP ? (int)t->width : 0;
}

/* The source of flags behind an item, from that before it. */
static struct flag_source source_behind(const struct translation *t, unsigned index)
{
	static const struct flag_source none = { .recipe = RECIPE_NONE };
	const struct jit_item *item = &t->jit->items[index];
	struct flag_source source = t->sources[index];
	const struct jit_item *setter = &t->jit->items[source.setter];
	int distance = rsp_distance(t, item);
	uint16_t written;

	if (item->kind == ITEM_FALLBACK)
		return none;
	if (modifies_flags(item))
		return (struct flag_source){ .setter = index, .recipe = recipe_of(item) };
	if (source.recipe == RECIPE_NONE)
		return none;
	written = registers_written(item);
	if (distance && recipe_follows_rsp(setter, source.recipe)) {
		source.rsp_moved += distance;
		written &= ~(1u << CPU_RSP);
		if (source.rsp_moved > IMMEDIATE_MAX || source.rsp_moved < -IMMEDIATE_MAX)
			return none;
	}
	return recipe_registers(setter, source.recipe) & written ? none : source;
}

static bool moves_rsp_and_leaves(const struct jit_item *item)
{
	return item->kind == ITEM_CALL || item->kind == ITEM_CALL_INDIRECT ||
	       item->kind == ITEM_RETURN;
}

static bool is_recreatable(const struct translation *t, unsigned index, uint16_t live)
{
	const struct flag_source *source = &t->sources[index];
	const struct jit_item *setter = &t->jit->items[source->setter];

	if (source->recipe == RECIPE_NONE || live & ~setter->flags_killed)
		return false;
	/* A call or return has moved RSP when it recreates them. */
	return index == t->count || !moves_rsp_and_leaves(&t->jit->items[index]) ||
	       !(recipe_registers(setter, source->recipe) & 1u << CPU_RSP) ||
	       recipe_follows_rsp(setter, source->recipe);
}

static bool needs_scratch(const struct translation *t, unsigned index)
{
	const struct flag_source *source = &t->sources[index];

	return recipe_needs_scratch(&t->jit->items[source->setter], source->recipe);
}

/* Those that leave the block recreate flags when they do. */
static bool leaves_by_jump(const struct jit_item *item)
{
	return item_ends_block(item) && item->kind != ITEM_FALLBACK;
}

/* Whether exact flags must exist when the item's own operation begins: it touches them, or what
 * they could be made from. */
static bool needs_exact(const struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->jit->items[index];

	return flags_needed(item) && !leaves_by_jump(item) &&
	       (item->kind == ITEM_FALLBACK || flags_touched(item) ||
		t->sources[index + 1].recipe == RECIPE_NONE);
}

/* Whether the item's emitter calls emit_flags_inside between its checks and its operation, with the
 * scratch registers in use. */
static bool recreates_inside(const struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->jit->items[index];

	return ((item->kind == ITEM_COPY && item->info.has_memory) || item->kind == ITEM_POP ||
		item->kind == ITEM_LEAVE) &&
	       is_recreatable(t, index, flags_needed(item)) && !needs_scratch(t, index);
}

void flags_find_sources(struct translation *t)
{
	t->sources[0] = (struct flag_source){ .recipe = RECIPE_NONE };
	for (unsigned i = 0; i < t->count; i++) {
		struct jit_item *item = &t->jit->items[i];
		uint16_t needed = flags_needed(item);

		item->keeps_flags = needed && !is_recreatable(t, i, needed);
		t->sources[i + 1] = source_behind(t, i);
	}
}

bool flags_stay_for(struct translation *t, unsigned index, uint16_t live)
{
	if (!live)
		return false;
	if (!is_recreatable(t, index, live))
		return true;
	t->flags_lost = true;
	return false;
}

bool flags_stay(struct translation *t, unsigned index)
{
	if (index >= JIT_BLOCK_INSNS) {
		index = t->regions[index - JIT_BLOCK_INSNS].start;
		return flags_stay_for(t, index, flags_needed(&t->jit->items[index]));
	}
	if (needs_exact(t, index) && !recreates_inside(t, index))
		return true;
	return flags_stay_for(t, index, flags_needed(&t->jit->items[index]));
}

bool flags_lost_with_scratch(const struct translation *t, unsigned index)
{
	return t->flags_lost && needs_scratch(t, index);
}

/* opcode reg, guest register (or the other direction, or an extension in `reg`), by operand size. */
static void emit_on_guest(struct emitter *e, unsigned size, uint8_t opcode, unsigned reg,
			  unsigned guest)
{
	uint8_t host = host_register(guest);
	unsigned rm = host == HOST_NONE ? 0 : host;

	if (host == HOST_NONE)
		emit8(e, 0x65);
	if (size == 2)
		emit8(e, 0x66);
	if (size == 1 && (reg >= 4 || rm >= 4))
		emit8(e, 0x40 | (reg >> 3 & 1) << 2 | (rm >> 3 & 1));
	else
		emit_rex(e, size == 8, reg, 0, rm);
	emit8(e, size == 1 ? opcode & ~1u : opcode);
	if (host == HOST_NONE)
		emit_gs_modrm(e, reg, HOST_NONE, 0, home(guest));
	else
		emit8(e, 0xc0 | (reg & 7) << 3 | (host & 7));
}

static void emit_immediate(struct emitter *e, unsigned size, int64_t value)
{
	if (size == 1)
		emit8(e, value);
	else if (size == 2)
		emit_bytes(e, (const uint8_t[]){ value, value >> 8 }, 2);
	else
		emit32(e, value);
}

/* Group-1 extensions, which are also bits 3 to 5 of the opcodes. */
enum { GROUP_ADD = 0, GROUP_SUBTRACT = 5, GROUP_COMPARE = 7 };

#define OPCODE_TEST    0x85
#define OPCODE_TO_REG(operation)   ((operation) << 3 | 3)
#define OPCODE_FROM_REG(operation) ((operation) << 3 | 1)

static void emit_comparison(struct emitter *e, const struct jit_item *setter, bool is_test,
			    unsigned scratch)
{
	unsigned size = setter->operands[0].size / 8;
	int a = operand_gpr(&setter->operands[0]), b = operand_gpr(&setter->operands[1]);

	if (b < 0) {
		emit_on_guest(e, size, is_test ? 0xf7 : 0x81, is_test ? 0 : GROUP_COMPARE, a);
		emit_immediate(e, size, setter->insn.immediate);
		return;
	}
	if (host_register(b) != HOST_NONE) {
		emit_on_guest(e, size, is_test ? OPCODE_TEST : OPCODE_FROM_REG(GROUP_COMPARE),
			      host_register(b), a);
		return;
	}
	if (host_register(a) != HOST_NONE)
		scratch = host_register(a);
	else
		emit_load_state(e, scratch, home(a));
	emit_on_guest(e, size, is_test ? OPCODE_TEST : OPCODE_TO_REG(GROUP_COMPARE), scratch, b);
}

static void emit_result_test(struct emitter *e, const struct jit_item *setter)
{
	unsigned size = setter->operands[0].size / 8;
	int a = operand_gpr(&setter->operands[0]);

	if (host_register(a) != HOST_NONE) {
		emit_on_guest(e, size, OPCODE_TEST, host_register(a), a);
		return;
	}
	emit_on_guest(e, size, 0xf7, 0, a);
	emit_immediate(e, size, -1);
}

/* scratch = guest register + distance */
static void emit_add_guest(struct emitter *e, unsigned scratch, unsigned guest, int32_t distance)
{
	uint8_t host = host_register(guest);

	if (host == HOST_NONE) {
		emit_load_state(e, scratch, home(guest));
		host = scratch;
	}
	emit_lea(e, true, scratch, host, HOST_NONE, 0, distance);
}

static void emit_arithmetic_again(struct emitter *e, const struct jit_item *setter,
				  enum recipe recipe, int rsp_moved, unsigned scratch)
{
	unsigned size = setter->operands[0].size / 8;
	int a = operand_gpr(&setter->operands[0]), b = operand_gpr(&setter->operands[1]);
	bool adds = recipe == RECIPE_ADD || recipe == RECIPE_INCREMENT;
	int32_t immediate;

	if (recipe == RECIPE_INCREMENT || recipe == RECIPE_DECREMENT) {
		emit_add_guest(e, scratch, a, adds ? -1 - rsp_moved : 1 - rsp_moved);
		/* inc or dec scratch */
		emit_rex(e, size == 8, 0, 0, scratch);
		emit8(e, 0xff);
		emit8(e, 0xc0 | !adds << 3 | (scratch & 7));
		return;
	}
	if (b < 0) {
		immediate = setter->insn.immediate;
		emit_add_guest(e, scratch, a, (adds ? -immediate : immediate) - rsp_moved);
		emit_immediate_flags(e, size == 8, adds ? GROUP_ADD : GROUP_COMPARE, scratch, immediate);
		return;
	}
	emit_add_guest(e, scratch, a, 0);
	emit_on_guest(e, size, OPCODE_TO_REG(adds ? GROUP_SUBTRACT : GROUP_ADD), scratch, b);
	emit_on_guest(e, size, OPCODE_TO_REG(adds ? GROUP_ADD : GROUP_COMPARE), scratch, b);
}

void emit_flags_again(struct translation *t, unsigned index, int rsp_moved, unsigned scratch)
{
	const struct flag_source *source = &t->sources[index];
	const struct jit_item *setter = &t->jit->items[source->setter];

	switch (source->recipe) {
	case RECIPE_COMPARE: emit_comparison(&t->e, setter, false, scratch); break;
	case RECIPE_TEST: emit_comparison(&t->e, setter, true, scratch); break;
	case RECIPE_RESULT: emit_result_test(&t->e, setter); break;
	default:
		rsp_moved += source->rsp_moved;
		if (!recipe_follows_rsp(setter, source->recipe))
			rsp_moved = 0;
		emit_arithmetic_again(&t->e, setter, source->recipe, rsp_moved, scratch);
	}
}

void emit_flags(struct translation *t, unsigned index, int rsp_moved, unsigned scratch)
{
	if (t->flags_lost)
		emit_flags_again(t, index, rsp_moved, scratch);
	t->flags_lost = false;
}

void emit_flags_before(struct translation *t, unsigned index)
{
	if (!flags_needed(&t->jit->items[index]))
		t->flags_lost = false;
	else if (t->jit->items[index].keeps_flags ||
		 (needs_exact(t, index) && !recreates_inside(t, index)))
		emit_flags(t, index, 0, t->scratch[0]);
}

void emit_flags_inside(struct translation *t, unsigned index)
{
	if (needs_exact(t, index))
		emit_flags(t, index, 0, HOST_NONE);
}
