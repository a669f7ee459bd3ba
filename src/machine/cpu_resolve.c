/*
 * A model's CPUID on a backend: the model's features that the backend has, in leaves as the model's
 * vendor lays them out (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). What describes the
 * XSAVE area and the width of addresses is the backend's own.
 */
#include <string.h>

#include "machine/cpu_spec.h"

#define VENDOR_AMD   "AuthenticAMD"
#define VENDOR_HYGON "HygonGenuine"

/* AMD repeats these features of leaf 1 in 8000_0001h. */
#define EXT1_EDX_REPEATED 0x0183f3ffu

#define LEAF1_EDX_CLFLUSH    (1u << 19)
#define LEAF1_EDX_SSE        (1u << 25)
#define LEAF1_ECX_MONITOR    (1u << 3)
#define LEAF1_ECX_X2APIC     (1u << 21)
#define LEAF1_ECX_XSAVE      (1u << 26)
#define LEAF1_ECX_AVX        (1u << 28)
#define LEAF1_ECX_HYPERVISOR (1u << 31)
#define LEAF7_EBX_AVX512F    (1u << 16)
#define EXT1_EDX_MMXEXT      (1u << 22)
#define EXT1_ECX_CMP_LEGACY  (1u << 1)
#define EXT1_ECX_SVM         (1u << 2)
#define EXT1_ECX_TOPOEXT     (1u << 22)

#define XCR0_LEGACY 3u
#define XCR0_AVX    4u
#define XCR0_AVX512 0xe0u

#define CACHE_DATA        1u
#define CACHE_INSTRUCTION 2u
#define CACHE_UNIFIED     3u

/* Caches of leaf 4 and 8000_001Dh: what such CPUs have about. */
static const struct cache {
	uint32_t type, level, bytes, ways;
} caches[] = {
    {CACHE_DATA, 1, 32 << 10, 8},
    {CACHE_INSTRUCTION, 1, 32 << 10, 8},
    {CACHE_UNIFIED, 2, 512 << 10, 8},
    {CACHE_UNIFIED, 3, 16 << 20, 16},
};
#define CACHES     (sizeof(caches) / sizeof(caches[0]))
#define CACHE_LINE 64u

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf)
{
	unsigned i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == leaf && cpuid->entries[i].index == subleaf)
			return &cpuid->entries[i];
	return NULL;
}

static struct kvm_cpuid_entry2 *get(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf,
                                    bool is_indexed)
{
	struct kvm_cpuid_entry2 *entry = find(cpuid, leaf, subleaf);

	if (!entry) {
		entry = &cpuid->entries[cpuid->nent++];
		memset(entry, 0, sizeof(*entry));
		entry->function = leaf;
		entry->index = subleaf;
		entry->flags = is_indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	}
	return entry;
}

