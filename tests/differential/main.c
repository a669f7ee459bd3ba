/*
 * The differential test's driver: makes cases, has both sides run them, compares, reports.
 *
 * A failure is printed with its instructions, what went in where it matters, both results, and the
 * command that runs this case alone. Cases depend on seed, class and number only.
 *
 * Flags that the manual leaves undefined are not compared. Other differences between processors
 * that are allowed stand in `tolerate`, each with its reason.
 */
#include "isa.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/x86/fpu/fpu.h"
#include "engine/x86/host/host.h"

#define RFLAGS_ARITHMETIC 0x8d5ull
#define RFLAGS_TRAP  0x100ull
#define RFLAGS_RF    0x10000ull
#define DEATHS_MAX   3 /* of the host's process, then a class is given up */
#define KERNEL_START 0x7ffffffff000ull /* TASK_SIZE_MAX */

static struct {
	uint64_t seed, cases, first;
	int class; /* -1: all */
	unsigned failures_max;
	bool verbose;
	bool strict_flags; /* compare undefined flags, too */
	int dump_fd;
} options = {.seed = 1, .cases = 20000, .class = -1, .failures_max = 10, .dump_fd = -1};

static const char *const register_names[16] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

static const struct {
	const char *name;
	uint64_t mask;
} flag_names[] = {
	{"CF", 1}, {"PF", 4}, {"AF", 0x10}, {"ZF", 0x40}, {"SF", 0x80}, {"TF", 0x100},
	{"IF", 0x200}, {"DF", 0x400}, {"OF", 0x800}, {"RF", 0x10000}, {"AC", 0x40000},
	{"ID", 0x200000},
};

/* Parts of the XSAVE image that are compared, by name. Of x87's pointers, FOP and FDP are not, which
 * newer processors update on exceptions only (CPUID.7.EBX[6]), and of FIP 48 bits. */
static const struct part {
	const char *name;
	unsigned offset, size, count;
} parts[] = {
	{"fcw", 0, 2, 1},       {"fsw", 2, 2, 1},       {"ftw", 4, 1, 1},
	{"fip", 8, 6, 1},       {"mxcsr", 24, 4, 1},    {"st", 32, 10, 8},
	{"xmm", ISA_XMM, 16, 16},       {"ymmh", ISA_YMM_HIGH, 16, 16}, {"k", ISA_OPMASK, 8, 8},
	{"zmmh", ISA_ZMM_HIGH, 32, 16}, {"zmm16+", ISA_ZMM16, 64, 16},
};

/* Distance between neighbours: ST registers have 16 bytes of room. */
static unsigned part_stride(const struct part *part)
{
	return part->size == 10 ? 16 : part->size;
}

static bool part_exists(const struct part *part)
{
	static const uint8_t components[] = {0, 0, 0, 0, 0, 0, 1, 2, 5, 6, 7};

	/* AMD's processors need not keep x87's pointers but for an exception (APM vol. 2 §11.4.4). */
	if (host.is_amd && part->offset == 8)
		return false;
	return native_components >> components[part - parts] & 1;
}

static bool is_access_fault(uint32_t vector)
{
	return (vector >= 12 && vector <= 14) || vector == 17;
}

/* Give both sides the same values where processors may differ. */
static void tolerate(const struct isa_case *test, struct isa_outcome *native,
		     struct isa_outcome *engine)
{
	uint64_t undefined = options.strict_flags ? 0 : test->undefined_flags;
	bool both_fault = is_access_fault(native->vector) && is_access_fault(engine->vector);

	/* A fault leaves the flags alone, so nothing is undefined then. */
	if (native->out.rip != test->in.rip && native->out.rip == engine->out.rip)
		engine->out.rflags = (engine->out.rflags & ~undefined) |
				     (native->out.rflags & undefined);
	/* RF of a fault: signal frames do not have it. */
	engine->out.rflags &= ~RFLAGS_RF;
	native->out.rflags &= ~RFLAGS_RF;

