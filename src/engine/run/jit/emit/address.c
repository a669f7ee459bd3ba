/*
 * Guest addresses, and the parts of the software TLB's lookup: access.c and slot.c put them together.
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/x86/mmu/memory.h"

const uint8_t host_registers[CPU_REGISTERS] = {
	HOST_RAX, HOST_RCX, HOST_RDX, HOST_RBX, HOST_R15, HOST_RBP, HOST_RSI, HOST_RDI,
	HOST_R8,  HOST_R9,  HOST_R10, HOST_R11, HOST_R12, HOST_NONE, HOST_NONE, HOST_NONE,
};

/* reg = guest register, wherever it lives; its lower half in 32-bit code. */
void emit_load_guest(struct translation *t, unsigned reg, unsigned guest)
{
	uint8_t host = t->map[guest];

	if (host == HOST_NONE)
		emit_load_state(&t->e, reg, home(guest));
	else
		emit_move_width(&t->e, !t->guest.is_32, reg, host);
}

/* Where the stack is one of 32 bits, its pointer wraps. */
void emit_stack_move(struct translation *t, int32_t bytes)
{
	emit_lea(&t->e, !t->guest.is_32, HOST_R15, HOST_R15, HOST_NONE, 0, bytes);
}

/* FS and GS may be anything in 32-bit code: null, small, read-only. */
static void emit_segment_check(struct translation *t, const struct jit_item *item)
{
	unsigned index = item - t->guest.items, which = item->insn.segment - CPU_FS;
	int32_t blocked = FRAME(segment_blocked) + (int32_t)which * 8;

	t->guest.items[index].segments |= 1u << item->insn.segment;
	if (t->progress.segment_checked[which])
		return;
	emit_slow_if_blocked(t, index, blocked);
	t->progress.segment_checked[which] = true;
}

void emit_code_address(struct emitter *e, unsigned reg, bool wide, int64_t distance)
{
	emit_load_state(e, reg, FRAME(code_page));
	/* INT32_MAX from an instruction's end is more from the start of its page. */
	if (distance > INT32_MAX) {
		emit_lea(e, true, reg, reg, HOST_NONE, 0, INT32_MAX);
		distance -= INT32_MAX;
	}
	emit_lea(e, wide, reg, reg, HOST_NONE, 0, distance);
}

void emit_sum(struct emitter *e, const struct insn *insn, unsigned reg, unsigned base, unsigned index)
{
	bool wide = insn->address_size == 8;

	if (!wide || base != reg || index != HOST_NONE || insn->displacement)
		emit_lea(e, wide, reg, base, index, insn->scale, insn->displacement);
}

void emit_address(struct translation *t, const struct jit_item *item)
{
	const struct insn *insn = &item->insn;
	bool has_base = insn->segment == CPU_FS || insn->segment == CPU_GS;
	unsigned base = HOST_NONE, index = HOST_NONE, next = 0;

	if (has_base && t->guest.is_32)
		emit_segment_check(t, item);
	if (insn->base == INSN_BASE_RIP) {
		emit_code_address(&t->e, HOST_R13, insn->address_size == 8,
				  item->offset + insn->length + insn->displacement);
	} else {
		if (insn->base < CPU_REGISTERS) {
			base = t->map[insn->base];
			if (base == HOST_NONE) {
				base = t->scratch[next++];
				emit_load_state(&t->e, base, home(insn->base));
			}
		}
		if (insn->index < CPU_REGISTERS) {
			index = t->map[insn->index];
			if (index == HOST_NONE) {
				index = t->scratch[next++];
				emit_load_state(&t->e, index, home(insn->index));
			}
		}
		emit_sum(&t->e, insn, HOST_R13, base, index);
	}
	if (has_base) {
		emit_load_state(&t->e, HOST_R14,
				STATE(segment) + (int32_t)(insn->segment * sizeof(struct kvm_segment) +
							   offsetof(struct kvm_segment, base)));
		emit_lea(&t->e, !t->guest.is_32, HOST_R13, HOST_R13, HOST_R14, 0, 0);
	}
}

