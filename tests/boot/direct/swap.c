/* More memory than the guest has: all of it comes back from swap as it was written, in any order, in two processes. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 70000u /* 273 MiB */
#define WORDS 512u

static uint64_t value(uint64_t page, uint64_t word)
{
	return (page * 0x9e3779b97f4a7c15ull) ^ (word * 0xc2b2ae3d27d4eb4full);
}

static unsigned wrong_in(const uint64_t *memory, unsigned first, unsigned step, unsigned changed)
{
	unsigned wrong = 0;

	for (unsigned i = first; i < PAGES; i += step) {
		/* 70000 = 2^4 * 5^4 * 7: none of these divides this. */
		unsigned page = (unsigned)((uint64_t)i * 33331 % PAGES);
		const uint64_t *words = memory + (uint64_t)page * WORDS;

		for (unsigned k = 0; k < WORDS; k += 37)
			wrong += words[k] != value(page, k) + (page % 3 == 0 ? changed : 0);
	}
	return wrong;
}

int main(void)
{
	uint64_t *memory = mmap(NULL, PAGES * 4096ull, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned wrong;
	int status;
	pid_t child;

	if (memory == MAP_FAILED)
		return 1;
	for (unsigned page = 0; page < PAGES; page++)
		for (unsigned k = 0; k < WORDS; k += 37)
			memory[(uint64_t)page * WORDS + k] = value(page, k);
	printf("written\n");
	wrong = wrong_in(memory, 0, 1, 0);
	printf("in disorder: %u wrong\n", wrong);
	for (unsigned page = 0; page < PAGES; page += 3)
		for (unsigned k = 0; k < WORDS; k += 37)
			memory[(uint64_t)page * WORDS + k]++;
	child = fork();
	wrong = wrong_in(memory, child ? 0 : 1, 2, 1);
	if (child == 0)
		_exit(wrong != 0);
	waitpid(child, &status, 0);
	printf("changed: %u wrong, in the other process %s\n", wrong, status ? "some" : "none");
	return 0;
}
