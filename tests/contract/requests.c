/*
 * Every request with right and wrong arguments: the result or errno that Linux's KVM gives
 * (virt/kvm/kvm_main.c, arch/x86/kvm/x86.c), row by row, in order, on machines of three kinds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "contract.h"

enum level { SYSTEM, VM, VCPU };

#define ANY_POSITIVE 0x7fffffff /* as expected result: whatever is > 0 */

struct row {
	enum level level;
	unsigned long request;
	void *argument;
	int expected;
	const char *what;
};

#define NUMBER(n)       ((void *)(uintptr_t)(n))
#define BAD_POINTER     NUMBER(8)
#define STRUCT(type, ...) (&(struct type){ __VA_ARGS__ })

static char page[0x4000] __attribute__((aligned(4096)));
static uint8_t large[8192];
static struct { struct kvm_msr_list list; uint32_t indices[1024]; } msr_list;
static struct { struct kvm_cpuid2 header; struct kvm_cpuid_entry2 entries[256]; } cpuid;
static struct { struct kvm_msrs header; struct kvm_msr_entry entries[4]; } msrs;
static struct { struct kvm_signal_mask header; uint8_t set[8]; } signal_mask;
static uint64_t number;

static const struct row system_rows[] = {
	{ SYSTEM, KVM_GET_API_VERSION, NULL, 12, "version" },
	{ SYSTEM, KVM_GET_API_VERSION, NUMBER(1), -EINVAL, "version with an argument" },
	{ SYSTEM, KVM_GET_VCPU_MMAP_SIZE, NULL, 12288, "size of kvm_run" },
	{ SYSTEM, KVM_GET_VCPU_MMAP_SIZE, NUMBER(1), -EINVAL, "size with an argument" },
	{ SYSTEM, KVM_CREATE_VM, NUMBER(77), -EINVAL, "VM of an unknown type" },
	{ SYSTEM, KVM_CHECK_EXTENSION, NUMBER(KVM_CAP_USER_MEMORY), 1, "user memory" },
	{ SYSTEM, KVM_CHECK_EXTENSION, NUMBER(KVM_CAP_IMMEDIATE_EXIT), 1, "immediate_exit" },
	{ SYSTEM, KVM_CHECK_EXTENSION, NUMBER(KVM_CAP_SYNC_REGS), 7, "sync_regs" },
	{ SYSTEM, KVM_CHECK_EXTENSION, NUMBER(100000), 0, "no such capability" },
	{ SYSTEM, KVM_GET_MSR_INDEX_LIST, BAD_POINTER, -EFAULT, "MSR list, bad pointer" },
	{ SYSTEM, KVM_GET_MSR_INDEX_LIST, &msr_list, -E2BIG, "MSR list, no room" },
	{ SYSTEM, KVM_GET_SUPPORTED_CPUID, BAD_POINTER, -EFAULT, "CPUID, bad pointer" },
	{ SYSTEM, KVM_GET_SUPPORTED_CPUID, STRUCT(kvm_cpuid2), -E2BIG, "CPUID, no room" },
	{ SYSTEM, KVM_X86_GET_MCE_CAP_SUPPORTED, &number, 0, "machine check capabilities" },
	{ SYSTEM, KVM_GET_REGS, large, -EINVAL, "a vCPU's request on the system" },
	{ SYSTEM, 0xae77, NULL, -EINVAL, "no such request" },
};

