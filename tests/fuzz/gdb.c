/*
 * Fuzz target: the gdb stub's session, as a peer that lies.
 *
 * Input: a byte of choices, then what the peer sends: as it is, or each line as the data of a packet with
 * the right sum. The target is a VM of two vCPUs with memory that none of them ever executes: when the
 * session has it go on, it stops at once, for a reason that the choices name. Whatever is sent, replies
 * are whole packets, as many INT3s are planted as the session knows of, and none stays behind.
 */
#include <errno.h>
#include <sys/mman.h>

#include "fuzz.h"
#include "monitor/gdb/session.h"

#define CPUS	  2
#define RAM_BYTES (1u << 20)
#define STOPS_MAX 200

struct fuzzed {
	struct gdb_target target; /* first */
	struct kvm_system system;
	struct kvm_vm vm;
	struct kvm_vcpu vcpus[CPUS];
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_xsave xsave;
	struct guest_memory memory;
	struct gdb_session session;
	bool goes, has_quit;
	unsigned stops;
	uint8_t choices;
};

static void resume(struct gdb_target *target, const struct gdb_order *orders)
{
	struct fuzzed *fuzzed = (struct fuzzed *)target;
	struct kvm_guest_debug debug;
	unsigned i;

	for (i = 0; i < CPUS; i++) {
		gdb_session_debug(&fuzzed->session, &orders[i], &debug);
		fuzz_check(kvm_vcpu_ioctl(&fuzzed->vcpus[i], KVM_SET_GUEST_DEBUG, &debug) == 0);
	}
	fuzzed->goes = true;
}

static void stop(struct gdb_target *target)
{
	(void)target;
}

static void reset(struct gdb_target *target)
{
	struct fuzzed *fuzzed = (struct fuzzed *)target;

	gdb_session_resetting(&fuzzed->session);
	gdb_session_was_reset(&fuzzed->session);
}

static void quit(struct gdb_target *target)
{
	((struct fuzzed *)target)->has_quit = true;
}

static const struct gdb_target_ops ops = {.resume = resume, .stop = stop, .reset = reset,
					  .quit = quit};

/* Acknowledgements and whole packets. */
static void check_sent(void *context, const uint8_t *bytes, size_t size)
{
	char sum[3];
	uint8_t wanted = 0;
	size_t i;

	(void)context;
	if (size == 1 && (*bytes == '+' || *bytes == '-'))
		return;
	fuzz_check(size >= 4 && bytes[0] == '$' && bytes[size - 3] == '#');
	for (i = 1; i < size - 3; i++) {
		fuzz_check(bytes[i] != '$' && bytes[i] != '#');
		wanted += bytes[i];
	}
	snprintf(sum, sizeof(sum), "%02x", wanted);
	fuzz_check(memcmp(sum, bytes + size - 2, 2) == 0);
}

/* LeakSanitizer, where it is: what engines keep behind their descriptors is out of its sight. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void make_vm(struct fuzzed *fuzzed)
{
	struct kvm_userspace_memory_region region = {.memory_size = RAM_BYTES};
	struct error error;
	uint8_t *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned i;

	if (__lsan_disable)
		__lsan_disable();
	fuzz_check(ram != MAP_FAILED);
	fuzz_check(kvm_system_open(&fuzzed->system, &kvm_backend_interpreter, NULL, &error) == 0);
	fuzz_check(kvm_vm_create(&fuzzed->vm, &fuzzed->system, &error) == 0);
	region.userspace_addr = (uintptr_t)ram;
	fuzz_check(kvm_vm_ioctl(&fuzzed->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
	for (i = 0; i < CPUS; i++) {
		fuzz_check(kvm_vcpu_create(&fuzzed->vcpus[i], &fuzzed->vm, i, &error) == 0);
		fuzzed->target.vcpus[i] = &fuzzed->vcpus[i];
	}
	fuzz_check(kvm_vcpu_ioctl(&fuzzed->vcpus[0], KVM_GET_REGS, &fuzzed->regs) == 0);
	fuzz_check(kvm_vcpu_ioctl(&fuzzed->vcpus[0], KVM_GET_SREGS, &fuzzed->sregs) == 0);
	fuzz_check(kvm_vcpu_ioctl(&fuzzed->vcpus[0], KVM_GET_DEBUGREGS, &fuzzed->debugregs) == 0);
	fuzz_check(kvm_vcpu_ioctl(&fuzzed->vcpus[0], KVM_GET_XSAVE, &fuzzed->xsave) == 0);
	fuzzed->memory.regions[0] = (struct guest_region){.size_bytes = RAM_BYTES, .hva = ram};
	fuzzed->memory.region_count = 1;
	if (__lsan_enable)
		__lsan_enable();
	fuzzed->target.ops = &ops;
	fuzzed->target.cpus = CPUS;
	fuzzed->target.memory = &fuzzed->memory;
	fuzzed->target.vm = &fuzzed->vm;
}

/* As it was before the first input. */
static void renew(struct fuzzed *fuzzed)
{
	unsigned i;

	memset(fuzzed->memory.regions[0].hva, 0x90, RAM_BYTES);
	for (i = 0; i < CPUS; i++) {
		kvm_vcpu_ioctl(&fuzzed->vcpus[i], KVM_SET_SREGS, &fuzzed->sregs);
		kvm_vcpu_ioctl(&fuzzed->vcpus[i], KVM_SET_REGS, &fuzzed->regs);
		kvm_vcpu_ioctl(&fuzzed->vcpus[i], KVM_SET_DEBUGREGS, &fuzzed->debugregs);
		kvm_vcpu_ioctl(&fuzzed->vcpus[i], KVM_SET_XSAVE, &fuzzed->xsave);
	}
	fuzzed->goes = fuzzed->has_quit = false;
	fuzzed->stops = 0;
}

