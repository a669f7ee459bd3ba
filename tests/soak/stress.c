/*
 * What programs ask of a kernel and an MMU, each with a result that is known: processes and pipes,
 * copy on write, signals in the middle of arithmetic, a pager that lives in a SIGSEGV handler, code
 * that is written and run, mapped twice and rewritten, threads, timers, ptrace. Prints one line a
 * test, the same each time. `stress SEED`.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void say(const char *name, uint64_t value)
{
	printf("%s %llx\n", name, (unsigned long long)value);
	fflush(stdout);
}

static uint64_t checksum(const void *data, size_t size, uint64_t hash)
{
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ ((const uint8_t *)data)[i]) * 1099511628211u + 1;
	return hash;
}

/* Each child changes its copy of shared pages, and tells a checksum of it. */
static void copy_on_write(void)
{
	enum { SIZE = 64 * 4096, CHILDREN = 24 };
	uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	for (unsigned i = 0; i < SIZE; i++)
		memory[i] = (uint8_t)next();
	for (unsigned i = 0; i < CHILDREN; i++) {
		uint64_t value = 0;
		int pipe_fds[2];

		if (pipe(pipe_fds) < 0)
			abort();
		if (fork() == 0) {
			for (unsigned k = 0; k < SIZE; k += 1024)
				memory[k] += (uint8_t)(i + k / 1024);
			value = checksum(memory, SIZE, i);
			_exit(write(pipe_fds[1], &value, 8) != 8);
		}
		memory[i * 4096] ^= 0x55;
		if (read(pipe_fds[0], &value, 8) != 8)
			abort();
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		wait(NULL);
		/* The child may or may not have seen our last store: it has its own copy since fork. */
		sum += value;
	}
	say("copy-on-write", sum ^ checksum(memory, SIZE, 1));
	munmap(memory, SIZE);
}

