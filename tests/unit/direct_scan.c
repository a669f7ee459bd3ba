/*
 * The scan of code before it runs directly: instructions that show the host are found at instruction
 * boundaries, the same bytes inside other instructions are not, a page that changed is looked at anew, and those that may
 * be traps are those that are code for certain. And what stands before a stop is known for an instruction with LOCK.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "engine/run/direct/locked.h"
#include "engine/run/direct/scan.h"
#include "engine/run/direct/sensitive.h"
#include "engine/x86/fpu/fpu_state.h"
#include "engine/x86/host/host.h"
#include "x86_platform.h"

static struct x86_test test;
static struct scan_cache cache;
static uint8_t page[4096];

static int setup(void **state)
{
	(void)state;
	memset(&cache, 0, sizeof(cache));
	memset(page, 0x90, sizeof(page));
	return x86_test_create(&test, 64);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

static bool is_clean(uint64_t gpa, unsigned allowed, bool is_marked)
{
	return scan_page(&cache, &test.cpu, gpa, page, allowed, is_marked) == SCAN_CLEAN;
}

static bool is_clean_at(unsigned at, const char *bytes, unsigned size, unsigned allowed)
{
	memset(page, 0x90, sizeof(page));
	memcpy(page + at, bytes, size);
	return is_clean(0x5000, allowed, false);
}

#define CLEAN(bytes) assert_true(is_clean_at(100, bytes, sizeof(bytes) - 1, 0))
#define SENSITIVE(bytes) assert_false(is_clean_at(100, bytes, sizeof(bytes) - 1, 0))

static void test_instructions(void **state)
{
	(void)state;
	SENSITIVE("\x0f\xa2");             /* cpuid */
	SENSITIVE("\x0f\x31");             /* rdtsc */
	SENSITIVE("\x0f\x01\xf9");         /* rdtscp */
	SENSITIVE("\x0f\x01\xd0");         /* xgetbv */
	SENSITIVE("\x0f\x01\xef");         /* wrpkru */
	CLEAN("\x0f\x01\x07");             /* sgdt [rdi] */
	CLEAN("\x0f\x00\xc0");             /* sldt eax */
	SENSITIVE("\xf3\x0f\xc7\xf8");     /* rdpid rax */
	SENSITIVE("\xf3\x41\x0f\xc7\xf8"); /* rdpid r8 */
	SENSITIVE("\x48\x0f\x03\xc1");     /* lsl rax, ecx */
	CLEAN("\x0f\x03\x0f");             /* lsl ecx, [rdi] */
	CLEAN("\x0f\x34");                 /* sysenter */
	CLEAN("\x0f\x05");                 /* syscall */
	CLEAN("\xcd\x80");                 /* int 0x80 */
	CLEAN("\x0f\xae\xf0");             /* mfence */
	CLEAN("\x0f\xc7\xf8");             /* rdseed eax */
	CLEAN("\x0f\x01\xd5");             /* xend */
	CLEAN("\x0f\x1f\x40");             /* nop */
}

/* RDFSBASE and its kin, where the guest's kernel does not allow them: those, and what has some of their bytes. */
static void test_bases(void **state)
{
	struct scan_traps traps;

	(void)state;
	SENSITIVE("\xf3\x0f\xae\xc0");     /* rdfsbase eax */
	SENSITIVE("\xf3\x48\x0f\xae\xc0"); /* rdfsbase rax */
	SENSITIVE("\xf3\x49\x0f\xae\xdf"); /* wrgsbase r15 */
	CLEAN("\xf3\x0f\xae\xe0");         /* ptwrite eax */
	CLEAN("\x0f\xae\xe8");             /* lfence */
	CLEAN("\x0f\xae\x07");             /* fxsave [rdi] */
	assert_true(is_clean_at(100, "\xf3\x0f\xae\xc0", 4, ALLOW_FSGSBASE));
	assert_false(is_clean_at(100, "\xf3\x0f\xae\xc0", 4, 0));
	assert_true(scan_find_traps(&cache, &test.cpu, 0x5000, page, 0, &traps));
	assert_int_equal(traps.count, 1);
	assert_int_equal(traps.at[0], 101);
}

