#include "contract.h"

#include "../host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static unsigned checks, failures;

void contract_open(int argc, char **argv, struct kvm_system *system)
{
	contract_open_with(argc, argv, NULL, system);
}

void contract_open_with(int argc, char **argv, const struct kvm_options *options,
			struct kvm_system *system)
{
	static const struct kvm_backend *const backends[] = {
		&kvm_backend_linux, &kvm_backend_engine, &kvm_backend_interpreter,
		&kvm_backend_translator,
	};
	const struct kvm_backend *backend = NULL;
	struct error error;
	unsigned i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; argc > 1 && i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(argv[1], backends[i]->name) == 0)
			backend = backends[i];
	if (!backend) {
		fprintf(stderr, "usage: %s kvm|engine|interp|jit\n", argv[0]);
		exit(2);
	}
	if (kvm_system_open(system, backend, options, &error) < 0) {
		printf("skipped: %s\n", error.message);
		exit(EXIT_SKIPPED);
	}
}

int contract_close(struct kvm_system *system)
{
	kvm_system_close(system);
	return contract_finish();
}

int contract_finish(void)
{
	printf("%u checks, %u failed\n", checks, failures);
	return failures ? 1 : 0;
}

bool contract_is_engine(const struct kvm_system *system)
{
	return system->backend != &kvm_backend_linux;
}

