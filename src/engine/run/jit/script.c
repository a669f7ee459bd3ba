/*
 * What is kept of a block for whoever watches it: watch.h.
 */
#include <stdlib.h>

#include "engine/run/jit/analyse/item.h"
#include "engine/run/jit/internal.h"
#include "engine/x86/decode/decode.h"

_Static_assert(JIT_BLOCK_INSNS <= JIT_SCRIPT_STEPS, "scripts hold all of a block");

struct jit_script *jit_script_create(const struct jit_item *items, unsigned count)
{
	struct jit_script *script;
	uint16_t undefined = 0;
	unsigned used = 0;

	while (used < count && items[used].kind != ITEM_FALLBACK)
		used++;
	if (!used)
		return NULL;
	script = calloc(1, sizeof(*script) + used * sizeof(script->steps[0]));
	if (!script)
		return NULL;
	script->count = used;
	script->ends_in_fallback = used < count;
	for (unsigned i = 0; i < used; i++) {
		const struct jit_item *item = &items[i];

		script->steps[i].insn = item->insn;
		script->has_vectors |= item->vector_levels != 0;
		undefined &= ~item->insn.flags_written;
		undefined |= item->form.flags_undefined;
		/* Where a jump goes nobody may need what is needed behind it. */
		script->steps[i].flags = (item_is_conditional(item) ? item->live_taken : item->live_after) &
					 ~undefined & FLAGS_ARITHMETIC;
	}
	return script;
}

void jit_watch(struct cpu *cpu, struct jit_watcher *watcher)
{
	jit_of(cpu)->watcher = watcher;
}
