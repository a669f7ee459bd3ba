/*
 * The engine's front door: finds the object behind a descriptor and hands it the request.
 */
#include "engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "engine/handle.h"
#include "engine/run/direct/direct.h"
#include "engine/run/jit/jit.h"
#include "engine/run/keeper.h"
#include "engine/system.h"
#include "engine/vcpu/vcpu.h"
#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/vm/vm.h"
#include "engine/x86/host/host_claims.h"
#include "engine/x86/host/host_tsc.h"
#include "engine/x86/fpu/thunk.h"

static_assert(ENGINE_CODE_CACHE_MIN >= JIT_CACHE_SIZE_MIN, "too small");
static_assert(ENGINE_CODE_CACHE_MAX <= JIT_CACHE_SIZE_MAX, "too large");
static_assert(ENGINE_CODE_CACHE_DEFAULT == JIT_CACHE_SIZE, "another default");
static_assert(ENGINE_WARMTH_DEFAULT == JIT_WARMTH, "another default");
static_assert(ENGINE_PROMOTION_DEFAULT == JIT_PROMOTION, "another default");

/* What virtual machines are. Another architecture has its own here. */
static const struct architecture architecture = {
	.vm = &x86_vm_architecture,
	.vcpu = &x86_architecture,
	.system_ioctl = x86_system_ioctl,
};

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, handle_after_fork);
}

int engine_open(const struct engine_options *options)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	options = options ? options : &ENGINE_OPTIONS_DEFAULT;
	pthread_once(&once, watch_forks);
	host_tsc_start_measurement();
	/* What is found out from files: the caller may give up its root directory before it is asked. */
	host_claims(options->avoids_host_kvm);
	return system_create(&architecture, options);
}

int engine_ioctl(int fd, unsigned long request, void *argument)
{
	struct handle *handle = handle_get(fd);
	int result = -ENOTTY;

	if (!handle)
		return fcntl(fd, F_GETFD) < 0 ? -EBADF : -ENOTTY;
	/* As Linux: a VM serves the process that made it. */
	if (handle_is_foreign(handle) && handle->kind != HANDLE_SYSTEM) {
		handle_put(handle);
		return -EIO;
	}
	switch (handle->kind) {
	case HANDLE_SYSTEM:
		result = system_ioctl(handle->object, request, argument);
		break;
	case HANDLE_VM:
		/* A VM knows its vCPUs, but not how to make one. */
		result = request == KVM_CREATE_VCPU
				 ? vcpu_create(handle->object, architecture.vcpu, (uintptr_t)argument)
				 : vm_ioctl(handle->object, request, argument);
		break;
	case HANDLE_VCPU:
		result = vcpu_ioctl(handle->object, request, argument);
		break;
	}
	handle_put(handle);
	return result;
}

enum engine_handle engine_handle_kind(int fd, bool adopts)
{
	static const enum engine_handle kinds[] = {
		[HANDLE_SYSTEM] = ENGINE_HANDLE_SYSTEM,
		[HANDLE_VM] = ENGINE_HANDLE_VM,
		[HANDLE_VCPU] = ENGINE_HANDLE_VCPU,
	};
	struct handle *handle = adopts ? handle_get(fd) : handle_get_known(fd);
	enum engine_handle kind;

	if (!handle)
		return ENGINE_HANDLE_NONE;
	kind = kinds[handle->kind];
	handle_put(handle);
	return kind;
}

void engine_forget(unsigned first, unsigned last)
{
	handle_forget(first, last);
}

void engine_keep(int fd)
{
	/* The reference that this takes is never put back. */
	handle_get(fd);
}

bool engine_chain_signal(int number, const struct sigaction *action, struct sigaction *previous)
{
	return thunk_chain_signal(number, action, previous);
}

int engine_close(int fd)
{
	return handle_close(fd);
}

/* The descriptor's handle, to be put back; NULL unless it is one of this kind. */
static struct handle *handle_of(int fd, enum handle_kind kind)
{
	struct handle *handle = handle_get(fd);

	if (!handle || handle->kind == kind)
		return handle;
	handle_put(handle);
	return NULL;
}

void engine_share_memory(int vm_fd, void *base, uint64_t size, int fd)
{
	struct handle *handle = handle_of(vm_fd, HANDLE_VM);

	if (!handle)
		return;
	vm_share_memory(handle->object, base, size, fd);
	handle_put(handle);
}

stub_function *engine_stub_function(void)
{
	return direct_stub_main;
}

int engine_probe_stubs(const struct stub_source *stubs)
{
	return direct_probe(stubs);
}

int engine_keeper_create(uint64_t limit, struct keeper **created)
{
	return keeper_create(limit, created);
}

void engine_keeper_serve(struct keeper *keeper, int requests, int directory, const char *name, int given)
{
	keeper_serve(keeper, requests, directory, name, given);
}

void engine_own_memory(int vm_fd)
{
	struct handle *handle = handle_of(vm_fd, HANDLE_VM);

	if (!handle)
		return;
	vm_own_memory(handle->object);
	handle_put(handle);
}

void engine_tell_writes(int vm_fd)
{
	struct handle *handle = handle_of(vm_fd, HANDLE_VM);

	if (!handle)
		return;
	vm_tell_writes(handle->object);
	handle_put(handle);
}

void engine_written(int vm_fd, uint64_t gpa, uint64_t size)
{
	struct handle *handle = handle_of(vm_fd, HANDLE_VM);

	if (!handle)
		return;
	vm_written(handle->object, gpa, size);
	handle_put(handle);
}

void engine_read_statistics(int vcpu_fd,
			    void (*visit)(void *context, const char *name, uint64_t value),
			    void *context)
{
	struct handle *handle = handle_of(vcpu_fd, HANDLE_VCPU);

	if (!handle)
		return;
	vcpu_read_statistics(handle->object, visit, context);
	handle_put(handle);
}

void engine_kick(int vcpu_fd)
{
	struct handle *handle = handle_of(vcpu_fd, HANDLE_VCPU);

	if (!handle)
		return;
	vcpu_kick(handle->object);
	handle_put(handle);
}

void engine_ignore_signals(int vcpu_fd)
{
	struct handle *handle = handle_of(vcpu_fd, HANDLE_VCPU);

	if (!handle)
		return;
	vcpu_ignore_signals(handle->object);
	handle_put(handle);
}
