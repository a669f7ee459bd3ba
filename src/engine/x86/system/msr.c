/*
 * Model-specific registers (Intel SDM vol. 4; AMD APM vol. 2 appendix A).
 *
 * The set and its rules are those of Linux's KVM: what Linux, the BSDs, Windows and firmware touch
 * without being ready for a #GP is here; all else raises it. MSRs of the APIC, of the TSC deadline
 * timer and of KVM's own interfaces belong to the platform.
 */
#include "engine/x86/system/msr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/x86/system/control.h"
#include "engine/x86/features.h"
#include "engine/x86/platform.h"
#include "engine/x86/host/host_claims.h"
#include "engine/x86/system.h"

enum {
	MSR_P5_MC_ADDR = 0x0, MSR_P5_MC_TYPE = 0x1, MSR_PLATFORM_ID = 0x17,
	MSR_EBL_CR_POWERON = 0x2a, MSR_EBC_FREQUENCY_ID = 0x2c, MSR_SMI_COUNT = 0x34,
	MSR_FEATURE_CONTROL = 0x3a, MSR_SPEC_CTRL = 0x48,
	MSR_PRED_CMD = 0x49, MSR_UCODE_WRITE = 0x79, MSR_UCODE_REV = 0x8b, MSR_SMBASE = 0x9e,
	MSR_PERFCTR0 = 0xc1, MSR_PERFCTR1 = 0xc2, MSR_FSB_FREQ = 0xcd, MSR_PLATFORM_INFO = 0xce,
	MSR_MTRR_CAP = 0xfe, MSR_ARCH_CAPABILITIES = 0x10a, MSR_FLUSH_CMD = 0x10b,
	MSR_BBL_CR_CTL3 = 0x11e, MSR_MISC_FEATURES = 0x140, MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176, MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17a, MSR_MCG_CTL = 0x17b, MSR_EVNTSEL0 = 0x186, MSR_EVNTSEL1 = 0x187,
	MSR_PERF_STATUS = 0x198, MSR_PERF_CTL = 0x199,
	MSR_DEBUGCTL = 0x1d9, MSR_LBR_FROM = 0x1db, MSR_LBR_TO = 0x1dc, MSR_LER_FROM = 0x1dd,
	MSR_LER_TO = 0x1de, MSR_POWER_CTL = 0x1fc, MSR_MTRR_VAR = 0x200, MSR_MTRR_VAR_LAST = 0x20f,
	MSR_MTRR_64K = 0x250, MSR_MTRR_16K_80000 = 0x258, MSR_MTRR_16K_A0000 = 0x259,
	MSR_MTRR_4K = 0x268, MSR_MTRR_4K_LAST = 0x26f, MSR_PAT = 0x277,
	MSR_MC_BANKS = 0x400, MSR_MC_BANKS_LAST = 0x47f, MSR_RAPL_POWER_UNIT = 0x606,
	MSR_PKG_ENERGY = 0x611, MSR_DRAM_ENERGY = 0x619, MSR_PP0_ENERGY = 0x639,
	MSR_PP1_ENERGY = 0x641, MSR_XSS = 0xda0,
};

/* The upper half of the numbers. */
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_FMASK          0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_TSC_AUX        0xc0000103u
#define MSR_K7_EVNTSEL0    0xc0010000u
#define MSR_K7_PERFCTR3    0xc0010007u
#define MSR_SYSCFG         0xc0010010u
#define MSR_K7_CLK_CTL     0xc001001bu
#define MSR_NB_CFG         0xc001001fu
#define MSR_PATCH_LOADER   0xc0010020u
#define MSR_INT_PENDING    0xc0010055u
#define MSR_MMIO_CONF_BASE 0xc0010058u
#define MSR_TSEG_ADDR      0xc0010112u
#define MSR_TSEG_MASK      0xc0010113u
#define MSR_VM_CR          0xc0010114u
#define MSR_VM_HSAVE_PA    0xc0010117u
#define MSR_VIRT_SPEC_CTRL 0xc001011fu
#define MSR_F15H_PERF_CTL0 0xc0010200u
#define MSR_F15H_PERF_CTR5 0xc001020bu
#define MSR_LS_CFG         0xc0011020u
#define MSR_DC_CFG         0xc0011022u
#define MSR_TW_CFG         0xc0011023u
#define MSR_DE_CFG         0xc0011029u
#define MSR_BU_CFG2        0xc001102au
#define MSR_F15H_EX_CFG    0xc001102cu

