/*
 * The stubs of lean code: lean.c. R13 and R14 are scratch; the flags survive in those that keep them, and
 * in all that are not told.
 */
#include "engine/run/jit/emit/translation.h"
#include "engine/x86/mmu/memory.h"

static void emit_stub_count(const struct jit_stubs *stubs, struct emitter *e, enum jit_count which)
{
	int32_t counter = FRAME(counts) + (int32_t)which * JIT_COUNT_PARTS * 8;

	if (!stubs->counts)
		return;
	emit_load_state(e, HOST_R14, counter);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, 1);
	emit_store_state(e, HOST_R14, counter);
}

/* With the address in R13: the host address. Changes flags. */
static void emit_lookup(struct emitter *e, const struct access *access, struct near_jumps *misses)
{
	int32_t tag = access->is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);

	emit_tlb_entry(e, HOST_R14, HOST_R13);
	emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag); /* xor */
	near_jumps_add(misses, emit_offset_check(e, HOST_R13, access));
	emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
	emit_entry_op(e, 0x03, HOST_R13, HOST_R14, TLB_ENTRY(delta)); /* add */
}

/* The same, and the flags survive. */
static void emit_lookup_flagless(struct emitter *e, const struct access *access,
				 struct near_jumps *misses)
{
	int32_t tag = access->is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);
	struct short_jump hit;

	hit = emit_tag_check_flagless(e, HOST_RCX, tag, access);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	near_jumps_add(misses, emit_jump(e));
	emit_bind_short(e, hit);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, TLB_ENTRY(delta));
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_R14, 0, 0);
}

/* Between these two, which lose R14, flags are free. */
static void emit_flags_away(struct emitter *e, bool keeps_flags)
{
	if (!keeps_flags)
		return;
	emit_move(e, HOST_R14, HOST_RAX);
	emit_flags_to_rax(e);
	emit_store_state(e, HOST_RAX, FRAME(lean_spill[0]));
	emit_move(e, HOST_RAX, HOST_R14);
}

static void emit_flags_back(struct emitter *e, bool keeps_flags)
{
	if (!keeps_flags)
		return;
	emit_move(e, HOST_R14, HOST_RAX);
	emit_load_state(e, HOST_RAX, FRAME(lean_spill[0]));
	emit_flags_from_rax(e);
	emit_move(e, HOST_RAX, HOST_R14);
}

/* To the slow stub. */
static void emit_misses(const struct jit_stubs *stubs, struct emitter *e, const struct near_jumps *misses,
			enum jit_count which)
{
	emit_bind_all(e, misses);
	emit_stub_count(stubs, e, which);
	emit_jump_to(e, stubs->slow);
}

static void emit_access_stub(struct jit_stubs *stubs, struct emitter *e, const struct access *access,
			     bool keeps_flags)
{
	struct near_jumps misses = { .count = 0 };

	if (keeps_flags)
		emit_lookup_flagless(e, access, &misses);
	else
		emit_lookup(e, access, &misses);
	emit_return_host(e);
	emit_misses(stubs, e, &misses, JIT_COUNT_TLB_MISS);
}

/* Whether the CPU is wanted elsewhere. */
static void emit_poll_stub(struct jit_stubs *stubs, struct emitter *e)
{
	struct short_jump zero;
	struct near_jump wanted;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	zero = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	wanted = emit_jump(e);
	emit_bind_short(e, zero);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_return_host(e);
	emit_bind(e, wanted);
	emit_jump_to(e, stubs->slow);
}

/* R13 is the offset of the block's heat: count this run. */
static void emit_heat_stub(const struct jit_stubs *stubs, struct emitter *e, uint16_t step)
{
	struct short_jump cold;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_load16(e, HOST_RCX, HOST_R13);
	emit_lea(e, false, HOST_RCX, HOST_RCX, HOST_NONE, 0, step);
	emit_store16(e, HOST_RCX, HOST_R13);
	emit_load16(e, HOST_R14, HOST_R13);
	emit_not(e, HOST_R14);
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R14, 0, 1); /* 0 unless it overflowed */
	cold = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_jump_to(e, stubs->slow);
	emit_bind_short(e, cold);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_return_host(e);
}

