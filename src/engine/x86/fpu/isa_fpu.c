/*
 * Binding x87, MMX, SSE, AVX and AVX-512 instructions: from a decoded instruction to its thunk, the
 * traits that its handler needs, and the handler (fpu_execute.c).
 *
 * Most of these instructions need no row: whatever has vector, MMX, x87 or opmask registers as
 * operands is taken, and what the host does not know raises #UD when it runs. What the guest's CPUID
 * hides does not get here (isa_set.h). The few that run in software have rows, and those that are
 * unlike the others of their extension; gathers and other special forms are told apart by mnemonic
 * below.
 */
#include <errno.h>

#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/fpu/fpu_execute.h"
#include "engine/x86/host/host.h"

#define ROW(name, argument_, execute_, bind_)                                                      \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .argument = (argument_), .execute = (execute_),        \
	 .bind = (bind_)}
#define ROW_TRAITS(name, argument_, execute_, bind_, traits_)                                      \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .argument = (argument_), .execute = (execute_),        \
	 .bind = (bind_), .traits = (traits_)}
#define ROW_UNMASKS(name, argument_, execute_, bind_)                                              \
	ROW_TRAITS(name, argument_, execute_, bind_, INSN_UNMASKS)
/* Those that have a thunk, but are not like all others. */
#define ROW_THUNK(name, class_, traits_)                                                           \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .class = INSN_##class_, .traits = (traits_)}

