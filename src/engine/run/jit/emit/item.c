/*
 * The code of one guest instruction.
 *
 * Fixed register map: guest RAX..R12 live in the host registers of the same name, except RSP, which
 * lives in R15; guest R13, R14 and R15 live in struct cpu. Host R13 and R14 are scratch, RSP is the
 * host's stack. So every instruction with implicit operands (MUL, shifts by CL, CMPXCHG) can be
 * copied as it stands.
 */
#include <string.h>

#include "engine/run/jit/emit/reencode.h"
#include "engine/run/jit/emit/translation.h"

static void emit_fallback(struct translation *t, unsigned index)
{
	if (emit_system_call(t, index))
		return;
	emit_slow_jump(t, emit_jump(&t->e), index);
	memset(t->progress.vector_checked, 0, sizeof(t->progress.vector_checked));
	memset(t->progress.segment_checked, 0, sizeof(t->progress.segment_checked));
}

/* Whether nobody reads the flags that there are where a slow path begins. */
static bool flags_are_dead(const struct translation *t, unsigned slow)
{
	if (slow >= SLOW_LOOP) /* a loop begins so */
		return true;
	if (slow >= SLOW_REGION)
		slow = t->plan.regions[slow - SLOW_REGION].start;
	return !flags_needed(&t->guest.items[slow]);
}

void emit_vector_check(struct translation *t, unsigned slow, unsigned level)
{
	int32_t blocked = FRAME(vector_blocked) + (int32_t)level * 8;
	struct emitter *e = &t->e;

	if (t->progress.vector_checked[level])
		return;
	if (flags_are_dead(t, slow)) {
		emit_test_state(e, blocked);
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_EQUAL), slow);
	} else {
		emit_slow_if_blocked(t, slow, blocked);
	}
	/* A slow path that changes this leaves the block. */
	for (unsigned i = 0; i <= level; i++)
		t->progress.vector_checked[i] |= i != JIT_VECTOR_X87 || level == JIT_VECTOR_X87;
}

static void emit_item_vector_check(struct translation *t, unsigned index, unsigned level)
{
	t->guest.items[index].vector_levels |= 1u << level;
	emit_vector_check(t, index, level);
}

/* All of a block is in one page, so that is stored once. */
static void emit_x87_pointer(struct translation *t, unsigned offset, unsigned scratch)
{
	if (!t->progress.has_x87_page) {
		emit_load_state(&t->e, scratch, FRAME(code_page));
		emit_store_state(&t->e, scratch, FRAME(x87_page));
	}
	t->progress.has_x87_page = true;
	emit_store_state_constant(&t->e, JIT_X87_MOVED | offset, FRAME(x87_offset));
}

/* Whether the item changes the same memory in each iteration of a loop, which nobody but vCPUs'
 * LOCK must see at once. */
static bool is_loop_update(const struct jit_item *item, const struct reencode *rename)
{
	return item_is_update(item) &&
	       rename->memory.index == HOST_NONE && rename->memory.base != HOST_R13 &&
	       (rename->without_lock || !(item->insn.prefixes & INSN_LOCK));
}

/*
 * op [memory], source as: move, op reg, [memory], store. The flags are the same. Zen 4 keeps a value
 * that is stored and loaded again by such instructions in a register (0.3 ns an iteration), but not
 * for the one instruction (1.8 ns). `reg` may be the source.
 */
static void emit_loop_update(struct emitter *e, const struct jit_item *item,
			     const struct host_memory *memory, unsigned source, unsigned reg)
{
	bool wide = item->insn.operand_size == 8;

	if (source != reg)
		emit_move_width(e, wide, reg, source);
	emit_memory_op(e, wide, item->form.opcode | 2, reg, memory);
	emit_memory_move(e, wide, true, reg, memory);
}

/* Whether the copy uses scratch registers for nothing but guest registers, and has no slow path. */
static bool is_quiet_copy(const struct translation *t, unsigned index)
{
	const struct insn_form *form = &t->guest.items[index].form;

	return (!form->has_memory || (t->places && t->places[index].base != HOST_NONE)) &&
	       !form->vector_levels && !form->is_x87;
}

