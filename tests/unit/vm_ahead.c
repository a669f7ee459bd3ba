/* What is touched ahead of vCPUs: which blocks, in which direction, how much at most; nothing of what is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/vm/ahead.h"

#define BLOCK      (1ull << AHEAD_BLOCK_SHIFT)
#define PAGE       4096ull
#define BLOCKS     40u
#define SIZE       (BLOCKS * BLOCK + 3 * PAGE) /* the last block is a short one */
#define PATIENCE_S 30
#define SETTLED_NS 20000000L

struct fixture {
	struct ahead ahead;
	uint8_t *memory;
	uint64_t size;
	int fd;
};

static struct fixture *create(uint64_t size)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fd = memfd_create("test-ram", MFD_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, (off_t)size), 0);
	f->size = size;
	f->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, f->fd, 0);
	assert_ptr_not_equal(f->memory, MAP_FAILED);
	return f;
}

static int set_up(void **state)
{
	struct fixture *f = create(SIZE);

	ahead_start(&f->ahead, f->memory, SIZE);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ahead_stop(&f->ahead);
	munmap(f->memory, f->size);
	close(f->fd);
	free(f);
	return 0;
}

/* How many pages the host has given out in `count` blocks from `first` on. */
static uint64_t pages_there(const struct fixture *f, uint64_t first, uint64_t count)
{
	uint64_t from = first * BLOCK, end = from + count * BLOCK, pages, there = 0;
	unsigned char *vector;

	if (end > f->size)
		end = f->size;
	pages = (end - from) / PAGE;
	vector = malloc(pages);
	assert_int_equal(mincore(f->memory + from, end - from, vector), 0);
	for (uint64_t i = 0; i < pages; i++)
		there += vector[i] & 1;
	free(vector);
	return there;
}

static void sleep_ns(long ns)
{
	nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

/* Until so many pages are there, and then a little longer: there are not to be more. */
static void expect(const struct fixture *f, uint64_t pages)
{
	time_t deadline = time(NULL) + PATIENCE_S;

	while (pages_there(f, 0, BLOCKS + 1) < pages && time(NULL) < deadline)
		sleep_ns(1000000);
	sleep_ns(SETTLED_NS);
	assert_int_equal(pages_there(f, 0, BLOCKS + 1), pages);
}

static void touch(struct fixture *f, uint64_t block)
{
	ahead_touched(&f->ahead, f->memory + block * BLOCK + 5 * PAGE);
}

/* Without a second processor, or on a host that cannot, nothing is done: then there is nothing to see. */
static void need_thread(const struct fixture *f)
{
	if (!f->ahead.size || madvise(f->memory + SIZE - PAGE, PAGE, 23 /* MADV_POPULATE_WRITE */) < 0)
		skip();
	madvise(f->memory + SIZE - PAGE, PAGE, MADV_REMOVE);
}

static void single_blocks_lead_nowhere(void **state)
{
	struct fixture *f = *state;

	need_thread(f);
	touch(f, 3);
	touch(f, 7);
	touch(f, 3);
	touch(f, 20);
	ahead_touched(&f->ahead, f->memory + SIZE); /* not in it */
	ahead_touched(&f->ahead, f->memory - PAGE);
	expect(f, 0);
}

static void blocks_above_are_touched_on_the_way_up(void **state)
{
	struct fixture *f = *state;
	uint64_t each = BLOCK / PAGE;

	need_thread(f);
	f->memory[7 * BLOCK + 123] = 77; /* stays as it is */
	touch(f, 4);
	touch(f, 5);
	expect(f, AHEAD_BLOCKS * each);
	assert_int_equal(pages_there(f, 6, AHEAD_BLOCKS), AHEAD_BLOCKS * each);
	assert_int_equal(f->memory[7 * BLOCK + 123], 77);
	touch(f, 6);
	expect(f, (AHEAD_BLOCKS + 1) * each);
	assert_int_equal(pages_there(f, 6, AHEAD_BLOCKS + 1), (AHEAD_BLOCKS + 1) * each);
}

static void blocks_below_are_touched_on_the_way_down(void **state)
{
	struct fixture *f = *state;
	uint64_t each = BLOCK / PAGE;

	need_thread(f);
	touch(f, 30);
	touch(f, 29);
	expect(f, AHEAD_BLOCKS * each);
	assert_int_equal(pages_there(f, 29 - AHEAD_BLOCKS, AHEAD_BLOCKS), AHEAD_BLOCKS * each);
}

static void gaps_that_close_lead_nowhere(void **state)
{
	struct fixture *f = *state;

	need_thread(f);
	touch(f, 10);
	touch(f, 12);
	touch(f, 11);
	expect(f, 0);
}

static void memory_ends_at_its_borders(void **state)
{
	struct fixture *f = *state;
	uint64_t each = BLOCK / PAGE;

	need_thread(f);
	touch(f, 1);
	touch(f, 2);
	expect(f, AHEAD_BLOCKS * each);
	touch(f, 0); /* down, and there is nothing below */
	touch(f, BLOCKS - 2);
	touch(f, BLOCKS - 1);
	expect(f, AHEAD_BLOCKS * each + 3);
	assert_int_equal(pages_there(f, BLOCKS, 1), 3);
}

static void all_of_it_is_bounded(void **state)
{
	uint64_t blocks = (AHEAD_BYTES_MAX >> AHEAD_BLOCK_SHIFT) * 2;
	struct fixture *f = create(blocks * BLOCK);
	void *own = f;
	uint64_t there = 0;

	(void)state;
	ahead_start(&f->ahead, f->memory, f->size);
	/* Each second block of a pair, so that all that is there was touched ahead. */
	for (uint64_t i = 0; f->ahead.size && i + 2 <= blocks; i += 2 + AHEAD_BLOCKS) {
		time_t deadline = time(NULL) + PATIENCE_S;

		touch(f, i);
		touch(f, i + 1);
		while (!pages_there(f, i + 2, 1) && i + 2 < blocks &&
		       pages_there(f, 0, blocks) * PAGE < AHEAD_BYTES_MAX && time(NULL) < deadline)
			sleep_ns(100000);
		there = pages_there(f, 0, blocks) * PAGE;
		assert_true(there <= AHEAD_BYTES_MAX);
	}
	sleep_ns(SETTLED_NS);
	assert_true(pages_there(f, 0, blocks) * PAGE <= AHEAD_BYTES_MAX);
	tear_down(&own);
	if (!there)
		skip();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(single_blocks_lead_nowhere),
		TEST(blocks_above_are_touched_on_the_way_up),
		TEST(blocks_below_are_touched_on_the_way_down),
		TEST(gaps_that_close_lead_nowhere),
		TEST(memory_ends_at_its_borders),
		cmocka_unit_test(all_of_it_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
