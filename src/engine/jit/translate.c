/*
 * From guest instructions to a block of host code.
 *
 * Fixed register map: guest RAX..R12 live in the host registers of the same name, except RSP, which
 * lives in R15; guest R13, R14 and R15 live in struct cpu. Host R13 and R14 are scratch, RSP is the
 * host's stack. So every instruction with implicit operands (MUL, shifts by CL, CMPXCHG) can be
 * copied as it stands.
 *
 * A memory operand becomes [R14 + R13] after an inline TLB lookup: R13 = address XOR tag, which is
 * the offset in the page when the entry matches and larger than a page when not, so that one
 * compare also covers accesses that leave the page. Where the guest's flags are live across the
 * access, the lookup is done with instructions that leave them alone (BMI2, JRCXZ).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/jit/internal.h"
#include "engine/jit/lockstep.h"
#include "engine/x86/decode.h"
#include "engine/x86/memory.h"

#define STATE(field) ((int32_t)offsetof(struct cpu, field))

enum item_kind {
	ITEM_FALLBACK,  /* the interpreter's handler, always */
	ITEM_NOTHING,   /* no operation */
	ITEM_COPY,      /* reencode.c */
	ITEM_LEA,
	ITEM_PUSH, ITEM_POP, ITEM_LEAVE,
	ITEM_JUMP, ITEM_JUMP_IF, ITEM_CALL, ITEM_RETURN,
	ITEM_JUMP_INDIRECT, ITEM_CALL_INDIRECT,
};

/* Places in the block that jump to an item's slow path. */
struct slow_jump {
	size_t at;      /* position of the displacement */
	uint16_t item;
};

struct side_exit {
	size_t at;      /* position of the conditional jump's displacement */
	uint16_t item;
	uint64_t target;
};

struct translation {
	struct jit *jit;
	struct emitter e;
	struct jit_block *block;
	unsigned count;             /* items */
	int32_t jumps;              /* offset of the jump table in struct cpu */
	uint64_t start, page;       /* gva of the block and of its page */
	size_t item_position[JIT_BLOCK_INSNS + 1];
	struct slow_jump slow[JIT_BLOCK_INSNS * 4];
	unsigned slow_count;
	struct side_exit sides[JIT_BLOCK_INSNS];
	unsigned side_count;
	struct { size_t at; uint64_t target; } link_jumps[JIT_BLOCK_INSNS + 2];
	unsigned link_count;
	bool failed;                /* something that has no translation after all */
	bool vector_checked[JIT_VECTOR_LEVELS]; /* since the last fallback in line */
};

static uint8_t host_register(unsigned guest)
{
	return guest == CPU_RSP ? HOST_R15 : guest < HOST_R13 ? guest : HOST_NONE;
}

static int32_t home(unsigned guest)
{
	return STATE(gpr) + (int32_t)guest * 8;
}

/* -- which instructions are copied -- */

static bool general_copyable(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOV: case ZYDIS_MNEMONIC_MOVZX: case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD: case ZYDIS_MNEMONIC_MOVBE: case ZYDIS_MNEMONIC_BSWAP:
	case ZYDIS_MNEMONIC_XCHG: case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_ADD: case ZYDIS_MNEMONIC_ADC: case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_SBB: case ZYDIS_MNEMONIC_CMP: case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_XOR: case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_INC: case ZYDIS_MNEMONIC_DEC: case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT: case ZYDIS_MNEMONIC_MUL: case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_ADCX: case ZYDIS_MNEMONIC_ADOX: case ZYDIS_MNEMONIC_MULX:
	case ZYDIS_MNEMONIC_CMPXCHG: case ZYDIS_MNEMONIC_XADD:
	case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR: case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL: case ZYDIS_MNEMONIC_ROR: case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR: case ZYDIS_MNEMONIC_SHLD: case ZYDIS_MNEMONIC_SHRD:
	case ZYDIS_MNEMONIC_SHLX: case ZYDIS_MNEMONIC_SHRX: case ZYDIS_MNEMONIC_SARX:
	case ZYDIS_MNEMONIC_RORX:
	case ZYDIS_MNEMONIC_BT: case ZYDIS_MNEMONIC_BTS: case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC: case ZYDIS_MNEMONIC_BSF: case ZYDIS_MNEMONIC_BSR:
	case ZYDIS_MNEMONIC_LZCNT: case ZYDIS_MNEMONIC_TZCNT: case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_ANDN: case ZYDIS_MNEMONIC_BEXTR: case ZYDIS_MNEMONIC_BLSI:
	case ZYDIS_MNEMONIC_BLSMSK: case ZYDIS_MNEMONIC_BLSR: case ZYDIS_MNEMONIC_BZHI:
	case ZYDIS_MNEMONIC_PDEP: case ZYDIS_MNEMONIC_PEXT: case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_CBW: case ZYDIS_MNEMONIC_CWDE: case ZYDIS_MNEMONIC_CDQE:
	case ZYDIS_MNEMONIC_CWD: case ZYDIS_MNEMONIC_CDQ: case ZYDIS_MNEMONIC_CQO:
	case ZYDIS_MNEMONIC_LAHF: case ZYDIS_MNEMONIC_SAHF: case ZYDIS_MNEMONIC_CLC:
	case ZYDIS_MNEMONIC_STC: case ZYDIS_MNEMONIC_CMC:
	case ZYDIS_MNEMONIC_LFENCE: case ZYDIS_MNEMONIC_SFENCE: case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_PAUSE:
	case ZYDIS_MNEMONIC_SETB: case ZYDIS_MNEMONIC_SETBE: case ZYDIS_MNEMONIC_SETL:
	case ZYDIS_MNEMONIC_SETLE: case ZYDIS_MNEMONIC_SETNB: case ZYDIS_MNEMONIC_SETNBE:
	case ZYDIS_MNEMONIC_SETNL: case ZYDIS_MNEMONIC_SETNLE: case ZYDIS_MNEMONIC_SETNO:
	case ZYDIS_MNEMONIC_SETNP: case ZYDIS_MNEMONIC_SETNS: case ZYDIS_MNEMONIC_SETNZ:
	case ZYDIS_MNEMONIC_SETO: case ZYDIS_MNEMONIC_SETP: case ZYDIS_MNEMONIC_SETS:
	case ZYDIS_MNEMONIC_SETZ:
	case ZYDIS_MNEMONIC_CMOVB: case ZYDIS_MNEMONIC_CMOVBE: case ZYDIS_MNEMONIC_CMOVL:
	case ZYDIS_MNEMONIC_CMOVLE: case ZYDIS_MNEMONIC_CMOVNB: case ZYDIS_MNEMONIC_CMOVNBE:
	case ZYDIS_MNEMONIC_CMOVNL: case ZYDIS_MNEMONIC_CMOVNLE: case ZYDIS_MNEMONIC_CMOVNO:
	case ZYDIS_MNEMONIC_CMOVNP: case ZYDIS_MNEMONIC_CMOVNS: case ZYDIS_MNEMONIC_CMOVNZ:
	case ZYDIS_MNEMONIC_CMOVO: case ZYDIS_MNEMONIC_CMOVP: case ZYDIS_MNEMONIC_CMOVS:
	case ZYDIS_MNEMONIC_CMOVZ:
		return true;
	default:
		return false;
	}
}

