/* What --cpu says, and the CPUID that it makes: against numbers known from such processors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/cpu_spec.h"

#define ENTRIES 32

/* A backend that has every feature, XSAVE areas as Intel lays them out, and KVM's leaves. */
static struct kvm_cpuid2 *make_supported(void)
{
	static const struct kvm_cpuid_entry2 fixed[] = {
		{.function = 0, .eax = 0xd, .ebx = 0x756e6547, .edx = 0x49656e69, .ecx = 0x6c65746e},
		{.function = 0xd, .eax = 0xe7, .ebx = 0xa80, .ecx = 0xa80, .flags = 1},
		{.function = 0xd, .index = 2, .eax = 0x100, .ebx = 0x240, .flags = 1},
		{.function = 0xd, .index = 5, .eax = 0x40, .ebx = 0x440, .flags = 1},
		{.function = 0xd, .index = 6, .eax = 0x200, .ebx = 0x480, .flags = 1},
		{.function = 0xd, .index = 7, .eax = 0x400, .ebx = 0x680, .flags = 1},
		{.function = 0x40000000, .eax = 0x40000001},
		{.function = 0x80000000, .eax = 0x80000008},
	};
	struct kvm_cpuid2 *cpuid = calloc(
		1, sizeof(*cpuid) + (ENTRIES + CPU_SPEC_ENTRIES) * sizeof(cpuid->entries[0]));
	unsigned word;

	assert_non_null(cpuid);
	memcpy(cpuid->entries, fixed, sizeof(fixed));
	cpuid->nent = sizeof(fixed) / sizeof(fixed[0]);
	for (word = 0; word < CPU_WORDS; word++) {
		uint32_t leaf, subleaf, *value = NULL;
		unsigned i;

		cpu_word_leaf(word, &leaf, &subleaf);
		for (i = 0; i < cpuid->nent && !value; i++)
			value = cpu_word_in(&cpuid->entries[i], word);
		if (!value) {
			cpuid->entries[cpuid->nent] = (struct kvm_cpuid_entry2){
				.function = leaf, .index = subleaf, .flags = leaf == 7 || leaf == 0xd};
			value = cpu_word_in(&cpuid->entries[cpuid->nent++], word);
		}
		*value = ~0u;
	}
	return cpuid;
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *cpuid, uint32_t number,
					   uint32_t subleaf)
{
	static const struct kvm_cpuid_entry2 zeros;
	unsigned i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == number && cpuid->entries[i].index == subleaf)
			return &cpuid->entries[i];
	return &zeros;
}

static struct kvm_cpuid2 *resolve(const char *text, struct cpu_feature_set *missing)
{
	struct kvm_cpuid2 *cpuid = make_supported();
	struct error error = {0};
	struct cpu_spec spec;

	if (cpu_spec_parse(&spec, text, &error) < 0)
		fail_msg("%s: %s", text, error.message);
	cpu_spec_resolve(&spec, cpuid, missing);
	return cpuid;
}