/*
 * R14 is 8 * the index of the code's page, R13 the address that somebody takes the block to be at. If it is
 * there in the present view, its page becomes the code's; else leave. Flags stay, whatever the block has
 * no use for: what is there instead may have.
 */
static void emit_entry_stub(struct jit_stubs *stubs, struct emitter *e, bool is_user)
{
	const struct host_memory page = { HOST_RCX, HOST_R14, 0 };
	struct short_jump absent, hit;

	emit_store_state(e, HOST_RCX, FRAME(lean_spill[1]));
	emit_load_state(e, HOST_RCX, FRAME(pages) + is_user * 8);
	emit_memory_move(e, true, false, HOST_R14, &page); /* gva + 1, or 0 */
	emit_store_state(e, HOST_R14, FRAME(lean_spill[0]));
	emit_move(e, HOST_RCX, HOST_R14);
	absent = emit_jrcxz(e);
	emit_not(e, HOST_R14);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_R13, 0, 2); /* the offset in the page, if it is that one */
	emit_constant(e, HOST_RCX, 12);
	emit_shift_signed(e, true, HOST_R14, HOST_R14);
	emit_move(e, HOST_RCX, HOST_R14);
	hit = emit_jrcxz(e);
	emit_bind_short(e, absent);
	emit_load_state(e, HOST_RCX, FRAME(lean_spill[1]));
	emit_jump_to(e, stubs->return_exit);
	emit_bind_short(e, hit);
	emit_load_state(e, HOST_R14, FRAME(lean_spill[0]));
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, -1);
	emit_store_state(e, HOST_R14, FRAME(code_page));
	emit_load_state(e, HOST_RCX, FRAME(lean_spill[1]));
	emit_return_host(e);
}

/*
 * R13 is the return address's offset in the code's page, and becomes that address, which is pushed on the
 * guest's stack. There is room for a pair afterwards, and nobody wants the CPU elsewhere (return.c).
 */
static void emit_push_return_stub(struct jit_stubs *stubs, struct emitter *e, bool is_32,
				  bool keeps_flags)
{
	int32_t width = is_32 ? 4 : 8;
	const struct access access = { .size = (unsigned)width, .is_write = true };
	const struct host_memory top = { HOST_R13, HOST_NONE, 0 };
	struct near_jumps misses = { .count = 0 };
	struct near_jump full, wanted;
	struct code_place back;

	emit_flags_away(e, keeps_flags);
	emit_gs_op(e, !is_32, 0x03, HOST_R13, HOST_NONE, 0, FRAME(code_page)); /* add */
	emit_gs_op(e, true, 0x3b, HOST_RSP, HOST_NONE, 0, STATE(request_limit));
	full = emit_jump_if(e, HOST_NOT_ABOVE);
	back = emit_here(e);
	emit_store_state(e, HOST_R13, FRAME(lean_spill[1]));
	emit_lea(e, !is_32, HOST_R13, HOST_R15, HOST_NONE, 0, -width);
	emit_lookup(e, &access, &misses);
	emit_load_state(e, HOST_R14, FRAME(lean_spill[1]));
	emit_memory_move(e, !is_32, true, HOST_R14, &top);
	emit_move(e, HOST_R13, HOST_R14);
	emit_lea(e, !is_32, HOST_R15, HOST_R15, HOST_NONE, 0, -width);
	emit_flags_back(e, keeps_flags);
	emit_return_host(e);

	/* No room: no pairs. */
	emit_bind(e, full);
	wanted = emit_if_requests(e);
	emit_pop(e, HOST_R14);
	emit_load_state(e, HOST_RSP, FRAME(stack_bottom));
	emit_push(e, HOST_R14);
	emit_jump_back(e, back);

	emit_bind_all(e, &misses);
	emit_stub_count(stubs, e, JIT_COUNT_TLB_MISS);
	emit_bind(e, wanted);
	emit_flags_back(e, keeps_flags);
	emit_jump_to(e, stubs->slow);
}

