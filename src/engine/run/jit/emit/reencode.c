#include "engine/run/jit/emit/reencode.h"

/* The renamed ModRM (and SIB), with the extension bits that go to REX, VEX or EVEX. */
struct fields {
	uint8_t modrm, sib;
	bool has_modrm, has_sib;
	uint8_t displacement_size; /* bytes */
	int32_t displacement;
	uint8_t reg, rm, index; /* full host numbers; for REX.R, .B, .X */
};

static void fields_fill_memory(struct fields *fields, const struct insn_form *form,
			       const struct host_memory *memory)
{
	/* EVEX scales 8-bit displacements (Intel SDM vol. 2 §2.7.5): of those only 0 is used. */
	bool is_short = form->encoding == INSN_EVEX
				? memory->displacement == 0
				: memory->displacement == (int8_t)memory->displacement;
	unsigned mod = is_short ? 1 : 2;

	if (memory->displacement == 0 && (memory->base & 7) != HOST_RBP)
		mod = 0;
	fields->rm = memory->base;
	fields->index = memory->index == HOST_NONE ? 0 : memory->index;
	fields->has_sib = memory->index != HOST_NONE || (memory->base & 7) == HOST_RSP;
	fields->displacement = memory->displacement;
	fields->displacement_size = mod == 2 ? 4 : mod;
	fields->modrm = mod << 6 | (fields->reg & 7) << 3 | (fields->has_sib ? 4 : memory->base & 7);
	fields->sib = memory->shift << 6 | (memory->index == HOST_NONE ? 4 : memory->index & 7) << 3 |
		      (memory->base & 7);
}

static void fields_fill(struct fields *fields, const struct insn_form *form, const uint8_t *bytes,
			const struct reencode *rename, unsigned reg_extension,
			unsigned rm_extension, unsigned index_extension)
{
	uint8_t modrm = form->modrm ? bytes[form->modrm] : 0;

	*fields = (struct fields){ .has_modrm = form->is_moffs || form->modrm };
	fields->reg = (modrm >> 3 & 7) | reg_extension << 3;
	if (form->reg_is_gpr)
		fields->reg = rename->map[fields->reg];
	if (!form->has_memory) {
		fields->rm = (modrm & 7) | rm_extension << 3;
		fields->index = index_extension << 3; /* EVEX.X extends a vector rm */
		if (form->rm_is_gpr)
			fields->rm = rename->map[fields->rm];
		fields->modrm = 0xc0 | (fields->reg & 7) << 3 | (fields->rm & 7);
		return;
	}
	fields_fill_memory(fields, form, &rename->memory);
}

static void emit_tail(struct emitter *e, const struct insn *insn, const struct insn_form *form,
		      const uint8_t *bytes, const struct fields *fields)
{
	if (fields->has_modrm) {
		emit8(e, fields->modrm);
		if (fields->has_sib)
			emit8(e, fields->sib);
		for (unsigned i = 0; i < fields->displacement_size; i++)
			emit8(e, (uint32_t)fields->displacement >> (8 * i));
	}
	if (form->immediate)
		emit_bytes(e, bytes + form->immediate, insn->length - form->immediate);
}

/* Only the last of its kind counts, and a guest's 15 bytes full of others must not become more of them. */
static bool comes_again(const uint8_t *bytes, unsigned index, unsigned count)
{
	for (unsigned i = index + 1; i < count; i++)
		if (bytes[i] == bytes[index])
			return true;
	return false;
}

/* Prefixes keep their order; segments and address size went into the address. */
static void emit_prefixes(struct emitter *e, const struct insn *insn, const struct insn_form *form,
			  const uint8_t *bytes, const struct reencode *rename)
{
	for (unsigned i = 0; i < form->prefixes; i++) {
		uint8_t prefix = bytes[i];

		if (comes_again(bytes, i, form->prefixes))
			continue;
		/* Without meaning to the guest, it would make TZCNT and LZCNT of BSF and BSR. */
		if (prefix == 0xf3 && insn->traits & INSN_KEEPS_RESULT)
			continue;
		if (prefix == 0x66 || prefix == 0xf2 || prefix == 0xf3 ||
		    (prefix == 0xf0 && !rename->without_lock))
			emit8(e, prefix);
	}
}

static bool emit_escape(struct emitter *e, unsigned map)
{
	switch (map) {
	case ZYDIS_OPCODE_MAP_DEFAULT: return true;
	case ZYDIS_OPCODE_MAP_0F: emit8(e, 0x0f); return true;
	case ZYDIS_OPCODE_MAP_0F38: emit8(e, 0x0f); emit8(e, 0x38); return true;
	case ZYDIS_OPCODE_MAP_0F3A: emit8(e, 0x0f); emit8(e, 0x3a); return true;
	default: return false;
	}
}

