/*
 * Cases on the host's CPU, in a child process.
 *
 * Signals do all the work. Every case ends in one, be it that of INT3; the handler finds the state
 * in its frame and stores it as the outcome, then writes the next case's state over it and returns:
 * the kernel loads all general, flag and XSAVE registers from the frame. That is one signal a case,
 * and compatibility mode is no more than another CS in the frame. The frame also has the trap's
 * number, error code and CR2.
 *
 * While cases run, the handler must not touch thread-local storage: FS and GS belong to the cases.
 */
#include "isa.h"

#include "engine/x86/system.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>

#define RFLAGS_USER 0x40dd5ull /* CF PF AF ZF SF TF DF OF AC: what a case may set */
#define HANG_SECONDS 1

/* What parent and child share. */
static struct shared {
	unsigned count, done;
	bool has_ldt;
	struct isa_case cases[ISA_BATCH];
	uint8_t memory[ISA_BATCH][ISA_DATA_SIZE];
	struct isa_outcome outcomes[ISA_BATCH];
} *shared;

static pid_t child = -1;
static int to_child[2], to_parent[2];
static uint8_t *code_alias; /* writable mapping of the code pages, in the child */
uint64_t native_components;
bool native_has_ldt;
static bool has_compatibility_mode, has_any_stack_pointer;

/* Registers of struct isa_state in the frame's gregs. */
static const uint8_t frame_register[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static long raw_syscall(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static void store_outcome(struct isa_outcome *outcome, const ucontext_t *context, int signal)
{
	const greg_t *registers = context->uc_mcontext.gregs;

	for (unsigned i = 0; i < 16; i++)
		outcome->out.gpr[i] = registers[frame_register[i]];
	outcome->out.rip = registers[REG_RIP];
	outcome->out.rflags = registers[REG_EFL];
	outcome->vector = signal == SIGPROF ? ISA_VECTOR_HANG : registers[REG_TRAPNO];
	outcome->error = registers[REG_ERR];
	outcome->cr2 = registers[REG_CR2];
	isa_state_from_host(outcome->out.xsave, (const uint8_t *)context->uc_mcontext.fpregs);
	memcpy(outcome->memory, (void *)ISA_DATA, ISA_DATA_SIZE);
}

/* The handler itself has no use for these. */
static void load_segments(const struct isa_case *test)
{
	static bool has_fs_gs;
	uint16_t data = test->is_16 ? ISA_DS16 : ISA_DS;

	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(data));
	if (test->has_fs_gs == has_fs_gs)
		return;
	has_fs_gs = test->has_fs_gs;
	__asm__ volatile("mov %0, %%fs; mov %1, %%gs"
			 : : "r"(has_fs_gs ? ISA_FS32 : 0), "r"(has_fs_gs ? ISA_GS32 : 0));
	if (has_fs_gs)
		return;
	raw_syscall(SYS_arch_prctl, ARCH_SET_GS, ISA_GS_BASE, 0);
	raw_syscall(SYS_arch_prctl, ARCH_SET_FS, ISA_FS_BASE, 0);
}

static void load_case(const struct isa_case *test, const uint8_t *memory, ucontext_t *context)
{
	greg_t *registers = context->uc_mcontext.gregs;
	uint16_t data = test->is_16 ? ISA_DS16 : ISA_DS;
	uint16_t code = test->is_16 ? ISA_CS16 : test->is_32 ? ISA_CS32 : ISA_CS64;

	memcpy(code_alias + isa_code_offset(test), test->code, test->code_size);
	memcpy((void *)ISA_DATA, memory, ISA_DATA_SIZE);
	for (unsigned i = 0; i < 16; i++)
		registers[frame_register[i]] = test->in.gpr[i];
	registers[REG_RIP] = test->in.rip;
	registers[REG_EFL] = (test->in.rflags & RFLAGS_USER) | 0x202;
	registers[REG_CSGSFS] = code | (greg_t)data << 48;
	load_segments(test);
	isa_state_to_host((uint8_t *)context->uc_mcontext.fpregs, test->in.xsave);
}

static void clear_code(const struct isa_case *test)
{
	memset(code_alias + isa_code_offset(test), 0xcc, test->code_size);
}

static void next_batch(void)
{
	char byte = 0;

	if (raw_syscall(SYS_write, to_parent[1], (long)&byte, 1) != 1 ||
	    raw_syscall(SYS_read, to_child[0], (long)&byte, 1) != 1)
		raw_syscall(SYS_exit_group, 0, 0, 0);
	shared->done = 0;
}

static char *put_hex(char *at, uint64_t value)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*at++ = "0123456789abcdef"[value >> shift & 15];
	return at;
}

