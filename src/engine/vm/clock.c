/* The host's TSC frequency and a VM's kvm-clock: see clock.h. */
#include "engine/vm/clock.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "engine/vm/memslot.h"
#include "util/clock.h"

#define NS_PER_MS     UINT64_C(1000000)

/* Long enough that the error of a sample (some 50 ns) stays below 10 ppm. */
#define MEASUREMENT_NS (10 * NS_PER_MS)

/* arch/x86/include/asm/pvclock-abi.h */
struct pvclock_wall_clock {
	uint32_t version;
	uint32_t sec;
	uint32_t nsec;
};
_Static_assert(sizeof(struct pvclock_wall_clock) == VM_WALL_CLOCK_BYTES, "msr.rst");

struct sample {
	uint64_t tsc, ns;
};

static struct sample first_sample;
static uint32_t measured_khz;

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

uint64_t host_clock_tsc(void)
{
	return clock_ns(CLOCK_MONOTONIC_RAW);
}

/* TSC and time at the same moment: of a few tries, the one whose bracket is tightest. */
static struct sample take_sample(void)
{
	struct sample best = { 0 };
	uint64_t best_width = UINT64_MAX;
	int i;

	for (i = 0; i < 16; i++) {
		uint64_t before = host_tsc();
		uint64_t ns = clock_ns(CLOCK_MONOTONIC_RAW);
		uint64_t width = host_tsc() - before;

		if (width < best_width) {
			best_width = width;
			best.tsc = before + width / 2;
			best.ns = ns;
		}
	}
	return best;
}

static void take_first_sample(void)
{
	first_sample = take_sample();
}

void host_tsc_start_measurement(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, take_first_sample);
}

static void measure(void)
{
	struct sample last;
	uint64_t elapsed;

	host_tsc_start_measurement();
	for (;;) {
		struct timespec rest = { 0 };

		last = take_sample();
		elapsed = last.ns - first_sample.ns;
		if (elapsed >= MEASUREMENT_NS)
			break;
		rest.tv_nsec = MEASUREMENT_NS - elapsed;
		nanosleep(&rest, NULL);
	}
	measured_khz = (unsigned __int128)(last.tsc - first_sample.tsc) * NS_PER_MS / elapsed;
}

uint32_t host_tsc_khz(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (!host.has_steady_tsc)
		return NS_PER_SECOND / 1000;
	pthread_once(&once, measure);
	return measured_khz;
}

/* kvm-clock when the host's TSC is `tsc`. Called with the clock's lock held. */
static uint64_t clock_at(const struct vm_clock *clock, uint64_t tsc)
{
	int64_t ticks = tsc - clock->base_tsc;

	return clock->base_ns + (__int128)ticks * (int64_t)NS_PER_MS / host_tsc_khz();
}

void vm_clock_init(struct vm_clock *clock)
{
	pthread_mutex_init(&clock->lock, NULL);
	clock->base_tsc = host_tsc();
	clock->base_ns = 0;
}

void vm_clock_destroy(struct vm_clock *clock)
{
	pthread_mutex_destroy(&clock->lock);
}

uint32_t vm_clock_flags(void)
{
	return KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME |
	       (host.has_steady_tsc ? KVM_CLOCK_HOST_TSC : 0);
}

void vm_clock_get(struct vm_clock *clock, struct kvm_clock_data *data)
{
	memset(data, 0, sizeof(*data));
	pthread_mutex_lock(&clock->lock);
	data->host_tsc = host_tsc();
	data->realtime = clock_ns(CLOCK_REALTIME);
	data->clock = clock_at(clock, data->host_tsc);
	pthread_mutex_unlock(&clock->lock);
	data->flags = vm_clock_flags();
}

int vm_clock_set(struct vm_clock *clock, const struct kvm_clock_data *data)
{
	uint64_t now_real;

	if (data->flags & ~(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC))
		return -EINVAL;
	pthread_mutex_lock(&clock->lock);
	clock->base_tsc = host_tsc();
	clock->base_ns = data->clock;
	now_real = clock_ns(CLOCK_REALTIME);
	/* The guest's time went on while it was saved; but never backwards. */
	if ((data->flags & KVM_CLOCK_REALTIME) && now_real > data->realtime)
		clock->base_ns += now_real - data->realtime;
	pthread_mutex_unlock(&clock->lock);
	return 0;
}

/* Tell the guest the time of day when kvm-clock was 0 (msr.rst, MSR_KVM_WALL_CLOCK_NEW). */
static void write_wall_clock(struct vm_clock *clock, struct memslots *memslots,
			     uint64_t gpa)
{
	struct pvclock_wall_clock page;
	uint64_t boot_ns;
	uint32_t version;

	if (!gpa || memslots_read(memslots, gpa, &version, sizeof(version)) < 0)
		return;
	version = (version | 1) + 2; /* odd; what a first write leaves may be anything */
	memslots_write(memslots, gpa, &version, sizeof(version));
	pthread_mutex_lock(&clock->lock);
	boot_ns = clock_ns(CLOCK_REALTIME) - clock_at(clock, host_tsc());
	pthread_mutex_unlock(&clock->lock);
	page.version = version;
	page.sec = boot_ns / NS_PER_SECOND;
	page.nsec = boot_ns % NS_PER_SECOND;
	memslots_write(memslots, gpa, &page, sizeof(page));
	atomic_thread_fence(memory_order_seq_cst);
	version++;
	memslots_write(memslots, gpa, &version, sizeof(version));
}

uint64_t vm_clock_base(struct vm_clock *clock, uint64_t *host_tsc)
{
	uint64_t ns;

	pthread_mutex_lock(&clock->lock);
	*host_tsc = clock->base_tsc;
	ns = clock->base_ns;
	pthread_mutex_unlock(&clock->lock);
	return ns;
}

uint64_t vm_clock_get_wall(struct vm_clock *clock)
{
	uint64_t gpa;

	pthread_mutex_lock(&clock->lock);
	gpa = clock->wall_clock;
	pthread_mutex_unlock(&clock->lock);
	return gpa;
}

void vm_clock_set_wall(struct vm_clock *clock, struct memslots *memslots, uint64_t gpa)
{
	pthread_mutex_lock(&clock->lock);
	clock->wall_clock = gpa;
	pthread_mutex_unlock(&clock->lock);
	write_wall_clock(clock, memslots, gpa);
}
