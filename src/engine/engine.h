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
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/options.h"

/* The door: all else that the engine is made of is hidden from whoever links it as a library. */
#pragma GCC visibility push(default)

/*
 * A new system handle (what open("/dev/kvm") gives): a descriptor, -EINVAL for options out of range, or
 * another -errno. `options` are copied, and hold for all VMs made from this handle; NULL: the default.
 */
int engine_open(const struct engine_options *options);

/* One KVM request on any engine descriptor; a non-negative result or -errno. Any thread. */
int engine_ioctl(int fd, unsigned long request, void *argument);

enum engine_handle { ENGINE_HANDLE_NONE, ENGINE_HANDLE_SYSTEM, ENGINE_HANDLE_VM, ENGINE_HANDLE_VCPU };

/* What an open descriptor is. A duplicate that no request came by yet is looked at with system calls if
 * `adopts`, else it is NONE. Any thread. */
enum engine_handle engine_handle_kind(int fd, bool adopts);

/* Close an engine descriptor; its object goes when nothing refers to it any more. 0 or -errno. */
int engine_close(int fd);

/* The descriptors from `first` to `last` are about to be closed or replaced by other means than
 * engine_close: their handles go now, as with it. Any thread. */
void engine_forget(unsigned first, unsigned last);

/* A copy of the descriptor is on its way where the engine does not see it (a message on a socket): what
 * is behind it lives until the process ends. Any thread. */
void engine_keep(int fd);

/*
 * For programs that know nothing of the engine, which handles SIGFPE and SIGILL: what sigaction(2)
 * would do for handlers behind the engine's, which gets what is not its own. False, and nothing done,
 * for other signals, and before the engine has installed its own. Any thread.
 */
bool engine_chain_signal(int number, const struct sigaction *action, struct sigaction *previous);

/*
 * Nobody but the vCPUs of the VM on `vm_fd` works on its memory with atomic read-modify-write
 * instructions: while there is one vCPU, it need not LOCK its own. Before the first is created.
 */
void engine_own_memory(int vm_fd);

/*
 * Whoever else writes memory of the VM on `vm_fd`, this process and its threads as well as others, tells of it from
 * now on, before the guest can know: the engine then need not expect changed code behind every interrupt
 * and exit. Before the first vCPU is created.
 */
void engine_tell_writes(int vm_fd);
/* [gpa, gpa + size) was written; `size` UINT64_MAX from gpa 0 on: anything may have been. Any thread. */
void engine_written(int vm_fd, uint64_t gpa, uint64_t size);

/*
 * Stubs of the VM may map guest memory: the `size` bytes at `base`, in this process, are those of `fd`
 * from its start on, and stay that as long as the VM is there. Slots in them are run directly, others
 * are not. The descriptor stays the caller's, and open. Before the first vCPU is created.
 */
void engine_share_memory(int vm_fd, void *base, uint64_t size, int fd);

/* What stubs are to do (engine_options.stubs). */
stub_function *engine_stub_function(void);

/* Whether this host can run guest code in such stubs: 0 or -errno. */
int engine_probe_stubs(const struct stub_source *stubs);

/*
 * The keeper of a code cache file (docs/engine/code-cache.md), which belongs into a process of its own. What
 * engine/run/keeper.h says of its functions goes for these.
 */
struct keeper;
int engine_keeper_create(uint64_t limit, struct keeper **created);
void engine_keeper_serve(struct keeper *keeper, int requests, int directory, const char *name, int given);

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

#pragma GCC visibility pop

#endif
