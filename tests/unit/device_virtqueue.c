/* Virtqueues of both kinds: chains and their bytes, lies that break a queue, notices and interrupts. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "device/virtio/queue.h"

#define SIZE	    8
#define RAM_GPA	    0x10000
#define RAM_BYTES   0x8000
#define NEXT_GPA    (RAM_GPA + RAM_BYTES) /* a second region touches the first */
#define TABLE_GPA   RAM_GPA
#define DRIVER_GPA  (RAM_GPA + 0x1000)
#define DEVICE_GPA  (RAM_GPA + 0x2000)
#define BUFFERS_GPA (RAM_GPA + 0x3000)
#define INDIRECT    (RAM_GPA + 0x6000)

#define F_NEXT	   VRING_DESC_F_NEXT
#define F_WRITE	   VRING_DESC_F_WRITE
#define F_INDIRECT VRING_DESC_F_INDIRECT

static struct {
	uint8_t ram[RAM_BYTES] __attribute__((aligned(4096)));
	uint8_t next_ram[0x1000] __attribute__((aligned(4096)));
	struct guest_memory memory;
	struct virtqueue queue;
	uint16_t available;   /* split: the driver's index */
	unsigned at;	      /* packed: where the driver writes next */
	bool wrap;
} rig;

static void *at(uint64_t gpa)
{
	return gpa >= NEXT_GPA ? rig.next_ram + (gpa - NEXT_GPA) : rig.ram + (gpa - RAM_GPA);
}

static void open_queue(bool is_packed, bool has_event_index)
{
	memset(rig.ram, 0, sizeof(rig.ram));
	rig.memory = (struct guest_memory){.region_count = 2};
	rig.memory.regions[0] = (struct guest_region){RAM_GPA, RAM_BYTES, rig.ram, NULL};
	rig.memory.regions[1] = (struct guest_region){NEXT_GPA, 0x1000, rig.next_ram, NULL};
	assert_int_equal(virtqueue_init(&rig.queue, &rig.memory, SIZE), 0);
	rig.queue.state.descriptors_gpa = TABLE_GPA;
	rig.queue.state.driver_gpa = DRIVER_GPA;
	rig.queue.state.device_gpa = DEVICE_GPA;
	rig.queue.state.is_enabled = true;
	rig.queue.is_packed = is_packed;
	rig.queue.has_event_index = has_event_index;
	rig.available = 0;
	rig.at = 0;
	rig.wrap = true;
	virtqueue_enable(&rig.queue);
	assert_null(rig.queue.broken);
}

static void close_queue(void)
{
	virtqueue_destroy(&rig.queue);
}

/* --- the driver's side --- */

static void put(uint64_t table, unsigned index, uint64_t gpa, uint32_t size, uint16_t flags,
		uint16_t next)
{
	struct vring_desc *descriptors = at(table);

	descriptors[index] = (struct vring_desc){gpa, size, flags, next};
}

static void offer(uint16_t head)
{
	uint16_t *ring = at(DRIVER_GPA);

	ring[2 + rig.available % SIZE] = head;
	ring[1] = ++rig.available;
}

/* The next descriptor of a packed ring; the head's flags are given last. */
static void put_packed(uint64_t gpa, uint32_t size, uint16_t flags, uint16_t id)
{
	struct vring_packed_desc *descriptors = at(TABLE_GPA);

	flags |= rig.wrap ? 1u << VRING_PACKED_DESC_F_AVAIL : 1u << VRING_PACKED_DESC_F_USED;
	descriptors[rig.at] = (struct vring_packed_desc){gpa, size, id, flags};
	if (++rig.at == SIZE) {
		rig.at = 0;
		rig.wrap = !rig.wrap;
	}
}

static struct virtqueue_chain *pop(void)
{
	struct virtqueue_chain *chain = NULL;

	assert_int_equal(virtqueue_pop(&rig.queue, &chain), 1);
	assert_non_null(chain);
	return chain;
}

static void expect_none(void)
{
	struct virtqueue_chain *chain;

	assert_int_equal(virtqueue_pop(&rig.queue, &chain), 0);
	assert_null(rig.queue.broken);
}

