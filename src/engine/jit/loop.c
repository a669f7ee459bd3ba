#include "engine/jit/loop.h"

#define RANGE_MAX      1024 /* bytes that one access and its neighbours may cover */
#define STRIDE_MAX     512  /* bytes in each iteration: more leaves a page too soon */
#define OFFSET_MAX     (1 << 20) /* bytes that a register may be away from where it began */
#define ITERATIONS_MAX 1024 /* between two polls */

/* The end of the loop: behind the last jump to the block's start. 0: no loop. */
static unsigned loop_end(const struct jit_item *items, unsigned count, unsigned start)
{
	for (unsigned i = count; i-- > 0;)
		if (item_jumps_to(&items[i], start))
			return i + 1;
	return 0;
}

static bool fits(const struct jit_item *item, bool is_last)
{
	switch (item->kind) {
	case ITEM_NOTHING: case ITEM_LEA: case ITEM_JUMP_IF:
		return true;
	case ITEM_COPY:
		return item_vector_levels(item) != 1u << JIT_VECTOR_X87 ||
		       !item_moves_x87_pointer(item);
	case ITEM_DIVIDE:
		return !item->live_after;
	case ITEM_JUMP:
		return is_last;
	default:
		return false;
	}
}

/* By how much a symbol's register grows each time around; false when that's unknown. */
static bool symbol_stride(const struct values *end, uint16_t symbol, int32_t *stride)
{
	*stride = 0;
	if (symbol == VALUE_NONE || symbol == VALUE_RIP)
		return true;
	if (symbol >= CPU_REGISTERS || end->reg[symbol].symbol != symbol)
		return false;
	*stride = end->reg[symbol].offset;
	return *stride <= STRIDE_MAX && *stride >= -STRIDE_MAX;
}

/* What the span's address depends on; false when the lookup can't be hoisted. */
static bool make_key(struct loop_key *key, const struct span *span, const struct values *end)
{
	int32_t base, index;

	if (!span->is_known || !symbol_stride(end, span->base, &base) ||
	    !symbol_stride(end, span->index, &index))
		return false;
	index *= 1 << span->shift;
	if ((base && index) || index > STRIDE_MAX || index < -STRIDE_MAX)
		return false;
	*key = (struct loop_key){
		.span = *span, .range = range_of(span), .stride = base + index,
		.variant = base ? span->base : index ? span->index : INSN_REGISTER_NONE,
		.shift = index ? span->shift : 0, .host = HOST_NONE,
	};
	return true;
}

/* The number of the key that has the item's access, made if need be; or LOOP_KEYS_MAX. */
static unsigned find_key(struct loop *loop, const struct span *span, const struct values *before,
			 const struct values *end)
{
	struct loop_key key;
	unsigned n;

	if (!make_key(&key, span, end) || key.stride % span->alignment)
		return LOOP_KEYS_MAX;
	/* The operand follows the register itself. */
	if (key.variant < CPU_REGISTERS && (before->reg[key.variant].symbol != key.variant ||
					    before->reg[key.variant].offset > OFFSET_MAX ||
					    before->reg[key.variant].offset < -OFFSET_MAX))
		return LOOP_KEYS_MAX;
	for (n = 0; n < loop->key_count; n++)
		if (span_same_base(&loop->keys[n].span, span) &&
		    range_join(&loop->keys[n].range, span, RANGE_MAX))
			break;
	if (n == LOOP_KEYS_MAX)
		return n;
	if (n == loop->key_count)
		loop->keys[loop->key_count++] = key;
	loop->keys[n].accesses++;
	return n;
}

/* A host register whose guest register the loop leaves alone, or HOST_NONE. */
static uint8_t borrow(struct loop *loop, uint16_t used)
{
	for (unsigned guest = CPU_REGISTERS; guest-- > 0;) {
		uint8_t host = host_register(guest);

		if (host == HOST_NONE || (used | loop->borrowed) >> guest & 1)
			continue;
		loop->borrowed |= 1u << guest;
		return host;
	}
	return HOST_NONE;
}

static unsigned free_registers(const struct loop *loop, uint16_t used)
{
	return (unsigned)__builtin_popcount((uint16_t)~(used | loop->borrowed | 0xe000));
}

/* The key with the most accesses of those that have no register and can get one; or NULL. */
static struct loop_key *best_key(struct loop *loop)
{
	struct loop_key *best = NULL;

	for (unsigned n = 0; n < loop->key_count; n++) {
		struct loop_key *key = &loop->keys[n];

		if (key->host != HOST_NONE ||
		    (key->variant < CPU_REGISTERS && loop->map[key->variant] == HOST_NONE))
			continue;
		if (!best || key->accesses > best->accesses)
			best = key;
	}
	return best;
}

