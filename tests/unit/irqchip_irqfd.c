/*
 * KVM_IRQFD (KVM api.rst 4.75): pulses, resampling, errors, deassignment by another descriptor; and
 * KVM_GET/SET_IRQCHIP and KVM_GET/SET_LAPIC round trips.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "irqchip_fixture.h"

#define LEVEL  (1u << 15)
#define MASKED (1u << 16)

/* What the engine asks the kernel by number, in place of the C library's: kcmp(2) is counted, and forbidden
 * as filters do. */
static unsigned kcmps;
static bool forbids_kcmp;

long syscall(long number, ...)
{
	long argument[6], result;
	va_list list;

	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		argument[i] = va_arg(list, long);
	va_end(list);
	kcmps += number == SYS_kcmp;
	if (number == SYS_kcmp && forbids_kcmp) {
		errno = EPERM;
		return -1;
	}
	register long r10 __asm__("r10") = argument[3], r8 __asm__("r8") = argument[4], r9 __asm__("r9") = argument[5];
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(argument[0]), "S"(argument[1]), "d"(argument[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static bool wait_signal(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint64_t count;

	return poll(&ready, 1, 5000) == 1 && read(fd, &count, sizeof(count)) == sizeof(count);
}

static int request(struct fake_vm *vm, int fd, unsigned gsi, unsigned flags, int resample_fd)
{
	struct kvm_irqfd irqfd = {.fd = fd, .gsi = gsi, .flags = flags, .resamplefd = resample_fd};

	return irqchip_irqfd(vm->chip, &irqfd);
}

static void test_pulse(void **state)
{
	struct fake_vm vm;
	int fd = eventfd(0, EFD_CLOEXEC), other;

	(void)state;
	vm_setup(&vm, 1);
	ioapic_route(&vm, 16, 0x41, 0);
	assert_int_equal(request(&vm, fd, 16, 0, 0), 0);
	assert_int_equal(request(&vm, fd, 17, 0, 0), -EBUSY);
	signal_fd(fd);
	assert_true(wait_pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 0), 0x41);
	end_of_interrupt(&vm, 0);
	signal_fd(fd);
	assert_true(wait_pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 0), 0x41);
	end_of_interrupt(&vm, 0);
	/* Another GSI is not assigned; another descriptor of the same eventfd names it. */
	other = dup(fd);
	assert_int_equal(request(&vm, other, 17, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	signal_fd(fd);
	assert_true(wait_pending(&vm, 0));
	acknowledge(&vm, 0);
	end_of_interrupt(&vm, 0);
	assert_int_equal(request(&vm, other, 16, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	signal_fd(fd);
	sleep_ms(5);
	assert_false(pending(&vm, 0));
	/* A signal from before the assignment counts. */
	assert_int_equal(request(&vm, fd, 16, 0, 0), 0);
	assert_true(wait_pending(&vm, 0));
	close(fd);
	close(other);
	vm_teardown(&vm);
}

static void test_resample(void **state)
{
	struct fake_vm vm;
	int fd = eventfd(0, EFD_CLOEXEC), resample_fd = eventfd(0, EFD_CLOEXEC);
	struct pollfd ready = {.fd = resample_fd, .events = POLLIN};

	(void)state;
	vm_setup(&vm, 1);
	ioapic_route(&vm, 20, 0x51 | LEVEL, 0);
	assert_int_equal(request(&vm, fd, 20, KVM_IRQFD_FLAG_RESAMPLE, resample_fd), 0);
	signal_fd(fd);
	assert_true(wait_pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	assert_int_equal(poll(&ready, 1, 0), 0);
	end_of_interrupt(&vm, 0);
	/* The EOI lowered the line and told the device. */
	assert_true(wait_signal(resample_fd));
	assert_false(pending(&vm, 0));
	/* Which still has something to say. */
	signal_fd(fd);
	assert_true(wait_pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	/* Deassigned while it holds the line: lowered. */
	assert_int_equal(request(&vm, fd, 20, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	end_of_interrupt(&vm, 0);
	assert_false(pending(&vm, 0));
	assert_int_equal(poll(&ready, 1, 0), 0);
	close(fd);
	close(resample_fd);
	vm_teardown(&vm);
}

static void test_resample_pic(void **state)
{
	struct fake_vm vm;
	int fd = eventfd(0, EFD_CLOEXEC), resample_fd = eventfd(0, EFD_CLOEXEC);

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	out(&vm, 0x4d1, 1 << 2);
	assert_int_equal(request(&vm, fd, 10, KVM_IRQFD_FLAG_RESAMPLE, resample_fd), 0);
	signal_fd(fd);
	assert_true(wait_pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 0), 0x2a);
	out(&vm, 0xa0, 0x20);
	out(&vm, 0x20, 0x20);
	assert_true(wait_signal(resample_fd));
	assert_false(pending(&vm, 0));
	close(fd);
	close(resample_fd);
	vm_teardown(&vm);
}

static void test_errors(void **state)
{
	struct fake_vm vm;
	struct irqchip *none = irqchip_create(&fake_host);
	struct kvm_irqfd irqfd = {.gsi = 1};
	int fd = eventfd(0, EFD_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	irqfd.fd = fd;
	assert_int_equal(irqchip_irqfd(none, &irqfd), -EAGAIN);
	irqchip_destroy(none);
	vm_setup(&vm, 1);
	assert_int_equal(request(&vm, -1, 1, 0, 0), -EBADF);
	assert_int_equal(request(&vm, null, 1, 0, 0), -EINVAL);
	assert_int_equal(request(&vm, fd, 1, 1 << 2, 0), -EINVAL);
	assert_int_equal(request(&vm, fd, 4096, 0, 0), -EINVAL);
	assert_int_equal(request(&vm, fd, 1, KVM_IRQFD_FLAG_RESAMPLE, null), -EINVAL);
	assert_int_equal(request(&vm, fd, 1, KVM_IRQFD_FLAG_RESAMPLE, -1), -EBADF);
	assert_int_equal(request(&vm, fd, 1, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	vm_teardown(&vm);
	vm_setup_split(&vm, 1, 24);
	assert_int_equal(request(&vm, fd, 1, KVM_IRQFD_FLAG_RESAMPLE, fd), -EINVAL);
	assert_int_equal(request(&vm, fd, 1, 0, 0), 0);
	vm_teardown(&vm);
	close(fd);
	close(null);
}

/* Assigned ones are told apart with few system calls, and each by another descriptor of its eventfd. kcmp(2) is
 * forbidden when `allowed` of them are there; never, if that is negative. */
static void assign_many(int allowed)
{
	enum { MANY = 200 };
	struct fake_vm vm;
	int fds[MANY], other;
	unsigned i, at;

	vm_setup(&vm, 1);
	kcmps = 0;
	for (i = 0; i < MANY; i++) {
		forbids_kcmp = allowed >= 0 && (int)i >= allowed;
		fds[i] = eventfd(0, EFD_CLOEXEC);
		assert_int_equal(request(&vm, fds[i], i % 24, 0, 0), 0);
	}
	assert_in_range(kcmps, 0, MANY * 10);
	for (i = 0; i < MANY; i++)
		assert_int_equal(request(&vm, fds[i], 0, 0, 0), -EBUSY);
	/* In another order than they came. A number tells, where nothing else does. */
	ioapic_route(&vm, 16, 0x41, 0);
	for (i = 0; i < MANY; i++) {
		at = i * 7 % MANY;
		other = forbids_kcmp ? fds[at] : dup(fds[at]);
		if (at % 24 == 16) {
			signal_fd(fds[at]);
			assert_true(wait_pending(&vm, 0));
			assert_int_equal(acknowledge(&vm, 0), 0x41);
			end_of_interrupt(&vm, 0);
		}
		assert_int_equal(request(&vm, other, at % 24, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
		assert_int_equal(request(&vm, fds[at], 16, 0, 0), 0);
		assert_int_equal(request(&vm, fds[at], 16, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
		if (other != fds[at])
			close(other);
	}
	forbids_kcmp = false;
	for (i = 0; i < MANY; i++) {
		signal_fd(fds[i]);
		close(fds[i]);
	}
	sleep_ms(5);
	assert_false(pending(&vm, 0));
	vm_teardown(&vm);
}

static void test_many(void **state)
{
	(void)state;
	assign_many(-1);
	assign_many(0);
	assign_many(100);
}

static void test_irqchip_state(void **state)
{
	struct fake_vm vm, other;
	struct kvm_irqchip saved[3], again;
	unsigned i;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	out(&vm, 0x21, 0xf0);
	out(&vm, 0x4d1, 0x0c);
	pulse_line(&vm, 1);
	assert_int_equal(acknowledge(&vm, 0), 0x21);
	pulse_line(&vm, 3);
	apic_write(&vm, 0, 0x350, MASKED);
	ioapic_write(&vm, 0, 3u << 24);
	ioapic_route(&vm, 4, 0x41 | MASKED, 0);
	ioapic_route(&vm, 20, 0x51 | LEVEL, 0);
	raise_line(&vm, 20); /* in service, remote IRR set */
	ioapic_route(&vm, 21, 0x61 | LEVEL | MASKED, 0);
	raise_line(&vm, 21); /* waits for its mask */
	ioapic_route(&vm, 22, 0x71, 0);
	raise_line(&vm, 22); /* an edge that was delivered and is still high */
	for (i = 0; i < 3; i++) {
		saved[i].chip_id = i;
		assert_int_equal(irqchip_get(vm.chip, &saved[i]), 0);
	}
	assert_int_equal(saved[0].chip.pic.isr, 1 << 1);
	assert_int_equal(saved[0].chip.pic.irr, 1 << 3);
	assert_int_equal(saved[2].chip.ioapic.irr, 1 << 20 | 1 << 21);
	assert_int_equal(saved[2].chip.ioapic.redirtbl[20].fields.remote_irr, 1);

	vm_setup(&other, 1);
	for (i = 0; i < 3; i++)
		assert_int_equal(irqchip_set(other.chip, &saved[i]), 0);
	for (i = 0; i < 3; i++) {
		again.chip_id = i;
		assert_int_equal(irqchip_get(other.chip, &again), 0);
		assert_memory_equal(&again.chip, &saved[i].chip, sizeof(again.chip));
	}
	/* Remote IRR holds the delivered level back, the edge does not come twice. */
	apic_write(&other, 0, 0x350, MASKED);
	assert_false(pending(&other, 0));
	ioapic_write(&other, 0x10 + 42, 0x61 | LEVEL);
	assert_int_equal(acknowledge(&other, 0), 0x61);
	/* The PIC goes on where it was: 3 waits for the end of 1. */
	end_of_interrupt(&other, 0);
	apic_write(&other, 0, 0x350, 0x700);
	ioapic_write(&other, 0x10 + 42, 0x61 | LEVEL | MASKED);
	while (pending(&other, 0) && acknowledge(&other, 0) == 0x61)
		end_of_interrupt(&other, 0);
	out(&other, 0x20, 0x20);
	assert_int_equal(acknowledge(&other, 0), 0x23);
	vm_teardown(&other);
	vm_teardown(&vm);
}

static void test_lapic_state(void **state)
{
	struct fake_vm vm, other;
	struct kvm_lapic_state saved, again;
	struct kvm_msi msi = {.address_lo = 0xfee00000, .data = 0x61};

	(void)state;
	vm_setup(&vm, 2);
	apic_write(&vm, 0, 0xd0, 0x04000000);
	apic_write(&vm, 0, 0x80, 0x30);
	apic_write(&vm, 0, 0x370, 0xfe);
	irqchip_send_msi(vm.chip, &msi);
	assert_int_equal(acknowledge(&vm, 0), 0x61);
	msi.data = LEVEL | 0x45;
	irqchip_send_msi(vm.chip, &msi);
	assert_int_equal(lapic_get_state(vm.vcpus[0].lapic, &saved), 0);
	vm_setup(&other, 2);
	assert_int_equal(lapic_set_state(other.vcpus[0].lapic, &saved), 0);
	assert_int_equal(lapic_get_state(other.vcpus[0].lapic, &again), 0);
	assert_memory_equal(&saved, &again, sizeof(saved));
	assert_false(pending(&other, 0));
	end_of_interrupt(&other, 0);
	assert_int_equal(acknowledge(&other, 0), 0x45);
	vm_teardown(&other);

	/* x2APIC: the id in the narrow and in the wide format. */
	assert_int_equal(lapic_set_base(vm.vcpus[1].lapic, APIC_PAGE | 0xc00), 0);
	assert_int_equal(lapic_get_state(vm.vcpus[1].lapic, &saved), 0);
	assert_int_equal(*(uint32_t *)(saved.regs + 0x20), 1 << 24);
	assert_int_equal(*(uint32_t *)(saved.regs + 0xd0), 1 << 1);
	assert_int_equal(lapic_set_state(vm.vcpus[1].lapic, &saved), 0);
	irqchip_set_x2apic_flags(vm.chip, KVM_X2APIC_API_USE_32BIT_IDS);
	assert_int_equal(lapic_set_state(vm.vcpus[1].lapic, &saved), -EINVAL);
	assert_int_equal(lapic_get_state(vm.vcpus[1].lapic, &saved), 0);
	assert_int_equal(*(uint32_t *)(saved.regs + 0x20), 1);
	assert_int_equal(lapic_set_state(vm.vcpus[1].lapic, &saved), 0);
	/* Nonsense must not hurt. */
	memset(&saved, 0xff, sizeof(saved));
	assert_int_equal(lapic_set_state(vm.vcpus[0].lapic, &saved), 0);
	assert_true(pending(&vm, 0) || !pending(&vm, 0));
	vm_teardown(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pulse),
		cmocka_unit_test(test_resample),
		cmocka_unit_test(test_resample_pic),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_irqchip_state),
		cmocka_unit_test(test_lapic_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
