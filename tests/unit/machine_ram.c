/* The log of written pages: what the monitor writes is in it beside what vCPUs write. Shadow RAM: what of it
 * reads and writes reach. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "machine/ram.h"
#include "util/guarded.h"
#include "faults.h"

#define RAM_BYTES (16u << 20)

struct setting {
	struct kvm_system system;
	struct kvm_vm vm;
	struct ram ram;
	uint64_t words[RAM_BYTES / 4096 / 64];
};

static int setup(void **state)
{
	static struct setting setting;
	struct error error;

	memset(&setting, 0, sizeof(setting));
	assert_int_equal(kvm_system_open(&setting.system, &kvm_backend_engine, NULL, &error), 0);
	assert_int_equal(kvm_vm_create(&setting.vm, &setting.system, &error), 0);
	assert_int_equal(ram_create(&setting.ram, &ram_layout_pc, RAM_BYTES, NULL, NULL, &error), 0);
	assert_int_equal(ram_attach(&setting.ram, &setting.vm, &error), 0);
	*state = &setting;
	return 0;
}

static int teardown(void **state)
{
	struct setting *setting = *state;

	kvm_vm_close(&setting->vm);
	kvm_system_close(&setting->system);
	ram_destroy(&setting->ram);
	return 0;
}

/* The pages of region `index` in the log, as a number of them and their sum. */
static unsigned read_log(struct setting *setting, unsigned index, unsigned *sum)
{
	struct error error;
	unsigned page, count = 0;

	memset(setting->words, 0, sizeof(setting->words));
	assert_int_equal(ram_log_read(&setting->ram, &setting->vm, index, setting->words, &error),
			 0);
	for (page = *sum = 0; page < RAM_BYTES / 4096; page++) {
		if (!(setting->words[page / 64] >> (page % 64) & 1))
			continue;
		count++;
		*sum += page;
	}
	return count;
}

static void test_log(void **state)
{
	struct setting *setting = *state;
	struct guest_memory *memory = &setting->ram.memory;
	uint8_t bytes[3 * 4096];
	struct error error;
	unsigned sum;

	memset(bytes, 1, sizeof(bytes));
	/* Before it is on: not logged, and not readable. */
	assert_int_equal(guest_memory_write(memory, 0x1000, bytes, 1), 0);
	assert_true(ram_log_read(&setting->ram, &setting->vm, 0, setting->words, &error) < 0);
	assert_int_equal(ram_log_start(&setting->ram, &setting->vm, &error), 0);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	/* The last byte of page 2 to the first of page 5. */
	assert_int_equal(guest_memory_write(memory, 0x2fff, bytes, 2 * 4096 + 2), 0);
	assert_int_equal(guest_memory_clear(memory, 0x9f000, 4096), 0);
	assert_int_equal(read_log(setting, 0, &sum), 5);
	assert_int_equal(sum, 2 + 3 + 4 + 5 + 0x9f);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	/* Reading memory is no write; nor is a write that is refused. */
	assert_int_equal(guest_memory_read(memory, 0x5000, bytes, 4096), 0);
	assert_int_equal(guest_memory_write(memory, 0x9ffff, bytes, 2), -EFAULT);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	/* Another region's pages are counted from its start; a pointer's user says what he wrote. */
	assert_int_equal(guest_memory_write(memory, 0xc1000, bytes, 1), 0);
	assert_non_null(guest_memory_for_writing(memory, 0x100000, 4096));
	guest_memory_written(memory, 0x100000, 4096);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	assert_int_equal(read_log(setting, 1, &sum), 1);
	assert_int_equal(sum, 1);
	assert_int_equal(read_log(setting, 2, &sum), 1);
	assert_int_equal(sum, 0);
	/* Off and on again: clean. */
	assert_int_equal(guest_memory_write(memory, 0x2000, bytes, 1), 0);
	assert_int_equal(ram_log_stop(&setting->ram, &setting->vm, &error), 0);
	assert_int_equal(ram_log_start(&setting->ram, &setting->vm, &error), 0);
	assert_int_equal(read_log(setting, 0, &sum), 0);
}

