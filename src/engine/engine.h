/*
 * The engine: KVM in user space, everything that Linux's kvm.ko and kvm_intel/kvm_amd do.
 *
 * The same requests as /dev/kvm on real file descriptors: a vCPU's descriptor is a memfd, so its
 * `struct kvm_run` is mapped with plain mmap(2); poll, dup and fd passing behave as for any file.
 * Specification: Linux Documentation/virt/kvm/api.rst.
 */
#ifndef KVIK_ENGINE_ENGINE_H
#define KVIK_ENGINE_ENGINE_H

#include <linux/kvm.h>
#include <stdint.h>

/* How vCPUs execute guest code. */
enum engine_tier {
	ENGINE_TIER_AUTO,        /* translate what is warm, where the host allows it */
	ENGINE_TIER_INTERPRETER,
	ENGINE_TIER_TRANSLATOR,  /* as AUTO, but KVM_CREATE_VCPU fails (ENOTSUP) where it can't */
	ENGINE_TIER_LOCKSTEP,    /* compare the two, block by block: for one vCPU, slow */
};

/* For vCPUs created from now on. Any thread. */
void engine_set_tier(enum engine_tier tier);
enum engine_tier engine_get_tier(void);

/* For engine_read_statistics, sample what vCPUs created from now on spend their time on, and have
 * translated code count its lookups, which costs it some time. Before the first vCPU. */
void engine_keep_statistics(void);

/* Bytes of translated code for each VM whose first vCPU is created from now on; what is kept about the
 * code takes up to as many again. Any thread. */
#define ENGINE_CODE_CACHE_MIN (256ull << 10)
#define ENGINE_CODE_CACHE_MAX (1ull << 30)
void engine_set_code_cache(uint64_t bytes);
uint64_t engine_get_code_cache(void);

/* Write all translated code to `fd` as text, guest and host instructions side by side: for whoever
 * debugs the translator. -1: no more. Any thread. */
void engine_set_code_dump(int fd);

/* A new system handle (what open("/dev/kvm") gives): a descriptor or -errno. */
int engine_open(void);

/* One KVM request on any engine descriptor; a non-negative result or -errno. Any thread. */
int engine_ioctl(int fd, unsigned long request, void *argument);

/* Close an engine descriptor; its object goes when nothing refers to it any more. 0 or -errno. */
int engine_close(int fd);

/*
 * Nobody but the vCPUs of the VM on `vm_fd` works on its memory with atomic read-modify-write
 * instructions: while there is one vCPU, it need not LOCK its own. Before the first is created.
 */
void engine_own_memory(int vm_fd);

/* Call `visit` with each counter of a vCPU: for people, no part of the KVM API. The vCPU should not be
 * running, else the numbers are of different moments. Nothing for other descriptors. */
void engine_read_statistics(int vcpu_fd,
			    void (*visit)(void *context, const char *name, uint64_t value),
			    void *context);

/*
 * Make a KVM_RUN under way on `vcpu_fd` return -EINTR soon, or the next one at once. Any thread;
 * async-signal-safe. The effect is that of a signal to the vCPU's thread.
 */
void engine_kick(int vcpu_fd);

/*
 * KVM_RUN on `vcpu_fd` need not return for signals any more, nor for an immediate_exit that is set
 * while it runs, and does not block them: for a caller that uses engine_kick instead. Handlers may
 * then run inside KVM_RUN; they must return, and not use the vCPU. Not while KVM_RUN is under way.
 */
void engine_ignore_signals(int vcpu_fd);

#endif
