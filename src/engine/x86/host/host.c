/*
 * The host's features: CPUID (Intel SDM vol. 2, CPUID; AMD APM vol. 3 appendix E), what the kernel
 * says of them, and what a test hides.
 */
#include "engine/x86/host/host.h"

#include <asm/hwcap2.h>
#include <cpuid.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define HIDE_VARIABLE "KVIK_HOST_WITHOUT"
#define XCR0_AVX    (UINT64_C(1) << 2)
#define XCR0_AVX512 (UINT64_C(7) << 5)

#define VENDOR_AMD   0x444d4163 /* ECX of "AuthenticAMD", */
#define VENDOR_HYGON 0x656e6975 /* of "HygonGenuine" */

#define FAMILY_ZEN   0x17
#define FAMILY_HYGON 0x18

struct host host;

/* What CPUID says; `hidden` is taken from it. */
static uint32_t hidden[HOST_WORDS];
static uint64_t hidden_xcr0;

static const struct {
	uint32_t leaf;
	uint8_t subleaf, where; /* register: 0 EAX .. 3 EDX */
} places[HOST_WORDS] = {
	[HOST_1_ECX] = {1, 0, 2}, [HOST_1_EDX] = {1, 0, 3}, [HOST_7_EBX] = {7, 0, 1},
	[HOST_7_ECX] = {7, 0, 2}, [HOST_7_EDX] = {7, 0, 3}, [HOST_7_1_EAX] = {7, 1, 0},
	[HOST_D_1_EAX] = {0xd, 1, 0}, [HOST_EXT1_ECX] = {0x80000001, 0, 2},
	[HOST_EXT1_EDX] = {0x80000001, 0, 3}, [HOST_EXT7_EDX] = {0x80000007, 0, 3},
	[HOST_EXT8_EBX] = {0x80000008, 0, 1},
};

#define BIT(n) (1u << (n))

/* What goes with a word: what cannot be there without the feature goes, too. */
enum hidden_also { ALSO_NOTHING, ALSO_FSGSBASE = 1, ALSO_FAST_PEXT = 2, ALSO_TSC = 4,
		   ALSO_CPUID_FAULTING = 8, ALSO_STUB_PLACES = 16 };

