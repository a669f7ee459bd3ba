/*
 * Signals and KVM_RUN (api.rst section 5, `immediate_exit`, and 4.13 KVM_SET_SIGNAL_MASK).
 *
 * Linux's KVM_RUN returns EINTR when a signal is pending for its thread, and the handler runs after
 * it has returned. The engine is ordinary code in the caller's thread, so it gets the same effect
 * by blocking signals while it is inside KVM_RUN and looking for pending ones. Where a vCPU sleeps,
 * a signalfd in the same poll wakes it at once. Where it executes the guest, a watcher thread asks
 * each such vCPU every millisecond to come out and look; engine_kick does so at once. Signals that
 * report a fault of the thread itself (SIGSEGV, ...) are never blocked.
 *
 * None of this happens for a vCPU whose caller has called engine_ignore_signals.
 */
#ifndef KVIK_ENGINE_VCPU_SIGNALS_H
#define KVIK_ENGINE_VCPU_SIGNALS_H

#include <stdbool.h>

struct vcpu;

/* At creation and end of a vCPU, as group.h says: the VM's watcher thread lives while there are vCPUs. 0 or -errno. */
int signals_add(struct vcpu *vcpu);
void signals_remove(struct vcpu *vcpu);

/* Around the whole of KVM_RUN, on its thread. */
void signals_enter(struct vcpu *vcpu);
void signals_leave(struct vcpu *vcpu);

/* A vCPU is about to enter the guest (its exclusive.in_guest is set): have it watched. */
void signals_watch(const struct vcpu *vcpu);

/* Whether a signal that interrupts KVM_RUN is pending. Discards those that would be ignored. */
bool signals_pending(struct vcpu *vcpu);

/* Sleep until is_sleeping is 0 (vcpu_notify, vcpu_kick) or such a signal, or for no reason. -errno when that cannot be. */
int signals_sleep(struct vcpu *vcpu);

#endif
