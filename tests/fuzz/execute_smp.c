/*
 * Fuzz target: hostile guests on several vCPUs, while memory slots come and go.
 *
 * Input: for each vCPU its mode, flags, registers and code; then what happens to the VM meanwhile: slots
 * are removed, brought back, moved, get a dirty log, which is read, or are read-only for a while. Code
 * is a string of raw bytes and of snippets that are likely to meet something: stores over pages, string
 * instructions, LOCK, code that is written and called, page tables. While a slot is away, its memory is
 * inaccessible: nobody may touch it by what he had looked up before. RAM lies between inaccessible pages,
 * and is otherwise written by another mapping. KVM_RUN must return soon after a kick, whatever goes on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "fuzz.h"
#include "modes.h"

#define VCPUS         3
#define LOW_SIZE      (128u << 10) /* slot 0: tables and code */
#define HIGH_SIZE     (128u << 10) /* slot 2, behind it */
#define RAM_SIZE      (LOW_SIZE + HIGH_SIZE)
#define GUARD_SIZE    (1u << 20)
#define ROM_GPA       0x100000u /* slot 1 */
#define MOVED_GPA     0x180000u /* where slot 2 moves to */
#define PAGE          4096u
#define TABLE_GPA     0x5000u /* behind PML4 and directories: maps RAM by the page */
#define CODE_GPA      0x8000u /* a page for each vCPU */
#define STACK_GPA     0x7000u
#define CODE_MAX      256u
#define EXITS_MAX     40
#define STEPS_MAX     24
#define STEP_NS       60000
#define DEADLINE_NS   20000000000ull
#define CPUID_ENTRIES 256

static struct {
	int systems[2]; /* interpreter, translator */
	size_t run_size;
	uint8_t *ram;          /* written here */
	uint8_t *low, *high;   /* what the guest has of it */
	uint8_t *rom;
	struct kvm_cpuid2 *cpuid;
} host;

struct guest_cpu {
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	struct fuzz_input answers;
	_Atomic bool is_done;
};

static uint8_t *reserve(size_t size)
{
	uint8_t *base = mmap(NULL, size + 2 * GUARD_SIZE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	fuzz_check(base != MAP_FAILED);
	return base + GUARD_SIZE;
}

static uint8_t *map_guarded(int fd, size_t offset, size_t size)
{
	uint8_t *at = reserve(size);

	fuzz_check(mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			(off_t)offset) == at);
	return at;
}

