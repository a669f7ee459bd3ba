/*
 * What the host's CPU and kernel have. Nothing else in the engine asks CPUID.
 *
 * For tests, KVIK_HOST_WITHOUT=WORD,WORD,... hides features (the words are host.c's): the engine
 * then behaves as on a host without them, for its guests and for itself.
 */
#ifndef KVIK_ENGINE_X86_HOST_HOST_H
#define KVIK_ENGINE_X86_HOST_HOST_H

#include <stdbool.h>
#include <stdint.h>

/* Registers of CPUID that hold features. */
enum host_word {
	HOST_1_ECX, HOST_1_EDX, HOST_7_EBX, HOST_7_ECX, HOST_7_EDX, HOST_7_1_EAX, HOST_D_1_EAX,
	HOST_EXT1_ECX, HOST_EXT1_EDX, HOST_EXT7_EDX, HOST_EXT8_EBX, HOST_WORDS,
};

#define HOST_FEATURE(word, bit) (HOST_##word * 32 + (bit))

enum host_feature {
	HOST_SSE42 = HOST_FEATURE(1_ECX, 20),
	HOST_POPCNT = HOST_FEATURE(1_ECX, 23), HOST_XSAVE = HOST_FEATURE(1_ECX, 26),
	HOST_OSXSAVE = HOST_FEATURE(1_ECX, 27), HOST_AVX = HOST_FEATURE(1_ECX, 28),
	HOST_RDRAND = HOST_FEATURE(1_ECX, 30),
	HOST_BMI1 = HOST_FEATURE(7_EBX, 3), HOST_BMI2 = HOST_FEATURE(7_EBX, 8),
	HOST_AVX512F = HOST_FEATURE(7_EBX, 16), HOST_AVX512BW = HOST_FEATURE(7_EBX, 30),
	HOST_RDSEED = HOST_FEATURE(7_EBX, 18), HOST_ADX = HOST_FEATURE(7_EBX, 19),
	HOST_OSPKE = HOST_FEATURE(7_ECX, 4),
	HOST_LAHF = HOST_FEATURE(EXT1_ECX, 0), HOST_LZCNT = HOST_FEATURE(EXT1_ECX, 5),
	HOST_SSE4A = HOST_FEATURE(EXT1_ECX, 6),
	HOST_INVARIANT_TSC = HOST_FEATURE(EXT7_EDX, 8),
};

/* Set before main, and before other constructors of the engine; constant afterwards. */
extern struct host {
	uint32_t words[HOST_WORDS];
	uint64_t xcr0;          /* what the kernel has enabled; 0: there is no XSAVE */
	bool is_amd;            /* or Hygon, whose cores are AMD's */
	bool has_fsgsbase;      /* the kernel lets user space use WRGSBASE */
	bool has_code32;        /* the kernel's descriptors have a segment of 32-bit user code, where Linux has it */
	bool may_fault_cpuid;   /* the kernel may be asked to have CPUID fault (arch_prctl(2)) */
	bool draws_stub_places; /* direct execution: where stubs have their own pages is drawn */
	bool has_fast_pext;     /* PEXT and PDEP are instructions, not loops in microcode */
	bool is_masked;         /* KVIK_HOST_WITHOUT hides something */
	bool has_steady_tsc;    /* it counts at one rate, and the same on all CPUs */
} host;

static inline bool host_has(enum host_feature feature)
{
	return host.words[feature / 32] >> (feature % 32) & 1;
}

/* CPUID less what is hidden: EAX, EBX, ECX, EDX. Zeros for a leaf beyond the last. */
void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);

#endif
