/*
 * What the vCPUs of a VM share besides what their VM is: threads that look at them. It is made with the first
 * vCPU and goes with the last.
 */
#ifndef KVIK_ENGINE_VCPU_GROUP_H
#define KVIK_ENGINE_VCPU_GROUP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* Of signals.c: has vCPUs look for signals. */
struct signal_watcher {
	pthread_mutex_t lock; /* guards what follows but `is_asleep` */
	struct vcpu *vcpus;
	pthread_t thread; /* while there are vCPUs */
	bool must_stop;
	/* 1 while the watcher sleeps for want of running vCPUs; a futex. Set before it looks for
	 * the last time, read by vCPUs after they have set in_guest. */
	_Atomic uint32_t is_asleep;
};

/* Of sampler.c: looks at what they do. */
struct sampler {
	/* Guards the list and each vCPU's sampled_next and times_ns. The thread ends when nobody is in it. */
	pthread_mutex_t lock;
	struct vcpu *vcpus;
	pthread_t thread;
	bool is_running; /* the thread; of who adds and removes */
};

/* vCPUs are added with vm->lock held, and removed by who ends the VM, or again with the lock. */
struct vcpu_group {
	unsigned vcpus; /* how many have it */
	struct signal_watcher watcher;
	struct sampler sampler;
};

#endif