static void emit_copy(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->guest.items[index];
	struct emitter *e = &t->e;
	struct reencode rename;
	uint16_t used = homes_of(t, item->form.copy_read | item->form.copy_written);
	struct home_hosts hosts = homes_hosts(t, used);
	bool moves_pointer = item->form.is_x87;

	for (unsigned level = JIT_VECTOR_LEVELS; level-- > 0;)
		if (item->form.vector_levels >> level & 1)
			emit_item_vector_check(t, index, level);
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		rename.map[i] = t->map[i];
	rename.without_lock = t->guest.is_alone && !item_is_fence(item);
	if (item->form.has_memory) {
		rename.memory = emit_operand_access(t, index, item->insn.memory_size,
						    item->form.memory_written,
						    item_needs_alignment(item));
		emit_flags_inside(t, index);
		if (rename.memory.base == HOST_R13 && rename.memory.index == HOST_R14 &&
		    (used || (moves_pointer && !t->progress.has_x87_page))) {
			emit_lea(e, true, HOST_R13, HOST_R14, HOST_R13, 0, 0);
			rename.memory = (struct host_memory){ HOST_R13, HOST_NONE, 0 };
		}
		if (rename.memory.base == HOST_R13 && rename.memory.index == HOST_NONE)
			hosts = (struct home_hosts){ { HOST_R14 }, 1 };
	}
	if (moves_pointer)
		emit_x87_pointer(t, item->offset, hosts.host[0]);
	if (!is_quiet_copy(t, index))
		homes_forget(t);
	for (unsigned i = HOST_R13; i < CPU_REGISTERS; i++)
		if (used >> i & 1)
			rename.map[i] = emit_home(t, i, &hosts, used, item->form.copy_read >> i & 1);
	if (is_loop_update(item, &rename)) {
		emit_loop_update(e, item, &rename.memory, rename.map[item->insn.reg[1] / 8], hosts.host[0]);
		homes_forget(t);
	} else if (!reencode_emit(e, &item->insn, &item->form, item->bytes, &rename)) {
		t->failed = true;
	}
	for (unsigned i = HOST_R13; i < CPU_REGISTERS; i++)
		if (used & item->form.copy_written & 1u << i)
			emit_store_state(e, rename.map[i], home(i));
}

static unsigned emit_part(struct translation *t, unsigned guest, const struct home_hosts *hosts, uint16_t homes)
{
	if (guest >= CPU_REGISTERS)
		return HOST_NONE;
	return homes >> guest & 1 ? emit_home(t, guest, hosts, homes, true) : t->map[guest];
}

static void emit_lea_item(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	const struct insn *insn = &item->insn;
	unsigned guest = insn->reg[0] / 8, reg = t->map[guest];
	uint16_t parts = (insn->base < CPU_REGISTERS) << (insn->base & 15) |
			 (insn->index < CPU_REGISTERS) << (insn->index & 15);
	uint16_t homes = homes_of(t, parts);
	struct home_hosts hosts = homes_hosts(t, homes);
	unsigned part[2] = { emit_part(t, insn->base, &hosts, homes), emit_part(t, insn->index, &hosts, homes) };

	if (reg == HOST_NONE)
		reg = homes_result(t, guest, &hosts);
	if (insn->base == INSN_BASE_RIP)
		emit_code_address(&t->e, reg, insn->address_size == 8,
				  item->offset + insn->length + insn->displacement);
	else
		emit_sum(&t->e, insn, reg, part[0], part[1]);
	if (insn->operand_size == 4 && insn->address_size == 8) {
		/* mov reg32, reg32 */
		emit_rex(&t->e, false, reg, 0, reg);
		emit8(&t->e, 0x89);
		emit8(&t->e, 0xc0 | (reg & 7) << 3 | (reg & 7));
	}
	if (t->map[guest] == HOST_NONE)
		emit_store_state(&t->e, reg, home(guest));
}

/* One instruction on R13 or R14 and perhaps another register, given as its opcode and ModRM byte. */
static void emit_operation(struct emitter *e, uint8_t rex, bool wide, uint8_t opcode, uint8_t modrm)
{
	emit8(e, rex | wide << 3);
	emit8(e, opcode);
	emit8(e, modrm);
}

/*
 * DIV and IDIV, as long as they cannot raise #DE: the dividend's upper half is below the divisor, or
 * the dividend is a sign-extended half and the divisor neither 0 nor -1. Anything else is the
 * interpreter's, and so are the rare cases in which somebody reads the flags behind them.
 */
