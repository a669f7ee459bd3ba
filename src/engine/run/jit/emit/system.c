/*
 * Instructions, of kernels mostly, that read or change a few fields of struct cpu: flags that are not
 * arithmetic, bases and selectors of segments, and the time. Whether they may run at all is decided when
 * the block is made, from its mode and privilege (classify.c); what only user space can change is in
 * the frame (`rdtsc_blocked`, ...), and CR4 is looked at each time. All of these leave the arithmetic
 * flags alone.
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/x86/system.h"

#define FSGSBASE_SHIFT __builtin_ctzll(CR4_FSGSBASE)

#define SEGMENT_STATE(number, field)                                                               \
	(STATE(segment) + (int32_t)((number) * sizeof(struct kvm_segment) +                        \
				    offsetof(struct kvm_segment, field)))

/* Set or clear a bit of RFLAGS; `others` is the mask of all bits but that. */
static void emit_rflags_bit(struct translation *t, unsigned index, uint32_t bit, bool is_set,
			    int32_t others)
{
	struct emitter *e = &t->e;

	if (!flags_stay(t, index)) {
		emit_state_immediate_flags(e, is_set ? 1 : 4, STATE(rflags), is_set ? bit : ~bit);
		return;
	}
	emit_load_state(e, HOST_R13, STATE(rflags));
	emit_keep_bits(e, HOST_R13, others);
	if (is_set)
		emit_lea(e, true, HOST_R13, HOST_R13, HOST_NONE, 0, (int32_t)bit);
	emit_store_state(e, HOST_R13, STATE(rflags));
}

/*
 * STI, and the interrupt shadow behind it where IF was clear (SDM vol. 2, STI). With an interrupt
 * waiting, it is the run loop's turn.
 */
static void emit_sti(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	struct emitter *e = &t->e;
	struct short_jump was_clear;
	struct near_jump was_set;

	emit_move(e, HOST_R13, HOST_RCX);
	emit_load_state_byte(e, HOST_RCX, STATE(interrupt_waiting));
	emit_slow_unless_rcx_zero(t, index);
	emit_load_state(e, HOST_R14, STATE(rflags));
	emit_any_bits(e, HOST_RCX, HOST_R14, FRAME(mask_if));
	was_clear = emit_jrcxz(e);
	emit_move(e, HOST_RCX, HOST_R13);
	was_set = emit_jump(e);
	emit_bind_short(e, was_clear);
	emit_move(e, HOST_RCX, HOST_R13);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, RFLAGS_IF);
	emit_store_state(e, HOST_R14, STATE(rflags));
	emit_store_state_byte(e, KVM_X86_SHADOW_INT_STI, STATE(interrupt_shadow));
	emit_code_address(e, HOST_R13, !t->guest.is_32, item->offset + item->insn.length);
	emit_store_state(e, HOST_R13, STATE(shadow_rip));
	emit_bind(e, was_set);
}

/* STAC and CLAC take the TLB set of the other rights along (tlb_update). */
static void emit_ac(struct translation *t, unsigned index, bool is_set)
{
	struct emitter *e = &t->e;

	emit_slow_if_blocked(t, index, FRAME(ac_blocked));
	emit_rflags_bit(t, index, RFLAGS_AC, is_set, FRAME(mask_not_ac));
	emit_load_state(e, HOST_R13, FRAME(tlb_by_ac) + is_set * 8);
	emit_store_state(e, HOST_R13, STATE(tlb));
	if (!is_set) {
		emit_store_state_constant(e, 0, FRAME(slots_closed));
		return;
	}
	emit_load_state32(e, HOST_R13, FRAME(ac_closes_slots));
	emit_store_state32(e, HOST_R13, FRAME(slots_closed));
}

static void emit_swapgs(struct translation *t)
{
	struct emitter *e = &t->e;

	emit_load_state(e, HOST_R13, SEGMENT_STATE(CPU_GS, base));
	emit_load_state(e, HOST_R14, STATE(kernel_gs_base));
	emit_store_state(e, HOST_R13, STATE(kernel_gs_base));
	emit_store_state(e, HOST_R14, SEGMENT_STATE(CPU_GS, base));
}

static enum cpu_segment base_segment(const struct jit_item *item)
{
	return item->form.class == INSN_READ_FS_BASE || item->form.class == INSN_WRITE_FS_BASE
		       ? CPU_FS
		       : CPU_GS;
}

