/*
 * What the guest's CPUID hides of the host's CPU, where ring 3 would notice: a stub executes whatever the host has, and
 * CPUID is no reason for it not to.
 *
 * The measure is what the guest's CPU could have here (KVM_GET_SUPPORTED_CPUID). What no guest is ever told of, such as
 * transactions, is executable in each stub, and docs/engine/direct.md says what that shows; else nothing could ever run
 * directly. Bits that make nothing undefined (ERMS, say) are not looked at.
 */
#include "engine/run/direct/internal.h"
#include "engine/x86/decode/isa_set.h"
#include "engine/x86/features.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system/cpuid.h"

/* Those whose instructions are none of ring 3's, ... */
static const uint16_t not_in_ring_3[] = {
	ISA_FEATURE(1_EDX, 5) /* RDMSR */, ISA_FEATURE(7_EBX, 10) /* INVPCID */, ISA_FEATURE(7_EBX, 20) /* STAC */,
	ISA_FEATURE(D_1_EAX, 3) /* XSAVES */,
};

/* ... or are found by the scan of code wherever the guest has not got them: sensitive.h. */
static const uint16_t scanned[] = {
	ISA_FEATURE(7_EBX, 0) /* FSGSBASE, by CR4 */, ISA_FEATURE(7_ECX, 22) /* RDPID */, ISA_FEATURE(EXT1_EDX, 27) /* RDTSCP */,
};

static void leave_out(uint32_t words[HOST_WORDS], const uint16_t *features, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		words[(features[i] - 1) / 32] &= ~(1u << (features[i] - 1) % 32);
}

/* What CPUID here can have, of these features. */
static void intersect_supported(const struct cpu *cpu, uint32_t words[HOST_WORDS])
{
	struct kvm_cpuid_entry2 entries[CPUID_SUPPORTED_MAX];
	uint32_t supported[CPU_FEATURE_WORDS];
	int count = cpuid_supported(cpu->host_claims, entries, CPUID_SUPPORTED_MAX);

	cpuid_features(supported, entries, count > 0 ? (unsigned)count : 0);
	for (unsigned i = 0; i < HOST_WORDS; i++)
		words[i] &= supported[i] & host.words[i];
}

/* XSAVE's areas are another processor's, as they are for a machine that was saved on one. */
static bool has_other_layout(const struct fpu_guest_layout *layout)
{
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if ((fpu_layout.components >> i & 1) &&
		    (layout->offset[i] != fpu_layout.offset[i] || layout->aligned[i] != fpu_layout.aligned[i]))
			return true;
	return false;
}

bool hidden_is_executable(const struct cpu *cpu)
{
	uint32_t words[HOST_WORDS];

	if (has_other_layout(&cpu->fpu.guest_layout))
		return true;
	if (!cpu->rules.features)
		return false;
	isa_features(words);
	leave_out(words, not_in_ring_3, sizeof(not_in_ring_3) / sizeof(not_in_ring_3[0]));
	leave_out(words, scanned, sizeof(scanned) / sizeof(scanned[0]));
	intersect_supported(cpu, words);
	for (unsigned i = 0; i < HOST_WORDS; i++)
		if (words[i] & ~cpu->features[i])
			return true;
	return false;
}