#define MTRR_CAP_VALUE    0x508 /* eight variable ranges, fixed ranges, write-combining */
#define PERF_STATUS_VALUE (1000ull | 4ull << 40)
#define BBL_CR_CTL3_VALUE 0xbe702111u
#define SPEC_CTRL_DEFINED 0x407ull /* IBRS, STIBP, SSBD, BHI_DIS_S: nothing to restrict here */
#define DE_CFG_SERIALIZE  2 /* LFENCE is dispatch-serializing */
#define PLATFORM_INFO_CPUID_FAULT (1ull << 31)
#define MISC_FEATURES_CPUID_FAULT 1
#define FEATURE_CONTROL_LOCKED    1
#define MISC_ENABLE_RESET (1ull << 11 | 1ull << 12) /* no BTS, no PEBS */
#define MCG_CAP_RESET     0
#define MC_BANKS          32
#define MCG_CTL_P         (1ull << 8)

#define HWCR_IGNORED (1ull << 6 | 1ull << 8 | 1ull << 3 | 1ull << 9)
#define HWCR_TSC_FREQ_SEL (1ull << 24) /* the TSC counts at the P0 frequency: as firmware sets it */
#define HWCR_STORED	  (1ull << 18 | HWCR_TSC_FREQ_SEL)

struct cpu_msrs {
	uint64_t feature_control, microcode_revision, platform_info, misc_features;
	uint64_t arch_capabilities, power_ctl, smi_count, hwcr, virt_spec_ctrl, de_cfg;
	uint64_t mcg_cap, mcg_ctl;
	uint64_t mc_banks[MC_BANKS * 4]; /* CTL, STATUS, ADDR, MISC of each */
};

const uint32_t cpu_msr_list[] = {
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_STAR, MSR_CSTAR,
	MSR_KERNEL_GS_BASE, MSR_FMASK, MSR_LSTAR, MSR_TSC, MSR_PAT, MSR_FEATURE_CONTROL,
	MSR_TSC_AUX, MSR_SPEC_CTRL, MSR_ARCH_CAPABILITIES, MSR_TSC_ADJUST, MSR_XSS,
	/* kvm-clock and its kin */
	0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d03,
	/* IA32_TSC_DEADLINE, IA32_APIC_BASE */
	0x6e0, 0x1b,
	MSR_MISC_ENABLE, MSR_MCG_STATUS, MSR_MCG_CTL, MSR_SMBASE, MSR_SMI_COUNT,
	MSR_PLATFORM_INFO, MSR_MISC_FEATURES, MSR_VIRT_SPEC_CTRL, MSR_POWER_CTL, MSR_UCODE_REV,
	MSR_HWCR, MSR_EFER, MSR_FS_BASE, MSR_GS_BASE,
	MSR_MTRR_64K, MSR_MTRR_16K_80000, MSR_MTRR_16K_A0000, 0x268, 0x269, 0x26a, 0x26b, 0x26c,
	0x26d, 0x26e, 0x26f, MSR_MTRR_DEF_TYPE, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206,
	0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f,
};
const unsigned cpu_msr_list_count = sizeof(cpu_msr_list) / sizeof(cpu_msr_list[0]);

const uint32_t cpu_msr_feature_list[] = {MSR_UCODE_REV, MSR_ARCH_CAPABILITIES, MSR_DE_CFG};
const unsigned cpu_msr_feature_list_count =
	sizeof(cpu_msr_feature_list) / sizeof(cpu_msr_feature_list[0]);

