/* A VM's kvm-clock: see clock.h. */
#include "engine/vm/x86/clock.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "engine/vm/memslot.h"
#include "engine/x86/host/host_tsc.h"
#include "util/clock.h"

#define NS_PER_MS     UINT64_C(1000000)

/* arch/x86/include/asm/pvclock-abi.h */
struct pvclock_wall_clock {
	uint32_t version;
	uint32_t sec;
	uint32_t nsec;
};
_Static_assert(sizeof(struct pvclock_wall_clock) == VM_WALL_CLOCK_BYTES, "msr.rst");

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
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
