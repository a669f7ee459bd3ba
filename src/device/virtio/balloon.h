/* A memory balloon (virtio 1.2 §5.5): the guest gives pages back, tells of those that are free, and what it does with the rest. */
#ifndef KVIK_DEVICE_VIRTIO_BALLOON_H
#define KVIK_DEVICE_VIRTIO_BALLOON_H

#include "device/virtio/virtio.h"

/* Who hears on the loop's thread, without the device's lock, that the guest has given memory back or taken it: at most once
 * a second, and of the last for sure. */
struct virtio_balloon_listener {
	void (*changed)(void *context); /* NULL: nobody */
	void *context;
};

struct virtio_balloon_setup {
	uint64_t target_bytes; /* what the guest is asked to give back from its start */
	bool may_deflate_on_oom; /* the guest may take it back when it is short of memory (VIRTIO_BALLOON_F_DEFLATE_ON_OOM) */
	bool has_reporting;	 /* it may tell of pages that are free (VIRTIO_BALLOON_F_REPORTING) */
	struct virtio_balloon_listener listener;
};

/* NULL, and `error`, on failure. */
struct virtio_device *virtio_balloon_create(const struct virtio_host *host, const struct virtio_balloon_setup *setup,
					    struct error *error);

/* Ask the guest to have given that much back; in pages, rounded down. Without the device's lock. */
void virtio_balloon_set_target(struct virtio_device *virtio, uint64_t bytes);
/* What it says that it has given back. */
uint64_t virtio_balloon_given_back(struct virtio_device *virtio);

/* What the guest has said of its memory (§5.5.6.3), by VIRTIO_BALLOON_S_...; UINT64_MAX: nothing. It may say anything. */
#define VIRTIO_BALLOON_STATS 10
struct virtio_balloon_stats {
	uint64_t values[VIRTIO_BALLOON_STATS];
	uint64_t seconds; /* when it came, on CLOCK_REALTIME; 0: never */
};
void virtio_balloon_read_stats(struct virtio_device *virtio, struct virtio_balloon_stats *stats);

/* Ask for new ones, which come when the driver has them. Without the device's lock. */
void virtio_balloon_ask_stats(struct virtio_device *virtio);
/* Ask for them every so many seconds; 0: not any more. -ENODEV: whoever has made it has no loop. */
int virtio_balloon_set_period(struct virtio_device *virtio, uint32_t seconds);
uint32_t virtio_balloon_period(struct virtio_device *virtio);

#endif
