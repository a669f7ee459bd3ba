/*
 * Which guest instructions become host instructions, and what they need for it.
 */
#include "engine/run/jit/analyse/item.h"
#include "engine/run/jit/analyse/registers.h"

bool item_is_general(ZydisMnemonic mnemonic)
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
	case ZYDIS_MNEMONIC_CMPXCHG8B: case ZYDIS_MNEMONIC_CMPXCHG16B:
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
int item_vector_level(const ZydisDecodedInstruction *instruction)
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

/* Whether it may unmask exceptions. */
bool item_changes_vector(const struct jit_item *item)
{
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_LDMXCSR: case ZYDIS_MNEMONIC_VLDMXCSR: case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FLDENV: case ZYDIS_MNEMONIC_FRSTOR: case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64: case ZYDIS_MNEMONIC_XRSTOR: case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_XRSTORS: case ZYDIS_MNEMONIC_XRSTORS64:
	case ZYDIS_MNEMONIC_FNINIT: case ZYDIS_MNEMONIC_FNSAVE:
		return true;
	default:
		return false;
	}
}

bool item_moves_x87_pointer(const struct jit_item *item)
{
	switch (item->instruction.mnemonic) {
	/* Of control, as the interpreter has it. */
	case ZYDIS_MNEMONIC_FNINIT: case ZYDIS_MNEMONIC_FNCLEX: case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW: case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP: case ZYDIS_MNEMONIC_FSETPM287_NOP:
	case ZYDIS_MNEMONIC_FWAIT:
		return false;
	default:
		/* Not by its thunk: if there is no room for more, it has none. */
		return item_vector_level(&item->instruction) == JIT_VECTOR_X87 &&
		       item->instruction.meta.isa_ext != ZYDIS_ISA_EXT_MMX;
	}
}

/* Whether it has MMX registers besides XMM ones: then the x87 state must allow it, too. */
bool item_mixes_mmx(const struct jit_item *item)
{
	for (unsigned i = 0; i < item->instruction.operand_count; i++)
		if (item->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(item->operands[i].reg.value) == ZYDIS_REGCLASS_MMX)
			return true;
	return false;
}

/* Whether its copy locks the bus or a cache line: not a LOCK that is left out (emit_copy). */
bool item_locks(const struct jit_item *item, bool is_alone)
{
	if (item->kind != ITEM_COPY || !item->info.has_memory)
		return false;
	if (item->instruction.mnemonic == ZYDIS_MNEMONIC_XCHG)
		return true;
	return (item->instruction.attributes & ZYDIS_ATTRIB_HAS_LOCK) &&
	       (!is_alone || item_is_fence(item));
}

/*
 * Whether the memory operand must be aligned to its size (SDM vol. 1 §14.9). What is locked must be so
 * as not to cross cache lines: there the handler does without the host's LOCK.
 */
bool item_needs_alignment(const struct jit_item *item)
{
	if (item->locks)
		return item->info.memory_size > 1;
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

uint8_t item_vector_levels(const struct jit_item *item)
{
	int level = item->kind != ITEM_COPY || item_is_general(item->instruction.mnemonic)
			    ? -1
			    : item_vector_level(&item->instruction);

	return level < 0 ? 0 : 1u << level | (item_mixes_mmx(item) ? 1u << JIT_VECTOR_X87 : 0);
}

bool item_is_variable_shift(const struct jit_item *item)
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

bool item_is_update(const struct jit_item *item)
{
	if (item->kind != ITEM_COPY || item->insn.operand_size < 4 ||
	    item->instruction.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return false;
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_ADD: return item->instruction.opcode == 0x01;
	case ZYDIS_MNEMONIC_OR: return item->instruction.opcode == 0x09;
	case ZYDIS_MNEMONIC_AND: return item->instruction.opcode == 0x21;
	case ZYDIS_MNEMONIC_XOR: return item->instruction.opcode == 0x31;
	default: return false;
	}
}

/*
 * The idioms: an operation that changes nothing (LOCK ADD $0; LOCK OR $0; LOCK AND $-1), or any on the
 * top of the stack, which nobody else looks at.
 */
bool item_is_fence(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	if (insn->base == CPU_RSP)
		return true;
	if (insn->kind[1] != INSN_OPERAND_IMMEDIATE)
		return false;
	return insn->immediate == (item->instruction.mnemonic == ZYDIS_MNEMONIC_AND ? -1 : 0);
}

bool item_loads_segment(const struct jit_item *item)
{
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_POP:
		return item->insn.kind[0] == INSN_OPERAND_SEGMENT && item->insn.reg[0] >= CPU_FS;
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
		return true;
	default:
		return false;
	}
}

