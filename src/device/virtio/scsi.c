/*
 * A request is a chain: a header and data from the guest, a response and data for it (§5.6.6.1). What it asks
 * for is scsi.h's matter. Task management (§5.6.6.2) waits for what is under way: an image's requests cannot be
 * taken back, and soon end. The one event (§5.6.6.3) is that a disk has another size: nothing comes or goes, but Linux gives
 * buffers for events only where that is offered, too.
 */
#include "device/virtio/scsi.h"

#include <errno.h>
#include <linux/virtio_scsi.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "block/error_policy.h"
#include "device/storage/scsi_run.h"
#include "device/virtio/requests.h"
#include "util/loop_thread.h"

#define QUEUE_SIZE    256
#define CONTROL_QUEUE 0
#define EVENT_QUEUE   1
#define FIRST_QUEUE   2
#define HEADER_BYTES   sizeof(struct virtio_scsi_cmd_req)
#define RESPONSE_BYTES sizeof(struct virtio_scsi_cmd_resp)
#define SECTORS_MAX    0xffff
#define SUBTYPES       (VIRTIO_SCSI_T_TMF_QUERY_TASK_SET + 1)
#define LUN_MAX	       16383
#define REPORT_LUNS    0xa0

struct adapter;

struct scsi_target {
	struct storage_drive drive;
	struct scsi_unit unit;
	struct adapter *adapter;
	struct block *giving_up; /* what is pinned for a reset; its thread's */
};

struct adapter {
	struct virtio_device virtio;
	struct loop_thread thread;
	/* With the lock held: */
	struct virtio_requests commands;
	struct virtqueue_chain *waiting; /* a management request that waits for them */
	struct virtio_chains loaded_waiting; /* at most one */
	uint8_t waiting_response, loaded_response;
	bool has_missed; /* an event had no buffer: the next one says so */
	unsigned target_max;
	struct scsi_target targets[VIRTIO_SCSI_TARGETS];
	struct {
		struct drive_state drive;
		struct scsi_unit unit;
	} loaded[VIRTIO_SCSI_TARGETS];
};

struct scsi_request {
	struct scsi_run run;
	struct adapter *adapter;
	struct virtio_request taken;
	struct gather in, out;
};

static struct adapter *adapter_of(struct virtio_device *virtio)
{
	return (struct adapter *)((char *)virtio - offsetof(struct adapter, virtio));
}

/* A unit's address (§5.6.6.1): 1, the target, and a flat number of 14 bits. NULL: no such target. */
static struct scsi_target *find_target(struct adapter *adapter, const uint8_t lun[8], unsigned *number)
{
	*number = (lun[2] << 8 | lun[3]) & LUN_MAX;
	if (lun[0] != 1 || lun[1] >= VIRTIO_SCSI_TARGETS || !adapter->targets[lun[1]].drive.is_present)
		return NULL;
	return &adapter->targets[lun[1]];
}

/* --- answers; with the lock held --- */

static void answer(struct adapter *adapter, unsigned queue, struct virtqueue_chain *chain,
		   struct virtio_scsi_cmd_resp *response, uint64_t moved_in)
{
	virtqueue_write(chain, 0, response, sizeof(*response));
	virtio_push(&adapter->virtio, queue, chain, RESPONSE_BYTES + moved_in);
}

static void refuse(struct adapter *adapter, unsigned queue, struct virtqueue_chain *chain,
		   uint8_t how)
{
	struct virtio_scsi_cmd_resp response = {.response = how};

	answer(adapter, queue, chain, &response, 0);
}

static void finish(struct scsi_request *command)
{
	const struct scsi_task *task = &command->run.task;
	struct adapter *adapter = command->adapter;
	struct virtio_scsi_cmd_resp response = {.status = task->status};
	uint64_t room = command->in.size_bytes ? command->in.size_bytes : command->out.size_bytes;

	if (task->status != SCSI_GOOD) {
		scsi_write_sense(response.sense, &task->sense);
		response.sense_len = SCSI_SENSE_SIZE;
	}
	response.resid = room - command->run.moved;
	answer(adapter, command->taken.queue, command->taken.chain, &response,
	       command->in.size_bytes ? command->run.moved : 0);
	gather_free(&command->in);
	gather_free(&command->out);
	free(command);
}

