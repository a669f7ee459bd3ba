/*
 * Flags that can be recreated. Where the instruction that set the live flags left its sources, or a
 * result that tells them, in registers, flags may be destroyed by the code around a memory access, a
 * poll or a jump lookup, and are made again where somebody reads them: before an instruction that
 * does, before the block is left, and at the beginning of each slow path.
 *
 * What is made again is exact in all six flags: comparisons are repeated, additions and subtractions
 * are taken back and repeated, and logic operations have the flags of TEST with their result. A
 * register that tells them is copied to struct cpu before it is overwritten. Where nothing tells
 * them, they are saved there, unless it is for one lookup: that leaves them alone at a lower price.
 */
#include "engine/run/jit/translation.h"
#include "engine/run/jit/values.h"
#include "engine/x86/decode/decode.h"

/* How the flags of an instruction are made again; `a` and `b` are its operands. */
enum recipe {
	RECIPE_NONE,
	RECIPE_SAVED,    /* from struct cpu, where they were put before the first lookup */
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

static uint16_t flags_modified(const struct jit_item *item)
{
	const ZydisAccessedFlags *flags = item->instruction.cpu_flags;

	if (!flags)
		return 0;
	return (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) &
	       FLAGS_ARITHMETIC;
}

static bool touches_flags(const struct jit_item *item)
{
	return item->kind == ITEM_FALLBACK || flags_modified(item) ||
	       (item->instruction.cpu_flags &&
		item->instruction.cpu_flags->tested & FLAGS_ARITHMETIC);
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
		return second == first		     ? RECIPE_RESULT
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

static const struct jit_item *setter_of(const struct translation *t,
					const struct flag_source *source)
{
	return &t->jit->items[source->setter];
}

/* The register of its second operand, or -1. */
static int second_register(const struct jit_item *setter, enum recipe recipe)
{
	return recipe == RECIPE_RESULT || recipe >= RECIPE_INCREMENT
		       ? -1
		       : operand_gpr(&setter->operands[1]);
}

/* The registers that must stay as they were behind the instruction that set the flags. */
static uint16_t source_registers(const struct translation *t, const struct flag_source *source)
{
	const struct jit_item *setter = setter_of(t, source);
	uint16_t registers = 0;

	if (source->recipe <= RECIPE_SAVED)
		return 0;
	if (!source->is_copied)
		registers |= 1u << operand_gpr(&setter->operands[0]);
	if (second_register(setter, source->recipe) >= 0)
		registers |= 1u << second_register(setter, source->recipe);
	return registers;
}

/* Whether it bears RSP moving by a known distance. */
static bool source_follows_rsp(const struct translation *t, const struct flag_source *source)
{
	const struct jit_item *setter = setter_of(t, source);

	return source->recipe >= RECIPE_ADD && !source->is_copied &&
	       operand_gpr(&setter->operands[0]) == CPU_RSP &&
	       second_register(setter, source->recipe) < 0;
}

static bool source_needs_scratch(const struct translation *t, const struct flag_source *source)
{
	const struct jit_item *setter = setter_of(t, source);

	if (source->recipe == RECIPE_SAVED)
		return true;
	if (source->recipe < RECIPE_ADD)
		return guest_home_count(source_registers(t, source)) + source->is_copied > 1;
	return source->is_copied || source_follows_rsp(t, source) ||
	       host_register(operand_gpr(&setter->operands[0])) == HOST_NONE;
}

/* How far RSP goes by a push or pop; 0: another instruction. */
static int rsp_distance(const struct translation *t, const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_PUSH: case ITEM_PUSH_MEMORY: case ITEM_PUSH_FLAGS:
		return -(int)t->width;
	case ITEM_POP:
		return item->insn.reg[0] / 8 == CPU_RSP ? 0 : (int)t->width;
	default:
		return 0;
	}
}

/* Lookups that an item makes before its operation, pairs (return.c) included. */
static unsigned lookup_count(const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_CALL: case ITEM_RETURN: case ITEM_CALL_INDIRECT: case ITEM_PUSH_MEMORY:
		return 2;
	case ITEM_JUMP_INDIRECT:
		return 1 + item_has_access(item);
	case ITEM_STRING: /* its stub keeps the flags */
		return 0;
	default:
		return item_has_access(item);
	}
}

