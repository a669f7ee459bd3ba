/*
 * Instructions that the guest's CPUID hides: each is undefined without its feature, and only then;
 * those with a meaning on older processors keep it. And the table of what instructions are: each
 * mnemonic has one row, and what rows and struct insn say agrees with what Zydis knows.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "engine/x86/features.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/host/host.h"
#include "engine/x86/decode/isa_set.h"
#include "engine/x86/decode/memo.h"

#define MODE_64                                                                                    \
	(CPU_MODE_CODE64 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_LONG | CPU_MODE_FLAT)
#define MODE_32 (CPU_MODE_CODE32 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_FLAT)

struct sample {
	const char *name, *bytes;
	unsigned size, feature;
};

#define SAMPLE(name, word, bit, bytes)                                                             \
	{                                                                                          \
		name, bytes, sizeof(bytes) - 1, CPU_FEATURE(word, bit)                             \
	}

static const struct sample samples[] = {
    SAMPLE("fadd", 1_EDX, 0, "\xd8\xc1"),
    SAMPLE("rdtsc", 1_EDX, 4, "\x0f\x31"),
    SAMPLE("rdmsr", 1_EDX, 5, "\x0f\x32"),
    SAMPLE("cmpxchg8b", 1_EDX, 8, "\x0f\xc7\x08"),
    SAMPLE("sysenter", 1_EDX, 11, "\x0f\x34"),
    SAMPLE("cmove", 1_EDX, 15, "\x0f\x44\xc1"),
    SAMPLE("fcmovb", 1_EDX, 15, "\xda\xc1"),
    SAMPLE("clflush", 1_EDX, 19, "\x0f\xae\x38"),
    SAMPLE("paddd mm", 1_EDX, 23, "\x0f\xfe\xc1"),
    SAMPLE("fxsave", 1_EDX, 24, "\x0f\xae\x00"),
    SAMPLE("addps", 1_EDX, 25, "\x0f\x58\xc1"),
    SAMPLE("addpd", 1_EDX, 26, "\x66\x0f\x58\xc1"),
    SAMPLE("haddps", 1_ECX, 0, "\xf2\x0f\x7c\xc1"),
    SAMPLE("pclmulqdq", 1_ECX, 1, "\x66\x0f\x3a\x44\xc1\x00"),
    SAMPLE("pshufb", 1_ECX, 9, "\x66\x0f\x38\x00\xc1"),
    SAMPLE("vfmadd132ps", 1_ECX, 12, "\xc4\xe2\x79\x98\xc1"),
    SAMPLE("cmpxchg16b", 1_ECX, 13, "\x48\x0f\xc7\x08"),
    SAMPLE("pmulld", 1_ECX, 19, "\x66\x0f\x38\x40\xc1"),
    SAMPLE("crc32", 1_ECX, 20, "\xf2\x0f\x38\xf1\xc1"),
    SAMPLE("movbe", 1_ECX, 22, "\x0f\x38\xf0\x00"),
    SAMPLE("popcnt", 1_ECX, 23, "\xf3\x0f\xb8\xc1"),
    SAMPLE("aesenc", 1_ECX, 25, "\x66\x0f\x38\xdc\xc1"),
    SAMPLE("vaesenc", 1_ECX, 25, "\xc4\xe2\x71\xdc\xc2"),
    SAMPLE("xgetbv", 1_ECX, 26, "\x0f\x01\xd0"),
    SAMPLE("vaddps", 1_ECX, 28, "\xc5\xf0\x58\xc2"),
    SAMPLE("vcvtph2ps", 1_ECX, 29, "\xc4\xe2\x79\x13\xc1"),
    SAMPLE("rdrand", 1_ECX, 30, "\x0f\xc7\xf0"),
    SAMPLE("rdfsbase", 7_EBX, 0, "\xf3\x48\x0f\xae\xc0"),
    SAMPLE("andn", 7_EBX, 3, "\xc4\xe2\x70\xf2\xc2"),
    SAMPLE("vpaddd ymm", 7_EBX, 5, "\xc5\xf5\xfe\xc2"),
    SAMPLE("mulx", 7_EBX, 8, "\xc4\xe2\xfb\xf6\xc1"),
    SAMPLE("rdseed", 7_EBX, 18, "\x0f\xc7\xf8"),
    SAMPLE("adcx", 7_EBX, 19, "\x66\x0f\x38\xf6\xc1"),
    SAMPLE("stac", 7_EBX, 20, "\x0f\x01\xcb"),
    SAMPLE("clflushopt", 7_EBX, 23, "\x66\x0f\xae\x38"),
    SAMPLE("clwb", 7_EBX, 24, "\x66\x0f\xae\x30"),
    SAMPLE("sha1nexte", 7_EBX, 29, "\x0f\x38\xc8\xc1"),
    SAMPLE("vaddps zmm", 7_EBX, 16, "\x62\xf1\x74\x48\x58\xc2"),
    SAMPLE("vaddps ymm, EVEX", 7_EBX, 31, "\x62\xf1\x74\x28\x58\xe2"),
    SAMPLE("vpaddb zmm", 7_EBX, 30, "\x62\xf1\x75\x48\xfc\xc2"),
    SAMPLE("kmovw", 7_EBX, 16, "\xc5\xf8\x92\xc0"),
    SAMPLE("gf2p8mulb", 7_ECX, 8, "\x66\x0f\x38\xcf\xc1"),
    SAMPLE("rdpid", 7_ECX, 22, "\xf3\x0f\xc7\xf8"),
    SAMPLE("serialize", 7_EDX, 14, "\x0f\x01\xe8"),
    SAMPLE("lahf", EXT1_ECX, 0, "\x9f"),
    SAMPLE("rdtscp", EXT1_EDX, 27, "\x0f\x01\xf9"),
    SAMPLE("xsaveopt", D_1_EAX, 0, "\x0f\xae\x30"),
    SAMPLE("xsavec", D_1_EAX, 1, "\x0f\xc7\x20"),
};

static uint32_t features[CPU_FEATURE_WORDS];
static struct insn_rules rules;

static struct insn decode(const char *bytes, unsigned size, uint32_t mode)
{
	struct insn insn;

	assert_int_equal(insn_decode(&insn, (const uint8_t *)bytes, size, mode, &rules), 0);
	return insn;
}

static int setup(void **state)
{
	(void)state;
	memset(features, 0xff, sizeof(features));
	rules = (struct insn_rules){.features = features, .has_lzcnt = true, .has_tzcnt = true};
	return 0;
}

static bool is_undefined(const char *bytes, unsigned size, uint32_t mode)
{
	return decode(bytes, size, mode).execute == insn_undefined;
}

static bool is_on_host(const struct sample *sample)
{
	struct insn insn;

	return !insn_decode(&insn, (const uint8_t *)sample->bytes, sample->size, MODE_64,
	                    &insn_host_rules) &&
	       insn.execute != insn_undefined;
}

static void test_hidden(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		const struct sample *sample = &samples[i];
		uint32_t *word = &features[sample->feature / 32];
		uint32_t bit = 1u << (sample->feature % 32);

		if (is_undefined(sample->bytes, sample->size, MODE_64) && is_on_host(sample))
			fail_msg("%s is undefined with its feature", sample->name);
		*word = ~bit;
		if (!is_undefined(sample->bytes, sample->size, MODE_64))
			fail_msg("%s is not undefined without its feature", sample->name);
		/* It is that one feature that counts. */
		memset(features, 0, sizeof(features));
		if (!is_undefined(sample->bytes, sample->size, MODE_64))
			fail_msg("%s is not undefined without any feature", sample->name);
		memset(features, 0xff, sizeof(features));
	}
}

