/*
 * Data movement: MOV, MOVZX, MOVSX, CMOVcc, XCHG, LEA, XLAT, conversions, SETcc, BSWAP, MOVBE, BOUND
 * (Intel SDM vol. 1 §7.3.1), stores past the caches, and what moves nothing: NOPs, prefetches, fences.
 */
#include "engine/x86/instructions/operand.h"

#define MOVE_SIZE(size)                                                                            \
	static void mov##size##_rr(struct cpu *cpu, const struct insn *insn)                       \
	{                                                                                          \
		gpr_write(cpu, insn, 0, gpr_read(cpu, insn, 1, size), size);                       \
	}                                                                                          \
	static void mov##size##_ri(struct cpu *cpu, const struct insn *insn)                       \
	{                                                                                          \
		gpr_write(cpu, insn, 0, (uint64_t)insn->immediate, size);                          \
	}                                                                                          \
	static void mov##size##_rm(struct cpu *cpu, const struct insn *insn)                       \
	{                                                                                          \
		gpr_write(cpu, insn, 0, operand_load(cpu, insn, size), size);                      \
	}                                                                                          \
	static void mov##size##_mr(struct cpu *cpu, const struct insn *insn)                       \
	{                                                                                          \
		operand_store(cpu, insn, gpr_read(cpu, insn, 1, size), size);                      \
	}                                                                                          \
	static void mov##size##_mi(struct cpu *cpu, const struct insn *insn)                       \
	{                                                                                          \
		operand_store(cpu, insn, (uint64_t)insn->immediate, size);                         \
	}

MOVE_SIZE(1)
MOVE_SIZE(2)
MOVE_SIZE(4)
MOVE_SIZE(8)

static insn_handler *bind_mov(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row)
{
	static insn_handler *const handlers[5][4] = {
		{mov1_rr, mov2_rr, mov4_rr, mov8_rr}, {mov1_ri, mov2_ri, mov4_ri, mov8_ri},
		{mov1_rm, mov2_rm, mov4_rm, mov8_rm}, {mov1_mr, mov2_mr, mov4_mr, mov8_mr},
		{mov1_mi, mov2_mi, mov4_mi, mov8_mi},
	};
	unsigned size, form;

	(void)decoded;
	/* MOVNTI has no 16-bit form: the operand-size attribute does not matter to it. */
	if (row->mnemonic == ZYDIS_MNEMONIC_MOVNTI && insn->operand_size == 2)
		insn->operand_size = 4;
	size = size_index(insn->operand_size);
	if (insn->kind[0] == INSN_OPERAND_MEMORY)
		form = insn->kind[1] == INSN_OPERAND_IMMEDIATE ? 4 : 3;
	else if (insn->kind[1] == INSN_OPERAND_MEMORY)
		form = 2;
	else
		form = insn->kind[1] == INSN_OPERAND_IMMEDIATE;
	if (insn->kind[0] > INSN_OPERAND_MEMORY || insn->kind[1] > INSN_OPERAND_IMMEDIATE)
		return NULL;
	return handlers[form][size];
}

/* MOVZX, MOVSX, MOVSXD: `from` is the source's type, `size` the destination's bytes. */
#define EXTEND(name, from, size)                                                                   \
	static void name##_##size##_r(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		gpr_write(cpu, insn, 0, (uint64_t)(from)gpr_read(cpu, insn, 1, sizeof(from)), size); \
	}                                                                                          \
	static void name##_##size##_m(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		gpr_write(cpu, insn, 0, (uint64_t)(from)operand_load(cpu, insn, sizeof(from)),     \
			  size);                                                                   \
	}

