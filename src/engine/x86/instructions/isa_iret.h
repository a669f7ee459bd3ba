/*
 * The handler of isa_iret.c, for the table of isa_far.c.
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_ISA_IRET_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_ISA_IRET_H

#include "engine/x86/decode/insn.h"

insn_handler execute_iret;

#endif