static const struct word {
	const char *name;
	enum host_word where;
	uint32_t bits;
	uint64_t xcr0;
	const char *implies; /* other words */
	enum hidden_also also;
} words[] = {
	{"sse3", HOST_1_ECX, BIT(0), .implies = "ssse3"},
	{"ssse3", HOST_1_ECX, BIT(9), .implies = "sse4.1,sse4a"},
	{"sse4.1", HOST_1_ECX, BIT(19), .implies = "sse4.2"},
	{"sse4.2", HOST_1_ECX, BIT(20), .implies = "avx"},
	{"sse4a", HOST_EXT1_ECX, BIT(6)},
	{"misalignsse", HOST_EXT1_ECX, BIT(7)},
	{"aes", HOST_1_ECX, BIT(25), .implies = "vaes"},
	{"pclmulqdq", HOST_1_ECX, BIT(1), .implies = "vpclmulqdq"},
	{"sha", HOST_7_EBX, BIT(29)},
	{"gfni", HOST_7_ECX, BIT(8)},
	{"xsave", HOST_1_ECX, BIT(26) | BIT(27), ~UINT64_C(0), "xsaveopt,xsavec,xgetbv1,avx"},
	{"xsaveopt", HOST_D_1_EAX, BIT(0)},
	{"xsavec", HOST_D_1_EAX, BIT(1)},
	{"xgetbv1", HOST_D_1_EAX, BIT(2)},
	{"avx", HOST_1_ECX, BIT(28), XCR0_AVX, "avx2,fma,f16c,fma4,xop"},
	{"fma", HOST_1_ECX, BIT(12), .implies = "avx512"},
	{"f16c", HOST_1_ECX, BIT(29), .implies = "avx512"},
	{"fma4", HOST_EXT1_ECX, BIT(16)},
	{"xop", HOST_EXT1_ECX, BIT(11)},
	{"avx2", HOST_7_EBX, BIT(5), .implies = "avx512,vaes,vpclmulqdq,avx-vnni"},
	{"vaes", HOST_7_ECX, BIT(9)},
	{"vpclmulqdq", HOST_7_ECX, BIT(10)},
	{"avx-vnni", HOST_7_1_EAX, BIT(4) | BIT(23) /* AVX-IFMA */},
	/* F, DQ, IFMA, PF, ER, CD, BW, VL; then VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; then 4VNNIW,
	 * 4FMAPS, VP2INTERSECT, FP16; and BF16. */
	{"avx512", HOST_7_EBX, 0xdc230000, XCR0_AVX512, "avx512-ecx,avx512-edx,avx512-bf16"},
	{"avx512-ecx", HOST_7_ECX, BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14)},
	{"avx512-edx", HOST_7_EDX, BIT(2) | BIT(3) | BIT(8) | BIT(23)},
	{"avx512-bf16", HOST_7_1_EAX, BIT(5)},
	{"popcnt", HOST_1_ECX, BIT(23)},
	{"lzcnt", HOST_EXT1_ECX, BIT(5)},
	{"bmi1", HOST_7_EBX, BIT(3)},
	{"bmi2", HOST_7_EBX, BIT(8), .also = ALSO_FAST_PEXT},
	{"fast-pext", HOST_7_EBX, 0, .also = ALSO_FAST_PEXT},
	{"adx", HOST_7_EBX, BIT(19)},
	{"movbe", HOST_1_ECX, BIT(22)},
	{"cx16", HOST_1_ECX, BIT(13)},
	{"rdrand", HOST_1_ECX, BIT(30)},
	{"rdseed", HOST_7_EBX, BIT(18)},
	{"fsgsbase", HOST_7_EBX, BIT(0), .also = ALSO_FSGSBASE},
	{"cpuid-faulting", HOST_7_EBX, 0, .also = ALSO_CPUID_FAULTING},
	{"stub-places", HOST_7_EBX, 0, .also = ALSO_STUB_PLACES},
	{"rdtscp", HOST_EXT1_EDX, BIT(27)},
	{"rdpid", HOST_7_ECX, BIT(22)},
	{"pcid", HOST_1_ECX, BIT(17)},
	{"erms", HOST_7_EBX, BIT(9), .implies = "fsrm"},
	{"fsrm", HOST_7_EDX, BIT(4)},
	{"clflushopt", HOST_7_EBX, BIT(23)},
	{"clwb", HOST_7_EBX, BIT(24)},
	{"prefetchw", HOST_EXT1_ECX, BIT(8)},
	{"tsc-invariant", HOST_EXT7_EDX, BIT(8), .also = ALSO_TSC},
};

static enum hidden_also also;

static _Noreturn void refuse(const char *name, size_t length)
{
	dprintf(STDERR_FILENO, HIDE_VARIABLE ": unknown feature '%.*s'; there are:", (int)length, name);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		dprintf(STDERR_FILENO, " %s", words[i].name);
	dprintf(STDERR_FILENO, "\n");
	_exit(2);
}

static void hide(const char *list)
{
	while (list && *list) {
		size_t length = strcspn(list, ","), i = 0;

		while (i < sizeof(words) / sizeof(words[0]) &&
		       (strlen(words[i].name) != length || memcmp(words[i].name, list, length) != 0))
			i++;
		if (i == sizeof(words) / sizeof(words[0]))
			refuse(list, length);
		hidden[words[i].where] |= words[i].bits;
		hidden_xcr0 |= words[i].xcr0;
		also |= words[i].also;
		hide(words[i].implies);
		list += length + (list[length] == ',');
	}
}