static void test_models(void **state)
{
	static const struct {
		const char *name;
		uint32_t level, extended_level, signature, leaf1_edx, leaf1_ecx, leaf7_ebx, ext1_ecx;
		char vendor_first;
	} models[] = {
		{"qemu32", 4, 0x80000004, 0x663, 0x0781abfd, 0x80200001, 0, 0, 'G'},
		{"qemu64", 0xd, 0x8000000a, 0x00060fb1, 0x078bfbfd, 0x80202001, 0, 1, 'A'},
		{"core2duo", 0xa, 0x80000008, 0x000006fb, 0x078bfbff, 0x80202201, 0, 1, 'G'},
		{"phenom", 5, 0x8000001a, 0x00100f23, 0x078bfbff, 0x80a02001, 0, 0x61, 'A'},
		{"Nehalem", 0xb, 0x80000008, 0x000106a3, 0x078bfbff, 0x80b82201, 0, 1, 'G'},
		{"Westmere", 0xb, 0x80000008, 0x000206c1, 0x078bfbff, 0x82b82203, 0, 1, 'G'},
		{"Haswell", 0xd, 0x80000008, 0x000306c4, 0x078bfbff, 0xf7fa3203, 0xfb9, 0x21, 'G'},
		{"Haswell-noTSX", 0xd, 0x80000008, 0x000306c1, 0x078bfbff, 0xf7fa3203, 0x7a9, 0x21,
		 'G'},
		{"Skylake-Server", 0xd, 0x80000008, 0x00050654, 0x078bfbff, 0xf7fa3203, 0xd19f0fb9,
		 0x121, 'G'},
		{"Opteron_G1", 5, 0x80000008, 0x00000f61, 0x078bfbff, 0x80200001, 0, 0, 'A'},
		{"Opteron_G3", 5, 0x80000008, 0x00100f23, 0x078bfbff, 0x80a02001, 0, 0xe1, 'A'},
		{"EPYC", 0xd, 0x8000001e, 0x00800f12, 0x078bfbff, 0xf6f83203, 0x209c01a9, 0x4003f1,
		 'A'},
		{"EPYC-Genoa", 0xd, 0x80000022, 0x00a10f10, 0x078bfbff, 0xf6fa3203, 0xf1bf07a9,
		 0xc003f1, 'A'},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		struct cpu_feature_set missing;
		struct kvm_cpuid2 *cpuid = resolve(models[i].name, &missing);

		print_message("%s\n", models[i].name);
		assert_int_equal(leaf(cpuid, 0, 0)->eax, models[i].level);
		assert_int_equal(leaf(cpuid, 0x80000000, 0)->eax, models[i].extended_level);
		assert_int_equal(leaf(cpuid, 1, 0)->eax, models[i].signature);
		assert_int_equal(leaf(cpuid, 1, 0)->edx, models[i].leaf1_edx);
		assert_int_equal(leaf(cpuid, 1, 0)->ecx, models[i].leaf1_ecx);
		assert_int_equal(leaf(cpuid, 7, 0)->ebx, models[i].leaf7_ebx);
		assert_int_equal(leaf(cpuid, 0x80000001, 0)->ecx, models[i].ext1_ecx);
		assert_int_equal(leaf(cpuid, 0, 0)->ebx & 0xff, models[i].vendor_first);
		/* AMD repeats leaf 1's features. */
		assert_int_equal(leaf(cpuid, 0x80000001, 0)->edx & 0x0183f3ff,
				 models[i].vendor_first == 'A' ? models[i].leaf1_edx & 0x0183f3ff : 0);
		/* Caches are where the vendor has them. */
		assert_int_equal(leaf(cpuid, 4, 0)->eax != 0, models[i].vendor_first == 'G');
		assert_int_equal(leaf(cpuid, 0x80000005, 0)->ecx != 0, models[i].vendor_first == 'A');
		for (unsigned word = 0; word < CPU_WORDS; word++)
			assert_int_equal(missing.words[word], 0);
		free(cpuid);
	}
}

/* Every row is complete: its base and its features exist, and so does what it says of itself. */
static void test_table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < cpu_model_count; i++) {
		const struct cpu_model *model = &cpu_models[i];
		struct cpu_feature_set missing;
		struct kvm_cpuid2 *cpuid;
		const char *names = model->features;

		while (names && *names) {
			size_t length;

			names += strspn(names, " -");
			length = strcspn(names, " ");
			if (length && !cpu_feature_find(names, length))
				fail_msg("%s: no feature %.*s", model->name, (int)length, names);
			names += length;
		}
		assert_true(model->vendor || model->base);
		assert_true(!model->base || cpu_model_find(model->base));
		assert_ptr_equal(cpu_model_find(model->name), model);
		cpuid = resolve(model->name, &missing);
		assert_true(cpuid->nent <= ENTRIES + CPU_SPEC_ENTRIES);
		assert_true(leaf(cpuid, 1, 0)->eax != 0);
		assert_true(leaf(cpuid, 0x80000002, 0)->eax != 0);
		free(cpuid);
	}
	assert_ptr_equal(cpu_model_find("EPYC-v1"), cpu_model_find("EPYC"));
}

