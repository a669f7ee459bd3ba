/*
 * The contract: the KVM API as one interface with two implementations.
 *
 * Everything above this header (machine, device, cli) runs virtual CPUs through it and cannot tell
 * which implementation is below: Linux's /dev/kvm, or kvik's own engine in user space. Requests,
 * structs and errno values are those of <linux/kvm.h> and Linux's Documentation/virt/kvm/api.rst,
 * which is the specification of every request passed through here.
 *
 * Handles are file descriptors on both backends, as in Linux: a system handle creates VMs, a VM
 * handle creates vCPUs, and a vCPU's `struct kvm_run` is mapped from its descriptor.
 */
#ifndef KVIK_KVM_KVM_H
#define KVIK_KVM_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "util/stub.h"

/* The range of kvm_options.code_cache_bytes, and what 0 is. */
#define KVM_CODE_CACHE_MIN     (256ull << 10)
#define KVM_CODE_CACHE_MAX     (1ull << 30)
#define KVM_CODE_CACHE_DEFAULT (128ull << 20)

/* How the engine serves the VMs of a system handle. Linux's KVM has no such choices. */
struct kvm_options {
	uint64_t code_cache_bytes; /* translated code that is kept for each VM; 0: the default */
	bool keeps_statistics;     /* also what costs time to keep, for read_statistics */
	/* How often a piece of code is interpreted before it is translated, plus 1; 0: the default. */
	unsigned warmth_plus_1;
	/* How often that runs before it is translated again, with effort, plus 1; 0: the default. */
	unsigned promotion_plus_1;
	/* Translated code is written there as text (engine_options.code_dump_fd); 0: nowhere. */
	int code_dump_fd;
	/* Translations that are kept from VM to VM: a file of them, and a pipe to who keeps them (the backend's
	 * keeper); 0: none. */
	int kept_code_fd, kept_requests_fd;
	/* For direct execution: where stubs come from that do the backend's stub_function. It outlives all
	 * VMs. NULL: there are none. */
	const struct stub_source *stubs;
};

struct keeper;

/* One implementation of the contract. All functions may be called on any thread. */
struct kvm_backend {
	const char *name; /* "kvm" or "engine" */

	/* Open the system handle: a descriptor, or -errno with `error` filled. `options` are copied;
	 * NULL is all defaults. */
	int (*open)(const struct kvm_options *options, struct error *error);

	/*
	 * Carry out one KVM request on a system, VM or vCPU descriptor. `argument` is what ioctl(2)
	 * takes as third argument: a pointer or an integer. Returns the request's non-negative
	 * result, or -errno.
	 */
	int (*ioctl)(int fd, unsigned long request, void *argument);

	/* Close a descriptor that this backend made. Objects live until their last descriptor is
	 * closed, as in Linux. */
	int (*close)(int fd);

	/*
	 * Make a running KVM_RUN on `vcpu_fd` return with EINTR soon, or the next one at once.
	 * `run` is that vCPU's mapped page, `thread` the thread that calls KVM_RUN.
	 */
	void (*kick)(int vcpu_fd, struct kvm_run *run, pthread_t thread);

	/* See kvm_vm_own_memory. NULL: makes no difference. */
	void (*own_memory)(int vm_fd);

	/* See kvm_vm_tell_writes. Both or neither. NULL: makes no difference. */
	void (*tell_writes)(int vm_fd);
	void (*written)(int vm_fd, uint64_t gpa, uint64_t size);

	/* See kvm_vm_share_memory. NULL: makes no difference. */
	void (*share_memory)(int vm_fd, void *base, uint64_t size, int fd);
	/* What kvm_options.stubs are to do. NULL: it has no use for any. */
	stub_function *(*stub_function)(void);
	/* Whether this host can run guest code in them: 0 or -errno. With stub_function. */
	int (*probe_stubs)(const struct stub_source *stubs);

	/* Who keeps translations in a file, in a process of its own: engine/run/keeper.h. NULL: there are none. */
	int (*keeper_create)(uint64_t limit, struct keeper **created);
	void (*keeper_serve)(struct keeper *keeper, int requests, int directory, const char *name, int given);

	/* See kvm_vcpu_ignore_signals. NULL: signals cost nothing. */
	void (*ignore_signals)(int vcpu_fd);

	/* Call `visit` with each counter that the backend keeps of a vCPU, which is not running.
	 * NULL: it keeps none. */
	void (*read_statistics)(int vcpu_fd,
				void (*visit)(void *context, const char *name, uint64_t value),
				void *context);
};

extern const struct kvm_backend kvm_backend_linux;
extern const struct kvm_backend kvm_backend_engine;
/* The engine told how to execute: interpreter alone, or an error where it cannot translate. */
extern const struct kvm_backend kvm_backend_interpreter;
extern const struct kvm_backend kvm_backend_translator;
extern const struct kvm_backend kvm_backend_direct; /* ring 3 directly where it can be */
extern const struct kvm_backend kvm_backend_lockstep; /* both, compared: to find errors */
extern const struct kvm_backend kvm_backend_direct_lockstep; /* direct and interp */

