/*
 * Memory slots that change while a program writes to them, in ring 3 and as a Linux program has it, so that `direct` runs it
 * in a stub, which has the memory mapped: they go, move, come back with other memory, become read-only, and are logged. When a
 * request has returned, no store reaches what the guest has no more, and none is missed in a log.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../stubs.h"
#include "contract.h"

#define TURNS	      15
#define PROGRESS      1000 /* rounds of the program's */
#define CPUID_ENTRIES 256

#define LOW_SIZE    0x180000u /* slot 0 */
#define TABLES	    0x3000u   /* of pages: four levels */
#define CODE	    0x100000u
#define COUNT	    0x110000u /* rounds so far */
#define VICTIM	    0x180000u /* slot 1, ... */
#define VICTIM_SIZE 0x10000u
#define ELSEWHERE   0x190000u /* ... or there */
#define MEMORY_SIZE (LOW_SIZE + 2 * VICTIM_SIZE)

/* 1: mov %rax, 0x180000; mov 0x181000, %rbx; inc %rax; mov %rax, 0x110000; jmp 1b */
static const uint8_t program[] = { 0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x18, 0x00, 0x48, 0x8b, 0x1c, 0x25,
				   0x00, 0x10, 0x18, 0x00, 0x48, 0xff, 0xc0, 0x48, 0x89, 0x04, 0x25, 0x00,
				   0x00, 0x11, 0x00, 0xeb, 0xe3 };

struct guest {
	struct kvm_system system;
	struct kvm_vm vm;
	struct kvm_vcpu vcpu;
	uint8_t *memory; /* slot 0's, and two that slot 1 may have */
	pthread_t thread;
	_Atomic bool ends, has_ended;
	_Atomic uint64_t exits; /* for stores to what is no memory, or read-only */
	uint64_t entries;	/* into stubs */
};

static volatile uint64_t *word_at(struct guest *guest, uint64_t offset)
{
	return (volatile uint64_t *)(guest->memory + offset);
}

static uint8_t *first_memory(struct guest *guest)
{
	return guest->memory + LOW_SIZE;
}

static uint8_t *second_memory(struct guest *guest)
{
	return guest->memory + LOW_SIZE + VICTIM_SIZE;
}

