/*
 * Code that shows the processor: the vDSO's, and this program's own. It tells of the CPU that Linux has it run on, amid
 * signals, in single steps, behind jumps into its middle, and when it is written again; the page that it is in stays
 * what it is for the kernel.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The same bytes twice: as code, in a page of their own, and as data. */
#define BODY(name)                                                                                 \
	".globl " #name ", " #name "_xgetbv, " #name "_rdtscp, " #name "_lsl, " #name "_end\n"     \
	#name ":\n"                                                                                \
	".fill 32, 1, 0x90\n"                                                                      \
	"	xorl %ecx, %ecx\n"                                                                 \
	#name "_xgetbv:\n"                                                                         \
	"	xgetbv\n"                                                                          \
	"	ret\n"                                                                             \
	#name "_rdtscp:\n"                                                                         \
	"	rdtscp\n"                                                                          \
	"	shlq $0x20, %rdx\n"                                                                \
	"	movl %ecx, %eax\n"                                                                 \
	"	ret\n"                                                                             \
	#name "_lsl:\n"                                                                            \
	"	movl $0x7b, %eax\n"                                                                \
	"	lsl %eax, %eax\n"                                                                  \
	"	ret\n"                                                                             \
	".balign 4096, 0xcc\n"                                                                     \
	#name "_end:\n"

__asm__(".pushsection .text\n.balign 4096\n" BODY(own) ".popsection\n"
	".pushsection .data\n.balign 4096\n" BODY(twin) ".popsection\n");

extern const uint8_t own[], own_xgetbv[], own_rdtscp[], own_lsl[], own_end[], twin[];

#define CALL_OWN(label) ((uint32_t (*)(void))(uintptr_t)(label))
#define OWN_XGETBV	(own_xgetbv - 2)

static volatile sig_atomic_t alarms;

static void on_alarm(int number)
{
	struct timespec now;

	(void)number;
	alarms++;
	clock_gettime(CLOCK_MONOTONIC, &now);
}

static int64_t ns_of(const struct timespec *time)
{
	return time->tv_sec * 1000000000ll + time->tv_nsec;
}

static void tell(const char *what, bool is_right)
{
	printf("%s: %s\n", what, is_right ? "right" : "wrong");
}

/* Between what the kernel says before and after, whatever comes in between. */
static void read_clocks(void)
{
	const struct itimerval often = { { 0, 900 }, { 0, 900 } }, never = { 0 };
	struct timespec before, now, last = { 0 };
	bool is_right = true;

	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned i = 0; i < 100 || (alarms < 50 && i < 2000); i++) {
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
		for (unsigned k = 0; k < 2000; k++) {
			clock_gettime(CLOCK_MONOTONIC, &now);
			is_right = is_right && ns_of(&now) >= ns_of(&before) && ns_of(&now) >= ns_of(&last);
			last = now;
		}
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
		is_right = is_right && ns_of(&before) >= ns_of(&now);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	tell("clocks", is_right && alarms >= 50);
}

/* The vDSO's function by its name, from the pages that the program has of it. */
static void *vdso_function(const char *name)
{
	const uint8_t *base = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)base;
	const Elf64_Phdr *program = (const Elf64_Phdr *)(base + header->e_phoff);
	const Elf64_Dyn *dynamic = NULL;
	const Elf64_Sym *symbols = NULL;
	const char *strings = NULL;
	const uint32_t *hash = NULL;

	for (unsigned i = 0; i < header->e_phnum; i++)
		if (program[i].p_type == PT_DYNAMIC)
			dynamic = (const Elf64_Dyn *)(base + program[i].p_offset);
	for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
		const void *place = base + dynamic->d_un.d_ptr;

		if (dynamic->d_tag == DT_SYMTAB)
			symbols = place;
		else if (dynamic->d_tag == DT_STRTAB)
			strings = place;
		else if (dynamic->d_tag == DT_HASH)
			hash = place;
	}
	for (unsigned i = 0; symbols && strings && hash && i < hash[1]; i++)
		if (strcmp(strings + symbols[i].st_name, name) == 0)
			return (void *)(base + symbols[i].st_value);
	return NULL;
}

static void tell_cpus(void)
{
	long (*getcpu)(unsigned *, unsigned *, void *) =
		(long (*)(unsigned *, unsigned *, void *))vdso_function("__vdso_getcpu");
	bool by_vdso = true, by_counter = true, by_limit = true;

	for (unsigned cpu = 0; cpu < 2; cpu++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) < 0)
			continue;
		for (unsigned i = 0; i < 500; i++) {
			unsigned said = 99;

			by_vdso = by_vdso && (!getcpu || (getcpu(&said, NULL, NULL) == 0 && said == cpu));
			by_counter = by_counter && (CALL_OWN(own_rdtscp)() & 0xfff) == cpu;
			by_limit = by_limit && (CALL_OWN(own_lsl)() & 0xfff) == cpu;
		}
	}
	tell("getcpu", by_vdso);
	tell("rdtscp", by_counter);
	tell("lsl", by_limit);
}