/* A VM without vCPUs and controllers. */
static const struct row empty_rows[] = {
	{ VM, KVM_CHECK_EXTENSION, NUMBER(KVM_CAP_USER_MEMORY), 1, "capability of a VM" },
	{ VM, KVM_GET_REGS, large, -ENOTTY, "a vCPU's request on a VM" },
	{ VM, 0xae77, NULL, -ENOTTY, "no such request" },
	{ VM, KVM_MEMORY_ENCRYPT_OP, NULL, -ENOTTY, "no encrypted memory" },
	{ VM, KVM_MEMORY_ENCRYPT_REG_REGION, STRUCT(kvm_enc_region, .size = 0x1000), -ENOTTY,
	  "no encrypted memory" },
	{ VM, KVM_SET_TSS_ADDR, NUMBER(0xfffbd000), 0, "TSS address" },
	{ VM, KVM_SET_TSS_ADDR, NUMBER(0xffffe000), -EINVAL, "TSS address too high" },
	{ VM, KVM_SET_IDENTITY_MAP_ADDR, &number, 0, "identity map" },
	{ VM, KVM_SET_IDENTITY_MAP_ADDR, BAD_POINTER, -EFAULT, "identity map, bad pointer" },
	{ VM, KVM_SET_BOOT_CPU_ID, NUMBER(0), 0, "boot CPU" },
	{ VM, KVM_SET_NR_MMU_PAGES, NUMBER(1), -EINVAL, "too few MMU pages" },
	{ VM, KVM_SET_NR_MMU_PAGES, NUMBER(1024), 0, "MMU pages" },
	{ VM, KVM_IRQ_LINE, STRUCT(kvm_irq_level, .irq = 1), -ENXIO, "line without irqchip" },
	{ VM, KVM_GET_IRQCHIP, large, -ENXIO, "controllers that are not there" },
	{ VM, KVM_SET_IRQCHIP, large, -ENXIO, "controllers that are not there" },
	{ VM, KVM_GET_PIT2, large, -ENXIO, "a timer that is not there" },
	{ VM, KVM_CREATE_PIT2, STRUCT(kvm_pit_config), -ENOENT, "PIT without irqchip" },
	{ VM, KVM_SIGNAL_MSI, STRUCT(kvm_msi), -EINVAL, "MSI without irqchip" },
	{ VM, KVM_SET_GSI_ROUTING, STRUCT(kvm_irq_routing), -EINVAL, "routing without irqchip" },
	{ VM, KVM_ENABLE_CAP, STRUCT(kvm_enable_cap, .cap = 100000), -EINVAL,
	  "no such capability" },
	{ VM, KVM_ENABLE_CAP, STRUCT(kvm_enable_cap, .cap = KVM_CAP_SPLIT_IRQCHIP, .flags = 1),
	  -EINVAL, "flags for a capability" },
	{ VM, KVM_ENABLE_CAP,
	  STRUCT(kvm_enable_cap, .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 5000 }), -EINVAL,
	  "too many reserved pins" },
	{ VM, KVM_ENABLE_CAP, STRUCT(kvm_enable_cap, .cap = KVM_CAP_X2APIC_API, .args = { 0x80 }),
	  -EINVAL, "unknown x2APIC flags" },
	{ VM, KVM_ENABLE_CAP, STRUCT(kvm_enable_cap, .cap = KVM_CAP_X2APIC_API, .args = { 3 }), 0,
	  "x2APIC flags" },
	{ VM, KVM_SET_USER_MEMORY_REGION, BAD_POINTER, -EFAULT, "slot, bad pointer" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .memory_size = 0x800,
		 .userspace_addr = (uintptr_t)page),
	  -EINVAL, "slot of half a page" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .guest_phys_addr = 0x10, .memory_size = 0x1000,
		 .userspace_addr = (uintptr_t)page),
	  -EINVAL, "slot at an odd address" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .memory_size = 0x1000,
		 .userspace_addr = (uintptr_t)page + 1),
	  -EINVAL, "slot of odd memory" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .flags = 1u << 20, .memory_size = 0x1000,
		 .userspace_addr = (uintptr_t)page),
	  -EINVAL, "slot with unknown flags" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .slot = 40000, .memory_size = 0x1000,
		 .userspace_addr = (uintptr_t)page),
	  -EINVAL, "slot number too big" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .slot = 3), -EINVAL, "deleting what is not there" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .slot = 1, .guest_phys_addr = 0x1000,
		 .memory_size = 0x2000, .userspace_addr = (uintptr_t)page),
	  0, "slot" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .slot = 2, .guest_phys_addr = 0x2000,
		 .memory_size = 0x1000, .userspace_addr = (uintptr_t)page),
	  -EEXIST, "slot that overlaps" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .slot = 1, .guest_phys_addr = 0x1000,
		 .memory_size = 0x3000, .userspace_addr = (uintptr_t)page),
	  -EINVAL, "slot that changes size" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .slot = 1, .guest_phys_addr = 0x1000,
		 .flags = KVM_MEM_READONLY, .memory_size = 0x2000,
		 .userspace_addr = (uintptr_t)page),
	  -EINVAL, "slot that becomes read-only" },
	{ VM, KVM_GET_DIRTY_LOG, STRUCT(kvm_dirty_log, .slot = 1, .dirty_bitmap = large), -ENOENT,
	  "dirty log of a slot without one" },
	{ VM, KVM_GET_DIRTY_LOG, STRUCT(kvm_dirty_log, .slot = 9, .dirty_bitmap = large), -ENOENT,
	  "dirty log of no slot" },
	{ VM, KVM_GET_DIRTY_LOG, STRUCT(kvm_dirty_log, .slot = 40000, .dirty_bitmap = large),
	  -EINVAL, "dirty log of an impossible slot" },
	{ VM, KVM_SET_USER_MEMORY_REGION,
	  STRUCT(kvm_userspace_memory_region, .slot = 1, .guest_phys_addr = 0x1000,
		 .flags = KVM_MEM_LOG_DIRTY_PAGES, .memory_size = 0x2000,
		 .userspace_addr = (uintptr_t)page),
	  0, "slot with a dirty log" },
	{ VM, KVM_GET_DIRTY_LOG, STRUCT(kvm_dirty_log, .slot = 1, .dirty_bitmap = large), 0,
	  "dirty log" },
	{ VM, KVM_SET_USER_MEMORY_REGION, STRUCT(kvm_userspace_memory_region, .slot = 1), 0,
	  "deleting a slot" },
	{ VM, KVM_GET_CLOCK, large, 0, "clock" },
	{ VM, KVM_GET_CLOCK, BAD_POINTER, -EFAULT, "clock, bad pointer" },
	{ VM, KVM_SET_CLOCK, STRUCT(kvm_clock_data, .clock = 1000), 0, "setting the clock" },
	{ VM, KVM_SET_CLOCK, STRUCT(kvm_clock_data, .flags = 0x80), -EINVAL, "clock flags" },
	{ VM, KVM_CREATE_VCPU, NUMBER(100000), -EINVAL, "vCPU id too big" },
};

