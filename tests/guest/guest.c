/*
 * Runs one small guest through the contract and holds it to the exits that its source promises.
 *
 * usage: guest BACKEND BINARY SOURCE
 *
 * BACKEND is `interp`, `jit`, `lockstep`, `direct`, `direct-lockstep` (the engine's ways to execute) or `kvm`. Unless it is
 * `interp`, the guest runs on the interpreter as well, and every register must be equal at each
 * checkpoint; with `jit` it runs three times, translating everything at once, what is warm, and the
 * latter with lookups counted; with `direct` twice, the second time with its writes logged, where the logs must be
 * equal, too, and tell of every page that has changed. With both it runs once more while its memory is copied by what the
 * logs tell. `fallback` is `direct` where the host may not allow it. BINARY is the assembled SOURCE, loaded at 0x8000 and started there in
 * real mode with all segments 0. SOURCE says in its first comment, after a line `exits:`, which exits
 * are expected, one a line:
 *
 *   out PORT SIZE: VALUE           a value written, in hexadecimal; string I/O is a line a value
 *   in PORT SIZE                   answered with rising bytes from a0 on
 *   write GPA: BYTE...             a write to what is not memory
 *   read GPA SIZE                  a read of it, answered likewise
 *   hlt NAME=VALUE...              a checkpoint: these registers have these values
 *   debug NAME=VALUE...            KVM_EXIT_DEBUG
 *   window                         KVM_EXIT_IRQ_WINDOW_OPEN
 *   shutdown                       a triple fault
 *   end                            the guest wrote to port 0xf0
 *
 * Before that, a line `needs: WORD...` asks for: irqchip (in-kernel interrupt controllers and PIT;
 * HLT then waits instead of being an exit), step (single-stepping), amd or intel (that vendor's CPU; not
 * on kvm, where the host's executes), old (one with no more than SSE3 and long mode; neither), less
 * (one without BMI2, AES, ADX, SHA and RDRAND, which then does not run directly; neither), scarce (with direct,
 * no stub can be had at first, and no more than three at a time then), traps (with direct,
 * some are met in copies of code), steady (with direct, what is mapped is hardly ever in doubt), code32 (with direct, a
 * host whose kernel has a segment of 32-bit user code).
 * Port 0xf2 is ours: a written byte is injected as an interrupt vector as soon as the guest can take
 * it (KVM_INTERRUPT; 0 means an NMI). Exit status 77: there is no such backend here; or it is a
 * /dev/kvm without hardware virtualization, which emulates most of what these guests do, and it
 * cannot do this.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../host.h"
#include "../stubs.h"
#include "copier.h"
#include "kvm/kvm.h"

#define RAM_SIZE      (4u << 20)
#define ROM_GPA       0xf00000u /* a page of read-only memory, filled with cc */
#define CODE_GPA      0x8000u
#define PORT_END      0xf0
#define PORT_INJECT   0xf2
#define EXITS_MAX     400
#define CPUID_ENTRIES 256
#define SKIP          77
#define STACK_SIZE (1 << 20)
#define WARMTH        8 /* executions before translation, in the second run */

struct checkpoint {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint64_t dirty[RAM_SIZE / 4096 / 64]; /* since the one before, if writes are logged */
};

/* What one run did: a line for each exit, and the registers at each checkpoint. */
struct trace {
	char lines[EXITS_MAX][160];
	struct checkpoint checkpoints[EXITS_MAX];
	bool has_checkpoint[EXITS_MAX];
	unsigned count;
};

