/*
 * Bits: BT..BTC, BSF, BSR, LZCNT, TZCNT, POPCNT, BMI1, BMI2, CRC32, RDRAND, RDSEED (Intel SDM vol. 1
 * §7.3.7, §7.3.16). All run on the host with the guest's flags in place. Those that the guest's CPUID
 * hides never get here; those that it names and the host lacks are undefined nevertheless.
 */
#include "engine/x86/host/host.h"
#include "engine/x86/instructions/operand.h"

/* -- BT, BTS, BTR, BTC -- */

/* A register's bit number in memory reaches beyond the operand: whole operands before or after. */
#define BIT_ADDRESS(T, bits)                                                                       \
	ALWAYS_INLINE uint64_t bit_address##bits(struct cpu *cpu, const struct insn *insn,         \
						 uint64_t number, bool is_write)                   \
	{                                                                                          \
		int64_t signed_number = bits == 16 ? (int16_t)number :                             \
					bits == 32 ? (int32_t)number : (int64_t)number;            \
		uint64_t offset = mem_offset(cpu, insn);                                           \
                                                                                                   \
		if (insn->kind[1] == INSN_OPERAND_REGISTER)                                        \
			offset += (uint64_t)((signed_number >> __builtin_ctz(bits)) *              \
					     (int64_t)sizeof(T));                                  \
		offset = truncate_to(offset, insn->address_size);                                  \
		return segment_linear(cpu, insn->segment, offset, sizeof(T), is_write);            \
	}

#define BIT_VALUE(op, T, bits)                                                                     \
	ALWAYS_INLINE T op##_value##bits(unsigned *ax, T a, T number)                              \
	{                                                                                          \
		number &= bits - 1;                                                                \
		__asm__(FLAGS_IN #op " %[n], %[a]" FLAGS_OUT                                       \
			: [a] "+r"(a), "+&a"(*ax) : [n] "r"(number) : "cc");                       \
		return a;                                                                          \
	}

#define BIT_TEST(T, bits)                                                                          \
	BIT_ADDRESS(T, bits)                                                                       \
	BIT_VALUE(bt, T, bits)                                                                     \
	static void bt##bits(struct cpu *cpu, const struct insn *insn)                             \
	{                                                                                          \
		T number = (T)source_read(cpu, insn, 1, sizeof(T)), a;                             \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		if (insn->kind[0] == INSN_OPERAND_MEMORY)                                          \
			a = (T)lin_read(cpu, bit_address##bits(cpu, insn, number, false),          \
					sizeof(T), insn->segment);                                 \
		else                                                                               \
			a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                  \
		bt_value##bits(&ax, a, number);                                                    \
		flags_unpack(cpu, ax);                                                             \
	}

#define BIT_MODIFY(op, T, bits, suffix)                                                            \
	BIT_VALUE(op, T, bits)                                                                     \
	static void op##bits##_r(struct cpu *cpu, const struct insn *insn)                         \
	{                                                                                          \
		T number = (T)source_read(cpu, insn, 1, sizeof(T));                                \
		unsigned ax = flags_pack(cpu);                                                     \
		T a = op##_value##bits(&ax, (T)gpr_read(cpu, insn, 0, sizeof(T)), number);         \
                                                                                                   \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
		flags_unpack(cpu, ax);                                                             \
	}                                                                                          \
	static void op##bits##_m(struct cpu *cpu, const struct insn *insn)                         \
	{                                                                                          \
		T number = (T)source_read(cpu, insn, 1, sizeof(T));                                \
		struct modify modify =                                                             \
			modify_begin_at(cpu, insn, bit_address##bits(cpu, insn, number, true),     \
					sizeof(T));                                                \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		number &= bits - 1;                                                                \
		if (modify.pointer && insn->prefixes & INSN_LOCK) {                                \
			__asm__ volatile(FLAGS_IN "lock " #op suffix " %[n], %[p]" FLAGS_OUT       \
					 : [p] "+m"(*(T *)modify.pointer), "+&a"(ax)               \
					 : [n] "r"(number) : "cc", "memory");                      \
		} else if (modify.pointer) {                                                       \
			*(T *)modify.pointer =                                                     \
				op##_value##bits(&ax, *(T *)modify.pointer, number);               \
		} else {                                                                           \
			modify_write(cpu, insn, &modify,                                           \
				     op##_value##bits(&ax, (T)modify_read(cpu, insn, &modify,      \
									  sizeof(T)), number),     \
				     sizeof(T));                                                   \
		}                                                                                  \
		flags_unpack(cpu, ax);                                                             \
	}

#define BIT_MODIFY_SIZES(op)                                                                       \
	BIT_MODIFY(op, uint16_t, 16, "w")                                                          \
	BIT_MODIFY(op, uint32_t, 32, "l")                                                          \
	BIT_MODIFY(op, uint64_t, 64, "q")

BIT_TEST(uint16_t, 16)
BIT_TEST(uint32_t, 32)
BIT_TEST(uint64_t, 64)
BIT_MODIFY_SIZES(bts)
BIT_MODIFY_SIZES(btr)
BIT_MODIFY_SIZES(btc)