/* Lookups from an item on until flags are touched or the block ends. */
static unsigned lookups_ahead(const struct translation *t, unsigned index)
{
	unsigned count = 0;

	for (; index < t->count && !touches_flags(&t->jit->items[index]); index++)
		count += lookup_count(&t->jit->items[index]);
	return count;
}

/* The source of flags behind an item, from that before it. */
static struct flag_source source_behind(const struct translation *t, unsigned index)
{
	static const struct flag_source none = { .recipe = RECIPE_NONE };
	const struct jit_item *item = &t->jit->items[index];
	struct flag_source source = t->sources[index];
	int distance = rsp_distance(t, item);
	uint16_t written;

	if (item->kind == ITEM_FALLBACK)
		return none;
	if (flags_modified(item))
		return (struct flag_source){ .setter = index, .recipe = recipe_of(item) };
	written = item_registers_written(item);
	if (distance && source_follows_rsp(t, &source)) {
		source.rsp_moved += distance;
		written &= ~(1u << CPU_RSP);
		if (source.rsp_moved > IMMEDIATE_MAX || source.rsp_moved < -IMMEDIATE_MAX)
			return none;
	}
	if (!(written & source_registers(t, &source)))
		return source;
	if (source.is_copied || !item->live_after || !lookups_ahead(t, index + 1))
		return none;
	source.is_copied = true;
	return written & source_registers(t, &source) ? none : source;
}

static bool moves_rsp_and_leaves(const struct jit_item *item)
{
	return item->kind == ITEM_CALL || item->kind == ITEM_CALL_INDIRECT ||
	       item->kind == ITEM_RETURN;
}

static bool is_recreatable(const struct translation *t, unsigned index, uint16_t live)
{
	const struct flag_source *source = &t->sources[index];

	if (source->recipe == RECIPE_NONE)
		return false;
	if (source->recipe != RECIPE_SAVED && live & ~setter_of(t, source)->flags_killed)
		return false;
	/* A call or return has moved RSP when it recreates them. */
	return index == t->count || !moves_rsp_and_leaves(&t->jit->items[index]) ||
	       !(source_registers(t, source) & 1u << CPU_RSP) || source_follows_rsp(t, source);
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
	       (touches_flags(item) || t->saves[index + 1] ||
		t->sources[index + 1].recipe == RECIPE_NONE);
}

/* Whether the item's emitter calls emit_flags_inside between its checks and its operation, with the
 * scratch registers in use. */
static bool recreates_inside(const struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->jit->items[index];

	return ((item->kind == ITEM_COPY && item->info.has_memory) || item->kind == ITEM_POP ||
		item->kind == ITEM_LEAVE) &&
	       is_recreatable(t, index, flags_needed(item)) &&
	       !source_needs_scratch(t, &t->sources[index]);
}

/* Whether flags that nothing tells are worth saving in front of the item. */
static bool is_worth_saving(const struct translation *t, unsigned index)
{
	return lookup_count(&t->jit->items[index]) && lookups_ahead(t, index) > 1;
}

void flags_find_sources(struct translation *t)
{
	t->sources[0] = (struct flag_source){ .recipe = RECIPE_NONE };
	for (unsigned i = 0; i < t->count; i++) {
		struct jit_item *item = &t->jit->items[i];
		uint16_t needed = flags_needed(item);

		if (needed && !is_recreatable(t, i, needed) && is_worth_saving(t, i)) {
			t->sources[i] = (struct flag_source){ .recipe = RECIPE_SAVED };
			t->saves[i] = true;
		}
		item->keeps_flags = needed && !is_recreatable(t, i, needed);
		t->sources[i + 1] = source_behind(t, i);
	}
}

bool flags_use_memory(const struct translation *t, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (t->saves[i] || t->sources[i + 1].is_copied)
			return true;
	return false;
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
	/* A loop begins where they are dead. */
	if (index >= SLOW_LOOP)
		return false;
	if (index >= SLOW_REGION) {
		index = t->regions[index - SLOW_REGION].start;
		return flags_stay_for(t, index, flags_needed(&t->jit->items[index]));
	}
	if (needs_exact(t, index) && !recreates_inside(t, index))
		return true;
	return flags_stay_for(t, index, flags_needed(&t->jit->items[index]));
}

