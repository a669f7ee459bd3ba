/*
 * The interpreter: decoding, flags, blocks and their coherence, string instructions, bit widths.
 *
 * Programs are assembled with this file. 64-bit ones without memory operands also run on the host
 * itself, and all registers and arithmetic flags must come out the same.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "engine/x86/decode/decode.h"
#include "engine/x86/host/host.h"
#include "../undefined_flags.h"
#include "engine/run/interp/interp.h"
#include "x86_platform.h"

#define ARITHMETIC_FLAGS 0x8d5u

/* A program as bytes: name[] .. name_end[]. */
#define PROGRAM(name, mode, text)                                                                  \
	__asm__(".pushsection .rodata\n" mode "\n" #name ":\n" text "\nud2\n" #name "_end:\n"      \
		".code64\n.popsection\n");                                                         \
	extern const uint8_t name[], name##_end[]

#define RUN(test, name) x86_test_run_code(test, name, (size_t)(name##_end - name))

static struct x86_test test;

static int setup_64(void **state)
{
	(void)state;
	return x86_test_create(&test, 64);
}

static int setup_32(void **state)
{
	(void)state;
	return x86_test_create(&test, 32);
}

static int setup_16(void **state)
{
	(void)state;
	return x86_test_create(&test, 16);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

/* -- against the host -- */

struct registers {
	uint64_t gpr[16]; /* RSP stays out of it */
	uint64_t flags;
};

void host_call(struct registers *registers, const void *code);

/* Load the registers, call the code, store the registers. */
__asm__(".pushsection .text\n"
	"host_call:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n"
	"	push %r15\n	push %rdi\n"
	"	mov %rsi, host_target(%rip)\n"
	"	pushq 128(%rdi)\n	popfq\n"
	"	mov 0(%rdi), %rax\n	mov 8(%rdi), %rcx\n	mov 16(%rdi), %rdx\n"
	"	mov 24(%rdi), %rbx\n	mov 40(%rdi), %rbp\n	mov 48(%rdi), %rsi\n"
	"	mov 64(%rdi), %r8\n	mov 72(%rdi), %r9\n	mov 80(%rdi), %r10\n"
	"	mov 88(%rdi), %r11\n	mov 96(%rdi), %r12\n	mov 104(%rdi), %r13\n"
	"	mov 112(%rdi), %r14\n	mov 120(%rdi), %r15\n	mov 56(%rdi), %rdi\n"
	"	call *host_target(%rip)\n"
	"	xchg %rdi, (%rsp)\n"
	"	mov %rax, 0(%rdi)\n	mov %rcx, 8(%rdi)\n	mov %rdx, 16(%rdi)\n"
	"	mov %rbx, 24(%rdi)\n	mov %rbp, 40(%rdi)\n	mov %rsi, 48(%rdi)\n"
	"	mov %r8, 64(%rdi)\n	mov %r9, 72(%rdi)\n	mov %r10, 80(%rdi)\n"
	"	mov %r11, 88(%rdi)\n	mov %r12, 96(%rdi)\n	mov %r13, 104(%rdi)\n"
	"	mov %r14, 112(%rdi)\n	mov %r15, 120(%rdi)\n"
	"	pushfq\n	popq 128(%rdi)\n	cld\n"
	"	pop %rax\n	mov %rax, 56(%rdi)\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n"
	"	pop %rbx\n	ret\n"
	".popsection\n"
	".local host_target\n.comm host_target, 8\n");

static uint64_t seed = 0x2545f4914f6cdd1d;

static uint64_t random_next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Interesting values more often than not. */
static uint64_t random_value(void)
{
	static const uint64_t corners[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff,
					   0x80000000, 0xffffffff, 0x7fffffffffffffff,
					   0x8000000000000000, 0xffffffffffffffff};
	uint64_t r = random_next();

	return r & 1 ? random_next() : r & 2 ? random_next() >> (r >> 8 & 63)
					     : corners[(r >> 8) % 13];
}

enum { BYTE_OP = 1, IMM8 = 2, IMM = 4, NO_MODRM = 8, ESC = 16, NO_66 = 32, DIGIT = 64, ESC38 = 128 };

/* Opcodes with ModRM register forms; for DIGIT, ModRM.reg runs from low to high. */
static const struct form {
	uint8_t opcode;
	uint8_t flags;
	uint8_t low, high;
	uint8_t prefix;
} forms[] = {
	{0x80, BYTE_OP | IMM8 | DIGIT, 0, 7}, {0x81, IMM | DIGIT, 0, 7}, {0x83, IMM8 | DIGIT, 0, 7},
	{0x84, BYTE_OP}, {0x85, 0}, {0x86, BYTE_OP}, {0x87, 0}, {0x88, BYTE_OP}, {0x89, 0},
	{0x8a, BYTE_OP}, {0x8b, 0}, {0x63, NO_66},
	{0xc0, BYTE_OP | IMM8 | DIGIT, 0, 7}, {0xc1, IMM8 | DIGIT, 0, 7},
	{0xd0, BYTE_OP | DIGIT, 0, 7}, {0xd1, DIGIT, 0, 7}, {0xd2, BYTE_OP | DIGIT, 0, 7},
	{0xd3, DIGIT, 0, 7}, {0xf6, BYTE_OP | DIGIT, 2, 5}, {0xf7, DIGIT, 2, 5},
	{0xf6, BYTE_OP | IMM8 | DIGIT, 0, 0}, {0xf7, IMM | DIGIT, 0, 0},
	{0xfe, BYTE_OP | DIGIT, 0, 1}, {0xff, DIGIT, 0, 1}, {0x69, IMM}, {0x6b, IMM8},
	{0x98, NO_MODRM}, {0x99, NO_MODRM}, {0xf5, NO_MODRM}, {0xf8, NO_MODRM}, {0xf9, NO_MODRM},
	{0x9e, NO_MODRM}, {0x9f, NO_MODRM}, {0x90, NO_MODRM},
	{0xa3, ESC}, {0xab, ESC}, {0xb3, ESC}, {0xbb, ESC}, {0xba, ESC | IMM8 | DIGIT, 4, 7},
	{0xa4, ESC | IMM8 | NO_66}, {0xa5, ESC | NO_66}, {0xac, ESC | IMM8 | NO_66},
	{0xad, ESC | NO_66}, {0xaf, ESC}, {0xb6, ESC}, {0xb7, ESC}, {0xbe, ESC}, {0xbf, ESC},
	{0xbc, ESC}, {0xbd, ESC}, {0xbc, ESC | NO_66, .prefix = 0xf3},
	{0xbd, ESC | NO_66, .prefix = 0xf3}, {0xb8, ESC | NO_66, .prefix = 0xf3},
	{0xc0, ESC | BYTE_OP}, {0xc1, ESC}, {0xb0, ESC | BYTE_OP}, {0xb1, ESC},
	{0xf6, ESC38 | NO_66, .prefix = 0x66}, {0xf6, ESC38 | NO_66, .prefix = 0xf3},
	{0xf1, ESC38 | NO_66, .prefix = 0xf2}, {0x1f, ESC}, {0x1e, ESC},
};

static unsigned random_instruction(uint8_t *code)
{
	unsigned pick = (unsigned)(random_next() >> 20) % (sizeof(forms) / sizeof(forms[0]) + 40), n = 0;
	struct form form = pick < sizeof(forms) / sizeof(forms[0]) ? forms[pick] : (struct form){0};
	bool has_66 = !(random_next() >> 40 & 7), has_rex = random_next() >> 40 & 1;
	uint8_t rex = 0x40 | (random_next() >> 33 & 15), modrm;

	if (pick >= sizeof(forms) / sizeof(forms[0])) {
		unsigned r = (unsigned)(random_next() >> 30);

		if (r & 1) /* ADD..CMP */
			form = (struct form){.opcode = (r >> 1 & 7) << 3 | (r >> 4 & 3),
					     .flags = r >> 4 & 1 ? 0 : BYTE_OP};
		else if (r & 2) /* CMOVcc, SETcc */
			form = (struct form){.opcode = 0x40 | (r >> 2 & 15), .flags = ESC};
		else
			form = (struct form){.opcode = 0x90 | (r >> 2 & 15), .flags = ESC | BYTE_OP};
	}
	if (form.flags & NO_66)
		has_66 = false;
	modrm = 0xc0 | (random_next() >> 33 & 63);
	if (form.flags & DIGIT)
		modrm = (modrm & 0xc7) |
			(form.low + (random_next() >> 33) % (form.high - form.low + 1u)) << 3;
	/* Never rSP: register 4 means rSP unless it is AH or extended. */
	if (!(form.flags & NO_MODRM)) {
		if ((modrm & 7) == 4)
			modrm ^= 1;
		if (!(form.flags & DIGIT) && (modrm >> 3 & 7) == 4)
			modrm ^= 8;
	}
	if (form.prefix)
		code[n++] = form.prefix;
	if (has_66)
		code[n++] = 0x66;
	if (has_rex)
		code[n++] = rex;
	if (form.flags & (ESC | ESC38))
		code[n++] = 0x0f;
	if (form.flags & ESC38)
		code[n++] = 0x38;
	code[n++] = form.opcode;
	if (!(form.flags & NO_MODRM))
		code[n++] = modrm;
	if (form.flags & IMM8)
		code[n++] = (uint8_t)random_value();
	if (form.flags & IMM) {
		uint32_t imm = (uint32_t)random_value();
		unsigned size = has_66 && !(has_rex && rex & 8) ? 2 : 4;

		memcpy(code + n, &imm, size);
		n += size;
	}
	return n;
}

static bool host_lacks(const ZydisDecodedInstruction *in)
{
	switch (in->meta.isa_set) {
	case ZYDIS_ISA_SET_ADOX_ADCX: return !host_has(HOST_ADX);
	case ZYDIS_ISA_SET_POPCNT: return !host_has(HOST_POPCNT);
	case ZYDIS_ISA_SET_SSE42: return !host_has(HOST_SSE42); /* CRC32 */
	default: break;
	}
	switch (in->mnemonic) {
	/* With F3: LZCNT or TZCNT, that a test hides from the engine only. */
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR: return host.is_masked;
	default: return false;
	}
}

/*
 * One that does not read what those before it left undefined: hosts differ there, even between an
 * instruction's forms. `undefined` are the flags that are.
 */
static unsigned random_defined(const ZydisDecoder *decoder, uint8_t *code, uint32_t *undefined)
{
	for (;;) {
		ZydisDecodedInstruction in;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		unsigned size = random_instruction(code);
		uint32_t leaves;

		assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, code, size, &in, operands)));
		leaves = undefined_flags_of(&in, operands, UNDEFINED_COUNT);
		if (host_lacks(&in) || (in.cpu_flags && (in.cpu_flags->tested & *undefined)))
			continue;
		/* A shift by zero leaves the flags as they are, which one by CL may be. */
		if (in.cpu_flags && !undefined_is_shift(in.mnemonic))
			*undefined &= ~(in.cpu_flags->modified | in.cpu_flags->set_0 |
					in.cpu_flags->set_1);
		*undefined |= leaves;
		return size;
	}
}