static void expect_broken(const char *why)
{
	struct virtqueue_chain *chain;

	assert_int_equal(virtqueue_pop(&rig.queue, &chain), -EPROTO);
	assert_non_null(rig.queue.broken);
	assert_non_null(strstr(rig.queue.broken, why));
	/* For good, and nothing is told to the driver any more. */
	assert_int_equal(virtqueue_pop(&rig.queue, &chain), -EPROTO);
	assert_false(virtqueue_wants_interrupt(&rig.queue));
	close_queue();
}

/* --- chains --- */

static void check_bytes(struct virtqueue_chain *chain)
{
	char bytes[16] = "";
	struct iovec parts[4];

	assert_int_equal(chain->readable_bytes, 7);
	assert_int_equal(chain->writable_bytes, 300);
	assert_int_equal(virtqueue_read(chain, 1, bytes, sizeof(bytes)), 6);
	assert_string_equal(bytes, "bcdefg");
	assert_int_equal(virtqueue_write(chain, 98, "wxyz", 4), 4);
	assert_memory_equal((char *)at(BUFFERS_GPA + 0x200) + 98, "wx", 2);
	assert_memory_equal(at(BUFFERS_GPA + 0x300), "yz", 2);
	assert_int_equal(virtqueue_slice(chain, true, 50, 1000, parts, 4), 2);
	assert_int_equal(parts[0].iov_len, 50);
	assert_int_equal(parts[1].iov_len, 200);
	assert_int_equal(virtqueue_slice(chain, false, 7, 1, parts, 4), 0);
}

static void test_split_chain(void **state)
{
	struct virtqueue_chain *chain;
	uint32_t *used;

	(void)state;
	open_queue(false, false);
	expect_none();
	memcpy(at(BUFFERS_GPA), "abc", 3);
	memcpy(at(BUFFERS_GPA + 0x100), "defg", 4);
	put(TABLE_GPA, 3, BUFFERS_GPA, 3, F_NEXT, 7);
	put(TABLE_GPA, 7, BUFFERS_GPA + 0x100, 4, F_NEXT, 0);
	put(TABLE_GPA, 0, BUFFERS_GPA + 0x200, 100, F_NEXT | F_WRITE, 1);
	put(TABLE_GPA, 1, BUFFERS_GPA + 0x300, 200, F_WRITE, 5);
	offer(3);
	chain = pop();
	check_bytes(chain);
	expect_none();
	virtqueue_push(&rig.queue, chain, 102);
	used = at(DEVICE_GPA);
	assert_int_equal(((uint16_t *)used)[1], 1);
	assert_int_equal(used[1], 3);
	assert_int_equal(used[2], 102);
	close_queue();
}

static void test_packed_chain(void **state)
{
	struct vring_packed_desc *ring = at(TABLE_GPA);
	struct virtqueue_chain *chain;
	unsigned round;

	(void)state;
	open_queue(true, false);
	expect_none();
	/* Four of eight, then six: over the end of the ring, again and again. */
	for (round = 0; round < 40; round++) {
		uint16_t first = rig.at, flags;
		bool wrap = rig.wrap;

		memcpy(at(BUFFERS_GPA), "abc", 3);
		memcpy(at(BUFFERS_GPA + 0x100), "defg", 4);
		put_packed(BUFFERS_GPA, 3, F_NEXT, 0);
		put_packed(BUFFERS_GPA + 0x100, 4, F_NEXT, 0);
		if (round % 2)
			put_packed(BUFFERS_GPA + 0x200, 100, F_NEXT | F_WRITE, 0);
		else
			put_packed(BUFFERS_GPA + 0x200, 100, F_NEXT | F_WRITE, 9);
		put_packed(BUFFERS_GPA + 0x300, 200, F_WRITE, 100 + round);
		chain = pop();
		assert_int_equal(chain->descriptors, 4);
		/* Given back and taken again it is the same. */
		virtqueue_unpop(&rig.queue, chain);
		chain = pop();
		check_bytes(chain);
		if (round % 3 == 0)
			expect_none();
		virtqueue_push(&rig.queue, chain, round ? 5 : 0);
		assert_int_equal(ring[first].id, 100 + round);
		flags = ring[first].flags;
		assert_int_equal(!!(flags & 1u << VRING_PACKED_DESC_F_USED), wrap);
		assert_int_equal(!!(flags & 1u << VRING_PACKED_DESC_F_AVAIL), wrap);
		assert_int_equal(!!(flags & F_WRITE), round != 0);
		/* A single one, so that chains begin at odd places, too. */
		put_packed(BUFFERS_GPA, 1, F_WRITE, 7);
		virtqueue_push(&rig.queue, pop(), 1);
	}
	close_queue();
}