static const struct isa_row rows[] = {
	ROW(FXSAVE, 0, fpu_run_fxsave, NULL),
	ROW(FXSAVE64, 0, fpu_run_fxsave64, NULL),
	ROW_UNMASKS(FXRSTOR, 0, fpu_run_fxrstor, NULL),
	ROW_UNMASKS(FXRSTOR64, 0, fpu_run_fxrstor64, NULL),
	ROW(XSAVE, 0, fpu_run_xsave, fpu_bind_xsave),
	ROW(XSAVE64, 1, fpu_run_xsave, fpu_bind_xsave),
	ROW(XSAVEOPT, 0, fpu_run_xsaveopt, fpu_bind_xsave),
	ROW(XSAVEOPT64, 1, fpu_run_xsaveopt, fpu_bind_xsave),
	ROW(XSAVEC, 0, fpu_run_xsavec, fpu_bind_xsave),
	ROW(XSAVEC64, 1, fpu_run_xsavec, fpu_bind_xsave),
	ROW_TRAITS(XSAVES, 0, fpu_run_xsaves, fpu_bind_xsave, INSN_RING0),
	ROW_TRAITS(XSAVES64, 1, fpu_run_xsaves, fpu_bind_xsave, INSN_RING0),
	ROW_UNMASKS(XRSTOR, 0, fpu_run_xrstor, fpu_bind_xsave),
	ROW_UNMASKS(XRSTOR64, 1, fpu_run_xrstor, fpu_bind_xsave),
	ROW_TRAITS(XRSTORS, 0, fpu_run_xrstors, fpu_bind_xsave, INSN_UNMASKS | INSN_RING0),
	ROW_TRAITS(XRSTORS64, 1, fpu_run_xrstors, fpu_bind_xsave, INSN_UNMASKS | INSN_RING0),
	ROW(XGETBV, 0, fpu_run_xgetbv, NULL),
	ROW_TRAITS(XSETBV, 0, fpu_run_xsetbv, NULL, INSN_RING0),
	{ZYDIS_MNEMONIC_FWAIT, .execute = fpu_run_fwait, .class = INSN_VECTOR,
	 .traits = INSN_X87_CONTROL},
	ROW(FNSTENV, 0, fpu_run_fnstenv, fpu_bind_environment),
	ROW_UNMASKS(FLDENV, 0, fpu_run_fldenv, fpu_bind_environment),
	ROW_UNMASKS(FNSAVE, 0, fpu_run_fnsave, fpu_bind_environment),
	ROW_UNMASKS(FRSTOR, 0, fpu_run_frstor, fpu_bind_environment),
	/* They change what is masked. */
	ROW_THUNK(LDMXCSR, HANDLED, INSN_UNMASKS),
	ROW_THUNK(VLDMXCSR, HANDLED, INSN_UNMASKS),
	ROW_THUNK(FLDCW, HANDLED, INSN_UNMASKS),
	ROW_THUNK(FNINIT, HANDLED, INSN_UNMASKS | INSN_X87_CONTROL),
	/* To an address that they do not name. */
	ROW_THUNK(MASKMOVQ, HANDLED, 0),
	ROW_THUNK(MASKMOVDQU, HANDLED, 0),
	ROW_THUNK(VMASKMOVDQU, HANDLED, 0),
	ROW_THUNK(FNCLEX, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FNSTCW, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FNSTSW, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FENI8087_NOP, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FDISI8087_NOP, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FSETPM287_NOP, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(MOVUPS, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(MOVUPD, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(MOVDQU, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(LDDQU, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPESTRI, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPESTRM, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPISTRI, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPISTRM, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(VMOVAPS, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVAPD, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVDQA, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVDQA32, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVDQA64, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTPS, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTPD, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTDQ, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTDQA, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VZEROALL, VECTOR, INSN_ALL_VECTORS),
	ROW_THUNK(VZEROUPPER, VECTOR, INSN_ALL_VECTORS),
	ROW_THUNK(DIVPD, VECTOR, INSN_SLOW),
	ROW_THUNK(DIVPS, VECTOR, INSN_SLOW),
	ROW_THUNK(DIVSD, VECTOR, INSN_SLOW),
	ROW_THUNK(DIVSS, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTPD, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTPS, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTSD, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTSS, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVPD, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVPS, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVSD, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVSS, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTPD, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTPS, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTSD, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTSS, VECTOR, INSN_SLOW),
	ROW_THUNK(VMOVD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPBROADCASTD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPEXTRB, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPEXTRD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPEXTRW, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPINSRB, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPINSRD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPINSRW, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VEXTRACTPS, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSI2SS, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSI2SD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSI2SH, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTUSI2SS, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTUSI2SD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTUSI2SH, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSS2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSD2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSH2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSS2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSD2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSH2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSS2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSD2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSH2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSS2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSD2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSH2USI, VECTOR, INSN_W_IS_SIZE),
};

const struct isa_table isa_fpu = {.rows = rows, .count = sizeof(rows) / sizeof(rows[0])};

/* What is known of an instruction while it is bound. */
struct form {
	const struct decoded *decoded;
	const ZydisDecodedInstruction *instruction;
	const ZydisDecodedOperand *memory; /* NULL: none */
	bool has_vector, has_mmx, has_opmask, is_x87, is_store;
	struct thunk_traits traits;
	struct thunk_code code;
};

static bool is_x87_opcode(const ZydisDecodedInstruction *instruction)
{
	return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       instruction->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && instruction->opcode >= 0xd8 &&
	       instruction->opcode <= 0xdf;
}

static bool is_vector_extension(ZydisISAExt extension)
{
	switch (extension) {
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX512EVEX: return true;
	default: return false;
	}
}

/* Look over the operands. False for what is not of this room. */
static bool form_inspect(struct form *form, const struct decoded *decoded)
{
	const ZydisDecodedInstruction *instruction = decoded->instruction;

	form->decoded = decoded;
	form->instruction = instruction;
	form->is_x87 = is_x87_opcode(instruction);
	for (unsigned i = 0; i < instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &decoded->operands[i];

		if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			if (form->memory != NULL)
				return false;
			form->memory = operand;
			form->is_store = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		}
		if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		switch (ZydisRegisterGetClass(operand->reg.value)) {
		case ZYDIS_REGCLASS_MMX: form->has_mmx = true; break;
		case ZYDIS_REGCLASS_XMM:
		case ZYDIS_REGCLASS_YMM:
		case ZYDIS_REGCLASS_ZMM: form->has_vector = true; break;
		case ZYDIS_REGCLASS_MASK: form->has_opmask = true; break;
		default: break;
		}
	}

	/* From memory to a general register: CVTSD2SI and kin. */
	if (instruction->meta.category == ZYDIS_CATEGORY_CONVERT &&
	    is_vector_extension(instruction->meta.isa_ext))
		form->has_vector = true;
	switch (instruction->meta.isa_ext) {
	case ZYDIS_ISA_EXT_KEYLOCKER:
	case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
	case ZYDIS_ISA_EXT_AMX_TILE:
	case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_XOP:
	case ZYDIS_ISA_EXT_AMD3DNOW:
		return false;
	case ZYDIS_ISA_EXT_SSE4A:
		/* Undefined before its operand is looked at. */
		if (!host_has(HOST_SSE4A))
			return false;
		break;
	default:
		break;
	}
	switch (instruction->meta.isa_set) {
	/* Xeon Phi's own. */
	case ZYDIS_ISA_SET_AVX512ER_512:
	case ZYDIS_ISA_SET_AVX512ER_SCALAR:
	case ZYDIS_ISA_SET_AVX512PF_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR:
	case ZYDIS_ISA_SET_AVX512_4VNNIW_512:
		return false;
	default:
		break;
	}
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_EMMS:
		form->has_mmx = true;
		break;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR:
	case ZYDIS_MNEMONIC_VZEROALL:
	case ZYDIS_MNEMONIC_VZEROUPPER:
		form->has_vector = true;
		break;
	default:
		break;
	}
	return form->is_x87 || form->has_vector || form->has_mmx || form->has_opmask;
}

/* The enable bits; -ENOTSUP where the mode rules the encoding out. */
static int form_set_gate(struct form *form)
{
	struct thunk_traits *traits = &form->traits;

	switch (form->instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
		traits->cr0_forbidden = FPU_CR0_EM | FPU_CR0_TS;
		if (form->is_x87) {
			traits->gate = THUNK_GATE_X87;
		} else if (!form->has_vector) {
			traits->gate = THUNK_GATE_MMX;
		} else {
			traits->gate = THUNK_GATE_SSE;
			traits->cr4_required = FPU_CR4_OSFXSR;
		}
		return 0;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		/* Protected mode outside virtual-8086 mode only (SDM vol. 2 §2.3.2). */
		if (!(form->decoded->mode & CPU_MODE_PROTECTED))
			return -ENOTSUP;
		traits->gate = THUNK_GATE_AVX;
		traits->cr0_forbidden = FPU_CR0_TS;
		traits->cr4_required = FPU_CR4_OSXSAVE;
		traits->xcr0_required = FPU_SSE | FPU_AVX;
		if (form->has_opmask ||
		    form->instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
			traits->xcr0_required |= FPU_AVX512;
		return 0;
	default:
		return -ENOTSUP;
	}
}

/* What AMD's processors do with an operand that must be aligned: enum thunk_flag. */
static uint8_t misaligned_on_amd(const struct form *form)
{
	const ZydisDecodedInstruction *instruction = form->instruction;

	if (instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || form->is_store)
		return 0;
	switch (instruction->mnemonic) {
	/* APM vol. 1 §4.6.2: MXCSR.MM is not for the moves that are about alignment. */
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTDQA:
		return 0;
	default:
		break;
	}
	/* As Zen processors do, where Intel's raise #GP. */
	if (instruction->meta.isa_set == ZYDIS_ISA_SET_SHA)
		return THUNK_AMD_UNALIGNED;
	return THUNK_MAY_MISALIGN;
}

/*
 * Whether masked-out elements of the memory operand are not read: the exception classes but those
 * with "NF" (SDM vol. 2 table 2-46 ff.), and less what Zydis files under another class.
 */
static bool suppresses_faults(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_VCVTNE2PS2BF16:
	case ZYDIS_MNEMONIC_VDBPSADBW:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEQB:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB:
		return false;
	default:
		break;
	}
	switch (instruction->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_E1NF:
	case ZYDIS_EXCEPTION_CLASS_E2NF:
	case ZYDIS_EXCEPTION_CLASS_E3NF:
	case ZYDIS_EXCEPTION_CLASS_E4NF:
	case ZYDIS_EXCEPTION_CLASS_E5NF:
	case ZYDIS_EXCEPTION_CLASS_E6NF:
	case ZYDIS_EXCEPTION_CLASS_E9NF:
	case ZYDIS_EXCEPTION_CLASS_E10NF:
	case ZYDIS_EXCEPTION_CLASS_E11NF:
		return false;
	default:
		return true;
	}
}

/* Bytes of memory that one bit of the opmask guards: an element, but where an element of the result
 * comes from several in memory, or Zydis has the whole operand as one. */
static unsigned masked_element_size(const struct form *form)
{
	switch (form->instruction->mnemonic) {
	case ZYDIS_MNEMONIC_VPDPBUSD:
	case ZYDIS_MNEMONIC_VPDPBUSDS:
	case ZYDIS_MNEMONIC_VPDPWSSD:
	case ZYDIS_MNEMONIC_VPDPWSSDS:
	case ZYDIS_MNEMONIC_VDPBF16PS:
	case ZYDIS_MNEMONIC_VFMADDCPH:
	case ZYDIS_MNEMONIC_VFMADDCSH:
	case ZYDIS_MNEMONIC_VFCMADDCPH:
	case ZYDIS_MNEMONIC_VFCMADDCSH:
	case ZYDIS_MNEMONIC_VFMULCPH:
	case ZYDIS_MNEMONIC_VFMULCSH:
	case ZYDIS_MNEMONIC_VFCMULCPH:
	case ZYDIS_MNEMONIC_VFCMULCSH:
	case ZYDIS_MNEMONIC_VEXTRACTF32X4:
	case ZYDIS_MNEMONIC_VEXTRACTF32X8:
	case ZYDIS_MNEMONIC_VEXTRACTI32X4:
	case ZYDIS_MNEMONIC_VEXTRACTI32X8:
	case ZYDIS_MNEMONIC_VBROADCASTF32X2:
	case ZYDIS_MNEMONIC_VBROADCASTF32X4:
	case ZYDIS_MNEMONIC_VBROADCASTF32X8:
	case ZYDIS_MNEMONIC_VBROADCASTI32X2:
	case ZYDIS_MNEMONIC_VBROADCASTI32X4:
	case ZYDIS_MNEMONIC_VBROADCASTI32X8:
		return 4;
	case ZYDIS_MNEMONIC_VEXTRACTF64X2:
	case ZYDIS_MNEMONIC_VEXTRACTF64X4:
	case ZYDIS_MNEMONIC_VEXTRACTI64X2:
	case ZYDIS_MNEMONIC_VEXTRACTI64X4:
	case ZYDIS_MNEMONIC_VBROADCASTF64X2:
	case ZYDIS_MNEMONIC_VBROADCASTF64X4:
	case ZYDIS_MNEMONIC_VBROADCASTI64X2:
	case ZYDIS_MNEMONIC_VBROADCASTI64X4:
		return 8;
	default:
		return form->memory->element_size / 8;
	}
}

static bool is_packed(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_VCOMPRESSPS:
	case ZYDIS_MNEMONIC_VCOMPRESSPD:
	case ZYDIS_MNEMONIC_VPCOMPRESSB:
	case ZYDIS_MNEMONIC_VPCOMPRESSW:
	case ZYDIS_MNEMONIC_VPCOMPRESSD:
	case ZYDIS_MNEMONIC_VPCOMPRESSQ:
	case ZYDIS_MNEMONIC_VEXPANDPS:
	case ZYDIS_MNEMONIC_VEXPANDPD:
	case ZYDIS_MNEMONIC_VPEXPANDB:
	case ZYDIS_MNEMONIC_VPEXPANDW:
	case ZYDIS_MNEMONIC_VPEXPANDD:
	case ZYDIS_MNEMONIC_VPEXPANDQ:
		return true;
	default:
		return false;
	}
}

/* The vector register of the operand with this encoding, or -1. */
static int vector_operand(const struct form *form, ZydisOperandEncoding encoding)
{
	for (unsigned i = 0; i < form->instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &form->decoded->operands[i];

		if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && operand->encoding == encoding)
			return ZydisRegisterGetId(operand->reg.value);
	}
	return -1;
}

/* The number of the opmask that masks elements, 0 for none. */
static unsigned form_opmask(const struct form *form)
{
	ZydisRegister mask = form->instruction->avx.mask.reg;

	if (form->instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	    ZydisRegisterGetClass(mask) != ZYDIS_REGCLASS_MASK)
		return 0;
	return (unsigned)ZydisRegisterGetId(mask);
}

static int form_set_memory(struct form *form, const struct insn *insn)
{
	struct thunk_traits *traits = &form->traits;
	unsigned size = form->memory->size / 8;

	if (size == 0 || size > 64 || form->memory->size % 8 != 0)
		return -ENOTSUP;
	traits->size = (uint16_t)size;
	if (insn_must_be_aligned(insn, form->instruction->encoding ==
					       ZYDIS_INSTRUCTION_ENCODING_LEGACY)) {
		traits->alignment = (uint16_t)(size - 1);
		traits->flags |= misaligned_on_amd(form);
	}
	return 0;
}

/* VMASKMOVPS and kin: elements chosen by the signs of a vector register's. */
static void form_set_vector_mask(struct form *form, unsigned element_size)
{
	int mask = vector_operand(form, ZYDIS_OPERAND_ENCODING_NDSNDD);

	form->traits.mask = THUNK_MASK_ELEMENTS;
	form->traits.element_size = (uint8_t)element_size;
	form->traits.elements = (uint8_t)(form->traits.size / element_size);
	thunk_emit_second(&form->code);
	thunk_emit_read_signs(&form->code, (unsigned)mask, element_size, form->traits.size == 32);
	thunk_emit_return(&form->code);
}

/* How many bits of the opmask count where memory has fewer elements than the operation. */
static unsigned broadcast_elements(const struct form *form)
{
	const ZydisDecodedInstruction *instruction = form->instruction;

	/* Zydis may see the operand of a broadcasting instruction as one element. */
	if (instruction->avx.broadcast.is_static)
		return instruction->avx.vector_length / 8 / form->traits.element_size;
	switch (instruction->avx.broadcast.mode) {
	case ZYDIS_BROADCAST_MODE_1_TO_2: return 2;
	case ZYDIS_BROADCAST_MODE_1_TO_4: return 4;
	case ZYDIS_BROADCAST_MODE_1_TO_8: return 8;
	case ZYDIS_BROADCAST_MODE_1_TO_16: return 16;
	case ZYDIS_BROADCAST_MODE_1_TO_32: return 32;
	default: return 64;
	}
}

static int form_set_opmask(struct form *form)
{
	struct thunk_traits *traits = &form->traits;
	const ZydisDecodedInstruction *instruction = form->instruction;
	unsigned element_size = masked_element_size(form);

	if (element_size == 0 || traits->size % element_size != 0)
		return -ENOTSUP;
	traits->element_size = (uint8_t)element_size;
	traits->elements = (uint8_t)(traits->size / element_size);
	if (instruction->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID) {
		traits->elements = (uint8_t)broadcast_elements(form);
		traits->mask = THUNK_MASK_FOLDED;
	} else {
		traits->mask = is_packed(instruction->mnemonic) ? THUNK_MASK_PACKED
								: THUNK_MASK_ELEMENTS;
	}
	if (form->is_store && !suppresses_faults(instruction))
		traits->flags |= THUNK_FULL_CHECK;
	thunk_emit_second(&form->code);
	thunk_emit_read_opmask(&form->code, form_opmask(form));
	thunk_emit_return(&form->code);
	return 0;
}

/* Give the instruction its thunk; what finds no room among them keeps its own bytes instead, and
 * is composed again at each execution. */
static insn_handler run_from_slot;

static insn_handler *finish(struct insn *insn, const struct form *form, insn_handler *handler,
			    struct thunk *slot)
{
	const struct thunk *thunk;

	if (form->code.length == THUNK_CODE_SIZE)
		return NULL;
	if (slot != NULL) {
		thunk_slot_set(slot, &form->code, &form->traits);
		insn->thunk = slot;
		return handler;
	}
	thunk = thunk_find(&form->code, &form->traits);
	if (thunk != NULL) {
		insn->thunk = (void *)(uintptr_t)thunk;
		return handler;
	}
	uint8_t bytes[16] = {0};

	bytes_copy(bytes, form->decoded->bytes, form->instruction->length);
	bytes_copy(&insn->thunk, bytes, 8);
	bytes_copy(&insn->immediate, bytes + 8, 8);
	return run_from_slot;
}

static bool gather_sizes(ZydisMnemonic mnemonic, uint8_t *index_size, uint8_t *element_size,
			 bool *is_scatter)
{
	*is_scatter = false;
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_VSCATTERDPS:
	case ZYDIS_MNEMONIC_VPSCATTERDD:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VPGATHERDD:
		*index_size = 4;
		*element_size = 4;
		return true;
	case ZYDIS_MNEMONIC_VSCATTERDPD:
	case ZYDIS_MNEMONIC_VPSCATTERDQ:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
		*index_size = 4;
		*element_size = 8;
		return true;
	case ZYDIS_MNEMONIC_VSCATTERQPS:
	case ZYDIS_MNEMONIC_VPSCATTERQD:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERQD:
		*index_size = 8;
		*element_size = 4;
		return true;
	case ZYDIS_MNEMONIC_VSCATTERQPD:
	case ZYDIS_MNEMONIC_VPSCATTERQQ:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERQPD:
	case ZYDIS_MNEMONIC_VPGATHERQQ:
		*index_size = 8;
		*element_size = 8;
		return true;
	default:
		return false;
	}
}

