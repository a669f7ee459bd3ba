/*
 * Several vCPUs: start-up by INIT and SIPI, shared memory with locked instructions, and requests
 * that need them all to stop.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "contract.h"

#define CPUS 4

struct runner {
	struct kvm_vcpu vcpu;
	pthread_t thread;
	unsigned again; /* KVM_RUN gave EAGAIN */
	int result;
	_Atomic bool is_done;
	int cpu; /* of the host, to run on: test_turns */
	long used_ms;
};

static void *run_thread(void *argument)
{
	struct runner *runner = argument;

	for (;;) {
		runner->result = kvm_vcpu_ioctl(&runner->vcpu, KVM_RUN, NULL);
		if (runner->result != -EAGAIN)
			break;
		runner->again++;
	}
	atomic_store(&runner->is_done, true);
	return NULL;
}

/*
 * 32-bit flat, with the xAPIC:
 *	movl $0xc4500,0xfee00300	INIT to all but self
 *	movl $0xc4602,0xfee00300	SIPI, page 2
 *	1: jmp 1b
 */
static const char start_code[] = "\xc7\x05\x00\x03\xe0\xfe\x00\x45\x0c\x00"
				 "\xc7\x05\x00\x03\xe0\xfe\x02\x46\x0c\x00"
				 "\xeb\xfe";
/* out %al,$0x42; hlt */
static const char started_code[] = "\xe6\x42\xf4";

static void test_start(const struct kvm_system *system)
{
	struct kvm_mp_state state;
	struct machine machine;
	struct runner boot = { 0 }, other = { 0 };
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct error error;

	machine_create(&machine, system, IRQCHIP_FULL, "\xf4", 1);
	machine_load_flat(&machine, start_code, sizeof(start_code) - 1);
	memcpy(machine.ram + 0x2000, started_code, sizeof(started_code));
	check_equal(kvm_vcpu_create(&other.vcpu, &machine.vm, 1, &error), 0);
	check_equal(kvm_vcpu_ioctl(&other.vcpu, KVM_GET_MP_STATE, &state), 0);
	check_equal(state.mp_state, KVM_MP_STATE_UNINITIALIZED);

	pthread_create(&other.thread, NULL, run_thread, &other);
	sleep_ms(20);
	check(!atomic_load(&other.is_done));
	boot.vcpu = machine.vcpu;
	pthread_create(&boot.thread, NULL, run_thread, &boot);
	pthread_join(other.thread, NULL);
	check_equal(other.result, 0);
	check_equal(other.again, 1);
	check_equal(other.vcpu.run->exit_reason, KVM_EXIT_IO);
	check_equal(other.vcpu.run->io.port, 0x42);
	check_equal(kvm_vcpu_ioctl(&other.vcpu, KVM_GET_SREGS, &sregs), 0);
	check_equal(sregs.cs.selector, 0x200);
	check_equal(sregs.cs.base, 0x2000);
	check_equal(sregs.cr0 & 1, 0);
	check_equal(kvm_vcpu_ioctl(&other.vcpu, KVM_GET_REGS, &regs), 0);
	check(regs.rip == 0 || regs.rip == 2);
	kvm_vcpu_kick(&boot.vcpu, boot.thread);
	pthread_join(boot.thread, NULL);
	check_equal(boot.result, -EINTR);
	kvm_vcpu_close(&other.vcpu);
	machine_destroy(&machine);
}

/*
 * Real mode, DS = 0:
 *	mov $20000,%cx
 *	1: lock incl (0x3000); lock incl (0x3ffe)  (the second one in two pages, unaligned)
 *	loop 1b; hlt
 */
static const char count_code[] = "\xb9\x20\x4e"
				 "\xf0\x66\xff\x06\x00\x30\xf0\x66\xff\x06\xfe\x3f"
				 "\xe2\xf2\xf4";
#define COUNT 20000