static void set_slot(struct guest *guest, unsigned id, uint32_t flags, uint64_t gpa, uint64_t size, uint8_t *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uintptr_t)memory,
	};

	check_equal(kvm_vm_ioctl(&guest->vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
}

static void set_victim(struct guest *guest, uint32_t flags, uint64_t gpa, uint8_t *memory)
{
	set_slot(guest, 1, flags, gpa, VICTIM_SIZE, memory);
}

static void remove_victim(struct guest *guest)
{
	set_slot(guest, 1, 0, VICTIM, 0, first_memory(guest));
}

/* -- the vCPU -- */

static void *run(void *context)
{
	struct guest *guest = context;
	const struct kvm_run *run = guest->vcpu.run;

	while (!atomic_load(&guest->ends)) {
		int result = kvm_vcpu_ioctl(&guest->vcpu, KVM_RUN, NULL);

		if (result == -EINTR)
			continue;
		if (result < 0 || run->exit_reason != KVM_EXIT_MMIO) {
			check_result(false, __FILE__, __LINE__, "KVM_RUN is %d, exit %u", result, run->exit_reason);
			break;
		}
		if (run->mmio.is_write)
			atomic_fetch_add(&guest->exits, 1);
	}
	atomic_store(&guest->has_ended, true);
	return NULL;
}

static struct kvm_segment user_segment(uint16_t selector, uint8_t type, bool is_code)
{
	return (struct kvm_segment){ .selector = selector, .limit = 0xffffffff, .type = type, .present = 1, .dpl = 3,
				     .db = !is_code, .s = 1, .l = is_code, .g = 1, .unusable = selector == 0 };
}

/* All that the backend has, of XCR0 too; ring 3, with Linux's selectors. */
static void start_state(struct guest *guest)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	struct kvm_regs regs = { .rip = CODE, .rsp = CODE, .rflags = 0x202 };
	struct kvm_sregs sregs;

	if (!cpuid)
		abort();
	cpuid->nent = CPUID_ENTRIES;
	check_equal(kvm_system_ioctl(&guest->system, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	check_equal(kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_CPUID2, cpuid), 0);
	for (unsigned i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0xd && cpuid->entries[i].index == 0)
			xcrs.xcrs[0].value = cpuid->entries[i].eax;
	free(cpuid);
	check_equal(kvm_vcpu_ioctl(&guest->vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = user_segment(0x33, 0xb, true);
	sregs.ss = user_segment(0x2b, 3, false);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = user_segment(0, 3, false);
	sregs.cr0 = 0x80010031; /* PG, WP, NE, ET, PE */
	sregs.cr3 = TABLES;
	sregs.cr4 = 0x50620; /* OSXSAVE, FSGSBASE, OSXMMEXCPT, OSFXSR, PAE */
	sregs.efer = 0xd01;  /* NXE, LMA, LME, SCE */
	check_equal(kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_SREGS, &sregs), 0);
	check_equal(kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_XCRS, &xcrs), 0);
	check_equal(kvm_vcpu_ioctl(&guest->vcpu, KVM_SET_REGS, &regs), 0);
}

static void load(struct guest *guest)
{
	*word_at(guest, TABLES) = TABLES + 0x1007;
	*word_at(guest, TABLES + 0x1000) = TABLES + 0x2007;
	*word_at(guest, TABLES + 0x2000) = TABLES + 0x3007;
	for (uint64_t i = 0; i < 512; i++)
		*word_at(guest, TABLES + 0x3000 + i * 8) = i << 12 | 7;
	memcpy(guest->memory + CODE, program, sizeof(program));
}

static void create(struct guest *guest, const struct kvm_backend *backend, const struct kvm_options *options)
{
	struct error error = { .message = "" };
	int file = memfd_create("guest", MFD_CLOEXEC); /* the machine's, which ends with this process */

	if (kvm_system_open(&guest->system, backend, options, &error) < 0 ||
	    kvm_vm_create(&guest->vm, &guest->system, &error) < 0) {
		printf("skipped: %s\n", error.message);
		exit(EXIT_SKIPPED);
	}
	kvm_vm_own_memory(&guest->vm);
	guest->memory = MAP_FAILED;
	if (file >= 0 && ftruncate(file, MEMORY_SIZE) == 0)
		guest->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (guest->memory == MAP_FAILED)
		abort();
	kvm_vm_share_memory(&guest->vm, guest->memory, MEMORY_SIZE, file);
	set_slot(guest, 0, 0, 0, LOW_SIZE, guest->memory);
	set_victim(guest, 0, VICTIM, first_memory(guest));
	load(guest);
	if (kvm_vcpu_create(&guest->vcpu, &guest->vm, 0, &error) < 0)
		abort();
	start_state(guest);
}

/* -- what is expected of it -- */

/* Until `word`, or the number of exits, has risen by so much. */
static void await(struct guest *guest, volatile uint64_t *word, uint64_t more, const char *what)
{
	uint64_t from = word ? *word : atomic_load(&guest->exits), end = now_ns() + VCPU_DEADLINE_MS * 1000000ull;

	while ((word ? *word : atomic_load(&guest->exits)) - from < more) {
		if (atomic_load(&guest->has_ended) || now_ns() > end) {
			check_result(false, __FILE__, __LINE__, "the program does not go on: %s", what);
			exit(contract_finish());
		}
		sleep_ms(0);
	}
}

static void await_rounds(struct guest *guest, const char *what)
{
	await(guest, word_at(guest, COUNT), PROGRESS, what);
}

/* Stores are exits, and the memory that they went to stays what it is. */
static void expect_lost(struct guest *guest, const char *what)
{
	uint64_t before = *word_at(guest, LOW_SIZE);

	await(guest, NULL, 5, what);
	check_result(*word_at(guest, LOW_SIZE) == before, __FILE__, __LINE__, "%s: a store came through", what);
}

static void go(struct guest *guest)
{
	remove_victim(guest);
	expect_lost(guest, "it is gone");
	set_victim(guest, 0, VICTIM, first_memory(guest));
	await_rounds(guest, "it is there again");
}

static void move(struct guest *guest)
{
	set_victim(guest, 0, ELSEWHERE, first_memory(guest));
	expect_lost(guest, "it has moved");
	set_victim(guest, 0, VICTIM, first_memory(guest));
	await_rounds(guest, "it has moved back");
}

static void exchange(struct guest *guest)
{
	uint64_t before;

	remove_victim(guest);
	set_victim(guest, 0, VICTIM, second_memory(guest));
	before = *word_at(guest, LOW_SIZE);
	await_rounds(guest, "it has other memory");
	await(guest, word_at(guest, LOW_SIZE + VICTIM_SIZE), 1, "that is written to");
	check_equal(*word_at(guest, LOW_SIZE), before);
	remove_victim(guest);
	set_victim(guest, 0, VICTIM, first_memory(guest));
	before = *word_at(guest, LOW_SIZE + VICTIM_SIZE);
	await_rounds(guest, "it has its own again");
	check_equal(*word_at(guest, LOW_SIZE + VICTIM_SIZE), before);
}

static void forbid(struct guest *guest)
{
	remove_victim(guest);
	set_victim(guest, KVM_MEM_READONLY, VICTIM, first_memory(guest));
	expect_lost(guest, "it is read-only");
	remove_victim(guest);
	set_victim(guest, 0, VICTIM, first_memory(guest));
	await_rounds(guest, "it can be written again");
}

static void keep_log(struct guest *guest)
{
	uint64_t dirty = 0;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &dirty };

	set_victim(guest, KVM_MEM_LOG_DIRTY_PAGES, VICTIM, first_memory(guest));
	for (unsigned i = 0; i < 3; i++) {
		await_rounds(guest, "it is logged");
		check_equal(kvm_vm_ioctl(&guest->vm, KVM_GET_DIRTY_LOG, &log), 0);
		check_equal(dirty, 1);
	}
	set_victim(guest, 0, VICTIM, first_memory(guest));
	await_rounds(guest, "it is logged no more");
}

