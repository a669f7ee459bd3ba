/*
 * SYSCALL and SYSRET of 64-bit code: the way into a guest's kernel and back, some of which are nothing but that.
 *
 * A stub does what the handlers do (isa_system.c) where the MSRs hold what the frame's segments were made from, the
 * code behind is in the jump table, and nobody wants to hear of it; else the site's slow path executes it, with nothing
 * changed. Mode, segments, CPL, TLB set and page slots are then as cpu_update_mode and its observers would leave them.
 * The stack of pairs is emptied: what returns there is of the other ring (return.c).
 */
#include <Zydis/Zydis.h>

#include "engine/run/jit/emit/translation.h"
#include "engine/x86/system.h"

/* Of 64-bit code: jit_jump_set(). */
#define KERNEL_JUMPS jump_table(0)
#define USER_JUMPS   jump_table(1)

/* From here on flags and RAX are free, and the guest's are in frame.spill; R14 = its RAX. */
static void emit_begin(struct emitter *e)
{
	emit_move(e, HOST_R14, HOST_RAX);
	emit_flags_to_rax(e);
	emit_store_state(e, HOST_RAX, FRAME(spill[0]));
	emit_store_state(e, HOST_R14, FRAME(spill[1]));
}

/* It is the slow path's, after all. */
static void emit_give_up(const struct jit_stubs *stubs, struct emitter *e, const struct near_jumps *doubts)
{
	emit_bind_all(e, doubts);
	emit_load_state(e, HOST_RAX, FRAME(spill[0]));
	emit_flags_from_rax(e);
	emit_load_state(e, HOST_RAX, FRAME(spill[1]));
	emit_jump_to(e, stubs->slow);
}

static void emit_doubt(struct emitter *e, struct near_jumps *doubts, enum host_condition condition)
{
	near_jumps_add(doubts, emit_jump_if(e, condition));
}

/* Unless both fields, of 8 bytes, are equal. R14 is scratch. */
static void emit_doubt_unequal(struct emitter *e, struct near_jumps *doubts, int32_t a, int32_t b)
{
	emit_load_state(e, HOST_R14, a);
	emit_gs_op(e, true, 0x3b, HOST_R14, HOST_NONE, 0, b); /* cmp */
	emit_doubt(e, doubts, HOST_NOT_EQUAL);
}

/* In common: requests, and the MSRs. */
static void emit_doubts(struct emitter *e, struct near_jumps *doubts)
{
	near_jumps_add(doubts, emit_if_requests(e));
	emit_doubt_unequal(e, doubts, STATE(efer), FRAME(system_call.efer));
	emit_doubt_unequal(e, doubts, STATE(star), FRAME(system_call.star));
}

/* frame.spill[2] = where the code for the address in R13 is. */
static void emit_find(struct emitter *e, int32_t jumps, struct near_jumps *doubts)
{
	emit_jump_index(e, jumps, doubts);
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1, JUMP_CODE(jumps));
	emit_store_state(e, HOST_R14, FRAME(spill[2]));
}

/* Nothing is in the way: CS and SS from the frame, CPL, the TLB set. RAX is scratch. */
static void emit_enter_ring(struct emitter *e, int32_t segments, unsigned cpl, int32_t tlb)
{
	int32_t to = STATE(segment) + CPU_CS * (int32_t)sizeof(struct kvm_segment);

	for (int32_t i = 0; i < (int32_t)sizeof(struct system_call_segments); i += 8) {
		emit_load_state(e, HOST_RAX, segments + i);
		emit_store_state(e, HOST_RAX, to + i);
	}
	emit_store_state_byte(e, cpl, STATE(cpl));
	emit_load_state(e, HOST_RAX, tlb);
	emit_store_state(e, HOST_RAX, STATE(tlb));
}

/* With RFLAGS in R14: its arithmetic flags become the host's, and go on, without pairs. */
static void emit_go(struct emitter *e)
{
	emit_flags_from_rflags(e, HOST_R14);
	emit_load_state(e, HOST_RAX, FRAME(spill[1]));
	emit_load_state(e, HOST_RSP, FRAME(stack_bottom));
	emit_jump_state(e, HOST_NONE, 0, FRAME(spill[2]));
}

/* R14 = RFLAGS, without RF, of which the arithmetic flags are in frame.spill[0] as LAHF and SETO gave them. RAX is
 * scratch. */
static void emit_compose_flags(struct emitter *e)
{
	emit_load_state32(e, HOST_RAX, FRAME(spill[0]));
	emit_move_width(e, false, HOST_R14, HOST_RAX);
	emit_shift_right_flags(e, false, HOST_RAX, 8);
	emit_immediate_flags(e, false, 4, HOST_RAX, FLAGS_ARITHMETIC & 0xff); /* and */
	emit_immediate_flags(e, false, 4, HOST_R14, 1);
	emit_shift_left_flags(e, HOST_R14, 11);
	emit_registers_flags(e, false, 0x09, HOST_RAX, HOST_R14); /* or */
	emit_load_state32(e, HOST_R14, STATE(rflags));
	emit_immediate_flags(e, false, 4, HOST_R14, (int32_t)~(FLAGS_ARITHMETIC | RFLAGS_RF));
	emit_registers_flags(e, false, 0x09, HOST_R14, HOST_RAX);
}

