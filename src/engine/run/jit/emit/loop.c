/*
 * The code of a loop (plan/loop.h), in this order:
 *
 *	registers are borrowed
 *	preheader for a few iterations: one compare a key says that they fit in its page
 *	body, once or twice: as often as the counter says
 *	poll
 *	preheader that computes how many iterations fit, then back to the body
 */
#include "engine/run/jit/emit/loop.h"

#include "engine/run/jit/emit/region.h"

#define ITERATIONS_MAX   1024 /* between two polls, */
#define CYCLES_MAX	 50000 /* or as many as take so long at worst: some 20 us */
#define MISS_CYCLES	 200  /* of a load that no cache has */
#define FIRST_ITERATIONS 16   /* of the first preheader, at most, */
#define FIRST_BYTES	 256  /* or as many as addresses go so far in */
#define DOUBLE_MAX	 16   /* instructions of a body that stands there twice */

static unsigned iterations_max(const struct translation *t)
{
	const struct loop *loop = &t->plan.loop;
	unsigned cycles = loop->region_count * MISS_CYCLES;

	for (unsigned i = 0; i < loop->end; i++) {
		const struct jit_item *item = &t->guest.items[i];

		cycles += item_cycles(item);
		/* What is hoisted stays in one page. */
		if (item_has_access(item) && loop->places[i].base == HOST_NONE)
			cycles += MISS_CYCLES;
	}
	return cycles * ITERATIONS_MAX <= CYCLES_MAX ? ITERATIONS_MAX : CYCLES_MAX / cycles;
}

/* An instruction that would access these bytes of the range in the first iteration. */
static void make_model(struct jit_item *model, const struct loop_key *key, int32_t displacement)
{
	const struct span *span = &key->span;

	*model = (struct jit_item){
		.kind = ITEM_COPY,
		.insn = {
			.base = span->base == VALUE_RIP	   ? INSN_BASE_RIP
				: span->base == VALUE_NONE ? INSN_REGISTER_NONE
							   : span->base,
			.index = span->index == VALUE_NONE ? INSN_REGISTER_NONE : span->index,
			.scale = span->shift, .address_size = 8, .segment = span->segment,
			.displacement = displacement,
		},
	};
}

static bool is_late(const struct loop_key *key)
{
	return key->host == HOST_R13 || key->host == HOST_R14;
}

static uint32_t distance(const struct loop_key *key)
{
	return key->stride < 0 ? -key->stride : key->stride;
}

/* host -= variant << shift */
static void emit_without_variant(struct translation *t, const struct loop_key *key, unsigned host)
{
	struct emitter *e = &t->e;

	if (key->variant >= CPU_REGISTERS)
		return;
	emit_move(e, HOST_R13, t->plan.loop.map[key->variant]);
	if (key->shift)
		emit_shift_left_flags(e, HOST_R13, key->shift);
	emit_registers_flags(e, true, 0x29, host, HOST_R13); /* sub */
}

/*
 * With the host address of the range's lowest byte in `host`: lower the counter to the number of
 * iterations until the range leaves the page.
 */
static void emit_limit(struct translation *t, const struct loop_key *key, unsigned host)
{
	int32_t size = key->range.high - key->range.low;
	uint32_t stride = distance(key);
	struct emitter *e = &t->e;

	emit_move(e, HOST_R13, host);
	emit_immediate_flags(e, false, 4, HOST_R13, 0xfff);
	if (key->stride > 0) {
		/* room = page - size - offset */
		emit_immediate_flags(e, false, 6, HOST_R13, -1); /* xor: -offset - 1 */
		emit_immediate_flags(e, false, 0, HOST_R13, 0x1001 - size);
	}
	/* room / stride + 1; exact, as room * stride < 2^30 */
	if (stride & (stride - 1)) {
		emit_multiply_flags(e, HOST_R13, ((1u << 30) + stride - 1) / stride);
		emit_shift_right_flags(e, true, HOST_R13, 30);
	} else if (stride > 1) {
		emit_shift_right_flags(e, true, HOST_R13, __builtin_ctz(stride));
	}
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_NONE, 0, 1);
	emit_minimum_flags(e, t->plan.loop.counter, HOST_R13);
}

