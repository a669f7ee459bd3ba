#include "cli/accel.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"

#define PROBE_RAM_BYTES	   4096
#define PROBE_ITERATIONS   1000000ull
#define PROBE_LIMIT_NS	   50000000ull
#define PROBE_TRIES	   3


/*
 * Hardware runs this loop at a cycle or two an iteration, thousands of millions of instructions a
 * second; kvik's translator reaches about a half of that, and emulated KVM a few tens of millions.
 */
#define HARDWARE_MIPS 800.0

/* A real-mode loop of PROBE_ITERATIONS: mov ecx, n; l: dec ecx; jnz l; hlt. */
static const uint8_t probe_code[] = {
	0x66, 0xb9, PROBE_ITERATIONS & 0xff, PROBE_ITERATIONS >> 8 & 0xff,
	PROBE_ITERATIONS >> 16 & 0xff, PROBE_ITERATIONS >> 24 & 0xff,
	0x66, 0x49, 0x75, 0xfc, 0xf4,
};

struct probe_watch {
	const struct kvm_vcpu *vcpu;
	pthread_t runner;
	pthread_mutex_t lock;
	pthread_cond_t done_changed;
	bool is_done;
};

/* Ends the probe's KVM_RUN when its time is up. */
static void *watch_thread(void *argument)
{
	struct probe_watch *watch = argument;
	struct timespec deadline;
	int result = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_nsec += PROBE_LIMIT_NS;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_sec++;
		deadline.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&watch->lock);
	while (!watch->is_done && result == 0)
		result = pthread_cond_timedwait(&watch->done_changed, &watch->lock, &deadline);
	if (!watch->is_done)
		kvm_vcpu_kick(watch->vcpu, watch->runner);
	pthread_mutex_unlock(&watch->lock);
	return NULL;
}

static int prepare_vcpu(const struct kvm_vcpu *vcpu)
{
	struct kvm_regs regs = {.rflags = 2};
	struct kvm_sregs sregs;
	int result = kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);

	if (result < 0)
		return result;
	sregs.cs.selector = 0;
	sregs.cs.base = 0;
	result = kvm_vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	return result < 0 ? result : kvm_vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
}

/* The processor time of this thread, guest time included: a busy host must not look slow. */
static uint64_t thread_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* Run the loop to its end or until its time is up; in `speed` instructions a microsecond. */
static int run_loop(const struct kvm_vcpu *vcpu, double *speed, bool *is_starved)
{
	struct probe_watch watch = {.vcpu = vcpu, .runner = pthread_self()};
	struct kvm_regs regs;
	pthread_t watcher;
	uint64_t elapsed_ns;
	int result;

	result = prepare_vcpu(vcpu);
	if (result < 0)
		return result;
	pthread_mutex_init(&watch.lock, NULL);
	pthread_cond_init(&watch.done_changed, NULL);
	result = -pthread_create(&watcher, NULL, watch_thread, &watch);
	if (result < 0)
		goto out;
	elapsed_ns = thread_ns();
	result = kvm_vcpu_ioctl(vcpu, KVM_RUN, NULL);
	elapsed_ns = thread_ns() - elapsed_ns;
	pthread_mutex_lock(&watch.lock);
	watch.is_done = true;
	pthread_cond_signal(&watch.done_changed);
	pthread_mutex_unlock(&watch.lock);
	pthread_join(watcher, NULL);
	if (result == 0 && vcpu->run->exit_reason != KVM_EXIT_HLT)
		result = -EIO;
	if (result < 0 && result != -EINTR)
		goto out;
	*is_starved = result == -EINTR && elapsed_ns < PROBE_LIMIT_NS / 2;
	result = kvm_vcpu_ioctl(vcpu, KVM_GET_REGS, &regs);
	/* Two instructions an iteration; ECX counts down, and is 0 until its load. */
	if (result == 0)
		*speed = 2e3 * (regs.rip ? PROBE_ITERATIONS - (uint32_t)regs.rcx : 0) /
			 (elapsed_ns ? elapsed_ns : 1);
out:
	pthread_cond_destroy(&watch.done_changed);
	pthread_mutex_destroy(&watch.lock);
	return result;
}

