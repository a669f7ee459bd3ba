/*
 * Fuzz target: a hostile guest on the whole engine.
 *
 * Input: a header that chooses the CPU's mode, its registers and the VM's shape (interrupt chips,
 * single-stepping, dirty log, translator, and whether more state follows: control registers, XCR0,
 * vector registers and masks, pointers to where pages and RAM end), then bytes that
 * are the guest's code; the same bytes go on as the answers of devices. The guest runs through the
 * engine's requests, as any monitor runs it, for a bounded number of exits and a millisecond or two.
 * Whatever it does, the monitor must stay alive and in control: no crash, no sanitizer report, no
 * access outside the guest's RAM (which lies between inaccessible pages), KVM_RUN must return soon
 * after a kick, and the state that GET requests tell must be accepted by the SET requests.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "fuzz.h"
#include "modes.h"

#define RAM_SIZE      (256u << 10)
#define GUARD_SIZE    (1u << 20)
#define CODE_GPA      0x8000u
#define STACK_GPA     0x7ff0u
#define ROM_GPA       0x100000u
#define EXITS_MAX     100
#define BUDGET_NS     1000000 /* of one input's guest time */
#define CPUID_ENTRIES 256
#define EFER_LMA      0x400u

static struct {
	int system;       /* translates after some runs */
	int eager_system; /* at once */
	int interpreter;
	size_t run_size;
	uint8_t *ram, *rom;
	struct kvm_cpuid2 *cpuid;
	timer_t timer;
	volatile int running_vcpu; /* -1: none */
} host = {.running_vcpu = -1};

static void on_timer(int number)
{
	(void)number;
	if (host.running_vcpu >= 0)
		engine_kick(host.running_vcpu);
}

