/*
 * Handlers of isa_segment.c and isa_far.c that system_bind gives to shared mnemonics.
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_ISA_SEGMENT_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_ISA_SEGMENT_H

#include "engine/x86/decode/insn.h"

insn_handler execute_mov_to_segment, execute_mov_from_segment, execute_push_segment,
	execute_pop_segment;
insn_handler execute_far_jump, execute_far_call, execute_far_return;

#endif