/* A fault of the handler's own would come again for ever: say where, and end. (No stdio: it has
 * thread-local storage.) */
static _Noreturn void die_in_handler(const ucontext_t *context)
{
	static char text[] = "isa-differential: the host's signal handler faulted at "
			     "0000000000000000, address 0000000000000000, trap 0000000000000000\n";
	char *at = strchr(text, '0');

	at = put_hex(at, context->uc_mcontext.gregs[REG_RIP]);
	at = put_hex(strchr(at, '0'), context->uc_mcontext.gregs[REG_CR2]);
	put_hex(strchr(at, '0'), context->uc_mcontext.gregs[REG_TRAPNO]);
	raw_syscall(SYS_write, STDERR_FILENO, (long)text, sizeof(text) - 1);
	for (;;)
		raw_syscall(SYS_exit_group, 3, 0, 0);
}

static void handle(int signal, siginfo_t *info, void *argument)
{
	static bool is_running, is_handling;
	ucontext_t *context = argument;
	struct itimerval hang = {.it_value.tv_sec = HANG_SECONDS};

	(void)info;
	/* A case may have set AC, NT and ID, which the kernel leaves set. */
	__asm__ volatile("pushfq; andl $~0x244000, (%%rsp); popfq" : : : "memory", "cc");
	if (is_handling)
		die_in_handler(context);
	is_handling = true;
	if (is_running) {
		store_outcome(&shared->outcomes[shared->done], context, signal);
		clear_code(&shared->cases[shared->done]);
		shared->done++;
	}
	if (!is_running || shared->done == shared->count)
		next_batch();
	is_running = true;
	if (shared->done == 0 || signal == SIGPROF)
		raw_syscall(SYS_setitimer, ITIMER_PROF, (long)&hang, 0);
	load_case(&shared->cases[shared->done], shared->memory[shared->done], context);
	is_handling = false;
}

/* Map `pages` of the memory behind `file` at a fixed place, present from the start. */
static void *map(uint64_t address, size_t size, int protection, int file, off_t offset)
{
	int flags = MAP_SHARED | MAP_POPULATE | (address ? MAP_FIXED_NOREPLACE : 0);

	return mmap((void *)address, size, protection, flags, file, offset);
}

static void fill_readonly(uint8_t *page)
{
	for (unsigned i = 0; i < ISA_PAGE; i++)
		page[i] = i * 7;
}

static int map_memory(void)
{
	size_t total = ISA_CODE_SIZE + ISA_PAGE;
	int file = memfd_create("isa-differential", 0);

	if (file < 0 || ftruncate(file, total) < 0)
		return -errno;
	code_alias = map(0, total, PROT_READ | PROT_WRITE, file, 0);
	if (code_alias == MAP_FAILED)
		return -errno;
	memset(code_alias, 0xcc, ISA_CODE_SIZE);
	fill_readonly(code_alias + ISA_CODE_SIZE);
	if (map(ISA_CODE, ISA_CODE_SIZE, PROT_READ | PROT_EXEC, file, 0) != (void *)ISA_CODE ||
	    map(ISA_READONLY, ISA_PAGE, PROT_READ, file, ISA_CODE_SIZE) != (void *)ISA_READONLY)
		return -errno;
	if (mmap((void *)ISA_DATA, ISA_DATA_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED_NOREPLACE, -1,
		 0) != (void *)ISA_DATA)
		return -errno;
	close(file);
	return 0;
}

/* A segment of 64 KiB, or for 32-bit code one of 4 GiB. */
static bool set_ldt_entry(uint16_t selector, uint64_t base, unsigned contents, bool is_32)
{
	struct user_desc entry = {
		.entry_number = selector >> 3,
		.base_addr = base,
		.limit = is_32 ? 0xfffff : 0xffff,
		.contents = contents,
		.seg_32bit = is_32,
		.limit_in_pages = is_32,
	};

	return !syscall(SYS_modify_ldt, 0x11, &entry, sizeof(entry));
}