/* The level that a vector instruction needs, or -1 when it is none or must not be copied. */
static int vector_level(const ZydisDecodedInstruction *instruction)
{
	switch (instruction->mnemonic) {
	/* They change what is masked, or write images that carry instruction pointers. */
	case ZYDIS_MNEMONIC_LDMXCSR: case ZYDIS_MNEMONIC_VLDMXCSR: case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FLDENV: case ZYDIS_MNEMONIC_FNSTENV: case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR: case ZYDIS_MNEMONIC_FNINIT: case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64: case ZYDIS_MNEMONIC_FXRSTOR: case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_MASKMOVQ: case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return -1;
	case ZYDIS_MNEMONIC_FISTTP: /* came with SSE3 */
		return JIT_VECTOR_X87;
	default:
		break;
	}
	switch (instruction->meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_MMX:
		return JIT_VECTOR_X87;
	case ZYDIS_ISA_EXT_SSE: case ZYDIS_ISA_EXT_SSE2: case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSSE3: case ZYDIS_ISA_EXT_SSE4: case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_PCLMULQDQ: case ZYDIS_ISA_EXT_SHA: case ZYDIS_ISA_EXT_GFNI:
		return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY
			       ? JIT_VECTOR_SSE
		       : instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX
			       ? JIT_VECTOR_AVX
			       : JIT_VECTOR_AVX512;
	case ZYDIS_ISA_EXT_AVX: case ZYDIS_ISA_EXT_AVX2: case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_F16C: case ZYDIS_ISA_EXT_AVXAES: case ZYDIS_ISA_EXT_VAES:
	case ZYDIS_ISA_EXT_VPCLMULQDQ: case ZYDIS_ISA_EXT_AVX_VNNI:
		return instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? JIT_VECTOR_AVX
									       : JIT_VECTOR_AVX512;
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
		return JIT_VECTOR_AVX512;
	default:
		return -1;
	}
}

/* Whether it may unmask exceptions, or change which components may be used. */
static bool changes_vector(const struct jit_item *item)
{
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_LDMXCSR: case ZYDIS_MNEMONIC_VLDMXCSR: case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FLDENV: case ZYDIS_MNEMONIC_FRSTOR: case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64: case ZYDIS_MNEMONIC_XRSTOR: case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_XRSTORS: case ZYDIS_MNEMONIC_XRSTORS64: case ZYDIS_MNEMONIC_XSETBV:
	case ZYDIS_MNEMONIC_FNINIT: case ZYDIS_MNEMONIC_FNSAVE: case ZYDIS_MNEMONIC_CLTS:
		return true;
	default:
		return false;
	}
}

/* Whether it has MMX registers besides XMM ones: then the x87 state must allow it, too. */
static bool mixes_mmx(const struct jit_item *item)
{
	for (unsigned i = 0; i < item->instruction.operand_count; i++)
		if (item->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(item->operands[i].reg.value) == ZYDIS_REGCLASS_MMX)
			return true;
	return false;
}

/* Whether the memory operand must be aligned to its size (SDM vol. 1 §14.9). */
static bool needs_alignment(const struct jit_item *item)
{
	if (item->info.memory_size < 16)
		return false;
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS: case ZYDIS_MNEMONIC_MOVUPD: case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU: case ZYDIS_MNEMONIC_PCMPESTRI: case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI: case ZYDIS_MNEMONIC_PCMPISTRM:
		return false;
	case ZYDIS_MNEMONIC_VMOVAPS: case ZYDIS_MNEMONIC_VMOVAPD: case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVDQA32: case ZYDIS_MNEMONIC_VMOVDQA64: case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD: case ZYDIS_MNEMONIC_VMOVNTDQ: case ZYDIS_MNEMONIC_VMOVNTDQA:
		return true;
	default:
		return item->instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	}
}

