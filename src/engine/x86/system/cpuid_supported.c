/*
 * KVM_GET_SUPPORTED_CPUID (api.rst 4.46): what a guest may be told it has.
 *
 * The guest's CPU is the host's, since FPU and vector instructions run on the host itself, minus
 * what the engine does not do (virtualization, performance counters, protection keys, 5-level
 * paging, CET, transactions, AMX, user interrupts), plus what it does without any help (x2APIC,
 * TSC_ADJUST, UMIP, SMEP, SMAP, PCID, FSGSBASE, SERIALIZE, ...).
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "engine/x86/system/cpuid.h"
#include "engine/x86/host/host.h"
#include "engine/x86/host/host_claims.h"
#include "engine/x86/system.h"

#define BIT(n) (1u << (n))

/* Leaf 1. The first mask of each pair counts if the host has the bit, the second one always. */
#define LEAF1_ECX_HOST                                                                             \
	(BIT(0) /* SSE3 */ | BIT(1) /* PCLMULQDQ */ | BIT(9) /* SSSE3 */ | BIT(12) /* FMA */ |     \
	 BIT(13) /* CX16 */ | BIT(19) /* SSE4.1 */ | BIT(20) /* SSE4.2 */ | BIT(22) /* MOVBE */ |  \
	 BIT(23) /* POPCNT */ | BIT(25) /* AES */ | BIT(26) /* XSAVE */ | BIT(28) /* AVX */ |      \
	 BIT(29) /* F16C */ | BIT(30) /* RDRAND */)
#define LEAF1_ECX_ALWAYS (BIT(17) /* PCID */ | BIT(21) /* x2APIC */ | BIT(31) /* hypervisor */)
#define LEAF1_EDX                                                                                  \
	(BIT(0) /* FPU */ | BIT(1) /* VME */ | BIT(2) /* DE */ | BIT(3) /* PSE */ |                \
	 BIT(4) /* TSC */ | BIT(5) /* MSR */ | BIT(6) /* PAE */ | BIT(7) /* MCE */ |               \
	 BIT(8) /* CX8 */ | BIT(9) /* APIC */ | BIT(11) /* SEP */ | BIT(12) /* MTRR */ |           \
	 BIT(13) /* PGE */ | BIT(14) /* MCA */ | BIT(15) /* CMOV */ | BIT(16) /* PAT */ |          \
	 BIT(17) /* PSE36 */ | BIT(19) /* CLFLUSH */ | BIT(23) /* MMX */ | BIT(24) /* FXSR */ |    \
	 BIT(25) /* SSE */ | BIT(26) /* SSE2 */ | BIT(27) /* self-snoop */)

#define LEAF7_EBX_HOST                                                                             \
	(BIT(3) /* BMI1 */ | BIT(5) /* AVX2 */ | BIT(6) /* FDP_EXCPTN_ONLY */ | BIT(8) /* BMI2 */ | \
	 BIT(9) /* ERMS */ | BIT(13) /* ZERO_FCS_FDS */ | BIT(18) /* RDSEED */ | BIT(19) /* ADX */ | \
	 BIT(23) /* CLFLUSHOPT */ | BIT(24) /* CLWB */ | BIT(29) /* SHA */ | LEAF7_EBX_AVX512)
#define LEAF7_EBX_AVX512                                                                           \
	(BIT(16) /* F */ | BIT(17) /* DQ */ | BIT(21) /* IFMA */ | BIT(28) /* CD */ |              \
	 BIT(30) /* BW */ | BIT(31) /* VL */)
#define LEAF7_EBX_ALWAYS                                                                           \
	(BIT(0) /* FSGSBASE */ | BIT(1) /* TSC_ADJUST */ | BIT(7) /* SMEP */ |                     \
	 BIT(10) /* INVPCID */ | BIT(20) /* SMAP */)
#define LEAF7_ECX_AVX512                                                                           \
	(BIT(1) /* VBMI */ | BIT(6) /* VBMI2 */ | BIT(11) /* VNNI */ | BIT(12) /* BITALG */ |      \
	 BIT(14) /* VPOPCNTDQ */)
#define LEAF7_ECX_HOST                                                                             \
	(BIT(8) /* GFNI */ | BIT(9) /* VAES */ | BIT(10) /* VPCLMULQDQ */ | LEAF7_ECX_AVX512)