static void test_indirect(void **state)
{
	struct vring_packed_desc *table;
	struct virtqueue_chain *chain;

	(void)state;
	open_queue(false, false);
	memcpy(at(BUFFERS_GPA), "abc", 3);
	memcpy(at(BUFFERS_GPA + 0x100), "defg", 4);
	put(INDIRECT, 0, BUFFERS_GPA, 3, F_NEXT, 2);
	put(INDIRECT, 2, BUFFERS_GPA + 0x100, 4, F_NEXT, 1);
	put(INDIRECT, 1, BUFFERS_GPA + 0x200, 100, F_NEXT | F_WRITE, 3);
	put(INDIRECT, 3, BUFFERS_GPA + 0x300, 200, F_WRITE, 0);
	put(TABLE_GPA, 5, INDIRECT, 64, F_INDIRECT, 0);
	offer(5);
	chain = pop();
	assert_int_equal(chain->id, 5);
	check_bytes(chain);
	virtqueue_drop(chain);
	close_queue();

	open_queue(true, false);
	memcpy(at(BUFFERS_GPA), "abc", 3);
	memcpy(at(BUFFERS_GPA + 0x100), "defg", 4);
	/* One after the other, whatever `id` and the other flags say. */
	table = at(INDIRECT);
	table[0] = (struct vring_packed_desc){BUFFERS_GPA, 3, 2, F_NEXT};
	table[1] = (struct vring_packed_desc){BUFFERS_GPA + 0x100, 4, 9, 0};
	table[2] = (struct vring_packed_desc){BUFFERS_GPA + 0x200, 100, 0, F_WRITE};
	table[3] = (struct vring_packed_desc){BUFFERS_GPA + 0x300, 200, 0, F_WRITE | F_INDIRECT};
	put_packed(INDIRECT, 64, F_INDIRECT, 44);
	chain = pop();
	assert_int_equal(chain->id, 44);
	assert_int_equal(chain->descriptors, 1);
	check_bytes(chain);
	virtqueue_drop(chain);
	close_queue();
}

/* A buffer that lies in two regions becomes two parts. */
static void test_two_regions(void **state)
{
	struct virtqueue_chain *chain;

	(void)state;
	open_queue(false, false);
	put(TABLE_GPA, 0, NEXT_GPA - 10, 30, F_WRITE, 0);
	offer(0);
	chain = pop();
	assert_int_equal(chain->writable, 2);
	assert_int_equal(chain->writable_bytes, 30);
	assert_int_equal(virtqueue_write(chain, 8, "abcd", 4), 4);
	assert_memory_equal((char *)at(NEXT_GPA - 2), "ab", 2);
	assert_memory_equal((char *)at(NEXT_GPA), "cd", 2);
	virtqueue_push(&rig.queue, chain, 12);
	close_queue();
}

/* --- lies --- */

static void test_split_lies(void **state)
{
	(void)state;
	open_queue(false, false);
	put(TABLE_GPA, 0, BUFFERS_GPA, 4, F_NEXT, 1);
	put(TABLE_GPA, 1, BUFFERS_GPA, 4, F_NEXT, 0);
	offer(0);
	expect_broken("loop");

	open_queue(false, false);
	offer(SIZE);
	expect_broken("head");

	open_queue(false, false);
	put(TABLE_GPA, 0, BUFFERS_GPA, 4, F_NEXT, SIZE);
	offer(0);
	expect_broken("not in the table");

	open_queue(false, false);
	rig.available = SIZE;
	offer(0);
	expect_broken("more is available");

	open_queue(false, false);
	put(TABLE_GPA, 0, BUFFERS_GPA, 4, F_NEXT | F_WRITE, 1);
	put(TABLE_GPA, 1, BUFFERS_GPA, 4, 0, 0);
	offer(0);
	expect_broken("to read follows");

	open_queue(false, false);
	put(TABLE_GPA, 0, BUFFERS_GPA, 0, 0, 0);
	offer(0);
	expect_broken("no bytes");

	open_queue(false, false);
	put(TABLE_GPA, 0, NEXT_GPA + 0xfff, 2, 0, 0);
	offer(0);
	expect_broken("not in RAM");

	open_queue(false, false);
	put(TABLE_GPA, 0, UINT64_MAX, 2, 0, 0);
	offer(0);
	expect_broken("not in RAM");
}