static bool is_variable_shift(const struct jit_item *item)
{
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR: case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL: case ZYDIS_MNEMONIC_ROR: case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR: case ZYDIS_MNEMONIC_SHLD: case ZYDIS_MNEMONIC_SHRD:
		/* A count of 0 leaves the flags alone; an immediate 0 is too rare to look for. */
		return true;
	default:
		return false;
	}
}

static unsigned guest_home_count(uint16_t registers)
{
	return (registers >> 13 & 1) + (registers >> 14 & 1) + (registers >> 15 & 1);
}

static enum item_kind classify_copy(struct jit_item *item)
{
	const ZydisDecodedInstruction *instruction = &item->instruction;
	bool general = general_copyable(instruction->mnemonic);

	if ((!general && vector_level(instruction) < 0) || !jit_host_has(instruction))
		return ITEM_FALLBACK;
	reencode_inspect(&item->info, instruction, item->operands);
	if (!item->info.possible)
		return ITEM_FALLBACK;
	/* The bit offset may reach outside the operand. */
	if (item->info.has_memory &&
	    (instruction->mnemonic == ZYDIS_MNEMONIC_BT ||
	     instruction->mnemonic == ZYDIS_MNEMONIC_BTS ||
	     instruction->mnemonic == ZYDIS_MNEMONIC_BTR ||
	     instruction->mnemonic == ZYDIS_MNEMONIC_BTC) &&
	    item->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		return ITEM_FALLBACK;
	if (item->info.high_byte && item->info.has_memory)
		return ITEM_FALLBACK;
	if (guest_home_count(item->info.gpr_read | item->info.gpr_written) >
	    (item->info.has_memory ? 1u : 2u))
		return ITEM_FALLBACK;
	/* The scratch registers stand in for home registers; AH needs an encoding without REX. */
	if (item->info.high_byte &&
	    ((item->info.gpr_read | item->info.gpr_written) & (0xe000 | 1 << CPU_RSP)))
		return ITEM_FALLBACK;
	return ITEM_COPY;
}

static enum item_kind classify(struct jit_item *item)
{
	const ZydisDecodedInstruction *instruction = &item->instruction;
	const ZydisDecodedOperand *operand = &item->operands[0];

	if (instruction->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return classify_copy(item);
	switch (instruction->meta.category) {
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_PREFETCH:
		return ITEM_NOTHING;
	case ZYDIS_CATEGORY_COND_BR:
		/* Jcc; not LOOP and JRCXZ. */
		if ((instruction->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
		     (instruction->opcode & 0xf0) == 0x70) ||
		    (instruction->opcode_map == ZYDIS_OPCODE_MAP_0F &&
		     (instruction->opcode & 0xf0) == 0x80))
			return ITEM_JUMP_IF;
		return ITEM_FALLBACK;
	default:
		break;
	}
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_ENDBR64:
		return ITEM_NOTHING;
	case ZYDIS_MNEMONIC_LEA:
		return operand->size >= 32 ? ITEM_LEA : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_PUSH:
		if (item->insn.stack_width != 8)
			return ITEM_FALLBACK;
		return operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ||
				       (operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
					ZydisRegisterGetClass(operand->reg.value) ==
						ZYDIS_REGCLASS_GPR64)
			       ? ITEM_PUSH
			       : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_POP:
		return item->insn.stack_width == 8 &&
				       operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
				       ZydisRegisterGetClass(operand->reg.value) ==
					       ZYDIS_REGCLASS_GPR64 &&
				       operand->reg.value != ZYDIS_REGISTER_RSP
			       ? ITEM_POP
			       : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_LEAVE:
		return item->insn.stack_width == 8 ? ITEM_LEAVE : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
		if (instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return ITEM_FALLBACK;
		if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return instruction->mnemonic == ZYDIS_MNEMONIC_JMP ? ITEM_JUMP : ITEM_CALL;
		if (operand->size != 64)
			return ITEM_FALLBACK;
		return instruction->mnemonic == ZYDIS_MNEMONIC_JMP ? ITEM_JUMP_INDIRECT
								   : ITEM_CALL_INDIRECT;
	case ZYDIS_MNEMONIC_RET:
		return instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
				       item->insn.stack_width != 8
			       ? ITEM_FALLBACK
			       : ITEM_RETURN;
	default:
		return classify_copy(item);
	}
}

/* -- flags liveness -- */

static void flags_of(struct jit_item *item)
{
	const ZydisAccessedFlags *flags = item->instruction.cpu_flags;

	if (item->kind == ITEM_FALLBACK) {
		/* The handler may push them, or unwind with them. */
		item->flags_read = FLAGS_ARITHMETIC;
		item->flags_killed = 0;
		return;
	}
	if (!flags) {
		item->flags_read = item->flags_killed = 0;
		return;
	}
	item->flags_read = flags->tested & FLAGS_ARITHMETIC;
	item->flags_killed =
		is_variable_shift(item)
			? 0
			: (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) &
				  FLAGS_ARITHMETIC;
}

/* The block depends on `size` bytes at this offset in the page. */
static void look(struct translation *t, unsigned offset, unsigned size)
{
	for (unsigned granule = offset / 64; granule <= (offset + size - 1) / 64; granule++)
		t->block->granules |= 1ull << granule;
}

/*
 * The flags that may be read by the code at `bytes`: a few instructions' look-ahead. Everything is
 * taken as read that is not seen to be overwritten.
 */
static uint16_t flags_live_at(struct translation *t, const uint8_t *bytes, unsigned available)
{
	uint16_t undecided = FLAGS_ARITHMETIC;

	for (unsigned i = 0; i < 6; i++) {
		ZydisDecodedInstruction instruction;
		const ZydisAccessedFlags *flags;
		uint16_t written;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(t->jit->decoder, NULL, bytes,
								available, &instruction)))
			break;
		look(t, 0x1000 - available, instruction.length);
		flags = instruction.cpu_flags;
		if (instruction.meta.category == ZYDIS_CATEGORY_NOP ||
		    instruction.meta.category == ZYDIS_CATEGORY_WIDENOP ||
		    instruction.meta.category == ZYDIS_CATEGORY_DATAXFER ||
		    instruction.meta.category == ZYDIS_CATEGORY_LOGICAL ||
		    instruction.meta.category == ZYDIS_CATEGORY_BINARY ||
		    instruction.meta.category == ZYDIS_CATEGORY_PUSH ||
		    instruction.meta.category == ZYDIS_CATEGORY_POP ||
		    instruction.mnemonic == ZYDIS_MNEMONIC_LEA) {
			if (instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_POPF ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_POPFQ ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_PUSHF ||
			    instruction.mnemonic == ZYDIS_MNEMONIC_PUSHFQ)
				break;
			if (flags) {
				if (flags->tested & undecided)
					break;
				written = flags->modified | flags->set_0 | flags->set_1 |
					  flags->undefined;
				undecided &= ~written;
				if (!undecided)
					return 0;
			}
		} else {
			break;
		}
		bytes += instruction.length;
		available -= instruction.length;
	}
	return undecided;
}

