/*
 * Handles are descriptors: duplicates, lifetimes, fork.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract.h"

/* A vCPU keeps its VM, and the VM its memory slots. */
static void test_lifetime(const struct kvm_backend *backend)
{
	struct kvm_system system;
	struct machine machine;
	struct error error;

	check_equal(kvm_system_open(&system, backend, NULL, &error), 0);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xe6\x10\xf4", 3);
	kvm_system_close(&system);
	machine.vcpu.system = machine.vm.system;
	check_equal(backend->close(machine.vm.fd), 0);
	check_equal(backend->ioctl(machine.vm.fd, KVM_CHECK_EXTENSION, NULL), -EBADF);
	machine.vm.fd = -1;
	kvm_vm_close(&machine.vm); /* what is not the backend's */
	machine_expect(&machine, KVM_EXIT_IO);
	machine_expect(&machine, KVM_EXIT_HLT);
	check_equal(backend->close(machine.vcpu.fd), 0);
	check_equal(backend->close(machine.vcpu.fd), -EBADF);
	munmap(machine.vcpu.run, 12288);
	munmap(machine.ram, RAM_SIZE);
}

static void test_duplicates(const struct kvm_system *system)
{
	const struct kvm_backend *backend = system->backend;
	struct machine machine;
	struct kvm_regs regs;
	struct kvm_run *run;
	int fd, vcpu_fd;

	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	fd = dup(system->fd);
	check_equal(backend->ioctl(fd, KVM_GET_API_VERSION, NULL), 12);
	check_equal(backend->close(fd), 0);
	fd = dup(machine.vm.fd);
	check_equal(backend->ioctl(fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_USER_MEMORY), 1);
	check_equal(backend->close(fd), 0);

	fd = dup(machine.vcpu.fd);
	check_equal(backend->ioctl(fd, KVM_GET_REGS, &regs), 0);
	check_equal(regs.rip, CODE_GPA);
	run = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(run != MAP_FAILED);
	check_equal(backend->ioctl(fd, KVM_RUN, NULL), 0);
	check_equal(run->exit_reason, KVM_EXIT_HLT);
	munmap(run, 12288);
	check_equal(backend->close(fd), 0);

	/* The vCPU itself stays with the VM: its id is taken. */
	vcpu_fd = kvm_vm_ioctl(&machine.vm, KVM_CREATE_VCPU, (void *)5);
	check(vcpu_fd >= 0);
	check_equal(backend->close(vcpu_fd), 0);
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_CREATE_VCPU, (void *)5), -EEXIST);
	machine_destroy(&machine);
}

static void test_fork(const struct kvm_system *system)
{
	struct machine machine;
	struct kvm_regs regs;
	int status = 0;
	pid_t child;

	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		bool is_right =
			kvm_system_ioctl(system, KVM_GET_API_VERSION, NULL) == 12 &&
			kvm_vm_ioctl(&machine.vm, KVM_CHECK_EXTENSION, NULL) == -EIO &&
			kvm_vcpu_ioctl(&machine.vcpu, KVM_GET_REGS, &regs) == -EIO;

		machine_destroy(&machine);
		/* A VM of its own. */
		machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
		is_right &= machine_run(&machine) == 0;
		machine_destroy(&machine);
		_exit(is_right ? 0 : 1);
	}
	waitpid(child, &status, 0);
	check_equal(status, 0);
	machine_expect(&machine, KVM_EXIT_HLT);
	machine_destroy(&machine);
}

/* Many VMs one after the other: nothing is left behind. */
static void test_many(const struct kvm_system *system)
{
	int first = dup(0), last, i;

	close(first);
	for (i = 0; i < 20; i++) {
		struct machine machine;

		machine_create(&machine, system, i % 2 ? IRQCHIP_FULL : IRQCHIP_NONE,
			       "\xe6\x10", 2);
		machine_expect(&machine, KVM_EXIT_IO);
		machine_destroy(&machine);
	}
	last = dup(0);
	close(last);
	check_equal(last, first);
}

static void note_translator(void *context, const char *name, uint64_t value)
{
	(void)value;
	if (strcmp(name, "blocks translated") == 0)
		*(bool *)context = true;
}

static bool translates(const struct machine *machine)
{
	bool result = false;

	machine->vcpu.system->backend->read_statistics(machine->vcpu.fd, note_translator, &result);
	return result;
}

/* What a system handle was told holds for its VMs alone, whatever others were told since. */
static void test_engines_side_by_side(void)
{
	const struct kvm_backend *const backends[2] = { &kvm_backend_engine,
							&kvm_backend_interpreter };
	struct kvm_system systems[2];
	struct machine machines[2], alone;
	struct error error;

	check_equal(kvm_system_open(&systems[0], backends[0], NULL, &error), 0);
	machine_create(&alone, &systems[0], IRQCHIP_NONE, "\xf4", 1);
	check_equal(kvm_system_open(&systems[1], backends[1], NULL, &error), 0);
	for (unsigned i = 0; i < 2; i++)
		machine_create(&machines[i], &systems[i], IRQCHIP_NONE, "\xf4", 1);
	check_equal(translates(&machines[0]), translates(&alone));
	check_equal(translates(&machines[1]), false);
	for (unsigned i = 0; i < 2; i++) {
		machine_expect(&machines[i], KVM_EXIT_HLT);
		machine_destroy(&machines[i]);
	}
	machine_destroy(&alone);
	for (unsigned i = 0; i < 2; i++)
		kvm_system_close(&systems[i]);
}

int main(int argc, char **argv)
{
	struct kvm_system system;

	contract_open(argc, argv, &system);
	test_lifetime(system.backend);
	test_duplicates(&system);
	test_fork(&system);
	test_many(&system);
	if (contract_is_engine(&system))
		test_engines_side_by_side();
	return contract_close(&system);
}
