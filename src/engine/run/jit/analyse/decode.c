#include "engine/run/jit/analyse/guest_code.h"

#include <errno.h>

#include "engine/run/jit/mode.h"
#include "engine/run/tier/tier.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/system.h"

/* The instruction that begins with the last `size` bytes of the page, executed by looking at what
 * follows them each time. */
static void crossing_item(struct jit_item *item, unsigned size, bool keeps_all_flags)
{
	insn_make_bad(&item->insn, &item->form, tier_execute_elsewhere, size);
	item->insn.traits |= INSN_UNMASKS;
	item->kind = ITEM_FALLBACK;
	item->locks = false;
	flags_of(item, keeps_all_flags);
}

/* A direct jump to an address that is not canonical is #GP, and a call before it has pushed: the
 * interpreter's business. */
static bool leads_out_of_canonical(const struct guest_code *code, const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_JUMP:
	case ITEM_JUMP_IF:
	case ITEM_JUMP_COUNT:
	case ITEM_CALL:
		return !code->is_32 &&
		       !cpu_is_canonical(code->page_gva + (uint64_t)item_target(item));
	default:
		return false;
	}
}

/* Take an instruction as the last tier has it, but for handlers that leave dead flags alone. */
static void take_decoded(struct jit_item *item, const struct tier_decoded *decoded, unsigned number)
{
	item->insn = decoded->insns[number];
	item->form = decoded->forms[number];
	if (!(item->insn.traits & INSN_FLAGLESS))
		return;
	item->insn.execute = item->form.other;
	item->insn.traits &= ~(uint32_t)INSN_FLAGLESS;
}

/* The runs that the last tier has decoded, one after the other; what it never got to is decoded here. */
struct item_reader {
	struct tier_decoded decoded;
	unsigned next; /* in it */
};

/* 0; -ENOENT where the block ends for want of a guide; or as insn_decode. */
static int read_item(struct item_reader *reader, struct guest_code *code, struct jit_item *item)
{
	unsigned available = 0x1000 - item->offset;

	if (reader->next == reader->decoded.count) {
		reader->next = 0;
		if (!tier_find_decoded(code->cpu, code->page_gpa + item->offset, item->bytes,
				       available, &reader->decoded))
			reader->decoded.count = 0;
	}
	if (item == code->items)
		code->is_guided = code->is_lean && reader->decoded.count;
	if (!reader->decoded.count && code->is_guided) {
		code->ends_unguided = true;
		return -ENOENT;
	}
	if (!reader->decoded.count)
		return insn_decode_form(&item->insn, &item->form, item->bytes, available, code->mode,
					code->rules);
	take_decoded(item, &reader->decoded, reader->next++);
	return 0;
}

static enum item_kind kind_of(const struct guest_code *code, const struct jit_item *item)
{
	enum item_kind kind = item_classify(item, code->is_user);

	/* Each engine would read another time. */
	if (code->is_one_pass && (kind == ITEM_RDTSC || kind == ITEM_RDTSCP))
		return ITEM_FALLBACK;
	return kind;
}

static struct jit_item *begin_item(struct guest_code *code, unsigned number, unsigned offset)
{
	struct jit_item *item = &code->items[number];

	item->offset = offset;
	item->bytes = code->page + offset;
	item->vector_levels = item->segments = 0;
	return item;
}

static void finish_item(struct guest_code *code, struct jit_item *item)
{
	item->kind = kind_of(code, item);
	if (leads_out_of_canonical(code, item))
		item->kind = ITEM_FALLBACK;
	item->locks = item_locks(item, code->is_alone);
	flags_of(item, code->keeps_all_flags);
}

/*
 * An instruction at this offset reaches into the next page. It is a block of its own: what is before it
 * must not depend on that page. How many items there are then.
 */
static unsigned decode_crossing(struct guest_code *code, unsigned count, unsigned offset)
{
	unsigned size = 0x1000 - offset;
	struct jit_item *item;

	if (count && !code->is_one_pass)
		return count;
	if (!count && code->crossing == CROSSING_LATER)
		return 0;
	item = begin_item(code, count, offset);
	crossing_item(item, size, code->keeps_all_flags);
	if (code->crossing != CROSSING_KNOWN)
		return count + 1;
	item = begin_item(code, 1, offset);
	if (insn_decode_form(&item->insn, &item->form, item->bytes, size + GUEST_CODE_BEHIND, code->mode,
			     code->rules) < 0)
		return 1;
	finish_item(code, item);
	code->items[0].kind = ITEM_NEXT_PAGE;
	return 2;
}

static unsigned decode_items(struct guest_code *code)
{
	struct item_reader reader = { .next = 0 };
	unsigned count = 0, offset = code->start;

	while (count < code->limit && offset < 0x1000) {
		struct jit_item *item = begin_item(code, count, offset);
		int result = read_item(&reader, code, item);

		if (result == -ENODATA)
			return decode_crossing(code, count, offset);
		if (result < 0 || !guest_code_knows(code, offset, item->insn.length))
			break;
		finish_item(code, item);
		count++;
		offset += item->insn.length;
		if (item_ends_block(item))
			break;
	}
	return count;
}

bool guest_code_decode(struct guest_code *code)
{
	unsigned count;

	code->is_32 = !jit_mode_is_64(code->mode);
	code->is_user = code->mode & JIT_MODE_USER;
	code->width = code->is_32 ? 4 : 8;
	count = decode_items(code);
	if (!count)
		return false;
	guest_code_cut(code, count);
	return true;
}