/* What is read at a direct jump's target, when its bytes are in this page. */
static uint16_t flags_live_at_target(struct translation *t, const uint8_t *page_bytes, uint64_t target)
{
	if ((target & ~(uint64_t)0xfff) != t->page)
		return FLAGS_ARITHMETIC;
	return flags_live_at(t, page_bytes + (target & 0xfff), 0x1000 - (target & 0xfff));
}

static uint64_t direct_target(const struct jit_item *item)
{
	return item->rip + item->instruction.length + item->insn.immediate;
}

static void flags_liveness(struct translation *t, const uint8_t *page_bytes)
{
	struct jit_item *last = &t->jit->items[t->count - 1];
	uint16_t live = FLAGS_ARITHMETIC;

	if (last->kind != ITEM_JUMP && last->kind != ITEM_CALL && last->kind != ITEM_RETURN &&
	    last->kind != ITEM_FALLBACK && last->kind != ITEM_JUMP_INDIRECT &&
	    last->kind != ITEM_CALL_INDIRECT)
		live = flags_live_at_target(t, page_bytes, last->rip + last->instruction.length);
	for (unsigned i = t->count; i-- > 0;) {
		struct jit_item *item = &t->jit->items[i];

		if (item->kind == ITEM_JUMP_IF)
			live |= flags_live_at_target(t, page_bytes, direct_target(item));
		else if (item->kind == ITEM_JUMP || item->kind == ITEM_CALL)
			live = flags_live_at_target(t, page_bytes, direct_target(item));
		item->live_after = live;
		live = (live & ~item->flags_killed) | item->flags_read;
	}
}

/* Flags that the item's own memory check would destroy though somebody reads them: those it reads
 * itself, and those that pass through it. */
static bool flags_cross(const struct jit_item *item)
{
	return (item->live_after & ~item->flags_killed) | item->flags_read;
}

/* -- addresses and the TLB -- */

static void add_slow(struct translation *t, size_t at, unsigned item)
{
	if (t->slow_count == sizeof(t->slow) / sizeof(t->slow[0])) {
		t->failed = true;
		return;
	}
	t->slow[t->slow_count++] = (struct slow_jump){ at, item };
}

/* reg = guest register, wherever it lives. */
static void load_guest(struct translation *t, unsigned reg, unsigned guest)
{
	uint8_t host = host_register(guest);

	if (host == HOST_NONE)
		emit_load_state(&t->e, reg, home(guest));
	else
		emit_move(&t->e, reg, host);
}

/* `reg` (R13 for memory operands) = effective address, with the segment base unless `plain`. May
 * use R14. */
static void emit_address(struct translation *t, const struct jit_item *item, unsigned reg, bool plain)
{
	const struct insn *insn = &item->insn;
	bool wide = insn->address_size == 8;
	unsigned base = HOST_NONE, index = HOST_NONE;

	if (insn->base == INSN_BASE_RIP) {
		uint64_t address = item->rip + insn->length + insn->displacement;

		emit_constant(&t->e, reg, wide ? address : (uint32_t)address);
	} else {
		if (insn->base < CPU_REGISTERS) {
			base = host_register(insn->base);
			if (base == HOST_NONE) {
				emit_load_state(&t->e, HOST_R13, home(insn->base));
				base = HOST_R13;
			}
		}
		if (insn->index < CPU_REGISTERS) {
			index = host_register(insn->index);
			if (index == HOST_NONE) {
				emit_load_state(&t->e, HOST_R14, home(insn->index));
				index = HOST_R14;
			}
		}
		emit_lea(&t->e, wide, reg, base, index, insn->scale, insn->displacement);
	}
	if (!plain && (insn->segment == CPU_FS || insn->segment == CPU_GS)) {
		emit_load_state(&t->e, HOST_R14,
				STATE(segment) + (int32_t)(insn->segment * sizeof(struct kvm_segment) +
							   offsetof(struct kvm_segment, base)));
		emit_lea(&t->e, true, reg, reg, HOST_R14, 0, 0);
	}
}

