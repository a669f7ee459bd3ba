/*
 * Binary and decimal arithmetic: ADD..CMP, INC, DEC, NEG, MUL, DIV, ADCX, ADOX, CMPXCHG, XADD, and
 * the BCD adjustments (Intel SDM vol. 1 §7.3.2, §7.3.3).
 */
#include "engine/x86/decode/isa_set.h"
#include "engine/x86/instructions/alu.h"
#include "engine/x86/host/host.h"
#include "engine/x86/features.h"

ALU_DEFINE(add, "", a + b)
ALU_DEFINE(sub, "", a - b)
ALU_DEFINE(adc, FLAGS_IN_AH, a + b + (cpu->rflags & 1))
ALU_DEFINE(sbb, FLAGS_IN_AH, a - b - (cpu->rflags & 1))
ALU_COMPARE_DEFINE(cmp)
UNARY_DEFINE(inc, a + 1)
UNARY_DEFINE(dec, a - 1)
UNARY_DEFINE(neg, 0 - a)

static insn_handler *bind_binary(struct insn *insn, const struct decoded *decoded,
				 const struct isa_row *row)
{
	static const alu_handlers *const operations[] = {
		&add_handlers, &sub_handlers, &adc_handlers, &sbb_handlers, &cmp_handlers,
	};

	return alu_bind(insn, decoded, operations[row->argument]);
}

static insn_handler *bind_unary(struct insn *insn, const struct decoded *decoded,
				const struct isa_row *row)
{
	static const unary_handlers *const operations[] = {&inc_handlers, &dec_handlers,
							   &neg_handlers};

	return unary_bind(insn, decoded, operations[row->argument]);
}

/* -- multiplication -- */

/* MUL and IMUL with one operand: rDX:rAX = rAX * operand; AX = AL * operand for bytes. */
#define MULTIPLY_WIDE(op, T, bits, rax)                                                            \
	static void op##bits##_wide(struct cpu *cpu, const struct insn *insn)                      \
	{                                                                                          \
		T b = (T)operand_read(cpu, insn, 0, sizeof(T));                                    \
		T low = (T)cpu->gpr[CPU_RAX], high;                                                \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN "mov %[low], %%" rax "\n\t" #op " %[b]\n\tmov %%" rax             \
			", %[low]" FLAGS_OUT                                                       \
			: [low] "+&r"(low), "=&d"(high), "+&a"(ax) : [b] "r"(b) : "cc");           \
		register_write(&cpu->gpr[CPU_RAX], low, sizeof(T));                                \
		register_write(&cpu->gpr[CPU_RDX], high, sizeof(T));                               \
		flags_unpack(cpu, ax);                                                             \
	}

#define MULTIPLY_BYTE(op)                                                                          \
	static void op##8_wide(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		uint8_t b = (uint8_t)operand_read(cpu, insn, 0, 1);                                \
		uint16_t low = (uint8_t)cpu->gpr[CPU_RAX];                                         \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN "mov %b[low], %%al\n\t" #op " %[b]\n\tmov %%ax, %w[low]" FLAGS_OUT \
			: [low] "+&r"(low), "+&a"(ax) : [b] "r"(b) : "cc");                        \
		register_write(&cpu->gpr[CPU_RAX], low, 2);                                        \
		flags_unpack(cpu, ax);                                                             \
	}

#define MULTIPLY_DEFINE(op)                                                                        \
	MULTIPLY_BYTE(op)                                                                          \
	MULTIPLY_WIDE(op, uint16_t, 16, "ax")                                                      \
	MULTIPLY_WIDE(op, uint32_t, 32, "eax")                                                     \
	MULTIPLY_WIDE(op, uint64_t, 64, "rax")

MULTIPLY_DEFINE(mul)
MULTIPLY_DEFINE(imul)