/* Memory between inaccessible pages. */
static uint8_t *map_guarded(size_t size)
{
	uint8_t *base = mmap(NULL, size + 2 * GUARD_SIZE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	fuzz_check(base != MAP_FAILED);
	fuzz_check(mprotect(base + GUARD_SIZE, size, PROT_READ | PROT_WRITE) == 0);
	return base + GUARD_SIZE;
}

static void set_up_once(void)
{
	struct sigaction action = {.sa_handler = on_timer};
	struct engine_options options = ENGINE_OPTIONS_DEFAULT;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};

	if (host.ram)
		return;
	options.warmth = 8;
	options.promotion = 32;
	host.system = engine_open(&options);
	fuzz_check(host.system >= 0);
	options.warmth = options.promotion = 0;
	host.eager_system = engine_open(&options);
	fuzz_check(host.eager_system >= 0);
	options.tier = ENGINE_TIER_INTERPRETER;
	host.interpreter = engine_open(&options);
	fuzz_check(host.interpreter >= 0);
	host.run_size = engine_ioctl(host.system, KVM_GET_VCPU_MMAP_SIZE, NULL);
	fuzz_check((int)host.run_size > 0);
	host.cpuid = calloc(1, sizeof(*host.cpuid) +
				       CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
	fuzz_check(host.cpuid);
	host.cpuid->nent = CPUID_ENTRIES;
	fuzz_check(engine_ioctl(host.system, KVM_GET_SUPPORTED_CPUID, host.cpuid) == 0);
	host.ram = map_guarded(RAM_SIZE);
	host.rom = map_guarded(4096);
	sigaction(SIGRTMIN, &action, NULL);
	fuzz_check(timer_create(CLOCK_MONOTONIC, &event, &host.timer) == 0);
}

static void put(uint32_t gpa, uint64_t value, unsigned size)
{
	memcpy(host.ram + gpa, &value, size);
}

/* Tables that every mode can start with; the guest may overwrite all of them. */
static void fill_tables(enum start start)
{
	bool is_long = start == START_LONG || start == START_COMPATIBILITY || start == START_USER64;

	memcpy(host.ram + GDT_GPA, fuzz_gdt, sizeof(fuzz_gdt));
	put(TSS_GPA + 4, STACK_GPA, 8);
	put(TSS_GPA + 8, 3 << 3, 4);
	put(TSS_GPA + 0x66, 0x68, 2);
	for (unsigned vector = 0; vector < 32; vector++) {
		/* All exceptions enter at the code's start. */
		if (is_long) {
			put(IDT_GPA + vector * 16, CODE_GPA | 1ull << 19 | 0x8e00ull << 32, 8);
		} else if (start != START_REAL) {
			put(IDT_GPA + vector * 8, CODE_GPA | 2ull << 19 | 0x8e00ull << 32, 8);
		}
		put(vector * 4, CODE_GPA, 4);
	}
	if (is_long) {
		put(PAGES_GPA, (PAGES_GPA + 0x1000) | 7, 8);
		put(PAGES_GPA + 0x1000, (PAGES_GPA + 0x2000) | 7, 8);
		put(PAGES_GPA + 0x2000, 0x087, 8);      /* 2 MiB, user */
		put(PAGES_GPA + 0x2008, 0x200083, 8);   /* nothing there: MMIO */
	} else if (start == START_PAE) {
		put(PAGES_GPA, (PAGES_GPA + 0x1000) | 1, 8);
		put(PAGES_GPA + 0x1000, 0x087, 8);
	} else {
		put(PAGES_GPA, 0x087, 4); /* 4 MiB with CR4.PSE */
		put(PAGES_GPA + 4, (PAGES_GPA + 0x1000) | 7, 4);
		put(PAGES_GPA + 0x1000, 0x3007, 4);
	}
}

static void arm_timer(uint64_t ns)
{
	/* Repeating: a kick that comes just before KVM_RUN must not be the only one. */
	struct itimerspec spec = {
		.it_value = {.tv_nsec = (long)ns},
		.it_interval = {.tv_nsec = (long)(ns ? 1000000 : 0)},
	};

	timer_settime(host.timer, 0, &spec, NULL);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Answer an exit from the input. False: the guest's life ends here. */
static bool answer(struct kvm_run *run, struct fuzz_input *input)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		fuzz_check(run->io.size == 1 || run->io.size == 2 || run->io.size == 4);
		fuzz_check(run->io.data_offset >= sizeof(*run) || run->io.data_offset >= 512);
		fuzz_check(run->io.data_offset + (uint64_t)run->io.size * run->io.count <=
			   host.run_size);
		if (run->io.direction == KVM_EXIT_IO_IN)
			fuzz_take(input, (uint8_t *)run + run->io.data_offset,
				  (size_t)run->io.size * run->io.count);
		return true;
	case KVM_EXIT_MMIO:
		fuzz_check(run->mmio.len >= 1 && run->mmio.len <= 8);
		/* RAM is never a device's; the ROM is for writes. */
		fuzz_check(run->mmio.phys_addr + run->mmio.len > RAM_SIZE);
		if (!run->mmio.is_write)
			fuzz_take(input, run->mmio.data, sizeof(run->mmio.data));
		return true;
	case KVM_EXIT_DEBUG: return true;
	case KVM_EXIT_IRQ_WINDOW_OPEN: return true;
	default: return false;
	}
}

/* What the GET requests tell, the SET requests must take. */
static void check_state(int vcpu)
{
	static struct kvm_regs regs;
	static struct kvm_sregs sregs;
	static struct kvm_vcpu_events events;
	static struct kvm_xsave xsave;
	static struct kvm_debugregs debug;
	static struct kvm_fpu fpu;

	fuzz_check(engine_ioctl(vcpu, KVM_GET_REGS, &regs) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_SET_REGS, &regs) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0);
	/* A guest may load CS.L outside IA-32e mode; Linux's KVM does not take that back either. */
	if (!sregs.cs.l || sregs.efer & EFER_LMA)
		fuzz_check(engine_ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_GET_XSAVE, &xsave) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_SET_XSAVE, &xsave) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_GET_DEBUGREGS, &debug) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_SET_DEBUGREGS, &debug) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_GET_FPU, &fpu) == 0);
	fuzz_check(engine_ioctl(vcpu, KVM_SET_FPU, &fpu) == 0);
}