#define ENTRY(field) ((int32_t)(offsetof(struct tlb_set, entries) + offsetof(struct tlb_entry, field)))

/* opcode reg, [base + displacement]; base is R13 or R14, 64 bits. */
static void emit_entry_op(struct emitter *e, uint8_t opcode, unsigned reg, unsigned base,
			  int32_t displacement)
{
	emit_rex(e, true, reg, 0, base);
	emit8(e, opcode);
	emit8(e, 0x80 | (reg & 7) << 3 | (base & 7));
	emit32(e, displacement);
}

/*
 * With the linear address in R13: check the TLB for `size` bytes and leave the host address as
 * [R14 + R13]. Jumps to the item's slow path otherwise.
 */
static void emit_tlb_check(struct translation *t, unsigned item_index, unsigned size, bool is_write,
			   bool aligned, bool keep_flags)
{
	struct emitter *e = &t->e;
	int32_t tag = is_write ? ENTRY(tag_write) : ENTRY(tag_read);
	size_t hit;

	if (!keep_flags) {
		/* Entries are 32 bytes: (address >> 12 & mask) << 5. */
		emit_rorx(e, HOST_R14, HOST_R13, 12 - 5);
		emit_immediate_flags(e, false, 4, HOST_R14, (TLB_ENTRIES - 1) << 5);
		emit_gs_op(e, true, 0x03, HOST_R14, HOST_NONE, 0, STATE(tlb));
		emit_entry_op(e, 0x33, HOST_R13, HOST_R14, tag);
		if (aligned) {
			emit_test_immediate_flags(e, HOST_R13, ~(0xfff & ~((int32_t)size - 1)));
			add_slow(t, emit_jump_if(e, 0x5), item_index); /* not zero */
		} else {
			emit_immediate_flags(e, true, 7, HOST_R13, 0x1000 - (int32_t)size);
			add_slow(t, emit_jump_if(e, 0x7), item_index); /* above */
		}
		emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, ENTRY(page));
		return;
	}
	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_pext_state(e, HOST_R14, HOST_R13, STATE(fast.tlb_index_mask));
	emit_load_state(e, HOST_RCX, STATE(tlb));
	emit_lea(e, true, HOST_R14, HOST_NONE, HOST_R14, 3, 0);
	emit_lea(e, true, HOST_R14, HOST_RCX, HOST_R14, 2, 0);
	emit_entry_op(e, 0x8b, HOST_RCX, HOST_R14, tag);
	emit_not(e, HOST_RCX);
	emit_lea(e, true, HOST_R13, HOST_R13, HOST_RCX, 0, 1); /* address - tag */
	if (aligned) {
		emit_pext_state(e, HOST_RCX, HOST_R13,
				STATE(fast.aligned_mask) + (size == 16 ? 0 : size == 32 ? 8 : 16));
	} else {
		emit_lea(e, true, HOST_RCX, HOST_R13, HOST_NONE, 0, size - 1);
		emit_pext_state(e, HOST_RCX, HOST_RCX, STATE(fast.page_mask));
	}
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	add_slow(t, emit_jump(e), item_index);
	emit_patch8(e, hit);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_entry_op(e, 0x8b, HOST_R14, HOST_R14, ENTRY(page));
}

/* mov reg, [r14 + r13] or mov [r14 + r13], reg; 64 bits. */
static void emit_memory_move(struct emitter *e, bool is_store, unsigned reg)
{
	emit8(e, 0x4b | (reg >> 3 & 1) << 2);
	emit8(e, is_store ? 0x89 : 0x8b);
	emit8(e, (reg & 7) << 3 | 4);
	emit8(e, (HOST_R13 & 7) << 3 | (HOST_R14 & 7));
}

/* -- items -- */

static void emit_vector_check(struct translation *t, unsigned index, unsigned level)
{
	struct emitter *e = &t->e;
	size_t allowed;

	t->jit->items[index].vector_levels |= 1u << level;
	if (t->vector_checked[level])
		return;
	emit_move(e, HOST_R13, HOST_RCX);
	emit_load_state(e, HOST_RCX, STATE(fast.vector_blocked) + (int32_t)level * 8);
	allowed = emit_jrcxz(e);
	emit_move(e, HOST_RCX, HOST_R13);
	add_slow(t, emit_jump(e), index);
	emit_patch8(e, allowed);
	emit_move(e, HOST_RCX, HOST_R13);
	/* A slow path that changes this leaves the block. */
	for (unsigned i = 0; i <= level; i++)
		t->vector_checked[i] |= i != JIT_VECTOR_X87 || level == JIT_VECTOR_X87;
}