static insn_handler *bind_gather(struct insn *insn, struct form *form, struct thunk *slot)
{
	const ZydisDecodedInstruction *instruction = form->instruction;
	struct thunk_traits *traits = &form->traits;
	struct thunk_code *code = &form->code;
	bool is_evex = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	int data = vector_operand(form, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	int mask = is_evex ? (int)form_opmask(form)
			   : vector_operand(form, ZYDIS_OPERAND_ENCODING_NDSNDD);
	int index = ZydisRegisterGetId(form->memory->mem.index);
	bool is_scatter;

	gather_sizes(instruction->mnemonic, &traits->index_size, &traits->element_size, &is_scatter);
	traits->elements = (uint8_t)(instruction->avx.vector_length / 8 /
				     (traits->index_size > traits->element_size
					      ? traits->index_size
					      : traits->element_size));
	if (data < 0 || mask < 0 || index < 0 || traits->elements == 0)
		return NULL;
	/* Registers must differ, and k0 is no mask (SDM vol. 2, VGATHERDPS and others). */
	if (is_evex ? mask == 0 || (!is_scatter && data == index)
		    : data == index || data == mask || index == mask)
		return NULL;

	if (!is_scatter)
		thunk_emit_move_vector(code, (unsigned)data, is_evex, false, FPU_SCRATCH_DATA);
	if (is_evex)
		thunk_emit_clear_opmask(code, (unsigned)mask);
	else
		thunk_emit_clear_vector(code, (unsigned)mask);
	thunk_emit_return_done(code);
	thunk_emit_second(code);
	thunk_emit_move_vector(code, (unsigned)index, is_evex, true, FPU_SCRATCH_INDEX);
	thunk_emit_move_vector(code, (unsigned)data, is_evex, true, FPU_SCRATCH_DATA);
	if (is_evex)
		thunk_emit_read_opmask(code, (unsigned)mask);
	else
		thunk_emit_read_signs(code, (unsigned)mask, traits->element_size,
				      traits->elements * traits->element_size > 16);
	thunk_emit_return(code);

	insn->index = INSN_REGISTER_NONE;
	insn->scale = (uint8_t)__builtin_ctz(form->memory->mem.scale | 0x100);
	return finish(insn, form, is_scatter ? fpu_run_scatter : fpu_run_gather, slot);
}

/* MASKMOVQ and MASKMOVDQU store to DS:rDI, by bytes. */
static insn_handler *bind_masked_bytes(struct insn *insn, struct form *form, struct thunk *slot)
{
	struct thunk_code *code = &form->code;
	int data = vector_operand(form, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	int mask = vector_operand(form, ZYDIS_OPERAND_ENCODING_MODRM_RM);
	uint8_t store_modrm = (uint8_t)(0x06 | (data & 7) << 3);

	if (data < 0 || mask < 0)
		return NULL;
	form->traits.mask = THUNK_MASK_ELEMENTS;
	form->traits.element_size = 1;
	form->traits.elements = form->has_mmx ? 8 : 16;
	form->traits.size = form->traits.elements;
	if (form->has_mmx) /* movq %mm, (%rsi) */
		thunk_emit(code, (const uint8_t[]){0x0f, 0x7f, store_modrm}, 3);
	else /* movdqu %xmm, (%rsi) */
		thunk_emit(code,
			   (const uint8_t[]){0xf3, data & 8 ? 0x44 : 0x40, 0x0f, 0x7f, store_modrm},
			   5);
	thunk_emit_return_done(code);
	thunk_emit_second(code);
	/* pmovmskb, %eax */
	if (form->has_mmx)
		thunk_emit(code, (const uint8_t[]){0x0f, 0xd7, (uint8_t)(0xc0 | (mask & 7))}, 3);
	else
		thunk_emit(code,
			   (const uint8_t[]){0x66, mask & 8 ? 0x41 : 0x40, 0x0f, 0xd7,
					     (uint8_t)(0xc0 | (mask & 7))},
			   5);
	thunk_emit_return(code);

	insn->base = CPU_RDI;
	insn->index = INSN_REGISTER_NONE;
	insn->displacement = 0;
	insn->segment = (uint8_t)ZydisRegisterGetId(form->memory->mem.segment);
	return finish(insn, form, fpu_run_masked_bytes, slot);
}

/* VZEROALL and VZEROUPPER outside 64-bit mode: registers 8 and up keep their contents. */
static insn_handler *bind_zero(struct insn *insn, struct form *form, struct thunk *slot)
{
	bool is_all = form->instruction->mnemonic == ZYDIS_MNEMONIC_VZEROALL;

	for (unsigned n = 0; n < 8; n++) {
		if (is_all)
			thunk_emit_clear_vector(&form->code, n);
		else /* vmovdqa %xmm, %xmm */
			thunk_emit(&form->code,
				   (const uint8_t[]){0xc5, 0xf9, 0x6f, (uint8_t)(0xc0 | n << 3 | n)}, 4);
	}
	thunk_emit_return_done(&form->code);
	return finish(insn, form, fpu_run_register, slot);
}

static insn_handler *bind_x87(struct insn *insn, struct form *form, struct thunk *slot)
{
	const ZydisDecodedInstruction *instruction = form->instruction;

	insn->immediate2 = (uint16_t)((instruction->opcode & 7) << 8 |
				      form->decoded->bytes[instruction->raw.modrm.offset]);
	if (insn->traits & INSN_X87_CONTROL)
		form->traits.flags = THUNK_X87_CONTROL;
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_FNINIT: form->traits.flags |= THUNK_X87_INIT; break;
	case ZYDIS_MNEMONIC_FLDCW: return finish(insn, form, fpu_run_load, slot);
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
		if (form->memory != NULL)
			return finish(insn, form, fpu_run_store, slot);
		break;
	default: break;
	}
	if (form->memory == NULL)
		return finish(insn, form, fpu_run_x87_register, slot);
	return finish(insn, form, form->is_store ? fpu_run_x87_store : fpu_run_x87_load, slot);
}

static insn_handler *bind(struct insn *insn, const struct decoded *decoded, struct thunk *slot)
{
	struct form form = {.decoded = NULL};
	uint8_t index_size, element_size;
	bool is_scatter;

	if (!form_inspect(&form, decoded) || form_set_gate(&form) != 0)
		return NULL;
	if (gather_sizes(form.instruction->mnemonic, &index_size, &element_size, &is_scatter) &&
	    form.memory != NULL)
		return bind_gather(insn, &form, slot);
	switch (form.instruction->mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return bind_masked_bytes(insn, &form, slot);
	case ZYDIS_MNEMONIC_VZEROALL:
	case ZYDIS_MNEMONIC_VZEROUPPER:
		if ((decoded->mode & CPU_MODE_CODE_MASK) != CPU_MODE_CODE64)
			return bind_zero(insn, &form, slot);
		break;
	default:
		break;
	}

	if (form.memory != NULL &&
	    (form.memory->mem.type != ZYDIS_MEMOP_TYPE_MEM || form_set_memory(&form, insn) != 0))
		return NULL;
	if (thunk_emit_instruction(&form.code, insn, decoded) != 0)
		return NULL;
	if (form.is_x87)
		return bind_x87(insn, &form, slot);
	if (form.memory == NULL)
		return finish(insn, &form, fpu_run_register, slot);

	switch (form.instruction->mnemonic) {
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		return finish(insn, &form, fpu_run_ldmxcsr, slot);
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
		form_set_vector_mask(&form, 4);
		break;
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		form_set_vector_mask(&form, 8);
		break;
	default:
		/* Stores leave masked-out elements alone in any case. */
		if (form_opmask(&form) != 0 &&
		    (form.is_store || suppresses_faults(form.instruction)) &&
		    form_set_opmask(&form) != 0)
			return NULL;
		break;
	}
	if (form.traits.mask == THUNK_MASK_NONE)
		return finish(insn, &form, form.is_store ? fpu_run_store : fpu_run_load, slot);
	return finish(insn, &form, form.is_store ? fpu_run_masked_store : fpu_run_masked_load, slot);
}

insn_handler *fpu_bind(struct insn *insn, const struct decoded *decoded)
{
	return bind(insn, decoded, NULL);
}

/* Compose the thunk again in the CPU's own slot, and run it. */
static void run_from_slot(struct cpu *cpu, const struct insn *insn)
{
	static const ZydisMachineMode modes[] = {
		[CPU_MODE_CODE16] = ZYDIS_MACHINE_MODE_LEGACY_16,
		[CPU_MODE_CODE32] = ZYDIS_MACHINE_MODE_LEGACY_32,
		[CPU_MODE_CODE64] = ZYDIS_MACHINE_MODE_LONG_64,
	};
	static const ZydisStackWidth widths[] = {
		[CPU_MODE_CODE16] = ZYDIS_STACK_WIDTH_16,
		[CPU_MODE_CODE32] = ZYDIS_STACK_WIDTH_32,
		[CPU_MODE_CODE64] = ZYDIS_STACK_WIDTH_64,
	};
	ZydisDecoder decoder;
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	struct insn copy;
	uint8_t bytes[16];
	struct decoded decoded = {
		.instruction = &instruction,
		.operands = operands,
		.bytes = bytes,
		.mode = cpu->mode,
	};
	unsigned mode = cpu->mode & CPU_MODE_CODE_MASK;

	fpu_leave(cpu);
	copy = *insn;
	bytes_copy(bytes, &insn->thunk, 8);
	bytes_copy(bytes + 8, &insn->immediate, 8);
	if (cpu->fpu.slot == NULL)
		cpu->fpu.slot = thunk_slot_create();
	copy.execute = NULL;
	if (cpu->fpu.slot != NULL &&
	    ZYAN_SUCCESS(ZydisDecoderInit(&decoder, modes[mode], widths[mode])) &&
	    ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, insn->length, &instruction,
						operands)))
		copy.execute = bind(&copy, &decoded, cpu->fpu.slot);
	if (copy.execute == NULL)
		cpu_raise(cpu, EXCEPTION_UD);
	copy.execute(cpu, &copy);
}