int cpu_msr_feature(uint32_t index, const struct host_claims *claims, uint64_t *value)
{
	switch (index) {
	case MSR_UCODE_REV: *value = 0x100000000ull; return 0;
	case MSR_ARCH_CAPABILITIES: *value = claims->arch_capabilities; return 0;
	case MSR_DE_CFG: *value = DE_CFG_SERIALIZE; return 0;
	default: return -ENOENT;
	}
}

int msr_create(struct cpu *cpu)
{
	cpu->msrs = calloc(1, sizeof(*cpu->msrs));
	return cpu->msrs ? 0 : -ENOMEM;
}

void msr_destroy(struct cpu *cpu)
{
	free(cpu->msrs);
	cpu->msrs = NULL;
}

void msr_reset(struct cpu *cpu)
{
	memset(cpu->msrs, 0, sizeof(*cpu->msrs));
	cpu->misc_enable = MISC_ENABLE_RESET;
	cpu->msrs->platform_info = PLATFORM_INFO_CPUID_FAULT;
	cpu->msrs->arch_capabilities = cpu->host_claims->arch_capabilities;
	cpu->msrs->de_cfg = DE_CFG_SERIALIZE;
	cpu->msrs->mcg_cap = MCG_CAP_RESET;
	cpu_msr_feature(MSR_UCODE_REV, cpu->host_claims, &cpu->msrs->microcode_revision);
	msr_vendor_changed(cpu);
}

void msr_vendor_changed(struct cpu *cpu)
{
	if (cpu->is_amd)
		cpu->msrs->hwcr |= HWCR_TSC_FREQ_SEL;
}

uint64_t msr_misc_features(const struct cpu *cpu)
{
	return cpu->msrs->misc_features;
}

uint64_t cpu_read_tsc(struct cpu *cpu)
{
	uint64_t tsc = cpu->tsc_is_host ? __builtin_ia32_rdtsc() : platform_read_tsc(cpu);

	return tsc + cpu->tsc_offset;
}

/* -- memory types (SDM vol. 3 §11.11, §11.12) -- */

static bool memory_type_is_valid(uint8_t type, bool is_pat)
{
	/* UC, WC, WT, WP, WB, and UC- in the PAT only. */
	return type == 0 || type == 1 || (type >= 4 && type <= 6) || (type == 7 && is_pat);
}

static bool memory_types_are_valid(uint64_t value, bool is_pat)
{
	for (unsigned i = 0; i < 64; i += 8)
		if (!memory_type_is_valid(value >> i, is_pat))
			return false;
	return true;
}

static bool is_mtrr(uint32_t index)
{
	return (index >= MSR_MTRR_VAR && index <= MSR_MTRR_VAR_LAST) || index == MSR_MTRR_64K ||
	       index == MSR_MTRR_16K_80000 || index == MSR_MTRR_16K_A0000 ||
	       (index >= MSR_MTRR_4K && index <= MSR_MTRR_4K_LAST) || index == MSR_MTRR_DEF_TYPE;
}

static uint64_t *mtrr_register(struct cpu *cpu, uint32_t index)
{
	if (index <= MSR_MTRR_VAR_LAST)
		return &cpu->mtrr_var[index - MSR_MTRR_VAR];
	switch (index) {
	case MSR_MTRR_64K: return &cpu->mtrr_fixed[0];
	case MSR_MTRR_16K_80000: return &cpu->mtrr_fixed[1];
	case MSR_MTRR_16K_A0000: return &cpu->mtrr_fixed[2];
	case MSR_MTRR_DEF_TYPE: return &cpu->mtrr_def_type;
	default: return &cpu->mtrr_fixed[3 + index - MSR_MTRR_4K];
	}
}

static int write_mtrr(struct cpu *cpu, uint32_t index, uint64_t value)
{
	bool is_valid;

	if (index == MSR_MTRR_DEF_TYPE) {
		is_valid = !(value & ~0xcffull) && memory_type_is_valid(value, false);
	} else if (index <= MSR_MTRR_VAR_LAST) {
		uint64_t reserved = ~0ull << cpu->physical_bits;

		reserved |= index & 1 ? 0x7ff : 0xf00;
		is_valid = !(value & reserved) &&
			   ((index & 1) || memory_type_is_valid(value, false));
	} else {
		is_valid = memory_types_are_valid(value, false);
	}
	if (!is_valid)
		return -EINVAL;
	*mtrr_register(cpu, index) = value;
	return 0;
}