/* At any place, and behind whatever looks like the begin of it. */
static void test_places(void **state)
{
	(void)state;
	for (unsigned at = 16; at < 48; at++) {
		static const char fillers[] = { '\x0f', '\x0e', '\x10', '\0' };

		assert_false(is_clean_at(at, "\x0f\xa2", 2, 0));
		for (unsigned i = 0; i < sizeof(fillers); i++) {
			memset(page, 0x90, sizeof(page));
			/* mov rax, imm64: four of a kind that are not code, with its like in the bytes before. */
			memcpy(page + at - 11, "\x48\xb8", 2);
			memset(page + at - 9, fillers[i], 8);
			memcpy(page + at, "\x0f\xa2", 2);
			assert_false(is_clean(0x5000, 0, false));
		}
	}
	/* The last that a page can hold, and one that ends in the next. */
	assert_false(is_clean_at(4094, "\x0f\xa2", 2, 0));
	assert_true(is_clean_at(4095, "\x0f", 1, 0));
}

/* Those that a page's end cuts off are what the next page's bytes make of them. */
static void test_cut(void **state)
{
	static const struct {
		const char *bytes;
		unsigned size;
		bool is_sensitive;
	} all[] = {
		{"\x0f\x01\xf9", 3, true},         /* rdtscp */
		{"\x0f\xa2", 2, true},             /* cpuid */
		{"\xf3\x48\x0f\xc7\xf8", 5, true}, /* rdpid rax */
		{"\xf3\x48\x0f\xae\xc0", 5, true}, /* rdfsbase rax */
		{"\x0f\x1f\xc0", 3, false},        /* nop */
		{"\x0f\xae\xe8", 3, false},        /* lfence */
		{"\x66\x0f\x1f\xf9", 4, false},     /* nop */
		{"\x48\x89\xc8", 3, false},        /* mov rax, rcx */
	};
	uint8_t next[SENSITIVE_AHEAD];

	(void)state;
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		for (unsigned cut = 1; cut < all[i].size; cut++) {
			bool is_cut;

			memset(page, 0x90, sizeof(page));
			memset(next, 0x90, sizeof(next));
			memcpy(page + sizeof(page) - cut, all[i].bytes, cut);
			memcpy(next, all[i].bytes + cut, all[i].size - cut);
			is_cut = sensitive_may_be_cut(page, 0) && sensitive_is_cut(page, next, 0);
			assert_int_equal(is_cut, all[i].is_sensitive);
			assert_int_equal(is_clean(0x5000, is_cut ? SENSITIVE_CUT : 0, false), !all[i].is_sensitive);
		}
	}
	/* It is inside of another instruction: MOV $imm32, %eax, whose last byte is the next page's. */
	memset(page, 0x90, sizeof(page));
	memcpy(page + sizeof(page) - 4, "\xb8\0\0\x0f", 4);
	memcpy(next, "\xa2", 1);
	assert_true(sensitive_is_cut(page, next, 0));
	assert_true(is_clean(0x5000, SENSITIVE_CUT, false));
}

