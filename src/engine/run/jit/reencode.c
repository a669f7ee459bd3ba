#include "engine/run/jit/reencode.h"

#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"

/* Guest number of a general register of any width; -1 for other registers. AH.. count as RAX.. */
static int gpr_number(ZydisRegister reg, bool *high)
{
	*high = false;
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
			*high = true;
			return reg - ZYDIS_REGISTER_AH;
		}
		/* fall through */
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(
			ZYDIS_MACHINE_MODE_LONG_64, reg));
	default:
		return -1;
	}
}

/* Hidden operands stay where they are: only registers that the fixed map leaves in place, and
 * flags, are allowed among them. */
static bool hidden_operand_ok(const ZydisDecodedOperand *operand)
{
	bool high;
	int number;

	if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	switch (ZydisRegisterGetClass(operand->reg.value)) {
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
	default:
		break;
	}
	number = gpr_number(operand->reg.value, &high);
	return number >= 0 && number != HOST_RSP && number < HOST_R13;
}

static bool explicit_operand(struct reencode_info *info, ZydisMnemonic mnemonic, bool is_32,
			     const ZydisDecodedOperand *operand)
{
	bool high;
	int number;

	switch (operand->type) {
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return true;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (operand->mem.type == ZYDIS_MEMOP_TYPE_AGEN) {
			/* LEA: the address itself is the value; the translator has its own. */
			return false;
		}
		if (operand->mem.type != ZYDIS_MEMOP_TYPE_MEM || info->has_memory)
			return false;
		if (operand->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 && is_32)
			info->is_moffs = true;
		else if (operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
			return false;
		info->has_memory = true;
		info->memory_size = operand->size / 8;
		info->memory_read = operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
		info->memory_written = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		return info->memory_size > 0 && info->memory_size <= 64;
	case ZYDIS_OPERAND_TYPE_REGISTER:
		break;
	default:
		return false;
	}
	number = gpr_number(operand->reg.value, &high);
	if (number < 0) {
		switch (ZydisRegisterGetClass(operand->reg.value)) {
		case ZYDIS_REGCLASS_X87:
		case ZYDIS_REGCLASS_MMX:
		case ZYDIS_REGCLASS_XMM:
		case ZYDIS_REGCLASS_YMM:
		case ZYDIS_REGCLASS_ZMM:
		case ZYDIS_REGCLASS_MASK:
			return true;
		default:
			return false;
		}
	}
	info->high_byte |= high;
	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ || operand->size < 32)
		info->gpr_read |= 1u << number;
	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
		info->gpr_written |= 1u << number;
		/* A conditional write (CMOV) keeps the old value. So do BSF and BSR when the
		 * source is 0, as processors have it. */
		if (operand->actions & ZYDIS_OPERAND_ACTION_CONDWRITE ||
		    mnemonic == ZYDIS_MNEMONIC_BSF || mnemonic == ZYDIS_MNEMONIC_BSR)
			info->gpr_read |= 1u << number;
	}
	/* AH to BH keep their encoding, which is that of SPL to DIL. */
	if (high)
		return true;
	switch (operand->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: info->reg_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: info->rm_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: info->vvvv_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_OPCODE: info->opcode_is_gpr = true; return true;
	default:
		/* Implicit in the opcode (AL, eAX, CL): stays in place. */
		return number != HOST_RSP && number < HOST_R13;
	}
}

/*
 * Whether VEX and EVEX mean the same in 64-bit mode, but for memory. 32-bit code has bits there that
 * are ignored: W of instructions with general registers, what would extend a register's number (SDM
 * vol. 2 §2.3.5, §2.7.1). Compilers leave them in their neutral state.
 */
static bool means_the_same(const ZydisDecodedInstruction *instruction,
			   const ZydisDecodedOperand *operands, const uint8_t *bytes)
{
	ZydisDecodedOperand others[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction other;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(insn_decoder(CPU_MODE_CODE64, &insn_host_rules),
	                                         bytes, instruction->length, &other, others)) ||
	    other.mnemonic != instruction->mnemonic || other.length != instruction->length ||
	    other.operand_count != instruction->operand_count)
		return false;
	for (unsigned i = 0; i < other.operand_count; i++) {
		if (operands[i].type != others[i].type || operands[i].size != others[i].size)
			return false;
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    operands[i].reg.value != others[i].reg.value)
			return false;
	}
	return true;
}

void reencode_inspect(struct reencode_info *info, const ZydisDecodedInstruction *instruction,
		      const ZydisDecodedOperand *operands, const uint8_t *bytes)
{
	bool is_32 = instruction->machine_mode != ZYDIS_MACHINE_MODE_LONG_64;

	*info = (struct reencode_info){0};
	for (unsigned i = 0; i < instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &operands[i];
		bool ok = operand->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN
				  ? hidden_operand_ok(operand)
				  : explicit_operand(info, instruction->mnemonic, is_32,
						     operand);

		if (!ok)
			return;
	}
	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
		info->possible = true;
		break;
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		info->possible = !is_32 || means_the_same(instruction, operands, bytes);
		break;
	default:
		break;
	}
}