struct guest {
	struct kvm_system system;
	struct kvm_vm vm;
	struct kvm_vcpu vcpu;
	uint8_t *ram, *rom;
	bool wants_irqchip, wants_step, wants_amd, wants_intel, wants_old, wants_less, wants_scarce, wants_traps, wants_steady;
	bool wants_code32;
	uint8_t next_answer;
	int inject; /* vector that waits, or -1 */
	struct trace *trace;
	uint64_t lockstep_differences; /* in all runs */
	uint64_t direct_entries;       /* into stubs, likewise */
	uint64_t direct_hidden;        /* that code was translated for what CPUID hides, likewise */
	bool hides_any;                /* of the features that `less` takes away */
	uint64_t direct_given_back;    /* stubs, likewise */
	uint64_t direct_traps;         /* of copies of code there */
	uint64_t direct_doubts;        /* all that is mapped was compared with page tables */
	int memory;                    /* a file, of RAM and ROM */
	bool logs_writes;
	bool is_copied; /* while it runs */
	struct copier copier;
	uint8_t *before;     /* RAM at the last checkpoint, then */
	unsigned unlogged;   /* pages that had changed without a word of it, in all runs */
};

static int fail(const char *what, int result)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-result));
	return -1;
}

static int create(struct guest *guest, const struct kvm_backend *backend,
		  const struct kvm_options *options)
{
	struct kvm_pit_config pit = {.flags = 0};
	struct error error = {.message = ""};
	struct kvm_userspace_memory_region region = {.slot = 0, .memory_size = RAM_SIZE};
	int result;

	if (kvm_system_open(&guest->system, backend, options, &error) < 0) {
		printf("%s\n", error.message);
		return -SKIP;
	}
	if (kvm_vm_create(&guest->vm, &guest->system, &error) < 0) {
		printf("%s\n", error.message);
		kvm_system_close(&guest->system);
		return -SKIP;
	}
	kvm_vm_own_memory(&guest->vm);
	if (backend == &kvm_backend_linux)
		kvm_vm_ioctl(&guest->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000);
	guest->memory = memfd_create("guest", MFD_CLOEXEC);
	if (guest->memory < 0 || ftruncate(guest->memory, RAM_SIZE + 4096) < 0)
		return fail("memfd_create", -errno);
	guest->ram = mmap(NULL, RAM_SIZE + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory, 0);
	if (guest->ram == MAP_FAILED)
		return fail("mmap", -errno);
	kvm_vm_share_memory(&guest->vm, guest->ram, RAM_SIZE + 4096, guest->memory);
	guest->rom = guest->ram + RAM_SIZE;
	memset(guest->rom, 0xcc, 4096);
	region.userspace_addr = (uintptr_t)guest->ram;
	region.flags = guest->logs_writes || guest->is_copied ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	result = kvm_vm_ioctl(&guest->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (result < 0)
		return fail("KVM_SET_USER_MEMORY_REGION", result);
	region = (struct kvm_userspace_memory_region){
		.slot = 1, .flags = KVM_MEM_READONLY, .guest_phys_addr = ROM_GPA,
		.memory_size = 4096, .userspace_addr = (uintptr_t)guest->rom,
	};
	result = kvm_vm_ioctl(&guest->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (result < 0)
		return fail("KVM_SET_USER_MEMORY_REGION", result);
	if (guest->wants_irqchip) {
		result = kvm_vm_ioctl(&guest->vm, KVM_CREATE_IRQCHIP, NULL);
		if (result == 0)
			result = kvm_vm_ioctl(&guest->vm, KVM_CREATE_PIT2, &pit);
		if (result < 0)
			return fail("KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2", result);
	}
	if (kvm_vcpu_create(&guest->vcpu, &guest->vm, 0, &error) < 0) {
		fprintf(stderr, "%s\n", error.message);
		return -1;
	}
	return 0;
}

static void destroy(struct guest *guest)
{
	kvm_vcpu_close(&guest->vcpu);
	kvm_vm_close(&guest->vm);
	kvm_system_close(&guest->system);
	munmap(guest->ram, RAM_SIZE + 4096);
	close(guest->memory);
}

/* Take these bits away, and note whether there were any. */
static void hide(struct guest *guest, uint32_t *word, uint32_t bits)
{
	guest->hides_any |= (*word & bits) != 0;
	*word &= ~bits;
}

/* Another vendor's CPU, or one with few features. */
static void shape_cpuid(struct guest *guest, struct kvm_cpuid2 *cpuid)
{
	const char *vendor = guest->wants_amd ? "AuthenticAMD" : "GenuineIntel";

	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == 0 && (guest->wants_amd || guest->wants_intel)) {
			memcpy(&entry->ebx, vendor, 4);
			memcpy(&entry->edx, vendor + 4, 4);
			memcpy(&entry->ecx, vendor + 8, 4);
		}
		if (guest->wants_less && entry->function == 1)
			hide(guest, &entry->ecx, 1u << 25 | 1u << 30); /* AES, RDRAND */
		if (guest->wants_less && entry->function == 7 && entry->index == 0)
			hide(guest, &entry->ebx, 1u << 8 | 1u << 19 | 1u << 29); /* BMI2, ADX, SHA */
		if (!guest->wants_old)
			continue;
		if (entry->function == 1)
			entry->ecx = 1; /* SSE3 */
		if (entry->function == 7 || entry->function == 0xd)
			entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
		if (entry->function == 0x80000001) {
			entry->ecx = 0;
			entry->edx &= ~(1u << 27); /* RDTSCP */
		}
	}
}

