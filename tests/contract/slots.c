/*
 * Memory slots that change under several running vCPUs: what a vCPU has looked up is never used after
 * the slot is gone, also when it had to wait within an instruction meanwhile, and the dirty log loses
 * nothing.
 *
 * Each scenario is a guest loop that all vCPUs execute, while this thread takes the victim slot away,
 * makes its memory inaccessible, and brings it back. A store by what was looked up before is then a
 * crash. In the engine an instruction waits where it needs an exclusive section: to set accessed and
 * dirty bits next to code, to write code, to run new code, or for LOCK across pages.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "contract.h"

#define CPUS         3
#define CHANGES_MIN 10 /* however busy the host is */
#define RUN_MS       700
#define VICTIM_GPA   0x180000 /* within the 2 MiB that are mapped one to one */
#define VICTIM_PAGES 64
#define VICTIM_SIZE  (VICTIM_PAGES << 12)
#define TABLES_GPA   0x100000 /* VICTIM_PAGES page tables: one for each window */
#define TABLES_SIZE  (VICTIM_PAGES << 12)
#define WINDOWS      0x40000000 /* linear; each has 2 MiB */
#define PAGE_DIRECTORY 0x20000u  /* of the windows */
#define SCRATCH_GPA  0x30000u    /* what the windows' page 8 is */
#define LOCKED_GPA   0x28ffe    /* in two pages */

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/*
 * In the table at RDI, entries 7 and 8 are the pages RSI + 7000h, in the victim slot, and RSI + 8000h.
 * Entry 12 is no entry but RET: code in the same 64 bytes as entry 8, so that a walk which sets its
 * flags has to wait.
 */
