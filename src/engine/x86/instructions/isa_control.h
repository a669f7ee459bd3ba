/*
 * Handlers of isa_control.c, for the table of isa_system.c.
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_ISA_CONTROL_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_ISA_CONTROL_H

#include "engine/x86/decode/insn.h"

insn_handler execute_mov_to_control, execute_mov_from_control, execute_mov_to_debug,
	execute_mov_from_debug, execute_lmsw, execute_smsw, execute_clts, execute_invlpg,
	execute_invpcid;

#endif