static void set_up_once(void)
{
	struct engine_options options = ENGINE_OPTIONS_DEFAULT;
	int fd;

	if (host.ram)
		return;
	options.tier = ENGINE_TIER_INTERPRETER;
	host.systems[0] = engine_open(&options);
	options.tier = ENGINE_TIER_AUTO;
	options.code_cache_bytes = ENGINE_CODE_CACHE_MIN;
	options.warmth = 0;
	options.promotion = 16;
	host.systems[1] = engine_open(&options);
	fuzz_check(host.systems[0] >= 0 && host.systems[1] >= 0);
	host.run_size = engine_ioctl(host.systems[0], KVM_GET_VCPU_MMAP_SIZE, NULL);
	host.cpuid = calloc(1, sizeof(*host.cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
	fuzz_check(host.cpuid);
	host.cpuid->nent = CPUID_ENTRIES;
	fuzz_check(engine_ioctl(host.systems[0], KVM_GET_SUPPORTED_CPUID, host.cpuid) == 0);
	fd = memfd_create("guest", MFD_CLOEXEC);
	fuzz_check(fd >= 0 && ftruncate(fd, RAM_SIZE + PAGE) == 0);
	host.low = map_guarded(fd, 0, LOW_SIZE);
	host.high = map_guarded(fd, LOW_SIZE, HIGH_SIZE);
	host.rom = map_guarded(fd, RAM_SIZE, PAGE);
	host.ram = mmap(NULL, RAM_SIZE + PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fuzz_check(host.ram != MAP_FAILED);
	close(fd);
}

static void put(uint32_t gpa, uint64_t value, unsigned size)
{
	memcpy(host.ram + gpa, &value, size);
}

/* RAM is mapped by 4 KiB, the rest of the first 4 MiB by 2 MiB; all exceptions halt. */
static void fill_memory(void)
{
	memset(host.ram, 0, RAM_SIZE);
	memset(host.ram + RAM_SIZE, 0x90, PAGE);
	memcpy(host.ram + GDT_GPA, fuzz_gdt, sizeof(fuzz_gdt));
	put(TSS_GPA + 4, STACK_GPA, 8);
	for (unsigned vector = 0; vector < 32; vector++)
		put(IDT_GPA + vector * 16, 0x7e00 | 1ull << 19 | 0x8e00ull << 32, 8);
	memset(host.ram + 0x7e00, 0xf4, 16);
	put(PAGES_GPA, (PAGES_GPA + 0x1000) | 7, 8);
	put(PAGES_GPA + 0x1000, (PAGES_GPA + 0x2000) | 7, 8);
	put(PAGES_GPA + 0x2000, TABLE_GPA | 7, 8);
	put(PAGES_GPA + 0x2008, 0x200087, 8);
	for (unsigned i = 0; i < 512; i++)
		put(TABLE_GPA + i * 8, (uint64_t)i * PAGE | 7, 8);
}

static const struct snippet { uint8_t size; char bytes[12]; } snippets[] = {
	{ 3, "\x48\x89\x03" },             /* mov %rax, (%rbx) */
	{ 2, "\x88\x07" },                 /* mov %al, (%rdi) */
	{ 3, "\x48\x8b\x06" },             /* mov (%rsi), %rax */
	{ 2, "\xf3\xaa" }, { 2, "\xf3\xa4" }, { 3, "\xf3\x48\xa5" }, { 3, "\xf3\x48\xab" },
	{ 2, "\xf3\xa6" }, { 2, "\xa5\xab" }, { 2, "\xf2\xae" },
	{ 3, "\xf0\x01\x18" },             /* lock add %ebx, (%rax) */
	{ 4, "\xf0\x48\x01\x03" }, { 4, "\xf0\x0f\xb1\x1e" }, { 4, "\xf0\x0f\xc7\x0f" },
	{ 5, "\xf0\x48\x0f\xc7\x0f" },     /* lock cmpxchg16b (%rdi) */
	{ 3, "\x48\x87\x03" },             /* xchg %rax, (%rbx) */
	{ 4, "\xf0\x0f\xab\x03" },         /* lock bts %eax, (%rbx) */
	{ 3, "\xc6\x07\xc3" },             /* movb $0xc3, (%rdi) */
	{ 3, "\xc6\x03\xf4" }, { 2, "\xff\xd0" }, { 2, "\xff\xd7" }, { 2, "\xff\xe3" }, { 1, "\xc3" },
	{ 3, "\x0f\x01\x3b" }, { 3, "\x0f\x01\x38" }, /* invlpg */
	{ 6, "\x0f\x20\xd8\x0f\x22\xd8" }, /* reload CR3 */
	{ 3, "\x80\x27\x9f" },             /* andb $0x9f, (%rdi): A and D of an entry */
	{ 4, "\x80\x63\x40\x9f" }, { 3, "\x0f\x11\x07" }, { 3, "\x0f\x10\x06" },
	{ 3, "\x0f\xae\x03" }, { 3, "\x0f\xae\x27" }, { 3, "\x0f\xae\x0f" }, /* fxsave, xsave, fxrstor */
	{ 6, "\x62\xf1\x7c\x48\x11\x07" }, /* vmovups %zmm0, (%rdi) */
	{ 4, "\x48\x83\xc7\x40" }, { 4, "\x48\x83\xee\x08" }, { 3, "\x48\xff\xc3" },
	{ 2, "\xb1\x40" }, { 2, "\x60\x61" }, { 4, "\xc8\x10\x00\x03" }, { 2, "\x50\x53" },
	{ 4, "\xff\xc9\x75\xf8" },         /* dec %ecx; jnz back */
	{ 2, "\xeb\xf0" }, { 2, "\x75\xe0" }, { 2, "\x6c\x6e" }, { 1, "\xcf" }, { 2, "\xcd\x03" },
};

/* `code` with the vCPU's own page from `start` on; it goes round, or halts. */
static void load_code(unsigned index, struct fuzz_input *input)
{
	uint8_t code[CODE_MAX + 32];
	unsigned wanted = fuzz_u8(input), size = 0, start = fuzz_u16(input) % (PAGE - 64);
	bool goes_round = wanted & 1;

	for (wanted = wanted / 8 + 1; wanted && size < CODE_MAX; wanted--) {
		uint8_t kind = fuzz_u8(input);

		if (kind & 0x80) {
			unsigned length = kind % 8 + 1;

			fuzz_take(input, code + size, length);
			size += length;
		} else {
			const struct snippet *snippet =
				&snippets[kind % (sizeof(snippets) / sizeof(snippets[0]))];

			memcpy(code + size, snippet->bytes, snippet->size);
			size += snippet->size;
		}
	}
	if (goes_round && size < 120) {
		code[size] = 0xeb;
		code[size + 1] = (uint8_t)-(size + 2);
		size += 2;
	}
	memset(code + size, 0xf4, 8);
	memcpy(host.ram + CODE_GPA + index * PAGE + start, code, size + 8);
	put(0x6000 + index * 2, start, 2);
}

/* An address where something happens. */
static uint64_t address(struct fuzz_input *input, unsigned index)
{
	uint8_t kind = fuzz_u8(input), low = fuzz_u8(input);

	switch (kind % 12) {
	case 0: return RAM_SIZE - low;
	case 1: return LOW_SIZE - low % 72;      /* over the border of two slots */
	case 2: return LOW_SIZE + PAGE * (kind / 12) - low % 72;
	case 3: return LOW_SIZE + low * 16;
	case 4: return TABLE_GPA + low * 8;
	case 5: return TABLE_GPA + (LOW_SIZE / PAGE + low % 32) * 8; /* entries of slot 2 */
	case 6: return CODE_GPA + index * PAGE + low * 16;
	case 7: return CODE_GPA + (index + 1) % VCPUS * PAGE + low * 16;
	case 8: return ROM_GPA + PAGE - low % 72;
	case 9: return MOVED_GPA + low * PAGE / 4;
	case 10: return (uint64_t)0 - low;
	default: return fuzz_u64(input);
	}
}

static const enum start starts[] = {START_REAL, START_PROTECTED32, START_COMPATIBILITY, START_LONG,
				    START_COMPATIBILITY_USER, START_USER64};

static void create_cpu(int vm, struct guest_cpu *cpu, unsigned index, struct fuzz_input *input)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .value = 7 } } };
	enum start start = starts[fuzz_u8(input) % (sizeof(starts) / sizeof(starts[0]))];
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t *words = (uint64_t *)&regs;
	uint16_t entry;

	cpu->fd = engine_ioctl(vm, KVM_CREATE_VCPU, (void *)(uintptr_t)index);
	fuzz_check(cpu->fd >= 0);
	cpu->run = mmap(NULL, host.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	fuzz_check(cpu->run != MAP_FAILED);
	fuzz_check(engine_ioctl(cpu->fd, KVM_SET_CPUID2, host.cpuid) == 0);
	load_code(index, input);
	fuzz_check(engine_ioctl(cpu->fd, KVM_GET_SREGS, &sregs) == 0);
	enter_mode(&sregs, start);
	sregs.cr4 |= 1 << 9 | 1 << 10 | 1 << 18; /* SSE, XSAVE */
	fuzz_check(engine_ioctl(cpu->fd, KVM_SET_SREGS, &sregs) == 0);
	/* Where the host has more, or less, than AVX. */
	engine_ioctl(cpu->fd, KVM_SET_XCRS, &xcrs);
	xcrs.xcrs[0].value = 0xe7;
	engine_ioctl(cpu->fd, KVM_SET_XCRS, &xcrs);
	memset(&regs, 0, sizeof(regs));
	for (unsigned i = 0; i < 16; i++)
		words[i] = address(input, index);
	memcpy(&entry, host.ram + 0x6000 + index * 2, sizeof(entry));
	regs.rip = CODE_GPA + index * PAGE + entry;
	regs.rsp = fuzz_u8(input) & 1 ? STACK_GPA : address(input, index);
	regs.rflags = (fuzz_u16(input) & 0x8d5) | 2;
	fuzz_check(engine_ioctl(cpu->fd, KVM_SET_REGS, &regs) == 0);
	cpu->answers = *input;
	atomic_store(&cpu->is_done, false);
}

