#include "engine/run/direct/sensitive.h"

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/fpu/fpu_state.h"
#include "engine/x86/host/host.h"
#include "util/page.h"

#define MASK_DISTANCE 96u /* bytes before XSAVE, in which its mask is loaded */
#define NEAR	      24u /* bytes in which compilers put what belongs to an instruction */
#define LEAF_DISTANCE 14  /* bytes before CPUID, in which its leaf is loaded, and perhaps its subleaf */
#define LEAVES	      0x40u /* more than there are, of either range */

/* ModRM bytes behind 0F 01. */
#define VMCALL	0xc1
#define XGETBV	0xd0
#define VMMCALL 0xd9
#define RDPKRU	0xee
#define WRPKRU	0xef
#define RDTSCP	0xf9

#define SYSCALL	 0x05
#define SYSENTER 0x34
#define CPUID	 0xa2

/* Those that tell or load FS's and GS's: below. */
static bool selectors_are_sensitive(unsigned allowed)
{
	return (allowed & SENSITIVE_CODE32) || !host.has_fsgsbase;
}

/*
 * What follows 0F, with its ModRM byte: Intel SDM vol. 2, appendix A, table A-3 and A.4's groups. Left
 * alone are SGDT, SLDT and theirs, which nobody uses and hosts with UMIP answer with nothing of use; and
 * SYSENTER, which no 64-bit program uses, and data between functions looks like: the stub comes back with a
 * code segment that is none of its, which is #GP. LSL is how programs and the vDSO ask for their CPU's number, with
 * a selector in a register; with one in memory it is data, too.
 *
 * In 32-bit code besides: what tells FS's or GS's selector, which is another in a stub, or loads them, where a stub has no
 * such descriptor; and SYSCALL and SYSENTER, whose EIP is lost before anybody sees them. Where the host has no FSGSBASE
 * the former are in 64-bit code, too: they change bases that nobody can ask for.
 */
static bool is_sensitive(uint8_t opcode, uint8_t modrm, bool has_repeat, unsigned allowed)
{
	switch (opcode) {
	case 0x01:
		switch (modrm) {
		case VMCALL:
		case XGETBV:
		case VMMCALL:
		case RDTSCP: return true;
		case RDPKRU:
		case WRPKRU: return !(allowed & ALLOW_PKRU);
		default: return false;
		}
	case 0x03: return modrm >= 0xc0; /* LSL of a register */
	case 0x31: return !(allowed & ALLOW_RDTSC);
	case CPUID: return !(allowed & ALLOW_CPUID);
	/* RDPID; RDRAND, RDSEED. */
	case 0xc7: return (has_repeat && modrm >= 0xf8) || ((allowed & SENSITIVE_RANDOM) && modrm >= 0xf0);
	/* RDFSBASE to WRGSBASE, which 32-bit code has not. */
	case 0xae: return !(allowed & (ALLOW_FSGSBASE | SENSITIVE_CODE32)) && has_repeat && modrm >= 0xc0 && modrm < 0xe0;
	case SYSCALL:
	case SYSENTER: return allowed & SENSITIVE_CODE32;
	case 0xa0: case 0xa1: case 0xa8: case 0xa9: /* PUSH and POP of FS and GS */
	case 0xb4: case 0xb5: /* LFS, LGS */
		return selectors_are_sensitive(allowed);
	default: return false;
	}
}

/*
 * XSAVE, XSAVEC and XSAVEOPT (0F AE /4, 0F C7 /4, 0F AE /6) where the host has components that the guest has not: with
 * a mask of all ones they would be written behind what the guest's CPUID says. Code of C libraries loads its mask into
 * EAX shortly before, and is as good as it says. `has_other`: with 66 or F3 the last one is CLWB or CLRSSBSY.
 */
static bool saves_too_much(const uint8_t *bytes, unsigned at, uint8_t opcode, uint8_t modrm, bool has_other)
{
	uint64_t hidden = host.xcr0 & ~fpu_layout.components;
	unsigned extension = modrm >> 3 & 7;

	if (!hidden || (opcode != 0xae && opcode != 0xc7) || modrm >= 0xc0)
		return false;
	if (extension != 4 && (extension != 6 || opcode != 0xae || has_other))
		return false;
	for (unsigned back = 5; back <= MASK_DISTANCE && back <= at; back++)
		if (bytes[at - back] == 0xb8)
			return (bytes_load32(bytes + at - back + 1) & hidden) != 0;
	return true;
}

