#include "engine/run/jit/emit/region.h"

/* An instruction that would access the range's lowest byte, as far as access.c looks at it. */
static void make_model(struct jit_item *model, const struct jit_item *items,
		       const struct region *region)
{
	const struct jit_item *first = &items[region->first];
	bool is_stack = first->kind != ITEM_COPY;

	*model = (struct jit_item){
		.kind = ITEM_COPY,
		.insn = {
			.base = region->base, .index = region->index, .address_size = 8,
			.scale = is_stack ? 0 : first->insn.scale,
			.segment = is_stack ? CPU_SS : first->insn.segment,
			.displacement = region->displacement,
		},
	};
}

void emit_region_check(struct translation *t, const struct region *region, unsigned slow)
{
	struct jit_item *model = &t->guest.items[slow];
	struct emitter *e = &t->e;
	struct host_memory low;

	make_model(model, t->guest.items, region);
	if (region->range.alignment > 1) {
		emit_address(t, model);
		flags_stay(t, slow); /* they do not */
		emit_test_immediate_flags(e, HOST_R13, region->range.alignment - 1);
		emit_slow_jump(t, emit_jump_if(e, HOST_NOT_EQUAL), slow);
	}
	low = emit_operand_access(t, slow, region->range.high - region->range.low,
				  region->range.is_write, false);
	emit_lea(e, true, HOST_R13, low.base, low.index, 0,
		 low.displacement + region_pointer_offset(region));
}

void emit_region(struct translation *t, unsigned number)
{
	const struct region *region = &t->plan.regions[number];
	struct region_state *state = &t->region_states[number];
	unsigned slow = SLOW_REGION + number;

	state->before = t->progress;
	t->item_place[region->start] = emit_here(&t->e);
	emit_flags_save(t, region->start);
	for (unsigned level = JIT_VECTOR_LEVELS; level-- > 0;)
		if (region->vector_levels >> level & 1)
			emit_vector_check(t, slow, level);
	emit_region_check(t, region, slow);
	state->flags_lost = t->flags_lost;
	t->places = t->plan.places;
	t->scratch[0] = HOST_R14;
	t->scratch_count = 1;
	homes_forget(t);
	for (unsigned i = region->start; i < region->end; i++) {
		if (i > region->start)
			t->item_place[i] = emit_here(&t->e);
		emit_item(t, i);
	}
	state->flags_lost_behind = t->flags_lost;
	t->places = NULL;
	t->scratch[0] = HOST_R13;
	t->scratch_count = 2;
	homes_forget(t);
}

void emit_region_cold(struct translation *t, unsigned number)
{
	const struct region *region = &t->plan.regions[number];
	const struct region_state *state = &t->region_states[number];

	for (unsigned i = 0; i < t->slow_count; i++)
		if (t->slow[i].item == SLOW_REGION + number)
			emit_bind(&t->e, t->slow[i].jump);
	t->progress = state->before;
	t->flags_lost = state->flags_lost;
	homes_forget(t);
	for (unsigned i = region->start; i < region->end; i++) {
		emit_item(t, i);
		t->resume_place[i] = emit_here(&t->e);
	}
	if (!state->flags_lost_behind)
		emit_flags(t, region->end, 0, HOST_R13);
	emit_jump_back(&t->e, t->item_place[region->end]);
}
