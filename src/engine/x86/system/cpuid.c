/*
 * CPUID as the guest sees it: the entries that user space set, with Linux's KVM's rules for leaves
 * that are not there and for bits that follow the CPU's state (Intel SDM vol. 2, CPUID).
 */
#include "engine/x86/system/cpuid.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/features.h"
#include "engine/x86/platform.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/x86/decode/memo.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system/msr.h"
#include "engine/x86/system.h"

#define APIC_BASE_ENABLE  (1ull << 11)
#define MISC_ENABLE_MWAIT (1ull << 18)

#define LEAF1_ECX_MWAIT   (1u << 3)
#define LEAF1_ECX_OSXSAVE (1u << 27)
#define LEAF1_EDX_APIC    (1u << 9)
#define LEAF_D_1_XSAVEC   (1u << 1)
#define LEAF_D_1_XSAVES   (1u << 3)

#define XSAVE_LEGACY_SIZE 576 /* legacy region and header */
#define PHYSICAL_BITS_DEFAULT 36

static const struct kvm_cpuid_entry2 *find_entry(const struct cpu *cpu, uint32_t leaf,
						 uint32_t subleaf)
{
	for (unsigned i = 0; i < cpu->cpuid_count; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpu->cpuid[i];

		if (entry->function == leaf &&
		    (!(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || entry->index == subleaf))
			return entry;
	}
	return NULL;
}

/*
 * A leaf beyond the highest of its class: Intel's CPUs answer with the highest basic leaf, AMD's with
 * zeros (Linux: get_out_of_range_cpuid_entry).
 */
static const struct kvm_cpuid_entry2 *out_of_range(const struct cpu *cpu, uint32_t leaf,
						   uint32_t subleaf)
{
	const struct kvm_cpuid_entry2 *basic = find_entry(cpu, 0, 0), *class;
	uint32_t base = leaf & 0x80000000;

	if (!basic || cpu->is_amd)
		return NULL;
	if (leaf >= 0x40000000 && leaf <= 0x4fffffff)
		base = leaf & 0xffffff00;
	else if (leaf >= 0xc0000000)
		base = 0xc0000000;
	class = find_entry(cpu, base, 0);
	if (class && leaf <= class->eax)
		return NULL;
	return find_entry(cpu, basic->eax, subleaf);
}

/* Bytes of an XSAVE area with these components. */
static uint32_t xsave_size(const struct cpu *cpu, uint64_t components, bool is_compacted)
{
	const struct fpu_guest_layout *layout = &cpu->fpu.guest_layout;
	uint32_t size = XSAVE_LEGACY_SIZE;

	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		if (!(components >> i & 1))
			continue;
		if (!is_compacted) {
			uint32_t end = layout->offset[i] + fpu_layout.size[i];

			size = end > size ? end : size;
		} else {
			if (layout->aligned[i])
				size = (size + 63) & ~63u;
			size += fpu_layout.size[i];
		}
	}
	return size;
}

static bool apic_is_enabled(struct cpu *cpu)
{
	uint64_t base = 0;

	return platform_msr_read(cpu, MSR_APIC_BASE, &base) == 0 && (base & APIC_BASE_ENABLE);
}

static void apply_state(struct cpu *cpu, uint32_t leaf, uint32_t subleaf,
			struct cpuid_registers *registers)
{
	if (leaf == 1) {
		registers->ecx &= ~(LEAF1_ECX_OSXSAVE | LEAF1_ECX_MWAIT);
		if (cpu->cr4 & CR4_OSXSAVE)
			registers->ecx |= LEAF1_ECX_OSXSAVE;
		if (cpu_has(cpu, FEATURE_MONITOR) && (cpu->misc_enable & MISC_ENABLE_MWAIT))
			registers->ecx |= LEAF1_ECX_MWAIT;
		if (!apic_is_enabled(cpu))
			registers->edx &= ~LEAF1_EDX_APIC;
	} else if (leaf == 0xd && subleaf == 0) {
		registers->ebx = xsave_size(cpu, cpu->xcr0, false);
	} else if (leaf == 0xd && subleaf == 1 &&
		   (registers->eax & (LEAF_D_1_XSAVEC | LEAF_D_1_XSAVES))) {
		registers->ebx = xsave_size(cpu, cpu->xcr0 | cpu->xss, true);
	}
}

struct cpuid_registers cpu_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
	const struct kvm_cpuid_entry2 *entry = find_entry(cpu, leaf, subleaf);
	struct cpuid_registers registers = {0};

	if (entry) {
		registers = (struct cpuid_registers){entry->eax, entry->ebx, entry->ecx, entry->edx};
		apply_state(cpu, leaf, subleaf, &registers);
		return registers;
	}
	entry = out_of_range(cpu, leaf, subleaf);
	if (entry) {
		registers = (struct cpuid_registers){entry->eax, entry->ebx, entry->ecx, entry->edx};
		apply_state(cpu, entry->function, entry->index, &registers);
	} else if (leaf == 0xb || leaf == 0x1f) {
		/* Past the last level: the level asked for and the x2APIC id still show. */
		entry = find_entry(cpu, leaf, 1);
		if (entry) {
			registers.ecx = subleaf & 0xff;
			registers.edx = entry->edx;
		}
	}
	return registers;
}

