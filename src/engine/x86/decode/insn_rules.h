/*
 * What, besides the mode, decides what bytes mean to a CPU: its CPUID.
 *
 * Decoded and translated code depends on it. Decoded blocks, which a VM's CPUs share, are found by it
 * (run/interp/store.h); translations are for those CPUs that are like the first (run/jit/run.c). CPUID cannot change
 * once a CPU has run (KVM_SET_CPUID2).
 */
#ifndef KVIK_ENGINE_X86_DECODE_INSN_RULES_H
#define KVIK_ENGINE_X86_DECODE_INSN_RULES_H

#include <stdbool.h>
#include <stdint.h>

struct insn_memo;

struct insn_rules {
	const uint32_t *features;  /* by enum cpu_feature_word; NULL: what the host has is there */
	bool has_lzcnt, has_tzcnt; /* else they are BSR and BSF */
	bool is_amd;               /* what 66, F2 and F3 do to branches and NOP: docs/engine.md */
	struct insn_memo *memo;    /* of what was decoded by these; NULL: there is none. Borrowed */
};

/* Those of a CPU that was given no CPUID, and of the host's own code. Set before main. */
extern struct insn_rules insn_host_rules;

#endif
