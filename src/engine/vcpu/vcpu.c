/*
 * How other threads reach a vCPU.
 */
#include "engine/vcpu/vcpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A sleeper sets is_sleeping before it looks for the last time, so one of the two sees the other. */
static void wake(struct vcpu *vcpu)
{
	uint64_t one = 1;

	if (!atomic_exchange(&vcpu->is_sleeping, 0))
		return;
	/* That changes only between two of its sleeps. */
	if (vcpu->ignores_signals)
		syscall(SYS_futex, &vcpu->is_sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	/* EAGAIN would mean that it is awake already. */
	else if (write(vcpu->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void vcpu_notify(struct vcpu *vcpu)
{
	vcpu->architecture->request(vcpu, VCPU_LOOK_FOR_EVENTS);
	wake(vcpu);
}

void vcpu_kick(struct vcpu *vcpu)
{
	int code = errno;

	atomic_store(&vcpu->is_kicked, true);
	vcpu->architecture->request(vcpu, VCPU_LEAVE_GUEST);
	wake(vcpu);
	errno = code;
}

void vcpu_ignore_signals(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	atomic_store(&vcpu->ignores_signals, true);
	pthread_mutex_unlock(&vcpu->lock);
}
