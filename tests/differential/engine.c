/*
 * Cases on the engine: a struct cpu for the interpreter and one for the translator, whose guest is
 * a small kernel's worth of tables.
 *
 * The guest runs the case at CPL 3 with paging on. Whatever ends it goes through an IDT whose
 * handlers are HLT at CPL 0, so cpu_run returns halted, the handler's address tells the vector, and
 * the frame on the kernel's stack tells RIP, RFLAGS, RSP and the error code as the engine pushed
 * them.
 */
#include "isa.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "engine/run/runner.h"
#include "engine/x86/system/control.h"
#include "engine/x86/cpu.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/host/host.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system.h"

/* Guest-physical pages. */
enum page {
	PML4, USER_PDPT, USER_PD, USER_PT_LOW, USER_PT, USER_PT_CODE, KERNEL_PDPT, KERNEL_PD, KERNEL_PT, GDT, IDT,
	LDT, TSS, STACK, HANDLERS, READONLY, DATA, CODE = DATA + ISA_DATA_SIZE / ISA_PAGE,
	PAGES = CODE + ISA_CODE_SIZE / ISA_PAGE,
};

#define KERNEL      0xffff800000000000ull /* where all guest-physical pages are mapped for CPL 0 */
#define PRELUDE     16 /* in the code pages, apart from the case */
#define PRELUDE_SIZE 8
#define TRANSLATOR_CACHE (256u << 10) /* small: it fills up now and then */
#define KERNEL_CS   0x10
#define KERNEL_SS   0x18
#define TSS_SELECTOR 0x40
#define LDT_SELECTOR 0x50
#define RFLAGS_USER_MAY_SET                                                                        \
	(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_DF |       \
	 RFLAGS_OF | RFLAGS_AC)

#define ENTRY_PRESENT 1ull
#define ENTRY_WRITE   2ull
#define ENTRY_USER    4ull
#define ENTRY_XD      (1ull << 63)
#define ENTRY_DONE    (0x60ull) /* accessed and dirty */

static uint8_t *memory; /* PAGES pages */
static struct run_vm vm;
static struct cpu_observer observer; /* a runner's, but for code_written */
static struct cpu *cpus[2]; /* the interpreter's, the translator's */
static struct cpu *cpu;     /* the one that runs */

const char *const isa_engine_names[ISA_ENGINES] = {
	[ISA_INTERPRETER] = "interpreter",
	[ISA_TRANSLATOR] = "translator",
	[ISA_TRANSLATOR_AGAIN] = "translator, again",
};

static uint8_t *page_at(enum page page)
{
	return memory + page * ISA_PAGE;
}

/* The data pages are not in order, so that an access which leaves its page wrongly is seen to. */
static enum page data_page(unsigned number)
{
	return DATA + ISA_DATA_SIZE / ISA_PAGE - 1 - number;
}

static bool page_lookup(void *context, uint64_t gpa, struct cpu_page *page)
{
	(void)context;
	if (gpa >= PAGES * ISA_PAGE)
		return false;
	*page = (struct cpu_page){.hva = memory + gpa, .writable = true};
	return true;
}

static void page_dirty(void *context, uint64_t gpa)
{
	(void)context, (void)gpa;
}

static bool no_interrupt(void *context)
{
	(void)context;
	return false;
}

/*
 * The bytes stay marked as code, so that stores to them are always noticed at once. In a page that has
 * lost code so often that it is not marked any more, a REP instruction that overwrites itself would go
 * on, as processors let it, and the CPUs' pages would differ in that.
 */
static void code_written(struct cpu *writer, uint64_t gpa, unsigned size)
{
	struct code_run *run;

	code_changed(writer->tiers->code, gpa, size);
	run = code_run_find(writer->tiers->code, gpa);
	if (run)
		run->words[(gpa >> 12) % CODE_RUN_PAGES] |= code_granules(gpa, size);
}

static const struct cpu_platform platform = {
	.page_lookup = page_lookup,
	.page_dirty = page_dirty,
	.interrupt_pending = no_interrupt,
};

