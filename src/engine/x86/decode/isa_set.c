/*
 * By Zydis's names for ISA sets and extensions (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix D). A
 * set with a second feature needs both.
 */
#include "engine/x86/decode/isa_set.h"

#include "engine/x86/features.h"
#include "engine/x86/host/host.h"

#define F ISA_FEATURE

/* The table serves both the host's words and the guest's. */
enum {
	SSE = F(1_EDX, 25), SSE2 = F(1_EDX, 26), SSE3 = F(1_ECX, 0), SSSE3 = F(1_ECX, 9),
	AVX = F(1_ECX, 28), FMA4 = F(EXT1_ECX, 16), XOP = F(EXT1_ECX, 11), AVX512F = F(7_EBX, 16),
	AVX512VL = F(7_EBX, 31), MMX = F(1_EDX, 23), FXSR = F(1_EDX, 24), X87 = F(1_EDX, 0),
	GFNI = F(7_ECX, 8), VAES = F(7_ECX, 9), VPCLMULQDQ = F(7_ECX, 10),
};

struct needs {
	uint16_t first, second; /* F(), or 0 */
};

#define ROW(set, ...) [ZYDIS_ISA_SET_##set] = {__VA_ARGS__}
/* AVX-512 in its three widths: the shorter ones need AVX512VL. */
#define ROWS_VL(set, feature)                                                                      \
	ROW(set##_128, feature, AVX512VL), ROW(set##_256, feature, AVX512VL), ROW(set##_512, feature)

static const struct needs by_set[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
	/* general instructions */
	ROW(ADOX_ADCX, F(7_EBX, 19)),
	ROW(BMI1, F(7_EBX, 3)),
	ROW(BMI2, F(7_EBX, 8)),
	ROW(CMOV, F(1_EDX, 15)),
	ROW(CMPXCHG16B, F(1_ECX, 13)),
	ROW(LAHF, F(EXT1_ECX, 0)), /* in 64-bit mode */
	ROW(LZCNT, F(EXT1_ECX, 5)),
	ROW(MOVBE, F(1_ECX, 22)),
	ROW(MOVDIR, F(7_ECX, 27)),
	ROW(POPCNT, F(1_ECX, 23)),
	ROW(RDRAND, F(1_ECX, 30)),
	ROW(RDSEED, F(7_EBX, 18)),
	ROW(TBM, F(EXT1_ECX, 21)),
	/* system instructions */
	ROW(CLFLUSHOPT, F(7_EBX, 23)),
	ROW(CLFSH, F(1_EDX, 19)),
	ROW(CLWB, F(7_EBX, 24)),
	ROW(CLZERO, F(EXT8_EBX, 0)),
	ROW(INVPCID, F(7_EBX, 10)),
	ROW(MCOMMIT, F(EXT8_EBX, 8)),
	ROW(MONITORX, F(EXT1_ECX, 29)),
	ROW(PKU, F(7_ECX, 3)),
	ROW(RDPID, F(7_ECX, 22)),
	ROW(RDPRU, F(EXT8_EBX, 4)),
	ROW(RDTSCP, F(EXT1_EDX, 27)),
	ROW(RDWRFSGS, F(7_EBX, 0)),
	ROW(RTM, F(7_EBX, 11)),
	ROW(SERIALIZE, F(7_EDX, 14)),
	ROW(SMAP, F(7_EBX, 20)),
	ROW(WAITPKG, F(7_ECX, 5)),
	ROW(XSAVE, F(1_ECX, 26)),
	ROW(XSAVEOPT, F(D_1_EAX, 0)),
	ROW(XSAVEC, F(D_1_EAX, 1)),
	ROW(XSAVES, F(D_1_EAX, 3)),
	/* x87, MMX and SSE */
	ROW(X87, X87),
	ROW(FCMOV, X87, F(1_EDX, 15)),
	ROW(PENTIUMMMX, MMX),
	ROW(AMD3DNOW, F(EXT1_EDX, 31)),
	ROW(FXSAVE, FXSR),
	ROW(FXSAVE64, FXSR),
	ROW(SSE, SSE),
	ROW(SSEMXCSR, SSE),
	ROW(SSE2, SSE2),
	ROW(SSE2MMX, SSE2),
	ROW(SSE3, SSE3),
	ROW(SSE3X87, SSE3),
	ROW(SSSE3, SSSE3),
	ROW(SSSE3MMX, SSSE3),
	ROW(SSE4, F(1_ECX, 19)),
	ROW(SSE42, F(1_ECX, 20)),
	ROW(SSE4A, F(EXT1_ECX, 6)),
	ROW(AES, F(1_ECX, 25)),
	ROW(PCLMULQDQ, F(1_ECX, 1)),
	ROW(SHA, F(7_EBX, 29)),
	ROW(GFNI, GFNI),
	/* AVX */
	ROW(AVX, AVX),
	ROW(AVX2, F(7_EBX, 5)),
	ROW(AVX2GATHER, F(7_EBX, 5)),
	ROW(AVXAES, AVX, F(1_ECX, 25)),
	ROW(AVX_GFNI, AVX, GFNI),
	ROW(AVX_VNNI, F(7_1_EAX, 4)),
	ROW(F16C, AVX, F(1_ECX, 29)),
	ROW(FMA, AVX, F(1_ECX, 12)),
	ROW(FMA4, AVX, FMA4),
	ROW(VAES, AVX, VAES),
	ROW(VPCLMULQDQ, AVX, VPCLMULQDQ),
	ROW(XOP, AVX, XOP),
	/* AVX-512 */
	ROWS_VL(AVX512F, AVX512F),
	ROW(AVX512F_128N, AVX512F),
	ROW(AVX512F_SCALAR, AVX512F),
	ROW(AVX512F_KOP, AVX512F),
	ROWS_VL(AVX512BW, F(7_EBX, 30)),
	ROW(AVX512BW_128N, F(7_EBX, 30)),
	ROW(AVX512BW_KOP, F(7_EBX, 30)),
	ROWS_VL(AVX512DQ, F(7_EBX, 17)),
	ROW(AVX512DQ_128N, F(7_EBX, 17)),
	ROW(AVX512DQ_KOP, F(7_EBX, 17)),
	ROW(AVX512DQ_SCALAR, F(7_EBX, 17)),
	ROWS_VL(AVX512CD, F(7_EBX, 28)),
	ROWS_VL(AVX512_IFMA, F(7_EBX, 21)),
	ROWS_VL(AVX512_VBMI, F(7_ECX, 1)),
	ROWS_VL(AVX512_VBMI2, F(7_ECX, 6)),
	ROWS_VL(AVX512_VNNI, F(7_ECX, 11)),
	ROWS_VL(AVX512_BITALG, F(7_ECX, 12)),
	ROWS_VL(AVX512_VPOPCNTDQ, F(7_ECX, 14)),
	ROWS_VL(AVX512_VP2INTERSECT, F(7_EDX, 8)),
	ROWS_VL(AVX512_FP16, F(7_EDX, 23)),
	ROW(AVX512_FP16_128N, F(7_EDX, 23)),
	ROW(AVX512_FP16_SCALAR, F(7_EDX, 23)),
	ROWS_VL(AVX512_BF16, F(7_1_EAX, 5)),
	ROW(AVX512_GFNI_128, GFNI, AVX512VL),
	ROW(AVX512_GFNI_256, GFNI, AVX512VL),
	ROW(AVX512_GFNI_512, GFNI, AVX512F),
	ROW(AVX512_VAES_128, VAES, AVX512VL),
	ROW(AVX512_VAES_256, VAES, AVX512VL),
	ROW(AVX512_VAES_512, VAES, AVX512F),
	ROW(AVX512_VPCLMULQDQ_128, VPCLMULQDQ, AVX512VL),
	ROW(AVX512_VPCLMULQDQ_256, VPCLMULQDQ, AVX512VL),
	ROW(AVX512_VPCLMULQDQ_512, VPCLMULQDQ, AVX512F),
};

static bool is_present(const uint32_t *features, unsigned feature)
{
	return !feature || (features[(feature - 1) / 32] >> ((feature - 1) % 32) & 1);
}

enum isa_verdict isa_verdict(const ZydisDecodedInstruction *instruction, const struct isa_row *row,
			     const uint32_t *features, bool is_64)
{
	struct needs needs = by_set[instruction->meta.isa_set];

	if (!needs.first && row)
		needs.first = row->feature;
	if (!needs.first || (instruction->meta.isa_set == ZYDIS_ISA_SET_LAHF && !is_64))
		return ISA_UNKNOWN;
	return is_present(features, needs.first) && is_present(features, needs.second) ? ISA_PRESENT
										       : ISA_ABSENT;
}

static void note_feature(uint32_t *words, unsigned feature)
{
	if (feature)
		words[(feature - 1) / 32] |= 1u << ((feature - 1) % 32);
}

void isa_features(uint32_t *words)
{
	for (unsigned i = 0; i < HOST_WORDS; i++)
		words[i] = 0;
	for (unsigned i = 0; i <= ZYDIS_ISA_SET_MAX_VALUE; i++) {
		note_feature(words, by_set[i].first);
		note_feature(words, by_set[i].second);
	}
	for (unsigned i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++)
		if (isa_find((uint16_t)i))
			note_feature(words, isa_find((uint16_t)i)->feature);
}

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

bool isa_host_has(const ZydisDecodedInstruction *instruction, const struct isa_row *row)
{
	if (!host_has_encoding(instruction))
		return false;
	switch (isa_verdict(instruction, row, host.words, true)) {
	case ISA_ABSENT: return false;
	case ISA_PRESENT: return true;
	default: return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	}
}

/* By extension: what legacy encodings need, and VEX; EVEX always needs AVX-512. */
static const struct {
	uint8_t legacy, vex;
} levels[ZYDIS_ISA_EXT_MAX_VALUE + 1] = {
#define LEVELS(extension, legacy_, vex_)                                                           \
	[ZYDIS_ISA_EXT_##extension] = {INSN_LEVEL_##legacy_, INSN_LEVEL_##vex_}
	LEVELS(X87, X87, X87),
	LEVELS(MMX, X87, X87),
	LEVELS(SSE, SSE, AVX),
	LEVELS(SSE2, SSE, AVX),
	LEVELS(SSE3, SSE, AVX),
	LEVELS(SSSE3, SSE, AVX),
	LEVELS(SSE4, SSE, AVX),
	LEVELS(AES, SSE, AVX),
	LEVELS(PCLMULQDQ, SSE, AVX),
	LEVELS(SHA, SSE, AVX),
	LEVELS(GFNI, SSE, AVX),
	/* None of these has a legacy encoding. */
	LEVELS(AVX, AVX512, AVX),
	LEVELS(AVX2, AVX512, AVX),
	LEVELS(AVX2GATHER, AVX512, AVX),
	LEVELS(FMA, AVX512, AVX),
	LEVELS(F16C, AVX512, AVX),
	LEVELS(AVXAES, AVX512, AVX),
	LEVELS(VAES, AVX512, AVX),
	LEVELS(VPCLMULQDQ, AVX512, AVX),
	LEVELS(AVX_VNNI, AVX512, AVX),
	LEVELS(AVX512EVEX, AVX512, AVX512),
	LEVELS(AVX512VEX, AVX512, AVX512),
#undef LEVELS
};

enum insn_vector_level isa_vector_level(const ZydisDecodedInstruction *instruction)
{
	unsigned extension = instruction->meta.isa_ext;

	/* FISTTP came with SSE3. */
	if (instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    instruction->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	    (instruction->opcode & 0xf8) == 0xd8)
		return INSN_LEVEL_X87;
	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY: return levels[extension].legacy;
	case ZYDIS_INSTRUCTION_ENCODING_VEX: return levels[extension].vex;
	default: return levels[extension].vex ? INSN_LEVEL_AVX512 : INSN_LEVEL_NONE;
	}
}
