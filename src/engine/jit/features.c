/*
 * Which instructions the host's CPU has. A guest may try any: where the interpreter's thunk for it
 * would catch SIGILL (x86/thunk.h), translated code must not hold it at all.
 *
 * By Zydis's names for the extensions that translate.c would copy (SDM vol. 2, CPUID).
 */
#include <cpuid.h>

#include "engine/jit/internal.h"
#include "engine/x86/host.h"

static const struct {
	uint8_t isa_set; /* ZydisISASet */
	uint8_t where;   /* enum host_word */
	uint32_t bits;
	bool needs_vl;   /* AVX-512 on less than 512 bits */
} rows[] = {
	{ZYDIS_ISA_SET_SSE3, HOST_1_ECX, bit_SSE3},
	{ZYDIS_ISA_SET_SSE3X87, HOST_1_ECX, bit_SSE3},
	{ZYDIS_ISA_SET_SSSE3, HOST_1_ECX, bit_SSSE3},
	{ZYDIS_ISA_SET_SSSE3MMX, HOST_1_ECX, bit_SSSE3},
	{ZYDIS_ISA_SET_SSE4, HOST_1_ECX, bit_SSE4_1},
	{ZYDIS_ISA_SET_SSE42, HOST_1_ECX, bit_SSE4_2},
	{ZYDIS_ISA_SET_POPCNT, HOST_1_ECX, bit_POPCNT},
	{ZYDIS_ISA_SET_LZCNT, HOST_EXT1_ECX, bit_LZCNT},
	{ZYDIS_ISA_SET_BMI1, HOST_7_EBX, bit_BMI},
	{ZYDIS_ISA_SET_BMI2, HOST_7_EBX, bit_BMI2},
	{ZYDIS_ISA_SET_MOVBE, HOST_1_ECX, bit_MOVBE},
	{ZYDIS_ISA_SET_ADOX_ADCX, HOST_7_EBX, bit_ADX},
	{ZYDIS_ISA_SET_AES, HOST_1_ECX, bit_AES},
	{ZYDIS_ISA_SET_PCLMULQDQ, HOST_1_ECX, bit_PCLMUL},
	{ZYDIS_ISA_SET_SHA, HOST_7_EBX, bit_SHA},
	{ZYDIS_ISA_SET_GFNI, HOST_7_ECX, bit_GFNI},
	{ZYDIS_ISA_SET_AVX, HOST_1_ECX, bit_AVX},
	{ZYDIS_ISA_SET_AVX2, HOST_7_EBX, bit_AVX2},
	{ZYDIS_ISA_SET_FMA, HOST_1_ECX, bit_FMA},
	{ZYDIS_ISA_SET_F16C, HOST_1_ECX, bit_F16C},
	{ZYDIS_ISA_SET_AVXAES, HOST_1_ECX, bit_AVX | bit_AES},
	{ZYDIS_ISA_SET_AVX_GFNI, HOST_7_ECX, bit_GFNI},
	{ZYDIS_ISA_SET_VAES, HOST_7_ECX, bit_VAES},
	{ZYDIS_ISA_SET_VPCLMULQDQ, HOST_7_ECX, bit_VPCLMULQDQ},
	{ZYDIS_ISA_SET_AVX_VNNI, HOST_7_1_EAX, 1u << 4},
#define VL(set, where, bits)                                                                       \
	{ZYDIS_ISA_SET_##set##_128, where, bits, true},                                            \
	{ZYDIS_ISA_SET_##set##_256, where, bits, true},                                            \
	{ZYDIS_ISA_SET_##set##_512, where, bits}
	VL(AVX512F, HOST_7_EBX, bit_AVX512F),
	{ZYDIS_ISA_SET_AVX512F_128N, HOST_7_EBX, bit_AVX512F},
	{ZYDIS_ISA_SET_AVX512F_SCALAR, HOST_7_EBX, bit_AVX512F},
	{ZYDIS_ISA_SET_AVX512F_KOP, HOST_7_EBX, bit_AVX512F},
	VL(AVX512BW, HOST_7_EBX, bit_AVX512BW),
	{ZYDIS_ISA_SET_AVX512BW_128N, HOST_7_EBX, bit_AVX512BW},
	{ZYDIS_ISA_SET_AVX512BW_KOP, HOST_7_EBX, bit_AVX512BW},
	VL(AVX512DQ, HOST_7_EBX, bit_AVX512DQ),
	{ZYDIS_ISA_SET_AVX512DQ_128N, HOST_7_EBX, bit_AVX512DQ},
	{ZYDIS_ISA_SET_AVX512DQ_KOP, HOST_7_EBX, bit_AVX512DQ},
	{ZYDIS_ISA_SET_AVX512DQ_SCALAR, HOST_7_EBX, bit_AVX512DQ},
	VL(AVX512CD, HOST_7_EBX, bit_AVX512CD),
	VL(AVX512_IFMA, HOST_7_EBX, bit_AVX512IFMA),
	VL(AVX512_VBMI, HOST_7_ECX, bit_AVX512VBMI),
	VL(AVX512_VBMI2, HOST_7_ECX, bit_AVX512VBMI2),
	VL(AVX512_VNNI, HOST_7_ECX, bit_AVX512VNNI),
	VL(AVX512_BITALG, HOST_7_ECX, bit_AVX512BITALG),
	VL(AVX512_VPOPCNTDQ, HOST_7_ECX, bit_AVX512VPOPCNTDQ),
	VL(AVX512_GFNI, HOST_7_ECX, bit_GFNI),
	VL(AVX512_VAES, HOST_7_ECX, bit_VAES),
	VL(AVX512_VPCLMULQDQ, HOST_7_ECX, bit_VPCLMULQDQ),
#undef VL
};

static bool host_has_bits(enum host_word where, uint32_t bits)
{
	return (host.words[where] & bits) == bits;
}

/* Whether the host has the registers and encodings of AVX or AVX-512 if these are used: GFNI, say, is
 * also there without them. */
static bool host_has_encoding(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_EVEX: return host_has_bits(HOST_7_EBX, bit_AVX512F);
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		return instruction->meta.isa_set == ZYDIS_ISA_SET_BMI1 ||
		       instruction->meta.isa_set == ZYDIS_ISA_SET_BMI2 ||
		       host_has_bits(HOST_1_ECX, bit_AVX);
	default: return true;
	}
}

bool jit_host_has(const ZydisDecodedInstruction *instruction)
{
	if (!host_has_encoding(instruction))
		return false;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].isa_set == instruction->meta.isa_set)
			return host_has_bits(rows[i].where, rows[i].bits) &&
			       (!rows[i].needs_vl || host_has_bits(HOST_7_EBX, bit_AVX512VL));
	return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
}
