/*
 * A program that does its worst to the stub that it runs in, under direct execution
 * (docs/security.md, "Stubs"): each attack in a process of its own, while others compute beside it. Elsewhere, where no stub is in
 * the address space, each ends at its first step.
 *
 * Prints how many attacks there were, how many found a stub, and whether everything beside them is what it was.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

/* src/engine/run/direct/layout.h */
#define STUB     0x6aaa00000000ull
#define STUB_END (STUB + 0x10000)
#define CONTROL  (STUB + 0x1000)
#define STACK    (STUB + 0x9000)

#define CALLS_MAX 8
#define LIMIT_MS  300 /* of what would loop */

enum reg { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15 };

uint64_t attack_regs[16], attack_target;
void attack_jump(void);

__asm__("attack_jump:\n"
	"	movq attack_regs(%rip), %rax\n"
	"	movq attack_regs+8(%rip), %rbx\n"
	"	movq attack_regs+16(%rip), %rcx\n"
	"	movq attack_regs+24(%rip), %rdx\n"
	"	movq attack_regs+32(%rip), %rsi\n"
	"	movq attack_regs+40(%rip), %rdi\n"
	"	movq attack_regs+48(%rip), %rbp\n"
	"	movq attack_regs+64(%rip), %r8\n"
	"	movq attack_regs+72(%rip), %r9\n"
	"	movq attack_regs+80(%rip), %r10\n"
	"	movq attack_regs+88(%rip), %r11\n"
	"	movq attack_regs+96(%rip), %r12\n"
	"	movq attack_regs+104(%rip), %r13\n"
	"	movq attack_regs+112(%rip), %r14\n"
	"	movq attack_regs+120(%rip), %r15\n"
	"	movq attack_regs+56(%rip), %rsp\n"
	"	jmp *attack_target(%rip)\n"
	".globl attack_loop\n"
	"attack_loop:\n"
	"	jmp attack_loop\n");
void attack_loop(void);

static uint64_t calls[CALLS_MAX]; /* the stub's system call instructions */
static unsigned call_count;
static uint8_t arena[65536] __attribute__((aligned(4096)));
static uint64_t seed = 88172645463325252ull;

static uint64_t random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static sigjmp_buf back;

static void jump_back(int number)
{
	siglongjmp(back, number);
}

/* Whether a byte can be read there. */
static int is_there(uint64_t place)
{
	struct sigaction action = { .sa_handler = jump_back }, before;
	volatile int result = 0;

	sigaction(SIGSEGV, &action, &before);
	if (sigsetjmp(back, 1) == 0) {
		(void)*(volatile uint8_t *)place;
		result = 1;
	}
	sigaction(SIGSEGV, &before, NULL);
	return result;
}