static bool has_index(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

/* -- features -- */

static void add_features(struct cpu_feature_set *set, const char *names)
{
	while (names && *names) {
		size_t length;
		bool is_off;

		names += strspn(names, " ");
		is_off = *names == '-';
		names += is_off;
		length = strcspn(names, " ");
		if (length)
			cpu_feature_put(set, cpu_feature_find(names, length), !is_off);
		names += length;
	}
}

static void add_model_features(struct cpu_feature_set *set, const struct cpu_model *model)
{
	if (model->base)
		add_model_features(set, cpu_model_find(model->base));
	add_features(set, model->features);
}

void cpu_model_features(const struct cpu_model *model, struct cpu_feature_set *features)
{
	memset(features, 0, sizeof(*features));
	add_model_features(features, model);
}

/* The first of the model and its bases that says anything about its vendor, or its name. */
static const struct cpu_model *described_by(const struct cpu_model *model, bool wants_name)
{
	while (model->base && !(wants_name ? model->model_id : model->vendor))
		model = cpu_model_find(model->base);
	return model;
}

void cpu_features_of(struct kvm_cpuid2 *cpuid, struct cpu_feature_set *set)
{
	unsigned i, word;

	memset(set, 0, sizeof(*set));
	for (i = 0; i < cpuid->nent; i++)
		for (word = 0; word < CPU_WORDS; word++) {
			const uint32_t *value = cpu_word_in(&cpuid->entries[i], word);

			if (value)
				set->words[word] = *value;
		}
}

static void write_words(struct kvm_cpuid2 *cpuid, const struct cpu_feature_set *set)
{
	unsigned word;

	for (word = 0; word < CPU_WORDS; word++) {
		uint32_t leaf, subleaf;
		struct kvm_cpuid_entry2 *entry;

		cpu_word_leaf(word, &leaf, &subleaf);
		entry = find(cpuid, leaf, subleaf);
		if (!entry && set->words[word])
			entry = get(cpuid, leaf, subleaf, has_index(leaf));
		if (entry)
			*cpu_word_in(entry, word) = set->words[word];
	}
}

/* What needs no backend, or what every backend with another feature has. */
static void complete_supported(struct cpu_feature_set *set)
{
	set->words[CPU_1_ECX] |= LEAF1_ECX_HYPERVISOR;
	set->words[CPU_EXT1_ECX] |= EXT1_ECX_TOPOEXT | EXT1_ECX_CMP_LEGACY;
	if (set->words[CPU_1_EDX] & LEAF1_EDX_SSE)
		set->words[CPU_EXT1_EDX] |= EXT1_EDX_MMXEXT;
}

static void choose_features(const struct cpu_spec *spec, const struct cpu_feature_set *supported,
                            struct cpu_feature_set *chosen, struct cpu_feature_set *missing)
{
	struct cpu_feature_set possible = *supported;
	unsigned word;

	complete_supported(&possible);
	if (spec->model) {
		cpu_model_features(spec->model, chosen);
		/* As QEMU's models under KVM: x2APIC, and neither MONITOR nor SVM. */
		chosen->words[CPU_1_ECX] |= supported->words[CPU_1_ECX] & LEAF1_ECX_X2APIC;
		chosen->words[CPU_1_ECX] &= ~LEAF1_ECX_MONITOR;
		chosen->words[CPU_EXT1_ECX] &= ~EXT1_ECX_SVM;
		/* KVM's own are no processor's. */
		chosen->words[CPU_KVM_EAX] = supported->words[CPU_KVM_EAX];
	} else {
		*chosen = *supported;
	}
	chosen->words[CPU_1_ECX] |= LEAF1_ECX_HYPERVISOR;
	for (word = 0; word < CPU_WORDS; word++) {
		chosen->words[word] |= spec->on.words[word];
		chosen->words[word] &= ~spec->off.words[word];
		missing->words[word] = chosen->words[word] & ~possible.words[word];
		chosen->words[word] &= possible.words[word];
	}
}

/* -- leaves -- */

static uint32_t signature(unsigned family, unsigned model, unsigned stepping)
{
	uint32_t value = (model & 0xf) << 4 | (model >> 4) << 16 | (stepping & 0xf);

	return value | (family > 0xf ? 0xf00 | (family - 0xf) << 20 : family << 8);
}

static void set_signature(const struct cpu_spec *spec, uint32_t *eax)
{
	unsigned family = *eax >> 8 & 0xf, stepping = *eax & 0xf;
	unsigned model = (*eax >> 4 & 0xf) | (*eax >> 12 & 0xf0);

	if (family == 0xf)
		family += *eax >> 20 & 0xff;
	if (spec->family_plus_1)
		family = spec->family_plus_1 - 1;
	if (spec->model_plus_1)
		model = spec->model_plus_1 - 1;
	if (spec->stepping_plus_1)
		stepping = spec->stepping_plus_1 - 1;
	*eax = signature(family, model, stepping);
}

static void set_vendor(struct kvm_cpuid2 *cpuid, const char *vendor)
{
	struct kvm_cpuid_entry2 *entry = get(cpuid, 0, 0, false);

	memcpy(&entry->ebx, vendor, 4);
	memcpy(&entry->edx, vendor + 4, 4);
	memcpy(&entry->ecx, vendor + 8, 4);
}

static bool is_amd(const char *vendor)
{
	return strcmp(vendor, VENDOR_AMD) == 0 || strcmp(vendor, VENDOR_HYGON) == 0;
}

static void get_vendor(struct kvm_cpuid2 *cpuid, char vendor[CPU_VENDOR_LENGTH + 1])
{
	const struct kvm_cpuid_entry2 *entry = get(cpuid, 0, 0, false);

	memcpy(vendor, &entry->ebx, 4);
	memcpy(vendor + 4, &entry->edx, 4);
	memcpy(vendor + 8, &entry->ecx, 4);
	vendor[CPU_VENDOR_LENGTH] = '\0';
}

static void set_model_id(struct kvm_cpuid2 *cpuid, const char *model_id)
{
	char text[CPU_MODEL_ID_LENGTH] = "";
	unsigned i;

	memcpy(text, model_id, strlen(model_id));
	for (i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 *entry = get(cpuid, 0x80000002 + i, 0, false);

		memcpy(&entry->eax, text + i * 16, 4);
		memcpy(&entry->ebx, text + i * 16 + 4, 4);
		memcpy(&entry->ecx, text + i * 16 + 8, 4);
		memcpy(&entry->edx, text + i * 16 + 12, 4);
	}
}

/* Which caches are shared by whom, the topology says. */
static void add_caches(struct kvm_cpuid2 *cpuid, uint32_t leaf)
{
	unsigned i;

	for (i = 0; i <= CACHES; i++) {
		struct kvm_cpuid_entry2 *entry = get(cpuid, leaf, i, true);

		if (i == CACHES)
			break; /* type 0 ends the list */
		entry->eax = caches[i].type | caches[i].level << 5 | 1 << 8;
		entry->ebx = (caches[i].ways - 1) << 22 | (CACHE_LINE - 1);
		entry->ecx = caches[i].bytes / caches[i].ways / CACHE_LINE - 1;
	}
}

/* The older form of AMD's, of which Intel has the second level alone. */
static void add_legacy_caches(struct kvm_cpuid2 *cpuid, bool has_amd_leaves)
{
	struct kvm_cpuid_entry2 *entry;

	if (has_amd_leaves) {
		entry = get(cpuid, 0x80000005, 0, false);
		entry->eax = entry->ebx = 0xff40ff40; /* 64 entries of TLB, fully associative */
		entry->ecx = entry->edx = 32u << 24 | 8 << 16 | 1 << 8 | CACHE_LINE;
	}
	entry = get(cpuid, 0x80000006, 0, false);
	entry->ecx = 512u << 16 | 6 << 12 | (has_amd_leaves ? 1 << 8 : 0) | CACHE_LINE;
	if (has_amd_leaves) {
		entry->ebx = 0x64006400; /* 1024 entries, 8-way; 4-KiB pages */
		entry->edx = 32u << 18 | 8 << 12 | 1 << 8 | CACHE_LINE; /* in units of 512 KiB */
	}
}

/* The components of XCR0 that the features have registers for, where the backend keeps them. */
static void limit_xsave(struct kvm_cpuid2 *cpuid, const struct cpu_feature_set *features)
{
	struct kvm_cpuid_entry2 *entry = find(cpuid, 0xd, 0);
	uint32_t components = XCR0_LEGACY, size = 576, i;

	if (!entry)
		return;
	if (features->words[CPU_1_ECX] & LEAF1_ECX_AVX)
		components |= XCR0_AVX;
	if (features->words[CPU_7_EBX] & LEAF7_EBX_AVX512F)
		components |= XCR0_AVX512;
	components &= entry->eax;
	if (!(features->words[CPU_1_ECX] & LEAF1_ECX_XSAVE)) {
		components = 0;
		if (find(cpuid, 0xd, 1))
			memset(&find(cpuid, 0xd, 1)->eax, 0, 4 * sizeof(uint32_t));
	}
	for (i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *part = &cpuid->entries[i];

		if (part->function != 0xd || part->index < 2)
			continue;
		if (part->index < 32 && (components >> part->index & 1)) {
			if (part->eax + part->ebx > size)
				size = part->eax + part->ebx;
		} else {
			*part = cpuid->entries[--cpuid->nent];
			i--;
		}
	}
	entry = find(cpuid, 0xd, 0);
	entry->eax = components;
	entry->ebx = entry->ecx = components ? size : 0;
	entry->edx = 0;
}

static bool is_kept(const struct kvm_cpuid_entry2 *entry)
{
	return (entry->function >= 0x40000000 && entry->function < 0x50000000) ||
	       entry->function == 0xd || entry->function == 0x80000008;
}

/* The backend's leaves make room for the model's. */
static void lay_out(struct kvm_cpuid2 *cpuid, const struct cpu_model *model, bool has_amd_leaves,
                    const struct cpu_feature_set *features)
{
	struct kvm_cpuid_entry2 *entry;
	unsigned i, kept = 0;

	for (i = 0; i < cpuid->nent; i++)
		if (is_kept(&cpuid->entries[i]))
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->nent = kept;

	get(cpuid, 0, 0, false)->eax = model->level;
	entry = get(cpuid, 1, 0, false);
	entry->eax = signature(model->family, model->model, model->stepping);
	if (features->words[CPU_1_EDX] & LEAF1_EDX_CLFLUSH)
		entry->ebx = CACHE_LINE / 8 << 8;
	if (!has_amd_leaves) {
		get(cpuid, 2, 0, false)->eax = 0x00ff0001; /* see leaf 4 */
		if (model->level >= 4)
			add_caches(cpuid, 4);
	}
	if (model->level >= 7)
		get(cpuid, 7, 0, true);
	if (model->level >= 0xb)
		get(cpuid, 0xb, 0, true);

	entry = get(cpuid, 0x80000000, 0, false);
	entry->eax = model->extended_level;
	entry = get(cpuid, 0x80000001, 0, false);
	if (has_amd_leaves)
		entry->eax = signature(model->family, model->model, model->stepping);
	add_legacy_caches(cpuid, has_amd_leaves);
	get(cpuid, 0x80000008, 0, false)->ebx = 0;
	if (features->words[CPU_EXT1_ECX] & EXT1_ECX_TOPOEXT) {
		add_caches(cpuid, 0x8000001d);
		get(cpuid, 0x8000001e, 0, false);
	}
}

/* Features in leaves that the model's highest ones leave out. */
static void raise_levels(struct kvm_cpuid2 *cpuid, const struct cpu_feature_set *features)
{
	uint32_t *basic = &get(cpuid, 0, 0, false)->eax, *extended;
	unsigned word;

	extended = &find(cpuid, 0x80000000, 0)->eax;
	if ((features->words[CPU_1_ECX] & LEAF1_ECX_XSAVE) && *basic < 0xd)
		*basic = 0xd;
	for (word = 0; word < CPU_WORDS; word++) {
		uint32_t leaf, subleaf, *level;
		struct kvm_cpuid_entry2 *entry;

		if (word == CPU_KVM_EAX)
			continue;
		cpu_word_leaf(word, &leaf, &subleaf);
		level = leaf >= 0x80000000 ? extended : basic;
		if (features->words[word] && *level < leaf)
			*level = leaf;
		/* Leaf 7 tells its last subleaf. */
		entry = leaf == 7 && features->words[word] ? find(cpuid, 7, 0) : NULL;
		if (entry && entry->eax < subleaf)
			entry->eax = subleaf;
	}
}

static void hide_kvm(struct kvm_cpuid2 *cpuid)
{
	unsigned i, kept = 0;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function < 0x40000000 ||
		    cpuid->entries[i].function >= 0x50000000)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->nent = kept;
}

