/*
 * Rewriting a guest's instruction for a thunk (thunk.h), and the few fixed sequences that thunks
 * need around it.
 *
 * Rewriting keeps opcode, vector registers, opmasks, rounding and immediates, and replaces what
 * names general registers or memory: a memory operand becomes (%rsi), without displacement, so that
 * EVEX's compressed displacements are of no concern; a general register in ModRM.reg becomes rax,
 * one in ModRM.rm rcx. Implicit ones (rax, rcx, rdx of PCMPESTRI, ax of FNSTSW) stay what they are.
 * The thunk is 64-bit code whatever the guest's mode, so bits that 16- and 32-bit modes ignore are
 * put where they mean registers 0 to 7 (Intel SDM vol. 2 §2.3.5, §2.7.1).
 */
#include <errno.h>

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/insn.h"
#include "engine/x86/fpu/thunk.h"
#include "engine/x86/host/registers.h"

#define MODRM_AT_RSI 6 /* mod 00, rm 110 */
#define RFLAGS_ARITHMETIC 0x8d5u /* OF SF ZF AF PF CF */

/* A general register that the instruction names, and the one that stands for it in the thunk. */
struct binding {
	uint8_t guest, host;
	bool is_read, is_written;
};

struct bindings {
	struct binding items[6];
	unsigned count;
	bool in_reg, in_rm; /* ModRM.reg, ModRM.rm name a general register */
	bool in_memory;     /* ModRM.rm names memory */
	/* W chooses a general register's (or its memory equivalent's) size, which 16- and 32-bit modes
	 * ignore. It means something else in every other instruction. */
	bool w_is_size;
};

void thunk_emit(struct thunk_code *code, const void *bytes, unsigned length)
{
	/* Every sequence is much shorter than the buffer; one that is not ends up refused. */
	if (length > THUNK_CODE_SIZE - code->length)
		return;
	bytes_copy(code->bytes + code->length, bytes, length);
	code->length += length;
}

#define EMIT(code, ...)                                                                            \
	thunk_emit(code, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void emit_byte(struct thunk_code *code, uint8_t byte)
{
	thunk_emit(code, &byte, 1);
}

void thunk_emit_return(struct thunk_code *code)
{
	EMIT(code, 0xc3);
}

void thunk_emit_return_done(struct thunk_code *code)
{
	EMIT(code, 0x31, 0xc0, 0xc3); /* xor %eax, %eax; ret */
}

void thunk_emit_second(struct thunk_code *code)
{
	while (code->length % 16 != 0)
		EMIT(code, 0xcc);
	code->second = code->length;
}

/* mov gpr[guest](%rdi), %host, and back. */
static void emit_load_gpr(struct thunk_code *code, unsigned host, unsigned guest)
{
	_Static_assert(offsetof(struct cpu, gpr) + 8 * CPU_REGISTERS <= 128, "8-bit displacement");
	EMIT(code, 0x48, 0x8b, (uint8_t)(0x47 | host << 3),
	     (uint8_t)(offsetof(struct cpu, gpr) + 8 * guest));
}

static void emit_store_gpr(struct thunk_code *code, unsigned host, unsigned guest)
{
	EMIT(code, 0x48, 0x89, (uint8_t)(0x47 | host << 3),
	     (uint8_t)(offsetof(struct cpu, gpr) + 8 * guest));
}

static void emit_displacement(struct thunk_code *code, uint32_t displacement)
{
	thunk_emit(code, &displacement, 4);
}

/* Guest flags into the host's, but OF: what FCMOVcc looks at. */
static void emit_load_flags(struct thunk_code *code)
{
	EMIT(code, 0x8b, 0x87); /* mov rflags(%rdi), %eax */
	emit_displacement(code, offsetof(struct cpu, rflags));
	EMIT(code, 0x88, 0xc4, /* mov %al, %ah */
	     0x9e);            /* sahf */
}

/* The host's arithmetic flags into the guest's. Clobbers rax, rcx. */
static void emit_store_flags(struct thunk_code *code)
{
	EMIT(code, 0x9f,              /* lahf */
	     0x0f, 0x90, 0xc0,        /* seto %al */
	     0x0f, 0xb6, 0xcc,        /* movzbl %ah, %ecx */
	     0x81, 0xe1);             /* and $..., %ecx */
	emit_displacement(code, RFLAGS_ARITHMETIC & 0xff);
	EMIT(code, 0x0f, 0xb6, 0xc0,  /* movzbl %al, %eax */
	     0xc1, 0xe0, 11,          /* shl $11, %eax */
	     0x09, 0xc1,              /* or %eax, %ecx */
	     0x48, 0x8b, 0x87);       /* mov rflags(%rdi), %rax */
	emit_displacement(code, offsetof(struct cpu, rflags));
	EMIT(code, 0x48, 0x25);       /* and $~..., %rax */
	emit_displacement(code, ~RFLAGS_ARITHMETIC);
	EMIT(code, 0x48, 0x09, 0xc8,  /* or %rcx, %rax */
	     0x48, 0x89, 0x87);       /* mov %rax, rflags(%rdi) */
	emit_displacement(code, offsetof(struct cpu, rflags));
}

static bool add_binding(struct bindings *bindings, const ZydisDecodedOperand *operand, unsigned host)
{
	ZyanI8 guest = ZydisRegisterGetId(operand->reg.value);
	struct binding *binding;

	if (guest < 0 || guest >= CPU_REGISTERS || bindings->count == 6)
		return false;
	binding = &bindings->items[bindings->count++];
	binding->guest = (uint8_t)guest;
	binding->host = (uint8_t)host;
	binding->is_written = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	/* A register written in part is completed from the guest's value. */
	binding->is_read = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ) ||
			   operand->size < 32;
	return true;
}