/* 32-bit code: REX prefixes are INC and DEC; what tells selectors of FS and GS or loads them, and what loses EIP. */
static void test_narrow(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	assert_int_equal(x86_test_create(&test, 32), 0);
#define NARROW(bytes) is_clean_at(100, bytes, sizeof(bytes) - 1, SENSITIVE_CODE32)
	assert_false(NARROW("\x0f\xa2"));         /* cpuid */
	assert_false(NARROW("\x0f\x05"));         /* syscall */
	assert_false(NARROW("\x0f\x34"));         /* sysenter */
	assert_false(NARROW("\x8c\xe8"));         /* mov eax, gs */
	assert_false(NARROW("\x66\x8c\x27"));     /* mov [edi], fs */
	assert_false(NARROW("\x8e\xe8"));         /* mov gs, eax */
	assert_false(NARROW("\x0f\xa0"));         /* push fs */
	assert_false(NARROW("\x0f\xa9"));         /* pop gs */
	assert_false(NARROW("\x0f\xb4\x07"));     /* lfs eax, [edi] */
	assert_true(NARROW("\xcd\x80"));          /* int 0x80 */
	assert_true(NARROW("\x8c\xd8"));          /* mov eax, ds */
	assert_true(NARROW("\x8e\xc0"));          /* mov es, eax */
	assert_true(NARROW("\x65\xa1\x8c\xe8\0\0")); /* mov eax, gs:0xe88c */
	assert_true(NARROW("\x0f\xb6\xc0"));      /* movzx eax, al */
	/* MOV RAX, imm64 in 64-bit code: here it ends earlier. */
	assert_false(NARROW("\x48\xb8\x90\x90\x90\x90\x0f\x31\x90\x90"));
#undef NARROW
}

static void test_boundaries(void **state)
{
	(void)state;
	CLEAN("\xb8\x0f\xa2\x00\x00");             /* mov eax, 0xa20f */
	CLEAN("\x48\xb8\x90\x90\x90\x90\x0f\x31\x90\x90");
	CLEAN("\x48\x8b\x84\x24\x0f\xa2\x00\x00"); /* mov rax, [rsp + 0xa20f] */
	CLEAN("\x0f\xb6\x0f\x31\xc0");             /* movzx ecx, byte [rdi]; xor eax, eax */
	SENSITIVE("\x48\x8b\x0f\x0f\xa2");         /* mov rcx, [rdi]; cpuid */
	/* Behind what cannot be decoded, zeroes, and in the page's first bytes it may be data... */
	CLEAN("\x06\x06\x0f\xa2");
	CLEAN("\x00\x00\x90\x90\x0f\xa2");
	SENSITIVE("\x00\x00\x90\x90\x90\x90\x0f\xa2");
	assert_true(is_clean_at(1, "\x0f\xa2", 2, 0));
	/* ... unless it is what comes next. */
	assert_false(is_clean(0x6001, 0, false));
	assert_false(is_clean_at(4094, "\x0f\xa2", 2, 0));
	assert_true(is_clean_at(4095, "\x0f", 1, 0));
	/* Cut off: LSL, if the next page says so. */
	assert_true(is_clean_at(4094, "\x0f\x03", 2, 0));
	assert_false(is_clean_at(4094, "\x0f\x03", 2, SENSITIVE_CUT));
}

static void test_allowed(void **state)
{
	(void)state;
	assert_true(is_clean_at(9, "\x0f\x31", 2, ALLOW_RDTSC));
	assert_false(is_clean_at(9, "\x0f\x31", 2, ALLOW_CPUID));
	assert_false(is_clean_at(9, "\x0f\x01\xf9", 3, ALLOW_RDTSC | ALLOW_CPUID));
	assert_true(is_clean_at(9, "\x0f\xa2", 2, ALLOW_CPUID));
	assert_false(is_clean_at(9, "\x0f\xa2", 2, ALLOW_RDTSC));
	assert_true(is_clean_at(9, "\x0f\x01\xee\x0f\x01\xef", 6, ALLOW_PKRU));
	assert_false(is_clean_at(9, "\x0f\xa2\x0f\x01\xd0", 5, ALLOW_CPUID)); /* ...; xgetbv */
}