/* -- machine check (SDM vol. 3 §15.3) -- */

static uint64_t *machine_check_register(struct cpu *cpu, uint32_t index)
{
	if (index - MSR_MC_BANKS >= 4 * (cpu->msrs->mcg_cap & 0xff) ||
	    index - MSR_MC_BANKS >= MC_BANKS * 4)
		return NULL;
	return &cpu->msrs->mc_banks[index - MSR_MC_BANKS];
}

static int write_machine_check(struct cpu *cpu, uint32_t index, uint64_t value, bool host_initiated)
{
	uint64_t *bank = machine_check_register(cpu, index);
	unsigned kind = index & 3;

	if (!bank)
		return -EINVAL;
	if (!host_initiated) {
		/* CTL: all ones or all zeros, with Linux's allowance for bit 10 of bank 4. */
		if (kind == 0 && value && (value | 1ull << 10 | 1) != ~0ull)
			return -EINVAL;
		if (kind == 1 && value && !(cpu->msrs->hwcr & 1ull << 18))
			return -EINVAL;
	}
	*bank = value;
	return 0;
}

/* -- rules of single registers -- */

static int write_efer(struct cpu *cpu, uint64_t value)
{
	if (value & ~control_efer_allowed(cpu))
		return -EINVAL;
	if ((cpu->cr0 & CR0_PG) && ((value ^ cpu->efer) & EFER_LME))
		return -EINVAL;
	control_write_efer(cpu, (value & ~EFER_LMA) | (cpu->efer & EFER_LMA));
	return 0;
}

static void write_tsc(struct cpu *cpu, uint64_t value, bool host_initiated)
{
	uint64_t delta = value - cpu_read_tsc(cpu);

	cpu->tsc_offset += delta;
	if (!host_initiated)
		cpu->tsc_adjust += delta;
}

static int write_misc_features(struct cpu *cpu, uint64_t value)
{
	if (value & ~(uint64_t)MISC_FEATURES_CPUID_FAULT)
		return -EINVAL;
	if (value && !(cpu->msrs->platform_info & PLATFORM_INFO_CPUID_FAULT))
		return -EINVAL;
	cpu->msrs->misc_features = value;
	return 0;
}

static bool has_spec_ctrl(const struct cpu *cpu)
{
	return cpu_has(cpu, FEATURE_SPEC_CTRL) || cpu_has(cpu, FEATURE_AMD_IBRS) ||
	       cpu_has(cpu, FEATURE_AMD_STIBP) || cpu_has(cpu, FEATURE_AMD_SSBD) ||
	       cpu_has(cpu, FEATURE_STIBP) || cpu_has(cpu, FEATURE_SSBD);
}

static uint64_t canonical(uint64_t value)
{
	return (int64_t)(value << 16) >> 16;
}

static bool has_tsc_aux(const struct cpu *cpu)
{
	return cpu_has(cpu, FEATURE_RDTSCP) || cpu_has(cpu, FEATURE_RDPID);
}

/*
 * Whether the guest's CPU has no such MSR: another vendor's, or one of a feature that CPUID leaves out.
 * Only of those that the guest could otherwise use; user space reads and writes all of them.
 */