static void answer_management(struct adapter *adapter)
{
	struct virtqueue_chain *chain = adapter->waiting;

	adapter->waiting = NULL;
	virtqueue_write(chain, 0, &adapter->waiting_response, 1);
	virtio_push(&adapter->virtio, CONTROL_QUEUE, chain, 1);
}

static void take_management(struct adapter *adapter);

static void run_complete(struct scsi_run *run)
{
	struct scsi_request *command = (struct scsi_request *)run;
	struct adapter *adapter = command->adapter;

	virtio_request_end(&adapter->virtio, &command->taken);
	finish(command);
	if (!adapter->commands.first && adapter->waiting) {
		answer_management(adapter);
		take_management(adapter);
	}
}

/* --- commands; with the lock held --- */

/* The chain's data, both ways. 0 or -ENOMEM. */
static int take_data(struct scsi_request *command)
{
	struct virtqueue_chain *chain = command->taken.chain;
	unsigned parts = chain->readable + chain->writable;
	struct iovec *vector = calloc(parts, sizeof(*vector));
	unsigned count;
	int result = -1;

	if (vector) {
		count = virtqueue_slice(chain, false, HEADER_BYTES, chain->readable_bytes - HEADER_BYTES,
					vector, parts);
		result = gather_add_vector(&command->out, vector, count);
		count = virtqueue_slice(chain, true, RESPONSE_BYTES,
					chain->writable_bytes - RESPONSE_BYTES, vector, parts);
		if (result == 0)
			result = gather_add_vector(&command->in, vector, count);
	}
	free(vector);
	return result;
}

/* A unit that is not there has only this to tell. */
static void refuse_unit(struct adapter *adapter, unsigned queue, struct virtqueue_chain *chain)
{
	const struct scsi_sense sense = {0x5, 0x25, 0x00}; /* LOGICAL UNIT NOT SUPPORTED */
	struct virtio_scsi_cmd_resp response = {.status = SCSI_CHECK_CONDITION,
						.sense_len = SCSI_SENSE_SIZE};

	scsi_write_sense(response.sense, &sense);
	answer(adapter, queue, chain, &response, 0);
}

static void take_command(void *context, unsigned queue, struct virtqueue_chain *chain)
{
	struct adapter *adapter = context;
	struct virtio_scsi_cmd_req header;
	struct scsi_request *command;
	struct scsi_target *target;
	unsigned number;

	if (virtqueue_read(chain, 0, &header, sizeof(header)) < sizeof(header) ||
	    chain->writable_bytes < RESPONSE_BYTES) {
		virtio_break(&adapter->virtio, "a request has no header, or no room for its response");
		virtqueue_drop(chain);
		return;
	}
	target = find_target(adapter, header.lun, &number);
	if (!target) {
		refuse(adapter, queue, chain, VIRTIO_SCSI_S_BAD_TARGET);
		return;
	}
	if (number && header.cdb[0] != REPORT_LUNS) {
		refuse_unit(adapter, queue, chain);
		return;
	}
	command = calloc(1, sizeof(*command));
	if (!command) {
		refuse(adapter, queue, chain, VIRTIO_SCSI_S_BUSY);
		return;
	}
	command->adapter = adapter;
	command->taken.queue = queue;
	command->taken.chain = chain;
	/* In one direction at a time: the other would be VIRTIO_SCSI_F_INOUT's. */
	if (take_data(command) < 0 || (command->in.size_bytes && command->out.size_bytes)) {
		gather_free(&command->in);
		gather_free(&command->out);
		free(command);
		refuse(adapter, queue, chain, VIRTIO_SCSI_S_FAILURE);
		return;
	}
	command->run = (struct scsi_run){
		.unit = &target->unit,
		.memory = adapter->virtio.memory,
		.lock = &adapter->virtio.lock,
		.held = &adapter->virtio.held,
		.in = &command->in,
		.out = &command->out,
		.complete = run_complete,
	};
	memcpy(command->run.task.cdb, header.cdb, sizeof(header.cdb));
	if (scsi_run_start(&command->run)) {
		finish(command);
		return;
	}
	virtio_request_begin(&adapter->virtio, &adapter->commands, &command->taken);
}

/* --- management --- */

