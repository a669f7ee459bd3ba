/*
 * Dirty rings (api.rst 8.29): pages that a guest writes come up in its vCPU's ring, once until they are
 * given back, and a ring that is full ends KVM_RUN.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../host.h"
#include "contract.h"
#include "util/page.h"

#define ENTRIES    1024u
#define RING_BYTES (ENTRIES * sizeof(struct kvm_dirty_gfn))
#define SLOT       5
#define SLOT_GPA   0x100000u
#define SLOT_PAGES 2048u

/* A machine in flat 32-bit mode with a ring; its own RAM is not logged. */
struct ring_machine {
	struct machine machine;
	struct kvm_dirty_gfn *ring;
	uint8_t *memory; /* of the logged slot */
	unsigned next;   /* the first entry that was not read */
};

static int enable(struct kvm_vm *vm, uint64_t bytes)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { bytes } };

	return kvm_vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static int set_slot(struct ring_machine *m, uint32_t flags, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = SLOT, .flags = flags, .guest_phys_addr = SLOT_GPA, .memory_size = size,
		.userspace_addr = (uintptr_t)m->memory,
	};

	return kvm_vm_ioctl(&m->machine.vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void create(struct ring_machine *m, const struct kvm_system *system)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM_SIZE };
	struct machine *machine = &m->machine;
	struct error error;

	memset(m, 0, sizeof(*m));
	machine->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m->memory = mmap(NULL, SLOT_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(kvm_vm_create(&machine->vm, system, &error) == 0);
	kvm_vm_ioctl(&machine->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_RESET_DIRTY_RINGS, NULL), -EINVAL);
	check_equal(enable(&machine->vm, 0), -EINVAL);
	check_equal(enable(&machine->vm, RING_BYTES + 16), -EINVAL);
	check_equal(enable(&machine->vm, 512), -EINVAL);
	check_equal(enable(&machine->vm, 1u << 30), -E2BIG);
	check_equal(enable(&machine->vm, RING_BYTES), 0);
	check_equal(enable(&machine->vm, RING_BYTES), -EINVAL);
	region.userspace_addr = (uintptr_t)machine->ram;
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	check_equal(set_slot(m, KVM_MEM_LOG_DIRTY_PAGES, SLOT_PAGES * PAGE_SIZE), 0);
	check(kvm_vcpu_create(&machine->vcpu, &machine->vm, 0, &error) == 0);
	m->ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, machine->vcpu.fd,
		       KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE);
	check(m->ring != MAP_FAILED);
}

static void destroy(struct ring_machine *m)
{
	munmap(m->ring, RING_BYTES);
	munmap(m->memory, SLOT_PAGES * PAGE_SIZE);
	machine_destroy(&m->machine);
}

/* Read what is new in the ring: pages from `first` on, in order. How many. */
static unsigned harvest(struct ring_machine *m, uint64_t first)
{
	unsigned count = 0;

	for (;; m->next++, count++) {
		struct kvm_dirty_gfn *entry = &m->ring[m->next % ENTRIES];
		uint32_t flags = __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE);

		if (flags != KVM_DIRTY_GFN_F_DIRTY)
			return count;
		check_equal(entry->slot, SLOT);
		check_equal(entry->offset, first + count);
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
}

static int reset(struct ring_machine *m)
{
	return kvm_vm_ioctl(&m->machine.vm, KVM_RESET_DIRTY_RINGS, NULL);
}

/*
 * mov $SLOT_GPA,%edi; 1: incl (%edi); out %al,$1; incl (%edi); incl 0x1000(%edi); out %al,$1; jmp 1b
 */
static const char few[] =
	"\xbf\x00\x00\x10\x00\xff\x07\xe6\x01\xff\x07\xff\x87\x00\x10\x00\x00\xe6\x01\xeb\xf0";

static void test_few(struct ring_machine *m)
{
	machine_load_flat(&m->machine, few, sizeof(few) - 1);
	check_equal(harvest(m, 0), 0);
	machine_expect(&m->machine, KVM_EXIT_IO);
	check_equal(harvest(m, 0), 1);
	/* The first page is in the ring until it is given back, so only the second one is new. */
	machine_expect(&m->machine, KVM_EXIT_IO);
	check_equal(harvest(m, 1), 1);
	check_equal(reset(m), 2);
	check_equal(reset(m), 0);
	machine_expect(&m->machine, KVM_EXIT_IO);
	check_equal(harvest(m, 0), 1);
	/* What user space has not read is not given back. */
	machine_expect(&m->machine, KVM_EXIT_IO);
	check_equal(reset(m), 1);
	check_equal(harvest(m, 1), 1);
	check_equal(reset(m), 1);
}

