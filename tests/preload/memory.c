/*
 * Guest memory of every kind that a program may have, while it is used: what was in it, what the
 * guest writes, what the program writes, from other threads too, is one memory.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "vmm.h"

#define EXPECT(condition)                                                                          \
	((condition) ? (void)0 : errx(1, "line %d: %s (errno %d)", __LINE__, #condition, errno))

#define PAGE    0x1000u
#define GUEST   0x10000u /* where the memory in question is for the guest */
#define PATTERN 0x5au

/* incb [0x0000]; mov [0x1800], %al; out %al, $0x80; hlt; with DS base GUEST */
static const uint8_t code[] = {0xfe, 0x06, 0x00, 0x00, 0xa0, 0x00, 0x18, 0xe6, 0x80, 0xf4};

static uint8_t in_bss[2 * PAGE] __attribute__((aligned(PAGE)));
static uint8_t in_data[2 * PAGE] __attribute__((aligned(PAGE))) = {PATTERN};

static int set_slot(const struct vmm *vmm, unsigned slot, uint64_t gpa, void *address,
                    uint64_t size)
{
	struct kvm_userspace_memory_region region = {.slot = slot,
	                                             .guest_phys_addr = gpa,
	                                             .memory_size = size,
	                                             .userspace_addr = (uintptr_t)address};

	return ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* A VM whose only own memory is the first 64 KiB, with the code. */
static void create(struct vmm *vmm)
{
	struct kvm_sregs sregs;

	vmm_create(vmm, 0);
	EXPECT(set_slot(vmm, 0, 0, NULL, 0) == 0);
	EXPECT(set_slot(vmm, 0, 0, vmm->memory, GUEST) == 0);
	memcpy(vmm->memory + PAGE, code, sizeof(code));
	vmm_start_real(vmm, PAGE);
	EXPECT(ioctl(vmm->vcpu, KVM_GET_SREGS, &sregs) == 0);
	sregs.ds.base = GUEST;
	sregs.ds.selector = GUEST >> 4;
	EXPECT(ioctl(vmm->vcpu, KVM_SET_SREGS, &sregs) == 0);
}

static void destroy(struct vmm *vmm)
{
	munmap(vmm->run, 3 * PAGE);
	munmap(vmm->memory, MEMORY_SIZE);
	close(vmm->vcpu);
	close(vmm->vm);
	close(vmm->kvm);
}

/* Run the code once: what it found at 0x1800. */
static int run(const struct vmm *vmm)
{
	struct kvm_regs regs = {.rip = PAGE, .rflags = 2};
	int found;

	EXPECT(ioctl(vmm->vcpu, KVM_SET_REGS, &regs) == 0);
	EXPECT(ioctl(vmm->vcpu, KVM_RUN, 0) == 0 && vmm->run->exit_reason == KVM_EXIT_IO);
	found = *((uint8_t *)vmm->run + vmm->run->io.data_offset);
	EXPECT(ioctl(vmm->vcpu, KVM_RUN, 0) == 0 && vmm->run->exit_reason == KVM_EXIT_HLT);
	return found;
}

static void check_memory(uint8_t *memory, unsigned expected)
{
	struct vmm vmm;

	create(&vmm);
	EXPECT(memory[0] == expected);
	memory[0x1800] = 0x11;
	EXPECT(set_slot(&vmm, 1, GUEST, memory, 2 * PAGE) == 0);
	EXPECT(memory[0] == expected && memory[0x1800] == 0x11);
	EXPECT(run(&vmm) == 0x11 && memory[0] == expected + 1);
	memory[0x1800] = 0x22;
	EXPECT(run(&vmm) == 0x22 && memory[0] == expected + 2);
	/* Away, back, and a part of it elsewhere. */
	EXPECT(set_slot(&vmm, 1, GUEST, memory, 0) == 0);
	EXPECT(set_slot(&vmm, 1, GUEST, memory, PAGE) == 0);
	EXPECT(set_slot(&vmm, 2, GUEST + PAGE, memory + PAGE, PAGE) == 0);
	EXPECT(set_slot(&vmm, 3, GUEST, memory, PAGE) == -1 && errno == EEXIST);
	EXPECT(set_slot(&vmm, 1, GUEST, memory + 1, PAGE) == -1 && errno == EINVAL);
	EXPECT(run(&vmm) == 0x22 && memory[0] == expected + 3);
	/* Its rights to the memory are the program's own. */
	EXPECT(mprotect(memory, 2 * PAGE, PROT_READ) == 0 && memory[0] == expected + 3);
	EXPECT(mprotect(memory, 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
	memory[0] = (uint8_t)expected;
	destroy(&vmm);
	EXPECT(memory[0] == expected && memory[0x1800] == 0x22);
}

static void test_kinds(void)
{
	char name[] = "/tmp/kvik-memory-XXXXXX";
	int file = mkstemp(name);
	uint8_t *memory;

	unlink(name);
	EXPECT(file >= 0 && ftruncate(file, 3 * PAGE) == 0 && pwrite(file, "\x33", 1, PAGE) == 1);
	check_memory(in_bss, 0);
	check_memory(in_data, PATTERN);
	memory = aligned_alloc(PAGE, 2 * PAGE);
	memory[0] = 7;
	check_memory(memory, 7);
	free(memory);
	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check_memory(memory, 0);
	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, PAGE);
	check_memory(memory, 0x33);
	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, PAGE);
	check_memory(memory, 0x33);
	/* Kinds beside one another in one slot. */
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory[PAGE] = 9;
	EXPECT(mmap(memory + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
	            0) != MAP_FAILED);
	check_memory(memory + PAGE, 9);
	close(file);
}

static uint64_t *counter;
static _Atomic int is_counting = 1;

static void *count(void *unused)
{
	uint64_t number = 0;

	(void)unused;
	while (is_counting)
		*(volatile uint64_t *)counter = ++number;
	return (void *)number;
}

/* A thread writes all the time, while the memory becomes the guest's. */
static void test_threads(void)
{
	for (int i = 0; i < 20; i++) {
		uint8_t *memory = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
		                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct vmm vmm;
		pthread_t thread;
		void *number;

		counter = (uint64_t *)(memory + 0x1000);
		is_counting = 1;
		EXPECT(pthread_create(&thread, NULL, count, NULL) == 0);
		create(&vmm);
		memory[0x1800] = 0x44;
		EXPECT(set_slot(&vmm, 1, GUEST, memory, 64 * PAGE) == 0);
		EXPECT(run(&vmm) == 0x44);
		is_counting = 0;
		pthread_join(thread, &number);
		EXPECT(*counter == (uint64_t)number);
		destroy(&vmm);
		munmap(memory, 64 * PAGE);
	}
}

/* Two VMs on one memory; and the log of what the guest writes. */
static void test_shared(void)
{
	uint8_t *memory =
	    mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.slot = 1,
	                                             .flags = KVM_MEM_LOG_DIRTY_PAGES,
	                                             .guest_phys_addr = GUEST,
	                                             .memory_size = 2 * PAGE,
	                                             .userspace_addr = (uintptr_t)memory};
	uint64_t bitmap = 0;
	struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = &bitmap};
	struct vmm first, second;

	create(&first);
	create(&second);
	EXPECT(set_slot(&first, 1, GUEST, memory, 2 * PAGE) == 0);
	EXPECT(set_slot(&second, 1, GUEST, memory, 2 * PAGE) == 0);
	run(&first);
	run(&second);
	run(&first);
	EXPECT(memory[0] == 3);
	EXPECT(ioctl(first.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
	run(&first);
	EXPECT(ioctl(first.vm, KVM_GET_DIRTY_LOG, &log) == 0 && bitmap == 1);
	destroy(&first);
	run(&second);
	EXPECT(memory[0] == 5);
	destroy(&second);
}

/* Pages that the program gives back are empty, for the guest as well. */
static void test_advice(void)
{
	static const int advice[] = {MADV_DONTNEED, MADV_FREE};
	uint8_t *memory =
	    mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vmm vmm;

	create(&vmm);
	memset(memory, 0x55, 4 * PAGE);
	EXPECT(set_slot(&vmm, 1, GUEST, memory + PAGE, 2 * PAGE) == 0);
	EXPECT(run(&vmm) == 0x55);
	EXPECT(madvise(memory + 2 * PAGE, 2 * PAGE, MADV_DONTNEED) == 0);
	EXPECT(memory[2 * PAGE + 0x800] == 0 && memory[3 * PAGE] == 0 && memory[0] == 0x55);
	EXPECT(memory[PAGE] == 0x56 && run(&vmm) == 0);
	for (int i = 0; i < 2; i++) {
		EXPECT(madvise(memory, 4 * PAGE, advice[i]) == 0);
		memory[2 * PAGE + 0x800] = 0x66;
		EXPECT(run(&vmm) == 0x66);
	}
	destroy(&vmm);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {{"kinds", test_kinds},
	             {"threads", test_threads},
	             {"shared", test_shared},
	             {"advice", test_advice}};

	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (argc < 2 || strcmp(argv[1], tests[i].name) == 0)
			tests[i].run();
	return 0;
}