static void test_changes(void **state)
{
	uint64_t scans;

	(void)state;
	assert_true(is_clean_at(0, "\x90", 1, 0));
	scans = cache.scans;
	assert_true(is_clean_at(0, "\x90", 1, 0));
	assert_int_equal(cache.scans, scans);
	assert_false(is_clean_at(2000, "\x0f\xa2", 2, 0));
	assert_true(is_clean_at(2000, "\x0f\xa3", 2, 0));
	assert_int_equal(cache.scans, scans + 2);
	/* The same bytes elsewhere are another page's. */
	assert_true(is_clean(0x5000 + SCAN_ENTRIES * 4096ull, 0, false));
	assert_int_equal(cache.scans, scans + 3);
}

/* The short look: at a page of which nothing is known, that was not clean, or is another now. */
static void test_sample(void **state)
{
	(void)state;
	memset(page, 0x90, sizeof(page));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, 0));
	assert_true(is_clean(0x9000, 0, false));
	assert_true(scan_seems_same(&cache, &test.cpu, 0x9abc, page, 0));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, ALLOW_RDTSC));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000 + SCAN_ENTRIES * 4096ull, page, 0));
	memset(page, 0x91, sizeof(page));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, 0));
	memcpy(page + 2048, "\x0f\xa2", 2);
	assert_false(is_clean(0x9000, 0, false));
	assert_false(scan_seems_same(&cache, &test.cpu, 0x9000, page, 0));
}

/* XSAVE of everything, where the host has what the guest has not; and of what the guest has. */
static void test_components(void **state)
{
	static const char all[] = "\xb8\xff\xff\xff\xff\xba\xff\xff\xff\xff\x0f\xae\x27";
	static const char some[] = "\xb8\xff\xff\xff\xff\xb8\x07\0\0\0\x31\xd2\x48\x0f\xc7\x64\x24\x40";
	uint64_t xcr0 = host.xcr0;

	(void)state;
	host.xcr0 = fpu_layout.components;
	CLEAN(all);
	memset(&cache, 0, sizeof(cache));
	host.xcr0 |= 1u << 18;
	SENSITIVE(all);
	CLEAN(some);
	SENSITIVE("\x0f\xae\x27"); /* with a mask from elsewhere */
	SENSITIVE("\x0f\xae\x37"); /* xsaveopt [rdi] */
	CLEAN("\x66\x0f\xae\x37"); /* clwb [rdi] */
	CLEAN("\x0f\xae\xf0");     /* mfence */
	CLEAN("\x0f\xae\x2f");     /* xrstor [rdi] */
	CLEAN("\x0f\xae\xe8");     /* lfence */
	host.xcr0 = xcr0;
}

/* A page that is marked is not read again until it was written to, or a device may have. */
static void test_marked(void **state)
{
	(void)state;
	memset(page, 0x90, sizeof(page));
	assert_true(is_clean(0xb000, 0, true));
	memcpy(page + 64, "\x0f\xa2", 2);
	assert_true(is_clean(0xb000, 0, true));
	assert_true(scan_seems_same(&cache, &test.cpu, 0xb000, page, 0));
	assert_false(is_clean(0xb000, 0, false));
	assert_false(is_clean(0xb000, 0, true));
	memset(page, 0x90, sizeof(page));
	scan_forget(&cache, 0xa000, 0xafff);
	assert_false(is_clean(0xb000, 0, true));
	scan_forget(&cache, 0xafff, 0xb03f);
	assert_true(is_clean(0xb000, 0, true));
	page[64] = 0x0f, page[65] = 0xa2;
	test.cpu.code_epoch++;
	assert_false(is_clean(0xb000, 0, true));
	memset(page, 0x90, sizeof(page));
	scan_forget(&cache, 0, UINT64_MAX);
	assert_true(is_clean(0xb000, 0, true));
}

/* -- traps -- */

/* At 100, behind NOPs: the verdict, and the first trap, 0 if there is none. */
static enum scan_verdict verdict_of(const char *bytes, unsigned size, unsigned allowed, unsigned *trap)
{
	struct scan_traps traps;
	enum scan_verdict verdict;

