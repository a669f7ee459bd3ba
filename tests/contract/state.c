/*
 * State that goes in comes out again: registers, FPU, MSRs, controllers, clock, TSC.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../host.h"
#include "contract.h"

#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_SYSENTER_EIP   0x176
#define MSR_TSC            0x10
#define MSR_KVM_SYSTEM_TIME 0x4b564d01

static int vcpu(struct machine *machine, unsigned long request, void *argument)
{
	return kvm_vcpu_ioctl(&machine->vcpu, request, argument);
}

/* What a vCPU is after creation (SDM vol. 3 table 9-1). */
static void test_reset(struct machine *machine)
{
	struct kvm_regs regs = { .rflags = 2, .rip = 0xfff0 };
	struct kvm_sregs sregs;

	check_equal(vcpu(machine, KVM_GET_SREGS, &sregs), 0);
	check_equal(sregs.cs.limit, 0xffff);
	check_equal(sregs.cs.present, 1);
	check_equal(sregs.cs.s, 1);
	check_equal(sregs.ds.base, 0);
	check_equal(sregs.ds.limit, 0xffff);
	check_equal(sregs.cr0, 0x60000010);
	check_equal(sregs.cr3, 0);
	check_equal(sregs.efer, 0);
	check_equal(sregs.apic_base, 0xfee00900);
	check_equal(sregs.idt.limit, 0xffff);
	check_equal(sregs.gdt.limit, 0xffff);
	check_equal(sregs.tr.type, 11);
	check_equal(sregs.ldt.type, 2);
	check_equal(vcpu(machine, KVM_SET_REGS, &regs), 0);
}

static void test_registers(struct machine *machine)
{
	struct kvm_regs in, out;
	struct kvm_sregs sin, sout;
	struct kvm_debugregs din = { .db = { 1, 2, 3, 4 }, .dr6 = 0xffff0ff0, .dr7 = 0x400 }, dout;
	unsigned i;

	for (i = 0; i < sizeof(in); i++)
		((uint8_t *)&in)[i] = i * 7 + 1;
	in.rflags = 0x246;
	check_equal(vcpu(machine, KVM_SET_REGS, &in), 0);
	check_equal(vcpu(machine, KVM_GET_REGS, &out), 0);
	check(memcmp(&in, &out, sizeof(in)) == 0);

	check_equal(vcpu(machine, KVM_GET_SREGS, &sin), 0);
	sin.cr2 = 0x123456789000;
	sin.gdt.base = 0x5000;
	sin.gdt.limit = 0x27;
	sin.idt.base = 0x6000;
	sin.idt.limit = 0xfff;
	sin.cr8 = 5;
	sin.fs.base = 0x7000;
	check_equal(vcpu(machine, KVM_SET_SREGS, &sin), 0);
	check_equal(vcpu(machine, KVM_GET_SREGS, &sout), 0);
	check_equal(sout.cr2, sin.cr2);
	check_equal(sout.gdt.base, 0x5000);
	check_equal(sout.gdt.limit, 0x27);
	check_equal(sout.idt.base, 0x6000);
	check_equal(sout.idt.limit, 0xfff);
	check_equal(sout.cr8, 5);
	check_equal(sout.fs.base, 0x7000);

	check_equal(vcpu(machine, KVM_SET_DEBUGREGS, &din), 0);
	check_equal(vcpu(machine, KVM_GET_DEBUGREGS, &dout), 0);
	check(memcmp(din.db, dout.db, sizeof(din.db)) == 0);
	check_equal(dout.dr7, 0x400);
}

static void test_fpu(struct machine *machine)
{
	struct kvm_xsave *xsave = calloc(1, sizeof(*xsave));
	struct kvm_fpu in = { .fcw = 0x37f, .mxcsr = 0x1f80 }, out;
	unsigned i;

	for (i = 0; i < sizeof(in.xmm); i++)
		((uint8_t *)in.xmm)[i] = i ^ 0x5a;
	for (i = 0; i < 8; i++)
		memset(in.fpr[i], 0x10 + i, 10);
	check_equal(vcpu(machine, KVM_SET_FPU, &in), 0);
	check_equal(vcpu(machine, KVM_GET_FPU, &out), 0);
	check(memcmp(in.xmm, out.xmm, sizeof(in.xmm)) == 0);
	check(memcmp(in.fpr, out.fpr, sizeof(in.fpr)) == 0);
	check_equal(out.fcw, 0x37f);

	check_equal(vcpu(machine, KVM_GET_XSAVE, xsave), 0);
	*(uint64_t *)((uint8_t *)xsave + 512) |= 3; /* XSTATE_BV: x87 and SSE */
	memset((uint8_t *)xsave + 160, 0x77, 256);
	check_equal(vcpu(machine, KVM_SET_XSAVE, xsave), 0);
	check_equal(vcpu(machine, KVM_GET_FPU, &out), 0);
	check_equal(out.xmm[15][15], 0x77);
	free(xsave);
}