/* An open system handle. */
struct kvm_system {
	const struct kvm_backend *backend;
	int fd;
	size_t vcpu_mmap_size; /* bytes, from KVM_GET_VCPU_MMAP_SIZE */
};

/* A virtual machine. */
struct kvm_vm {
	const struct kvm_system *system;
	int fd;
	struct kvm_slots *slots; /* as they were set; NULL: nobody keeps them */
};

/* A virtual CPU. KVM_RUN is called on one thread, the vCPU's own. */
struct kvm_vcpu {
	const struct kvm_system *system;
	int fd;
	unsigned id;         /* the id given at creation; also the initial APIC id */
	struct kvm_run *run; /* the mapped page(s), vcpu_mmap_size bytes */
};

/*
 * Open `backend` and check that it speaks API version 12. Returns 0, or -errno with `error` filled.
 * `options` hold for all VMs made from this handle; NULL is all defaults. The caller closes it with
 * kvm_system_close after all its VMs.
 */
int kvm_system_open(struct kvm_system *system, const struct kvm_backend *backend,
		    const struct kvm_options *options, struct error *error);
void kvm_system_close(struct kvm_system *system);

/* KVM_CREATE_VM: 0, or -errno with `error` filled. The caller closes it, after its vCPUs. */
int kvm_vm_create(struct kvm_vm *vm, const struct kvm_system *system, struct error *error);
void kvm_vm_close(struct kvm_vm *vm);

/*
 * Where the vCPUs have what they read at a guest-physical address: in the memory slot there, as
 * KVM_SET_USER_MEMORY_REGION has set it, and how many bytes follow in that (NULL: who asks does not care). NULL: there is no
 * slot, and reads are devices' business. Any thread; it stays until somebody sets that slot.
 */
const uint8_t *kvm_vm_memory_at(const struct kvm_vm *vm, uint64_t gpa, uint64_t *size_bytes);

/*
 * Only the VM's vCPUs work on its memory with atomic read-modify-write instructions, and expect that
 * of others: devices and all who share that memory load and store. A lone vCPU on the engine then
 * spares itself most of its LOCK prefixes (docs/engine/translator.md). Before vCPUs are created.
 */
void kvm_vm_own_memory(const struct kvm_vm *vm);

/*
 * Whoever writes to the VM's memory, vCPUs aside, calls kvm_vm_written from now on, after the write and before the
 * guest can know of it: before its interrupt, and before KVM_RUN goes on from the exit that it answers. The
 * engine then keeps its translations over interrupts and exits as they are. Before vCPUs are created.
 */
void kvm_vm_tell_writes(const struct kvm_vm *vm);
/* [gpa, gpa + size_bytes) was written; from 0, KVM_WRITTEN_ALL: anything may have been. Any thread. */
void kvm_vm_written(const struct kvm_vm *vm, uint64_t gpa, uint64_t size_bytes);
#define KVM_WRITTEN_ALL UINT64_MAX

/*
 * The `size` bytes at `base` are those of `fd` from its start on, and stay that while the VM is there: who
 * executes guest code in processes of their own (kvm_options.stubs) can map them. The descriptor stays
 * the caller's, and open. Before vCPUs are created.
 */
void kvm_vm_share_memory(const struct kvm_vm *vm, void *base, uint64_t size, int fd);

/* KVM_CREATE_VCPU with its kvm_run mapped: 0, or -errno with `error` filled. The caller closes it. */
int kvm_vcpu_create(struct kvm_vcpu *vcpu, const struct kvm_vm *vm, unsigned id,
		    struct error *error);
void kvm_vcpu_close(struct kvm_vcpu *vcpu);

/* One request: a non-negative result or -errno, never with errno set instead. */
int kvm_system_ioctl(const struct kvm_system *system, unsigned long request, void *argument);
int kvm_vm_ioctl(const struct kvm_vm *vm, unsigned long request, void *argument);
int kvm_vcpu_ioctl(const struct kvm_vcpu *vcpu, unsigned long request, void *argument);

/* KVM_CHECK_EXTENSION on a system handle; 0 when the capability is missing. */
int kvm_check_extension(const struct kvm_system *system, int capability);

/* See kvm_backend.kick. */
void kvm_vcpu_kick(const struct kvm_vcpu *vcpu, pthread_t thread);

/*
 * From now on nobody interrupts this vCPU with signals, but with kvm_vcpu_kick alone (or has
 * immediate_exit set before KVM_RUN is called): spares the engine two system calls a KVM_RUN. A
 * handler may run while KVM_RUN is under way; it must return, and keep off the vCPU.
 */
void kvm_vcpu_ignore_signals(const struct kvm_vcpu *vcpu);

#endif