/* Look a key up, with a limit; its register becomes what the operand's variable part is added to. */
static void emit_key(struct translation *t, unsigned number)
{
	const struct loop_key *key = &t->plan.loop.keys[number];
	struct jit_item *model = &t->guest.items[SLOW_LOOP + number];
	unsigned host = is_late(key) ? HOST_R14 : key->host;
	struct emitter *e = &t->e;
	struct host_memory low;

	make_model(model, key, key->range.low);
	if (key->range.alignment > 1) {
		emit_address(t, model);
		emit_test_immediate_flags(e, HOST_R13, key->range.alignment - 1);
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_EQUAL), SLOW_LOOP + number);
	}
	low = emit_operand_access(t, SLOW_LOOP + number, key->range.high - key->range.low,
				  key->range.is_write, false);
	emit_lea(e, true, host, low.base, low.index, 0, low.displacement);
	if (key->stride)
		emit_limit(t, key, host);
	emit_without_variant(t, key, host);
}

/*
 * What the key's register is the sum of besides the distance to host memory and a constant: a host
 * register or HOST_NONE, shifted. False: something else.
 */
static bool invariant_part(const struct translation *t, const struct loop_key *key, uint8_t *host,
			   uint8_t *shift)
{
	const struct span *span = &key->span;
	bool is_base = key->variant == span->base;
	uint16_t other = is_base ? span->index : span->base;

	if (key->variant >= CPU_REGISTERS || span->segment != CPU_DS)
		return false;
	*host = HOST_NONE;
	*shift = is_base ? span->shift : 0;
	if (other == VALUE_NONE)
		return true;
	*host = t->plan.loop.map[other];
	return *host != HOST_NONE;
}

/* The failed checks of a preheader. */
struct failures {
	struct near_jump jumps[LOOP_KEYS_MAX * 2];
	unsigned count;
};

/* Look a key up for so many iterations. */
static void emit_first_key(struct translation *t, unsigned number, unsigned iterations,
			   struct failures *failures)
{
	const struct loop_key *key = &t->plan.loop.keys[number];
	struct jit_item *model = &t->guest.items[SLOW_LOOP + number];
	unsigned host = is_late(key) ? HOST_R14 : key->host;
	int32_t tag = key->range.is_write ? TLB_ENTRY(tag_write) : TLB_ENTRY(tag_read);
	int32_t way = (int32_t)(distance(key) * (iterations - 1));
	int32_t below = key->stride < 0 ? way : 0;
	struct access access = {
		.size = (unsigned)(key->range.high - key->range.low + way), .slot = -1,
	};
	struct emitter *e = &t->e;
	uint8_t part, shift;

	make_model(model, key, key->range.low - below);
	emit_count(t, JIT_COUNT_TLB);
	emit_address(t, model);
	if (key->range.alignment > 1) {
		emit_test_immediate_flags(e, HOST_R13, key->range.alignment - 1);
		failures->jumps[failures->count++] = emit_jump_if(e, HOST_NOT_EQUAL);
	}
	emit_tlb_entry(e, HOST_R14, HOST_R13);
	emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
	failures->jumps[failures->count++] = emit_offset_check(e, HOST_R13, &access);
	if (invariant_part(t, key, &part, &shift)) {
		emit_entry_op(e, 0x8b, host, HOST_R14, TLB_ENTRY(delta));
		if (part != HOST_NONE || key->range.low)
			emit_lea(e, true, host, host, part, shift, key->range.low);
		return;
	}
	emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, TLB_ENTRY(delta));
	emit_lea(e, true, host, HOST_R13, HOST_R14, 0, below);
	emit_without_variant(t, key, host);
}

static void emit_some_key(struct translation *t, unsigned number, unsigned iterations,
			  struct failures *failures)
{
	if (failures)
		emit_first_key(t, number, iterations, failures);
	else
		emit_key(t, number);
}

