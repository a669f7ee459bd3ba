/*
 * What guest code does in a stub, held against the interpreter: from one crossing to the next, the same code from the same
 * state, with the same registers, vectors and memory in the end. For who looks for errors; slow.
 *
 * The stub has run by then. What it may write is a list of pages, each of which was copied before it was entered: their
 * contents and the CPU's state are put back, the interpreter executes one instruction after the other until it stands
 * where the stub has stopped, and everything is put back to what the stub has left. A stub that was kicked has stopped
 * amid a loop, perhaps: then it is the first turn of it with the same registers and memory.
 *
 * For one CPU. Not compared is what the interpreter cannot take back (struct memory_watch), repeated string instructions
 * that were interrupted, memory behind XSAVE and its like, and what takes too many instructions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/run/direct/internal.h"
#include "engine/run/tier/catch.h"
#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/mmu/watch.h"
#include "engine/x86/system.h"
#include "util/page.h"

#define PAGES_MAX   48u /* that the stub may write at a time; shadow.h's losses */
#define STEPS_MAX   (32u << 20)
#define REPORTS_MAX 20u

#define SYSCALL_REGISTERS (1u << CPU_RCX | 1u << CPU_R11)

struct moment {
	uint64_t gpr[CPU_REGISTERS];
	uint64_t rip, rflags;
	struct kvm_segment segment[CPU_SEGMENTS];
	uint8_t image[FPU_AREA_SIZE] __attribute__((aligned(64)));
};

struct written {
	uint8_t *hva;
	uint64_t gpa;
	uint8_t before[PAGE_SIZE], after[PAGE_SIZE];
};

struct direct_comparison {
	struct memory_watch watch; /* first: comparison_of */
	bool is_open;
	uint64_t host_generation; /* of the pages' addresses */
	struct moment start, end, theirs;
	unsigned count;
	struct written pages[PAGES_MAX];
	bool tells_use; /* the processor's, of its vectors, by an instruction that the interpreter has executed */
	const uint8_t *stray; /* a store of the interpreter's that the stub cannot have made */
	uint64_t compared, instructions, abandoned, differences;
};

void compare_detach(struct direct *direct)
{
	struct direct_comparison *comparison = direct->comparison;

	if (!comparison)
		return;
	fprintf(stderr, "direct lockstep: %lu stays compared, %lu instructions, %lu not, %lu differences\n",
		comparison->compared, comparison->instructions, comparison->abandoned, comparison->differences);
	free(comparison);
	direct->comparison = NULL;
}

/* -- pages -- */

static struct written *find(struct direct_comparison *comparison, const uint8_t *hva)
{
	for (unsigned i = 0; i < comparison->count; i++)
		if (hva >= comparison->pages[i].hva && hva < comparison->pages[i].hva + PAGE_SIZE)
			return &comparison->pages[i];
	return NULL;
}

bool compare_may_write(const struct direct *direct, const uint8_t *hva)
{
	return !direct->comparison || find(direct->comparison, hva);
}

/* Nothing of what there is may be written in stubs. */
static void forget_pages(struct direct *direct)
{
	struct direct_comparison *comparison = direct->comparison;

	for (unsigned i = 0; i < comparison->count; i++)
		shadow_lose_writes(&direct->shadow, comparison->pages[i].gpa);
	comparison->count = 0;
}

void compare_note_write(struct direct *direct, uint64_t gpa, uint8_t *hva)
{
	struct direct_comparison *comparison = direct->comparison;
	struct written *page;

	if (!comparison || find(comparison, hva))
		return;
	if (comparison->count == PAGES_MAX)
		forget_pages(direct);
	page = &comparison->pages[comparison->count++];
	page->hva = hva;
	page->gpa = gpa;
	bytes_copy(page->before, hva, PAGE_SIZE);
}

/* -- the CPU -- */

static void take(struct cpu *cpu, struct moment *moment)
{
	bytes_copy(moment->gpr, cpu->gpr, sizeof(moment->gpr));
	moment->rip = cpu->rip;
	moment->rflags = cpu->rflags;
	bytes_copy(moment->segment, cpu->segment, sizeof(moment->segment));
	fpu_get_xsave(cpu, moment->image);
}

static void put(struct cpu *cpu, const struct moment *moment)
{
	bytes_copy(cpu->gpr, moment->gpr, sizeof(moment->gpr));
	cpu->rip = cpu->next_rip = moment->rip;
	cpu->rflags = moment->rflags;
	bytes_copy(cpu->segment, moment->segment, sizeof(moment->segment));
	(void)fpu_set_xsave(cpu, moment->image);
	cpu->insn = NULL;
	cpu_update_mode(cpu);
}

void compare_begin(struct direct *direct)
{
	struct direct_comparison *comparison = direct->comparison;

	if (!comparison)
		return;
	if (comparison->host_generation != direct->cpu->tlb_sets.host_generation)
		forget_pages(direct);
	comparison->host_generation = direct->cpu->tlb_sets.host_generation;
	for (unsigned i = 0; i < comparison->count; i++)
		bytes_copy(comparison->pages[i].before, comparison->pages[i].hva, PAGE_SIZE);
	take(direct->cpu, &comparison->start);
	comparison->is_open = true;
}

