/* The names of CPUID features, and where each stands. */
#include "machine/cpu_features.h"

enum { EAX, EBX, ECX, EDX };

static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg;
} words[CPU_WORDS] = {
    [CPU_1_EDX] = {1, 0, EDX},
    [CPU_1_ECX] = {1, 0, ECX},
    [CPU_6_EAX] = {6, 0, EAX},
    [CPU_7_EBX] = {7, 0, EBX},
    [CPU_7_ECX] = {7, 0, ECX},
    [CPU_7_EDX] = {7, 0, EDX},
    [CPU_7_1_EAX] = {7, 1, EAX},
    [CPU_7_2_EDX] = {7, 2, EDX},
    [CPU_D_1_EAX] = {0xd, 1, EAX},
    [CPU_KVM_EAX] = {0x40000001, 0, EAX},
    [CPU_EXT1_EDX] = {0x80000001, 0, EDX},
    [CPU_EXT1_ECX] = {0x80000001, 0, ECX},
    [CPU_EXT7_EDX] = {0x80000007, 0, EDX},
    [CPU_EXT8_EBX] = {0x80000008, 0, EBX},
    [CPU_EXT21_EAX] = {0x80000021, 0, EAX},
    [CPU_EXT21_ECX] = {0x80000021, 0, ECX},
};