/* The same random instructions on the host and in the interpreter. */
static void test_against_host(void **state)
{
	uint8_t *host_code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const ZydisDecoder *decoder = insn_decoder(CPU_MODE_CODE64, &insn_host_rules);

	(void)state;
	assert_true(host_code != MAP_FAILED);
	for (unsigned round = 0; round < 30000; round++) {
		uint64_t round_seed = seed;
		struct registers before, native;
		struct cpu *cpu = &test.cpu;
		uint8_t code[128];
		unsigned size = 0, count = 1 + random_next() % 6;
		uint32_t undefined = 0;

		for (unsigned i = 0; i < count; i++)
			size += random_defined(decoder, code + size, &undefined);
		for (unsigned i = 0; i < 16; i++)
			before.gpr[i] = random_value();
		before.flags = (random_next() & ARITHMETIC_FLAGS) | 2;
		native = before;
		memcpy(host_code, code, size);
		host_code[size] = 0xc3;
		host_call(&native, host_code);

		code[size] = 0x0f;
		code[size + 1] = 0x0b;
		before.gpr[CPU_RSP] = native.gpr[CPU_RSP] = X86_TEST_STACK;
		memcpy(cpu->gpr, before.gpr, sizeof(before.gpr));
		cpu->rflags = before.flags;
		cpu->rip = X86_TEST_CODE;
		assert_int_equal(x86_test_run_code(&test, code, size + 2), EXCEPTION_UD);
		if (cpu->rip != X86_TEST_CODE + size ||
		    memcmp(cpu->gpr, native.gpr, sizeof(native.gpr)) ||
		    (cpu->rflags ^ native.flags) & ARITHMETIC_FLAGS & ~undefined) {
			print_message("round %u, seed %#llx:", round, (unsigned long long)round_seed);
			for (unsigned i = 0; i < size; i++)
				print_message(" %02x", code[i]);
			print_message("\n");
			for (unsigned i = 0; i < 16; i++)
				if (cpu->gpr[i] != native.gpr[i])
					print_message("r%u %#llx: %#llx, host %#llx\n", i,
						      (unsigned long long)before.gpr[i],
						      (unsigned long long)cpu->gpr[i],
						      (unsigned long long)native.gpr[i]);
			print_message("flags %#llx: %#llx, host %#llx\n",
				      (unsigned long long)before.flags,
				      (unsigned long long)(cpu->rflags & ARITHMETIC_FLAGS),
				      (unsigned long long)(native.flags & ARITHMETIC_FLAGS));
			fail();
		}
	}
	munmap(host_code, 4096);
}

