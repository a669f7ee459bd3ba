/*
 * Random vector and x87 instructions, through fpu_bind and on the host as they are, from the same
 * state: they must end in the same state, or with the same exception.
 *
 * Now and then the operand reaches into a page that is not there or is a device, or the code counts
 * as 32-bit. The seed is printed, and can be given in KVIK_TEST_SEED; KVIK_TEST_ROUNDS sets the
 * number of random byte strings, of which about a fourth are such instructions.
 *
 * A second test runs every masked form that the host has at the end of a page.
 */
#include <signal.h>
#include <ucontext.h>

#include "x86_fpu_fixture.h"

struct machine {
	uint64_t gpr[16];
	uint64_t rflags;
	uint8_t area[FPU_AREA_SIZE] __attribute__((aligned(64)));
	uint8_t memory[WINDOW_SIZE];
};

static struct machine before, native, ours;
static uint8_t *native_code;
static sigjmp_buf native_fault;
static int native_signal;
static uint64_t random_state;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static unsigned random_below(unsigned limit)
{
	return (unsigned)(random_next() >> 11) % limit;
}

static struct sigaction thunk_fpe, thunk_ill;

static void on_native_fault(int number, siginfo_t *info, void *context)
{
	uintptr_t pc = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	if (pc - (uintptr_t)native_code < 0x1000) {
		native_signal = number;
		siglongjmp(native_fault, 1);
	}
	if (number == SIGFPE || number == SIGILL) {
		(number == SIGFPE ? &thunk_fpe : &thunk_ill)->sa_sigaction(number, info, context);
		return;
	}
	signal(number, SIG_DFL);
}

/* The instruction between loads and stores of all registers but rsp and r15, which points to the
 * machine. */
