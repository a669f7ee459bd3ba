/*
 * Making cases: random bytes in the shape of an encoding, kept when the decoder knows them as an
 * instruction of the class that may run, and a random state in which its operands make sense.
 *
 * Memory operands are steered: the base register (or the displacement) is changed so that most
 * accesses meet the data pages, often their border, sometimes the read-only page or the end.
 *
 * What must not run on the host: whatever enters the kernel or changes state that the kernel does
 * not restore, and whatever has no repeatable result. is_allowed lists them.
 */
#include "state.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <string.h>

#define RFLAGS_STATUS 0x8d5ull
#define RFLAGS_TF     0x100ull
#define RFLAGS_DF     0x400ull
#define RFLAGS_AC     0x40000ull
#define BLOCK_MAX     24 /* instructions in a block */
#define LOOP_END_SIZE 14

const char *const isa_class_names[ISA_CLASSES] = {
	[ISA_GENERAL] = "general", [ISA_X87] = "x87",       [ISA_MMX] = "mmx",
	[ISA_SSE] = "sse",         [ISA_AVX] = "avx",       [ISA_AVX512] = "avx512",
	[ISA_SYSTEM] = "system",   [ISA_COMPAT] = "compat", [ISA_COMPAT16] = "compat16",
	[ISA_BLOCKS] = "blocks",   [ISA_BLOCKS32] = "blocks32", [ISA_REWRITTEN] = "rewritten",
};

struct candidate {
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
};

