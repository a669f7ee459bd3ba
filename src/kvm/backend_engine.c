/* The contract on kvik's own engine: see engine/engine.h. */
#include "kvm/kvm.h"

#include "engine/engine.h"

static int engine_backend_open(struct error *error)
{
	int fd = engine_open();

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

const struct kvm_backend kvm_backend_engine = {
	.name = "engine",
	.open = engine_backend_open,
	.ioctl = engine_ioctl,
	.close = engine_close,
	.kick = engine_backend_kick,
};