static bool is_absent(const struct cpu *cpu, uint32_t index)
{
	static const struct {
		uint32_t first, last;
		enum { OF_ANY, OF_INTEL, OF_AMD } vendor;
		enum cpu_feature feature, other; /* either; of any vendor's */
	} rules[] = {
		{MSR_PLATFORM_ID, MSR_PLATFORM_ID, OF_INTEL},
		{MSR_EBL_CR_POWERON, MSR_EBC_FREQUENCY_ID, OF_INTEL},
		{MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, OF_INTEL},
		{MSR_TSC_ADJUST, MSR_TSC_ADJUST, OF_ANY, FEATURE_TSC_ADJUST, FEATURE_TSC_ADJUST},
		{MSR_UCODE_WRITE, MSR_UCODE_WRITE, OF_INTEL},
		{MSR_PERFCTR0, MSR_PLATFORM_INFO, OF_INTEL},
		{MSR_MTRR_CAP, MSR_MTRR_CAP, OF_ANY, FEATURE_MTRR, FEATURE_MTRR},
		{MSR_BBL_CR_CTL3, MSR_MISC_FEATURES, OF_INTEL},
		{MSR_SYSENTER_CS, MSR_SYSENTER_EIP, OF_ANY, FEATURE_SEP, FEATURE_SEP},
		{MSR_MCG_CAP, MSR_MCG_CTL, OF_ANY, FEATURE_MCA, FEATURE_MCA},
		{MSR_EVNTSEL0, MSR_MISC_ENABLE, OF_INTEL},
		{MSR_POWER_CTL, MSR_POWER_CTL, OF_INTEL},
		{MSR_MTRR_VAR, MSR_MTRR_4K_LAST, OF_ANY, FEATURE_MTRR, FEATURE_MTRR},
		{MSR_PAT, MSR_PAT, OF_ANY, FEATURE_PAT, FEATURE_PAT},
		{MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, OF_ANY, FEATURE_MTRR, FEATURE_MTRR},
		{MSR_MC_BANKS, MSR_MC_BANKS_LAST, OF_ANY, FEATURE_MCA, FEATURE_MCA},
		{MSR_RAPL_POWER_UNIT, MSR_PP1_ENERGY, OF_INTEL},
		{MSR_STAR, MSR_FMASK, OF_ANY, FEATURE_SYSCALL, FEATURE_LM},
		{MSR_FS_BASE, MSR_KERNEL_GS_BASE, OF_ANY, FEATURE_LM, FEATURE_LM},
		{MSR_K7_EVNTSEL0, MSR_F15H_EX_CFG, OF_AMD},
	};

	for (unsigned i = 0; cpu->rules.features && i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (index < rules[i].first || index > rules[i].last)
			continue;
		if (rules[i].vendor != OF_ANY)
			return cpu->is_amd != (rules[i].vendor == OF_AMD);
		return !cpu_has(cpu, rules[i].feature) && !cpu_has(cpu, rules[i].other);
	}
	return false;
}

/* AMD's performance counters and their event selects, which count nothing here. */
static bool is_amd_counter(uint32_t index)
{
	return (index >= MSR_K7_EVNTSEL0 && index <= MSR_K7_PERFCTR3) ||
	       (index >= MSR_F15H_PERF_CTL0 && index <= MSR_F15H_PERF_CTR5);
}

/* MSRs that there are, and that hold nothing. */
static bool reads_as_zero(uint32_t index)
{
	switch (index) {
	case MSR_P5_MC_ADDR:
	case MSR_P5_MC_TYPE:
	case MSR_PLATFORM_ID:
	case MSR_EBL_CR_POWERON:
	case MSR_PERFCTR0:
	case MSR_PERFCTR1:
	case MSR_EVNTSEL0:
	case MSR_EVNTSEL1:
	case MSR_PERF_CTL:
	case MSR_LBR_FROM:
	case MSR_LBR_TO:
	case MSR_LER_FROM:
	case MSR_LER_TO:
	case MSR_RAPL_POWER_UNIT:
	case MSR_PKG_ENERGY:
	case MSR_DRAM_ENERGY:
	case MSR_PP0_ENERGY:
	case MSR_PP1_ENERGY:
	case MSR_SYSCFG:
	case MSR_NB_CFG:
	case MSR_INT_PENDING:
	case MSR_MMIO_CONF_BASE:
	case MSR_TSEG_ADDR:
	case MSR_TSEG_MASK:
	case MSR_VM_CR:
	case MSR_VM_HSAVE_PA:
	case MSR_LS_CFG:
	case MSR_DC_CFG:
	case MSR_TW_CFG:
	case MSR_BU_CFG2:
	case MSR_F15H_EX_CFG:
		return true;
	default:
		return is_amd_counter(index);
	}
}

