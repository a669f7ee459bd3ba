/*
 * KVM_RUN: the thread that serves the call runs the guest, while the program's thread waits for the
 * answer.
 *
 * A signal to that thread is to end KVM_RUN with EINTR. The wait is one that signals do not end
 * (filter.c), so one thread of ours looks for pending signals in /proc of every thread whose
 * KVM_RUN lasts, each millisecond at first and each four when it has lasted longer, and kicks the
 * vCPU. The answer is EINTR then, the program's thread goes on, and its handler runs: nothing of
 * the guest is lost or done twice.
 */
#ifndef KVIK_SUPERVISE_RUN_H
#define KVIK_SUPERVISE_RUN_H

struct call;
struct handout;

/* Run the vCPU and answer the call. */
void run_vcpu(const struct call *call, struct handout *vcpu);

#endif