void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
	memset(registers, 0, 4 * sizeof(registers[0]));
	__get_cpuid_count(leaf, subleaf, &registers[0], &registers[1], &registers[2],
			  &registers[3]);
	for (unsigned i = 0; i < HOST_WORDS; i++)
		if (places[i].leaf == leaf && places[i].subleaf == subleaf)
			registers[places[i].where] &= ~hidden[i];
}

/* Before Zen 3 PEXT and PDEP take some 4 cycles for each bit of the mask (AMD, Software Optimization
 * Guide for Family 17h, latencies). */
static bool is_slow_at_pext(void)
{
	uint32_t registers[4], family;

	host_cpuid(1, 0, registers);
	family = (registers[0] >> 8 & 15) + (registers[0] >> 20 & 255);
	return host.is_amd && (family <= FAMILY_ZEN || family == FAMILY_HYGON);
}

/* Virtual machines are seldom told that their TSC is invariant. But where the kernel itself keeps
 * time with it, it has reasons. */
static bool kernel_trusts_tsc(void)
{
	static const char *const sources[] = {"tsc\n", "kvm-clock\n", "hyperv_clocksource_tsc_page\n"};
	char name[40] = {0};
	int file = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
			O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return false;
	if (read(file, name, sizeof(name) - 1) < 0)
		name[0] = 0;
	close(file);
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (strcmp(name, sources[i]) == 0)
			return true;
	return false;
}

static void read_words(void)
{
	uint32_t registers[4];

	for (unsigned i = 0; i < HOST_WORDS; i++) {
		host_cpuid(places[i].leaf, places[i].subleaf, registers);
		host.words[i] = registers[places[i].where];
	}
	/* Leaf 7's subleaf 1 is only where subleaf 0 says so. */
	host_cpuid(7, 0, registers);
	if (registers[0] < 1)
		host.words[HOST_7_1_EAX] = 0;
}

/* After read_words, which it makes to be repeated: what the kernel has not enabled is not there. */
static void read_xcr0(void)
{
	uint32_t low = 0, high = 0;

	if (host_has(HOST_OSXSAVE))
		__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	host.xcr0 = (low | (uint64_t)high << 32) & ~hidden_xcr0;
	if (host.xcr0 == 0)
		hide("xsave");
	if (!(host.xcr0 & XCR0_AVX))
		hide("avx");
	if ((host.xcr0 & XCR0_AVX512) != XCR0_AVX512)
		hide("avx512");
	host.xcr0 &= ~hidden_xcr0;
}

#define USER32_CS 0x23u /* Linux's */

/* By LAR, which raises nothing: present, code, of privilege level 3, 32 bits (Intel SDM vol. 3 §3.4.5). */
static bool has_code32(void)
{
	uint32_t rights = 0;

	__asm__("lar %1, %0" : "+r"(rights) : "r"(USER32_CS) : "cc");
	return (rights & 0x60f800) == 0x40f800;
}

__attribute__((constructor(101))) static void discover(void)
{
	uint32_t registers[4];

	host.is_masked = getenv(HIDE_VARIABLE) && *getenv(HIDE_VARIABLE);
	hide(getenv(HIDE_VARIABLE));
	host_cpuid(0, 0, registers);
	host.is_amd = registers[2] == VENDOR_AMD || registers[2] == VENDOR_HYGON;
	read_words();
	read_xcr0();
	read_words();
	host.has_fsgsbase = !(also & ALSO_FSGSBASE) && (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE);
	host.has_code32 = has_code32();
	host.may_fault_cpuid = !(also & ALSO_CPUID_FAULTING);
	host.draws_stub_places = !(also & ALSO_STUB_PLACES);
	host.has_fast_pext = !(also & ALSO_FAST_PEXT) && host_has(HOST_BMI2) && !is_slow_at_pext();
	host.has_steady_tsc = !(also & ALSO_TSC) &&
			      (host_has(HOST_INVARIANT_TSC) || kernel_trusts_tsc());
}
