/* The contract on kvik's own engine: see engine/engine.h. */
#include "kvm/kvm.h"

#include <assert.h>

#include "engine/engine.h"

static_assert(KVM_CODE_CACHE_MIN == ENGINE_CODE_CACHE_MIN, "the engine's range");
static_assert(KVM_CODE_CACHE_MAX == ENGINE_CODE_CACHE_MAX, "the engine's range");
static_assert(KVM_CODE_CACHE_DEFAULT == ENGINE_CODE_CACHE_DEFAULT, "the engine's default");

static int open_tier(enum engine_tier tier, const struct kvm_options *options, struct error *error)
{
	struct engine_options chosen = ENGINE_OPTIONS_DEFAULT;
	int fd;

	chosen.tier = tier;
	if (options) {
		if (options->code_cache_bytes)
			chosen.code_cache_bytes = options->code_cache_bytes;
		if (options->warmth_plus_1)
			chosen.warmth = options->warmth_plus_1 - 1;
		if (options->promotion_plus_1)
			chosen.promotion = options->promotion_plus_1 - 1;
		if (options->code_dump_fd)
			chosen.code_dump_fd = options->code_dump_fd;
		if (options->kept_code_fd)
			chosen.kept_code_fd = options->kept_code_fd;
		if (options->kept_requests_fd)
			chosen.kept_requests_fd = options->kept_requests_fd;
		chosen.stubs = options->stubs;
		chosen.keeps_statistics = options->keeps_statistics;
	}
	fd = engine_open(&chosen);
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

static int open_auto(const struct kvm_options *options, struct error *error)
{
	return open_tier(ENGINE_TIER_AUTO, options, error);
}

static int open_interpreter(const struct kvm_options *options, struct error *error)
{
	return open_tier(ENGINE_TIER_INTERPRETER, options, error);
}

static int open_translator(const struct kvm_options *options, struct error *error)
{
	return open_tier(ENGINE_TIER_TRANSLATOR, options, error);
}

static int open_direct(const struct kvm_options *options, struct error *error)
{
	return open_tier(ENGINE_TIER_DIRECT, options, error);
}

static int open_lockstep(const struct kvm_options *options, struct error *error)
{
	return open_tier(ENGINE_TIER_LOCKSTEP, options, error);
}

static int open_direct_lockstep(const struct kvm_options *options, struct error *error)
{
	return open_tier(ENGINE_TIER_DIRECT_LOCKSTEP, options, error);
}

#define BACKEND(variable, backend_name, opener, ...)                                               \
	const struct kvm_backend variable = {                                                      \
		.name = backend_name,                                                              \
		.open = opener,                                                                    \
		.ioctl = engine_ioctl,                                                             \
		.close = engine_close,                                                             \
		.kick = engine_backend_kick,                                                       \
		.own_memory = engine_own_memory,                                                   \
		.tell_writes = engine_tell_writes,                                                 \
		.written = engine_written,                                                         \
		.share_memory = engine_share_memory,                                               \
		.keeper_create = engine_keeper_create,                                             \
		.keeper_serve = engine_keeper_serve,                                               \
		.ignore_signals = engine_ignore_signals,                                           \
		.read_statistics = engine_read_statistics,                                         \
		__VA_ARGS__                                                                        \
	}

BACKEND(kvm_backend_engine, "engine", open_auto, .stub_function = engine_stub_function,
	.probe_stubs = engine_probe_stubs);
BACKEND(kvm_backend_interpreter, "interp", open_interpreter);
BACKEND(kvm_backend_translator, "jit", open_translator);
BACKEND(kvm_backend_direct, "direct", open_direct, .stub_function = engine_stub_function,
	.probe_stubs = engine_probe_stubs);
BACKEND(kvm_backend_lockstep, "lockstep", open_lockstep);
BACKEND(kvm_backend_direct_lockstep, "direct-lockstep", open_direct_lockstep,
	.stub_function = engine_stub_function, .probe_stubs = engine_probe_stubs);