#define EXTEND_SIZES(name, from) EXTEND(name, from, 2) EXTEND(name, from, 4) EXTEND(name, from, 8)
#define EXTEND_ROW(name)                                                                           \
	{{name##_2_r, name##_4_r, name##_8_r}, {name##_2_m, name##_4_m, name##_8_m}}

EXTEND_SIZES(zero8, uint8_t)
EXTEND_SIZES(zero16, uint16_t)
EXTEND_SIZES(sign8, int8_t)
EXTEND_SIZES(sign16, int16_t)
EXTEND_SIZES(sign32, int32_t)

static insn_handler *bind_extend(struct insn *insn, const struct decoded *decoded,
				 const struct isa_row *row)
{
	static insn_handler *const handlers[2][3][2][3] = {
		{EXTEND_ROW(zero8), EXTEND_ROW(zero16)},
		{EXTEND_ROW(sign8), EXTEND_ROW(sign16), EXTEND_ROW(sign32)},
	};
	unsigned from = size_index(decoded->operands[1].size / 8);
	unsigned size = size_index(insn->operand_size);

	/* MOVSXD with a 16-bit destination reads 16 bits only (SDM vol. 2). */
	if (insn->operand_size == 2 && from == 2)
		from = 1;
	if (from > 2 || size < 1)
		return NULL;
	return handlers[row->argument][from][insn->kind[1] == INSN_OPERAND_MEMORY][size - 1];
}

/* CMOVcc reads its source in any case, and a 32-bit one always clears the upper half. */
#define CONDITION(condition)                                                                       \
	static void cmov2_##condition(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		uint64_t value = operand_read(cpu, insn, 1, 2);                                    \
                                                                                                   \
		if (condition_holds(cpu, condition))                                               \
			gpr_write(cpu, insn, 0, value, 2);                                         \
	}                                                                                          \
	static void cmov4_##condition(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		uint64_t value = operand_read(cpu, insn, 1, 4);                                    \
                                                                                                   \
		if (!condition_holds(cpu, condition))                                              \
			value = gpr_read(cpu, insn, 0, 4);                                         \
		gpr_write(cpu, insn, 0, value, 4);                                                 \
	}                                                                                          \
	static void cmov8_##condition(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		uint64_t value = operand_read(cpu, insn, 1, 8);                                    \
                                                                                                   \
		if (condition_holds(cpu, condition))                                               \
			gpr_write(cpu, insn, 0, value, 8);                                         \
	}                                                                                          \
	static void set_##condition(struct cpu *cpu, const struct insn *insn)                      \
	{                                                                                          \
		operand_write(cpu, insn, 0, condition_holds(cpu, condition), 1);                   \
	}

CONDITION(0)
CONDITION(1)
CONDITION(2)
CONDITION(3)
CONDITION(4)
CONDITION(5)
CONDITION(6)
CONDITION(7)
CONDITION(8)
CONDITION(9)
CONDITION(10)
CONDITION(11)
CONDITION(12)
CONDITION(13)
CONDITION(14)
CONDITION(15)

#define CONDITION_ROW(n) {cmov2_##n, cmov4_##n, cmov8_##n, set_##n}

/* argument: the condition, and 16 for SETcc. */
static insn_handler *bind_condition(struct insn *insn, const struct decoded *decoded,
				    const struct isa_row *row)
{
	static insn_handler *const handlers[16][4] = {
		CONDITION_ROW(0), CONDITION_ROW(1), CONDITION_ROW(2), CONDITION_ROW(3),
		CONDITION_ROW(4), CONDITION_ROW(5), CONDITION_ROW(6), CONDITION_ROW(7),
		CONDITION_ROW(8), CONDITION_ROW(9), CONDITION_ROW(10), CONDITION_ROW(11),
		CONDITION_ROW(12), CONDITION_ROW(13), CONDITION_ROW(14), CONDITION_ROW(15),
	};

	(void)decoded;
	if (row->argument & 16)
		return handlers[row->argument & 15][3];
	return handlers[row->argument][size_index(insn->operand_size) - 1];
}