#define LEAF7_ECX_ALWAYS (BIT(2) /* UMIP */ | BIT(22) /* RDPID */)
#define LEAF7_EDX_AVX512 (BIT(8) /* VP2INTERSECT */ | BIT(23) /* FP16 */)
#define LEAF7_EDX_HOST                                                                             \
	(BIT(4) /* FSRM */ | BIT(10) /* MD_CLEAR */ | BIT(26) /* SPEC_CTRL */ |                    \
	 BIT(27) /* STIBP */ | BIT(31) /* SSBD */ | LEAF7_EDX_AVX512)
#define LEAF7_EDX_ALWAYS (BIT(14) /* SERIALIZE */ | BIT(29) /* ARCH_CAPABILITIES */)
#define LEAF7_1_EAX_AVX512 BIT(5) /* BF16 */
#define LEAF7_1_EAX_HOST                                                                           \
	(BIT(4) /* AVX-VNNI */ | BIT(10) /* FZRM */ | BIT(11) /* FSRS */ | BIT(12) /* FSRC */ |    \
	 LEAF7_1_EAX_AVX512)
#define LEAF7_2_EDX_HOST  BIT(4) /* BHI_CTRL */
#define LEAF_D_1_EAX_HOST (BIT(0) /* XSAVEOPT */ | BIT(1) /* XSAVEC */ | BIT(2) /* XGETBV 1 */)

#define EXT1_ECX_HOST                                                                              \
	(BIT(0) /* LAHF in 64-bit mode */ | BIT(5) /* LZCNT */ | BIT(6) /* SSE4A */ |              \
	 BIT(7) /* misaligned SSE */ |                                                             \
	 BIT(8) /* PREFETCHW */)
#define EXT1_EDX_ALWAYS                                                                            \
	(BIT(11) /* SYSCALL */ | BIT(20) /* NX */ | BIT(26) /* 1 GiB pages */ |                    \
	 BIT(27) /* RDTSCP */ | BIT(29) /* long mode */)
#define EXT1_EDX_AMD     (LEAF1_EDX & 0x0183f3ff) /* AMD repeats these of leaf 1 */
#define EXT7_EDX_HOST    BIT(8) /* invariant TSC */
#define EXT8_EBX_AMD                                                                               \
	(BIT(2) /* XSAVEERPTR */ | BIT(12) /* IBPB */ | BIT(14) /* IBRS */ | BIT(15) /* STIBP */ | \
	 BIT(24) /* SSBD */)
#define EXT8_EBX_ALWAYS  (BIT(0) /* CLZERO */ | BIT(9) /* WBNOINVD: as WBINVD */)
#define EXT21_EAX_HOST   BIT(5) /* VERW_CLEAR */
#define EXT21_EAX_ALWAYS (BIT(2) /* LFENCE serializes */ | BIT(6) /* null selectors clear bases */)

#define LEAF6_EAX_ARAT BIT(2)

/* KVM's own leaves (Linux Documentation/virt/kvm/x86/cpuid.rst). */
#define KVM_SIGNATURE     0x40000000u
#define KVM_FEATURES      0x40000001u
#define KVM_FEATURES_EAX                                                                           \
	(BIT(0) /* CLOCKSOURCE */ | BIT(1) /* NOP_IO_DELAY */ | BIT(3) /* CLOCKSOURCE2 */ |       \
	 BIT(5) /* STEAL_TIME */ | BIT(7) /* PV_UNHALT */ | BIT(9) /* PV_TLB_FLUSH */ | BIT(11) /* PV_SEND_IPI */ | BIT(13) /* PV_SCHED_YIELD */ |       \
	 BIT(24) /* CLOCKSOURCE_STABLE_BIT */)

#define VIRTUAL_BITS 48
#define PHYSICAL_BITS_MAX 48

struct list {
	struct kvm_cpuid_entry2 *entries;
	unsigned count, capacity;
};

static struct kvm_cpuid_entry2 *add(struct list *list, uint32_t leaf, uint32_t subleaf,
				    bool is_indexed)
{
	struct kvm_cpuid_entry2 *entry = &list->entries[list->count++];

	assert(list->count <= list->capacity);
	*entry = (struct kvm_cpuid_entry2){.function = leaf, .index = subleaf};
	if (is_indexed)
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	return entry;
}