/* -- memory operands, stack, branches -- */

PROGRAM(program_memory, ".code64",
	"mov $0x200000, %ebx\n"
	"movq $5, (%rbx)\n"
	"addq $7, (%rbx)\n"
	"mov $3, %eax\n"
	"lock xadd %rax, (%rbx)\n"
	"mov (%rbx), %rcx\n"
	"movl $-1, 8(%rbx)\n"
	"incl 8(%rbx)\n"
	"setz %dl\n"
	"push %rcx\n"
	"pop 16(%rbx)\n"
	"mov $16, %esi\n"
	"mov (%rbx,%rsi), %rdi\n"
	"mov $0x1234567887654321, %r8\n"
	"mov %r8, 0xffe(%rbx)\n"
	"mov 0xffe(%rbx), %r9\n"
	"btsq $9, 24(%rbx)\n"
	"mov $65, %r10d\n"
	"btsq %r10, 24(%rbx)\n"
	"mov 32(%rbx), %r11\n"
	"mov $2, %eax\n"
	"mov $40, %r12d\n"
	"lock cmpxchg %r12, 32(%rbx)\n"
	"mov 32(%rbx), %r13");

static void test_memory(void **state)
{
	struct cpu *cpu = &test.cpu;

	(void)state;
	assert_int_equal(RUN(&test, program_memory), EXCEPTION_UD);
	assert_int_equal(cpu->gpr[CPU_RCX], 15);
	assert_int_equal(cpu->gpr[CPU_RDX] & 0xff, 1);
	assert_int_equal(cpu->gpr[CPU_RDI], 15);
	assert_true(cpu->gpr[CPU_R9] == 0x1234567887654321);
	assert_int_equal(cpu->gpr[CPU_R11], 2);
	assert_int_equal(cpu->gpr[CPU_R13], 40);
	assert_int_equal(cpu->gpr[CPU_RSP], X86_TEST_STACK);
}