static void test_msrs(struct machine *machine)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entries[5];
	} msrs = {
		.header.nmsrs = 4,
		.entries = {
			{ .index = MSR_STAR, .data = 0x0023001000000000 },
			{ .index = MSR_LSTAR, .data = 0xffffffff81000000 },
			{ .index = MSR_KERNEL_GS_BASE, .data = 0xffff888000000000 },
			{ .index = MSR_SYSENTER_EIP, .data = 0x1234 },
		},
	};
	unsigned i;

	check_equal(vcpu(machine, KVM_SET_MSRS, &msrs), 4);
	for (i = 0; i < 4; i++)
		msrs.entries[i].data = 0;
	check_equal(vcpu(machine, KVM_GET_MSRS, &msrs), 4);
	check_equal(msrs.entries[0].data, 0x0023001000000000);
	check_equal(msrs.entries[1].data, 0xffffffff81000000);
	check_equal(msrs.entries[2].data, 0xffff888000000000);
	check_equal(msrs.entries[3].data, 0x1234);
	/* It stops at the first that does not exist. */
	msrs.entries[1].index = 0x12345678;
	check_equal(vcpu(machine, KVM_GET_MSRS, &msrs), 1);
}

/* KVM_GET_SUPPORTED_CPUID is what KVM_SET_CPUID2 takes. */
static void test_cpuid(const struct kvm_system *system, struct machine *machine)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entries[256];
	} *cpuid = calloc(2, sizeof(*cpuid));
	unsigned i;
	bool has_vendor = false, has_kvm = false, has_addresses = false;

	cpuid[0].header.nent = cpuid[1].header.nent = 256;
	check_equal(kvm_system_ioctl(system, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	for (i = 0; i < cpuid->header.nent; i++) {
		has_vendor |= cpuid->entries[i].function == 0;
		has_kvm |= cpuid->entries[i].function == 0x40000000 &&
			   memcmp(&cpuid->entries[i].ebx, "KVMKVMKVM\0\0", 12) == 0;
		has_addresses |= cpuid->entries[i].function == 0x80000008;
	}
	check(has_vendor);
	check(has_kvm);
	check(has_addresses);
	check_equal(vcpu(machine, KVM_SET_CPUID2, cpuid), 0);
	check_equal(vcpu(machine, KVM_GET_CPUID2, &cpuid[1]), 0);
	check(memcmp(&cpuid[1].entries[0], &cpuid[0].entries[0], sizeof(cpuid->entries[0])) == 0);
	cpuid[1].header.nent = 1;
	check_equal(vcpu(machine, KVM_GET_CPUID2, &cpuid[1]), -E2BIG);

	/* After it has run, CPUID stays. */
	machine_load(machine, "\xf4", 1);
	machine_expect(machine, KVM_EXIT_HLT);
	cpuid->header.nent = 1;
	check_equal(vcpu(machine, KVM_SET_CPUID2, cpuid), -EINVAL);
	free(cpuid);
}

static void test_events(struct machine *machine)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.nmi = { .masked = 1 },
		.interrupt = { .injected = 1, .nr = 0x41 },
	}, out;
	struct kvm_sregs sregs;

	check_equal(vcpu(machine, KVM_SET_VCPU_EVENTS, &in), 0);
	check_equal(vcpu(machine, KVM_GET_VCPU_EVENTS, &out), 0);
	check_equal(out.nmi.masked, 1);
	check_equal(out.interrupt.injected, 1);
	check_equal(out.interrupt.nr, 0x41);
	check_equal(vcpu(machine, KVM_GET_SREGS, &sregs), 0);
	check_equal(sregs.interrupt_bitmap[1], 2);
	in = (struct kvm_vcpu_events){ 0 };
	check_equal(vcpu(machine, KVM_SET_VCPU_EVENTS, &in), 0);
}