unsigned item_cycles(const struct jit_item *item)
{
	if (item->kind == ITEM_DIVIDE)
		return 40;
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_DIVPD: case ZYDIS_MNEMONIC_DIVPS: case ZYDIS_MNEMONIC_DIVSD:
	case ZYDIS_MNEMONIC_DIVSS: case ZYDIS_MNEMONIC_SQRTPD: case ZYDIS_MNEMONIC_SQRTPS:
	case ZYDIS_MNEMONIC_SQRTSD: case ZYDIS_MNEMONIC_SQRTSS:
	case ZYDIS_MNEMONIC_VDIVPD: case ZYDIS_MNEMONIC_VDIVPS: case ZYDIS_MNEMONIC_VDIVSD:
	case ZYDIS_MNEMONIC_VDIVSS: case ZYDIS_MNEMONIC_VSQRTPD: case ZYDIS_MNEMONIC_VSQRTPS:
	case ZYDIS_MNEMONIC_VSQRTSD: case ZYDIS_MNEMONIC_VSQRTSS:
		return 30;
	default:
		return item_vector_levels(item) ? 5 : 2;
	}
}

bool item_is_bit_string(const struct jit_item *item)
{
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_BT: case ZYDIS_MNEMONIC_BTS: case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return item->insn.kind[0] == INSN_OPERAND_MEMORY &&
		       item->insn.kind[1] == INSN_OPERAND_REGISTER;
	default:
		return false;
	}
}

/* Whether access.c can compute where the bit is, and the copy on the host gets there, too. */
static bool is_simple_bit_string(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	return insn->operand_size >= 4 && insn->address_size == 8 && insn->segment < CPU_FS &&
	       (insn->index >= CPU_REGISTERS || host_register(insn->index) != HOST_NONE);
}

static enum item_kind classify_copy(struct jit_item *item)
{
	const ZydisDecodedInstruction *instruction = &item->instruction;
	bool general = item_is_general(instruction->mnemonic);

	if ((!general && item_vector_level(instruction) < 0) || !jit_host_has(instruction))
		return ITEM_FALLBACK;
	reencode_inspect(&item->info, instruction, item->operands, item->bytes);
	if (!item->info.possible)
		return ITEM_FALLBACK;
	if (item_is_bit_string(item) && !is_simple_bit_string(item))
		return ITEM_FALLBACK;
	if (item->info.high_byte && item->info.has_memory)
		return ITEM_FALLBACK;
	/* They leave registers 8 to 15 alone in 32-bit code. */
	if (item_is_32(item) && (instruction->mnemonic == ZYDIS_MNEMONIC_VZEROALL ||
				 instruction->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER))
		return ITEM_FALLBACK;
	/* Code segments cannot be written, flat or not. */
	if (item_is_32(item) && item->info.memory_written && item->insn.segment == CPU_CS)
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

/* A branch that cuts its target to 16 bits. */
static bool is_short_branch(const struct jit_item *item)
{
	return item->instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
	       item->insn.operand_size == 2;
}

/* RDFSBASE and its like, without a prefix of no meaning. */
static bool is_base_access(const struct jit_item *item)
{
	return !item_is_32(item) && !(item->instruction.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE);
}

/* What needs no privilege that the code may not have: `is_user` code has CPL 3, all other CPL 0. */
static enum item_kind classify_system(const struct jit_item *item, bool is_user)
{
	bool is_64 = !item_is_32(item);

	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_CLD: return ITEM_CLD;
	case ZYDIS_MNEMONIC_STD: return ITEM_STD;
	case ZYDIS_MNEMONIC_RDTSC: return ITEM_RDTSC;
	case ZYDIS_MNEMONIC_RDTSCP: return ITEM_RDTSCP;
	case ZYDIS_MNEMONIC_CLI: return is_user ? ITEM_FALLBACK : ITEM_CLI;
	case ZYDIS_MNEMONIC_STI: return is_user ? ITEM_FALLBACK : ITEM_STI;
	case ZYDIS_MNEMONIC_CLAC: return is_user ? ITEM_FALLBACK : ITEM_CLAC;
	case ZYDIS_MNEMONIC_STAC: return is_user ? ITEM_FALLBACK : ITEM_STAC;
	case ZYDIS_MNEMONIC_SWAPGS: return is_user || !is_64 ? ITEM_FALLBACK : ITEM_SWAPGS;
	case ZYDIS_MNEMONIC_RDFSBASE: case ZYDIS_MNEMONIC_RDGSBASE:
		return is_base_access(item) ? ITEM_READ_BASE : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_WRFSBASE: case ZYDIS_MNEMONIC_WRGSBASE:
		return is_base_access(item) ? ITEM_WRITE_BASE : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_MOV:
		return item->insn.kind[0] == INSN_OPERAND_REGISTER &&
				       item->insn.kind[1] == INSN_OPERAND_SEGMENT
			       ? ITEM_READ_SELECTOR
			       : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_PUSHFQ:
		return item->insn.stack_width == 8 ? ITEM_PUSH_FLAGS : ITEM_FALLBACK;
	default: return ITEM_FALLBACK;
	}
}

