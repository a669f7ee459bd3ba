/*
 * Which CPUID feature an instruction belongs to: for guests whose CPUID hides what the host has,
 * and for hosts that lack it.
 *
 * Instructions in space that older processors define as NOPs (prefetches, ENDBR, RDSSP, CLDEMOTE),
 * and those that fall back to another one (LZCNT, TZCNT, WBNOINVD), are nobody's: without the
 * feature they are decoded as what they are then (decode.c).
 */
#ifndef KVIK_ENGINE_X86_ISA_FEATURE_H
#define KVIK_ENGINE_X86_ISA_FEATURE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

enum isa_verdict { ISA_ABSENT, ISA_PRESENT, ISA_UNKNOWN };

/*
 * Whether CPUID's `features` hold what the instruction needs: words in the order of enum
 * cpu_feature_word, of which those that enum host_word shares are looked at. ISA_UNKNOWN when no
 * feature is known for it: it is as old as the architecture, or newer than this table. `is_64`: in
 * 64-bit mode.
 */
enum isa_verdict isa_verdict(const ZydisDecodedInstruction *instruction, const uint32_t *features,
                             bool is_64);

#endif
