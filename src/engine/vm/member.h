/*
 * A vCPU as its VM knows it: something with an id that takes part in exclusive sections and must hear
 * of what changes. What it executes, and for which architecture, is its own affair.
 */
#ifndef KVIK_ENGINE_VM_MEMBER_H
#define KVIK_ENGINE_VM_MEMBER_H

#include <stdbool.h>

#include "engine/vm/exclusive.h"

struct vm_member;

struct vm_member_operations {
	/* The VM ends: nothing runs any more. */
	void (*destroy)(struct vm_member *member);

	/* All below inside an exclusive section. */

	/* Memory slots have changed, or with `code_too` false only what their dirty logs hold: forget
	 * where guest memory is, and with `code_too` what was derived from its contents. */
	void (*slots_changed)(struct vm_member *member, bool code_too);
	/* It is no longer the VM's only vCPU: as slots_changed, and atomic accesses are to be so. */
	void (*solitude_ended)(struct vm_member *member);
	/* The VM has another msr_filter, or none. */
	void (*msr_filter_changed)(struct vm_member *member);
	/* kvm-clock was set. */
	void (*clock_changed)(struct vm_member *member);
};

struct vm_member {
	const struct vm_member_operations *operations;
	unsigned id; /* KVM_CREATE_VCPU's; also the initial APIC id */
	struct exclusive_member exclusive;
};

#endif