/* There are no bitmaps beside rings. */
static void test_bitmaps(struct ring_machine *m)
{
	uint64_t bits[SLOT_PAGES / 64];
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = bits };
	struct kvm_clear_dirty_log clear = { .slot = SLOT, .num_pages = 64, .dirty_bitmap = bits };

	check_equal(kvm_vm_ioctl(&m->machine.vm, KVM_GET_DIRTY_LOG, &log), -ENXIO);
	check_equal(kvm_vm_ioctl(&m->machine.vm, KVM_CLEAR_DIRTY_LOG, &clear), -ENXIO);
	check_equal(reset(m), 0);
}

/* mov $SLOT_GPA,%edi; 1: movl $7,(%edi); add $0x1000,%edi; jmp 1b */
static const char many[] = "\xbf\x00\x00\x10\x00\xc7\x07\x07\x00\x00\x00\x81\xc7\x00\x10\x00\x00\xeb\xf2";

/* No page is missing from rings that fill up again and again, to the end of the slot. */
static void test_full(struct ring_machine *m)
{
	unsigned total = 0, exits = 0;

	machine_load_flat(&m->machine, many, sizeof(many) - 1);
	for (;;) {
		unsigned count;

		check_equal(machine_run(&m->machine), 0);
		if (m->machine.vcpu.run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
			break;
		/* Until there is room it does not go on. */
		check_equal(machine_run(&m->machine), 0);
		check_equal(m->machine.vcpu.run->exit_reason, KVM_EXIT_DIRTY_RING_FULL);
		count = harvest(m, total);
		check(count > 0 && count < ENTRIES);
		check_equal(reset(m), count);
		total += count;
		if (++exits > SLOT_PAGES)
			break;
	}
	check_equal(m->machine.vcpu.run->exit_reason, KVM_EXIT_MMIO);
	check(exits >= 2);
	total += harvest(m, total);
	check_equal(total, SLOT_PAGES);
	reset(m);
	for (unsigned i = 0; i < SLOT_PAGES; i++)
		check_equal(m->memory[i * PAGE_SIZE], 7);
}

/* Whatever user space writes into the ring, only its own log suffers. */
static void test_nonsense(struct ring_machine *m)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		m->ring[i] = (struct kvm_dirty_gfn){
			.flags = KVM_DIRTY_GFN_F_RESET, .slot = i * 77777, .offset = -(uint64_t)i,
		};
	check_equal(reset(m), 0);
	memset(m->ring, 0, RING_BYTES);
	machine_load_flat(&m->machine, few, sizeof(few) - 1);
	machine_expect(&m->machine, KVM_EXIT_IO);
	m->ring[m->next % ENTRIES].slot = 0xffffffff;
	m->ring[m->next % ENTRIES].offset = UINT64_MAX;
	m->ring[m->next % ENTRIES].flags = KVM_DIRTY_GFN_F_RESET;
	check_equal(reset(m), 1);
	/* A slot that has gone since. */
	m->next++;
	machine_expect(&m->machine, KVM_EXIT_IO);
	check_equal(set_slot(m, 0, 0), 0);
	m->ring[m->next % ENTRIES].flags = KVM_DIRTY_GFN_F_RESET;
	check_equal(reset(m), 1);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct ring_machine m;

	contract_open(argc, argv, &system);
	check_equal(kvm_system_ioctl(&system, KVM_CHECK_EXTENSION, (void *)KVM_CAP_DIRTY_LOG_RING),
		    65536 * sizeof(struct kvm_dirty_gfn));
	create(&m, &system);
	test_bitmaps(&m);
	/* KVMs without hardware push pages again and again, and run on when a ring is full. */
	if (contract_is_engine(&system) || kvm_is_hardware()) {
		test_few(&m);
		test_full(&m);
	}
	if (contract_is_engine(&system))
		test_nonsense(&m);
	destroy(&m);
	return contract_close(&system);
}
