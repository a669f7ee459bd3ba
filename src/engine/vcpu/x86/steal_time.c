/* A vCPU's steal time: see steal_time.h. */
#include "engine/vcpu/x86/steal_time.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <time.h>

#include "engine/run/runner.h"
#include "engine/vcpu/x86/platform_memory.h"
#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/vm/vm.h"

/* arch/x86/include/uapi/asm/kvm_para.h */
struct steal_page {
	uint64_t steal; /* ns */
	uint32_t version;
	uint32_t flags;
	uint8_t preempted;
	uint8_t pad[47];
};

#define STEAL_ENABLED  UINT64_C(1)
#define STEAL_RESERVED UINT64_C(0x3e) /* the page is aligned to its 64 bytes */

#define PREEMPTED (1 << 0)
#define FLUSH_TLB (1 << 1)

#define LOOK_NS UINT64_C(1000000) /* from one look at the thread's CPU time to the next, at least */

static uint64_t thread_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return used.tv_sec * UINT64_C(1000000000) + used.tv_nsec;
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
	return (unsigned __int128)ticks * 1000000 / host_tsc_khz();
}

static bool is_enabled(const struct x86_vcpu *vcpu)
{
	return vcpu->steal.msr & STEAL_ENABLED;
}

static uint64_t page_gpa(const struct x86_vcpu *vcpu)
{
	return vcpu->steal.msr & ~(STEAL_ENABLED | STEAL_RESERVED);
}

int steal_time_set_msr(struct x86_vcpu *vcpu, uint64_t value)
{
	if (value & STEAL_RESERVED)
		return -EINVAL;
	vcpu->steal.msr = value;
	vcpu->steal.is_counting = false;
	return 0;
}

/* Where `preempted` is, to be changed by atomic exchange as guests change it. NULL: in no RAM. */
static uint8_t *preempted_byte(const struct x86_vcpu *vcpu)
{
	const struct memslots *slots = &vcpu->common.vm->memslots;
	uint64_t gpa = page_gpa(vcpu) + offsetof(struct steal_page, preempted);
	const struct memslot *slot = memslots_find(slots, gpa);

	if (!slot || (slot->flags & KVM_MEM_READONLY))
		return NULL;
	return slot->hva + (gpa - slot->gpa);
}

/* The guest's page holds the sum, which so survives saving and loading (as Linux's record_steal_time). */
static void tell(const struct x86_vcpu *vcpu, uint64_t stolen_ns)
{
	const struct memslots *slots = &vcpu->common.vm->memslots;
	uint64_t gpa = page_gpa(vcpu);
	struct steal_page page;

	if (memslots_read(slots, gpa, &page, offsetof(struct steal_page, flags)) < 0)
		return;
	page.steal += stolen_ns;
	/* Odd: readers are to try again. */
	page.version = (page.version | 1) + 2;
	memslots_write(slots, gpa + offsetof(struct steal_page, version), &page.version,
		       sizeof(page.version));
	atomic_thread_fence(memory_order_seq_cst);
	memslots_write(slots, gpa, &page.steal, sizeof(page.steal));
	atomic_thread_fence(memory_order_seq_cst);
	page.version++;
	memslots_write(slots, gpa + offsetof(struct steal_page, version), &page.version,
		       sizeof(page.version));
	vm_written(vcpu->common.vm, gpa, sizeof(page));
}

static void begin_counting(struct x86_vcpu *vcpu, uint64_t now, uint64_t used_ns)
{
	struct steal_time *steal = &vcpu->steal;

	steal->since = now;
	steal->outside = 0;
	steal->used_ns = used_ns;
	steal->elsewhere = vcpu->cpu.tiers->ticks_elsewhere;
}

static void look(struct x86_vcpu *vcpu, uint64_t now)
{
	struct steal_time *steal = &vcpu->steal;
	uint64_t wall_ns, used_ns, now_ns;

	wall_ns = ticks_to_ns(now - steal->since - steal->outside);
	/* What is inside the guest for less than that waits for more. */
	if (wall_ns < LOOK_NS)
		return;
	now_ns = thread_ns();
	used_ns = now_ns - steal->used_ns + ticks_to_ns(vcpu->cpu.tiers->ticks_elsewhere - steal->elsewhere);
	if (wall_ns > used_ns)
		tell(vcpu, wall_ns - used_ns);
	begin_counting(vcpu, now, now_ns);
}

void steal_time_update(struct x86_vcpu *vcpu)
{
	if (is_enabled(vcpu) && vcpu->steal.is_counting)
		look(vcpu, host_tsc());
}

void steal_time_enter(struct x86_vcpu *vcpu)
{
	struct steal_time *steal = &vcpu->steal;
	uint8_t *preempted;
	uint64_t now;

	if (!is_enabled(vcpu))
		return;
	preempted = preempted_byte(vcpu);
	if (preempted && __atomic_load_n(preempted, __ATOMIC_SEQ_CST)) {
		platform_page_dirty(vcpu, page_gpa(vcpu));
		if (__atomic_exchange_n(preempted, 0, __ATOMIC_SEQ_CST) & FLUSH_TLB)
			cpu_request(&vcpu->cpu, CPU_REQUEST_TLB_FLUSH);
	}
	now = host_tsc();
	if (!steal->is_counting || !pthread_equal(steal->thread, pthread_self())) {
		steal->is_counting = true;
		steal->thread = pthread_self();
		begin_counting(vcpu, now, thread_ns());
	} else {
		steal->outside += now - steal->left;
	}
	steal->left = 0;
	look(vcpu, now);
}

void steal_time_leave(struct x86_vcpu *vcpu, bool is_preempted)
{
	uint8_t *preempted;

	if (!is_enabled(vcpu))
		return;
	vcpu->steal.left = host_tsc();
	if (!is_preempted)
		return;
	preempted = preempted_byte(vcpu);
	if (preempted) {
		platform_page_dirty(vcpu, page_gpa(vcpu));
		__atomic_store_n(preempted, PREEMPTED, __ATOMIC_SEQ_CST);
	}
}
