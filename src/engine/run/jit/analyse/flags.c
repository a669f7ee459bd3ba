/*
 * Which arithmetic flags are read after each instruction of a block (SDM vol. 1 appendix A): where
 * none is, the code around a memory access may destroy them.
 */
#include "engine/run/jit/analyse/guest_code.h"
#include "engine/run/jit/analyse/values.h"
#include "engine/run/tier/tier.h"
#include "engine/x86/decode/decode.h"

static void effects(struct jit_item *item)
{
	if (item->kind == ITEM_FALLBACK) {
		/* The handler may push them, or unwind with them. */
		item->flags_read = FLAGS_ARITHMETIC;
		item->flags_killed = 0;
		return;
	}
	/* Divisions leave the flags undefined, which is not to say that they change them. */
	if (item->kind == ITEM_DIVIDE) {
		item->flags_read = item->flags_killed = 0;
		return;
	}
	item->flags_read = item->insn.flags_read;
	/* A count of 0 leaves the flags alone; an immediate 0 is too rare to look for. */
	item->flags_killed = item->insn.traits & INSN_SHIFTS || item->kind == ITEM_STRING
				     ? 0
				     : item->insn.flags_written;
}

void flags_of(struct jit_item *item, bool keeps_all)
{
	effects(item);
	if (keeps_all && item_has_access(item))
		item->flags_read = FLAGS_ARITHMETIC;
}

/* Instructions in a row, from the run that the last tier has decoded there, if it has one. Where it has
 * none, or that ends, the bytes are looked at: what comes behind seldom begins a run either. */
struct look_ahead {
	struct tier_decoded decoded;
	unsigned next; /* in it */
};

static void look_ahead_from(struct look_ahead *ahead, const struct guest_code *code, unsigned offset)
{
	ahead->next = 0;
	if (!tier_find_decoded(code->cpu, code->page_gpa + offset, code->page + offset, 0x1000 - offset,
			       &ahead->decoded))
		ahead->decoded.count = 0;
}

/* The next instruction, at this offset in the page. False: it cannot be decoded, is undefined, or cold. */
static bool glance_at(struct look_ahead *ahead, const struct guest_code *code, unsigned offset,
		      struct insn_glance *glance)
{
	const struct insn *insn;

	if (ahead->next == ahead->decoded.count)
		return !code->is_guided &&
		       insn_glance(glance, code->page + offset, 0x1000 - offset, code->mode,
				   code->rules);
	insn = &ahead->decoded.insns[ahead->next++];
	*glance = (struct insn_glance){
		.traits = insn->traits, .flags_read = insn->flags_read,
		.flags_written = insn->flags_written, .length = insn->length,
	};
	return true;
}

/* The instruction there is not seen. What decided that is looked at, too, as far as it is known: of the same bytes
 * the same translation is made. */
static void look_in_vain(struct guest_code *code, unsigned offset)
{
	unsigned size = 0;

	while (size < INSN_LENGTH_MAX && offset + size < 0x1000 && guest_code_knows(code, offset + size, 1))
		size++;
	if (size)
		guest_code_look(code, offset, size);
}

/*
 * The flags that may be read by the code at an offset in the page: a few instructions' look-ahead.
 * Everything is taken as read that is not seen to be overwritten.
 */
static uint16_t flags_live_at(struct guest_code *code, unsigned offset)
{
	uint16_t undecided = FLAGS_ARITHMETIC;
	struct look_ahead ahead;

	look_ahead_from(&ahead, code, offset);
	for (unsigned i = 0; i < 6 && offset < 0x1000; i++) {
		struct insn_glance glance;

		if (!glance_at(&ahead, code, offset, &glance) ||
		    !guest_code_knows(code, offset, glance.length)) {
			if (!code->is_guided)
				look_in_vain(code, offset);
			break;
		}
		guest_code_look(code, offset, glance.length);
		if (!(glance.traits & INSN_PLAIN) || glance.flags_read & undecided)
			break;
		undecided &= ~glance.flags_written;
		if (!undecided)
			return 0;
		offset += glance.length;
	}
	return undecided;
}

/* What is read at a direct jump's target, when its bytes are in this page. */
static uint16_t flags_live_at_target(struct guest_code *code, int64_t target)
{
	if (target < 0 || target > 0xfff)
		return FLAGS_ARITHMETIC;
	return flags_live_at(code, (unsigned)target);
}

int64_t item_target(const struct jit_item *item)
{
	return item->offset + item->insn.length + item->insn.immediate;
}

bool item_jumps_to(const struct jit_item *item, unsigned offset)
{
	return (item->kind == ITEM_JUMP || item->kind == ITEM_JUMP_IF) &&
	       item_target(item) == (int64_t)offset;
}

void flags_liveness(struct guest_code *code)
{
	struct jit_item *last = &code->items[code->count - 1];
	uint16_t live = FLAGS_ARITHMETIC;

	/* Where there is no guide there is nothing to look at either. */
	if (!item_ends_block(last) && last->kind != ITEM_FALLBACK && !code->ends_unguided)
		live = flags_live_at_target(code, last->offset + last->insn.length);
	for (unsigned i = code->count; i-- > 0;) {
		struct jit_item *item = &code->items[i];

		/* What sets a condition stands next to it, mostly: in lean code it is not worth a look. */
		if (item_is_conditional(item)) {
			item->live_taken = code->is_lean ? FLAGS_ARITHMETIC
							 : flags_live_at_target(code, item_target(item));
			live |= item->live_taken;
		} else if (item->kind == ITEM_JUMP || item->kind == ITEM_CALL) {
			live = flags_live_at_target(code, item_target(item));
		}
		item->live_after = live;
		live = (live & ~item->flags_killed) | item->flags_read;
	}
}

uint16_t flags_needed(const struct jit_item *item)
{
	return (item->live_after & ~item->flags_killed) | item->flags_read;
}
