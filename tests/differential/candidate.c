/*
 * Instructions for cases: random bytes in the shape of an encoding, kept when the decoder knows them as
 * an instruction of the class that may run.
 *
 * What must not run on the host: whatever enters the kernel or changes state that the kernel does
 * not restore, and whatever has no repeatable result. is_allowed lists them.
 */
#include "candidate.h"
#include "../undefined_flags.h"

#include "engine/x86/decode/isa_set.h"
#include "engine/x86/host/host.h"

const ZydisDecoder *decoder(const struct isa_case *test)
{
	static ZydisDecoder decoders[3];
	static bool is_ready;

	if (!is_ready) {
		ZydisDecoderInit(&decoders[0], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ZydisDecoderInit(&decoders[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
				 ZYDIS_STACK_WIDTH_32);
		ZydisDecoderInit(&decoders[2], ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
				 ZYDIS_STACK_WIDTH_16);
		for (unsigned i = 0; i < 3; i++) {
			/* As the host reads these bytes. */
			ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_AMD_BRANCHES,
					       host.is_amd);
			ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_LZCNT,
					       host_has(HOST_LZCNT));
			ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_TZCNT,
					       host_has(HOST_BMI1));
		}
		is_ready = true;
	}
	return &decoders[test->is_32 + test->is_16];
}

bool decode(struct candidate *c, const struct isa_case *test)
{
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder(test), c->bytes, sizeof(c->bytes),
						   &c->instruction, c->operands));
}

static bool has_operand(const struct candidate *c, ZydisRegisterClass class)
{
	for (unsigned i = 0; i < c->instruction.operand_count; i++)
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(c->operands[i].reg.value) == class)
			return true;
	return false;
}

/* What processors of AMD do in ways that the manuals leave open, and others otherwise. */
static bool varies_on_amd(const struct candidate *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;

	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_MOVSXD: /* to 16 bits: how much of memory it reads */
		return instruction->operand_width == 16;
	case ZYDIS_MNEMONIC_NOP: /* 0F 0D with a register: PREFETCHW or #UD */
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHW:
		return instruction->opcode_map == ZYDIS_OPCODE_MAP_0F &&
		       instruction->opcode == 0x0d && instruction->raw.modrm.mod == 3;
	default:
		return false;
	}
}

