/*
 * Guest addresses, and their way through the software TLB.
 *
 * An inline lookup leaves host minus guest address in R14, so the operand is R14 plus the guest's own
 * base register, or plus R13 where the address had to be computed. The lookup takes address XOR
 * tag, which is the offset in the page when the entry matches and larger than a page when not, so
 * that one compare also covers accesses that leave the page. Where the guest's flags are live across
 * the access, it is done with instructions that leave them alone (bits.c, JRCXZ).
 */
#include "engine/run/jit/translation.h"
#include "engine/x86/mmu/memory.h"

const uint8_t host_registers[CPU_REGISTERS] = {
	HOST_RAX, HOST_RCX, HOST_RDX, HOST_RBX, HOST_R15, HOST_RBP, HOST_RSI, HOST_RDI,
	HOST_R8,  HOST_R9,  HOST_R10, HOST_R11, HOST_R12, HOST_NONE, HOST_NONE, HOST_NONE,
};

void emit_slow_jump(struct translation *t, size_t at, unsigned item)
{
	if (t->slow_count == sizeof(t->slow) / sizeof(t->slow[0])) {
		t->failed = true;
		return;
	}
	if (item < JIT_BLOCK_INSNS)
		item += t->slow_offset;
	t->slow[t->slow_count++] = (struct slow_jump){ at, item };
	if (item < JIT_BLOCK_INSNS)
		t->slow_flags_lost[item] |= t->flags_lost;
}

/* reg = guest register, wherever it lives; its lower half in 32-bit code. */
void emit_load_guest(struct translation *t, unsigned reg, unsigned guest)
{
	uint8_t host = t->map[guest];

	if (host == HOST_NONE)
		emit_load_state(&t->e, reg, home(guest));
	else
		emit_move_width(&t->e, !t->is_32, reg, host);
}

/* Where the stack is one of 32 bits, its pointer wraps. */
void emit_stack_move(struct translation *t, int32_t bytes)
{
	emit_lea(&t->e, !t->is_32, HOST_R15, HOST_R15, HOST_NONE, 0, bytes);
}

void emit_slow_unless_rcx_zero(struct translation *t, unsigned slow)
{
	struct emitter *e = &t->e;
	size_t zero = emit_jrcxz(e);

	emit_move(e, HOST_RCX, HOST_R13);
	emit_slow_jump(t, emit_jump(e), slow);
	emit_patch8(e, zero);
	emit_move(e, HOST_RCX, HOST_R13);
}

void emit_slow_if_blocked(struct translation *t, unsigned slow, int32_t blocked)
{
	emit_move(&t->e, HOST_R13, HOST_RCX);
	emit_load_state(&t->e, HOST_RCX, blocked);
	emit_slow_unless_rcx_zero(t, slow);
}

/* FS and GS may be anything in 32-bit code: null, small, read-only. */
static void emit_segment_check(struct translation *t, const struct jit_item *item)
{
	unsigned index = item - t->jit->items, which = item->insn.segment - CPU_FS;
	int32_t blocked = STATE(fast.segment_blocked) + (int32_t)which * 8;

	t->jit->items[index].segments |= 1u << item->insn.segment;
	if (t->progress.segment_checked[which])
		return;
	emit_slow_if_blocked(t, index, blocked);
	t->progress.segment_checked[which] = true;
}

void emit_code_address(struct emitter *e, unsigned reg, bool wide, int64_t distance)
{
	emit_load_state(e, reg, STATE(fast.code_page));
	/* INT32_MAX from an instruction's end is more from the start of its page. */
	if (distance > INT32_MAX) {
		emit_lea(e, true, reg, reg, HOST_NONE, 0, INT32_MAX);
		distance -= INT32_MAX;
	}
	emit_lea(e, wide, reg, reg, HOST_NONE, 0, distance);
}

/* `reg` (R13 for memory operands) = effective address, with the segment base unless `plain`: then it
 * takes R14. */
