/*
 * Jumps, calls and returns. Direct ones are linked from block to block (struct jit_link); the others
 * find their target in a table by address (struct jit_jump).
 */
#include "engine/jit/translation.h"

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

/* With a guest address in R13: find its translation in the jump table. Falls through with the
 * table's byte offset / 2 in R14 on a hit; on a miss, or when the CPU is wanted elsewhere, goes to
 * the item's slow path. Flags survive. */
static void emit_jump_lookup(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	size_t go_on, hit;

	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	go_on = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_slow_jump(t, emit_jump(e), index);
	emit_patch8(e, go_on);
	emit_rorx(e, HOST_R14, HOST_R13, JIT_JUMP_ROTATE);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_R13, 0, 0);
	emit_pext_state(e, HOST_R14, HOST_R14, STATE(fast.jump_mask));
	emit_lea(e, true, HOST_R14, HOST_NONE, HOST_R14, 3, 0);
	emit_gs_op(e, true, 0x8b, HOST_RCX, HOST_R14, 1, t->jumps);
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R13, 0, 0);
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_slow_jump(t, emit_jump(e), index);
	emit_patch8(e, hit);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
}

/* To the block's entry, which expects its address in R13. */
static void emit_jump_found(struct translation *t)
{
	emit_jump_state(&t->e, HOST_R14, 1, t->jumps + (int32_t)offsetof(struct jit_jump, code));
}

/* Poll for requests before a backward jump; keeps flags. */
static void emit_poll(struct translation *t, int64_t target, bool keep_flags)
{
	struct emitter *e = &t->e;
	size_t go_on;

	if (keep_flags) {
		emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
		emit_load_state32(e, HOST_RCX, STATE(requests));
		go_on = emit_jrcxz(e);
	} else {
		/* cmp dword gs:[requests], 0; je */
		emit8(e, 0x65);
		emit8(e, 0x83);
		emit_gs_modrm(e, 7, HOST_NONE, 0, STATE(requests));
		emit8(e, 0);
		emit8(e, 0x74);
		emit8(e, 0);
		go_on = e->position - 1;
	}
	if (keep_flags)
		emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_code_address(e, HOST_R13, !t->is_32, target);
	emit_store_state(e, HOST_R13, STATE(rip));
	emit_jump_to(e, t->jit->exit);
	emit_patch8(e, go_on);
	if (keep_flags)
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

/* Jump to `target`: linked once that is translated. */
void emit_goto(struct translation *t, unsigned from, int64_t target, bool keep_flags)
{
	int64_t page_distance = target & ~(int64_t)0xfff;

	if (target <= (int64_t)from)
		emit_poll(t, target, keep_flags);
	if (target == (int64_t)t->start && !t->jit->lockstep) {
		emit_patch_to(&t->e, emit_jump(&t->e), t->item_position[0]);
		return;
	}
	if (page_distance) {
		emit_code_address(&t->e, HOST_R13, !t->is_32, page_distance);
		emit_store_state(&t->e, HOST_R13, STATE(fast.code_page));
	}
	t->link_jumps[t->link_count].target = target;
	t->link_jumps[t->link_count++].at = emit_jump(&t->e);
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
		emit_jump_found(t);
		return;
	}
	emit_store_state(e, HOST_R13, STATE(fast.spill[1]));
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1,
		   t->jumps + (int32_t)offsetof(struct jit_jump, code));
	emit_store_state(e, HOST_R14, STATE(fast.spill[2]));
	emit_push_return(t, index);
	emit_load_state(e, HOST_R13, STATE(fast.spill[1]));
	emit_jump_state(e, HOST_NONE, 0, STATE(fast.spill[2]));
}

void emit_call(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];

	emit_push_return(t, index);
	emit_goto(t, item->offset, item_target(item), item->live_after);
}

void emit_return(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	unsigned extra = item->insn.kind[0] == INSN_OPERAND_IMMEDIATE ? (uint16_t)item->insn.immediate : 0;
	struct host_memory top = emit_stack_access(t, index, HOST_R15, 0, false);

	emit_memory_move(&t->e, !t->is_32, false, HOST_R13, &top);
	emit_jump_lookup(t, index);
	emit_stack_move(t, (int32_t)(t->width + extra));
	emit_jump_found(t);
}