static _Noreturn void child_main(void)
{
	static uint8_t stack[128 << 10] __attribute__((aligned(64)));
	static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS, SIGPROF};
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {
		.sa_sigaction = handle,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};

	sigaddset(&action.sa_mask, SIGPROF);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (map_memory() < 0 || sigaltstack(&alternate, NULL) < 0)
		_exit(1);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	shared->has_ldt =
		set_ldt_entry(ISA_CS16, ISA_CODE, MODIFY_LDT_CONTENTS_CODE, false) &&
		set_ldt_entry(ISA_DS16, ISA_DATA, MODIFY_LDT_CONTENTS_DATA, false) &&
		set_ldt_entry(ISA_FS32, ISA_FS_BASE, MODIFY_LDT_CONTENTS_DATA, true) &&
		set_ldt_entry(ISA_GS32, ISA_GS_BASE, MODIFY_LDT_CONTENTS_DATA, true);
	syscall(SYS_arch_prctl, ARCH_SET_GS, ISA_GS_BASE);
	/* The last use of thread-local storage. */
	raw_syscall(SYS_arch_prctl, ARCH_SET_FS, ISA_FS_BASE, 0);
	__asm__ volatile("int3");
	__builtin_unreachable();
}

static int wait_for_child(void)
{
	char byte;
	ssize_t result;

	do
		result = read(to_parent[0], &byte, 1);
	while (result < 0 && errno == EINTR);
	return result == 1 ? 0 : -ECHILD;
}

static int start_child(void)
{
	if (!shared) {
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (shared == MAP_FAILED)
			return -errno;
	}
	if (pipe(to_child) < 0 || pipe(to_parent) < 0)
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (!child) {
		close(to_child[1]);
		close(to_parent[0]);
		child_main();
	}
	close(to_child[0]);
	close(to_parent[1]);
	return wait_for_child();
}

void native_stop(void)
{
	if (child < 0)
		return;
	close(to_child[1]);
	close(to_parent[0]);
	waitpid(child, NULL, 0);
	child = -1;
}

int native_run(const struct isa_case *cases, unsigned count, struct isa_outcome *outcomes,
	       unsigned *done)
{
	int result = 0;

	*done = 0;
	if (child < 0)
		result = start_child();
	if (result < 0)
		return result;
	shared->count = count;
	shared->done = 0;
	memcpy(shared->cases, cases, count * sizeof(*cases));
	for (unsigned i = 0; i < count; i++)
		memcpy(shared->memory[i], cases[i].memory, ISA_DATA_SIZE);
	if (write(to_child[1], "", 1) != 1)
		return -errno;
	result = wait_for_child();
	if (result < 0)
		native_stop();
	*done = shared->done;
	memcpy(outcomes, shared->outcomes, *done * sizeof(*outcomes));
	return result;
}

/* A case of a NOP, and the INT3 behind it. */
static bool reaches_its_end(bool is_32, uint64_t rsp)
{
	static const uint8_t memory[ISA_DATA_SIZE];
	static struct isa_case test;
	static struct isa_outcome outcome;
	unsigned done;

	memset(&test, 0, sizeof(test));
	test.in.gpr[ISA_RSP] = rsp;
	test.in.rip = ISA_CODE;
	test.code[0] = 0x90;
	test.code_size = 1;
	test.is_32 = is_32;
	test.memory = memory;
	return native_run(&test, 1, &outcome, &done) == 0 && outcome.vector == 3 && outcome.out.rip == ISA_CODE + 2;
}

int native_start(void)
{
	int result = start_child();

	if (result < 0)
		return result;
	has_any_stack_pointer = reaches_its_end(false, 1ull << 60);
	has_compatibility_mode = reaches_its_end(true, ISA_DATA + ISA_PAGE);
	native_has_ldt = shared->has_ldt && has_compatibility_mode;
	return 0;
}

bool native_can_judge(const struct isa_case *test)
{
	return test->is_32 ? has_compatibility_mode : has_any_stack_pointer || cpu_is_canonical(test->in.gpr[ISA_RSP]);
}
