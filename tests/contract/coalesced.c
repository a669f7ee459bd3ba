/*
 * Coalesced MMIO and port I/O (api.rst 4.116): writes to zones are collected in order, and what a zone
 * does not hold, reads, and writes that find the ring full leave to user space.
 */
#include <string.h>

#include "contract.h"
#include "util/page.h" /* KVM_COALESCED_MMIO_MAX goes by it */

#define ZONE_GPA  0x80000u
#define ZONE_PORT 0x300u

static struct kvm_coalesced_mmio_ring *ring_of(struct machine *machine)
{
	return (void *)((uint8_t *)machine->vcpu.run + KVM_COALESCED_MMIO_PAGE_OFFSET * PAGE_SIZE);
}

static int change_zone(struct machine *machine, unsigned long request, uint64_t address,
		       uint32_t size, uint32_t pio)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = address, .size = size, .pio = pio };

	return kvm_vm_ioctl(&machine->vm, request, &zone);
}

static void expect_entry(struct machine *machine, uint64_t address, uint32_t size, uint32_t value,
			 bool is_pio)
{
	struct kvm_coalesced_mmio_ring *ring = ring_of(machine);
	const struct kvm_coalesced_mmio *entry = &ring->coalesced_mmio[ring->first];

	check(ring->first != ring->last);
	check_equal(entry->phys_addr, address);
	check_equal(entry->len, size);
	check_equal(entry->pio, is_pio);
	check(memcmp(entry->data, &value, size) == 0);
	ring->first = (ring->first + 1) % KVM_COALESCED_MMIO_MAX;
}

/*
 * mov $0x8000,%ax; mov %ax,%ds; mov $0x1234,%ax; mov %ax,(0); mov %al,(4); mov %al,(0x10);
 * mov $0x300,%dx; out %al,%dx; out %ax,%dx; inc %dx; out %al,%dx; mov (0),%al; hlt
 */
static const char writer[] =
	"\xb8\x00\x80\x8e\xd8\xb8\x34\x12\xa3\x00\x00\xa2\x04\x00\xa2\x10\x00"
	"\xba\x00\x03\xee\xef\x42\xee\xa0\x00\x00\xf4";

static void test_zones(struct machine *machine)
{
	struct kvm_run *run = machine->vcpu.run;

	machine_load(machine, writer, sizeof(writer) - 1);
	check_equal(change_zone(machine, KVM_REGISTER_COALESCED_MMIO, ZONE_GPA, 2, 2), -EINVAL);
	check_equal(change_zone(machine, KVM_UNREGISTER_COALESCED_MMIO, ZONE_GPA, 2, 2), -EINVAL);
	check_equal(change_zone(machine, KVM_REGISTER_COALESCED_MMIO, ZONE_GPA, 0x10, 0), 0);
	check_equal(change_zone(machine, KVM_REGISTER_COALESCED_MMIO, ZONE_PORT, 1, 1), 0);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_REGISTER_COALESCED_MMIO, (void *)8), -EFAULT);

	/* The first two writes are in the zone, the third is behind it. */
	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(run->mmio.phys_addr, ZONE_GPA + 0x10);
	expect_entry(machine, ZONE_GPA, 2, 0x1234, false);
	expect_entry(machine, ZONE_GPA + 4, 1, 0x34, false);
	check_equal(ring_of(machine)->first, ring_of(machine)->last);
	/* One byte is, two reach over the zone's end, and the next port is outside. */
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(run->io.port, ZONE_PORT);
	check_equal(run->io.size, 2);
	expect_entry(machine, ZONE_PORT, 1, 0x34, true);
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(run->io.port, ZONE_PORT + 1);
	/* A read is never in one. */
	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(run->mmio.is_write, 0);
	machine_expect(machine, KVM_EXIT_HLT);

	/* Zones of the other bus stay, as do those that are not all taken away. */
	check_equal(change_zone(machine, KVM_UNREGISTER_COALESCED_MMIO, ZONE_GPA, 0x10, 1), 0);
	check_equal(change_zone(machine, KVM_UNREGISTER_COALESCED_MMIO, ZONE_GPA, 0x20, 0), 0);
	machine_load(machine, writer, sizeof(writer) - 1);
	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(run->mmio.phys_addr, ZONE_GPA + 0x10);
	expect_entry(machine, ZONE_GPA, 2, 0x1234, false);
	expect_entry(machine, ZONE_GPA + 4, 1, 0x34, false);
	check_equal(change_zone(machine, KVM_UNREGISTER_COALESCED_MMIO, ZONE_GPA, 0x10, 0), 0);
	check_equal(change_zone(machine, KVM_UNREGISTER_COALESCED_MMIO, ZONE_PORT, 1, 1), 0);
	machine_load(machine, writer, sizeof(writer) - 1);
	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(run->mmio.phys_addr, ZONE_GPA);
}

/* mov $0x8000,%ax; mov %ax,%ds; 1: mov %cl,(0); inc %cx; jmp 1b */
static const char flood[] = "\xb8\x00\x80\x8e\xd8\x88\x0e\x00\x00\x41\xeb\xf9";

static void test_full(struct machine *machine)
{
	struct kvm_coalesced_mmio_ring *ring = ring_of(machine);
	const unsigned room = KVM_COALESCED_MMIO_MAX - 1;

	machine_load(machine, flood, sizeof(flood) - 1);
	check_equal(change_zone(machine, KVM_REGISTER_COALESCED_MMIO, ZONE_GPA, 0x1000, 0), 0);
	for (unsigned round = 0; round < 3; round++) {
		uint8_t value = (uint8_t)(round * (room + 1));

		machine_expect(machine, KVM_EXIT_MMIO);
		check_equal(machine->vcpu.run->mmio.data[0], (uint8_t)(value + room));
		for (unsigned i = 0; i < room; i++)
			expect_entry(machine, ZONE_GPA, 1, (uint8_t)(value + i), false);
		check_equal(ring->first, ring->last);
	}
	/* Whatever user space writes there, nothing outside the ring is touched. */
	ring->last = 0xfffffff0;
	machine_expect(machine, KVM_EXIT_MMIO);
	ring->last = KVM_COALESCED_MMIO_MAX;
	machine_expect(machine, KVM_EXIT_MMIO);
	ring->first = ring->last = 0;
	check_equal(change_zone(machine, KVM_UNREGISTER_COALESCED_MMIO, ZONE_GPA, 0x1000, 0), 0);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	check_equal(kvm_system_ioctl(&system, KVM_CHECK_EXTENSION, (void *)KVM_CAP_COALESCED_MMIO),
		    KVM_COALESCED_MMIO_PAGE_OFFSET);
	check_equal(kvm_system_ioctl(&system, KVM_CHECK_EXTENSION, (void *)KVM_CAP_COALESCED_PIO), 1);
	machine_create(&machine, &system, IRQCHIP_NONE, writer, sizeof(writer) - 1);
	test_zones(&machine);
	test_full(&machine);
	machine_destroy(&machine);
	return contract_close(&system);
}
