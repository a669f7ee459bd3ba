/*
 * The table of CPU models, with the names, features and numbers that QEMU gives them, so that command
 * lines and guests move between the two. A row with a base is the base with changes; NULL and 0 stand
 * for the base's. A name without a version is version 1, as for QEMU's versioned machines.
 */
#include "machine/cpu_models.h"

#include <stddef.h>
#include <string.h>

#define INTEL "GenuineIntel"
#define AMD   "AuthenticAMD"

#define PENTIUM_PRO "fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat mmx fxsr sse sse2 "
#define COMMON	    PENTIUM_PRO "vme mtrr mca pse36 clflush "
#define LONG_MODE   "lm syscall nx "
#define SKYLAKE_AVX512 "avx512f avx512dq avx512bw avx512cd avx512vl "

/* clang-format off */
const struct cpu_model cpu_models[] = {
	{"qemu32", NULL, PENTIUM_PRO "pni", INTEL, 6, 6, 3, 4, 0x80000004,
	 "QEMU Virtual CPU version 2.5+"},
	{"qemu64", NULL, PENTIUM_PRO "mtrr clflush mca pse36 pni cx16 " LONG_MODE "lahf-lm svm", AMD,
	 15, 107, 1, 0xd, 0x8000000a, "QEMU Virtual CPU version 2.5+"},
	{"kvm32", NULL, COMMON "pni", INTEL, 15, 6, 1, 5, 0x80000008, "Common 32-bit KVM processor"},
	{"kvm64", NULL, COMMON "pni cx16 " LONG_MODE, INTEL, 15, 6, 1, 0xd, 0x80000008,
	 "Common KVM processor"},

	{"n270", NULL, COMMON "pni ssse3 movbe nx lahf-lm", INTEL, 6, 28, 2, 10, 0x80000008,
	 "Intel(R) Atom(TM) CPU N270   @ 1.60GHz"},
	{"coreduo", NULL, COMMON "pni nx", INTEL, 6, 14, 8, 10, 0x80000008,
	 "Genuine Intel(R) CPU           T2600  @ 2.16GHz"},
	{"core2duo", NULL, COMMON LONG_MODE "pni ssse3 cx16 lahf-lm", INTEL, 6, 15, 11, 10, 0x80000008,
	 "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz"},
	{"phenom", NULL, COMMON LONG_MODE "pni cx16 popcnt pdpe1gb rdtscp lahf-lm abm sse4a svm", AMD, 16, 2, 3, 5,
	 0x8000001a, "AMD Phenom(tm) 9550 Quad-Core Processor"},

	{"Conroe", NULL, COMMON LONG_MODE "pni ssse3 lahf-lm", INTEL, 6, 15, 3, 10, 0x80000008,
	 "Intel Celeron_4x0 (Conroe/Merom Class Core 2)"},
	{"Penryn", "Conroe", "cx16 sse4-1", INTEL, 6, 23, 3, 10, 0x80000008,
	 "Intel Core 2 Duo P9xxx (Penryn Class Core 2)"},
	{"Nehalem", "Penryn", "sse4-2 popcnt", INTEL, 6, 26, 3, 11, 0x80000008,
	 "Intel Core i7 9xx (Nehalem Class Core i7)"},
	{"Nehalem-IBRS", "Nehalem", "spec-ctrl", .model_id =
	 "Intel Core i7 9xx (Nehalem Core i7, IBRS update)"},
	{"Westmere", "Nehalem", "aes pclmulqdq arat", INTEL, 6, 44, 1, 11, 0x80000008,
	 "Westmere E56xx/L56xx/X56xx (Nehalem-C)"},
	{"Westmere-IBRS", "Westmere", "spec-ctrl", .model_id =
	 "Westmere E56xx/L56xx/X56xx (IBRS update)"},
	{"SandyBridge", "Westmere", "avx xsave x2apic tsc-deadline rdtscp xsaveopt", INTEL, 6, 42, 1,
	 0xd, 0x80000008, "Intel Xeon E312xx (Sandy Bridge)"},
	{"SandyBridge-IBRS", "SandyBridge", "spec-ctrl", .model_id =
	 "Intel Xeon E312xx (Sandy Bridge, IBRS update)"},
	{"IvyBridge", "SandyBridge", "f16c rdrand fsgsbase smep erms", INTEL, 6, 58, 9, 0xd,
	 0x80000008, "Intel Xeon E3-12xx v2 (Ivy Bridge)"},
	{"IvyBridge-IBRS", "IvyBridge", "spec-ctrl", .model_id =
	 "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)"},
	{"Haswell", "IvyBridge", "fma movbe pcid abm bmi1 hle avx2 bmi2 invpcid rtm", INTEL, 6, 60, 4,
	 0xd, 0x80000008, "Intel Core Processor (Haswell)"},
	{"Haswell-noTSX", "Haswell", "-hle -rtm", INTEL, 6, 60, 1, 0xd, 0x80000008,
	 "Intel Core Processor (Haswell, no TSX)"},
	{"Haswell-IBRS", "Haswell", "spec-ctrl", .model_id = "Intel Core Processor (Haswell, IBRS)"},
	{"Haswell-noTSX-IBRS", "Haswell-noTSX", "spec-ctrl", .model_id =
	 "Intel Core Processor (Haswell, no TSX, IBRS)"},
	{"Broadwell", "Haswell", "3dnowprefetch rdseed adx smap", INTEL, 6, 61, 2, 0xd, 0x80000008,
	 "Intel Core Processor (Broadwell)"},
	{"Broadwell-noTSX", "Broadwell", "-hle -rtm", .model_id =
	 "Intel Core Processor (Broadwell, no TSX)"},
	{"Broadwell-IBRS", "Broadwell", "spec-ctrl", .model_id =
	 "Intel Core Processor (Broadwell, IBRS)"},
	{"Broadwell-noTSX-IBRS", "Broadwell-noTSX", "spec-ctrl", .model_id =
	 "Intel Core Processor (Broadwell, no TSX, IBRS)"},
	{"Skylake-Client", "Broadwell", "xsavec xgetbv1", INTEL, 6, 94, 3, 0xd, 0x80000008,
	 "Intel Core Processor (Skylake)"},
	{"Skylake-Client-IBRS", "Skylake-Client", "spec-ctrl", .model_id =
	 "Intel Core Processor (Skylake, IBRS)"},
	{"Skylake-Client-noTSX-IBRS", "Skylake-Client-IBRS", "-hle -rtm", .model_id =
	 "Intel Core Processor (Skylake, IBRS, no TSX)"},
	{"Skylake-Server", "Skylake-Client", SKYLAKE_AVX512 "clflushopt clwb pdpe1gb pku", INTEL, 6,
	 85, 4, 0xd, 0x80000008, "Intel Xeon Processor (Skylake)"},
	{"Skylake-Server-IBRS", "Skylake-Server", "-clflushopt spec-ctrl", .model_id =
	 "Intel Xeon Processor (Skylake, IBRS)"},
	{"Skylake-Server-noTSX-IBRS", "Skylake-Server-IBRS", "-hle -rtm", .model_id =
	 "Intel Xeon Processor (Skylake, IBRS, no TSX)"},
	{"Cascadelake-Server", "Skylake-Server", "avx512vnni spec-ctrl ssbd", INTEL, 6, 85, 6, 0xd,
	 0x80000008, "Intel Xeon Processor (Cascadelake)"},
	{"Cascadelake-Server-noTSX", "Cascadelake-Server", "arch-capabilities -hle -rtm"},
	{"Icelake-Server", "Cascadelake-Server",
	 "avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512bitalg avx512-vpopcntdq la57 wbnoinvd",
	 INTEL, 6, 134, 0, 0xd, 0x80000008, "Intel Xeon Processor (Icelake)"},
	{"Icelake-Server-noTSX", "Icelake-Server", "-hle -rtm"},
	{"SapphireRapids", "Icelake-Server",
	 "avx512ifma sha-ni rdpid bus-lock-detect fsrm serialize tsx-ldtrk amx-bf16 avx512-fp16 "
	 "amx-tile amx-int8 arch-capabilities avx-vnni avx512-bf16 fzrm fsrs fsrc xsaves xfd",
	 INTEL, 6, 143, 4, 0x20, 0x80000008, "Intel Xeon Processor (SapphireRapids)"},

	{"Opteron_G1", NULL, COMMON LONG_MODE "pni", AMD, 15, 6, 1, 5, 0x80000008,
	 "AMD Opteron 240 (Gen 1 Class Opteron)"},
	{"Opteron_G2", "Opteron_G1", "cx16 svm lahf-lm", .model_id =
	 "AMD Opteron 22xx (Gen 2 Class Opteron)"},
	{"Opteron_G3", "Opteron_G2", "popcnt monitor rdtscp misalignsse sse4a abm", AMD, 16, 2, 3, 5,
	 0x80000008, "AMD Opteron 23xx (Gen 3 Class Opteron)"},
	{"Opteron_G4", "Opteron_G3",
	 "-monitor avx xsave aes sse4-2 sse4-1 ssse3 pclmulqdq pdpe1gb fma4 xop 3dnowprefetch", AMD,
	 21, 1, 2, 0xd, 0x8000001a, "AMD Opteron 62xx class CPU"},
	{"Opteron_G5", "Opteron_G4", "f16c fma tbm", AMD, 21, 2, 0, 0xd, 0x8000001a,
	 "AMD Opteron 63xx class CPU"},
	{"EPYC", NULL,
	 COMMON LONG_MODE
	 "rdrand f16c avx xsave aes popcnt movbe sse4-2 sse4-1 cx16 fma ssse3 monitor pclmulqdq pni "
	 "rdtscp pdpe1gb fxsr-opt mmxext osvw 3dnowprefetch misalignsse sse4a abm cr8legacy svm lahf-lm "
	 "topoext fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni xsaveopt xsavec "
	 "xgetbv1 arat",
	 AMD, 23, 1, 2, 0xd, 0x8000001e, "AMD EPYC Processor"},
	{"EPYC-IBPB", "EPYC", "ibpb", .model_id = "AMD EPYC Processor (with IBPB)"},
	{"EPYC-Rome", "EPYC",
	 "perfctr-core clzero xsaveerptr wbnoinvd ibpb amd-stibp clwb umip rdpid xsaves",
	 AMD, 23, 49, 0, 0xd, 0x8000001e, "AMD EPYC-Rome Processor"},
	{"EPYC-Milan", "EPYC-Rome", "pcid ibrs amd-ssbd erms invpcid pku fsrm", AMD, 25, 1, 1, 0xd,
	 0x8000001e, "AMD EPYC-Milan Processor"},
	{"EPYC-Genoa", "EPYC-Milan",
	 SKYLAKE_AVX512
	 "avx512ifma stibp-always-on amd-psfd no-nested-data-bp lfence-always-serializing "
	 "null-sel-clr-base auto-ibrs avx512vbmi avx512vbmi2 gfni vaes vpclmulqdq avx512vnni "
	 "avx512bitalg avx512-vpopcntdq la57 avx512-bf16",
	 AMD, 25, 17, 0, 0xd, 0x80000022, "AMD EPYC-Genoa Processor"},

	/* The versions that have no name of their own, and those that have. */
	{"Nehalem-v2", "Nehalem-IBRS"},
	{"Westmere-v2", "Westmere-IBRS"},
	{"SandyBridge-v2", "SandyBridge-IBRS"},
	{"IvyBridge-v2", "IvyBridge-IBRS"},
	{"Haswell-v2", "Haswell-noTSX"},
	{"Haswell-v3", "Haswell-IBRS"},
	{"Haswell-v4", "Haswell-noTSX-IBRS"},
	{"Broadwell-v2", "Broadwell-noTSX"},
	{"Broadwell-v3", "Broadwell-IBRS"},
	{"Broadwell-v4", "Broadwell-noTSX-IBRS"},
	{"Skylake-Client-v2", "Skylake-Client-IBRS"},
	{"Skylake-Client-v3", "Skylake-Client-noTSX-IBRS"},
	{"Skylake-Client-v4", "Skylake-Client-v3", "xsaves"},
	{"Skylake-Server-v2", "Skylake-Server-IBRS"},
	{"Skylake-Server-v3", "Skylake-Server-noTSX-IBRS"},
	{"Skylake-Server-v4", "Skylake-Server-v3"},
	{"Skylake-Server-v5", "Skylake-Server-v4", "xsaves"},
	{"Cascadelake-Server-v2", "Cascadelake-Server", "arch-capabilities"},
	{"Cascadelake-Server-v3", "Cascadelake-Server-noTSX"},
	{"Cascadelake-Server-v4", "Cascadelake-Server-v3"},
	{"Cascadelake-Server-v5", "Cascadelake-Server-v4", "xsaves"},
	{"Icelake-Server-v2", "Icelake-Server-noTSX"},
	{"EPYC-v2", "EPYC-IBPB"},
	{"EPYC-v3", "EPYC", "ibpb perfctr-core clzero xsaveerptr xsaves"},
	{"EPYC-v4", "EPYC-v3", .model_id = "AMD EPYC-v4 Processor"},
	{"EPYC-Rome-v2", "EPYC-Rome", "ibrs amd-ssbd"},
	{"EPYC-Rome-v3", "EPYC-Rome-v2", .model_id = "AMD EPYC-Rome-v3 Processor"},
	{"EPYC-Rome-v4", "EPYC-Rome-v3", "-xsaves", .model_id =
	 "AMD EPYC-Rome-v4 Processor (no XSAVES)"},
	{"EPYC-Milan-v2", "EPYC-Milan",
	 "vaes vpclmulqdq stibp-always-on amd-psfd no-nested-data-bp lfence-always-serializing "
	 "null-sel-clr-base",
	 .model_id = "AMD EPYC-Milan-v2 Processor"},
};
/* clang-format on */
const unsigned cpu_model_count = sizeof(cpu_models) / sizeof(cpu_models[0]);

static const struct cpu_model *find(const char *name, size_t length)
{
	unsigned i;

	for (i = 0; i < cpu_model_count; i++)
		if (strlen(cpu_models[i].name) == length &&
		    strncmp(cpu_models[i].name, name, length) == 0)
			return &cpu_models[i];
	return NULL;
}

const struct cpu_model *cpu_model_find(const char *name)
{
	const struct cpu_model *model = find(name, strlen(name));
	const char *version = strstr(name, "-v1");

	if (!model && version && !version[3])
		model = find(name, (size_t)(version - name));
	return model;
}