bool item_is_simple_string(const struct jit_item *item)
{
	const struct insn *insn = &item->insn;

	if (item->instruction.meta.category != ZYDIS_CATEGORY_STRINGOP || insn->address_size != 8 ||
	    insn->prefixes != INSN_REP)
		return false;
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB: case ZYDIS_MNEMONIC_MOVSW: case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
		return insn->segment < CPU_FS;
	case ZYDIS_MNEMONIC_STOSB: case ZYDIS_MNEMONIC_STOSW: case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
		return true;
	default:
		return false;
	}
}

bool item_is_string_copy(const struct jit_item *item)
{
	switch (item->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB: case ZYDIS_MNEMONIC_MOVSW: case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
		return true;
	default:
		return false;
	}
}

static enum item_kind classify_push(const struct jit_item *item)
{
	switch (item->insn.kind[0]) {
	case INSN_OPERAND_IMMEDIATE:
	case INSN_OPERAND_REGISTER: return ITEM_PUSH;
	case INSN_OPERAND_MEMORY: return ITEM_PUSH_MEMORY;
	default: return ITEM_FALLBACK;
	}
}

enum item_kind item_classify(struct jit_item *item, bool is_user)
{
	const ZydisDecodedInstruction *instruction = &item->instruction;
	const ZydisDecodedOperand *operand = &item->operands[0];
	bool is_32 = item_is_32(item);
	unsigned width = is_32 ? 4 : 8; /* of stack slots and near pointers */

	if (item->insn.address_size == 2 || is_short_branch(item))
		return ITEM_FALLBACK;
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
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		return operand->size >= 32 ? ITEM_DIVIDE : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_PUSH:
		return item->insn.stack_width == width ? classify_push(item) : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_POP:
		return item->insn.stack_width == width &&
				       item->insn.kind[0] == INSN_OPERAND_REGISTER
			       ? ITEM_POP
			       : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_LEAVE:
		return item->insn.stack_width == width ? ITEM_LEAVE : ITEM_FALLBACK;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
		if (instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return ITEM_FALLBACK;
		if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return instruction->mnemonic == ZYDIS_MNEMONIC_JMP ? ITEM_JUMP : ITEM_CALL;
		if (operand->size != width * 8)
			return ITEM_FALLBACK;
		return instruction->mnemonic == ZYDIS_MNEMONIC_JMP ? ITEM_JUMP_INDIRECT
								   : ITEM_CALL_INDIRECT;
	case ZYDIS_MNEMONIC_RET:
		return instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
				       item->insn.stack_width != width
			       ? ITEM_FALLBACK
			       : ITEM_RETURN;
	case ZYDIS_MNEMONIC_CLD: case ZYDIS_MNEMONIC_STD:
	case ZYDIS_MNEMONIC_CLI: case ZYDIS_MNEMONIC_STI:
	case ZYDIS_MNEMONIC_CLAC: case ZYDIS_MNEMONIC_STAC:
	case ZYDIS_MNEMONIC_RDTSC: case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_SWAPGS: case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_RDFSBASE: case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE: case ZYDIS_MNEMONIC_WRGSBASE:
		return classify_system(item, is_user);
	case ZYDIS_MNEMONIC_MOV:
		if (item->insn.kind[0] == INSN_OPERAND_SEGMENT ||
		    item->insn.kind[1] == INSN_OPERAND_SEGMENT)
			return classify_system(item, is_user);
		return classify_copy(item);
	default:
		return item_is_simple_string(item) ? ITEM_STRING : classify_copy(item);
	}
}

/* Whether control never reaches the instruction after this one inside the block. */
bool item_ends_block(const struct jit_item *item)
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
