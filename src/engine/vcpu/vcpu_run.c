/*
 * KVM_RUN (api.rst 4.10 and section 5): execute the guest until user space is needed, a signal or
 * kick asks for the thread, or the vCPU waits for an event.
 */
#include <errno.h>

#include "engine/vcpu/signals.h"
#include "engine/vcpu/vcpu.h"

/* Whether user space asked for KVM_RUN to return EINTR. */
static bool is_exit_asked(struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST) ||
	       atomic_load(&vcpu->is_kicked);
}

/* The same, or a signal. */
static bool is_interrupted(struct vcpu *vcpu)
{
	return is_exit_asked(vcpu) || signals_pending(vcpu);
}

/*
 * At the beginning of KVM_RUN only signals that the thread blocks and KVM_SET_SIGNAL_MASK does not
 * can be pending already; for one that arrives right now the watcher will call.
 */
static bool is_interrupted_at_entry(struct vcpu *vcpu)
{
	return is_exit_asked(vcpu) || (vcpu->has_signal_mask && signals_pending(vcpu));
}

/* Sleep in HALTED, UNINITIALIZED or INIT_RECEIVED. 0 after an event, -EINTR. */
static int wait_for_event(struct vcpu *vcpu)
{
	int result;

	activity_begins(vcpu->activity, ACTIVITY_IDLE);
	for (;;) {
		atomic_store(&vcpu->is_sleeping, 1);
		result = 0;
		if (vcpu->architecture->has_event(vcpu))
			break;
		if (is_interrupted(vcpu)) {
			result = -EINTR;
			break;
		}
		vcpu->sleeps++;
		result = signals_sleep(vcpu);
		if (result < 0)
			break;
	}
	atomic_store(&vcpu->is_sleeping, 0);
	if (result < 0)
		return result;
	vcpu->architecture->take_event(vcpu);
	return 0;
}

static enum vcpu_stop enter_guest(struct vcpu *vcpu)
{
	enum vcpu_stop stop;

	vcpu_enter_guest(vcpu);
	signals_watch(vcpu);
	stop = vcpu->architecture->execute(vcpu);
	vcpu_leave_guest(vcpu);
	vcpu->has_entered = true;
	return stop;
}

/*
 * Finish the instruction whose port or memory access user space has answered, and no other. True
 * when it leads to an exit of its own.
 */
static bool complete_io(struct vcpu *vcpu)
{
	vcpu->architecture->request(vcpu, VCPU_LEAVE_GUEST);
	return enter_guest(vcpu) == VCPU_STOPS_FOR_USER;
}

/* Pages that user space must take before there are more: fills kvm_run and returns true. */
static bool take_ring_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (!dirty_ring_is_full(&vcpu->dirty_ring))
		return false;
	run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
	if (atomic_load(&vcpu->dirty_ring.is_overrun)) {
		/* A log with holes is none. */
		run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
		run->internal.ndata = 0;
	}
	return true;
}

/* Run until there is an exit for user space: 0, or -EINTR. */
static int run_loop(struct vcpu *vcpu)
{
	const struct vcpu_architecture *architecture = vcpu->architecture;
	int result;

	if (architecture->has_answer(vcpu) &&
	    (is_interrupted_at_entry(vcpu) || architecture->has_exit(vcpu) ||
	     dirty_ring_is_full(&vcpu->dirty_ring)) &&
	    complete_io(vcpu))
		return 0;
	if (is_interrupted_at_entry(vcpu))
		return -EINTR;
	for (;;) {
		if (architecture->take_exit(vcpu) || take_ring_exit(vcpu))
			return 0;
		if (vcpu->mp_state != KVM_MP_STATE_RUNNABLE) {
			result = wait_for_event(vcpu);
			if (result < 0)
				return result;
			continue;
		}
		switch (enter_guest(vcpu)) {
		case VCPU_STOPS_FOR_USER:
			return 0;
		case VCPU_WAS_INTERRUPTED:
			if (is_interrupted(vcpu))
				return -EINTR;
			break;
		case VCPU_HALTED:
			vcpu->mp_state = KVM_MP_STATE_HALTED;
			break;
		}
	}
}

/* UNINITIALIZED: wait for INIT; user space is told to call again (EAGAIN), as by Linux. */
static int run_uninitialized(struct vcpu *vcpu)
{
	if (__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST))
		return -EINTR;
	return wait_for_event(vcpu) < 0 ? -EINTR : -EAGAIN;
}

static int run_initialized(struct vcpu *vcpu)
{
	int result = vcpu->architecture->begin(vcpu);

	return result < 0 ? result : run_loop(vcpu);
}

int vcpu_run(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int result;

	activity_begins(vcpu->activity, ACTIVITY_DISPATCH);
	signals_enter(vcpu);
	vcpu->has_entered = false;
	run->flags = 0;
	if (vcpu->mp_state == KVM_MP_STATE_UNINITIALIZED)
		result = run_uninitialized(vcpu);
	else
		result = run_initialized(vcpu);
	if (result == -EINTR) {
		run->exit_reason = KVM_EXIT_INTR;
		atomic_store(&vcpu->is_kicked, false);
	}
	vcpu->architecture->end(vcpu);
	vcpu->has_run = true;
	vcpu_count_exit(vcpu);
	signals_leave(vcpu);
	activity_begins(vcpu->activity, ACTIVITY_OUTSIDE);
	return result;
}
