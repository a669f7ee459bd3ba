/*
 * What a CPU has decoded before, by the bytes that tell one instruction from another.
 *
 * Programs are made of few instructions: two thirds of those that a kernel decodes differ from one before
 * in nothing but a displacement or an immediate value, if at all. These are fields that are read from the
 * bytes anew; what is kept is all else that the decoder and the tables say, which costs ten times as much
 * to find out.
 *
 * General instructions of 64-bit code are kept, in legacy encoding; not vector instructions, whose facts lead to
 * code that may go (fpu/thunk.h). A memo belongs to one CPU, since what bytes mean depends on its CPUID, and
 * is used on that CPU's thread.
 */
#ifndef KVIK_ENGINE_X86_DECODE_MEMO_H
#define KVIK_ENGINE_X86_DECODE_MEMO_H

#include "engine/x86/decode/insn.h"

/* NULL without memory: then nothing is kept. */
struct insn_memo *insn_memo_create(void);
void insn_memo_destroy(struct insn_memo *memo);
/* CPUID is another one. */
void insn_memo_forget(struct insn_memo *memo);

/* The instruction at bytes[0..size), for `mode`, if one like it is kept: then *insn and *form (where it is not
 * NULL) are what insn_decode_form would fill in. */
bool insn_memo_find(const struct insn_memo *memo, const uint8_t *bytes, size_t size, uint32_t mode,
                    struct insn *insn, struct insn_form *form);

/* The same without a copy; its immediate and displacement are those of another. NULL: none is kept. */
const struct insn *insn_memo_see(const struct insn_memo *memo, const uint8_t *bytes, size_t size,
                                 uint32_t mode);

/* Keep what has been decoded and is defined, with *insn and *form filled in, if it is of a kind that is kept. */
void insn_memo_keep(struct insn_memo *memo, const struct insn *insn, const struct insn_form *form,
                    const struct decoded *decoded);

#endif
