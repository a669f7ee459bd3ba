#include "engine/run/jit/analyse/guest_code.h"

#include "engine/run/jit/mode.h"
#include "engine/x86/decode/decode.h"
#include "engine/run/tier/tier.h"
#include "engine/x86/system.h"

/* The instruction that begins with the last `size` bytes of the page ends the block: what follows
 * them is looked at each time. */
static void crossing_item(struct jit_item *item, unsigned size, bool keeps_all_flags)
{
	item->instruction = (ZydisDecodedInstruction){ .length = size };
	item->insn = (struct insn){ .execute = tier_execute_elsewhere, .length = size, .ends_block = 1 };
	item->kind = ITEM_FALLBACK;
	item->changes_vector = true;
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
	case ITEM_CALL:
		return !code->is_32 &&
		       !cpu_is_canonical(code->page_gva + (uint64_t)item_target(item));
	default:
		return false;
	}
}

static unsigned decode_items(struct guest_code *code)
{
	const ZydisDecoder *decoder = insn_decoder(code->mode, code->rules);
	unsigned count = 0, offset = code->start;
	struct insn_effects effects;

	while (count < JIT_BLOCK_INSNS && offset < 0x1000) {
		struct jit_item *item = &code->items[count];
		ZyanStatus status = ZydisDecoderDecodeFull(decoder, code->page + offset,
							   0x1000 - offset, &item->instruction,
							   item->operands);

		item->offset = offset;
		item->bytes = code->page + offset;
		item->info = (struct reencode_info){0};
		item->vector_levels = item->segments = 0;
		if (status == ZYDIS_STATUS_NO_MORE_DATA) {
			crossing_item(item, 0x1000 - offset, code->keeps_all_flags);
			return count + 1;
		}
		if (!ZYAN_SUCCESS(status))
			break;
		insn_describe(&item->insn,
		              &(struct decoded){&item->instruction, item->operands, item->bytes,
		                                code->mode, code->rules},
		              &effects);
		item->kind = item_classify(item, code->is_user);
		if (item->insn.execute == insn_undefined)
			item->kind = ITEM_FALLBACK;
		if (leads_out_of_canonical(code, item))
			item->kind = ITEM_FALLBACK;
		/* Each engine would read another time. */
		if (code->is_one_pass && (item->kind == ITEM_RDTSC || item->kind == ITEM_RDTSCP))
			item->kind = ITEM_FALLBACK;
		item->changes_vector = item_changes_vector(item);
		item->locks = item_locks(item, code->is_alone);
		flags_of(item, code->keeps_all_flags);
		count++;
		offset += item->instruction.length;
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