static struct kvm_cpuid_entry2 *add_host(struct list *list, uint32_t leaf, uint32_t subleaf,
					 bool is_indexed)
{
	struct kvm_cpuid_entry2 *entry = add(list, leaf, subleaf, is_indexed);
	uint32_t registers[4];

	host_cpuid(leaf, subleaf, registers);
	entry->eax = registers[0];
	entry->ebx = registers[1];
	entry->ecx = registers[2];
	entry->edx = registers[3];
	return entry;
}

/* XCR0 bits that a guest may set on this host: those of cpuid_supported's leaf 0xD. */
static uint64_t supported_xcr0(void)
{
	return fpu_layout.components;
}

static bool has_avx512(void)
{
	return (supported_xcr0() & 0xe0) == 0xe0;
}

static bool has_avx(void)
{
	return supported_xcr0() & 4;
}

static void add_leaf_1(struct list *list)
{
	struct kvm_cpuid_entry2 *entry = add_host(list, 1, 0, false);

	/* Brand index none, 64-byte cache lines; APIC ids are user space's business. */
	entry->ebx = entry->ebx & 0xff00;
	entry->ecx = (entry->ecx & LEAF1_ECX_HOST) | LEAF1_ECX_ALWAYS;
	if (!has_avx())
		entry->ecx &= ~(BIT(12) | BIT(28) | BIT(29));
	entry->edx = LEAF1_EDX;
}

static void add_leaf_7(struct list *list, bool is_amd)
{
	struct kvm_cpuid_entry2 *entry = add_host(list, 7, 0, true);
	uint32_t subleaves = entry->eax;

	entry->eax = is_amd ? subleaves >= 1 : 2;
	entry->ebx = (entry->ebx & LEAF7_EBX_HOST) | LEAF7_EBX_ALWAYS;
	entry->ecx = (entry->ecx & LEAF7_ECX_HOST) | LEAF7_ECX_ALWAYS;
	entry->edx = (entry->edx & LEAF7_EDX_HOST) | LEAF7_EDX_ALWAYS;
	if (!has_avx512()) {
		entry->ebx &= ~LEAF7_EBX_AVX512;
		entry->ecx &= ~LEAF7_ECX_AVX512;
		entry->edx &= ~LEAF7_EDX_AVX512;
	}
	if (!has_avx()) {
		entry->ebx &= ~BIT(5);
		entry->ecx &= ~(BIT(9) | BIT(10));
	}
	if (subleaves >= 1) {
		entry = add_host(list, 7, 1, true);
		entry->eax &= LEAF7_1_EAX_HOST;
		if (!has_avx512())
			entry->eax &= ~LEAF7_1_EAX_AVX512;
		if (!has_avx())
			entry->eax &= ~BIT(4);
		entry->ebx = entry->ecx = entry->edx = 0;
	} else if (!is_amd) {
		add(list, 7, 1, true);
	}
	if (!is_amd) {
		entry = add_host(list, 7, 2, true);
		entry->eax = entry->ebx = entry->ecx = 0;
		entry->edx &= subleaves >= 2 ? LEAF7_2_EDX_HOST : 0;
	}
}

static void add_cache_leaves(struct list *list, uint32_t leaf)
{
	for (uint32_t i = 0; i < 8; i++) {
		struct kvm_cpuid_entry2 *entry = add_host(list, leaf, i, true);

		/* Which CPUs share a cache depends on the guest's topology: none do. */
		entry->eax &= 0x3fff;
		if (!(entry->eax & 0x1f))
			break;
	}
}

static void add_leaf_d(struct list *list)
{
	uint64_t components = supported_xcr0();
	struct kvm_cpuid_entry2 *entry = add(list, 0xd, 0, true);
	uint32_t size = 576;

	if (!host_has(HOST_XSAVE))
		return;
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if ((components >> i & 1) &&
		    (uint32_t)(fpu_layout.offset[i] + fpu_layout.size[i]) > size)
			size = fpu_layout.offset[i] + fpu_layout.size[i];
	entry->eax = (uint32_t)components;
	entry->edx = components >> 32;
	entry->ebx = entry->ecx = size;

	entry = add_host(list, 0xd, 1, true);
	entry->eax &= LEAF_D_1_EAX_HOST;
	entry->ebx = entry->eax & BIT(1) ? size : 0;
	entry->ecx = entry->edx = 0;
	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		if (!(components >> i & 1))
			continue;
		entry = add(list, 0xd, i, true);
		entry->eax = fpu_layout.size[i];
		entry->ebx = fpu_layout.offset[i];
		entry->ecx = fpu_layout.aligned[i] ? BIT(1) : 0;
	}
}