static void build_native(const uint8_t *bytes, unsigned size)
{
	uint8_t *at = native_code;

#define PUT(...)                                                                                   \
	do {                                                                                       \
		static const uint8_t code[] = {__VA_ARGS__};                                       \
		memcpy(at, code, sizeof(code));                                                    \
		at += sizeof(code);                                                                \
	} while (0)
	/* push rbx, rbp, r12-r15; mov %rdi, %r15 */
	PUT(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x49, 0x89, 0xff);
	/* push 128(%r15); popf */
	PUT(0x41, 0xff, 0xb7, 0x80, 0, 0, 0, 0x9d);
	for (unsigned i = 0; i < 15; i++) {
		if (i == CPU_RSP)
			continue;
		*at++ = (uint8_t)(i & 8 ? 0x4d : 0x49); /* mov 8*i(%r15), %i */
		*at++ = 0x8b;
		*at++ = (uint8_t)(0x47 | (i & 7) << 3);
		*at++ = (uint8_t)(8 * i);
	}
	memcpy(at, bytes, size);
	at += size;
	for (unsigned i = 0; i < 15; i++) {
		if (i == CPU_RSP)
			continue;
		*at++ = (uint8_t)(i & 8 ? 0x4d : 0x49);
		*at++ = 0x89;
		*at++ = (uint8_t)(0x47 | (i & 7) << 3);
		*at++ = (uint8_t)(8 * i);
	}
	/* pushf; pop 128(%r15) */
	PUT(0x9c, 0x41, 0x8f, 0x87, 0x80, 0, 0, 0);
	PUT(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
#undef PUT
}

static void save_state(uint8_t *area)
{
	if (host.xcr0 == 0)
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
	else
		__asm__ volatile("xsave64 (%0)"
				 : : "r"(area), "a"((uint32_t)fpu_layout.components), "d"(0)
				 : "memory");
}

static void load_state(const uint8_t *area)
{
	if (host.xcr0 == 0)
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
	else
		__asm__ volatile("xrstor64 (%0)"
				 : : "r"(area), "a"((uint32_t)fpu_layout.components), "d"(0)
				 : "memory");
}

static void run_native(void)
{
	static uint8_t own[FPU_AREA_SIZE] __attribute__((aligned(64)));

	native_signal = 0;
	save_state(own);
	if (sigsetjmp(native_fault, 1) == 0) {
		load_state(native.area);
		((void (*)(struct machine *))(uintptr_t)native_code)(&native);
		save_state(native.area);
	}
	load_state(own);
}

/* Random encodings: base rbx, or rdi for implicit operands; register numbers over the whole range. */
static unsigned random_bytes(uint8_t *bytes)
{
	unsigned n = 0;
	bool is_memory = random_below(2);
	uint8_t modrm = (uint8_t)(random_below(8) << 3 | 3);

	if (!is_memory)
		modrm = (uint8_t)(0xc0 | random_below(64));
	switch (random_below(4)) {
	case 0: { /* x87 */
		bytes[n++] = (uint8_t)(0xd8 + random_below(8));
		bytes[n++] = modrm;
		return n;
	}
	case 1: { /* legacy */
		static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3};
		unsigned map = random_below(3);

		if (random_below(4))
			bytes[n++] = prefixes[random_below(3)];
		if (random_below(2))
			bytes[n++] = (uint8_t)(0x40 | random_below(16));
		if (n && (bytes[n - 1] & 0xf0) == 0x40 && is_memory)
			bytes[n - 1] &= 0xfe;
		bytes[n++] = 0x0f;
		if (map)
			bytes[n++] = map == 1 ? 0x38 : 0x3a;
		break;
	}
	case 2: { /* VEX */
		uint8_t first = (uint8_t)(random_next() & 0xe0) | 1;

		if (is_memory)
			first |= 0x20;
		bytes[n++] = 0xc4;
		bytes[n++] = first + (uint8_t)random_below(3);
		bytes[n++] = (uint8_t)random_next();
		if (random_below(3) == 0)
			bytes[n - 1] |= 0x78;
		break;
	}
	default: { /* EVEX */
		static const uint8_t maps[] = {1, 2, 3, 1, 2, 3, 5, 6};
		uint8_t first = (uint8_t)(random_next() & 0xf0) | maps[random_below(8)];

		if (is_memory)
			first |= 0x20;
		bytes[n++] = 0x62;
		bytes[n++] = first;
		bytes[n++] = (uint8_t)random_next() | 4;
		bytes[n++] = (uint8_t)random_next();
		if (random_below(3) == 0) {
			bytes[n - 2] |= 0x78;
			bytes[n - 1] |= 8;
		}
		break;
	}
	}
	bytes[n++] = (uint8_t)random_next();
	if (is_memory && random_below(4) == 0)
		modrm |= 0x40; /* an 8-bit displacement */
	if (is_memory && random_below(4) == 0) {
		bytes[n++] = modrm | 4;
		bytes[n++] = (uint8_t)((random_next() & 0xf8) | 3); /* SIB */
	} else {
		bytes[n++] = modrm;
	}
	if (is_memory && (modrm & 0x40))
		bytes[n++] = (uint8_t)(random_below(16) - 8);
	return n; /* an immediate may follow: the caller's buffer has random bytes there */
}

static void random_machine(void)
{
	unsigned style = random_below(4);

	memset(&before, 0, sizeof(before));
	for (unsigned i = 0; i < sizeof(before.memory); i += 8)
		*(uint64_t *)(void *)(before.memory + i) = random_next();
	for (unsigned i = 0; i < 15; i++)
		before.gpr[i] = random_next() >> random_below(64);
	before.gpr[CPU_RSP] = 0;
	before.gpr[CPU_RBX] = (uintptr_t)window + OPERAND;
	before.gpr[CPU_RDI] = (uintptr_t)window + OPERAND + 0x100;
	before.rflags = 0x202 | (random_next() & 0x8d5);
	/* Not zero, so that no component is in its initial state. */
	for (unsigned i = 0; i < sizeof(before.area); i += 4) {
		uint32_t value = (uint32_t)random_next();

		if (style == 1) /* small floats */
			value = (value & 0x83ffffff) | 0x3c000000;
		if (style == 2) /* small integers, good as indexes */
			value = (i & 4) && (before.memory[0] & 1) ? 0 : value & 0xff;
		if (style == 3 && random_below(2))
			value &= 0xff800000;
		*(uint32_t *)(void *)(before.area + i) = value;
	}
	memset(before.area + 512, 0, 64);
	*(uint64_t *)(void *)(before.area + 512) = fpu_layout.components;
	*(uint16_t *)(void *)(before.area + FPU_IMAGE_FCW) = 0x37f;
	*(uint16_t *)(void *)(before.area + FPU_IMAGE_FSW) = (uint16_t)(random_next() & 0x7f00);
	*(uint16_t *)(void *)(before.area + FPU_IMAGE_FTW) = (uint8_t)random_next();
	memset(before.area + FPU_IMAGE_FOP, 0, 18);
	*(uint32_t *)(void *)(before.area + FPU_IMAGE_MXCSR) = 0x1f80 | (random_next() & 0xe040);
	*(uint32_t *)(void *)(before.area + FPU_IMAGE_MXCSR_MASK) = 0;
	for (unsigned i = 0; i < 8; i++) {
		uint8_t *st = before.area + FPU_IMAGE_ST + 16 * i;

		memset(st + 10, 0, 6);
		if (random_below(4)) { /* a normal number */
			st[7] |= 0x80;
			*(uint16_t *)(void *)(st + 8) = 0x3ff0 + random_below(64);
		}
	}
	if ((fpu_layout.components & FPU_OPMASK) && random_below(2)) /* opmasks with few bits */
		for (unsigned i = 0; i < 8; i++)
			*(uint64_t *)(void *)(before.area + fpu_layout.offset[5] + 8 * i) &=
				random_next() & random_next();
}

