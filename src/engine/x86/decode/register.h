/*
 * What Zydis's names of registers stand for: its own functions search their tables, and each operand
 * asks.
 */
#ifndef KVIK_ENGINE_X86_DECODE_REGISTER_H
#define KVIK_ENGINE_X86_DECODE_REGISTER_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

struct register_name {
	uint8_t class;  /* ZydisRegisterClass */
	int8_t number;  /* in its class; -1: none */
	int8_t general; /* the general register that it is all or part of; -1: none */
	uint8_t offset; /* of a general one's lowest byte in struct cpu's gpr */
	bool is_high;   /* AH, CH, DH, BH */
};

extern struct register_name register_names[ZYDIS_REGISTER_MAX_VALUE + 1]; /* set before main */

#endif