static uint32_t known_xcr0;

static void tell_xcr0(void)
{
	uint32_t eax, ebx, ecx, edx;
	bool is_right = true;

	__cpuid_count(0xd, 0, eax, ebx, ecx, edx);
	known_xcr0 = CALL_OWN(OWN_XGETBV)();
	for (unsigned i = 0; i < 500; i++)
		is_right = is_right && CALL_OWN(OWN_XGETBV)() == known_xcr0;
	tell("xgetbv", is_right && (known_xcr0 & 3) == 3 && !(known_xcr0 & ~eax));
}

/* The page as its kernel has it, and as the program reads it: the latter may show traps. */
static void read_page(void)
{
	static uint8_t kernels[4096];
	int memory = open("/proc/self/mem", O_RDONLY);
	bool is_right = pread(memory, kernels, sizeof(kernels), (off_t)(uintptr_t)own) == sizeof(kernels);

	close(memory);
	tell("the kernel's view", is_right && memcmp(kernels, twin, sizeof(kernels)) == 0);
	for (unsigned i = 0; i < sizeof(kernels); i++)
		is_right = is_right && (own[i] == twin[i] || (own[i] == 0xf4 && twin[i] == 0x0f));
	tell("its own view", is_right);
}

/* ADD %edi, %ecx is behind the first byte of RDTSCP. */
static void jump_inside(void)
{
	uint32_t result;

	__asm__ volatile("call *%1" : "=a"(result) : "r"(own_rdtscp + 1), "c"(2), "D"(3) : "rdx", "cc", "memory");
	tell("a jump inside", result == 5);
}

static void write_again(void)
{
	uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t at = (size_t)(own_xgetbv - own);
	bool is_right = page != MAP_FAILED;

	if (is_right)
		memcpy(page, twin, 4096);
	for (unsigned i = 0; is_right && i < 60; i++) {
		is_right = CALL_OWN(page + at - 2)() == known_xcr0;
		memcpy(page + at, "\xb0\x07\x90", 3); /* mov $7, %al; nop */
		is_right = is_right && (CALL_OWN(page + at - 2)() & 0xff) == 7;
		memcpy(page + at, "\x0f\x01\xd0", 3);
		/* From a thread of execution that has the page at another time, or not at all. */
		if (i % 16 == 3 && fork() == 0)
			_exit(CALL_OWN(page + at - 2)() != known_xcr0);
		if (i % 16 == 3) {
			int status;

			wait(&status);
			is_right = is_right && status == 0;
		}
		if (i % 16 == 5) {
			mprotect(page, 4096, PROT_READ | PROT_EXEC);
			is_right = is_right && CALL_OWN(page + at - 2)() == known_xcr0;
			mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
		}
	}
	tell("written again", is_right);
}

/* A debugger steps through all of it, and puts a breakpoint in place of XGETBV. */
static void step(void)
{
	unsigned steps = 0;
	bool has_stopped = false;
	int status;
	pid_t child = fork();

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		CALL_OWN(OWN_XGETBV)();
		CALL_OWN(own_rdtscp)();
		CALL_OWN(own_lsl)();
		raise(SIGSTOP);
		_exit(CALL_OWN(OWN_XGETBV)() != known_xcr0);
	}
	waitpid(child, &status, 0);
	for (;;) {
		struct user_regs_struct registers;

		ptrace(PTRACE_SINGLESTEP, child, 0, 0);
		waitpid(child, &status, 0);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
			break;
		ptrace(PTRACE_GETREGS, child, 0, &registers);
		steps += registers.rip >= (uintptr_t)own && registers.rip < (uintptr_t)own_end;
	}
	printf("steps: %u\n", steps);
	if (WIFSTOPPED(status)) {
		long word = ptrace(PTRACE_PEEKTEXT, child, own_xgetbv, 0);
		struct user_regs_struct registers;

		tell("peeked", memcmp(&word, twin + (own_xgetbv - own), sizeof(word)) == 0);
		ptrace(PTRACE_POKETEXT, child, own_xgetbv, (word & ~0xffl) | 0xcc);
		ptrace(PTRACE_CONT, child, 0, 0);
		waitpid(child, &status, 0);
		has_stopped = WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
		ptrace(PTRACE_GETREGS, child, 0, &registers);
		has_stopped = has_stopped && registers.rip == (uintptr_t)own_xgetbv + 1;
		registers.rip--;
		ptrace(PTRACE_SETREGS, child, 0, &registers);
		ptrace(PTRACE_POKETEXT, child, own_xgetbv, word);
		ptrace(PTRACE_CONT, child, 0, 0);
		waitpid(child, &status, 0);
	}
	tell("a breakpoint", has_stopped && status == 0);
}

int main(void)
{
	read_clocks();
	tell_cpus();
	tell_xcr0();
	read_page();
	jump_inside();
	write_again();
	step();
	read_page();
	return 0;
}
