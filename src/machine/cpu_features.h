/*
 * The CPUID features that have names, as users write them: QEMU's names, where '-', '_' and '.' are
 * the same. Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
 */
#ifndef KVIK_MACHINE_CPU_FEATURES_H
#define KVIK_MACHINE_CPU_FEATURES_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The registers of CPUID that hold features: LEAF_REGISTER, or LEAF_SUBLEAF_REGISTER. */
enum cpu_word {
	CPU_1_EDX,
	CPU_1_ECX,
	CPU_6_EAX,
	CPU_7_EBX,
	CPU_7_ECX,
	CPU_7_EDX,
	CPU_7_1_EAX,
	CPU_7_2_EDX,
	CPU_D_1_EAX,
	CPU_KVM_EAX, /* KVM's own: Linux Documentation/virt/kvm/x86/cpuid.rst */
	CPU_EXT1_EDX,
	CPU_EXT1_ECX,
	CPU_EXT7_EDX,
	CPU_EXT8_EBX,
	CPU_EXT21_EAX,
	CPU_EXT21_ECX,
	CPU_WORDS
};

struct cpu_feature_set {
	uint32_t words[CPU_WORDS];
};

struct named_cpu_feature {
	const char *name;
	uint8_t word; /* enum cpu_word */
	uint8_t bit;
};

/* All of them, in the order of words and bits; some have a second name. */
extern const struct named_cpu_feature cpu_features[];
extern const unsigned cpu_feature_count;

/* The feature called name[0..length), or NULL. */
const struct named_cpu_feature *cpu_feature_find(const char *name, size_t length);

/* The name of bit `bit` of a register (0 to 3: EAX to EDX), or NULL. */
const char *cpu_feature_name(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit);

static inline bool cpu_feature_in(const struct cpu_feature_set *set,
                                  const struct named_cpu_feature *feature)
{
	return set->words[feature->word] >> feature->bit & 1;
}

static inline void cpu_feature_put(struct cpu_feature_set *set, const struct named_cpu_feature *feature,
                                   bool is_on)
{
	if (is_on)
		set->words[feature->word] |= 1u << feature->bit;
	else
		set->words[feature->word] &= ~(1u << feature->bit);
}

/* Where a word is: the register of `entry`, or NULL when it is of another leaf. */
uint32_t *cpu_word_in(struct kvm_cpuid_entry2 *entry, enum cpu_word word);
/* The leaf and subleaf of a word. */
void cpu_word_leaf(enum cpu_word word, uint32_t *leaf, uint32_t *subleaf);

#endif
