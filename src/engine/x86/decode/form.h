/* struct insn_form from what Zydis says. Internal to decode/. */
#ifndef KVIK_ENGINE_X86_DECODE_FORM_H
#define KVIK_ENGINE_X86_DECODE_FORM_H

#include "engine/x86/decode/insn.h"

/* Fill all but `other`, with *insn filled in. `row`: the mnemonic's, or NULL. */
void insn_form_fill(struct insn_form *form, const struct insn *insn, const struct decoded *decoded,
		    const struct isa_row *row);

#endif