#define BIT_ROW(op) {{op##16_r, op##32_r, op##64_r}, {op##16_m, op##32_m, op##64_m}}

static insn_handler *bind_bit(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row)
{
	static insn_handler *const test[3] = {bt16, bt32, bt64};
	static insn_handler *const modify[3][2][3] = {BIT_ROW(bts), BIT_ROW(btr), BIT_ROW(btc)};
	unsigned size = size_index(insn->operand_size) - 1;

	(void)decoded;
	if (row->mnemonic == ZYDIS_MNEMONIC_BT)
		return test[size];
	return modify[row->argument][insn->kind[0] == INSN_OPERAND_MEMORY][size];
}

/* -- one source, one destination -- */

/*
 * The destination goes in as well: BSF and BSR leave it alone for a source of zero, with its upper
 * half or not as the host has it. W is what a 32-bit form may write.
 */
#define COUNT_SIZE(op, T, W, bits, k)                                                              \
	static void op##bits(struct cpu *cpu, const struct insn *insn)                             \
	{                                                                                          \
		T b = (T)operand_read(cpu, insn, 1, sizeof(T));                                    \
		W a = (W)gpr_read(cpu, insn, 0, sizeof(W));                                        \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN #op " %[b], %" k "[a]" FLAGS_OUT                                  \
			: [a] "+&r"(a), "+&a"(ax) : [b] "r"(b) : "cc");                            \
		gpr_write(cpu, insn, 0, a, sizeof(W));                                             \
		flags_unpack(cpu, ax);                                                             \
	}

#define COUNT_DEFINE(op)                                                                           \
	COUNT_SIZE(op, uint16_t, uint16_t, 16, "w")                                                \
	COUNT_SIZE(op, uint32_t, uint64_t, 32, "k")                                                \
	COUNT_SIZE(op, uint64_t, uint64_t, 64, "q")

COUNT_DEFINE(bsf)
COUNT_DEFINE(bsr)
COUNT_DEFINE(lzcnt)
COUNT_DEFINE(tzcnt)
COUNT_DEFINE(popcnt)

static insn_handler *bind_count(struct insn *insn, const struct decoded *decoded,
				const struct isa_row *row)
{
	static insn_handler *const handlers[5][3] = {
		{bsf16, bsf32, bsf64}, {bsr16, bsr32, bsr64}, {lzcnt16, lzcnt32, lzcnt64},
		{tzcnt16, tzcnt32, tzcnt64}, {popcnt16, popcnt32, popcnt64},
	};

	(void)decoded;
	/* LZCNT and TZCNT do not come here where they are BSR and BSF: decode.c. */
	if (row->mnemonic == ZYDIS_MNEMONIC_POPCNT && !host_has(HOST_POPCNT))
		return NULL;
	return handlers[row->argument][size_index(insn->operand_size) - 1];
}

/* -- BMI1 and BMI2 (VEX-encoded) -- */

#define BMI_SIZE(op, T, bits, first, second, asm_operands)                                         \
	static void op##bits(struct cpu *cpu, const struct insn *insn)                             \
	{                                                                                          \
		T b = (T)operand_read(cpu, insn, first, sizeof(T));                                \
		T c = (T)operand_read(cpu, insn, second, sizeof(T)), a;                            \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN #op " " asm_operands FLAGS_OUT                                    \
			: [a] "=&r"(a), "+&a"(ax) : [b] "r"(b), [c] "r"(c) : "cc");                \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
		flags_unpack(cpu, ax);                                                             \
	}

#define BMI_DEFINE(op, first, second, asm_operands)                                                \
	BMI_SIZE(op, uint32_t, 32, first, second, asm_operands)                                    \
	BMI_SIZE(op, uint64_t, 64, first, second, asm_operands)

/* Operands in Intel's order are a, b, c; AT&T's is the reverse. */
BMI_DEFINE(andn, 1, 2, "%[c], %[b], %[a]")
BMI_DEFINE(bextr, 1, 2, "%[c], %[b], %[a]")
BMI_DEFINE(bzhi, 1, 2, "%[c], %[b], %[a]")
BMI_DEFINE(pdep, 1, 2, "%[c], %[b], %[a]")
BMI_DEFINE(pext, 1, 2, "%[c], %[b], %[a]")
BMI_DEFINE(blsi, 1, 1, "%[b], %[a]")
BMI_DEFINE(blsr, 1, 1, "%[b], %[a]")
BMI_DEFINE(blsmsk, 1, 1, "%[b], %[a]")

static insn_handler *bind_bmi(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row)
{
	static insn_handler *const handlers[8][2] = {
		{andn32, andn64}, {bextr32, bextr64}, {blsi32, blsi64}, {blsr32, blsr64},
		{blsmsk32, blsmsk64}, {bzhi32, bzhi64}, {pdep32, pdep64}, {pext32, pext64},
	};

	(void)decoded;
	if (!host_has(row->argument < 5 ? HOST_BMI1 : HOST_BMI2))
		return NULL;
	return handlers[row->argument][insn->operand_size == 8];
}

