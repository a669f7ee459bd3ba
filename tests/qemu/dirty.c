/*
 * Writes to each page of some MiB of memory again and again, one thread a CPU, and says WRONG when a page
 * does not hold what was written to it last: a page that a dirty log forgot, or wrote over.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_WORDS 512

struct worker {
	uint64_t *memory;
	size_t pages;
};

static void *work(void *argument)
{
	const struct worker *worker = argument;

	for (uint64_t pass = 1;; pass++)
		for (size_t page = 0; page < worker->pages; page++) {
			volatile uint64_t *words = worker->memory + page * PAGE_WORDS;
			uint64_t old = (pass - 1) * (page + 1), first = words[0],
				 last = words[PAGE_WORDS - 1];

			if (first != old || last != old)
				printf("WRONG page %zu: %#llx and %#llx, not %#llx\n", page,
				       (unsigned long long)first, (unsigned long long)last,
				       (unsigned long long)old);
			words[0] = words[PAGE_WORDS - 1] = pass * (page + 1);
		}
	return NULL;
}

int main(int argc, char **argv)
{
	size_t bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 8) << 20;
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	struct worker *workers = calloc((size_t)count, sizeof(*workers));
	pthread_t thread;

	if (!workers)
		return 1;
	for (long i = 0; i < count; i++) {
		workers[i].pages = bytes / (size_t)count / 4096;
		workers[i].memory = mmap(NULL, workers[i].pages * 4096, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (workers[i].memory == MAP_FAILED || pthread_create(&thread, NULL, work, &workers[i]))
			return 1;
	}
	printf("dirty: %zu MiB, %ld threads\n", bytes >> 20, count);
	pthread_join(thread, NULL);
	return 0;
}