bool is_allowed(const struct candidate *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;

	/* A test hides from the engine what the host runs. */
	if (host.is_masked && !isa_host_has(instruction, isa_find((uint16_t)instruction->mnemonic)))
		return false;
	if (host.is_amd && varies_on_amd(c))
		return false;
	/* The result is undefined. */
	if (instruction->mnemonic == ZYDIS_MNEMONIC_BSWAP && c->operands[0].size == 16)
		return false;
	switch (instruction->meta.category) {
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_VTX:
	case ZYDIS_CATEGORY_RDRAND:
	case ZYDIS_CATEGORY_RDSEED:
	case ZYDIS_CATEGORY_SGX:
	case ZYDIS_CATEGORY_AMX_TILE:
	case ZYDIS_CATEGORY_KEYLOCKER:
	case ZYDIS_CATEGORY_KEYLOCKER_WIDE:
	case ZYDIS_CATEGORY_UINTR:
	case ZYDIS_CATEGORY_ENQCMD:
	case ZYDIS_CATEGORY_CET:
	case ZYDIS_CATEGORY_CLDEMOTE:
	case ZYDIS_CATEGORY_TSX_LDTRK:
	case ZYDIS_CATEGORY_HRESET:
	case ZYDIS_CATEGORY_SERIALIZE:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_WAITPKG:
	case ZYDIS_CATEGORY_MOVDIR:
	case ZYDIS_CATEGORY_PCONFIG:
	case ZYDIS_CATEGORY_RDPID:
	case ZYDIS_CATEGORY_RDPRU:
	case ZYDIS_CATEGORY_PKU:
	case ZYDIS_CATEGORY_MPX:
	case ZYDIS_CATEGORY_PADLOCK:
		return false;
	default:
		break;
	}
	switch (instruction->meta.isa_ext) {
	case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_RTM:
	case ZYDIS_ISA_EXT_SMX:
	case ZYDIS_ISA_EXT_MONITOR:
	case ZYDIS_ISA_EXT_MONITORX:
	case ZYDIS_ISA_EXT_KNC:
	case ZYDIS_ISA_EXT_MCOMMIT:
	case ZYDIS_ISA_EXT_TDX:
	case ZYDIS_ISA_EXT_SNP:
	case ZYDIS_ISA_EXT_LONGMODE: /* SWAPGS and its like */
		if (instruction->mnemonic != ZYDIS_MNEMONIC_MOVSXD &&
		    instruction->mnemonic != ZYDIS_MNEMONIC_CDQE &&
		    instruction->mnemonic != ZYDIS_MNEMONIC_CQO)
			return false;
		break;
	default:
		break;
	}
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
	case ZYDIS_MNEMONIC_LAR: /* what depends on the kernel's descriptor tables */
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_ARPL:
	case ZYDIS_MNEMONIC_SGDT: /* the kernel answers for these under UMIP */
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_UD0: /* decoders differ in its length; it is #UD */
	case ZYDIS_MNEMONIC_VMFUNC:
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
	case ZYDIS_MNEMONIC_ENCLV:
	case ZYDIS_MNEMONIC_GETSEC:
	case ZYDIS_MNEMONIC_PTWRITE:
	case ZYDIS_MNEMONIC_CLZERO: /* AMD's; the engine has it everywhere */
	case ZYDIS_MNEMONIC_XABORT:
	case ZYDIS_MNEMONIC_XBEGIN:
	case ZYDIS_MNEMONIC_XEND:
	case ZYDIS_MNEMONIC_XTEST:
		return false;
	default:
		break;
	}
	if (instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return false;
	/* Loads of segment registers. */
	for (unsigned i = 0; i < instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &c->operands[i];

		if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(operand->reg.value) == ZYDIS_REGCLASS_SEGMENT &&
		    (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			return false;
	}
	return true;
}

enum isa_class class_of(const struct candidate *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;

	switch (instruction->meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87:
		return ISA_X87;
	case ZYDIS_ISA_EXT_SSE3:
		if (instruction->mnemonic == ZYDIS_MNEMONIC_FISTTP)
			return ISA_X87;
		break;
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_AMD3DNOW:
		return ISA_MMX;
	case ZYDIS_ISA_EXT_XSAVE:
	case ZYDIS_ISA_EXT_XSAVEC:
	case ZYDIS_ISA_EXT_XSAVEOPT:
	case ZYDIS_ISA_EXT_XSAVES:
		return ISA_SYSTEM;
	case ZYDIS_ISA_EXT_BMI1:
	case ZYDIS_ISA_EXT_BMI2:
	case ZYDIS_ISA_EXT_LZCNT:
	case ZYDIS_ISA_EXT_ADOX_ADCX:
	case ZYDIS_ISA_EXT_MOVBE:
		return ISA_GENERAL;
	case ZYDIS_ISA_EXT_AVX512VEX:
		return ISA_AVX512;
	default:
		break;
	}
	if (instruction->mnemonic == ZYDIS_MNEMONIC_FXSAVE ||
	    instruction->mnemonic == ZYDIS_MNEMONIC_FXSAVE64 ||
	    instruction->mnemonic == ZYDIS_MNEMONIC_FXRSTOR ||
	    instruction->mnemonic == ZYDIS_MNEMONIC_FXRSTOR64 ||
	    (instruction->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED))
		return ISA_SYSTEM;
	if (instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		return ISA_AVX512;
	if (instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return ISA_AVX;
	if (has_operand(c, ZYDIS_REGCLASS_MMX))
		return ISA_MMX;
	if (has_operand(c, ZYDIS_REGCLASS_XMM) || instruction->mnemonic == ZYDIS_MNEMONIC_LDMXCSR ||
	    instruction->mnemonic == ZYDIS_MNEMONIC_STMXCSR)
		return ISA_SSE;
	return ISA_GENERAL;
}

int register_index(ZydisRegister reg)
{
	reg = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
	if (ZydisRegisterGetClass(reg) != ZYDIS_REGCLASS_GPR64)
		return -1;
	return ZydisRegisterGetId(reg);
}

/* An operand's address in RAX or RDX, where XSAVE and its kin take their mask from. */
static bool mask_is_address(const struct candidate *c)
{
	for (unsigned i = 0; i < c->instruction.operand_count; i++) {
		const ZydisDecodedOperand *operand = &c->operands[i];
		int base = register_index(operand->mem.base);
		int index = register_index(operand->mem.index);

		if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (base == ISA_RAX || base == ISA_RDX || index == ISA_RAX || index == ISA_RDX))
			return true;
	}
	return false;
}

static void random_bytes(uint8_t *bytes, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		bytes[i] = random64();
}

/* Opcode map escapes, then all else random. */
static void legacy_bytes(struct candidate *c, enum isa_class class, bool is_32)
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0x67, 0x64, 0x65, 0x2e, 0xf0};
	unsigned n = 0, map;

	random_bytes(c->bytes, sizeof(c->bytes));
	if (class == ISA_GENERAL && chance(3)) {
		/* RDFSBASE and RDGSBASE, with prefixes in any order. */
		while (chance(50) && n < 4)
			c->bytes[n++] = prefixes[below(4)];
		c->bytes[n++] = 0xf3;
		while (chance(30) && n < 6)
			c->bytes[n++] = prefixes[below(4)];
		if (chance(60))
			c->bytes[n++] = 0x40 | below(16);
		c->bytes[n++] = 0x0f;
		c->bytes[n++] = 0xae;
		c->bytes[n] = 0xc0 | below(16);
		return;
	}
	if (chance(class == ISA_X87 ? 5 : 30))
		c->bytes[n++] = prefixes[below(chance(80) ? 3 : 8)];
	if (chance(10))
		c->bytes[n++] = prefixes[below(8)];
	if (!is_32 && chance(45))
		c->bytes[n++] = 0x40 | below(16);
	if (class == ISA_X87) {
		c->bytes[n] = 0xd8 | below(8);
		return;
	}
	map = class == ISA_GENERAL || is_32 || class == ISA_BLOCKS ? below(12) :
										   6 + below(6);
	if (map < 7)
		return;
	c->bytes[n++] = 0x0f;
	if (class == ISA_SYSTEM && chance(70))
		c->bytes[n] = chance(50) ? 0xae : 0xc7;
	else if (map == 10)
		c->bytes[n] = 0x38;
	else if (map == 11)
		c->bytes[n] = 0x3a;
}