void emit_address(struct translation *t, const struct jit_item *item, unsigned reg, bool plain)
{
	const struct insn *insn = &item->insn;
	bool wide = insn->address_size == 8;
	bool has_base = !plain && (insn->segment == CPU_FS || insn->segment == CPU_GS);
	unsigned base = HOST_NONE, index = HOST_NONE, next = 0;

	if (has_base && t->is_32)
		emit_segment_check(t, item);
	if (insn->base == INSN_BASE_RIP) {
		emit_code_address(&t->e, reg, wide, item->offset + insn->length + insn->displacement);
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
		if (!wide || base != reg || index != HOST_NONE || insn->displacement)
			emit_lea(&t->e, wide, reg, base, index, insn->scale, insn->displacement);
	}
	if (has_base) {
		emit_load_state(&t->e, HOST_R14,
				STATE(segment) + (int32_t)(insn->segment * sizeof(struct kvm_segment) +
							   offsetof(struct kvm_segment, base)));
		emit_lea(&t->e, !t->is_32, reg, reg, HOST_R14, 0, 0);
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
	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_constant(e, HOST_RCX, wide ? 6 : 5);
	emit_shift_signed(e, wide, HOST_R14, host);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	if (!wide) {
		emit_rex(e, true, HOST_R14, 0, HOST_R14); /* movsxd r14, r14d */
		emit8(e, 0x63);
		emit8(e, 0xc0 | (HOST_R14 & 7) << 3 | (HOST_R14 & 7));
	}
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_R14, wide ? 3 : 2, 0);
}

/* The operand is a host register that holds a guest's, and a constant. */
static bool is_direct(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	return !item_is_bit_string(item) && insn->address_size == 8 && insn->base < CPU_REGISTERS &&
	       insn->index >= CPU_REGISTERS && host_register(insn->base) != HOST_NONE &&
	       insn->segment != CPU_FS && insn->segment != CPU_GS;
}

/* The same for the operand that the instruction names: BT and its like may access another. */
static void emit_operand_linear(struct translation *t, const struct access *access)
{
	if (access->base == HOST_NONE)
		emit_address(t, &t->jit->items[access->item], HOST_R13, false);
	else
		emit_lea(&t->e, !t->is_32, HOST_R13, access->base, HOST_NONE, 0,
			 access->displacement);
}

void emit_linear(struct translation *t, const struct access *access)
{
	const struct jit_item *item = &t->jit->items[access->item];

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

/* Whether emit_address clobbers R14. */
static bool address_takes_r14(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	return insn->segment == CPU_FS || insn->segment == CPU_GS ||
	       (insn->index < CPU_REGISTERS && host_register(insn->index) == HOST_NONE);
}

/* Whether the lookup must leave the address in R13: it is neither at hand nor made again easily. */
static bool keeps_linear(const struct translation *t, const struct access *access)
{
	return access->base == HOST_NONE && address_takes_r14(&t->jit->items[access->item]);
}

size_t emit_offset_check(struct emitter *e, unsigned reg, const struct access *access)
{
	if (access->aligned) {
		emit_test_immediate_flags(e, reg, ~(0xfff & ~((int32_t)access->size - 1)));
		return emit_jump_if(e, 0x5); /* not zero */
	}
	emit_immediate_flags(e, true, 7, reg, 0x1000 - (int32_t)access->size);
	return emit_jump_if(e, 0x7); /* above */
}

void emit_alignment_bits(struct emitter *e, unsigned reg, const struct access *access)
{
	unsigned mask = (unsigned)__builtin_ctz(access->size) - 1;

	emit_any_bits(e, HOST_RCX, reg, STATE(fast.aligned_mask) + (int32_t)mask * 8);
}

/* With the linear address in R13: R14 = host minus guest address. R13 is lost, or is not. */
static void emit_lookup(struct translation *t, const struct access *access)
{
	int32_t tag = access->is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);
	struct emitter *e = &t->e;

	emit_tlb_entry(e, HOST_R14, HOST_R13);
	emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
	emit_slow_jump_counted(t, emit_offset_check(e, HOST_R13, access), access->item,
			       JIT_COUNT_TLB_MISS);
	if (keeps_linear(t, access))
		emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, TLB_ENTRY(delta));
}

