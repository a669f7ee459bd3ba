/*
 * Eventfds that a guest's devices assign while the monitor is confined: KVM_IRQFD and KVM_IOEVENTFD
 * on the engine, which may look at nothing by a path then.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "sandbox/internal.h"
#include "sandbox/sandbox.h"

static unsigned failures;

static void expect(const char *about, int result, int wanted)
{
	failures += result != wanted;
	printf("%s %s: %d, wanted %d\n", result == wanted ? "PASS" : "FAIL", about, result, wanted);
}

static int irqfd(const struct kvm_vm *vm, int fd, unsigned gsi, unsigned flags, int resample_fd)
{
	struct kvm_irqfd request = {
		.fd = fd, .gsi = gsi, .flags = flags, .resamplefd = resample_fd};

	return kvm_vm_ioctl(vm, KVM_IRQFD, &request);
}

static int ioeventfd(const struct kvm_vm *vm, int fd, unsigned flags)
{
	struct kvm_ioeventfd request = {.addr = 0xfe000000, .len = 4, .fd = fd, .flags = flags};

	return kvm_vm_ioctl(vm, KVM_IOEVENTFD, &request);
}

/* Signals, and waits until somebody else has taken the count: for some time. */
static bool is_taken(int fd, unsigned wait_ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint64_t one = 1;
	unsigned tries;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		return false;
	for (tries = 0; tries < wait_ms && poll(&ready, 1, 0) == 1; tries++)
		usleep(1000);
	return poll(&ready, 1, 0) == 0;
}

static void check(const struct kvm_vm *vm)
{
	const unsigned off = KVM_IRQFD_FLAG_DEASSIGN, resample = KVM_IRQFD_FLAG_RESAMPLE;
	int first = eventfd(0, EFD_CLOEXEC), second = eventfd(0, EFD_CLOEXEC),
	    other = fcntl(first, F_DUPFD_CLOEXEC, 0);

	expect("a null pointer", kvm_vm_ioctl(vm, KVM_IRQFD, NULL), -EFAULT);
	expect("an irqfd", irqfd(vm, first, 4, 0, 0), 0);
	expect("the same again", irqfd(vm, other, 5, 0, 0), -EBUSY);
	expect("its signal is taken", is_taken(first, 5000), true);
	expect("off, by another descriptor", irqfd(vm, other, 4, off, 0), 0);
	expect("no longer taken", is_taken(first, 20), false);
	expect("one that resamples", irqfd(vm, first, 10, resample, second), 0);
	expect("off", irqfd(vm, first, 10, off, 0), 0);
	expect("the terminal", irqfd(vm, 0, 4, 0, 0), -EINVAL);
	expect("resampled by the terminal", irqfd(vm, first, 10, resample, 0), -EINVAL);
	expect("nothing", irqfd(vm, 999, 4, 0, 0), -EBADF);
	expect("an ioeventfd", ioeventfd(vm, first, 0), 0);
	expect("the same again", ioeventfd(vm, second, 0), -EEXIST);
	expect("off, by another descriptor", ioeventfd(vm, other, KVM_IOEVENTFD_FLAG_DEASSIGN), 0);
	expect("the terminal", ioeventfd(vm, 0, 0), -EINVAL);
}

int main(void)
{
	struct kvm_system system;
	struct kvm_vm vm;
	struct sandbox_report report;
	struct error error;
	const struct sandbox_config config = {0};

	setvbuf(stdout, NULL, _IONBF, 0);
	if (kvm_system_open(&system, &kvm_backend_engine, NULL, &error) < 0 ||
	    sandbox_enter(&config, &report, &error) < 0 || kvm_vm_create(&vm, &system, &error) < 0 ||
	    kvm_vm_ioctl(&vm, KVM_CREATE_IRQCHIP, NULL) < 0 ||
	    sandbox_lock(&config, &report, &error) < 0) {
		printf("FAIL %s\n", error.message);
		return 1;
	}
	check(&vm);
	kvm_vm_close(&vm);
	kvm_system_close(&system);
	return failures != 0;
}