	/* AMD's processors raise #GP or #SS for an operand that wraps at 4 GiB, the engine goes on at 0 like Intel's. */
	if (host.is_amd && test->is_32 && (native->vector == 12 || native->vector == 13) && engine->vector == 14 &&
	    (engine->cr2 < ISA_PAGE || engine->cr2 >= (1ull << 32) - ISA_PAGE) &&
	    native->out.rip == engine->out.rip)
		*engine = *native;
	/* With more than one access, which one faults first is the processor's choice, and what the
	 * others have stored by then: CALL may have pushed before it finds its target bad. */
	if (test->faults_freely && both_fault) {
		engine->vector = native->vector;
		engine->error = native->error;
		engine->cr2 = native->cr2;
		memcpy(engine->memory, native->memory, sizeof(engine->memory));
	}
	/* Where in a large operand a fault is noticed, and what was stored before it, is open. */
	if ((test->is_large || test->is_fpu) && native->vector == 14 && engine->vector == 14 &&
	    native->cr2 / ISA_PAGE == engine->cr2 / ISA_PAGE) {
		engine->cr2 = native->cr2;
		memcpy(engine->memory, native->memory, sizeof(engine->memory));
	}
	/* Misaligned and beyond the stack segment's limit: #GP or #SS. Large images: whether their
	 * end is compared with the limit before, after or not at all. */
	if (test->is_fpu && both_fault && native->vector + engine->vector == 12 + 13)
		engine->vector = native->vector;
	if (test->is_16 && (test->is_large || test->faults_freely) &&
	    is_access_fault(engine->vector))
		*engine = *native;
	/* A store of MMX registers that faults may or may not have reset the x87 stack by then. */
	if (test->is_mmx && both_fault)
		memcpy(engine->out.xsave, native->out.xsave, 160);
	/* Gathers may have done some elements before the one that faults, or start all over. */
	if (test->is_gather && both_fault)
		memcpy(engine->out.xsave, native->out.xsave, sizeof(engine->out.xsave));
	/* A conversion may have set its flags before its store faults. */
	if (test->is_fpu && both_fault)
		memcpy(engine->out.xsave + 24, native->out.xsave + 24, 4);
	/* Masked stores: faults of bytes that the mask leaves out (SDM vol. 2, MASKMOVDQU). */
	if (test->is_masked_store && is_access_fault(native->vector))
		*engine = *native;
	/* A store that an unmasked x87 exception keeps from happening need not look at memory. */
	if ((~test->in.xsave[0] & 0x3f) && (native->out.xsave[2] & 0x80) &&
	    native->out.rip != test->in.rip && is_access_fault(engine->vector))
		*engine = *native;
	/* Floating-point exceptions come before or after those of memory. So does #UD for what the
	 * host does not have: the engine learns of it when it runs the instruction. */
	if (test->is_fpu &&
	    (native->vector == 16 || native->vector == 19 || native->vector == 6) &&
	    is_access_fault(engine->vector))
		*engine = *native;
	/* Processors truncate index registers before the first iteration, or with it. */
	if (test->is_narrow_string && !test->is_32 && both_fault)
		for (unsigned i = ISA_RCX; i <= ISA_RDI; i++)
			if ((uint32_t)engine->out.gpr[i] == (uint32_t)native->out.gpr[i])
				engine->out.gpr[i] = native->out.gpr[i];
	/* POPA may have loaded some registers already. */
	if (test->is_popa && both_fault)
		memcpy(engine->out.gpr, native->out.gpr, sizeof(engine->out.gpr));
	/* BOUND may find the lower bound broken before it reads the upper one. */
	if (native->vector == 5 && is_access_fault(engine->vector))
		*engine = *native;
	/* At the end of a segment of 4 GiB they may wrap or raise #GP (SDM vol. 3 §5.3). */
	if (test->has_fs_gs && native->vector == 13 && wraps_in_segment(test, &native->out))
		*engine = *native;
	/* The engine does not check their alignment for #AC, as docs/engine/floating-point.md has it. */
	if (native->vector == 17 && native->out.rip != engine->out.rip &&
	    is_fpu_at(test, &native->out))
		*engine = *native;
	/* IRET to a 16-bit stack leaves the kernel's RSP above bit 31, which AMD's processors do not clear. */
	if (test->is_16) {
		native->out.gpr[ISA_RSP] = (uint32_t)native->out.gpr[ISA_RSP];
		engine->out.gpr[ISA_RSP] = (uint32_t)engine->out.gpr[ISA_RSP];
	}
	/* A hypervisor that looks at #DB itself gives INT1's on as a fault (KVM on AMD). */
	if (native->vector == 1 && engine->vector == 1 &&
	    (!(native->out.rflags & RFLAGS_TRAP) || native->out.rip == test->in.rip ||
	     is_behind_popf(test, &native->out)) &&
	    engine->out.rip == native->out.rip + int1_length_at(test, &native->out))
		engine->out.rip = native->out.rip;
	/* A jump into an instruction's middle may have found one that a test hides from the engine. */
	if (engine->vector == 6 && is_hidden_at(test, &engine->out))
		*engine = *native;
	/* Bytes may be undefined already where the decoder asks for more. */
	if (test->is_cut && native->vector == 6 && engine->vector == 14)
		*engine = *native;
	/* The kernel pretends that its own addresses are mapped (set_signal_archinfo). */
	if (native->vector == 14 && engine->vector == 14 && native->cr2 >= KERNEL_START)
		engine->error |= native->error & 1;
	if (native->vector != 14)
		native->cr2 = engine->cr2 = 0;
}