static void test_time(struct machine *machine)
{
	struct kvm_clock_data clock = { .clock = 5000000000 };
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} tsc = { .header.nmsrs = 1, .entry.index = MSR_TSC };
	struct machine other;
	struct error error;
	uint64_t first, khz, start, elapsed;

	start = now_ns();
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_SET_CLOCK, &clock), 0);
	check_equal(vcpu(machine, KVM_GET_MSRS, &tsc), 1);
	first = tsc.entry.data;
	sleep_ms(50);
	clock.clock = 0;
	check_equal(vcpu(machine, KVM_GET_MSRS, &tsc), 1);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_GET_CLOCK, &clock), 0);
	elapsed = now_ns() - start;
	check(clock.clock >= 5050000000 && clock.clock <= 5000000000 + elapsed);
	khz = vcpu(machine, KVM_GET_TSC_KHZ, NULL);
	check(tsc.entry.data - first >= khz * 50);
	check(tsc.entry.data - first <= khz * elapsed / 990000);

	/* A second vCPU that is given about the same TSC has the same one. */
	check_equal(kvm_vcpu_create(&other.vcpu, &machine->vm, 1, &error), 0);
	tsc.entry.data = first = UINT64_C(1) << 50;
	check_equal(vcpu(machine, KVM_SET_MSRS, &tsc), 1);
	sleep_ms(20);
	check_equal(vcpu(&other, KVM_SET_MSRS, &tsc), 1);
	check_equal(vcpu(&other, KVM_GET_MSRS, &tsc), 1);
	/* Linux gives this up where it finds the host's TSC unstable. */
	if (contract_is_engine(machine->vm.system))
		check(tsc.entry.data >= first + khz * 20);
	kvm_vcpu_close(&other.vcpu);
}

/*
 * The page of kvm-clock (msr.rst, MSR_KVM_SYSTEM_TIME_NEW) goes on with the version that is there: a
 * guest that was saved in the middle of reading one sees in another machine that it has changed.
 */
static void test_clock_page(const struct kvm_system *system)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = { .header.nmsrs = 1, .entry = { .index = MSR_KVM_SYSTEM_TIME, .data = 0x2001 } };
	const uint32_t before = 0x1000;
	struct machine machine;
	uint32_t version;

	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	memcpy(machine.ram + 0x2000, &before, sizeof(before));
	check_equal(vcpu(&machine, KVM_SET_MSRS, &msr), 1);
	machine_expect(&machine, KVM_EXIT_HLT);
	memcpy(&version, machine.ram + 0x2000, sizeof(version));
	check(version > before && version < before + 100 && version % 2 == 0);
	machine_destroy(&machine);
}

static void test_controllers(const struct kvm_system *system)
{
	static const int chips[] = { KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
				     KVM_IRQCHIP_IOAPIC };
	struct kvm_pit_config config = { 0 };
	struct kvm_lapic_state lapic, lapic_out;
	struct kvm_pit_state2 pit, pit_out;
	struct kvm_mp_state mp_state;
	struct machine machine;
	unsigned i;

	machine_create(&machine, system, IRQCHIP_FULL, "\xf4", 1);
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_CREATE_PIT2, &config), 0);
	for (i = 0; i < 3; i++) {
		struct kvm_irqchip in = { .chip_id = chips[i] }, out = { .chip_id = chips[i] };

		check_equal(kvm_vm_ioctl(&machine.vm, KVM_GET_IRQCHIP, &in), 0);
		if (chips[i] == KVM_IRQCHIP_IOAPIC)
			in.chip.ioapic.redirtbl[3].bits = 0x10000 | 0x33;
		else
			in.chip.pic.imr = 0xa5;
		check_equal(kvm_vm_ioctl(&machine.vm, KVM_SET_IRQCHIP, &in), 0);
		check_equal(kvm_vm_ioctl(&machine.vm, KVM_GET_IRQCHIP, &out), 0);
		check(memcmp(&in, &out, sizeof(in)) == 0);
	}
	check_equal(vcpu(&machine, KVM_GET_LAPIC, &lapic), 0);
	/* ID 0, version 0x14 or newer, spurious vector register off with vector 0xff. */
	check_equal(*(uint32_t *)(lapic.regs + 0x20), 0);
	check(*(uint32_t *)(lapic.regs + 0x30) & 0x10);
	check_equal(*(uint32_t *)(lapic.regs + 0xf0), 0xff);
	*(uint32_t *)(lapic.regs + 0xf0) = 0x1ff;
	*(uint32_t *)(lapic.regs + 0x320) = 0x100ec;
	check_equal(vcpu(&machine, KVM_SET_LAPIC, &lapic), 0);
	check_equal(vcpu(&machine, KVM_GET_LAPIC, &lapic_out), 0);
	check_equal(*(uint32_t *)(lapic_out.regs + 0xf0), 0x1ff);
	check_equal(*(uint32_t *)(lapic_out.regs + 0x320), 0x100ec);

	check_equal(kvm_vm_ioctl(&machine.vm, KVM_GET_PIT2, &pit), 0);
	check_equal(pit.channels[0].mode, 0xff); /* not programmed: it does not tick */
	pit.channels[2].mode = 3;
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_SET_PIT2, &pit), 0);
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_GET_PIT2, &pit_out), 0);
	check_equal(pit_out.channels[2].mode, 3);

	mp_state.mp_state = KVM_MP_STATE_INIT_RECEIVED;
	check_equal(vcpu(&machine, KVM_SET_MP_STATE, &mp_state), 0);
	mp_state.mp_state = 0;
	check_equal(vcpu(&machine, KVM_GET_MP_STATE, &mp_state), 0);
	check_equal(mp_state.mp_state, KVM_MP_STATE_INIT_RECEIVED);
	machine_destroy(&machine);
}

