#include "engine/run/jit/analyse/guest_code.h"

void guest_code_look(struct guest_code *code, unsigned offset, unsigned size)
{
	for (unsigned granule = offset / 64; granule <= (offset + size - 1) / 64 && granule < 64; granule++)
		code->granules |= 1ull << granule;
}

void guest_code_cut(struct guest_code *code, unsigned count)
{
	const struct jit_item *last = &code->items[count - 1];

	code->count = count;
	code->size = last->offset + last->insn.length - code->start;
}