	memset(page, 0x90, sizeof(page));
	memcpy(page + 100, bytes, size);
	verdict = scan_page(&cache, &test.cpu, 0x5000, page, allowed, true);
	scan_forget(&cache, 0x5000, 0x5fff);
	*trap = 0;
	if (verdict == SCAN_TRAPS_DO) {
		assert_true(scan_find_traps(&cache, &test.cpu, 0x5000, page, allowed, &traps));
		assert_int_equal(traps.count, 1);
		*trap = traps.at[0];
		assert_int_equal(page[*trap], 0x0f);
	}
	return verdict;
}

static void expect(const char *bytes, unsigned size, enum scan_verdict wanted, unsigned wanted_trap)
{
	unsigned trap;

	assert_int_equal(verdict_of(bytes, size, ALLOW_RDTSC | ALLOW_CPUID, &trap), wanted);
	assert_int_equal(trap, wanted_trap ? 100 + wanted_trap : 0);
}

#define TRAPPED(bytes, at) expect(bytes, sizeof(bytes) - 1, SCAN_TRAPS_DO, at)
#define UNSURE(bytes)	   expect(bytes, sizeof(bytes) - 1, SCAN_SENSITIVE, 0)
#define HARMLESS(bytes)	   expect(bytes, sizeof(bytes) - 1, SCAN_CLEAN, 0)

/* What may be a trap is what stands in a context that no data has. */
static void test_traps(void **state)
{
	(void)state;
	TRAPPED("\x31\xc9\x0f\x01\xd0", 2);                     /* xor ecx, ecx; xgetbv */
	TRAPPED("\x33\xc9\x53\x0f\x01\xd0", 3);                 /* ...; push rbx; xgetbv */
	TRAPPED("\xb9\0\0\0\0\x0f\x01\xd0", 5);                /* mov ecx, 0; xgetbv */
	TRAPPED("\x31\xc9\x0f\x01\xee", 2);                     /* ...; rdpkru */
	UNSURE("\x0f\x01\xd0");
	UNSURE("\x31\xd2\x0f\x01\xd0");
	TRAPPED("\xb8\x7b\0\0\0\x0f\x03\xc0", 5);              /* mov eax, 7bh; lsl eax, eax */
	TRAPPED("\xb9\x7b\0\0\0\x48\x0f\x03\xc1", 6);          /* mov ecx, 7bh; lsl rax, ecx */
	TRAPPED("\xb8\x7b\0\0\0\xf3\x0f\xc7\xf8", 6);          /* ...; rdpid rax */
	UNSURE("\x0f\x03\xc0");
	UNSURE("\xf3\x0f\xc7\xf8");
	/* Never, whatever stands there. */
	UNSURE("\x31\xc9\x0f\x01\xc1");                         /* vmcall */
	UNSURE("\x31\xc9\x0f\x01\xd9");                         /* vmmcall */
	/* One that is certain does not help another. */
	UNSURE("\x31\xc9\x0f\x01\xd0\xb8\x01\0\0\0\x0f\x03\xc0");
	/* ... but who comes to it executes it. */
	memset(page, 0x90, sizeof(page));
	memcpy(page + 100, "\x0f\x03\xc0", 3);
	assert_int_equal(scan_page(&cache, &test.cpu, 0x5000 + 100, page, 0, true), SCAN_TRAPS_DO);
	assert_int_equal(scan_page(&cache, &test.cpu, 0x5000 + 100, page, ALLOW_RDTSC, true), SCAN_TRAPS_DO);
}

