/*
 * KVM_IOEVENTFD and KVM_IRQFD: guest writes that become events, and events that become interrupts.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "contract.h"

static int assign(struct machine *machine, int fd, uint64_t address, unsigned length,
		  unsigned flags, uint64_t datamatch)
{
	struct kvm_ioeventfd request = {
		.datamatch = datamatch,
		.addr = address,
		.len = length,
		.fd = fd,
		.flags = flags,
	};

	return kvm_vm_ioctl(&machine->vm, KVM_IOEVENTFD, &request);
}

static uint64_t take_count(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

#define PIO       KVM_IOEVENTFD_FLAG_PIO
#define DATAMATCH KVM_IOEVENTFD_FLAG_DATAMATCH
#define DEASSIGN  KVM_IOEVENTFD_FLAG_DEASSIGN

static void expect_port(struct machine *machine, unsigned port)
{
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(machine->vcpu.run->io.port, port);
}

static void test_ports(struct machine *machine, int fd)
{
	int other = dup(fd), third = eventfd(0, EFD_NONBLOCK);

	/* mov $7,%al; out %al,$0x10; out %ax,$0x10; mov $8,%al; out %al,$0x10; in $0x10,%al; hlt */
	static const char code[] = "\xb0\x07\xe6\x10\xe7\x10\xb0\x08\xe6\x10\xe4\x10\xf4";

	/* One byte, value 7. */
	check_equal(assign(machine, fd, 0x10, 1, PIO | DATAMATCH, 7), 0);
	check_equal(assign(machine, fd, 0x10, 1, PIO | DATAMATCH, 7), -EEXIST);
	check_equal(assign(machine, third, 0x10, 1, PIO, 0), -EEXIST);
	machine_load(machine, code, sizeof(code) - 1);
	expect_port(machine, 0x10);
	check_equal(machine->vcpu.run->io.size, 2);
	check_equal(take_count(fd), 1);
	expect_port(machine, 0x10);
	check_equal(*(uint8_t *)run_io_data(machine->vcpu.run), 8);
	expect_port(machine, 0x10);
	check_equal(machine->vcpu.run->io.direction, KVM_EXIT_IO_IN);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(take_count(fd), 0);
	/* Another eventfd is not this one; another descriptor of the same is. */
	check_equal(assign(machine, third, 0x10, 1, PIO | DATAMATCH | DEASSIGN, 7), -ENOENT);
	check_equal(assign(machine, fd, 0x10, 1, PIO | DATAMATCH | DEASSIGN, 8), -ENOENT);
	check_equal(assign(machine, other, 0x10, 1, PIO | DATAMATCH | DEASSIGN, 7), 0);
	check_equal(assign(machine, fd, 0x10, 1, PIO | DATAMATCH | DEASSIGN, 7), -ENOENT);

	/* One byte, any value; two eventfds for different sizes. */
	check_equal(assign(machine, fd, 0x10, 1, PIO, 0), 0);
	check_equal(assign(machine, third, 0x10, 2, PIO, 0), 0);
	machine_load(machine, code, sizeof(code) - 1);
	expect_port(machine, 0x10);
	check_equal(machine->vcpu.run->io.direction, KVM_EXIT_IO_IN);
	check_equal(take_count(fd), 2);
	check_equal(take_count(third), 1);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(assign(machine, fd, 0x10, 1, PIO | DEASSIGN, 0), 0);
	check_equal(assign(machine, third, 0x10, 2, PIO | DEASSIGN, 0), 0);
	check_equal(assign(machine, 0, 0x10, 2, PIO, 0), -EINVAL);
	close(other);
	close(third);
}

static void test_memory(struct machine *machine, int fd)
{
	/* mov $0x8000,%ax; mov %ax,%ds; mov %eax,(0); mov %ax,(0); mov %eax,(4); hlt */
	static const char code[] = "\xb8\x00\x80\x8e\xd8\x66\xa3\x00\x00\xa3\x00\x00\x66\xa3"
				   "\x04\x00\xf4";

	check_equal(assign(machine, fd, 0x80000, 4, 0, 0), 0);
	machine_load(machine, code, sizeof(code) - 1);
	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(machine->vcpu.run->mmio.len, 2);
	check_equal(take_count(fd), 1);
	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(machine->vcpu.run->mmio.phys_addr, 0x80004);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(assign(machine, fd, 0x80000, 4, DEASSIGN, 0), 0);

	/* Any length. */
	check_equal(assign(machine, fd, 0x80000, 0, 0, 0), 0);
	machine_load(machine, code, sizeof(code) - 1);
	machine_expect(machine, KVM_EXIT_MMIO);
	check_equal(machine->vcpu.run->mmio.phys_addr, 0x80004);
	check_equal(take_count(fd), 2);
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(assign(machine, fd, 0x80000, 0, DEASSIGN, 0), 0);
}

static void *trigger(void *argument)
{
	uint64_t one = 1;

	sleep_ms(20);
	if (write(*(int *)argument, &one, sizeof(one)) < 0)
		perror("write");
	return NULL;
}

/*
 * The master PIC at vector 0x20, IRQ 5 open; wait for it in HLT; the handler reports and ends the
 * interrupt.
 *
 *	cli
 *	mov $0x11,%al; out %al,$0x20; mov $0x20,%al; out %al,$0x21; mov $4,%al; out %al,$0x21
 *	mov $1,%al; out %al,$0x21; mov $0xdf,%al; out %al,$0x21
 *	1: sti; hlt; cli; out %al,$0x81; jmp 1b
 */
static const char pic_code[] =
	"\xfa\xb0\x11\xe6\x20\xb0\x20\xe6\x21\xb0\x04\xe6\x21\xb0\x01\xe6\x21\xb0\xdf\xe6\x21"
	"\xfb\xf4\xfa\xe6\x81\xeb\xf9";
/* mov $0x20,%al; out %al,$0x20; out %al,$0x80; iret */
static const char pic_handler[] = "\xb0\x20\xe6\x20\xe6\x80\xcf";

static void test_irqfd(const struct kvm_system *system, int fd)
{
	struct kvm_irqfd request = { .fd = fd, .gsi = 5 };
	struct kvm_irq_level level = { .irq = 5, .level = 1 };
	struct machine machine;
	pthread_t thread;
	unsigned i;

	machine_create(&machine, system, IRQCHIP_FULL, pic_code, sizeof(pic_code) - 1);
	memcpy(machine.ram + 0x2000, pic_handler, sizeof(pic_handler));
	memcpy(machine.ram + 4 * 0x25, "\x00\x20\x00\x00", 4);
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_IRQFD, &request), 0);
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_IRQFD, &request), -EBUSY);
	for (i = 0; i < 3; i++) {
		pthread_create(&thread, NULL, trigger, &fd);
		expect_port(&machine, 0x80);
		expect_port(&machine, 0x81);
		pthread_join(thread, NULL);
	}
	request.flags = KVM_IRQFD_FLAG_DEASSIGN;
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_IRQFD, &request), 0);
	/* The same by hand. */
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_IRQ_LINE, &level), 0);
	level.level = 0;
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_IRQ_LINE, &level), 0);
	check_equal(machine.vcpu.run->exit_reason, KVM_EXIT_IO);
	machine_destroy(&machine);
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;
	int fd;

	contract_open(argc, argv, &system);
	fd = eventfd(0, EFD_NONBLOCK);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	test_ports(&machine, fd);
	test_memory(&machine, fd);
	machine_destroy(&machine);
	test_irqfd(&system, fd);
	close(fd);
	return contract_close(&system);
}
