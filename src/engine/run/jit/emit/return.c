/*
 * Paired returns: a guest's CALL is a host call, and the RET that goes back to it a host RET, so that
 * the host's return-address predictor serves the guest.
 *
 * A call pushes a *pair* on the host's stack: the guest's return address, and, by calling, where host
 * code goes on, the *landing* behind the call. A return that finds its address in the last pair
 * returns to the landing, which takes the rest of the pair from the stack and jumps to the block
 * behind the call, by a link like any other. Any other return takes all pairs away and looks its
 * target up in the jump table. So what the guest does with its stack (PUSH and RET, switching stacks,
 * never returning) costs time at most.
 *
 * A landing is right as long as the return address means what it meant at the call. So pairs live
 * from one entry into translated code to the next: the dispatcher begins with an empty stack. Whoever
 * goes on in another block than the one that a handler was called from empties it, too (JIT_GO_ON):
 * mode, privilege or address space may have changed. What else other CPUs or the handler may do to the
 * code comes with a request, so that translated code is left before it returns to anything: a chunk
 * that was emptied, above all. Code that was removed is still there, and its landing is unlinked.
 *
 * Calls look whether the CPU is wanted elsewhere, together with whether there is room for the pair:
 * with a request, there is none (cpu_request). So returns need not look: each that finds its pair is
 * behind a call that did.
 *
 * At the stack's bottom is a pair of a call from nowhere: its address is 0, and its landing leaves to
 * the dispatcher. That is on the thread's own stack, with signals' frames and the functions that
 * stubs call below the pairs. How far these may reach is looked at before each is pushed. Host
 * shadow stacks must not be on: returns would fault behind calls that never return.
 */
#include "engine/run/jit/emit/translation.h"

#define PAIR_ADDRESS 8 /* from RSP: where the guest's return address is */
#define JUMP_LENGTH  5

static unsigned end_of(const struct jit_item *item)
{
	return item->offset + item->insn.length;
}

/* mov [rsp], r64 */
static bool is_stack_top_store(const uint8_t *bytes)
{
	return (bytes[0] & 0xfb) == 0x48 && bytes[1] == 0x89 && (bytes[2] & 0xc7) == 0x04 &&
	       bytes[3] == 0x24;
}

/* A retpoline calls this to jump to where a register points: mov [rsp], r64; ret. */
#define RETPOLINE_LENGTH 5

static bool is_retpoline(const uint8_t *bytes)
{
	return is_stack_top_store(bytes) && bytes[4] == 0xc3;
}

/* UD2 behind the call: whoever is called is not to come back. The thunks that Linux returns through on
 * AMD's CPUs (SRSO, AMD-SB-7005) are so: what they call drops its return address and returns to theirs. */
static bool is_before_ud2(struct translation *t, unsigned end)
{
	const uint8_t *bytes = t->guest.page + end;

	if (end > 0x1000 - 2 || bytes[0] != 0x0f || bytes[1] != 0x0b || !guest_code_knows(&t->guest, end, 2))
		return false;
	guest_code_look(&t->guest, end, 2);
	return true;
}

/* Calls that the callee is known not to come back from: to the next instruction, for its address,
 * retpolines' own, and those before UD2. */
bool call_is_paired(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->guest.items[index];
	const uint8_t *page = t->guest.page;
	int64_t target;

	/* Blocks are one pass. */
	if (t->guest.is_one_pass)
		return false;
	if (item->kind != ITEM_CALL)
		return true;
	target = item_target(item);
	if (target == end_of(item) || is_before_ud2(t, end_of(item)))
		return false;
	if (t->guest.is_32 || target < 0 || target > 0x1000 - RETPOLINE_LENGTH || !is_retpoline(page + target) ||
	    !guest_code_knows(&t->guest, target, RETPOLINE_LENGTH))
		return true;
	guest_code_look(&t->guest, target, RETPOLINE_LENGTH);
	return false;
}

static bool return_is_paired(const struct translation *t, unsigned index)
{
	const struct jit_item *items = t->guest.items;

	return !t->guest.is_one_pass &&
	       (t->guest.is_32 || index == 0 || items[index - 1].insn.length != RETPOLINE_LENGTH - 1 ||
		!is_stack_top_store(items[index - 1].bytes));
}

