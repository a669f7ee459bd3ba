/* Promise: RAM that is sent while it changes is what it was when it stood still; and what comes is never trusted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "machine/saved_ram.h"

#define RAM_BYTES  (16u << 20)
#define PAGE	   4096u
#define PIPE_BYTES (40u << 20)

struct setting {
	struct kvm_system system;
	struct kvm_vm vm;
	struct ram from, to;
	uint8_t *bytes; /* that were written */
	size_t size, at;
	size_t broken_at; /* a write beyond fails */
	struct saved_stream stream;
};

static int put(void *context, const void *bytes, size_t size)
{
	struct setting *setting = context;

	if (setting->size + size > setting->broken_at)
		return -EPIPE;
	memcpy(setting->bytes + setting->size, bytes, size);
	setting->size += size;
	return 0;
}

static int take(void *context, void *bytes, size_t size)
{
	struct setting *setting = context;

	if (size > setting->size - setting->at)
		return -EPIPE;
	memcpy(bytes, setting->bytes + setting->at, size);
	setting->at += size;
	return 0;
}

static int setup(void **state)
{
	static struct setting setting;
	struct error error;

	memset(&setting, 0, sizeof(setting));
	assert_int_equal(kvm_system_open(&setting.system, &kvm_backend_engine, NULL, &error), 0);
	assert_int_equal(kvm_vm_create(&setting.vm, &setting.system, &error), 0);
	assert_int_equal(ram_create(&setting.from, &ram_layout_pc, RAM_BYTES, NULL, NULL, &error), 0);
	assert_int_equal(ram_create(&setting.to, &ram_layout_pc, RAM_BYTES, NULL, NULL, &error), 0);
	assert_int_equal(ram_attach(&setting.from, &setting.vm, &error), 0);
	setting.bytes = malloc(PIPE_BYTES);
	assert_non_null(setting.bytes);
	setting.broken_at = PIPE_BYTES;
	setting.stream = (struct saved_stream){put, take, &setting};
	*state = &setting;
	return 0;
}

static int teardown(void **state)
{
	struct setting *setting = *state;

	kvm_vm_close(&setting->vm);
	kvm_system_close(&setting->system);
	ram_destroy(&setting->from);
	ram_destroy(&setting->to);
	free(setting->bytes);
	return 0;
}

static void write_page(struct setting *setting, uint64_t gpa, uint8_t value)
{
	uint8_t page[PAGE];

	memset(page, value, sizeof(page));
	assert_int_equal(guest_memory_write(&setting->from.memory, gpa, page, sizeof(page)), 0);
}

static void compare(struct setting *setting)
{
	unsigned i;

	for (i = 0; i < setting->from.memory.region_count; i++) {
		const struct guest_region *region = &setting->from.memory.regions[i];

		assert_memory_equal(region->hva, setting->to.memory.regions[i].hva, region->size_bytes);
	}
}