static void check_breakpoints(const struct fuzzed *fuzzed)
{
	const struct gdb_session *session = &fuzzed->session;
	unsigned i, planted = 0;

	for (i = 0; i < session->breakpoints.count; i++) {
		planted += session->breakpoints.list[i].is_planted;
		fuzz_check(!session->breakpoints.list[i].is_planted ||
			   gdb_memory_is_planted(&session->memory, session->breakpoints.list[i].gpa));
	}
	fuzz_check(planted >= session->memory.planted_count);
	fuzz_check(session->breakpoints.registers_used <= 4);
}

/* The machine has stopped, for one of all reasons. */
static void stop_again(struct fuzzed *fuzzed)
{
	const struct gdb_stop why = {
		.kind = GDB_STOP_ASKED + (fuzzed->choices >> 1) % GDB_STOP_CRASH,
		.cpu = fuzzed->choices >> 4 & 1,
		.watch = fuzzed->choices >> 5 & 1 ? GDB_WATCH_WRITE : GDB_WATCH_ACCESS,
		.address = UINT64_MAX - fuzzed->choices,
	};

	fuzzed->goes = false;
	fuzzed->choices++;
	gdb_session_stopped(&fuzzed->session, &why);
}

static void send_bytes(struct fuzzed *fuzzed, const uint8_t *bytes, size_t size)
{
	size_t taken;

	while (size && !fuzzed->session.is_leaving && !fuzzed->has_quit &&
	       fuzzed->stops < STOPS_MAX) {
		taken = gdb_session_receive(&fuzzed->session, bytes, size);
		fuzz_check(taken && taken <= size);
		bytes += taken;
		size -= taken;
		check_breakpoints(fuzzed);
		if (fuzzed->goes) {
			fuzzed->stops++;
			stop_again(fuzzed);
		}
	}
}

static void send_line(struct fuzzed *fuzzed, const uint8_t *line, size_t size)
{
	char end[4];
	uint8_t sum = 0;
	size_t i;

	for (i = 0; i < size; i++)
		sum += line[i];
	snprintf(end, sizeof(end), "#%02x", sum);
	send_bytes(fuzzed, (const uint8_t *)"$", 1);
	send_bytes(fuzzed, line, size);
	send_bytes(fuzzed, (const uint8_t *)end, 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzzed fuzzed;
	const uint8_t *end;
	size_t length;

	if (!fuzzed.target.cpus)
		make_vm(&fuzzed);
	renew(&fuzzed);
	if (!size)
		return 0;
	fuzzed.choices = *data++;
	size--;
	gdb_session_init(&fuzzed.session, &fuzzed.target);
	fuzzed.session.send = check_sent;
	gdb_session_begin(&fuzzed.session);
	if (fuzzed.choices & 1)
		send_bytes(&fuzzed, data, size);
	while (!(fuzzed.choices & 1) && size) {
		end = memchr(data, '\n', size);
		length = end ? (size_t)(end - data) : size;
		send_line(&fuzzed, data, length);
		data += length + (end != NULL);
		size -= length + (end != NULL);
	}
	gdb_session_end(&fuzzed.session);
	fuzz_check(!fuzzed.session.memory.planted_count);
	gdb_session_free(&fuzzed.session);
	return 0;
}