static int set_apic_base(struct machine *machine, uint64_t base)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry = { .index = 0x1b, .data = base } };

	return vcpu(machine, KVM_SET_MSRS, &msrs);
}

/* User space may take the local APIC from any mode to any other, as a reset does (SDM vol. 3 §11.12.5). */
static void test_apic_modes(const struct kvm_system *system)
{
	static const uint64_t bases[] = { 0xfee00d00, 0xfee00900, 0xfee00100, 0xfee00d00, 0xfee00100,
					  0xfee00900 };
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid = { .header.nent = 256 };
	struct kvm_sregs sregs;
	struct machine machine;

	machine_create(&machine, system, IRQCHIP_FULL, "\xf4", 1);
	check_equal(kvm_system_ioctl(system, KVM_GET_SUPPORTED_CPUID, &cpuid), 0);
	check_equal(vcpu(&machine, KVM_SET_CPUID2, &cpuid), 0);
	for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		check_equal(set_apic_base(&machine, bases[i]), 1);
		check_equal(vcpu(&machine, KVM_GET_SREGS, &sregs), 0);
		check_equal(sregs.apic_base, bases[i]);
	}
	/* x2APIC mode without the APIC is none. */
	check_equal(set_apic_base(&machine, 0xfee00500), 0);
	machine_destroy(&machine);
}

static uint64_t read_msr(struct machine *machine, uint32_t index)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = index };

	check_equal(vcpu(machine, KVM_GET_MSRS, &msrs), 1);
	return msrs.entry.data;
}

/* KVM_X86_SETUP_MCE and KVM_X86_SET_MCE (api.rst 4.104, 4.105). */
static void test_machine_check(const struct kvm_system *system)
{
	const uint64_t valid = UINT64_C(1) << 63, overflow = UINT64_C(1) << 62,
		       uncorrected = UINT64_C(1) << 61;
	uint64_t mcg_cap = 10 | 1 << 8;
	struct kvm_x86_mce mce = { .bank = 3, .status = valid | 5, .addr = 0x1234, .misc = 0x77 };
	struct kvm_sregs sregs;
	struct machine machine;

	/* nop; hlt      #MC: out %al,$8; hlt */
	machine_create(&machine, system, IRQCHIP_NONE, "\x90\xf4", 2);
	memcpy(machine.ram + 0x2000, "\xe6\x08\xf4", 3);
	memcpy(machine.ram + 4 * 18, "\x00\x20\x00\x00", 4);
	check_equal(vcpu(&machine, KVM_X86_SETUP_MCE, &mcg_cap), 0);
	check_equal(read_msr(&machine, 0x17b), UINT64_MAX);
	check_equal(read_msr(&machine, 0x400), UINT64_MAX);
	check_equal(read_msr(&machine, 0x400 + 4 * 9), UINT64_MAX);

	check_equal(vcpu(&machine, KVM_X86_SET_MCE, &mce), 0);
	check_equal(read_msr(&machine, 0x40d), valid | 5);
	check_equal(read_msr(&machine, 0x40e), 0x1234);
	check_equal(read_msr(&machine, 0x40f), 0x77);
	check_equal(vcpu(&machine, KVM_X86_SET_MCE, &mce), 0);
	check_equal(read_msr(&machine, 0x40d), valid | overflow | 5);
	mce.bank = 10;
	check_equal(vcpu(&machine, KVM_X86_SET_MCE, &mce), -EINVAL);
	mce.bank = 2;
	mce.status = 5;
	check_equal(vcpu(&machine, KVM_X86_SET_MCE, &mce), -EINVAL);

	check_equal(vcpu(&machine, KVM_GET_SREGS, &sregs), 0);
	sregs.cr4 |= 1 << 6;
	check_equal(vcpu(&machine, KVM_SET_SREGS, &sregs), 0);
	mce.status = valid | uncorrected | 9;
	mce.mcg_status = 5;
	check_equal(vcpu(&machine, KVM_X86_SET_MCE, &mce), 0);
	check_equal(read_msr(&machine, 0x409), valid | uncorrected | 9);
	check_equal(read_msr(&machine, 0x17a), 5);
	machine_expect(&machine, KVM_EXIT_IO);
	check_equal(machine.vcpu.run->io.port, 8);
	/* A second one before the first was dealt with ends it all. */
	check_equal(vcpu(&machine, KVM_X86_SET_MCE, &mce), 0);
	machine_expect(&machine, KVM_EXIT_SHUTDOWN);
	machine_destroy(&machine);
}

