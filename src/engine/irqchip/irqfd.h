/* Interrupts by eventfd (KVM api.rst 4.75, KVM_IRQFD), whatever the interrupt controllers are. */
#ifndef KVIK_ENGINE_IRQCHIP_IRQFD_H
#define KVIK_ENGINE_IRQCHIP_IRQFD_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct irqfd;

#define IRQFD_BUCKETS 256

/* What irqfds ask of the interrupt controllers. On the irqfds' thread, or a caller's, with the set's lock held. */
struct irqfd_host {
	/* Raise the GSI and lower it again. */
	void (*pulse)(void *context, uint32_t gsi);
	/* Raise it, until resampling irqfds let go of it. */
	void (*hold)(void *context, uint32_t gsi);
	/* They do: with `wires` held, too. */
	void (*release)(void *context, uint32_t gsi);
};

/* A VM's. */
struct irqfd_set {
	pthread_mutex_t lock; /* before `wires` */
	const struct irqfd_host *host;
	void *context;
	pthread_mutex_t *wires; /* the controllers' lock, which they hold when a GSI is acknowledged */
	struct irqfd *buckets[IRQFD_BUCKETS]; /* owned lists, by serial */
	struct irqfd *resampling[IRQFD_BUCKETS]; /* by GSI; with `wires`, too */
	struct irqfd **by_file; /* `count` of them, in eventfd_compare's order; owned array */
	unsigned count, room;
	bool is_unordered;      /* by_file is not: the order was unknown to who added to it */
	uint64_t serial;     /* of the newest */
	int epoll_fd;        /* -1 before the thread was started */
	int stop_fd;         /* eventfd: the thread is to end */
	pthread_t thread;
};

void irqfd_init(struct irqfd_set *set, const struct irqfd_host *host, void *context, pthread_mutex_t *wires);
void irqfd_stop(struct irqfd_set *set); /* called without locks; joins the thread, once */
void irqfd_exit(struct irqfd_set *set); /* after that */

bool irqfd_is_valid(const struct kvm_irqfd *request); /* its GSI and flags */
/* 0 or -errno, as Linux gives. */
int irqfd_assign(struct irqfd_set *set, const struct kvm_irqfd *request);
/* Once this returns the eventfd raises no more interrupts; what was not assigned is no error. */
int irqfd_deassign(struct irqfd_set *set, const struct kvm_irqfd *request);

/* The GSI was acknowledged: tell who resamples. With `wires` held. */
void irqfd_acked(struct irqfd_set *set, uint32_t gsi);

#endif
