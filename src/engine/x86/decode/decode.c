/*
 * Bytes to struct insn, through Zydis (Intel SDM vol. 2 §2).
 *
 * Zydis knows the encodings; this file says in which of its modes the guest's CPU decodes, folds
 * its answer into the compact form that handlers read, and asks the instruction's table row for
 * the handler. The decoder follows the guest's CPUID where an encoding means different things on
 * different CPUs (F3 0F BD is LZCNT or BSR), and instructions that CPUID hides are undefined. CET
 * and MPX are never offered to guests, so their encodings are the hint-space NOPs that they are
 * without.
 */
#include "engine/x86/decode/decode.h"

#include <errno.h>
#include <string.h>

#include "engine/x86/cpu.h"
#include "engine/x86/exception.h"
#include "engine/x86/decode/form.h"
#include "engine/x86/decode/isa_set.h"
#include "engine/x86/decode/memo.h"
#include "engine/x86/decode/register.h"

enum decoder_kind { DECODER_64, DECODER_32, DECODER_16, DECODER_REAL, DECODERS };

/* What insn_rules choose. */
enum decoder_variant { VARIANT_LZCNT = 1, VARIANT_TZCNT = 2, VARIANT_AMD = 4, VARIANTS = 8 };

static ZydisDecoder decoders[VARIANTS][DECODERS];

__attribute__((constructor)) static void decode_init(void)
{
	static const struct {
		ZydisMachineMode mode;
		ZydisStackWidth stack;
	} kinds[DECODERS] = {
		[DECODER_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		[DECODER_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
		[DECODER_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
		[DECODER_REAL] = {ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16},
	};

	for (unsigned i = 0; i < VARIANTS * DECODERS; i++) {
		unsigned kind = i % DECODERS, variant = i / DECODERS;
		ZydisDecoder *d = &decoders[variant][kind];

		ZydisDecoderInit(d, kinds[kind].mode, kinds[kind].stack);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_AMD_BRANCHES,
		                       !!(variant & VARIANT_AMD));
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_LZCNT, !!(variant & VARIANT_LZCNT));
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_TZCNT, !!(variant & VARIANT_TZCNT));
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	}
}

const ZydisDecoder *insn_decoder(uint32_t mode, const struct insn_rules *rules)
{
	const ZydisDecoder *variant =
	    decoders[(rules->has_lzcnt ? VARIANT_LZCNT : 0) |
	             (rules->has_tzcnt ? VARIANT_TZCNT : 0) | (rules->is_amd ? VARIANT_AMD : 0)];

	switch (mode & CPU_MODE_CODE_MASK) {
	case CPU_MODE_CODE64: return &variant[DECODER_64];
	case CPU_MODE_CODE32: return &variant[DECODER_32];
	default: return &variant[mode & CPU_MODE_PROTECTED ? DECODER_16 : DECODER_REAL];
	}
}

/* The mnemonic's row; but SSE2 has another MOVSD and another CMPSD than the string instructions. */
static const struct isa_row *row_of(const ZydisDecodedInstruction *instruction)
{
	if (instruction->meta.isa_ext == ZYDIS_ISA_EXT_SSE2 &&
	    (instruction->mnemonic == ZYDIS_MNEMONIC_MOVSD ||
	     instruction->mnemonic == ZYDIS_MNEMONIC_CMPSD))
		return NULL;
	return isa_find((uint16_t)instruction->mnemonic);
}