static uint8_t manage(struct adapter *adapter, const struct virtio_scsi_ctrl_tmf_req *request)
{
	unsigned number;
	struct scsi_target *target = find_target(adapter, request->lun, &number);

	if (!target)
		return VIRTIO_SCSI_S_BAD_TARGET;
	if (number)
		return VIRTIO_SCSI_S_INCORRECT_LUN;
	switch (request->subtype) {
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
		scsi_unit_reset(&target->unit, true);
		return VIRTIO_SCSI_S_FUNCTION_SUCCEEDED;
	default: return VIRTIO_SCSI_S_OK; /* complete: what was asked for is not under way */
	}
}

/* Asynchronous notifications: there are none to subscribe to. */
static void answer_subscription(struct adapter *adapter, struct virtqueue_chain *chain)
{
	const struct virtio_scsi_ctrl_an_resp response = {.response = VIRTIO_SCSI_S_OK};

	virtqueue_write(chain, 0, &response, sizeof(response));
	virtio_push(&adapter->virtio, CONTROL_QUEUE, chain, sizeof(response));
}

static void take_control(struct adapter *adapter, struct virtqueue_chain *chain)
{
	struct virtio_scsi_ctrl_tmf_req request;
	uint32_t type;

	if (virtqueue_read(chain, 0, &type, sizeof(type)) == sizeof(type) &&
	    (type == VIRTIO_SCSI_T_AN_QUERY || type == VIRTIO_SCSI_T_AN_SUBSCRIBE) &&
	    chain->writable_bytes >= sizeof(struct virtio_scsi_ctrl_an_resp)) {
		answer_subscription(adapter, chain);
		return;
	}
	if (virtqueue_read(chain, 0, &request, sizeof(request)) < sizeof(request) ||
	    !chain->writable_bytes) {
		virtio_break(&adapter->virtio, "a management request is too short");
		virtqueue_drop(chain);
		return;
	}
	adapter->waiting = chain;
	adapter->waiting_response = request.type == VIRTIO_SCSI_T_TMF && request.subtype < SUBTYPES
					    ? manage(adapter, &request)
					    : VIRTIO_SCSI_S_FUNCTION_REJECTED;
	if (!adapter->commands.first)
		answer_management(adapter);
}

/* One after the other: the next when the one before is answered. */
static void take_management(struct adapter *adapter)
{
	struct virtqueue_chain *chain;

	while (!adapter->waiting && virtio_pop(&adapter->virtio, CONTROL_QUEUE, &chain))
		take_control(adapter, chain);
}

/* --- events --- */

/* Into a buffer that the driver has given for them. */
static void send_event(struct adapter *adapter, uint32_t kind, unsigned target, uint32_t reason)
{
	struct virtio_scsi_event event = {.event = kind, .lun = {1, target}, .reason = reason};
	struct virtqueue_chain *chain;

	if (!virtio_pop(&adapter->virtio, EVENT_QUEUE, &chain)) {
		adapter->has_missed = true;
		return;
	}
	if (chain->writable_bytes < sizeof(event)) {
		virtio_break(&adapter->virtio, "a buffer is too short for an event");
		virtqueue_drop(chain);
		return;
	}
	if (adapter->has_missed)
		event.event |= VIRTIO_SCSI_T_EVENTS_MISSED;
	adapter->has_missed = false;
	virtqueue_write(chain, 0, &event, sizeof(event));
	virtio_push(&adapter->virtio, EVENT_QUEUE, chain, sizeof(event));
}

/* A target's disk has another size. */
static void resized(void *context)
{
	struct scsi_target *target = context;
	struct adapter *adapter = target->adapter;
	struct virtio_device *virtio = &adapter->virtio;

	pthread_mutex_lock(&virtio->lock);
	scsi_unit_resized(&target->unit);
	if (virtio_has(virtio, VIRTIO_SCSI_F_CHANGE))
		send_event(adapter, VIRTIO_SCSI_T_PARAM_CHANGE, target - adapter->targets,
			   SCSI_RESIZED_CODE | SCSI_RESIZED_QUALIFIER << 8);
	pthread_mutex_unlock(&virtio->lock);
}

static void take_all(struct adapter *adapter, unsigned queue)
{
	struct virtqueue_chain *chain;

	if (queue == CONTROL_QUEUE)
		take_management(adapter);
	else if (queue == EVENT_QUEUE && adapter->has_missed)
		send_event(adapter, VIRTIO_SCSI_T_NO_EVENT, 0, 0);
	else if (queue != EVENT_QUEUE)
		while (virtio_pop(&adapter->virtio, queue, &chain))
			take_command(adapter, queue, chain);
}

