/*
 * Accesses of lean code: the lookup is a stub's, one for each kind of access, which the block calls
 * with the address in R13. It returns with the operand's host address there. Where the TLB does not have
 * the page, the stub goes on to the slow stub, which takes the call for its own: so a block holds nothing
 * for an access but the address, the call and a site (internal.h).
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/x86/mmu/memory.h"

static unsigned stub_number(unsigned size, bool is_write, bool aligned, bool keeps_flags)
{
	return (unsigned)__builtin_ctz(size) << 3 | is_write | aligned << 1 | keeps_flags << 2;
}

bool access_has_stub(const struct translation *t, const struct access *access)
{
	return t->is_lean && !t->flags_lost && access->size <= JIT_ACCESS_SIZE_MAX &&
	       !(access->size & (access->size - 1)) &&
	       (access->base != HOST_NONE || !item_is_bit_string(&t->guest.items[access->item]));
}

struct host_memory emit_lean_access(struct translation *t, const struct access *access)
{
	bool keeps_flags = flags_needed(&t->guest.items[access->item]);

	emit_count(t, JIT_COUNT_TLB);
	emit_linear(t, access);
	emit_call_to(&t->e, t->stubs->access[stub_number(access->size, access->is_write,
							 access->aligned, keeps_flags)]);
	emit_site(t, access->item);
	return (struct host_memory){ HOST_R13, HOST_NONE, 0 };
}

void emit_heat(struct translation *t, unsigned index)
{
	int32_t heat = FRAME(heat) + (int32_t)(t->heat_number * sizeof(uint16_t));
	struct emitter *e = &t->e;

	if (!t->heat_step || t->heat_jump || flags_needed(&t->guest.items[index]))
		return;
	emit_state_add16_flags(e, heat, t->heat_step);
	t->heat_jump = emit_jump_if(e, HOST_BELOW); /* carry */
	t->heat_item = index;
}

static void emit_stub_lookup(struct emitter *e, const struct access *access, const uint8_t *slow)
{
	int32_t tag = access->is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);
	size_t miss;

	emit_tlb_entry(e, HOST_R14, HOST_R13);
	emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag); /* xor */
	miss = emit_offset_check(e, HOST_R13, access);
	emit_patch_to(e, miss, (size_t)(slow - e->code));
	emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
	emit_entry_op(e, 0x03, HOST_R13, HOST_R14, TLB_ENTRY(delta)); /* add */
	emit_return_host(e);
}

static void emit_stub_lookup_flagless(struct emitter *e, const struct access *access,
				      const uint8_t *slow)
{
	int32_t tag = access->is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);
	size_t hit;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_tlb_entry_flagless(e, HOST_R14, HOST_R13);
	emit_entry_op(e, 0x8b, HOST_RCX, HOST_R14, tag);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_RCX, HOST_R13, HOST_RCX, 0, 1); /* address - tag */
	emit_distance_bits(e, HOST_RCX, access);
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_jump_to(e, slow);
	emit_patch8(e, hit);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, TLB_ENTRY(delta));
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_R14, 0, 0);
	emit_return_host(e);
}

/* What comes this way has missed. */
static const uint8_t *emit_counted_slow(const struct jit_stubs *stubs, struct emitter *e)
{
	int32_t counter = FRAME(counts) + JIT_COUNT_TLB_MISS * JIT_COUNT_PARTS * 8;
	const uint8_t *start = e->code + e->position;

	emit_load_state(e, HOST_R14, counter);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, 1);
	emit_store_state(e, HOST_R14, counter);
	emit_jump_to(e, stubs->slow);
	return start;
}

void emit_lean_stubs(struct jit_stubs *stubs, struct emitter *e)
{
	const uint8_t *slow = emit_counted_slow(stubs, e);

	for (unsigned i = 0; i < JIT_ACCESS_STUBS; i++) {
		const struct access access = {
			.size = 1u << (i >> 3), .is_write = i & 1, .aligned = i >> 1 & 1,
		};

		/* A byte is always aligned. */
		if (access.aligned && access.size == 1)
			continue;
		emit_align(e, 16);
		stubs->access[i] = e->code + e->position;
		if (i >> 2 & 1)
			emit_stub_lookup_flagless(e, &access, slow);
		else
			emit_stub_lookup(e, &access, slow);
	}
}
