/*
 * A vCPU as its VM knows it: something with an id that takes part in exclusive sections and must hear
 * of what changes. What it executes, and for which architecture, is its own affair.
 */
#ifndef KVIK_ENGINE_VM_MEMBER_H
#define KVIK_ENGINE_VM_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/vm/exclusive.h"

struct dirty_ring;
struct vm_member;

/* What all members of a VM do. What only an architecture's VM tells its vCPUs stands behind it, in a struct
 * of which this is the first part (vm/x86/x86_vm.h). */
struct vm_member_operations {
	/* The VM ends: nothing runs any more. */
	void (*destroy)(struct vm_member *member);

	/* All below inside an exclusive section. */

	/* Memory slots have changed, or what their dirty logs hold: forget where guest memory is. */
	void (*slots_changed)(struct vm_member *member);
	/* It is no longer the VM's only vCPU: as slots_changed, and atomic accesses are to be so. */
	void (*solitude_ended)(struct vm_member *member);
};

/* What vCPUs of a VM share to execute, as the VM knows it. */
struct vm_execution {
	/* The memory at [gpa, last] is gone: forget what was derived from its contents. Inside an exclusive
	 * section, before the members hear of the change. */
	void (*memory_gone)(struct vm_execution *execution, uint64_t gpa, uint64_t last);
	/* [gpa, gpa + size) was written by others than the members: see to it that nothing that was derived from
	 * its contents is used by a member that knows. Any thread. */
	void (*written)(struct vm_execution *execution, uint64_t gpa, uint64_t size);
	/* The VM ends; its members have gone. */
	void (*destroy)(struct vm_execution *execution);
};

struct vm_member {
	struct dirty_ring *dirty_ring; /* NULL: the VM has none */
	unsigned id; /* KVM_CREATE_VCPU's */
	struct exclusive_member exclusive;
};

#endif