/* -- CRC32: the source has the operand's size, the sum 32 bits -- */

#define CRC32_SIZE(T, size)                                                                        \
	static void crc32_##size(struct cpu *cpu, const struct insn *insn)                         \
	{                                                                                          \
		T b = (T)operand_read(cpu, insn, 1, sizeof(T));                                    \
		uint64_t a = gpr_read(cpu, insn, 0, 4);                                            \
                                                                                                   \
		if (sizeof(T) == 8)                                                                \
			__asm__("crc32q %q[b], %q[a]" : [a] "+r"(a) : [b] "r"((uint64_t)b));       \
		else if (sizeof(T) == 4)                                                           \
			__asm__("crc32l %k[b], %k[a]" : [a] "+r"(a) : [b] "r"((uint32_t)b));       \
		else if (sizeof(T) == 2)                                                           \
			__asm__("crc32w %w[b], %k[a]" : [a] "+r"(a) : [b] "r"((uint32_t)b));       \
		else                                                                               \
			__asm__("crc32b %b[b], %k[a]" : [a] "+r"(a) : [b] "r"((uint32_t)b));       \
		gpr_write(cpu, insn, 0, (uint32_t)a, 8);                                           \
	}

CRC32_SIZE(uint8_t, 1)
CRC32_SIZE(uint16_t, 2)
CRC32_SIZE(uint32_t, 4)
CRC32_SIZE(uint64_t, 8)

static insn_handler *bind_crc32(struct insn *insn, const struct decoded *decoded,
				const struct isa_row *row)
{
	static insn_handler *const handlers[4] = {crc32_1, crc32_2, crc32_4, crc32_8};

	(void)row;
	(void)insn;
	if (!host_has(HOST_SSE42))
		return NULL;
	return handlers[size_index(decoded->operands[1].size / 8)];
}

/* -- random numbers: CF says whether there is one; the other flags are cleared -- */

#define RANDOM(op)                                                                                 \
	static void op(struct cpu *cpu, const struct insn *insn)                                   \
	{                                                                                          \
		uint64_t value;                                                                    \
		bool has_value;                                                                    \
                                                                                                   \
		__asm__ volatile(#op " %[v]\n\tsetc %[c]"                                          \
				 : [v] "=r"(value), [c] "=qm"(has_value) : : "cc");                \
		gpr_write(cpu, insn, 0, has_value ? value : 0, insn->operand_size == 2 ? 2 :       \
			  insn->operand_size == 4 ? 4 : 8);                                        \
		flags_unpack(cpu, (RFLAGS_ONE | (has_value ? RFLAGS_CF : 0)) << 8);                \
	}

RANDOM(rdrand)
RANDOM(rdseed)

static insn_handler *bind_random(struct insn *insn, const struct decoded *decoded,
				 const struct isa_row *row)
{
	(void)insn;
	(void)decoded;
	if (row->argument)
		return host_has(HOST_RDSEED) ? rdseed : NULL;
	return host_has(HOST_RDRAND) ? rdrand : NULL;
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_BT, .bind = bind_bit, .class = INSN_COPIED, .traits = INSN_BIT_STRING},
	{ZYDIS_MNEMONIC_BTS, .argument = 0, .bind = bind_bit, .class = INSN_COPIED, .traits = INSN_BIT_STRING},
	{ZYDIS_MNEMONIC_BTR, .argument = 1, .bind = bind_bit, .class = INSN_COPIED, .traits = INSN_BIT_STRING},
	{ZYDIS_MNEMONIC_BTC, .argument = 2, .bind = bind_bit, .class = INSN_COPIED, .traits = INSN_BIT_STRING},
	{ZYDIS_MNEMONIC_BSF, .argument = 0, .bind = bind_count, .class = INSN_COPIED, .traits = INSN_KEEPS_RESULT},
	{ZYDIS_MNEMONIC_BSR, .argument = 1, .bind = bind_count, .class = INSN_COPIED, .traits = INSN_KEEPS_RESULT},
	{ZYDIS_MNEMONIC_LZCNT, .argument = 2, .bind = bind_count, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_TZCNT, .argument = 3, .bind = bind_count, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_POPCNT, .argument = 4, .bind = bind_count, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_ANDN, .argument = 0, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_BEXTR, .argument = 1, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_BLSI, .argument = 2, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_BLSR, .argument = 3, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_BLSMSK, .argument = 4, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_BZHI, .argument = 5, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_PDEP, .argument = 6, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_PEXT, .argument = 7, .bind = bind_bmi, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CRC32, .bind = bind_crc32, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_RDRAND, .argument = 0, .bind = bind_random, .traits = INSN_TELLS_HOST},
	{ZYDIS_MNEMONIC_RDSEED, .argument = 1, .bind = bind_random, .traits = INSN_TELLS_HOST},
};

const struct isa_table isa_bit = {rows, sizeof(rows) / sizeof(rows[0])};
