/*
 * A virtio device, whatever it is and however its driver reaches it (virtio 1.2 §2, §3).
 *
 * Three parts make one. This file's struct virtio_device keeps what is the same for all: status,
 * features, queues, who is told of what. A *kind* (block.h, net.h, ...) embeds it and gives a struct
 * virtio_kind. A *transport* (virtio_pci.h, virtio_mmio.h) shows its registers to the driver.
 *
 * Threads. Registers are accessed on vCPUs' threads. What a driver notifies of is handled on the thread of
 * the device's event loop: there `queue_notified` takes chains and hands them back. A kind may work on
 * chains without the lock, between virtio_begin and virtio_end; reset, saving and destruction wait
 * until no such work is under way.
 *
 * A new device is held (virtio_hold) until the machine runs.
 *
 * Locks: that of resets, the device's lock, its PCI function's.
 */
#ifndef KVIK_DEVICE_VIRTIO_VIRTIO_H
#define KVIK_DEVICE_VIRTIO_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "device/device.h"
#include "device/virtio/queue.h"
#include "util/event_loop.h"

#define VIRTIO_QUEUES_MAX 64

struct virtio_device;

/* What a kind of device is. All functions with the device's lock held; NULL: nothing to do. */
struct virtio_kind {
	uint16_t id;	  /* §5: VIRTIO_ID_... */
	const char *name; /* for messages: "virtio-blk" */
	/* Device-specific configuration (§2.5): bytes that lie inside of it. */
	void (*read_config)(struct virtio_device *virtio, unsigned offset, unsigned size,
			    uint8_t *bytes);
	void (*write_config)(struct virtio_device *virtio, unsigned offset, unsigned size,
			     const uint8_t *bytes);
	/* The driver is ready (DRIVER_OK), or was when the state was saved. */
	void (*started)(struct virtio_device *virtio);
	/* Without the lock: what is held fails now, and nothing is held any more; and that has an end (block_give_up, block_keep). */
	void (*give_up)(struct virtio_device *virtio);
	void (*keep)(struct virtio_device *virtio);
	/* The driver has reset it: nothing is under way, queues are gone when it returns. */
	void (*reset)(struct virtio_device *virtio);
	/* There may be something in a queue. On the loop's thread. */
	void (*queue_notified)(struct virtio_device *virtio, unsigned queue);
	/* The kind's own fields; when loading into what it keeps beside, which `loaded` takes over. */
	void (*transfer)(struct virtio_device *virtio, struct state_stream *state);
	void (*loaded)(struct virtio_device *virtio);
	/* Without the lock: end all work, virtio_destroy. */
	void (*destroy)(struct virtio_device *virtio);
};

/* What a transport does for its device; with the device's lock held. */
struct virtio_transport {
	void (*queue_interrupt)(void *context, unsigned queue);
	void (*config_interrupt)(void *context); /* configuration, or DEVICE_NEEDS_RESET */
	void (*isr_taken)(void *context);	   /* it is 0: a level interrupt falls */
	bool (*can_access_memory)(void *context); /* NULL: always */
	void *context;
};

struct virtio_queue {
	struct virtqueue ring;
	struct event_source notified; /* an eventfd; -1 without a loop */
	struct virtio_device *virtio;
	unsigned index;
};

struct virtio_device {
	const struct virtio_kind *kind;
	pthread_mutex_t resets; /* one at a time; before `lock` */
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;  /* nothing is under way any more */
	uint64_t driver_features;
	uint8_t status;
	uint8_t isr;		/* §4.1.4.5: bit 0: queues, bit 1: configuration */
	uint8_t generation;	/* of the configuration; counted when it changes by itself */
	unsigned under_way;	/* virtio_begin */
	struct block_held held; /* of these: those that have failed, and wait for better times */
	bool is_held;		/* virtio_hold: nothing is taken from queues */
	bool is_resetting;
	bool is_legacy;		/* its driver uses the legacy interface (§1.3.1), since the last reset */
	/* Fixed: */
	bool has_legacy;   /* the transport has the legacy interface, too */
	uint64_t features; /* offered, the transport's and the rings' among them */
	/* ... and what else it can do for a driver that has agreed to it where it was offered, and whose state is loaded. */
	uint64_t able;
	unsigned config_bytes;
	struct virtio_transport transport;
	const struct guest_memory *memory;
	struct event_loop *loop;
	unsigned queue_count;
	struct virtio_queue *queues;
};

