/*
 * Whether the host's own KVM is asked what the processor is (engine_options.avoids_host_kvm): each system handle
 * and the VMs made from it as it says, whatever others of the process say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/engine.h"

static unsigned kvm_opens;

/* In place of the C library's: there is no /dev/kvm, and who asks for it is counted. */
int open(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/kvm") == 0) {
		kvm_opens++;
		errno = ENOENT;
		return -1;
	}
	/* The engine creates no file by name. */
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
}

/* Do what would make use of it. */
static void use(const struct engine_options *options)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entries[64];
	} cpuid = { .header.nent = 64 };
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = 0x10a };
	int system = engine_open(options), vm, vcpu;

	assert_true(system >= 0);
	assert_int_equal(engine_ioctl(system, KVM_GET_SUPPORTED_CPUID, &cpuid), 0);
	assert_int_equal(engine_ioctl(system, KVM_GET_MSRS, &msrs), 1);
	vm = engine_ioctl(system, KVM_CREATE_VM, NULL);
	assert_true(vm >= 0);
	vcpu = engine_ioctl(vm, KVM_CREATE_VCPU, NULL);
	assert_true(vcpu >= 0);
	engine_close(vcpu);
	engine_close(vm);
	engine_close(system);
}

static void test_each_handle_as_it_says(void **state)
{
	struct engine_options avoiding = ENGINE_OPTIONS_DEFAULT, asking = ENGINE_OPTIONS_DEFAULT;

	(void)state;
	avoiding.avoids_host_kvm = true;
	use(&avoiding);
	assert_int_equal(kvm_opens, 0);
	/* Another that may is not told what the first has found; nor are they asked each time. */
	use(&asking);
	assert_int_equal(kvm_opens, 1);
	use(&avoiding);
	use(&asking);
	use(NULL);
	assert_int_equal(kvm_opens, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_handle_as_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