/* Without features there are still the instructions of the 386, and NOPs in their place. */
static void test_kept(void **state)
{
	static const struct {
		const char *name, *bytes;
		unsigned size;
	} kept[] = {
	    {"add", "\x01\xc8", 2},
	    {"bswap", "\x0f\xc8", 2},
	    {"nopl", "\x0f\x1f\x00", 3},
	    {"endbr64", "\xf3\x0f\x1e\xfa", 4},
	    {"rdsspq", "\xf3\x48\x0f\x1e\xc8", 5},
	    {"prefetchw", "\x0f\x0d\x08", 3},
	    {"prefetcht0", "\x0f\x18\x08", 3},
	    {"cldemote", "\x0f\x1c\x00", 3},
	    {"pause", "\xf3\x90", 2},
	    {"cpuid", "\x0f\xa2", 2},
	    {"wbnoinvd", "\xf3\x0f\x09", 3},
	    {"syscall", "\x0f\x05", 2},
	    {"vmmcall", "\x0f\x01\xd9", 3},
	    {"vmcall", "\x0f\x01\xc1", 3},
	};

	(void)state;
	memset(features, 0, sizeof(features));
	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (is_undefined(kept[i].bytes, kept[i].size, MODE_64))
			fail_msg("%s is undefined", kept[i].name);
	/* LAHF is optional in 64-bit mode only. */
	assert_false(is_undefined("\x9f", 1, MODE_32));
}