static void test_indirect_lies(void **state)
{
	(void)state;
	open_queue(false, false);
	put(TABLE_GPA, 0, INDIRECT, 16, F_INDIRECT, 0);
	put(INDIRECT, 0, INDIRECT, 16, F_INDIRECT, 0);
	offer(0);
	expect_broken("in another");

	open_queue(false, false);
	put(TABLE_GPA, 0, INDIRECT, 16, F_INDIRECT | F_NEXT, 1);
	offer(0);
	expect_broken("follows an indirect");

	open_queue(false, false);
	put(TABLE_GPA, 0, INDIRECT, 17, F_INDIRECT, 0);
	offer(0);
	expect_broken("impossible length");

	open_queue(false, false);
	put(TABLE_GPA, 0, INDIRECT, 0, F_INDIRECT, 0);
	offer(0);
	expect_broken("impossible length");

	open_queue(false, false);
	put(TABLE_GPA, 0, NEXT_GPA - 16, 32, F_INDIRECT, 0);
	offer(0);
	expect_broken("table is not in RAM");

	open_queue(false, false);
	put(TABLE_GPA, 0, INDIRECT, 32, F_INDIRECT, 0);
	put(INDIRECT, 0, BUFFERS_GPA, 4, F_NEXT, 2);
	offer(0);
	expect_broken("not in the table");

	/* The table is longer than the queue, which is allowed; it loops, which isn't. */
	open_queue(false, false);
	put(TABLE_GPA, 0, INDIRECT, 16 * 20, F_INDIRECT, 0);
	put(INDIRECT, 0, BUFFERS_GPA, 4, F_NEXT, 0);
	offer(0);
	expect_broken("loop");
}

static void test_packed_lies(void **state)
{
	unsigned i;

	(void)state;
	open_queue(true, false);
	for (i = 0; i < SIZE; i++)
		put_packed(BUFFERS_GPA, 4, F_NEXT, 0);
	expect_broken("loop");

	open_queue(true, false);
	put_packed(BUFFERS_GPA, 4, F_NEXT, 0);
	put_packed(INDIRECT, 16, F_INDIRECT, 0);
	expect_broken("in a chain");

	open_queue(true, false);
	put_packed(BUFFERS_GPA, 4, F_NEXT | F_WRITE, 0);
	put_packed(BUFFERS_GPA, 4, 0, 0);
	expect_broken("to read follows");

	open_queue(true, false);
	put_packed(INDIRECT, 16, F_INDIRECT, 0);
	put(INDIRECT, 0, 0, 4, 0, 0);
	expect_broken("not in RAM");
}

static void expect_refused(uint64_t descriptors, uint64_t driver, uint64_t device, uint16_t size,
			   bool is_packed)
{
	open_queue(is_packed, true);
	rig.queue.state.descriptors_gpa = descriptors;
	rig.queue.state.driver_gpa = driver;
	rig.queue.state.device_gpa = device;
	rig.queue.state.size = size;
	virtqueue_enable(&rig.queue);
	assert_non_null(rig.queue.broken);
	close_queue();
}