static bool is_general(ZydisRegister value)
{
	switch (ZydisRegisterGetClass(value)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return true;
	default:
		return false;
	}
}

static int collect_bindings(struct bindings *bindings, const struct decoded *decoded)
{
	const ZydisDecodedInstruction *instruction = decoded->instruction;

	for (unsigned i = 0; i < instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &decoded->operands[i];

		if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			if (operand->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
			    operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
				return -ENOTSUP;
			bindings->in_memory = true;
			continue;
		}
		if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER || !is_general(operand->reg.value))
			continue;

		unsigned host;

		switch (operand->encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG:
			bindings->in_reg = true;
			host = HOST_RAX;
			break;
		case ZYDIS_OPERAND_ENCODING_MODRM_RM:
			bindings->in_rm = true;
			host = HOST_RCX;
			break;
		case ZYDIS_OPERAND_ENCODING_NONE:
			host = (unsigned)ZydisRegisterGetId(operand->reg.value);
			if (host > HOST_RDX)
				return -ENOTSUP;
			break;
		default:
			return -ENOTSUP;
		}
		if (!add_binding(bindings, operand, host))
			return -ENOTSUP;
	}
	return 0;
}

/* Bytes of an opcode map's escape in legacy encoding; negative for maps not known here. */
static int escape_length(ZydisOpcodeMap map)
{
	switch (map) {
	case ZYDIS_OPCODE_MAP_DEFAULT: return 0;
	case ZYDIS_OPCODE_MAP_0F: return 1;
	case ZYDIS_OPCODE_MAP_0F38:
	case ZYDIS_OPCODE_MAP_0F3A: return 2;
	default: return -1;
	}
}

static int emit_legacy_opcode(struct thunk_code *code, const struct decoded *decoded,
			      const struct bindings *bindings, unsigned opcode_end)
{
	const ZydisDecodedInstruction *instruction = decoded->instruction;
	int escape = escape_length(instruction->opcode_map);

	if (escape < 0 || opcode_end < 1 + (unsigned)escape)
		return -ENOTSUP;
	/* x87 opcodes know no mandatory prefixes. */
	if (escape > 0) {
		for (unsigned i = 0; i < instruction->raw.prefix_count; i++) {
			uint8_t prefix = instruction->raw.prefixes[i].value;

			if (prefix == 0x66 || prefix == 0xf2 || prefix == 0xf3)
				emit_byte(code, prefix);
		}
	}
	if (instruction->attributes & ZYDIS_ATTRIB_HAS_REX) {
		uint8_t rex = decoded->bytes[instruction->raw.rex.offset];

		if (bindings->in_reg)
			rex &= (uint8_t)~0x4;
		if (bindings->in_rm || bindings->in_memory)
			rex &= (uint8_t)~0x3;
		emit_byte(code, rex);
	}
	thunk_emit(code, decoded->bytes + opcode_end - 1 - escape, 1 + (unsigned)escape);
	return 0;
}