/* IMUL with two or three operands: the first source is operand 0 or 1, the second the last one. */
#define MULTIPLY(T, bits)                                                                          \
	static void imul##bits(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		bool three = insn->kind[2] != INSN_OPERAND_NONE;                                   \
		T a = (T)operand_read(cpu, insn, three, sizeof(T));                                \
		T b = (T)source_read(cpu, insn, 1 + three, sizeof(T));                             \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN "imul %[b], %[a]" FLAGS_OUT                                       \
			: [a] "+r"(a), "+&a"(ax) : [b] "r"(b) : "cc");                             \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
		flags_unpack(cpu, ax);                                                             \
	}                                                                                          \
	static void imul##bits##_quiet(struct cpu *cpu, const struct insn *insn)                   \
	{                                                                                          \
		bool three = insn->kind[2] != INSN_OPERAND_NONE;                                   \
		uint64_t a = operand_read(cpu, insn, three, sizeof(T));                            \
		uint64_t b = source_read(cpu, insn, 1 + three, sizeof(T));                         \
                                                                                                   \
		gpr_write(cpu, insn, 0, (T)(a * b), sizeof(T));                                    \
	}

MULTIPLY(uint16_t, 16)
MULTIPLY(uint32_t, 32)
MULTIPLY(uint64_t, 64)

static insn_handler *bind_mul(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row)
{
	static insn_handler *const unsigned_wide[4] = {mul8_wide, mul16_wide, mul32_wide,
						       mul64_wide};
	static insn_handler *const signed_wide[4] = {imul8_wide, imul16_wide, imul32_wide,
						     imul64_wide};
	static insn_handler *const narrow[4] = {NULL, imul16, imul32, imul64};
	static insn_handler *const quiet[4] = {NULL, imul16_quiet, imul32_quiet, imul64_quiet};
	unsigned size = size_index(insn->operand_size);

	if (row->mnemonic == ZYDIS_MNEMONIC_MUL)
		return unsigned_wide[size];
	if (insn->kind[1] == INSN_OPERAND_NONE)
		return signed_wide[size];
	*decoded->flagless = quiet[size];
	return narrow[size];
}

/* MULX: operand 0 = high half, 1 = low half of rDX * operand 2; no flags. */
static void mulx32(struct cpu *cpu, const struct insn *insn)
{
	uint64_t product = (uint64_t)(uint32_t)cpu->gpr[CPU_RDX] * operand_read(cpu, insn, 2, 4);

	gpr_write(cpu, insn, 1, product, 4);
	gpr_write(cpu, insn, 0, product >> 32, 4);
}

static void mulx64(struct cpu *cpu, const struct insn *insn)
{
	unsigned __int128 product = (unsigned __int128)cpu->gpr[CPU_RDX] *
				    operand_read(cpu, insn, 2, 8);

	gpr_write(cpu, insn, 1, (uint64_t)product, 8);
	gpr_write(cpu, insn, 0, (uint64_t)(product >> 64), 8);
}

static insn_handler *bind_mulx(struct insn *insn, const struct decoded *decoded,
			       const struct isa_row *row)
{
	(void)decoded;
	(void)row;
	return insn->operand_size == 8 ? mulx64 : mulx32;
}

/* -- division: #DE is foreseen, then the host divides -- */

#define DIVIDE_WIDE(op, T, bits, rax)                                                              \
	static void op##bits##_host(struct cpu *cpu, T low, T high, T b)                           \
	{                                                                                          \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN "mov %[low], %%" rax "\n\t" #op " %[b]\n\tmov %%" rax             \
			", %[low]" FLAGS_OUT                                                       \
			: [low] "+&r"(low), "+&d"(high), "+&a"(ax) : [b] "r"(b) : "cc");           \
		register_write(&cpu->gpr[CPU_RAX], low, sizeof(T));                                \
		register_write(&cpu->gpr[CPU_RDX], high, sizeof(T));                               \
		flags_unpack(cpu, ax);                                                             \
	}

DIVIDE_WIDE(div, uint16_t, 16, "ax")
DIVIDE_WIDE(div, uint32_t, 32, "eax")
DIVIDE_WIDE(div, uint64_t, 64, "rax")
DIVIDE_WIDE(idiv, uint16_t, 16, "ax")
DIVIDE_WIDE(idiv, uint32_t, 32, "eax")
DIVIDE_WIDE(idiv, uint64_t, 64, "rax")