/* clang-format off */
const struct named_cpu_feature cpu_features[] = {
	{"fpu", CPU_1_EDX, 0}, {"vme", CPU_1_EDX, 1}, {"de", CPU_1_EDX, 2}, {"pse", CPU_1_EDX, 3},
	{"tsc", CPU_1_EDX, 4}, {"msr", CPU_1_EDX, 5}, {"pae", CPU_1_EDX, 6},
	{"mce", CPU_1_EDX, 7}, {"cx8", CPU_1_EDX, 8}, {"apic", CPU_1_EDX, 9},
	{"sep", CPU_1_EDX, 11}, {"mtrr", CPU_1_EDX, 12}, {"pge", CPU_1_EDX, 13},
	{"mca", CPU_1_EDX, 14}, {"cmov", CPU_1_EDX, 15}, {"pat", CPU_1_EDX, 16},
	{"pse36", CPU_1_EDX, 17}, {"pn", CPU_1_EDX, 18}, {"clflush", CPU_1_EDX, 19},
	{"ds", CPU_1_EDX, 21}, {"acpi", CPU_1_EDX, 22}, {"mmx", CPU_1_EDX, 23},
	{"fxsr", CPU_1_EDX, 24}, {"sse", CPU_1_EDX, 25}, {"sse2", CPU_1_EDX, 26},
	{"ss", CPU_1_EDX, 27}, {"ht", CPU_1_EDX, 28}, {"tm", CPU_1_EDX, 29},
	{"ia64", CPU_1_EDX, 30}, {"pbe", CPU_1_EDX, 31},
	{"pni", CPU_1_ECX, 0}, {"pclmulqdq", CPU_1_ECX, 1}, {"dtes64", CPU_1_ECX, 2},
	{"monitor", CPU_1_ECX, 3}, {"ds-cpl", CPU_1_ECX, 4}, {"vmx", CPU_1_ECX, 5},
	{"smx", CPU_1_ECX, 6}, {"est", CPU_1_ECX, 7}, {"tm2", CPU_1_ECX, 8},
	{"ssse3", CPU_1_ECX, 9}, {"cid", CPU_1_ECX, 10}, {"fma", CPU_1_ECX, 12},
	{"cx16", CPU_1_ECX, 13}, {"xtpr", CPU_1_ECX, 14}, {"pdcm", CPU_1_ECX, 15},
	{"pcid", CPU_1_ECX, 17}, {"dca", CPU_1_ECX, 18}, {"sse4-1", CPU_1_ECX, 19},
	{"sse4-2", CPU_1_ECX, 20}, {"x2apic", CPU_1_ECX, 21}, {"movbe", CPU_1_ECX, 22},
	{"popcnt", CPU_1_ECX, 23}, {"tsc-deadline", CPU_1_ECX, 24}, {"aes", CPU_1_ECX, 25},
	{"xsave", CPU_1_ECX, 26}, {"avx", CPU_1_ECX, 28}, {"f16c", CPU_1_ECX, 29},
	{"rdrand", CPU_1_ECX, 30}, {"hypervisor", CPU_1_ECX, 31},
	{"arat", CPU_6_EAX, 2},
	{"fsgsbase", CPU_7_EBX, 0}, {"tsc-adjust", CPU_7_EBX, 1}, {"sgx", CPU_7_EBX, 2},
	{"bmi1", CPU_7_EBX, 3}, {"hle", CPU_7_EBX, 4}, {"avx2", CPU_7_EBX, 5},
	{"fdp-excptn-only", CPU_7_EBX, 6}, {"smep", CPU_7_EBX, 7}, {"bmi2", CPU_7_EBX, 8},
	{"erms", CPU_7_EBX, 9}, {"invpcid", CPU_7_EBX, 10}, {"rtm", CPU_7_EBX, 11},
	{"zero-fcs-fds", CPU_7_EBX, 13}, {"mpx", CPU_7_EBX, 14}, {"avx512f", CPU_7_EBX, 16},
	{"avx512dq", CPU_7_EBX, 17}, {"rdseed", CPU_7_EBX, 18}, {"adx", CPU_7_EBX, 19},
	{"smap", CPU_7_EBX, 20}, {"avx512ifma", CPU_7_EBX, 21}, {"pcommit", CPU_7_EBX, 22},
	{"clflushopt", CPU_7_EBX, 23}, {"clwb", CPU_7_EBX, 24}, {"intel-pt", CPU_7_EBX, 25},
	{"avx512pf", CPU_7_EBX, 26}, {"avx512er", CPU_7_EBX, 27}, {"avx512cd", CPU_7_EBX, 28},
	{"sha-ni", CPU_7_EBX, 29}, {"avx512bw", CPU_7_EBX, 30}, {"avx512vl", CPU_7_EBX, 31},
	{"avx512vbmi", CPU_7_ECX, 1}, {"umip", CPU_7_ECX, 2}, {"pku", CPU_7_ECX, 3},
	{"ospke", CPU_7_ECX, 4}, {"waitpkg", CPU_7_ECX, 5}, {"avx512vbmi2", CPU_7_ECX, 6},
	{"gfni", CPU_7_ECX, 8}, {"vaes", CPU_7_ECX, 9}, {"vpclmulqdq", CPU_7_ECX, 10},
	{"avx512vnni", CPU_7_ECX, 11}, {"avx512bitalg", CPU_7_ECX, 12},
	{"avx512-vpopcntdq", CPU_7_ECX, 14}, {"la57", CPU_7_ECX, 16}, {"rdpid", CPU_7_ECX, 22},
	{"bus-lock-detect", CPU_7_ECX, 24}, {"cldemote", CPU_7_ECX, 25},
	{"movdiri", CPU_7_ECX, 27}, {"movdir64b", CPU_7_ECX, 28}, {"sgxlc", CPU_7_ECX, 30},
	{"pks", CPU_7_ECX, 31},
	{"avx512-4vnniw", CPU_7_EDX, 2}, {"avx512-4fmaps", CPU_7_EDX, 3}, {"fsrm", CPU_7_EDX, 4},
	{"avx512-vp2intersect", CPU_7_EDX, 8}, {"md-clear", CPU_7_EDX, 10},
	{"serialize", CPU_7_EDX, 14}, {"tsx-ldtrk", CPU_7_EDX, 16}, {"arch-lbr", CPU_7_EDX, 19},
	{"amx-bf16", CPU_7_EDX, 22}, {"avx512-fp16", CPU_7_EDX, 23}, {"amx-tile", CPU_7_EDX, 24},
	{"amx-int8", CPU_7_EDX, 25}, {"spec-ctrl", CPU_7_EDX, 26}, {"stibp", CPU_7_EDX, 27},
	{"flush-l1d", CPU_7_EDX, 28}, {"arch-capabilities", CPU_7_EDX, 29},
	{"core-capability", CPU_7_EDX, 30}, {"ssbd", CPU_7_EDX, 31},
	{"avx-vnni", CPU_7_1_EAX, 4}, {"avx512-bf16", CPU_7_1_EAX, 5},
	{"cmpccxadd", CPU_7_1_EAX, 7}, {"fzrm", CPU_7_1_EAX, 10}, {"fsrs", CPU_7_1_EAX, 11},
	{"fsrc", CPU_7_1_EAX, 12}, {"amx-fp16", CPU_7_1_EAX, 21}, {"avx-ifma", CPU_7_1_EAX, 23},
	{"bhi-ctrl", CPU_7_2_EDX, 4},
	{"xsaveopt", CPU_D_1_EAX, 0}, {"xsavec", CPU_D_1_EAX, 1}, {"xgetbv1", CPU_D_1_EAX, 2},
	{"xsaves", CPU_D_1_EAX, 3}, {"xfd", CPU_D_1_EAX, 4},
	{"kvmclock", CPU_KVM_EAX, 3}, {"kvmclock-old", CPU_KVM_EAX, 0},
	{"kvm-nopiodelay", CPU_KVM_EAX, 1}, {"kvm-mmu", CPU_KVM_EAX, 2},
	{"kvm-asyncpf", CPU_KVM_EAX, 4}, {"kvm-steal-time", CPU_KVM_EAX, 5},
	{"kvm-pv-eoi", CPU_KVM_EAX, 6}, {"kvm-pv-unhalt", CPU_KVM_EAX, 7},
	{"kvm-pv-tlb-flush", CPU_KVM_EAX, 9}, {"kvm-asyncpf-vmexit", CPU_KVM_EAX, 10},
	{"kvm-pv-ipi", CPU_KVM_EAX, 11}, {"kvm-poll-control", CPU_KVM_EAX, 12},
	{"kvm-pv-sched-yield", CPU_KVM_EAX, 13}, {"kvm-asyncpf-int", CPU_KVM_EAX, 14},
	{"kvm-msi-ext-dest-id", CPU_KVM_EAX, 15}, {"kvm-migration-control", CPU_KVM_EAX, 17},
	{"kvmclock-stable-bit", CPU_KVM_EAX, 24},
	{"syscall", CPU_EXT1_EDX, 11}, {"nx", CPU_EXT1_EDX, 20}, {"mmxext", CPU_EXT1_EDX, 22},
	{"fxsr-opt", CPU_EXT1_EDX, 25}, {"pdpe1gb", CPU_EXT1_EDX, 26},
	{"rdtscp", CPU_EXT1_EDX, 27}, {"lm", CPU_EXT1_EDX, 29}, {"3dnowext", CPU_EXT1_EDX, 30},
	{"3dnow", CPU_EXT1_EDX, 31},
	{"lahf-lm", CPU_EXT1_ECX, 0}, {"cmp-legacy", CPU_EXT1_ECX, 1}, {"svm", CPU_EXT1_ECX, 2},
	{"extapic", CPU_EXT1_ECX, 3}, {"cr8legacy", CPU_EXT1_ECX, 4}, {"abm", CPU_EXT1_ECX, 5},
	{"sse4a", CPU_EXT1_ECX, 6}, {"misalignsse", CPU_EXT1_ECX, 7},
	{"3dnowprefetch", CPU_EXT1_ECX, 8}, {"osvw", CPU_EXT1_ECX, 9}, {"ibs", CPU_EXT1_ECX, 10},
	{"xop", CPU_EXT1_ECX, 11}, {"skinit", CPU_EXT1_ECX, 12}, {"wdt", CPU_EXT1_ECX, 13},
	{"lwp", CPU_EXT1_ECX, 15}, {"fma4", CPU_EXT1_ECX, 16}, {"tce", CPU_EXT1_ECX, 17},
	{"nodeid-msr", CPU_EXT1_ECX, 19}, {"tbm", CPU_EXT1_ECX, 21},
	{"topoext", CPU_EXT1_ECX, 22}, {"perfctr-core", CPU_EXT1_ECX, 23},
	{"perfctr-nb", CPU_EXT1_ECX, 24},
	{"invtsc", CPU_EXT7_EDX, 8},
	{"clzero", CPU_EXT8_EBX, 0}, {"xsaveerptr", CPU_EXT8_EBX, 2}, {"rdpru", CPU_EXT8_EBX, 4},
	{"wbnoinvd", CPU_EXT8_EBX, 9}, {"ibpb", CPU_EXT8_EBX, 12}, {"ibrs", CPU_EXT8_EBX, 14},
	{"amd-stibp", CPU_EXT8_EBX, 15}, {"stibp-always-on", CPU_EXT8_EBX, 17},
	{"amd-ssbd", CPU_EXT8_EBX, 24}, {"virt-ssbd", CPU_EXT8_EBX, 25},
	{"amd-no-ssb", CPU_EXT8_EBX, 26}, {"amd-psfd", CPU_EXT8_EBX, 28},
	{"btc-no", CPU_EXT8_EBX, 29},
	{"no-nested-data-bp", CPU_EXT21_EAX, 0}, {"lfence-always-serializing", CPU_EXT21_EAX, 2},
	{"verw-clear", CPU_EXT21_EAX, 5}, {"null-sel-clr-base", CPU_EXT21_EAX, 6},
	{"auto-ibrs", CPU_EXT21_EAX, 8}, {"srso-no", CPU_EXT21_EAX, 29},
	{"srso-user-kernel-no", CPU_EXT21_EAX, 30},
	{"tsa-sq-no", CPU_EXT21_ECX, 1}, {"tsa-l1-no", CPU_EXT21_ECX, 2},
	/* second names */
	{"sse3", CPU_1_ECX, 0}, {"pclmuldq", CPU_1_ECX, 1}, {"xd", CPU_EXT1_EDX, 20},
	{"i64", CPU_EXT1_EDX, 29}, {"ffxsr", CPU_EXT1_EDX, 25}, {"lzcnt", CPU_EXT1_ECX, 5},
	{"tsc-deadline-timer", CPU_1_ECX, 24}, {"prefetchw", CPU_EXT1_ECX, 8},
	{"sha", CPU_7_EBX, 29},
};
/* clang-format on */
const unsigned cpu_feature_count = sizeof(cpu_features) / sizeof(cpu_features[0]);

