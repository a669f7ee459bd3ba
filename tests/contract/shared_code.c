/*
 * Two vCPUs whose translations are each other's: they map different memory at the same address, and
 * the same memory at different ones; one makes room for code while the other is in the middle
 * of it; and one has its code made anew, and then changes it, while the other knows the old way there.
 */
#include <linux/kvm.h>
#include <string.h>

#include "contract.h"

#define COMMON_GPA  0x8000 /* both vCPUs' code, which jumps to the next page */
#define CALLED_GPA  0xb000 /* code that has never been hot */
#define CPUS        2
#define VIEW_TABLES 0x20000 /* four tables for each vCPU */
#define SPREAD_GPA  0x14000 /* code that does not fit into the smallest cache */
#define SPREAD_SIZE 0x20000
#define SPREAD_STACK 0x7000 /* 2 KiB down from here, and from 2 KiB above it */

/* `tables`: three that are not in use. Maps the page at gva to gpa. */
static void map(struct machine *machine, uint64_t root, uint64_t gva, uint64_t gpa)
{
	uint64_t table = root;

	for (unsigned level = 3; level > 0; level--) {
		uint64_t next = root + (4 - level) * 0x1000, entry = next | 3;

		memcpy(machine->ram + table + (gva >> (12 + 9 * level) & 511) * 8, &entry, 8);
		table = next;
	}
	gpa |= 3;
	memcpy(machine->ram + table + (gva >> 12 & 511) * 8, &gpa, 8);
}

struct view {
	uint64_t gva;      /* of the common page */
	uint64_t next_gpa; /* of the page behind it */
};

/* Run the common page's code on all vCPUs, RCX rounds each; their registers. */
static void run_views(struct machine *machine, struct kvm_vcpu *vcpus[CPUS],
		      const struct view views[CPUS], uint64_t rounds, struct kvm_regs regs[CPUS])
{
	struct vcpu_thread threads[CPUS];

	memset(machine->ram + VIEW_TABLES, 0, CPUS * 0x4000);
	for (unsigned i = 0; i < CPUS; i++) {
		uint64_t root = VIEW_TABLES + i * 0x4000;
		struct kvm_sregs sregs;

		map(machine, root, views[i].gva, COMMON_GPA);
		map(machine, root, views[i].gva + 0x1000, views[i].next_gpa);
		machine_enter_long(machine, vcpus[i], views[i].gva);
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_GET_SREGS, &sregs), 0);
		sregs.cr3 = root;
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_SET_SREGS, &sregs), 0);
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_GET_REGS, &regs[i]), 0);
		regs[i].rcx = rounds;
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_SET_REGS, &regs[i]), 0);
	}
	for (unsigned i = 0; i < CPUS; i++)
		vcpu_thread_start(&threads[i], vcpus[i]);
	for (unsigned i = 0; i < CPUS; i++) {
		vcpu_thread_finish(&threads[i], KVM_EXIT_IO);
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_GET_REGS, &regs[i]), 0);
	}
}

/* The common page's code jumps to the next page, which is another one on each vCPU and counts in
 * another register; then the vCPUs have the common page at different addresses. */
static void test_views(struct machine *machine, struct kvm_vcpu *vcpus[CPUS], uint64_t rounds)
{
	/* 1: dec %rcx; js 2f; jmp .+0x1000 - 5; 2: out %al,$0x10 */
	static const char common[] = "\x48\xff\xc9" "\x78\x05" "\xe9\xf6\x0f\0\0" "\xe6\x10";
	/* inc %rax, or inc %rbx; jmp to the common page's start */
	static const char in_rax[] = "\x48\xff\xc0" "\xe9\xf8\xef\xff\xff";
	static const char in_rbx[] = "\x48\xff\xc3" "\xe9\xf8\xef\xff\xff";
	static const struct view views[][CPUS] = {
		{ { 0x400000, 0x9000 }, { 0x400000, 0xa000 } },
		{ { 0x400000, 0x9000 }, { 0x600000 - 0x1000, 0xa000 } },
		{ { 0x400000, 0xa000 }, { 0x402000, 0xa000 } },
	};

	for (unsigned i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		struct kvm_regs regs[CPUS];

		memcpy(machine->ram + COMMON_GPA, common, sizeof(common) - 1);
		memcpy(machine->ram + 0x9000, in_rax, sizeof(in_rax) - 1);
		memcpy(machine->ram + 0xa000, in_rbx, sizeof(in_rbx) - 1);
		run_views(machine, vcpus, views[i], rounds, regs);
		for (unsigned k = 0; k < CPUS; k++) {
			bool is_rax = views[i][k].next_gpa == 0x9000;

			check_equal(regs[k].rax, is_rax ? rounds : 0);
			check_equal(regs[k].rbx, is_rax ? 0 : rounds);
		}
	}
}

