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
#include "engine/x86/host/host.h"
#include "engine/x86/decode/isa_feature.h"

enum decoder_kind { DECODER_64, DECODER_32, DECODER_16, DECODER_REAL, DECODERS };

/* What insn_rules choose. */
enum decoder_variant { VARIANT_LZCNT = 1, VARIANT_TZCNT = 2, VARIANT_AMD = 4, VARIANTS = 8 };

static ZydisDecoder decoders[VARIANTS][DECODERS];

struct insn_rules insn_host_rules;

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
	insn_host_rules = (struct insn_rules){
	    .has_lzcnt = host_has(HOST_LZCNT),
	    .has_tzcnt = host_has(HOST_BMI1),
	    .is_amd = host.is_amd,
	};
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

bool insn_is_hidden(const ZydisDecodedInstruction *instruction, uint32_t mode,
                    const struct insn_rules *rules)
{
	return rules->features &&
	       isa_verdict(instruction, rules->features,
	                   (mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64) == ISA_ABSENT;
}

void insn_undefined(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise(cpu, EXCEPTION_UD);
}

static uint8_t general_register(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		/* AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B...: the third four are bytes 0 of
		 * the registers whose bytes 1 the second four are. */
		reg -= ZYDIS_REGISTER_AL;
		if (reg < 4)
			return (uint8_t)(reg * 8);
		return (uint8_t)(reg < 8 ? (reg - 4) * 8 + 1 : (reg - 4) * 8);
	default:
		return (uint8_t)(ZydisRegisterGetId(reg) * 8);
	}
}

static void take_register(struct insn *insn, unsigned n, ZydisRegister reg)
{
	ZyanI8 id = ZydisRegisterGetId(reg);
	enum insn_operand kind;

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		insn->kind[n] = INSN_OPERAND_REGISTER;
		insn->reg[n] = general_register(reg);
		return;
	case ZYDIS_REGCLASS_SEGMENT: kind = INSN_OPERAND_SEGMENT; break;
	case ZYDIS_REGCLASS_CONTROL: kind = INSN_OPERAND_CONTROL; break;
	case ZYDIS_REGCLASS_DEBUG: kind = INSN_OPERAND_DEBUG; break;
	case ZYDIS_REGCLASS_X87: kind = INSN_OPERAND_X87; break;
	case ZYDIS_REGCLASS_MMX: kind = INSN_OPERAND_MMX; break;
	case ZYDIS_REGCLASS_MASK: kind = INSN_OPERAND_MASK; break;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM: kind = INSN_OPERAND_VECTOR; break;
	default: return;
	}
	insn->kind[n] = kind;
	insn->reg[n] = (uint8_t)id;
}

static uint8_t address_register(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return (uint8_t)ZydisRegisterGetId(reg);
	case ZYDIS_REGCLASS_IP: return INSN_BASE_RIP;
	default: return INSN_REGISTER_NONE; /* none, or a VSIB index that the handler knows of */
	}
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
	if (ZydisRegisterGetClass(operand->mem.segment) == ZYDIS_REGCLASS_SEGMENT)
		insn->segment = (uint8_t)ZydisRegisterGetId(operand->mem.segment);
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
static bool is_harmless(const struct insn *insn, const ZydisDecodedInstruction *in)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->kind[i] > INSN_OPERAND_IMMEDIATE)
			return false;
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_BINARY:
		return in->mnemonic != ZYDIS_MNEMONIC_DIV && in->mnemonic != ZYDIS_MNEMONIC_IDIV;
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

