/*
 * Guest addresses, and their way through the software TLB.
 *
 * An inline lookup leaves host minus guest address in R14, so the operand is R14 plus the guest's own
 * base register, or plus R13 where the address had to be computed. The lookup takes address XOR
 * tag, which is the offset in the page when the entry matches and larger than a page when not, so
 * that one compare also covers accesses that leave the page. Where the guest's flags are live across
 * the access, it is done with instructions that leave them alone (bits.c, JRCXZ).
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/x86/mmu/memory.h"

/* The operand is a host register that holds a guest's, and a constant. */
static bool is_direct(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	return !item_is_bit_string(item) && insn->address_size == 8 && insn->base < CPU_REGISTERS &&
	       insn->index >= CPU_REGISTERS && host_register(insn->base) != HOST_NONE &&
	       insn->segment != CPU_FS && insn->segment != CPU_GS;
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
	return access->base == HOST_NONE && address_takes_r14(&t->guest.items[access->item]);
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
	struct short_jump hit;

	hit = emit_tag_check_flagless(e, HOST_R13, tag, access);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_slow_jump_counted(t, emit_jump(e), access->item, JIT_COUNT_TLB_MISS);
	emit_bind_short(e, hit);
	if (keeps_linear(t, access)) {
		emit_entry_op(e, 0x8b, HOST_RCX, HOST_R14, tag);
		emit_lea(e, true, HOST_R13, HOST_R13, HOST_RCX, 0, 0);
	}
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, TLB_ENTRY(delta));
}

static struct host_memory emit_access(struct translation *t, const struct access *access)
{
	if (access_has_stub(t, access))
		return emit_lean_access(t, access);
	emit_count(t, access->slot >= 0 ? JIT_COUNT_SLOT : JIT_COUNT_TLB);
	if (access->slot >= 0) {
		emit_slot_access(t, access);
		if (access->base == HOST_NONE || t->guest.is_32)
			return (struct host_memory){ HOST_R13, HOST_R14, 0 };
		return (struct host_memory){ access->base, HOST_R14, access->displacement };
	}
	emit_linear(t, access);
	if (flags_stay(t, access->item))
		emit_lookup_flagless(t, access);
	else
		emit_lookup(t, access);
	if (access->base != HOST_NONE && !t->guest.is_32)
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
	const struct jit_item *item = &t->guest.items[index];
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
	struct access access = { index, base, displacement, t->guest.width, is_write, false,
				 slot_of_stack(base) };

	if (place)
		return *place;
	return emit_access(t, &access);
}
