/*
 * What the CPU asks about memory on every TLB miss (struct cpu_lookups), while the guest's vector
 * state may be in the host's registers: built without vector instructions.
 */
#include "engine/vcpu/x86/platform_memory.h"

#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/vm/vm.h"

static bool page_lookup(struct vector_free_context *context, uint64_t gpa, struct cpu_page *page)
{
	struct vm *vm = ((const struct x86_vcpu *)(const void *)context)->common.vm;

	if (!memslots_page(&vm->memslots, gpa, page))
		return false;
	ahead_touched(&vm->ahead, page->hva);
	return true;
}

void platform_page_dirty(struct x86_vcpu *vcpu, uint64_t gpa)
{
	memslots_mark_dirty(&vcpu->common.vm->memslots, gpa, vcpu->common.member.dirty_ring);
	if (dirty_ring_is_full(&vcpu->common.dirty_ring))
		cpu_request(&vcpu->cpu, CPU_REQUEST_EXIT);
}

static void page_dirty(struct vector_free_context *context, uint64_t gpa)
{
	platform_page_dirty((void *)context, gpa);
}

const struct cpu_lookups platform_lookups = {
	.page = page_lookup,
	.page_dirty = page_dirty,
};