/* A ring of processes passes a number round. */
static void pipes(void)
{
	enum { RING = 6, ROUNDS = 400 };
	int fds[RING][2];
	uint64_t value = next();

	for (unsigned i = 0; i < RING; i++)
		if (pipe(fds[i]) < 0)
			abort();
	for (unsigned i = 0; i + 1 < RING; i++)
		if (fork() == 0) {
			for (unsigned k = 0; k < ROUNDS; k++) {
				if (read(fds[i][0], &value, 8) != 8)
					_exit(1);
				value = value * 6364136223846793005u + i;
				if (write(fds[i + 1][1], &value, 8) != 8)
					_exit(1);
			}
			_exit(0);
		}
	for (unsigned k = 0; k < ROUNDS; k++)
		if (write(fds[0][1], &value, 8) != 8 || read(fds[RING - 1][0], &value, 8) != 8)
			abort();
	while (wait(NULL) > 0)
		;
	for (unsigned i = 0; i < RING; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	say("pipes", value);
}

static volatile sig_atomic_t ticks;

static void on_tick(int number)
{
	volatile double a = 1.5;
	volatile long double b = 2.5L;

	(void)number;
	ticks++;
	a = a * 3.25 + ticks;
	b = b / 3 + ticks;
}

/* A loop with live flags, vectors and x87 in it must not notice the timer's signals. */
static void timer(void)
{
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };
	uint64_t hash = next(), low = next(), high = 0;
	double real = 1;
	long double extended = 1;

	signal(SIGALRM, on_tick);
	setitimer(ITIMER_REAL, &every, NULL);
	ticks = 0;
	for (unsigned i = 0; i < 1500000 || ticks < 20; i++) {
		if (i >= 1500000)
			continue;
		__asm__("add %2, %0; adc $0, %1; rol $7, %0" : "+r"(low), "+r"(high) : "r"(hash) : "cc");
		hash = (hash ^ low) * 1099511628211u;
		real = real * 1.0000001 + 0.25;
		extended = extended * 1.0000001L + 0.25L;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	say("timer", hash ^ low ^ high ^ (uint64_t)real ^ (uint64_t)(extended * 1000));
}

static uint8_t *paged;
static volatile unsigned faults;
enum { PAGED = 96 };

static void on_fault(int number, siginfo_t *info, void *context)
{
	uint8_t *page = (uint8_t *)((uintptr_t)info->si_addr & ~(uintptr_t)4095);

	(void)number;
	(void)context;
	if (page < paged || page >= paged + PAGED * 4096)
		_exit(3);
	faults++;
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void pager(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	uint64_t hash = 0;

	sigaction(SIGSEGV, &action, NULL);
	paged = mmap(NULL, PAGED * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	faults = 0;
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < PAGED; i++) {
			uint64_t *word = (uint64_t *)(paged + i * 4096 + next() % 4088);

			*word += hash + i; /* faults in the middle of a read-modify-write */
			hash = hash * 31 + *word;
		}
		mprotect(paged, PAGED * 4096, round % 2 ? PROT_NONE : PROT_READ);
	}
	signal(SIGSEGV, SIG_DFL);
	say("pager", hash + faults);
	munmap(paged, PAGED * 4096);
}

/* mov eax, imm; imul eax, edi; add eax, imm; ret */
static void write_function(uint8_t *at, uint32_t a, uint32_t b)
{
	static const uint8_t code[] = { 0xb8, 0, 0, 0, 0, 0x0f, 0xaf, 0xc7, 0x05, 0, 0, 0, 0, 0xc3 };

	memcpy(at, code, sizeof(code));
	memcpy(at + 1, &a, 4);
	memcpy(at + 9, &b, 4);
}

/* Code between data on the same pages, called, changed through the same and another mapping. */
static void code(void)
{
	enum { SIZE = 8 * 4096, FUNCTIONS = SIZE / 128 };
	int fd = memfd_create("code", 0);
	uint8_t *run, *alias;
	uint64_t sum = 0;

	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		abort();
	run = mmap(NULL, SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0);
	alias = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		write_function(run + i * 128, i, i * 3);
	for (unsigned i = 0; i < 60000; i++) {
		unsigned which = next() % FUNCTIONS;
		uint32_t (*function)(uint32_t) = (uint32_t (*)(uint32_t))(uintptr_t)(run + which * 128);
		uint64_t *data = (uint64_t *)(run + which * 128 + 64);

		sum = sum * 31 + function((uint32_t)i);
		(*data)++;
		if (i % 7 == 0) {
			uint32_t value = (uint32_t)next();

			memcpy((i % 2 ? run : alias) + which * 128 + 1, &value, 4);
		}
		if (i % 997 == 0)
			write_function(alias + which * 128, i, (uint32_t)sum);
		sum += *data;
	}
	say("code", sum);
	munmap(run, SIZE);
	munmap(alias, SIZE);
	close(fd);
}

/* A function that is rewritten between calls, at the same address, as a compiler's cache does. */
static void generations(void)
{
	uint8_t *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	for (unsigned i = 0; i < 300; i++) {
		uint32_t (*function)(uint32_t) = (uint32_t (*)(uint32_t))(uintptr_t)(at + i % 16);

		mprotect(at, 4096, PROT_READ | PROT_WRITE);
		write_function(at + i % 16, (uint32_t)next(), i);
		mprotect(at, 4096, PROT_READ | PROT_EXEC);
		for (unsigned k = 0; k < 50; k++)
			sum = sum * 31 + function(k);
	}
	say("generations", sum);
	munmap(at, 4096);
}

struct shared {
	atomic_uint_fast64_t locked, compared;
	uint64_t guarded;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	unsigned turn;
};

static struct shared shared = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
enum { THREADS = 4 };

static void *work(void *argument)
{
	unsigned self = (unsigned)(uintptr_t)argument;

	for (unsigned i = 0; i < 20000; i++) {
		uint_fast64_t old = shared.compared;

		shared.locked += self + i;
		while (!atomic_compare_exchange_weak(&shared.compared, &old, old * 3 % 1000003))
			;
		pthread_mutex_lock(&shared.mutex);
		shared.guarded += i * self;
		pthread_mutex_unlock(&shared.mutex);
	}
	for (unsigned i = 0; i < 150; i++) {
		pthread_mutex_lock(&shared.mutex);
		while (shared.turn % THREADS != self)
			pthread_cond_wait(&shared.changed, &shared.mutex);
		shared.turn++;
		pthread_cond_broadcast(&shared.changed);
		pthread_mutex_unlock(&shared.mutex);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t thread[THREADS];

	shared.compared = 1;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	say("threads", shared.locked * 7 + shared.compared * 5 + shared.guarded * 3 + shared.turn);
}

/* A debugger that single-steps a child through a loop and counts. */
static void single_steps(void)
{
	struct user_regs_struct registers;
	uint64_t steps = 0;
	int status;
	pid_t child = fork();

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		__asm__ volatile("mov $100, %%ecx; xor %%eax, %%eax; 1: add %%ecx, %%eax; dec %%ecx; jnz 1b;"
				 "int3" : : : "rax", "rcx", "cc");
		_exit(0);
	}
	waitpid(child, &status, 0);
	for (;;) {
		ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
		waitpid(child, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		ptrace(PTRACE_GETREGS, child, NULL, &registers);
		/* Not before the loop begins. */
		steps += steps || (registers.rcx == 100 && registers.rax == 0);
		if (registers.rcx == 0 && registers.rax == 5050)
			break;
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	say("single-steps", steps);
}

/* Many mappings come, move and go. */
static void mappings(void)
{
	uint8_t *at[32] = { 0 };
	size_t size[32] = { 0 };
	uint64_t hash = 0;

	for (unsigned i = 0; i < 1500; i++) {
		unsigned which = next() % 32;

		if (!at[which]) {
			size[which] = (1 + next() % 40) * 4096;
			at[which] = mmap(NULL, size[which], PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			for (size_t k = 0; k < size[which]; k += 512)
				at[which][k] = (uint8_t)(k >> 9 ^ i);
			continue;
		}
		hash = checksum(at[which], size[which], hash);
		if (next() % 2) {
			size_t larger = size[which] * 2;

			at[which] = mremap(at[which], size[which], larger, MREMAP_MAYMOVE);
			size[which] = larger;
		}
		if (next() % 3 || size[which] > 1 << 20) {
			munmap(at[which], size[which]);
			at[which] = NULL;
		}
	}
	for (unsigned i = 0; i < 32; i++)
		if (at[i])
			munmap(at[i], size[i]);
	say("mappings", hash);
}

static sigjmp_buf recover;

static void on_error(int number)
{
	siglongjmp(recover, number);
}

/* Exceptions that a program provokes on purpose. */
static void exceptions(void)
{
	static const int expected[] = { SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSEGV };
	volatile unsigned caught = 0;

	for (unsigned i = 0; i < 5; i++)
		signal(expected[i], on_error);
	for (volatile unsigned i = 0; i < 500; i++) {
		volatile unsigned kind = i % 5;
		int got = sigsetjmp(recover, 1);

		if (got) {
			caught += got == expected[kind];
			continue;
		}
		switch (kind) {
		case 0: *(volatile int *)(uintptr_t)(8 + i) = 1; break;
		case 1: __asm__ volatile("xor %%edx, %%edx; div %%edx" : : : "rax", "rdx", "cc"); break;
		case 2: __asm__ volatile("ud2"); break;
		case 3: __asm__ volatile("int3"); break;
		default: __asm__ volatile("hlt"); break;
		}
	}
	for (unsigned i = 0; i < 5; i++)
		signal(expected[i], SIG_DFL);
	say("exceptions", caught);
}

int main(int count, char **arguments)
{
	state = (count > 1 ? strtoull(arguments[1], NULL, 0) : 1) * 0x9e3779b97f4a7c15u | 1;
	copy_on_write();
	pipes();
	timer();
	pager();
	code();
	generations();
	threads();
	single_steps();
	mappings();
	exceptions();
	return 0;
}