/* What a guest's read of the MSR raises #GP for: -errno, or 0. User space reads all that there are. */
static int refuse_read(const struct cpu *cpu, uint32_t index)
{
	if (is_absent(cpu, index))
		return -ENOENT;
	switch (index) {
	case MSR_SMBASE: return -ENOENT;
	case MSR_SPEC_CTRL: return has_spec_ctrl(cpu) ? 0 : -ENOENT;
	case MSR_ARCH_CAPABILITIES: return cpu_has(cpu, FEATURE_ARCH_CAPABILITIES) ? 0 : -ENOENT;
	case MSR_VIRT_SPEC_CTRL: return cpu_has(cpu, FEATURE_AMD_VIRT_SSBD) ? 0 : -ENOENT;
	case MSR_MCG_CTL: return cpu->msrs->mcg_cap & MCG_CTL_P ? 0 : -EINVAL;
	case MSR_XSS: return cpu_has(cpu, FEATURE_XSAVES) ? 0 : -EINVAL;
	case MSR_TSC_AUX: return has_tsc_aux(cpu) ? 0 : -EINVAL;
	default: return 0;
	}
}

int cpu_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value, bool host_initiated)
{
	const struct cpu_msrs *msrs = cpu->msrs;
	int result;

	*value = 0;
	result = host_initiated ? 0 : refuse_read(cpu, index);
	if (result < 0)
		return result;
	if (is_mtrr(index)) {
		*value = *mtrr_register(cpu, index);
		return 0;
	}
	if (index >= MSR_MC_BANKS && index <= MSR_MC_BANKS_LAST) {
		const uint64_t *bank = machine_check_register(cpu, index);

		if (!bank)
			return -EINVAL;
		*value = *bank;
		return 0;
	}
	if (reads_as_zero(index))
		return 0;

	switch (index) {
	case MSR_TSC: *value = cpu_read_tsc(cpu); return 0;
	case MSR_EBC_FREQUENCY_ID: *value = 1 << 24; return 0;
	case MSR_FSB_FREQ: *value = 3; return 0;
	case MSR_SMI_COUNT: *value = msrs->smi_count; return 0;
	case MSR_FEATURE_CONTROL: *value = msrs->feature_control; return 0;
	case MSR_TSC_ADJUST: *value = cpu->tsc_adjust; return 0;
	case MSR_SPEC_CTRL: *value = cpu->spec_ctrl; return 0;
	case MSR_UCODE_REV: *value = msrs->microcode_revision; return 0;
	case MSR_SMBASE: *value = cpu->smbase; return 0;
	case MSR_PLATFORM_INFO: *value = msrs->platform_info; return 0;
	case MSR_MTRR_CAP: *value = MTRR_CAP_VALUE; return 0;
	case MSR_ARCH_CAPABILITIES: *value = msrs->arch_capabilities; return 0;
	case MSR_BBL_CR_CTL3: *value = BBL_CR_CTL3_VALUE; return 0;
	case MSR_MISC_FEATURES: *value = msrs->misc_features; return 0;
	case MSR_SYSENTER_CS: *value = cpu->sysenter_cs; return 0;
	case MSR_SYSENTER_ESP: *value = cpu->sysenter_esp; return 0;
	case MSR_SYSENTER_EIP: *value = cpu->sysenter_eip; return 0;
	case MSR_MCG_CAP: *value = msrs->mcg_cap; return 0;
	case MSR_MCG_STATUS: *value = cpu->mcg_status; return 0;
	case MSR_MCG_CTL: *value = msrs->mcg_ctl; return 0;
	case MSR_PERF_STATUS: *value = PERF_STATUS_VALUE; return 0;
	case MSR_MISC_ENABLE: *value = cpu->misc_enable; return 0;
	case MSR_DEBUGCTL: *value = cpu->debugctl; return 0;
	case MSR_POWER_CTL: *value = msrs->power_ctl; return 0;
	case MSR_PAT: *value = cpu->pat; return 0;
	case MSR_XSS: *value = cpu->xss; return 0;
	case MSR_EFER: *value = cpu->efer; return 0;
	case MSR_STAR: *value = cpu->star; return 0;
	case MSR_LSTAR: *value = cpu->lstar; return 0;
	case MSR_CSTAR: *value = cpu->cstar; return 0;
	case MSR_FMASK: *value = cpu->fmask; return 0;
	case MSR_FS_BASE: *value = cpu->segment[CPU_FS].base; return 0;
	case MSR_GS_BASE: *value = cpu->segment[CPU_GS].base; return 0;
	case MSR_KERNEL_GS_BASE: *value = cpu->kernel_gs_base; return 0;
	case MSR_TSC_AUX: *value = cpu->tsc_aux; return 0;
	case MSR_HWCR: *value = msrs->hwcr; return 0;
	case MSR_K7_CLK_CTL: *value = 0x20000000; return 0;
	case MSR_VIRT_SPEC_CTRL: *value = msrs->virt_spec_ctrl; return 0;
	case MSR_DE_CFG: *value = msrs->de_cfg; return 0;
	default: return platform_msr_read(cpu, index, value);
	}
}

