/*
 * Which instructions the host's CPU has. A guest may try any: where the interpreter's thunk for it
 * would catch SIGILL (x86/thunk.h), translated code must not hold it at all.
 *
 * Only extensions that translate.c would copy stand here, by Zydis's names for them (SDM vol. 2,
 * CPUID). What every host of the translator has (run.c: BMI2, so all that came before it but
 * for the rows below) needs none.
 */
#include <cpuid.h>

#include "engine/jit/internal.h"

enum leaf_register { LEAF1_ECX, LEAF7_EBX, LEAF7_ECX, LEAF7_1_EAX, LEAF_REGISTERS };

static const struct {
	uint8_t isa_set; /* ZydisISASet */
	uint8_t where;   /* enum leaf_register */
	uint32_t bits;
	bool needs_vl;   /* AVX-512 on less than 512 bits */
} rows[] = {
	{ZYDIS_ISA_SET_MOVBE, LEAF1_ECX, bit_MOVBE},
	{ZYDIS_ISA_SET_ADOX_ADCX, LEAF7_EBX, bit_ADX},
	{ZYDIS_ISA_SET_AES, LEAF1_ECX, bit_AES},
	{ZYDIS_ISA_SET_PCLMULQDQ, LEAF1_ECX, bit_PCLMUL},
	{ZYDIS_ISA_SET_SHA, LEAF7_EBX, bit_SHA},
	{ZYDIS_ISA_SET_GFNI, LEAF7_ECX, bit_GFNI},
	{ZYDIS_ISA_SET_AVX, LEAF1_ECX, bit_AVX},
	{ZYDIS_ISA_SET_AVX2, LEAF7_EBX, bit_AVX2},
	{ZYDIS_ISA_SET_FMA, LEAF1_ECX, bit_FMA},
	{ZYDIS_ISA_SET_F16C, LEAF1_ECX, bit_F16C},
	{ZYDIS_ISA_SET_AVXAES, LEAF1_ECX, bit_AVX | bit_AES},
	{ZYDIS_ISA_SET_AVX_GFNI, LEAF7_ECX, bit_GFNI},
	{ZYDIS_ISA_SET_VAES, LEAF7_ECX, bit_VAES},
	{ZYDIS_ISA_SET_VPCLMULQDQ, LEAF7_ECX, bit_VPCLMULQDQ},
	{ZYDIS_ISA_SET_AVX_VNNI, LEAF7_1_EAX, 1u << 4},
#define VL(set, where, bits)                                                                       \
	{ZYDIS_ISA_SET_##set##_128, where, bits, true},                                            \
	{ZYDIS_ISA_SET_##set##_256, where, bits, true},                                            \
	{ZYDIS_ISA_SET_##set##_512, where, bits}
	VL(AVX512F, LEAF7_EBX, bit_AVX512F),
	{ZYDIS_ISA_SET_AVX512F_128N, LEAF7_EBX, bit_AVX512F},
	{ZYDIS_ISA_SET_AVX512F_SCALAR, LEAF7_EBX, bit_AVX512F},
	{ZYDIS_ISA_SET_AVX512F_KOP, LEAF7_EBX, bit_AVX512F},
	VL(AVX512BW, LEAF7_EBX, bit_AVX512BW),
	{ZYDIS_ISA_SET_AVX512BW_128N, LEAF7_EBX, bit_AVX512BW},
	{ZYDIS_ISA_SET_AVX512BW_KOP, LEAF7_EBX, bit_AVX512BW},
	VL(AVX512DQ, LEAF7_EBX, bit_AVX512DQ),
	{ZYDIS_ISA_SET_AVX512DQ_128N, LEAF7_EBX, bit_AVX512DQ},
	{ZYDIS_ISA_SET_AVX512DQ_KOP, LEAF7_EBX, bit_AVX512DQ},
	{ZYDIS_ISA_SET_AVX512DQ_SCALAR, LEAF7_EBX, bit_AVX512DQ},
	VL(AVX512CD, LEAF7_EBX, bit_AVX512CD),
	VL(AVX512_IFMA, LEAF7_EBX, bit_AVX512IFMA),
	VL(AVX512_VBMI, LEAF7_ECX, bit_AVX512VBMI),
	VL(AVX512_VBMI2, LEAF7_ECX, bit_AVX512VBMI2),
	VL(AVX512_VNNI, LEAF7_ECX, bit_AVX512VNNI),
	VL(AVX512_BITALG, LEAF7_ECX, bit_AVX512BITALG),
	VL(AVX512_VPOPCNTDQ, LEAF7_ECX, bit_AVX512VPOPCNTDQ),
	VL(AVX512_GFNI, LEAF7_ECX, bit_GFNI),
	VL(AVX512_VAES, LEAF7_ECX, bit_VAES),
	VL(AVX512_VPCLMULQDQ, LEAF7_ECX, bit_VPCLMULQDQ),
#undef VL
};

static bool host_has_bits(enum leaf_register where, uint32_t bits)
{
	static _Thread_local uint32_t leaves[LEAF_REGISTERS];
	static _Thread_local bool is_ready;

	if (!is_ready) {
		unsigned a = 0, b = 0, c = 0, d = 0;

		if (__get_cpuid(1, &a, &b, &c, &d))
			leaves[LEAF1_ECX] = c;
		if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
			leaves[LEAF7_EBX] = b;
			leaves[LEAF7_ECX] = c;
			if (a && __get_cpuid_count(7, 1, &a, &b, &c, &d))
				leaves[LEAF7_1_EAX] = a;
		}
		is_ready = true;
	}
	return (leaves[where] & bits) == bits;
}

bool jit_host_has(const ZydisDecodedInstruction *instruction)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].isa_set == instruction->meta.isa_set)
			return host_has_bits(rows[i].where, rows[i].bits) &&
			       (!rows[i].needs_vl || host_has_bits(LEAF7_EBX, bit_AVX512VL));
	return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	       instruction->meta.isa_set == ZYDIS_ISA_SET_BMI1 ||
	       instruction->meta.isa_set == ZYDIS_ISA_SET_BMI2;
}
