/*
 * What an instruction's encoding names, and whether the same can be said with other registers and
 * another memory operand.
 */
#include "engine/x86/decode/form.h"

#include "engine/x86/cpu.h"
#include "engine/x86/decode/isa_set.h"
#include "engine/x86/decode/register.h"

/* Hidden operands stay where they are: only registers and flags are allowed among them. */
static bool hidden_operand_ok(struct insn_form *form, const ZydisDecodedOperand *operand)
{
	const struct register_name *name;

	if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	name = &register_names[operand->reg.value];
	switch (name->class) {
	case ZYDIS_REGCLASS_FLAGS:
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
	case ZYDIS_REGCLASS_MASK:
		return true;
	default:
		break;
	}
	switch (operand->reg.value) {
	case ZYDIS_REGISTER_X87CONTROL:
	case ZYDIS_REGISTER_X87STATUS:
	case ZYDIS_REGISTER_X87TAG:
	case ZYDIS_REGISTER_MXCSR:
		return true;
	default: break;
	}
	if (name->general < 0)
		return false;
	form->gpr_implicit |= (uint16_t)(1u << name->general);
	return true;
}

static bool memory_operand_ok(struct insn_form *form, const ZydisDecodedOperand *operand)
{
	/* The address of LEA is a value; MIB and VSIB are others' business. */
	if (operand->mem.type != ZYDIS_MEMOP_TYPE_MEM || form->has_memory)
		return false;
	if (operand->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 && form->is_32)
		form->is_moffs = true;
	else if (operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
		return false;
	form->has_memory = true;
	form->memory_read = operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	form->memory_written = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	return operand->size >= 8 && operand->size <= 64 * 8;
}

static bool register_operand_ok(struct insn_form *form, const struct insn *insn,
				const ZydisDecodedOperand *operand)
{
	const struct register_name *name = &register_names[operand->reg.value];
	uint16_t bit;

	if (name->general < 0) {
		switch (name->class) {
		case ZYDIS_REGCLASS_X87:
		case ZYDIS_REGCLASS_MMX:
		case ZYDIS_REGCLASS_XMM:
		case ZYDIS_REGCLASS_YMM:
		case ZYDIS_REGCLASS_ZMM:
		case ZYDIS_REGCLASS_MASK: return true;
		default: return false;
		}
	}
	bit = (uint16_t)(1u << name->general);
	form->high_byte |= name->is_high;
	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ || operand->size < 32)
		form->copy_read |= bit;
	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
		form->copy_written |= bit;
		/* A conditional write (CMOV) keeps the old value. */
		if (operand->actions & ZYDIS_OPERAND_ACTION_CONDWRITE ||
		    insn->traits & INSN_KEEPS_RESULT)
			form->copy_read |= bit;
	}
	/* AH to BH keep their encoding, which is that of SPL to DIL. */
	if (name->is_high)
		return true;
	switch (operand->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: form->reg_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: form->rm_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: form->vvvv_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_OPCODE: form->opcode_is_gpr = true; return true;
	/* Implicit in the opcode (AL, eAX, CL). */
	default: form->gpr_implicit |= bit; return true;
	}
}

static bool explicit_operand_ok(struct insn_form *form, const struct insn *insn,
				const ZydisDecodedOperand *operand)
{
	switch (operand->type) {
	case ZYDIS_OPERAND_TYPE_IMMEDIATE: return true;
	case ZYDIS_OPERAND_TYPE_MEMORY: return memory_operand_ok(form, operand);
	case ZYDIS_OPERAND_TYPE_REGISTER: return register_operand_ok(form, insn, operand);
	default: return false;
	}
}

/*
 * Whether VEX or EVEX of 32-bit code mean the same in 64-bit mode, but for memory. 32-bit code has bits
 * there that are ignored: W of instructions with general operands, what would extend a register's
 * number (SDM vol. 2 §2.3.5, §2.7.1). Compilers leave them in their neutral state.
 */
static bool is_neutral(const struct insn_form *form, const struct insn *insn, const uint8_t *bytes)
{
	const uint8_t *prefix = bytes + form->prefixes;
	bool is_evex = form->encoding == INSN_EVEX;
	bool names_gpr = form->reg_is_gpr || form->rm_is_gpr || form->vvvv_is_gpr;

	/* Of those with a register in their immediate byte, bit 7 extends its number. */
	if (!is_evex && form->immediate && form->map == ZYDIS_OPCODE_MAP_0F3A &&
	    form->opcode >= 0x48 && form->opcode < 0x80 && bytes[form->immediate] & 0x80)
		return false;
	if (*prefix == 0xc5)
		return true;
	/* B, V'; R and X are as they must be, else it would be another instruction. */
	if (!(prefix[1] & 0x20) || (is_evex && (!(prefix[1] & 0x10) || !(prefix[3] & 8))))
		return false;
	return (prefix[2] & 0x40) && !(prefix[2] & 0x80 && (names_gpr || insn->traits & INSN_W_IS_SIZE));
}