static void emit_copy(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	struct emitter *e = &t->e;
	struct reencode rename = { .memory_base = HOST_R14, .memory_index = HOST_R13 };
	uint16_t used = item->info.gpr_read | item->info.gpr_written;
	unsigned free_scratch[2] = { HOST_R13, HOST_R14 }, next = 0;
	int level = general_copyable(item->instruction.mnemonic) ? -1
								 : vector_level(&item->instruction);

	if (level >= 0)
		emit_vector_check(t, index, level);
	if (level > JIT_VECTOR_X87 && mixes_mmx(item))
		emit_vector_check(t, index, JIT_VECTOR_X87);
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		rename.map[i] = host_register(i);
	if (item->info.has_memory) {
		emit_address(t, item, HOST_R13, false);
		emit_tlb_check(t, index, item->info.memory_size, item->info.memory_written,
			       needs_alignment(item), flags_cross(item));
		if (guest_home_count(used)) {
			emit_lea(e, true, HOST_R13, HOST_R14, HOST_R13, 0, 0);
			rename.memory_base = HOST_R13;
			rename.memory_index = HOST_NONE;
			free_scratch[0] = HOST_R14;
		}
	}
	for (unsigned i = HOST_R13; i < CPU_REGISTERS; i++) {
		if (!(used >> i & 1))
			continue;
		rename.map[i] = free_scratch[next++];
		if (item->info.gpr_read >> i & 1)
			emit_load_state(e, rename.map[i], home(i));
	}
	if (!reencode_emit(e, &item->instruction, item->operands, item->bytes, &item->info, &rename))
		t->failed = true;
	for (unsigned i = HOST_R13; i < CPU_REGISTERS; i++)
		if (item->info.gpr_written >> i & 1)
			emit_store_state(e, rename.map[i], home(i));
}

static void emit_lea_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	unsigned guest = item->insn.reg[0] / 8;
	uint8_t host = host_register(guest);
	unsigned reg = host == HOST_NONE ? HOST_R13 : host;

	emit_address(t, item, reg, true);
	if (item->insn.operand_size == 4 && item->insn.address_size == 8) {
		/* mov reg32, reg32 */
		emit_rex(&t->e, false, reg, 0, reg);
		emit8(&t->e, 0x89);
		emit8(&t->e, 0xc0 | (reg & 7) << 3 | (reg & 7));
	}
	if (host == HOST_NONE)
		emit_store_state(&t->e, reg, home(guest));
}

/* Write 8 bytes below the guest's stack pointer and commit the new one. `guest`: which register to
 * push, or CPU_REGISTERS for `constant`. */
static void emit_push_value(struct translation *t, unsigned index, unsigned guest, uint64_t constant)
{
	struct emitter *e = &t->e;
	uint8_t host = guest < CPU_REGISTERS ? host_register(guest) : HOST_NONE;

	emit_lea(e, true, HOST_R13, HOST_R15, HOST_NONE, 0, -8);
	emit_tlb_check(t, index, 8, true, false, flags_cross(&t->jit->items[index]));
	if (guest < CPU_REGISTERS && host != HOST_NONE) {
		emit_memory_move(e, true, host);
	} else if (guest == CPU_REGISTERS && (int64_t)constant == (int32_t)constant) {
		emit8(e, 0x4b);
		emit8(e, 0xc7);
		emit8(e, 4);
		emit8(e, (HOST_R13 & 7) << 3 | (HOST_R14 & 7));
		emit32(e, constant);
	} else {
		emit_lea(e, true, HOST_R13, HOST_R14, HOST_R13, 0, 0);
		if (guest < CPU_REGISTERS)
			emit_load_state(e, HOST_R14, home(guest));
		else
			emit_constant(e, HOST_R14, constant);
		/* mov [r13 + 0], r14 */
		emit8(e, 0x4d);
		emit8(e, 0x89);
		emit8(e, 0x40 | (HOST_R14 & 7) << 3 | (HOST_R13 & 7));
		emit8(e, 0);
	}
	emit_lea(e, true, HOST_R15, HOST_R15, HOST_NONE, 0, -8);
}

static void emit_pop_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	unsigned guest = item->insn.reg[0] / 8;
	uint8_t host = host_register(guest);

	emit_move(&t->e, HOST_R13, HOST_R15);
	emit_tlb_check(t, index, 8, false, false, flags_cross(item));
	emit_memory_move(&t->e, false, host == HOST_NONE ? HOST_R13 : host);
	if (host == HOST_NONE)
		emit_store_state(&t->e, HOST_R13, home(guest));
	emit_lea(&t->e, true, HOST_R15, HOST_R15, HOST_NONE, 0, 8);
}

static void emit_leave_item(struct translation *t, unsigned index)
{
	emit_move(&t->e, HOST_R13, HOST_RBP);
	emit_tlb_check(t, index, 8, false, false, flags_cross(&t->jit->items[index]));
	emit_memory_move(&t->e, false, HOST_R13);
	emit_lea(&t->e, true, HOST_R15, HOST_RBP, HOST_NONE, 0, 8);
	emit_move(&t->e, HOST_RBP, HOST_R13);
}

/* With a guest address in R13: find its translation in the jump table. Falls through with the
 * table's byte offset / 2 in R14 on a hit; on a miss, or when the CPU is wanted elsewhere, goes to
 * the item's slow path. Flags survive. */
static void emit_jump_lookup(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	size_t go_on, hit;

	emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_load_state32(e, HOST_RCX, STATE(requests));
	go_on = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	add_slow(t, emit_jump(e), index);
	emit_patch8(e, go_on);
	emit_rorx(e, HOST_R14, HOST_R13, JIT_JUMP_ROTATE);
	emit_lea(e, true, HOST_R14, HOST_R14, HOST_R13, 0, 0);
	emit_pext_state(e, HOST_R14, HOST_R14, STATE(fast.jump_mask));
	emit_lea(e, true, HOST_R14, HOST_NONE, HOST_R14, 3, 0);
	emit_gs_op(e, true, 0x8b, HOST_RCX, HOST_R14, 1, t->jumps);
	emit_lea(e, true, HOST_RCX, HOST_RCX, HOST_R13, 0, 0);
	hit = emit_jrcxz(e);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	add_slow(t, emit_jump(e), index);
	emit_patch8(e, hit);
	emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
}