/* What the translator may do besides, each by its design (docs/engine/translator.md). */
static void tolerate_translator(const struct isa_case *test, const struct isa_outcome *native,
				struct isa_outcome *engine)
{
	/* Flags that nothing reads any more need not be there when a fault interrupts. */
	if (native->out.rip == engine->out.rip && native->vector == engine->vector) {
		uint64_t dead = dead_flags(test, native->out.rip);

		/* Who knows which code this was. */
		if (test->is_in_data && native->vector != 3)
			dead = RFLAGS_ARITHMETIC;

		engine->out.rflags = (engine->out.rflags & ~dead) | (native->out.rflags & dead);
	}
}

static bool equal(const struct isa_outcome *a, const struct isa_outcome *b)
{
	if (a->vector != b->vector || a->error != b->error || a->cr2 != b->cr2)
		return false;
	if (memcmp(a->out.gpr, b->out.gpr, sizeof(a->out.gpr)) || a->out.rip != b->out.rip ||
	    a->out.rflags != b->out.rflags || memcmp(a->memory, b->memory, sizeof(a->memory)))
		return false;
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		const struct part *part = &parts[i];

		if (!part_exists(part))
			continue;
		for (unsigned n = 0; n < part->count; n++) {
			unsigned offset = part->offset + n * part_stride(part);

			if (memcmp(a->out.xsave + offset, b->out.xsave + offset, part->size))
				return false;
		}
	}
	return true;
}

static void print_bytes(const uint8_t *bytes, unsigned size)
{
	for (unsigned i = size; i-- > 0;)
		printf("%02x", bytes[i]);
}

static void print_flags(uint64_t flags)
{
	printf("%06lx", (unsigned long)flags);
	for (unsigned i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
		if (flags & flag_names[i].mask)
			printf(" %s", flag_names[i].name);
}

static void print_end(const char *side, const struct isa_outcome *outcome)
{
	printf("  %s: vector %u error %#x cr2 %#lx rip %#lx flags ", side, outcome->vector,
	       outcome->error, (unsigned long)outcome->cr2, (unsigned long)outcome->out.rip);
	print_flags(outcome->out.rflags);
	printf("\n");
}

static void print_memory_difference(const struct isa_case *test, const struct isa_outcome *native,
				    const struct isa_outcome *engine)
{
	unsigned shown = 0;

	for (unsigned i = 0; i < ISA_DATA_SIZE && shown < 8; i += 8) {
		if (!memcmp(native->memory + i, engine->memory + i, 8))
			continue;
		printf("  memory %#llx: in ", ISA_DATA + i);
		print_bytes(test->memory + i, 8);
		printf(" host ");
		print_bytes(native->memory + i, 8);
		printf(" engine ");
		print_bytes(engine->memory + i, 8);
		printf("\n");
		shown++;
	}
}

static void print_image_differences(const struct isa_case *test, const struct isa_outcome *native,
				    const struct isa_outcome *engine)
{
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		const struct part *part = &parts[i];

		for (unsigned n = 0; n < part->count && part_exists(part); n++) {
			unsigned offset = part->offset + n * part_stride(part);

			if (!options.verbose && !memcmp(native->out.xsave + offset,
							engine->out.xsave + offset, part->size))
				continue;
			printf("  %s%u: in ", part->name, n);
			print_bytes(test->in.xsave + offset, part->size);
			printf("\n    host   ");
			print_bytes(native->out.xsave + offset, part->size);
			printf("\n    engine ");
			print_bytes(engine->out.xsave + offset, part->size);
			printf("\n");
		}
	}
}