/* XCHG with memory is atomic with or without LOCK. */
#define EXCHANGE(T, bits)                                                                          \
	static void xchg##bits(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		unsigned reg = insn->kind[0] == INSN_OPERAND_MEMORY;                               \
		T value = (T)gpr_read(cpu, insn, reg, sizeof(T)), old;                             \
		struct modify modify;                                                              \
                                                                                                   \
		if (insn->kind[1] == INSN_OPERAND_REGISTER && !reg) {                              \
			old = (T)gpr_read(cpu, insn, 1, sizeof(T));                                \
			gpr_write(cpu, insn, 1, value, sizeof(T));                                 \
			gpr_write(cpu, insn, 0, old, sizeof(T));                                   \
			return;                                                                    \
		}                                                                                  \
		modify = modify_begin(cpu, insn, sizeof(T));                                       \
		if (modify.pointer) {                                                              \
			old = __atomic_exchange_n((T *)modify.pointer, value, __ATOMIC_SEQ_CST);   \
		} else {                                                                           \
			old = (T)modify_read(cpu, insn, &modify, sizeof(T));                       \
			modify_write(cpu, insn, &modify, value, sizeof(T));                        \
		}                                                                                  \
		gpr_write(cpu, insn, reg, old, sizeof(T));                                         \
	}

EXCHANGE(uint8_t, 8)
EXCHANGE(uint16_t, 16)
EXCHANGE(uint32_t, 32)
EXCHANGE(uint64_t, 64)

static insn_handler *bind_xchg(struct insn *insn, const struct decoded *decoded,
			       const struct isa_row *row)
{
	static insn_handler *const handlers[4] = {xchg8, xchg16, xchg32, xchg64};

	(void)decoded;
	(void)row;
	insn->prefixes |= INSN_LOCK;
	return handlers[size_index(insn->operand_size)];
}

static void lea2(struct cpu *cpu, const struct insn *insn)
{
	gpr_write(cpu, insn, 0, mem_offset(cpu, insn), 2);
}

static void lea4(struct cpu *cpu, const struct insn *insn)
{
	gpr_write(cpu, insn, 0, mem_offset(cpu, insn), 4);
}

static void lea8(struct cpu *cpu, const struct insn *insn)
{
	gpr_write(cpu, insn, 0, mem_offset(cpu, insn), 8);
}

static insn_handler *bind_lea(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row)
{
	static insn_handler *const handlers[4] = {NULL, lea2, lea4, lea8};

	(void)decoded;
	(void)row;
	return handlers[size_index(insn->operand_size)];
}

static void xlat(struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = cpu->gpr[CPU_RBX] + (uint8_t)cpu->gpr[CPU_RAX];

	offset = truncate_to(offset, insn->address_size);
	register_write(&cpu->gpr[CPU_RAX], mem_read(cpu, insn->segment, offset, 1), 1);
}

/* CBW, CWDE, CDQE */
static void extend_rax(struct cpu *cpu, const struct insn *insn)
{
	uint64_t *rax = &cpu->gpr[CPU_RAX];

	switch (insn->operand_size) {
	case 2: register_write(rax, (uint64_t)(int8_t)*rax, 2); break;
	case 4: register_write(rax, (uint64_t)(int16_t)*rax, 4); break;
	default: *rax = (uint64_t)(int32_t)*rax; break;
	}
}

/* CWD, CDQ, CQO */
static void sign_into_rdx(struct cpu *cpu, const struct insn *insn)
{
	int64_t rax = (int64_t)cpu->gpr[CPU_RAX];

	switch (insn->operand_size) {
	case 2: rax = (int16_t)rax; break;
	case 4: rax = (int32_t)rax; break;
	default: break;
	}
	register_write(&cpu->gpr[CPU_RDX], rax < 0 ? UINT64_MAX : 0, insn->operand_size);
}

static uint64_t swap_bytes(uint64_t value, unsigned size)
{
	switch (size) {
	case 2: return __builtin_bswap16((uint16_t)value);
	case 4: return __builtin_bswap32((uint32_t)value);
	default: return __builtin_bswap64(value);
	}
}

