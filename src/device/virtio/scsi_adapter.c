/*
 * A request is a chain: a header and data from the guest, a response and data for it (§5.6.6.1). What it asks
 * for is scsi.h's matter. Task management (§5.6.6.2) waits for what is under way: an image's requests cannot be
 * taken back, and soon end. Events (§5.6.6.3) are that a unit has come or gone, and that a disk has another size.
 *
 * Units come and go while the driver runs. One that goes takes no commands from then on; those that are under way end first,
 * and those that have failed and wait fail. Nobody is asked: the driver hears of it when it is done.
 */
#include "device/virtio/scsi.h"

#include <errno.h>
#include <linux/virtio_scsi.h>
#include <stdlib.h>
#include <string.h>

#include "block/error_policy.h"
#include "device/virtio/scsi_parts.h"
#include "util/log.h"

#define QUEUE_SIZE    256
#define HEADER_BYTES   sizeof(struct virtio_scsi_cmd_req)
#define RESPONSE_BYTES sizeof(struct virtio_scsi_cmd_resp)
#define SECTORS_MAX    0xffff
#define SUBTYPES       (VIRTIO_SCSI_T_TMF_QUERY_TASK_SET + 1)
#define TARGETS_MIN    16 /* that a driver looks for: more may come than there are */
#define REPORT_LUNS    0xa0

struct scsi_request {
	struct scsi_run run;
	struct scsi_adapter *adapter;
	struct scsi_place *place; /* NULL: the target's own to answer */
	struct virtio_request taken;
	struct gather in, out;
};

/* A unit's address (§5.6.6.1): 1, the target, and a flat number of 14 bits. False: it is none. */
static bool read_address(const uint8_t lun[8], struct virtio_scsi_address *address)
{
	*address = (struct virtio_scsi_address){lun[1], (lun[2] << 8 | lun[3]) % VIRTIO_SCSI_LUNS};
	return lun[0] == 1;
}

/* As REPORT LUNS has them (SAM-5 §4.7.7). */
static void write_address(uint8_t lun[8], const struct virtio_scsi_address *address)
{
	memset(lun, 0, 8);
	lun[0] = 1;
	lun[1] = address->target;
	scsi_write_lun(lun + 2, address->lun);
}

/* The units of a target. How many. */
static unsigned list_units(const struct scsi_adapter *adapter, unsigned target, uint16_t luns[VIRTIO_SCSI_UNITS])
{
	const struct scsi_place *place;
	unsigned count = 0;

	for (place = adapter->places; place < adapter->places + VIRTIO_SCSI_UNITS; place++)
		if (place->drive.is_present && !place->is_leaving && place->address.target == target)
			luns[count++] = place->address.lun;
	return count;
}

/* --- answers; with the lock held --- */

static void answer(struct scsi_adapter *adapter, unsigned queue, struct virtqueue_chain *chain,
		   struct virtio_scsi_cmd_resp *response, uint64_t moved_in)
{
	virtqueue_write(chain, 0, response, sizeof(*response));
	virtio_push(&adapter->virtio, queue, chain, RESPONSE_BYTES + moved_in);
}

static void refuse(struct scsi_adapter *adapter, unsigned queue, struct virtqueue_chain *chain,
		   uint8_t how)
{
	struct virtio_scsi_cmd_resp response = {.response = how};

	answer(adapter, queue, chain, &response, 0);
}

