/* A debugger and its program: breakpoints, single steps, watched data, registers, by ptrace(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

extern const uint8_t stepped[], stepped_end[];
uint64_t run_stepped(uint64_t);
__asm__(".globl run_stepped, stepped, stepped_end\n"
	"run_stepped:\n"
	"stepped:\n"
	"	movl $50, %ecx\n"
	"	xorl %eax, %eax\n"
	"1:	addq %rdi, %rax\n"
	"	rolq $1, %rax\n"
	"	pushfq\n"
	"	popq %rdx\n"
	"	decl %ecx\n"
	"	jnz 1b\n"
	"	leaq arena(%rip), %rdi\n"
	"	movl $16, %ecx\n"
	"	rep stosb\n"
	"	ret\n"
	"stepped_end:\n");

uint8_t arena[64];
static volatile uint64_t watched;
static volatile uint64_t sums[4];

__attribute__((noinline)) static uint64_t broken(uint64_t value)
{
	__asm__ volatile("" : "+r"(value));
	return value * 3;
}

static double doubled(double value)
{
	__asm__ volatile("" : "+x"(value));
	return value + value;
}

static int program(void)
{
	double number = 1;

	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	for (uint64_t i = 0; i < 10; i++)
		sums[0] += broken(i);
	raise(SIGSTOP);
	sums[1] = run_stepped(0x123456789);
	raise(SIGSTOP);
	for (uint64_t i = 0; i < 5; i++) {
		watched = i * 7;
		sums[2] += watched;
	}
	raise(SIGSTOP);
	for (unsigned i = 0; i < 5; i++)
		syscall(SYS_getppid);
	raise(SIGSTOP);
	__asm__ volatile("movq %1, %%xmm7\n\tint3\n\tmovq %%xmm7, %0" : "=x"(number) : "x"(number) : "xmm7");
	return doubled(number) == 5 && sums[0] == 135 && sums[2] == 70 ? 7 : 8;
}

static pid_t child;

/* The signal it stopped by. */
static int go_on(int how, int number)
{
	int status;

	if (ptrace(how, child, 0, number) < 0 || waitpid(child, &status, 0) != child)
		abort();
	return WIFSTOPPED(status) ? WSTOPSIG(status) : -WEXITSTATUS(status);
}

static struct user_regs_struct registers(void)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, child, 0, &regs) < 0)
		abort();
	return regs;
}

static long poke_debug(unsigned which, uint64_t value)
{
	return ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[which]), value);
}

static uint64_t peek_debug(unsigned which)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[which]), 0);
}

static void software_breakpoints(void)
{
	long word = ptrace(PTRACE_PEEKTEXT, child, broken, 0);
	uint64_t sum = 0, hits = 0;
	struct user_regs_struct regs;

	ptrace(PTRACE_POKETEXT, child, broken, (word & ~0xffl) | 0xcc);
	while (go_on(PTRACE_CONT, 0) == SIGTRAP) {
		regs = registers();
		sum = sum * 10 + regs.rdi;
		hits += regs.rip == (uint64_t)broken + 1;
		regs.rip--;
		ptrace(PTRACE_SETREGS, child, 0, &regs);
		ptrace(PTRACE_POKETEXT, child, broken, word);
		if (go_on(PTRACE_SINGLESTEP, 0) != SIGTRAP)
			abort();
		ptrace(PTRACE_POKETEXT, child, broken, (word & ~0xffl) | 0xcc);
	}
	ptrace(PTRACE_POKETEXT, child, broken, word);
	printf("breakpoint: %lu hits, arguments %lu\n", (unsigned long)hits, (unsigned long)sum);
}

static void steps(void)
{
	uint64_t hash = 0;
	unsigned inside = 0, total = 0;

	/* Behind the system call of raise(), into the function and out. */
	for (; total < 5000; total++) {
		struct user_regs_struct regs;
		uint64_t at;

		if (go_on(PTRACE_SINGLESTEP, 0) != SIGTRAP)
			abort();
		regs = registers();
		at = regs.rip - (uint64_t)stepped;
		if (at < (uint64_t)(stepped_end - stepped)) {
			inside++;
			hash = (hash * 31 + at) * 31 + regs.rax + regs.rcx + (regs.eflags & 0x8c5) + regs.rdx;
		} else if (inside) {
			break;
		}
	}
	printf("steps: %u inside, hash %016lx, then %s\n", inside, (unsigned long)hash,
	       go_on(PTRACE_CONT, 0) == SIGSTOP ? "SIGSTOP" : "another");
}

static void watch(void)
{
	unsigned hits = 0;
	uint64_t values = 0, told = 0;

	if (poke_debug(0, (uint64_t)&watched) < 0 || poke_debug(1, (uint64_t)raise) < 0 ||
	    poke_debug(7, 1 | 1 << 16 | 3 << 18 | 2 << 1) < 0) {
		printf("no debug registers: %s\n", strerror(errno));
		go_on(PTRACE_CONT, 0);
		return;
	}
	while (go_on(PTRACE_CONT, 0) == SIGTRAP) {
		hits++;
		told = told * 16 + (peek_debug(6) & 15);
		poke_debug(6, 0);
		values = values * 100 + (uint64_t)ptrace(PTRACE_PEEKDATA, child, &watched, 0);
		if (registers().rip == (uint64_t)raise)
			poke_debug(7, 0);
	}
	printf("watched: %u hits, DR6 %lx, values %lu\n", hits, (unsigned long)told, (unsigned long)values);
}

static void calls(void)
{
	unsigned entries = 0, ppids = 0;

	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	while (go_on(PTRACE_SYSCALL, 0) == (SIGTRAP | 0x80)) {
		entries++;
		ppids += registers().orig_rax == SYS_getppid;
	}
	printf("system calls: getppid %u times at entry and exit\n", ppids);
}

static void vectors(void)
{
	struct user_fpregs_struct fp;
	double wanted = 2.5, seen;
	int stopped = go_on(PTRACE_CONT, 0);

	ptrace(PTRACE_GETFPREGS, child, 0, &fp);
	memcpy(&seen, &fp.xmm_space[28], 8);
	memcpy(&fp.xmm_space[28], &wanted, 8);
	ptrace(PTRACE_SETFPREGS, child, 0, &fp);
	printf("vectors: stopped by %d with %g, ended with %d\n", stopped, seen, -go_on(PTRACE_CONT, 0));
}

int main(void)
{
	int status;

	child = fork();
	if (child == 0)
		_exit(program());
	waitpid(child, &status, 0);
	software_breakpoints();
	steps();
	watch();
	calls();
	vectors();
	return 0;
}