/* CPUID, where the host's cannot fault: behind its leaf it is code; two bytes alone may be anything. */
static void test_cpuid(void **state)
{
	unsigned trap;

	(void)state;
#define CPUID(bytes, wanted, at)                                                                   \
	do {                                                                                       \
		assert_int_equal(verdict_of(bytes, sizeof(bytes) - 1, ALLOW_RDTSC, &trap), wanted); \
		assert_int_equal(trap, (at) ? 100 + (at) : 0);                                     \
	} while (0)
	CPUID("\x31\xc0\x0f\xa2", SCAN_TRAPS_DO, 2);                             /* xor eax, eax; cpuid */
	CPUID("\x33\xc0\x33\xc9\x0f\xa2", SCAN_TRAPS_DO, 4);
	CPUID("\xb8\x01\0\0\0\x0f\xa2", SCAN_TRAPS_DO, 5);                     /* mov eax, 1; cpuid */
	CPUID("\xb8\x07\0\0\0\x31\xc9\x0f\xa2", SCAN_TRAPS_DO, 7);
	CPUID("\xb8\x1d\0\0\x80\xb9\x02\0\0\0\x53\x0f\xa2", SCAN_TRAPS_DO, 11);
	CPUID("\xb8\0\0\0\x40\x0f\xa2", SCAN_TRAPS_DO, 5);
	CPUID("\x85\xc0\x75\x20\x0f\xa2", SCAN_TRAPS_DO, 4);                    /* test eax, eax; jnz; cpuid */
	CPUID("\x85\xc0\x0f\x85\x44\0\0\0\x0f\xa2", SCAN_TRAPS_DO, 8);
	CPUID("\x90\x0f\xa2\x85\xc0", SCAN_TRAPS_DO, 1);                        /* cpuid; test eax, eax */
	/* A leaf that is loaded from elsewhere. */
	CPUID("\x8b\x45\x8c\x0f\xa2", SCAN_TRAPS_DO, 3);                       /* mov eax, [rbp - 74h]; cpuid */
	CPUID("\x8b\x85\x14\xff\xff\xff\x0f\xa2", SCAN_TRAPS_DO, 6);
	CPUID("\x8b\x44\x24\x0c\x0f\xa2", SCAN_TRAPS_DO, 4);                    /* mov eax, [rsp + 12]; cpuid */
	CPUID("\x8b\x84\x24\x0c\x01\0\0\x0f\xa2", SCAN_TRAPS_DO, 7);
	CPUID("\x8b\x07\x0f\xa2", SCAN_TRAPS_DO, 2);                            /* mov eax, [rdi]; cpuid */
	CPUID("\x44\x89\xe0\x0f\xa2", SCAN_TRAPS_DO, 3);                       /* mov eax, r12d; cpuid */
	CPUID("\x89\xf8\x89\xf1\x0f\xa2", SCAN_TRAPS_DO, 4);                    /* ...; mov ecx, esi; cpuid */
	CPUID("\x89\xf8\x53\x44\x89\xc1\x48\x89\xde\x0f\xa2", SCAN_TRAPS_DO, 9); /* push rbx; ...; mov rsi, rbx */
	/* mov eax, r8d; mov [rip], ecx; mov ecx, edi; mov [rip], ebx; mov [rip], edx; cpuid */
	CPUID("\x44\x89\xc0\x89\x0d\xde\xe2\x01\0\x89\xf9\x89\x1d\xd2\xe2\x01\0\x89\x15\xd4\xe2\x01\x50\x0f\xa2",
	      SCAN_TRAPS_DO, 23);
	CPUID("\x89\xc7\x89\xf1\x0f\xa2", SCAN_SENSITIVE, 0);                   /* mov edi, eax; mov ecx, esi; cpuid */
	CPUID("\x8b\x4d\x8c\x0f\xa2", SCAN_SENSITIVE, 0);                       /* mov ecx, [rbp - 74h]; cpuid */
	/* A result that is kept. */
	CPUID("\x90\x0f\xa2\x89\x05\xdd\xa0\0\0", SCAN_TRAPS_DO, 1);  /* cpuid; mov [rip], eax */
	CPUID("\x90\x0f\xa2\x41\x89\xd6", SCAN_TRAPS_DO, 1);            /* cpuid; mov r14d, edx */
	CPUID("\x90\x0f\xa2\x89\xf7", SCAN_SENSITIVE, 0);               /* cpuid; mov edi, esi */
	CPUID("\x90\x0f\xa2\x44\x89\xd7", SCAN_SENSITIVE, 0);           /* cpuid; mov edi, r10d */
	CPUID("\x0f\xa2", SCAN_SENSITIVE, 0);
	CPUID("\xb8\x45\0\0\0\x0f\xa2", SCAN_SENSITIVE, 0);                    /* no leaf */
	CPUID("\xb8\x01\0\0\0\x0f\xa2\xb9\x07\0\0\0\xb9\x07\0\0\0\xb9\x07\0\0\0\x0f\xa2", SCAN_SENSITIVE, 0);
	/* Where it faults there is nothing to do. */
	HARMLESS("\x31\xc0\x0f\xa2");
#undef CPUID
	/* Where nothing else says that it is code: at a page's start, behind data; but not amid that. */
	memset(page, 0, sizeof(page));
	memcpy(page, "\x31\xc0\x0f\xa2", 4);
	assert_int_equal(scan_page(&cache, &test.cpu, 0x7000, page, 0, true), SCAN_TRAPS_DO);
	memset(page, 0, sizeof(page));
	memcpy(page + 100, "\x31\xc0\x0f\xa2", 4);
	assert_int_equal(scan_page(&cache, &test.cpu, 0x8000, page, 0, true), SCAN_TRAPS_DO);
	memcpy(page + 100, "\0\0\x0f\xa2\x85\xc0", 6);
	assert_int_equal(scan_page(&cache, &test.cpu, 0x9000, page, 0, true), SCAN_CLEAN);
	/* At a page's end, as far as it is there. */
	memset(page, 0x90, sizeof(page));
	memcpy(page + 4092, "\x31\xc0\x0f\xa2", 4);
	assert_int_equal(scan_page(&cache, &test.cpu, 0xa000, page, 0, true), SCAN_TRAPS_DO);
	memcpy(page + 4092, "\x31\xc9\x0f\x01", 4);
	assert_int_equal(scan_page(&cache, &test.cpu, 0xb000, page, 0, true), SCAN_CLEAN);
	memcpy(page + 4087, "\xb8\x7b\0\0\0\x90\x90\x0f\x03", 9);
	assert_int_equal(scan_page(&cache, &test.cpu, 0xc000, page, SENSITIVE_CUT, true), SCAN_SENSITIVE);
}

