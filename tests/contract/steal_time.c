/*
 * Steal time (Linux's Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME): what a guest is told of the
 * time that its vCPU did not run, and what other vCPUs may leave for one that stands still.
 */
#include <linux/kvm_para.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract.h"

#define MSR_STEAL_TIME 0x4b564d03

#define STEAL_GPA 0x2000u
#define PREEMPTED 1
#define FLUSH_TLB 2

struct page {
	uint64_t steal_ns;
	uint32_t version, flags;
	uint8_t preempted;
};

static struct page read_page(const struct machine *machine)
{
	struct page page;

	memcpy(&page, machine->ram + STEAL_GPA, sizeof(page));
	return page;
}

/* How many MSRs were set: 1 or 0. */
static int set_msr(const struct machine *machine, uint64_t value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = { .header.nmsrs = 1, .entry = { .index = MSR_STEAL_TIME, .data = value } };

	return kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_MSRS, &one);
}

static bool is_offered(const struct kvm_system *system)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	uint32_t features = 0;
	unsigned i;

	cpuid->nent = 256;
	check_equal(kvm_system_ioctl(system, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == KVM_CPUID_FEATURES)
			features = cpuid->entries[i].eax;
	free(cpuid);
	return features & 1u << KVM_FEATURE_STEAL_TIME;
}

/* The page is aligned to its 64 bytes, and the MSR is among those that are saved. */
static void test_msr(const struct kvm_system *system)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = { .header.nmsrs = 1, .entry.index = MSR_STEAL_TIME };
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * sizeof(list->indices[0]));
	struct machine machine;
	bool is_listed = false;
	unsigned bit, i;

	machine_create(&machine, system, IRQCHIP_NONE, "\xf4", 1);
	for (bit = 1; bit < 6; bit++)
		check_equal(set_msr(&machine, STEAL_GPA | 1u << bit | 1), 0);
	check_equal(set_msr(&machine, STEAL_GPA | 1), 1);
	check_equal(kvm_vcpu_ioctl(&machine.vcpu, KVM_GET_MSRS, &one), 1);
	check_equal(one.entry.data, STEAL_GPA | 1);
	/* A page that is no memory is nobody's. */
	check_equal(set_msr(&machine, 0x100000000000 | 1), 1);
	machine_expect(&machine, KVM_EXIT_HLT);
	list->nmsrs = 1024;
	check_equal(kvm_system_ioctl(system, KVM_GET_MSR_INDEX_LIST, list), 0);
	for (i = 0; i < list->nmsrs; i++)
		is_listed |= list->indices[i] == MSR_STEAL_TIME;
	check(is_listed);
	machine_destroy(&machine);
	free(list);
}

