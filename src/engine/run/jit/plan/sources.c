/*
 * Where flags come from again: see sources.h.
 */
#include "engine/run/jit/plan/sources.h"

#include "engine/run/jit/analyse/registers.h"
#include "engine/run/jit/analyse/values.h"
#include "engine/x86/decode/decode.h"

/* Displacements of LEA and immediates stay in 32 bits with this much of RSP's way added. */
#define IMMEDIATE_MAX (1 << 30)

int flag_operand(const struct jit_item *setter, unsigned operand)
{
	return setter->insn.kind[operand] == INSN_OPERAND_REGISTER ? setter->insn.reg[operand] / 8 : -1;
}

static bool touches_flags(const struct jit_item *item)
{
	/* Where a jump by RCX leaves for has no way to make them again. */
	return item->kind == ITEM_FALLBACK || item->kind == ITEM_JUMP_COUNT || item->insn.flags_written ||
	       item->insn.flags_read;
}

static enum recipe recipe_of(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;
	bool is_immediate = insn->kind[1] == INSN_OPERAND_IMMEDIATE, is_invertible;
	unsigned size = insn->operand_size;
	int first, second;

	if (item->kind != ITEM_COPY || item->form.high_byte)
		return RECIPE_NONE;
	first = flag_operand(item, 0);
	if (first < 0)
		return RECIPE_NONE;
	second = flag_operand(item, 1);
	is_invertible = size >= 4 && (is_immediate ? insn->immediate < IMMEDIATE_MAX &&
							     insn->immediate > -IMMEDIATE_MAX
						   : second >= 0 && second != first);
	switch ((enum insn_operation)item->form.operation) {
	case INSN_COMPARES:
		return is_immediate || (second >= 0 && second != first) ? RECIPE_COMPARE
									: RECIPE_NONE;
	case INSN_TESTS:
		return second == first		     ? RECIPE_RESULT
		       : is_immediate || second >= 0 ? RECIPE_TEST
						     : RECIPE_NONE;
	case INSN_AND:
	case INSN_OR:
	case INSN_XOR: return RECIPE_RESULT;
	case INSN_ADDS: return is_invertible ? RECIPE_ADD : RECIPE_NONE;
	case INSN_SUBTRACTS: return is_invertible ? RECIPE_SUBTRACT : RECIPE_NONE;
	case INSN_INCREMENTS: return size >= 4 ? RECIPE_INCREMENT : RECIPE_NONE;
	case INSN_DECREMENTS: return size >= 4 ? RECIPE_DECREMENT : RECIPE_NONE;
	default: return RECIPE_NONE;
	}
}

const struct jit_item *flag_setter(const struct plan *plan,
					const struct flag_source *source)
{
	return &plan->guest->items[source->setter];
}

/* The register of its second operand, or -1. */
int flag_second_register(const struct jit_item *setter, enum recipe recipe)
{
	return recipe == RECIPE_RESULT || recipe >= RECIPE_INCREMENT
		       ? -1
		       : flag_operand(setter, 1);
}

/* The registers that must stay as they were behind the instruction that set the flags. */
static uint16_t source_registers(const struct plan *plan, const struct flag_source *source)
{
	const struct jit_item *setter = flag_setter(plan, source);
	uint16_t registers = 0;

	if (source->recipe <= RECIPE_SAVED)
		return 0;
	if (!source->is_copied)
		registers |= 1u << flag_operand(setter, 0);
	if (flag_second_register(setter, source->recipe) >= 0)
		registers |= 1u << flag_second_register(setter, source->recipe);
	return registers;
}

/* Whether it bears RSP moving by a known distance. */
bool flag_source_follows_rsp(const struct plan *plan, const struct flag_source *source)
{
	const struct jit_item *setter = flag_setter(plan, source);

	return source->recipe >= RECIPE_ADD && !source->is_copied &&
	       flag_operand(setter, 0) == CPU_RSP &&
	       flag_second_register(setter, source->recipe) < 0;
}

bool flag_source_needs_scratch(const struct plan *plan, const struct flag_source *source)
{
	const struct jit_item *setter = flag_setter(plan, source);

	if (source->recipe == RECIPE_SAVED)
		return true;
	if (source->recipe < RECIPE_ADD)
		return guest_home_count(source_registers(plan, source)) + source->is_copied > 1;
	return source->is_copied || flag_source_follows_rsp(plan, source) ||
	       host_register(flag_operand(setter, 0)) == HOST_NONE;
}

/* How far RSP goes by a push or pop; 0: another instruction. */
static int rsp_distance(const struct plan *plan, const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_PUSH: case ITEM_PUSH_MEMORY: case ITEM_PUSH_FLAGS:
		return -(int)plan->guest->width;
	case ITEM_POP_FLAGS:
		return (int)plan->guest->width;
	case ITEM_POP:
		return item->insn.reg[0] / 8 == CPU_RSP ? 0 : (int)plan->guest->width;
	default:
		return 0;
	}
}

