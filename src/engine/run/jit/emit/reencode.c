#include "engine/run/jit/emit/reencode.h"

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
