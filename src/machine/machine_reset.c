/* The state that a machine begins with, at power-on and at each reset. */
#include <errno.h>
#include <string.h>

#include "machine/acpi/tables.h"
#include "machine/e820.h"
#include "machine/machine_parts.h"
#include "machine/power_on_state.h"
#include "util/log.h"
#include "util/x86_registers.h"

#define MISC_ENABLE_FAST_STR 0x1
#define HWCR_TSC_FREQ_SEL (1u << 24) /* AMD PPR: the TSC counts at the P0 frequency */
#define MTRR_ENABLED	     0x800
#define MTRR_WRITE_BACK	     6
#define MSR_MTRR_PHYS_BASE0  0x200
#define MSR_MTRR_PHYS_MASK0  0x201
#define MTRR_VALID	     0x800
#define REAL_MODE_LIMIT	     0x100000
#define DEVICE_HOLE_BYTES    (RAM_HIGH_START - RAM_LOW_LIMIT)

/*
 * The MSRs that a CPU has at power-on, and then, without any, firmware's: cacheable RAM, uncached device
 * hole (SDM vol. 3 §12.11). All CPUs the same.
 */
static void set_first_msrs(const struct kvm_vcpu *vcpu, const struct cpuid_facts *cpuid,
			   bool has_firmware)
{
	const uint64_t hole_mask = ((1ull << cpuid->physical_bits) - 1) & ~(DEVICE_HOLE_BYTES - 1);
	const struct kvm_msr_entry entries[] = {
		{.index = cpuid->is_amd ? MSR_HWCR : MSR_MISC_ENABLE,
		 .data = cpuid->is_amd ? HWCR_TSC_FREQ_SEL : MISC_ENABLE_FAST_STR},
		{.index = MSR_MTRR_PHYS_BASE0, .data = RAM_LOW_LIMIT},
		{.index = MSR_MTRR_PHYS_MASK0, .data = hole_mask | MTRR_VALID},
		{.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED | MTRR_WRITE_BACK},
	};
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one;
	unsigned i, count = has_firmware ? 1 : sizeof(entries) / sizeof(entries[0]);

	for (i = 0; i < count; i++) {
		memset(&one, 0, sizeof(one));
		one.header.nmsrs = 1;
		one.entry = entries[i];
		if (kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, &one) != 1)
			log_guest_at(LOG_DEBUG, "CPU %u: MSR 0x%x cannot be set", vcpu->id,
				     one.entry.index);
	}
}

int machine_reset_cpu(struct machine *machine, unsigned cpu, struct error *error)
{
	struct machine_vcpu *vcpu = &machine->vcpus[cpu];
	int result = power_on_state_restore(&vcpu->power_on, &vcpu->kvm, error);

	if (result < 0)
		return result;
	set_first_msrs(&vcpu->kvm, &machine->cpuid, boot_firmware(machine->boot));
	machine->is_idle[cpu] = false;
	return 0;
}

/* What is not the board's. */
static int reset_cpus(struct machine *machine, struct error *error)
{
	unsigned i;
	int result;

	result = interrupts_reset(&machine->interrupts, error);
	if (result < 0)
		return result;
	for (i = 0; i < machine->vcpu_count && result == 0; i++)
		result = machine_reset_cpu(machine, i, error);
	return result;
}

int machine_wake(struct machine *machine, int by, struct error *error)
{
	struct entry entry = {.mode = ENTRY_REAL};
	uint32_t vector;
	int result;

	machine_give_up_disks(machine, true);
	board_wake(machine->board, by);
	machine_give_up_disks(machine, false);
	result = reset_cpus(machine, error);
	if (result < 0 || boot_firmware(machine->boot))
		return result;
	/* What firmware would do: "the physical address as a real-mode CS:IP" (ACPI 6.4 §16.3.2). */
	vector = acpi_waking_vector(&machine->ram.memory);
	if (!vector || vector >= REAL_MODE_LIMIT)
		return error_set(error, EINVAL, "its software has left no place to go on at");
	entry.cs = vector >> 4;
	entry.rip = vector & 0xf;
	return entry_apply(&entry, &machine->ram.memory, &machine->vcpus[0].kvm, error);
}

/* Power-on or reset: everything to its first state, the boot image into RAM. vCPUs are parked. */
int machine_reset(struct machine *machine, struct error *error)
{
	struct entry entry = {0};
	uint64_t rsdp_gpa;
	int result;

	machine_give_up_disks(machine, true);
	board_reset(machine->board);
	machine_give_up_disks(machine, false);
	result = reset_cpus(machine, error);
	if (result < 0)
		return result;
	/* RAM stays as it is, and the boot CPU begins at its reset vector. */
	if (boot_firmware(machine->boot))
		return 0;
	result = board_write_tables(machine->board, &rsdp_gpa, error);
	if (result < 0)
		return result;
	result = boot_load(machine->boot, &machine->ram, rsdp_gpa, &entry, error);
	if (result < 0)
		return result;
	return entry_apply(&entry, &machine->ram.memory, &machine->vcpus[0].kvm, error);
}