/* What may have LOCK, with it; mostly of memory. */
static void locked_bytes(struct candidate *c, bool is_32)
{
	static const uint8_t opcodes[] = {0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x80,
					  0x81, 0x83, 0xf6, 0xf7, 0xfe, 0xff};
	static const uint8_t escaped[] = {0xab, 0xb3, 0xba, 0xbb, 0xb0, 0xb1, 0xc0, 0xc1, 0xc7};
	uint8_t opcode;
	unsigned n = 0;

	random_bytes(c->bytes, sizeof(c->bytes));
	if (chance(20))
		c->bytes[n++] = 0x66;
	c->bytes[n++] = 0xf0;
	if (!is_32 && chance(60))
		c->bytes[n++] = 0x40 | below(16);
	if (chance(50)) {
		opcode = opcodes[below(sizeof(opcodes))];
		c->bytes[n++] = opcode | (opcode < 0x80 && chance(50));
	} else {
		c->bytes[n++] = 0x0f;
		opcode = escaped[below(sizeof(escaped))];
		c->bytes[n++] = opcode;
	}
	if (chance(95) && c->bytes[n] >= 0xc0)
		c->bytes[n] -= 0x40;
	if (opcode == 0xc7)
		c->bytes[n] = (c->bytes[n] & ~0x38) | 0x08;
}