PROGRAM(program_calls, ".code64",
	"mov $20, %edi\n"
	"xor %eax, %eax\n"
	"call 1f\n"
	"jmp 3f\n"
	"1: cmp $2, %edi\n"
	"jae 2f\n"
	"add %edi, %eax\n"
	"ret\n"
	"2: push %rdi\n"
	"dec %edi\n"
	"call 1b\n"
	"mov (%rsp), %edi\n"
	"sub $2, %edi\n"
	"call 1b\n"
	"pop %rdi\n"
	"ret\n"
	"3: enter $32, $0\n"
	"leave");

static void test_calls(void **state)
{
	(void)state;
	assert_int_equal(RUN(&test, program_calls), EXCEPTION_UD);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 6765); /* Fibonacci of 20 */
	assert_int_equal(test.cpu.gpr[CPU_RSP], X86_TEST_STACK);
}

PROGRAM(program_strings, ".code64",
	"mov $0x200000, %edi\n"
	"mov $'a', %al\n"
	"mov $10000, %ecx\n"
	"rep stosb\n"
	"mov $0x200000, %esi\n"
	"mov $0x300001, %edi\n"
	"mov $10000, %ecx\n"
	"rep movsb\n"
	"mov $0x200000, %esi\n"
	"mov $0x300001, %edi\n"
	"movb $'b', 9000(%rsi)\n"
	"mov $10000, %ecx\n"
	"repe cmpsb\n"
	"mov %rcx, %r8\n"
	"mov $0x300001, %edi\n"
	"movb $0, 0x304000 - 0x300001(%rdi)\n"
	"xor %eax, %eax\n"
	"mov $-1, %rcx\n"
	"repne scasb\n"
	"not %rcx\n"
	"std\n"
	"mov $0x200010, %esi\n"
	"mov $0x200011, %edi\n"
	"mov $16, %r9d\n"
	"xchg %r9, %rcx\n"
	"rep movsb\n"
	"cld");