/* The page of the return address in R13 becomes the code's; the pair behind the stub's return address goes. */
static void emit_landing_stub(struct emitter *e)
{
	emit8(e, 0x8f); /* pop qword [rsp] */
	emit8(e, 0x04);
	emit8(e, 0x24);
	emit_field(e, HOST_R13, HOST_R13, FRAME(page_mask), 12);
	emit_rotate(e, HOST_R13, HOST_R13, 64 - 12);
	emit_store_state(e, HOST_R13, FRAME(code_page));
	emit_return_host(e);
}

/* frame.spill[2] = where the code for the address in R13 is, unless the CPU is wanted elsewhere. */
static void emit_find_jump_stub(struct jit_stubs *stubs, struct emitter *e, int32_t jumps,
				bool keeps_flags)
{
	struct near_jumps misses = { .count = 0 };
	struct near_jump wanted;

	emit_flags_away(e, keeps_flags);
	wanted = emit_if_requests(e);
	emit_jump_index(e, jumps, &misses);
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1, JUMP_CODE(jumps));
	emit_store_state(e, HOST_R14, FRAME(spill[2]));
	emit_flags_back(e, keeps_flags);
	emit_return_host(e);
	emit_bind_all(e, &misses);
	emit_stub_count(stubs, e, JIT_COUNT_JUMP_MISS);
	emit_bind(e, wanted);
	emit_flags_back(e, keeps_flags);
	emit_jump_to(e, stubs->slow);
}

/* R13 = the top of the guest's stack. The site is kept for emit_return_go_stub. */
static void emit_return_load_stub(struct jit_stubs *stubs, struct emitter *e, bool is_32)
{
	const struct access access = { .size = is_32 ? 4 : 8 };
	const struct host_memory site = { HOST_RSP, HOST_NONE, 0 }, top = { HOST_R13, HOST_NONE, 0 };
	struct near_jumps misses = { .count = 0 };

	emit_memory_move(e, true, false, HOST_R14, &site);
	emit_store_state(e, HOST_R14, FRAME(lean_spill[1]));
	emit_move_width(e, !is_32, HOST_R13, HOST_R15);
	emit_lookup_flagless(e, &access, &misses);
	emit_memory_move(e, !is_32, false, HOST_R13, &top);
	emit_return_host(e);
	emit_misses(stubs, e, &misses, JIT_COUNT_TLB_MISS);
}