static int emit_vex_opcode(struct thunk_code *code, const struct decoded *decoded,
			   const struct bindings *bindings)
{
	const uint8_t *bytes = decoded->bytes + decoded->instruction->raw.vex.offset;
	bool is_64bit = (decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;
	/* The two-byte prefix with its opcode may be the whole instruction: VZEROUPPER. */
	uint8_t vex[4] = {bytes[0], bytes[1], bytes[2], bytes[0] == 0xc5 ? 0 : bytes[3]};
	uint8_t *last = vex[0] == 0xc5 ? &vex[1] : &vex[2]; /* W (or R), vvvv, L, pp */

	if (bindings->in_reg)
		vex[1] |= 0x80;
	if (vex[0] == 0xc4 && (bindings->in_rm || bindings->in_memory))
		vex[1] |= 0x60;
	if (!is_64bit) {
		vex[1] |= vex[0] == 0xc4 ? 0xe0 : 0x80;
		*last |= 0x40;
		if (vex[0] == 0xc4 && bindings->w_is_size)
			vex[2] &= 0x7f;
	}
	/* Prefix and opcode. */
	thunk_emit(code, vex, vex[0] == 0xc5 ? 3 : 4);
	return 0;
}

static int emit_evex_opcode(struct thunk_code *code, const struct decoded *decoded,
			    const struct bindings *bindings)
{
	const uint8_t *bytes = decoded->bytes + decoded->instruction->raw.evex.offset;
	bool is_64bit = (decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;
	uint8_t evex[5] = {bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]};

	if (bindings->in_reg)
		evex[1] |= 0x90; /* R, R' */
	if (bindings->in_rm || bindings->in_memory)
		evex[1] |= 0x60; /* X, B */
	if (!is_64bit) {
		evex[1] |= 0xf0;
		evex[2] |= 0x40;
		evex[3] |= 0x08;
		if (bindings->w_is_size)
			evex[2] &= 0x7f;
	}
	thunk_emit(code, evex, 5);
	return 0;
}

static int emit_rewritten(struct thunk_code *code, const struct decoded *decoded,
			  const struct bindings *bindings)
{
	const ZydisDecodedInstruction *instruction = decoded->instruction;
	const ZydisDecodedInstructionRaw *raw = &instruction->raw;
	bool has_modrm = instruction->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	unsigned tail = instruction->length; /* where the immediate starts */
	unsigned opcode_end;
	int result;

	for (unsigned i = 0; i < 2; i++)
		tail -= raw->imm[i].size / 8;
	opcode_end = has_modrm ? raw->modrm.offset : tail;

	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
		result = emit_legacy_opcode(code, decoded, bindings, opcode_end);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		result = emit_vex_opcode(code, decoded, bindings);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		result = emit_evex_opcode(code, decoded, bindings);
		break;
	default:
		return -ENOTSUP;
	}
	if (result != 0)
		return result;
	if (has_modrm) {
		uint8_t modrm = decoded->bytes[raw->modrm.offset];

		/* A memory form that Zydis does not show as memory would use whatever is there. */
		if ((raw->modrm.mod != 3) != bindings->in_memory)
			return -ENOTSUP;
		if (bindings->in_memory)
			modrm = (uint8_t)((modrm & 0x38) | MODRM_AT_RSI);
		if (bindings->in_rm)
			modrm = (uint8_t)((modrm & 0xf8) | HOST_RCX);
		if (bindings->in_reg)
			modrm = (uint8_t)((modrm & 0xc7) | HOST_RAX << 3);
		emit_byte(code, modrm);
	} else if (bindings->in_memory || bindings->in_reg || bindings->in_rm) {
		return -ENOTSUP;
	}

	/* The register in an immediate's upper half has its top bit ignored outside 64-bit mode. */
	bool is_64bit = (decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;
	bool has_register_immediate = false;

	for (unsigned i = 0; i < instruction->operand_count; i++)
		if (decoded->operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4)
			has_register_immediate = true;
	for (unsigned i = tail; i < instruction->length; i++)
		emit_byte(code, has_register_immediate && !is_64bit
					      ? decoded->bytes[i] & 0x7f
					      : decoded->bytes[i]);
	return 0;
}

int thunk_emit_instruction(struct thunk_code *code, const struct insn *insn,
			   const struct decoded *decoded)
{
	const ZydisDecodedInstruction *instruction = decoded->instruction;
	const ZydisAccessedFlags *flags = instruction->cpu_flags;
	struct bindings bindings = {.w_is_size = insn->traits & INSN_W_IS_SIZE};
	int result = collect_bindings(&bindings, decoded);
	uint32_t written = 0, tested = 0;

	if (result != 0)
		return result;
	if (flags != NULL) {
		written = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) &
			  RFLAGS_ARITHMETIC;
		tested = flags->tested & RFLAGS_ARITHMETIC;
	}
	if (tested)
		emit_load_flags(code);
	for (unsigned i = 0; i < bindings.count; i++)
		if (bindings.items[i].is_read)
			emit_load_gpr(code, bindings.items[i].host, bindings.items[i].guest);
	result = emit_rewritten(code, decoded, &bindings);
	if (result != 0)
		return result;
	for (unsigned i = 0; i < bindings.count; i++)
		if (bindings.items[i].is_written)
			emit_store_gpr(code, bindings.items[i].host, bindings.items[i].guest);
	if (written)
		emit_store_flags(code);
	thunk_emit_return_done(code);
	return 0;
}