static void test_strings(void **state)
{
	struct cpu *cpu = &test.cpu;

	(void)state;
	assert_int_equal(RUN(&test, program_strings), EXCEPTION_UD);
	assert_int_equal(cpu->gpr[CPU_R8], 10000 - 9001);
	assert_int_equal(cpu->gpr[CPU_R9], 10001); /* strlen + 1: zero RAM follows */
	assert_int_equal(cpu->gpr[CPU_RSI], 0x200000);
	assert_int_equal(cpu->gpr[CPU_RCX], 0);
	assert_int_equal(test.memory[0x300001 + 9999], 'a');
	assert_int_equal(test.memory[0x300000], 0);
}

PROGRAM(program_divide, ".code64",
	"mov $-100, %rax\n"
	"cqo\n"
	"mov $7, %ecx\n"
	"idiv %rcx\n"
	"mov %rax, %r8\n"
	"mov %rdx, %r9\n"
	"mov $0x80000000, %eax\n"
	"cdq\n"
	"mov $-1, %ecx\n"
	"idiv %ecx");

static void test_divide(void **state)
{
	(void)state;
	assert_int_equal(RUN(&test, program_divide), EXCEPTION_DE);
	assert_true(test.cpu.gpr[CPU_R8] == (uint64_t)-14);
	assert_true(test.cpu.gpr[CPU_R9] == (uint64_t)-2);
	assert_int_equal(test.cpu.rip, X86_TEST_CODE + (program_divide_end - program_divide) - 4);
}

/* Faults leave no trace: registers and flags are those before the instruction. */
PROGRAM(program_fault, ".code64",
	"mov $0x40000000, %ebx\n"
	"xor %eax, %eax\n"
	"stc\n"
	"adc $0x7fffffff, %eax\n"
	"lea 0x10(%rbx), %rcx\n"
	"add (%rbx), %eax\n"
	"add $1, %eax");

static void test_fault(void **state)
{
	(void)state;
	assert_int_equal(RUN(&test, program_fault), EXCEPTION_PF);
	assert_int_equal(test.cpu.cr2, 0x40000000);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 0x80000000);
	assert_int_equal(test.cpu.rflags & ARITHMETIC_FLAGS, 0x894); /* OF SF AF PF */
}

/* -- 32 and 16 bits -- */

PROGRAM(program_32, ".code32",
	"mov $0xffffffff, %eax\n"
	"inc %eax\n"
	"setz %cl\n"
	"push $-5\n"
	"pop %edx\n"
	"pusha\n"
	"xor %edi, %edi\n"
	"popa\n"
	"mov $0x99, %al\n"
	"add $1, %al\n"
	"daa\n"
	"mov %eax, %ebx\n"
	"mov $0x200000, %esi\n"
	"movw $0x1234, (%esi)\n"
	".byte 0x67\n"
	"mov 0x0(%si), %ax\n"
	"call 1f\n"
	"1: pop %ebp");

static void test_32(void **state)
{
	struct cpu *cpu = &test.cpu;

	(void)state;
	cpu->gpr[CPU_RDI] = 77;
	assert_int_equal(RUN(&test, program_32), EXCEPTION_UD);
	assert_int_equal(cpu->gpr[CPU_RCX] & 0xff, 1);
	assert_int_equal(cpu->gpr[CPU_RDX], 0xfffffffb);
	assert_int_equal(cpu->gpr[CPU_RDI], 77);
	assert_int_equal(cpu->gpr[CPU_RBX], 0);
	assert_int_equal(cpu->gpr[CPU_RSP], X86_TEST_STACK);
	assert_int_equal(cpu->gpr[CPU_RBP], cpu->rip - 1);
}