/* Whether the flags may be destroyed, as they always may: where nothing tells them, they are saved
 * before calls and returns (recreate.c). */
static bool lose_flags(struct translation *t, unsigned index, uint16_t live)
{
	if (flags_stay_for(t, index, live))
		t->failed = true;
	return !t->failed;
}

void emit_pair_push(struct translation *t, unsigned index)
{
	if (end_of(&t->guest.items[index]) > 0xfff)
		emit_push_zero(&t->e);
	else
		emit_push(&t->e, HOST_R13);
}

void emit_pair(struct translation *t, unsigned index, uint16_t live)
{
	if (!live)
		t->flags_lost = false;
	if (!lose_flags(t, index, live))
		return;
	emit_gs_op(&t->e, true, 0x3b, HOST_RSP, HOST_NONE, 0, STATE(request_limit));
	t->pair_reset.jump = emit_jump_if(&t->e, HOST_NOT_ABOVE);
	t->pair_reset.back = emit_here(&t->e);
	t->pair_reset.index = index;
	t->pair_reset.flags_lost = t->flags_lost;
	emit_flags(t, index, -(int)t->guest.width, HOST_R14);
	emit_pair_push(t, index);
}

void emit_landing(struct translation *t, unsigned index)
{
	unsigned end = end_of(&t->guest.items[index]);
	struct emitter *e = &t->e;

	/* The next page may be anything: a return there is to miss. */
	if (end > 0xfff) {
		emit_jump_to(e, t->stubs->return_exit);
		return;
	}
	/* The callee may have been in another page. */
	if (t->is_lean) {
		emit_call_to(e, t->stubs->landing);
	} else {
		emit_lea(e, true, HOST_RSP, HOST_RSP, HOST_NONE, 0, 8);
		emit_lea(e, true, HOST_R13, HOST_R13, HOST_NONE, 0, -(int32_t)end);
		emit_store_state(e, HOST_R13, FRAME(code_page));
	}
	emit_way_out(t, end, false);
}

static int return_distance(const struct translation *t, unsigned index)
{
	const struct insn *insn = &t->guest.items[index].insn;
	unsigned extra = insn->kind[0] == INSN_OPERAND_IMMEDIATE ? (uint16_t)insn->immediate : 0;

	return (int)(t->guest.width + extra);
}

static void emit_full_return(struct translation *t, unsigned index)
{
	struct host_memory top = emit_stack_access(t, index, HOST_R15, 0, false);
	struct host_memory pair = { HOST_RSP, HOST_NONE, PAIR_ADDRESS };
	int distance = return_distance(t, index);
	struct emitter *e = &t->e;

	emit_memory_move(e, !t->guest.is_32, false, HOST_R13, &top);
	if (!return_is_paired(t, index)) {
		emit_jump_lookup(t, index);
		emit_stack_move(t, distance);
		emit_jump_found(t, index, distance);
		return;
	}
	if (!lose_flags(t, index, flags_needed(&t->guest.items[index])))
		return;
	emit_count(t, JIT_COUNT_RETURN);
	emit_memory_op(e, true, 0x3b, HOST_R13, &pair);
	t->return_miss.index = index;
	t->return_miss.jump = emit_jump_if(e, HOST_NOT_EQUAL);
	t->return_miss.flags_lost = t->flags_lost;
	emit_stack_move(t, distance);
	emit_flags(t, index, distance, HOST_R14);
	emit_return_host(e);
}

/* Without parameters to take off the stack. */
static void emit_plain_lean_return(struct translation *t, unsigned index)
{
	struct host_memory top;

	if (return_is_paired(t, index)) {
		emit_lean_return(t, index);
		return;
	}
	top = emit_stack_access(t, index, HOST_R15, 0, false);
	emit_memory_move(&t->e, !t->guest.is_32, false, HOST_R13, &top);
	emit_lean_lookup(t, index);
	emit_stack_move(t, (int32_t)t->guest.width);
	emit_jump_state(&t->e, HOST_NONE, 0, FRAME(spill[2]));
}

