/*
 * Interrupts by eventfd (KVM api.rst 4.75, KVM_IRQFD): who signals the eventfd pulses a GSI.
 *
 * One thread per VM, started with the first irqfd, waits for all of them in epoll. A resampling
 * irqfd holds its GSI high instead, until the guest's EOI lowers it and signals the second eventfd;
 * the device then says whether it still has something to report.
 *
 * The engine keeps its own duplicate of each descriptor and tells eventfds apart by what is behind
 * it, so that a deassign may name them by another descriptor. Unlike Linux, an eventfd whose other
 * descriptors are all closed stays assigned until the VM goes.
 *
 * An eventfd is assigned once. Guests have thousands, so they are kept in the order that kcmp(2) has of files.
 *
 * The set's lock guards who is assigned; an eventfd's interrupt is raised under it, so that none comes
 * after a deassign. Who resamples is guarded by `wires`, too: an EOI looks for them under that.
 */
#include "engine/irqchip/irqfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/limits.h"
#include "util/eventfd.h"
#include "util/thread.h"

#define EVENTS_AT_ONCE 32
#define SERIAL_STOP    0 /* epoll data of stop_fd */

struct irqfd {
	struct irqfd *next;            /* in its bucket of `buckets` */
	struct irqfd *next_resampling; /* and of `resampling` */
	uint64_t serial; /* epoll data: an event in flight for one that is gone finds nobody */
	uint32_t gsi;
	int user_fd;     /* the number it was given as */
	int fd;          /* owned duplicate */
	int resample_fd; /* owned duplicate, or -1 */
};

static int duplicate(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

/* Take the eventfd's count without ever blocking: somebody else may have read it already. */
static bool consume(int fd)
{
	uint64_t count;
	struct iovec vector = {&count, sizeof(count)};
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	ssize_t length = preadv2(fd, &vector, 1, -1, RWF_NOWAIT);

	/* Kernels before 5.8 cannot do that on an eventfd. */
	if (length < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ESPIPE) &&
	    poll(&ready, 1, 0) == 1)
		length = read(fd, &count, sizeof(count));
	return length == sizeof(count);
}

/* Signal an eventfd, without blocking on one that is full. */
static void signal_eventfd(int fd)
{
	uint64_t one = 1;
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	/* When it cannot be written it is signalled as much as it can be. */
	if (poll(&ready, 1, 0) == 1 && write(fd, &one, sizeof(one)) < 0)
		return;
}

static void inject(struct irqfd_set *set, uint64_t serial)
{
	struct irqfd *irqfd;

	pthread_mutex_lock(&set->lock);
	for (irqfd = set->buckets[serial % IRQFD_BUCKETS]; irqfd; irqfd = irqfd->next)
		if (irqfd->serial == serial)
			break;
	if (irqfd && consume(irqfd->fd)) {
		if (irqfd->resample_fd >= 0)
			set->host->hold(set->context, irqfd->gsi);
		else
			set->host->pulse(set->context, irqfd->gsi);
	}
	pthread_mutex_unlock(&set->lock);
}

static struct irqfd **resampling_bucket(struct irqfd_set *set, uint32_t gsi)
{
	return &set->resampling[gsi % IRQFD_BUCKETS];
}

void irqfd_acked(struct irqfd_set *set, uint32_t gsi)
{
	struct irqfd *irqfd;
	bool is_lowered = false;

	for (irqfd = *resampling_bucket(set, gsi); irqfd; irqfd = irqfd->next_resampling) {
		if (irqfd->gsi != gsi)
			continue;
		if (!is_lowered)
			set->host->release(set->context, gsi);
		is_lowered = true;
		signal_eventfd(irqfd->resample_fd);
	}
}

static void *irqfd_thread(void *context)
{
	struct irqfd_set *set = context;
	struct epoll_event events[EVENTS_AT_ONCE];
	int count, i;

	pthread_setname_np(pthread_self(), "kvik-irqfd");
	for (;;) {
		count = epoll_wait(set->epoll_fd, events, EVENTS_AT_ONCE, -1);
		if (count < 0 && errno != EINTR)
			return NULL;
		for (i = 0; i < count; i++) {
			if (events[i].data.u64 == SERIAL_STOP)
				return NULL;
			inject(set, events[i].data.u64);
		}
	}
}