/* Leaf 0x80000008: physical bits, and in bits 23:16 those of a guest, which 0 says are as many. */
static void limit_address(struct kvm_cpuid2 *cpuid, unsigned physical_bits)
{
	struct kvm_cpuid_entry2 *entry = find(cpuid, 0x80000008, 0);

	if (entry && physical_bits && physical_bits < (entry->eax & 0xff))
		entry->eax = (entry->eax & ~0xff00ffu) | physical_bits;
}

void cpu_spec_resolve(const struct cpu_spec *spec, struct kvm_cpuid2 *cpuid,
                      struct cpu_feature_set *missing)
{
	const struct cpu_model *model = spec->model ? described_by(spec->model, false) : NULL;
	struct cpu_feature_set supported, features;
	char vendor[CPU_VENDOR_LENGTH + 1];
	bool has_amd_leaves;

	cpu_features_of(cpuid, &supported);
	choose_features(spec, &supported, &features, missing);
	get_vendor(cpuid, vendor);
	if (model)
		memcpy(vendor, model->vendor, sizeof(vendor));
	if (spec->vendor[0])
		memcpy(vendor, spec->vendor, sizeof(vendor));
	has_amd_leaves = is_amd(vendor);

	if (model) {
		if (!has_amd_leaves)
			features.words[CPU_EXT1_ECX] &= ~(EXT1_ECX_TOPOEXT | EXT1_ECX_CMP_LEGACY);
		lay_out(cpuid, model, has_amd_leaves, &features);
		set_model_id(cpuid, described_by(spec->model, true)->model_id);
	}
	features.words[CPU_EXT1_EDX] &= ~(has_amd_leaves ? 0 : EXT1_EDX_REPEATED);
	if (has_amd_leaves)
		features.words[CPU_EXT1_EDX] |= features.words[CPU_1_EDX] & EXT1_EDX_REPEATED;
	set_vendor(cpuid, vendor);
	set_signature(spec, &get(cpuid, 1, 0, false)->eax);
	if (has_amd_leaves)
		get(cpuid, 0x80000001, 0, false)->eax = get(cpuid, 1, 0, false)->eax;
	if (spec->model_id[0])
		set_model_id(cpuid, spec->model_id);
	if (has_amd_leaves && find(cpuid, 0x80000000, 0)) {
		struct kvm_cpuid_entry2 *basic = find(cpuid, 0, 0);
		struct kvm_cpuid_entry2 *extended = find(cpuid, 0x80000000, 0);

		extended->ebx = basic->ebx;
		extended->ecx = basic->ecx;
		extended->edx = basic->edx;
	}
	write_words(cpuid, &features);
	if (find(cpuid, 0x80000000, 0))
		raise_levels(cpuid, &features);
	limit_xsave(cpuid, &features);
	limit_address(cpuid, spec->physical_bits);
	if (spec->hides_kvm)
		hide_kvm(cpuid);
}