static void emit_jump_found(struct translation *t)
{
	emit_jump_state(&t->e, HOST_R14, 1, t->jumps + (int32_t)offsetof(struct jit_jump, code));
}

/* Poll for requests before a backward jump; keeps flags. */
static void emit_poll(struct translation *t, uint64_t target, bool keep_flags)
{
	struct emitter *e = &t->e;
	size_t go_on;

	if (keep_flags) {
		emit_store_state(e, HOST_RCX, STATE(fast.spill[0]));
		emit_load_state32(e, HOST_RCX, STATE(requests));
		go_on = emit_jrcxz(e);
	} else {
		/* cmp dword gs:[requests], 0; je */
		emit8(e, 0x65);
		emit8(e, 0x83);
		emit_gs_modrm(e, 7, HOST_NONE, 0, STATE(requests));
		emit8(e, 0);
		emit8(e, 0x74);
		emit8(e, 0);
		go_on = e->position - 1;
	}
	if (keep_flags)
		emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
	emit_constant(e, HOST_R13, target);
	emit_store_state(e, HOST_R13, STATE(rip));
	emit_jump_to(e, t->jit->exit);
	emit_patch8(e, go_on);
	if (keep_flags)
		emit_load_state(e, HOST_RCX, STATE(fast.spill[0]));
}

/* Jump to `target`: linked once that is translated. */
static void emit_goto(struct translation *t, uint64_t from, uint64_t target, bool keep_flags)
{
	if (target <= from)
		emit_poll(t, target, keep_flags);
	if (target == t->start && !t->jit->lockstep) {
		emit_patch_to(&t->e, emit_jump(&t->e), 0);
		return;
	}
	t->link_jumps[t->link_count].target = target;
	t->link_jumps[t->link_count++].at = emit_jump(&t->e);
}

static void emit_indirect(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	struct emitter *e = &t->e;
	bool is_call = item->kind == ITEM_CALL_INDIRECT;

	if (item->insn.kind[0] == INSN_OPERAND_MEMORY) {
		emit_address(t, item, HOST_R13, false);
		emit_tlb_check(t, index, 8, false, false, flags_cross(item));
		emit_memory_move(e, false, HOST_R13);
	} else {
		load_guest(t, HOST_R13, item->insn.reg[0] / 8);
	}
	emit_jump_lookup(t, index);
	if (!is_call) {
		emit_jump_found(t);
		return;
	}
	emit_gs_op(e, true, 0x8b, HOST_R14, HOST_R14, 1,
		   t->jumps + (int32_t)offsetof(struct jit_jump, code));
	emit_store_state(e, HOST_R14, STATE(fast.spill[2]));
	emit_push_value(t, index, CPU_REGISTERS, item->rip + item->instruction.length);
	emit_jump_state(e, HOST_NONE, 0, STATE(fast.spill[2]));
}

static void emit_call(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];

	emit_push_value(t, index, CPU_REGISTERS, item->rip + item->instruction.length);
	emit_goto(t, item->rip, direct_target(item), item->live_after);
}

static void emit_return(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	struct emitter *e = &t->e;
	unsigned extra = item->insn.kind[0] == INSN_OPERAND_IMMEDIATE ? (uint16_t)item->insn.immediate : 0;

	emit_move(e, HOST_R13, HOST_R15);
	emit_tlb_check(t, index, 8, false, false, flags_cross(item));
	emit_memory_move(e, false, HOST_R13);
	emit_jump_lookup(t, index);
	emit_lea(e, true, HOST_R15, HOST_R15, HOST_NONE, 0, 8 + extra);
	emit_jump_found(t);
}

static void emit_fallback(struct translation *t, unsigned index)
{
	/* The record's address is known only when the block is complete. */
	add_slow(t, emit_jump(&t->e), index);
	memset(t->vector_checked, 0, sizeof(t->vector_checked));
}

static void emit_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];

	switch (item->kind) {
	case ITEM_NOTHING: break;
	case ITEM_COPY: emit_copy(t, index); break;
	case ITEM_LEA: emit_lea_item(t, index); break;
	case ITEM_PUSH:
		if (item->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			emit_push_value(t, index, CPU_REGISTERS, item->insn.immediate);
		else
			emit_push_value(t, index, item->insn.reg[0] / 8, 0);
		break;
	case ITEM_POP: emit_pop_item(t, index); break;
	case ITEM_LEAVE: emit_leave_item(t, index); break;
	case ITEM_JUMP: emit_goto(t, item->rip, direct_target(item), item->live_after); break;
	case ITEM_JUMP_IF: {
		uint8_t condition = item->instruction.opcode & 0xf;
		struct side_exit *side = &t->sides[t->side_count++];

		side->at = emit_jump_if(&t->e, condition);
		side->item = index;
		side->target = direct_target(item);
		break;
	}
	case ITEM_CALL: emit_call(t, index); break;
	case ITEM_RETURN: emit_return(t, index); break;
	case ITEM_JUMP_INDIRECT:
	case ITEM_CALL_INDIRECT: emit_indirect(t, index); break;
	default: emit_fallback(t, index); break;
	}
}

/* Whether control never reaches the instruction after this one inside the block. */
static bool ends_block(const struct jit_item *item)
{
	switch (item->kind) {
	case ITEM_JUMP: case ITEM_CALL: case ITEM_RETURN: case ITEM_JUMP_INDIRECT:
	case ITEM_CALL_INDIRECT:
		return true;
	case ITEM_FALLBACK:
		return item->insn.ends_block;
	default:
		return false;
	}
}