static bool is_comparable(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands)
{
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &operands[i];

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		/* The native stub's own. */
		if (op->reg.value == ZYDIS_REGISTER_RSP || op->reg.value == ZYDIS_REGISTER_ESP ||
		    op->reg.value == ZYDIS_REGISTER_R15 || op->reg.value == ZYDIS_REGISTER_R15D)
			return false;
	}
	for (unsigned i = 0; i < in->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    operands[i].mem.type != ZYDIS_MEMOP_TYPE_VSIB &&
		    (operands[i].mem.index != ZYDIS_REGISTER_NONE ||
		     (operands[i].mem.base != ZYDIS_REGISTER_RBX &&
		      operands[i].mem.base != ZYDIS_REGISTER_RDI)))
			return false; /* would go astray */
	switch (in->mnemonic) {
	/* Approximations that differ between processors would not here; these show addresses, or
	 * are the system's. */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_XSETBV:
		return false;
	default:
		return true;
	}
}

/* Whether an instruction that is not bound here should have been. */
static bool is_missing(const ZydisDecodedInstruction *in)
{
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
		return false; /* general instructions */
	default:
		break;
	}
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_PREFETCH:
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
		return false;
	default:
		break;
	}
	switch (in->meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_VAES:
	case ZYDIS_ISA_EXT_VPCLMULQDQ:
	case ZYDIS_ISA_EXT_F16C:
	case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVX2GATHER:
	case ZYDIS_ISA_EXT_AVXAES:
	case ZYDIS_ISA_EXT_AVX_VNNI:
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
		return true;
	default:
		return false;
	}
}

static void print_case(const char *what, const uint8_t *bytes, unsigned size)
{
	ZydisDecoder decoder;
	ZydisFormatter formatter;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	char text[128] = "?";

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &in, operands)))
		ZydisFormatterFormatInstruction(&formatter, &in, operands, in.operand_count_visible,
						text, sizeof(text), 0, NULL);
	print_message("%s: %s [", what, text);
	for (unsigned i = 0; i < size; i++)
		print_message("%02x ", bytes[i]);
	print_message("] raised %d, signal %d\n", raised, native_signal);
}

/* Whether it has state that a test hides: its own process still has it. */
static bool is_hidden(const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;

	return insn->execute != insn_undefined && thunk != NULL &&
	       (thunk->traits.xcr0_required & ~(uint32_t)fpu_layout.components);
}

/* Whether 32-bit code of the same bytes does the same as 64-bit code (the window is below 4 GiB). */
static bool is_same_in_32bit(const uint8_t *bytes, const ZydisDecodedInstruction *in,
			     const ZydisDecodedOperand *operands)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction other;
	ZydisDecodedOperand others[ZYDIS_MAX_OPERAND_COUNT];

	/* Registers 8 and up are beyond 32-bit code. */
	if (in->mnemonic == ZYDIS_MNEMONIC_VZEROALL || in->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER)
		return false;
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, in->length, &other, others)) ||
	    other.mnemonic != in->mnemonic || other.length != in->length ||
	    other.operand_count != in->operand_count)
		return false;
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *a = &operands[i], *b = &others[i];

		if (a->type != b->type || a->size != b->size ||
		    ZydisRegisterGetId(a->reg.value) != ZydisRegisterGetId(b->reg.value))
			return false;
		if (a->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (ZydisRegisterGetId(a->mem.base) != ZydisRegisterGetId(b->mem.base) ||
		     a->mem.type == ZYDIS_MEMOP_TYPE_VSIB))
			return false;
	}
	return true;
}

