/*
 * Calls and indirect jumps, and what they push.
 */
#include "engine/run/jit/emit/translation.h"

/* Write a slot below the guest's stack pointer and commit the new one. `guest`: which register to
 * push, or CPU_REGISTERS for `constant`. */
void emit_push_value(struct translation *t, unsigned index, unsigned guest, uint64_t constant)
{
	struct emitter *e = &t->e;
	uint8_t host = guest < CPU_REGISTERS ? host_register(guest) : HOST_NONE;
	struct host_memory top;
	unsigned scratch;

	top = emit_stack_access(t, index, HOST_R15, -(int32_t)t->guest.width, true);
	scratch = top.base == HOST_R13 ? HOST_R14 : t->scratch[0];
	if (guest < CPU_REGISTERS && host != HOST_NONE) {
		emit_memory_move(e, !t->guest.is_32, true, host, &top);
	} else if (guest == CPU_REGISTERS && (t->guest.is_32 || (int64_t)constant == (int32_t)constant)) {
		emit_memory_op(e, !t->guest.is_32, 0xc7, 0, &top);
		emit32(e, constant);
	} else {
		if (guest < CPU_REGISTERS)
			emit_load_state(e, scratch, home(guest));
		else
			emit_constant(e, scratch, constant);
		emit_memory_move(e, true, true, scratch, &top);
	}
	emit_stack_move(t, -(int32_t)t->guest.width);
}

/* Push a call's return address. */
static void emit_push_return(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	struct emitter *e = &t->e;
	struct host_memory top;

	if (is_lean_here(t)) {
		emit_lean_push_return(t, index);
		return;
	}
	top = emit_stack_access(t, index, HOST_R15, -(int32_t)t->guest.width, true);
	if (top.base == HOST_R13) {
		emit_lea(e, true, HOST_R14, HOST_R13, top.index, 0, 0);
		top = (struct host_memory){ HOST_R14, HOST_NONE, 0 };
	}
	emit_code_address(e, HOST_R13, !t->guest.is_32, item->offset + item->insn.length);
	emit_memory_move(e, !t->guest.is_32, true, HOST_R13, &top);
	emit_stack_move(t, -(int32_t)t->guest.width);
}

void emit_indirect(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->guest.items[index];
	struct emitter *e = &t->e;
	bool is_call = item->kind == ITEM_CALL_INDIRECT, is_lean = is_lean_here(t);

	if (item->insn.kind[0] == INSN_OPERAND_MEMORY) {
		struct host_memory pointer = emit_operand_access(t, index, t->guest.width, false, false);

		emit_memory_move(e, !t->guest.is_32, false, HOST_R13, &pointer);
	} else {
		emit_load_guest(t, HOST_R13, item->insn.reg[0] / 8);
	}
	if (is_lean) {
		emit_lean_lookup(t, index);
		if (!is_call) {
			emit_jump_state(e, HOST_NONE, 0, FRAME(spill[2]));
			return;
		}
	} else {
		emit_jump_lookup(t, index);
		if (!is_call) {
			emit_jump_found(t, index, 0);
			return;
		}
		emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1, JUMP_CODE(t->jumps));
		emit_store_state(e, HOST_R14, FRAME(spill[2]));
	}
	emit_store_state(e, HOST_R13, FRAME(spill[1]));
	emit_push_return(t, index);
	if (call_is_paired(t, index)) {
		if (is_lean)
			emit_pair_push(t, index);
		else
			emit_pair(t, index, item->live_after);
		emit_load_state(e, HOST_R13, FRAME(spill[1]));
		emit_call_state(e, FRAME(spill[2]));
		emit_landing(t, index);
		return;
	}
	emit_flags(t, index, -(int)t->guest.width, HOST_R14);
	emit_load_state(e, HOST_R13, FRAME(spill[1]));
	emit_jump_state(e, HOST_NONE, 0, FRAME(spill[2]));
}

void emit_call(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->guest.items[index];
	int64_t target = item_target(item);
	bool is_lean = is_lean_here(t);

	emit_push_return(t, index);
	if (!call_is_paired(t, index)) {
		emit_goto(t, item->offset, target, index, -(int)t->guest.width, item->live_after);
		return;
	}
	if (is_lean)
		emit_pair_push(t, index);
	else
		emit_pair(t, index, item->live_after);
	emit_way_out(t, target, true);
	emit_landing(t, index);
}
