/*
 * Items as the translator sees them before it emits, from the bytes of a run of instructions: for
 * tests of what it decides then. Included by each of them.
 */
#ifndef KVIK_TESTS_UNIT_JIT_ITEMS_H
#define KVIK_TESTS_UNIT_JIT_ITEMS_H

#include <stdint.h>
#include <string.h>

#include "engine/run/jit/analyse/guest_code.h"
#include "engine/x86/decode/decode.h"

#define ITEMS_MODE                                                                                 \
	(CPU_MODE_CODE64 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_LONG | CPU_MODE_FLAT)

/* Decode `size` bytes that lie `start` bytes from their page's start; the flags behind the last
 * instruction are nobody's. How many there are. */
static unsigned items_decode(struct jit_item items[JIT_BLOCK_INSNS], const char *code, unsigned size,
			     unsigned start)
{
	const uint8_t *bytes = (const uint8_t *)code;
	uint16_t live = 0;
	unsigned count = 0;

	memset(items, 0, JIT_BLOCK_INSNS * sizeof(*items));
	for (unsigned at = 0; at < size; at += items[count++].insn.length) {
		struct jit_item *item = &items[count];

		assert_int_equal(insn_decode_form(&item->insn, &item->form, bytes + at, size - at,
						  ITEMS_MODE, &insn_host_rules),
				 0);
		item->offset = start + at;
		item->bytes = bytes + at;
		item->kind = item_classify(item, true);
		flags_of(item, false);
	}
	for (unsigned i = count; i-- > 0;) {
		items[i].live_after = live;
		live = (live & ~items[i].flags_killed) | items[i].flags_read;
	}
	return count;
}

#endif