/* The best of some tries: the first pays for page faults, any may be disturbed. */
static void measure(struct accel_probe *probe, const struct kvm_vcpu *vcpu)
{
	bool is_starved = false;
	double speed = 0;
	int i, result;

	for (i = 0; i < PROBE_TRIES; i++) {
		result = run_loop(vcpu, &speed, &is_starved);
		if (result < 0) {
			snprintf(probe->reason, sizeof(probe->reason),
				 "/dev/kvm cannot run a guest: %s", strerror(-result));
			return;
		}
		probe->is_usable = true;
		if (speed > probe->million_instructions_per_second)
			probe->million_instructions_per_second = speed;
		probe->is_hardware_speed =
			probe->million_instructions_per_second >= HARDWARE_MIPS;
		/* Nearly there, or stopped early: look again. Far below: it won't change. */
		if (probe->is_hardware_speed || (!is_starved && speed < HARDWARE_MIPS / 8))
			break;
	}
	snprintf(probe->reason, sizeof(probe->reason),
		 "/dev/kvm %s: %.0f million instructions a second",
		 probe->is_hardware_speed ? "runs guests at hardware speed" : "works, but is slow",
		 probe->million_instructions_per_second);
}

void accel_probe_kvm(struct accel_probe *probe)
{
	struct kvm_userspace_memory_region slot = {.memory_size = PROBE_RAM_BYTES};
	struct kvm_system system;
	struct kvm_vm vm;
	struct kvm_vcpu vcpu;
	struct error error;
	uint8_t *ram;
	int result;

	memset(probe, 0, sizeof(*probe));
	probe->is_present = access("/dev/kvm", F_OK) == 0;
	if (!probe->is_present) {
		snprintf(probe->reason, sizeof(probe->reason), "there is no /dev/kvm");
		return;
	}
	ram = mmap(NULL, PROBE_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	if (ram == MAP_FAILED) {
		error_set_errno(&error, errno, "cannot examine /dev/kvm");
		goto out;
	}
	memcpy(ram, probe_code, sizeof(probe_code));
	slot.userspace_addr = (uintptr_t)ram;
	if (kvm_system_open(&system, &kvm_backend_linux, NULL, &error) < 0)
		goto out_unmap;
	if (kvm_vm_create(&vm, &system, &error) < 0)
		goto out_system;
	if (kvm_vcpu_create(&vcpu, &vm, 0, &error) < 0)
		goto out_vm;
	result = kvm_vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &slot);
	if (result == 0)
		measure(probe, &vcpu);
	else
		error_set_errno(&error, -result, "/dev/kvm takes no memory");
	kvm_vcpu_close(&vcpu);
out_vm:
	kvm_vm_close(&vm);
out_system:
	kvm_system_close(&system);
out_unmap:
	munmap(ram, PROBE_RAM_BYTES);
out:
	if (!probe->reason[0])
		snprintf(probe->reason, sizeof(probe->reason), "%.*s",
			 (int)sizeof(probe->reason) - 1, error.message);
}

const struct kvm_backend *accel_choose(enum accel accel, char *reason, size_t reason_size)
{
	struct accel_probe probe;

	if (accel == ACCEL_KVM) {
		snprintf(reason, reason_size, "asked for");
		return &kvm_backend_linux;
	}
	if (accel == ACCEL_ENGINE) {
		snprintf(reason, reason_size, "asked for");
		return &kvm_backend_engine;
	}
	accel_probe_kvm(&probe);
	snprintf(reason, reason_size, "%s", probe.reason);
	return probe.is_usable && probe.is_hardware_speed ? &kvm_backend_linux
							  : &kvm_backend_engine;
}

/*
 * An eighth of the guest's memory, with what is kept about the code a quarter: compilers translate the
 * same code again and again in less than some 100 MiB, and small guests are wanted to stay small.
 */
uint64_t accel_code_cache(uint64_t memory_bytes)
{
	const uint64_t least = 32ull << 20, most = KVM_CODE_CACHE_DEFAULT, eighth = memory_bytes / 8;

	return eighth < least ? least : eighth > most ? most : eighth & ~((1ull << 20) - 1);
}
