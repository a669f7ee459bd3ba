#include "engine/run/jit/plan/loop.h"

#include <string.h>

#define RANGE_MAX      1024 /* bytes that one access and its neighbours may cover */
#define STRIDE_MAX     512  /* bytes in each iteration: more leaves a page too soon */
#define OFFSET_MAX     (1 << 20) /* bytes that a register may be away from where it began */

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
		return !item->form.is_x87;
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

/*
 * Share out the registers; `needs_scratch`: R13 and R14 are not among them. R14 goes first, as the key
 * that is looked up last finds it there without being borrowed.
 */
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
		uint8_t host = n == 0 && !needs_scratch ? HOST_R14 : borrow(loop, used);

		if (host == HOST_NONE && needs_scratch)
			break;
		best_key(loop)->host = host == HOST_NONE ? HOST_R13 : host;
	}
	return true;
}

/* Where the accesses of a key are that has a register. */
static struct host_memory place_of(const struct loop *loop, const struct loop_key *key,
				   const struct span *span, const struct values *before)
{
	struct host_memory place = {
		.base = key->host, .index = HOST_NONE, .displacement = span->offset - key->range.low,
	};

	if (key->variant < CPU_REGISTERS) {
		place.index = loop->map[key->variant];
		place.shift = key->shift;
		place.displacement -= before->reg[key->variant].offset * (1 << key->shift);
	}
	return place;
}

/* Regions of what is not hoisted, where flags are dead; the rest keeps their places to the end. */
static void find_regions(struct loop *loop, const struct jit_item *items)
{
	struct region found[LOOP_REGIONS_MAX];
	struct host_memory places[JIT_BLOCK_INSNS];
	unsigned count;

	memcpy(places, loop->places, sizeof(places));
	count = regions_find(items, 0, loop->end, found, LOOP_REGIONS_MAX, places);
	for (unsigned n = 0; n < count; n++) {
		const struct region *region = &found[n];

		if (flags_needed(&items[region->start]))
			continue;
		loop->regions[loop->region_count++] = *region;
		for (unsigned i = region->start; i < region->end; i++)
			loop->places[i] = places[i];
	}
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
		used |= items[i].form.gpr_named;
		loop->written |= items[i].form.gpr_written;
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
		if (!item_has_access(&items[i]) || key[i] == LOOP_KEYS_MAX ||
		    found->host == HOST_NONE)
			continue;
		loop->places[i] = place_of(loop, found, &spans[i], &before[i]);
		hoisted++;
	}
	find_regions(loop, items);
	for (unsigned i = 0; i < loop->end; i++) {
		if (!item_has_access(&items[i]) || loop->places[i].base != HOST_NONE)
			continue;
		/* Its lookup would have to keep them, or make them again. */
		if (flags_needed(&items[i]))
			return false;
		others++;
	}
	return hoisted >= others + loop->region_count;
}