static void test_counting(const struct kvm_system *system)
{
	struct kvm_userspace_memory_region region = { .slot = 1, .guest_phys_addr = 0x100000,
						      .memory_size = 0x1000 };
	struct runner runners[CPUS] = { 0 };
	struct machine machine;
	struct error error;
	uint32_t counts[2];
	unsigned i, rounds;
	bool is_done;
	void *page;

	page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)page;
	machine_create(&machine, system, IRQCHIP_NONE, count_code, sizeof(count_code) - 1);
	for (i = 0; i < CPUS; i++) {
		struct machine view = machine;

		if (i)
			check_equal(kvm_vcpu_create(&runners[i].vcpu, &machine.vm, i, &error), 0);
		else
			runners[i].vcpu = machine.vcpu;
		view.vcpu = runners[i].vcpu;
		machine_load(&view, count_code, sizeof(count_code) - 1);
	}
	for (i = 0; i < CPUS; i++)
		pthread_create(&runners[i].thread, NULL, run_thread, &runners[i]);
	/* Memory slots come and go meanwhile. */
	for (rounds = 0, is_done = false; !is_done; rounds++) {
		region.memory_size = rounds % 2 ? 0 : 0x1000;
		check_equal(kvm_vm_ioctl(&machine.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
		is_done = rounds % 2;
		for (i = 0; i < CPUS; i++)
			is_done &= atomic_load(&runners[i].is_done);
		sleep_ms(1);
	}
	for (i = 0; i < CPUS; i++) {
		pthread_join(runners[i].thread, NULL);
		check_equal(runners[i].result, 0);
		check_equal(runners[i].vcpu.run->exit_reason, KVM_EXIT_HLT);
	}
	memcpy(&counts[0], machine.ram + 0x3000, 4);
	memcpy(&counts[1], machine.ram + 0x3ffe, 4);
	check_equal(counts[0], CPUS * COUNT);
	/* A KVM without hardware does not lock what crosses a page. */
	if (contract_is_engine(system))
		check_equal(counts[1], CPUS * COUNT);
	for (i = 1; i < CPUS; i++)
		kvm_vcpu_close(&runners[i].vcpu);
	machine_destroy(&machine);
	munmap(page, 0x1000);
}

/* One vCPU rewrites the code that the others run; all see one or the other. */
static void test_code_writes(const struct kvm_system *system)
{
	/* mov $2000,%cx; 1: xorb $1,(0x2001) ; loop 1b; hlt   (0x2000: mov $0/1,%al; jmp 0x2000) */
	static const char writer[] = "\xb9\xd0\x07\x80\x36\x01\x20\x01\xe2\xf9\xf4";
	static const char reader[] = "\xb0\x00\xeb\xfc";
	struct runner runners[2] = { 0 };
	struct machine machine, view;
	struct kvm_regs regs;
	struct error error;

	machine_create(&machine, system, IRQCHIP_NONE, writer, sizeof(writer) - 1);
	memcpy(machine.ram + 0x2000, reader, sizeof(reader) - 1);
	runners[0].vcpu = machine.vcpu;
	check_equal(kvm_vcpu_create(&runners[1].vcpu, &machine.vm, 1, &error), 0);
	view = machine;
	view.vcpu = runners[1].vcpu;
	machine_load(&view, writer, sizeof(writer) - 1);
	regs = machine_regs(&view);
	regs.rip = 0x2000;
	check_equal(kvm_vcpu_ioctl(&view.vcpu, KVM_SET_REGS, &regs), 0);

	pthread_create(&runners[1].thread, NULL, run_thread, &runners[1]);
	pthread_create(&runners[0].thread, NULL, run_thread, &runners[0]);
	pthread_join(runners[0].thread, NULL);
	check_equal(runners[0].vcpu.run->exit_reason, KVM_EXIT_HLT);
	check_equal(machine.ram[0x2001], 0);
	/* The reader may not have been scheduled since: it has until then to see the last change. */
	for (int tries = 1000;;) {
		sleep_ms(2);
		kvm_vcpu_kick(&runners[1].vcpu, runners[1].thread);
		pthread_join(runners[1].thread, NULL);
		check_equal(runners[1].result, -EINTR);
		regs = machine_regs(&view);
		if (regs.rax == 0 || !--tries)
			break;
		pthread_create(&runners[1].thread, NULL, run_thread, &runners[1]);
	}
	check(regs.rax == 0 && (regs.rip == 0x2000 || regs.rip == 0x2002));
	kvm_vcpu_close(&runners[1].vcpu);
	machine_destroy(&machine);
}

/*
 * 32-bit flat: 200 times, wait with PAUSE until the byte at 0x3000 is AL, then make it AH.
 *	mov $200,%ecx; 1: pause; cmp %al,0x3000; jne 1b; mov %ah,0x3000; loop 1b; hlt
 */
static const char turns_code[] = "\xb9\xc8\x00\x00\x00\xf3\x90\x38\x05\x00\x30\x00\x00\x75\xf6"
				 "\x88\x25\x00\x30\x00\x00\xe2\xee\xf4";

static void *run_and_measure(void *argument)
{
	struct runner *runner = argument;
	struct timespec used;
	cpu_set_t first;

	/* Both on one processor of the host. */
	CPU_ZERO(&first);
	CPU_SET(runner->cpu, &first);
	pthread_setaffinity_np(pthread_self(), sizeof(first), &first);
	run_thread(runner);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	runner->used_ms = used.tv_sec * 1000 + used.tv_nsec / 1000000;
	return NULL;
}

/* A vCPU that spins for another one gives way to it. */
static void test_turns(const struct kvm_system *system)
{
	struct runner runners[2] = { 0 };
	struct machine machine;
	struct kvm_regs regs;
	struct error error;
	unsigned i;

	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	runners[0].vcpu = machine.vcpu;
	check_equal(kvm_vcpu_create(&runners[1].vcpu, &machine.vm, 1, &error), 0);
	for (i = 0; i < 2; i++) {
		struct machine view = machine;

		view.vcpu = runners[i].vcpu;
		machine_load_flat(&view, turns_code, sizeof(turns_code) - 1);
		regs = machine_regs(&view);
		regs.rax = i | (!i) << 8;
		check_equal(kvm_vcpu_ioctl(&view.vcpu, KVM_SET_REGS, &regs), 0);
	}
	runners[0].cpu = runners[1].cpu = sched_getcpu();
	machine.ram[0x3000] = 0;
	for (i = 0; i < 2; i++)
		pthread_create(&runners[i].thread, NULL, run_and_measure, &runners[i]);
	for (i = 0; i < 2; i++) {
		pthread_join(runners[i].thread, NULL);
		check_equal(runners[i].vcpu.run->exit_reason, KVM_EXIT_HLT);
	}
	/* Else a time slice for each turn. */
	if (contract_is_engine(system))
		check(runners[0].used_ms + runners[1].used_ms < 500 * contract_patience());
	kvm_vcpu_close(&runners[1].vcpu);
	machine_destroy(&machine);
}

/* Kilobytes of this process in memory. */
static long resident_kb(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long size, resident = 0;

	check(file && fscanf(file, "%ld %ld", &size, &resident) == 2);
	if (file)
		fclose(file);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* As many vCPUs as there may be; those that never run cost little. */
static void test_many(const struct kvm_system *system)
{
	int most = kvm_system_ioctl(system, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MAX_VCPUS);
	struct machine machine;
	struct kvm_vcpu *vcpus;
	struct error error;
	long before;
	int i;

	if (!contract_is_engine(system) && most > 16)
		most = 16;
	check(most >= 16);
	vcpus = calloc(most, sizeof(*vcpus));
	machine_create(&machine, system, IRQCHIP_FULL, "\xf4", 1);
	before = resident_kb();
	for (i = 1; i < most; i++)
		check_equal(kvm_vcpu_create(&vcpus[i], &machine.vm, i, &error), 0);
	if (contract_is_engine(system))
		check_equal((resident_kb() - before) / most / 512, 0);
	for (i = 1; i < most; i++)
		kvm_vcpu_close(&vcpus[i]);
	machine_destroy(&machine);
	free(vcpus);
}

int main(int argc, char **argv)
{
	struct kvm_system system;

	contract_open(argc, argv, &system);
	test_start(&system);
	test_counting(&system);
	test_code_writes(&system);
	test_turns(&system);
	test_many(&system);
	return contract_close(&system);
}