PROGRAM(program_16, ".code16",
	"mov $0x1234, %ax\n"
	"push %ax\n"
	"pop %bx\n"
	"mov $3, %cx\n"
	"xor %dx, %dx\n"
	"1: add $2, %dx\n"
	"loop 1b\n"
	"call 2f\n"
	"jmp 3f\n"
	"2: mov %sp, %bp\n"
	"mov (%bp), %si\n"
	"ret\n"
	"3: mov $0x87654321, %edi\n"
	"mov $0x20, %al\n"
	"mov %al, %es:(0x500)\n"
	"movzbw %es:(0x500), %bp");

static void test_16(void **state)
{
	struct cpu *cpu = &test.cpu;

	(void)state;
	assert_int_equal(RUN(&test, program_16), EXCEPTION_UD);
	assert_int_equal(cpu->gpr[CPU_RBX], 0x1234);
	assert_int_equal(cpu->gpr[CPU_RDX], 6);
	assert_int_equal(cpu->gpr[CPU_RSP], 0x8000);
	assert_int_equal(cpu->gpr[CPU_RDI], 0x87654321);
	assert_int_equal(cpu->gpr[CPU_RBP], 0x20);
	assert_int_equal(test.memory[0x500], 0x20);
}

/* -- coherence of decoded code -- */

/* A store to the instruction right behind it takes effect at once. */
PROGRAM(program_modify, ".code64",
	"mov $3, %ecx\n"
	"xor %eax, %eax\n"
	"1: movb $1, 2f + 1(%rip)\n"
	"2: add $0x10, %al\n"
	"movb $0x10, 2b + 1(%rip)\n"
	"dec %ecx\n"
	"jnz 1b");

static void test_self_modifying(void **state)
{
	(void)state;
	assert_int_equal(RUN(&test, program_modify), EXCEPTION_UD);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 3);
	assert_true(test.code_writes > 0);
}

/* The same a thousand times over: the page becomes hot, and stays right. */
PROGRAM(program_hot, ".code64",
	"mov $1000, %ecx\n"
	"xor %eax, %eax\n"
	"xor %edx, %edx\n"
	"1: inc %edx\n"
	"mov %edx, 2f + 1(%rip)\n"
	"jmp 2f\n"
	"2: mov $0, %ebx\n"
	"add %rbx, %rax\n"
	"dec %ecx\n"
	"jnz 1b");

static void test_hot_page(void **state)
{
	(void)state;
	test.code_writes = 0;
	assert_int_equal(RUN(&test, program_hot), EXCEPTION_UD);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 500500);
	assert_true(test.code_writes < 500);
}

/* A write that nobody saw is noticed in the next epoch. */
static void test_epoch(void **state)
{
	static const uint8_t one[] = {0xb8, 1, 0, 0, 0, 0x0f, 0x0b}, two[] = {0xb8, 2};

	(void)state;
	assert_int_equal(x86_test_run_code(&test, one, sizeof(one)), EXCEPTION_UD);
	memcpy(test.memory + X86_TEST_CODE, two, sizeof(two));
	test.cpu.code_epoch++;
	test.cpu.rip = X86_TEST_CODE;
	assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
	assert_int_equal(test.cpu.gpr[CPU_RAX], 2);
}

/* The same behind as many epochs as 32 bits can tell apart. */
static void test_old_epoch(void **state)
{
	static const uint8_t one[] = {0xb8, 1, 0, 0, 0, 0x0f, 0x0b};
	static const uint64_t later[] = {1ull << 32, 1ull << 32, 3ull << 32};

	(void)state;
	test.cpu.code_epoch = UINT32_MAX - 1;
	assert_int_equal(x86_test_run_code(&test, one, sizeof(one)), EXCEPTION_UD);
	for (unsigned i = 0; i < 3; i++) {
		test.memory[X86_TEST_CODE + 1] = (uint8_t)(2 + i);
		test.cpu.code_epoch += later[i];
		test.cpu.rip = X86_TEST_CODE;
		assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
		assert_int_equal(test.cpu.gpr[CPU_RAX], 2 + i);
	}
}