static void emit_divide(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->guest.items[index];
	bool is_signed = item->form.class == INSN_DIVIDED_SIGNED;
	bool wide = item->insn.operand_size == 8;
	struct emitter *e = &t->e;

	if (item->live_after) {
		emit_fallback(t, index);
		return;
	}
	if (item->insn.kind[0] == INSN_OPERAND_MEMORY) {
		struct host_memory divisor =
			emit_operand_access(t, index, item->insn.operand_size, false, false);

		emit_memory_move(e, wide, false, HOST_R14, &divisor);
	} else {
		emit_load_guest(t, HOST_R14, item->insn.reg[0] / 8);
	}
	if (is_signed) {
		emit_move(e, HOST_R13, HOST_RAX);
		emit_operation(e, 0x41, wide, 0xc1, 0xfd); /* sar r13, 31 or 63 */
		emit8(e, wide ? 63 : 31);
		emit_operation(e, 0x41, wide, 0x39, 0xd5); /* cmp r13, rdx */
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_EQUAL), index);
		emit_lea(e, wide, HOST_R13, HOST_R14, HOST_NONE, 0, 1);
		emit_immediate_flags(e, wide, 7, HOST_R13, 1);
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_ABOVE), index);
		emit_operation(e, 0x41, wide, 0xf7, 0xfe); /* idiv r14 */
	} else {
		emit_operation(e, 0x44, wide, 0x39, 0xf2); /* cmp rdx, r14 */
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_BELOW), index);
		emit_operation(e, 0x41, wide, 0xf7, 0xf6); /* div r14 */
	}
}

/* LDMXCSR of a value that masks all exceptions and has no reserved bits, while they are masked. */
static void emit_load_mxcsr(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	struct host_memory value;
	struct short_jump allowed;

	emit_item_vector_check(t, index, JIT_VECTOR_SSE);
	value = emit_operand_access(t, index, 4, false, false);
	emit_memory_move(e, false, false, HOST_R13, &value);
	/* Another CPU may change it in memory meanwhile. */
	emit_store_state(e, HOST_R13, FRAME(spill[1]));
	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_any_bits(e, HOST_RCX, HOST_R13, FRAME(mask_mxcsr_reserved));
	emit_not(e, HOST_R13);
	emit_any_bits(e, HOST_R13, HOST_R13, FRAME(mask_mxcsr_masks));
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R13, 0, 0);
	allowed = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_slow_jump(t, emit_jump(e), index);
	emit_bind_short(e, allowed);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_bytes(e, (const uint8_t[]){ 0x65, 0x0f, 0xae }, 3); /* ldmxcsr gs:[...] */
	emit_gs_modrm(e, 2, HOST_NONE, 0, FRAME(spill[1]));
}

/* Both accesses are checked before the store. */
static void emit_push_memory(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	struct host_memory value = emit_operand_access(t, index, t->guest.width, false, false), top;

	emit_memory_move(e, !t->guest.is_32, false, HOST_R13, &value);
	emit_store_state(e, HOST_R13, FRAME(spill[1]));
	top = emit_stack_access(t, index, HOST_R15, -(int32_t)t->guest.width, true);
	if (top.base == HOST_R13) {
		emit_lea(e, true, HOST_R14, HOST_R13, top.index, 0, 0);
		top = (struct host_memory){ HOST_R14, HOST_NONE, 0 };
	}
	emit_load_state(e, HOST_R13, FRAME(spill[1]));
	emit_memory_move(e, !t->guest.is_32, true, HOST_R13, &top);
	emit_stack_move(t, -(int32_t)t->guest.width);
}

static void emit_pop_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->guest.items[index];
	unsigned guest = item->insn.reg[0] / 8;
	uint8_t host = host_register(guest);

	struct host_memory top = emit_stack_access(t, index, HOST_R15, 0, false);

	emit_flags_inside(t, index);
	emit_memory_move(&t->e, !t->guest.is_32, false, host == HOST_NONE ? t->scratch[0] : host, &top);
	if (host == HOST_NONE)
		emit_store_state(&t->e, t->scratch[0], home(guest));
	if (guest != CPU_RSP)
		emit_stack_move(t, (int32_t)t->guest.width);
}

static void emit_leave_item(struct translation *t, unsigned index)
{
	struct host_memory top = emit_stack_access(t, index, HOST_RBP, 0, false);

	emit_flags_inside(t, index);
	emit_memory_move(&t->e, !t->guest.is_32, false, t->scratch[0], &top);
	emit_lea(&t->e, !t->guest.is_32, HOST_R15, HOST_RBP, HOST_NONE, 0, (int32_t)t->guest.width);
	emit_move(&t->e, HOST_RBP, t->scratch[0]);
}

void emit_side_jump(struct translation *t, struct near_jump jump, unsigned index)
{
	t->sides[t->side_count++] = (struct side_exit){
		jump, index, item_target(&t->guest.items[index])
	};
}

