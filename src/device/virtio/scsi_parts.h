/* What the files of the SCSI adapter share: the adapter, and the units at their places. */
#ifndef KVIK_DEVICE_VIRTIO_SCSI_PARTS_H
#define KVIK_DEVICE_VIRTIO_SCSI_PARTS_H

#include <stddef.h>

#include "device/storage/scsi_run.h"
#include "device/virtio/requests.h"
#include "device/virtio/scsi.h"
#include "util/loop_thread.h"

#define SCSI_CONTROL_QUEUE 0
#define SCSI_EVENT_QUEUE   1
#define SCSI_FIRST_QUEUE   2

struct scsi_adapter;

/* Of the adapter, with its drive present: a unit at its address. */
struct scsi_place {
	struct storage_drive drive;
	struct scsi_unit unit;
	struct virtio_scsi_address address;
	bool is_leaving;    /* for the driver it is gone */
	unsigned under_way; /* commands */
	struct scsi_adapter *adapter;
	struct block *giving_up; /* what is pinned for a reset; its thread's */
};

struct scsi_adapter {
	struct virtio_device virtio;
	struct loop_thread thread;
	/* With the lock held: */
	struct virtio_requests commands;
	struct virtqueue_chain *waiting; /* a management request that waits for them */
	struct virtio_chains loaded_waiting; /* at most one */
	uint8_t waiting_response, loaded_response;
	bool has_missed; /* an event had no buffer: the next one says so */
	bool loaded_missed;
	struct scsi_place places[VIRTIO_SCSI_UNITS]; /* those whose drives are present */
	struct {
		struct drive_state drive;
		struct scsi_unit unit;
	} loaded[VIRTIO_SCSI_UNITS]; /* as `places` */
};

static inline struct scsi_adapter *scsi_adapter_of(struct virtio_device *virtio)
{
	return (struct scsi_adapter *)((char *)virtio - offsetof(struct scsi_adapter, virtio));
}

/* The unit that a driver has at the address, or NULL. */
static inline struct scsi_place *scsi_find_place(struct scsi_adapter *adapter, struct virtio_scsi_address address)
{
	struct scsi_place *place;

	for (place = adapter->places; place < adapter->places + VIRTIO_SCSI_UNITS; place++)
		if (place->drive.is_present && !place->is_leaving && place->address.target == address.target &&
		    place->address.lun == address.lun)
			return place;
	return NULL;
}

/* scsi_state.c: struct virtio_kind's. */
void scsi_adapter_transfer(struct virtio_device *virtio, struct state_stream *state);
void scsi_adapter_loaded(struct virtio_device *virtio);

#endif