/* Look all keys up: with `failures` for so many iterations, else for as many as there can be. */
static void emit_keys(struct translation *t, unsigned iterations, struct failures *failures)
{
	const struct loop *loop = &t->plan.loop;
	int32_t spill = FRAME(loop_spill);
	bool is_spilled = false;

	/* R13 and R14 are scratch until the last one. */
	for (unsigned n = 0; n < loop->key_count; n++)
		if (loop->keys[n].host != HOST_NONE && !is_late(&loop->keys[n]))
			emit_some_key(t, n, iterations, failures);
	for (unsigned n = 0; n < loop->key_count; n++)
		if (loop->keys[n].host == HOST_R13) {
			emit_some_key(t, n, iterations, failures);
			emit_store_state(&t->e, HOST_R14, spill);
			is_spilled = true;
		}
	for (unsigned n = 0; n < loop->key_count; n++)
		if (loop->keys[n].host == HOST_R14)
			emit_some_key(t, n, iterations, failures);
	if (is_spilled)
		emit_load_state(&t->e, HOST_R13, spill);
}

/* How many iterations the first preheader allows; 0: there is nothing to limit them. */
static unsigned first_iterations(const struct loop *loop)
{
	uint32_t most = 0;

	for (unsigned n = 0; n < loop->key_count; n++)
		if (loop->keys[n].host != HOST_NONE && distance(&loop->keys[n]) > most)
			most = distance(&loop->keys[n]);
	if (!most)
		return 0;
	if (FIRST_BYTES / most >= FIRST_ITERATIONS)
		return FIRST_ITERATIONS;
	return FIRST_BYTES / most > 2 ? FIRST_BYTES / most & ~1u : 2;
}

static void emit_borrowing(struct translation *t)
{
	const struct loop *loop = &t->plan.loop;
	struct emitter *e = &t->e;

	for (unsigned guest = 0; guest < CPU_REGISTERS; guest++)
		if (loop->borrowed >> guest & 1)
			emit_store_state(e, host_register(guest), home(guest));
	for (unsigned guest = 0; guest < CPU_REGISTERS; guest++)
		if (loop->homes >> guest & 1)
			emit_load_state(e, loop->map[guest], home(guest));
	for (unsigned level = JIT_VECTOR_LEVELS; level-- > 0;)
		if (loop->vector_levels >> level & 1)
			emit_vector_check(t, SLOW_LEAVE, level);
}

/* One iteration but for what counts it. */
static void emit_body(struct translation *t)
{
	const struct loop *loop = &t->plan.loop;
	const struct jit_item *last = &t->guest.items[loop->end - 1];
	struct emitter *e = &t->e;
	unsigned next = 0;

	homes_forget(t);
	for (unsigned i = 0; i < loop->end - 1; i++) {
		const struct jit_item *item = &t->guest.items[i];

		if (next < loop->region_count && i == loop->regions[next].end) {
			t->scratch[0] = HOST_R13;
			homes_forget(t);
			next++;
		}
		if (next < loop->region_count && i == loop->regions[next].start) {
			t->places = NULL;
			emit_region_check(t, &loop->regions[next], SLOW_INSIDE + next);
			t->places = loop->places;
			t->scratch[0] = HOST_R14;
			homes_forget(t);
		}
		if (item->kind == ITEM_JUMP_IF)
			emit_slow_jump(t, emit_jump_if(e, item_condition(item)),
				       SLOW_TAKEN + i);
		else
			emit_item(t, i);
	}
	t->scratch[0] = HOST_R13;
	if (last->kind == ITEM_JUMP_IF)
		emit_slow_jump(t, emit_jump_if(e, condition_not(item_condition(last))),
			       SLOW_LEAVE + loop->end);
}