static void take_effects(struct insn_effects *effects, const struct insn *insn,
			 const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands)
{
	const ZydisAccessedFlags *flags = in->cpu_flags;
	bool is_nop = in->meta.category == ZYDIS_CATEGORY_NOP ||
		      in->meta.category == ZYDIS_CATEGORY_WIDENOP;
	bool has_memory = false;

	effects->writes_memory = false;
	for (unsigned i = 0; i < in->operand_count && !is_nop; i++) {
		if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    operands[i].mem.type == ZYDIS_MEMOP_TYPE_AGEN)
			continue;
		has_memory = true;
		if (operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			effects->writes_memory = true;
	}
	/* The operands of LEA and NOP are addresses only. */
	effects->may_fault = has_memory || (!is_nop && in->mnemonic != ZYDIS_MNEMONIC_LEA &&
					    !is_harmless(insn, in));
	effects->flags_written = 0;
	effects->flags_read = flags ? flags->tested & FLAGS_ARITHMETIC : 0;
	/* Shifts and rotates by zero write nothing; undefined flags may mean unchanged ones: only
	 * instructions with a flagless form are known to write all that they name. */
	if (flags && insn->execute_flagless)
		effects->flags_written = (flags->modified | flags->set_0 | flags->set_1 |
					  flags->undefined) & FLAGS_ARITHMETIC;
	else if (flags)
		effects->flags_read |= flags->undefined & FLAGS_ARITHMETIC;
	/* An exception shows all flags as they were before the instruction. */
	if (effects->may_fault)
		effects->flags_read = FLAGS_ARITHMETIC;
}

/* `length`: the bytes that make it undefined, as far as is known. */
static int undefined(struct insn *insn, struct insn_effects *effects, size_t length)
{
	memset(insn, 0, sizeof(*insn));
	insn->execute = insn_undefined;
	insn->length = (uint8_t)length;
	insn->base = insn->index = INSN_REGISTER_NONE;
	insn->ends_block = 1;
	*effects = (struct insn_effects){FLAGS_ARITHMETIC, 0, true, false};
	return 0;
}

/* Rows say what general and system instructions do; all else is the FPU's. */
static insn_handler *bind(struct insn *insn, const struct decoded *decoded)
{
	const struct isa_row *row = isa_find(insn->mnemonic);

	if (!row)
		return fpu_bind(insn, decoded);
	insn->ends_block = row->ends_block;
	return row->bind ? row->bind(insn, decoded, row) : row->execute;
}

void insn_describe(struct insn *insn, const struct decoded *decoded, struct insn_effects *effects)
{
	const ZydisDecodedInstruction *in = decoded->instruction;

	memset(insn, 0, sizeof(*insn));
	insn->mnemonic = (uint16_t)in->mnemonic;
	insn->length = in->length;
	insn->operand_size = in->operand_width / 8;
	insn->address_size = in->address_width / 8;
	insn->stack_width = insn->operand_size;
	if ((decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64)
		insn->stack_width = in->operand_width == 16 ? 2 : 8;
	insn->prefixes = take_prefixes(in);
	insn->flags_live = 1;
	take_operands(insn, in, decoded->operands);
	if (!insn_is_hidden(in, decoded->mode, decoded->rules))
		insn->execute = bind(insn, decoded);
	if (!insn->execute)
		undefined(insn, effects, in->length);
	else
		take_effects(effects, insn, in, decoded->operands);
}

int insn_decode_effects(struct insn *insn, const uint8_t *bytes, size_t size, uint32_t mode,
                        const struct insn_rules *rules, struct insn_effects *effects)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction in;
	ZyanStatus status;

	if (size > INSN_LENGTH_MAX)
		size = INSN_LENGTH_MAX;
	status = ZydisDecoderDecodeFull(insn_decoder(mode, rules), bytes, size, &in, operands);
	if (status == ZYDIS_STATUS_NO_MORE_DATA)
		return size == INSN_LENGTH_MAX ? -E2BIG : -ENODATA;
	if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return -E2BIG;
	if (!ZYAN_SUCCESS(status))
		return undefined(insn, effects, size);
	insn_describe(insn, &(struct decoded){&in, operands, bytes, mode, rules}, effects);
	return 0;
}

int insn_decode(struct insn *insn, const uint8_t *bytes, size_t size, uint32_t mode,
                const struct insn_rules *rules)
{
	struct insn_effects effects;

	return insn_decode_effects(insn, bytes, size, mode, rules, &effects);
}
