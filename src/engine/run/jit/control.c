/*
 * Jumps and calls. Direct ones are linked from block to block (struct jit_link); the others find
 * their target in a table by address (struct jit_jump).
 */
#include "engine/run/jit/translation.h"

/* Write a slot below the guest's stack pointer and commit the new one. `guest`: which register to
 * push, or CPU_REGISTERS for `constant`. */
void emit_push_value(struct translation *t, unsigned index, unsigned guest, uint64_t constant)
{
	struct emitter *e = &t->e;
	uint8_t host = guest < CPU_REGISTERS ? host_register(guest) : HOST_NONE;
	struct host_memory top;

	top = emit_stack_access(t, index, HOST_R15, -(int32_t)t->width, true);
	if (guest < CPU_REGISTERS && host != HOST_NONE) {
		emit_memory_move(e, !t->is_32, true, host, &top);
	} else if (guest == CPU_REGISTERS && (t->is_32 || (int64_t)constant == (int32_t)constant)) {
		emit_memory_op(e, !t->is_32, 0xc7, 0, &top);
		emit32(e, constant);
	} else {
		if (guest < CPU_REGISTERS)
			emit_load_state(e, t->scratch[0], home(guest));
		else
			emit_constant(e, t->scratch[0], constant);
		emit_memory_move(e, true, true, t->scratch[0], &top);
	}
	emit_stack_move(t, -(int32_t)t->width);
}

/* Push a call's return address. */
static void emit_push_return(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->jit->items[index];
	struct emitter *e = &t->e;
	struct host_memory top;

	top = emit_stack_access(t, index, HOST_R15, -(int32_t)t->width, true);
	if (top.base == HOST_R13) {
		emit_lea(e, true, HOST_R14, HOST_R13, HOST_R14, 0, 0);
		top = (struct host_memory){ HOST_R14, HOST_NONE, 0 };
	}
	emit_code_address(e, HOST_R13, !t->is_32, item->offset + item->instruction.length);
	emit_memory_move(e, !t->is_32, true, HOST_R13, &top);
	emit_stack_move(t, -(int32_t)t->width);
}

size_t emit_if_requests(struct emitter *e)
{
	emit_test_state(e, STATE(requests));
	return emit_jump_if(e, 0x5);
}

void emit_jump_probe(struct emitter *e, int32_t jumps)
{
	emit_rotate(e, HOST_R14, HOST_R13, JIT_JUMP_ROTATE);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_R13, 3, 0);
	emit_field(e, HOST_R14, HOST_R14, STATE(fast.jump_mask), 3);
	emit_lea(e, true, HOST_R14, HOST_NONE, HOST_R14, 3, 0);
	emit_gs_op(e, true, 0x8b, HOST_RCX, HOST_R14, 1, jumps);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R13, 0, 1); /* address - entry's */
}

/* emit_jump_lookup with flags that somebody reads. */
static void emit_jump_lookup_keeping_flags(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	size_t go_on, hit;

	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	go_on = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_slow_jump(t, emit_jump(e), index);
	emit_patch8(e, go_on);
	emit_count(t, JIT_COUNT_JUMP);
	emit_jump_probe(e, t->jumps);
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_slow_jump_counted(t, emit_jump(e), index, JIT_COUNT_JUMP_MISS);
	emit_patch8(e, hit);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
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
	emit_slow_jump_counted(t, emit_jump_if(e, 0x5), index, JIT_COUNT_JUMP_MISS);
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
	emit_store_state(e, HOST_R14, STATE(fast.spill[2]));
	emit_flags(t, index, rsp_moved, HOST_R14);
	emit_jump_state(e, HOST_NONE, 0, STATE(fast.spill[2]));
}

static void emit_poll_exit(struct translation *t, int64_t target)
{
	emit_code_address(&t->e, HOST_R13, !t->is_32, target);
	emit_store_state(&t->e, HOST_R13, STATE(rip));
	emit_jump_to(&t->e, t->jit->cache->exit);
}

static void emit_poll_keeping_flags(struct translation *t, int64_t target)
{
	struct emitter *e = &t->e;
	size_t go_on;

	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	go_on = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_poll_exit(t, target);
	emit_patch8(e, go_on);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
}

void emit_entry(struct translation *t)
{
	struct emitter *e = &t->e;

	/* 16 bytes, so that the block is aligned as its entry is: lea r13, [r13 - start] */
	emit8(e, 0x4d);
	emit8(e, 0x8d);
	emit8(e, 0x80 | (HOST_R13 & 7) << 3 | (HOST_R13 & 7));
	emit32(e, -t->start);
	emit_store_state(e, HOST_R13, STATE(fast.code_page));
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
		emit_code_address(e, HOST_R13, !t->is_32, page_distance);
		emit_store_state(e, HOST_R13, STATE(fast.code_page));
		/* The entry gets its number with its link. */
		if (is_call)
			emit_call_state(e, STATE(fast.crossings));
		else
			emit_jump_state(e, HOST_NONE, 0, STATE(fast.crossings));
		at = e->position - 4;
	} else {
		if (target != (int64_t)t->start || t->jit->lockstep)
			emit_align_link(t, 1);
		at = is_call ? emit_call_forward(e) : emit_jump(e);
		if (target == (int64_t)t->start && !t->jit->lockstep) {
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

void emit_indirect(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	struct emitter *e = &t->e;
	bool is_call = item->kind == ITEM_CALL_INDIRECT;

	if (item->insn.kind[0] == INSN_OPERAND_MEMORY) {
		struct host_memory pointer = emit_operand_access(t, index, t->width, false, false);

		emit_memory_move(e, !t->is_32, false, HOST_R13, &pointer);
	} else {
		emit_load_guest(t, HOST_R13, item->insn.reg[0] / 8);
	}
	emit_jump_lookup(t, index);
	if (!is_call) {
		emit_jump_found(t, index, 0);
		return;
	}
	emit_store_state(e, HOST_R13, STATE(fast.spill[1]));
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1, JUMP_CODE(t->jumps));
	emit_store_state(e, HOST_R14, STATE(fast.spill[2]));
	emit_push_return(t, index);
	if (call_is_paired(t, index)) {
		emit_pair(t, index, item->live_after);
		emit_load_state(e, HOST_R13, STATE(fast.spill[1]));
		emit_call_state(e, STATE(fast.spill[2]));
		emit_landing(t, index);
		return;
	}
	emit_flags(t, index, -(int)t->width, HOST_R14);
	emit_load_state(e, HOST_R13, STATE(fast.spill[1]));
	emit_jump_state(e, HOST_NONE, 0, STATE(fast.spill[2]));
}

void emit_call(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	int64_t target = item_target(item);

	emit_push_return(t, index);
	if (!call_is_paired(t, index)) {
		emit_goto(t, item->offset, target, index, -(int)t->width, item->live_after);
		return;
	}
	emit_pair(t, index, item->live_after);
	emit_way_out(t, target, true);
	emit_landing(t, index);
}