/* The renamed ModRM (and SIB), with the extension bits that go to REX, VEX or EVEX. */
struct fields {
	uint8_t modrm, sib;
	bool has_modrm, has_sib;
	uint8_t displacement_size; /* bytes */
	int32_t displacement;
	uint8_t reg, rm, index; /* full host numbers; for REX.R, .B, .X */
};

static void fields_fill_memory(struct fields *fields, const ZydisDecodedInstruction *instruction,
			       const struct host_memory *memory)
{
	/* EVEX scales 8-bit displacements (Intel SDM vol. 2 §2.7.5): of those only 0 is used. */
	bool is_short = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX
				? memory->displacement == 0
				: memory->displacement == (int8_t)memory->displacement;
	unsigned mod = is_short ? 1 : 2;

	if (memory->displacement == 0 && (memory->base & 7) != HOST_RBP)
		mod = 0;
	fields->rm = memory->base;
	fields->index = memory->index == HOST_NONE ? 0 : memory->index;
	fields->has_sib = true;
	fields->displacement = memory->displacement;
	fields->displacement_size = mod == 2 ? 4 : mod;
	fields->modrm = mod << 6 | (fields->reg & 7) << 3 | 4;
	fields->sib = memory->shift << 6 | (memory->index == HOST_NONE ? 4 : memory->index & 7) << 3 | (memory->base & 7);
}

static void fields_fill(struct fields *fields, const ZydisDecodedInstruction *instruction,
			const struct reencode_info *info, const struct reencode *rename,
			unsigned reg_extension, unsigned rm_extension, unsigned index_extension)
{
	const struct ZydisDecodedInstructionModRm_ *modrm = &instruction->raw.modrm;

	*fields = (struct fields){
		.has_modrm = info->is_moffs || instruction->attributes & ZYDIS_ATTRIB_HAS_MODRM,
	};
	fields->reg = modrm->reg | reg_extension << 3;
	if (info->reg_is_gpr)
		fields->reg = rename->map[fields->reg];
	if (!info->has_memory) {
		fields->rm = modrm->rm | rm_extension << 3;
		fields->index = index_extension << 3; /* EVEX.X extends a vector rm */
		if (info->rm_is_gpr)
			fields->rm = rename->map[fields->rm];
		fields->modrm = 0xc0 | (fields->reg & 7) << 3 | (fields->rm & 7);
		return;
	}
	fields_fill_memory(fields, instruction, &rename->memory);
}

static void emit_tail(struct emitter *e, const ZydisDecodedInstruction *instruction,
		      const uint8_t *bytes, const struct fields *fields)
{
	if (fields->has_modrm) {
		emit8(e, fields->modrm);
		if (fields->has_sib)
			emit8(e, fields->sib);
		for (unsigned i = 0; i < fields->displacement_size; i++)
			emit8(e, (uint32_t)fields->displacement >> (8 * i));
	}
	if (instruction->raw.imm[0].size)
		emit_bytes(e, bytes + instruction->raw.imm[0].offset,
			   instruction->length - instruction->raw.imm[0].offset);
}