/* R13 += the distance from the operand of BT and its like to the unit that has the bit; takes R14. */
static void emit_bit_distance(struct translation *t, const struct jit_item *item)
{
	unsigned size = item->insn.operand_size, guest = item->insn.reg[1] / 8;
	uint8_t host = t->map[guest];
	struct emitter *e = &t->e;
	bool wide = size == 8;

	if (host == HOST_NONE || host == HOST_RCX) {
		emit_load_guest(t, HOST_R14, guest);
		host = HOST_R14;
	}
	/* RCX takes the count for a while. */
	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_constant(e, HOST_RCX, wide ? 6 : 5);
	emit_shift_signed(e, wide, HOST_R14, host);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	if (!wide) {
		emit_rex(e, true, HOST_R14, 0, HOST_R14); /* movsxd r14, r14d */
		emit8(e, 0x63);
		emit8(e, 0xc0 | (HOST_R14 & 7) << 3 | (HOST_R14 & 7));
	}
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_R14, wide ? 3 : 2, 0);
}

/* The same for the operand that the instruction names: BT and its like may access another. */
void emit_operand_linear(struct translation *t, const struct access *access)
{
	if (access->base == HOST_NONE)
		emit_address(t, &t->guest.items[access->item]);
	else
		emit_lea(&t->e, !t->guest.is_32, HOST_R13, access->base, HOST_NONE, 0,
			 access->displacement);
}

void emit_linear(struct translation *t, const struct access *access)
{
	const struct jit_item *item = &t->guest.items[access->item];

	emit_operand_linear(t, access);
	if (access->base == HOST_NONE && item_is_bit_string(item))
		emit_bit_distance(t, item);
}

void emit_entry_op(struct emitter *e, uint8_t opcode, unsigned reg, unsigned base,
		   int32_t displacement)
{
	struct host_memory entry = { base, HOST_NONE, displacement };

	emit_memory_op(e, true, opcode, reg, &entry);
}

void emit_tlb_entry(struct emitter *e, unsigned entry, unsigned address)
{
	/* Entries are 32 bytes: (address >> 12 & mask) << 5. */
	emit_rotate_flags(e, entry, address, 12 - 5);
	emit_immediate_flags(e, false, 4, entry, (TLB_ENTRIES - 1) << 5);
	emit_gs_op(e, true, 0x03, entry, HOST_NONE, 0, STATE(tlb));
}

/* entry = the TLB entry of the address in another register; RCX is lost. */
static void emit_tlb_entry_flagless(struct emitter *e, unsigned entry, unsigned address)
{
	emit_field(e, entry, address, FRAME(tlb_index_mask), 12);
	emit_load_state(e, HOST_RCX, STATE(tlb));
	emit_lea(e, true, entry, HOST_NONE, entry, 3, 0);
	emit_lea(e, true, entry, HOST_RCX, entry, 2, 0);
}

struct near_jump emit_offset_check(struct emitter *e, unsigned reg, const struct access *access)
{
	if (access->aligned) {
		emit_test_immediate_flags(e, reg, ~(0xfff & ~((int32_t)access->size - 1)));
		return emit_jump_if(e, HOST_NOT_EQUAL);
	}
	emit_immediate_flags(e, true, 7, reg, 0x1000 - (int32_t)access->size);
	return emit_jump_if(e, HOST_ABOVE);
}

void emit_alignment_bits(struct emitter *e, unsigned reg, const struct access *access)
{
	unsigned mask = (unsigned)__builtin_ctz(access->size) - 1;

	emit_any_bits(e, HOST_RCX, reg, FRAME(aligned_mask) + (int32_t)mask * 8);
}

/* RCX = 0 when all of the access at that distance is in the page, and aligned. */
static void emit_distance_bits(struct emitter *e, unsigned reg, const struct access *access)
{
	if (access->aligned) {
		emit_alignment_bits(e, reg, access);
		return;
	}
	emit_lea(e, true, HOST_RCX, reg, HOST_NONE, 0, (int32_t)access->size - 1);
	emit_any_bits(e, HOST_RCX, HOST_RCX, FRAME(page_mask));
}

struct short_jump emit_tag_check_flagless(struct emitter *e, unsigned distance, int32_t tag, const struct access *access)
{
	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_tlb_entry_flagless(e, HOST_R14, HOST_R13);
	emit_entry_op(e, 0x8b, HOST_RCX, HOST_R14, tag);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, distance, HOST_R13, HOST_RCX, 0, 1); /* address - tag */
	emit_distance_bits(e, distance, access);
	return emit_jrcxz(e);
}