/* call the next one; inc %rax; ret: as many as there are inside one another. */
static const char nested[] = "\xe8\4\0\0\0" "\x48\xff\xc0" "\xc3";
#define NESTED 16

/*
 * Both run through thousands of blocks, round and round, in a cache that does not hold them all.
 * One block in 64 calls for an access with LOCK that leaves its cache line: for that the other must
 * stop wherever it is, and meanwhile it may drop the caller's code. All that happens inside calls
 * whose code is gone when they return.
 */
static void test_spread(struct machine *machine, struct kvm_vcpu *vcpus[CPUS], uint64_t rounds)
{
	static const char plain[] = "\x48\xff\xc0" "\xeb\0"; /* inc %rax; jmp .+2 */
	/* call *%rbx; inc %rax; jmp .+2; and what it calls: lock incl 0x507e; ret */
	static const char split[] = "\xff\xd3" "\x48\xff\xc0" "\xeb\0";
	static const char callee[] = "\xf0\xff\x04\x25\x7e\x50\0\0" "\xc3";
	/* call .+11; dec %rcx; jnz .-8; out %al,$0x10; nop: then the calls, the blocks, and ret */
	static const char start[] = "\xe8\x08\0\0\0" "\x48\xff\xc9" "\x75\xf6" "\xe6\x10" "\x90";
	struct vcpu_thread threads[CPUS];
	uint32_t count, splits = 0, blocks = 0, at = 0;

	memcpy(machine->ram + SPREAD_GPA, start, sizeof(start) - 1);
	at = sizeof(start) - 1;
	for (unsigned i = 0; i < NESTED; i++, at += sizeof(nested) - 1)
		memcpy(machine->ram + SPREAD_GPA + at, nested, sizeof(nested) - 1);
	for (; at < SPREAD_SIZE; blocks++) {
		bool is_split = blocks % 64 == 0;
		size_t size = is_split ? sizeof(split) - 1 : sizeof(plain) - 1;

		memcpy(machine->ram + SPREAD_GPA + at, is_split ? split : plain, size);
		splits += is_split;
		at += size;
	}
	machine->ram[SPREAD_GPA + at] = 0xc3; /* ret */
	memcpy(machine->ram + COMMON_GPA, callee, sizeof(callee) - 1);
	memset(machine->ram + 0x507e, 0, 4);
	for (unsigned i = 0; i < CPUS; i++) {
		struct kvm_regs regs;

		machine_enter_long(machine, vcpus[i], SPREAD_GPA);
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_GET_REGS, &regs), 0);
		regs.rcx = rounds;
		regs.rbx = COMMON_GPA;
		regs.rsp = SPREAD_STACK + i * 0x800;
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_SET_REGS, &regs), 0);
	}
	for (unsigned i = 0; i < CPUS; i++)
		vcpu_thread_start(&threads[i], vcpus[i]);
	for (unsigned i = 0; i < CPUS; i++) {
		struct kvm_regs regs;

		vcpu_thread_finish(&threads[i], KVM_EXIT_IO);
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_GET_REGS, &regs), 0);
		check_equal(regs.rax, rounds * (blocks + NESTED));
	}
	memcpy(&count, machine->ram + 0x507e, 4);
	check_equal(count, (uint32_t)(CPUS * rounds * splits));
}

/*
 * Both call the same code by a pointer. One calls it until it is worth a better translation while the other
 * waits, who then comes by what it knows from before; and changes it, which the other must see all the same.
 */