/* Give the CPU the features that the backend has, and start it in real mode at the code. */
static int start(struct guest *guest, const uint8_t *code, size_t code_size)
{
	struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
	struct kvm_cpuid2 *cpuid;
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = CODE_GPA, .rsp = 0x7ff0, .rflags = 2};
	int result;

	memcpy(guest->ram + CODE_GPA, code, code_size);
	cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return fail("calloc", -ENOMEM);
	cpuid->nent = CPUID_ENTRIES;
	result = kvm_system_ioctl(&guest->system, KVM_GET_SUPPORTED_CPUID, cpuid);
	if (result == 0) {
		shape_cpuid(guest, cpuid);
		result = kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_CPUID2, cpuid);
	}
	free(cpuid);
	if (result < 0)
		return fail("KVM_SET_CPUID2", result);
	kvm_vcpu_ioctl(&guest->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.selector = 0;
	sregs.cs.base = 0;
	result = kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_SREGS, &sregs);
	if (result == 0)
		result = kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_REGS, &regs);
	if (result == 0 && guest->wants_step)
		result = kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_GUEST_DEBUG, &debug);
	return result < 0 ? fail("setting the start state", result) : 0;
}

static void answer(struct guest *guest, uint8_t *data, size_t size)
{
	while (size--)
		*data++ = guest->next_answer++;
}

/* The next line of the trace; the last one again when it is full. */
static char *new_line(struct trace *trace)
{
	return trace->lines[trace->count < EXITS_MAX ? trace->count++ : EXITS_MAX - 1];
}

static bool on_io(struct guest *guest, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;

	if (run->io.direction == KVM_EXIT_IO_OUT && run->io.port == PORT_END) {
		strcpy(new_line(guest->trace), "end");
		return false;
	}
	for (unsigned i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_IN) {
			answer(guest, data, size);
			sprintf(new_line(guest->trace), "in 0x%x %u", run->io.port, size);
		} else {
			uint32_t value = 0;

			memcpy(&value, data, size);
			sprintf(new_line(guest->trace), "out 0x%x %u: %0*x", run->io.port, size,
				size * 2, value);
		}
	}
	if (run->io.direction == KVM_EXIT_IO_OUT && run->io.port == PORT_INJECT)
		guest->inject = *((uint8_t *)run + run->io.data_offset);
	return true;
}

static bool on_mmio(struct guest *guest, struct kvm_run *run)
{
	char *line = new_line(guest->trace);

	if (run->mmio.is_write) {
		line += sprintf(line, "write 0x%llx:", run->mmio.phys_addr);
		for (unsigned i = 0; i < run->mmio.len && i < sizeof(run->mmio.data); i++)
			line += sprintf(line, " %02x", run->mmio.data[i]);
	} else {
		sprintf(line, "read 0x%llx %u", run->mmio.phys_addr, run->mmio.len);
		answer(guest, run->mmio.data, run->mmio.len);
	}
	return true;
}