static int start_thread(struct irqfd_set *set)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = SERIAL_STOP};
	int result;

	if (set->epoll_fd >= 0)
		return 0;
	set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll_fd < 0)
		return -errno;
	set->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (set->stop_fd < 0) {
		result = -errno;
		goto out_close_epoll;
	}
	if (epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, set->stop_fd, &event)) {
		result = -errno;
		goto out_close_stop;
	}
	result = thread_start(&set->thread, NULL, irqfd_thread, set);
	if (!result)
		return 0;
out_close_stop:
	close(set->stop_fd);
out_close_epoll:
	close(set->epoll_fd);
	set->epoll_fd = -1;
	return result;
}

static void destroy_irqfd(struct irqfd *irqfd)
{
	if (irqfd->resample_fd >= 0)
		close(irqfd->resample_fd);
	if (irqfd->fd >= 0)
		close(irqfd->fd);
	free(irqfd);
}

/* One by one, where files' order is unknown, or was: the caller's filter of system calls may be another. */
static bool find_unordered(const struct irqfd_set *set, int user_fd, unsigned *place)
{
	bool can_compare = eventfd_compare(user_fd, user_fd) != EVENTFD_IS_UNKNOWN;

	for (*place = 0; *place < set->count; ++*place) {
		const struct irqfd *irqfd = set->by_file[*place];

		if (can_compare ? eventfd_is_same(irqfd->fd, irqfd->user_fd, user_fd)
				: irqfd->user_fd == user_fd)
			return true;
	}
	return false;
}

/* Whether the eventfd is assigned, and where in by_file it is, or belongs. Sets is_unordered where that is
 * nowhere but at the end. */
static bool find(struct irqfd_set *set, int user_fd, unsigned *place)
{
	unsigned first = 0, end = set->count;

	while (first < end && !set->is_unordered) {
		unsigned middle = first + (end - first) / 2;

		switch (eventfd_compare(set->by_file[middle]->fd, user_fd)) {
		case EVENTFD_IS_SAME:
			*place = middle;
			return true;
		case EVENTFD_IS_BEFORE: first = middle + 1; break;
		case EVENTFD_IS_BEHIND: end = middle; break;
		case EVENTFD_IS_UNKNOWN: set->is_unordered = true; break;
		}
	}
	if (set->is_unordered)
		return find_unordered(set, user_fd, place);
	*place = first;
	return false;
}

/* Room for one more in by_file: 0 or -ENOMEM. */
static int make_room(struct irqfd_set *set)
{
	unsigned room = set->room ? 2 * set->room : 16;
	struct irqfd **by_file;

	if (set->count < set->room)
		return 0;
	by_file = reallocarray(set->by_file, room, sizeof(*by_file));
	if (!by_file)
		return -ENOMEM;
	set->by_file = by_file;
	set->room = room;
	return 0;
}

static void insert(struct irqfd_set *set, struct irqfd *irqfd, unsigned place)
{
	struct irqfd **bucket = &set->buckets[irqfd->serial % IRQFD_BUCKETS];

	memmove(&set->by_file[place + 1], &set->by_file[place],
		(set->count - place) * sizeof(*set->by_file));
	set->by_file[place] = irqfd;
	set->count++;
	irqfd->next = *bucket;
	*bucket = irqfd;
}

static void remove_at(struct irqfd_set *set, unsigned place)
{
	struct irqfd *irqfd = set->by_file[place];
	struct irqfd **link = &set->buckets[irqfd->serial % IRQFD_BUCKETS];

	while (*link != irqfd)
		link = &(*link)->next;
	*link = irqfd->next;
	set->count--;
	memmove(&set->by_file[place], &set->by_file[place + 1],
		(set->count - place) * sizeof(*set->by_file));
}

static void begin_resampling(struct irqfd_set *set, struct irqfd *irqfd)
{
	struct irqfd **bucket = resampling_bucket(set, irqfd->gsi);

	pthread_mutex_lock(set->wires);
	irqfd->next_resampling = *bucket;
	*bucket = irqfd;
	pthread_mutex_unlock(set->wires);
}