_Static_assert(ZYDIS_OPCODE_MAP_MAX_VALUE < 16, "insn_form.map");

static void take_encoding(struct insn_form *form, const ZydisDecodedInstruction *in,
			  const uint8_t *bytes)
{
	static const uint8_t encodings[] = {
		[ZYDIS_INSTRUCTION_ENCODING_LEGACY] = INSN_LEGACY,
		[ZYDIS_INSTRUCTION_ENCODING_3DNOW] = INSN_ENCODING_OTHER,
		[ZYDIS_INSTRUCTION_ENCODING_XOP] = INSN_ENCODING_OTHER,
		[ZYDIS_INSTRUCTION_ENCODING_VEX] = INSN_VEX,
		[ZYDIS_INSTRUCTION_ENCODING_EVEX] = INSN_EVEX,
		[ZYDIS_INSTRUCTION_ENCODING_MVEX] = INSN_ENCODING_OTHER,
	};

	form->encoding = encodings[in->encoding] & 15;
	form->map = in->opcode_map & 15;
	form->opcode = in->opcode;
	form->is_32 = in->machine_mode != ZYDIS_MACHINE_MODE_LONG_64;
	form->is_sized = in->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
	if (in->attributes & ZYDIS_ATTRIB_HAS_MODRM)
		form->modrm = in->raw.modrm.offset;
	if (in->raw.imm[0].size)
		form->immediate = in->raw.imm[0].offset;
	switch (in->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX: form->prefixes = in->raw.vex.offset; break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX: form->prefixes = in->raw.evex.offset; break;
	default: form->prefixes = in->raw.prefix_count; break;
	}
	if (form->encoding == INSN_LEGACY && in->attributes & ZYDIS_ATTRIB_HAS_REX)
		form->rex = bytes[in->raw.rex.offset];
}

static void take_registers(struct insn_form *form, const ZydisDecodedOperand *operand,
			   bool *has_mmx)
{
	if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		const struct register_name *name = &register_names[operand->reg.value];

		if (name->class == ZYDIS_REGCLASS_MMX)
			*has_mmx = true;
		if (name->general < 0)
			return;
		form->gpr_named |= (uint16_t)(1u << name->general);
		if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			form->gpr_written |= (uint16_t)(1u << name->general);
	} else if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		int base = register_names[operand->mem.base].general;
		int index = register_names[operand->mem.index].general;

		form->gpr_named |= (uint16_t)((base < 0 ? 0 : 1u << base) |
					      (index < 0 ? 0 : 1u << index));
	}
}

static void take_vectors(struct insn_form *form, const struct insn *insn,
			 const ZydisDecodedInstruction *in, bool has_mmx)
{
	if (form->class != INSN_VECTOR)
		return;
	form->vector_level = isa_vector_level(in);
	form->vector_levels = (uint8_t)(1u << (form->vector_level - 1));
	/* Then the x87 state must allow it, too. */
	if (has_mmx)
		form->vector_levels |= 1u << (INSN_LEVEL_X87 - 1);
	form->is_x87 = form->vector_level == INSN_LEVEL_X87 &&
		       in->meta.isa_ext != ZYDIS_ISA_EXT_MMX && !(insn->traits & INSN_X87_CONTROL);
}

void insn_form_fill(struct insn_form *form, const struct insn *insn, const struct decoded *decoded,
		    const struct isa_row *row)
{
	const ZydisDecodedInstruction *in = decoded->instruction;
	bool is_copyable = true, has_mmx = false;

	*form = (struct insn_form){
		.class = row ? row->class
			 : isa_vector_level(in) != INSN_LEVEL_NONE ? INSN_VECTOR : INSN_HANDLED,
		.operation = row ? row->operation : INSN_COMPUTES,
		.flags_undefined = in->cpu_flags ? in->cpu_flags->undefined & FLAGS_ARITHMETIC : 0,
	};
	take_encoding(form, in, decoded->bytes);
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *operand = &decoded->operands[i];

		take_registers(form, operand, &has_mmx);
		is_copyable = is_copyable &&
			      (operand->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN
				       ? hidden_operand_ok(form, operand)
				       : explicit_operand_ok(form, insn, operand));
	}
	take_vectors(form, insn, in, has_mmx);
	/* Of what else is copied CMPXCHG16B, with LOCK and without. */
	if (form->class == INSN_VECTOR || form->class == INSN_COPIED)
		form->is_aligned = insn_must_be_aligned(insn, form->encoding == INSN_LEGACY);
	form->is_copyable = is_copyable &&
			    (form->encoding == INSN_LEGACY ||
			     (form->encoding != INSN_ENCODING_OTHER &&
			      (!form->is_32 || is_neutral(form, insn, decoded->bytes))));
	form->host_has_it = isa_host_has(in, row);
}
