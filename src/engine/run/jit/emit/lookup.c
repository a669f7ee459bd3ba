/*
 * Jumps whose target is known only as they run: through the CPU's table by address (struct jit_jump).
 */
#include "engine/run/jit/emit/translation.h"

struct near_jump emit_if_requests(struct emitter *e)
{
	emit_test_state(e, STATE(requests));
	return emit_jump_if(e, HOST_NOT_EQUAL);
}

void emit_jump_probe(struct emitter *e, int32_t jumps)
{
	emit_rotate(e, HOST_R14, HOST_R13, JIT_JUMP_ROTATE);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_R13, 3, 0);
	emit_field(e, HOST_R14, HOST_R14, FRAME(jump_mask), 3);
	emit_lea(e, true, HOST_R14, HOST_NONE, HOST_R14, 3, 0);
	emit_gs_op(e, true, 0x8b, HOST_RCX, HOST_R14, 1, jumps);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R13, 0, 1); /* address - entry's */
}

void emit_jump_index(struct emitter *e, int32_t jumps, struct near_jumps *misses)
{
	emit_rotate_flags(e, HOST_R14, HOST_R13, JIT_JUMP_ROTATE);
	emit_lea(e, false, HOST_R14, HOST_R14, HOST_R13, 3, 0);
	emit_immediate_flags(e, false, 4, HOST_R14, (JIT_JUMP_ENTRIES - 1) << 3);
	emit_gs_op(e, true, 0x3b, HOST_R13, HOST_R14, 1, jumps);
	near_jumps_add(misses, emit_jump_if(e, HOST_NOT_EQUAL));
}

/* emit_jump_lookup with flags that somebody reads. */
static void emit_jump_lookup_keeping_flags(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	struct short_jump go_on, hit;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	go_on = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_slow_jump(t, emit_jump(e), index);
	emit_bind_short(e, go_on);
	emit_count(t, JIT_COUNT_JUMP);
	emit_jump_probe(e, t->jumps);
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_slow_jump_counted(t, emit_jump(e), index, JIT_COUNT_JUMP_MISS);
	emit_bind_short(e, hit);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
}

void emit_jump_lookup(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;

	if (flags_stay(t, index)) {
		emit_jump_lookup_keeping_flags(t, index);
		return;
	}
	emit_slow_jump(t, emit_if_requests(e), index);
	emit_count(t, JIT_COUNT_JUMP);
	emit_rotate_flags(e, HOST_R14, HOST_R13, JIT_JUMP_ROTATE);
	emit_lea(e, false, HOST_R14, HOST_R14, HOST_R13, 3, 0);
	emit_immediate_flags(e, false, 4, HOST_R14, (JIT_JUMP_ENTRIES - 1) << 3);
	emit_gs_op(e, true, 0x3b, HOST_R13, HOST_R14, 1, t->jumps);
	emit_slow_jump_counted(t, emit_jump_if(e, HOST_NOT_EQUAL), index, JIT_COUNT_JUMP_MISS);
}

void emit_jump_found(struct translation *t, unsigned index, int rsp_moved)
{
	struct emitter *e = &t->e;

	if (!flags_lost_with_scratch(t, index)) {
		emit_flags(t, index, rsp_moved, HOST_NONE);
		emit_jump_state(e, HOST_R14, 1, JUMP_CODE(t->jumps));
		return;
	}
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1, JUMP_CODE(t->jumps));
	emit_store_state(e, HOST_R14, FRAME(spill[2]));
	emit_flags(t, index, rsp_moved, HOST_R14);
	emit_jump_state(e, HOST_NONE, 0, FRAME(spill[2]));
}