/* A verdict that held for another entry is taken back. */
static void test_other_entry(void **state)
{
	struct scan_traps traps;

	(void)state;
	memset(page, 0x90, sizeof(page));
	memcpy(page + 100, "\x0f\x03\xc0", 3);
	assert_int_equal(scan_page(&cache, &test.cpu, 0x5000 + 100, page, 0, true), SCAN_TRAPS_DO);
	assert_true(scan_find_traps(&cache, &test.cpu, 0x5000 + 100, page, 0, &traps));
	assert_false(scan_find_traps(&cache, &test.cpu, 0x5000, page, 0, &traps));
	assert_int_equal(scan_page(&cache, &test.cpu, 0x5000, page, 0, true), SCAN_SENSITIVE);
	/* Too many. */
	for (unsigned i = 0; i <= SCAN_TRAPS; i++)
		memcpy(page + 200 + 40 * i, "\x31\xc9\x0f\x01\xd0", 5);
	assert_int_equal(scan_page(&cache, &test.cpu, 0x6000, page, SENSITIVE_CUT, true), SCAN_SENSITIVE);
}

/* RDTSCP shows the host's processor in ECX, which nobody minds who does not look. */
static void test_rdtscp(void **state)
{
	unsigned trap;

	(void)state;
	HARMLESS("\x0f\x01\xf9\xb9\x01\0\0\0");                /* rdtscp; mov ecx, 1 */
	HARMLESS("\x0f\x01\xf9\x48\xc1\xe2\x20\x48\x09\xd0\xc3"); /* ...; shl rdx, 32; or rax, rdx; ret */
	HARMLESS("\x0f\x01\xf9\x31\xc0\x85\xc0\x75\x02\x89\xf9\x89\xd1\xc3"); /* jnz over mov ecx, edi; mov ecx, edx */
	HARMLESS("\x0f\x01\xf9\x0f\x01\xf9\x89\xd1");          /* another one */
	UNSURE("\x0f\x01\xf9\x89\x0f\xc3");                    /* mov [rdi], ecx */
	UNSURE("\x0f\x01\xf9\x88\xc9\xc3");                    /* mov cl, cl */
	UNSURE("\x0f\x01\xf9\xb1\x01\x89\xd1");               /* mov cl, 1: the rest stays */
	UNSURE("\x0f\x01\xf9\x0f\x44\xc8\xc3");               /* cmovz ecx, eax */
	UNSURE("\x0f\x01\xf9\x8b\x09\xc3");                    /* mov ecx, [rcx] */
	UNSURE("\x0f\x01\xf9\xd3\xe0\xc3");                    /* shl eax, cl */
	UNSURE("\x0f\x01\xf9\xf3\xa4\xc3");                    /* rep movsb */
	UNSURE("\x0f\x01\xf9\xe3\x00\x31\xc9\xc3");           /* jrcxz */
	UNSURE("\x0f\x01\xf9\xff\xd0");                        /* call rax */
	UNSURE("\x0f\x01\xf9\xff\xe0");                        /* jmp rax */
	UNSURE("\x0f\x01\xf9\x75\x02\x31\xc9\x89\xc8\xc3");   /* jnz over xor ecx, ecx; mov eax, ecx */
	UNSURE("\x0f\x01\xf9\xeb\xfe");                        /* for ever */
	/* As the C compiler puts it: with a trap. */
	TRAPPED("\x90\x0f\x01\xf9\x89\x0f\x48\xc1\xe2\x20", 1);  /* rdtscp; mov [rdi], ecx; shl rdx, 32 */
	/* The counter is not the host's. */
	assert_int_equal(verdict_of("\x0f\x01\xf9\x31\xc9", 5, ALLOW_CPUID, &trap), SCAN_SENSITIVE);
}

