/*
 * Memory slots: the rules of KVM_SET_USER_MEMORY_REGION (api.rst 4.35) and of the dirty log (4.8),
 * as Linux's kvm_main.c has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vm/memslot.h"

#define MIB (1ull << 20)

struct fixture {
	struct memslots slots;
	uint8_t *memory; /* 4 MiB */
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->memory = aligned_alloc(4096, 4 * MIB);
	memset(fixture->memory, 0, 4 * MIB);
	memslots_init(&fixture->slots);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	memslots_destroy(&fixture->slots);
	free(fixture->memory);
	free(fixture);
	return 0;
}

static int set(struct fixture *fixture, uint32_t id, uint32_t flags, uint64_t gpa, uint64_t size,
	       uint64_t offset)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)fixture->memory + offset,
	};

	return memslots_set(&fixture->slots, &region);
}

static void invalid_regions_are_refused(void **state)
{
	struct fixture *f = *state;
	struct kvm_userspace_memory_region kernel = {
		.memory_size = 4096,
		.userspace_addr = 0xffff800000000000,
	};

	assert_int_equal(set(f, 0, 1 << 5, 0, MIB, 0), -EINVAL);
	assert_int_equal(set(f, 0, 0, 0, MIB + 1, 0), -EINVAL);
	assert_int_equal(set(f, 0, 0, 12, MIB, 0), -EINVAL);
	assert_int_equal(set(f, 0, 0, 0, MIB, 12), -EINVAL);
	assert_int_equal(set(f, MEMSLOTS_MAX, 0, 0, MIB, 0), -EINVAL);
	assert_int_equal(set(f, 1 << 16, 0, 0, MIB, 0), -EINVAL);
	assert_int_equal(set(f, 0, 0, -4096ull, 2 * 4096, 0), -EINVAL);
	assert_int_equal(set(f, 0, 0, 0, 1ull << 46, 0), -EINVAL);
	assert_int_equal(memslots_set(&f->slots, &kernel), -EINVAL);
	assert_int_equal(set(f, 0, 0, 0, 0, 0), -EINVAL); /* deletes what is not there */
	assert_int_equal(f->slots.count, 0);
	assert_int_equal(set(f, MEMSLOTS_MAX - 1, 0, 0, MIB, 0), 0);
}

static void slots_are_found_by_address(void **state)
{
	struct fixture *f = *state;
	struct cpu_page page;

	assert_int_equal(set(f, 7, 0, 2 * MIB, MIB, 2 * MIB), 0);
	assert_int_equal(set(f, 3, KVM_MEM_READONLY, 0, MIB, 0), 0);
	assert_int_equal(set(f, 5, 0, 1ull << 32, MIB, MIB), 0);

	assert_int_equal(memslots_find(&f->slots, MIB - 1)->id, 3);
	assert_null(memslots_find(&f->slots, MIB));
	assert_null(memslots_find(&f->slots, 2 * MIB - 1));
	assert_int_equal(memslots_find(&f->slots, 2 * MIB)->id, 7);
	assert_null(memslots_find(&f->slots, 3 * MIB));
	assert_int_equal(memslots_find(&f->slots, (1ull << 32) + 5)->id, 5);
	assert_null(memslots_find(&f->slots, UINT64_MAX));

	assert_true(memslots_page(&f->slots, 0x5678, &page));
	assert_ptr_equal(page.hva, f->memory + 0x5000);
	assert_false(page.writable);
	assert_false(page.dirty_logging);
	assert_true(memslots_page(&f->slots, 2 * MIB, &page));
	assert_true(page.writable);
	assert_false(memslots_page(&f->slots, MIB, &page));
}

static void overlaps_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set(f, 0, 0, MIB, MIB, 0), 0);
	assert_int_equal(set(f, 1, 0, MIB, MIB, 0), -EEXIST);
	assert_int_equal(set(f, 1, 0, 0, MIB + 4096, 0), -EEXIST);
	assert_int_equal(set(f, 1, 0, 2 * MIB - 4096, MIB, 0), -EEXIST);
	assert_int_equal(set(f, 1, 0, MIB + 4096, 4096, 0), -EEXIST);
	assert_int_equal(set(f, 1, 0, 0, MIB, 0), 0);
	assert_int_equal(set(f, 2, 0, 2 * MIB, MIB, 0), 0);
	assert_int_equal(f->slots.count, 3);
	/* A slot may move over its own place, not over another. */
	assert_int_equal(set(f, 2, 0, 2 * MIB - 4096, MIB, 0), -EEXIST);
	assert_int_equal(set(f, 2, 0, 2 * MIB + 4096, MIB, 0), 0);
	assert_null(memslots_find(&f->slots, 2 * MIB));
	assert_int_equal(memslots_find(&f->slots, 3 * MIB)->id, 2);
}

static void existing_slots_change_only_place_and_log(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set(f, 0, 0, 0, MIB, 0), 0);
	assert_int_equal(set(f, 0, 0, 0, MIB, 0), 0);
	assert_int_equal(set(f, 0, 0, 0, 2 * MIB, 0), -EINVAL);
	assert_int_equal(set(f, 0, 0, 0, MIB, 4096), -EINVAL);
	assert_int_equal(set(f, 0, KVM_MEM_READONLY, 0, MIB, 0), -EINVAL);
	assert_int_equal(set(f, 0, KVM_MEM_LOG_DIRTY_PAGES, 16 * MIB, MIB, 0), 0);
	assert_null(memslots_find(&f->slots, 0));
	assert_non_null(memslots_find(&f->slots, 16 * MIB)->dirty);
	assert_int_equal(set(f, 0, 0, 16 * MIB, MIB, 0), 0);
	assert_null(memslots_find(&f->slots, 16 * MIB)->dirty);
	assert_int_equal(set(f, 0, 0, 16 * MIB, 0, 0), 0);
	assert_int_equal(f->slots.count, 0);
}