#define DIVIDE_BYTE(op)                                                                            \
	static void op##8_host(struct cpu *cpu, uint16_t dividend, uint8_t b)                      \
	{                                                                                          \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN "mov %w[d], %%ax\n\t" #op " %[b]\n\tmov %%ax, %w[d]" FLAGS_OUT    \
			: [d] "+&r"(dividend), "+&a"(ax) : [b] "r"(b) : "cc");                     \
		register_write(&cpu->gpr[CPU_RAX], dividend, 2);                                   \
		flags_unpack(cpu, ax);                                                             \
	}

DIVIDE_BYTE(div)
DIVIDE_BYTE(idiv)

/* Whether |dividend| / |divisor| fits a signed quotient of `bits` bits with the given sign. */
static bool quotient_fits(uint64_t high, uint64_t low, uint64_t divisor, unsigned bits,
			  bool is_negative)
{
	uint64_t limit = (1ull << (bits - 1)) - !is_negative, quotient;

	if (high >= divisor)
		return false;
	__asm__("div %[b]" : "=a"(quotient), "+&d"(high) : [b] "r"(divisor), "a"(low) : "cc");
	return quotient <= limit;
}

static bool idiv_overflows(int64_t high, uint64_t low, int64_t divisor, unsigned bits)
{
	bool is_negative = (high < 0) != (divisor < 0);
	uint64_t absolute = divisor < 0 ? 0 - (uint64_t)divisor : (uint64_t)divisor;
	uint64_t h = (uint64_t)high;

	if (high < 0) {
		low = 0 - low;
		h = ~h + (low == 0);
	}
	return !absolute || !quotient_fits(h, low, absolute, bits, is_negative);
}

static void div8(struct cpu *cpu, const struct insn *insn)
{
	uint8_t b = (uint8_t)operand_read(cpu, insn, 0, 1);
	uint16_t a = (uint16_t)cpu->gpr[CPU_RAX];

	if (a >> 8 >= b)
		cpu_raise(cpu, EXCEPTION_DE);
	div8_host(cpu, a, b);
}

static void idiv8(struct cpu *cpu, const struct insn *insn)
{
	int8_t b = (int8_t)operand_read(cpu, insn, 0, 1);
	int16_t a = (int16_t)cpu->gpr[CPU_RAX];

	if (idiv_overflows(a < 0 ? -1 : 0, (uint64_t)(int64_t)a, b, 8))
		cpu_raise(cpu, EXCEPTION_DE);
	idiv8_host(cpu, (uint16_t)a, (uint8_t)b);
}

#define DIVIDE(T, S, bits)                                                                         \
	static void div##bits(struct cpu *cpu, const struct insn *insn)                            \
	{                                                                                          \
		T b = (T)operand_read(cpu, insn, 0, sizeof(T));                                    \
		T high = (T)cpu->gpr[CPU_RDX];                                                     \
                                                                                                   \
		if (high >= b)                                                                     \
			cpu_raise(cpu, EXCEPTION_DE);                                              \
		div##bits##_host(cpu, (T)cpu->gpr[CPU_RAX], high, b);                              \
	}

DIVIDE(uint16_t, int16_t, 16)
DIVIDE(uint32_t, int32_t, 32)
DIVIDE(uint64_t, int64_t, 64)

static void idiv16(struct cpu *cpu, const struct insn *insn)
{
	int16_t b = (int16_t)operand_read(cpu, insn, 0, 2);
	uint16_t low = (uint16_t)cpu->gpr[CPU_RAX], high = (uint16_t)cpu->gpr[CPU_RDX];
	int64_t a = (int32_t)((uint32_t)high << 16 | low);

	if (idiv_overflows(a < 0 ? -1 : 0, (uint64_t)a, b, 16))
		cpu_raise(cpu, EXCEPTION_DE);
	idiv16_host(cpu, low, high, (uint16_t)b);
}