/* What was written since the last time. */
static void read_log(struct guest *guest, uint64_t *dirty)
{
	struct kvm_dirty_log log = {.slot = 0, .dirty_bitmap = dirty};

	guest->unlogged += kvm_vm_ioctl(&guest->vm, KVM_GET_DIRTY_LOG, &log) < 0;
	for (unsigned page = 0; page < RAM_SIZE / 4096; page++) {
		size_t at = page * (size_t)4096;

		if (memcmp(guest->ram + at, guest->before + at, 4096) == 0)
			continue;
		if (!(dirty[page / 64] >> page % 64 & 1)) {
			printf("exit %u: page %x has changed, and is not in the log\n", guest->trace->count, page);
			guest->unlogged++;
		}
		memcpy(guest->before + at, guest->ram + at, 4096);
	}
}

static void take_checkpoint(struct guest *guest, const char *line)
{
	struct trace *trace = guest->trace;
	struct checkpoint *checkpoint = &trace->checkpoints[trace->count];

	kvm_vcpu_ioctl(&guest->vcpu, KVM_GET_REGS, &checkpoint->regs);
	kvm_vcpu_ioctl(&guest->vcpu, KVM_GET_SREGS, &checkpoint->sregs);
	if (guest->logs_writes)
		read_log(guest, checkpoint->dirty);
	trace->has_checkpoint[trace->count] = true;
	strcpy(new_line(trace), line);
}

/* Note an exit and answer it; false when the guest's life ends with it. */
static bool on_exit_from_guest(struct guest *guest, struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO: return on_io(guest, run);
	case KVM_EXIT_MMIO: return on_mmio(guest, run);
	case KVM_EXIT_HLT: take_checkpoint(guest, "hlt"); return true;
	case KVM_EXIT_DEBUG: take_checkpoint(guest, "debug"); return true;
	case KVM_EXIT_IRQ_WINDOW_OPEN: strcpy(new_line(guest->trace), "window"); return true;
	case KVM_EXIT_SHUTDOWN: strcpy(new_line(guest->trace), "shutdown"); return false;
	default:
		sprintf(new_line(guest->trace), "exit reason %u (suberror %u)", run->exit_reason,
			run->internal.suberror);
		return false;
	}
}

/* Bring a waiting vector into the guest, or ask to be told when that is possible. */
static int inject(struct guest *guest, struct kvm_run *run)
{
	struct kvm_interrupt interrupt = {.irq = guest->inject};
	int result = 0;

	if (guest->inject == 0) {
		result = kvm_vcpu_ioctl(&guest->vcpu, KVM_NMI, NULL);
	} else if (run->ready_for_interrupt_injection) {
		result = kvm_vcpu_ioctl(&guest->vcpu, KVM_INTERRUPT, &interrupt);
	} else {
		run->request_interrupt_window = 1;
		return 0;
	}
	run->request_interrupt_window = 0;
	guest->inject = -1;
	return result < 0 ? fail("injection", result) : 0;
}

static void note_difference(void *context, const char *name, uint64_t value)
{
	struct guest *guest = context;

	if (strcmp(name, "lockstep differences") == 0)
		guest->lockstep_differences += value;
	else if (strcmp(name, "direct: entries") == 0)
		guest->direct_entries += value;
	else if (strcmp(name, "direct: stops for traps in copies") == 0)
		guest->direct_traps += value;
	else if (strcmp(name, "direct: stubs given back for others") == 0)
		guest->direct_given_back += value;
	else if (strstr(name, "since the host can execute what CPUID hides"))
		guest->direct_hidden += value;
	else if (strcmp(name, "direct: spaces compared with page tables") == 0)
		guest->direct_doubts += value;
}