/* CR4.FSGSBASE must be set. */
static void emit_read_base(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	unsigned guest = item->insn.reg[0] / 8;
	uint8_t host = t->map[guest], reg = host == HOST_NONE ? HOST_R13 : host;
	struct emitter *e = &t->e;

	emit_move(e, HOST_R13, HOST_RCX);
	emit_load_state(e, HOST_RCX, STATE(cr4));
	emit_field(e, HOST_RCX, HOST_RCX, FRAME(mask_fsgsbase), FSGSBASE_SHIFT);
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_NONE, 0, -1);
	emit_slow_unless_rcx_zero(t, index);
	emit_gs_op(e, item->insn.operand_size == 8, 0x8b, reg, HOST_NONE, 0,
		   SEGMENT_STATE(base_segment(item), base));
	if (host == HOST_NONE)
		emit_store_state(e, reg, home(guest));
}

/* The address must be canonical, too: its upper 17 bits are equal. */
static void emit_write_base(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	bool wide = item->insn.operand_size == 8;
	struct emitter *e = &t->e;
	struct short_jump allowed;

	emit_load_guest(t, HOST_R13, item->insn.reg[0] / 8);
	if (!wide)
		emit_move_width(e, false, HOST_R13, HOST_R13);
	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_constant(e, HOST_RCX, 47);
	emit_shift_signed(e, true, HOST_R14, HOST_R13); /* 0 or -1 */
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, 1);
	emit_any_bits(e, HOST_RCX, HOST_R14, FRAME(mask_not_1)); /* 0 */
	emit_load_state(e, HOST_R14, STATE(cr4));
	emit_field(e, HOST_R14, HOST_R14, FRAME(mask_fsgsbase), FSGSBASE_SHIFT); /* 1 */
	emit_lea(e, true, HOST_RCX, HOST_R14, HOST_RCX, 1, -1);
	allowed = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_slow_jump(t, emit_jump(e), index);
	emit_bind_short(e, allowed);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_store_state(e, HOST_R13, SEGMENT_STATE(base_segment(item), base));
}

/* MOV from a segment register: 16 bits, zero-extended to what the operand has. */
static void emit_read_selector(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	unsigned guest = item->insn.reg[0] / 8;
	uint8_t host = t->map[guest], reg = host == HOST_NONE ? HOST_R13 : host;
	int32_t selector = SEGMENT_STATE(item->insn.reg[1], selector);
	struct emitter *e = &t->e;

	emit_load_state16(e, HOST_R14, selector);
	if (item->insn.operand_size == 2) {
		if (host == HOST_NONE)
			emit_load_state(e, reg, home(guest));
		emit8(e, 0x66); /* mov reg16, r14w */
		emit_move_width(e, false, reg, HOST_R14);
	} else {
		emit_move_width(e, false, reg, HOST_R14);
	}
	if (host == HOST_NONE)
		emit_store_state(e, reg, home(guest));
}

static void emit_rdtsc(struct translation *t, unsigned index, bool is_rdtscp)
{
	struct emitter *e = &t->e;

	emit_move(e, HOST_R13, HOST_RCX);
	emit_load_state(e, HOST_RCX,
			is_rdtscp ? FRAME(rdtscp_blocked) : FRAME(rdtsc_blocked));
	if (t->guest.is_user) {
		emit_load_state(e, HOST_R14, STATE(cr4));
		emit_any_bits(e, HOST_R14, HOST_R14, FRAME(mask_tsd));
		emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R14, 0, 0);
	}
	emit_slow_unless_rcx_zero(t, index);
	if (is_rdtscp) {
		/* lfence: it waits for what is before it (SDM vol. 2, RDTSCP) */
		emit_bytes(e, (const uint8_t[]){ 0x0f, 0xae, 0xe8 }, 3);
		emit_load_state32(e, HOST_RCX, STATE(tsc_aux));
	}
	emit_bytes(e, (const uint8_t[]){ 0x0f, 0x31 }, 2); /* rdtsc */
	emit_rotate(e, HOST_RDX, HOST_RDX, 32);
	emit_lea(e, true, HOST_RAX, HOST_RAX, HOST_RDX, 0, 0);
	emit_load_state(e, HOST_R13, STATE(tsc_offset));
	emit_lea(e, true, HOST_RAX, HOST_RAX, HOST_R13, 0, 0);
	emit_rotate(e, HOST_RDX, HOST_RAX, 32);
	emit_move_width(e, false, HOST_RDX, HOST_RDX);
	emit_move_width(e, false, HOST_RAX, HOST_RAX);
}