static void put(enum page page, unsigned index, uint64_t value)
{
	memcpy(page_at(page) + index * 8, &value, 8);
}

static void map(uint64_t gva, enum page page, uint64_t rights)
{
	put(gva < ISA_DATA ? USER_PT_LOW : gva < ISA_CODE ? USER_PT : USER_PT_CODE, gva >> 12 & 511,
	    page * ISA_PAGE | ENTRY_PRESENT | ENTRY_USER | ENTRY_DONE | rights);
}

static void map_data(bool is_executable)
{
	for (unsigned i = 0; i < ISA_DATA_SIZE / ISA_PAGE; i++)
		map(ISA_DATA + i * ISA_PAGE, data_page(i),
		    ENTRY_WRITE | (is_executable ? 0 : ENTRY_XD));
}

static void make_tables(void)
{
	uint64_t table = ENTRY_PRESENT | ENTRY_WRITE | ENTRY_USER | ENTRY_DONE;

	put(PML4, 0, USER_PDPT * ISA_PAGE | table);
	put(USER_PDPT, ISA_DATA >> 30, USER_PD * ISA_PAGE | table);
	put(USER_PD, (ISA_DATA >> 21) & 511, USER_PT * ISA_PAGE | table);
	put(USER_PD, (ISA_CODE >> 21) & 511, USER_PT_CODE * ISA_PAGE | table);
	put(USER_PD, (ISA_READONLY >> 21) & 511, USER_PT_LOW * ISA_PAGE | table);
	map(ISA_READONLY, READONLY, ENTRY_XD);
	map_data(false);
	for (unsigned i = 0; i < ISA_CODE_SIZE / ISA_PAGE; i++)
		map(ISA_CODE + i * ISA_PAGE, CODE + i, 0);

	put(PML4, KERNEL >> 39 & 511, KERNEL_PDPT * ISA_PAGE | (table & ~ENTRY_USER));
	put(KERNEL_PDPT, 0, KERNEL_PD * ISA_PAGE | (table & ~ENTRY_USER));
	put(KERNEL_PD, 0, KERNEL_PT * ISA_PAGE | (table & ~ENTRY_USER));
	for (unsigned i = 0; i < PAGES; i++)
		put(KERNEL_PT, i, i * ISA_PAGE | (table & ~ENTRY_USER));

	put(GDT, KERNEL_CS / 8, 0x00af9b000000ffff);
	put(GDT, KERNEL_SS / 8, 0x00cf93000000ffff);
	put(GDT, ISA_CS32 / 8, 0x00cffb000000ffff);
	put(GDT, ISA_DS / 8, 0x00cff3000000ffff);
	put(GDT, ISA_CS64 / 8, 0x00affb000000ffff);
	put(LDT, ISA_CS16 / 8, ISA_CODE >> 24 << 56 | 0x00fb000000ffff);
	put(LDT, ISA_DS16 / 8, 0x2000f3000000ffff);
	for (unsigned vector = 0; vector < 256; vector++) {
		uint64_t handler = KERNEL + HANDLERS * ISA_PAGE + vector;
		uint64_t dpl = vector == 3 || vector == 4 ? 3 : 0;

		put(IDT, vector * 2,
		    (handler & 0xffff) | (uint64_t)KERNEL_CS << 16 | (0x8e | dpl << 5) << 40 |
			    (handler >> 16 & 0xffff) << 48);
		put(IDT, vector * 2 + 1, handler >> 32);
	}
	/* RSP0 is at byte 4 of the TSS, the I/O map base beyond its end at byte 102. */
	uint64_t stack = KERNEL + (STACK + 1) * ISA_PAGE;

	memcpy(page_at(TSS) + 4, &stack, 8);
	page_at(TSS)[102] = 104;
	memset(page_at(HANDLERS), 0xf4, 256); /* HLT */
	memset(page_at(CODE), 0xcc, ISA_CODE_SIZE);
	for (unsigned i = 0; i < ISA_PAGE; i++)
		page_at(READONLY)[i] = i * 7;
}

