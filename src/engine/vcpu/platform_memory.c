/*
 * What the CPU asks about memory on every TLB miss (struct cpu_platform), while the guest's vector
 * state may be in the host's registers: built without vector instructions.
 */
#include "engine/vcpu/platform_memory.h"

#include "engine/vcpu/vcpu.h"
#include "engine/vm/vm.h"

bool platform_page_lookup(void *context, uint64_t gpa, struct cpu_page *page)
{
	const struct vcpu *vcpu = context;

	return memslots_page(&vcpu->vm->memslots, gpa, page);
}

void platform_page_dirty(void *context, uint64_t gpa)
{
	struct vcpu *vcpu = context;

	memslots_mark_dirty(&vcpu->vm->memslots, gpa, vcpu->member.dirty_ring);
	if (dirty_ring_is_full(&vcpu->dirty_ring))
		cpu_request(&vcpu->cpu, CPU_REQUEST_EXIT);
}