#define ROM_BYTES 0x20000
#define OPEN	  RAM_SHADOW_OPEN
#define PROTECTED RAM_SHADOW_READ
#define HIDDEN	  RAM_SHADOW_WRITE

/* What a guest does here: read a byte by way of each address, and write another; it ends with HLT. */
static uint8_t touch(struct setting *setting, struct kvm_vcpu *vcpu, uint32_t gpa)
{
	/* mov al, [gpa]; mov ah, al; mov byte [gpa], 0x99; hlt, flat at 0x1000 */
	uint8_t code[] = {0xa0, 0, 0, 0, 0, 0x88, 0xc4, 0xc6, 0x05, 0, 0, 0, 0, 0x99, 0xf4};
	struct kvm_segment flat = {.limit = 0xffffffff, .selector = 8, .type = 0xb, .present = 1,
				   .s = 1, .g = 1, .db = 1};
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
	unsigned exits;

	memcpy(code + 1, &gpa, 4);
	memcpy(code + 9, &gpa, 4);
	assert_int_equal(guest_memory_write(&setting->ram.memory, 0x1000, code, sizeof(code)), 0);
	assert_int_equal(kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = flat;
	flat.type = 3;
	flat.selector = 16;
	sregs.ds = sregs.es = sregs.ss = flat;
	sregs.cr0 = 0x11;
	assert_int_equal(kvm_vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(kvm_vcpu_ioctl(vcpu, KVM_SET_REGS, &regs), 0);
	for (exits = 0; exits < 4; exits++) {
		assert_int_equal(kvm_vcpu_ioctl(vcpu, KVM_RUN, NULL), 0);
		if (vcpu->run->exit_reason == KVM_EXIT_HLT)
			break;
		assert_int_equal(vcpu->run->exit_reason, KVM_EXIT_MMIO);
		assert_true(vcpu->run->mmio.phys_addr == gpa && vcpu->run->mmio.len == 1);
		if (vcpu->run->mmio.is_write)
			ram_shadow_mmio_ops.write(&setting->ram.shadow, gpa - RAM_SHADOW_START, 1,
						  vcpu->run->mmio.data[0]);
		else
			vcpu->run->mmio.data[0] =
				ram_shadow_mmio_ops.read(&setting->ram.shadow, gpa - RAM_SHADOW_START, 1);
	}
	assert_int_equal(vcpu->run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(kvm_vcpu_ioctl(vcpu, KVM_GET_REGS, &regs), 0);
	return regs.rax >> 8;
}

static void test_shadow(void **state)
{
	struct setting *setting = *state;
	static uint8_t rom[ROM_BYTES] __attribute__((aligned(4096)));
	const struct guest_memory *memory = &setting->ram.memory;
	/* Which segment, how it is routed, what a read sees, and what is in RAM after a write. */
	static const struct {
		uint32_t gpa;
		uint8_t access, read, left;
	} cases[] = {
		{0xc0000, OPEN, 0x11, 0x99},	  {0xc4000, PROTECTED, 0x11, 0x11},
		{0xc8000, 0, 0xff, 0x11},	  {0xcc000, HIDDEN, 0xff, 0x99},
		{0xe0000, OPEN, 0x11, 0x99},	  {0xe4000, PROTECTED, 0x11, 0x11},
		{0xe8000, 0, 0x77, 0x11},	  {0xec000, HIDDEN, 0x77, 0x99},
		{0xf0000, OPEN, 0x11, 0x99},	  {0xfffff, PROTECTED, 0x11, 0x11},
		{0xf8000, 0, 0x77, 0x11},	  {0xffff0, HIDDEN, 0x77, 0x99},
		{0xdffff, HIDDEN, 0xff, 0x99},	  {0xd0000, OPEN, 0x11, 0x99},
	};
	uint8_t access[RAM_SHADOW_SEGMENTS], bytes[0x40000], byte;
	struct kvm_vcpu vcpu;
	struct error error;
	unsigned i, segment, others;

	memset(rom, 0x77, sizeof(rom));
	assert_int_equal(kvm_vcpu_create(&vcpu, &setting->vm, 0, &error), 0);
	ram_shadow_set_rom(&setting->ram.shadow, rom, sizeof(rom));
	/* Each segment, with all others routed in each way. */
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		segment = (cases[i].gpa - RAM_SHADOW_START) / 0x4000;
		if (segment > RAM_SHADOW_SEGMENTS - 1)
			segment = RAM_SHADOW_SEGMENTS - 1;
		for (others = 0; others <= OPEN; others++) {
			memset(bytes, 0x11, sizeof(bytes));
			guest_memory_write(memory, RAM_SHADOW_START, bytes, sizeof(bytes));
			memset(access, others, sizeof(access));
			access[segment] = cases[i].access;
			assert_int_equal(ram_shadow_route(&setting->ram.shadow, &setting->vm, access,
							&error), 0);
			assert_int_equal(touch(setting, &vcpu, cases[i].gpa), cases[i].read);
			assert_int_equal(guest_memory_read(memory, cases[i].gpa, &byte, 1), 0);
			assert_int_equal(byte, cases[i].left);
		}
	}
	assert_int_equal(rom[0] & rom[ROM_BYTES - 1], 0x77);
	kvm_vcpu_close(&vcpu);
}

/* A log that is on knows what was written to shadow RAM, over changes of its routing, too. */
static void test_shadow_log(void **state)
{
	struct setting *setting = *state;
	uint8_t access[RAM_SHADOW_SEGMENTS];
	struct kvm_vcpu vcpu;
	struct error error;
	unsigned sum;

	assert_int_equal(kvm_vcpu_create(&vcpu, &setting->vm, 0, &error), 0);
	assert_int_equal(ram_log_start(&setting->ram, &setting->vm, &error), 0);
	touch(setting, &vcpu, 0xc5000);
	assert_int_equal(read_log(setting, 1, &sum), 1);
	assert_int_equal(sum, 5);
	memset(access, OPEN, sizeof(access));
	access[2] = PROTECTED;
	assert_int_equal(ram_shadow_route(&setting->ram.shadow, &setting->vm, access, &error), 0);
	assert_int_equal(read_log(setting, 1, &sum), 64);
	touch(setting, &vcpu, 0xc9000); /* protected */
	touch(setting, &vcpu, 0xd3000);
	touch(setting, &vcpu, 0xff000);
	assert_int_equal(read_log(setting, 1, &sum), 2);
	assert_int_equal(sum, 0x13 + 0x3f);
	assert_int_equal(ram_log_stop(&setting->ram, &setting->vm, &error), 0);
	assert_true(ram_log_read(&setting->ram, &setting->vm, 1, setting->words, &error) < 0);
	kvm_vcpu_close(&vcpu);
}

/* Nothing else is near it. */
static void test_guards(void **state)
{
	struct setting *setting = *state;

	assert_true(fault_stands_alone(setting->ram.base, RAM_BYTES, GUARD_BYTES));
}

/* Slots of memory: where it may lie, and that its pages are logged, freed and empty again. */
static void test_dimms(void **state)
{
	const struct ram_more more = {.slots = 3, .bytes = 6 << 20};
	struct setting *setting = *state;
	struct ram_dimm first = {.slot = RAM_ANY_SLOT, .size_bytes = 2 << 20}, second = {.slot = 2, .size_bytes = 4 << 20}, wrong;
	struct error error;
	struct kvm_vm vm;
	struct ram ram;
	uint64_t base, value = 42;

	assert_int_equal(ram_create(&ram, &ram_layout_pc, RAM_BYTES + 4096, &more, NULL, &error), 0);
	assert_int_equal(kvm_vm_create(&vm, &setting->system, &error), 0);
	assert_int_equal(ram_attach(&ram, &vm, &error), 0);
	base = ram_end(&ram) - (4ull << 30); /* 6 MiB take a GiB, and each slot another */
	assert_int_equal(base, RAM_HIGH_START);
	assert_null(ram_dimm(&ram, 0));
	wrong = (struct ram_dimm){.slot = 3, .size_bytes = 2 << 20};
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -EINVAL);
	wrong = (struct ram_dimm){.slot = 0, .size_bytes = 4096};
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -EINVAL);
	wrong = (struct ram_dimm){.slot = 0, .size_bytes = 8 << 20};
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -ENOSPC);
	wrong = (struct ram_dimm){.slot = 0, .size_bytes = 2 << 20, .gpa = ram_end(&ram)};
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -EINVAL);
	wrong.gpa = UINT64_MAX - (2 << 20) + 1;
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -EINVAL);

	assert_int_equal(ram_add_dimm(&ram, &first, &vm, &error), 0);
	assert_int_equal(first.slot, 0);
	assert_int_equal(first.gpa, base);
	assert_int_equal(ram_add_dimm(&ram, &second, &vm, &error), 0);
	assert_true(second.gpa >= base + first.size_bytes);
	wrong = (struct ram_dimm){.slot = 2, .size_bytes = 2 << 20};
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -EBUSY);
	wrong = (struct ram_dimm){.slot = 1, .size_bytes = 2 << 20};
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -ENOSPC); /* all is used */
	assert_int_equal(guest_memory_write(&ram.memory, second.gpa + (4 << 20) - sizeof(value), &value, sizeof(value)), 0);
	assert_int_equal(guest_memory_write(&ram.memory, second.gpa + (4 << 20) - 4, &value, sizeof(value)), -EFAULT);
	/* Its log begins with it, and ends with it. */
	assert_int_equal(ram_log_start(&ram, &vm, &error), 0);
	assert_int_equal(guest_memory_write(&ram.memory, second.gpa, &value, sizeof(value)), 0);
	memset(setting->words, 0, sizeof(setting->words));
	assert_int_equal(ram_log_read(&ram, &vm, RAM_FIRST_DIMM + 2, setting->words, &error), 0);
	assert_int_equal(setting->words[0], 1);
	assert_int_equal(ram_log_read(&ram, &vm, RAM_FIRST_DIMM + 1, setting->words, &error), 0); /* of nothing */
	assert_int_equal(ram_log_stop(&ram, &vm, &error), 0);

	ram_remove_dimm(&ram, 0, &vm);
	assert_false(guest_memory_contains(&ram.memory, first.gpa, 1));
	assert_true(guest_memory_contains(&ram.memory, second.gpa, 4 << 20));
	wrong = (struct ram_dimm){.slot = 1, .size_bytes = 2 << 20, .gpa = second.gpa + (2 << 20)};
	assert_int_equal(ram_add_dimm(&ram, &wrong, &vm, &error), -EBUSY);
	ram_remove_dimm(&ram, 2, &vm);
	/* A larger one in its place: empty, and logged as far as it reaches. */
	second = (struct ram_dimm){.slot = 2, .size_bytes = 6 << 20, .gpa = second.gpa};
	assert_int_equal(ram_add_dimm(&ram, &second, &vm, &error), 0);
	assert_int_equal(guest_memory_read(&ram.memory, second.gpa, &value, sizeof(value)), 0);
	assert_int_equal(value, 0);
	assert_int_equal(ram_log_start(&ram, &vm, &error), 0);
	assert_int_equal(guest_memory_write(&ram.memory, second.gpa + (6 << 20) - sizeof(value), &value, sizeof(value)), 0);
	assert_int_equal(ram_log_stop(&ram, &vm, &error), 0);
	ram_remove_dimm(&ram, 2, &vm);
	kvm_vm_close(&vm);
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dimms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shadow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shadow_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guards, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