/* The line falls with the last who held it. */
static void end_resampling(struct irqfd_set *set, const struct irqfd *irqfd)
{
	struct irqfd **link = resampling_bucket(set, irqfd->gsi);
	bool is_last = true;

	pthread_mutex_lock(set->wires);
	while (*link) {
		if (*link == irqfd) {
			*link = irqfd->next_resampling;
			continue;
		}
		is_last &= (*link)->gsi != irqfd->gsi;
		link = &(*link)->next_resampling;
	}
	if (is_last)
		set->host->release(set->context, irqfd->gsi);
	pthread_mutex_unlock(set->wires);
}

int irqfd_assign(struct irqfd_set *set, const struct kvm_irqfd *request)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct irqfd *irqfd;
	unsigned place;
	int result;

	irqfd = calloc(1, sizeof(*irqfd));
	if (!irqfd)
		return -ENOMEM;
	irqfd->gsi = request->gsi;
	irqfd->user_fd = request->fd;
	irqfd->fd = -1;
	irqfd->resample_fd = -1;
	result = eventfd_check(request->fd);
	if (result)
		goto out_destroy;
	if (request->flags & KVM_IRQFD_FLAG_RESAMPLE) {
		result = eventfd_check(request->resamplefd);
		if (result)
			goto out_destroy;
		result = irqfd->resample_fd = duplicate(request->resamplefd);
		if (result < 0)
			goto out_destroy;
	}
	result = irqfd->fd = duplicate(request->fd);
	if (result < 0)
		goto out_destroy;

	pthread_mutex_lock(&set->lock);
	result = -EBUSY;
	if (find(set, request->fd, &place))
		goto out_unlock;
	result = make_room(set);
	if (result)
		goto out_unlock;
	result = start_thread(set);
	if (result)
		goto out_unlock;
	irqfd->serial = ++set->serial;
	event.data.u64 = irqfd->serial;
	if (epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, irqfd->fd, &event)) {
		result = -errno;
		goto out_unlock;
	}
	insert(set, irqfd, place);
	if (irqfd->resample_fd >= 0)
		begin_resampling(set, irqfd);
	pthread_mutex_unlock(&set->lock);
	return 0;

out_unlock:
	pthread_mutex_unlock(&set->lock);
out_destroy:
	destroy_irqfd(irqfd);
	return result;
}

int irqfd_deassign(struct irqfd_set *set, const struct kvm_irqfd *request)
{
	unsigned place;
	int result = eventfd_check(request->fd);

	if (result)
		return result;
	pthread_mutex_lock(&set->lock);
	if (find(set, request->fd, &place) && set->by_file[place]->gsi == request->gsi) {
		struct irqfd *irqfd = set->by_file[place];

		remove_at(set, place);
		epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, irqfd->fd, NULL);
		if (irqfd->resample_fd >= 0)
			end_resampling(set, irqfd);
		destroy_irqfd(irqfd);
	}
	pthread_mutex_unlock(&set->lock);
	return 0;
}

bool irqfd_is_valid(const struct kvm_irqfd *request)
{
	return !(request->flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE)) && request->gsi < VM_GSI_MAX;
}

void irqfd_init(struct irqfd_set *set, const struct irqfd_host *host, void *context, pthread_mutex_t *wires)
{
	pthread_mutex_init(&set->lock, NULL);
	set->host = host;
	set->context = context;
	set->wires = wires;
	set->epoll_fd = -1;
}

void irqfd_stop(struct irqfd_set *set)
{
	if (set->epoll_fd < 0)
		return;
	signal_eventfd(set->stop_fd);
	pthread_join(set->thread, NULL);
	close(set->stop_fd);
	close(set->epoll_fd);
	set->epoll_fd = -1;
}

void irqfd_exit(struct irqfd_set *set)
{
	unsigned i;

	for (i = 0; i < set->count; i++)
		destroy_irqfd(set->by_file[i]);
	free(set->by_file);
	set->count = 0;
	pthread_mutex_destroy(&set->lock);
}
