/*
 * A 32-bit program: system calls by INT 80h and by the vDSO, signals, threads with storage of their own, x87 and SSE,
 * descriptors of its own, and 64-bit code that it jumps to.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <pthread.h>
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
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define THREADS 4
#define PAGE    4096u

static sigjmp_buf back;
static volatile int number, code, trap;
static volatile uintptr_t address;
static volatile unsigned alarms;
static const char fixed[] = "fixed";

static void on_fault(int which, siginfo_t *info, void *context)
{
	number = which;
	code = info->si_code;
	address = (uintptr_t)info->si_addr;
	trap = ((ucontext_t *)context)->uc_mcontext.gregs[REG_TRAPNO];
	siglongjmp(back, 1);
}

static void on_alarm(int which)
{
	(void)which;
	alarms++;
}

/* -- system calls -- */

static long call80(long nr, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

static void calls(void)
{
	uint64_t sum = 0;
	struct timespec now, before = { 0 };
	unsigned backwards = 0;
	uint8_t *memory;

	for (unsigned i = 0; i < 3000; i++)
		sum += call80(SYS_getppid, 0, 0, 0) == getppid();
	printf("calls: %lu, %ld, %ld\n", (unsigned long)sum, call80(SYS_close, 99, 0, 0), call80(9999, 0, 0, 0));
	for (unsigned i = 0; i < 3000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		backwards += now.tv_sec < before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec);
		before = now;
	}
	printf("clock: %u backwards\n", backwards);
	memory = mmap((void *)0x50000000, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (unsigned i = 0; i < 64 * PAGE; i++)
		memory[i] = (uint8_t)(i * 7);
	memory = mremap(memory, 64 * PAGE, 128 * PAGE, MREMAP_MAYMOVE);
	for (unsigned i = 0, wrong = 0; i < 64 * PAGE; i++) {
		wrong += memory[i] != (uint8_t)(i * 7);
		if (i == 64 * PAGE - 1)
			printf("memory: %u wrong\n", wrong);
	}
	munmap(memory, 128 * PAGE);
}

/* -- signals -- */

#define FAULTS(what, ...)                                                                                              \
	do {                                                                                                           \
		if (sigsetjmp(back, 1) == 0) {                                                                         \
			__VA_ARGS__;                                                                                   \
			printf("%s: nothing\n", what);                                                                 \
		} else {                                                                                               \
			printf("%s: signal %d, code %d, trap %d\n", what, number, code, trap);                         \
		}                                                                                                      \
	} while (0)

static void signals(void)
{
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };
	volatile int zero = 0, one = 1;
	volatile uint64_t work = 0;
	int bounds[2] = { 0, 3 };

	FAULTS("load", (void)*(volatile int *)8);
	FAULTS("store", *(volatile uint8_t *)(uintptr_t)fixed = 1);
	FAULTS("divide", one /= zero);
	FAULTS("undefined", __asm__ volatile("ud2"));
	FAULTS("privileged", __asm__ volatile("hlt"));
	FAULTS("port", __asm__ volatile("inb $0x80, %%al" : : : "eax"));
	FAULTS("breakpoint", __asm__ volatile("int3"));
	FAULTS("overflow", __asm__ volatile("movl $0x7fffffff, %%eax; incl %%eax; into" : : : "eax"));
	FAULTS("bound", __asm__ volatile("boundl %0, (%1)" : : "r"(4), "r"(bounds)));
	FAULTS("step", __asm__ volatile("pushfl; orl $0x100, (%%esp); popfl; nop; nop" : : : "memory"));
	FAULTS("selector", __asm__ volatile("movl $0x18, %%eax; movl %%eax, %%es" : : : "eax"));
	FAULTS("interrupt", __asm__ volatile("int $0x81"));
	FAULTS("null segment", __asm__ volatile("movl %%fs:0, %%eax" : : : "eax"));
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &every, NULL);
	while (alarms < 50)
		work++;
	setitimer(ITIMER_REAL, &never, NULL);
	printf("alarms: %s\n", work > 50 ? "came" : "came too early");
}

/* -- threads -- */

static __thread uint64_t own;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t shared, selectors_same = 1;
static uint32_t atomic_count;

/* What is interpreted, in pages of its own (src/engine/run/direct/scan.h). */
#define APART __attribute__((section("apart"), aligned(4096), noinline))

APART static uint32_t gs_selector(void)
{
	uint32_t selector;

	__asm__ volatile("movl %%gs, %0" : "=r"(selector));
	return selector & 0xffff;
}

static void *count(void *argument)
{
	uint32_t gs = gs_selector();

	own = (uintptr_t)argument;
	for (unsigned i = 0; i < 20000; i++) {
		own += i;
		__atomic_fetch_add(&atomic_count, 1, __ATOMIC_SEQ_CST);
		if (i % 16 == 0) {
			pthread_mutex_lock(&mutex);
			shared++;
			pthread_mutex_unlock(&mutex);
		}
		if (i % 512 == 0)
			sched_yield();
	}
	if (gs_selector() != gs)
		selectors_same = 0;
	return (void *)(uintptr_t)(uint32_t)own;
}

static void threads(void)
{
	pthread_t all[THREADS];
	uint32_t sum = 0;
	void *result;

	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&all[i], NULL, count, (void *)(i * 1000));
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(all[i], &result);
		sum += (uint32_t)(uintptr_t)result;
	}
	printf("threads: %u, %lu, %u, selectors %lu, %s\n", sum, (unsigned long)shared, atomic_count,
	       (unsigned long)selectors_same, gs_selector() & 3 ? "of a user" : "null");
}

