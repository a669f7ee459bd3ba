/* The contract on kvik's own engine: see engine/engine.h. */
#include "kvm/kvm.h"

#include <assert.h>

#include "engine/engine.h"

static int open_tier(enum engine_tier tier, struct error *error)
{
	int fd;

	engine_set_tier(tier);
	fd = engine_open();

	if (fd < 0)
		return error_set_errno(error, -fd, "cannot start the engine");
	return fd;
}

static void engine_backend_kick(int vcpu_fd, struct kvm_run *run, pthread_t thread)
{
	(void)run;
	(void)thread;
	engine_kick(vcpu_fd);
}

void kvm_engine_keep_statistics(void)
{
	engine_keep_statistics();
}

static_assert(KVM_CODE_CACHE_MIN == ENGINE_CODE_CACHE_MIN, "the engine's range");
static_assert(KVM_CODE_CACHE_MAX == ENGINE_CODE_CACHE_MAX, "the engine's range");

void kvm_engine_set_code_cache(uint64_t bytes)
{
	engine_set_code_cache(bytes);
}

void kvm_engine_dump_code(int fd)
{
	engine_set_code_dump(fd);
}

static int open_auto(struct error *error)
{
	return open_tier(ENGINE_TIER_AUTO, error);
}

static int open_interpreter(struct error *error)
{
	return open_tier(ENGINE_TIER_INTERPRETER, error);
}

static int open_translator(struct error *error)
{
	return open_tier(ENGINE_TIER_TRANSLATOR, error);
}

static int open_lockstep(struct error *error)
{
	return open_tier(ENGINE_TIER_LOCKSTEP, error);
}

#define BACKEND(variable, backend_name, opener)                                                    \
	const struct kvm_backend variable = {                                                      \
		.name = backend_name,                                                              \
		.open = opener,                                                                    \
		.ioctl = engine_ioctl,                                                             \
		.close = engine_close,                                                             \
		.kick = engine_backend_kick,                                                       \
		.own_memory = engine_own_memory,                                                   \
		.ignore_signals = engine_ignore_signals,                                           \
		.read_statistics = engine_read_statistics,                                         \
	}

BACKEND(kvm_backend_engine, "engine", open_auto);
BACKEND(kvm_backend_interpreter, "interp", open_interpreter);
BACKEND(kvm_backend_translator, "jit", open_translator);
BACKEND(kvm_backend_lockstep, "lockstep", open_lockstep);