/* Of 16 bits the result is undefined; CPUs give zero. */
static void bswap(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t value = size == 2 ? 0 : swap_bytes(gpr_read(cpu, insn, 0, size), size);

	gpr_write(cpu, insn, 0, value, size);
}

static void movbe(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;

	operand_write(cpu, insn, 0, swap_bytes(operand_read(cpu, insn, 1, size), size), size);
}

/* 64 bytes from the memory operand to ES:reg, which is aligned. */
static void movdir64b(struct cpu *cpu, const struct insn *insn)
{
	uint64_t to = truncate_to(gpr_read(cpu, insn, 0, 8), insn->address_size), data[8];

	to = segment_linear(cpu, CPU_ES, to, 64, true);
	if (to & 63)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	lin_read_bytes(cpu, operand_linear(cpu, insn, 64, false), data, 64, insn->segment);
	lin_write_bytes(cpu, to, data, 64, CPU_ES);
}

static void bound(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t offset = mem_offset(cpu, insn), next = truncate_to(offset + size,
								    insn->address_size);
	int64_t index, low, high;

	if (size == 2) {
		index = (int16_t)gpr_read(cpu, insn, 0, 2);
		low = (int16_t)mem_read(cpu, insn->segment, offset, 2);
		high = (int16_t)mem_read(cpu, insn->segment, next, 2);
	} else {
		index = (int32_t)gpr_read(cpu, insn, 0, 4);
		low = (int32_t)mem_read(cpu, insn->segment, offset, 4);
		high = (int32_t)mem_read(cpu, insn->segment, next, 4);
	}
	if (index < low || index > high)
		cpu_raise(cpu, EXCEPTION_BR);
}

static void nop(struct cpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
}

/*
 * What a CPU does that waits for another one. That one's thread may not be running: after some 20
 * microseconds of PAUSEs with little in between, this one gives way, as processors do it for KVM
 * (pause-loop exiting, Intel SDM vol. 3 §25.1.3). If it then goes on waiting at the same place, others
 * than the one it waits for have run, and it gives way sooner.
 */
#define SPIN_GAP    5000  /* ticks between two PAUSEs of a loop, at most */
#define SPIN_WINDOW 50000
#define SPIN_AGAIN  5000

static void relax(struct cpu *cpu, const struct insn *insn)
{
	uint64_t now = __builtin_ia32_rdtsc();

	(void)insn;
	if (now - cpu->spin_last > SPIN_GAP) {
		bool is_same = cpu->spin_place == cpu->rip;

		cpu->spin_began = is_same ? now - (SPIN_WINDOW - SPIN_AGAIN) : now;
		cpu->spin_place = 0;
	}
	cpu->spin_last = now;
	if (now - cpu->spin_began < SPIN_WINDOW) {
		__builtin_ia32_pause();
		return;
	}
	cpu->spin_last = 0;
	cpu->spin_place = cpu->rip;
	cpu_request(cpu, CPU_REQUEST_YIELD | CPU_REQUEST_STOP_BLOCK);
}

/* AMD: zero the 64 bytes around rAX (AMD APM vol. 3, CLZERO). */
static void clzero(struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = truncate_to(cpu->gpr[CPU_RAX], insn->address_size) & ~63ull;
	static const uint64_t zero[8];

	lin_write_bytes(cpu, segment_linear(cpu, insn->segment, offset, 64, true), zero, 64,
			insn->segment);
}

/* CLFLUSH and its kin: caches are the host's affair, the access is checked as a load. */
static void flush_line(struct cpu *cpu, const struct insn *insn)
{
	lin_pointer(cpu, operand_linear(cpu, insn, 1, false), 1, false, insn->segment);
}