static void emit_jump_if_item(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	enum host_condition condition = item_condition(item);
	int64_t target = item_target(item);
	struct near_jump past;

	if (target > item->offset) {
		emit_align_link(t, 2);
		emit_side_jump(t, emit_jump_if(&t->e, condition), index);
		return;
	}
	/* A loop, most of the time: what it needs stands in line. */
	past = emit_jump_if(&t->e, condition_not(condition));
	emit_goto(t, item->offset, target, index, 0, item->live_taken);
	t->flags_lost = false;
	emit_bind(&t->e, past);
}

/*
 * JRCXZ and its like, LOOP and its like: flags stay as they are, so that it takes a short jump, which the
 * host has the same. LOOP counts before it looks, and has nothing behind that which could need the handler.
 */
static void emit_jump_count_item(struct translation *t, unsigned index)
{
	enum { LOOPNE = 0xe0, LOOPE, LOOP, JRCXZ };
	const struct jit_item *item = &t->guest.items[index];
	bool wide = item->insn.address_size == 8;
	struct emitter *e = &t->e;
	struct near_jump past = { 0 };
	struct short_jump zero;

	if (item->form.opcode != JRCXZ)
		emit_lea(e, wide, HOST_RCX, HOST_RCX, HOST_NONE, 0, -1);
	if (!wide)
		emit8(e, 0x67);
	zero = emit_jrcxz(e);
	if (item->form.opcode == JRCXZ) {
		past = emit_jump(e);
		emit_bind_short(e, zero);
	}
	switch (item->form.opcode) {
	case LOOPNE:
	case LOOPE:
		emit_align_link(t, 2);
		emit_side_jump(t, emit_jump_if(e, item->form.opcode == LOOPE ? HOST_EQUAL : HOST_NOT_EQUAL), index);
		break;
	default:
		emit_align_link(t, 1);
		emit_side_jump(t, emit_jump(e), index);
	}
	if (item->form.opcode == JRCXZ)
		emit_bind(e, past);
	else
		emit_bind_short(e, zero);
}

/* Whether the scratch registers still have behind the item what homes.c says. */
static bool leaves_homes(const struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];

	switch (item->kind) {
	case ITEM_NOTHING: case ITEM_LEA: return true;
	case ITEM_COPY: return is_quiet_copy(t, index);
	case ITEM_JUMP_IF: return item_target(item) > item->offset;
	default: return false;
	}
}

void emit_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->guest.items[index];
	size_t before = t->e.position;

	emit_flags_before(t, index);
	if (t->e.position != before)
		homes_forget(t);
	switch (item->kind) {
	case ITEM_NOTHING: break;
	case ITEM_COPY: emit_copy(t, index); break;
	case ITEM_LEA: emit_lea_item(t, index); break;
	case ITEM_LOAD_MXCSR: emit_load_mxcsr(t, index); break;
	case ITEM_DIVIDE: emit_divide(t, index); break;
	case ITEM_PUSH:
		if (item->insn.kind[0] == INSN_OPERAND_IMMEDIATE)
			emit_push_value(t, index, CPU_REGISTERS, item->insn.immediate);
		else
			emit_push_value(t, index, item->insn.reg[0] / 8, 0);
		break;
	case ITEM_PUSH_MEMORY: emit_push_memory(t, index); break;
	case ITEM_PUSH_FLAGS: emit_push_flags(t, index); break;
	case ITEM_POP: emit_pop_item(t, index); break;
	case ITEM_POP_FLAGS: emit_pop_flags(t, index); break;
	case ITEM_LEAVE: emit_leave_item(t, index); break;
	case ITEM_JUMP:
		emit_goto(t, item->offset, item_target(item), index, 0, item->live_after);
		break;
	case ITEM_JUMP_IF: emit_jump_if_item(t, index); break;
	case ITEM_JUMP_COUNT: emit_jump_count_item(t, index); break;
	case ITEM_CALL: emit_call(t, index); break;
	case ITEM_RETURN: emit_return(t, index); break;
	case ITEM_JUMP_INDIRECT:
	case ITEM_CALL_INDIRECT: emit_indirect(t, index); break;
	case ITEM_STRING: emit_string(t, index); break;
	case ITEM_FALLBACK: emit_fallback(t, index); break;
	case ITEM_NEXT_PAGE: emit_next_page(t, index); break;
	default: emit_system(t, index); break;
	}
	if (!leaves_homes(t, index))
		homes_forget(t);
}