/* MOV from and to FS and GS: by its ModRM byte. */
static bool moves_selector(uint8_t opcode, uint8_t modrm, unsigned allowed)
{
	return selectors_are_sensitive(allowed) && (opcode == 0x8c || opcode == 0x8e) && (modrm & 0x30) == 0x20;
}

static bool is_prefix(uint8_t byte, unsigned allowed)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: case 0x66: case 0x67:
	case 0xf0: case 0xf2: case 0xf3:
		return true;
	default:
		return (byte & 0xf0) == 0x40 && !(allowed & SENSITIVE_CODE32); /* REX */
	}
}

/* That it is one cannot be told without the byte behind its opcode. */
static bool needs_modrm(uint8_t opcode)
{
	return opcode == 0x01 || opcode == 0x03 || opcode == 0xae || opcode == 0xc7;
}

/* What [at, end) of an instruction is, behind its prefixes, may go on to be one. */
static bool may_go_on(const uint8_t *bytes, unsigned at, unsigned end, unsigned allowed)
{
	switch (end - at) {
	case 0: return true;
	case 1: return bytes[at] == 0x0f || (selectors_are_sensitive(allowed) && (bytes[at] == 0x8c || bytes[at] == 0x8e));
	case 2: return bytes[at] == 0x0f && needs_modrm(bytes[at + 1]);
	default: return false;
	}
}

/* As sensitive_begins, of bytes that end at `end`. */
static bool begins(const uint8_t *bytes, unsigned at, unsigned end, unsigned allowed, unsigned *escape)
{
	bool has_repeat = false, has_size = false;

	for (; at < end && is_prefix(bytes[at], allowed); at++) {
		has_repeat |= bytes[at] == 0xf3;
		has_size |= bytes[at] == 0x66;
	}
	*escape = at < end ? at : end - 1;
	if (may_go_on(bytes, at, end, allowed))
		return allowed & SENSITIVE_CUT;
	if (at + 1 >= end)
		return false;
	if (bytes[at] != 0x0f)
		return moves_selector(bytes[at], bytes[at + 1], allowed);
	/* Without a third byte it is none that needs one. */
	return is_sensitive(bytes[at + 1], at + 2 < end ? bytes[at + 2] : 0xff, has_repeat, allowed) ||
	       (at + 2 < end && saves_too_much(bytes, at, bytes[at + 1], bytes[at + 2], has_repeat || has_size));
}

bool sensitive_begins(const uint8_t *bytes, unsigned at, unsigned allowed, unsigned *escape)
{
	return begins(bytes, at, PAGE_SIZE, allowed, escape);
}

bool sensitive_may_be_cut(const uint8_t *bytes, unsigned allowed)
{
	return may_go_on(bytes, PAGE_SIZE - 1, PAGE_SIZE, allowed) || may_go_on(bytes, PAGE_SIZE - 2, PAGE_SIZE, allowed) ||
	       is_prefix(bytes[PAGE_SIZE - 1], allowed);
}

#define LONGEST 15u /* bytes of an instruction (SDM vol. 2 §2.3.11) */
#define BEHIND	(MASK_DISTANCE + LONGEST)

bool sensitive_is_cut(const uint8_t *bytes, const uint8_t *next, unsigned allowed)
{
	uint8_t around[BEHIND + SENSITIVE_AHEAD];
	unsigned escape;

	bytes_copy(around, bytes + PAGE_SIZE - BEHIND, BEHIND);
	bytes_copy(around + BEHIND, next, SENSITIVE_AHEAD);
	for (unsigned start = BEHIND - LONGEST + 1; start < BEHIND; start++) {
		unsigned at = start;

		while (at < BEHIND && is_prefix(around[at], allowed))
			at++;
		if (may_go_on(around, at, BEHIND, allowed) &&
		    begins(around, start, sizeof(around), allowed & ~(unsigned)SENSITIVE_CUT, &escape))
			return true;
	}
	return false;
}

/* Opcodes behind 0F of which some are; most bytes there are others. */
static bool may_be_opcode(uint8_t opcode)
{
	switch (opcode) {
	case 0x01: case 0x03: case 0x31: case CPUID: case 0xae: case 0xc7: case SYSCALL: case SYSENTER:
	case 0xa0: case 0xa1: case 0xa8: case 0xa9: case 0xb4: case 0xb5:
		return true;
	default: return false;
	}
}

