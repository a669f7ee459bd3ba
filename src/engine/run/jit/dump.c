/*
 * A readable dump of translated blocks: each guest instruction, and under it the host's. For whoever
 * debugs the translator.
 */
#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/run/jit/emit/translation.h"
#include "engine/run/jit/internal.h"
#include "engine/x86/decode/decode.h"

#define LINE_SIZE 160

static void disassemble(int dump_fd, const ZydisFormatter *formatter, const ZydisDecoder *decoder,
			const uint8_t *bytes, size_t size, uint64_t address, const char *indent)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction instruction;
	char text[LINE_SIZE];

	for (size_t at = 0; at < size; at += instruction.length) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, bytes + at, size - at,
							 &instruction, operands)) ||
		    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
			    formatter, &instruction, operands, instruction.operand_count_visible,
			    text, sizeof(text), address + at, NULL))) {
			dprintf(dump_fd, "%s%016" PRIx64 "  (bad)\n", indent, address + at);
			return;
		}
		dprintf(dump_fd, "%s%016" PRIx64 "  %s\n", indent, address + at, text);
	}
}

void jit_dump_block(const struct jit *jit, const struct translation *t)
{
	const ZydisDecoder *host = insn_decoder(CPU_MODE_CODE64, &insn_host_rules);
	const ZydisDecoder *guest = insn_decoder(t->guest.mode, t->guest.rules);
	const struct emitter *e = &t->e;
	int dump_fd = jit->cache->options.dump_fd;
	uint64_t page = jit->cpu->rip & ~(uint64_t)0xfff; /* this time */
	ZydisFormatter formatter;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	dprintf(dump_fd, "block %016" PRIx64 ": %u guest instructions, %zu bytes of host code\n",
		jit->cpu->rip, t->guest.count, e->position);
	for (unsigned i = 0; i < t->guest.count; i++) {
		const struct jit_item *item = &t->items[i];
		size_t from = t->item_place[i].at;

		disassemble(dump_fd, &formatter, guest, item->bytes, item->insn.length,
			    page + item->offset, "");
		disassemble(dump_fd, &formatter, host, e->code + from, t->item_place[i + 1].at - from,
			    (uintptr_t)e->code + from, "    ");
	}
	dprintf(dump_fd, "  side exits, slow paths, links\n");
	disassemble(dump_fd, &formatter, host, e->code + t->item_place[t->guest.count].at,
		    e->position - t->item_place[t->guest.count].at,
		    (uintptr_t)e->code + t->item_place[t->guest.count].at, "    ");
}
