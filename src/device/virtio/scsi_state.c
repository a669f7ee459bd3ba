/* The saved state of a SCSI adapter: its units, by their addresses, and the requests that wait. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/virtio/scsi_parts.h"

/* The device is held: what is under way are commands that have failed and wait, and what waits for them. */
static void transfer_chains(struct scsi_adapter *adapter, struct state_stream *state)
{
	struct virtio_chains waiting = {NULL, 0, 0};

	virtio_requests_transfer(&adapter->virtio, &adapter->commands, state);
	if (state->is_loading)
		virtio_chains_drop(&adapter->loaded_waiting);
	else
		adapter->loaded_response = adapter->waiting_response;
	if (!state->is_loading && adapter->waiting && virtio_chains_add(&waiting, SCSI_CONTROL_QUEUE, adapter->waiting) < 0)
		state_fail(state, "%s", strerror(ENOMEM));
	virtio_chains_transfer(&adapter->virtio, state->is_loading ? &adapter->loaded_waiting : &waiting, state);
	state_u8(state, "waiting response", &adapter->loaded_response);
	virtio_chains_forget(&waiting);
}

/* After a reset: there are none. */
static void load_chains(struct scsi_adapter *adapter)
{
	struct virtio_chains *waiting = &adapter->loaded_waiting;
	bool is_possible = waiting->count <= 1 && virtio_chains_check(&adapter->virtio, waiting) &&
			   (!waiting->count || (waiting->list[0].queue == SCSI_CONTROL_QUEUE && waiting->list[0].chain->writable_bytes));

	if (!virtio_requests_restore(&adapter->virtio, &adapter->commands, SCSI_FIRST_QUEUE) || !is_possible) {
		virtio_requests_reset(&adapter->commands);
		virtio_chains_drop(waiting);
		virtio_break(&adapter->virtio, VIRTIO_REQUESTS_COMPLAINT);
		return;
	}
	if (waiting->count) {
		adapter->waiting = waiting->list[0].chain;
		adapter->waiting_response = adapter->loaded_response;
	}
	virtio_chains_forget(waiting);
}

static int compare_places(const void *a, const void *b)
{
	const struct scsi_place *one = *(const struct scsi_place *const *)a, *other = *(const struct scsi_place *const *)b;

	return (one->address.target * VIRTIO_SCSI_LUNS + one->address.lun) -
	       (other->address.target * VIRTIO_SCSI_LUNS + other->address.lun);
}

static void transfer_place(const struct scsi_place *place, struct state_stream *state)
{
	struct scsi_adapter *adapter = place->adapter;
	unsigned i = place - adapter->places;

	if (!state->is_loading)
		adapter->loaded[i].unit = place->unit;
	drive_transfer(&place->drive, &adapter->loaded[i].drive, state);
	scsi_unit_transfer(&adapter->loaded[i].unit, state);
}

/* By their addresses: where the state goes they may have come in another order. */
static void transfer_places(struct scsi_adapter *adapter, struct state_stream *state)
{
	const struct scsi_place *list[VIRTIO_SCSI_UNITS];
	uint32_t count = 0, said, target, lun, i;

	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		if (adapter->places[i].drive.is_present)
			list[count++] = &adapter->places[i];
	qsort(list, count, sizeof(list[0]), compare_places);
	said = count;
	state_u32(state, "units", &said);
	state_check(state, "units", said == count);
	for (i = 0; i < count; i++) {
		target = list[i]->address.target;
		lun = list[i]->address.lun;
		state_u32(state, "target", &target);
		state_u32(state, "lun", &lun);
		state_check(state, "lun", target == list[i]->address.target && lun == list[i]->address.lun);
		transfer_place(list[i], state);
	}
	if (!state->is_loading)
		adapter->loaded_missed = adapter->has_missed;
	state_bool(state, "missed", &adapter->loaded_missed);
}

/* Before VIRTIO_STATE_UNITS there were 64 targets with one unit each. */
#define OLD_TARGETS 64
static void transfer_targets(struct scsi_adapter *adapter, struct state_stream *state)
{
	const struct scsi_place *place;
	unsigned i;
	bool is_present;

	for (i = 0; i < OLD_TARGETS; i++) {
		place = scsi_find_place(adapter, (struct virtio_scsi_address){i, 0});
		is_present = place != NULL;
		state_bool(state, "present", &is_present);
		state_check(state, "present", is_present == (place != NULL));
		if (place)
			transfer_place(place, state);
	}
	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		state_check(state, "present", !adapter->places[i].address.lun && adapter->places[i].address.target < OLD_TARGETS);
	adapter->loaded_missed = false;
}

void scsi_adapter_transfer(struct virtio_device *virtio, struct state_stream *state)
{
	struct scsi_adapter *adapter = scsi_adapter_of(virtio);

	if (state->version >= VIRTIO_STATE_UNITS)
		transfer_places(adapter, state);
	else
		transfer_targets(adapter, state);
	if (state->version >= VIRTIO_STATE_CHAINS)
		transfer_chains(adapter, state);
}

void scsi_adapter_loaded(struct virtio_device *virtio)
{
	struct scsi_adapter *adapter = scsi_adapter_of(virtio);
	unsigned i;

	for (i = 0; i < VIRTIO_SCSI_UNITS; i++) {
		if (!adapter->places[i].drive.is_present)
			continue;
		drive_restore(&adapter->places[i].drive, &adapter->loaded[i].drive);
		scsi_unit_restore(&adapter->places[i].unit, &adapter->loaded[i].unit);
	}
	adapter->has_missed = adapter->loaded_missed;
	load_chains(adapter);
}