/* String instructions, half of them with addresses of the other size. */
static void string_bytes(struct candidate *c, bool is_32)
{
	static const uint8_t opcodes[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae};
	unsigned n = 0;

	random_bytes(c->bytes, sizeof(c->bytes));
	if (chance(20))
		c->bytes[n++] = 0x66;
	if (chance(50))
		c->bytes[n++] = 0x67;
	if (chance(80))
		c->bytes[n++] = 0xf2 | below(2);
	if (!is_32 && chance(40))
		c->bytes[n++] = 0x40 | below(16);
	c->bytes[n] = opcodes[below(sizeof(opcodes))] | below(2);
}

static void vex_bytes(struct candidate *c, bool is_general)
{
	unsigned n = 0;

	random_bytes(c->bytes, sizeof(c->bytes));
	if (!is_general && chance(40)) {
		c->bytes[n++] = 0xc5;
	} else {
		unsigned map = is_general ? 2 + below(2) : 1 + below(3);

		c->bytes[n++] = 0xc4;
		c->bytes[n] = (c->bytes[n] & 0xe0) | map;
		n++;
	}
	/* vvvv = 1111 where there is no second source. */
	if (chance(40))
		c->bytes[n] |= 0x78;
}

static void evex_bytes(struct candidate *c)
{
	random_bytes(c->bytes, sizeof(c->bytes));
	c->bytes[0] = 0x62;
	c->bytes[1] = (c->bytes[1] & 0xf0) | (chance(90) ? 1 + below(3) : 5 + below(2));
	c->bytes[2] |= 4;
	if (chance(40))
		c->bytes[2] |= 0x78;
	if (chance(40))
		c->bytes[3] = (c->bytes[3] & 0xf8) | 8;
	if (chance(50))
		c->bytes[3] |= 8;
}

static bool class_matches(const struct candidate *c, enum isa_class class)
{
	enum isa_class found = class_of(c);

	switch (class) {
	case ISA_COMPAT:
	case ISA_COMPAT16: return found != ISA_SYSTEM || !mask_is_address(c);
	case ISA_BLOCKS:
	case ISA_BLOCKS32:
		/* Their images have x87's last opcode, which processors update at will. */
		if (c->instruction.mnemonic == ZYDIS_MNEMONIC_FNSAVE ||
		    c->instruction.mnemonic == ZYDIS_MNEMONIC_FNSTENV)
			return false;
		return found == ISA_GENERAL || (found == ISA_SSE && chance(40)) ||
		       ((found == ISA_X87 || found == ISA_MMX || found == ISA_AVX) && chance(20));
	case ISA_SYSTEM: return found == class && !mask_is_address(c);
	default: return found == class;
	}
}

void find_instruction(struct candidate *c, enum isa_class class, const struct isa_case *test)
{
	bool is_32 = test->is_32;

	for (;;) {
		switch (class) {
		case ISA_AVX: vex_bytes(c, false); break;
		case ISA_AVX512:
			if (chance(85))
				evex_bytes(c);
			else
				vex_bytes(c, false);
			break;
		default:
			if ((class == ISA_GENERAL || class == ISA_BLOCKS) && chance(5))
				vex_bytes(c, class == ISA_GENERAL || chance(70));
			else if ((class == ISA_GENERAL || class == ISA_BLOCKS || is_32) && chance(4))
				locked_bytes(c, is_32);
			else if ((class == ISA_GENERAL || class == ISA_BLOCKS || is_32) && chance(2))
				string_bytes(c, is_32);
			else if (is_32 && chance(10))
				vex_bytes(c, chance(50));
			else
				legacy_bytes(c, class, is_32);
		}
		if (decode(c, test) && is_allowed(c) && class_matches(c, class))
			return;
	}
}

bool is_direct_branch(const struct candidate *c)
{
	return c->instruction.operand_count &&
	       c->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	       c->operands[0].imm.is_relative;
}

uint64_t undefined_flags(const struct candidate *c, int cl)
{
	return undefined_flags_of(&c->instruction, c->operands, cl);
}