static void begin_anew(struct adapter *adapter)
{
	virtio_requests_begin_anew(&adapter->commands, take_command, adapter);
	if (adapter->waiting && !adapter->commands.first)
		answer_management(adapter);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue *ring = &virtio->queues[queue].ring;
	bool is_taken = queue != EVENT_QUEUE;

	begin_anew(adapter_of(virtio));
	do {
		virtqueue_want_notices(ring, false);
		take_all(adapter_of(virtio), queue);
	} while (virtqueue_want_notices(ring, true) && is_taken && virtio_is_running(virtio) &&
		 !adapter_of(virtio)->waiting);
}

/* --- configuration --- */

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	struct virtio_scsi_config config = {
		.num_queues = virtio->queue_count - FIRST_QUEUE,
		.seg_max = QUEUE_SIZE - 2,
		.max_sectors = SECTORS_MAX,
		.cmd_per_lun = 128,
		.event_info_size = sizeof(struct virtio_scsi_event),
		.sense_size = VIRTIO_SCSI_SENSE_SIZE,
		.cdb_size = VIRTIO_SCSI_CDB_SIZE,
		.max_target = adapter_of(virtio)->target_max,
		.max_lun = LUN_MAX,
	};

	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

/* --- life --- */

static void reset(struct virtio_device *virtio)
{
	struct adapter *adapter = adapter_of(virtio);
	unsigned i;

	/* What waited for commands: they have ended, and its queue is gone. */
	if (adapter->waiting)
		virtqueue_drop(adapter->waiting);
	adapter->waiting = NULL;
	virtio_requests_reset(&adapter->commands);
	adapter->has_missed = false;
	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++) {
		drive_reset(&adapter->targets[i].drive);
		scsi_unit_reset(&adapter->targets[i].unit, adapter->targets[i].drive.is_present);
	}
}

/* Media come and go meanwhile: those that give up are pinned from the one to the other. */
static void give_up(struct virtio_device *virtio)
{
	struct adapter *adapter = adapter_of(virtio);
	unsigned i;

	pthread_mutex_lock(&virtio->lock);
	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		adapter->targets[i].giving_up = drive_pin(&adapter->targets[i].drive);
	pthread_mutex_unlock(&virtio->lock);
	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		if (adapter->targets[i].giving_up)
			block_give_up(adapter->targets[i].giving_up);
}

static void keep(struct virtio_device *virtio)
{
	struct adapter *adapter = adapter_of(virtio);
	unsigned i;

	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		if (adapter->targets[i].giving_up)
			block_keep(adapter->targets[i].giving_up);
	pthread_mutex_lock(&virtio->lock);
	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		if (adapter->targets[i].giving_up)
			drive_unpin(&adapter->targets[i].drive);
	pthread_mutex_unlock(&virtio->lock);
}

/* The device is held: what is under way are commands that have failed and wait, and what waits for them. */
static void transfer_chains(struct adapter *adapter, struct state_stream *state)
{
	struct virtio_chains waiting = {NULL, 0, 0};

	virtio_requests_transfer(&adapter->virtio, &adapter->commands, state);
	if (state->is_loading)
		virtio_chains_drop(&adapter->loaded_waiting);
	else
		adapter->loaded_response = adapter->waiting_response;
	if (!state->is_loading && adapter->waiting && virtio_chains_add(&waiting, CONTROL_QUEUE, adapter->waiting) < 0)
		state_fail(state, "%s", strerror(ENOMEM));
	virtio_chains_transfer(&adapter->virtio, state->is_loading ? &adapter->loaded_waiting : &waiting, state);
	state_u8(state, "waiting response", &adapter->loaded_response);
	virtio_chains_forget(&waiting);
}