static bool emit_legacy(struct emitter *e, const ZydisDecodedInstruction *instruction,
			const uint8_t *bytes, const struct reencode_info *info,
			const struct reencode *rename)
{
	bool has_rex = instruction->attributes & ZYDIS_ATTRIB_HAS_REX;
	const ZydisDecodedInstructionRawRex *raw = &instruction->raw.rex;
	uint8_t rex = 0x40 | (has_rex ? raw->W << 3 : 0);
	uint8_t opcode = instruction->opcode;
	struct fields fields = {0};

	if (info->is_moffs) {
		opcode = (opcode & 1) | (opcode & 2 ? 0x88 : 0x8a);
		fields_fill(&fields, instruction, info, rename, 0, 0, 0);
	} else if (instruction->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
		   (opcode & 0xf0) == 0x40) {
		/* INC and DEC, whose bytes are REX prefixes in 64-bit mode. */
		fields.rm = rename->map[opcode & 7];
		fields.modrm = 0xc0 | (opcode & 8) | (fields.rm & 7);
		fields.has_modrm = true;
		opcode = 0xff;
	} else if (instruction->attributes & ZYDIS_ATTRIB_HAS_MODRM) {
		fields_fill(&fields, instruction, info, rename, has_rex ? raw->R : 0,
			    has_rex ? raw->B : 0, 0);
		/* The same operation as 80h, which 64-bit mode lacks. */
		if (instruction->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && opcode == 0x82)
			opcode = 0x80;
	} else if (info->opcode_is_gpr) {
		unsigned reg = rename->map[(opcode & 7) | (has_rex ? raw->B : 0) << 3];

		opcode = (opcode & ~7u) | (reg & 7);
		rex |= reg >> 3 & 1;
	}
	/* REX.R, .X and .B matter only to general and vector registers, not to x87's. */
	rex |= (fields.reg >> 3 & 1) << 2 | (fields.index >> 3 & 1) << 1 | (fields.rm >> 3 & 1);
	if (info->high_byte && rex != 0x40)
		return false;

	/* Prefixes keep their order; segments and address size went into the address. */
	for (unsigned i = 0; i < instruction->raw.prefix_count; i++) {
		uint8_t prefix = instruction->raw.prefixes[i].value;

		/* Without meaning to the guest, it would make TZCNT and LZCNT on the host. */
		if (prefix == 0xf3 && (instruction->mnemonic == ZYDIS_MNEMONIC_BSF ||
		                       instruction->mnemonic == ZYDIS_MNEMONIC_BSR))
			continue;
		if (prefix == 0x66 || prefix == 0xf2 || prefix == 0xf3 ||
		    (prefix == 0xf0 && !rename->without_lock))
			emit8(e, prefix);
	}
	if (rex != 0x40 || (has_rex && !info->high_byte))
		emit8(e, rex);
	switch (instruction->opcode_map) {
	case ZYDIS_OPCODE_MAP_DEFAULT: break;
	case ZYDIS_OPCODE_MAP_0F: emit8(e, 0x0f); break;
	case ZYDIS_OPCODE_MAP_0F38: emit8(e, 0x0f); emit8(e, 0x38); break;
	case ZYDIS_OPCODE_MAP_0F3A: emit8(e, 0x0f); emit8(e, 0x3a); break;
	default: return false;
	}
	emit8(e, opcode);
	emit_tail(e, instruction, bytes, &fields);
	return true;
}

/* The register extensions as VEX and EVEX have them in their first byte. */
static uint8_t inverted_rxb(const struct fields *fields)
{
	return !(fields->reg >> 3 & 1) << 7 | !(fields->index >> 3 & 1) << 6 |
	       !(fields->rm >> 3 & 1) << 5;
}

static bool emit_vex(struct emitter *e, const ZydisDecodedInstruction *instruction,
		     const uint8_t *bytes, const struct reencode_info *info,
		     const struct reencode *rename)
{
	const ZydisDecodedInstructionRawVex *raw = &instruction->raw.vex;
	/* Zydis keeps R, X, B, vvvv as they stand in the prefix: inverted. */
	unsigned vvvv = ~raw->vvvv & 0xf;
	struct fields fields = {0};

	fields_fill(&fields, instruction, info, rename, !raw->R, !raw->B, 0);
	if (info->vvvv_is_gpr)
		vvvv = rename->map[vvvv];
	emit8(e, 0xc4);
	emit8(e, inverted_rxb(&fields) | raw->m_mmmm);
	emit8(e, raw->W << 7 | (~vvvv & 0xf) << 3 | raw->L << 2 | raw->pp);
	emit8(e, instruction->opcode);
	/* VZEROUPPER and VZEROALL have no ModRM. */
	emit_tail(e, instruction, bytes, &fields);
	return true;
}

static bool emit_evex(struct emitter *e, const ZydisDecodedInstruction *instruction,
		      const uint8_t *bytes, const struct reencode_info *info,
		      const struct reencode *rename)
{
	const ZydisDecodedInstructionRawEvex *raw = &instruction->raw.evex;
	unsigned vvvv = ~raw->vvvv & 0xf;
	struct fields fields = {0};

	fields_fill(&fields, instruction, info, rename, !raw->R, !raw->B,
		    info->has_memory || info->rm_is_gpr ? 0 : !raw->X);
	if (info->vvvv_is_gpr)
		vvvv = rename->map[vvvv];
	emit8(e, 0x62);
	emit8(e, inverted_rxb(&fields) | (raw->R2 & 1) << 4 | raw->mmm);
	emit8(e, raw->W << 7 | (~vvvv & 0xf) << 3 | 1 << 2 | raw->pp);
	emit8(e, raw->z << 7 | raw->L2 << 6 | raw->L << 5 | raw->b << 4 | (raw->V2 & 1) << 3 |
			 raw->aaa);
	emit8(e, instruction->opcode);
	emit_tail(e, instruction, bytes, &fields);
	return true;
}

bool reencode_emit(struct emitter *e, const ZydisDecodedInstruction *instruction,
		   const uint8_t *bytes, const struct reencode_info *info,
		   const struct reencode *rename)
{
	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
		return emit_legacy(e, instruction, bytes, info, rename);
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		return emit_vex(e, instruction, bytes, info, rename);
	default:
		return emit_evex(e, instruction, bytes, info, rename);
	}
}