/* Whether the guest's CPUID says that it is not there: #UD. */
static bool is_hidden(const ZydisDecodedInstruction *instruction, const struct isa_row *row,
                      uint32_t mode, const struct insn_rules *rules)
{
	return rules->features &&
	       isa_verdict(instruction, row, rules->features,
	                   (mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64) == ISA_ABSENT;
}

void insn_undefined(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise(cpu, EXCEPTION_UD);
}

static void take_register(struct insn *insn, unsigned n, ZydisRegister reg)
{
	static const uint8_t kinds[] = {
		[ZYDIS_REGCLASS_SEGMENT] = INSN_OPERAND_SEGMENT,
		[ZYDIS_REGCLASS_CONTROL] = INSN_OPERAND_CONTROL,
		[ZYDIS_REGCLASS_DEBUG] = INSN_OPERAND_DEBUG,
		[ZYDIS_REGCLASS_X87] = INSN_OPERAND_X87,
		[ZYDIS_REGCLASS_MMX] = INSN_OPERAND_MMX,
		[ZYDIS_REGCLASS_MASK] = INSN_OPERAND_MASK,
		[ZYDIS_REGCLASS_XMM] = INSN_OPERAND_VECTOR,
		[ZYDIS_REGCLASS_YMM] = INSN_OPERAND_VECTOR,
		[ZYDIS_REGCLASS_ZMM] = INSN_OPERAND_VECTOR,
		[ZYDIS_REGCLASS_MAX_VALUE] = INSN_OPERAND_NONE,
	};
	const struct register_name *name = &register_names[reg];

	if (name->general >= 0) {
		insn->kind[n] = INSN_OPERAND_REGISTER;
		insn->reg[n] = name->offset;
	} else if (kinds[name->class]) {
		insn->kind[n] = kinds[name->class];
		insn->reg[n] = (uint8_t)name->number;
	}
}

static uint8_t address_register(ZydisRegister reg)
{
	const struct register_name *name = &register_names[reg];

	/* None, or a VSIB index that the handler knows of. */
	if (name->general < 0)
		return name->class == ZYDIS_REGCLASS_IP ? INSN_BASE_RIP : INSN_REGISTER_NONE;
	return (uint8_t)name->general;
}

static void take_memory(struct insn *insn, const ZydisDecodedInstruction *in,
			const ZydisDecodedOperand *operand)
{
	bool has_sib = (in->attributes & ZYDIS_ATTRIB_HAS_SIB) && in->raw.modrm.mod == 0;

	insn->base = address_register(operand->mem.base);
	insn->index = address_register(operand->mem.index);
	insn->scale = operand->mem.scale > 1 ? (uint8_t)__builtin_ctz(operand->mem.scale) : 0;
	insn->displacement = operand->mem.disp.has_displacement ? operand->mem.disp.value : 0;
	/* Base 5 without displacement is no base, whatever REX.B says; Zydis 4.0 takes R13D. */
	if (has_sib && in->raw.sib.base == 5 && operand->mem.base == ZYDIS_REGISTER_R13D) {
		insn->base = INSN_REGISTER_NONE;
		insn->displacement = in->raw.disp.value;
	}
	insn->memory_size = operand->size / 8 <= 255 ? (uint8_t)(operand->size / 8) : 0;
	if (register_names[operand->mem.segment].class == ZYDIS_REGCLASS_SEGMENT)
		insn->segment = (uint8_t)register_names[operand->mem.segment].number;
}

/* The segment of implicit memory operands (strings, XLAT): DS or what a prefix says. */
static uint8_t override_segment(const ZydisDecodedInstruction *in)
{
	if (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return CPU_FS;
	if (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return CPU_GS;
	if (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES)
		return CPU_ES;
	if (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS)
		return CPU_CS;
	if (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS)
		return CPU_SS;
	return CPU_DS;
}

static uint8_t take_prefixes(const ZydisDecodedInstruction *in)
{
	uint8_t prefixes = in->attributes & ZYDIS_ATTRIB_HAS_LOCK ? INSN_LOCK : 0;

	/* The last of F2 and F3 counts. Where they are part of the opcode no handler looks. */
	for (unsigned i = 0; i < in->raw.prefix_count; i++) {
		uint8_t byte = in->raw.prefixes[i].value;

		if (byte == 0xf2 || byte == 0xf3) {
			prefixes &= (uint8_t)~(INSN_REP | INSN_REPNE);
			prefixes |= byte == 0xf3 ? INSN_REP : INSN_REPNE;
		}
	}
	return prefixes;
}

static void take_operands(struct insn *insn, const ZydisDecodedInstruction *in,
			  const ZydisDecodedOperand *operands)
{
	unsigned n = 0, immediates = 0;

	insn->base = insn->index = INSN_REGISTER_NONE;
	insn->segment = override_segment(in);
	for (unsigned i = 0; i < in->operand_count_visible && n < INSN_OPERANDS; i++, n++) {
		const ZydisDecodedOperand *operand = &operands[i];

		switch (operand->type) {
		case ZYDIS_OPERAND_TYPE_REGISTER: take_register(insn, n, operand->reg.value); break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			insn->kind[n] = INSN_OPERAND_MEMORY;
			take_memory(insn, in, operand);
			break;
		case ZYDIS_OPERAND_TYPE_POINTER:
			insn->kind[n] = INSN_OPERAND_FAR;
			insn->immediate = operand->ptr.offset;
			insn->immediate2 = operand->ptr.segment;
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			insn->kind[n] = operand->imm.is_relative ? INSN_OPERAND_RELATIVE
								 : INSN_OPERAND_IMMEDIATE;
			if (immediates++)
				insn->immediate2 = (uint16_t)operand->imm.value.u;
			else
				insn->immediate = operand->imm.value.s;
			break;
		default: break;
		}
	}
}

/*
 * Whether an instruction without memory operands can raise nothing and shows its flags to nobody.
 * Only the plain register forms matter: they are what flag liveness is good for.
 */
static bool is_harmless(const struct insn *insn, const ZydisDecodedInstruction *in,
			const struct isa_row *row)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->kind[i] > INSN_OPERAND_IMMEDIATE)
			return false;
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_BINARY:
		return !row || (row->class != INSN_DIVIDED && row->class != INSN_DIVIDED_SIGNED);
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_CONVERT: return true;
	default: return false;
	}
}