/* After a reset: there are none. */
static void load_chains(struct adapter *adapter)
{
	struct virtio_chains *waiting = &adapter->loaded_waiting;
	bool is_possible = waiting->count <= 1 && virtio_chains_check(&adapter->virtio, waiting) &&
			   (!waiting->count || (waiting->list[0].queue == CONTROL_QUEUE && waiting->list[0].chain->writable_bytes));

	if (!virtio_requests_restore(&adapter->virtio, &adapter->commands, FIRST_QUEUE) || !is_possible) {
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

static void transfer(struct virtio_device *virtio, struct state_stream *state)
{
	struct adapter *adapter = adapter_of(virtio);
	bool is_present;
	unsigned i;

	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++) {
		is_present = adapter->targets[i].drive.is_present;
		state_bool(state, "present", &is_present);
		state_check(state, "present", is_present == adapter->targets[i].drive.is_present);
		if (!adapter->targets[i].drive.is_present)
			continue;
		if (!state->is_loading)
			adapter->loaded[i].unit = adapter->targets[i].unit;
		drive_transfer(&adapter->targets[i].drive, &adapter->loaded[i].drive, state);
		scsi_unit_transfer(&adapter->loaded[i].unit, state);
	}
	if (state->version >= VIRTIO_STATE_CHAINS)
		transfer_chains(adapter, state);
}

static void loaded(struct virtio_device *virtio)
{
	struct adapter *adapter = adapter_of(virtio);
	unsigned i;

	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++) {
		if (!adapter->targets[i].drive.is_present)
			continue;
		drive_restore(&adapter->targets[i].drive, &adapter->loaded[i].drive);
		scsi_unit_restore(&adapter->targets[i].unit, &adapter->loaded[i].unit);
	}
	load_chains(adapter);
}

static void destroy(struct virtio_device *virtio)
{
	struct adapter *adapter = adapter_of(virtio);
	struct loop_thread thread;
	unsigned i;

	loop_thread_stop(&adapter->thread);
	virtio_detach(virtio);
	virtio_hold(virtio);
	if (adapter->waiting)
		virtqueue_drop(adapter->waiting);
	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		drive_close(&adapter->targets[i].drive);
	virtio_requests_destroy(&adapter->commands);
	virtio_chains_drop(&adapter->loaded_waiting);
	thread = adapter->thread;
	virtio_destroy(virtio);
	loop_thread_destroy(&thread);
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_SCSI,
	.name = "virtio-scsi",
	.read_config = read_config,
	.reset = reset,
	.give_up = give_up,
	.keep = keep,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.loaded = loaded,
	.destroy = destroy,
};

static int take_drives(struct adapter *adapter, const struct drive_config *drives, struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < VIRTIO_SCSI_TARGETS && result == 0; i++) {
		adapter->targets[i].unit = (struct scsi_unit){.drive = &adapter->targets[i].drive};
		adapter->targets[i].adapter = adapter;
		result = drive_init(&adapter->targets[i].drive, &drives[i], error);
		if (result == 0 && drives[i].block && !drives[i].is_cdrom)
			block_watch_size(drives[i].block, resized, &adapter->targets[i]);
		if (drives[i].is_present)
			adapter->target_max = i;
	}
	for (; i < VIRTIO_SCSI_TARGETS; i++)
		block_close(drives[i].block, NULL);
	return result;
}

struct virtio_device *virtio_scsi_create(const struct virtio_host *host,
					 const struct drive_config drives[VIRTIO_SCSI_TARGETS],
					 unsigned queues, struct error *error)
{
	uint16_t sizes[FIRST_QUEUE + VIRTIO_SCSI_QUEUES_MAX];
	struct virtio_host own = *host;
	struct loop_thread thread = {0};
	struct virtio_device *virtio;
	struct adapter *adapter;
	unsigned i;

	for (i = 0; i < FIRST_QUEUE + queues; i++)
		sizes[i] = QUEUE_SIZE;
	if (host->has_threads) {
		if (loop_thread_create(&thread, "kvik scsi", error) < 0)
			goto fail;
		own.loop = thread.loop;
	}
	virtio = virtio_device_create(sizeof(struct adapter), &kind, &own,
				      1ull << VIRTIO_SCSI_F_HOTPLUG | 1ull << VIRTIO_SCSI_F_CHANGE,
				      sizeof(struct virtio_scsi_config), sizes, FIRST_QUEUE + queues,
				      error);
	if (!virtio)
		goto fail;
	adapter = adapter_of(virtio);
	adapter->thread = thread;
	if (take_drives(adapter, drives, error) == 0 &&
	    (!thread.loop || loop_thread_start(&adapter->thread, error) == 0))
		return virtio;
	destroy(virtio);
	return NULL;

fail:
	loop_thread_destroy(&thread);
	for (i = 0; i < VIRTIO_SCSI_TARGETS; i++)
		block_close(drives[i].block, NULL);
	return NULL;
}

struct tray virtio_scsi_tray(struct virtio_device *virtio, unsigned target)
{
	return (struct tray){&adapter_of(virtio)->targets[target].unit, &virtio->lock};
}