/* -- arithmetic -- */

typedef float vector __attribute__((vector_size(16)));

static void arithmetic(void)
{
	long double x = 1;
	double sine = 0;
	vector v = { 1, 2, 3, 4 }, w = { 0.5f, 0.25f, 0.125f, 2 };
	uint64_t a = 0x123456789abcdefull, sum = 0;
	int64_t b = -987654321987ll;

	for (unsigned i = 1; i < 200; i++) {
		long double y = x;

		__asm__("fsqrt" : "+t"(y));
		x = x * 1.01L + y / i;
		y = i * 0.1L;
		__asm__("fsin" : "+t"(y));
		sine += y;
		v = v * w + v;
		a = a * 6364136223846793005ull + i;
		sum += a / (i * 77777777ull) + a % (i + 3);
		b = b * 3 / 2 + (int64_t)a % 1000;
	}
	printf("arithmetic: %.18Lg %.15g %.8g %.8g %llx %lld\n", x, sine, v[0], v[3], (unsigned long long)sum,
	       (long long)b);
}

/* -- processes -- */

static void processes(void)
{
	unsigned right = 0;

	for (int i = 0; i < 10; i++) {
		int status;
		pid_t child = fork();

		if (child == 0) {
			own = (uint64_t)i;
			_exit((int)own + 3);
		}
		waitpid(child, &status, 0);
		right += WIFEXITED(status) && WEXITSTATUS(status) == i + 3;
	}
	printf("processes: %u\n", right);
}

/* -- segments -- */

APART static void segments(void)
{
	static uint32_t storage[4] = { 11, 22, 33, 44 };
	struct user_desc entry = { .entry_number = 3, .base_addr = (uintptr_t)storage, .limit = 15, .seg_32bit = 1,
				   .useable = 1 };
	struct user_desc thread = { .entry_number = -1u, .base_addr = (uintptr_t)&storage[1], .limit = 0xfffff,
				    .seg_32bit = 1, .limit_in_pages = 1, .useable = 1 };
	uint32_t value = 0, last = 0;

	if (syscall(SYS_modify_ldt, 1, &entry, sizeof(entry)) < 0) {
		printf("segments: none, error %d\n", errno);
	} else {
		__asm__ volatile("movl %2, %%fs; movl %%fs:8, %0; movl %%fs:12, %1; movl $7, %%fs:4"
				 : "=&r"(value), "=&r"(last) : "r"(3 << 3 | 7) : "memory");
		printf("segments: %u, %u, %u\n", value, last, storage[1]);
		FAULTS("limit", __asm__ volatile("movl %%fs:16, %%eax" : : : "eax"));
		for (unsigned i = 0; i < 3; i++)
			call80(SYS_getpid, 0, 0, 0);
		__asm__ volatile("movl %%fs:0, %0; movl %1, %%fs" : "=&r"(value) : "r"(0));
		printf("behind calls: %u\n", value);
	}
	if (syscall(SYS_set_thread_area, &thread) == 0) {
		__asm__ volatile("movl %1, %%fs; movl %%fs:4, %0" : "=&r"(value)
				 : "r"((thread.entry_number << 3) | 3));
		sched_yield();
		__asm__ volatile("movl %%fs:8, %0; movl %1, %%fs" : "=&r"(last) : "r"(0));
		printf("storage: %u, %u\n", value, last);
	}
}

/* -- 64-bit code: adds two registers as wide as they are there -- */

static void wide(void)
{
	uint32_t low, high, selector, rounds = 0;

	for (unsigned i = 0; i < 1000; i++) {
		__asm__ volatile("	pushl $0x33\n"
				 "	pushl $1f\n"
				 "	lretl\n"
				 "1:	.byte 0x48, 0xb8; .quad 0x1122334455667788\n" /* mov $..., %rax */
				 "	.byte 0x48, 0xc1, 0xe0, 0x04\n"             /* shl $4, %rax */
				 "	movl %%eax, %%ecx\n"
				 "	.byte 0x48, 0xc1, 0xe8, 0x20\n"             /* shr $32, %rax */
				 "	movl %%cs, %%edx\n"
				 "	subl $8, %%esp\n"
				 "	movl $2f, (%%esp)\n"
				 "	movl $0x23, 4(%%esp)\n"
				 "	lretl\n"
				 "2:\n"
				 : "=a"(high), "=c"(low), "=d"(selector)
				 :
				 : "memory");
		rounds += high == 0x12233445 && low == 0x56677880 && selector == 0x33;
	}
	printf("64-bit code: %u of 1000\n", rounds);
}

static void own_code(void)
{
	uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned wrong = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		page[0] = 0xb8;
		memcpy(page + 1, &i, 4);
		page[5] = 0x40; /* inc %eax */
		page[6] = 0xc3;
		wrong += ((uint32_t (*)(void))page)() != i + 1;
	}
	printf("own code: %u wrong\n", wrong);
}

int main(void)
{
	static uint8_t stack[65536];
	const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	const stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaltstack(&other, NULL);
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigaction(faults[i], &action, NULL);
	calls();
	signals();
	threads();
	arithmetic();
	processes();
	wide();
	own_code();
	segments();
	return 0;
}