static void test_changes(void **state)
{
	struct cpu_feature_set missing;
	struct kvm_cpuid2 *cpuid;
	unsigned bits;

	(void)state;
	cpuid = resolve("Nehalem,+aes,-sse4.2,popcnt=off,avx=on,+avx2,+xsave,family=15,model=0x21,"
			"stepping=3,vendor=AuthenticAMD,model-id=A thing,-hypervisor,kvm=off",
			&missing);
	assert_int_equal(leaf(cpuid, 1, 0)->ecx, 0x00b82201 + 0x02000000 - 0x00100000 - 0x00800000 +
							  0x10000000 + 0x04000000);
	assert_int_equal(leaf(cpuid, 1, 0)->eax, 0x00020f13);
	assert_int_equal(leaf(cpuid, 0x80000001, 0)->eax, 0x00020f13);
	assert_int_equal(leaf(cpuid, 7, 0)->ebx, 1 << 5);
	assert_int_equal(leaf(cpuid, 0, 0)->eax, 0xd); /* raised for XSAVE */
	assert_int_equal(leaf(cpuid, 0, 0)->ecx, 0x444d4163);
	assert_int_equal(leaf(cpuid, 0x80000000, 0)->ebx, 0x68747541);
	assert_int_equal(leaf(cpuid, 0xd, 0)->eax, 7);
	assert_int_equal(leaf(cpuid, 0xd, 0)->ecx, 0x340);
	assert_int_equal(leaf(cpuid, 0xd, 7)->eax, 0);
	assert_int_equal(leaf(cpuid, 0x40000000, 0)->eax, 0);
	assert_memory_equal(&leaf(cpuid, 0x80000002, 0)->eax, "A thing", 8);
	free(cpuid);

	cpuid = resolve("host,-avx512f,-fsgsbase", &missing);
	assert_int_equal(leaf(cpuid, 7, 0)->ebx, ~(1u << 16 | 1u));
	assert_int_equal(leaf(cpuid, 0xd, 0)->eax, 7);
	assert_int_equal(leaf(cpuid, 0x40000000, 0)->eax, 0x40000001);
	free(cpuid);

	/* Fewer bits of addresses than the backend has, but no more. */
	cpuid = resolve("host", &missing);
	bits = leaf(cpuid, 0x80000008, 0)->eax & 0xff;
	free(cpuid);
	cpuid = resolve("host,phys-bits=36", &missing);
	assert_int_equal(leaf(cpuid, 0x80000008, 0)->eax & 0xff00ff, bits < 36 ? bits : 36);
	free(cpuid);
	cpuid = resolve("host,phys-bits=52", &missing);
	assert_int_equal(leaf(cpuid, 0x80000008, 0)->eax & 0xff, bits < 52 ? bits : 52);
	free(cpuid);

	/* KVM's own are the backend's whatever the model, unless they are named; and no leaf's highest. */
	cpuid = resolve("qemu64,-kvm-pv-eoi,-kvm_steal_time", &missing);
	assert_int_equal(leaf(cpuid, 0x40000001, 0)->eax, ~(1u << 6 | 1u << 5));
	assert_in_range(leaf(cpuid, 0, 0)->eax, 1, 0x1f);
	free(cpuid);
	assert_string_equal(cpu_feature_name(0x40000001, 0, 0, 5), "kvm-steal-time");
	assert_string_equal(cpu_feature_name(7, 0, 1, 16), "avx512f");
	assert_null(cpu_feature_name(7, 0, 0, 16));
}

/* What the backend lacks is left out, and told. */
static void test_missing(void **state)
{
	struct kvm_cpuid2 *cpuid = make_supported();
	struct cpu_feature_set missing;
	struct error error = {0};
	struct cpu_spec spec;
	char names[64];
	unsigned i;

	(void)state;
	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ecx &= ~(1u << 25 | 1u << 23);
	assert_int_equal(cpu_spec_parse(&spec, "Westmere,+movbe,enforce", &error), 0);
	assert_true(spec.is_enforced);
	cpu_spec_resolve(&spec, cpuid, &missing);
	assert_int_equal(leaf(cpuid, 1, 0)->ecx, 0x80782203); /* MOVBE is there */
	cpu_feature_names(&missing, names, sizeof(names));
	assert_string_equal(names, "popcnt aes");
	free(cpuid);
}

static void test_mistakes(void **state)
{
	static const struct {
		const char *text, *expected;
	} mistakes[] = {
		{"Haswel", "Haswell"},
		{"epyc", "EPYC"},
		{"", "no CPU model"},
		{"host,+aess", "aes"},
		{"host,,", "nothing between"},
		{"host,avx=maybe", "neither on nor off"},
		{"host,vendor=AMD", "12 characters"},
		{"host,family=999", "0 to 270"},
		{"host,stepping=x", "0 to 15"},
		{"host,stepping=", "0 to 15"},
		{"host,model=-1", "0 to 255"},
		{"host,model-id=", "1 to 48"},
		{"host,phys-bits=31", "32 to 52"},
		{"host,phys-bits=53", "52"},
		{"host,nonsense", "no CPU feature"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct error error = {0};
		struct cpu_spec spec;

		assert_true(cpu_spec_parse(&spec, mistakes[i].text, &error) < 0);
		if (!strstr(error.message, mistakes[i].expected))
			fail_msg("'%s': %s", mistakes[i].text, error.message);
		assert_null(strchr(error.message, '\n'));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),	cmocka_unit_test(test_table),
		cmocka_unit_test(test_changes), cmocka_unit_test(test_missing),
		cmocka_unit_test(test_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