static void idiv32(struct cpu *cpu, const struct insn *insn)
{
	int32_t b = (int32_t)operand_read(cpu, insn, 0, 4);
	uint32_t low = (uint32_t)cpu->gpr[CPU_RAX], high = (uint32_t)cpu->gpr[CPU_RDX];
	int64_t a = (int64_t)((uint64_t)high << 32 | low);

	if (idiv_overflows(a < 0 ? -1 : 0, (uint64_t)a, b, 32))
		cpu_raise(cpu, EXCEPTION_DE);
	idiv32_host(cpu, low, high, (uint32_t)b);
}

static void idiv64(struct cpu *cpu, const struct insn *insn)
{
	uint64_t b = operand_read(cpu, insn, 0, 8);

	if (idiv_overflows((int64_t)cpu->gpr[CPU_RDX], cpu->gpr[CPU_RAX], (int64_t)b, 64))
		cpu_raise(cpu, EXCEPTION_DE);
	idiv64_host(cpu, cpu->gpr[CPU_RAX], cpu->gpr[CPU_RDX], b);
}

static insn_handler *bind_div(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row)
{
	static insn_handler *const handlers[2][4] = {{div8, div16, div32, div64},
						     {idiv8, idiv16, idiv32, idiv64}};

	(void)decoded;
	return handlers[row->argument][size_index(insn->operand_size)];
}

/* -- ADCX and ADOX: add with CF, or OF, as the only flag -- */

#define ADD_EXTENDED(op, T, bits)                                                                  \
	static void op##bits(struct cpu *cpu, const struct insn *insn)                             \
	{                                                                                          \
		T b = (T)operand_read(cpu, insn, 1, sizeof(T));                                    \
		T a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                        \
		unsigned ax = flags_pack(cpu);                                                     \
                                                                                                   \
		__asm__(FLAGS_IN #op " %[b], %[a]" FLAGS_OUT                                       \
			: [a] "+r"(a), "+&a"(ax) : [b] "r"(b) : "cc");                             \
		gpr_write(cpu, insn, 0, a, sizeof(T));                                             \
		flags_unpack(cpu, ax);                                                             \
	}

ADD_EXTENDED(adcx, uint32_t, 32)
ADD_EXTENDED(adcx, uint64_t, 64)
ADD_EXTENDED(adox, uint32_t, 32)
ADD_EXTENDED(adox, uint64_t, 64)

static insn_handler *bind_extended(struct insn *insn, const struct decoded *decoded,
				   const struct isa_row *row)
{
	static insn_handler *const handlers[2][2] = {{adcx32, adcx64}, {adox32, adox64}};

	(void)decoded;
	if (!host_has(HOST_ADX))
		return NULL;
	return handlers[row->argument][insn->operand_size == 8];
}

/* -- CMPXCHG and XADD -- */

#define EXCHANGE_8  "b"
#define EXCHANGE_16 "w"
#define EXCHANGE_32 "k"
#define EXCHANGE_64 "q"

/*
 * Memory is written in any case, as the hardware does, so that faults are a write's. Of registers the
 * host decides which halves a 32-bit form clears: W holds all of them.
 */
