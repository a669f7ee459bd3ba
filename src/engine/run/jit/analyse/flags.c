/*
 * Which arithmetic flags are read after each instruction of a block (SDM vol. 1 appendix A): where
 * none is, the code around a memory access may destroy them.
 */
#include "engine/run/jit/analyse/guest_code.h"
#include "engine/run/jit/analyse/values.h"
#include "engine/x86/decode/decode.h"

static void effects(struct jit_item *item)
{
	const ZydisAccessedFlags *flags = item->instruction.cpu_flags;

	if (item->kind == ITEM_FALLBACK) {
		/* The handler may push them, or unwind with them. */
		item->flags_read = FLAGS_ARITHMETIC;
		item->flags_killed = 0;
		return;
	}
	/* Divisions leave the flags undefined, which is not to say that they change them. */
	if (item->kind == ITEM_DIVIDE || !flags) {
		item->flags_read = item->flags_killed = 0;
		return;
	}
	item->flags_read = flags->tested & FLAGS_ARITHMETIC;
	item->flags_killed =
		item_is_variable_shift(item)
			? 0
			: (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) &
				  FLAGS_ARITHMETIC;
}

void flags_of(struct jit_item *item, bool keeps_all)
{
	effects(item);
	if (keeps_all && item_has_access(item))
		item->flags_read = FLAGS_ARITHMETIC;
}

/*
 * The flags that may be read by the code at `bytes`: a few instructions' look-ahead. Everything is
 * taken as read that is not seen to be overwritten.
 */
static uint16_t flags_live_at(struct guest_code *code, const uint8_t *bytes, unsigned available)
{
	const ZydisDecoder *decoder = insn_decoder(code->mode, code->rules);
	uint16_t undecided = FLAGS_ARITHMETIC;

	for (unsigned i = 0; i < 6; i++) {
		ZydisDecodedInstruction instruction;
		const ZydisAccessedFlags *flags;
		uint16_t written;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, bytes,
								available, &instruction)))
			break;
		guest_code_look(code, 0x1000 - available, instruction.length);
		if (insn_is_hidden(&instruction, code->mode, code->rules))
			break;
		flags = instruction.cpu_flags;
		if (instruction.meta.category == ZYDIS_CATEGORY_NOP ||
		    instruction.meta.category == ZYDIS_CATEGORY_WIDENOP ||
		    instruction.meta.category == ZYDIS_CATEGORY_DATAXFER ||
		    instruction.meta.category == ZYDIS_CATEGORY_LOGICAL ||
		    instruction.meta.category == ZYDIS_CATEGORY_BINARY ||
		    instruction.meta.category == ZYDIS_CATEGORY_PUSH ||
		    instruction.meta.category == ZYDIS_CATEGORY_POP ||
		    instruction.meta.category == ZYDIS_CATEGORY_CONVERT ||
		    item_vector_level(&instruction) >= 0 ||
		    instruction.mnemonic == ZYDIS_MNEMONIC_LEA) {
			if (instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_POPF ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_POPFQ ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_PUSHF ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_PUSHFQ)
				break;
			if (flags) {
				if (flags->tested & undecided)
					break;
				written = flags->modified | flags->set_0 | flags->set_1 |
					  flags->undefined;
				undecided &= ~written;
				if (!undecided)
					return 0;
			}
		} else {
			break;
		}
		bytes += instruction.length;
		available -= instruction.length;
	}
	return undecided;
}

/* What is read at a direct jump's target, when its bytes are in this page. */
static uint16_t flags_live_at_target(struct guest_code *code, int64_t target)
{
	if (target < 0 || target > 0xfff)
		return FLAGS_ARITHMETIC;
	return flags_live_at(code, code->page + target, 0x1000 - target);
}

int64_t item_target(const struct jit_item *item)
{
	return item->offset + item->instruction.length + item->insn.immediate;
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

	if (!item_ends_block(last) && last->kind != ITEM_FALLBACK)
		live = flags_live_at_target(code, last->offset + last->instruction.length);
	for (unsigned i = code->count; i-- > 0;) {
		struct jit_item *item = &code->items[i];

		if (item->kind == ITEM_JUMP_IF)
			live |= flags_live_at_target(code, item_target(item));
		else if (item->kind == ITEM_JUMP || item->kind == ITEM_CALL)
			live = flags_live_at_target(code, item_target(item));
		item->live_after = live;
		live = (live & ~item->flags_killed) | item->flags_read;
	}
}

uint16_t flags_needed(const struct jit_item *item)
{
	return (item->live_after & ~item->flags_killed) | item->flags_read;
}