void cpuid_features(uint32_t *features, const struct kvm_cpuid_entry2 *entries, unsigned count)
{
	for (unsigned i = 0; i < CPU_FEATURE_WORDS; i++)
		features[i] = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct kvm_cpuid_entry2 *entry = &entries[i];

		switch (entry->function) {
		case 1:
			features[CPU_FEATURES_1_ECX] = entry->ecx;
			features[CPU_FEATURES_1_EDX] = entry->edx;
			break;
		case 7:
			if (entry->index == 0) {
				features[CPU_FEATURES_7_EBX] = entry->ebx;
				features[CPU_FEATURES_7_ECX] = entry->ecx;
				features[CPU_FEATURES_7_EDX] = entry->edx;
			} else if (entry->index == 1) {
				features[CPU_FEATURES_7_1_EAX] = entry->eax;
			}
			break;
		case 0xd:
			if (entry->index == 1)
				features[CPU_FEATURES_D_1_EAX] = entry->eax;
			break;
		case 0x40000001: features[CPU_FEATURES_KVM_EAX] = entry->eax; break;
		case 0x80000001:
			features[CPU_FEATURES_EXT1_ECX] = entry->ecx;
			features[CPU_FEATURES_EXT1_EDX] = entry->edx;
			break;
		case 0x80000007: features[CPU_FEATURES_EXT7_EDX] = entry->edx; break;
		case 0x80000021: features[CPU_FEATURES_EXT21_EAX] = entry->eax; break;
		case 0x80000008: features[CPU_FEATURES_EXT8_EBX] = entry->ebx; break;
		}
	}
}

static void cache_features(struct cpu *cpu, const struct kvm_cpuid_entry2 *entries, unsigned count)
{
	cpuid_features(cpu->features, entries, count);
	cpu->is_amd = false;
	cpu->physical_bits = PHYSICAL_BITS_DEFAULT;
	for (unsigned i = 0; i < count; i++) {
		const struct kvm_cpuid_entry2 *entry = &entries[i];

		/* "Auth"enticAMD, "Hygo"nGenuine */
		if (entry->function == 0)
			cpu->is_amd = entry->ebx == 0x68747541 || entry->ebx == 0x6f677948;
		if (entry->function == 0x80000008)
			cpu->physical_bits = entry->eax & 0xff;
	}
	if (cpu->physical_bits < 32 || cpu->physical_bits > 52)
		cpu->physical_bits = PHYSICAL_BITS_DEFAULT;
}

/* Without leaf 1 the features are not known, rather than absent: nothing is hidden then. */
static bool has_leaf_1(const struct kvm_cpuid_entry2 *entries, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (entries[i].function == 1)
			return true;
	return false;
}

int cpu_set_cpuid(struct cpu *cpu, struct kvm_cpuid_entry2 *entries, unsigned count)
{
	struct kvm_cpuid_entry2 supported[CPUID_SUPPORTED_MAX];
	int supported_count;

	for (unsigned i = 0; i < count; i++) {
		uint8_t virtual_bits = entries[i].eax >> 8;

		if (entries[i].function == 0x80000008 && virtual_bits != 48 && virtual_bits != 57 &&
		    virtual_bits != 0)
			return -EINVAL;
	}
	if (count) {
		cache_features(cpu, entries, count);
		cpu->rules = insn_host_rules;
		if (has_leaf_1(entries, count))
			cpu->rules = (struct insn_rules){
			    .features = cpu->features,
			    .has_lzcnt = cpu_has(cpu, FEATURE_LZCNT) && host_has(HOST_LZCNT),
			    .has_tzcnt = cpu_has(cpu, FEATURE_BMI1) && host_has(HOST_BMI1),
			    .is_amd = cpu->is_amd,
			};
	} else {
		supported_count = cpuid_supported(cpu->host_claims, supported, CPUID_SUPPORTED_MAX);
		cache_features(cpu, supported, supported_count);
		cpu->physical_bits = PHYSICAL_BITS_DEFAULT;
		cpu->rules = insn_host_rules;
	}
	insn_memo_forget(cpu->memo);
	cpu->rules.memo = cpu->memo;
	cpu->rules_changes++;
	msr_vendor_changed(cpu);
	fpu_set_guest_layout(cpu, entries, count);
	free(cpu->cpuid);
	cpu->cpuid = entries;
	cpu->cpuid_count = count;
	return 0;
}