static void find_calls(void)
{
	const volatile uint8_t *code = (const volatile uint8_t *)STUB;

	call_count = 0;
	for (unsigned i = 0; i + 1 < 0x1000 && call_count < CALLS_MAX; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			calls[call_count++] = STUB + i;
}

static void random_regs(void)
{
	for (unsigned i = 0; i < 16; i++)
		switch (random64() % 4) {
		case 0: attack_regs[i] = random64(); break;
		case 1: attack_regs[i] = random64() % 512; break;
		case 2: attack_regs[i] = (uint64_t)arena + random64() % sizeof(arena); break;
		default: attack_regs[i] = STUB + random64() % (STUB_END - STUB); break;
		}
}

static void jump(uint64_t target)
{
	attack_target = target;
	attack_jump();
}

/* -- attacks: each may return, or not -- */

static void overwrite(unsigned variant)
{
	static const uint64_t starts[] = { CONTROL, STACK, CONTROL, CONTROL };

	for (uint64_t at = starts[variant % 4]; at < STUB_END; at += 8)
		*(volatile uint64_t *)at = variant == 0 ? 0 : variant == 1 ? ~0ull : random64();
	for (unsigned i = 0; i < 100; i++)
		syscall(SYS_getppid);
}

static void overwrite_code(unsigned variant)
{
	*(volatile uint8_t *)(STUB + variant * 97) = 0x90;
}

/* Commands of its own, to map everything and to unmap the stub. */
static void command(unsigned variant)
{
	volatile uint64_t *control = (volatile uint64_t *)CONTROL;

	for (unsigned i = 0; i < 100; i++) {
		volatile uint64_t *place = control + 16 + i * 8;

		place[0] = variant & 1 ? SYS_munmap : SYS_mmap;
		place[1] = variant & 2 ? STUB : 0x10000;
		place[2] = 0x100000;
		place[3] = PROT_READ | PROT_WRITE | PROT_EXEC;
		place[4] = MAP_SHARED | MAP_FIXED;
		place[5] = 3;
		place[6] = i * 0x100000;
	}
	control[0] = 100;
	if (variant & 4) {
		attack_regs[RAX] = SYS_getppid;
		attack_regs[RSP] = (uint64_t)arena + sizeof(arena);
		jump(calls[0]);
	}
	syscall(SYS_getppid);
}

static void jump_anywhere(unsigned variant)
{
	random_regs();
	if (variant & 1)
		attack_regs[RSP] = (uint64_t)arena + sizeof(arena) / 2;
	if (variant & 2)
		attack_regs[RBX] = CONTROL;
	jump(STUB + variant);
}

static void make_call(unsigned variant)
{
	const uint64_t own = (uint64_t)arena;
	const uint64_t tried[][7] = {
		{ SYS_munmap, 0, 0x7ffffffff000 },
		{ SYS_munmap, STUB, 0x10000 },
		{ SYS_mmap, STUB, 0x10000, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1 },
		{ SYS_mmap, 0x10000, 0x10000000, 7, MAP_SHARED | MAP_FIXED, 3, 0 },
		{ SYS_mprotect, STUB, 0x1000, 7 },
		{ SYS_mremap, STUB, 0x10000, 0x20000, 3, own },
		{ SYS_openat, -100, own, 2 },
		{ SYS_kill, -1, SIGKILL },
		{ SYS_tgkill, 1, 1, SIGKILL },
		{ SYS_execve, own, own, own },
		{ SYS_clone, 0x11 },
		{ SYS_ptrace, 16, 1 },
		{ SYS_process_vm_writev, 1, own, 1, own, 1 },
		{ SYS_rt_sigaction, SIGUSR1, own, 0, 8 },
		{ SYS_rt_sigprocmask, SIG_SETMASK, own, 0, 8 },
		{ SYS_rt_sigprocmask, SIG_BLOCK, own, 0, 8 },
		{ SYS_sigaltstack, own },
		{ SYS_arch_prctl, 0x1012, 1 },
		{ SYS_prctl, 22, 0 },
		{ SYS_ioctl, 3, 0 },
		{ SYS_write, 3, own, 4096 },
		{ SYS_sendmsg, 4, own },
		{ SYS_seccomp, 1, 0, own },
		{ SYS_exit_group, 0 },
		{ SYS_getppid },
		{ SYS_pause },
	};
	unsigned count = sizeof(tried) / sizeof(tried[0]);
	const uint64_t *call = tried[variant % count];

	memset(arena, variant & 1 ? 0xff : 0, sizeof(arena));
	random_regs();
	attack_regs[RSP] = own + sizeof(arena) / 2;
	attack_regs[RAX] = call[0];
	attack_regs[RDI] = call[1];
	attack_regs[RSI] = call[2];
	attack_regs[RDX] = call[3];
	attack_regs[R10] = call[4];
	attack_regs[R8] = call[5];
	attack_regs[R9] = call[6];
	jump(calls[variant / count % call_count]);
}

#define FRAMES 8

/* A frame that blocks the kick, and a loop behind it; and others that the kernel might take. */
static void forge(unsigned variant)
{
	struct {
		uint64_t flags, link, stack[3];
		uint64_t regs[18];
		uint16_t cs, gs, fs, ss;
		uint64_t error, trap, old_mask, cr2, fpstate, reserved[8], mask;
	} *frame = (void *)(arena + 8192);

	memset(arena, 0, sizeof(arena));
	frame->flags = 7;
	frame->stack[0] = variant % FRAMES == 3 ? (uint64_t)arena : 0;
	frame->stack[2] = variant % FRAMES == 3 ? 16384 : 0;
	frame->stack[1] = variant % FRAMES == 3 ? 0 : 2; /* SS_DISABLE */
	frame->regs[15] = (uint64_t)arena + 32768;
	frame->regs[16] = variant % FRAMES == 4 ? 0x8000000000000000 : (uint64_t)attack_loop;
	frame->regs[17] = variant % FRAMES == 5 ? 0x44302 : 0x202;
	frame->cs = variant % FRAMES == 6 ? 0x23 : 0x33;
	frame->ss = variant % FRAMES == 7 ? 0 : 0x2b;
	frame->mask = variant % FRAMES == 1 ? 0 : variant % FRAMES == 2 ? 1ull << (SIGUSR1 - 1) : ~0ull;
	random_regs();
	attack_regs[RAX] = SYS_rt_sigreturn;
	attack_regs[RSP] = (uint64_t)frame;
	/* As the call alone, and as the end of what the stub's code does behind its stop. */
	if (variant / FRAMES == 1) {
		volatile uint64_t *control = (volatile uint64_t *)CONTROL;

		control[5] = (uint64_t)frame;
		attack_regs[RBX] = CONTROL;
		jump(calls[0] + 2);
	}
	jump(calls[call_count - 1]);
}

/* Signals and system calls with its stack in the stub's, and where the stub's data are. */
static void use_stack(unsigned variant)
{
	random_regs();
	attack_regs[RAX] = SYS_getppid;
	attack_regs[RSP] = STUB + 0x800 + variant * 0x800;
	jump(variant & 1 ? (uint64_t)attack_loop : calls[0]);
}

/* By its own kernel's hand. */
static void remap(unsigned variant)
{
	uint8_t *page = (uint8_t *)STUB;

	if (variant & 1)
		munmap(page, 0x10000);
	for (unsigned i = 0; i < 20; i++) {
		if (mmap(page, 0x10000, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
			abort();
		memset(page, 0xc3, 0x10000);
		((void (*)(void))(page + 0x40))();
		mprotect(page, 0x4000, PROT_NONE);
		munmap(page, 0x10000);
	}
}

static volatile int race_ends;

static void *race_writes(void *unused)
{
	while (!race_ends)
		for (uint64_t at = CONTROL; at < STUB_END && !race_ends; at += 8)
			*(volatile uint64_t *)at = random64();
	return unused;
}

/* From several threads, while pages come and go. */
static void race(unsigned variant)
{
	pthread_t threads[3];

	for (unsigned i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, race_writes, NULL);
	for (unsigned i = 0; i < 200 + variant * 100; i++) {
		uint8_t *page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memset(page, 1, 65536);
		mprotect(page, 4096, PROT_READ);
		munmap(page, 65536);
	}
	race_ends = 1;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

/* More mappings than a stub has, of pages that cannot be one. */
static void exhaust(unsigned variant)
{
	unsigned pages = 24000;
	uint8_t *memory = mmap(NULL, (size_t)pages * 8192, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	madvise(memory, (size_t)pages * 8192, MADV_NOHUGEPAGE);
	for (unsigned i = 0; i < pages; i++)
		*(uint32_t *)(memory + (size_t)i * 8192) = i ^ variant;
	for (unsigned i = 0; i < pages; i++)
		if (*(uint32_t *)(memory + (size_t)i * 8192) != (i ^ variant))
			abort();
}

struct attack {
	const char *name;
	void (*make)(unsigned variant);
	unsigned variants;
	int must_end_well; /* natively it does */
};

static const struct attack attacks[] = {
	{ "overwrite", overwrite, 8, 0 },
	{ "overwrite code", overwrite_code, 4, 0 },
	{ "command", command, 8, 0 },
	{ "jump", jump_anywhere, 320, 0 },
	{ "call", make_call, 26 * 4, 0 },
	{ "forge", forge, 2 * FRAMES, 0 },
	{ "stack", use_stack, 30, 0 },
	{ "remap", remap, 4, 0 },
	{ "race", race, 4, 0 },
	{ "exhaust", exhaust, 2, 1 },
};

static void limit(unsigned ms)
{
	const struct itimerval timer = { .it_value = { ms / 1000, ms % 1000 * 1000 } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

#define SAW_STUB 1
#define WELL     2

/* In a process of its own; what it said by a pipe. */
static unsigned try(const struct attack *attack, unsigned variant)
{
	uint8_t said = 0, part;
	int ends[2], status;
	pid_t child;

	if (pipe(ends) < 0)
		abort();
	child = fork();
	if (child == 0) {
		seed += variant * 7919;
		limit(attack->must_end_well ? 60000 : LIMIT_MS);
		part = SAW_STUB;
		if (is_there(STUB)) {
			find_calls();
			if (write(ends[1], &part, 1) != 1)
				_exit(1);
		} else if (!attack->must_end_well) {
			_exit(0);
		}
		attack->make(variant);
		part = WELL;
		_exit(write(ends[1], &part, 1) != 1);
	}
	close(ends[1]);
	while (read(ends[0], &part, 1) == 1)
		said |= part;
	close(ends[0]);
	waitpid(child, &status, 0);
	return said;
}

/* Something that goes wrong when its memory or registers do. */
static void compute(int output)
{
	static uint64_t table[32768];
	uint64_t hash = 1, rounds = 0;
	char word = 0;

	signal(SIGTERM, SIG_IGN);
	for (;; rounds++) {
		uint64_t again = 1;

		for (unsigned i = 0; i < 32768; i++)
			table[i] = hash = hash * 6364136223846793005ull + 1442695040888963407ull;
		for (unsigned i = 0; i < 32768; i++)
			again = again * 31 + table[i];
		hash = 1;
		if (rounds && again != *(uint64_t *)arena)
			word = 'x';
		*(uint64_t *)arena = again;
		if (write(output, word ? "x" : ".", 1) != 1)
			_exit(0);
	}
}

int main(void)
{
	unsigned tried = 0, seen = 0, badly = 0, wrong = 0, rounds = 0;
	int ends[2];
	char words[4096];
	ssize_t length;
	pid_t computer;

	if (pipe(ends) < 0)
		return 1;
	computer = fork();
	if (computer == 0)
		compute(ends[1]);
	close(ends[1]);
	memset(arena, 0x5a, sizeof(arena));
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		for (unsigned variant = 0; variant < attacks[i].variants; variant++) {
			unsigned said = try(&attacks[i], variant);

			tried++;
			seen += said & SAW_STUB;
			if (attacks[i].must_end_well && !(said & WELL)) {
				badly++;
				printf("attack %s, variant %u: ended badly\n", attacks[i].name, variant);
			}
		}
		printf("attack %s: over\n", attacks[i].name);
		length = read(ends[0], words, sizeof(words));
		for (ssize_t k = 0; k < length; k++) {
			rounds++;
			wrong += words[k] != '.';
		}
	}
	kill(computer, SIGKILL);
	while ((length = read(ends[0], words, sizeof(words))) > 0)
		for (ssize_t k = 0; k < length; k++)
			wrong += words[k] != '.';
	for (unsigned i = 0; i < sizeof(arena); i++)
		wrong += arena[i] != 0x5a;
	printf("attacks: %u tried, %u in a stub\n", tried, seen);
	printf("attacks: %u ended badly, %u bytes wrong, beside a computation %s\n", badly, wrong,
	       rounds ? "that goes on" : "that stands");
	return badly || wrong || !rounds;
}