void emit_return(struct translation *t, unsigned index)
{
	if (is_lean_here(t) && return_distance(t, index) == (int)t->guest.width)
		emit_plain_lean_return(t, index);
	else
		emit_full_return(t, index);
}

/* Leave where the CPU is wanted elsewhere. */
static void emit_poll_call(struct translation *t, const struct pair_reset *reset)
{
	t->polls[t->poll_count++] = (struct poll_exit){
		.jump = emit_if_requests(&t->e), .target = item_target(&t->guest.items[reset->index]),
		.source = reset->index, .flags_lost = reset->flags_lost, .rsp_moved = -(int)t->guest.width,
	};
}

void emit_return_misses(struct translation *t)
{
	const struct return_miss *miss = &t->return_miss;
	const struct pair_reset *reset = &t->pair_reset;
	struct emitter *e = &t->e;
	int distance;
	struct near_jump found;

	if (reset->jump.at) {
		emit_bind(e, reset->jump);
		/* Indirect calls have looked before. */
		if (t->guest.items[reset->index].kind == ITEM_CALL)
			emit_poll_call(t, reset);
		emit_load_state(e, HOST_RSP, FRAME(stack_bottom));
		emit_jump_back(e, reset->back);
	}
	if (!miss->jump.at)
		return;
	distance = return_distance(t, miss->index);
	emit_bind(e, miss->jump);
	t->flags_lost = miss->flags_lost;
	emit_slow_jump(t, emit_if_requests(e), miss->index);
	emit_load_state(e, HOST_RSP, FRAME(stack_bottom));
	emit_count(t, JIT_COUNT_RETURN_MISS);
	emit_count(t, JIT_COUNT_JUMP);
	emit_call_to(e, t->stubs->return_lookup[jump_set(t->jumps)]);
	/* The stub returns here, or behind this jump when the table does not have the address. */
	found = emit_jump(e);
	emit_slow_jump_counted(t, emit_jump(e), miss->index, JIT_COUNT_JUMP_MISS);
	emit_bind(e, found);
	emit_stack_move(t, distance);
	emit_flags(t, miss->index, distance, HOST_R14);
	emit_jump_state(e, HOST_NONE, 0, FRAME(spill[2]));
}

#define CANONICAL_SHIFT 47 /* the address bits from here on are equal */

/*
 * frame.spill[2] = where the code for the address in R13 is. What is not in the table is the dispatcher's to find, if
 * a return may lead there at all: to translate, or to interpret what is cold. R14 is lost; all else stays.
 */
static void emit_lookup_stub(const struct jit_stubs *stubs, struct emitter *e, unsigned set)
{
	int32_t jumps = jump_table(set);
	struct short_jump hit, canonical;
	struct near_jump miss;

	emit_store_state(e, HOST_RCX, FRAME(spill[0]));
	emit_jump_probe(e, jumps);
	hit = emit_jrcxz(e);
	miss = emit_jump(e);
	emit_bind_short(e, hit);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1, JUMP_CODE(jumps));
	emit_store_state(e, HOST_R14, FRAME(spill[2]));
	emit_return_host(e);
	emit_bind(e, miss);
	emit_constant(e, HOST_RCX, CANONICAL_SHIFT);
	emit_shift_signed(e, true, HOST_R14, HOST_R13); /* 0 or -1 */
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, 1);
	emit_any_bits(e, HOST_RCX, HOST_R14, FRAME(mask_not_1));
	canonical = emit_jrcxz(e);
	emit_pop(e, HOST_R14);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_NONE, 0, JUMP_LENGTH);
	emit_push(e, HOST_R14);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_return_host(e);
	emit_bind_short(e, canonical);
	emit_load_state(e, HOST_RCX, FRAME(spill[0]));
	emit_constant(e, HOST_R14, (uintptr_t)stubs->return_exit);
	emit_store_state(e, HOST_R14, FRAME(spill[2]));
	emit_return_host(e);
}

void emit_return_stubs(struct jit_stubs *stubs, struct emitter *e)
{
	for (unsigned i = 0; i < JIT_JUMP_SETS; i++) {
		stubs->return_lookup[i] = e->code + e->position;
		emit_lookup_stub(stubs, e, i);
	}
}