#define EACH_WINDOW(name, body)                                                                    \
	extern const char name##_code[], name##_end[];                                             \
	__asm__(".pushsection .rodata\n" #name "_code:\n"                                          \
		"1:	mov $" STRING(TABLES_GPA) ", %rdi\n"                                       \
		"	mov $" STRING(WINDOWS) ", %rsi\n"                                          \
		"2:	andb $0x9f, 64(%rdi)\n"                                                    \
		"	invlpg 0x8000(%rsi)\n"                                                     \
		"	lea 96(%rdi), %rdx\n"                                                      \
		"	call *%rdx\n" body                                                         \
		"	inc %rax\n"                                                                \
		"	add $0x1000, %rdi\n"                                                       \
		"	add $0x200000, %rsi\n"                                                     \
		"	cmp $" STRING(TABLES_GPA) " + (" STRING(VICTIM_PAGES) " << 12), %rdi\n"    \
		"	jb 2b\n"                                                                   \
		"	dec %r8\n"                                                                 \
		"	jnz 1b\n"                                                                  \
		"	hlt\n" #name "_end:\n.popsection\n")

EACH_WINDOW(store, "mov %rax, 0x7ffc(%rsi)\n");
EACH_WINDOW(string, "push %rsi\n push %rdi\n"
		    "lea 0x8100(%rsi), %rdi\n"
		    "add $0x7100, %rsi\n"
		    "mov $64, %ecx\n"
		    "rep movsb\n"
		    "pop %rdi\n pop %rsi\n");
/* A loop of its own; RBX is in the victim slot. */
#define LOOP(name, body)                                                                           \
	extern const char name##_code[], name##_end[];                                             \
	__asm__(".pushsection .rodata\n" #name "_code:\n"                                          \
		"	mov $" STRING(VICTIM_GPA) ", %ebx\n"                                       \
		"1:\n" body                                                                        \
		"	inc %rax\n"                                                                \
		"	dec %r8\n"                                                                 \
		"	jnz 1b\n"                                                                  \
		"	hlt\n" #name "_end:\n.popsection\n")

/* The locked instruction waits at its end, the store behind it does not look again. */
LOOP(locked, ".rept 8\n"
     "	lock incl " STRING(LOCKED_GPA) "\n"
     "	mov %rax, (%rbx)\n"
     ".endr\n");
/* The first code on a page waits before it runs: mov %rax, (%rbx); ret. */
LOOP(fresh, "	mov $" STRING(TABLES_GPA) ", %edi\n"
     "2:	movl $0xc3038948, (%rdi)\n"
     "	call *%rdi\n"
     "	add $0x1000, %edi\n"
     "	cmp $" STRING(TABLES_GPA) " + (" STRING(VICTIM_PAGES) " << 12), %edi\n"
     "	jb 2b\n");

struct slots {
	struct machine machine;
	struct kvm_vcpu vcpus[CPUS];
	pthread_t threads[CPUS];
	uint8_t *tables, *victim;
	_Atomic bool stops;
	_Atomic unsigned running;
};

struct runner {
	struct slots *slots;
	struct kvm_vcpu *vcpu;
	int result; /* KVM_RUN's last */
};

static int set_slot(struct slots *slots, unsigned id, uint32_t flags, uint64_t gpa, uint64_t size,
		    void *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	return kvm_vm_ioctl(&slots->machine.vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void *run_thread(void *argument)
{
	struct runner *runner = argument;
	struct kvm_run *run = runner->vcpu->run;
	int result = 0;

	while (!atomic_load(&runner->slots->stops)) {
		result = kvm_vcpu_ioctl(runner->vcpu, KVM_RUN, NULL);
		if (result < 0 || run->exit_reason != KVM_EXIT_MMIO)
			break;
		memset(run->mmio.data, 0, sizeof(run->mmio.data));
	}
	runner->result = result;
	atomic_fetch_sub(&runner->slots->running, 1);
	return NULL;
}

static void put(uint8_t *memory, uint64_t offset, uint64_t value)
{
	memcpy(memory + offset, &value, sizeof(value));
}

static void *map(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Three vCPUs before the guest's loop, to be executed `rounds` times. */
static void create(struct slots *slots, const struct kvm_system *system, const char *code,
		   const char *end, uint64_t rounds, uint32_t victim_flags)
{
	struct machine *machine = &slots->machine;
	struct error error;

	machine_create(machine, system, IRQCHIP_NONE, "\xf4", 1);
	slots->tables = map(TABLES_SIZE);
	slots->victim = map(VICTIM_SIZE);
	check_equal(set_slot(slots, 1, 0, TABLES_GPA, TABLES_SIZE, slots->tables), 0);
	check_equal(set_slot(slots, 2, victim_flags, VICTIM_GPA, VICTIM_SIZE, slots->victim), 0);
	memcpy(machine->ram + CODE_GPA, code, end - code);
	for (unsigned i = 0; i < CPUS; i++) {
		struct kvm_regs regs;

		slots->vcpus[i] = machine->vcpu;
		if (i)
			check_equal(kvm_vcpu_create(&slots->vcpus[i], &machine->vm, i, &error), 0);
		machine_enter_long(machine, &slots->vcpus[i], CODE_GPA);
		check_equal(kvm_vcpu_ioctl(&slots->vcpus[i], KVM_GET_REGS, &regs), 0);
		regs.rsp = 0x8000 + i * 0x1000;
		regs.rax = (uint64_t)(i + 1) << 56;
		regs.r8 = rounds;
		check_equal(kvm_vcpu_ioctl(&slots->vcpus[i], KVM_SET_REGS, &regs), 0);
	}
	put(machine->ram, LONG_TABLES + 0x1000 + 8, PAGE_DIRECTORY + 3); /* from WINDOWS on */
	for (unsigned i = 0; i < VICTIM_PAGES; i++) {
		put(machine->ram, PAGE_DIRECTORY + i * 8, (TABLES_GPA + i * 0x1000) | 3);
		put(slots->tables, i * 0x1000 + 7 * 8, (VICTIM_GPA + i * 0x1000) | 3);
		put(slots->tables, i * 0x1000 + 8 * 8, SCRATCH_GPA | 3);
		put(slots->tables, i * 0x1000 + 12 * 8, 0xc3);
	}
}

static void start(struct slots *slots, struct runner runners[CPUS])
{
	atomic_store(&slots->stops, false);
	atomic_store(&slots->running, CPUS);
	for (unsigned i = 0; i < CPUS; i++) {
		runners[i] = (struct runner){ slots, &slots->vcpus[i], 0 };
		pthread_create(&slots->threads[i], NULL, run_thread, &runners[i]);
	}
}

static void finish(struct slots *slots, const struct runner runners[CPUS])
{
	atomic_store(&slots->stops, true);
	for (unsigned i = 0; i < CPUS; i++) {
		while (atomic_load(&slots->running)) {
			for (unsigned k = 0; k < CPUS; k++)
				kvm_vcpu_kick(&slots->vcpus[k], slots->threads[k]);
			sleep_ms(1);
		}
		pthread_join(slots->threads[i], NULL);
		if (runners[i].result == 0) {
			const struct kvm_run *run = runners[i].vcpu->run;

			check_result(run->exit_reason == KVM_EXIT_HLT || run->exit_reason == KVM_EXIT_MMIO, __FILE__, __LINE__,
				     "vCPU %u ends with exit %u, suberror %u", i, run->exit_reason,
				     run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? run->internal.suberror : 0);
		} else {
			check_equal(runners[i].result, -EINTR);
		}
	}
}

static void destroy(struct slots *slots)
{
	for (unsigned i = 1; i < CPUS; i++)
		kvm_vcpu_close(&slots->vcpus[i]);
	machine_destroy(&slots->machine);
	munmap(slots->tables, TABLES_SIZE);
	munmap(slots->victim, VICTIM_SIZE);
}

static void rest(void)
{
	struct timespec interval = { .tv_nsec = 50000 };

	nanosleep(&interval, NULL);
}

static void test_removal(const struct kvm_system *system, const char *code, const char *end)
{
	struct runner runners[CPUS];
	struct slots slots;
	uint64_t stop;
	unsigned changes;

	create(&slots, system, code, end, UINT64_MAX, 0);
	start(&slots, runners);
	stop = now_ns() + RUN_MS * UINT64_C(1000000);
	for (changes = 0; changes < CHANGES_MIN || now_ns() < stop; changes++) {
		check_equal(set_slot(&slots, 2, 0, 0, 0, NULL), 0);
		mprotect(slots.victim, VICTIM_SIZE, PROT_NONE);
		rest();
		mprotect(slots.victim, VICTIM_SIZE, PROT_READ | PROT_WRITE);
		check_equal(set_slot(&slots, 2, changes & 1 ? KVM_MEM_LOG_DIRTY_PAGES : 0, VICTIM_GPA,
				     VICTIM_SIZE, slots.victim), 0);
		rest();
	}
	finish(&slots, runners);
	destroy(&slots);
}

/* What the log tells is copied, as for a migration: in the end the copy is what memory holds. */
static void copy_dirty(struct slots *slots, uint8_t *copy)
{
	uint64_t bitmap[VICTIM_PAGES / 64];
	struct kvm_dirty_log log = { .slot = 2, .dirty_bitmap = bitmap };

	check_equal(kvm_vm_ioctl(&slots->machine.vm, KVM_GET_DIRTY_LOG, &log), 0);
	for (unsigned i = 0; i < VICTIM_PAGES; i++)
		if (bitmap[i / 64] >> i % 64 & 1)
			memcpy(copy + (i << 12), slots->victim + (i << 12), 0x1000);
}

static void test_dirty_log(const struct kvm_system *system, const char *code, const char *end)
{
	uint8_t *copy = map(VICTIM_SIZE);
	struct runner runners[CPUS];
	uint64_t stop = now_ns() + RUN_MS * UINT64_C(1000000);
	struct slots slots;
	unsigned losses = 0;

	create(&slots, system, code, end, 3, KVM_MEM_LOG_DIRTY_PAGES);
	while (now_ns() < stop) {
		start(&slots, runners);
		while (atomic_load(&slots.running))
			copy_dirty(&slots, copy);
		finish(&slots, runners);
		copy_dirty(&slots, copy);
		for (unsigned i = 0; i < VICTIM_PAGES; i++)
			losses += memcmp(copy + (i << 12), slots.victim + (i << 12), 0x1000) != 0;
		for (unsigned i = 0; i < CPUS; i++) {
			struct kvm_regs regs;

			check_equal(kvm_vcpu_ioctl(&slots.vcpus[i], KVM_GET_REGS, &regs), 0);
			regs.rip = CODE_GPA;
			regs.r8 = 3;
			check_equal(kvm_vcpu_ioctl(&slots.vcpus[i], KVM_SET_REGS, &regs), 0);
		}
	}
	check_equal(losses, 0);
	destroy(&slots);
	munmap(copy, VICTIM_SIZE);
}

int main(int argc, char **argv)
{
	struct kvm_system system;

	contract_open(argc, argv, &system);
	test_removal(&system, store_code, store_end);
	test_removal(&system, string_code, string_end);
	test_removal(&system, locked_code, locked_end);
	test_removal(&system, fresh_code, fresh_end);
	test_dirty_log(&system, store_code, store_end);
	test_dirty_log(&system, locked_code, locked_end);
	return contract_close(&system);
}