/* What stands at `escape`, a byte 0F, with whatever may be a prefix of it before. */
static bool may_be_sensitive(const uint8_t *bytes, unsigned escape, unsigned allowed)
{
	bool has_repeat = false;
	uint8_t modrm = escape + 2 < PAGE_SIZE ? bytes[escape + 2] : 0xff;

	if (!may_be_opcode(bytes[escape + 1]))
		return false;
	for (unsigned k = escape; k > 0 && is_prefix(bytes[k - 1], allowed); k--)
		has_repeat |= bytes[k - 1] == 0xf3;
	return is_sensitive(bytes[escape + 1], modrm, has_repeat, allowed) ||
	       saves_too_much(bytes, escape, bytes[escape + 1], modrm, false);
}

/* A bit 7 in each byte of `word` that is 0F; perhaps in others above such a one. */
static uint64_t find_escapes(uint64_t word)
{
	const uint64_t ones = 0x0101010101010101ull;
	uint64_t other = word ^ ones * 0x0f;

	return (other - ones) & ~other & ones * 0x80;
}

bool sensitive_may_begin(const uint8_t *bytes, unsigned allowed)
{
	if (allowed & SENSITIVE_CUT)
		return true;
	if (selectors_are_sensitive(allowed))
		for (unsigned i = 0; i + 1 < PAGE_SIZE; i++)
			if (moves_selector(bytes[i], bytes[i + 1], allowed))
				return true;
	/* Each page that is new to a stub comes here. */
	for (unsigned i = 0; i < PAGE_SIZE; i += 8) {
		uint64_t found = find_escapes(bytes_load64(bytes + i));

		for (; found; found &= found - 1) {
			unsigned at = i + (unsigned)__builtin_ctzll(found) / 8;

			if (bytes[at] == 0x0f && at + 1 < PAGE_SIZE && may_be_sensitive(bytes, at, allowed))
				return true;
		}
	}
	return false;
}

/* -- RDTSCP's ECX -- */

#define RCX_BIT	  (1u << CPU_RCX)
#define WALK_MOST 64u /* instructions */
#define WAYS_MOST 8u  /* that are still to be walked */

/* What an instruction is to whoever follows RCX. */
enum use {
	USE_NONE,
	USE_READ, /* or what leads out of sight */
	USE_OVERWRITTEN,
};

static bool is_rdtscp(const uint8_t *bytes, unsigned at)
{
	return at + 2 < PAGE_SIZE && bytes[at] == 0x0f && bytes[at + 1] == 0x01 && bytes[at + 2] == RDTSCP;
}

static enum use use_of(const struct insn *insn, const struct insn_form *form)
{
	if (form->class == INSN_RDTSCP)
		return USE_OVERWRITTEN;
	if (!(form->gpr_named & RCX_BIT))
		return USE_NONE;
	if (insn->base == CPU_RCX || insn->index == CPU_RCX)
		return USE_READ;
	return (form->copy_written & RCX_BIT) && !(form->copy_read & RCX_BIT) ? USE_OVERWRITTEN : USE_READ;
}

/*
 * Whether nobody looks at ECX behind an RDTSCP, the counter's number, before it is something else: on all ways from
 * `at` on inside the page, up to a return, since no convention returns anything there. Linux's vDSO is such code.
 */
static bool overwrites_rcx(struct cpu *cpu, const uint8_t *bytes, unsigned at)
{
	unsigned ways[WAYS_MOST], count = 0;

	ways[count++] = at;
	for (unsigned walked = 0; walked < WALK_MOST; walked++) {
		struct insn insn;
		struct insn_form form;
		enum use use;
		int64_t target;

		if (!count)
			return true;
		at = ways[--count];
		if (at >= PAGE_SIZE ||
		    insn_decode_form(&insn, &form, bytes + at, PAGE_SIZE - at, cpu->mode, &cpu->rules) < 0 ||
		    insn.execute == insn_undefined)
			return false;
		use = use_of(&insn, &form);
		if (use == USE_READ)
			return false;
		if (use == USE_OVERWRITTEN || form.class == INSN_RETURN)
			continue;
		target = (int64_t)at + insn.length + insn.immediate;
		switch (form.class) {
		case INSN_JUMP:
		case INSN_JUMP_IF:
			if (insn.kind[0] != INSN_OPERAND_RELATIVE || target < 0 || target >= PAGE_SIZE)
				return false;
			/* Backwards, it has come from there or comes there for the first time: both end by WALK_MOST. */
			ways[count++] = (unsigned)target;
			if (form.class == INSN_JUMP)
				break;
			/* fall through */
		default:
			if (form.class != INSN_JUMP_IF && (insn.traits & INSN_BRANCHES))
				return false;
			if (form.class != INSN_JUMP_IF && insn.ends_block)
				return false;
			if (count == WAYS_MOST)
				return false;
			ways[count++] = at + insn.length;
			break;
		}
	}
	return false;
}

