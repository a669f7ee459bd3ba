/* Where programs may have memory: below the end of the 47-bit space, at the lowest page, far apart; more than there is;
 * moved, forgotten, mapped twice, and executed there. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ull
#define LAST 0x7fffffffe000ull /* the last page that Linux gives */

static sigjmp_buf back;
static volatile int number, code;
static volatile uint64_t address;

static void on_signal(int which, siginfo_t *info, void *context)
{
	(void)context;
	number = which;
	code = info->si_code;
	address = (uint64_t)info->si_addr;
	siglongjmp(back, 1);
}

static const char *load(uint64_t place)
{
	static char text[80];

	if (sigsetjmp(back, 1) == 0)
		snprintf(text, sizeof(text), "%u", *(volatile uint8_t *)place);
	else
		snprintf(text, sizeof(text), "signal %d, code %d, at %lx", number, code, (unsigned long)address);
	return text;
}

static const char *call(uint64_t place)
{
	static char text[80];

	if (sigsetjmp(back, 1) == 0)
		snprintf(text, sizeof(text), "%u", ((unsigned (*)(void))place)());
	else
		snprintf(text, sizeof(text), "signal %d, code %d, at %lx", number, code, (unsigned long)address);
	return text;
}

static uint8_t *map(uint64_t place, uint64_t size, int rights)
{
	return mmap((void *)place, size, rights,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (place ? MAP_FIXED_NOREPLACE : 0), -1, 0);
}

/* mov $value, %eax; ret, that ends with the page. */
static void put_code(uint8_t *end, uint32_t value)
{
	end[-6] = 0xb8;
	memcpy(end - 5, &value, 4);
	end[-1] = 0xc3;
}

static void edges(void)
{
	static const uint64_t places[] = { 0x10000, 0x7fff000, 0x100000000, 0x600000000000, 0x6a8000000000,
					   0x6aaa00000000, LAST };

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint8_t *page = map(places[i], PAGE, PROT_READ | PROT_WRITE);

		if ((uint64_t)page != places[i]) {
			printf("%lx: not to be had\n", (unsigned long)places[i]);
			continue;
		}
		put_code(page + PAGE, i + 40);
		printf("%lx: holds %s, ", (unsigned long)places[i], load(places[i]));
		printf("not executed: %s, ", call(places[i] + PAGE - 6));
		mprotect(page, PAGE, PROT_READ | PROT_EXEC);
		printf("executed: %s, ", call(places[i] + PAGE - 6));
		page = mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, 0x200000000000);
		printf("moved: %s, ", call((uint64_t)page + PAGE - 6));
		printf("gone: %s\n", load(places[i]));
		munmap(page, PAGE);
	}
	printf("nowhere: %s\n", load(0x6aaa00001000));
	printf("below: %s\n", load(0x8));
	printf("behind: %s\n", load(LAST + PAGE));
	printf("noncanonical: %s\n", load(0x800000000000));
	printf("kernel: %s\n", load(0xffffffff81000000));
	printf("executed behind: %s\n", call(LAST + PAGE));
}

static void sparse(void)
{
	unsigned count = 0, right = 0;

	for (uint64_t place = 0x20000000000; place < 0x540000000000; place += 0x1000000000) {
		uint8_t *page = map(place, PAGE, PROT_READ | PROT_WRITE);

		if ((uint64_t)page != place)
			continue;
		*(uint64_t *)(page + 8) = place;
		count++;
	}
	for (uint64_t place = 0x20000000000; place < 0x540000000000; place += 0x1000000000)
		right += *(uint64_t *)(place + 8) == place && *(uint64_t *)place == 0;
	printf("sparse: %u pages, %u right\n", count, right);
}

static void overcommit(void)
{
	uint64_t size = 1ull << 40, step = 1ull << 32, sum = 0;
	uint8_t *memory = map(0, size, PROT_READ | PROT_WRITE);

	for (uint64_t i = 0; i < size; i += step)
		*(uint64_t *)(memory + i) = i + 1;
	for (uint64_t i = 0; i < size; i += step)
		sum += *(uint64_t *)(memory + i);
	printf("a TiB: %lx\n", (unsigned long)sum);
	madvise(memory, size, MADV_DONTNEED);
	for (uint64_t i = 0, k = 0; i < size; i += step, k++)
		sum += *(uint64_t *)(memory + i) * k;
	printf("forgotten: %lx\n", (unsigned long)sum);
	munmap(memory, size);
}

/* As compilers at run time have it: written here, executed there. */
static void twice(void)
{
	int fd = memfd_create("code", 0);
	uint8_t *written, *executed;
	uint64_t wrong = 0;

	if (fd < 0 || ftruncate(fd, PAGE) < 0)
		abort();
	written = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	executed = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	for (uint32_t i = 0; i < 2000; i++) {
		put_code(written + PAGE, i);
		wrong += ((uint32_t (*)(void))(executed + PAGE - 6))() != i;
	}
	printf("two mappings: %lu wrong\n", (unsigned long)wrong);
	executed = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (uint32_t i = 0; i < 2000; i++) {
		put_code(executed + PAGE, i);
		wrong += ((uint32_t (*)(void))(executed + PAGE - 6))() != i;
	}
	printf("one mapping: %lu wrong\n", (unsigned long)wrong);
}

static void large(void)
{
	uint8_t *memory = map(0, 8 << 20, PROT_READ | PROT_WRITE);
	uint8_t *start = (uint8_t *)(((uint64_t)memory + (2 << 20)) & ~((2ull << 20) - 1));
	uint64_t sum = 0;

	madvise(memory, 8 << 20, MADV_HUGEPAGE);
	for (unsigned i = 0; i < 4 << 20; i += 64)
		*(uint32_t *)(start + i) = i;
	mprotect(start + 0x123000, PAGE, PROT_NONE);
	for (unsigned i = 0; i < 4 << 20; i += 64)
		if (i < 0x123000 || i >= 0x124000)
			sum += *(uint32_t *)(start + i);
	printf("large pages: %lx, ", (unsigned long)sum);
	/* Its address is the system's choice. */
	if (sigsetjmp(back, 1) == 0)
		printf("%u\n", start[0x123010]);
	else
		printf("signal %d, code %d, at +%lx\n", number, code, (unsigned long)(address - (uint64_t)start));
}

static unsigned deep(unsigned depth)
{
	volatile uint8_t frame[2000];

	frame[depth % 2000] = (uint8_t)depth;
	return depth ? deep(depth - 1) + frame[depth % 2000] : 0;
}

/* A child's writes are not its parent's, nor the other way. */
static void copies(void)
{
	uint32_t *memory = (uint32_t *)map(0, 4 << 20, PROT_READ | PROT_WRITE);
	unsigned wrong = 0;
	int status;

	for (unsigned i = 0; i < 1 << 20; i++)
		memory[i] = i;
	for (unsigned turn = 0; turn < 5; turn++) {
		pid_t child = fork();

		for (unsigned i = turn; i < 1 << 20; i += 511)
			memory[i] ^= child ? 0x55555555 : 0xaaaaaaaa;
		for (unsigned i = turn; i < 1 << 20; i += 511)
			memory[i] ^= child ? 0x55555555 : 0xaaaaaaaa;
		for (unsigned i = 0; i < 1 << 20; i++)
			wrong += memory[i] != i;
		if (child == 0)
			_exit(wrong != 0);
		waitpid(child, &status, 0);
		wrong += status != 0;
	}
	printf("copies: %u wrong\n", wrong);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	edges();
	sparse();
	overcommit();
	twice();
	large();
	printf("stack: %u\n", deep(3000));
	copies();
	return 0;
}