static struct kvm_segment user_segment(uint16_t selector)
{
	bool is_code = selector != ISA_DS;

	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = is_code ? 11 : 3,
		.present = 1,
		.dpl = 3,
		.db = selector != ISA_CS64,
		.s = 1,
		.l = selector == ISA_CS64,
		.g = 1,
	};
}

static struct kvm_segment user_segment16(uint16_t selector)
{
	struct kvm_segment segment = user_segment(selector == ISA_CS16 ? ISA_CS32 : ISA_DS);

	segment.selector = selector;
	segment.base = selector == ISA_CS16 ? ISA_CODE : ISA_DATA;
	segment.limit = 0xffff;
	segment.db = segment.g = 0;
	return segment;
}

static struct kvm_segment user_segment_at(uint16_t selector, uint64_t base)
{
	struct kvm_segment segment = user_segment(ISA_DS);

	segment.selector = selector;
	segment.base = base;
	return segment;
}

/* FS and GS as Linux leaves them: null selectors with bases. */
static struct kvm_segment null_segment(uint64_t base)
{
	return (struct kvm_segment){.base = base, .limit = 0xffffffff, .unusable = 1};
}

static void stop_hanging(int signal)
{
	(void)signal;
	cpu_request(cpu, CPU_REQUEST_EXIT);
}

static int create_cpu(struct cpu **created, enum run_choice choice)
{
	struct runner *runner = aligned_alloc(64, (sizeof(*runner) + 63) & ~63ull);
	int result;

	if (!runner)
		return -1;
	memset(runner, 0, sizeof(*runner));
	result = runner_create(runner, &vm, choice, 0, NULL, &platform, NULL);
	if (result < 0)
		return result;
	*created = cpu = &runner->cpu.cpu;
	observer = *cpu->observer;
	observer.code_written = code_written;
	cpu->observer = &observer;

	cpu->is_amd = host.is_amd;
	cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	cpu->cr4 = CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT |
		   CR4_OSXSAVE | CR4_FSGSBASE;
	cpu->cr3 = PML4 * ISA_PAGE;
	cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
	cpu->xcr0 = fpu_layout.components;
	cpu->gdt = (struct kvm_dtable){.base = KERNEL + GDT * ISA_PAGE, .limit = 0x4f};
	cpu->idt = (struct kvm_dtable){.base = KERNEL + IDT * ISA_PAGE, .limit = 0xfff};
	cpu->tr = (struct kvm_segment){
		.base = KERNEL + TSS * ISA_PAGE,
		.limit = 103,
		.selector = TSS_SELECTOR,
		.type = 11,
		.present = 1,
	};
	cpu->ldt = (struct kvm_segment){
		.base = KERNEL + LDT * ISA_PAGE,
		.limit = 0xf,
		.selector = LDT_SELECTOR,
		.type = 2,
		.present = 1,
	};
	control_changed(cpu);
	return 0;
}

int engine_start(int dump_fd)
{
	struct jit_options options = JIT_OPTIONS_DEFAULT;
	int result;

	memory = aligned_alloc(ISA_PAGE, PAGES * ISA_PAGE);
	if (!memory)
		return -1;
	memset(memory, 0, PAGES * ISA_PAGE);
	make_tables();
	options.cache_size = TRANSLATOR_CACHE;
	options.warmth = 0;
	options.dump_fd = dump_fd;
	run_vm_init(&vm, &options);
	result = create_cpu(&cpus[0], RUN_INTERPRETED);
	if (result < 0)
		return result;
	result = create_cpu(&cpus[1], RUN_BEST);
	if (result < 0)
		return result;
	native_components = fpu_layout.components;
	signal(SIGPROF, stop_hanging);
	return 0;
}

void engine_set_exact_flags(bool exact)
{
	if (vm.translations)
		jit_keep_all_flags(vm.translations, exact);
	code_gone(&vm.code, 0, UINT64_MAX);
}