static bool is_lea(const struct isa_row *row)
{
	return row && row->class == INSN_LEA;
}

static bool is_nop(const ZydisDecodedInstruction *in)
{
	return in->meta.category == ZYDIS_CATEGORY_NOP || in->meta.category == ZYDIS_CATEGORY_WIDENOP;
}

/* INSN_PLAIN of what is known for it. */
static bool is_plain(const ZydisDecodedInstruction *in, const struct isa_row *row)
{
	if (in->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
		return false;
	if (row && row->traits & INSN_ALL_FLAGS)
		return false;
	if (is_lea(row))
		return true;
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_NOP: case ZYDIS_CATEGORY_WIDENOP: case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_LOGICAL: case ZYDIS_CATEGORY_BINARY: case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP: case ZYDIS_CATEGORY_CONVERT: return true;
	default:
		return isa_vector_level(in) != INSN_LEVEL_NONE && !(row && row->class == INSN_HANDLED);
	}
}

static void take_traits(struct insn *insn, const ZydisDecodedInstruction *in,
			const ZydisDecodedOperand *operands, const struct isa_row *row)
{
	const ZydisAccessedFlags *flags = in->cpu_flags;
	bool has_memory = false;

	insn->traits = row ? row->traits : 0;
	for (unsigned i = 0; i < in->operand_count && !is_nop(in); i++) {
		if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    operands[i].mem.type == ZYDIS_MEMOP_TYPE_AGEN)
			continue;
		has_memory = true;
		if (operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			insn->traits |= INSN_WRITES_MEMORY;
	}
	/* The operands of LEA and NOP are addresses only. */
	if (has_memory ||
	    (!is_nop(in) && !is_lea(row) && !is_harmless(insn, in, row)))
		insn->traits |= INSN_MAY_FAULT;
	if (in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		insn->traits |= INSN_FAR;
	if (in->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
		insn->traits |= INSN_BRANCHES;
	if (is_plain(in, row))
		insn->traits |= INSN_PLAIN;
	if (flags) {
		insn->flags_read = flags->tested & FLAGS_ARITHMETIC;
		insn->flags_written = (flags->modified | flags->set_0 | flags->set_1 |
				       flags->undefined) & FLAGS_ARITHMETIC;
	}
}

void insn_make_bad(struct insn *insn, struct insn_form *form, insn_handler *execute, size_t length)
{
	*insn = (struct insn){
		.execute = execute, .length = (uint8_t)length, .ends_block = true,
		.base = INSN_REGISTER_NONE, .index = INSN_REGISTER_NONE,
		.traits = INSN_MAY_FAULT, .flags_read = FLAGS_ARITHMETIC,
	};
	*form = (struct insn_form){.class = INSN_HANDLED};
}

/*
 * A near branch of 64-bit mode with a 66 prefix: on AMD's processors its operands have 16 bits, and so has
 * the address that it goes to; Intel's ignore the prefix (AMD APM vol. 3, "Near Branches in 64-Bit Mode";
 * SDM vol. 2, JMP). Zydis knows it of displacements that shrink only.
 */
static bool is_short_branch(const struct decoded *decoded)
{
	const ZydisDecodedInstruction *in = decoded->instruction;

	return decoded->rules->is_amd && (decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64 &&
	       (in->meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT ||
		in->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR) &&
	       (in->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) && !in->raw.rex.W;
}

static enum isa_form form_of(const struct insn *insn, const ZydisDecodedInstruction *in)
{
	if (in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return ISA_FAR;
	for (unsigned i = 0; i < 2; i++) {
		switch (insn->kind[i]) {
		case INSN_OPERAND_SEGMENT: return i ? ISA_SEGMENT_SECOND : ISA_SEGMENT_FIRST;
		case INSN_OPERAND_CONTROL: return i ? ISA_CONTROL_SECOND : ISA_CONTROL_FIRST;
		case INSN_OPERAND_DEBUG: return i ? ISA_DEBUG_SECOND : ISA_DEBUG_FIRST;
		default: break;
		}
	}
	return ISA_ANY_FORM;
}

static void describe(struct insn *insn, struct insn_form *form, const struct decoded *decoded)
{
	const ZydisDecodedInstruction *in = decoded->instruction;
	const struct isa_row *row = row_of(in);
	enum isa_form row_form;

	memset(insn, 0, sizeof(*insn));
	insn->mnemonic = (uint16_t)in->mnemonic;
	insn->length = in->length;
	insn->operand_size = is_short_branch(decoded) ? 2 : in->operand_width / 8;
	insn->address_size = in->address_width / 8;
	insn->stack_width = insn->operand_size;
	if ((decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64)
		insn->stack_width = insn->operand_size == 2 ? 2 : 8;
	insn->prefixes = take_prefixes(in);
	take_operands(insn, in, decoded->operands);
	row_form = form_of(insn, in);
	if (row_form != ISA_ANY_FORM)
		row = isa_find_form(insn->mnemonic, row_form);
	if (is_short_branch(decoded) && insn->kind[0] == INSN_OPERAND_MEMORY)
		insn->memory_size = 2;
	take_traits(insn, in, decoded->operands, row);
	if (!is_hidden(in, row, decoded->mode, decoded->rules))
		insn->execute = isa_bind(insn, decoded, row);
	if (insn->execute)
		insn_form_fill(form, insn, decoded, row);
	else
		insn_make_bad(insn, form, insn_undefined, in->length);
}

int insn_decode_form(struct insn *insn, struct insn_form *form, const uint8_t *bytes, size_t size,
                     uint32_t mode, const struct insn_rules *rules)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction in;
	insn_handler *flagless = NULL;
	struct decoded decoded = { &in, operands, bytes, mode, rules, &flagless };
	ZyanStatus status;

	if (insn_memo_find(rules->memo, bytes, size, mode, insn, form))
		return 0;
	if (size > INSN_LENGTH_MAX)
		size = INSN_LENGTH_MAX;
	status = ZydisDecoderDecodeFull(insn_decoder(mode, rules), bytes, size, &in, operands);
	if (status == ZYDIS_STATUS_NO_MORE_DATA)
		return size == INSN_LENGTH_MAX ? -E2BIG : -ENODATA;
	if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return -E2BIG;
	if (!ZYAN_SUCCESS(status)) {
		/* `size`: the bytes that make it undefined, as far as is known. */
		insn_make_bad(insn, form, insn_undefined, size);
		return 0;
	}
	describe(insn, form, &decoded);
	form->other = flagless;
	if (insn->execute != insn_undefined)
		insn_memo_keep(rules->memo, insn, form, &decoded);
	return 0;
}

int insn_decode(struct insn *insn, const uint8_t *bytes, size_t size, uint32_t mode,
                const struct insn_rules *rules)
{
	struct insn_form form;

	return insn_decode_form(insn, &form, bytes, size, mode, rules);
}

bool insn_glance(struct insn_glance *glance, const uint8_t *bytes, size_t size, uint32_t mode,
                 const struct insn_rules *rules)
{
	const struct insn *known = insn_memo_see(rules->memo, bytes, size, mode);
	const ZydisAccessedFlags *flags;
	ZydisDecodedInstruction in;
	const struct isa_row *row;

	if (known) {
		*glance = (struct insn_glance){
			.traits = known->traits & (INSN_BRANCHES | INSN_PLAIN),
			.flags_read = known->flags_read,
			.flags_written = known->flags_written,
			.length = known->length,
		};
		return true;
	}
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(insn_decoder(mode, rules), NULL, bytes, size,
							&in)))
		return false;
	glance->length = in.length;
	row = row_of(&in);
	flags = in.cpu_flags;
	glance->traits = (in.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ? INSN_BRANCHES : 0) |
			 (is_plain(&in, row) ? INSN_PLAIN : 0);
	glance->flags_read = glance->flags_written = 0;
	if (flags) {
		glance->flags_read = flags->tested & FLAGS_ARITHMETIC;
		glance->flags_written = (flags->modified | flags->set_0 | flags->set_1 |
					 flags->undefined) & FLAGS_ARITHMETIC;
	}
	return !is_hidden(&in, row, mode, rules);
}
