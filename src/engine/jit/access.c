/*
 * Guest addresses, and their way through the software TLB.
 *
 * A memory operand becomes [R14 + R13] after an inline TLB lookup: R13 = address XOR tag, which is
 * the offset in the page when the entry matches and larger than a page when not, so that one
 * compare also covers accesses that leave the page. Where the guest's flags are live across the
 * access, the lookup is done with instructions that leave them alone (BMI2, JRCXZ).
 */
#include "engine/jit/translation.h"
#include "engine/x86/memory.h"

void emit_slow_jump(struct translation *t, size_t at, unsigned item)
{
	if (t->slow_count == sizeof(t->slow) / sizeof(t->slow[0])) {
		t->failed = true;
		return;
	}
	t->slow[t->slow_count++] = (struct slow_jump){ at, item };
}

/* reg = guest register, wherever it lives. */
void emit_load_guest(struct translation *t, unsigned reg, unsigned guest)
{
	uint8_t host = host_register(guest);

	if (host == HOST_NONE)
		emit_load_state(&t->e, reg, home(guest));
	else
		emit_move(&t->e, reg, host);
}

/* `reg` (R13 for memory operands) = effective address, with the segment base unless `plain`. May
 * use R14. */
void emit_address(struct translation *t, const struct jit_item *item, unsigned reg, bool plain)
{
	const struct insn *insn = &item->insn;
	bool wide = insn->address_size == 8;
	unsigned base = HOST_NONE, index = HOST_NONE;

	if (insn->base == INSN_BASE_RIP) {
		uint64_t address = item->rip + insn->length + insn->displacement;

		emit_constant(&t->e, reg, wide ? address : (uint32_t)address);
	} else {
		if (insn->base < CPU_REGISTERS) {
			base = host_register(insn->base);
			if (base == HOST_NONE) {
				emit_load_state(&t->e, HOST_R13, home(insn->base));
				base = HOST_R13;
			}
		}
		if (insn->index < CPU_REGISTERS) {
			index = host_register(insn->index);
			if (index == HOST_NONE) {
				emit_load_state(&t->e, HOST_R14, home(insn->index));
				index = HOST_R14;
			}
		}
		emit_lea(&t->e, wide, reg, base, index, insn->scale, insn->displacement);
	}
	if (!plain && (insn->segment == CPU_FS || insn->segment == CPU_GS)) {
		emit_load_state(&t->e, HOST_R14,
				STATE(segment) + (int32_t)(insn->segment * sizeof(struct kvm_segment) +
							   offsetof(struct kvm_segment, base)));
		emit_lea(&t->e, true, reg, reg, HOST_R14, 0, 0);
	}
}

#define ENTRY(field) ((int32_t)(offsetof(struct tlb_set, entries) + offsetof(struct tlb_entry, field)))

/* opcode reg, [base + displacement]; base is R13 or R14, 64 bits. */
static void emit_entry_op(struct emitter *e, uint8_t opcode, unsigned reg, unsigned base,
			  int32_t displacement)
{
	emit_rex(e, true, reg, 0, base);
	emit8(e, opcode);
	emit8(e, 0x80 | (reg & 7) << 3 | (base & 7));
	emit32(e, displacement);
}

/*
 * With the linear address in R13: check the TLB for `size` bytes and leave the host address as
 * [R14 + R13]. Jumps to the item's slow path otherwise.
 */
void emit_tlb_check(struct translation *t, unsigned item_index, unsigned size, bool is_write,
			   bool aligned, bool keep_flags)
{
	struct emitter *e = &t->e;
	int32_t tag = is_write ? ENTRY(tag_write) : ENTRY(tag_read);
	size_t hit;

	if (!keep_flags) {
		/* Entries are 32 bytes: (address >> 12 & mask) << 5. */
		emit_rorx(e, HOST_R14, HOST_R13, 12 - 5);
		emit_immediate_flags(e, false, 4, HOST_R14, (TLB_ENTRIES - 1) << 5);
		emit_gs_op(e, true, 0x03, HOST_R14, HOST_NONE, 0, STATE(tlb));
		emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
		if (aligned) {
			emit_test_immediate_flags(e, HOST_R13, ~(0xfff & ~((int32_t)size - 1)));
			emit_slow_jump(t, emit_jump_if(e, 0x5), item_index); /* not zero */
		} else {
			emit_immediate_flags(e, true, 7, HOST_R13, 0x1000 - (int32_t)size);
			emit_slow_jump(t, emit_jump_if(e, 0x7), item_index); /* above */
		}
		emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, ENTRY(page));
		return;
	}
	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_pext_state(e, HOST_R14, HOST_R13, STATE(fast.tlb_index_mask));
	emit_load_state(e, HOST_RCX, STATE(tlb));
	emit_lea(e, true, HOST_R14, HOST_NONE, HOST_R14, 3, 0);
	emit_lea(e, true, HOST_R14, HOST_RCX, HOST_R14, 2, 0);
	emit_entry_op(e, 0x8b, HOST_RCX, HOST_R14, tag);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_RCX, 0, 1); /* address - tag */
	if (aligned) {
		emit_pext_state(e, HOST_RCX, HOST_R13,
				STATE(fast.aligned_mask) + (size == 16 ? 0 : size == 32 ? 8 : 16));
	} else {
		emit_lea(e, true, HOST_RCX, HOST_R13, HOST_NONE, 0, size - 1);
		emit_pext_state(e, HOST_RCX, HOST_RCX, STATE(fast.page_mask));
	}
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_slow_jump(t, emit_jump(e), item_index);
	emit_patch8(e, hit);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, ENTRY(page));
}

/* mov reg, [r14 + r13] or mov [r14 + r13], reg; 64 bits. */
void emit_memory_move(struct emitter *e, bool is_store, unsigned reg)
{
	emit8(e, 0x4b | (reg >> 3 & 1) << 2);
	emit8(e, is_store ? 0x89 : 0x8b);
	emit8(e, (reg & 7) << 3 | 4);
	emit8(e, (HOST_R13 & 7) << 3 | (HOST_R14 & 7));
}
