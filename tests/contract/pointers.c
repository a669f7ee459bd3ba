/*
 * Wild pointers: every request that takes a struct, given memory that cannot be read, or written, wholly
 * or from some byte on, gives EFAULT and nothing worse; so do pointers within structs, and counts that
 * lead out of memory.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "contract.h"

enum level { SYSTEM, VM, VCPU };

struct row {
	enum level level;
	unsigned long request;
	const char *name;
};

#define ROW(level, request) { level, request, #request }

/* In: at least the struct is read. Out: something is written. */
static const struct row in_rows[] = {
	ROW(SYSTEM, KVM_GET_MSR_INDEX_LIST), ROW(SYSTEM, KVM_GET_MSR_FEATURE_INDEX_LIST),
	ROW(SYSTEM, KVM_GET_MSRS), ROW(SYSTEM, KVM_GET_SUPPORTED_CPUID),
	ROW(SYSTEM, KVM_GET_EMULATED_CPUID),
	ROW(VM, KVM_SET_USER_MEMORY_REGION), ROW(VM, KVM_GET_DIRTY_LOG), ROW(VM, KVM_GET_IRQCHIP),
	ROW(VM, KVM_SET_IRQCHIP), ROW(VM, KVM_CREATE_PIT2), ROW(VM, KVM_SET_PIT),
	ROW(VM, KVM_SET_PIT2), ROW(VM, KVM_REINJECT_CONTROL), ROW(VM, KVM_SET_GSI_ROUTING),
	ROW(VM, KVM_IRQFD), ROW(VM, KVM_IOEVENTFD), ROW(VM, KVM_SET_CLOCK), ROW(VM, KVM_ENABLE_CAP),
	ROW(VCPU, KVM_SET_REGS), ROW(VCPU, KVM_SET_SREGS), ROW(VCPU, KVM_SET_SREGS2),
	ROW(VCPU, KVM_SET_FPU), ROW(VCPU, KVM_SET_XSAVE), ROW(VCPU, KVM_SET_XCRS),
	ROW(VCPU, KVM_SET_LAPIC), ROW(VCPU, KVM_SET_MP_STATE), ROW(VCPU, KVM_SET_VCPU_EVENTS),
	ROW(VCPU, KVM_SET_DEBUGREGS), ROW(VCPU, KVM_SET_GUEST_DEBUG), ROW(VCPU, KVM_INTERRUPT),
	ROW(VCPU, KVM_X86_SETUP_MCE), ROW(VCPU, KVM_SET_VAPIC_ADDR),
	ROW(VCPU, KVM_TPR_ACCESS_REPORTING), ROW(VCPU, KVM_TRANSLATE), ROW(VCPU, KVM_GET_MSRS),
	ROW(VCPU, KVM_SET_MSRS), ROW(VCPU, KVM_GET_CPUID2), ROW(VCPU, KVM_SET_CPUID2),
	ROW(VCPU, KVM_SET_SIGNAL_MASK),
};

static const struct row out_rows[] = {
	ROW(SYSTEM, KVM_X86_GET_MCE_CAP_SUPPORTED),
	ROW(VM, KVM_GET_PIT), ROW(VM, KVM_GET_PIT2), ROW(VM, KVM_GET_CLOCK), ROW(VM, KVM_GET_IRQCHIP),
	ROW(VCPU, KVM_GET_REGS), ROW(VCPU, KVM_GET_SREGS), ROW(VCPU, KVM_GET_SREGS2),
	ROW(VCPU, KVM_GET_FPU), ROW(VCPU, KVM_GET_XSAVE), ROW(VCPU, KVM_GET_XCRS),
	ROW(VCPU, KVM_GET_LAPIC), ROW(VCPU, KVM_GET_MP_STATE), ROW(VCPU, KVM_GET_VCPU_EVENTS),
	ROW(VCPU, KVM_GET_DEBUGREGS), ROW(VCPU, KVM_TRANSLATE),
};

#define PAGE 0x1000

static uint8_t *writable; /* a page, and one that is inaccessible behind it */
static uint8_t *read_only; /* a page of zeros, and one that is inaccessible behind it */

static int call(const struct kvm_system *system, const struct machine *machine, enum level level,
		unsigned long request, void *argument)
{
	switch (level) {
	case SYSTEM: return kvm_system_ioctl(system, request, argument);
	case VM: return kvm_vm_ioctl(&machine->vm, request, argument);
	default: return kvm_vcpu_ioctl(&machine->vcpu, request, argument);
	}
}

static void expect(const struct kvm_system *system, const struct machine *machine,
		   const struct row *row, void *argument, const char *what)
{
	int result = call(system, machine, row->level, row->request, argument);

	check_result(result == -EFAULT, __FILE__, __LINE__, "%s, %s: %d, not EFAULT", row->name, what,
		     result);
}

static void test_structs(const struct kvm_system *system, const struct machine *machine)
{
	static const uintptr_t impossible[] = { 8, UINT64_C(1) << 47, UINT64_C(0x8000) << 48,
						UINT64_C(0xffff8880) << 32, -UINT64_C(4096) };
	const unsigned ins = sizeof(in_rows) / sizeof(in_rows[0]);
	const unsigned outs = sizeof(out_rows) / sizeof(out_rows[0]);

	for (unsigned i = 0; i < ins + outs; i++) {
		const struct row *row = i < ins ? &in_rows[i] : &out_rows[i - ins];

		for (unsigned k = 0; k < sizeof(impossible) / sizeof(impossible[0]); k++)
			expect(system, machine, row, (void *)impossible[k], "impossible");
		memset(writable, 0, PAGE);
		expect(system, machine, row, writable + PAGE, "inaccessible");
		expect(system, machine, row, writable + PAGE - 1, "inaccessible from byte 1 on");
		expect(system, machine, row, writable + PAGE - _IOC_SIZE(row->request) + 1,
		       "inaccessible at the end");
		if (i >= ins)
			expect(system, machine, row, read_only, "read-only");
	}
}