/* Share out the registers; `needs_scratch`: R13 and R14 are not among them. */
static bool allocate(struct loop *loop, uint16_t used, bool needs_scratch)
{
	unsigned possible = 0, room;

	loop->counter = borrow(loop, used);
	if (loop->counter == HOST_NONE)
		return false;
	for (unsigned i = 0; i < CPU_REGISTERS; i++) {
		loop->map[i] = host_register(i);
		if (loop->map[i] != HOST_NONE || !(used >> i & 1))
			continue;
		loop->map[i] = borrow(loop, used);
		if (loop->map[i] == HOST_NONE)
			needs_scratch = true;
		else
			loop->homes |= 1u << i;
	}
	for (unsigned n = 0; n < loop->key_count; n++) {
		const struct loop_key *key = &loop->keys[n];

		possible += key->variant >= CPU_REGISTERS || loop->map[key->variant] != HOST_NONE;
	}
	if (possible < loop->key_count)
		needs_scratch = true;
	room = free_registers(loop, used);
	if (possible > room + 2)
		needs_scratch = true;
	for (unsigned n = 0; n < possible; n++) {
		uint8_t host = borrow(loop, used);

		if (host == HOST_NONE && needs_scratch)
			break;
		if (host == HOST_NONE)
			host = n == room ? HOST_R13 : HOST_R14;
		best_key(loop)->host = host;
	}
	return true;
}

bool loop_find(struct loop *loop, const struct jit_item *items, unsigned count, unsigned start)
{
	struct values values, before[JIT_BLOCK_INSNS];
	struct span spans[JIT_BLOCK_INSNS];
	uint8_t key[JIT_BLOCK_INSNS];
	unsigned hoisted = 0, others = 0;
	bool needs_scratch = false;
	uint16_t used = 0;

	*loop = (struct loop){ .end = loop_end(items, count, start) };
	/* The counter needs flags. */
	if (!loop->end || flags_needed(&items[0]))
		return false;
	values_begin(&values);
	for (unsigned i = 0; i < loop->end; i++) {
		if (!fits(&items[i], i == loop->end - 1))
			return false;
		before[i] = values;
		spans[i] = item_span(&items[i], &values);
		values_step(&values, &items[i]);
		used |= item_registers(&items[i]);
		loop->written |= item_registers_written(&items[i]);
		loop->vector_levels |= item_vector_levels(&items[i]);
		needs_scratch |= items[i].kind == ITEM_DIVIDE;
	}
	for (unsigned i = 0; i < loop->end; i++) {
		key[i] = find_key(loop, &spans[i], &before[i], &values);
		needs_scratch |= item_has_access(&items[i]) &&
				 (key[i] == LOOP_KEYS_MAX || item_is_update(&items[i]));
	}
	if (!allocate(loop, used, needs_scratch))
		return false;
	for (unsigned i = 0; i < loop->end; i++) {
		const struct loop_key *found = &loop->keys[key[i]];

		loop->places[i].base = HOST_NONE;
		if (!item_has_access(&items[i]))
			continue;
		if (key[i] == LOOP_KEYS_MAX || found->host == HOST_NONE) {
			/* Its lookup would have to keep them, or make them again. */
			if (flags_needed(&items[i]))
				return false;
			others++;
			continue;
		}
		hoisted++;
		loop->places[i] = (struct host_memory){
			.base = found->host, .index = HOST_NONE,
			.displacement = spans[i].offset - found->range.low,
		};
		if (found->variant < CPU_REGISTERS) {
			loop->places[i].index = loop->map[found->variant];
			loop->places[i].shift = found->shift;
			loop->places[i].displacement -=
				before[i].reg[found->variant].offset * (1 << found->shift);
		}
	}
	return hoisted >= others;
}

/* -- emission -- */

/* An instruction that would access the range's lowest byte in the first iteration. */
static void make_model(struct jit_item *model, const struct loop_key *key)
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
			.displacement = key->range.low,
		},
	};
}

/*
 * With the host address of the range's lowest byte in `host`: lower the counter to the number of
 * iterations until the range leaves the page.
 */
static void emit_limit(struct translation *t, const struct loop_key *key, unsigned host)
{
	int32_t size = key->range.high - key->range.low;
	uint32_t stride = key->stride < 0 ? -key->stride : key->stride;
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
	emit_minimum_flags(e, t->loop.counter, HOST_R13);
}

