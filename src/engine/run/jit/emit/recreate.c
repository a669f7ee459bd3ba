/*
 * Making lost flags again, as plan/sources.h says where and from what.
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/run/jit/plan/sources.h"

bool flags_stay_for(struct translation *t, unsigned index, uint16_t live)
{
	if (!live)
		return false;
	if (!flags_are_recreatable(&t->plan, index, live))
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
		index = t->plan.regions[index - SLOW_REGION].start;
		return flags_stay_for(t, index, flags_needed(&t->guest.items[index]));
	}
	if (flags_must_be_exact(&t->plan, index) && !flags_return_inside(&t->plan, index))
		return true;
	return flags_stay_for(t, index, flags_needed(&t->guest.items[index]));
}

bool flags_lost_with_scratch(const struct translation *t, unsigned index)
{
	return t->flags_lost && flag_source_needs_scratch(&t->plan, &t->plan.sources[index]);
}

/* Where an operand of a recipe is: in a host register or in struct cpu. */
struct operand_place {
	uint8_t host; /* or HOST_NONE */
	int32_t state;
};

static struct operand_place place_of(int guest)
{
	return (struct operand_place){ host_register(guest), home(guest) };
}

static struct operand_place first_place(const struct flag_source *source, const struct jit_item *setter)
{
	if (source->is_copied)
		return (struct operand_place){ HOST_NONE, FRAME(flag_register) };
	return place_of(flag_operand(setter, 0));
}

/* opcode reg, place (or the other direction, or an extension in `reg`), by operand size. */
static void emit_on_place(struct emitter *e, unsigned size, uint8_t opcode, unsigned reg,
			  struct operand_place place)
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
static void emit_load_place(struct emitter *e, bool wide, unsigned reg, struct operand_place place,
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
	unsigned size = setter->insn.operand_size;
	int second = flag_second_register(setter, source->recipe);
	struct operand_place a = first_place(source, setter), b;

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
	struct operand_place result = first_place(source, setter);
	unsigned size = setter->insn.operand_size;

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
	unsigned size = setter->insn.operand_size;
	unsigned operation = adds ? GROUP_ADD : GROUP_SUBTRACT;
	int second = flag_second_register(setter, source->recipe);
	struct operand_place result = first_place(source, setter);
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
	emit_load_state(e, HOST_RAX, FRAME(flags_saved));
	emit_flags_from_rax(e);
	emit_move(e, HOST_RAX, scratch);
}

void emit_flags_again(struct translation *t, unsigned index, int rsp_moved, unsigned scratch)
{
	const struct flag_source *source = &t->plan.sources[index];
	const struct jit_item *setter = flag_setter(&t->plan, source);

	switch (source->recipe) {
	case RECIPE_SAVED: emit_saved(&t->e, scratch); break;
	case RECIPE_COMPARE: case RECIPE_TEST:
		emit_comparison(&t->e, source, setter, scratch);
		break;
	case RECIPE_RESULT: emit_result_test(&t->e, source, setter); break;
	default:
		if (!flag_source_follows_rsp(&t->plan, source))
			rsp_moved = 0;
		emit_arithmetic_again(&t->e, source, setter, source->rsp_moved + rsp_moved,
				      flag_source_needs_scratch(&t->plan, source), scratch);
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
	if (!t->plan.saves[index] || t->flags_lost)
		return;
	emit_move(&t->e, t->scratch[0], HOST_RAX);
	emit_flags_to_rax(&t->e);
	emit_store_state(&t->e, HOST_RAX, FRAME(flags_saved));
	emit_move(&t->e, HOST_RAX, t->scratch[0]);
}

/* The item overwrites the register that tells the flags. */
static void emit_register_copy(struct translation *t, unsigned index)
{
	const struct flag_source *source = &t->plan.sources[index];
	struct operand_place place;

	if (source->is_copied || !t->plan.sources[index + 1].is_copied)
		return;
	place = first_place(source, flag_setter(&t->plan, source));
	if (place.host == HOST_NONE) {
		place.host = t->scratch[0];
		emit_load_state(&t->e, place.host, place.state);
	}
	emit_store_state(&t->e, place.host, FRAME(flag_register));
}

void emit_flags_before(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];

	if (!flags_needed(item))
		t->flags_lost = false;
	else if (item->keeps_flags || (flags_must_be_exact(&t->plan, index) && !flags_return_inside(&t->plan, index)))
		emit_flags(t, index, 0, t->scratch[0]);
	emit_flags_save(t, index);
	emit_register_copy(t, index);
}

void emit_flags_inside(struct translation *t, unsigned index)
{
	if (flags_must_be_exact(&t->plan, index))
		emit_flags(t, index, 0, HOST_NONE);
}
