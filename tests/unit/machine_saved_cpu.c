/* Promise: what a CPU can take over is measured by what it was made with, whatever it took over before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "machine/cpuid.h"
#include "machine/saved_cpu.h"

#define LEAF1_ECX_AES (1u << 25)

struct setting {
	struct kvm_system system;
	struct kvm_vm vm;
	struct machine_vcpu vcpu;
};

static int setup(void **state)
{
	static struct setting setting;
	const struct cpu_topology topology = {1, 1, 1};
	struct cpu_spec spec;
	struct cpuid_facts facts;
	struct error error;

	memset(&setting, 0, sizeof(setting));
	assert_int_equal(cpu_spec_parse(&spec, "max", &error), 0);
	assert_int_equal(kvm_system_open(&setting.system, &kvm_backend_engine, NULL, &error), 0);
	assert_int_equal(kvm_vm_create(&setting.vm, &setting.system, &error), 0);
	assert_int_equal(kvm_vm_ioctl(&setting.vm, KVM_CREATE_IRQCHIP, NULL), 0); /* with a local APIC */
	assert_int_equal(kvm_vcpu_create(&setting.vcpu.kvm, &setting.vm, 0, &error), 0);
	assert_int_equal(cpuid_apply(&setting.vcpu.kvm, &spec, &topology, 0, &facts, &setting.vcpu.cpuid, &error), 0);
	assert_int_equal(power_on_state_capture(&setting.vcpu.power_on, &setting.vcpu.kvm, &error), 0);
	*state = &setting;
	return 0;
}

static int teardown(void **state)
{
	struct setting *setting = *state;

	power_on_state_free(&setting->vcpu.power_on);
	free(setting->vcpu.cpuid);
	free(setting->vcpu.made_cpuid);
	kvm_vcpu_close(&setting->vcpu.kvm);
	kvm_vm_close(&setting->vm);
	kvm_system_close(&setting->system);
	return 0;
}

static uint32_t *features(struct kvm_cpuid2 *cpuid)
{
	unsigned i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			return &cpuid->entries[i].ecx;
	fail();
	return NULL;
}

static void save(struct setting *setting, struct state_stream *saved)
{
	state_save_begin(saved);
	saved_cpu_save(&setting->vcpu, "cpu0", saved);
	assert_false(saved->has_failed);
}

static int load(struct setting *setting, const struct state_stream *saved, struct error *error)
{
	struct state_stream stream;
	const void *bytes;
	uint64_t deadline;
	size_t size;
	int result;

	assert_int_equal(state_saved(saved, &bytes, &size, error), 0);
	state_load_begin(&stream, bytes, size);
	saved_cpu_load(&setting->vcpu, "cpu0", &deadline, &stream);
	result = state_loaded(&stream, error);
	state_end(&stream);
	return result;
}

static void less_then_all(void **state)
{
	struct setting *setting = *state;
	struct state_stream all, less;
	struct error error = {""};

	assert_true(*features(setting->vcpu.cpuid) & LEAF1_ECX_AES);
	save(setting, &all);
	*features(setting->vcpu.cpuid) &= ~LEAF1_ECX_AES;
	save(setting, &less);
	*features(setting->vcpu.cpuid) |= LEAF1_ECX_AES;

	assert_int_equal(load(setting, &less, &error), 0);
	assert_false(*features(setting->vcpu.cpuid) & LEAF1_ECX_AES);
	assert_int_equal(load(setting, &less, &error), 0);
	assert_int_equal(load(setting, &all, &error), 0);
	assert_true(*features(setting->vcpu.cpuid) & LEAF1_ECX_AES);
	state_end(&all);
	state_end(&less);
}

static void more_than_made(void **state)
{
	struct setting *setting = *state;
	struct state_stream all;
	struct error error = {""};

	save(setting, &all);
	*features(setting->vcpu.cpuid) &= ~LEAF1_ECX_AES;
	assert_true(load(setting, &all, &error) < 0);
	assert_non_null(strstr(error.message, "CPU features that are not here: aes"));
	assert_false(*features(setting->vcpu.cpuid) & LEAF1_ECX_AES);
	state_end(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(less_then_all, setup, teardown),
		cmocka_unit_test_setup_teardown(more_than_made, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