/* MSRs that hold no state of their own or refuse some values. */
static int write_checked(struct cpu *cpu, uint32_t index, uint64_t value, bool host_initiated)
{
	struct cpu_msrs *msrs = cpu->msrs;

	switch (index) {
	case MSR_TSC: write_tsc(cpu, value, host_initiated); return 0;
	case MSR_TSC_ADJUST:
		/* A guest's change moves its TSC; a restored value describes the TSC set apart. */
		if (!host_initiated)
			cpu->tsc_offset += value - cpu->tsc_adjust;
		cpu->tsc_adjust = value;
		return 0;
	case MSR_FEATURE_CONTROL:
		if (!host_initiated && (msrs->feature_control & FEATURE_CONTROL_LOCKED))
			return -EINVAL;
		msrs->feature_control = value;
		return 0;
	case MSR_SPEC_CTRL:
		if ((!host_initiated && !has_spec_ctrl(cpu)) || (value & ~SPEC_CTRL_DEFINED))
			return -EINVAL;
		cpu->spec_ctrl = value;
		return 0;
	case MSR_PRED_CMD:
		if (!host_initiated && !cpu_has(cpu, FEATURE_SPEC_CTRL) &&
		    !cpu_has(cpu, FEATURE_AMD_IBPB))
			return -EINVAL;
		return value & ~1ull ? -EINVAL : 0;
	case MSR_FLUSH_CMD:
		if (!host_initiated && !cpu_has(cpu, FEATURE_FLUSH_L1D))
			return -EINVAL;
		return value & ~1ull ? -EINVAL : 0;
	case MSR_PAT:
		if (!memory_types_are_valid(value, true))
			return -EINVAL;
		cpu->pat = value;
		return 0;
	case MSR_MISC_ENABLE:
		/* BTS and PEBS stay unavailable whatever a guest writes. */
		if (!host_initiated)
			value = (value & ~MISC_ENABLE_RESET) | (cpu->misc_enable & MISC_ENABLE_RESET);
		cpu->misc_enable = value;
		return 0;
	case MSR_MISC_FEATURES: return write_misc_features(cpu, value);
	case MSR_MCG_CTL:
		if (!(msrs->mcg_cap & MCG_CTL_P) && (value || !host_initiated))
			return -EINVAL;
		if (value && value != ~0ull)
			return -EINVAL;
		msrs->mcg_ctl = value;
		return 0;
	case MSR_DEBUGCTL:
		if (value & ~3ull)
			return -EINVAL;
		cpu->debugctl = value & 2 ? 2 : 0;
		return 0;
	case MSR_XSS:
		if ((!host_initiated && !cpu_has(cpu, FEATURE_XSAVES)) || value)
			return -EINVAL;
		return 0;
	case MSR_EFER: return write_efer(cpu, value);
	case MSR_TSC_AUX:
		if (!host_initiated && !has_tsc_aux(cpu))
			return -EINVAL;
		if (!cpu->is_amd && (value >> 32))
			return -EINVAL;
		cpu->tsc_aux = (uint32_t)value;
		return 0;
	case MSR_HWCR:
		value &= ~HWCR_IGNORED;
		if (value & ~HWCR_STORED)
			return -EINVAL;
		msrs->hwcr = value;
		return 0;
	case MSR_VIRT_SPEC_CTRL:
		if ((!host_initiated && !cpu_has(cpu, FEATURE_AMD_VIRT_SSBD)) || (value & ~4ull))
			return -EINVAL;
		msrs->virt_spec_ctrl = value;
		return 0;
	case MSR_MMIO_CONF_BASE: return value ? -EINVAL : 0;
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
		if (!cpu_is_canonical(value))
			return -EINVAL;
		break;
	default:
		return -ENOENT;
	}

	switch (index) {
	case MSR_LSTAR: cpu->lstar = value; break;
	case MSR_CSTAR: cpu->cstar = value; break;
	case MSR_FS_BASE: cpu->segment[CPU_FS].base = value; break;
	case MSR_GS_BASE: cpu->segment[CPU_GS].base = value; break;
	default: cpu->kernel_gs_base = value; break;
	}
	return 0;
}