bool engine_has_translator(void)
{
	return vm.translations != NULL;
}

void engine_stop(void)
{
	for (unsigned i = 0; i < 2; i++) {
		runner_destroy((struct runner *)cpus[i]);
		free(cpus[i]);
	}
	run_vm_destroy(&vm);
	free(memory);
}

static void load_data(const struct isa_case *test)
{
	static uint8_t data[ISA_DATA_SIZE];
	uint8_t *code = data + (test->is_in_data ? test->in.rip - ISA_DATA : 0);

	memcpy(data, test->memory, ISA_DATA_SIZE);
	/* With INT3 behind it, and the count of its turns. */
	if (test->is_in_data) {
		memcpy(code, test->code, test->code_size);
		memset(code + test->code_size, 0xcc, 16);
		data[ISA_LOOP_COUNT - ISA_DATA] = ISA_LOOPS;
	}
	for (unsigned i = 0; i < ISA_DATA_SIZE / ISA_PAGE; i++)
		memcpy(page_at(data_page(i)), data + i * ISA_PAGE, ISA_PAGE);
}

static void load(const struct isa_case *test)
{
	static uint8_t image[FPU_AREA_SIZE] __attribute__((aligned(64)));

	load_data(test);
	if (!test->is_in_data)
		memcpy(page_at(CODE) + isa_code_offset(test), test->code, test->code_size);
	isa_state_to_host(image, test->in.xsave);
	fpu_reset(cpu);
	fpu_set_xsave(cpu, image);
	memcpy(cpu->gpr, test->in.gpr, sizeof(cpu->gpr));
	cpu->rip = test->in.rip;
	cpu->rflags = (test->in.rflags & RFLAGS_USER_MAY_SET) | RFLAGS_IF | RFLAGS_ONE;
	cpu->segment[CPU_CS] = test->is_16 ? user_segment16(ISA_CS16) :
					     user_segment(test->is_32 ? ISA_CS32 : ISA_CS64);
	cpu->segment[CPU_SS] = test->is_16 ? user_segment16(ISA_DS16) : user_segment(ISA_DS);
	cpu->segment[CPU_DS] = cpu->segment[CPU_SS];
	cpu->segment[CPU_ES] = cpu->segment[CPU_SS];
	cpu->segment[CPU_FS] = test->has_fs_gs ? user_segment_at(ISA_FS32, ISA_FS_BASE) :
						 null_segment(ISA_FS_BASE);
	cpu->segment[CPU_GS] = test->has_fs_gs ? user_segment_at(ISA_GS32, ISA_GS_BASE) :
						 null_segment(ISA_GS_BASE);
	cpu->halted = false;
	cpu_update_mode(cpu);
}