static void test_rounds(void **state)
{
	struct setting *setting = *state;
	struct live_ram live;
	struct error error = {""};
	uint64_t gpa, all;
	unsigned i;

	srandom(1);
	/* What is in the other one goes. */
	memset(setting->to.memory.regions[2].hva, 0xee, PAGE * 4);
	for (gpa = 0x100000; gpa < 0x400000; gpa += PAGE)
		write_page(setting, gpa, gpa >> 12);
	write_page(setting, 0x9f000, 3);
	assert_int_equal(ram_log_start(&setting->from, &setting->vm, &error), 0);
	assert_int_equal(live_ram_begin(&live, &setting->from, &setting->stream), 0);
	live_ram_add_all(&live);
	/* The host may have made more at once than was touched. */
	all = live.pending_pages;
	assert_true(all >= 0x300 + 1);
	assert_int_equal(live_ram_send(&live), 0);
	assert_int_equal(live.pending_pages, 0);
	assert_int_equal(live.normal_pages + live.zero_pages, all);
	for (i = 0; i < 20; i++) {
		unsigned j;

		/* New pages, changed ones, ones that are zeroes by now. */
		for (j = 0; j < 50; j++)
			write_page(setting, 0x100000 + random() % 0x700 * PAGE, random() % 3);
		assert_int_equal(live_ram_add_written(&live, &setting->vm, &error), 0);
		assert_true(live.pending_pages > 30 && live.pending_pages <= 100);
		/* Whose rounds are cut short sends the rest in the next one. */
		if (i % 5 == 4)
			continue;
		assert_int_equal(live_ram_send(&live), 0);
	}
	assert_int_equal(live_ram_add_written(&live, &setting->vm, &error), 0);
	assert_int_equal(live_ram_send(&live), 0);
	assert_int_equal(live_ram_finish(&live), 0);
	assert_true(live.zero_pages > 100);
	live_ram_end(&live);
	assert_int_equal(ram_log_stop(&setting->from, &setting->vm, &error), 0);
	assert_int_equal(saved_ram_read(&setting->stream, &setting->to, &error), 0);
	assert_int_equal(setting->at, setting->size);
	compare(setting);
	/* And all at once. */
	setting->at = setting->size = 0;
	assert_int_equal(saved_ram_write(&setting->stream, &setting->from), 0);
	assert_int_equal(saved_ram_read(&setting->stream, &setting->to, &error), 0);
	compare(setting);
}

static void test_broken(void **state)
{
	struct setting *setting = *state;
	struct live_ram live;

	write_page(setting, 0x2000, 1);
	write_page(setting, 0x200000, 1);
	assert_int_equal(live_ram_begin(&live, &setting->from, &setting->stream), 0);
	live_ram_add_all(&live);
	setting->broken_at = 5000;
	assert_int_equal(live_ram_send(&live), -EPIPE);
	/* What did not go is still to go. */
	assert_true(live.pending_pages > 0);
	live_ram_end(&live);
}

static void refuse(struct setting *setting, uint64_t gpa, uint64_t size, const char *why)
{
	uint64_t run[2] = {gpa, size};
	struct error error = {""};

	memcpy(setting->bytes, run, sizeof(run));
	memset(setting->bytes + sizeof(run), 1, 1 << 20);
	setting->size = sizeof(run) + (1 << 20);
	setting->at = 0;
	assert_true(saved_ram_read(&setting->stream, &setting->to, &error) < 0);
	if (!strstr(error.message, why))
		fail_msg("%llx+%llx: %s", (unsigned long long)gpa, (unsigned long long)size, error.message);
}

static void test_hostile(void **state)
{
	struct setting *setting = *state;
	struct error error = {""};
	size_t size, cut;

	refuse(setting, 0xa0000, PAGE, "where there is none");
	refuse(setting, 0x9f000, 2 * PAGE, "where there is none");
	refuse(setting, 0x1000 | 1, 1ull << 40, "where there is none");
	refuse(setting, RAM_BYTES, PAGE, "where there is none");
	refuse(setting, UINT64_MAX & ~0xfffull, PAGE, "where there is none");
	refuse(setting, 0x1000, UINT64_MAX & ~0xfffull, "where there is none");
	refuse(setting, 0x1001 + 1, PAGE, "where there is none");
	refuse(setting, 0x1000, PAGE + 1, "where there is none");
	refuse(setting, 0x100000, 8 << 20, "where there is none"); /* longer than runs are */
	refuse(setting, 0x100000, 2 << 20, "ends too early");
	refuse(setting, 5, 0, "checksum is wrong");
	setting->size = 0;
	write_page(setting, 0x3000, 7);
	assert_int_equal(saved_ram_write(&setting->stream, &setting->from), 0);
	size = setting->size;
	for (cut = 0; cut < size; cut += 511) {
		setting->size = cut;
		setting->at = 0;
		assert_true(saved_ram_read(&setting->stream, &setting->to, &error) < 0);
		assert_non_null(strstr(error.message, "ends too early"));
	}
	setting->size = size;
	setting->at = 0;
	setting->bytes[100] ^= 1;
	assert_true(saved_ram_read(&setting->stream, &setting->to, &error) < 0);
	assert_non_null(strstr(error.message, "checksum is wrong"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
