/*
 * Requests on a vCPU's descriptor (KVM api.rst section 4, type "vcpu ioctl"): those of any architecture,
 * and the locks around all of them.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "engine/user.h"
#include "engine/vcpu/vcpu.h"

/* The kernel's own sigset_t: one bit a signal, bit 0 is signal 1. */
#define KERNEL_SIGSET_SIZE 8

static int set_signal_mask(struct vcpu *vcpu, const struct kvm_signal_mask *user)
{
	struct kvm_signal_mask header;
	uint64_t bits;
	int number, result;

	vcpu->wanted_is_stale = true;
	if (!user) {
		vcpu->has_signal_mask = false;
		return 0;
	}
	result = user_read(&header, user, sizeof(header));
	if (result < 0)
		return result;
	if (header.len != KERNEL_SIGSET_SIZE)
		return -EINVAL;
	result = user_read(&bits, user->sigset, sizeof(bits));
	if (result < 0)
		return result;
	sigemptyset(&vcpu->signal_mask);
	for (number = 1; number < NSIG; number++)
		if (bits >> (number - 1) & 1)
			sigaddset(&vcpu->signal_mask, number);
	vcpu->has_signal_mask = true;
	return 0;
}

static int ask_architecture(struct vcpu *vcpu, unsigned long request, void *argument)
{
	bool needs_slots = vcpu->architecture->touches_memory(request);
	int result;

	if (needs_slots)
		pthread_mutex_lock(&vcpu->vm->lock);
	result = vcpu->architecture->ioctl(vcpu, request, argument);
	if (needs_slots)
		pthread_mutex_unlock(&vcpu->vm->lock);
	return result;
}

int vcpu_ioctl(struct vcpu *vcpu, unsigned long request, void *argument)
{
	int result;

	if (_IOC_TYPE(request) != KVMIO)
		return -EINVAL;
	pthread_mutex_lock(&vcpu->lock);
	switch (request) {
	case KVM_RUN: result = argument ? -EINVAL : vcpu_run(vcpu); break;
	case KVM_SET_SIGNAL_MASK: result = set_signal_mask(vcpu, argument); break;
	case KVM_GET_STATS_FD: result = vcpu_open_counters(vcpu); break;
	default: result = ask_architecture(vcpu, request, argument); break;
	}
	pthread_mutex_unlock(&vcpu->lock);
	return result;
}