static void report(enum isa_class class, uint64_t index, const struct isa_case *test,
		   enum isa_engine which, const struct isa_outcome *native,
		   const struct isa_outcome *engine)
{
	char text[2048];

	describe(test, text, sizeof(text));
	printf("FAIL %s %lu%s: %s\n%s\n  code:", isa_class_names[class], (unsigned long)index,
	       test->is_16 ? " (16-bit)" : test->is_32 ? " (32-bit)" : "",
	       isa_engine_names[which], text);
	for (unsigned i = 0; i < test->code_size; i++)
		printf(" %02x", test->code[i]);
	printf(" at %#lx flags ", (unsigned long)test->in.rip);
	print_flags(test->in.rflags);
	printf("\n");
	print_end("host  ", native);
	print_end("engine", engine);
	for (unsigned i = 0; i < 16; i++) {
		bool differs = native->out.gpr[i] != engine->out.gpr[i];

		if (differs || options.verbose)
			printf("  %s: in %016lx host %016lx engine %016lx%s\n", register_names[i],
			       (unsigned long)test->in.gpr[i], (unsigned long)native->out.gpr[i],
			       (unsigned long)engine->out.gpr[i], differs ? " <" : "");
	}
	print_image_differences(test, native, engine);
	print_memory_difference(test, native, engine);
	printf("  again: isa-differential --seed=%lu --class=%s --first=%lu --cases=1 --verbose\n",
	       (unsigned long)options.seed, isa_class_names[class], (unsigned long)index);
	fflush(stdout);
}

/* Whether the class has instructions that this host can run. */
static bool class_exists(enum isa_class class)
{
	if (class == ISA_AVX)
		return native_components & FPU_AVX;
	if (class == ISA_AVX512)
		return (native_components & FPU_AVX512) == FPU_AVX512;
	if (class == ISA_COMPAT16)
		return native_has_ldt;
	return true;
}

/*
 * Code that was stored behind the store, in its block, may read flags that the old code would have
 * overwritten, and that are therefore lost: as docs/engine/translator.md has it. Then this is all that
 * is wrong, and keeping the flags helps.
 */
static bool agrees_with_exact_flags(const struct isa_case *test, enum isa_engine which,
				    struct isa_outcome *native, struct isa_outcome *engine)
{
	engine_set_exact_flags(true);
	for (enum isa_engine way = ISA_TRANSLATOR; way <= which; way++)
		engine_run(test, way, engine);
	tolerate_translator(test, native, engine);
	tolerate(test, native, engine);
	engine_set_exact_flags(false);
	return equal(native, engine);
}

/*
 * Whether both sides agree. A case that fails runs once more: what XSAVE says is in use depends on
 * when the kernel last switched to the child.
 */
static bool agrees(const struct isa_case *test, enum isa_engine which, struct isa_outcome *native,
		   struct isa_outcome *engine)
{
	unsigned done;

	engine_run(test, which, engine);
	if (which != ISA_INTERPRETER)
		tolerate_translator(test, native, engine);
	tolerate(test, native, engine);
	if (equal(native, engine))
		return true;
	if (test->is_in_data)
		return agrees_with_exact_flags(test, which, native, engine);
	if (!native_can_judge(test) || native_run(test, 1, native, &done) < 0)
		return false;
	engine_run(test, which, engine);
	if (which != ISA_INTERPRETER)
		tolerate_translator(test, native, engine);
	tolerate(test, native, engine);
	return equal(native, engine);
}

/* Run the case in each way; the number of ways that differ from the host. */
static unsigned run_case(enum isa_class class, uint64_t index, const struct isa_case *test,
			 struct isa_outcome *native, unsigned failures_before)
{
	static struct isa_outcome engine;
	unsigned failures = 0;

	for (unsigned which = test->is_in_data ? ISA_TRANSLATOR : ISA_INTERPRETER;
	     which < ISA_ENGINES; which++) {
		if (which != ISA_INTERPRETER && !engine_has_translator())
			break;
		if (agrees(test, which, native, &engine) && !options.verbose)
			continue;
		failures++;
		if (failures_before + failures <= options.failures_max)
			report(class, index, test, which, native, &engine);
	}
	return failures;
}

/* Where it is not the host, the interpreter is what others are compared with. */
static bool class_has_judge(enum isa_class class)
{
	const struct isa_case test = {.is_32 = class == ISA_COMPAT || class == ISA_BLOCKS32};

	return class != ISA_REWRITTEN && native_can_judge(&test);
}

