/*
 * Memory slots at run time: add, move, delete, read-only, dirty log; also while the guest runs.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "contract.h"

#define SLOT_GPA 0x80000u

static uint8_t *extra; /* two pages */

static int set_slot(struct machine *machine, uint32_t flags, uint64_t gpa, uint64_t size,
		    void *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = 1,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	return kvm_vm_ioctl(&machine->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/*
 * mov $0x8000,%ax; mov %ax,%ds; 1: mov (0),%al; out %al,$1; incb (1); jmp 1b
 */
static const char reader[] = "\xb8\x00\x80\x8e\xd8\xa0\x00\x00\xe6\x01\xfe\x06\x01\x00\xeb\xf5";

static void expect_output(struct machine *machine, uint8_t value)
{
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(*(uint8_t *)run_io_data(machine->vcpu.run), value);
}

static void expect_mmio(struct machine *machine, uint64_t gpa, bool is_write, uint8_t answer)
{
	struct kvm_run *run = machine->vcpu.run;

	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(run->mmio.phys_addr, gpa);
	check_equal(run->mmio.is_write, is_write);
	if (!is_write)
		run->mmio.data[0] = answer;
}

static void test_slots(struct machine *machine)
{
	machine_load(machine, reader, sizeof(reader) - 1);
	memset(extra, 0, 0x2000);
	extra[0] = 0x11;
	extra[0x1000] = 0x22;
	check_equal(set_slot(machine, 0, SLOT_GPA, 0x1000, extra), 0);
	expect_output(machine, 0x11);
	expect_output(machine, 0x11);
	check_equal(extra[1], 1);
	/* Other memory behind the same addresses: delete and add, as every VMM does it. */
	check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
	check_equal(set_slot(machine, 0, SLOT_GPA, 0x1000, extra + 0x1000), 0);
	expect_output(machine, 0x22);
	check_equal(extra[1], 1);
	check_equal(extra[0x1001], 1);
	/* Elsewhere. */
	check_equal(set_slot(machine, 0, SLOT_GPA + 0x10000, 0x1000, extra + 0x1000), 0);
	expect_mmio(machine, SLOT_GPA + 1, false, 0x40);
	expect_mmio(machine, SLOT_GPA + 1, true, 0);
	check_equal(machine->vcpu.run->mmio.data[0], 0x41);
	expect_mmio(machine, SLOT_GPA, false, 0x33);
	expect_output(machine, 0x33);
	check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
}

static void test_read_only(struct machine *machine)
{
	machine_load(machine, reader, sizeof(reader) - 1);
	extra[0] = 0x44;
	extra[1] = 0x0f;
	check_equal(set_slot(machine, KVM_MEM_READONLY, SLOT_GPA, 0x1000, extra), 0);
	expect_output(machine, 0x44);
	/* Reads are memory, writes are for user space. */
	expect_mmio(machine, SLOT_GPA + 1, true, 0);
	check_equal(machine->vcpu.run->mmio.data[0], 0x10);
	check_equal(extra[1], 0x0f);
	expect_output(machine, 0x44);
	check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
}

static uint64_t dirty_pages(struct machine *machine)
{
	uint64_t bitmap = 0;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bitmap };

	check_equal(kvm_vm_ioctl(&machine->vm, KVM_GET_DIRTY_LOG, &log), 0);
	return bitmap;
}

static void test_dirty_log(struct machine *machine)
{
	machine_load(machine, reader, sizeof(reader) - 1);
	check_equal(set_slot(machine, 0, SLOT_GPA, 0x2000, extra), 0);
	expect_output(machine, extra[0]);
	expect_output(machine, extra[0]);
	check_equal(set_slot(machine, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, 0x2000, extra), 0);
	dirty_pages(machine);
	check_equal(dirty_pages(machine), 0);
	expect_output(machine, extra[0]);
	check_equal(dirty_pages(machine), 1);
	check_equal(dirty_pages(machine), 0);
	expect_output(machine, extra[0]);
	expect_output(machine, extra[0]);
	check_equal(dirty_pages(machine), 1);
	check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
}

static int clear_dirty(struct machine *machine, uint64_t bits, uint64_t first, uint32_t count)
{
	struct kvm_clear_dirty_log log = {
		.slot = 1, .first_page = first, .num_pages = count, .dirty_bitmap = &bits,
	};

	return kvm_vm_ioctl(&machine->vm, KVM_CLEAR_DIRTY_LOG, &log);
}

static int set_manual_log(struct machine *machine, uint64_t flags)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { flags } };

	return kvm_vm_ioctl(&machine->vm, KVM_ENABLE_CAP, &cap);
}