static int run_guest(struct guest *guest, const struct kvm_backend *backend,
		     const struct kvm_options *options, const uint8_t *code,
		     size_t code_size, struct trace *trace)
{
	struct kvm_run *run;
	bool goes_on = true;
	int result;

	guest->trace = trace;
	guest->next_answer = 0xa0;
	guest->inject = -1;
	result = create(guest, backend, options);
	if (result < 0)
		return result;
	result = start(guest, code, code_size);
	if (guest->logs_writes)
		memcpy(guest->before, guest->ram, RAM_SIZE);
	if (result == 0 && guest->is_copied)
		result = copier_start(&guest->copier, &guest->vm, guest->ram, RAM_SIZE);
	run = guest->vcpu.run;
	while (result == 0 && goes_on && trace->count < EXITS_MAX) {
		if (guest->inject >= 0)
			result = inject(guest, run);
		if (result == 0)
			result = kvm_vcpu_ioctl(&guest->vcpu, KVM_RUN, NULL);
		if (result == -EINTR || result == -EAGAIN) {
			result = 0;
			continue;
		}
		if (result < 0) {
			fail("KVM_RUN", result);
			break;
		}
		goes_on = on_exit_from_guest(guest, run);
	}
	if (result == 0 && guest->is_copied)
		guest->unlogged += copier_finish(&guest->copier);
	if (backend->read_statistics)
		backend->read_statistics(guest->vcpu.fd, note_difference, guest);
	destroy(guest);
	return result;
}

static const struct {
	const char *name;
	size_t offset;
} registers[] = {
#define REGISTER(field) {#field, offsetof(struct checkpoint, regs.field)}
	REGISTER(rax), REGISTER(rbx), REGISTER(rcx), REGISTER(rdx), REGISTER(rsi), REGISTER(rdi),
	REGISTER(rsp), REGISTER(rbp), REGISTER(r8), REGISTER(r9), REGISTER(r10), REGISTER(r11),
	REGISTER(r12), REGISTER(r13), REGISTER(r14), REGISTER(r15), REGISTER(rip), REGISTER(rflags),
#undef REGISTER
#define REGISTER(field) {#field, offsetof(struct checkpoint, sregs.field)}
	REGISTER(cr0), REGISTER(cr2), REGISTER(cr3), REGISTER(cr4), REGISTER(efer),
#undef REGISTER
};

#define REGISTERS (sizeof(registers) / sizeof(registers[0]))

static uint64_t register_value(const struct checkpoint *checkpoint, unsigned index)
{
	uint64_t value;

	memcpy(&value, (const uint8_t *)checkpoint + registers[index].offset, sizeof(value));
	return value;
}

static unsigned compare_segment(const char *name, const struct kvm_segment *ours,
				const struct kvm_segment *theirs, unsigned number)
{
	bool unusable = ours->unusable || !ours->present;

	if (unusable && (theirs->unusable || !theirs->present) && ours->selector == theirs->selector)
		return 0;
	if (ours->selector == theirs->selector && ours->base == theirs->base &&
	    ours->limit == theirs->limit && ours->type == theirs->type && ours->dpl == theirs->dpl &&
	    ours->db == theirs->db && ours->l == theirs->l && ours->s == theirs->s &&
	    ours->present == theirs->present)
		return 0;
	printf("exit %u: %s: interp %04x base %llx limit %x type %x dpl %u, other %04x base %llx "
	       "limit %x type %x dpl %u\n", number, name, ours->selector, ours->base, ours->limit,
	       ours->type, ours->dpl, theirs->selector, theirs->base, theirs->limit, theirs->type,
	       theirs->dpl);
	return 1;
}