void thunk_emit_read_opmask(struct thunk_code *code, unsigned k)
{
	if (fpu_layout.has_byte_masks)
		EMIT(code, 0xc4, 0xe1, 0xfb, 0x93, (uint8_t)(0xc0 | k)); /* kmovq %k, %rax */
	else
		EMIT(code, 0xc5, 0xf8, 0x93, (uint8_t)(0xc0 | k)); /* kmovw %k, %eax */
}

void thunk_emit_clear_opmask(struct thunk_code *code, unsigned k)
{
	/* kxorw %k, %k, %k; clears all 64 bits */
	EMIT(code, 0xc5, (uint8_t)(0x84 | (~k & 0xf) << 3), 0x47, (uint8_t)(0xc0 | k << 3 | k));
}

void thunk_emit_read_signs(struct thunk_code *code, unsigned n, unsigned element_size, bool is_256)
{
	/* vmovmskps or vmovmskpd */
	EMIT(code, 0xc4, (uint8_t)(n & 8 ? 0xc1 : 0xe1),
	     (uint8_t)(0x78 | (is_256 ? 4 : 0) | (element_size == 8 ? 1 : 0)), 0x50,
	     (uint8_t)(0xc0 | (n & 7)));
}

void thunk_emit_move_vector(struct thunk_code *code, unsigned n, bool is_512, bool is_store,
			    uint32_t offset)
{
	uint8_t opcode = is_store ? 0x7f : 0x6f;
	uint8_t modrm = (uint8_t)(0x80 | (n & 7) << 3 | MODRM_AT_RSI);

	if (is_512) /* vmovdqu64 */
		EMIT(code, 0x62, (uint8_t)(0x61 | (n & 8 ? 0 : 0x80) | (n & 16 ? 0 : 0x10)), 0xfe,
		     0x48, opcode, modrm);
	else /* vmovdqu, 256 bits */
		EMIT(code, 0xc4, (uint8_t)(0x61 | (n & 8 ? 0 : 0x80)), 0x7e, opcode, modrm);
	emit_displacement(code, offset);
}

void thunk_emit_clear_vector(struct thunk_code *code, unsigned n)
{
	/* vpxor %xmm, %xmm, %xmm */
	EMIT(code, 0xc4, (uint8_t)(n & 8 ? 0x41 : 0xe1), (uint8_t)(0x01 | (~n & 0xf) << 3), 0xef,
	     (uint8_t)(0xc0 | (n & 7) << 3 | (n & 7)));
}
