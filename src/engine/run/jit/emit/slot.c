/*
 * Page slots, in front of the TLB: what the accesses of one kind (off RSP, below RBP) touched last
 * (struct jit_slot).
 *
 * Such accesses stay on a page for long. Their check needs no index, and the operand's address does
 * not wait for it: lea, xor, cmp, ja, mov. The other half of a check is behind the block, and calls
 * a stub that looks the page up in the TLB and leaves it in the slot. Only what the TLB does not
 * have goes to the item's slow path.
 *
 * Where the flags are live, the check is made of instructions that leave them alone. Unlike the
 * entry that an address selects, a slot may hold any page, also the next one: both ends of the
 * access are compared.
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/x86/mmu/memory.h"

enum { SLOT_RSP, SLOT_RBP, SLOT_COUNT };

_Static_assert(SLOT_COUNT <= JIT_SLOTS, "jit_frame has too few slots");

/* The stubs get the slot's offset and 12 bits more in one register of 32. */
_Static_assert(offsetof(struct jit_cpu, frame.slots) + sizeof(((struct jit_frame *)0)->slots) < 1 << 20,
	       "slots are too far from the GS base");

int slot_of_stack(unsigned base)
{
	return base == HOST_R15 ? SLOT_RSP : SLOT_RBP;
}

int slot_of_operand(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	if (insn->segment == CPU_FS || insn->segment == CPU_GS || item_is_bit_string(item))
		return -1;
	switch (insn->base) {
	case CPU_RSP: return SLOT_RSP;
	/* Locals lie below a frame pointer; what RBP points at otherwise is read from its start on. */
	case CPU_RBP: return insn->displacement < 0 ? SLOT_RBP : -1;
	default: return -1;
	}
}

static int32_t slot_offset(const struct translation *t, const struct access *access)
{
	unsigned number = (t->guest.is_user * 2 + access->is_write) * JIT_SLOTS + (unsigned)access->slot;

	return FRAME(slots) + (int32_t)(number * sizeof(struct jit_slot));
}

#define TAG   ((int32_t)offsetof(struct jit_slot, tag))
#define DELTA ((int32_t)offsetof(struct jit_slot, delta))

static struct near_jump emit_check(struct emitter *e, const struct access *access, int32_t slot)
{
	emit_gs_op(e, true, 0x33, HOST_R14, HOST_NONE, 0, slot + TAG);
	return emit_offset_check(e, HOST_R14, access);
}

/* RCX = 0 when all of the access is in the slot's page, and aligned. */
static struct near_jump emit_check_flagless(struct emitter *e, const struct access *access,
					    int32_t slot)
{
	struct short_jump hit;
	struct near_jump miss;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_load_state(e, HOST_RCX, slot + TAG);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_RCX, 0, 1); /* address - tag */
	if (access->aligned) {
		emit_alignment_bits(e, HOST_R14, access);
	} else {
		emit_field(e, HOST_RCX, HOST_R14, FRAME(page_mask), 12);
		if (access->size > 1) {
			/* Page numbers have 52 bits: the sum is 0 only when both are. */
			emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, (int32_t)access->size - 1);
			emit_field(e, HOST_R14, HOST_R14, FRAME(page_mask), 12);
			emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R14, 0, 0);
		}
	}
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	miss = emit_jump(e);
	emit_bind_short(e, hit);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	return miss;
}

void emit_slot_access(struct translation *t, const struct access *access)
{
	struct emitter *e = &t->e;
	int32_t slot = slot_offset(t, access);
	struct slot_miss *miss = &t->slot_misses[t->slot_miss_count];

	if (t->slot_miss_count == sizeof(t->slot_misses) / sizeof(t->slot_misses[0])) {
		t->failed = true;
		return;
	}
	t->slot_miss_count++;
	miss->access = *access;
	if (access->base == HOST_NONE || t->guest.is_32) {
		emit_linear(t, access);
		emit_move(e, HOST_R14, HOST_R13);
	} else if (access->displacement) {
		emit_lea(e, true, HOST_R14, access->base, HOST_NONE, 0, access->displacement);
	} else {
		emit_move(e, HOST_R14, access->base);
	}
	miss->keeps_flags = flags_stay(t, access->item);
	miss->flags_lost = t->flags_lost;
	miss->jump = miss->keeps_flags ? emit_check_flagless(e, access, slot)
				       : emit_check(e, access, slot);
	emit_load_state(e, HOST_R14, slot + DELTA);
	miss->back = emit_here(e);
}

static unsigned stub_number(bool is_write, bool aligned, bool keep_flags)
{
	return is_write | aligned << 1 | keep_flags << 2;
}

