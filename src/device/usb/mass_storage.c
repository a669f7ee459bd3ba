/*
 * Bulk-Only Transport: a command comes in a wrapper of 31 bytes (§5.1), then its data go one way, then one of 13 bytes
 * tells how it ended (§5.2). Data go through a buffer: blocks are read and written in pieces as the host asks for them,
 * and while the image works a pipe says "not now".
 *
 * Where host and device want different amounts of data (§6.7) the host's counts: what is missing comes as zeroes, what is
 * too much is dropped, and the residue says how much meant something. A device that wants more than the host has, or
 * the other way, has a phase error, and does nothing. Pipes are halted only for wrappers that are none, until the host
 * resets the device (§6.6.1).
 */
#include "device/usb/mass_storage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/storage/transfer.h"
#include "util/endian.h"

#define PIPE_IN	 1
#define PIPE_OUT 2

#define COMMAND_BYTES	  31
#define COMMAND_SIGNATURE 0x43425355u
#define COMMAND_IN	  0x80
#define CDB_MAX		  16
#define STATUS_BYTES	  13
#define STATUS_SIGNATURE  0x53425355u
#define STATUS_FAILED	   1
#define STATUS_PHASE_ERROR 2

/* Requests of the class (§3), to its interface. */
#define RESET	    0xff
#define GET_MAX_LUN 0xfe

/* What a host moves at once, and what is read or written at once: between two of these there may be as much again. */
#define CHUNK  65536u
#define BUFFER (2 * CHUNK)

enum mass_storage_phase { PHASE_COMMAND, PHASE_IN, PHASE_OUT, PHASE_STATUS, MASS_STORAGE_PHASES };

struct mass_storage {
	struct usb_device device; /* whose lock guards all of it */
	struct storage_drive drive;
	struct scsi_unit unit;
	uint8_t phase;
	bool is_refused; /* a wrapper that was none: nothing goes until it is reset */
	bool has_phase_error;
	uint32_t tag, wanted, left; /* bytes that the host wants to move, and of these still has to */
	uint32_t moved;		    /* that meant something */
	uint32_t filled;	    /* bytes of the buffer, on their way in either direction */
	uint64_t done;		    /* bytes of a task's work on the medium */
	struct scsi_task task;
	/* The image's part: */
	bool works;	   /* the buffer is its own now */
	bool is_abandoned; /* nobody waits for it any more */
	bool begins_anew;  /* it was loaded, and begins when the controller does */
	pthread_cond_t idle;
	struct block_held held; /* 1: it has failed, and waits for better times */
	struct iovec piece;
	struct storage_transfer transfer;
	uint8_t buffer[BUFFER];
};

