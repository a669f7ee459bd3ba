/*
 * The contract on Linux's own KVM: ioctl(2) on /dev/kvm.
 *
 * A kick is `immediate_exit` (api.rst section 5) plus a signal whose handler does nothing: the flag
 * catches a vCPU that is about to enter the guest, the signal one that is inside.
 */
#include "kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KVM_DEVICE "/dev/kvm"

/* The first real-time signal that the C library leaves free. */
#define KICK_SIGNAL SIGRTMIN

static void kick_signal_handler(int number)
{
	(void)number;
}

static void install_kick_handler(void)
{
	struct sigaction action = { .sa_handler = kick_signal_handler };

	sigemptyset(&action.sa_mask);
	sigaction(KICK_SIGNAL, &action, NULL);
}

static int linux_open(const struct kvm_options *options, struct error *error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	(void)options;
	if (fd < 0)
		return error_set_errno(error, errno, "cannot open %s", KVM_DEVICE);
	pthread_once(&once, install_kick_handler);
	return fd;
}

static int linux_ioctl(int fd, unsigned long request, void *argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

static int linux_close(int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

static void linux_kick(int vcpu_fd, struct kvm_run *run, pthread_t thread)
{
	(void)vcpu_fd;
	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(thread, KICK_SIGNAL);
}

const struct kvm_backend kvm_backend_linux = {
	.name = "kvm",
	.open = linux_open,
	.ioctl = linux_ioctl,
	.close = linux_close,
	.kick = linux_kick,
};