/* Where a queue is put is checked once, when it is enabled. */
static void test_places(void **state)
{
	uint64_t end = RAM_GPA + RAM_BYTES;

	(void)state;
	expect_refused(0, DRIVER_GPA, DEVICE_GPA, SIZE, false);
	expect_refused(TABLE_GPA + 8, DRIVER_GPA, DEVICE_GPA, SIZE, false);
	expect_refused(TABLE_GPA, DRIVER_GPA + 1, DEVICE_GPA, SIZE, false);
	expect_refused(TABLE_GPA, DRIVER_GPA, DEVICE_GPA + 2, SIZE, false);
	expect_refused(end - 16 * SIZE + 16, DRIVER_GPA, DEVICE_GPA, SIZE, false);
	expect_refused(TABLE_GPA, end - 4 - 2 * SIZE, DEVICE_GPA, SIZE, false);
	expect_refused(TABLE_GPA, DRIVER_GPA, end - 4 - 8 * SIZE, SIZE, false);
	expect_refused(UINT64_MAX - 15, DRIVER_GPA, DEVICE_GPA, SIZE, false);
	expect_refused(TABLE_GPA, DRIVER_GPA, DEVICE_GPA, 6, false);
	expect_refused(TABLE_GPA, DRIVER_GPA, DEVICE_GPA, 0, false);
	expect_refused(TABLE_GPA, DRIVER_GPA, DEVICE_GPA, 0, true);
	expect_refused(TABLE_GPA, DRIVER_GPA + 2, DEVICE_GPA, SIZE, true);
	expect_refused(TABLE_GPA, DRIVER_GPA, NEXT_GPA + 0x1000, SIZE, true);
	/* Where a saved queue goes on. */
	open_queue(true, false);
	rig.queue.state.next = SIZE;
	virtqueue_enable(&rig.queue);
	assert_non_null(rig.queue.broken);
	close_queue();
}

/* --- notices and interrupts --- */

static void use_one(void)
{
	if (rig.queue.is_packed)
		put_packed(BUFFERS_GPA, 4, 0, 0);
	else
		offer(0);
	virtqueue_push(&rig.queue, pop(), 0);
}

static void test_split_flags(void **state)
{
	uint16_t *used = at(DEVICE_GPA), *available = at(DRIVER_GPA);

	(void)state;
	open_queue(false, false);
	put(TABLE_GPA, 0, BUFFERS_GPA, 4, 0, 0);
	assert_false(virtqueue_want_notices(&rig.queue, false));
	assert_int_equal(used[0], VRING_USED_F_NO_NOTIFY);
	assert_false(virtqueue_want_notices(&rig.queue, true));
	assert_int_equal(used[0], 0);
	offer(0);
	assert_true(virtqueue_want_notices(&rig.queue, true));
	virtqueue_push(&rig.queue, pop(), 0);
	assert_true(virtqueue_wants_interrupt(&rig.queue));
	assert_false(virtqueue_wants_interrupt(&rig.queue));
	available[0] = VRING_AVAIL_F_NO_INTERRUPT;
	use_one();
	assert_false(virtqueue_wants_interrupt(&rig.queue));
	close_queue();
}

/* 70,000 of them, so that indices wrap; the driver wants to hear of each third one. */
static void test_split_events(void **state)
{
	uint16_t *used_event = (uint16_t *)at(DRIVER_GPA) + 2 + SIZE;
	uint16_t *avail_event = (uint16_t *)(void *)((uint8_t *)at(DEVICE_GPA) + 4 + 8 * SIZE);
	unsigned i;

	(void)state;
	open_queue(false, true);
	put(TABLE_GPA, 0, BUFFERS_GPA, 4, 0, 0);
	use_one();
	assert_true(virtqueue_wants_interrupt(&rig.queue));
	*used_event = 3;
	for (i = 2; i < 70000; i++) {
		assert_false(virtqueue_want_notices(&rig.queue, true));
		assert_int_equal(*avail_event, (uint16_t)(i - 1));
		use_one();
		assert_int_equal(virtqueue_wants_interrupt(&rig.queue), i % 3 == 1);
		if (i % 3 == 1)
			*used_event = i + 2;
	}
	close_queue();
}

static void test_packed_flags(void **state)
{
	uint16_t *device = at(DEVICE_GPA), *driver = at(DRIVER_GPA);

	(void)state;
	open_queue(true, false);
	virtqueue_want_notices(&rig.queue, false);
	assert_int_equal(device[1], VRING_PACKED_EVENT_FLAG_DISABLE);
	assert_false(virtqueue_want_notices(&rig.queue, true));
	assert_int_equal(device[1], VRING_PACKED_EVENT_FLAG_ENABLE);
	put_packed(BUFFERS_GPA, 4, 0, 0);
	assert_true(virtqueue_want_notices(&rig.queue, true));
	virtqueue_push(&rig.queue, pop(), 0);
	assert_true(virtqueue_wants_interrupt(&rig.queue));
	assert_false(virtqueue_wants_interrupt(&rig.queue));
	driver[1] = VRING_PACKED_EVENT_FLAG_DISABLE;
	use_one();
	assert_false(virtqueue_wants_interrupt(&rig.queue));
	close_queue();
}