/* The number of failures. */
static unsigned run_class(enum isa_class class)
{
	static struct isa_case cases[ISA_BATCH];
	static struct isa_outcome native[ISA_BATCH];
	uint64_t end = options.first + options.cases;
	uint64_t vectors[256] = {0};
	unsigned failures = 0, deaths = 0;
	bool has_judge = class_has_judge(class);

	for (uint64_t index = options.first; index < end; index += ISA_BATCH) {
		unsigned count = end - index < ISA_BATCH ? end - index : ISA_BATCH, done;

		for (unsigned i = 0; i < count; i++)
			generate(&cases[i], class, options.seed, index + i);
		if (has_judge && native_run(cases, count, native, &done) < 0) {
			char text[2048];

			describe(&cases[done], text, sizeof(text));
			printf("the host's process died in %s case %lu:\n%s\n",
			       isa_class_names[class], (unsigned long)(index + done), text);
			failures++;
			/* It is no case's fault, then. */
			if (++deaths == DEATHS_MAX)
				return failures;
			count = done;
		}
		for (unsigned i = 0; i < count; i++) {
			if (!has_judge || !native_can_judge(&cases[i]))
				engine_run(&cases[i], ISA_INTERPRETER, &native[i]);
			vectors[native[i].vector & 0xff]++;
			/* A loop without an end: states to compare are chance. */
			if (native[i].vector == ISA_VECTOR_HANG)
				continue;
			failures += run_case(class, index + i, &cases[i], &native[i], failures);
		}
	}
	printf("%s: %lu cases, %u failures; ends:", isa_class_names[class],
	       (unsigned long)options.cases, failures);
	for (unsigned i = 0; i < 256; i++)
		if (vectors[i])
			printf(" %u:%lu", i, (unsigned long)vectors[i]);
	printf("\n");
	return failures;
}

static int class_by_name(const char *name)
{
	for (int i = 0; i < ISA_CLASSES; i++)
		if (!strcmp(name, isa_class_names[i]))
			return i;
	fprintf(stderr, "isa-differential: unknown class '%s'; classes:", name);
	for (int i = 0; i < ISA_CLASSES; i++)
		fprintf(stderr, " %s", isa_class_names[i]);
	fprintf(stderr, "\n");
	exit(2);
}

static int open_dump(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd >= 0)
		return fd;
	perror(path);
	exit(2);
}

static const char usage[] =
	"usage: isa-differential [--seed=N] [--cases=N] [--first=N] [--class=NAME] ...\n"
	"  --seed=N        what all cases follow from (1)\n"
	"  --cases=N       cases of each class (20000)\n"
	"  --first=N       number of the first case (0)\n"
	"  --class=NAME    one class only; a wrong name lists them\n"
	"  --show=N        failures to print in each class (10)\n"
	"  --dump-code=FILE  write what the translator makes: two of them, but for addresses, tell\n"
	"                  whether a change of it changes code\n"
	"  --strict-flags  compare flags that the manual leaves undefined, too\n"
	"  --verbose       print every case, with all registers\n";

static void parse_options(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"seed", required_argument, NULL, 's'},  {"cases", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'}, {"class", required_argument, NULL, 'c'},
		{"show", required_argument, NULL, 'm'},  {"verbose", no_argument, NULL, 'v'},
		{"strict-flags", no_argument, NULL, 'u'}, {"help", no_argument, NULL, 'h'},
		{"dump-code", required_argument, NULL, 'd'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		switch (option) {
		case 's': options.seed = strtoull(optarg, NULL, 0); break;
		case 'n': options.cases = strtoull(optarg, NULL, 0); break;
		case 'f': options.first = strtoull(optarg, NULL, 0); break;
		case 'm': options.failures_max = strtoul(optarg, NULL, 0); break;
		case 'c': options.class = class_by_name(optarg); break;
		case 'v': options.verbose = true; break;
		case 'u': options.strict_flags = true; break;
		case 'd': options.dump_fd = open_dump(optarg); break;
		case 'h': printf("%s", usage); exit(0);
		default: fprintf(stderr, "%s", usage); exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	unsigned failures = 0;

	parse_options(argc, argv);
	if (engine_start(options.dump_fd) < 0 || native_start() < 0) {
		fprintf(stderr, "isa-differential: cannot start\n");
		return 1;
	}
	printf("seed %lu\n", (unsigned long)options.seed);
	for (int class = 0; class < ISA_CLASSES; class++)
		if ((options.class < 0 || options.class == class) && class_exists(class))
			failures += run_class(class);
	native_stop();
	engine_stop();
	return failures && !options.verbose;
}