static void fence(struct cpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#define ROW_CONDITION(name, n)                                                                     \
	{ZYDIS_MNEMONIC_CMOV##name, .argument = n, .bind = bind_condition, .class = INSN_COPIED},  \
	{ZYDIS_MNEMONIC_SET##name, .argument = n | 16, .bind = bind_condition, .class = INSN_COPIED}

static void exchange_r8(struct cpu *cpu, const struct insn *insn)
{
	uint64_t r8 = cpu->gpr[8];

	register_write(&cpu->gpr[8], cpu->gpr[CPU_RAX], insn->operand_size);
	register_write(&cpu->gpr[CPU_RAX], r8, insn->operand_size);
}

/* F3 90 with REX.B: to AMD's processors it is XCHG of RAX and R8 as it is without F3. */
static insn_handler *bind_pause(struct insn *insn, const struct decoded *decoded, const struct isa_row *row)
{
	(void)insn, (void)row;
	return decoded->rules->is_amd && decoded->instruction->raw.rex.B ? exchange_r8 : relax;
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_MOV, .bind = bind_mov, .class = INSN_COPIED, .operation = INSN_MOVES},
	{ZYDIS_MNEMONIC_MOVNTI, .bind = bind_mov, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_MOVDIRI, .bind = bind_mov},
	{ZYDIS_MNEMONIC_MOVDIR64B, .execute = movdir64b},
	{ZYDIS_MNEMONIC_MOVZX, .argument = 0, .bind = bind_extend, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_MOVSX, .argument = 1, .bind = bind_extend, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_MOVSXD, .argument = 1, .bind = bind_extend, .class = INSN_COPIED},
	ROW_CONDITION(O, 0), ROW_CONDITION(NO, 1), ROW_CONDITION(B, 2), ROW_CONDITION(NB, 3),
	ROW_CONDITION(Z, 4), ROW_CONDITION(NZ, 5), ROW_CONDITION(BE, 6), ROW_CONDITION(NBE, 7),
	ROW_CONDITION(S, 8), ROW_CONDITION(NS, 9), ROW_CONDITION(P, 10), ROW_CONDITION(NP, 11),
	ROW_CONDITION(L, 12), ROW_CONDITION(NL, 13), ROW_CONDITION(LE, 14), ROW_CONDITION(NLE, 15),
	{ZYDIS_MNEMONIC_XCHG, .bind = bind_xchg, .class = INSN_COPIED, .traits = INSN_LOCKS},
	{ZYDIS_MNEMONIC_LEA, .bind = bind_lea, .class = INSN_LEA},
	{ZYDIS_MNEMONIC_XLAT, .execute = xlat},
	{ZYDIS_MNEMONIC_CBW, .execute = extend_rax, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CWDE, .execute = extend_rax, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CDQE, .execute = extend_rax, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CWD, .execute = sign_into_rdx, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CDQ, .execute = sign_into_rdx, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CQO, .execute = sign_into_rdx, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_BSWAP, .execute = bswap, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_MOVBE, .execute = movbe, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_BOUND, .execute = bound},
	{ZYDIS_MNEMONIC_NOP, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_PAUSE, .bind = bind_pause},
	{ZYDIS_MNEMONIC_CLZERO, .execute = clzero},
	{ZYDIS_MNEMONIC_PREFETCH, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_PREFETCHNTA, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_PREFETCHT0, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_PREFETCHT1, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_PREFETCHT2, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_PREFETCHW, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_PREFETCHWT1, .execute = nop, .class = INSN_NOTHING},
	{ZYDIS_MNEMONIC_CLFLUSH, .execute = flush_line},
	{ZYDIS_MNEMONIC_CLFLUSHOPT, .execute = flush_line},
	{ZYDIS_MNEMONIC_MFENCE, .execute = fence, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_LFENCE, .execute = fence, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_SFENCE, .execute = fence, .class = INSN_COPIED},
};

const struct isa_table isa_move = {rows, sizeof(rows) / sizeof(rows[0])};