static void test_retired(struct machine *machine, struct kvm_vcpu *vcpus[CPUS])
{
	static const char callee[] = "\x48\x83\xc0\x01" "\xc3"; /* add $1,%rax; ret */
	/* A round is call *%rbx; dec %ecx; jnz. What is said and waited for is at 5000h. */
	static const char late[] =
		"\x31\xd2" /* xor %edx,%edx */
		"\xb9\x64\x00\x00\x00\xeb\x00" /* of a block of its own, which stays cold */
		"\xff\xd3\xff\xc9\x75\xfa" /* 100 rounds */
		"\xff\xc2\x89\x14\x25\x00\x50\x00\x00" /* say %edx + 1 */
		"\xff\xc2\xf3\x90\x39\x14\x25\x00\x50\x00\x00\x75\xf5" /* wait for %edx + 2 */
		"\x83\xfa\x06\x75\xd8" /* unless that is 6, again */
		"\xe6\x10"; /* out %al,$0x10 */
	static const char hot[] =
		"\xf3\x90\x83\x3c\x25\x00\x50\x00\x00\x01\x75\xf4" /* wait for 1 */
		"\xb9\x20\x4e\x00\x00\xff\xd3\xff\xc9\x75\xfa" /* 20,000 rounds */
		"\xc7\x04\x25\x00\x50\x00\x00\x02\x00\x00\x00" /* say 2 */
		"\xf3\x90\x83\x3c\x25\x00\x50\x00\x00\x03\x75\xf4" /* wait for 3 */
		"\xc6\x04\x25\x03\xb0\x00\x00\x10" /* add $16, from now on */
		"\xc7\x04\x25\x00\x50\x00\x00\x04\x00\x00\x00" /* say 4 */
		"\xb9\x64\x00\x00\x00\xff\xd3\xff\xc9\x75\xfa" /* 100 rounds */
		"\xf3\x90\x83\x3c\x25\x00\x50\x00\x00\x05\x75\xf4" /* wait for 5 */
		"\xc7\x04\x25\x00\x50\x00\x00\x06\x00\x00\x00" /* say 6 */
		"\xe6\x10"; /* out %al,$0x10 */
	static const uint64_t sums[CPUS] = { 20000 + 100 * 16, 200 + 100 * 16 };
	struct vcpu_thread threads[CPUS];

	memcpy(machine->ram + CALLED_GPA, callee, sizeof(callee) - 1);
	memcpy(machine->ram + SPREAD_GPA, hot, sizeof(hot) - 1);
	memcpy(machine->ram + SPREAD_GPA + 0x1000, late, sizeof(late) - 1);
	memset(machine->ram + 0x5000, 0, 4);
	for (unsigned i = 0; i < CPUS; i++) {
		struct kvm_regs regs;

		machine_enter_long(machine, vcpus[i], SPREAD_GPA + i * 0x1000);
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_GET_REGS, &regs), 0);
		regs.rax = 0;
		regs.rbx = CALLED_GPA;
		regs.rsp = SPREAD_STACK + i * 0x800;
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_SET_REGS, &regs), 0);
	}
	for (unsigned i = 0; i < CPUS; i++)
		vcpu_thread_start(&threads[i], vcpus[i]);
	for (unsigned i = 0; i < CPUS; i++) {
		struct kvm_regs regs;

		vcpu_thread_finish(&threads[i], KVM_EXIT_IO);
		check_equal(kvm_vcpu_ioctl(vcpus[i], KVM_GET_REGS, &regs), 0);
		check_equal(regs.rax, sums[i]);
	}
}

int main(int argc, char **argv)
{
	const struct kvm_options options = { .code_cache_bytes = KVM_CODE_CACHE_MIN };
	struct kvm_system system;
	struct machine machine;
	struct kvm_vcpu other, *vcpus[CPUS] = { &machine.vcpu, &other };
	struct error error;

	contract_open_with(argc, argv, &options, &system);
	machine_create(&machine, &system, IRQCHIP_NONE, "\xf4", 1);
	check_equal(kvm_vcpu_create(&other, &machine.vm, 1, &error), 0);
	test_views(&machine, vcpus, contract_is_engine(&system) ? 300000 : 300);
	/* A KVM without hardware emulates no split locks. */
	if (contract_is_engine(&system))
		test_spread(&machine, vcpus, 80);
	test_retired(&machine, vcpus);
	kvm_vcpu_close(&other);
	machine_destroy(&machine);
	return contract_close(&system);
}