/* Leave out what cannot be equal: the x87's last-instruction pointers. */
static void clean_area(uint8_t *area)
{
	memset(area + FPU_IMAGE_FOP, 0, 18);
	memset(area + FPU_IMAGE_MXCSR_MASK, 0, 4);
	memset(area + FPU_IMAGE_AVAILABLE, 0, 96);
	/* Memory that XSAVE does not write. */
	for (unsigned from = FPU_IMAGE_EXTENDED; from < FPU_AREA_SIZE;) {
		unsigned next = FPU_AREA_SIZE, end = FPU_AREA_SIZE;

		for (unsigned i = 2; i < FPU_COMPONENTS; i++)
			if ((fpu_layout.components >> i & 1) && fpu_layout.offset[i] >= from &&
			    fpu_layout.offset[i] < next) {
				next = fpu_layout.offset[i];
				end = next + fpu_layout.size[i];
			}
		memset(area + from, 0, next - from);
		from = end;
	}
}

static bool compare(const uint8_t *bytes, unsigned size)
{
	int expected = native_signal == 0 ? -1
		       : native_signal == SIGILL ? EXCEPTION_UD
		       : native_signal == SIGFPE ? EXCEPTION_XM
						 : EXCEPTION_PF;

	/* That the host lacks an instruction shows only after its operand's page faults. */
	if (native_signal == SIGILL && raised == EXCEPTION_PF)
		return true;
	if (raised != expected &&
	    !(native_signal == SIGSEGV && (raised == EXCEPTION_GP || raised == EXCEPTION_PF))) {
		print_case("exception differs", bytes, size);
		return false;
	}
	if (native_signal != 0)
		return true;
	clean_area(native.area);
	clean_area(ours.area);
	if (memcmp(native.area, ours.area, FPU_AREA_SIZE) != 0) {
		unsigned at = 0;

		while (native.area[at] == ours.area[at])
			at++;
		print_case("state differs", bytes, size);
		print_message("  at %u: native %02x, ours %02x\n", at, native.area[at],
			      ours.area[at]);
		return false;
	}
	if (memcmp(native.gpr, ours.gpr, 15 * 8) != 0) {
		print_case("general registers differ", bytes, size);
		return false;
	}
	if ((native.rflags ^ ours.rflags) & 0x8d5) {
		print_case("flags differ", bytes, size);
		return false;
	}
	if (memcmp(native.memory, ours.memory, WINDOW_SIZE) != 0) {
		print_case("memory differs", bytes, size);
		return false;
	}
	return true;
}