void emit_loop(struct translation *t)
{
	const struct loop *loop = &t->plan.loop;
	unsigned back = (t->guest.items[loop->end - 1].kind == ITEM_JUMP_IF ? SLOW_TAKEN : SLOW_LEAVE) +
			loop->end - 1;
	bool is_double = loop->end <= DOUBLE_MAX && !t->guest.is_one_pass;
	unsigned first = first_iterations(loop), most = iterations_max(t);
	struct failures failures = { .count = 0 };
	struct emitter *e = &t->e;
	struct code_place top, middle = { 0 };
	struct near_jump second;

	t->map = loop->map;
	t->scratch_count = 1;
	emit_borrowing(t);
	if (first > most)
		first = most;
	emit_constant(e, loop->counter, (first ? first : most) >> is_double);
	emit_keys(t, first ? first : 1, &failures);
	emit_align(e, 32);
	t->places = loop->places;
	t->slow_offset = SLOW_LEAVE;
	top = emit_here(e);
	emit_body(t);
	if (is_double) {
		middle = emit_here(e);
		emit_body(t);
	}
	if (!t->guest.is_one_pass) {
		emit_count_down_flags(e, loop->counter);
		emit_jump_back_if(e, HOST_NOT_EQUAL, top);
		emit_test_state(e, STATE(requests));
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_EQUAL), back);
	} else {
		emit_slow_jump(t, emit_jump(e), back);
	}
	t->places = NULL;
	t->slow_offset = 0;
	second = emit_jump(e);
	for (unsigned i = 0; i < failures.count; i++)
		emit_bind(e, failures.jumps[i]);
	emit_count(t, JIT_COUNT_TLB_MISS);
	emit_bind(e, second);
	emit_constant(e, loop->counter, most);
	emit_keys(t, 0, NULL);
	if (is_double) {
		/* An odd one goes first, alone. */
		emit_lea(e, false, loop->counter, loop->counter, HOST_NONE, 0, 1);
		emit_shift_right_flags(e, false, loop->counter, 1);
		emit_jump_back_if(e, HOST_NOT_BELOW, middle); /* not carry */
	}
	emit_jump_back(e, top);
	/* While registers are where they are, for once. */
	t->slow_offset = SLOW_LEAVE;
	emit_slot_misses(t);
	t->slow_offset = 0;
	t->flags_lost = false;
	t->map = host_registers;
	t->scratch_count = 2;
	homes_forget(t);
	t->progress = (struct progress){ 0 };
}

/* Give the registers back. Flags survive. */
static void emit_restore(struct translation *t)
{
	const struct loop *loop = &t->plan.loop;

	for (unsigned guest = 0; guest < CPU_REGISTERS; guest++)
		if (loop->homes & loop->written & 1u << guest)
			emit_store_state(&t->e, loop->map[guest], home(guest));
	for (unsigned guest = 0; guest < CPU_REGISTERS; guest++)
		if (loop->borrowed >> guest & 1)
			emit_load_state(&t->e, host_register(guest), home(guest));
}

/* Let the slow jumps to [from, to) come here; whether there are any. */
static bool patch_slow(struct translation *t, unsigned from, unsigned to)
{
	bool any = false;

	for (unsigned i = 0; i < t->slow_count; i++) {
		if (t->slow[i].item < from || t->slow[i].item >= to)
			continue;
		emit_bind(&t->e, t->slow[i].jump);
		any = true;
	}
	return any;
}

void emit_loop_exits(struct translation *t)
{
	for (unsigned i = 0; i <= t->plan.loop.end; i++) {
		bool any = patch_slow(t, SLOW_LEAVE + i, SLOW_LEAVE + i + 1);

		/* A lookup of the preheader has missed. */
		if (i == 0)
			any |= patch_slow(t, SLOW_LOOP, SLOW_INSIDE);
		for (unsigned n = 0; n < t->plan.loop.region_count; n++)
			if (t->plan.loop.regions[n].start == i)
				any |= patch_slow(t, SLOW_INSIDE + n, SLOW_INSIDE + n + 1);
		if (any) {
			emit_restore(t);
			emit_jump_back(&t->e, t->entry_place[i]);
		}
		if (patch_slow(t, SLOW_TAKEN + i, SLOW_TAKEN + i + 1)) {
			emit_restore(t);
			emit_side_jump(t, emit_jump(&t->e), i);
		}
	}
}