#define EXCHANGE_SIZE(T, W, bits, reg)                                                             \
	static void cmpxchg##bits##_r(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		W accumulator = (W)cpu->gpr[CPU_RAX];                                              \
		W a = (W)gpr_read(cpu, insn, 0, sizeof(W)), b = (W)gpr_read(cpu, insn, 1, sizeof(T)); \
		unsigned ax = 0;                                                                   \
                                                                                                   \
		__asm__("mov %[c], %%" reg "\n\tcmpxchg %" EXCHANGE_##bits "[b], %" EXCHANGE_##bits \
			"[a]\n\tmov %%" reg ", %[c]" FLAGS_OUT                                     \
			: [a] "+&r"(a), [c] "+&r"(accumulator), "+&a"(ax) : [b] "r"(b) : "cc");    \
		register_write(&cpu->gpr[CPU_RAX], accumulator, sizeof(W));                        \
		gpr_write(cpu, insn, 0, a, sizeof(W));                                             \
		flags_unpack(cpu, ax);                                                             \
	}                                                                                          \
	static void cmpxchg##bits##_m(struct cpu *cpu, const struct insn *insn)                    \
	{                                                                                          \
		T expected = (T)cpu->gpr[CPU_RAX], found = expected;                               \
		T b = (T)gpr_read(cpu, insn, 1, sizeof(T));                                        \
		struct modify modify = modify_begin(cpu, insn, sizeof(T));                         \
		unsigned ax;                                                                       \
                                                                                                   \
		if (modify.pointer && insn->prefixes & INSN_LOCK) {                                \
			__atomic_compare_exchange_n((T *)modify.pointer, &found, b, false,         \
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);           \
		} else if (modify.pointer) {                                                       \
			found = *(volatile T *)modify.pointer;                                     \
			*(volatile T *)modify.pointer = found == expected ? b : found;             \
		} else {                                                                           \
			found = (T)modify_read(cpu, insn, &modify, sizeof(T));                     \
			modify_write(cpu, insn, &modify, found == expected ? b : found,            \
				     sizeof(T));                                                   \
		}                                                                                  \
		__asm__("cmp %[a], %[c]" FLAGS_OUT                                                 \
			: "=&a"(ax) : [a] "r"(found), [c] "r"(expected) : "cc");                   \
		if (found != expected)                                                             \
			register_write(&cpu->gpr[CPU_RAX], found, sizeof(T));                      \
		flags_unpack(cpu, ax);                                                             \
	}                                                                                          \
	static void xadd##bits(struct cpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		T b = (T)gpr_read(cpu, insn, 1, sizeof(T)), a;                                     \
		unsigned ax = 0;                                                                   \
                                                                                                   \
		if (insn->kind[0] == INSN_OPERAND_REGISTER) {                                      \
			a = (T)gpr_read(cpu, insn, 0, sizeof(T));                                  \
			gpr_write(cpu, insn, 1, a, sizeof(T));                                     \
			gpr_write(cpu, insn, 0, add_value##bits(&ax, a, b), sizeof(T));            \
		} else {                                                                           \
			struct modify modify = modify_begin(cpu, insn, sizeof(T));                 \
                                                                                                   \
			if (modify.pointer && insn->prefixes & INSN_LOCK) {                        \
				a = __atomic_fetch_add((T *)modify.pointer, b, __ATOMIC_SEQ_CST);  \
				add_value##bits(&ax, a, b);                                        \
			} else if (modify.pointer) {                                               \
				a = *(volatile T *)modify.pointer;                                 \
				*(volatile T *)modify.pointer = add_value##bits(&ax, a, b);        \
			} else {                                                                   \
				a = (T)modify_read(cpu, insn, &modify, sizeof(T));                 \
				modify_write(cpu, insn, &modify, add_value##bits(&ax, a, b),       \
					     sizeof(T));                                           \
			}                                                                          \
			gpr_write(cpu, insn, 1, a, sizeof(T));                                     \
		}                                                                                  \
		flags_unpack(cpu, ax);                                                             \
	}

EXCHANGE_SIZE(uint8_t, uint8_t, 8, "al")
EXCHANGE_SIZE(uint16_t, uint16_t, 16, "ax")
EXCHANGE_SIZE(uint32_t, uint64_t, 32, "rax")
EXCHANGE_SIZE(uint64_t, uint64_t, 64, "rax")

static insn_handler *bind_exchange(struct insn *insn, const struct decoded *decoded,
				   const struct isa_row *row)
{
	static insn_handler *const handlers[3][4] = {
		{cmpxchg8_r, cmpxchg16_r, cmpxchg32_r, cmpxchg64_r},
		{cmpxchg8_m, cmpxchg16_m, cmpxchg32_m, cmpxchg64_m},
		{xadd8, xadd16, xadd32, xadd64},
	};
	unsigned form = row->argument ? 2 : insn->kind[0] == INSN_OPERAND_MEMORY;

	(void)decoded;
	return handlers[form][size_index(insn->operand_size)];
}

static void set_zf(struct cpu *cpu, bool zf)
{
	cpu->rflags = (cpu->rflags & ~RFLAGS_ZF) | (zf ? RFLAGS_ZF : 0);
}