/* mov $0x11223344, %eax in two pages; then its second page changes. */
static void test_page_crossing(void **state)
{
	static const uint8_t code[] = {0xb8, 0x44, 0x33, 0x22, 0x11, 0x0f, 0x0b};
	uint64_t start = X86_TEST_CODE + 0x1000 - 3;

	(void)state;
	memcpy(test.memory + start, code, sizeof(code));
	for (unsigned i = 0; i < 3; i++) {
		test.memory[start + 4] = (uint8_t)(0x11 + i);
		test.cpu.rip = start;
		assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
		assert_int_equal(test.cpu.gpr[CPU_RAX], 0x11223344 + (i << 24));
	}
}

/* Far more code than the store holds, twice over: old blocks make way for new ones. */
static void test_small_store(void **state)
{
	static const uint8_t step[] = {0xff, 0xc0, 0xeb, 0x3c}; /* inc %eax; jmp to the next 64 bytes */
	static const uint8_t end[] = {0x0f, 0x0b};
	const unsigned steps = 32768;

	(void)state;
	test.cpu.tiers->order[0]->detach(&test.cpu);
	test.cpu.tiers->count = 0;
	interp_store_destroy(test.vm.decoded);
	assert_int_equal(interp_store_create(&test.vm.code, 1 << 20, 1 << 20, &test.vm.decoded), 0);
	assert_int_equal(interp_attach(&test.cpu, test.vm.decoded), 0);
	for (unsigned i = 0; i < steps; i++)
		memcpy(test.memory + X86_TEST_DATA + i * 64, step, sizeof(step));
	memcpy(test.memory + X86_TEST_DATA + steps * 64, end, sizeof(end));
	for (unsigned i = 1; i <= 2; i++) {
		test.cpu.rip = X86_TEST_DATA;
		assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
		assert_int_equal(test.cpu.gpr[CPU_RAX], i * steps);
	}
	assert_in_range(interp_get_statistics(&test.cpu).blocks, steps + 1, 2 * steps + 2);
}

static void test_undefined(void **state)
{
	static const uint8_t lock_mov[] = {0xf0, 0x89, 0xc0};
	static const uint8_t too_long[16] = {[0 ... 14] = 0x66, 0x90};
	static const uint8_t longest[17] = {[0 ... 13] = 0x66, 0x90, 0x0f, 0x0b};

	(void)state;
	assert_int_equal(x86_test_run_code(&test, lock_mov, sizeof(lock_mov)), EXCEPTION_UD);
	assert_int_equal(x86_test_run_code(&test, too_long, sizeof(too_long)), EXCEPTION_GP);
	assert_int_equal(x86_test_run_code(&test, longest, sizeof(longest)), EXCEPTION_UD);
	assert_int_equal(test.cpu.rip, X86_TEST_CODE + 15);
}

#define TEST(name, bits) cmocka_unit_test_setup_teardown(name, setup_##bits, teardown)

/*
 * A CPU that spins gives way; it does so sooner where it gave way before and goes on at once, and nowhere
 * else.
 */
PROGRAM(program_spin, ".code64",
	"1: pause\n"
	"dec %ecx\n"
	"jnz 1b\n"
	"test %edx, %edx\n"
	"jz 2f\n"
	"pause\n"
	"2:");

static uint64_t spun_after_yield(bool elsewhere)
{
	struct cpu *cpu = &test.cpu;

	x86_test_reset(&test, 64);
	cpu->gpr[CPU_RCX] = UINT32_MAX;
	cpu->gpr[CPU_RDX] = elsewhere;
	assert_int_equal(RUN(&test, program_spin), -1);
	assert_true(cpu->requests & CPU_REQUEST_YIELD);
	cpu->requests = 0;
	/* One PAUSE more. */
	cpu->gpr[CPU_RCX] = elsewhere ? 1 : 2;
	assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
	return cpu->spin_last - cpu->spin_began;
}

static void test_spinning(void **state)
{
	(void)state;
	assert_int_not_equal(spun_after_yield(false), 0);
	assert_int_equal(spun_after_yield(true), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_against_host, 64), TEST(test_memory, 64), TEST(test_calls, 64),
		TEST(test_strings, 64), TEST(test_divide, 64), TEST(test_fault, 64),
		TEST(test_32, 32), TEST(test_16, 16), TEST(test_self_modifying, 64),
		TEST(test_hot_page, 64), TEST(test_epoch, 64), TEST(test_old_epoch, 64), TEST(test_page_crossing, 64),
		TEST(test_small_store, 64), TEST(test_undefined, 64), TEST(test_spinning, 64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