/* A VM with a vCPU, without controllers. */
static const struct row bare_rows[] = {
	{ VM, KVM_CREATE_VCPU, NUMBER(0), -EEXIST, "vCPU twice" },
	{ VM, KVM_CREATE_IRQCHIP, NULL, -EINVAL, "controllers after vCPUs" },
	{ VM, KVM_SET_BOOT_CPU_ID, NUMBER(1), -EBUSY, "boot CPU after vCPUs" },
	{ VM, KVM_SET_IDENTITY_MAP_ADDR, &number, -EINVAL, "identity map after vCPUs" },
	{ VCPU, 0xae77, NULL, -EINVAL, "no such request" },
	{ VCPU, KVM_GET_DEVICE_ATTR, STRUCT(kvm_device_attr, .group = 77), -ENXIO, "no such attribute" },
	{ VCPU, KVM_RUN, NUMBER(1), -EINVAL, "KVM_RUN with an argument" },
	{ VCPU, KVM_GET_REGS, large, 0, "registers" },
	{ VCPU, KVM_GET_REGS, BAD_POINTER, -EFAULT, "registers, bad pointer" },
	{ VCPU, KVM_SET_REGS, BAD_POINTER, -EFAULT, "registers, bad pointer" },
	{ VCPU, KVM_GET_SREGS, large, 0, "system registers" },
	{ VCPU, KVM_SET_SREGS, large, 0, "the same system registers" },
	{ VCPU, KVM_SET_SREGS, STRUCT(kvm_sregs, .cr0 = 0x80000010, .efer = 0x100,
				      .apic_base = 0xfee00900), -EINVAL,
	  "paging without protection" },
	{ VCPU, KVM_SET_SREGS, STRUCT(kvm_sregs, .cr0 = 0x10, .efer = 0x400,
				      .apic_base = 0xfee00900), -EINVAL,
	  "long mode active without paging" },
	{ VCPU, KVM_GET_SREGS2, large, 0, "system registers 2" },
	{ VCPU, KVM_SET_SREGS2, large, 0, "the same system registers 2" },
	{ VCPU, KVM_SET_SREGS2, STRUCT(kvm_sregs2, .flags = 8), -EINVAL, "flags in them" },
	{ VCPU, KVM_GET_FPU, large, 0, "FPU" },
	{ VCPU, KVM_SET_FPU, large, 0, "FPU" },
	{ VCPU, KVM_GET_XSAVE, large, 0, "XSAVE" },
	{ VCPU, KVM_SET_XSAVE, large, 0, "XSAVE" },
	{ VCPU, KVM_GET_XSAVE2, large, 0, "XSAVE2" },
	{ VCPU, KVM_GET_XSAVE2, BAD_POINTER, -EFAULT, "XSAVE2, bad pointer" },
	{ VCPU, KVM_GET_XCRS, large, 0, "XCRs" },
	{ VCPU, KVM_SET_XCRS, large, 0, "XCRs" },
	{ VCPU, KVM_SET_XCRS, STRUCT(kvm_xcrs, .nr_xcrs = 99), -EINVAL, "too many XCRs" },
	{ VCPU, KVM_SET_XCRS, STRUCT(kvm_xcrs, .flags = 1), -EINVAL, "flags for XCRs" },
	{ VCPU, KVM_SET_XCRS, STRUCT(kvm_xcrs, .nr_xcrs = 1, .xcrs = { { .value = 2 } }), -EINVAL,
	  "XCR0 without x87" },
	{ VCPU, KVM_GET_LAPIC, large, -EINVAL, "local APIC that is not there" },
	{ VCPU, KVM_SET_LAPIC, large, -EINVAL, "local APIC that is not there" },
	{ VCPU, KVM_GET_MP_STATE, large, 0, "MP state" },
	{ VCPU, KVM_SET_MP_STATE, STRUCT(kvm_mp_state, KVM_MP_STATE_RUNNABLE), 0, "runnable" },
	{ VCPU, KVM_SET_MP_STATE, STRUCT(kvm_mp_state, KVM_MP_STATE_HALTED), -EINVAL,
	  "halted without irqchip" },
	{ VCPU, KVM_SET_MP_STATE, STRUCT(kvm_mp_state, 77), -EINVAL, "no such MP state" },
	{ VCPU, KVM_GET_VCPU_EVENTS, large, 0, "events" },
	{ VCPU, KVM_SET_VCPU_EVENTS, large, 0, "events" },
	{ VCPU, KVM_SET_VCPU_EVENTS, STRUCT(kvm_vcpu_events, .flags = 1u << 30), -EINVAL,
	  "unknown flags of events" },
	{ VCPU, KVM_SET_VCPU_EVENTS,
	  STRUCT(kvm_vcpu_events, .exception = { .injected = 1, .nr = 40 }), -EINVAL,
	  "exception 40" },
	{ VCPU, KVM_SET_VCPU_EVENTS,
	  STRUCT(kvm_vcpu_events, .exception = { .injected = 1, .nr = 2 }), -EINVAL,
	  "NMI as exception" },
	{ VCPU, KVM_SET_VCPU_EVENTS, STRUCT(kvm_vcpu_events, .flags = KVM_VCPUEVENT_VALID_PAYLOAD),
	  -EINVAL, "payload that was not enabled" },
	{ VCPU, KVM_GET_DEBUGREGS, large, 0, "debug registers" },
	{ VCPU, KVM_SET_DEBUGREGS, large, 0, "debug registers" },
	{ VCPU, KVM_SET_DEBUGREGS, STRUCT(kvm_debugregs, .flags = 1), -EINVAL, "their flags" },
	{ VCPU, KVM_SET_DEBUGREGS, STRUCT(kvm_debugregs, .dr7 = 1ull << 40), -EINVAL, "bad DR7" },
	{ VCPU, KVM_INTERRUPT, STRUCT(kvm_interrupt, 256), -EINVAL, "vector 256" },
	{ VCPU, KVM_NMI, NULL, 0, "NMI" },
	{ VCPU, KVM_SET_VAPIC_ADDR, STRUCT(kvm_vapic_addr), -EINVAL, "no virtual APIC" },
	{ VCPU, KVM_TPR_ACCESS_REPORTING, STRUCT(kvm_tpr_access_ctl, .flags = 1), -EINVAL,
	  "flags for TPR access" },
	{ VCPU, KVM_X86_SETUP_MCE, STRUCT(kvm_vapic_addr), -EINVAL, "MCE without banks" },
	{ VCPU, KVM_KVMCLOCK_CTRL, NULL, -EINVAL, "kvm-clock that is not in use" },
	{ VCPU, KVM_ENABLE_CAP, STRUCT(kvm_enable_cap, .cap = 100000), -EINVAL,
	  "capability of a vCPU" },
	{ VCPU, KVM_GET_TSC_KHZ, NULL, ANY_POSITIVE, "TSC frequency" },
	{ VCPU, KVM_SET_TSC_KHZ, NULL, 0, "the host's TSC frequency" },
	{ VCPU, KVM_SET_SIGNAL_MASK, &signal_mask, -EINVAL, "signal set of no size" },
	{ VCPU, KVM_SET_SIGNAL_MASK, NULL, 0, "no signal set" },
	{ VCPU, KVM_TRANSLATE, STRUCT(kvm_translation, .linear_address = 0x1000), 0, "translate" },
	{ VCPU, KVM_GET_MSRS, &msrs, 0, "no MSRs" },
	{ VCPU, KVM_GET_MSRS, STRUCT(kvm_msrs, .nmsrs = 1000), -E2BIG, "too many MSRs" },
	{ VCPU, KVM_GET_MSRS, BAD_POINTER, -EFAULT, "MSRs, bad pointer" },
	{ VCPU, KVM_GET_CPUID2, &cpuid, 0, "CPUID that was not set" },
	{ VCPU, KVM_SET_CPUID2, STRUCT(kvm_cpuid2, .nent = 1000), -E2BIG, "too much CPUID" },
};