static void cmpxchg8b(struct cpu *cpu, const struct insn *insn)
{
	uint64_t expected = cpu->gpr[CPU_RDX] << 32 | (uint32_t)cpu->gpr[CPU_RAX];
	uint64_t replacement = cpu->gpr[CPU_RCX] << 32 | (uint32_t)cpu->gpr[CPU_RBX];
	struct modify modify = modify_begin(cpu, insn, 8);
	uint64_t found = expected;

	if (modify.pointer && insn->prefixes & INSN_LOCK) {
		__atomic_compare_exchange_n((uint64_t *)modify.pointer, &found, replacement, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} else {
		/* A plain access to memory, too. */
		found = modify_read(cpu, insn, &modify, 8);
		modify_write(cpu, insn, &modify, found == expected ? replacement : found, 8);
	}
	if (found != expected) {
		cpu->gpr[CPU_RAX] = (uint32_t)found;
		cpu->gpr[CPU_RDX] = found >> 32;
	}
	set_zf(cpu, found == expected);
}

static void cmpxchg16b(struct cpu *cpu, const struct insn *insn)
{
	uint64_t gva = operand_linear(cpu, insn, 16, true), *p;
	uint64_t low = cpu->gpr[CPU_RAX], high = cpu->gpr[CPU_RDX];
	uint64_t found[2];
	bool equal, began;

	if (gva & 15)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	p = lin_pointer(cpu, gva, 16, true, insn->segment);
	if (p) {
		__asm__ volatile("lock cmpxchg16b %[p]\n\tsete %b[equal]"
				 : [p] "+m"(*(unsigned __int128 *)p), "+a"(low), "+d"(high),
				   [equal] "=&r"(equal)
				 : "b"(cpu->gpr[CPU_RBX]), "c"(cpu->gpr[CPU_RCX]) : "cc", "memory");
	} else {
		began = cpu_exclusive_begin(cpu);
		lin_read_bytes(cpu, gva, found, 16, insn->segment);
		equal = found[0] == low && found[1] == high;
		low = found[0];
		high = found[1];
		if (equal) {
			found[0] = cpu->gpr[CPU_RBX];
			found[1] = cpu->gpr[CPU_RCX];
		}
		lin_write_bytes(cpu, gva, found, 16, insn->segment);
		if (began)
			cpu_exclusive_end(cpu);
	}
	if (!equal) {
		cpu->gpr[CPU_RAX] = low;
		cpu->gpr[CPU_RDX] = high;
	}
	set_zf(cpu, equal);
}

/* -- decimal adjustments: not there in 64-bit mode, so not on this host (SDM vol. 2 DAA ff.) -- */

static void set_szp(struct cpu *cpu, uint8_t value)
{
	unsigned ax;

	__asm__("test %[v], %[v]" FLAGS_OUT : "=&a"(ax) : [v] "r"(value) : "cc");
	ax = (ax & 0xc400) | 0x200;
	flags_unpack(cpu, ax | (cpu->rflags & (RFLAGS_CF | RFLAGS_AF)) << 8);
}

static void set_cf_af(struct cpu *cpu, bool cf, bool af)
{
	cpu->rflags &= ~(RFLAGS_CF | RFLAGS_AF);
	cpu->rflags |= (cf ? RFLAGS_CF : 0) | (af ? RFLAGS_AF : 0);
}

static void decimal_adjust(struct cpu *cpu, bool subtract)
{
	uint8_t al = (uint8_t)cpu->gpr[CPU_RAX], old = al;
	bool old_cf = cpu->rflags & RFLAGS_CF, cf = false, af = false;

	if ((al & 15) > 9 || cpu->rflags & RFLAGS_AF) {
		cf = old_cf || (subtract ? al < 6 : al > 0xf9);
		al = (uint8_t)(subtract ? al - 6 : al + 6);
		af = true;
	}
	if (old > 0x99 || old_cf) {
		al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
		cf = true;
	}
	register_write(&cpu->gpr[CPU_RAX], al, 1);
	set_cf_af(cpu, cf, af);
	set_szp(cpu, al);
}

static void daa(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	decimal_adjust(cpu, false);
}

static void das(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	decimal_adjust(cpu, true);
}

static void ascii_adjust(struct cpu *cpu, bool subtract)
{
	uint16_t ax = (uint16_t)cpu->gpr[CPU_RAX];
	bool adjust = (ax & 15) > 9 || cpu->rflags & RFLAGS_AF;

	if (adjust)
		ax = (uint16_t)(subtract ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	register_write(&cpu->gpr[CPU_RAX], ax, 2);
	set_cf_af(cpu, adjust, adjust);
	set_szp(cpu, (uint8_t)ax);
}

static void aaa(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	ascii_adjust(cpu, false);
}

static void aas(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	ascii_adjust(cpu, true);
}

static void aam(struct cpu *cpu, const struct insn *insn)
{
	uint8_t base = (uint8_t)insn->immediate, al = (uint8_t)cpu->gpr[CPU_RAX];

	if (!base)
		cpu_raise(cpu, EXCEPTION_DE);
	register_write(&cpu->gpr[CPU_RAX], (uint64_t)(al / base) << 8 | al % base, 2);
	set_cf_af(cpu, false, false);
	set_szp(cpu, al % base);
}

static void aad(struct cpu *cpu, const struct insn *insn)
{
	uint16_t ax = (uint16_t)cpu->gpr[CPU_RAX];
	uint8_t al = (uint8_t)(ax + (ax >> 8) * (uint8_t)insn->immediate);

	register_write(&cpu->gpr[CPU_RAX], al, 2);
	set_cf_af(cpu, false, false);
	set_szp(cpu, al);
}

static void salc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	register_write(&cpu->gpr[CPU_RAX], cpu->rflags & RFLAGS_CF ? 0xff : 0, 1);
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_ADD, .argument = 0, .bind = bind_binary, .class = INSN_COPIED, .operation = INSN_ADDS},
	{ZYDIS_MNEMONIC_SUB, .argument = 1, .bind = bind_binary, .class = INSN_COPIED, .operation = INSN_SUBTRACTS},
	{ZYDIS_MNEMONIC_ADC, .argument = 2, .bind = bind_binary, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_SBB, .argument = 3, .bind = bind_binary, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CMP, .argument = 4, .bind = bind_binary, .class = INSN_COPIED, .operation = INSN_COMPARES},
	{ZYDIS_MNEMONIC_INC, .argument = 0, .bind = bind_unary, .class = INSN_COPIED, .operation = INSN_INCREMENTS},
	{ZYDIS_MNEMONIC_DEC, .argument = 1, .bind = bind_unary, .class = INSN_COPIED, .operation = INSN_DECREMENTS},
	{ZYDIS_MNEMONIC_NEG, .argument = 2, .bind = bind_unary, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_MUL, .bind = bind_mul, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_IMUL, .bind = bind_mul, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_MULX, .bind = bind_mulx, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_DIV, .argument = 0, .bind = bind_div, .class = INSN_DIVIDED},
	{ZYDIS_MNEMONIC_IDIV, .argument = 1, .bind = bind_div, .class = INSN_DIVIDED_SIGNED},
	{ZYDIS_MNEMONIC_ADCX, .argument = 0, .bind = bind_extended, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_ADOX, .argument = 1, .bind = bind_extended, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CMPXCHG, .argument = 0, .bind = bind_exchange, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_XADD, .argument = 1, .bind = bind_exchange, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CMPXCHG8B, .execute = cmpxchg8b, .class = INSN_COPIED, .feature = ISA_FEATURE(1_EDX, 8)},
	{ZYDIS_MNEMONIC_CMPXCHG16B, .execute = cmpxchg16b, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_DAA, .execute = daa},
	{ZYDIS_MNEMONIC_DAS, .execute = das},
	{ZYDIS_MNEMONIC_AAA, .execute = aaa},
	{ZYDIS_MNEMONIC_AAS, .execute = aas},
	{ZYDIS_MNEMONIC_AAM, .execute = aam},
	{ZYDIS_MNEMONIC_AAD, .execute = aad},
	{ZYDIS_MNEMONIC_SALC, .execute = salc},
};

const struct isa_table isa_arithmetic = {rows, sizeof(rows) / sizeof(rows[0])};
