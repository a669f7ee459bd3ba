/*
 * The code that every block shares: the way in, the ways out, and the call of the interpreter's
 * handler for one instruction.
 */
#include <assert.h>

#include "engine/run/jit/emit/stubs.h"
#include "engine/run/jit/emit/translation.h"

/* Callee-saved in the System V ABI, in push order. */
static const uint8_t saved[] = { HOST_RBX, HOST_RBP, HOST_R12, HOST_R13, HOST_R14, HOST_R15 };

/* The guest's registers and flags to struct cpu; RAX is free afterwards. */
static void emit_save_guest(struct emitter *e)
{
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (host_register(i) != HOST_NONE)
			emit_store_state(e, host_register(i), STATE(gpr) + (int32_t)i * 8);
	emit_flags_to_rax(e);
	emit_store_state(e, HOST_RAX, FRAME(flags));
}

static void emit_restore_guest(struct emitter *e)
{
	emit_load_state(e, HOST_RAX, FRAME(flags));
	emit_flags_from_rax(e);
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (host_register(i) != HOST_NONE)
			emit_load_state(e, host_register(i), STATE(gpr) + (int32_t)i * 8);
}

/* Back to who called enter, whatever is on the stack. The result is in RAX. */
static void emit_leave(struct emitter *e)
{
	emit_load_state(e, HOST_RSP, FRAME(stack_bottom));
	emit_lea(e, true, HOST_RSP, HOST_RSP, HOST_NONE, 0, 24);
	for (unsigned i = sizeof(saved); i-- > 0;)
		emit_pop(e, saved[i]);
	emit_return_host(e);
}

void jit_build_stubs(struct jit_stubs *stubs, const struct code_memory *memory,
		     jit_fallback *fallback)
{
	struct emitter e = { .base = memory->writable, .code = memory->executable,
			     .size = JIT_STUBS_SIZE };
	const struct host_memory top = { HOST_RSP, HOST_NONE, 0 };
	uint32_t rights = code_memory_open();
	struct near_jump leave, go_on;
	const uint8_t *left;

	stubs->return_exit = e.code + e.position;
	emit_store_state(&e, HOST_R13, STATE(rip));
	/* exit: cpu->rip is set. exit_link: R13 is the offset of the struct jit_link that was left
	 * through. */
	stubs->exit = e.code + e.position;
	emit_constant(&e, HOST_R13, 0);
	stubs->exit_link = e.code + e.position;
	emit_save_guest(&e);
	emit_move(&e, HOST_RAX, HOST_R13);
	left = e.code + e.position;
	emit_leave(&e);

	/* enter(code): the stack is 16-byte aligned inside translated code, ready for calls. At its
	 * bottom is what a pair looks like (return.c), that of a call from address 0. */
	stubs->enter = (uint64_t (*)(const uint8_t *))(uintptr_t)(e.code + e.position);
	for (unsigned i = 0; i < sizeof(saved); i++)
		emit_push(&e, saved[i]);
	emit_lea(&e, true, HOST_RSP, HOST_RSP, HOST_NONE, 0, -8);
	emit_push_zero(&e);
	emit_constant(&e, HOST_RAX, (uintptr_t)stubs->return_exit);
	emit_push(&e, HOST_RAX);
	emit_store_state(&e, HOST_RSP, FRAME(stack_bottom));
	emit_store_state(&e, HOST_RDI, FRAME(spill[3]));
	emit_restore_guest(&e);
	emit_jump_state(&e, HOST_NONE, 0, FRAME(spill[3]));

	/* slow: where it returns to is what the handler says. Calls and returns stay in pairs. */
	stubs->slow = e.code + e.position;
	emit_save_guest(&e);
	emit_load_state(&e, HOST_RDI, FRAME(self));
	emit_memory_move(&e, true, false, HOST_RSI, &top);
	emit_lea(&e, true, HOST_RSP, HOST_RSP, HOST_NONE, 0, -8);
	emit_constant(&e, HOST_RAX, (uintptr_t)fallback);
	emit8(&e, 0xff); /* call rax */
	emit8(&e, 0xd0);
	emit8(&e, 0x48); /* test rax, rax */
	emit8(&e, 0x85);
	emit8(&e, 0xc0);
	leave = emit_jump_if(&e, HOST_EQUAL);
	emit8(&e, 0x48); /* cmp rax, JIT_GO_ON */
	emit8(&e, 0x83);
	emit8(&e, 0xf8);
	emit8(&e, (uint8_t)(uintptr_t)JIT_GO_ON);
	go_on = emit_jump_if(&e, HOST_EQUAL);
	emit_lea(&e, true, HOST_RSP, HOST_RSP, HOST_NONE, 0, 8);
	emit_memory_move(&e, true, true, HOST_RAX, &top);
	emit_restore_guest(&e);
	emit_return_host(&e);
	/* With 0 in RAX. The call that came here is returned from, too: else the host would take each return of enter's
	 * callers, up to the door, to be one of those further out. */
	emit_bind(&e, leave);
	emit_lea(&e, true, HOST_RSP, HOST_RSP, HOST_NONE, 0, 8);
	emit_constant(&e, HOST_R13, (uintptr_t)left);
	emit_memory_move(&e, true, true, HOST_R13, &top);
	emit_return_host(&e);
	/* No pairs, so that nothing is lost by a jump; a return would be one to where nobody expects it. */
	emit_bind(&e, go_on);
	emit_restore_guest(&e);
	emit_load_state(&e, HOST_RSP, FRAME(stack_bottom));
	emit_load_state(&e, HOST_R13, STATE(rip));
	emit_jump_state(&e, HOST_NONE, 0, FRAME(spill[2]));

	emit_lean_stubs(stubs, &e);
	emit_slot_stubs(stubs, &e);
	emit_string_stubs(stubs, &e);
	emit_return_stubs(stubs, &e);
	emit_system_call_stubs(stubs, &e);
	code_memory_close(rights);
	assert(!e.overflow && !e.unbound);
}