/* A VM with controllers and a vCPU. */
static const struct row irqchip_rows[] = {
	{ VM, KVM_CREATE_IRQCHIP, NULL, -EEXIST, "controllers twice" },
	{ VM, KVM_CREATE_PIT2, STRUCT(kvm_pit_config), 0, "PIT" },
	{ VM, KVM_CREATE_PIT2, STRUCT(kvm_pit_config), -EEXIST, "PIT twice" },
	{ VM, KVM_GET_PIT2, large, 0, "PIT's state" },
	{ VM, KVM_SET_PIT2, large, 0, "PIT's state" },
	{ VM, KVM_GET_IRQCHIP, STRUCT(kvm_irqchip, .chip_id = 0), 0, "master PIC" },
	{ VM, KVM_GET_IRQCHIP, STRUCT(kvm_irqchip, .chip_id = 2), 0, "I/O APIC" },
	{ VM, KVM_GET_IRQCHIP, STRUCT(kvm_irqchip, .chip_id = 3), -EINVAL, "no such controller" },
	{ VM, KVM_SET_IRQCHIP, STRUCT(kvm_irqchip, .chip_id = 3), -EINVAL, "no such controller" },
	{ VM, KVM_IRQ_LINE, STRUCT(kvm_irq_level, .irq = 4, .level = 1), 0, "line up" },
	{ VM, KVM_IRQ_LINE, STRUCT(kvm_irq_level, .irq = 4, .level = 0), 0, "line down" },
	{ VM, KVM_IRQ_LINE, BAD_POINTER, -EFAULT, "line, bad pointer" },
	{ VM, KVM_IRQ_LINE_STATUS, STRUCT(kvm_irq_level, .irq = 4, .level = 0), 0,
	  "line down, with status" },
	{ VM, KVM_IRQ_LINE_STATUS, BAD_POINTER, -EFAULT, "line with status, bad pointer" },
	{ VM, KVM_SIGNAL_MSI, STRUCT(kvm_msi, .flags = 8), -EINVAL, "MSI with flags" },
	{ VM, KVM_SET_GSI_ROUTING, STRUCT(kvm_irq_routing, .flags = 1), -EINVAL, "routing flags" },
	{ VM, KVM_SET_GSI_ROUTING, STRUCT(kvm_irq_routing, .nr = 100000), -EINVAL,
	  "too many routes" },
	{ VM, KVM_IRQFD, STRUCT(kvm_irqfd, .flags = 0x80), -EINVAL, "irqfd with unknown flags" },
	{ VM, KVM_IRQFD, STRUCT(kvm_irqfd, .fd = -1u), -EBADF, "irqfd without a descriptor" },
	{ VM, KVM_IOEVENTFD, STRUCT(kvm_ioeventfd, .len = 3, .fd = -1), -EINVAL,
	  "ioeventfd of 3 bytes" },
	{ VM, KVM_IOEVENTFD, STRUCT(kvm_ioeventfd, .len = 4, .flags = 0x100, .fd = -1), -EINVAL,
	  "ioeventfd with unknown flags" },
	{ VM, KVM_IOEVENTFD, STRUCT(kvm_ioeventfd, .flags = 1, .fd = -1), -EINVAL,
	  "datamatch of no bytes" },
	{ VM, KVM_IOEVENTFD, STRUCT(kvm_ioeventfd, .len = 4, .addr = -1ull, .fd = -1), -EINVAL,
	  "ioeventfd around the end" },
	{ VM, KVM_IOEVENTFD, STRUCT(kvm_ioeventfd, .len = 4, .addr = 0x1000, .fd = -1), -EBADF,
	  "ioeventfd without a descriptor" },
	{ VM, KVM_ENABLE_CAP, STRUCT(kvm_enable_cap, .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 }),
	  -EEXIST, "split irqchip beside a full one" },
	{ VCPU, KVM_GET_LAPIC, large, 0, "local APIC" },
	{ VCPU, KVM_SET_LAPIC, large, 0, "the same local APIC" },
	{ VCPU, KVM_GET_LAPIC, BAD_POINTER, -EFAULT, "local APIC, bad pointer" },
	{ VCPU, KVM_INTERRUPT, STRUCT(kvm_interrupt, 32), -ENXIO, "interrupt past the irqchip" },
	{ VCPU, KVM_SET_MP_STATE, STRUCT(kvm_mp_state, KVM_MP_STATE_HALTED), 0, "halted" },
	{ VCPU, KVM_SET_MP_STATE, STRUCT(kvm_mp_state, KVM_MP_STATE_RUNNABLE), 0, "runnable" },
	{ VCPU, KVM_SET_MP_STATE, STRUCT(kvm_mp_state, KVM_MP_STATE_STOPPED), -EINVAL,
	  "a state of other architectures" },
};