static void dirty_log_is_copied_and_cleared(void **state)
{
	struct fixture *f = *state;
	uint64_t bitmap[4] = {0};
	struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = bitmap};
	struct cpu_page page;

	assert_int_equal(memslots_get_dirty_log(&f->slots, &log), -ENOENT);
	assert_int_equal(set(f, 1, 0, MIB, MIB, 0), 0);
	assert_int_equal(memslots_get_dirty_log(&f->slots, &log), -ENOENT);
	assert_int_equal(set(f, 1, KVM_MEM_LOG_DIRTY_PAGES, MIB, MIB, 0), 0);
	memslots_page(&f->slots, MIB, &page);
	assert_true(page.dirty_logging);

	memslots_mark_dirty(&f->slots, MIB + 3 * 4096 + 17, NULL);
	assert_int_equal(memslots_write(&f->slots, MIB + 70 * 4096 - 2, "abcd", 4), 0);
	assert_int_equal(memslots_get_dirty_log(&f->slots, &log), 0);
	assert_int_equal(bitmap[0], 1 << 3);
	assert_int_equal(bitmap[1], 3 << 5);
	assert_int_equal(memslots_get_dirty_log(&f->slots, &log), 0);
	assert_int_equal(bitmap[0] | bitmap[1] | bitmap[2] | bitmap[3], 0);
	log.slot = MEMSLOTS_MAX;
	assert_int_equal(memslots_get_dirty_log(&f->slots, &log), -EINVAL);
}

static void engine_accesses_cross_slots(void **state)
{
	struct fixture *f = *state;
	char buffer[8] = "";

	assert_int_equal(set(f, 0, 0, 0, MIB, 0), 0);
	assert_int_equal(set(f, 1, 0, MIB, MIB, 2 * MIB), 0);
	assert_int_equal(set(f, 2, KVM_MEM_READONLY, 2 * MIB, MIB, 3 * MIB), 0);
	assert_int_equal(memslots_write(&f->slots, MIB - 3, "abcdef", 6), 0);
	assert_memory_equal(f->memory + MIB - 3, "abc", 3);
	assert_memory_equal(f->memory + 2 * MIB, "def", 3);
	assert_int_equal(memslots_read(&f->slots, MIB - 3, buffer, 6), 0);
	assert_memory_equal(buffer, "abcdef", 6);
	assert_int_equal(memslots_read(&f->slots, 3 * MIB - 2, buffer, 4), -EFAULT);
	assert_int_equal(memslots_write(&f->slots, 2 * MIB, "x", 1), -EFAULT);
}

/* What a request takes away, and that a slot that stays or is new takes nothing. */
static void memory_goes_with_its_slot(void **state)
{
	struct fixture *f = *state;
	struct kvm_userspace_memory_region region = { .slot = 3, .guest_phys_addr = 4 * MIB,
						      .memory_size = 2 * MIB };
	uint64_t gpa = 0, last = 0;

	assert_false(memslots_gone(&f->slots, &region, &gpa, &last));
	assert_int_equal(set(f, 3, 0, 4 * MIB, 2 * MIB, 0), 0);
	region.flags = KVM_MEM_LOG_DIRTY_PAGES;
	assert_false(memslots_gone(&f->slots, &region, &gpa, &last));
	region.guest_phys_addr = 8 * MIB;
	assert_true(memslots_gone(&f->slots, &region, &gpa, &last));
	assert_int_equal(gpa, 4 * MIB);
	assert_int_equal(last, 6 * MIB - 1);
	region = (struct kvm_userspace_memory_region){ .slot = 3 };
	assert_true(memslots_gone(&f->slots, &region, &gpa, &last));
	region.slot = 4;
	assert_false(memslots_gone(&f->slots, &region, &gpa, &last));
}

static void many_slots(void **state)
{
	struct fixture *f = *state;

	/* Scattered order: 7919 is prime to 4096. */
	for (unsigned i = 0; i < 4096; i++) {
		unsigned id = i * 7919 % 4096;

		assert_int_equal(set(f, id, 0, id * 8192ull, 4096, 0), 0);
	}
	for (unsigned i = 0; i < 4096; i++) {
		assert_int_equal(memslots_find(&f->slots, i * 8192ull + 4095)->id, i);
		assert_null(memslots_find(&f->slots, i * 8192ull + 4096));
	}
	for (unsigned i = 0; i < 4096; i += 2)
		assert_int_equal(set(f, i, 0, 0, 0, 0), 0);
	assert_int_equal(f->slots.count, 2048);
	assert_null(memslots_find(&f->slots, 0));
	assert_int_equal(memslots_find(&f->slots, 8192)->id, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(invalid_regions_are_refused),
		TEST(slots_are_found_by_address),
		TEST(overlaps_are_refused),
		TEST(existing_slots_change_only_place_and_log),
		TEST(dirty_log_is_copied_and_cleared),
		TEST(engine_accesses_cross_slots),
		TEST(memory_goes_with_its_slot),
		TEST(many_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