static uint32_t least(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

/* -- work on the medium -- */

static void end_work(struct mass_storage *storage, int result)
{
	struct scsi_task *task = &storage->task;
	uint32_t size = storage->piece.iov_len;

	if (result == 0 && task->work == SCSI_READ)
		storage->filled += size;
	else if (task->work == SCSI_WRITE)
		storage->filled = 0;
	storage->done += size;
	if (result < 0 || (task->work != SCSI_READ && task->work != SCSI_WRITE) || storage->done >= task->size)
		scsi_worked(&storage->unit, task, result);
}

static void worked(struct storage_transfer *transfer, int result)
{
	struct mass_storage *storage = transfer->context;
	pthread_mutex_t *lock = storage->device.lock;

	pthread_mutex_lock(lock);
	storage->works = false;
	if (!storage->is_abandoned)
		end_work(storage, result);
	storage->is_abandoned = false;
	pthread_cond_broadcast(&storage->idle);
	usb_wake(&storage->device, PIPE_IN);
	usb_wake_out(&storage->device, PIPE_OUT);
	pthread_mutex_unlock(lock);
}

/* The next piece of a task's work: of a read behind what is in the buffer, of a write what is there. */
static void start_work(struct mass_storage *storage)
{
	struct scsi_task *task = &storage->task;
	struct storage_transfer *transfer = &storage->transfer;
	enum block_operation operation = BLOCK_FLUSH;
	bool moves_data = task->work == SCSI_READ || task->work == SCSI_WRITE;

	/* Somebody may have taken it out between two pieces. */
	if (!drive_medium(&storage->drive)) {
		storage->filled = task->work == SCSI_WRITE ? 0 : storage->filled;
		scsi_worked(&storage->unit, task, -ENODEV);
		return;
	}
	switch (task->work) {
	case SCSI_READ:
		operation = BLOCK_READ;
		storage->piece = (struct iovec){storage->buffer + storage->filled, least(CHUNK, task->size - storage->done)};
		break;
	case SCSI_WRITE:
		operation = BLOCK_WRITE;
		storage->piece = (struct iovec){storage->buffer, storage->filled};
		break;
	case SCSI_DISCARD: operation = BLOCK_DISCARD; break;
	case SCSI_ZEROES: operation = BLOCK_WRITE_ZEROES; break;
	default: break;
	}
	if (!moves_data)
		storage->piece = (struct iovec){0};
	*transfer = (struct storage_transfer){
		.operation = operation,
		.flags = (task->is_durable ? BLOCK_FUA : 0) | (task->may_unmap ? BLOCK_UNMAP : 0),
		.offset = task->offset + storage->done,
		.size = moves_data ? storage->piece.iov_len : task->size,
		.complete = worked,
		.context = storage,
		.held = &storage->held,
	};
	if (moves_data)
		transfer->gather = (struct gather){
			.vector = &storage->piece, .count = 1, .size_bytes = storage->piece.iov_len};
	storage->works = true;
	storage->held.lock = storage->device.lock;
	storage->held.changed = &storage->idle;
	transfer_start(transfer, storage->drive.block);
}

/* -- the phases -- */

/* What the device wants to move, and whether to the host. */
static uint64_t wanted_by_device(const struct scsi_task *task, bool *is_in)
{
	*is_in = task->work == SCSI_DATA_IN || task->work == SCSI_READ;
	return *is_in || task->work == SCSI_PARAMETERS || task->work == SCSI_WRITE ? task->size : 0;
}

static bool take_command(struct mass_storage *storage, const uint8_t *wrapper, size_t size)
{
	struct scsi_task *task = &storage->task;
	bool is_in, device_is_in;
	uint64_t bytes;

	/* One unit, whose number is 0 (§6.2). */
	if (size != COMMAND_BYTES || get_le32(wrapper) != COMMAND_SIGNATURE || wrapper[13] || !wrapper[14] ||
	    wrapper[14] > CDB_MAX || (wrapper[12] & ~COMMAND_IN))
		return false;
	storage->tag = get_le32(wrapper + 4);
	storage->wanted = storage->left = get_le32(wrapper + 8);
	storage->moved = storage->filled = 0;
	storage->done = 0;
	storage->has_phase_error = false;
	is_in = wrapper[12] & COMMAND_IN;
	storage->phase = !storage->wanted ? PHASE_STATUS : is_in ? PHASE_IN : PHASE_OUT;
	memset(task->cdb, 0, sizeof(task->cdb));
	memcpy(task->cdb, wrapper + 15, wrapper[14]);
	scsi_begin(&storage->unit, task);
	bytes = wanted_by_device(task, &device_is_in);
	if (bytes > storage->wanted || (bytes && is_in != device_is_in)) {
		storage->has_phase_error = true;
		task->work = SCSI_DONE;
	}
	if (task->work == SCSI_DATA_IN) {
		storage->filled = task->size;
		memcpy(storage->buffer, task->data, storage->filled);
		task->work = SCSI_DONE;
	} else if (task->work != SCSI_DONE && task->work != SCSI_PARAMETERS && task->work != SCSI_WRITE) {
		start_work(storage);
	}
	return true;
}

static int give_data(struct mass_storage *storage, uint8_t *data, size_t size)
{
	const struct scsi_task *task = &storage->task;
	uint32_t part = least(least(size, CHUNK), storage->left), known;
	bool reads = task->work == SCSI_READ;

	if (reads && storage->filled < least(part, storage->filled + task->size - storage->done))
		start_work(storage);
	if (storage->works)
		return USB_NAK;
	known = least(part, storage->filled);
	memcpy(data, storage->buffer, known);
	memset(data + known, 0, part - known);
	storage->filled -= known;
	memmove(storage->buffer, storage->buffer + known, storage->filled);
	storage->moved += known;
	storage->left -= part;
	if (!storage->left)
		storage->phase = PHASE_STATUS;
	/* The next piece comes while the host is at this one. */
	else if (task->work == SCSI_READ && !storage->filled)
		start_work(storage);
	return part;
}

static void take_parameters(struct mass_storage *storage)
{
	struct scsi_task *task = &storage->task;

	memcpy(task->data, storage->buffer, storage->filled);
	scsi_parameters(&storage->unit, task, storage->filled);
	storage->filled = 0;
	if (task->work != SCSI_DONE)
		start_work(storage);
}

static int take_data(struct mass_storage *storage, const uint8_t *data, size_t size)
{
	const struct scsi_task *task = &storage->task;
	bool writes = task->work == SCSI_WRITE, has_parameters = task->work == SCSI_PARAMETERS;
	uint64_t room = writes ? task->size - storage->done - storage->filled
			: has_parameters ? task->size - storage->filled : 0;
	uint32_t part = least(least(size, CHUNK), storage->left), known = least(part, room);

	memcpy(storage->buffer + storage->filled, data, known);
	storage->filled += known;
	storage->moved += known;
	storage->left -= part;
	if (!storage->left)
		storage->phase = PHASE_STATUS;
	if (has_parameters && storage->filled == task->size)
		take_parameters(storage);
	else if (writes && (storage->filled >= CHUNK || known == room))
		start_work(storage);
	return part;
}

static int give_status(struct mass_storage *storage, uint8_t *data, size_t size)
{
	if (size < STATUS_BYTES)
		return USB_STALL;
	put_le32(data, STATUS_SIGNATURE);
	put_le32(data + 4, storage->tag);
	put_le32(data + 8, storage->wanted - storage->moved);
	data[12] = storage->has_phase_error ? STATUS_PHASE_ERROR
		   : storage->task.status != SCSI_GOOD ? STATUS_FAILED : 0;
	storage->phase = PHASE_COMMAND;
	return STATUS_BYTES;
}

static int in(struct usb_device *device, unsigned endpoint, uint8_t *data, size_t size)
{
	struct mass_storage *storage = (struct mass_storage *)device;

	if (endpoint != PIPE_IN || storage->is_refused)
		return USB_STALL;
	if (storage->works)
		return USB_NAK;
	switch (storage->phase) {
	case PHASE_IN: return give_data(storage, data, size);
	case PHASE_STATUS: return give_status(storage, data, size);
	default: return USB_STALL;
	}
}

static int out(struct usb_device *device, unsigned endpoint, const uint8_t *data, size_t size)
{
	struct mass_storage *storage = (struct mass_storage *)device;

	if (endpoint != PIPE_OUT || storage->is_refused)
		return USB_STALL;
	if (storage->works)
		return USB_NAK;
	switch (storage->phase) {
	case PHASE_OUT: return take_data(storage, data, size);
	case PHASE_COMMAND:
		if (take_command(storage, data, size))
			return size;
		storage->is_refused = true;
		return USB_STALL;
	default: return USB_STALL;
	}
}

static void reset_transport(struct mass_storage *storage)
{
	storage->phase = PHASE_COMMAND;
	storage->is_refused = storage->has_phase_error = false;
	storage->works &= !storage->begins_anew;
	storage->begins_anew = false;
	storage->is_abandoned = storage->works;
	storage->wanted = storage->left = storage->moved = storage->filled = 0;
	storage->done = 0;
	storage->task.work = SCSI_DONE;
}

static int control(struct usb_device *device, const struct usb_setup *setup, uint8_t *data)
{
	switch (setup->type << 8 | setup->request) {
	case USB_TYPE_CLASS_OUT << 8 | RESET: reset_transport((struct mass_storage *)device); return 0;
	case USB_TYPE_CLASS_IN << 8 | GET_MAX_LUN: data[0] = 0; return 1;
	default: return USB_STALL;
	}
}

static void reset(struct usb_device *device)
{
	struct mass_storage *storage = (struct mass_storage *)device;

	reset_transport(storage);
	scsi_unit_reset(&storage->unit, false);
	storage->drive.is_locked = false;
}

/* -- life -- */

static void hold(struct usb_device *device)
{
	struct mass_storage *storage = (struct mass_storage *)device;

	while (storage->works && !storage->held.count && !storage->begins_anew)
		pthread_cond_wait(&storage->idle, device->lock);
}

static void release(struct usb_device *device)
{
	struct mass_storage *storage = (struct mass_storage *)device;

	if (!storage->begins_anew)
		return;
	storage->begins_anew = storage->works = false;
	start_work(storage);
}

static void destroy(struct usb_device *device)
{
	struct mass_storage *storage = (struct mass_storage *)device;

	if (device->lock) {
		pthread_mutex_lock(device->lock);
		hold(device);
		/* What is held ends with the drive, and nothing comes after it. */
		storage->is_refused = true;
		storage->is_abandoned = storage->works;
		pthread_mutex_unlock(device->lock);
	}
	drive_close(&storage->drive);
	pthread_cond_destroy(&storage->idle);
}

/* A task whose work is not done yet has to be one that this drive could have been given. */
static bool is_sane(const struct mass_storage *copy)
{
	const struct scsi_task *task = &copy->task;
	bool moves_blocks = task->work == SCSI_READ || task->work == SCSI_WRITE;
	bool is_readonly = drive_is_readonly(&copy->drive);
	uint64_t size = drive_size(&copy->drive);

	if (copy->left > copy->wanted || copy->moved > copy->wanted || copy->filled > BUFFER)
		return false;
	if (task->work == SCSI_DONE)
		return !copy->works;
	if (task->work == SCSI_FLUSH)
		return copy->works;
	if (task->work == SCSI_PARAMETERS)
		return task->size <= SCSI_DATA_MAX && copy->filled < task->size && !copy->works;
	if (task->offset > size || task->size > size - task->offset)
		return false;
	if (!moves_blocks)
		return copy->works && !is_readonly && (task->work == SCSI_DISCARD || task->work == SCSI_ZEROES);
	if (copy->done >= task->size)
		return false;
	/* What works has room for what it reads, or something to write. */
	if (task->work == SCSI_READ)
		return !copy->works || copy->filled <= BUFFER - CHUNK;
	return !is_readonly && (copy->works ? copy->filled : copy->filled < CHUNK) && copy->filled <= task->size - copy->done;
}

static void transfer(struct usb_device *device, struct state_stream *state)
{
	struct mass_storage *copy = (struct mass_storage *)device;
	struct drive_state drive;
	uint8_t work = copy->task.work;

	bool works = copy->works && !copy->is_abandoned;

	drive_transfer(&copy->drive, &drive, state);
	if (state->is_loading) {
		copy->drive.is_open = drive.is_open;
		copy->drive.is_locked = drive.is_locked;
		copy->drive.has_changed = drive.has_changed;
	}
	scsi_unit_transfer(&copy->unit, state);
	state_u8(state, "phase", &copy->phase);
	state_check(state, "phase", copy->phase < MASS_STORAGE_PHASES);
	state_bool(state, "refused", &copy->is_refused);
	state_bool(state, "phase error", &copy->has_phase_error);
	state_u32(state, "tag", &copy->tag);
	state_u32(state, "wanted", &copy->wanted);
	state_u32(state, "left", &copy->left);
	state_u32(state, "moved", &copy->moved);
	state_u64(state, "done", &copy->done);
	state_bytes(state, "command", copy->task.cdb, sizeof(copy->task.cdb));
	state_u8(state, "work", &work);
	copy->task.work = work;
	state_u8(state, "status", &copy->task.status);
	state_u64(state, "offset", &copy->task.offset);
	state_u64(state, "size", &copy->task.size);
	state_bool(state, "durable", &copy->task.is_durable);
	state_bool(state, "may unmap", &copy->task.may_unmap);
	state_u32(state, "filled", &copy->filled);
	if (state->version >= USB_STATE_WORK)
		state_bool(state, "works", &works);
	if (state->is_loading)
		copy->works = works;
	state_check(state, "filled", is_sane(copy));
	if (copy->filled <= BUFFER)
		state_bytes(state, "buffer", copy->buffer, copy->filled);
}

static void loaded(struct usb_device *device, const struct usb_device *from)
{
	struct mass_storage *storage = (struct mass_storage *)device;
	const struct mass_storage *copy = (const struct mass_storage *)from;
	const struct drive_state drive = {copy->drive.is_open, copy->drive.is_locked, copy->drive.has_changed};

	drive_restore(&storage->drive, &drive);
	scsi_unit_restore(&storage->unit, &copy->unit);
	storage->phase = copy->phase;
	storage->is_refused = copy->is_refused;
	storage->has_phase_error = copy->has_phase_error;
	storage->tag = copy->tag;
	storage->wanted = copy->wanted;
	storage->left = copy->left;
	storage->moved = copy->moved;
	storage->filled = copy->filled;
	storage->done = copy->done;
	storage->task = copy->task;
	storage->works = storage->begins_anew = copy->works;
	memcpy(storage->buffer, copy->buffer, copy->filled);
}

/* The disk has another size. */
static void resized(void *context)
{
	struct mass_storage *storage = context;

	pthread_mutex_lock(storage->device.lock);
	scsi_unit_resized(&storage->unit);
	pthread_mutex_unlock(storage->device.lock);
}

/* Device and configuration (USB 2.0 §9.6): vendor and product are those that QEMU's device has. */
static const uint8_t device_descriptor[] = {
	18, 1, 0x00, 0x02, 0, 0, 0, 64, 0xf4, 0x46, 0x01, 0x00, 0x00, 0x00, 1, 2, 3, 1};
static const uint8_t configuration[] = {
	9, 2, 32, 0, 1, 1, 0, 0xc0, 0,
	9, 4, 0, 0, 2, 8, 6, 0x50, 0,		   /* mass storage: SCSI's commands, bulk only */
	7, 5, 0x80 | PIPE_IN, 2, 0x00, 0x02, 0,	   /* bulk, packets of 512 bytes */
	7, 5, PIPE_OUT, 2, 0x00, 0x02, 0,
};

static const struct usb_kind mass_storage_kind = {
	.name = "usb-storage",
	.speed = USB_SPEED_HIGH,
	.device = device_descriptor,
	.configuration = configuration,
	.configuration_bytes = sizeof(configuration),
	.product = "QEMU USB HARDDRIVE",
	.control = control,
	.in = in,
	.out = out,
	.reset = reset,
	.hold = hold,
	.release = release,
	.destroy = destroy,
	.bytes = sizeof(struct mass_storage),
	.transfer = transfer,
	.loaded = loaded,
};

struct usb_device *usb_mass_storage_create(const struct drive_config *config, bool is_removable, struct error *error)
{
	struct usb_device *device = usb_create(&mass_storage_kind);
	struct mass_storage *storage = (struct mass_storage *)device;

	if (!device) {
		error_set_errno(error, ENOMEM, "cannot create a USB device");
		block_close(config->block, NULL);
		return NULL;
	}
	pthread_cond_init(&storage->idle, NULL);
	storage->unit = (struct scsi_unit){.drive = &storage->drive, .is_removable = is_removable};
	if (drive_init(&storage->drive, config, error) < 0) {
		usb_destroy(device);
		return NULL;
	}
	if (config->block && !config->is_cdrom)
		block_watch_size(config->block, resized, storage);
	device->serial = storage->drive.serial;
	return device;
}

struct tray usb_mass_storage_tray(struct usb_device *device)
{
	return (struct tray){&((struct mass_storage *)device)->unit, device->lock};
}