void emit_system(struct translation *t, unsigned index)
{
	enum item_kind kind = t->guest.items[index].kind;

	switch (kind) {
	case ITEM_CLI: emit_rflags_bit(t, index, RFLAGS_IF, false, FRAME(mask_not_if)); break;
	case ITEM_STI: emit_sti(t, index); break;
	case ITEM_CLD:
	case ITEM_STD:
		emit_rflags_bit(t, index, RFLAGS_DF, kind == ITEM_STD, FRAME(mask_not_df));
		break;
	case ITEM_CLAC:
	case ITEM_STAC: emit_ac(t, index, kind == ITEM_STAC); break;
	case ITEM_SWAPGS: emit_swapgs(t); break;
	case ITEM_READ_BASE: emit_read_base(t, index); break;
	case ITEM_WRITE_BASE: emit_write_base(t, index); break;
	case ITEM_READ_SELECTOR: emit_read_selector(t, index); break;
	case ITEM_FENCE: emit_bytes(&t->e, (const uint8_t[]){ 0x0f, 0xae, 0xf0 }, 3); break; /* mfence */
	default: emit_rdtsc(t, index, kind == ITEM_RDTSCP); break;
	}
}

/* The arithmetic flags are the host's. In 64-bit mode there is no more to PUSHFQ than RF, which is
 * pushed as 0 (SDM vol. 2, PUSHF). */
void emit_push_flags(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	struct host_memory top;
	unsigned value;

	emit8(e, 0x9c); /* pushfq */
	emit_pop(e, HOST_R13);
	emit_keep_bits(e, HOST_R13, FRAME(mask_arithmetic));
	emit_load_state(e, HOST_R14, STATE(rflags));
	emit_keep_bits(e, HOST_R14, FRAME(mask_pushed));
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_R14, 0, 0);
	emit_store_state(e, HOST_R13, FRAME(spill[1]));
	top = emit_stack_access(t, index, HOST_R15, -8, true);
	value = top.base == HOST_R13 ? HOST_R14 : HOST_R13;
	emit_load_state(e, value, FRAME(spill[1]));
	emit_memory_move(e, true, true, value, &top);
	emit_stack_move(t, -8);
}

/* What POPFQ changes here; IF of ring 0 only, where no interrupt waits for that. What else it could change, it is
 * the interpreter's where it does: TF above all, and AC, which the TLB depends on. */
#define FLAGS_POPPED_SLOWLY (RFLAGS_TF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)

/* The flags before it are dead, but where somebody wants them exact at each access. */
void emit_pop_flags(struct translation *t, unsigned index)
{
	uint32_t quick = RFLAGS_DF | (t->guest.is_user ? 0 : RFLAGS_IF);
	uint32_t slow = FLAGS_POPPED_SLOWLY | (t->guest.is_user ? RFLAGS_IF : 0);
	struct emitter *e = &t->e;
	struct host_memory top;
	struct near_jump same;

	if (flags_needed(&t->guest.items[index])) {
		emit_slow_jump(t, emit_jump(e), index);
		return;
	}
	top = emit_stack_access(t, index, HOST_R15, 0, false);
	emit_memory_move(e, true, false, HOST_R13, &top);
	emit_load_state(e, HOST_R14, STATE(rflags));
	emit_registers_flags(e, true, 0x31, HOST_R14, HOST_R13); /* xor */
	emit_test_immediate_flags(e, HOST_R14, (int32_t)slow);
	emit_slow_jump(t, emit_jump_if(e, HOST_NOT_EQUAL), index);
	emit_immediate_flags(e, false, 4, HOST_R14, (int32_t)quick); /* and */
	same = emit_jump_if(e, HOST_EQUAL);
	if (!t->guest.is_user) {
		struct near_jump no_if;

		emit_test_immediate_flags(e, HOST_R14, RFLAGS_IF);
		no_if = emit_jump_if(e, HOST_EQUAL);
		emit_test_state_byte(e, STATE(interrupt_waiting));
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_EQUAL), index);
		emit_bind(e, no_if);
	}
	emit_gs_op(e, true, 0x31, HOST_R14, HOST_NONE, 0, STATE(rflags)); /* xor */
	emit_bind(e, same);
	emit_move(e, HOST_R14, HOST_RAX);
	emit_flags_from_rflags(e, HOST_R13);
	emit_move(e, HOST_RAX, HOST_R14);
	emit_stack_move(t, 8);
}
