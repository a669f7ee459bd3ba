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

/* Guest registers that live in struct cpu, as bits, and those that do not live in host registers of their
 * own numbers. */
#define GUEST_HOMES (1u << CPU_R13 | 1u << CPU_R14 | 1u << CPU_R15)
#define GUEST_MOVED (GUEST_HOMES | 1u << CPU_RSP)

/* Where a guest register lives: a host register, or HOST_NONE for its home in struct cpu. */
static inline uint8_t host_register(unsigned guest)
{
	return guest == CPU_RSP ? HOST_R15 : guest < CPU_R13 ? guest : HOST_NONE;
}

/* How many of a set of guest registers live in struct cpu. */
static inline unsigned guest_home_count(uint16_t registers)
{
	return (registers >> CPU_R13 & 1) + (registers >> CPU_R14 & 1) + (registers >> CPU_R15 & 1);
}

#endif
