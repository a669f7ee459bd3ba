/*
 * REP MOVS, REP STOS and repeated SCAS of 64-bit code. Kernels copy and clear with them, mostly a few bytes
 * or a page, and Java looks types up: a stub finds both ends in the TLB and lets the host's own instruction
 * run on them when each lies in one page and DF is clear. All else is the interpreter's, before anything has
 * happened.
 *
 * Interrupts wait for up to a page of bytes, as they do in the interpreter (isa_string.c).
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"
#include "util/page.h"

#define SHORT_JUMP_LENGTH 2
#define NEAR_JUMP_LENGTH  5

static enum jit_string string_of(const struct jit_item *item)
{
	if (item->form.class == INSN_STRING_SCAN)
		return item->insn.prefixes & INSN_REPNE ? JIT_STRING_SCAN_UNTIL : JIT_STRING_SCAN_WHILE;
	return item->form.class == INSN_STRING_COPY ? JIT_STRING_COPY : JIT_STRING_FILL;
}

void emit_string(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	unsigned shift = (unsigned)__builtin_ctz(item->insn.operand_size);
	struct emitter *e = &t->e;

	emit_call_to(e, t->stubs->string[string_of(item)][shift]);
	/* The stub returns here, or behind this jump when it is the interpreter's turn. */
	emit8(e, 0xeb);
	emit8(e, NEAR_JUMP_LENGTH);
	emit_slow_jump(t, emit_jump(e), index);
}

/* To the stub's other end. */
static void emit_miss_if(struct emitter *e, enum host_condition condition, struct near_jumps *misses)
{
	near_jumps_add(misses, emit_jump_if(e, condition));
}

/* delta = host minus guest address of the RCX elements at `pointer`, which are in one page; RDX is
 * lost. */
static void emit_end(struct emitter *e, unsigned pointer, unsigned delta, unsigned shift, int32_t tag,
		     struct near_jumps *misses)
{
	emit_move_width(e, false, HOST_RDX, pointer);
	emit_immediate_flags(e, false, 4, HOST_RDX, PAGE_SIZE - 1); /* and */
	emit_lea(e, true, HOST_RDX, HOST_RDX, HOST_RCX, shift, 0);
	emit_immediate_flags(e, true, 7, HOST_RDX, PAGE_SIZE); /* cmp */
	emit_miss_if(e, HOST_ABOVE, misses);
	emit_tlb_entry(e, HOST_RDX, pointer);
	emit_move(e, delta, pointer);
	emit_entry_op(e, 0x33, delta, HOST_RDX, tag); /* xor */
	emit_immediate_flags(e, true, 7, delta, PAGE_SIZE - 1);
	emit_miss_if(e, HOST_ABOVE, misses);
	emit_entry_op(e, 0x8b, delta, HOST_RDX, TLB_ENTRY(delta));
}

static void emit_restore(struct emitter *e)
{
	emit_pop(e, HOST_RDX);
	emit_pop(e, HOST_RAX);
	emit_flags_from_rax(e);
	emit_pop(e, HOST_RAX);
}

/* reg -= delta; delta is lost, flags survive. */
static void emit_take_back(struct emitter *e, unsigned reg, unsigned delta)
{
	emit_not(e, delta);
	emit_lea(e, true, reg, reg, delta, 0, 1);
}

/* The instruction itself, on elements of 1 << shift bytes. */
static void emit_host_string(struct emitter *e, enum jit_string kind, unsigned shift)
{
	static const uint8_t prefixes[JIT_STRINGS] = { 0xf3, 0xf3, 0xf3, 0xf2 };
	static const uint8_t opcodes[JIT_STRINGS] = { 0xaa, 0xa4, 0xae, 0xae };

	if (shift == 1)
		emit8(e, 0x66);
	emit8(e, prefixes[kind]);
	emit_rex(e, shift == 3, 0, 0, 0);
	emit8(e, opcodes[kind] | (shift != 0));
}

/* A repeated instruction on elements of 1 << shift bytes. Only what the instruction changes changes, but
 * for R13 and R14. */
static void emit_stub(struct emitter *e, enum jit_string kind, unsigned shift)
{
	bool is_scan = kind == JIT_STRING_SCAN_WHILE || kind == JIT_STRING_SCAN_UNTIL;
	bool is_copy = kind == JIT_STRING_COPY;
	struct host_memory return_address = { HOST_RSP, HOST_NONE, 24, 0 };
	struct near_jumps misses = { .count = 0 };
	struct near_jump possible;

	emit_push(e, HOST_RAX);
	emit_flags_to_rax(e);
	emit_push(e, HOST_RAX);
	emit_push(e, HOST_RDX);
	emit_test_state_immediate_flags(e, STATE(rflags), RFLAGS_DF);
	emit_miss_if(e, HOST_NOT_EQUAL, &misses);
	emit_lea(e, true, HOST_R13, HOST_RCX, HOST_NONE, 0, -1);
	emit_immediate_flags(e, true, 7, HOST_R13, (PAGE_SIZE >> shift) - 1); /* cmp */
	possible = emit_jump_if(e, HOST_NOT_ABOVE);
	emit_registers_flags(e, true, 0x85, HOST_RCX, HOST_RCX); /* test */
	emit_miss_if(e, HOST_NOT_EQUAL, &misses);
	emit_restore(e);
	emit8(e, 0xc3); /* ret: there is nothing to do */

	emit_bind(e, possible);
	emit_end(e, HOST_RDI, HOST_R14, shift, is_scan ? TLB_ENTRY(tag_read) : TLB_ENTRY(tag_write),
		 &misses);
	if (is_copy)
		emit_end(e, HOST_RSI, HOST_R13, shift, TLB_ENTRY(tag_read), &misses);
	emit_restore(e);
	emit_lea(e, true, HOST_RDI, HOST_RDI, HOST_R14, 0, 0);
	if (is_copy)
		emit_lea(e, true, HOST_RSI, HOST_RSI, HOST_R13, 0, 0);
	emit_host_string(e, kind, shift);
	emit_take_back(e, HOST_RDI, HOST_R14);
	if (is_copy)
		emit_take_back(e, HOST_RSI, HOST_R13);
	emit8(e, 0xc3); /* ret */

	emit_bind_all(e, &misses);
	/* add qword [return address], the length of the jump */
	emit_memory_op(e, true, 0x83, 0, &return_address);
	emit8(e, SHORT_JUMP_LENGTH);
	emit_restore(e);
	emit8(e, 0xc3); /* ret */
}

void emit_string_stubs(struct jit_stubs *stubs, struct emitter *e)
{
	for (enum jit_string kind = 0; kind < JIT_STRINGS; kind++)
		for (unsigned shift = 0; shift < 4; shift++) {
			stubs->string[kind][shift] = e->code + e->position;
			emit_stub(e, kind, shift);
		}
}