static void test_fallbacks(void **state)
{
	(void)state;
	assert_int_equal(decode("\xf3\x0f\xbd\xc1", 4, MODE_64).mnemonic, ZYDIS_MNEMONIC_LZCNT);
	assert_int_equal(decode("\xf3\x0f\xbc\xc1", 4, MODE_64).mnemonic, ZYDIS_MNEMONIC_TZCNT);
	rules.has_lzcnt = rules.has_tzcnt = false;
	memset(features, 0, sizeof(features));
	assert_int_equal(decode("\xf3\x0f\xbd\xc1", 4, MODE_64).mnemonic, ZYDIS_MNEMONIC_BSR);
	assert_int_equal(decode("\xf3\x0f\xbc\xc1", 4, MODE_64).mnemonic, ZYDIS_MNEMONIC_BSF);
}

/* 66 E8: AMD's processors shorten the displacement and the target, Intel's ignore the prefix. */
static void test_branches_by_vendor(void **state)
{
	const char *call = "\x66\xe8\x00\x00\x00\x00\x90\x90";

	(void)state;
	assert_int_equal(decode(call, 8, MODE_64).length, 6);
	rules.is_amd = true;
	assert_int_equal(decode(call, 8, MODE_64).length, 4);
}

/* Every processor that runs the engine has what the translator takes for granted. */
static void test_no_cpuid(void **state)
{
	struct insn insn;

	(void)state;
	assert_int_equal(
	    insn_decode(&insn, (const uint8_t *)"\x66\x0f\x58\xc1", 4, MODE_64, &insn_host_rules),
	    0);
	assert_ptr_not_equal(insn.execute, insn_undefined);
	assert_null(insn_host_rules.features);
}

/* -- the table of facts -- */

static const struct isa_table *const tables[] = {
    &isa_arithmetic, &isa_logic, &isa_shift, &isa_bit, &isa_move, &isa_string, &isa_branch,
    &isa_flag, &isa_stack, &isa_far, &isa_segment, &isa_system, &isa_io, &isa_msr, &isa_fpu,
};

/* A mnemonic has one row, and that is found. */
static void test_rows(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (unsigned n = 0; n < tables[i]->count; n++) {
			const struct isa_row *row = &tables[i]->rows[n];

			if (isa_find_form(row->mnemonic, row->form) != row)
				fail_msg("%s has two rows", ZydisMnemonicGetString(row->mnemonic));
			if (row->traits & ~INSN_TRAITS_OF_ROWS)
				fail_msg("%s: traits that are found", ZydisMnemonicGetString(row->mnemonic));
		}
}

static uint64_t random_state = 0x66616374;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Bytes in the shape of an encoding, 15 of them. */
static void random_bytes(uint8_t *bytes)
{
	static const uint8_t starts[][3] = {
	    {0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}, {0x66, 0x0f}, {0xf2, 0x0f}, {0xf3, 0x0f},
	    {0xc5}, {0xc4}, {0x62}, {0x66, 0x0f, 0x38}, {0x66, 0x0f, 0x3a}, {0x0f, 0x00}, {0x0f, 0x01},
	    {0x0f, 0xae}, {0x0f, 0xc7}, {0xf0, 0x0f}, {0xf3, 0x0f, 0xae}, {0xf0}, {0x48},
	};
	const uint8_t *start = starts[random_next() % (sizeof(starts) / sizeof(starts[0]))];

	for (unsigned i = 0; i < 15; i++)
		bytes[i] = random_next() >> 24;
	for (unsigned i = 0; i < 3 && start[i]; i++)
		bytes[i] = start[i];
	if (start[0] == 0xc4)
		bytes[1] = (bytes[1] & 0xe0) | (1 + random_next() % 3);
	if (start[0] == 0x62) {
		bytes[1] = (bytes[1] & 0xf0) | (1 + random_next() % 6);
		bytes[2] |= 4;
	}
}

/* One instruction as Zydis has it, and as the table does. */
struct pair {
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	struct insn insn;
	struct insn_form form;
	const struct isa_row *row;
	const char *name;
};