bool sensitive_is_harmless(struct cpu *cpu, const uint8_t *bytes, unsigned escape, unsigned allowed)
{
	struct insn_glance glance;

	/* A guest that has none is told so. */
	return (allowed & ALLOW_RDTSC) && is_rdtscp(bytes, escape) &&
	       insn_glance(&glance, bytes + escape, PAGE_SIZE - escape, cpu->mode, &cpu->rules) &&
	       overwrites_rcx(cpu, bytes, escape + 3);
}

/* -- traps -- */

/* Whether `wanted` is in [from, end) of the page; either may lie outside. */
static bool has_bytes(const uint8_t *bytes, int from, int end, const uint8_t *wanted, unsigned size)
{
	if (from < 0)
		from = 0;
	if (end > (int)PAGE_SIZE)
		end = PAGE_SIZE;
	for (; from + (int)size <= end; from++)
		if (bytes_equal(bytes + from, wanted, size))
			return true;
	return false;
}

#define HAS(from, end, ...)                                                                        \
	has_bytes(bytes, (from), (end), (const uint8_t[]){ __VA_ARGS__ },                          \
		  sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* ECX is loaded with 0 before: XOR of either direction, MOV. */
static bool has_zero_before(const uint8_t *bytes, int at)
{
	return HAS(at - (int)NEAR, at, 0x31, 0xc9) || HAS(at - (int)NEAR, at, 0x33, 0xc9) ||
	       HAS(at - (int)NEAR, at, 0xb9, 0, 0, 0, 0);
}

/* Linux's selector for the CPU's number, which LSL takes and RDPID stands in place of. */
static bool has_selector_before(const uint8_t *bytes, int at)
{
	return HAS(at - (int)NEAR, at, 0x7b, 0, 0, 0);
}

#define MOVES_MOST 4 /* between where CPUID's leaf is loaded and CPUID */

/* Bytes of a MOV from a register or from memory to EAX that ends at `end`; 0: there is none. Prefixes left out. */
static int loads_eax(const uint8_t *bytes, int end)
{
	/* By the length of a displacement, whether there is a SIB byte, and mod and reg of the ModRM byte (SDM vol. 2 §2.1.5). */
	static const struct {
		uint8_t size, modrm;
		bool has_sib;
	} forms[] = { { 0, 0x00, false }, { 0, 0x00, true }, { 1, 0x40, false },
		      { 1, 0x40, true },  { 4, 0x80, false }, { 4, 0x80, true } };

	if (end >= 2 && bytes[end - 2] == 0x89 && (bytes[end - 1] & 0xc7) == 0xc0)
		return 2;
	if (end >= 2 && bytes[end - 2] == 0x8b && (bytes[end - 1] & 0xf8) == 0xc0)
		return 2;
	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		int length = 2 + forms[i].has_sib + forms[i].size;
		const uint8_t *modrm = bytes + end - length + 1;

		if (end >= length && modrm[-1] == 0x8b && (*modrm & 0xf8) == forms[i].modrm &&
		    ((*modrm & 7) == 4) == forms[i].has_sib)
			return length;
	}
	return 0;
}

/* Bytes of a MOV between registers or from one to a variable (RIP-relative), or a PUSH of one, that ends at `end`; 0. */
static int moves_register(const uint8_t *bytes, int end)
{
	if (end >= 6 && bytes[end - 6] == 0x89 && (bytes[end - 5] & 0xc7) == 0x05)
		return 6;
	if (end >= 2 && (bytes[end - 2] == 0x89 || bytes[end - 2] == 0x8b) && bytes[end - 1] >= 0xc0)
		return end >= 3 && (bytes[end - 3] & 0xf0) == 0x40 ? 3 : 2;
	return end >= 1 && (bytes[end - 1] & 0xf8) == 0x50 ? 1 : 0;
}