static void run_rows(const struct kvm_system *system, const struct machine *machine,
		     const struct row *rows, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		const struct row *row = &rows[i];
		int result;

		switch (row->level) {
		case SYSTEM:
			result = kvm_system_ioctl(system, row->request, row->argument);
			break;
		case VM:
			result = kvm_vm_ioctl(&machine->vm, row->request, row->argument);
			break;
		default:
			result = kvm_vcpu_ioctl(&machine->vcpu, row->request, row->argument);
			break;
		}
		check_result(row->expected == ANY_POSITIVE ? result > 0 : result == row->expected,
			     __FILE__, __LINE__, "%s (%#lx): %d, not %d", row->what, row->request,
			     result, row->expected);
	}
}

#define RUN_ROWS(rows, machine) \
	run_rows(&system, machine, rows, sizeof(rows) / sizeof((rows)[0]))

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;
	struct error error;

	contract_open(argc, argv, &system);
	RUN_ROWS(system_rows, NULL);

	check(kvm_vm_create(&machine.vm, &system, &error) == 0);
	RUN_ROWS(empty_rows, &machine);
	kvm_vm_close(&machine.vm);

	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	RUN_ROWS(bare_rows, &machine);
	/* Under `kvik kvm` what is not KVM's is the kernel's to answer, which knows a file there. */
	if (!getenv("KVIK_TEST_SERVED"))
		check_equal(kvm_vcpu_ioctl(&machine.vcpu, 0x5401, NULL), -EINVAL);
	machine_destroy(&machine);

	machine_create(&machine, &system, IRQCHIP_FULL, "\xf4", 1);
	RUN_ROWS(irqchip_rows, &machine);
	machine_destroy(&machine);

	check_equal(system.backend->ioctl(-1, KVM_GET_API_VERSION, NULL), -EBADF);
	check_equal(system.backend->ioctl(0, KVM_GET_API_VERSION, NULL), -ENOTTY);
	return contract_close(&system);
}