/* Jumped to: return to the address in R13, as return.c has it. */
static void emit_return_go_stub(struct jit_stubs *stubs, struct emitter *e, unsigned set)
{
	const struct host_memory pair = { HOST_RSP, HOST_NONE, 8 };
	int32_t jumps = jump_table(set), width = set / 2 ? 4 : 8;
	struct near_jumps misses = { .count = 0 };
	struct short_jump hit;
	struct near_jump other, wanted, odd;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_memory_move(e, true, false, HOST_RCX, &pair);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R13, 0, 1); /* address - pair's */
	hit = emit_jrcxz(e);
	other = emit_jump(e);
	emit_bind_short(e, hit);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_lea(e, width == 8, HOST_R15, HOST_R15, HOST_NONE, 0, width);
	emit_return_host(e);

	emit_bind(e, other);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_load_state(e, HOST_RSP, FRAME(stack_bottom));
	emit_stub_count(stubs, e, JIT_COUNT_RETURN_MISS);
	emit_stub_count(stubs, e, JIT_COUNT_JUMP);
	emit_flags_away(e, true);
	wanted = emit_if_requests(e);
	emit_jump_index(e, jumps, &misses);
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1, JUMP_CODE(jumps));
	emit_store_state(e, HOST_R14, FRAME(spill[2]));
	emit_lea(e, width == 8, HOST_R15, HOST_R15, HOST_NONE, 0, width);
	emit_flags_back(e, true);
	emit_jump_state(e, HOST_NONE, 0, FRAME(spill[2]));
	/* Who is not in the table is the dispatcher's to find, but where the return itself faults. */
	emit_bind_all(e, &misses);
	emit_stub_count(stubs, e, JIT_COUNT_JUMP_MISS);
	if (width == 8) {
		emit_move(e, HOST_R14, HOST_R13);
		emit_shift_left_flags(e, HOST_R14, 16);
		emit_shift_right_signed_flags(e, HOST_R14, 16);
		emit_registers_flags(e, true, 0x39, HOST_R13, HOST_R14); /* cmp */
		odd = emit_jump_if(e, HOST_NOT_EQUAL);
		emit_lea(e, true, HOST_R15, HOST_R15, HOST_NONE, 0, width);
		emit_flags_back(e, true);
		emit_jump_to(e, stubs->return_exit);
		emit_bind(e, odd);
	}
	emit_bind(e, wanted);
	emit_flags_back(e, true);
	emit_load_state(e, HOST_R14, FRAME(lean_spill[1]));
	emit_push(e, HOST_R14);
	emit_jump_to(e, stubs->slow);
}

static const uint8_t *begin(struct emitter *e)
{
	emit_align(e, 16);
	return e->code + e->position;
}

static void emit_access_stubs(struct jit_stubs *stubs, struct emitter *e)
{
	for (unsigned shift = 0; 1u << shift <= JIT_ACCESS_SIZE_MAX; shift++)
		for (unsigned i = 0; i < 8; i++) {
			bool is_write = i & 1, aligned = i >> 1 & 1, keeps_flags = i >> 2 & 1;
			const struct access access = {
				.size = 1u << shift, .is_write = is_write, .aligned = aligned,
			};

			/* A byte is always aligned. */
			if (shift == 0 && aligned)
				continue;
			stubs->access[access_stub_number(access.size, is_write, aligned, keeps_flags)] =
				begin(e);
			emit_access_stub(stubs, e, &access, keeps_flags);
		}
}

void emit_lean_stubs(struct jit_stubs *stubs, struct emitter *e)
{
	emit_access_stubs(stubs, e);
	stubs->poll = begin(e);
	emit_poll_stub(stubs, e);
	for (unsigned kind = 0; kind < JIT_HEAT_KINDS; kind++) {
		stubs->heat[kind] = begin(e);
		emit_heat_stub(stubs, e, stubs->heat_step[kind]);
	}
	stubs->landing = begin(e);
	emit_landing_stub(e);
	for (unsigned is_32 = 0; is_32 < 2; is_32++) {
		stubs->return_load[is_32] = begin(e);
		emit_return_load_stub(stubs, e, is_32);
	}
	for (unsigned is_user = 0; is_user < 2; is_user++) {
		stubs->entry[is_user] = begin(e);
		emit_entry_stub(stubs, e, is_user);
	}
	for (unsigned keeps_flags = 0; keeps_flags < 2; keeps_flags++) {
		for (unsigned is_32 = 0; is_32 < 2; is_32++) {
			stubs->push_return[is_32][keeps_flags] = begin(e);
			emit_push_return_stub(stubs, e, is_32, keeps_flags);
		}
		for (unsigned set = 0; set < JIT_JUMP_SETS; set++) {
			stubs->find_jump[set][keeps_flags] = begin(e);
			emit_find_jump_stub(stubs, e, jump_table(set), keeps_flags);
		}
	}
	for (unsigned set = 0; set < JIT_JUMP_SETS; set++) {
		stubs->return_go[set] = begin(e);
		emit_return_go_stub(stubs, e, set);
	}
}