/* -- comparison -- */

static struct direct_comparison *comparison_of(struct memory_watch *watch)
{
	return (struct direct_comparison *)watch;
}

static void give_up(struct memory_watch *watch, struct cpu *cpu)
{
	(void)watch;
	cpu_unwind(cpu, UNWIND_EVENT);
}

static void see_store(struct memory_watch *watch, struct cpu *cpu, uint8_t *hva, unsigned size)
{
	struct direct_comparison *comparison = comparison_of(watch);

	if (find(comparison, hva) && find(comparison, hva + size - 1))
		return;
	comparison->stray = hva;
	cpu_unwind(cpu, UNWIND_EVENT);
}

static bool part_equal(const uint8_t *a, const uint8_t *b, unsigned component, unsigned offset, unsigned size)
{
	uint64_t held = bytes_load64(a + FPU_IMAGE_XSTATE_BV) & bytes_load64(b + FPU_IMAGE_XSTATE_BV);

	/* Nothing is written of what is in its initial state. */
	return !(held >> component & 1) || bytes_equal(a + offset, b + offset, size);
}

static bool vectors_equal(const uint8_t *a, const uint8_t *b)
{
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if (fpu_layout.size[i] && !part_equal(a, b, i, fpu_layout.offset[i], fpu_layout.size[i]))
			return false;
	return part_equal(a, b, 0, FPU_IMAGE_FCW, 5) && part_equal(a, b, 0, FPU_IMAGE_ST, 128) &&
	       bytes_load32(a + FPU_IMAGE_MXCSR) == bytes_load32(b + FPU_IMAGE_MXCSR) &&
	       part_equal(a, b, 1, FPU_IMAGE_XMM, 256);
}

static bool memory_equal(const struct direct_comparison *comparison)
{
	for (unsigned i = 0; i < comparison->count; i++)
		if (!bytes_equal(comparison->pages[i].hva, comparison->pages[i].after, PAGE_SIZE))
			return false;
	return true;
}

static bool registers_equal(const struct cpu *cpu, const struct moment *end, uint32_t ignored)
{
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (cpu->gpr[i] != end->gpr[i] && !(ignored >> i & 1))
			return false;
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		if (cpu->segment[i].selector != end->segment[i].selector ||
		    cpu->segment[i].base != end->segment[i].base)
			return false;
	return ((cpu->rflags ^ end->rflags) & ~(uint64_t)RFLAGS_RF) == 0;
}

/* A byte of the next instruction, which is known to have so many: else this may be a fault. */
static uint8_t code_byte(struct cpu *cpu, unsigned offset)
{
	uint64_t gpa;
	const uint8_t *byte = lin_fetch_pointer(cpu, cpu->rip + offset, &gpa);

	return byte ? *byte : 0;
}

/* SYSCALL and SYSENTER, which unwind from nothing. */
static bool enters_kernel(struct cpu *cpu)
{
	uint8_t opcode;

	if (code_byte(cpu, 0) != 0x0f)
		return false;
	opcode = code_byte(cpu, 1);
	return opcode == 0x05 || opcode == 0x34;
}

/* XSAVE, XSAVEOPT and XSAVEC, with or without REX: what they write tells which vectors the processor takes to be in use, and of
 * what has its initial values it may say the one thing or the other (SDM vol. 1 §13.6). */
static bool tells_use(struct cpu *cpu)
{
	unsigned at = cpu_is_64(cpu) && (code_byte(cpu, 0) & 0xf0) == 0x40, extension;
	uint8_t opcode, modrm;

	if (code_byte(cpu, at) != 0x0f)
		return false;
	opcode = code_byte(cpu, at + 1);
	if (opcode != 0xae && opcode != 0xc7)
		return false;
	modrm = code_byte(cpu, at + 2);
	extension = modrm >> 3 & 7;
	return modrm < 0xc0 && (extension == 4 || (extension == 6 && opcode == 0xae));
}

/* How the interpreter's way ended. */
enum compare_way {
	WAY_UNWOUND,
	WAY_ARRIVED,
	WAY_MISSED, /* it would enter the kernel elsewhere */
	WAY_TOO_LONG,
};

/* Step to where the stub has stopped. */
static enum compare_way step_to_end(struct direct *direct, uint32_t ignored, bool is_kicked)
{
	struct direct_comparison *comparison = direct->comparison;
	struct cpu *cpu = direct->cpu;

	for (unsigned i = 0; i < STEPS_MAX; i++) {
		if (cpu->rip == comparison->end.rip && registers_equal(cpu, &comparison->end, ignored) &&
		    (!is_kicked || memory_equal(comparison)))
			return WAY_ARRIVED;
		/* Its kernel is not to see it: what else there is of the CPU's state is not kept. */
		if (enters_kernel(cpu))
			return WAY_MISSED;
		comparison->tells_use |= tells_use(cpu);
		comparison->instructions++;
		tier_last(cpu)->run_one(cpu);
	}
	return WAY_TOO_LONG;
}

