/*
 * Shifts and rotates: SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD, and BMI2's flagless RORX, SARX,
 * SHLX, SHRX (Intel SDM vol. 1 §7.3.6).
 *
 * The host shifts with the guest's flags in place, so a count of zero leaves them and undefined ones
 * become what they become on this CPU. Immediate counts take the same way through CL.
 */
#include "engine/x86/instructions/operand.h"

/* The count: an immediate or CL. The host masks it as the guest's CPU would. */
ALWAYS_INLINE uint8_t count_of(const struct cpu *cpu, const struct insn *insn, unsigned n)
{
	return (uint8_t)(insn->kind[n] == INSN_OPERAND_IMMEDIATE ? (uint64_t)insn->immediate
								 : cpu->gpr[CPU_RCX]);
}

#define SHIFT_SIZE(op, T, bits)                                                                    \
	ALWAYS_INLINE T op##_value##bits(unsigned *ax, T a, uint8_t count)                         \
	{                                                                                          \
		__asm__(FLAGS_IN #op " %%cl, %[a]" FLAGS_OUT                                       \
			: [a] "+r"(a), "+&a"(*ax) : "c"(count) : "cc");                            \
		return a;                                                                          \
	}                                                                                          \
	static void op##bits##_r(struct cpu *cpu, const struct insn *insn)                         \
	{                                                                                          \
		T a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                        \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		a = op##_value##bits(&ax, a, count_of(cpu, insn, 1));                              \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
		flags_unpack(cpu, ax);                                                             \
	}                                                                                          \
	static void op##bits##_m(struct cpu *cpu, const struct insn *insn)                         \
	{                                                                                          \
		struct modify modify = modify_begin(cpu, insn, sizeof(T));                         \
		uint8_t count = count_of(cpu, insn, 1);                                            \
		unsigned ax = flags_pack(cpu);                                                     \
		T *p = modify.pointer;                                                             \
                                                                                                   \
		if (__builtin_expect(p != NULL, 1))                                                \
			*p = op##_value##bits(&ax, *p, count);                                     \
		else                                                                               \
			modify_write(cpu, insn, &modify,                                           \
				     op##_value##bits(&ax, (T)modify_read(cpu, insn, &modify,      \
									  sizeof(T)), count),      \
				     sizeof(T));                                                   \
		flags_unpack(cpu, ax);                                                             \
	}

#define SHIFT_DEFINE(op)                                                                           \
	SHIFT_SIZE(op, uint8_t, 8)                                                                 \
	SHIFT_SIZE(op, uint16_t, 16)                                                               \
	SHIFT_SIZE(op, uint32_t, 32)                                                               \
	SHIFT_SIZE(op, uint64_t, 64)

SHIFT_DEFINE(shl)
SHIFT_DEFINE(shr)
SHIFT_DEFINE(sar)
SHIFT_DEFINE(rol)
SHIFT_DEFINE(ror)
SHIFT_DEFINE(rcl)
SHIFT_DEFINE(rcr)

/* By a nonzero immediate where nobody reads the flags: the same without keeping them. */
#define SHIFT_QUIET(op, T, bits)                                                                   \
	static void op##bits##_quiet(struct cpu *cpu, const struct insn *insn)                     \
	{                                                                                          \
		T a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                        \
                                                                                                   \
		__asm__(#op " %%cl, %[a]"                                                          \
			: [a] "+r"(a) : "c"((uint8_t)insn->immediate) : "cc");                     \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
	}

#define SHIFT_QUIET_DEFINE(op) SHIFT_QUIET(op, uint32_t, 32) SHIFT_QUIET(op, uint64_t, 64)

SHIFT_QUIET_DEFINE(shl)
SHIFT_QUIET_DEFINE(shr)
SHIFT_QUIET_DEFINE(sar)
SHIFT_QUIET_DEFINE(rol)
SHIFT_QUIET_DEFINE(ror)