void check_result(bool is_right, const char *file, int line, const char *format, ...)
{
	va_list args;

	checks++;
	if (is_right)
		return;
	failures++;
	printf("%s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static void fail(const char *what, int result)
{
	printf("cannot go on: %s: %s\n", what, strerror(-result));
	exit(1);
}

static void fail_error(const struct error *error)
{
	printf("cannot go on: %s\n", error->message);
	exit(1);
}

void machine_load(struct machine *machine, const void *code, size_t size)
{
	struct kvm_regs regs = { .rip = CODE_GPA, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;

	memcpy(machine->ram + CODE_GPA, code, size);
	kvm_vcpu_ioctl(&machine->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SREGS, &sregs);
	kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_REGS, &regs);
}

void machine_load_flat(struct machine *machine, const void *code, size_t size)
{
	struct kvm_segment segment = {
		.selector = 8, .limit = 0xffffffff, .type = 11, .present = 1,
		.s = 1, .db = 1, .g = 1,
	};
	struct kvm_sregs sregs;

	machine_load(machine, code, size);
	kvm_vcpu_ioctl(&machine->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs = segment;
	segment.type = 3;
	segment.selector = 16;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	sregs.cr0 |= 1;
	kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SREGS, &sregs);
}

static void create(struct machine *machine, const struct kvm_system *system, enum machine_irqchip irqchip,
		   bool tells_writes, const void *code, size_t size)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM_SIZE };
	struct error error;
	int result;

	machine->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (machine->ram == MAP_FAILED)
		fail("mmap", -errno);
	if (kvm_vm_create(&machine->vm, system, &error) < 0)
		fail_error(&error);
	kvm_vm_own_memory(&machine->vm);
	if (tells_writes)
		kvm_vm_tell_writes(&machine->vm);
	/* Intel CPUs without "unrestricted guest" need it for real mode. */
	kvm_vm_ioctl(&machine->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);
	if (irqchip == IRQCHIP_FULL) {
		result = kvm_vm_ioctl(&machine->vm, KVM_CREATE_IRQCHIP, NULL);
		if (result < 0)
			fail("KVM_CREATE_IRQCHIP", result);
	}
	region.userspace_addr = (uintptr_t)machine->ram;
	result = kvm_vm_ioctl(&machine->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (result < 0)
		fail("KVM_SET_USER_MEMORY_REGION", result);
	if (kvm_vcpu_create(&machine->vcpu, &machine->vm, 0, &error) < 0)
		fail_error(&error);
	machine_load(machine, code, size);
}

void machine_create(struct machine *machine, const struct kvm_system *system, enum machine_irqchip irqchip,
		    const void *code, size_t size)
{
	create(machine, system, irqchip, false, code, size);
}

void machine_create_telling(struct machine *machine, const struct kvm_system *system, enum machine_irqchip irqchip,
			    const void *code, size_t size)
{
	create(machine, system, irqchip, true, code, size);
}

void machine_destroy(struct machine *machine)
{
	kvm_vcpu_close(&machine->vcpu);
	kvm_vm_close(&machine->vm);
	munmap(machine->ram, RAM_SIZE);
}

int machine_run(struct machine *machine)
{
	return kvm_vcpu_ioctl(&machine->vcpu, KVM_RUN, NULL);
}

void machine_expect_at(struct machine *machine, uint32_t reason, const char *file, int line)
{
	int result = machine_run(machine);

	check_result(result == 0, file, line, "KVM_RUN gives %d", result);
	check_result(machine->vcpu.run->exit_reason == reason, file, line,
		     "exit reason is %u, not %u", machine->vcpu.run->exit_reason, reason);
}

struct kvm_regs machine_regs(struct machine *machine)
{
	struct kvm_regs regs = { 0 };

	check(kvm_vcpu_ioctl(&machine->vcpu, KVM_GET_REGS, &regs) == 0);
	return regs;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

void sleep_ms(unsigned ms)
{
	struct timespec interval = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l };

	nanosleep(&interval, NULL);
}

static void *run_thread(void *argument)
{
	struct vcpu_thread *runner = argument;

	runner->result = kvm_vcpu_ioctl(runner->vcpu, KVM_RUN, NULL);
	atomic_store(&runner->is_done, true);
	return NULL;
}

void vcpu_thread_start(struct vcpu_thread *runner, struct kvm_vcpu *vcpu)
{
	runner->vcpu = vcpu;
	atomic_store(&runner->is_done, false);
	pthread_create(&runner->thread, NULL, run_thread, runner);
}

unsigned contract_patience(void)
{
	const char *factor = getenv("KVIK_TEST_PATIENCE");

	return factor && atoi(factor) > 0 ? (unsigned)atoi(factor) : 1;
}

void vcpu_thread_finish(struct vcpu_thread *runner, uint32_t reason)
{
	uint64_t end = now_ns() + contract_patience() * VCPU_DEADLINE_MS * UINT64_C(1000000);

	while (!atomic_load(&runner->is_done) && now_ns() < end)
		sleep_ms(1);
	check(atomic_load(&runner->is_done));
	if (!atomic_load(&runner->is_done))
		kvm_vcpu_kick(runner->vcpu, runner->thread);
	pthread_join(runner->thread, NULL);
	/* Without hardware virtualization KVM may report a kick as a failed emulation. */
	if (reason == KVM_EXIT_INTR && runner->vcpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	    !contract_is_engine(runner->vcpu->system) && !kvm_is_hardware())
		return;
	check_equal(runner->vcpu->run->exit_reason, reason);
}

void machine_enter_long(struct machine *machine, struct kvm_vcpu *vcpu, uint64_t rip)
{
	struct kvm_regs regs = { .rip = rip, .rsp = rip + 0x800, .rflags = 2 };
	struct kvm_segment segment = {
		.selector = 8, .limit = 0xffffffff, .type = 11, .present = 1,
		.s = 1, .l = 1, .g = 1,
	};
	uint64_t entries[] = { LONG_TABLES + 0x1003, LONG_TABLES + 0x2003, 0x83 };
	struct kvm_sregs sregs;

	for (unsigned i = 0; i < 3; i++)
		memcpy(machine->ram + LONG_TABLES + i * 0x1000, &entries[i], 8);
	check_equal(kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = segment;
	segment.type = 3;
	segment.l = 0;
	segment.db = 1;
	segment.selector = 16;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	sregs.cr0 = 0x80000011;
	sregs.cr3 = LONG_TABLES;
	sregs.cr4 = 0x20;
	sregs.efer = 0x500;
	check_equal(kvm_vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs), 0);
	check_equal(kvm_vcpu_ioctl(vcpu, KVM_SET_REGS, &regs), 0);
}