static bool is_repeated(struct cpu *cpu)
{
	uint64_t gpa;
	const uint8_t *byte = lin_fetch_pointer(cpu, cpu->rip, &gpa);

	for (unsigned i = 0; byte && i < 4 && ((gpa + i) & 0xfff) != 0; i++)
		if (byte[i] == 0xf2 || byte[i] == 0xf3)
			return true;
	return byte && (*byte == 0xf2 || *byte == 0xf3);
}

static void report(const struct direct_comparison *comparison, const struct cpu *cpu, const char *what)
{
	const struct moment *start = &comparison->start, *end = &comparison->end;

	fprintf(stderr, "direct lockstep: %s: from %lx to %lx, interpreted to %lx; flags %lx, interpreted %lx\n", what,
		start->rip, end->rip, cpu->rip, end->rflags, cpu->rflags);
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (cpu->gpr[i] != end->gpr[i])
			fprintf(stderr, "  register %u is %lx, interpreted %lx; was %lx\n", i, end->gpr[i], cpu->gpr[i],
				start->gpr[i]);
	for (unsigned i = 0; i < comparison->count; i++)
		for (unsigned k = 0; k < PAGE_SIZE; k++)
			if (comparison->pages[i].hva[k] != comparison->pages[i].after[k]) {
				fprintf(stderr, "  memory at %lx is %x, interpreted %x\n",
					comparison->pages[i].gpa + k, comparison->pages[i].after[k],
					comparison->pages[i].hva[k]);
				break;
			}
}

static void judge(struct direct *direct, enum compare_way way)
{
	struct direct_comparison *comparison = direct->comparison;
	struct cpu *cpu = direct->cpu;
	const char *what = NULL;

	take(cpu, &comparison->theirs);
	if (comparison->stray)
		what = "a store that was not made";
	else if (way == WAY_UNWOUND && cpu->exception.pending)
		what = "an exception that did not come";
	else if (way == WAY_UNWOUND || way == WAY_TOO_LONG ||
		 (comparison->tells_use && (way == WAY_MISSED || !memory_equal(comparison)))) {
		comparison->abandoned++;
		return;
	} else if (way == WAY_MISSED)
		what = "the end is not reached";
	else if (!memory_equal(comparison))
		what = "memory differs";
	else if (!vectors_equal(comparison->theirs.image, comparison->end.image))
		what = "vector registers differ";
	comparison->compared++;
	if (what && comparison->differences++ < REPORTS_MAX)
		report(comparison, cpu, what);
}

void compare_end(struct direct *direct, bool is_call, bool is_kicked)
{
	struct direct_comparison *comparison = direct->comparison;
	struct cpu *cpu = direct->cpu;
	volatile enum compare_way way = WAY_UNWOUND;
	struct cpu_event exception = cpu->exception;
	uint32_t stop = cpu->requests & CPU_REQUEST_STOP_BLOCK;
	uint64_t cr2 = cpu->cr2, debug_pending = cpu->debug_pending;
	struct catch catch;

	if (!comparison || !comparison->is_open)
		return;
	comparison->is_open = false;
	take(cpu, &comparison->end);
	if (is_repeated(cpu)) {
		comparison->abandoned++;
		return;
	}
	for (unsigned i = 0; i < comparison->count; i++) {
		bytes_copy(comparison->pages[i].after, comparison->pages[i].hva, PAGE_SIZE);
		bytes_copy(comparison->pages[i].hva, comparison->pages[i].before, PAGE_SIZE);
	}
	put(cpu, &comparison->start);
	comparison->stray = NULL;
	comparison->tells_use = false;
	cpu->exception.pending = false;
	catch_begin(&catch, cpu);
	if (setjmp(catch.place) == 0) {
		cpu->watch = &comparison->watch;
		tlb_update(cpu); /* all accesses take the slow path */
		way = step_to_end(direct, is_call ? SYSCALL_REGISTERS : 0, is_kicked);
	}
	cpu->watch = NULL;
	catch_end(&catch, cpu);
	fpu_leave(cpu);
	judge(direct, way);
	for (unsigned i = 0; i < comparison->count; i++)
		bytes_copy(comparison->pages[i].hva, comparison->pages[i].after, PAGE_SIZE);
	put(cpu, &comparison->end);
	if (!stop)
		atomic_fetch_and(&cpu->requests, ~(uint32_t)CPU_REQUEST_STOP_BLOCK);
	cpu->exception = exception;
	cpu->cr2 = cr2;
	cpu->debug_pending = debug_pending;
}

int compare_attach(struct direct *direct)
{
	direct->comparison = calloc(1, sizeof(*direct->comparison));
	if (!direct->comparison)
		return -ENOMEM;
	direct->comparison->watch = (struct memory_watch){ .store = see_store, .lasting = give_up };
	return 0;
}

uint64_t compare_differences(const struct direct *direct)
{
	return direct->comparison->differences;
}