bool flags_lost_with_scratch(const struct translation *t, unsigned index)
{
	return t->flags_lost && source_needs_scratch(t, &t->sources[index]);
}

/* Where an operand of a recipe is: in a host register or in struct cpu. */
struct place {
	uint8_t host; /* or HOST_NONE */
	int32_t state;
};

static struct place place_of(int guest)
{
	return (struct place){ host_register(guest), home(guest) };
}

static struct place first_place(const struct flag_source *source, const struct jit_item *setter)
{
	if (source->is_copied)
		return (struct place){ HOST_NONE, STATE(fast.flag_register) };
	return place_of(operand_gpr(&setter->operands[0]));
}

/* opcode reg, place (or the other direction, or an extension in `reg`), by operand size. */
static void emit_on_place(struct emitter *e, unsigned size, uint8_t opcode, unsigned reg,
			  struct place place)
{
	unsigned rm = place.host == HOST_NONE ? 0 : place.host;

	if (place.host == HOST_NONE)
		emit8(e, 0x65);
	if (size == 2)
		emit8(e, 0x66);
	if (size == 1 && (reg >= 4 || rm >= 4))
		emit8(e, 0x40 | (reg >> 3 & 1) << 2 | (rm >> 3 & 1));
	else
		emit_rex(e, size == 8, reg, 0, rm);
	emit8(e, size == 1 ? opcode & ~1u : opcode);
	if (place.host == HOST_NONE)
		emit_gs_modrm(e, reg, HOST_NONE, 0, place.state);
	else
		emit8(e, 0xc0 | (reg & 7) << 3 | (place.host & 7));
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

/* reg = place + distance, 32 bits unless `wide`. */
static void emit_load_place(struct emitter *e, bool wide, unsigned reg, struct place place,
			    int32_t distance)
{
	if (place.host == HOST_NONE) {
		emit_load_state(e, reg, place.state);
		place.host = reg;
	}
	if (place.host != reg || distance)
		emit_lea(e, wide, reg, place.host, HOST_NONE, 0, distance);
}

/* Group-1 extensions, which are also bits 3 to 5 of the opcodes. */
enum { GROUP_ADD = 0, GROUP_SUBTRACT = 5, GROUP_COMPARE = 7 };

#define OPCODE_TEST    0x85
#define OPCODE_TO_REG(operation)   ((operation) << 3 | 3)
#define OPCODE_FROM_REG(operation) ((operation) << 3 | 1)

static void emit_comparison(struct emitter *e, const struct flag_source *source,
			    const struct jit_item *setter, unsigned scratch)
{
	bool is_test = source->recipe == RECIPE_TEST;
	unsigned size = setter->operands[0].size / 8;
	int second = second_register(setter, source->recipe);
	struct place a = first_place(source, setter), b;

	if (second < 0) {
		emit_on_place(e, size, is_test ? 0xf7 : 0x81, is_test ? 0 : GROUP_COMPARE, a);
		emit_immediate(e, size, setter->insn.immediate);
		return;
	}
	b = place_of(second);
	if (b.host != HOST_NONE) {
		emit_on_place(e, size, is_test ? OPCODE_TEST : OPCODE_FROM_REG(GROUP_COMPARE),
			      b.host, a);
		return;
	}
	if (a.host == HOST_NONE) {
		emit_load_state(e, scratch, a.state);
		a.host = scratch;
	}
	emit_on_place(e, size, is_test ? OPCODE_TEST : OPCODE_TO_REG(GROUP_COMPARE), a.host, b);
}

static void emit_result_test(struct emitter *e, const struct flag_source *source,
			     const struct jit_item *setter)
{
	struct place result = first_place(source, setter);
	unsigned size = setter->operands[0].size / 8;

	if (result.host != HOST_NONE) {
		emit_on_place(e, size, OPCODE_TEST, result.host, result);
		return;
	}
	emit_on_place(e, size, 0xf7, 0, result);
	emit_immediate(e, size, -1);
}

/* In the register itself, which has its value again behind it, or in `scratch`. */
static void emit_arithmetic_again(struct emitter *e, const struct flag_source *source,
				  const struct jit_item *setter, int rsp_moved, bool needs_scratch,
				  unsigned scratch)
{
	bool adds = source->recipe == RECIPE_ADD || source->recipe == RECIPE_INCREMENT;
	bool counts = source->recipe >= RECIPE_INCREMENT;
	unsigned size = setter->operands[0].size / 8;
	unsigned operation = adds ? GROUP_ADD : GROUP_SUBTRACT;
	int second = second_register(setter, source->recipe);
	struct place result = first_place(source, setter);
	unsigned reg = needs_scratch ? scratch : result.host;
	int32_t immediate = counts ? 1 : setter->insn.immediate;

	if (second >= 0) {
		emit_load_place(e, size == 8, reg, result, 0);
		emit_on_place(e, size, OPCODE_TO_REG(adds ? GROUP_SUBTRACT : GROUP_ADD), reg,
			      place_of(second));
		emit_on_place(e, size, OPCODE_TO_REG(operation), reg, place_of(second));
		return;
	}
	emit_load_place(e, size == 8, reg, result, (adds ? -immediate : immediate) - rsp_moved);
	if (!counts) {
		emit_immediate_flags(e, size == 8, operation, reg, immediate);
		return;
	}
	emit_rex(e, size == 8, 0, 0, reg); /* inc or dec */
	emit8(e, 0xff);
	emit8(e, 0xc0 | !adds << 3 | (reg & 7));
}

static void emit_saved(struct emitter *e, unsigned scratch)
{
	emit_move(e, scratch, HOST_RAX);
	emit_load_state(e, HOST_RAX, STATE(fast.flags_saved));
	emit_flags_from_rax(e);
	emit_move(e, HOST_RAX, scratch);
}

void emit_flags_again(struct translation *t, unsigned index, int rsp_moved, unsigned scratch)
{
	const struct flag_source *source = &t->sources[index];
	const struct jit_item *setter = setter_of(t, source);

	switch (source->recipe) {
	case RECIPE_SAVED: emit_saved(&t->e, scratch); break;
	case RECIPE_COMPARE: case RECIPE_TEST:
		emit_comparison(&t->e, source, setter, scratch);
		break;
	case RECIPE_RESULT: emit_result_test(&t->e, source, setter); break;
	default:
		if (!source_follows_rsp(t, source))
			rsp_moved = 0;
		emit_arithmetic_again(&t->e, source, setter, source->rsp_moved + rsp_moved,
				      source_needs_scratch(t, source), scratch);
	}
}

void emit_flags(struct translation *t, unsigned index, int rsp_moved, unsigned scratch)
{
	if (t->flags_lost)
		emit_flags_again(t, index, rsp_moved, scratch);
	t->flags_lost = false;
}

void emit_flags_save(struct translation *t, unsigned index)
{
	/* They are lost when this stands before the check of a region that begins here. */
	if (!t->saves[index] || t->flags_lost)
		return;
	emit_move(&t->e, t->scratch[0], HOST_RAX);
	emit_flags_to_rax(&t->e);
	emit_store_state(&t->e, HOST_RAX, STATE(fast.flags_saved));
	emit_move(&t->e, HOST_RAX, t->scratch[0]);
}

/* The item overwrites the register that tells the flags. */
static void emit_register_copy(struct translation *t, unsigned index)
{
	const struct flag_source *source = &t->sources[index];
	struct place place;

	if (source->is_copied || !t->sources[index + 1].is_copied)
		return;
	place = first_place(source, setter_of(t, source));
	if (place.host == HOST_NONE) {
		place.host = t->scratch[0];
		emit_load_state(&t->e, place.host, place.state);
	}
	emit_store_state(&t->e, place.host, STATE(fast.flag_register));
}

void emit_flags_before(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->jit->items[index];

	if (!flags_needed(item))
		t->flags_lost = false;
	else if (item->keeps_flags || (needs_exact(t, index) && !recreates_inside(t, index)))
		emit_flags(t, index, 0, t->scratch[0]);
	emit_flags_save(t, index);
	emit_register_copy(t, index);
}

void emit_flags_inside(struct translation *t, unsigned index)
{
	if (needs_exact(t, index))
		emit_flags(t, index, 0, HOST_NONE);
}