static void test_packed_events(void **state)
{
	uint16_t *device = at(DEVICE_GPA), *driver = at(DRIVER_GPA);
	unsigned i, event;

	(void)state;
	open_queue(true, true);
	driver[1] = VRING_PACKED_EVENT_FLAG_DESC;
	use_one();
	assert_true(virtqueue_wants_interrupt(&rig.queue));
	/* After three more descriptors: where the third one is, with its round's counter. */
	driver[0] = 3 | 1 << 15;
	for (i = 2; i < 1000; i++) {
		assert_false(virtqueue_want_notices(&rig.queue, true));
		assert_int_equal(device[0], (i - 1) % SIZE | ((i - 1) / SIZE % 2 ? 0 : 1 << 15));
		assert_int_equal(device[1], VRING_PACKED_EVENT_FLAG_DESC);
		use_one();
		assert_int_equal(virtqueue_wants_interrupt(&rig.queue), i % 3 == 1);
		if (i % 3 == 1) {
			event = i + 2;
			driver[0] = event % SIZE | (event / SIZE % 2 ? 0 : 1 << 15);
		}
	}
	close_queue();
}

/* All that the device writes is in the log of what the monitor wrote. */
/* A driver that offers again what the device has not given back: no more is taken than the queue has entries. */
static void test_overuse(void **state)
{
	struct virtqueue_chain *chains[SIZE];
	unsigned kind, i;

	(void)state;
	for (kind = 0; kind < 2; kind++) {
		open_queue(kind, false);
		put(TABLE_GPA, 0, BUFFERS_GPA, 4, F_WRITE, 0);
		for (i = 0; i < SIZE + 1; i++) {
			if (i)
				chains[i - 1] = pop();
			if (kind)
				put_packed(BUFFERS_GPA, 4, F_WRITE, i);
			else
				offer(0);
		}
		expect_broken("more is in use");
		for (i = 0; i < SIZE; i++)
			virtqueue_drop(chains[i]);
		/* After one was given back there is room. */
		open_queue(kind, false);
		put(TABLE_GPA, 0, BUFFERS_GPA, 4, F_WRITE, 0);
		for (i = 0; i < SIZE + 1; i++) {
			if (i == SIZE)
				virtqueue_push(&rig.queue, chains[0], 4);
			if (kind)
				put_packed(BUFFERS_GPA, 4, F_WRITE, i);
			else
				offer(0);
			chains[i % SIZE] = pop();
		}
		for (i = 0; i < SIZE; i++)
			virtqueue_drop(chains[i]);
		close_queue();
	}
}

static void test_log(void **state)
{
	uint64_t log[1] = {0};
	unsigned kind;

	(void)state;
	for (kind = 0; kind < 2; kind++) {
		open_queue(kind, false);
		assert_int_equal(guest_memory_log_start(&rig.memory), 0);
		if (kind)
			put_packed(BUFFERS_GPA + 0x800, 0x1000, F_WRITE, 0);
		else
			put(TABLE_GPA, 0, BUFFERS_GPA + 0x800, 0x1000, F_WRITE, 0);
		if (!kind)
			offer(0);
		virtqueue_push(&rig.queue, pop(), 1);
		log[0] = 0;
		guest_memory_log_take(&rig.memory, 0, log);
		/* The buffer's two pages and the used ring's, or the descriptors'. */
		assert_int_equal(log[0], 1u << 3 | 1u << 4 | (kind ? 1u << 0 : 1u << 2));
		virtqueue_want_notices(&rig.queue, true);
		log[0] = 0;
		guest_memory_log_take(&rig.memory, 0, log);
		assert_int_equal(log[0], 1u << 2);
		guest_memory_log_free(&rig.memory);
		close_queue();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_chain),	cmocka_unit_test(test_packed_chain),
		cmocka_unit_test(test_indirect),	cmocka_unit_test(test_two_regions),
		cmocka_unit_test(test_split_lies),	cmocka_unit_test(test_indirect_lies),
		cmocka_unit_test(test_packed_lies),	cmocka_unit_test(test_places),
		cmocka_unit_test(test_split_flags),	cmocka_unit_test(test_split_events),
		cmocka_unit_test(test_packed_flags),	cmocka_unit_test(test_packed_events),
		cmocka_unit_test(test_overuse),		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