/* Both backends' registers at every checkpoint. */
static unsigned compare_traces(const struct trace *engine, const struct trace *other)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < engine->count && i < other->count; i++) {
		const struct checkpoint *ours = &engine->checkpoints[i];
		const struct checkpoint *theirs = &other->checkpoints[i];

		if (strcmp(engine->lines[i], other->lines[i])) {
			printf("exit %u: interp `%s`, other `%s`\n", i, engine->lines[i],
			       other->lines[i]);
			return wrong + 1;
		}
		if (!engine->has_checkpoint[i])
			continue;
		for (unsigned j = 0; j < REGISTERS; j++) {
			uint64_t a = register_value(ours, j), b = register_value(theirs, j);

			if (a != b) {
				printf("exit %u: %s: interp %lx, other %lx\n", i, registers[j].name, a, b);
				wrong++;
			}
		}
		wrong += compare_segment("cs", &ours->sregs.cs, &theirs->sregs.cs, i);
		wrong += compare_segment("ss", &ours->sregs.ss, &theirs->sregs.ss, i);
		wrong += compare_segment("ds", &ours->sregs.ds, &theirs->sregs.ds, i);
		wrong += compare_segment("es", &ours->sregs.es, &theirs->sregs.es, i);
		wrong += compare_segment("fs", &ours->sregs.fs, &theirs->sregs.fs, i);
		wrong += compare_segment("gs", &ours->sregs.gs, &theirs->sregs.gs, i);
		wrong += compare_segment("tr", &ours->sregs.tr, &theirs->sregs.tr, i);
		for (unsigned j = 0; j < sizeof(ours->dirty) / sizeof(ours->dirty[0]); j++)
			if (ours->dirty[j] != theirs->dirty[j]) {
				printf("exit %u: pages %x and on: interp has logged %lx, other %lx\n", i, j * 64,
				       ours->dirty[j], theirs->dirty[j]);
				wrong++;
			}
	}
	return wrong + (engine->count != other->count);
}

