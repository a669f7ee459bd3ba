/*
 * Which instructions the host's CPU has. A guest may try any: where the interpreter's thunk for it
 * would catch SIGILL (x86/thunk.h), translated code must not hold it at all.
 */
#include "engine/run/jit/analyse/item.h"
#include "engine/x86/host/host.h"
#include "engine/x86/decode/isa_feature.h"

/* Whether the host has the registers and encodings of AVX or AVX-512 if these are used: GFNI, say, is
 * also there without them. */
static bool host_has_encoding(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_EVEX: return host_has(HOST_AVX512F);
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		return instruction->meta.isa_set == ZYDIS_ISA_SET_BMI1 ||
		       instruction->meta.isa_set == ZYDIS_ISA_SET_BMI2 || host_has(HOST_AVX);
	default: return true;
	}
}

bool jit_host_has(const ZydisDecodedInstruction *instruction)
{
	if (!host_has_encoding(instruction))
		return false;
	switch (isa_verdict(instruction, host.words, true)) {
	case ISA_ABSENT: return false;
	case ISA_PRESENT: return true;
	default: return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	}
}
