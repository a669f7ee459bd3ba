/*
 * Lean code: what is done in line in full translations is done by stubs here (lean_stubs.c), one for each
 * kind of lookup. Each is called, and returns to its call, so that the host's return-address predictor
 * stays right. Where it needs the interpreter it goes on to the slow stub, which takes the call for its
 * own; nothing of the instruction is committed until then. So a block holds nothing for an access but the
 * address, the call and a site (internal.h).
 */
#include "engine/run/jit/emit/translation.h"

bool is_lean_here(const struct translation *t)
{
	return t->is_lean && !t->flags_lost;
}

static void emit_stub_call(struct translation *t, const uint8_t *stub, unsigned index)
{
	emit_call_to(&t->e, stub);
	emit_site(t, index);
}

static bool keeps_flags(const struct translation *t, unsigned index)
{
	return flags_needed(&t->guest.items[index]);
}

bool access_has_stub(const struct translation *t, const struct access *access)
{
	return is_lean_here(t) && access->size <= JIT_ACCESS_SIZE_MAX &&
	       !(access->size & (access->size - 1)) &&
	       (access->base != HOST_NONE || !item_is_bit_string(&t->guest.items[access->item]));
}

struct host_memory emit_lean_access(struct translation *t, const struct access *access)
{
	unsigned number = access_stub_number(access->size, access->is_write, access->aligned,
					     keeps_flags(t, access->item));

	emit_count(t, JIT_COUNT_TLB);
	emit_linear(t, access);
	emit_stub_call(t, t->stubs->access[number], access->item);
	return (struct host_memory){ HOST_R13, HOST_NONE, 0 };
}

static bool all_keep_flags(const struct translation *t)
{
	for (unsigned i = 0; i < t->guest.count; i++)
		if (!keeps_flags(t, i))
			return false;
	return true;
}

void emit_heat(struct translation *t, unsigned index)
{
	int32_t heat = FRAME(heat) + (int32_t)(t->heat_number * sizeof(uint16_t));
	struct emitter *e = &t->e;

	if (!t->counts_runs || t->heat_jump.at)
		return;
	if (!keeps_flags(t, index)) {
		t->heat_at.at = e->position + EMIT_ADD16_OFFSET_AT;
		emit_state_add16_flags(e, heat, t->stubs->heat_step[t->heat]);
		t->heat_jump = emit_jump_if(e, HOST_BELOW); /* carry */
		t->heat_item = index;
	} else if (index == 0 && all_keep_flags(t)) {
		t->heat_at.at = e->position + EMIT_CONSTANT_R13_AT;
		emit_constant(e, HOST_R13, (uint32_t)heat);
		emit_stub_call(t, t->stubs->heat[t->heat], SITE_HOT);
		t->counts_runs = false;
	}
}

void emit_lean_poll(struct translation *t, unsigned index)
{
	emit_stub_call(t, t->stubs->poll, index);
}

void emit_lean_push_return(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];

	emit_count(t, JIT_COUNT_TLB);
	emit_constant(&t->e, HOST_R13, item->offset + item->insn.length);
	emit_stub_call(t, t->stubs->push_return[t->guest.is_32][keeps_flags(t, index)], index);
}

void emit_lean_lookup(struct translation *t, unsigned index)
{
	emit_count(t, JIT_COUNT_JUMP);
	emit_stub_call(t, t->stubs->find_jump[jump_set(t->jumps)][keeps_flags(t, index)], index);
}

void emit_lean_return(struct translation *t, unsigned index)
{
	emit_count(t, JIT_COUNT_TLB);
	emit_count(t, JIT_COUNT_RETURN);
	emit_stub_call(t, t->stubs->return_load[t->guest.is_32], index);
	emit_jump_to(&t->e, t->stubs->return_go[jump_set(t->jumps)]);
}