/* Whether exit `number` is the expected line: its text, then NAME=VALUE for registers. */
static bool matches(const struct trace *trace, unsigned number, char *expected)
{
	const char *actual = trace->lines[number];
	char *tail = strpbrk(expected, "=");
	char *save = NULL;

	if (!tail)
		return strcmp(actual, expected) == 0;
	for (char *word = strtok_r(expected, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');
		unsigned j = 0;

		if (!value) {
			if (strcmp(word, actual))
				return false;
			continue;
		}
		*value++ = 0;
		while (j < REGISTERS && strcmp(registers[j].name, word))
			j++;
		if (j == REGISTERS) {
			printf("the source names no register: %s\n", word);
			return false;
		}
		if (register_value(&trace->checkpoints[number], j) != strtoull(value, NULL, 16)) {
			printf("%s is %lx\n", word,
			       register_value(&trace->checkpoints[number], j));
			return false;
		}
	}
	return true;
}

/* Hold a trace to the expectations in the guest's source; the number of differences. */
static unsigned check_expected(const struct trace *trace, FILE *source, const char *name)
{
	char line[256], copy[256];
	unsigned number = 0;
	bool in_exits = false;

	rewind(source);
	while (fgets(line, sizeof(line), source)) {
		char *text = line + strspn(line, " *\t");

		text[strcspn(text, "\r\n")] = 0;
		if (!in_exits) {
			in_exits = strcmp(text, "exits:") == 0;
			continue;
		}
		if (*text == '/' || !*text)
			break;
		snprintf(copy, sizeof(copy), "%s", text);
		if (number >= trace->count) {
			printf("%s: exit %u: expected `%s`, got none\n", name, number, text);
			return 1;
		}
		if (!matches(trace, number, copy)) {
			printf("%s: exit %u: expected `%s`, got `%s`\n", name, number, text,
			       trace->lines[number]);
			return 1;
		}
		number++;
	}
	if (number < trace->count) {
		printf("%s: exit %u: unexpected `%s`\n", name, number, trace->lines[number]);
		return 1;
	}
	return 0;
}

static void read_needs(struct guest *guest, FILE *source)
{
	char line[256];

	while (fgets(line, sizeof(line), source)) {
		if (!strstr(line, "needs:"))
			continue;
		guest->wants_irqchip = strstr(line, "irqchip");
		guest->wants_step = strstr(line, "step");
		guest->wants_amd = strstr(line, "amd");
		guest->wants_intel = strstr(line, "intel");
		guest->wants_old = strstr(line, "old");
		guest->wants_less = strstr(line, "less");
		guest->wants_scarce = strstr(line, "scarce");
		guest->wants_traps = strstr(line, "traps");
		guest->wants_steady = strstr(line, "steady");
		guest->wants_code32 = strstr(line, "code32");
		return;
	}
}

static const struct kvm_backend *backend_named(const char *name)
{
	static const struct kvm_backend *const backends[] = {
		&kvm_backend_interpreter, &kvm_backend_translator, &kvm_backend_lockstep,
		&kvm_backend_direct, &kvm_backend_direct_lockstep};

	for (unsigned i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	}
	return &kvm_backend_linux;
}

/* Too few for all address spaces, and none at first: fewer failures than that are no reason to wait. */
#define SCARCE_STUBS	3
#define SCARCE_FAILURES 11
#define SCARCE_ENTRIES	96 /* of direct-scarce.S, when all are there again */

static unsigned scarce_count, scarce_asked;

static int spawn_scarce(void *context, struct stub *stub)
{
	int result = scarce_asked++ < SCARCE_FAILURES || scarce_count == SCARCE_STUBS ? -EAGAIN : test_stub_spawn(context, stub);

	scarce_count += result == 0;
	return result;
}

static int kill_scarce(void *context, uint32_t id)
{
	scarce_count--;
	return test_stub_kill(context, id);
}

int main(int argc, char **argv)
{
	static struct trace reference, trace;
	static uint8_t code[RAM_SIZE / 4];
	const struct kvm_backend *backend;
	struct kvm_options options = {.warmth_plus_1 = 1, .promotion_plus_1 = 1};
	struct guest guest = {.inject = -1};
	stub_function *function = NULL;
	const struct stub_source plenty = {test_stub_spawn, test_stub_kill, &function, 0};
	const struct stub_source scarce = {spawn_scarce, kill_scarce, &function, 0};
	const struct stub_source *stubs = &plenty;
	FILE *binary, *source;
	size_t code_size;
	bool is_direct = false, may_run;
	unsigned wrong;
	int result;

	if (argc != 4) {
		fprintf(stderr, "usage: %s interp|jit|lockstep|direct|direct-lockstep|kvm BINARY SOURCE\n", argv[0]);
		return 2;
	}
	backend = backend_named(argv[1]);
	binary = fopen(argv[2], "rb");
	source = fopen(argv[3], "r");
	if (!binary || !source) {
		fprintf(stderr, "cannot open %s: %s\n", binary ? argv[3] : argv[2], strerror(errno));
		return 2;
	}
	code_size = fread(code, 1, sizeof(code), binary);
	read_needs(&guest, source);
	if (backend == &kvm_backend_linux &&
	    (guest.wants_amd || guest.wants_intel || guest.wants_old || guest.wants_less)) {
		printf("/dev/kvm has the host's CPU execute what CPUID hides\n");
		return SKIP;
	}
	if (strcmp(argv[1], "fallback") == 0)
		backend = &kvm_backend_direct;
	if (backend == &kvm_backend_direct || backend == &kvm_backend_direct_lockstep) {
		function = backend->stub_function();
		result = backend->probe_stubs(stubs);
		if (guest.wants_scarce)
			stubs = &scarce;
		options.stubs = stubs;
		is_direct = result == 0;
		if (is_direct && guest.wants_code32 && !host_has_code32()) {
			printf("this host's kernel has no 32-bit user code\n");
			return SKIP;
		}
		if (result < 0 && strcmp(argv[1], "fallback")) {
			printf("this host has no direct execution: %s\n", strerror(-result));
			return SKIP;
		}
	}
	wrong = 0;
	/* Less than calls that never return would take, were the engine to keep track of them all. */
	setrlimit(RLIMIT_STACK, &(struct rlimit){ STACK_SIZE, RLIM_INFINITY });
	result = run_guest(&guest, backend, &options, code, code_size, &trace);
	if (result == 0)
		wrong += check_expected(&trace, source, argv[1]);
	if (backend == &kvm_backend_translator) {
		static const struct {
			const char *name;
			struct kvm_options options;
		} ways[] = {
			{"jit, lean", {.warmth_plus_1 = 1, .promotion_plus_1 = UINT16_MAX}},
			{"jit, when warm", {.warmth_plus_1 = WARMTH + 1, .promotion_plus_1 = WARMTH + 1}},
			{"jit, counting", {.warmth_plus_1 = WARMTH + 1, .promotion_plus_1 = WARMTH + 1,
					   .keeps_statistics = true}},
		};

		for (unsigned i = 0; result == 0 && i < sizeof(ways) / sizeof(ways[0]); i++) {
			memset(&trace, 0, sizeof(trace));
			result = run_guest(&guest, backend, &ways[i].options, code, code_size, &trace);
			if (result == 0)
				wrong += check_expected(&trace, source, ways[i].name);
		}
	}
	wrong += guest.lockstep_differences != 0;
	may_run = is_direct && !guest.hides_any;
	if (function && may_run != (guest.direct_entries > 0)) {
		printf("%s of it ran directly\n", may_run ? "nothing" : "some");
		wrong++;
	}
	if (is_direct && guest.wants_scarce && (guest.direct_entries < SCARCE_ENTRIES || guest.direct_given_back < SCARCE_ENTRIES / 2)) {
		printf("%lu entries, %lu stubs given back\n", guest.direct_entries, guest.direct_given_back);
		wrong++;
	}
	if (function && (is_direct && guest.hides_any) != (guest.direct_hidden > 0)) {
		printf("%lu times it was translated for its CPUID\n", guest.direct_hidden);
		wrong++;
	}
	if (backend == &kvm_backend_direct && is_direct && guest.wants_traps && !guest.direct_traps) {
		printf("no copy of code ran\n");
		wrong++;
	}
	if (function && guest.wants_steady && guest.direct_doubts * 4 > guest.direct_entries) {
		printf("%lu entries, and before %lu all was compared\n", guest.direct_entries, guest.direct_doubts);
		wrong++;
	}
	if (wrong && backend == &kvm_backend_linux && !kvm_is_hardware()) {
		printf("this /dev/kvm has no hardware virtualization, and cannot do this\n");
		result = -SKIP;
	}
	if (result == 0 && backend != &kvm_backend_interpreter) {
		result = run_guest(&guest, &kvm_backend_interpreter, NULL, code, code_size,
				   &reference);
		if (result == 0)
			wrong += compare_traces(&reference, &trace);
	}
	if (result == 0 && backend == &kvm_backend_direct) {
		guest.logs_writes = true;
		guest.before = malloc(RAM_SIZE);
		memset(&trace, 0, sizeof(trace));
		memset(&reference, 0, sizeof(reference));
		result = guest.before ? run_guest(&guest, backend, &options, code, code_size, &trace) : -ENOMEM;
		if (result == 0)
			result = run_guest(&guest, &kvm_backend_interpreter, NULL, code, code_size, &reference);
		if (result == 0)
			wrong += check_expected(&trace, source, "direct, logged") + compare_traces(&reference, &trace);
		guest.logs_writes = false;
		free(guest.before);
	}
	if (result == 0 && (backend == &kvm_backend_direct || backend == &kvm_backend_translator)) {
		guest.is_copied = true;
		memset(&trace, 0, sizeof(trace));
		result = run_guest(&guest, backend, &options, code, code_size, &trace);
		if (result == 0)
			wrong += check_expected(&trace, source, "copied");
	}
	wrong += guest.unlogged;
	fclose(source);
	fclose(binary);
	if (result == -SKIP)
		return SKIP;
	return result < 0 || wrong;
}