static void note(void *context, const char *name, uint64_t value)
{
	struct guest *guest = context;

	if (strcmp(name, "direct: entries") == 0)
		guest->entries = value;
}

int main(int argc, char **argv)
{
	static const struct kvm_backend *const backends[] = { &kvm_backend_linux, &kvm_backend_interpreter,
							      &kvm_backend_translator, &kvm_backend_direct };
	const struct kvm_backend *backend = NULL;
	stub_function *function = NULL;
	const struct stub_source stubs = { test_stub_spawn, test_stub_kill, &function, 0 };
	struct kvm_options options = { .warmth_plus_1 = 1, .promotion_plus_1 = 1 };
	struct guest guest = { .entries = 0 };

	for (unsigned i = 0; argc > 1 && i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(argv[1], backends[i]->name) == 0)
			backend = backends[i];
	if (!backend) {
		fprintf(stderr, "usage: %s kvm|interp|jit|direct\n", argv[0]);
		return 2;
	}
	if (backend == &kvm_backend_direct) {
		function = backend->stub_function();
		options.stubs = &stubs;
		if (backend->probe_stubs(&stubs) < 0) {
			printf("skipped: this host has no direct execution\n");
			return EXIT_SKIPPED;
		}
	}
	create(&guest, backend, &options);
	pthread_create(&guest.thread, NULL, run, &guest);
	await_rounds(&guest, "at first");
	for (unsigned turn = 0; turn < TURNS && !atomic_load(&guest.has_ended); turn++) {
		go(&guest);
		move(&guest);
		exchange(&guest);
		forbid(&guest);
		keep_log(&guest);
	}
	atomic_store(&guest.ends, true);
	while (!atomic_load(&guest.has_ended)) {
		kvm_vcpu_kick(&guest.vcpu, guest.thread);
		sleep_ms(1);
	}
	pthread_join(guest.thread, NULL);
	if (backend->read_statistics)
		backend->read_statistics(guest.vcpu.fd, note, &guest);
	check_result((guest.entries > TURNS * 5) == (backend == &kvm_backend_direct), __FILE__, __LINE__,
		     "there were %lu entries into stubs", (unsigned long)guest.entries);
	kvm_vcpu_close(&guest.vcpu);
	kvm_vm_close(&guest.vm);
	munmap(guest.memory, MEMORY_SIZE);
	return contract_close(&guest.system);
}