static void stay_on(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

struct rival {
	int cpu; /* of the host */
	_Atomic bool is_over;
};

static void *compete(void *argument)
{
	struct rival *rival = argument;

	stay_on(rival->cpu);
	while (!atomic_load(&rival->is_over))
		;
	return NULL;
}

/* 32-bit flat: 1: cmpb $0,0x3000; je 1b; hlt; hlt */
static const char wait_code[] = "\x80\x3d\x00\x30\x00\x00\x00\x74\xf7\xf4\xf4";

struct runner {
	struct machine machine;
	uint64_t elapsed_ns; /* in the first KVM_RUN */
};

/* The guest is told when it is entered again at the latest; the time out of it is not stolen. */
static void *run_twice(void *argument)
{
	struct runner *runner = argument;
	uint64_t began = now_ns();

	machine_expect(&runner->machine, KVM_EXIT_HLT);
	runner->elapsed_ns = now_ns() - began;
	sleep_ms(500);
	machine_expect(&runner->machine, KVM_EXIT_HLT);
	return NULL;
}

/* Two threads on one processor of the host: what the rival takes is stolen, and is added to what was. */
static void test_stolen(const struct kvm_system *system)
{
	const uint64_t before = UINT64_C(1) << 50;
	struct rival rival = { .cpu = sched_getcpu() };
	struct runner runner;
	pthread_t rivals, guest;
	uint64_t stolen;
	cpu_set_t all;

	machine_create(&runner.machine, system, IRQCHIP_NONE, "\xf4", 1);
	machine_load_flat(&runner.machine, wait_code, sizeof(wait_code) - 1);
	memcpy(runner.machine.ram + STEAL_GPA, &before, sizeof(before));
	check_equal(set_msr(&runner.machine, STEAL_GPA | 1), 1);
	pthread_getaffinity_np(pthread_self(), sizeof(all), &all);
	stay_on(rival.cpu);
	pthread_create(&guest, NULL, run_twice, &runner); /* on that processor, too */
	pthread_create(&rivals, NULL, compete, &rival);
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
	sleep_ms(400);
	__atomic_store_n(&runner.machine.ram[0x3000], 1, __ATOMIC_SEQ_CST);
	pthread_join(guest, NULL);
	atomic_store(&rival.is_over, true);
	pthread_join(rivals, NULL);
	stolen = read_page(&runner.machine).steal_ns - before;
	check(read_page(&runner.machine).version % 2 == 0);
	check(stolen >= 50000000);
	if (contract_is_engine(system))
		check(stolen <= runner.elapsed_ns);
	machine_destroy(&runner.machine);
}

/*
 * 64-bit: mov 0x200000,%al; mov %al,0x3000; mov 0x2010,%al (preempted); mov %al,0x3001; hlt; again.
 */
static const char look_code[] = "\x8a\x04\x25\x00\x00\x20\x00\x88\x04\x25\x00\x30\x00\x00"
				"\x8a\x04\x25\x10\x20\x00\x00\x88\x04\x25\x01\x30\x00\x00"
				"\xf4\xeb\xe1";

/* What the guest finds at its address 0x200000. */
static uint8_t look(struct machine *machine)
{
	machine_expect(machine, KVM_EXIT_HLT);
	check_equal(machine->ram[0x3001], 0); /* inside the guest it is not preempted */
	return machine->ram[0x3000];
}

/* Translations that changed meanwhile are forgotten when `preempted` says so. */
static void test_flush(const struct kvm_system *system)
{
	const uint64_t table = 0x14000 | 7, first = 0x5000 | 7, second = 0x6000 | 7;
	struct machine machine;
	struct page page;

	machine_create(&machine, system, IRQCHIP_NONE, look_code, sizeof(look_code) - 1);
	machine_enter_long(&machine, &machine.vcpu, CODE_GPA);
	memcpy(machine.ram + LONG_TABLES + 0x2000 + 8, &table, sizeof(table));
	memcpy(machine.ram + 0x14000, &first, sizeof(first));
	machine.ram[0x5000] = 0xaa;
	machine.ram[0x6000] = 0xbb;
	machine.ram[0x3001] = 0xff;
	check_equal(set_msr(&machine, STEAL_GPA | 1), 1);
	check_equal(look(&machine), 0xaa);
	memcpy(machine.ram + 0x14000, &second, sizeof(second));
	/* Without a word the old translation may stay, and here it does: or this test shows nothing. */
	if (contract_is_engine(system))
		check_equal(look(&machine), 0xaa);
	page = read_page(&machine);
	machine.ram[STEAL_GPA + offsetof(struct page, preempted)] = page.preempted | FLUSH_TLB;
	check_equal(look(&machine), 0xbb);
	machine_destroy(&machine);
}

static void *run_once(void *argument)
{
	struct machine *machine = argument;

	check_equal(machine_run(machine), -EINTR);
	return NULL;
}

/* A vCPU that was taken out of its guest says so; one that halted does not: it waits for nobody. */
static void test_preempted(const struct kvm_system *system)
{
	struct machine machine;
	pthread_t thread;

	/* hlt; movb $1, 0x3000; 1: jmp 1b */
	machine_create(&machine, system, IRQCHIP_NONE, "\xf4\xc6\x06\x00\x30\x01\xeb\xfe", 8);
	check_equal(set_msr(&machine, STEAL_GPA | 1), 1);
	machine_expect(&machine, KVM_EXIT_HLT);
	check_equal(read_page(&machine).preempted, 0);
	pthread_create(&thread, NULL, run_once, &machine);
	/* Whoever is kicked before he is in his guest was never taken out of it. */
	while (!__atomic_load_n(&machine.ram[0x3000], __ATOMIC_ACQUIRE))
		sleep_ms(1);
	kvm_vcpu_kick(&machine.vcpu, thread);
	pthread_join(thread, NULL);
	check_equal(read_page(&machine).preempted, PREEMPTED);
	machine_destroy(&machine);
}

int main(int argc, char **argv)
{
	struct kvm_system system;

	contract_open(argc, argv, &system);
	if (!is_offered(&system)) {
		printf("no steal time here\n");
		return EXIT_SKIPPED;
	}
	test_msr(&system);
	test_stolen(&system);
	test_flush(&system);
	/* Linux's KVM says so where its scheduler took the thread away, which nobody can ask for. */
	if (contract_is_engine(&system))
		test_preempted(&system);
	return contract_close(&system);
}