#define SHIFT_ROW(op)                                                                              \
	{{op##8_r, op##16_r, op##32_r, op##64_r}, {op##8_m, op##16_m, op##32_m, op##64_m}}

static insn_handler *bind_shift(struct insn *insn, const struct decoded *decoded,
				const struct isa_row *row)
{
	static insn_handler *const handlers[7][2][4] = {
		SHIFT_ROW(shl), SHIFT_ROW(shr), SHIFT_ROW(sar), SHIFT_ROW(rol),
		SHIFT_ROW(ror), SHIFT_ROW(rcl), SHIFT_ROW(rcr),
	};
	static insn_handler *const quiet[5][2] = {
		{shl32_quiet, shl64_quiet}, {shr32_quiet, shr64_quiet}, {sar32_quiet, sar64_quiet},
		{rol32_quiet, rol64_quiet}, {ror32_quiet, ror64_quiet},
	};
	unsigned size = insn->operand_size;

	if (insn->kind[0] == INSN_OPERAND_REGISTER && insn->kind[1] == INSN_OPERAND_IMMEDIATE &&
	    row->argument < 5 && size >= 4 && (insn->immediate & (size * 8 - 1)))
		*decoded->flagless = quiet[row->argument][size == 8];
	return handlers[row->argument][insn->kind[0] == INSN_OPERAND_MEMORY][size_index(size)];
}

#define DOUBLE_SIZE(op, T, bits)                                                                   \
	static void op##bits(struct cpu *cpu, const struct insn *insn)                             \
	{                                                                                          \
		T b = (T)gpr_read(cpu, insn, 1, sizeof(T)), a;                                     \
		uint8_t count = count_of(cpu, insn, 2);                                            \
		bool in_memory = insn->kind[0] == INSN_OPERAND_MEMORY;                             \
		struct modify modify = {0};                                                        \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		if (in_memory) {                                                                   \
			modify = modify_begin(cpu, insn, sizeof(T));                               \
			a = (T)modify_read(cpu, insn, &modify, sizeof(T));                         \
		} else {                                                                           \
			a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                  \
		}                                                                                  \
		__asm__(FLAGS_IN #op " %%cl, %[b], %[a]" FLAGS_OUT                                 \
			: [a] "+r"(a), "+&a"(ax) : [b] "r"(b), "c"(count) : "cc");                 \
		if (in_memory)                                                                     \
			modify_write(cpu, insn, &modify, a, sizeof(T));                            \
		else                                                                               \
			gpr_write(cpu, insn, 0, a, sizeof(T));                                     \
		flags_unpack(cpu, ax);                                                             \
	}

DOUBLE_SIZE(shld, uint16_t, 16)
DOUBLE_SIZE(shld, uint32_t, 32)
DOUBLE_SIZE(shld, uint64_t, 64)
DOUBLE_SIZE(shrd, uint16_t, 16)
DOUBLE_SIZE(shrd, uint32_t, 32)
DOUBLE_SIZE(shrd, uint64_t, 64)

static insn_handler *bind_double(struct insn *insn, const struct decoded *decoded,
				 const struct isa_row *row)
{
	static insn_handler *const handlers[2][4] = {{NULL, shld16, shld32, shld64},
						     {NULL, shrd16, shrd32, shrd64}};

	(void)decoded;
	return handlers[row->argument][size_index(insn->operand_size)];
}

/* BMI2: operand 0 = operand 1 shifted by operand 2. */
#define SHIFT_FLAGLESS(name, T, S, bits, expression)                                               \
	static void name##bits(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		T a = (T)operand_read(cpu, insn, 1, sizeof(T));                                    \
		unsigned n = (unsigned)source_read(cpu, insn, 2, sizeof(T)) & (bits - 1);          \
                                                                                                   \
		gpr_write(cpu, insn, 0, (T)(expression), sizeof(T));                               \
	}

#define SHIFT_FLAGLESS_DEFINE(name, expression)                                                    \
	SHIFT_FLAGLESS(name, uint32_t, int32_t, 32, expression)                                    \
	SHIFT_FLAGLESS(name, uint64_t, int64_t, 64, expression)

#define SIGNED(a) (sizeof(a) == 4 ? (int64_t)(int32_t)(a) : (int64_t)(a))

SHIFT_FLAGLESS_DEFINE(shlx, a << n)
SHIFT_FLAGLESS_DEFINE(shrx, a >> n)
SHIFT_FLAGLESS_DEFINE(sarx, SIGNED(a) >> n)
SHIFT_FLAGLESS_DEFINE(rorx, a >> n | a << (-n & (sizeof(a) * 8 - 1)))

static insn_handler *bind_flagless(struct insn *insn, const struct decoded *decoded,
				   const struct isa_row *row)
{
	static insn_handler *const handlers[4][2] = {{shlx32, shlx64}, {shrx32, shrx64},
						     {sarx32, sarx64}, {rorx32, rorx64}};

	(void)decoded;
	return handlers[row->argument][insn->operand_size == 8];
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_SHL, .argument = 0, .bind = bind_shift, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_SHR, .argument = 1, .bind = bind_shift, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_SAR, .argument = 2, .bind = bind_shift, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_ROL, .argument = 3, .bind = bind_shift, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_ROR, .argument = 4, .bind = bind_shift, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_RCL, .argument = 5, .bind = bind_shift, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_RCR, .argument = 6, .bind = bind_shift, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_SHLD, .argument = 0, .bind = bind_double, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_SHRD, .argument = 1, .bind = bind_double, .class = INSN_COPIED, .traits = INSN_SHIFTS},
	{ZYDIS_MNEMONIC_SHLX, .argument = 0, .bind = bind_flagless, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_SHRX, .argument = 1, .bind = bind_flagless, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_SARX, .argument = 2, .bind = bind_flagless, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_RORX, .argument = 3, .bind = bind_flagless, .class = INSN_COPIED},
};

const struct isa_table isa_shift = {rows, sizeof(rows) / sizeof(rows[0])};
