/* What a vector or x87 instruction asks for: which registers it has, what must be enabled, how its memory
 * operand is aligned and masked. */
#include "engine/x86/instructions/fpu_form.h"

#include <errno.h>

#include "engine/x86/host/host.h"

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

bool fpu_form_inspect(struct fpu_form *form, const struct insn *insn, const struct decoded *decoded)
{
	const ZydisDecodedInstruction *instruction = decoded->instruction;

	form->decoded = decoded;
	form->insn_traits = insn->traits;
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
	form->has_mmx |= (insn->traits & INSN_MMX_STATE) != 0;
	form->has_vector |= (insn->traits & INSN_VECTOR_STATE) != 0;
	return form->is_x87 || form->has_vector || form->has_mmx || form->has_opmask;
}

int fpu_form_set_gate(struct fpu_form *form)
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
static uint8_t misaligned_on_amd(const struct fpu_form *form)
{
	const ZydisDecodedInstruction *instruction = form->instruction;

	if (instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || form->is_store)
		return 0;
	/* MXCSR.MM is not for the moves that are about alignment. */
	if (form->insn_traits & INSN_NEVER_MISALIGNED)
		return 0;
	/* As Zen processors do, where Intel's raise #GP. */
	if (instruction->meta.isa_set == ZYDIS_ISA_SET_SHA)
		return THUNK_AMD_UNALIGNED;
	return THUNK_MAY_MISALIGN;
}

/* The exception classes but those with "NF" (SDM vol. 2 table 2-46 ff.), and less what Zydis files under
 * another class. */
bool fpu_form_suppresses_faults(const struct fpu_form *form)
{
	if (form->insn_traits & INSN_READS_MASKED)
		return false;
	switch (form->instruction->meta.exception_class) {
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

unsigned fpu_form_element_size(const struct fpu_form *form)
{
	if (form->insn_traits & INSN_ELEMENTS_4)
		return 4;
	if (form->insn_traits & INSN_ELEMENTS_8)
		return 8;
	return form->memory->element_size / 8;
}

int fpu_form_vector(const struct fpu_form *form, ZydisOperandEncoding encoding)
{
	for (unsigned i = 0; i < form->instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &form->decoded->operands[i];

		if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && operand->encoding == encoding)
			return ZydisRegisterGetId(operand->reg.value);
	}
	return -1;
}

unsigned fpu_form_opmask(const struct fpu_form *form)
{
	ZydisRegister mask = form->instruction->avx.mask.reg;

	if (form->instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	    ZydisRegisterGetClass(mask) != ZYDIS_REGCLASS_MASK)
		return 0;
	return (unsigned)ZydisRegisterGetId(mask);
}

int fpu_form_set_memory(struct fpu_form *form, const struct insn *insn)
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

void fpu_form_set_vector_mask(struct fpu_form *form)
{
	int mask = fpu_form_vector(form, ZYDIS_OPERAND_ENCODING_NDSNDD);
	unsigned element_size = fpu_form_element_size(form);

	form->traits.mask = THUNK_MASK_ELEMENTS;
	form->traits.element_size = (uint8_t)element_size;
	form->traits.elements = (uint8_t)(form->traits.size / element_size);
	thunk_emit_second(&form->code);
	thunk_emit_read_signs(&form->code, (unsigned)mask, element_size, form->traits.size == 32);
	thunk_emit_return(&form->code);
}

/* How many bits of the opmask count where memory has fewer elements than the operation. */
static unsigned broadcast_elements(const struct fpu_form *form)
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

int fpu_form_set_opmask(struct fpu_form *form)
{
	struct thunk_traits *traits = &form->traits;
	const ZydisDecodedInstruction *instruction = form->instruction;
	unsigned element_size = fpu_form_element_size(form);

	if (element_size == 0 || traits->size % element_size != 0)
		return -ENOTSUP;
	traits->element_size = (uint8_t)element_size;
	traits->elements = (uint8_t)(traits->size / element_size);
	if (instruction->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID) {
		traits->elements = (uint8_t)broadcast_elements(form);
		traits->mask = THUNK_MASK_FOLDED;
	} else {
		traits->mask = form->insn_traits & INSN_PACKED ? THUNK_MASK_PACKED
							       : THUNK_MASK_ELEMENTS;
	}
	if (form->is_store && !fpu_form_suppresses_faults(form))
		traits->flags |= THUNK_FULL_CHECK;
	thunk_emit_second(&form->code);
	thunk_emit_read_opmask(&form->code, fpu_form_opmask(form));
	thunk_emit_return(&form->code);
	return 0;
}