int cpu_msr_write(struct cpu *cpu, uint32_t index, uint64_t value, bool host_initiated)
{
	struct cpu_msrs *msrs = cpu->msrs;
	int result;

	if (!host_initiated && is_absent(cpu, index))
		return -ENOENT;
	if (is_mtrr(index))
		return write_mtrr(cpu, index, value);
	if (index >= MSR_MC_BANKS && index <= MSR_MC_BANKS_LAST)
		return write_machine_check(cpu, index, value, host_initiated);
	if (is_amd_counter(index))
		return 0;

	switch (index) {
	/* Written by firmware and kernels that expect an effect nobody can see. */
	case MSR_P5_MC_ADDR:
	case MSR_P5_MC_TYPE:
	case MSR_UCODE_WRITE:
	case MSR_PERFCTR0:
	case MSR_PERFCTR1:
	case MSR_EVNTSEL0:
	case MSR_EVNTSEL1:
	case MSR_PERF_CTL:
	case MSR_BBL_CR_CTL3:
	case MSR_SYSCFG:
	case MSR_K7_CLK_CTL:
	case MSR_NB_CFG:
	case MSR_PATCH_LOADER:
	case MSR_VM_HSAVE_PA:
	case MSR_LS_CFG:
	case MSR_DC_CFG:
	case MSR_TW_CFG:
	case MSR_DE_CFG:
	case MSR_BU_CFG2:
	case MSR_F15H_EX_CFG:
		return 0;
	case MSR_POWER_CTL: msrs->power_ctl = value; return 0;
	case MSR_SYSENTER_CS: cpu->sysenter_cs = value; return 0;
	case MSR_SYSENTER_ESP: cpu->sysenter_esp = canonical(value); return 0;
	case MSR_SYSENTER_EIP: cpu->sysenter_eip = canonical(value); return 0;
	case MSR_MCG_STATUS: cpu->mcg_status = value; return 0;
	case MSR_STAR: cpu->star = value; return 0;
	case MSR_FMASK: cpu->fmask = (uint32_t)value; return 0;
	}
	result = write_checked(cpu, index, value, host_initiated);
	if (result != -ENOENT)
		return result;
	if (host_initiated) {
		switch (index) {
		case MSR_SMI_COUNT: msrs->smi_count = value; return 0;
		case MSR_UCODE_REV: msrs->microcode_revision = value; return 0;
		case MSR_SMBASE: cpu->smbase = value; return 0;
		case MSR_PLATFORM_INFO: msrs->platform_info = value; return 0;
		case MSR_ARCH_CAPABILITIES: msrs->arch_capabilities = value; return 0;
		case MSR_MCG_CAP: msrs->mcg_cap = value; return 0;
		}
	} else if (index == MSR_UCODE_REV) {
		return 0; /* "sign" protocol: a zero is written before the revision is read */
	}
	return platform_msr_write(cpu, index, value);
}