/* Decode the block's instructions into jit->items; the count. */
static unsigned decode_items(struct jit *jit, uint64_t gva, const uint8_t *bytes, unsigned available)
{
	unsigned count = 0, offset = 0;

	while (count < JIT_BLOCK_INSNS) {
		struct jit_item *item = &jit->items[count];

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(
			    jit->decoder, bytes + offset, available - offset, &item->instruction,
			    item->operands)))
			break;
		if (insn_decode(&item->insn, bytes + offset, available - offset, jit->cpu->mode) < 0)
			break;
		item->rip = gva + offset;
		item->bytes = bytes + offset;
		item->info = (struct reencode_info){0};
		item->vector_levels = 0;
		item->kind = classify(item);
		item->is_fallback = item->kind == ITEM_FALLBACK;
		flags_of(item);
		count++;
		offset += item->instruction.length;
		if (ends_block(item))
			break;
	}
	return count;
}

/* The jumps out of the block that go past its straight line: stubs behind it. */
static void emit_tail(struct translation *t, unsigned records)
{
	struct jit *jit = t->jit;
	struct emitter *e = &t->e;
	unsigned record = 0;

	for (unsigned i = 0; i < t->side_count; i++) {
		const struct side_exit *side = &t->sides[i];

		emit_patch(e, side->at);
		emit_goto(t, jit->items[side->item].rip, side->target,
			  jit->items[side->item].live_after);
	}
	/* Slow paths: one stub for each item that has any. */
	for (unsigned i = 0; i < t->count; i++) {
		bool any = false;

		for (unsigned k = 0; k < t->slow_count; k++) {
			if (t->slow[k].item != i)
				continue;
			emit_patch(e, t->slow[k].at);
			any = true;
		}
		if (!any || record == records)
			continue;
		emit_constant(e, HOST_R13, (uintptr_t)&t->block->records[record]);
		emit_jump_to(e, jit->fallback);
		t->block->records[record].insn = jit->items[i].insn;
		t->block->records[record].rip = jit->items[i].rip;
		t->block->records[record].vector_levels = jit->items[i].vector_levels;
		t->block->records[record].changes_vector = changes_vector(&jit->items[i]);
		t->block->records[record].resume =
			ends_block(&jit->items[i]) || jit->items[i].kind == ITEM_JUMP_IF ||
					(jit->lockstep && jit->items[i].is_fallback)
				? NULL
				: e->code + t->item_position[i + 1];
		record++;
	}
	for (unsigned i = 0; i < t->link_count; i++) {
		struct jit_link *link = &t->block->links[i];
		size_t at = t->link_jumps[i].at;

		emit_patch(e, at);
		link->target = t->link_jumps[i].target;
		link->patch = e->base + at;
		link->patch_code = e->code + at;
		link->unlinked = e->code + e->position;
		link->from = t->block;
		link->to = NULL;
		emit_constant(e, HOST_R13, (uintptr_t)link);
		emit_jump_to(e, jit->exit_link);
	}
}

struct jit_block *jit_translate(struct jit *jit, uint64_t gva, uint64_t gpa, unsigned tlb_set,
				bool *full)
{
	const uint8_t *bytes = (const uint8_t *)jit->snapshot + (gva & 0xfff);
	static _Thread_local struct translation storage;
	struct translation *t = &storage;
	struct jit_block *block;
	struct jit_item *last;
	size_t room = jit->size - jit->used;
	unsigned count;

	*full = false;
	count = decode_items(jit, gva, bytes, 0x1000 - (gva & 0xfff));
	if (count == 0)
		return NULL;
	*t = (struct translation){
		.jit = jit,
		.e = { .base = jit->writable + jit->used, .code = jit->executable + jit->used,
		       .size = room },
		.count = count,
		.jumps = STATE(fast.jumps) +
			 (int32_t)(tlb_set * JIT_JUMP_ENTRIES * sizeof(struct jit_jump)),
		.start = gva,
		.page = gva & ~(uint64_t)0xfff,
	};
	last = &jit->items[count - 1];

	block = calloc(1, sizeof(*block));
	if (!block)
		return NULL;
	block->guest_size = last->rip + last->instruction.length - gva;
	block->records = calloc(count, sizeof(*block->records));
	block->links = calloc(count + 2, sizeof(*block->links));
	if (!block->records || !block->links)
		goto fail;
	t->block = block;
	look(t, gva & 0xfff, block->guest_size);
	flags_liveness(t, (const uint8_t *)jit->snapshot);
	for (unsigned i = 0; i < count; i++) {
		t->item_position[i] = t->e.position;
		emit_item(t, i);
	}
	t->item_position[count] = t->e.position;
	if (!ends_block(last))
		emit_goto(t, last->rip, last->rip + last->instruction.length, true);
	emit_tail(t, count);
	if (t->failed || t->e.overflow) {
		*full = !t->failed;
		goto fail;
	}
	block->gva = gva;
	block->gpa = gpa;
	block->mode = jit->cpu->mode | tlb_set << 16;
	block->code = t->e.code;
	block->link_count = t->link_count;
	if (jit->lockstep)
		block->script = jit_lockstep_script(jit, count);
	jit->used += (t->e.position + 15) & ~(size_t)15;
	jit->statistics.blocks++;
	jit->statistics.guest_instructions += count;
	jit->statistics.guest_bytes += block->guest_size;
	jit->statistics.host_bytes += t->e.position;
	return block;
fail:
	jit_block_free(block);
	return NULL;
}