/* Look a key up; its register becomes what the operand's variable part is added to. */
static void emit_key(struct translation *t, unsigned number)
{
	const struct loop_key *key = &t->loop.keys[number];
	struct jit_item *model = &t->jit->items[SLOW_LOOP + number];
	/* These are scratch until all is done. */
	bool is_late = key->host == HOST_R13 || key->host == HOST_R14;
	unsigned host = is_late ? HOST_R14 : key->host;
	struct emitter *e = &t->e;
	struct host_memory low;

	make_model(model, key);
	if (key->range.alignment > 1) {
		emit_address(t, model, HOST_R13, false);
		emit_test_immediate_flags(e, HOST_R13, key->range.alignment - 1);
		emit_slow_jump(t, emit_jump_if(e, 0x5), SLOW_LOOP + number); /* not zero */
	}
	low = emit_operand_access(t, SLOW_LOOP + number, key->range.high - key->range.low,
				  key->range.is_write, false);
	emit_lea(e, true, host, low.base, low.index, 0, low.displacement);
	if (key->stride)
		emit_limit(t, key, host);
	if (key->variant < CPU_REGISTERS) {
		emit_move(e, HOST_R13, t->loop.map[key->variant]);
		if (key->shift)
			emit_shift_left_flags(e, HOST_R13, key->shift);
		emit_registers_flags(e, true, 0x29, host, HOST_R13); /* sub */
	}
	if (is_late)
		emit_store_state(e, host, STATE(fast.loop_spill) + 8 * (key->host == HOST_R14));
}

static void emit_preheader(struct translation *t)
{
	const struct loop *loop = &t->loop;
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
	emit_constant(e, loop->counter, ITERATIONS_MAX);
	for (unsigned n = 0; n < loop->key_count; n++)
		if (loop->keys[n].host != HOST_NONE)
			emit_key(t, n);
	for (unsigned n = 0; n < loop->key_count; n++)
		if (loop->keys[n].host == HOST_R13 || loop->keys[n].host == HOST_R14)
			emit_load_state(e, loop->keys[n].host,
					STATE(fast.loop_spill) +
						8 * (loop->keys[n].host == HOST_R14));
}

void emit_loop(struct translation *t)
{
	const struct loop *loop = &t->loop;
	const struct jit_item *last = &t->jit->items[loop->end - 1];
	struct emitter *e = &t->e;
	size_t top;

	t->map = loop->map;
	emit_preheader(t);
	t->places = loop->places;
	t->slow_offset = SLOW_LEAVE;
	top = e->position;
	for (unsigned i = 0; i < loop->end - 1; i++) {
		const struct jit_item *item = &t->jit->items[i];

		if (item->kind == ITEM_JUMP_IF)
			emit_slow_jump(t, emit_jump_if(e, item->instruction.opcode & 0xf),
				       SLOW_TAKEN + i);
		else
			emit_item(t, i);
	}
	if (last->kind == ITEM_JUMP_IF)
		emit_slow_jump(t, emit_jump_if(e, (last->instruction.opcode & 0xf) ^ 1),
			       SLOW_LEAVE + loop->end);
	if (!t->jit->lockstep) {
		emit_count_down_flags(e, loop->counter);
		emit_patch_to(e, emit_jump_if(e, 0x5), top); /* not zero */
	}
	emit_slow_jump(t, emit_jump(e),
		       (last->kind == ITEM_JUMP_IF ? SLOW_TAKEN : SLOW_LEAVE) + loop->end - 1);
	/* While registers are where they are, for once. */
	emit_slot_misses(t);
	t->flags_lost = false;
	t->map = host_registers;
	t->places = NULL;
	t->slow_offset = 0;
	t->progress = (struct progress){ 0 };
}

/* Give the registers back. Flags survive. */
static void emit_restore(struct translation *t)
{
	const struct loop *loop = &t->loop;

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
		emit_patch(&t->e, t->slow[i].at);
		any = true;
	}
	return any;
}

void emit_loop_exits(struct translation *t)
{
	for (unsigned i = 0; i <= t->loop.end; i++) {
		bool any = patch_slow(t, SLOW_LEAVE + i, SLOW_LEAVE + i + 1);

		/* A lookup of the preheader has missed. */
		if (i == 0)
			any |= patch_slow(t, SLOW_LOOP, SLOW_LEAVE);
		if (any) {
			emit_restore(t);
			emit_patch_to(&t->e, emit_jump(&t->e), t->entry_position[i]);
		}
		if (patch_slow(t, SLOW_TAKEN + i, SLOW_TAKEN + i + 1)) {
			emit_restore(t);
			emit_side_jump(t, emit_jump(&t->e), i);
		}
	}
}
