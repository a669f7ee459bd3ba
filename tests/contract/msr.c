/*
 * MSR accesses that user space forbids or answers: KVM_X86_SET_MSR_FILTER (api.rst 4.97) and
 * KVM_CAP_X86_USER_SPACE_MSR (7.21).
 */
#include <string.h>

#include "contract.h"

#define ABSENT_MSR 0x4b564d99u /* nobody has one of this number */
#define STAR_MSR   0xc0000081u
#define EFER_MSR   0xc0000080u
#define FAULT_PORT 0x66
#define DONE_PORT  0x77

/*
 * Real mode, with vector 13 at 0x1100: mov $INDEX,%ecx; mov $LOW,%eax; mov $HIGH,%edx;
 * rdmsr or wrmsr; out %al,$0x77; hlt
 */
static uint8_t code[] =
	"\x66\xb9\0\0\0\0\x66\xb8\0\0\0\0\x66\xba\0\0\0\0\x0f\x32\xe6\x77\xf4";
static const char fault_handler[] = "\xe6\x66\xf4"; /* out %al,$0x66; hlt */

#define HANDLER 0x1100u

static void load(struct machine *machine, uint32_t index, bool is_write, uint64_t value)
{
	uint32_t low = (uint32_t)value, high = (uint32_t)(value >> 32);
	uint16_t handler[2] = { HANDLER, 0 };

	memcpy(code + 2, &index, 4);
	memcpy(code + 8, &low, 4);
	memcpy(code + 14, &high, 4);
	code[19] = is_write ? 0x30 : 0x32;
	memcpy(machine->ram + HANDLER, fault_handler, sizeof(fault_handler));
	memcpy(machine->ram + 13 * 4, handler, sizeof(handler));
	machine_load(machine, code, sizeof(code) - 1);
}

static void expect_port(struct machine *machine, uint8_t port)
{
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(machine->vcpu.run->io.port, port);
}

static void expect_ask(struct machine *machine, uint32_t reason, uint32_t index, bool is_write,
		       uint64_t value)
{
	struct kvm_run *run = machine->vcpu.run;

	machine_expect(machine, is_write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR);
	check_equal(run->msr.reason, reason);
	check_equal(run->msr.index, index);
	check_equal(run->msr.error, 0);
	if (is_write)
		check_equal(run->msr.data, value);
}

static uint64_t edx_eax(struct machine *machine)
{
	struct kvm_regs regs = machine_regs(machine);

	return regs.rdx << 32 | (uint32_t)regs.rax;
}

static int set_exits(struct machine *machine, uint64_t reasons)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { reasons } };

	return kvm_vm_ioctl(&machine->vm, KVM_ENABLE_CAP, &cap);
}

/* Of `count` MSRs from `base` on, which may be read or written. */
static int set_filter(struct machine *machine, uint32_t flags, uint32_t range_flags, uint32_t base,
		      uint32_t count, void *bitmap)
{
	struct kvm_msr_filter filter = { .flags = flags };

	filter.ranges[3] = (struct kvm_msr_filter_range){
		.flags = range_flags, .base = base, .nmsrs = count, .bitmap = bitmap,
	};
	return kvm_vm_ioctl(&machine->vm, KVM_X86_SET_MSR_FILTER, &filter);
}

static void test_unknown(struct machine *machine)
{
	load(machine, ABSENT_MSR, false, 0);
	expect_port(machine, FAULT_PORT);
	check_equal(set_exits(machine, 1u << 30), -EINVAL);
	check_equal(set_exits(machine, KVM_MSR_EXIT_REASON_UNKNOWN), 0);

	/* An answer. */
	load(machine, ABSENT_MSR, false, 0);
	expect_ask(machine, KVM_MSR_EXIT_REASON_UNKNOWN, ABSENT_MSR, false, 0);
	machine->vcpu.run->msr.data = 0x1122334455667788;
	expect_port(machine, DONE_PORT);
	check_equal(edx_eax(machine), 0x1122334455667788);
	/* A fault. */
	load(machine, ABSENT_MSR, false, 0);
	expect_ask(machine, KVM_MSR_EXIT_REASON_UNKNOWN, ABSENT_MSR, false, 0);
	machine->vcpu.run->msr.error = 1;
	expect_port(machine, FAULT_PORT);
	/* Both for a write. */
	load(machine, ABSENT_MSR, true, 0xaabbccdd00112233);
	expect_ask(machine, KVM_MSR_EXIT_REASON_UNKNOWN, ABSENT_MSR, true, 0xaabbccdd00112233);
	expect_port(machine, DONE_PORT);
	load(machine, ABSENT_MSR, true, 5);
	expect_ask(machine, KVM_MSR_EXIT_REASON_UNKNOWN, ABSENT_MSR, true, 5);
	machine->vcpu.run->msr.error = 1;
	expect_port(machine, FAULT_PORT);
	/* With immediate_exit the instruction is completed, and no other. */
	load(machine, ABSENT_MSR, false, 0);
	expect_ask(machine, KVM_MSR_EXIT_REASON_UNKNOWN, ABSENT_MSR, false, 0);
	machine->vcpu.run->msr.data = 77;
	machine->vcpu.run->immediate_exit = 1;
	check_equal(machine_run(machine), -EINTR);
	machine->vcpu.run->immediate_exit = 0;
	check_equal(edx_eax(machine), 77);
	check_equal(machine_regs(machine).rip, CODE_GPA + 20);
	expect_port(machine, DONE_PORT);
}

