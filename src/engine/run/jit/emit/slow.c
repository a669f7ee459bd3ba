/*
 * Ways to slow paths, and what is counted on them.
 *
 * Hits of the TLB, the page slots and the jump table happen in translated code, which says nothing of
 * them. When statistics are kept, blocks are translated with an addition at each lookup and another
 * on the way to each slow path: so the numbers are exact, and nobody else pays.
 */
#include "engine/run/jit/emit/translation.h"

#define JUMP_LENGTH 5

void emit_slow_jump(struct translation *t, struct near_jump jump, unsigned item)
{
	if (t->slow_count == sizeof(t->slow) / sizeof(t->slow[0])) {
		t->failed = true;
		return;
	}
	if (item < JIT_BLOCK_INSNS)
		item += t->slow_offset;
	t->slow[t->slow_count++] = (struct slow_jump){ jump, item };
	if (item < JIT_BLOCK_INSNS)
		t->slow_flags_lost[item] |= t->flags_lost;
}

void emit_site(struct translation *t, unsigned item)
{
	if (t->site_count == sizeof(t->sites) / sizeof(t->sites[0])) {
		t->failed = true;
		return;
	}
	t->sites[t->site_count].place = emit_here(&t->e);
	t->sites[t->site_count++].item = item;
}

void emit_count(struct translation *t, enum jit_count which)
{
	/* Neighbours have different parts. */
	unsigned part = t->slow_count % JIT_COUNT_PARTS;
	int32_t counter = FRAME(counts) + (int32_t)((which * JIT_COUNT_PARTS + part) * 8);

	size_t before = t->e.position;

	if (!t->counts_lookups)
		return;
	emit_load_state(&t->e, HOST_R14, counter);
	emit_lea(&t->e, true, HOST_R14, HOST_R14, HOST_NONE, 0, 1);
	emit_store_state(&t->e, HOST_R14, counter);
	t->counting_size += t->e.position - before;
}

void emit_slow_jump_counted(struct translation *t, struct near_jump jump, unsigned item,
			    enum jit_count which)
{
	struct emitter *e = &t->e;
	struct near_jump past;

	if (!t->counts_lookups) {
		emit_slow_jump(t, jump, item);
		return;
	}
	past = emit_jump(e);
	emit_bind(e, jump);
	emit_count(t, which);
	emit_slow_jump(t, emit_jump(e), item);
	emit_bind(e, past);
	t->counting_size += 2 * JUMP_LENGTH;
}

void emit_slow_unless_rcx_zero(struct translation *t, unsigned slow)
{
	struct emitter *e = &t->e;
	struct short_jump zero = emit_jrcxz(e);

	emit_move(e, HOST_RCX, HOST_R13);
	emit_slow_jump(t, emit_jump(e), slow);
	emit_bind_short(e, zero);
	emit_move(e, HOST_RCX, HOST_R13);
}

void emit_slow_if_blocked(struct translation *t, unsigned slow, int32_t blocked)
{
	emit_move(&t->e, HOST_R13, HOST_RCX);
	emit_load_state(&t->e, HOST_RCX, blocked);
	emit_slow_unless_rcx_zero(t, slow);
}