/* R13 = the distance of the next instruction from the page's start. */
static void emit_system_call_stub(const struct jit_stubs *stubs, struct emitter *e)
{
	struct near_jumps doubts = { .count = 0 };

	emit_begin(e);
	emit_gs_op(e, true, 0x3b, HOST_R14, HOST_NONE, 0, STATE(told_call)); /* cmp */
	emit_doubt(e, &doubts, HOST_EQUAL);
	emit_test_state_byte(e, STATE(tells_stay));
	emit_doubt(e, &doubts, HOST_NOT_EQUAL);
	emit_doubts(e, &doubts);
	emit_doubt_unequal(e, &doubts, STATE(fmask), FRAME(system_call.fmask));
	emit_move(e, HOST_RAX, HOST_R13);
	emit_load_state(e, HOST_R13, STATE(lstar));
	emit_find(e, KERNEL_JUMPS, &doubts);

	emit_gs_op(e, true, 0x03, HOST_RAX, HOST_NONE, 0, FRAME(code_page)); /* add */
	emit_move(e, HOST_RCX, HOST_RAX);
	emit_compose_flags(e);
	emit_move(e, HOST_R11, HOST_R14);
	emit_load_state(e, HOST_RAX, STATE(fmask));
	emit_not(e, HOST_RAX);
	emit_registers_flags(e, true, 0x21, HOST_R14, HOST_RAX); /* and */
	emit_immediate_flags(e, false, 1, HOST_R14, RFLAGS_ONE); /* or */
	emit_store_state(e, HOST_R14, STATE(rflags));
	emit_enter_ring(e, FRAME(system_call.entered), 0, FRAME(tlb_by_ac));
	emit_go(e);
	emit_give_up(stubs, e, &doubts);
}

/* To 64-bit code: RCX is canonical if it is in the table. Ring 3 begins without TF, and with AC = 0. */
static void emit_system_return_stub(const struct jit_stubs *stubs, struct emitter *e)
{
	struct near_jumps doubts = { .count = 0 };
	struct near_jump waits;
	struct code_place no_interrupt;

	emit_begin(e);
	emit_doubts(e, &doubts);
	emit_test_state_byte(e, STATE(interrupt_waiting));
	waits = emit_jump_if(e, HOST_NOT_EQUAL);
	no_interrupt = emit_here(e);
	emit_test_immediate_flags(e, HOST_R11, RFLAGS_TF | RFLAGS_AC);
	emit_doubt(e, &doubts, HOST_NOT_EQUAL);
	emit_doubt_unequal(e, &doubts, STATE(segment[CPU_FS].base), FRAME(fs_base_told));
	emit_move(e, HOST_R13, HOST_RCX);
	emit_find(e, USER_JUMPS, &doubts);
	emit_load_state(e, HOST_RAX, STATE(untold_stays));
	emit_immediate_flags(e, true, 0, HOST_RAX, -1); /* add: no carry if it was 0 */
	emit_doubt(e, &doubts, HOST_NOT_BELOW);

	emit_store_state(e, HOST_RAX, STATE(untold_stays));
	emit_move_width(e, false, HOST_R14, HOST_R11);
	emit_immediate_flags(e, false, 4, HOST_R14, (int32_t)(RFLAGS_ALL & ~(RFLAGS_RF | RFLAGS_VM)));
	emit_immediate_flags(e, false, 1, HOST_R14, RFLAGS_ONE); /* or */
	emit_store_state(e, HOST_R14, STATE(rflags));
	emit_enter_ring(e, FRAME(system_call.returned), 3, FRAME(tlb_user));
	emit_store_state_constant(e, 0, FRAME(slots_closed));
	emit_go(e);
	emit_bind(e, waits);
	emit_test_immediate_flags(e, HOST_R11, RFLAGS_IF);
	emit_jump_back_if(e, HOST_EQUAL, no_interrupt);
	emit_give_up(stubs, e, &doubts);
}

void emit_system_call_stubs(struct jit_stubs *stubs, struct emitter *e)
{
	emit_align(e, 16);
	stubs->system_call = e->code + e->position;
	emit_system_call_stub(stubs, e);
	emit_align(e, 16);
	stubs->system_return = e->code + e->position;
	emit_system_return_stub(stubs, e);
}

bool emit_system_call(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	bool is_call = item->insn.mnemonic == ZYDIS_MNEMONIC_SYSCALL && t->guest.is_user;
	bool is_return = item->insn.mnemonic == ZYDIS_MNEMONIC_SYSRET && !t->guest.is_user &&
			 item->insn.operand_size == 8;

	if ((!is_call && !is_return) || t->guest.is_32 || t->guest.is_one_pass)
		return false;
	emit_flags(t, index, 0, HOST_R13);
	emit_constant(&t->e, HOST_R13, item->offset + item->insn.length);
	emit_call_to(&t->e, is_call ? t->stubs->system_call : t->stubs->system_return);
	emit_site(t, index);
	return true;
}