static bool emit_legacy(struct emitter *e, const struct insn *insn, const struct insn_form *form,
			const uint8_t *bytes, const struct reencode *rename)
{
	unsigned extension = form->rex & 0xf; /* W, R, X, B */
	uint8_t rex = 0x40 | (extension & 8);
	uint8_t opcode = form->opcode;
	struct fields fields = {0};

	if (form->is_moffs) {
		opcode = (opcode & 1) | (opcode & 2 ? 0x88 : 0x8a);
		fields_fill(&fields, form, bytes, rename, 0, 0, 0);
	} else if (form->map == ZYDIS_OPCODE_MAP_DEFAULT && (opcode & 0xf0) == 0x40) {
		/* INC and DEC, whose bytes are REX prefixes in 64-bit mode. */
		fields.rm = rename->map[opcode & 7];
		fields.modrm = 0xc0 | (opcode & 8) | (fields.rm & 7);
		fields.has_modrm = true;
		opcode = 0xff;
	} else if (form->modrm) {
		fields_fill(&fields, form, bytes, rename, extension >> 2 & 1, extension & 1, 0);
		/* The same operation as 80h, which 64-bit mode lacks. */
		if (form->map == ZYDIS_OPCODE_MAP_DEFAULT && opcode == 0x82)
			opcode = 0x80;
	} else if (form->opcode_is_gpr) {
		unsigned reg = rename->map[(opcode & 7) | (extension & 1) << 3];

		opcode = (opcode & ~7u) | (reg & 7);
		rex |= reg >> 3 & 1;
	}
	/* REX.R, .X and .B matter only to general and vector registers, not to x87's. */
	rex |= (fields.reg >> 3 & 1) << 2 | (fields.index >> 3 & 1) << 1 | (fields.rm >> 3 & 1);
	if (form->high_byte && rex != 0x40)
		return false;

	emit_prefixes(e, insn, form, bytes, rename);
	if (rex != 0x40 || (form->rex && !form->high_byte))
		emit8(e, rex);
	if (!emit_escape(e, form->map))
		return false;
	emit8(e, opcode);
	emit_tail(e, insn, form, bytes, &fields);
	return true;
}

/* The register extensions as VEX and EVEX have them in their first byte. */
static uint8_t inverted_rxb(const struct fields *fields)
{
	return !(fields->reg >> 3 & 1) << 7 | !(fields->index >> 3 & 1) << 6 |
	       !(fields->rm >> 3 & 1) << 5;
}

static bool emit_vex(struct emitter *e, const struct insn *insn, const struct insn_form *form,
		     const uint8_t *bytes, const struct reencode *rename)
{
	const uint8_t *prefix = bytes + form->prefixes;
	bool is_short = prefix[0] == 0xc5;
	uint8_t map = is_short ? 1 : prefix[1] & 0x1f;
	uint8_t last = is_short ? prefix[1] & 0x7f : prefix[2]; /* W, vvvv, L, pp */
	unsigned vvvv = ~(last >> 3) & 0xf;
	struct fields fields = {0};

	fields_fill(&fields, form, bytes, rename, !(prefix[1] & 0x80),
		    !is_short && !(prefix[1] & 0x20), 0);
	if (form->vvvv_is_gpr)
		vvvv = rename->map[vvvv];
	emit8(e, 0xc4);
	emit8(e, inverted_rxb(&fields) | map);
	emit8(e, (last & 0x87) | (~vvvv & 0xf) << 3);
	emit8(e, form->opcode);
	/* VZEROUPPER and VZEROALL have no ModRM. */
	emit_tail(e, insn, form, bytes, &fields);
	return true;
}

static bool emit_evex(struct emitter *e, const struct insn *insn, const struct insn_form *form,
		      const uint8_t *bytes, const struct reencode *rename)
{
	const uint8_t *prefix = bytes + form->prefixes;
	unsigned vvvv = ~(prefix[2] >> 3) & 0xf;
	struct fields fields = {0};

	fields_fill(&fields, form, bytes, rename, !(prefix[1] & 0x80), !(prefix[1] & 0x20),
		    form->has_memory || form->rm_is_gpr ? 0 : !(prefix[1] & 0x40));
	if (form->vvvv_is_gpr)
		vvvv = rename->map[vvvv];
	emit8(e, 0x62);
	emit8(e, inverted_rxb(&fields) | (prefix[1] & 0x1f)); /* R', map */
	emit8(e, (prefix[2] & 0x87) | (~vvvv & 0xf) << 3); /* W, 1, pp */
	emit8(e, prefix[3]);
	emit8(e, form->opcode);
	emit_tail(e, insn, form, bytes, &fields);
	return true;
}

bool reencode_emit(struct emitter *e, const struct insn *insn, const struct insn_form *form,
		   const uint8_t *bytes, const struct reencode *rename)
{
	switch (form->encoding) {
	case INSN_LEGACY: return emit_legacy(e, insn, form, bytes, rename);
	case INSN_VEX: return emit_vex(e, insn, form, bytes, rename);
	default: return emit_evex(e, insn, form, bytes, rename);
	}
}