static void test_invalid(struct machine *machine)
{
	/* EFER has no bit 63. */
	load(machine, EFER_MSR, true, 1ull << 63);
	expect_port(machine, FAULT_PORT);
	check_equal(set_exits(machine, KVM_MSR_EXIT_REASON_INVAL), 0);
	load(machine, EFER_MSR, true, 1ull << 63);
	expect_ask(machine, KVM_MSR_EXIT_REASON_INVAL, EFER_MSR, true, 1ull << 63);
	expect_port(machine, DONE_PORT);
	/* Now unknown ones are KVM's own affair. */
	load(machine, ABSENT_MSR, false, 0);
	expect_port(machine, FAULT_PORT);
}

static void test_filter(struct machine *machine)
{
	uint8_t bitmap[0x608] = { 0 };
	const uint32_t both = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;

	check_equal(set_exits(machine, 0), 0);
	check_equal(set_filter(machine, 2, both, STAR_MSR, 1, bitmap), -EINVAL);
	check_equal(set_filter(machine, 0, 4, STAR_MSR, 1, bitmap), -EINVAL);
	check_equal(set_filter(machine, 0, 0, STAR_MSR, 1, bitmap), -EINVAL);
	check_equal(set_filter(machine, 0, both, STAR_MSR, 0x3001, bitmap), -EINVAL);
	check_equal(set_filter(machine, 0, both, STAR_MSR, 1, (void *)8), -EFAULT);
	check_equal(set_filter(machine, KVM_MSR_FILTER_DEFAULT_DENY, both, STAR_MSR, 0, NULL), -EINVAL);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_X86_SET_MSR_FILTER, (void *)8), -EFAULT);

	/* Nothing may be written, and user space is not asked. */
	check_equal(set_filter(machine, 0, KVM_MSR_FILTER_WRITE, STAR_MSR, 2, bitmap), 0);
	load(machine, STAR_MSR, true, 0x10);
	expect_port(machine, FAULT_PORT);
	load(machine, STAR_MSR, false, 0x99);
	expect_port(machine, DONE_PORT);
	check_equal(edx_eax(machine), 0);
	/* Its neighbour may. */
	bitmap[0] = 2;
	check_equal(set_filter(machine, 0, both, STAR_MSR - 1, 2, bitmap), 0);
	load(machine, STAR_MSR, true, 0x1234);
	expect_port(machine, DONE_PORT);
	load(machine, STAR_MSR - 1, false, 0);
	expect_port(machine, FAULT_PORT);
	/* User space answers in place of the register, whose value is another. */
	check_equal(set_exits(machine, KVM_MSR_EXIT_REASON_FILTER), 0);
	bitmap[0] = 0;
	check_equal(set_filter(machine, 0, both, STAR_MSR, 1, bitmap), 0);
	load(machine, STAR_MSR, false, 0);
	expect_ask(machine, KVM_MSR_EXIT_REASON_FILTER, STAR_MSR, false, 0);
	machine->vcpu.run->msr.data = 0x9876;
	expect_port(machine, DONE_PORT);
	check_equal(edx_eax(machine), 0x9876);
	load(machine, STAR_MSR, true, 0x5555);
	expect_ask(machine, KVM_MSR_EXIT_REASON_FILTER, STAR_MSR, true, 0x5555);
	expect_port(machine, DONE_PORT);
	/* All but one are denied; then all are allowed again. */
	bitmap[0] = 1;
	check_equal(set_filter(machine, KVM_MSR_FILTER_DEFAULT_DENY, both, STAR_MSR, 1, bitmap), 0);
	load(machine, STAR_MSR, false, 0);
	expect_port(machine, DONE_PORT);
	check_equal(edx_eax(machine), 0x1234);
	load(machine, EFER_MSR, false, 0);
	expect_ask(machine, KVM_MSR_EXIT_REASON_FILTER, EFER_MSR, false, 0);
	machine->vcpu.run->msr.error = 1;
	expect_port(machine, FAULT_PORT);
	check_equal(set_filter(machine, 0, 0, 0, 0, NULL), 0);
	load(machine, EFER_MSR, false, 0);
	expect_port(machine, DONE_PORT);
	check_equal(edx_eax(machine), 0);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	machine_create(&machine, &system, IRQCHIP_NONE, code, sizeof(code) - 1);
	test_unknown(&machine);
	test_invalid(&machine);
	test_filter(&machine);
	machine_destroy(&machine);
	return contract_close(&system);
}
