/*
 * The ways into a block and out of it: direct jumps, which are linked from block to block
 * (struct jit_link), and polls.
 */
#include "engine/run/jit/emit/translation.h"

static void emit_poll_exit(struct translation *t, int64_t target)
{
	emit_code_address(&t->e, HOST_R13, !t->guest.is_32, target);
	emit_store_state(&t->e, HOST_R13, STATE(rip));
	emit_jump_to(&t->e, t->stubs->exit);
}

static void emit_poll_keeping_flags(struct translation *t, int64_t target)
{
	struct emitter *e = &t->e;
	size_t go_on;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	go_on = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_poll_exit(t, target);
	emit_patch8(e, go_on);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
}

void emit_entry(struct translation *t)
{
	struct emitter *e = &t->e;

	/* 16 bytes, so that the block is aligned as its entry is: lea r13, [r13 - start] */
	emit8(e, 0x4d);
	emit8(e, 0x8d);
	emit8(e, 0x80 | (HOST_R13 & 7) << 3 | (HOST_R13 & 7));
	emit32(e, -t->guest.start);
	emit_store_state(e, HOST_R13, FRAME(code_page));
}

void emit_poll_exits(struct translation *t)
{
	for (unsigned i = 0; i < t->poll_count; i++) {
		const struct poll_exit *poll = &t->polls[i];

		emit_patch(&t->e, poll->at);
		if (poll->flags_lost)
			emit_flags_again(t, poll->source, poll->rsp_moved, HOST_R13);
		emit_poll_exit(t, poll->target);
	}
}

void emit_align_link(struct translation *t, unsigned opcode_size)
{
	static const uint8_t nops[][3] = { { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 } };
	unsigned size = -(t->e.position + opcode_size) & 3;

	if (!t->is_shared)
		return;
	for (unsigned i = 0; i < size; i++)
		emit8(&t->e, nops[size - 1][i]);
}

/* Before a jump back or to another page, see whether the CPU is wanted elsewhere. */
static void emit_poll(struct translation *t, unsigned from, int64_t target, unsigned index,
		      int rsp_moved, uint16_t live)
{
	if (!live)
		t->flags_lost = false;
	if (target > (int64_t)from && !(target & ~(int64_t)0xfff))
		return;
	if (flags_stay_for(t, index, live))
		emit_poll_keeping_flags(t, target);
	else
		t->polls[t->poll_count++] = (struct poll_exit){
			.at = emit_if_requests(&t->e), .target = target, .source = index,
			.flags_lost = t->flags_lost, .rsp_moved = rsp_moved,
		};
}

void emit_way_out(struct translation *t, int64_t target, bool is_call)
{
	int64_t page_distance = target & ~(int64_t)0xfff;
	struct emitter *e = &t->e;
	size_t at;

	if (page_distance) {
		emit_code_address(e, HOST_R13, !t->guest.is_32, page_distance);
		emit_store_state(e, HOST_R13, FRAME(code_page));
		/* The entry gets its number with its link. */
		if (is_call)
			emit_call_state(e, FRAME(crossings));
		else
			emit_jump_state(e, HOST_NONE, 0, FRAME(crossings));
		at = e->position - 4;
	} else {
		if (target != (int64_t)t->guest.start || t->guest.is_one_pass)
			emit_align_link(t, 1);
		at = is_call ? emit_call_forward(e) : emit_jump(e);
		if (target == (int64_t)t->guest.start && !t->guest.is_one_pass) {
			emit_patch_to(e, at, t->item_position[0]);
			return;
		}
	}
	t->link_jumps[t->link_count].target = target;
	t->link_jumps[t->link_count++].at = at;
}

void emit_goto(struct translation *t, unsigned from, int64_t target, unsigned index, int rsp_moved,
	       uint16_t live)
{
	emit_poll(t, from, target, index, rsp_moved, live);
	emit_flags(t, index, rsp_moved, HOST_R13);
	emit_way_out(t, target, false);
}