/* Where a device lives. */
struct virtio_host {
	const struct guest_memory *memory;
	/* Whose thread handles its queues; NULL: whoever notifies, at once (tests). Sources are added to it
	 * as event_loop.h has it. */
	struct event_loop *loop;
	uint64_t ring_features; /* of the optional: EVENT_IDX, RING_PACKED, ... */
	bool has_threads; /* devices with much to do may have loops and threads of their own */
};

#define VIRTIO_RING_FEATURES                                                                       \
	(1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define VIRTIO_PACKED (1ull << VIRTIO_F_RING_PACKED)

/*
 * For a kind, before anything else: `size` bytes, of which struct virtio_device is the first member and
 * the rest zeroes, with queues of these sizes. NULL and `error` when there is no memory or descriptor.
 */
struct virtio_device *virtio_device_create(size_t size, const struct virtio_kind *kind,
					   const struct virtio_host *host, uint64_t features,
					   unsigned config_bytes, const uint16_t *queue_sizes,
					   unsigned queue_count, struct error *error);
/* Handle no queue any more. On the loop's thread. */
void virtio_detach(struct virtio_device *virtio);
/* Free it, the kind's part included, whose work has ended. Its loop isn't running, or this is its thread. */
void virtio_destroy(struct virtio_device *virtio);

/* --- for kinds: on the loop's thread or elsewhere, with the lock held --- */

static inline bool virtio_has(const struct virtio_device *virtio, unsigned feature)
{
	return virtio->driver_features >> feature & 1;
}

/* What §5 calls a legacy driver's formats: those of a driver that does not know VERSION_1. */
static inline bool virtio_is_modern(const struct virtio_device *virtio)
{
	return virtio_has(virtio, VIRTIO_F_VERSION_1);
}

/* Whether queues may be used now. */
bool virtio_is_running(struct virtio_device *virtio);
/* As virtqueue_pop, while the queues may be used; a queue that breaks breaks the device. */
bool virtio_pop(struct virtio_device *virtio, unsigned queue, struct virtqueue_chain **chain);
/* As virtqueue_push, and interrupt if the driver wants it. */
void virtio_push(struct virtio_device *virtio, unsigned queue, struct virtqueue_chain *chain,
		 uint32_t written);
/* Interrupt for what was pushed by virtqueue_push*, if the driver wants it. */
void virtio_interrupt(struct virtio_device *virtio, unsigned queue);
/* A rule of the kind's was broken: the device needs a reset (§2.1.2). `why` is for the log. */
void virtio_break(struct virtio_device *virtio, const char *why);
/* The configuration has changed by itself. */
void virtio_config_changed(struct virtio_device *virtio);

/* Work on a chain that outlasts the lock: under way until virtio_end. */
void virtio_begin(struct virtio_device *virtio);
void virtio_end(struct virtio_device *virtio);

/* --- for the board: nothing is taken from queues, nor under way, between these two --- */
void virtio_hold(struct virtio_device *virtio);
void virtio_release(struct virtio_device *virtio);

/* --- for transports: any thread, without the lock --- */

/* Feature bits (virtio 1.2 §6): those that the device has; those that the driver takes, in `half` 0 or 1 of 32. */
uint64_t virtio_offered(const struct virtio_device *virtio);
void virtio_set_driver_features(struct virtio_device *virtio, uint32_t bits, unsigned half);
uint32_t virtio_driver_features(struct virtio_device *virtio, unsigned half);
/* VIRTIO_CONFIG_S_* (§2.1). */
uint8_t virtio_status(struct virtio_device *virtio);
/* 0 resets: when this returns nothing is under way any more. */
void virtio_set_status(struct virtio_device *virtio, uint8_t status);
/* The interrupt status, of which `bits` are cleared. */
uint8_t virtio_clear_isr(struct virtio_device *virtio, uint8_t bits);
uint8_t virtio_generation(struct virtio_device *virtio);
void virtio_read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes);
void virtio_write_config(struct virtio_device *virtio, unsigned offset, unsigned size,
			 const uint8_t *bytes);