static bool has_error_code(uint32_t vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* Read the frame that the exception left on the kernel's stack (SDM vol. 3 figure 6-9). */
static void store(struct isa_outcome *outcome)
{
	static uint8_t image[FPU_AREA_SIZE] __attribute__((aligned(64)));
	const uint64_t *frame = (const uint64_t *)(page_at(STACK + 1)) - 5;

	memcpy(outcome->out.gpr, cpu->gpr, sizeof(cpu->gpr));
	outcome->out.rip = frame[0];
	outcome->out.rflags = frame[2];
	outcome->out.gpr[ISA_RSP] = frame[3];
	outcome->error = has_error_code(outcome->vector) ? frame[-1] : 0;
	outcome->cr2 = cpu->cr2;
	fpu_get_xsave(cpu, image);
	isa_state_from_host(outcome->out.xsave, image);
	for (unsigned i = 0; i < ISA_DATA_SIZE / ISA_PAGE; i++)
		memcpy(outcome->memory + i * ISA_PAGE, page_at(data_page(i)), ISA_PAGE);
}

/*
 * What varies between runs of the translator: the vector state is live from the start when MOVAPS
 * XMM0, XMM0 goes before the case; each page's translation is there or not; so are those of code.
 * LOCK is kept or not. Blocks are lean, or hot the second time, or made in full at once.
 */
static void vary(const struct isa_case *test, enum isa_engine engine)
{
	static const unsigned promotions[] = {0, 1, 1000, 0};
	static const uint8_t prelude[] = {0x0f, 0x28, 0xc0, 0xe9}; /* and JMP to the case */
	uint8_t *code = page_at(CODE) + PRELUDE;
	uint64_t number = test->in.gpr[ISA_RDI] ^ test->in.rflags;
	int32_t distance = isa_code_offset(test) - (PRELUDE + PRELUDE_SIZE);

	cpu->is_alone = number / 4 % 2;
	if (engine == ISA_TRANSLATOR && vm.translations)
		jit_set_promotion(vm.translations, promotions[number / 8 % 4]);
	if (engine == ISA_TRANSLATOR && number % 4 == 0)
		tlb_flush_all(cpu);
	/* Any of the pages, also for the second time: then blocks and links are there already. */
	for (unsigned i = 0; i < ISA_DATA_SIZE / ISA_PAGE; i++)
		if (number >> (8 + 2 * i + engine) & 1)
			tlb_flush_page(cpu, ISA_DATA + i * ISA_PAGE);
	/* Code in the data pages was written meanwhile, and nobody told. */
	if (engine == ISA_TRANSLATOR_AGAIN && !test->is_in_data)
		cpu->code_epoch--; /* cpu_run counts it up: it is as if it had not returned */
	/* It would put XMM registers into use, which XSAVE tells. */
	if (test->in.rflags & RFLAGS_TF || test->is_system || test->is_16)
		return;
	memcpy(code, prelude, sizeof(prelude));
	memcpy(code + sizeof(prelude), &distance, sizeof(distance));
	cpu->rip = ISA_CODE + PRELUDE;
}

static enum cpu_exit run_once(const struct isa_case *test, enum isa_engine engine)
{
	load(test);
	if (engine != ISA_INTERPRETER)
		vary(test, engine);
	return cpu_run(cpu);
}

/* Cases of one class come one after the other. */
static void let_data_run(bool is_executable)
{
	static bool was_executable;

	if (is_executable == was_executable)
		return;
	was_executable = is_executable;
	map_data(is_executable);
	for (unsigned i = 0; i < 2; i++)
		tlb_flush_all(cpus[i]);
}

void engine_run(const struct isa_case *test, enum isa_engine engine, struct isa_outcome *outcome)
{
	static unsigned runs;
	/* Again and again: it may come between runs, or for the other CPU. */
	struct itimerval hang = {.it_value.tv_sec = 1, .it_interval.tv_sec = 1};
	uint64_t handlers = KERNEL + HANDLERS * ISA_PAGE;
	enum cpu_exit exit;

	cpu = cpus[engine != ISA_INTERPRETER];
	let_data_run(test->is_in_data);
	if (runs++ % 256 == 0)
		setitimer(ITIMER_PROF, &hang, NULL);
	exit = run_once(test, engine);
	if (exit == CPU_EXIT_INTERRUPTED) {
		/* Perhaps it was only the last of many: this one gets a second of its own. */
		setitimer(ITIMER_PROF, &hang, NULL);
		exit = run_once(test, engine);
	}
	if (!test->is_in_data)
		memset(page_at(CODE) + isa_code_offset(test), 0xcc, test->code_size);
	memset(page_at(CODE) + PRELUDE, 0xcc, PRELUDE_SIZE);
	outcome->vector = ISA_VECTOR_BROKEN;
	outcome->error = exit;
	if (exit == CPU_EXIT_INTERRUPTED)
		outcome->vector = ISA_VECTOR_HANG;
	if (exit == CPU_EXIT_HALTED && cpu->rip > handlers && cpu->rip <= handlers + 256)
		outcome->vector = cpu->rip - handlers - 1;
	store(outcome);
}
