/*
 * What the instructions of an ISA set or extension have in common: the CPUID feature that they belong
 * to, for guests whose CPUID hides what the host has and for hosts that lack it, and the vector state
 * that they need.
 *
 * Instructions in space that older processors define as NOPs (prefetches, ENDBR, RDSSP, CLDEMOTE),
 * and those that fall back to another one (LZCNT, TZCNT, WBNOINVD), have nobody's feature: without it
 * they are decoded as what they are then (decode.c).
 */
#ifndef KVIK_ENGINE_X86_DECODE_ISA_SET_H
#define KVIK_ENGINE_X86_DECODE_ISA_SET_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/x86/decode/insn.h"

/* A CPUID feature by the name of its word in enum cpu_feature_word and its bit; 0 is none. */
#define ISA_FEATURE(word, bit) (CPU_FEATURES_##word * 32 + (bit) + 1)

enum isa_verdict { ISA_ABSENT, ISA_PRESENT, ISA_UNKNOWN };

/*
 * Whether CPUID's `features` hold what the instruction needs: words in the order of enum
 * cpu_feature_word, of which those that enum host_word shares are looked at. ISA_UNKNOWN when no
 * feature is known for it: it is as old as the architecture, or newer than this table. `is_64`: in
 * 64-bit mode. `row`: the mnemonic's, or NULL.
 */
enum isa_verdict isa_verdict(const ZydisDecodedInstruction *instruction, const struct isa_row *row,
                             const uint32_t *features, bool is_64);
/* Every feature that some instruction needs: bits of words in the order of enum host_word, HOST_WORDS of them. */
void isa_features(uint32_t *words);
/* Whether the host's CPU has the instruction at all, with the registers of its encoding. */
bool isa_host_has(const ZydisDecodedInstruction *instruction, const struct isa_row *row);
/* What it would need if it is one of x87, MMX or vectors; INSN_LEVEL_NONE: it is none. */
enum insn_vector_level isa_vector_level(const ZydisDecodedInstruction *instruction);

#endif
