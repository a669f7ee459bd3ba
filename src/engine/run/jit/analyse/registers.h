/* Where guest registers are in translated code, and where host code finds memory. */
#ifndef KVIK_ENGINE_RUN_JIT_ANALYSE_REGISTERS_H
#define KVIK_ENGINE_RUN_JIT_ANALYSE_REGISTERS_H

#include <stdint.h>

#include "engine/x86/cpu.h"
#include "engine/x86/host/registers.h"

/* A memory operand of host code: [base + (index << shift) + displacement]. */
struct host_memory {
	uint8_t base, index; /* index HOST_NONE: none */
	int32_t displacement;
	uint8_t shift;
};

/* Where a guest register lives: a host register, or HOST_NONE for its home in struct cpu. */
static inline uint8_t host_register(unsigned guest)
{
	return guest == CPU_RSP ? HOST_R15 : guest < HOST_R13 ? guest : HOST_NONE;
}

/* How many of a set of guest registers live in struct cpu. */
static inline unsigned guest_home_count(uint16_t registers)
{
	return (registers >> 13 & 1) + (registers >> 14 & 1) + (registers >> 15 & 1);
}

#endif