/* A leaf that is no constant is loaded by a MOV: right before CPUID, or before what brings subleaf, RBX and the results of
 * another CPUID to their places. */
static bool has_moved_leaf(const uint8_t *bytes, int at)
{
	for (int i = 0; i <= MOVES_MOST; i++) {
		int length;

		if (loads_eax(bytes, at))
			return true;
		length = moves_register(bytes, at);
		if (!length)
			return false;
		at -= length;
	}
	return false;
}

/* Behind CPUID one of its four results is put elsewhere: MOV of EAX, ECX, EDX or EBX. */
static bool keeps_result(const uint8_t *bytes, int at)
{
	int behind = at + 2;

	if (behind + 3 > (int)PAGE_SIZE)
		return false;
	if ((bytes[behind] & 0xf4) == 0x40) /* REX without R */
		behind++;
	return bytes[behind] == 0x89 && (bytes[behind + 1] & 0x20) == 0;
}

/*
 * CPUID's leaf is loaded shortly before, by MOV of a number that is one, or by XOR, or by a MOV of whatever it is; or EAX
 * was just seen to be 0, or is looked at for it behind, as the highest leaf; or a result is kept.
 */
static bool has_leaf(const uint8_t *bytes, int at)
{
	if (has_moved_leaf(bytes, at) || keeps_result(bytes, at))
		return true;
	for (int from = at < LEAF_DISTANCE ? 0 : at - LEAF_DISTANCE; from + 5 <= at; from++) {
		uint32_t leaf = bytes_load32(bytes + from + 1);

		if (bytes[from] == 0xb8 && ((leaf & 0x7fffffff) < LEAVES || leaf >> 8 == 0x400000))
			return true;
	}
	return HAS(at - LEAF_DISTANCE, at, 0x31, 0xc0) || HAS(at - LEAF_DISTANCE, at, 0x33, 0xc0) ||
	       HAS(at - 8, at, 0x85, 0xc0, 0x75) || HAS(at - 8, at, 0x85, 0xc0, 0x0f, 0x85) ||
	       HAS(at + 2, at + 4, 0x85, 0xc0);
}

bool sensitive_is_trappable(const uint8_t *bytes, unsigned escape)
{
	uint8_t opcode, modrm;

	/* All of it is in the page. */
	if (escape + 1 >= PAGE_SIZE || bytes[escape] != 0x0f)
		return false;
	opcode = bytes[escape + 1];
	if (opcode == CPUID || opcode == SYSENTER || opcode == SYSCALL)
		return true;
	if (escape + 2 >= PAGE_SIZE)
		return false;
	modrm = bytes[escape + 2];
	return opcode == 0x03 || ((opcode == 0xc7 || opcode == 0xae) && modrm >= 0xc0) ||
	       (opcode == 0x01 && modrm != VMCALL && modrm != VMMCALL);
}

bool sensitive_is_certain(const uint8_t *bytes, unsigned escape)
{
	int at = (int)escape;

	if (!sensitive_is_trappable(bytes, escape))
		return false;
	switch (bytes[escape + 1]) {
	case 0x01:
		/* The halves are put together behind it, or it stands beside another way to have loads done before. */
		if (bytes[escape + 2] == RDTSCP)
			return HAS(at + 3, at + 3 + (int)NEAR, 0x48, 0xc1, 0xe2, 0x20) ||
			       HAS(at - (int)NEAR, at + 3 + (int)NEAR, 0x0f, 0xae, 0xe8);
		return has_zero_before(bytes, at);
	case 0x03: return has_selector_before(bytes, at);
	case CPUID: return has_leaf(bytes, at);
	/* Linux's __kernel_vsyscall: MOV ESP to EBP, or ECX to EBP, before it; INT 80h behind it. */
	case SYSENTER:
	case SYSCALL: return HAS(at - 2, at, 0x89, 0xe5) || HAS(at - 2, at, 0x89, 0xcd);
	case 0xae: return HAS(at - 2, at, 0xf3); /* three bytes that stand together nowhere else */
	case 0xc7: return has_selector_before(bytes, at) || HAS(at - (int)NEAR, at, 0x0f, 0x01, RDTSCP);
	default: return false;
	}
}