static void run_guest(int vcpu, struct kvm_run *run, struct fuzz_input *input)
{
	uint64_t end = now_ns() + BUDGET_NS;
	int result;

	host.running_vcpu = vcpu;
	for (unsigned exits = 0; exits < EXITS_MAX && now_ns() < end; exits++) {
		arm_timer(BUDGET_NS);
		result = engine_ioctl(vcpu, KVM_RUN, NULL);
		if (result < 0) {
			fuzz_check(result == -EINTR || result == -EAGAIN);
			break;
		}
		if (!answer(run, input))
			break;
	}
	arm_timer(0);
	host.running_vcpu = -1;
}

enum shape {
	SHAPE_IRQCHIP = 1 << 0,
	SHAPE_STEPPING = 1 << 1,
	SHAPE_DIRTY_LOG = 1 << 2,
	SHAPE_TRANSLATOR = 1 << 3,
	SHAPE_STATE = 1 << 4,    /* control registers, XCR0, vector registers */
	SHAPE_EAGER = 1 << 5,    /* with SHAPE_TRANSLATOR */
	SHAPE_POINTERS = 1 << 6, /* to the ends of pages and of RAM */
};

#define CR0_CHOICE  0x0005003eu /* MP, EM, TS, NE, WP, AM */
#define CR4_CHOICE  0x00350d9cu /* TSD, DE, PSE, PGE, PCE, OSXMMEXCPT, UMIP, FSGSBASE, OSXSAVE, SMEP, SMAP */
#define EFER_CHOICE 0x00000801u /* SCE, NX */

/* Control registers: some of the bits, and often all that vectors need. */
static void take_control(struct kvm_sregs *sregs, struct fuzz_input *input)
{
	uint8_t style = fuzz_u8(input);

	sregs->cr0 ^= fuzz_u32(input) & CR0_CHOICE;
	sregs->cr4 ^= fuzz_u32(input) & CR4_CHOICE;
	sregs->efer ^= fuzz_u16(input) & EFER_CHOICE;
	if (style & 1) {
		sregs->cr0 = (sregs->cr0 & ~0xcull) | 0x22;
		sregs->cr4 |= 0x40600;
	}
}

/* XCR0, vector registers and opmasks. What is not allowed is refused, and stays as it was. */
static void take_vectors(int vcpu, struct fuzz_input *input)
{
	static struct kvm_xsave image;
	struct kvm_xcrs xcrs = {.nr_xcrs = 1};
	uint64_t seed = fuzz_u64(input) | 1;
	uint8_t style = fuzz_u8(input);

	engine_ioctl(vcpu, KVM_GET_XCRS, &xcrs);
	xcrs.nr_xcrs = 1;
	xcrs.xcrs[0].value = style & 1 ? 0xe7 : style & 2 ? 7 : fuzz_u8(input) | 1;
	if (engine_ioctl(vcpu, KVM_SET_XCRS, &xcrs) != 0 &&
	    engine_ioctl(vcpu, KVM_GET_XCRS, &xcrs) != 0)
		return;
	fuzz_check(engine_ioctl(vcpu, KVM_GET_XSAVE, &image) == 0);
	for (unsigned i = 0; i < sizeof(image.region) / 4; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		/* The header is at 512; MXCSR, at 24, and the control word are often harmless. */
		if (i < 8 ? style & 4 : i < 128 || i >= 144)
			image.region[i] = style & 8 ? (uint32_t)seed & 0x1ff : (uint32_t)seed;
	}
	image.region[6] &= 0xffff;
	image.region[128] = (uint32_t)xcrs.xcrs[0].value;
	engine_ioctl(vcpu, KVM_SET_XSAVE, &image);
}

/* Up to 63 bytes before, or 192 behind, the end of something. */
static uint64_t take_pointer(struct fuzz_input *input)
{
	static const uint32_t ends[] = {RAM_SIZE, CODE_GPA + 0x1000, ROM_GPA, ROM_GPA + 4096,
					IDT_GPA, 0x10000, 0x200000, 0};

	return (uint64_t)ends[fuzz_u8(input) % (sizeof(ends) / sizeof(ends[0]))] +
	       (uint64_t)((int64_t)fuzz_u8(input) - 63);
}