static void add_kvm_leaves(struct list *list)
{
	struct kvm_cpuid_entry2 *entry = add(list, KVM_SIGNATURE, 0, false);

	entry->eax = KVM_FEATURES;
	entry->ebx = 0x4b4d564b; /* "KVMKVMKVM\0\0\0" */
	entry->ecx = 0x564b4d56;
	entry->edx = 0x4d;
	entry = add(list, KVM_FEATURES, 0, false);
	entry->eax = KVM_FEATURES_EAX;
}

static void add_extended_leaves(struct list *list, bool is_amd)
{
	struct kvm_cpuid_entry2 *entry = add_host(list, 0x80000000, 0, false);
	uint32_t last = entry->eax, physical_bits;

	entry->eax = 0x80000021;

	entry = add_host(list, 0x80000001, 0, false);
	entry->ebx = 0;
	entry->ecx &= EXT1_ECX_HOST;
	entry->edx = EXT1_EDX_ALWAYS | (is_amd ? EXT1_EDX_AMD | (entry->edx & BIT(22)) : 0);
	for (uint32_t leaf = 0x80000002; leaf <= 0x80000006; leaf++)
		add_host(list, leaf, 0, false);

	entry = add_host(list, 0x80000007, 0, false);
	entry->eax = entry->ebx = entry->ecx = 0;
	entry->edx &= EXT7_EDX_HOST;

	entry = add_host(list, 0x80000008, 0, false);
	physical_bits = entry->eax & 0xff;
	if (physical_bits > PHYSICAL_BITS_MAX)
		physical_bits = PHYSICAL_BITS_MAX;
	entry->eax = physical_bits | VIRTUAL_BITS << 8;
	entry->ebx = is_amd ? entry->ebx & EXT8_EBX_AMD : 0;
	entry->ebx |= EXT8_EBX_ALWAYS;
	entry->ecx = entry->edx = 0;

	if (is_amd && last >= 0x8000001d)
		add_cache_leaves(list, 0x8000001d);
	/* Not AMD's alone here, so that a guest of either vendor may have them. */
	entry = add_host(list, 0x80000021, 0, false);
	if (!is_amd)
		entry->eax = 0;
	entry->ebx = entry->edx = 0;
	entry->eax = (entry->eax & EXT21_EAX_HOST) | EXT21_EAX_ALWAYS;
	entry->ecx = 0;
}

/* All but claims. CPUID traps where the host is itself a guest: asked once a process. */
static struct kvm_cpuid_entry2 supported[CPUID_SUPPORTED_MAX];
static unsigned supported_count;
static pthread_once_t supported_once = PTHREAD_ONCE_INIT;

static void collect(void)
{
	struct list list = {supported, 0, CPUID_SUPPORTED_MAX};
	struct kvm_cpuid_entry2 *entry = add_host(&list, 0, 0, false);
	bool is_amd = entry->ebx == 0x68747541 || entry->ebx == 0x6f677948;

	entry->eax = 0xd;
	add_leaf_1(&list);
	if (!is_amd) {
		add_host(&list, 2, 0, false);
		add_cache_leaves(&list, 4);
	}
	add(&list, 5, 0, false);
	add(&list, 6, 0, false)->eax = LEAF6_EAX_ARAT;
	add_leaf_7(&list, is_amd);
	add(&list, 0xa, 0, false);
	add(&list, 0xb, 0, true);
	add_leaf_d(&list);
	add_kvm_leaves(&list);
	add_extended_leaves(&list, is_amd);
	supported_count = list.count;
}

static void add_claims(struct kvm_cpuid_entry2 *entry, const struct host_claims *claims)
{
	switch (entry->function) {
	case 0x80000008:
		entry->ebx |= host.is_amd ? claims->ext8_ebx : 0;
		break;
	case 0x80000021:
		entry->eax |= claims->ext21_eax;
		entry->ecx |= claims->ext21_ecx;
		break;
	}
}

int cpuid_supported(const struct host_claims *claims, struct kvm_cpuid_entry2 *entries, unsigned capacity)
{
	pthread_once(&supported_once, collect);
	if (capacity < supported_count)
		return -E2BIG;
	for (unsigned i = 0; i < supported_count; i++) {
		entries[i] = supported[i];
		add_claims(&entries[i], claims);
	}
	return supported_count;
}