static void start_native(void)
{
	struct sigaction action = {.sa_sigaction = on_native_fault, .sa_flags = SA_SIGINFO};

	native_code = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC,
	                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(native_code, MAP_FAILED);
	thunk_claim_signals();
	sigaction(SIGFPE, &action, &thunk_fpe);
	sigaction(SIGILL, &action, &thunk_ill);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static void stop_native(void)
{
	munmap(native_code, 0x1000);
	sigaction(SIGFPE, &thunk_fpe, NULL);
	sigaction(SIGILL, &thunk_ill, NULL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

/* The window's second page as a hole. */
static void open_hole(bool is_device)
{
	hole_start = (uintptr_t)window + 0x1000;
	hole_end = hole_start + 0x1000;
	hole_is_device = is_device;
}

static void close_hole(void)
{
	hole_start = hole_end = 0;
	hole_is_device = false;
}

static void protect_hole(int protection)
{
	if (hole_end != 0)
		assert_int_equal(
		    mprotect((void *)(uintptr_t)hole_start, hole_end - hole_start, protection), 0);
}

/* The same machine, `before`, on both sides, with the same memory. A device is memory natively. */
static void run_both(const struct insn *insn, const uint8_t *bytes, unsigned size)
{
	native = before;
	memcpy(window, before.memory, WINDOW_SIZE);
	build_native(bytes, size);
	if (!hole_is_device)
		protect_hole(PROT_NONE);
	run_native();
	protect_hole(PROT_READ | PROT_WRITE);
	memcpy(native.memory, window, WINDOW_SIZE);

	memcpy(window, before.memory, WINDOW_SIZE);
	memcpy(cpu.gpr, before.gpr, sizeof(cpu.gpr));
	cpu.rflags = before.rflags;
	memcpy(cpu.fpu.area, before.area, FPU_AREA_SIZE);
	cpu.rip = 0x1000;
	/* A thunk that reaches past the page dies here, unless the host suppresses the fault. */
	protect_hole(PROT_NONE);
	execute(insn);
	protect_hole(PROT_READ | PROT_WRITE);
	memcpy(ours.area, cpu.fpu.area, FPU_AREA_SIZE);
	memcpy(ours.gpr, cpu.gpr, sizeof(cpu.gpr));
	ours.rflags = cpu.rflags;
	memcpy(ours.memory, window, WINDOW_SIZE);
}

static void test_random(void **state)
{
	const char *seed_text = getenv("KVIK_TEST_SEED");
	const char *rounds_text = getenv("KVIK_TEST_ROUNDS");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
	unsigned rounds = rounds_text ? (unsigned)strtoul(rounds_text, NULL, 0) : 60000;
	unsigned executed = 0, in_32bit = 0, failures = 0;
	ZydisDecoder decoder;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	random_state = seed * 0x9e3779b97f4a7c15 + 1;
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	start_native();
	for (unsigned round = 0; round < rounds && failures < 40; round++) {
		uint8_t bytes[16];
		ZydisDecodedInstruction in;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		struct insn insn;

		for (unsigned i = 0; i < 16; i++)
			bytes[i] = (uint8_t)random_next();
		random_bytes(bytes);
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, 15, &in, operands)) ||
		    !is_comparable(&in, operands))
			continue;
		if (insn_decode(&insn, bytes, in.length, MODE_64, &insn_host_rules) != 0 ||
		    !isa_is_thunk(isa_find(insn.mnemonic)) ||
		    (insn.execute == insn_undefined && !is_missing(&in)) || is_hidden(&insn))
			continue;
		executed++;
		cpu.mode = MODE_64;
		if (random_below(2) && is_same_in_32bit(bytes, &in, operands)) {
			cpu.mode = MODE_32;
			assert_int_equal(
			    insn_decode(&insn, bytes, in.length, MODE_32, &insn_host_rules), 0);
			in_32bit++;
		}
		random_machine();

		/* Now and then the operand reaches into a page that is not there. */
		bool has_hole = random_below(4) == 0;

		close_hole();
		if (has_hole) {
			before.gpr[CPU_RBX] = (uintptr_t)window + 0xfc0 + random_below(65);
			open_hole(random_below(2));
		}
		refuse_pointers = random_below(2);
		run_both(&insn, bytes, in.length);
		if (!compare(bytes, in.length))
			failures++;
	}
	stop_native();
	print_message("%u instructions compared, %u as 32-bit code\n", executed, in_32bit);
	assert_int_equal(failures, 0);
}

/* -- every masked form at the end of a page -- */

/*
 * Whether processors may differ in what masked-out elements raise: the manual does not promise that
 * there are no faults for exception classes with "NF", and leaves them open for MASKMOVQ and
 * MASKMOVDQU.
 */
static bool fault_is_optional(const ZydisDecodedInstruction *in)
{
	static const uint8_t classes[] = {
	    ZYDIS_EXCEPTION_CLASS_E1NF, ZYDIS_EXCEPTION_CLASS_E2NF,  ZYDIS_EXCEPTION_CLASS_E3NF,
	    ZYDIS_EXCEPTION_CLASS_E4NF, ZYDIS_EXCEPTION_CLASS_E5NF,  ZYDIS_EXCEPTION_CLASS_E6NF,
	    ZYDIS_EXCEPTION_CLASS_E9NF, ZYDIS_EXCEPTION_CLASS_E10NF, ZYDIS_EXCEPTION_CLASS_E11NF,
	};

	return in->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
	       in->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
	       in->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU ||
	       memchr(classes, in->meta.exception_class, sizeof(classes)) != NULL;
}

/* One encoding with its operand across the page's end at all multiples of 4 bytes and one odd
 * place, with few, many and no elements active. The number of failures. */