static void check_flags(const struct pair *pair)
{
	const ZydisAccessedFlags *flags = pair->in.cpu_flags;
	uint32_t read = 0, written = 0, undefined = 0;

	if (flags) {
		read = flags->tested;
		undefined = flags->undefined;
		written = flags->modified | flags->set_0 | flags->set_1 | undefined;
	}
	assert_int_equal(pair->insn.flags_read, read & FLAGS_ARITHMETIC);
	assert_int_equal(pair->insn.flags_written, written & FLAGS_ARITHMETIC);
	assert_int_equal(pair->form.flags_undefined, undefined & FLAGS_ARITHMETIC);
	/* Handlers that leave dead flags alone replace those that write all they name. */
	if (pair->form.other && !pair->insn.flags_written)
		fail_msg("%s has a handler for dead flags, and writes none", pair->name);
}

static void check_registers(const struct pair *pair)
{
	uint16_t named = 0, written = 0;

	for (unsigned i = 0; i < pair->in.operand_count; i++) {
		const ZydisDecodedOperand *operand = &pair->operands[i];
		ZydisRegister regs[3] = {
		    operand->type == ZYDIS_OPERAND_TYPE_REGISTER ? operand->reg.value : 0,
		    operand->type == ZYDIS_OPERAND_TYPE_MEMORY ? operand->mem.base : 0,
		    operand->type == ZYDIS_OPERAND_TYPE_MEMORY ? operand->mem.index : 0,
		};

		for (unsigned n = 0; n < 3; n++) {
			ZydisRegister large =
			    ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, regs[n]);

			if (ZydisRegisterGetClass(large) != ZYDIS_REGCLASS_GPR64)
				continue;
			named |= 1u << ZydisRegisterGetId(large);
			if (n == 0 && operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
				written |= 1u << ZydisRegisterGetId(large);
		}
	}
	assert_int_equal(pair->form.gpr_named, named);
	assert_int_equal(pair->form.gpr_written, written);
	if (pair->form.is_copyable && (pair->form.copy_written & ~written))
		fail_msg("%s: explicit operands written", pair->name);
}

/* SVM, VMX, SGX and their like. */
static bool is_always_undefined(const struct isa_row *row)
{
	return row && row->execute == isa_find(ZYDIS_MNEMONIC_UD2)->execute;
}

/* Zydis 4.0 has forgotten LGDT. */
static bool is_privileged(const ZydisDecodedInstruction *in)
{
	return in->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED || in->mnemonic == ZYDIS_MNEMONIC_LGDT;
}

static uint32_t flags_touched(const ZydisDecodedInstruction *in)
{
	const ZydisAccessedFlags *flags = in->cpu_flags;

	return flags ? flags->tested | flags->modified | flags->set_0 | flags->set_1 | flags->undefined : 0;
}

/* What rows say, against what Zydis knows of the same by other words. */
static void check_traits(const struct pair *pair)
{
	uint32_t traits = pair->insn.traits;
	ZydisInstructionCategory category = pair->in.meta.category;

	if (!(traits & INSN_SHIFTS) != (category != ZYDIS_CATEGORY_SHIFT &&
					category != ZYDIS_CATEGORY_ROTATE))
		fail_msg("%s: INSN_SHIFTS", pair->name);
	if (!is_always_undefined(pair->row) && !(traits & INSN_RING0) != !is_privileged(&pair->in))
		fail_msg("%s: INSN_RING0", pair->name);
	if ((pair->form.class == INSN_JUMP_IF || pair->form.class == INSN_JUMP_COUNT) &&
	    category != ZYDIS_CATEGORY_COND_BR)
		fail_msg("%s: INSN_JUMP_IF", pair->name);
	if (pair->form.class == INSN_NOTHING && (pair->insn.flags_read | pair->insn.flags_written |
						 pair->form.gpr_written))
		fail_msg("%s: INSN_NOTHING", pair->name);
	if (traits & INSN_PLAIN && flags_touched(&pair->in) & ~FLAGS_ARITHMETIC)
		fail_msg("%s: INSN_PLAIN", pair->name);
	if (pair->form.class == INSN_COPIED && !pair->row)
		fail_msg("%s: INSN_COPIED", pair->name);
	if ((pair->form.class == INSN_VECTOR) != (pair->form.vector_levels != 0))
		fail_msg("%s: levels", pair->name);
}