static bool moves_rsp_and_leaves(const struct jit_item *item)
{
	return item->kind == ITEM_CALL || item->kind == ITEM_CALL_INDIRECT ||
	       item->kind == ITEM_RETURN;
}

/* Lookups that an item makes before its operation, pairs included, and that cost more where flags are to
 * be kept. */
static unsigned lookup_count(const struct plan *plan, const struct jit_item *item)
{
	/* Stubs keep them at no great price, but for a return that takes parameters off the stack. */
	if (plan->is_lean)
		return item->kind == ITEM_RETURN && item->insn.kind[0] == INSN_OPERAND_IMMEDIATE ? 2 : 0;
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
static unsigned lookups_ahead(const struct plan *plan, unsigned index)
{
	unsigned count = 0;

	for (; index < plan->guest->count && !touches_flags(&plan->guest->items[index]); index++)
		count += lookup_count(plan, &plan->guest->items[index]);
	return count;
}

/* The source of flags behind an item, from that before it. */
static struct flag_source source_behind(const struct plan *plan, unsigned index)
{
	static const struct flag_source none = { .recipe = RECIPE_NONE };
	const struct jit_item *item = &plan->guest->items[index];
	struct flag_source source = plan->sources[index];
	int distance = rsp_distance(plan, item);
	uint16_t written;

	if (item->kind == ITEM_FALLBACK)
		return none;
	if (item->insn.flags_written)
		return (struct flag_source){ .setter = index, .recipe = recipe_of(item) };
	written = item->form.gpr_written;
	if (distance && flag_source_follows_rsp(plan, &source)) {
		source.rsp_moved += distance;
		written &= ~(1u << CPU_RSP);
		if (source.rsp_moved > IMMEDIATE_MAX || source.rsp_moved < -IMMEDIATE_MAX)
			return none;
	}
	if (!(written & source_registers(plan, &source)))
		return source;
	if (source.is_copied || !item->live_after || !lookups_ahead(plan, index + 1))
		return none;
	source.is_copied = true;
	return written & source_registers(plan, &source) ? none : source;
}

bool flags_are_recreatable(const struct plan *plan, unsigned index, uint16_t live)
{
	const struct flag_source *source = &plan->sources[index];

	if (source->recipe == RECIPE_NONE)
		return false;
	if (source->recipe != RECIPE_SAVED && live & ~flag_setter(plan, source)->flags_killed)
		return false;
	/* A call or return has moved RSP when it recreates them. */
	return index == plan->guest->count || !moves_rsp_and_leaves(&plan->guest->items[index]) ||
	       !(source_registers(plan, source) & 1u << CPU_RSP) || flag_source_follows_rsp(plan, source);
}

/* Those that leave the block recreate flags when they do. */
static bool leaves_by_jump(const struct jit_item *item)
{
	return item_ends_block(item) && item->kind != ITEM_FALLBACK;
}

/* Whether exact flags must exist when the item's own operation begins: it touches them, or what
 * they could be made from. */
bool flags_must_be_exact(const struct plan *plan, unsigned index)
{
	const struct jit_item *item = &plan->guest->items[index];

	return flags_needed(item) && !leaves_by_jump(item) &&
	       (touches_flags(item) || plan->saves[index + 1] ||
		plan->sources[index + 1].recipe == RECIPE_NONE);
}

/* Whether the item's emitter calls emit_flags_inside between its checks and its operation, with the
 * scratch registers in use. */
bool flags_return_inside(const struct plan *plan, unsigned index)
{
	const struct jit_item *item = &plan->guest->items[index];

	return ((item->kind == ITEM_COPY && item->form.has_memory) || item->kind == ITEM_POP ||
		item->kind == ITEM_LEAVE) &&
	       flags_are_recreatable(plan, index, flags_needed(item)) &&
	       !flag_source_needs_scratch(plan, &plan->sources[index]);
}

/* Whether flags that nothing tells are worth saving in front of the item. */
static bool is_worth_saving(const struct plan *plan, unsigned index)
{
	return lookup_count(plan, &plan->guest->items[index]) && lookups_ahead(plan, index) > 1;
}

void flags_find_sources(struct plan *plan)
{
	plan->sources[0] = (struct flag_source){ .recipe = RECIPE_NONE };
	for (unsigned i = 0; i < plan->guest->count; i++) {
		struct jit_item *item = &plan->guest->items[i];
		uint16_t needed = flags_needed(item);

		if (needed && !flags_are_recreatable(plan, i, needed) && is_worth_saving(plan, i)) {
			plan->sources[i] = (struct flag_source){ .recipe = RECIPE_SAVED };
			plan->saves[i] = true;
		}
		item->keeps_flags = needed && !flags_are_recreatable(plan, i, needed);
		plan->sources[i + 1] = source_behind(plan, i);
	}
}

bool flags_use_memory(const struct plan *plan, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (plan->saves[i] || plan->sources[i + 1].is_copied)
			return true;
	return false;
}