/* The driver has written to the notification register. */
void virtio_notify(struct virtio_device *virtio, unsigned queue);
/* All queues, because what kept them has ended. */
void virtio_notify_all(struct virtio_device *virtio);

/* A queue's numbers, which change only before it is enabled. A copy; of a queue that doesn't exist,
 * zeroes. */
struct virtqueue_state virtio_queue_state(struct virtio_device *virtio, unsigned queue);
void virtio_queue_set_size(struct virtio_device *virtio, unsigned queue, uint16_t size);
enum virtio_area { VIRTIO_DESCRIPTORS, VIRTIO_DRIVER_AREA, VIRTIO_DEVICE_AREA };
/* Half 0: bits 0 to 31, half 1: 32 to 63. */
void virtio_queue_set_address(struct virtio_device *virtio, unsigned queue, enum virtio_area area,
			      unsigned half, uint32_t value);

/* Only after the features were agreed on. */
void virtio_queue_enable(struct virtio_device *virtio, unsigned queue);

/*
 * The same as the legacy interface has it (§4.1.4.8), for transports with `has_legacy`. A driver that uses it
 * agrees to features bit by bit and without a word, and may use queues before it says DRIVER_OK (§3.1.2).
 * After FEATURES_OK, which only the other interface has, nothing happens until a reset.
 */
uint32_t virtio_legacy_offered(const struct virtio_device *virtio);
void virtio_legacy_set_driver_features(struct virtio_device *virtio, uint32_t bits);
uint8_t virtio_legacy_status(struct virtio_device *virtio);
void virtio_legacy_set_status(struct virtio_device *virtio, uint8_t status);
/* All of a queue lies at this page of 4 KiB (§2.7.2), with the largest size; 0: the queue is taken away. */
void virtio_legacy_set_queue(struct virtio_device *virtio, unsigned queue, uint32_t page);
uint32_t virtio_legacy_queue(struct virtio_device *virtio, unsigned queue);

/* Reset by the machine or the driver: when this returns nothing is under way any more. */
void virtio_reset(struct virtio_device *virtio);

/* The version of a transport's state from which on it tells of the legacy interface. */
#define VIRTIO_STATE_LEGACY 2
/* ... and of disks' chains that wait (chains.h). */
#define VIRTIO_STATE_CHAINS 3
/* ... and of which frames a network device takes. */
#define VIRTIO_STATE_FILTER 4
/* ... and of virtio-scsi's units by their addresses. */
#define VIRTIO_STATE_UNITS 5

/* What was loaded, until it is taken over. Zeroes before. */
struct virtio_state {
	uint64_t driver_features;
	uint8_t status, isr, generation;
	bool is_legacy;
	struct virtqueue_state queues[VIRTIO_QUEUES_MAX];
};
/* Save a device, which is held, or load it into `loaded` and check it. What isn't the transport's. */
void virtio_transfer(struct virtio_device *virtio, struct virtio_state *loaded,
		     struct state_stream *state);
/* Take it over; the caller has asked state_complete. Queues go on when they are released. */
void virtio_restore(struct virtio_device *virtio, const struct virtio_state *loaded);

#endif