static void *run_cpu(void *argument)
{
	struct guest_cpu *cpu = argument;
	struct kvm_run *run = cpu->run;

	for (unsigned exits = 0; exits < EXITS_MAX; exits++) {
		int result = engine_ioctl(cpu->fd, KVM_RUN, NULL);

		if (result < 0) {
			fuzz_check(result == -EINTR);
			break;
		}
		if (run->exit_reason == KVM_EXIT_MMIO) {
			fuzz_check(run->mmio.len >= 1 && run->mmio.len <= 8);
			fuzz_take(&cpu->answers, run->mmio.data, sizeof(run->mmio.data));
		} else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
			sched_yield(); /* code that is away for the moment */
		} else if (run->exit_reason != KVM_EXIT_IO) {
			break;
		}
	}
	atomic_store(&cpu->is_done, true);
	return NULL;
}

static int set_slot(int vm, unsigned id, uint32_t flags, uint64_t gpa, uint64_t size, void *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	return engine_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void rest(long ns)
{
	struct timespec interval = { .tv_nsec = ns };

	nanosleep(&interval, NULL);
}

/* The slot goes, its memory can't be touched, it comes back. */
static void away(int vm, unsigned id, uint32_t flags, uint64_t gpa, uint64_t size, void *memory, long ns)
{
	fuzz_check(set_slot(vm, id, 0, 0, 0, NULL) == 0);
	fuzz_check(mprotect(memory, size, PROT_NONE) == 0);
	rest(ns);
	fuzz_check(mprotect(memory, size, PROT_READ | PROT_WRITE) == 0);
	fuzz_check(set_slot(vm, id, flags, gpa, size, memory) == 0);
}

static void change_slots(int vm, struct guest_cpu cpus[VCPUS], struct fuzz_input *input)
{
	uint64_t bitmap[RAM_SIZE / PAGE / 64 + 1], gpa = LOW_SIZE;

	for (unsigned step = 0; step < STEPS_MAX; step++) {
		uint8_t what = fuzz_u8(input);
		struct kvm_dirty_log log = { .slot = what & 64 ? 2 : 0, .dirty_bitmap = bitmap };
		uint32_t flags = what & 128 ? KVM_MEM_LOG_DIRTY_PAGES : 0;
		int result;

		switch (what % 7) {
		case 0: away(vm, 2, flags, gpa, HIGH_SIZE, host.high, STEP_NS); break;
		case 1: away(vm, 0, flags, 0, LOW_SIZE, host.low, STEP_NS / 2); break;
		case 2: away(vm, 1, KVM_MEM_READONLY, ROM_GPA, PAGE, host.rom, 0); break;
		case 3: /* now and then read-only */
			fuzz_check(set_slot(vm, 2, 0, 0, 0, NULL) == 0);
			fuzz_check(set_slot(vm, 2, KVM_MEM_READONLY | flags, gpa, HIGH_SIZE,
					    host.high) == 0);
			rest(STEP_NS / 2);
			fuzz_check(set_slot(vm, 2, 0, 0, 0, NULL) == 0);
			fuzz_check(set_slot(vm, 2, flags, gpa, HIGH_SIZE, host.high) == 0);
			break;
		case 4:
			gpa = gpa == LOW_SIZE ? MOVED_GPA : LOW_SIZE;
			fuzz_check(set_slot(vm, 2, flags, gpa, HIGH_SIZE, host.high) == 0);
			break;
		case 5:
			result = engine_ioctl(vm, KVM_GET_DIRTY_LOG, &log);
			fuzz_check(result == 0 || result == -ENOENT);
			break;
		default:
			fuzz_check(set_slot(vm, 0, flags, 0, LOW_SIZE, host.low) == 0);
			break;
		}
		rest(STEP_NS / 4);
		if (atomic_load(&cpus[0].is_done) && atomic_load(&cpus[1].is_done) &&
		    atomic_load(&cpus[2].is_done))
			break;
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void finish(struct guest_cpu *cpu)
{
	uint64_t end = now_ns() + DEADLINE_NS;

	while (!atomic_load(&cpu->is_done)) {
		engine_kick(cpu->fd);
		fuzz_check(now_ns() < end);
		rest(20000);
	}
	pthread_join(cpu->thread, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct guest_cpu cpus[VCPUS];
	unsigned i;
	int vm;

	set_up_once();
	vm = engine_ioctl(host.systems[fuzz_u8(&input) & 1], KVM_CREATE_VM, NULL);
	fuzz_check(vm >= 0);
	fill_memory();
	fuzz_check(set_slot(vm, 0, 0, 0, LOW_SIZE, host.low) == 0);
	fuzz_check(set_slot(vm, 1, KVM_MEM_READONLY, ROM_GPA, PAGE, host.rom) == 0);
	fuzz_check(set_slot(vm, 2, 0, LOW_SIZE, HIGH_SIZE, host.high) == 0);
	for (i = 0; i < VCPUS; i++)
		create_cpu(vm, &cpus[i], i, &input);
	for (i = 0; i < VCPUS; i++)
		fuzz_check(pthread_create(&cpus[i].thread, NULL, run_cpu, &cpus[i]) == 0);
	change_slots(vm, cpus, &input);
	for (i = 0; i < VCPUS; i++)
		finish(&cpus[i]);
	for (i = 0; i < VCPUS; i++) {
		munmap(cpus[i].run, host.run_size);
		engine_close(cpus[i].fd);
	}
	engine_close(vm);
	return 0;
}