/* The same, and the flags survive. */
static void emit_lookup_flagless(struct translation *t, const struct access *access)
{
	int32_t tag = access->is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);
	struct emitter *e = &t->e;
	size_t hit;

	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_field(e, HOST_R14, HOST_R13, STATE(fast.tlb_index_mask), 12);
	emit_load_state(e, HOST_RCX, STATE(tlb));
	emit_lea(e, true, HOST_R14, HOST_NONE, HOST_R14, 3, 0);
	emit_lea(e, true, HOST_R14, HOST_RCX, HOST_R14, 2, 0);
	emit_entry_op(e, 0x8b, HOST_RCX, HOST_R14, tag);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_RCX, 0, 1); /* address - tag */
	if (access->aligned) {
		emit_alignment_bits(e, HOST_R13, access);
	} else {
		emit_lea(e, true, HOST_RCX, HOST_R13, HOST_NONE, 0, (int32_t)access->size - 1);
		emit_any_bits(e, HOST_RCX, HOST_RCX, STATE(fast.page_mask));
	}
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_slow_jump_counted(t, emit_jump(e), access->item, JIT_COUNT_TLB_MISS);
	emit_patch8(e, hit);
	if (keeps_linear(t, access)) {
		emit_entry_op(e, 0x8b, HOST_RCX, HOST_R14, tag);
		emit_lea(e, true, HOST_R13, HOST_R13, HOST_RCX, 0, 0);
	}
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, TLB_ENTRY(delta));
}

static struct host_memory emit_access(struct translation *t, const struct access *access)
{
	emit_count(t, access->slot >= 0 ? JIT_COUNT_SLOT : JIT_COUNT_TLB);
	if (access->slot >= 0) {
		emit_slot_access(t, access);
		if (access->base == HOST_NONE || t->is_32)
			return (struct host_memory){ HOST_R13, HOST_R14, 0 };
		return (struct host_memory){ access->base, HOST_R14, access->displacement };
	}
	emit_linear(t, access);
	if (flags_stay(t, access->item))
		emit_lookup_flagless(t, access);
	else
		emit_lookup(t, access);
	if (access->base != HOST_NONE && !t->is_32)
		return (struct host_memory){ access->base, HOST_R14, access->displacement };
	/* Made again, it does not wait for the TLB. */
	if (!keeps_linear(t, access))
		emit_operand_linear(t, access);
	return (struct host_memory){ HOST_R13, HOST_R14, 0 };
}

/* Where the item's operand is proven to be, or NULL. */
static const struct host_memory *item_place(const struct translation *t, unsigned index)
{
	return t->places && t->places[index].base != HOST_NONE ? &t->places[index] : NULL;
}

struct host_memory emit_operand_access(struct translation *t, unsigned index, unsigned size,
				       bool is_write, bool aligned)
{
	const struct jit_item *item = &t->jit->items[index];
	const struct host_memory *place = item_place(t, index);
	struct access access = { index, HOST_NONE, 0, size, is_write, aligned,
				 slot_of_operand(item) };

	if (place)
		return *place;
	if (is_direct(item)) {
		access.base = host_register(item->insn.base);
		access.displacement = item->insn.displacement;
	}
	return emit_access(t, &access);
}

struct host_memory emit_stack_access(struct translation *t, unsigned index, unsigned base,
				     int32_t displacement, bool is_write)
{
	const struct host_memory *place = item_place(t, index);
	struct access access = { index, base, displacement, t->width, is_write, false,
				 slot_of_stack(base) };

	if (place)
		return *place;
	return emit_access(t, &access);
}