static const ZydisDecoder *decoder(const struct isa_case *test)
{
	static ZydisDecoder decoders[3];
	static bool is_ready;

	if (!is_ready) {
		ZydisDecoderInit(&decoders[0], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ZydisDecoderInit(&decoders[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
				 ZYDIS_STACK_WIDTH_32);
		ZydisDecoderInit(&decoders[2], ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
				 ZYDIS_STACK_WIDTH_16);
		is_ready = true;
	}
	return &decoders[test->is_32 + test->is_16];
}

static bool decode(struct candidate *c, const struct isa_case *test)
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

static bool is_allowed(const struct candidate *c)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;

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

static enum isa_class class_of(const struct candidate *c)
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

static int register_index(ZydisRegister reg)
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

static void find_instruction(struct candidate *c, enum isa_class class, const struct isa_case *test)
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

/* -- operands -- */

static uint64_t register_value(const struct isa_case *test, ZydisRegister reg, uint64_t next_rip)
{
	int index = register_index(reg);

	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return next_rip;
	return index < 0 ? 0 : test->in.gpr[index];
}

/* Vector indexes that stay near the base. */
static void tame_index(struct isa_case *test, ZydisRegister reg)
{
	unsigned id = ZydisRegisterGetId(reg);
	uint8_t *image = test->in.xsave;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t value = chance(70) ? below(256) : below(256) | (uint64_t)below(256) << 32;
		uint8_t *place;

		if (id >= 16)
			place = image + 1664 + (id - 16) * 64 + i * 8;
		else if (i < 2)
			place = image + 160 + id * 16 + i * 8;
		else if (i < 4)
			place = image + 576 + id * 16 + (i - 2) * 8;
		else
			place = image + 1152 + id * 32 + (i - 4) * 8;
		memcpy(place, &value, 8);
	}
}

static void patch(struct candidate *c, unsigned offset, uint64_t value, unsigned size)
{
	memcpy(c->bytes + offset, &value, size);
}

/* Make the operand at `next_rip` - length meet the test's memory. */
static void steer_operand(struct isa_case *test, struct candidate *c,
			  const ZydisDecodedOperand *operand, uint64_t next_rip)
{
	unsigned size = operand->size / 8 ? operand->size / 8 : 512;
	uint64_t wanted = data_address(size);
	uint64_t address, change;
	int base = register_index(operand->mem.base);

	if (operand->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		tame_index(test, operand->mem.index);
	address = register_value(test, operand->mem.base, next_rip) +
		  (uint64_t)operand->mem.disp.value;
	if (operand->mem.type != ZYDIS_MEMOP_TYPE_VSIB)
		address += register_value(test, operand->mem.index, next_rip) * operand->mem.scale;
	if ((!test->is_32 || test->has_fs_gs) && operand->mem.segment == ZYDIS_REGISTER_FS)
		address += ISA_FS_BASE;
	if ((!test->is_32 || test->has_fs_gs) && operand->mem.segment == ZYDIS_REGISTER_GS)
		address += ISA_GS_BASE;
	change = wanted - address;
	/* Offsets in a 16-bit segment: those in the lower half of the linear address. */
	if (test->is_16)
		change = (uint16_t)(wanted - address) - (c->instruction.address_width > 16 ?
								 address - (uint16_t)address :
								 0);

	if (base >= 0) {
		if (operand->mem.index != ZYDIS_REGISTER_NONE &&
		    register_index(operand->mem.index) == base)
			change /= operand->mem.scale + 1;
		test->in.gpr[base] += change;
		if (test->is_32)
			test->in.gpr[base] = (uint32_t)test->in.gpr[base];
	} else if (c->instruction.raw.disp.size >= (test->is_16 ? 16 : 32)) {
		patch(c, c->instruction.raw.disp.offset, (uint64_t)operand->mem.disp.value + change,
		      c->instruction.raw.disp.size / 8);
	}
}

/* Change registers so that the instruction does something more often than faulting. */
static void steer(struct isa_case *test, struct candidate *c, uint64_t next_rip)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;
	uint64_t *gpr = test->in.gpr;

	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		if (chance(70))
			gpr[ISA_RDX] = chance(60) ? 0 : test->is_32 ? UINT32_MAX : UINT64_MAX;
		if (chance(50))
			gpr[ISA_RAX] &= 0xff;
		break;
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC: {
		int index = register_index(c->operands[1].reg.value);

		if (c->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER && index >= 0 && chance(80))
			gpr[index] = (int64_t)below(4096) - 2048;
		if (test->is_32 && index >= 0)
			gpr[index] = (uint32_t)gpr[index];
		break;
	}
	case ZYDIS_MNEMONIC_CMPXCHG:
		if (chance(30))
			gpr[ISA_RAX] = gpr[below(16)];
		break;
	default:
		break;
	}
	if (instruction->attributes &
	    (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		gpr[ISA_RCX] = below(24);
	if (class_of(c) == ISA_SYSTEM) {
		/* Components that exist in both. */
		gpr[ISA_RAX] = random64() & native_components;
		gpr[ISA_RDX] = 0;
	}
	if (chance(94))
		for (unsigned i = 0; i < instruction->operand_count; i++)
			if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				steer_operand(test, c, &c->operands[i], next_rip);
	/* Upper halves that addresses of 32 bits leave alone, or truncate. */
	if (instruction->meta.category == ZYDIS_CATEGORY_STRINGOP && !test->is_32 &&
	    instruction->address_width == 32 && chance(60)) {
		gpr[ISA_RCX] = random64() << 32 | (chance(30) ? 0 : (uint32_t)gpr[ISA_RCX]);
		gpr[ISA_RSI] ^= random64() << 32;
		gpr[ISA_RDI] ^= random64() << 32;
	}
}

static bool is_direct_branch(const struct candidate *c)
{
	return c->instruction.operand_count &&
	       c->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	       c->operands[0].imm.is_relative;
}

/* Whether it jumps near its own start at `rip`: into its own middle there may be anything. */
static bool branches_to_itself(const struct candidate *c, uint64_t rip)
{
	uint64_t length = c->instruction.length;
	uint64_t target = rip + length + (uint64_t)c->operands[0].imm.value.s;

	/* Targets may be of 16 bits. */
	return is_direct_branch(c) && (uint16_t)(target - (rip - 16)) < 16 + length;
}

static uint64_t undefined_flags(const struct candidate *c)
{
	return c->instruction.cpu_flags ? c->instruction.cpu_flags->undefined : 0;
}

/* Several memory operands, or an access and a branch to a target that may not be canonical. */
static bool faults_freely(const struct candidate *c)
{
	unsigned accesses = 0;

	for (unsigned i = 0; i < c->instruction.operand_count; i++) {
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			accesses++;
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    c->operands[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			accesses++;
	}
	return accesses > 1 ||
	       (accesses && c->instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE);
}

/* Note what the comparison must know. */
static void classify(struct isa_case *test, const struct candidate *c)
{
	enum isa_class class = class_of(c);

	test->faults_freely |= faults_freely(c) || class == ISA_SYSTEM;
	test->is_mmx |= class == ISA_MMX;
	test->is_system |= class == ISA_SYSTEM;
	test->is_fpu |= class >= ISA_X87 && class <= ISA_AVX512;
	test->is_narrow_string |= c->instruction.address_width == 32 &&
				  c->instruction.meta.category == ZYDIS_CATEGORY_STRINGOP;
	for (unsigned i = 0; i < c->instruction.operand_count; i++) {
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			test->is_large |= c->operands[i].size > 64;
			test->is_gather |= c->operands[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB;
		}
	}
	switch (c->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		test->is_masked_store = true;
		break;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
		test->is_popa = true;
		break;
	default:
		break;
	}
}

static void generate_single(struct isa_case *test, enum isa_class class)
{
	struct candidate c;
	unsigned length, place = below(100);

	do {
		find_instruction(&c, class, test);
		length = c.instruction.length;
		if (place < 75)
			test->in.rip = ISA_CODE + 256 + below(64);
		else if (place < 90)
			test->in.rip = ISA_CODE + ISA_PAGE - below(16);
		else
			test->in.rip = ISA_CODE + ISA_CODE_SIZE - length - below(4);
	} while (branches_to_itself(&c, test->in.rip));
	steer(test, &c, test->in.rip + length);
	test->undefined_flags = undefined_flags(&c);
	classify(test, &c);
	test->code_size = length;
	/* Some instructions end where nothing is mapped. */
	if (place >= 96) {
		test->code_size = 1 + below(length);
		test->in.rip = ISA_CODE + ISA_CODE_SIZE - test->code_size;
		test->is_cut = true;
	}
	memcpy(test->code, c.bytes, test->code_size);
}

/* A branch in a block whose target is chosen when the whole block is known. */
struct branch {
	unsigned offset; /* of its displacement or address in the code; 0: none */
	unsigned size;   /* bytes of it */
	unsigned base;   /* offset in the code that a displacement counts from */
	bool is_absolute;
};

/* PUSH and RET, or an address in a register or on the stack and JMP or CALL through it. */
static void add_indirect_branch(struct isa_case *test, struct branch *branch)
{
	uint8_t *code = test->code + test->code_size;
	unsigned n = 0, reg = below(test->is_32 ? 7 : 15);

	reg += reg >= ISA_RSP;
	if (chance(50)) {
		code[n++] = 0x68; /* push imm32 */
		*branch = (struct branch){test->code_size + n, 4, 0, true};
		n += 4;
		if (chance(60)) {
			code[n++] = 0xc3;
		} else {
			memcpy(code + n, chance(50) ? "\xff\x24\x24" : "\xff\x14\x24", 3);
			n += 3;
		}
	} else {
		if (test->is_32) { /* mov reg, imm32; jmp or call reg */
			code[n++] = 0xb8 | reg;
			*branch = (struct branch){test->code_size + n, 4, 0, true};
		} else { /* lea reg, [rip + ...] */
			code[n++] = 0x48 | (reg & 8) >> 1;
			code[n++] = 0x8d;
			code[n++] = 0x05 | (reg & 7) << 3;
			*branch = (struct branch){test->code_size + n, 4, test->code_size + n + 4,
						  false};
		}
		n += 4;
		if (reg >= 8)
			code[n++] = 0x41;
		code[n++] = 0xff;
		code[n++] = (chance(50) ? 0xe0 : 0xd0) | (reg & 7);
	}
	test->code_size += n;
	test->faults_freely = true;
}

/*
 * Make the memory operand [base + 8-bit displacement], one of many off the same base. False when the
 * instruction has no such form, or changes the base.
 */
static bool share_base(struct candidate *c, struct isa_case *test)
{
	ZydisMnemonic mnemonic = c->instruction.mnemonic;
	unsigned at = c->instruction.raw.modrm.offset, base = test->shared_base;

	if (!(c->instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) ||
	    c->instruction.raw.modrm.mod == 3)
		return false;
	if (c->instruction.attributes & ZYDIS_ATTRIB_HAS_REX)
		c->bytes[c->instruction.raw.rex.offset] &= ~3; /* B, X */
	if (c->instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
	    c->instruction.raw.vex.size == 3)
		c->bytes[c->instruction.raw.vex.offset + 1] |= 0x60;
	if (test->shared_index >= 0 && chance(40)) {
		c->bytes[at] = (c->bytes[at] & 0x38) | 0x44;
		c->bytes[++at] = (random64() & 0xc0) | test->shared_index << 3 | base;
	} else {
		c->bytes[at] = (c->bytes[at] & 0x38) | 0x40 | base;
		if (base == ISA_RSP)
			c->bytes[++at] = 0x24;
	}
	if (chance(60))
		c->bytes[at + 1] &= chance(50) ? 0xf8 : 0xf0;
	return decode(c, test) && is_allowed(c) && c->instruction.mnemonic == mnemonic &&
	       !undefined_flags(c);
}

static bool changes(const struct candidate *c, int reg)
{
	for (unsigned i = 0; i < c->instruction.operand_count; i++)
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    c->operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE &&
		    register_index(c->operands[i].reg.value) == reg)
			return true;
	return false;
}

static bool changes_base(const struct candidate *c, const struct isa_case *test)
{
	return test->shared_base >= 0 &&
	       (changes(c, test->shared_base) ||
		(test->shared_index >= 0 && changes(c, test->shared_index)));
}

/* An instruction as a function's entry or exit has them, or a constant added to the base. */
static void add_frame_instruction(struct isa_case *test)
{
	uint8_t *code = test->code + test->code_size;
	unsigned n = 0, reg = below(test->is_32 ? 8 : 16), kind = below(10);

	/* Loops are about addresses that move. */
	if (test->counter >= 0)
		kind = chance(10) ? kind : 9;
	if ((int)reg == test->counter && kind < 7)
		kind = 7;
	if (kind < 7) {
		if (reg >= 8)
			code[n++] = 0x41;
		code[n++] = (kind < 4 ? 0x50 : 0x58) | (reg & 7);
	} else {
		reg = kind == 7 || test->shared_base < 0 ? ISA_RSP : test->shared_base;
		if (test->shared_index >= 0 && chance(40))
			reg = test->shared_index;
		if (!test->is_32)
			code[n++] = 0x48;
		switch (below(3)) {
		case 0: /* lea reg, [reg + 8 bits] */
			code[n++] = 0x8d;
			code[n++] = 0x40 | reg << 3 | reg;
			if (reg == ISA_RSP)
				code[n++] = 0x24;
			break;
		case 1: /* add or sub reg, 8 bits */
			code[n++] = 0x83;
			code[n++] = (chance(50) ? 0xc0 : 0xe8) | reg;
			break;
		default: /* inc or dec reg */
			code[n++] = 0xff;
			code[n++] = (chance(50) ? 0xc0 : 0xc8) | reg;
			test->code_size += n;
			return;
		}
		code[n++] = random64() & 0x38;
	}
	test->code_size += n;
}

static void add_instruction(struct isa_case *test, struct branch *branch)
{
	struct candidate c;
	unsigned length;

	/* Nothing undefined: a later instruction might read it. */
	do
		find_instruction(&c, test->is_32 ? ISA_BLOCKS32 : ISA_BLOCKS, test);
	while (undefined_flags(&c) || (chance(90) && changes_base(&c, test)) ||
	       (test->counter >= 0 && changes(&c, test->counter)));
	if (test->shared_base >= 0 && chance(80)) {
		struct candidate shared = c;

		if (share_base(&shared, test) && !(changes_base(&shared, test) && chance(80)) &&
		    !(test->counter >= 0 && changes(&shared, test->counter)))
			c = shared;
	}
	length = c.instruction.length;
	classify(test, &c);
	if (test->shared_base < 0 || register_index(c.operands[0].mem.base) != test->shared_base)
		steer(test, &c, test->in.rip + test->code_size + length);
	memcpy(test->code + test->code_size, c.bytes, length);
	if (is_direct_branch(&c))
		*branch = (struct branch){test->code_size + c.instruction.raw.imm[0].offset,
					  c.instruction.raw.imm[0].size / 8,
					  test->code_size + length, false};
	test->code_size += length;
}

/* sub byte [ISA_LOOP_COUNT], 1; jnz to the start */
static void add_loop_end(struct isa_case *test)
{
	uint8_t code[LOOP_END_SIZE] = {0x80, 0x2c, 0x25, 0, 0, 0, 0, 1, 0x0f, 0x85};
	uint32_t address = ISA_LOOP_COUNT;
	int32_t back = -(int32_t)(test->code_size + LOOP_END_SIZE);

	memcpy(code + 3, &address, 4);
	memcpy(code + 10, &back, 4);
	memcpy(test->code + test->code_size, code, sizeof(code));
	test->code_size += sizeof(code);
}

static void generate_block(struct isa_case *test)
{
	struct branch branches[BLOCK_MAX] = {0};
	unsigned starts[BLOCK_MAX + 1];
	unsigned count = 2 + below(BLOCK_MAX - 1);

	if (test->is_in_data)
		test->in.rip = ISA_DATA + below(ISA_DATA_SIZE - 2 * ISA_CODE_MAX);
	else
		test->in.rip = chance(90) ? ISA_CODE + 256 : ISA_CODE + ISA_PAGE - below(32);
	test->shared_base = chance(60) ? (int)below(8) : -1;
	if (test->shared_base >= 0)
		test->in.gpr[test->shared_base] = data_address(chance(50) ? 16 : 8);
	for (unsigned i = 0; i < count; i++) {
		starts[i] = test->code_size;
		if (chance(8))
			add_indirect_branch(test, &branches[i]);
		else if (chance(20))
			add_frame_instruction(test);
		else
			add_instruction(test, &branches[i]);
		if (test->code_size > ISA_CODE_MAX - LOOP_END_SIZE - ZYDIS_MAX_INSTRUCTION_LENGTH) {
			count = i + 1;
			break;
		}
	}
	starts[count] = test->code_size;
	/* Branches go forward, to another instruction or the end. */
	for (unsigned i = 0; i < count; i++) {
		const struct branch *branch = &branches[i];
		uint64_t target = starts[i + 1 + below(count - i)];

		if (!branch->offset)
			continue;
		target = branch->is_absolute ? test->in.rip + target : target - branch->base;
		memcpy(test->code + branch->offset, &target, branch->size);
	}
	if (test->is_in_data)
		add_loop_end(test);
}

/* A few instructions that run a number of times, most of them with accesses off a base that moves. */
static void generate_loop(struct isa_case *test)
{
	struct branch branches[BLOCK_MAX] = {0};
	unsigned starts[BLOCK_MAX + 1];
	unsigned count = 1 + below(BLOCK_MAX / 2), first = below(2);
	int32_t distance;
	uint8_t *code;

	test->in.rip = ISA_CODE + 256;
	do
		test->counter = below(test->is_32 ? 8 : 16);
	while (test->counter == ISA_RSP);
	do
		test->shared_base = below(8);
	while (test->shared_base == test->counter);
	do
		test->shared_index = below(8);
	while (test->shared_index == test->counter || test->shared_index == test->shared_base ||
	       test->shared_index == ISA_RSP);
	for (unsigned i = 0; i < count; i++) {
		starts[i] = test->code_size;
		if (chance(30))
			add_frame_instruction(test);
		else
			add_instruction(test, &branches[i]);
	}
	if (first >= count)
		first = 0;
	starts[count] = test->code_size;
	/* These may have been steered elsewhere. */
	test->in.gpr[test->counter] = 1 + below(chance(30) ? 200 : 30);
	test->in.gpr[test->shared_base] = data_address(chance(50) ? 16 : 8);
	test->in.gpr[test->shared_index] = chance(50) ? below(64) & ~7 : -(int64_t)below(64);
	for (unsigned i = 0; test->is_32 && i < 16; i++)
		test->in.gpr[i] = (uint32_t)test->in.gpr[i];
	/* dec counter; jnz: back to an instruction near the start */
	code = test->code + test->code_size;
	if (!test->is_32)
		*code++ = 0x48 | test->counter >> 3;
	*code++ = 0xff;
	*code++ = 0xc8 | (test->counter & 7);
	*code++ = 0x0f;
	*code++ = 0x85;
	test->code_size = code + 4 - test->code;
	distance = (int32_t)(starts[first] - test->code_size);
	memcpy(code, &distance, 4);
	/* Branches go forward, in the loop or out of it. */
	for (unsigned i = 0; i < count; i++) {
		const struct branch *branch = &branches[i];
		uint64_t target = chance(30) ? test->code_size : starts[i + 1 + below(count - i)];

		if (!branch->offset)
			continue;
		target -= branch->base;
		memcpy(test->code + branch->offset, &target, branch->size);
	}
}

void generate(struct isa_case *test, enum isa_class class, uint64_t seed, uint64_t index)
{
	random_seed(mix(seed * ISA_CLASSES + class) + mix(index));
	memset(test, 0, sizeof(*test));
	test->memory = data_image(seed, index);
	test->shared_base = test->shared_index = test->counter = -1;
	test->is_16 = class == ISA_COMPAT16;
	test->is_32 = class == ISA_COMPAT || class == ISA_BLOCKS32 || test->is_16;
	test->has_fs_gs = class == ISA_BLOCKS32 && native_has_ldt && chance(80);
	for (unsigned i = 0; i < 16; i++)
		test->in.gpr[i] = random_register();
	test->in.gpr[ISA_RSP] = data_address(8) & (chance(90) ? ~7ull : ~0ull);
	if (test->is_32)
		for (unsigned i = 0; i < 16; i++)
			test->in.gpr[i] = i < 8 ? (uint32_t)test->in.gpr[i] : 0;
	test->in.rflags = random64() & RFLAGS_STATUS;
	if (chance(10))
		test->in.rflags |= RFLAGS_DF;
	if (class == ISA_GENERAL && chance(3))
		test->in.rflags |= RFLAGS_AC;
	if ((class == ISA_GENERAL || class == ISA_BLOCKS || test->is_32) && chance(4))
		test->in.rflags |= RFLAGS_TF;
	random_xsave(test->in.xsave, class);
	test->is_in_data = class == ISA_REWRITTEN;
	if ((class == ISA_BLOCKS || class == ISA_BLOCKS32) && chance(40))
		generate_loop(test);
	else if (class == ISA_BLOCKS || class == ISA_BLOCKS32 || class == ISA_REWRITTEN)
		generate_block(test);
	else
		generate_single(test, class);
	if (test->is_16)
		test->in.rip -= ISA_CODE;
}

void describe(const struct isa_case *test, char *text, size_t size)
{
	ZydisFormatter formatter;
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	unsigned position = 0;
	size_t used = 0;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	while (position < test->code_size && used < size - 1) {
		char line[128] = "(ends here)";
		bool is_valid = ZYAN_SUCCESS(ZydisDecoderDecodeFull(
			decoder(test), test->code + position, test->code_size - position,
			&instruction, operands));
		unsigned length = is_valid ? instruction.length : test->code_size - position;

		if (is_valid)
			ZydisFormatterFormatInstruction(&formatter, &instruction, operands,
							instruction.operand_count_visible, line,
							sizeof(line), test->in.rip + position,
							NULL);
		used += snprintf(text + used, size - used, "%s%s", position ? "\n" : "", line);
		position += length;
	}
}

/* `is_again`: behind a jump back. Another one leads to nothing that hasn't been seen. */
static uint64_t dead_flags_from(const struct isa_case *test, uint64_t rip, bool is_again)
{
	uint64_t offset = rip - test->in.rip, live = RFLAGS_STATUS, dead = 0;

	while (offset < test->code_size && live) {
		struct candidate c = {0};
		const ZydisAccessedFlags *flags;
		uint64_t branch = RFLAGS_STATUS;

		memcpy(c.bytes, test->code + offset,
		       test->code_size - offset < sizeof(c.bytes) ? test->code_size - offset :
								    sizeof(c.bytes));
		if (!decode(&c, test))
			return dead;
		offset += c.instruction.length;
		flags = c.instruction.cpu_flags;
		if (flags)
			live &= ~(uint64_t)flags->tested;
		/* Of both ways what is dead on both. */
		if (is_direct_branch(&c)) {
			int64_t distance = c.operands[0].imm.value.s;

			if (distance >= 0 || !is_again)
				branch = dead_flags_from(test, test->in.rip + offset + distance,
							 is_again || distance < 0);
			if (c.instruction.meta.category != ZYDIS_CATEGORY_COND_BR)
				return dead | (live & branch);
			live &= branch;
		} else if (c.instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE) {
			return dead;
		}
		if (flags) {
			uint64_t written = flags->modified | flags->set_0 | flags->set_1 |
					   flags->undefined;

			dead |= live & written;
			live &= ~written;
		}
	}
	return dead;
}

uint64_t dead_flags(const struct isa_case *test, uint64_t rip)
{
	return dead_flags_from(test, rip, false);
}

bool wraps_in_segment(const struct isa_case *test, const struct isa_state *state)
{
	uint64_t offset = state->rip - test->in.rip;
	struct candidate c = {0};

	if (offset >= test->code_size)
		return false;
	memcpy(c.bytes, test->code + offset,
	       test->code_size - offset < sizeof(c.bytes) ? test->code_size - offset :
							    sizeof(c.bytes));
	if (!decode(&c, test))
		return false;
	for (unsigned i = 0; i < c.instruction.operand_count; i++) {
		const ZydisDecodedOperand *operand = &c.operands[i];
		int base = register_index(operand->mem.base);
		int index = register_index(operand->mem.index);
		uint32_t address = operand->mem.disp.value;

		if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    (operand->mem.segment != ZYDIS_REGISTER_FS &&
		     operand->mem.segment != ZYDIS_REGISTER_GS))
			continue;
		if (base >= 0)
			address += state->gpr[base];
		if (index >= 0)
			address += state->gpr[index] * operand->mem.scale;
		if ((uint64_t)address + operand->size / 8 > 1ull << 32)
			return true;
	}
	return false;
}