/* KVM_CLEAR_DIRTY_LOG (api.rst 4.117), with and without KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. */
static void test_manual_log(struct machine *machine)
{
	const uint64_t enable = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, all_set = KVM_DIRTY_LOG_INITIALLY_SET;

	check_equal(kvm_vm_ioctl(&machine->vm, KVM_CHECK_EXTENSION,
				 (void *)KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), enable | all_set);
	check_equal(set_manual_log(machine, 4), -EINVAL);
	check_equal(set_manual_log(machine, all_set), -EINVAL);
	check_equal(set_manual_log(machine, enable | all_set), 0);
	machine_load(machine, reader, sizeof(reader) - 1);
	check_equal(clear_dirty(machine, 3, 0, 2), -ENOENT);
	check_equal(set_slot(machine, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, 0x2000, extra), 0);
	check_equal(dirty_pages(machine), 3);
	check_equal(dirty_pages(machine), 3);
	check_equal(clear_dirty(machine, 2, 0, 2), 0);
	check_equal(dirty_pages(machine), 1);
	check_equal(clear_dirty(machine, 1, 0, 2), 0);
	check_equal(dirty_pages(machine), 0);
	/* The reader writes to the slot's first page, and each write after a clearing is seen. */
	for (unsigned i = 0; i < 3; i++) {
		expect_output(machine, extra[0]);
		expect_output(machine, extra[0]);
		check_equal(dirty_pages(machine), 1);
		check_equal(dirty_pages(machine), 1);
		check_equal(clear_dirty(machine, 1, 0, 2), 0);
		check_equal(dirty_pages(machine), 0);
	}
	check_equal(clear_dirty(machine, 1, 1, 1), -EINVAL);
	check_equal(clear_dirty(machine, 1, 0, 1), -EINVAL);
	check_equal(clear_dirty(machine, 1, 0, 3), -EINVAL);
	check_equal(clear_dirty(machine, 1, 64, 0), -EINVAL);
	check_equal(clear_dirty(machine, 0, 0, 2), 0);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_CLEAR_DIRTY_LOG, (void *)8), -EFAULT);
	check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
	/* Without the second flag a log begins clean. */
	check_equal(set_manual_log(machine, enable), 0);
	check_equal(set_slot(machine, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, 0x2000, extra), 0);
	check_equal(dirty_pages(machine), 0);
	check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
	check_equal(set_manual_log(machine, 0), 0);
}

static void *run_thread(void *argument)
{
	struct machine *machine = argument;

	while (machine_run(machine) == 0 && machine->vcpu.run->exit_reason == KVM_EXIT_MMIO)
		memset(machine->vcpu.run->mmio.data, 0, 8);
	return NULL;
}

/* Changes under a running guest take place, and neither side is stopped for long. */
static void test_concurrent(struct machine *machine)
{
	pthread_t thread;
	unsigned i;

	/* mov $0x8000,%ax; mov %ax,%ds; 1: incb (1); jmp 1b */
	machine_load(machine, "\xb8\x00\x80\x8e\xd8\xfe\x06\x01\x00\xeb\xfa", 11);
	extra[1] = 0;
	check_equal(set_slot(machine, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, 0x1000, extra), 0);
	pthread_create(&thread, NULL, run_thread, machine);
	for (i = 0; i < 50; i++) {
		sleep_ms(1);
		dirty_pages(machine);
		check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
		check_equal(set_slot(machine, KVM_MEM_LOG_DIRTY_PAGES, SLOT_GPA, 0x1000, extra), 0);
	}
	for (i = 0; i < 1000 && !dirty_pages(machine); i++)
		sleep_ms(5);
	check(i < 1000);
	kvm_vcpu_kick(&machine->vcpu, thread);
	pthread_join(thread, NULL);
	check_equal(machine->vcpu.run->exit_reason, KVM_EXIT_INTR);
	check_equal(set_slot(machine, 0, 0, 0, NULL), 0);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	extra = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	machine_create(&machine, &system, IRQCHIP_NONE, reader, sizeof(reader) - 1);
	test_slots(&machine);
	test_read_only(&machine);
	test_dirty_log(&machine);
	test_manual_log(&machine);
	test_concurrent(&machine);
	machine_destroy(&machine);
	munmap(extra, 0x2000);
	return contract_close(&system);
}