const struct named_cpu_feature *cpu_feature_find(const char *name, size_t length)
{
	unsigned i;
	size_t n;

	for (i = 0; i < cpu_feature_count; i++) {
		const char *other = cpu_features[i].name;

		for (n = 0; n < length && other[n]; n++) {
			char c = name[n] == '_' || name[n] == '.' ? '-' : name[n];

			if (c != other[n])
				break;
		}
		if (n == length && !other[n])
			return &cpu_features[i];
	}
	return NULL;
}

const char *cpu_feature_name(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
	unsigned i, word;

	for (i = 0; i < cpu_feature_count; i++) {
		word = cpu_features[i].word;
		if (words[word].leaf == leaf && words[word].subleaf == subleaf &&
		    words[word].reg == reg && cpu_features[i].bit == bit)
			return cpu_features[i].name;
	}
	return NULL;
}

uint32_t *cpu_word_in(struct kvm_cpuid_entry2 *entry, enum cpu_word word)
{
	if (entry->function != words[word].leaf || entry->index != words[word].subleaf)
		return NULL;
	switch (words[word].reg) {
	case EAX: return &entry->eax;
	case EBX: return &entry->ebx;
	case ECX: return &entry->ecx;
	default: return &entry->edx;
	}
}

void cpu_word_leaf(enum cpu_word word, uint32_t *leaf, uint32_t *subleaf)
{
	*leaf = words[word].leaf;
	*subleaf = words[word].subleaf;
}