/* Whether code that is stopped behind `bytes`, which are at the page's `at`, is known for locked. */
static bool is_locked(unsigned at, const char *bytes, unsigned size)
{
	uint8_t *code = test.memory + X86_TEST_CODE;

	memset(code, 0x90, 4096);
	memcpy(code + at, bytes, size);
	test.cpu.rip = X86_TEST_CODE + at + size;
	return locked_is_behind(&test.cpu);
}

static void test_locked(void **state)
{
	static const char add[] = "\xf0\x48\x01\x05\x70\x2f\0"; /* lock add [rip+...], rax */

	(void)state;
	for (unsigned at = 0; at < 20; at++) {
		assert_true(is_locked(at, add, sizeof(add)));
		assert_true(is_locked(at, "\xf0\x0f\xb1\x0f", 4)); /* lock cmpxchg [rdi], ecx */
		assert_false(is_locked(at, add, sizeof(add) - 1));
		assert_false(is_locked(at, add + 1, sizeof(add) - 1));
		assert_false(is_locked(at, "\xf0\x48\x01\xc0", 4)); /* undefined: it has no memory */
		assert_false(is_locked(at, "\xf0\x0f\xb1\x0f\x90", 5));
	}
	/* It stands in the page before. */
	memcpy(test.memory + X86_TEST_CODE - 4, "\xf0\x0f\xb1\x0f", 4);
	test.cpu.rip = X86_TEST_CODE;
	assert_false(locked_is_behind(&test.cpu));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_instructions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_places, setup, teardown),
		cmocka_unit_test_setup_teardown(test_narrow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_components, setup, teardown),
		cmocka_unit_test_setup_teardown(test_boundaries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_traps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpuid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rdtscp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_marked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sample, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locked, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