static void set_registers(int vcpu, enum start start, uint8_t shape, struct fuzz_input *input)
{
	struct kvm_regs regs;
	uint64_t *words = (uint64_t *)&regs;

	memset(&regs, 0, sizeof(regs));
	/* Eight registers in their full range, eight that point into RAM or just past it. */
	for (unsigned i = 0; i < 8; i++) {
		words[2 * i] = fuzz_u16(input);
		words[2 * i + 1] = fuzz_u64(input);
	}
	if (shape & SHAPE_POINTERS) {
		regs.rbx = take_pointer(input);
		regs.rsi = take_pointer(input);
		regs.rdi = take_pointer(input);
		regs.rbp = take_pointer(input);
		regs.r8 = take_pointer(input);
	}
	regs.rip = CODE_GPA;
	regs.rsp = STACK_GPA;
	regs.rflags = (fuzz_u32(input) & 0x240dd5) | 2;
	if (start == START_VM86)
		regs.rflags |= 1 << 17;
	fuzz_check(engine_ioctl(vcpu, KVM_SET_REGS, &regs) == 0);
}

static void fuzz_vm(int vm, enum start start, uint8_t shape, struct fuzz_input *input)
{
	struct kvm_userspace_memory_region region = {
		.slot = 0, .memory_size = RAM_SIZE, .userspace_addr = (uintptr_t)host.ram,
		.flags = shape & SHAPE_DIRTY_LOG ? KVM_MEM_LOG_DIRTY_PAGES : 0,
	};
	struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
	struct kvm_sregs sregs;
	struct kvm_run *run;
	size_t code_size;
	int vcpu;

	fuzz_check(engine_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
	region = (struct kvm_userspace_memory_region){
		.slot = 1, .guest_phys_addr = ROM_GPA, .memory_size = 4096,
		.userspace_addr = (uintptr_t)host.rom, .flags = KVM_MEM_READONLY,
	};
	fuzz_check(engine_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
	if (shape & SHAPE_IRQCHIP)
		fuzz_check(engine_ioctl(vm, KVM_CREATE_IRQCHIP, NULL) == 0);
	vcpu = engine_ioctl(vm, KVM_CREATE_VCPU, NULL);
	fuzz_check(vcpu >= 0);
	run = mmap(NULL, host.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	fuzz_check(run != MAP_FAILED);
	fuzz_check(engine_ioctl(vcpu, KVM_SET_CPUID2, host.cpuid) == 0);
	if (shape & SHAPE_STEPPING)
		fuzz_check(engine_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug) == 0);

	memset(host.ram, 0, RAM_SIZE);
	memset(host.rom, 0x90, 4096);
	fill_tables(start);
	fuzz_check(engine_ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0);
	/* Raw is any state at all; the request may refuse it. */
	if (start == START_RAW)
		fuzz_take(input, &sregs, sizeof(sregs));
	else
		enter_mode(&sregs, start);
	if (shape & SHAPE_STATE)
		take_control(&sregs, input);
	if (engine_ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0) {
		if (shape & SHAPE_STATE)
			take_vectors(vcpu, input);
		set_registers(vcpu, start, shape, input);
		code_size = input->size < 2048 ? input->size : 2048;
		if (code_size)
			memcpy(host.ram + CODE_GPA, input->data, code_size);
		run_guest(vcpu, run, input);
		check_state(vcpu);
	} else {
		fuzz_check(start == START_RAW || shape & SHAPE_STATE);
	}
	munmap(run, host.run_size);
	engine_close(vcpu);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	enum start start;
	uint8_t shape;
	int vm;

	set_up_once();
	start = fuzz_u8(&input) % STARTS;
	shape = fuzz_u8(&input);
	vm = engine_ioctl(!(shape & SHAPE_TRANSLATOR) ? host.interpreter
			  : shape & SHAPE_EAGER	      ? host.eager_system
						      : host.system,
			  KVM_CREATE_VM, NULL);
	fuzz_check(vm >= 0);
	fuzz_vm(vm, start, shape, &input);
	engine_close(vm);
	return 0;
}