void emit_slot_misses(struct translation *t)
{
	struct emitter *e = &t->e;

	for (; t->slot_miss_done < t->slot_miss_count; t->slot_miss_done++) {
		const struct slot_miss *miss = &t->slot_misses[t->slot_miss_done];
		const struct access *access = &miss->access;
		uint32_t low = access->aligned ? access->size - 1 : 0x1000 - access->size;

		emit_bind(e, miss->jump);
		emit_count(t, JIT_COUNT_SLOT_MISS);
		emit_linear(t, access);
		emit_constant(e, HOST_R14, (uint32_t)slot_offset(t, access) << 12 | low);
		emit_call_to(e, t->stubs->slot_fill[stub_number(access->is_write, access->aligned,
							      miss->keeps_flags)]);
		/* The stub returns here, or behind this jump when the TLB does not have the page. */
		emit_jump_back(e, miss->back);
		t->flags_lost = miss->flags_lost;
		emit_count(t, JIT_COUNT_TLB_MISS);
		emit_slow_jump(t, emit_jump(e), access->item);
	}
}

#define JUMP_LENGTH 5

/*
 * R13 is the address, R14 the slot's offset << 12 | 4096 - size, or size - 1 for accesses that must
 * be aligned. Fills the slot, R14 = host minus guest address; all else stays.
 */
static void emit_fill(struct emitter *e, bool is_write, bool aligned, bool keep_flags)
{
	int32_t tag = is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);
	struct host_memory return_address = { HOST_RSP, HOST_NONE, keep_flags ? 32 : 24 };
	struct near_jump miss, closed, done;

	emit_push(e, HOST_RAX);
	if (keep_flags) {
		emit_flags_to_rax(e);
		emit_push(e, HOST_RAX);
	}
	emit_push(e, HOST_RCX);
	emit_push(e, HOST_RDX);
	emit_tlb_entry(e, HOST_RCX, HOST_R13);
	/* mov eax, 4095; and eax, r14d; shr r14d, 12 */
	emit_constant(e, HOST_RAX, 0xfff);
	emit_registers_flags(e, false, 0x21, HOST_RAX, HOST_R14);
	emit_shift_right_flags(e, false, HOST_R14, 12);
	emit_entry_op(e, 0x8b, HOST_RDX, HOST_RCX, tag);
	emit_registers_flags(e, true, 0x31, HOST_RDX, HOST_R13); /* xor */
	if (aligned) {
		emit_immediate_flags(e, true, 1, HOST_RAX, ~0xfff); /* or */
		emit_registers_flags(e, true, 0x85, HOST_RDX, HOST_RAX); /* test */
		miss = emit_jump_if(e, HOST_NOT_EQUAL);
	} else {
		emit_registers_flags(e, true, 0x39, HOST_RDX, HOST_RAX); /* cmp */
		miss = emit_jump_if(e, HOST_ABOVE);
	}
	emit_test_state(e, FRAME(slots_closed));
	closed = emit_jump_if(e, HOST_NOT_EQUAL);
	emit_entry_op(e, 0x8b, HOST_RDX, HOST_RCX, tag);
	emit_gs_op(e, true, 0x89, HOST_RDX, HOST_R14, 0, TAG);
	emit_entry_op(e, 0x8b, HOST_RDX, HOST_RCX, TLB_ENTRY(delta));
	emit_gs_op(e, true, 0x89, HOST_RDX, HOST_R14, 0, DELTA);
	emit_store_state_constant(e, 1, FRAME(slots_used));
	emit_bind(e, closed);
	emit_entry_op(e, 0x8b, HOST_R14, HOST_RCX, TLB_ENTRY(delta));
	done = emit_jump(e);
	emit_bind(e, miss);
	/* add qword [return address], the length of the jump */
	emit_memory_op(e, true, 0x83, 0, &return_address);
	emit8(e, JUMP_LENGTH);
	emit_bind(e, done);
	emit_pop(e, HOST_RDX);
	emit_pop(e, HOST_RCX);
	if (keep_flags) {
		emit_pop(e, HOST_RAX);
		emit_flags_from_rax(e);
	}
	emit_pop(e, HOST_RAX);
	emit_return_host(e);
}

void emit_slot_stubs(struct jit_stubs *stubs, struct emitter *e)
{
	for (unsigned i = 0; i < JIT_SLOT_STUBS; i++) {
		stubs->slot_fill[i] = e->code + e->position;
		emit_fill(e, i & 1, i >> 1 & 1, i >> 2 & 1);
	}
}