/* A header at the end of what is accessible: the list behind it is not. */
#define BEHIND(type, ...)                                                                          \
	((type *)memcpy(writable + PAGE - sizeof(type), &(type){ __VA_ARGS__ }, sizeof(type)))

static void test_lists(const struct kvm_system *system, const struct machine *machine)
{
	static const struct { unsigned long request; const char *name; } on_vcpu[] = {
		{ KVM_GET_MSRS, "MSRs" }, { KVM_SET_MSRS, "MSRs" },
	};
	unsigned i;

	for (i = 0; i < 2; i++) {
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, on_vcpu[i].request,
					   BEHIND(struct kvm_msrs, .nmsrs = 1)), -EFAULT);
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, on_vcpu[i].request,
					   BEHIND(struct kvm_msrs, .nmsrs = 0)), 0);
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, on_vcpu[i].request,
					   BEHIND(struct kvm_msrs, .nmsrs = UINT32_MAX)), -E2BIG);
		check_equal(kvm_vcpu_ioctl(&machine->vcpu, on_vcpu[i].request,
					   BEHIND(struct kvm_msrs, .nmsrs = 0x10000001)), -E2BIG);
	}
	check_equal(kvm_system_ioctl(system, KVM_GET_MSRS, BEHIND(struct kvm_msrs, .nmsrs = 1)),
		    -EFAULT);
	check_equal(kvm_system_ioctl(system, KVM_GET_MSR_INDEX_LIST,
				     BEHIND(struct kvm_msr_list, .nmsrs = UINT32_MAX)), -EFAULT);
	check_equal(kvm_system_ioctl(system, KVM_GET_MSR_FEATURE_INDEX_LIST,
				     BEHIND(struct kvm_msr_list, .nmsrs = UINT32_MAX)), -EFAULT);
	check_equal(kvm_system_ioctl(system, KVM_GET_SUPPORTED_CPUID,
				     BEHIND(struct kvm_cpuid2, .nent = UINT32_MAX)), -EFAULT);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_CPUID2,
				   BEHIND(struct kvm_cpuid2, .nent = 1)), -EFAULT);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_CPUID2,
				   BEHIND(struct kvm_cpuid2, .nent = UINT32_MAX)), -E2BIG);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_SET_GSI_ROUTING,
				 BEHIND(struct kvm_irq_routing, .nr = 1)), -EFAULT);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_SET_GSI_ROUTING,
				 BEHIND(struct kvm_irq_routing, .nr = UINT32_MAX)), -EINVAL);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SIGNAL_MASK,
				   BEHIND(struct kvm_signal_mask, .len = 8)), -EFAULT);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SIGNAL_MASK,
				   BEHIND(struct kvm_signal_mask, .len = UINT32_MAX)), -EINVAL);
}

/* A list that can be read, where answers cannot be written. */
static void test_read_only_lists(const struct kvm_system *system)
{
	struct kvm_msr_list list = { .nmsrs = 100 };
	struct kvm_cpuid2 cpuid = { .nent = 10 };

	mprotect(read_only, PAGE, PROT_READ | PROT_WRITE);
	memcpy(read_only, &list, sizeof(list));
	memcpy(read_only + 0x800, &cpuid, sizeof(cpuid));
	mprotect(read_only, PAGE, PROT_READ);
	check_equal(kvm_system_ioctl(system, KVM_GET_MSR_INDEX_LIST, read_only), -EFAULT);
	check_equal(kvm_system_ioctl(system, KVM_GET_EMULATED_CPUID, read_only + 0x800), -EFAULT);
}

static int get_log(const struct machine *machine, void *bitmap)
{
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = bitmap };

	return kvm_vm_ioctl(&machine->vm, KVM_GET_DIRTY_LOG, &log);
}

static void test_dirty_log(const struct machine *machine)
{
	struct kvm_userspace_memory_region region = {
		.slot = 0, .flags = KVM_MEM_LOG_DIRTY_PAGES, .memory_size = RAM_SIZE,
		.userspace_addr = (uintptr_t)machine->ram,
	};

	check_equal(kvm_vm_ioctl(&machine->vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	check_equal(get_log(machine, NULL), -EFAULT);
	check_equal(get_log(machine, (void *)(UINT64_C(0xffff8880) << 32)), -EFAULT);
	check_equal(get_log(machine, writable + PAGE), -EFAULT);
	check_equal(get_log(machine, writable + PAGE - 4), -EFAULT);
	check_equal(get_log(machine, read_only), -EFAULT);
	check_equal(get_log(machine, writable + PAGE - RAM_SIZE / PAGE / 8), 0);
}

static uint8_t *map(void)
{
	uint8_t *base = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);

	mprotect(base + PAGE, PAGE, PROT_NONE);
	return base;
}

int main(int argc, char **argv)
{
	struct kvm_pit_config pit = { 0 };
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	writable = map();
	read_only = map();
	mprotect(read_only, PAGE, PROT_READ);
	machine_create(&machine, &system, IRQCHIP_FULL, "\xe6\x99", 2); /* out %al, $0x99 */
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_CREATE_PIT2, &pit), 0);
	test_structs(&system, &machine);
	test_lists(&system, &machine);
	test_read_only_lists(&system);
	test_dirty_log(&machine);
	/* None of that has changed a thing. */
	machine_expect(&machine, KVM_EXIT_IO);
	machine_destroy(&machine);
	munmap(writable, 2 * PAGE);
	munmap(read_only, 2 * PAGE);
	return contract_close(&system);
}
