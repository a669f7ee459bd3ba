#include "engine/run/jit/plan/region.h"

#define RANGE_MAX 256 /* bytes that one check may cover */

/* Registers that an item needs besides those of the fixed map and its memory operand's. */
static unsigned scratch_needed(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;
	unsigned sources;

	switch (item->kind) {
	case ITEM_COPY:
		return guest_home_count(item->form.copy_read | item->form.copy_written);
	case ITEM_LEA:
		sources = (insn->base < CPU_REGISTERS && host_register(insn->base) == HOST_NONE) +
			  (insn->index < CPU_REGISTERS && host_register(insn->index) == HOST_NONE);
		return sources ? sources : host_register(insn->reg[0] / 8) == HOST_NONE;
	default:
		return 0;
	}
}

/* Whether the item can be in a region, its access aside. */
static bool fits(const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_COPY:
		if (item->form.is_x87)
			return false;
		return scratch_needed(item) <= 1;
	case ITEM_LEA:
		return scratch_needed(item) <= 1;
	case ITEM_NOTHING: case ITEM_JUMP_IF: case ITEM_PUSH: case ITEM_POP: case ITEM_LEAVE:
		return true;
	default:
		return false;
	}
}

/* A register that holds the symbol, or INSN_REGISTER_NONE. */
static unsigned register_with(const struct values *values, uint16_t symbol)
{
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (values->reg[i].symbol == symbol)
			return i;
	return INSN_REGISTER_NONE;
}

/* How the range's lowest byte can be addressed with these values. */
static bool locate(struct region *region, const struct span *span, const struct values *values)
{
	int64_t displacement = region->range.low;

	region->base = region->index = INSN_REGISTER_NONE;
	if (span->base == VALUE_RIP) {
		region->base = INSN_BASE_RIP;
		region->displacement = region->range.low;
		return true;
	}
	if (span->base != VALUE_NONE) {
		region->base = register_with(values, span->base);
		if (region->base == INSN_REGISTER_NONE)
			return false;
		displacement -= values->reg[region->base].offset;
	}
	if (span->index != VALUE_NONE) {
		region->index = register_with(values, span->index);
		if (region->index == INSN_REGISTER_NONE)
			return false;
		displacement -= (int64_t)values->reg[region->index].offset * (1 << span->shift);
	}
	region->displacement = displacement;
	return displacement == (int32_t)displacement;
}

/* What regions_find knows about the items. */
struct search {
	const struct jit_item *items;
	unsigned count;
	const struct host_memory *places;
	struct values before[JIT_BLOCK_INSNS];
	struct span spans[JIT_BLOCK_INSNS];
};

/* Whether the item has an access that nobody has seen to. */
static bool has_access(const struct search *search, unsigned i)
{
	return item_has_access(&search->items[i]) && search->places[i].base == HOST_NONE;
}

/* Whether the item ends a loop's body: what stands before it runs more often than what stands behind it. */
static bool ends_loop(const struct jit_item *item)
{
	return item->kind == ITEM_JUMP_IF && item_target(item) <= item->offset;
}

/* Move the start up to where flags are dead, but not into a loop. `first`: the lowest start that is free. */
static void move_up(struct region *region, const struct search *search, unsigned first,
		    const struct span *span)
{
	struct region moved = *region;

	while (flags_needed(&search->items[moved.start])) {
		const struct jit_item *previous;

		if (moved.start == first)
			return;
		previous = &search->items[--moved.start];
		if (has_access(search, moved.start) || !fits(previous) || ends_loop(previous) ||
		    !locate(&moved, span, &search->before[moved.start]))
			return;
		moved.vector_levels |= item_vector_levels(previous);
	}
	*region = moved;
}

/* The region of the access of item `i`; false when it's not worth one. `first`: see move_up. */
static bool region_at(struct region *region, const struct search *search, unsigned i, unsigned first)
{
	const struct jit_item *items = search->items;
	const struct span *span = &search->spans[i];
	unsigned members = 1;
	uint8_t levels;

	*region = (struct region){
		.start = i, .end = i + 1, .first = i, .range = range_of(span),
		.vector_levels = item_vector_levels(&items[i]),
	};
	levels = region->vector_levels;
	for (unsigned k = i + 1; k < search->count && fits(&items[k]); k++) {
		levels |= item_vector_levels(&items[k]);
		if (!has_access(search, k))
			continue;
		if (!span_same_base(span, &search->spans[k]) ||
		    !range_join(&region->range, &search->spans[k], RANGE_MAX))
			break;
		region->end = k + 1;
		region->vector_levels = levels;
		members++;
	}
	if (!locate(region, span, &search->before[i]))
		return false;
	move_up(region, search, first, span);
	/* The check for alignment has no form that keeps flags. */
	if (items[region->start].keeps_flags && region->range.alignment > 1)
		return false;
	return members > 1 || region->start < i;
}

/* Displacements are shortest with the pointer in the range's middle. */
int32_t region_pointer_offset(const struct region *region)
{
	return region->range.high - region->range.low > 128 ? 128 : 0;
}

unsigned regions_find(const struct jit_item *items, unsigned from, unsigned count,
		      struct region *regions, unsigned max, struct host_memory *places)
{
	struct search search = { .items = items, .count = count, .places = places };
	unsigned found = 0, first = from;
	struct values values;

	values_begin(&values);
	for (unsigned i = from; i < count; i++) {
		search.before[i] = values;
		search.spans[i] = item_span(&items[i], &values);
		values_step(&values, &items[i]);
	}
	for (unsigned i = from; i < count && found < max; i++) {
		struct region *region = &regions[found];

		if (!search.spans[i].is_known || !has_access(&search, i) || !fits(&items[i]) ||
		    !region_at(region, &search, i, first))
			continue;
		for (unsigned k = i; k < region->end; k++)
			if (has_access(&search, k))
				places[k] = (struct host_memory){
					.base = HOST_R13, .index = HOST_NONE,
					.displacement = search.spans[k].offset - region->range.low -
							region_pointer_offset(region),
				};
		first = region->end;
		i = region->end - 1;
		found++;
	}
	return found;
}