static unsigned run_at_page_end(const uint8_t *bytes, const ZydisDecodedInstruction *in,
                                unsigned size)
{
	static const uint64_t masks[] = {0, 1, 3, 0xf, 0xaaaaaaaaaaaaaaaa, 0x0000ffff0000ffff};
	struct insn insn;
	unsigned failures = 0;

	assert_int_equal(insn_decode(&insn, bytes, in->length, MODE_64, &insn_host_rules), 0);
	if ((insn.execute == insn_undefined && !is_missing(in)) || is_hidden(&insn))
		return 0;
	cpu.mode = MODE_64;
	for (unsigned reach = 1; reach <= size; reach += reach == 1 ? 3 : size > 16 ? 12 : 4) {
		unsigned n = random_below(sizeof(masks) / sizeof(masks[0]) + 1);
		uint64_t mask = n == 0 ? random_next() : masks[n - 1];
		bool is_device = random_below(2);

		random_machine();
		/* In memory order: the first `size - reach` bytes are on the first page. */
		before.gpr[CPU_RBX] = before.gpr[CPU_RDI] =
		    (uintptr_t)window + 0x1000 - size + reach;
		if (fpu_layout.components & FPU_AVX512)
			*(uint64_t *)(void *)(before.area + fpu_layout.offset[5] + 8) = mask;
		open_hole(is_device);
		refuse_pointers = false;
		run_both(&insn, bytes, in->length);
		close_hole();
		if (native_signal == SIGILL)
			return 0; /* this host lacks it */
		if (!is_device && (native_signal == SIGSEGV) != (raised == EXCEPTION_PF) &&
		    fault_is_optional(in))
			continue;
		failures += !compare(bytes, in->length);
	}
	return failures;
}

/* Decode and run one encoding if it has a memory operand; the number of failures. */
static unsigned run_form(const uint8_t *bytes, unsigned *forms)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	unsigned size = 0;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, 15, &in, operands)) ||
	    !isa_is_thunk(isa_find((uint16_t)in.mnemonic)))
		return 0;
	for (unsigned i = 0; i < in.operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    operands[i].mem.type == ZYDIS_MEMOP_TYPE_MEM)
			size = operands[i].size / 8;
	if (size == 0)
		return 0;
	++*forms;
	return run_at_page_end(bytes, &in, size);
}

static void test_masked_at_page_end(void **state)
{
	static const uint8_t evex_maps[] = {1, 2, 3, 5, 6};
	static const uint8_t masked_bytes[2][16] = {{0x66, 0x0f, 0xf7, 0xd1}, {0x0f, 0xf7, 0xd1}};
	const uint8_t modrm = 0x13; /* (%rbx) */
	unsigned forms = 0, failures = 0;

	(void)state;
	random_state = 0x9e3779b97f4a7c15;
	start_native();
	for (unsigned i = 0; i < sizeof(evex_maps) << 14 && failures < 40; i++) {
		uint8_t opcode = (uint8_t)i, prefix = i >> 8 & 3, w = i >> 10 & 1;
		uint8_t length = i >> 11 & 3, is_broadcast = i >> 13 & 1;
		uint8_t bytes[16] = {0x62,
		                     (uint8_t)(0xf0 | evex_maps[i >> 14]),
		                     (uint8_t)(w << 7 | 0x6c | prefix),
		                     (uint8_t)(length << 5 | is_broadcast << 4 | 9), /* k1 */
		                     opcode,
		                     modrm,
		                     1};

		failures += run_form(bytes, &forms);
		bytes[2] |= 0x10; /* without a register in vvvv */
		failures += run_form(bytes, &forms);
	}
	/* VMASKMOV and VPMASKMOV are in map 0F38 with prefix 66. */
	for (unsigned i = 0; i < 1u << 10 && failures < 40; i++) {
		uint8_t w = i >> 8 & 1, length = i >> 9 & 1;
		uint8_t bytes[16] = {0xc4, 0xe2, (uint8_t)(w << 7 | 0x69 | length << 2), (uint8_t)i,
		                     modrm};

		failures += run_form(bytes, &forms);
	}
	for (unsigned i = 0; i < 2; i++)
		failures += run_form(masked_bytes[i], &forms);
	stop_native();
	print_message("%u forms\n", forms);
	assert_int_equal(failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_masked_at_page_end, set_up_cpu, tear_down_cpu),
	    cmocka_unit_test_setup_teardown(test_random, set_up_cpu, tear_down_cpu),
	};

	return cmocka_run_group_tests_name("x86_fpu_random", tests, set_up, NULL);
}