/* The TSC's offset as an attribute (devices/vcpu.rst section 4): the same as IA32_TSC shows. */
static void test_tsc_offset(struct machine *machine, bool is_kept)
{
	uint64_t offset = 0, before, after;
	struct kvm_device_attr attribute = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset,
	};
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} tsc = { .header.nmsrs = 1, .entry.index = 0x10 };

	check_equal(vcpu(machine, KVM_HAS_DEVICE_ATTR, &attribute), 0);
	check_equal(vcpu(machine, KVM_GET_DEVICE_ATTR, &attribute), 0);
	check_equal(vcpu(machine, KVM_GET_MSRS, &tsc), 1);
	before = tsc.entry.data;
	offset += UINT64_C(1) << 50;
	check_equal(vcpu(machine, KVM_SET_DEVICE_ATTR, &attribute), 0);
	check_equal(vcpu(machine, KVM_GET_MSRS, &tsc), 1);
	after = tsc.entry.data;
	/* KVMs without hardware say that they have it. */
	if (is_kept) {
		check(after - before > UINT64_C(1) << 50 && after - before < UINT64_C(1) << 51);
		offset = 0;
		check_equal(vcpu(machine, KVM_GET_DEVICE_ATTR, &attribute), 0);
		check(offset != 0);
	}
	attribute.addr = 8;
	check_equal(vcpu(machine, KVM_GET_DEVICE_ATTR, &attribute), -EFAULT);
	check_equal(vcpu(machine, KVM_SET_DEVICE_ATTR, &attribute), -EFAULT);
	attribute.attr = 1;
	check_equal(vcpu(machine, KVM_HAS_DEVICE_ATTR, &attribute), -ENXIO);
	check_equal(vcpu(machine, KVM_GET_DEVICE_ATTR, &attribute), -ENXIO);
}

/* QEMU saves a local APIC's timer without its current count: a one-shot fires when it is loaded. */
static void test_timer_without_count(const struct kvm_system *system)
{
	const uint32_t initial = 0xffffffff; /* of 128 ns: nobody waits that long */
	struct kvm_lapic_state lapic;
	struct vcpu_thread runner;
	struct machine machine;

	/* sti; hlt      handler: out %al,$7; hlt */
	machine_create(&machine, system, IRQCHIP_FULL, "\xfb\xf4", 2);
	memcpy(machine.ram + 0x2000, "\xe6\x07\xf4", 3);
	memcpy(machine.ram + 4 * 0x40, "\x00\x20\x00\x00", 4);
	check_equal(vcpu(&machine, KVM_GET_LAPIC, &lapic), 0);
	*(uint32_t *)(lapic.regs + 0xf0) = 0x1ff;
	*(uint32_t *)(lapic.regs + 0x320) = 0x40;
	*(uint32_t *)(lapic.regs + 0x3e0) = 0xa;
	memcpy(lapic.regs + 0x380, &initial, sizeof(initial));
	memset(lapic.regs + 0x390, 0, 4);
	check_equal(vcpu(&machine, KVM_SET_LAPIC, &lapic), 0);
	vcpu_thread_start(&runner, &machine.vcpu);
	vcpu_thread_finish(&runner, KVM_EXIT_IO);
	check_equal(machine.vcpu.run->io.port, 7);
	machine_destroy(&machine);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_reset(&machine);
	test_registers(&machine);
	test_fpu(&machine);
	test_tsc_offset(&machine, contract_is_engine(&system) || kvm_is_hardware());
	test_msrs(&machine);
	test_events(&machine);
	test_time(&machine);
	machine_destroy(&machine);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_cpuid(&system, &machine);
	machine_destroy(&machine);
	test_machine_check(&system);
	test_apic_modes(&system);
	test_timer_without_count(&system);
	test_clock_page(&system);
	test_controllers(&system);
	return contract_close(&system);
}