static void finish(struct scsi_request *command)
{
	const struct scsi_task *task = &command->run.task;
	struct scsi_adapter *adapter = command->adapter;
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

static void answer_management(struct scsi_adapter *adapter)
{
	struct virtqueue_chain *chain = adapter->waiting;

	adapter->waiting = NULL;
	virtqueue_write(chain, 0, &adapter->waiting_response, 1);
	virtio_push(&adapter->virtio, SCSI_CONTROL_QUEUE, chain, 1);
}

static void take_management(struct scsi_adapter *adapter);

static void run_complete(struct scsi_run *run)
{
	struct scsi_request *command = (struct scsi_request *)run;
	struct scsi_adapter *adapter = command->adapter;
	struct scsi_place *place = command->place;

	virtio_request_end(&adapter->virtio, &command->taken);
	finish(command);
	if (--place->under_way == 0 && place->is_leaving)
		pthread_cond_broadcast(&adapter->virtio.idle);
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

/* What a target answers by itself. */
static void answer_by_target(struct scsi_request *command, const uint16_t *luns, unsigned count)
{
	struct scsi_task *task = &command->run.task;

	scsi_target_answer(luns, count, task);
	if (task->work == SCSI_DATA_IN)
		command->run.moved = gather_write(&command->in, command->run.memory, 0, task->data, task->size);
	finish(command);
}

static void take_command(void *context, unsigned queue, struct virtqueue_chain *chain)
{
	struct scsi_adapter *adapter = context;
	struct virtio_scsi_cmd_req header;
	struct scsi_request *command;
	struct virtio_scsi_address address;
	struct scsi_place *place;
	uint16_t luns[VIRTIO_SCSI_UNITS];
	unsigned count;

	if (virtqueue_read(chain, 0, &header, sizeof(header)) < sizeof(header) ||
	    chain->writable_bytes < RESPONSE_BYTES) {
		virtio_break(&adapter->virtio, "a request has no header, or no room for its response");
		virtqueue_drop(chain);
		return;
	}
	count = read_address(header.lun, &address) ? list_units(adapter, address.target, luns) : 0;
	if (!count) {
		refuse(adapter, queue, chain, VIRTIO_SCSI_S_BAD_TARGET);
		return;
	}
	place = header.cdb[0] == REPORT_LUNS ? NULL : scsi_find_place(adapter, address);
	command = calloc(1, sizeof(*command));
	if (!command) {
		refuse(adapter, queue, chain, VIRTIO_SCSI_S_BUSY);
		return;
	}
	command->adapter = adapter;
	command->place = place;
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
		.unit = place ? &place->unit : NULL,
		.memory = adapter->virtio.memory,
		.lock = &adapter->virtio.lock,
		.held = &adapter->virtio.held,
		.in = &command->in,
		.out = &command->out,
		.complete = run_complete,
	};
	memcpy(command->run.task.cdb, header.cdb, sizeof(header.cdb));
	if (!place) {
		answer_by_target(command, luns, count);
		return;
	}
	if (scsi_run_start(&command->run)) {
		finish(command);
		return;
	}
	place->under_way++;
	virtio_request_begin(&adapter->virtio, &adapter->commands, &command->taken);
}

/* --- management --- */

static uint8_t manage(struct scsi_adapter *adapter, const struct virtio_scsi_ctrl_tmf_req *request)
{
	bool is_of_target = request->subtype == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET;
	struct virtio_scsi_address address;
	uint16_t luns[VIRTIO_SCSI_UNITS];
	struct scsi_place *place;
	unsigned i, count = read_address(request->lun, &address) ? list_units(adapter, address.target, luns) : 0;

	if (!count)
		return VIRTIO_SCSI_S_BAD_TARGET;
	place = scsi_find_place(adapter, address);
	if (!place && !is_of_target)
		return VIRTIO_SCSI_S_INCORRECT_LUN;
	if (!is_of_target && request->subtype != VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET)
		return VIRTIO_SCSI_S_OK; /* complete: what was asked for is not under way */
	for (i = 0; i < count; i++)
		if (is_of_target || luns[i] == address.lun)
			scsi_unit_reset(&scsi_find_place(adapter, (struct virtio_scsi_address){address.target, luns[i]})->unit,
					true);
	return VIRTIO_SCSI_S_FUNCTION_SUCCEEDED;
}

/* Asynchronous notifications: there are none to subscribe to. */
static void answer_subscription(struct scsi_adapter *adapter, struct virtqueue_chain *chain)
{
	const struct virtio_scsi_ctrl_an_resp response = {.response = VIRTIO_SCSI_S_OK};

	virtqueue_write(chain, 0, &response, sizeof(response));
	virtio_push(&adapter->virtio, SCSI_CONTROL_QUEUE, chain, sizeof(response));
}

static void take_control(struct scsi_adapter *adapter, struct virtqueue_chain *chain)
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
static void take_management(struct scsi_adapter *adapter)
{
	struct virtqueue_chain *chain;

	while (!adapter->waiting && virtio_pop(&adapter->virtio, SCSI_CONTROL_QUEUE, &chain))
		take_control(adapter, chain);
}

/* --- events --- */

/* Into a buffer that the driver has given for them. */
static void send_event(struct scsi_adapter *adapter, uint32_t kind, const struct scsi_place *place, uint32_t reason)
{
	struct virtio_scsi_event event = {.event = kind, .reason = reason};
	struct virtqueue_chain *chain;

	if (place)
		write_address(event.lun, &place->address);
	if (!virtio_pop(&adapter->virtio, SCSI_EVENT_QUEUE, &chain)) {
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
	virtio_push(&adapter->virtio, SCSI_EVENT_QUEUE, chain, sizeof(event));
}

/* One has come, or goes (VIRTIO_SCSI_EVT_RESET_...). */
static void tell_of(struct scsi_place *place, uint32_t reason)
{
	struct scsi_adapter *adapter = place->adapter;

	if (virtio_has(&adapter->virtio, VIRTIO_SCSI_F_HOTPLUG))
		send_event(adapter, VIRTIO_SCSI_T_TRANSPORT_RESET, place, reason);
}

/* A unit's disk has another size. */
static void resized(void *context)
{
	struct scsi_place *place = context;
	struct scsi_adapter *adapter = place->adapter;
	struct virtio_device *virtio = &adapter->virtio;

	pthread_mutex_lock(&virtio->lock);
	scsi_unit_resized(&place->unit);
	if (virtio_has(virtio, VIRTIO_SCSI_F_CHANGE))
		send_event(adapter, VIRTIO_SCSI_T_PARAM_CHANGE, place, SCSI_RESIZED_CODE | SCSI_RESIZED_QUALIFIER << 8);
	pthread_mutex_unlock(&virtio->lock);
}

static void take_all(struct scsi_adapter *adapter, unsigned queue)
{
	struct virtqueue_chain *chain;

	if (queue == SCSI_CONTROL_QUEUE)
		take_management(adapter);
	else if (queue == SCSI_EVENT_QUEUE && adapter->has_missed)
		send_event(adapter, VIRTIO_SCSI_T_NO_EVENT, NULL, 0);
	else if (queue != SCSI_EVENT_QUEUE)
		while (virtio_pop(&adapter->virtio, queue, &chain))
			take_command(adapter, queue, chain);
}

static void begin_anew(struct scsi_adapter *adapter)
{
	virtio_requests_begin_anew(&adapter->commands, take_command, adapter);
	if (adapter->waiting && !adapter->commands.first)
		answer_management(adapter);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue *ring = &virtio->queues[queue].ring;
	bool is_taken = queue != SCSI_EVENT_QUEUE;

	begin_anew(scsi_adapter_of(virtio));
	do {
		virtqueue_want_notices(ring, false);
		take_all(scsi_adapter_of(virtio), queue);
	} while (virtqueue_want_notices(ring, true) && is_taken && virtio_is_running(virtio) &&
		 !scsi_adapter_of(virtio)->waiting);
}

/* --- configuration --- */

/* The last target that a driver looks for. */
static unsigned last_target(const struct scsi_adapter *adapter)
{
	unsigned i, last = TARGETS_MIN - 1;

	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		if (adapter->places[i].drive.is_present && adapter->places[i].address.target > last)
			last = adapter->places[i].address.target;
	return last;
}

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	struct virtio_scsi_config config = {
		.num_queues = virtio->queue_count - SCSI_FIRST_QUEUE,
		.seg_max = QUEUE_SIZE - 2,
		.max_sectors = SECTORS_MAX,
		.cmd_per_lun = 128,
		.event_info_size = sizeof(struct virtio_scsi_event),
		.sense_size = VIRTIO_SCSI_SENSE_SIZE,
		.cdb_size = VIRTIO_SCSI_CDB_SIZE,
		.max_target = last_target(scsi_adapter_of(virtio)),
		.max_lun = VIRTIO_SCSI_LUNS - 1,
	};

	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

/* --- life --- */

static void reset(struct virtio_device *virtio)
{
	struct scsi_adapter *adapter = scsi_adapter_of(virtio);
	unsigned i;

	/* What waited for commands: they have ended, and its queue is gone. */
	if (adapter->waiting)
		virtqueue_drop(adapter->waiting);
	adapter->waiting = NULL;
	virtio_requests_reset(&adapter->commands);
	adapter->has_missed = false;
	for (i = 0; i < VIRTIO_SCSI_UNITS; i++) {
		drive_reset(&adapter->places[i].drive);
		scsi_unit_reset(&adapter->places[i].unit, adapter->places[i].drive.is_present);
	}
}

/* Media come and go meanwhile: those that give up are pinned from the one to the other. */
static void give_up(struct virtio_device *virtio)
{
	struct scsi_adapter *adapter = scsi_adapter_of(virtio);
	unsigned i;

	pthread_mutex_lock(&virtio->lock);
	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		adapter->places[i].giving_up = drive_pin(&adapter->places[i].drive);
	pthread_mutex_unlock(&virtio->lock);
	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		if (adapter->places[i].giving_up)
			block_give_up(adapter->places[i].giving_up);
}

static void keep(struct virtio_device *virtio)
{
	struct scsi_adapter *adapter = scsi_adapter_of(virtio);
	unsigned i;

	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		if (adapter->places[i].giving_up)
			block_keep(adapter->places[i].giving_up);
	pthread_mutex_lock(&virtio->lock);
	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		if (adapter->places[i].giving_up)
			drive_unpin(&adapter->places[i].drive);
	pthread_mutex_unlock(&virtio->lock);
}

static void destroy(struct virtio_device *virtio)
{
	struct scsi_adapter *adapter = scsi_adapter_of(virtio);
	struct loop_thread thread;
	unsigned i;

	loop_thread_stop(&adapter->thread);
	virtio_detach(virtio);
	virtio_hold(virtio);
	if (adapter->waiting)
		virtqueue_drop(adapter->waiting);
	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		drive_close(&adapter->places[i].drive);
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
	.transfer = scsi_adapter_transfer,
	.loaded = scsi_adapter_loaded,
	.destroy = destroy,
};

struct virtio_device *virtio_scsi_create(const struct virtio_host *host, unsigned queues, struct error *error)
{
	uint16_t sizes[SCSI_FIRST_QUEUE + VIRTIO_SCSI_QUEUES_MAX];
	struct virtio_host own = *host;
	struct loop_thread thread = {0};
	struct virtio_device *virtio = NULL;
	struct scsi_adapter *adapter;
	unsigned i;

	for (i = 0; i < SCSI_FIRST_QUEUE + queues; i++)
		sizes[i] = QUEUE_SIZE;
	if (host->has_threads) {
		if (loop_thread_create(&thread, "kvik scsi", error) < 0)
			return NULL;
		own.loop = thread.loop;
	}
	virtio = virtio_device_create(sizeof(struct scsi_adapter), &kind, &own,
				      1ull << VIRTIO_SCSI_F_HOTPLUG | 1ull << VIRTIO_SCSI_F_CHANGE,
				      sizeof(struct virtio_scsi_config), sizes, SCSI_FIRST_QUEUE + queues,
				      error);
	if (!virtio) {
		loop_thread_destroy(&thread);
		return NULL;
	}
	adapter = scsi_adapter_of(virtio);
	adapter->thread = thread;
	if (!thread.loop || loop_thread_start(&adapter->thread, error) == 0)
		return virtio;
	destroy(virtio);
	return NULL;
}

/* --- units that come and go; on the I/O thread, which alone changes which there are --- */

bool virtio_scsi_has(struct virtio_device *virtio, struct virtio_scsi_address address)
{
	return scsi_find_place(scsi_adapter_of(virtio), address) != NULL;
}

static struct scsi_place *free_place(struct scsi_adapter *adapter)
{
	unsigned i;

	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		if (!adapter->places[i].drive.is_present)
			return &adapter->places[i];
	return NULL;
}

int virtio_scsi_plug(struct virtio_device *virtio, struct virtio_scsi_address address, const struct drive_config *config,
		     struct error *error)
{
	struct scsi_adapter *adapter = scsi_adapter_of(virtio);
	struct scsi_place *place = free_place(adapter);
	struct storage_drive drive;
	int result;

	if (!place || virtio_scsi_has(virtio, address)) {
		block_close(config->block, NULL);
		return place ? error_set(error, EBUSY, "unit %u of target %u is taken", address.lun, address.target)
			     : error_set(error, ENOSPC, "an adapter has at most %u units", VIRTIO_SCSI_UNITS);
	}
	result = drive_init(&drive, config, error);
	if (result < 0)
		return result;
	pthread_mutex_lock(&virtio->lock);
	*place = (struct scsi_place){
		.drive = drive, .unit = {.drive = &place->drive}, .address = address, .adapter = adapter};
	scsi_unit_reset(&place->unit, true);
	tell_of(place, VIRTIO_SCSI_EVT_RESET_RESCAN);
	pthread_mutex_unlock(&virtio->lock);
	if (drive.block && !drive.is_cdrom)
		block_watch_size(drive.block, resized, place);
	return 0;
}

int virtio_scsi_unplug(struct virtio_device *virtio, struct virtio_scsi_address address)
{
	struct scsi_place *place = scsi_find_place(scsi_adapter_of(virtio), address);
	struct error error;
	struct block *block;

	if (!place)
		return -ENODEV;
	pthread_mutex_lock(&virtio->lock);
	place->is_leaving = true;
	tell_of(place, VIRTIO_SCSI_EVT_RESET_REMOVED);
	pthread_mutex_unlock(&virtio->lock);
	/* What of it waits for better times would be waited for. */
	if (place->drive.block)
		block_give_up(place->drive.block);
	pthread_mutex_lock(&virtio->lock);
	while (place->under_way)
		pthread_cond_wait(&virtio->idle, &virtio->lock);
	block = drive_take_out(&place->drive, &virtio->lock);
	*place = (struct scsi_place){.is_leaving = false};
	pthread_mutex_unlock(&virtio->lock);
	if (block_close(block, &error) < 0)
		log_error("%s", error.message);
	return 0;
}

struct tray virtio_scsi_tray(struct virtio_device *virtio, struct virtio_scsi_address address)
{
	return (struct tray){&scsi_find_place(scsi_adapter_of(virtio), address)->unit, &virtio->lock};
}
