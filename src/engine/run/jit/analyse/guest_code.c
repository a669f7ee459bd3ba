#include "engine/run/jit/analyse/guest_code.h"

/* The granules of the page that these bytes are in. */
static uint64_t granules_of(unsigned offset, unsigned size)
{
	unsigned last = (offset + size - 1) / 64;

	return UINT64_MAX << offset / 64 & UINT64_MAX >> (63 - (last > 63 ? 63 : last));
}

bool guest_code_knows(const struct guest_code *code, unsigned offset, unsigned size)
{
	return !(granules_of(offset, size) & ~code->known);
}

void guest_code_look(struct guest_code *code, unsigned offset, unsigned size)
{
	unsigned end = offset + size > 0x1000 ? 0x1000 : offset + size;
	struct guest_look *look = code->looks;

	code->granules |= granules_of(offset, size);
	for (unsigned i = 0; i < code->look_count && i < GUEST_CODE_LOOKS; i++, look++) {
		unsigned look_end = look->offset + look->size;

		if (offset > look_end || end < look->offset)
			continue;
		if (offset < look->offset)
			look->offset = offset;
		look->size = (end > look_end ? end : look_end) - look->offset;
		return;
	}
	if (code->look_count < GUEST_CODE_LOOKS)
		*look = (struct guest_look){ offset, end - offset };
	code->look_count++;
}

void guest_code_cut(struct guest_code *code, unsigned count)
{
	const struct jit_item *last = &code->items[count - 1];

	code->count = count;
	code->size = last->offset + last->insn.length - code->start;
}
