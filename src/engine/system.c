/* Requests on the system descriptor: what this engine is, and new VMs (api.rst 4.1-4.6). */
#include "engine/system.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/handle.h"
#include "engine/vcpu/vcpu.h"
#include "engine/vm/vm.h"

int system_create(const struct architecture *architecture, const struct engine_options *options)
{
	struct system *system;
	int fd;

	if (options->tier > ENGINE_TIER_DIRECT_LOCKSTEP ||
	    options->code_cache_bytes < ENGINE_CODE_CACHE_MIN ||
	    options->code_cache_bytes > ENGINE_CODE_CACHE_MAX)
		return -EINVAL;
	system = malloc(sizeof(*system));
	if (!system)
		return -ENOMEM;
	system->architecture = architecture;
	system->options = *options;
	fd = handle_create(HANDLE_SYSTEM, "kvm", 0, system, free);
	if (fd < 0)
		free(system);
	return fd;
}

int system_ioctl(const struct system *system, unsigned long request, void *argument)
{
	const struct architecture *architecture = system->architecture;

	switch (request) {
	case KVM_GET_API_VERSION: return argument ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return vm_create(architecture->vm, architecture->vcpu->member, &system->options, (uintptr_t)argument);
	case KVM_CHECK_EXTENSION: return capability_check(architecture->vm, (long)argument);
	case KVM_GET_VCPU_MMAP_SIZE: return argument ? -EINVAL : VCPU_MMAP_SIZE;
	default: return architecture->system_ioctl(&system->options, request, argument);
	}
}
