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
	struct short_jump go_on;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	go_on = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_poll_exit(t, target);
	emit_bind_short(e, go_on);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
}

/*
 * With gva + 1 of the block's page in R14: leave unless the block is at R13. Flags stay, also where the block has no
 * use for them: other code may be there by now, and that may have.
 */
static void emit_entry_check(struct translation *t)
{
	struct emitter *e = &t->e;
	struct short_jump hit;

	emit_not(e, HOST_R14); /* -gva - 2 */
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_R13, 0, 2 - (int32_t)t->guest.start);
	emit_exchange(e, HOST_RCX, HOST_R14);
	hit = emit_jrcxz(e);
	emit_move(e, HOST_RCX, HOST_R14);
	emit_jump_to(e, t->stubs->return_exit);
	emit_bind_short(e, hit);
	emit_move(e, HOST_RCX, HOST_R14);
}

/* mov r14d, index * 8; the rest is a stub's. */
static void emit_lean_entry(struct translation *t)
{
	struct emitter *e = &t->e;

	emit_bytes(e, (const uint8_t[]){ 0x41, 0xbe }, 2);
	assert(e->overflow || e->position == JIT_LEAN_ENTRY_PAGE_AT);
	emit32(e, 0);
	emit_call_to(e, t->stubs->entry[t->guest.is_user]);
}

/* R14 = where a page is in the present view, + 1. Returns where 8 * its index is to stand, which is known
 * when the block comes into the cache. */
static struct constant_place emit_view(struct translation *t)
{
	struct emitter *e = &t->e;

	emit_load_state(e, HOST_R14, FRAME(pages) + (t->guest.is_user ? 8 : 0));
	emit_bytes(e, (const uint8_t[]){ 0x4d, 0x8b, 0xb6 }, 3); /* mov r14, [r14 + index * 8] */
	emit32(e, 0);
	return (struct constant_place){ e->position - 4 };
}

void emit_next_page(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	struct short_jump hit;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	t->next_page_at = emit_view(t);
	emit_not(e, HOST_R14); /* -gva - 2 */
	emit_code_address(e, HOST_R13, true, 0x1000 + 2);
	emit_lea(e, true, HOST_RCX, HOST_R14, HOST_R13, 0, 0);
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_slow_jump(t, emit_jump(e), index);
	emit_bind_short(e, hit);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
}

void emit_entry(struct translation *t)
{
	struct emitter *e = &t->e;
	struct constant_place page;

	if (t->is_lean) {
		emit_lean_entry(t);
		return;
	}
	page = emit_view(t);
	assert(e->overflow || page.at == JIT_ENTRY_PAGE_AT);
	(void)page;
	emit_entry_check(t);
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_NONE, 0, -(int32_t)t->guest.start);
	emit_store_state(e, HOST_R13, FRAME(code_page));
	/* The block is aligned as its entry is. */
	emit_align(e, 16);
}

void emit_poll_exits(struct translation *t)
{
	for (unsigned i = 0; i < t->poll_count; i++) {
		const struct poll_exit *poll = &t->polls[i];

		emit_bind(&t->e, poll->jump);
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

static bool needs_poll(unsigned from, int64_t target)
{
	return target <= (int64_t)from || target & ~(int64_t)0xfff;
}

/* Before a jump back or to another page, see whether the CPU is wanted elsewhere. */
static void emit_poll(struct translation *t, unsigned from, int64_t target, unsigned index,
		      int rsp_moved, uint16_t live)
{
	if (!live)
		t->flags_lost = false;
	if (!needs_poll(from, target))
		return;
	if (is_lean_here(t) && index < t->guest.count && rsp_moved == 0 &&
	    t->guest.items[index].offset == from) {
		emit_lean_poll(t, index);
		return;
	}
	if (flags_stay_for(t, index, live))
		emit_poll_keeping_flags(t, target);
	else
		t->polls[t->poll_count++] = (struct poll_exit){
			.jump = emit_if_requests(&t->e), .target = target, .source = index,
			.flags_lost = t->flags_lost, .rsp_moved = rsp_moved,
		};
}

void emit_way_out(struct translation *t, int64_t target, bool is_call)
{
	int64_t page_distance = target & ~(int64_t)0xfff;
	struct emitter *e = &t->e;
	struct near_jump jump;

	if (page_distance) {
		emit_code_address(e, HOST_R13, !t->guest.is_32, target);
		emit_align_link(t, 1);
		jump = is_call ? emit_call_forward(e) : emit_jump(e);
	} else {
		if (target != (int64_t)t->guest.start || t->guest.is_one_pass)
			emit_align_link(t, 1);
		jump = is_call ? emit_call_forward(e) : emit_jump(e);
		if (target == (int64_t)t->guest.start && !t->guest.is_one_pass) {
			emit_bind_to(e, jump, t->item_place[0]);
			return;
		}
	}
	t->link_jumps[t->link_count].target = target;
	t->link_jumps[t->link_count++].jump = jump;
}

void emit_goto(struct translation *t, unsigned from, int64_t target, unsigned index, int rsp_moved,
	       uint16_t live)
{
	emit_poll(t, from, target, index, rsp_moved, live);
	emit_flags(t, index, rsp_moved, HOST_R13);
	emit_way_out(t, target, false);
}

void emit_goto_exact(struct translation *t, unsigned from, int64_t target, uint16_t live)
{
	if (needs_poll(from, target) && live)
		emit_poll_keeping_flags(t, target);
	else if (needs_poll(from, target))
		t->polls[t->poll_count++] = (struct poll_exit){ .jump = emit_if_requests(&t->e), .target = target };
	emit_way_out(t, target, false);
}