static void check_alignment(const struct pair *pair)
{
	bool must = false;

	if (!pair->form.has_memory || pair->form.class != INSN_VECTOR)
		return;
	/* Of legacy encodings Zydis has the class of those that need not be in the others'. */
	switch (pair->in.meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_AVX1:
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E1NF: must = true; break;
	case ZYDIS_EXCEPTION_CLASS_SSE1:
	case ZYDIS_EXCEPTION_CLASS_SSE2: must = pair->insn.memory_size == 16; break;
	case ZYDIS_EXCEPTION_CLASS_SSE4: return;
	default: break;
	}
	if (pair->in.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && !must)
		return;
	if (pair->form.is_aligned != must)
		fail_msg("%s: alignment", pair->name);
}

/* Whatever has a handler has facts, and they are those that Zydis has elsewhere. */
static void test_facts(void **state)
{
	static bool is_met[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	unsigned met = 0;

	(void)state;
	for (unsigned n = 0; n < 3000000; n++) {
		uint32_t mode = n & 1 ? MODE_64 : MODE_32;
		struct pair pair;
		uint8_t bytes[15];

		random_bytes(bytes);
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(insn_decoder(mode, &insn_host_rules), bytes,
							 sizeof(bytes), &pair.in, pair.operands)))
			continue;
		assert_int_equal(insn_decode_form(&pair.insn, &pair.form, bytes, sizeof(bytes), mode,
						  &insn_host_rules), 0);
		if (pair.insn.execute == insn_undefined)
			continue;
		pair.row = isa_find((uint16_t)pair.in.mnemonic);
		pair.name = ZydisMnemonicGetString(pair.in.mnemonic);
		check_flags(&pair);
		check_registers(&pair);
		check_traits(&pair);
		check_alignment(&pair);
		met += !is_met[pair.in.mnemonic];
		is_met[pair.in.mnemonic] = true;
	}
	assert_true(met > 1000);
}

/* As above, but mostly like another one before it, and what follows that at random. */
static void next_bytes(uint8_t bytes[16], unsigned n)
{
	uint8_t fresh[15];

	random_bytes(fresh);
	if (n % 4 == 0)
		memcpy(bytes, fresh, sizeof(fresh));
	else
		memcpy(bytes + n % 5, fresh, sizeof(fresh) - n % 5);
}

/* What is kept of instructions says the same as the decoder, whatever their values are. */
static void test_memo(void **state)
{
	struct insn_rules with_memo = insn_host_rules;
	uint8_t bytes[16] = {0};
	unsigned found = 0;

	(void)state;
	with_memo.memo = insn_memo_create();
	assert_non_null(with_memo.memo);
	for (unsigned n = 0; n < 3000000; n++) {
		uint32_t mode = n % 64 ? MODE_64 : MODE_32;
		struct insn_glance glance, glance_kept;
		struct insn_form form, form_kept;
		struct insn insn, kept;
		int result;

		next_bytes(bytes, n);
		found += insn_memo_see(with_memo.memo, bytes, sizeof(bytes), mode) != NULL;
		memset(&form, 0, sizeof(form));
		memset(&form_kept, 0, sizeof(form_kept));
		result = insn_decode_form(&insn, &form, bytes, sizeof(bytes), mode, &insn_host_rules);
		assert_int_equal(insn_decode_form(&kept, &form_kept, bytes, sizeof(bytes), mode, &with_memo),
				 result);
		if (result < 0)
			continue;
		/* Each takes a thunk for itself, or none where there is no room. */
		if (insn.thunk)
			continue;
		assert_memory_equal(&kept, &insn, sizeof(insn));
		assert_memory_equal(&form_kept, &form, sizeof(form));
		if (insn_glance(&glance, bytes, sizeof(bytes), mode, &insn_host_rules)) {
			assert_true(insn_glance(&glance_kept, bytes, sizeof(bytes), mode, &with_memo));
			assert_int_equal(glance_kept.traits, glance.traits);
			assert_int_equal(glance_kept.length, glance.length);
			assert_int_equal(glance_kept.flags_read, glance.flags_read);
			assert_int_equal(glance_kept.flags_written, glance.flags_written);
		}
	}
	/* The test is of something. */
	assert_true(found > 100000);
	insn_memo_forget(with_memo.memo);
	assert_null(insn_memo_see(with_memo.memo, bytes, sizeof(bytes), MODE_64));
	insn_memo_destroy(with_memo.memo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_hidden, setup),
	    cmocka_unit_test_setup(test_kept, setup),
	    cmocka_unit_test_setup(test_fallbacks, setup),
	    cmocka_unit_test_setup(test_branches_by_vendor, setup),
	    cmocka_unit_test_setup(test_no_cpuid, setup),
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_facts),
	    cmocka_unit_test(test_memo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
