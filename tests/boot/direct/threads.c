/* Threads of one process on several CPUs: rights that are taken away, pages that are exchanged, code that changes, are so
 * everywhere when the call returns; atomic counters and per-CPU ones (rseq) come out right. */
#define _GNU_SOURCE
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <unistd.h>

#define PAGE	4096u
#define THREADS 4u
#define WRITERS 2u

static _Atomic int must_end;
static _Atomic uint64_t faults;
static uint64_t *shared;
static __thread sigjmp_buf back;

static void on_fault(int number)
{
	faults++;
	siglongjmp(back, number);
}

static void *write_always(void *unused)
{
	uint64_t i = 1;

	while (!must_end) {
		if (sigsetjmp(back, 1) == 0)
			while (!must_end)
				*(volatile uint64_t *)shared = i++;
	}
	return unused;
}

static void start(pthread_t *threads, unsigned count, void *(*function)(void *))
{
	must_end = 0;
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, function, (void *)(uintptr_t)i))
			abort();
}

static void end(pthread_t *threads, unsigned count)
{
	must_end = 1;
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void wait_a_little(void)
{
	for (volatile unsigned i = 0; i < 2000; i++)
		;
}

/* Until somebody has written. */
static void wait_for_writers(void)
{
	uint64_t before = *(volatile uint64_t *)shared;

	while (*(volatile uint64_t *)shared == before)
		sched_yield();
}

static void rights(void)
{
	pthread_t threads[WRITERS];
	unsigned stale = 0;

	start(threads, WRITERS, write_always);
	for (unsigned turn = 0; turn < 100; turn++) {
		uint64_t before;

		mprotect(shared, PAGE, PROT_READ);
		before = *(volatile uint64_t *)shared;
		wait_a_little();
		stale += *(volatile uint64_t *)shared != before;
		mprotect(shared, PAGE, PROT_READ | PROT_WRITE);
		wait_for_writers();
	}
	/* On a busy machine none may have had a processor while it could not write: one does before long. */
	mprotect(shared, PAGE, PROT_READ);
	for (unsigned i = 0; i < 10000 && !faults; i++)
		usleep(1000);
	mprotect(shared, PAGE, PROT_READ | PROT_WRITE);
	end(threads, WRITERS);
	printf("rights: %u times stale, writers were stopped: %s\n", stale, faults ? "yes" : "no");
}

static void exchange(void)
{
	int fd = memfd_create("pages", 0);
	pthread_t threads[WRITERS];
	volatile uint64_t *seen;
	unsigned stale = 0;

	if (fd < 0 || ftruncate(fd, 2 * PAGE) < 0)
		abort();
	seen = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	mmap(shared, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	start(threads, WRITERS, write_always);
	for (unsigned turn = 1; turn <= 100; turn++) {
		unsigned old = turn % 2 ? 0 : PAGE / 8;
		uint64_t before;

		if (turn % 3)
			munmap(shared, PAGE);
		mmap(shared, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, turn % 2 ? PAGE : 0);
		before = seen[old];
		wait_a_little();
		stale += seen[old] != before;
		wait_for_writers();
	}
	end(threads, WRITERS);
	printf("exchange: %u times stale\n", stale);
}

static _Atomic uint32_t asked, answered, answer;

static void *call_always(void *unused)
{
	while (!must_end) {
		if (asked == answered)
			continue;
		answer = ((uint32_t (*)(void))shared)();
		answered = asked;
	}
	return unused;
}

static void code(void)
{
	uint8_t *bytes = (uint8_t *)shared;
	pthread_t thread;
	unsigned wrong = 0;

	mmap(shared, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	start(&thread, 1, call_always);
	for (uint32_t turn = 0; turn < 200; turn++) {
		mprotect(shared, PAGE, PROT_READ | PROT_WRITE | (turn & 1 ? PROT_EXEC : 0));
		memcpy(bytes, "\xb8....\xc3", 6);
		memcpy(bytes + 1, &turn, 4);
		mprotect(shared, PAGE, PROT_READ | PROT_EXEC);
		asked++;
		while (answered != asked)
			sched_yield();
		wrong += answer != turn;
	}
	end(&thread, 1);
	printf("code: %u times wrong\n", wrong);
}

/* IRET to the next instruction: what serializes, and leads to no kernel (Intel SDM vol. 3 §8.3, §8.1.3). */
static void serialize(void)
{
	uint64_t scratch;

	__asm__ volatile("leaq -128(%%rsp), %%rsp\n"
			 "	movl %%ss, %k0\n"
			 "	pushq %0\n"
			 "	pushq %%rsp\n"
			 "	addq $8, (%%rsp)\n"
			 "	pushfq\n"
			 "	movl %%cs, %k0\n"
			 "	pushq %0\n"
			 "	leaq 1f(%%rip), %0\n"
			 "	pushq %0\n"
			 "	iretq\n"
			 "1:	leaq 128(%%rsp), %%rsp"
			 : "=&r"(scratch)
			 :
			 : "memory", "cc");
}

static void *call_serialized(void *unused)
{
	while (!must_end) {
		if (asked == answered)
			continue;
		serialize();
		answer = ((uint32_t (*)(void))shared)();
		answered = asked;
	}
	return unused;
}

/*
 * Code that is changed by another mapping, beside what stands for the host's features, and called elsewhere without a
 * system call in between. `with`: what follows the code in its page.
 */
static void modify(const char *name, const void *with, size_t size)
{
	int fd = memfd_create("code", 0);
	pthread_t thread;
	unsigned wrong = 0;
	uint8_t *bytes;

	if (fd < 0 || ftruncate(fd, PAGE) < 0)
		abort();
	mmap(shared, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
	bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memcpy(bytes, "\xb8....\xc3", 6);
	memcpy(bytes + 64, with, size);
	asked = answered = 0;
	start(&thread, 1, call_serialized);
	for (uint32_t turn = 0; turn < 500; turn++) {
		*(volatile uint32_t *)(bytes + 1) = turn;
		asked++;
		for (unsigned i = 0; answered != asked; i++)
			if (i % 1000000 == 999999)
				sched_yield();
		wrong += answer != turn;
	}
	end(&thread, 1);
	munmap(bytes, PAGE);
	close(fd);
	printf("%s: %u times wrong\n", name, wrong);
}

static uint64_t locked;
static _Atomic uint64_t counted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *count_up(void *unused)
{
	for (unsigned i = 0; i < 20000; i++) {
		counted++;
		pthread_mutex_lock(&lock);
		locked++;
		pthread_mutex_unlock(&lock);
	}
	return unused;
}

static void counters(void)
{
	pthread_t threads[THREADS];

	start(threads, THREADS, count_up);
	end(threads, THREADS);
	printf("counters: %lu and %lu\n", (unsigned long)counted, (unsigned long)locked);
}

/* -- restartable sequences -- */

static struct {
	uint64_t count;
	uint8_t padding[120];
} of_cpu[256] __attribute__((aligned(128)));

static struct rseq *rseq_area(void)
{
	return (struct rseq *)((uint8_t *)__builtin_thread_pointer() + __rseq_offset);
}

/* Whether it was done whole, on that CPU. */
static int increment(uint64_t *counter, uint32_t cpu)
{
	struct rseq *rseq = rseq_area();

	__asm__ goto(".pushsection .data\n"
		     "	.balign 32\n"
		     "3:	.long 0, 0\n"
		     "	.quad 1f, 2f - 1f, 4f\n"
		     "	.popsection\n"
		     "	leaq 3b(%%rip), %%rax\n"
		     "	movq %%rax, %[section]\n"
		     "1:	cmpl %[cpu], %[present]\n"
		     "	jnz 4f\n"
		     "	movq (%[counter]), %%rax\n"
		     "	movl $40, %%ecx\n"
		     "5:	decl %%ecx\n"
		     "	jnz 5b\n"
		     "	incq %%rax\n"
		     "	movq %%rax, (%[counter])\n"
		     "2:	jmp %l[done]\n"
		     "	.long %c[signature]\n"
		     "4:	jmp %l[aborted]\n"
		     :
		     : [section] "m"(rseq->rseq_cs), [present] "m"(rseq->cpu_id), [cpu] "r"(cpu),
		       [counter] "r"(counter), [signature] "i"(RSEQ_SIG)
		     : "rax", "rcx", "memory", "cc"
		     : done, aborted);
done:
	return 1;
aborted:
	return 0;
}

static void *count_per_cpu(void *unused)
{
	for (unsigned i = 0; i < 200000;) {
		uint32_t cpu = *(volatile uint32_t *)&rseq_area()->cpu_id_start;

		i += (unsigned)increment(&of_cpu[cpu % 256].count, cpu);
	}
	return unused;
}

static void restartable(void)
{
	pthread_t threads[THREADS];
	uint64_t sum = 0;

	if (!__rseq_size) {
		printf("rseq: none\n");
		return;
	}
	start(threads, THREADS, count_per_cpu);
	end(threads, THREADS);
	for (unsigned i = 0; i < 256; i++)
		sum += of_cpu[i].count;
	printf("rseq: %lu\n", (unsigned long)sum);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_fault };

	sigaction(SIGSEGV, &action, NULL);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rights();
	exchange();
	code();
	modify("modified", "", 0);
	/* XOR ECX, ECX; XGETBV; RET: not executed here, but looked for. */
	modify("modified beside XGETBV", "\x31\xc9\x0f\x01\xd0\xc3", 6);
	counters();
	restartable();
	return 0;
}
