#include "engine/x86/system/system_call.h"

struct system_call_segments system_call_flat(uint16_t code_selector, unsigned cpl, bool is_64)
{
	return (struct system_call_segments){
		.code = {
			.limit = 0xffffffff, .selector = code_selector, .type = 11, .present = 1, .dpl = cpl,
			.db = !is_64, .s = 1, .l = is_64, .g = 1,
		},
		.stack = {
			.limit = 0xffffffff, .selector = code_selector + 8, .type = 3, .present = 1, .dpl = cpl,
			.db = 1, .s = 1, .g = 1,
		},
	};
}

struct system_call_segments system_call_entered(const struct cpu *cpu)
{
	return system_call_flat(cpu->star >> 32 & 0xfffc, 0, true);
}

/* SS comes 8 behind the selector that STAR holds, a 64-bit CS behind that. */
struct system_call_segments system_call_returned(const struct cpu *cpu, bool to_64)
{
	uint16_t selector = (cpu->star >> 48 & 0xfffc) | 3;
	struct system_call_segments segments = system_call_flat(selector, 3, to_64);

	if (to_64)
		segments.code.selector += 16;
	return segments;
}
