/*
 * How a command goes through a channel:
 *
 *   command -> medium (busy) -> block of data by PIO <-> guest -> ... -> end, interrupt
 *           -> DMA: waits for the bus master's start -> medium (busy) -> end, interrupt
 *           -> packet from the guest by PIO -> as above
 *
 * Nothing waits: what the medium does goes on by its completion, on the disk's I/O thread. A reset while it
 * works takes effect when it has ended, until then the channel is busy.
 */
#include "device/storage/ide_parts.h"

#include <errno.h>
#include <string.h>

#define DESCRIPTORS_MAX	8192 /* of 8 bytes: a table lies in one block of 64 KiB */
#define DESCRIPTOR_LAST 0x80000000u

/* --- the interrupt line --- */

void ide_update_irq(struct ide_channel *channel)
{
	irq_line_set(&channel->irq,
		     channel->wants_interrupt && !(channel->control & CONTROL_NO_INTERRUPT));
}

static void raise(struct ide_channel *channel)
{
	channel->wants_interrupt = true;
	channel->master_status |= MASTER_INTERRUPT;
	ide_update_irq(channel);
}

void ide_lower(struct ide_channel *channel)
{
	channel->wants_interrupt = false;
	ide_update_irq(channel);
}

/* --- resets --- */

void ide_reset_channel(struct ide_channel *channel, bool is_hard)
{
	unsigned i;

	for (i = 0; i < IDE_CHANNEL_DRIVES; i++)
		ata_drive_reset(&channel->drives[i], is_hard);
	channel->selects_1 = false;
	channel->phase = PHASE_IDLE;
	channel->wants_reset = channel->is_packet = channel->begins_anew = false;
	channel->at = channel->end = channel->filled = 0;
	channel->left = 0;
	channel->master_command &= ~MASTER_START;
	channel->master_status &= ~MASTER_ACTIVE;
	ide_lower(channel);
}

/* --- ends of commands --- */

static void end_command(struct ide_channel *channel, bool interrupts)
{
	channel->phase = PHASE_IDLE;
	channel->is_packet = false;
	channel->at = channel->end = channel->filled = 0;
	channel->master_status &= ~MASTER_ACTIVE;
	if (interrupts)
		raise(channel);
}

static void end_packet(struct ide_channel *channel)
{
	ata_packet_done(ide_selected(channel), &channel->packet);
	end_command(channel, true);
}

static void abort_command(struct ide_channel *channel)
{
	ata_abort(ide_selected(channel), ATA_ABORTED);
	end_command(channel, true);
}

/* --- work on the medium --- */

static void go_on(struct ide_channel *channel, int result);

static void transfer_complete(struct storage_transfer *transfer, int result)
{
	struct ide_channel *channel = transfer->context;
	struct ide *ide = channel->ide;

	/* Without the lock: nobody else has the list. */
	if (transfer->operation == BLOCK_READ)
		gather_written(&transfer->gather, pci_memory(&ide->function), transfer->size);
	gather_free(&transfer->gather);
	pthread_mutex_lock(&ide->lock);
	channel->phase = PHASE_IDLE;
	if (!channel->wants_reset)
		go_on(channel, result);
	else if (!(channel->control & CONTROL_RESET))
		ide_reset_channel(channel, false);
	if (--ide->under_way == 0)
		pthread_cond_broadcast(&ide->idle);
	pthread_mutex_unlock(&ide->lock);
}

/* transfer.operation, offset, size, flags and gather are filled in. */
static void start_medium(struct ide_channel *channel)
{
	struct ata_drive *drive = ide_selected(channel);

	/* Somebody has taken the medium out between two blocks. */
	if (!drive->drive.block) {
		gather_free(&channel->transfer.gather);
		abort_command(channel);
		return;
	}
	channel->phase = PHASE_BUSY;
	drive->registers.status = ATA_BUSY | ATA_READY;
	channel->transfer.complete = transfer_complete;
	channel->transfer.context = channel;
	channel->transfer.held = &channel->ide->held;
	channel->ide->under_way++;
	transfer_start(&channel->transfer, drive->drive.block);
}

static void prepare(struct ide_channel *channel, enum block_operation operation, uint64_t offset,
		    uint64_t size)
{
	bool is_durable = operation == BLOCK_WRITE && channel->task.is_durable;

	channel->transfer = (struct storage_transfer){.operation = operation,
					      .flags = is_durable ? BLOCK_FUA : 0,
					      .offset = offset,
					      .size = size};
}

/* --- PIO --- */

/* Show the guest the next block of what is in the buffer. */
static void offer_block(struct ide_channel *channel)
{
	struct ata_drive *drive = ide_selected(channel);
	uint32_t size = channel->filled - channel->at, limit;

	limit = channel->task.block_bytes;
	if (channel->is_packet) {
		if (size > limit)
			size = limit & ~1u;
		drive->registers.count = ATA_REASON_TO_HOST;
		drive->registers.mid = size;
		drive->registers.high = size >> 8;
	} else if (size > limit) {
		size = limit;
	}
	channel->end = channel->at + size;
	channel->phase = PHASE_TO_GUEST;
	drive->registers.status = ATA_READY | ATA_SEEK | ATA_DRQ;
	raise(channel);
}

static int buffer_for_medium(struct ide_channel *channel, uint32_t size)
{
	const struct iovec vector = {channel->buffer, size};

	return gather_add_vector(&channel->transfer.gather, &vector, 1);
}

/* As much as the buffer takes. */
static void read_medium(struct ide_channel *channel)
{
	uint32_t size = channel->left < BUFFER_BYTES ? channel->left : BUFFER_BYTES;

	prepare(channel, BLOCK_READ, channel->medium_at, size);
	if (buffer_for_medium(channel, size) < 0)
		abort_command(channel);
	else
		start_medium(channel);
}

/* The guest has taken a block. */
void ide_block_taken(struct ide_channel *channel)
{
	if (channel->at < channel->filled) {
		offer_block(channel);
	} else if (channel->left) {
		read_medium(channel);
	} else if (channel->is_packet) {
		end_packet(channel);
	} else {
		ata_succeed(ide_selected(channel));
		end_command(channel, false);
	}
}

/* Have the guest fill the next block. */
static void want_block(struct ide_channel *channel, bool interrupts)
{
	struct ata_drive *drive = ide_selected(channel);
	uint32_t size = channel->task.block_bytes;

	if (size > channel->left)
		size = channel->left;
	channel->at = 0;
	channel->end = channel->filled = size;
	channel->phase = PHASE_FROM_GUEST;
	if (channel->is_packet) {
		drive->registers.count = 0;
		drive->registers.mid = size;
		drive->registers.high = size >> 8;
	}
	drive->registers.status = ATA_READY | ATA_SEEK | ATA_DRQ;
	if (interrupts)
		raise(channel);
}

static void begin_packet(struct ide_channel *channel);
static void parameters_come(struct ide_channel *channel, size_t size);

/* The guest has filled a block. */
void ide_block_filled(struct ide_channel *channel)
{
	if (channel->phase == PHASE_PACKET) {
		begin_packet(channel);
	} else if (channel->is_packet) {
		memcpy(channel->packet.data, channel->buffer, channel->filled);
		parameters_come(channel, channel->filled);
	} else {
		prepare(channel, BLOCK_WRITE, channel->medium_at, channel->filled);
		if (buffer_for_medium(channel, channel->filled) < 0)
			abort_command(channel);
		else
			start_medium(channel);
	}
}

/* --- DMA --- */

/* The bus master's table as a list. 0 or -errno. */
static int read_table(struct ide_channel *channel, uint64_t wanted, struct gather *gather)
{
	const struct guest_memory *memory = pci_memory(&channel->ide->function);
	uint32_t entry[2], table = channel->master_table, size;
	unsigned i;
	int result;

	for (i = 0; i < DESCRIPTORS_MAX && gather->size_bytes < wanted; i++) {
		result = pci_dma_read(&channel->ide->function, (uint64_t)table + 8 * i, entry,
				      sizeof(entry));
		if (result < 0)
			return result;
		size = entry[1] & 0xfffe;
		if (!size)
			size = 0x10000;
		if (size > wanted - gather->size_bytes)
			size = wanted - gather->size_bytes;
		result = gather_add(gather, memory, entry[0] & ~1u, size);
		if (result < 0)
			return result;
		if (entry[1] & DESCRIPTOR_LAST)
			break;
	}
	return 0;
}

static void dma_fails(struct ide_channel *channel)
{
	channel->master_status |= MASTER_ERROR;
	abort_command(channel);
}

/* The bytes that a packet's command has for the guest, all of them here. */
static void dma_answer(struct ide_channel *channel, struct gather *gather)
{
	gather_write(gather, pci_memory(&channel->ide->function), 0, channel->packet.data,
		     channel->packet.size);
	gather_free(gather);
	end_packet(channel);
}

static void trim_next(struct ide_channel *channel);

/* Both sides are ready: command and bus master. */
void ide_run_dma(struct ide_channel *channel)
{
	struct ata_task *task = &channel->task;
	struct gather gather = {.count = 0};
	bool to_memory = channel->master_command & MASTER_TO_MEMORY, is_read;
	uint64_t size = channel->left;

	is_read = channel->is_packet || task->work == ATA_READ;
	channel->master_status |= MASTER_ACTIVE;
	if (is_read != to_memory || read_table(channel, size, &gather) < 0 ||
	    (gather.size_bytes < size && !channel->is_packet)) {
		gather_free(&gather);
		dma_fails(channel);
		return;
	}
	if (channel->is_packet && channel->packet.work == SCSI_DATA_IN) {
		dma_answer(channel, &gather);
	} else if (!channel->is_packet && task->work == ATA_TRIM) {
		gather_read(&gather, 0, channel->buffer, size);
		gather_free(&gather);
		channel->filled = size;
		channel->range = 0;
		trim_next(channel);
	} else {
		prepare(channel, is_read ? BLOCK_READ : BLOCK_WRITE, channel->medium_at,
			size < gather.size_bytes ? size : gather.size_bytes);
		channel->transfer.gather = gather;
		start_medium(channel);
	}
}

/* Ranges one after the other, then the end. */
static void trim_next(struct ide_channel *channel)
{
	uint64_t offset, size;

	while (channel->range < channel->filled / 8) {
		if (!ata_trim_range(ide_selected(channel), channel->buffer + 8 * channel->range++, &offset,
				    &size))
			continue;
		prepare(channel, BLOCK_DISCARD, offset, size);
		start_medium(channel);
		return;
	}
	ata_succeed(ide_selected(channel));
	end_command(channel, true);
}

static void await_dma(struct ide_channel *channel)
{
	channel->phase = PHASE_DMA;
	ide_selected(channel)->registers.status = ATA_READY | ATA_SEEK | ATA_DRQ;
	if (channel->is_packet)
		ide_selected(channel)->registers.count = ATA_REASON_TO_HOST;
	if (channel->master_command & MASTER_START)
		ide_run_dma(channel);
}

/* --- packets --- */

/* What a packet asks for is known. */
static void serve_packet(struct ide_channel *channel)
{
	struct scsi_task *packet = &channel->packet;
	struct ata_registers *registers = &ide_selected(channel)->registers;
	uint32_t limit = registers->mid | registers->high << 8;

	channel->left = packet->work == SCSI_DONE ? 0 : packet->size;
	channel->medium_at = packet->offset;
	/* Bytes a block, as the command said; all ones mean as many as are even. */
	channel->task.block_bytes = !limit || limit == 0xffff ? 0xfffe : limit < 2 ? 2 : limit;
	channel->at = channel->end = channel->filled = 0;
	if (packet->work == SCSI_PARAMETERS) {
		if (channel->task.is_dma || packet->size > channel->task.block_bytes)
			abort_command(channel);
		else
			want_block(channel, true);
	} else if (!channel->left) {
		end_packet(channel);
	} else if (channel->task.is_dma) {
		await_dma(channel);
	} else if (packet->work == SCSI_READ) {
		read_medium(channel);
	} else {
		memcpy(channel->buffer, packet->data, channel->left);
		channel->filled = channel->left;
		channel->left = 0;
		offer_block(channel);
	}
}

static void begin_packet(struct ide_channel *channel)
{
	struct scsi_task *packet = &channel->packet;

	memset(packet->cdb, 0, sizeof(packet->cdb));
	memcpy(packet->cdb, channel->buffer, PACKET_BYTES);
	scsi_begin(&ide_selected(channel)->unit, packet);
	serve_packet(channel);
}

static void parameters_come(struct ide_channel *channel, size_t size)
{
	scsi_parameters(&ide_selected(channel)->unit, &channel->packet, size);
	end_packet(channel);
}

/* --- commands --- */

void ide_begin_command(struct ide_channel *channel, uint8_t command)
{
	struct ata_drive *drive = ide_selected(channel);
	struct ata_task *task = &channel->task;

	drive->registers.command = command;
	channel->is_packet = false;
	ide_lower(channel);
	ata_begin(drive, task);
	channel->left = task->size;
	channel->medium_at = task->offset;
	channel->at = channel->end = channel->filled = 0;
	switch (task->work) {
	case ATA_DONE:
		/* A device that was reset does not interrupt (ATA8-ACS §7.9). */
		end_command(channel, command != ATA_RESET_DEVICE);
		break;
	case ATA_DATA_IN:
		memcpy(channel->buffer, task->data, task->size);
		channel->filled = task->size;
		channel->left = 0;
		offer_block(channel);
		break;
	case ATA_SEND_PACKET:
		channel->is_packet = true;
		channel->phase = PHASE_PACKET;
		channel->end = channel->filled = PACKET_BYTES;
		drive->registers.count = ATA_REASON_COMMAND;
		drive->registers.status = ATA_READY | ATA_SEEK | ATA_DRQ;
		break;
	case ATA_FLUSH:
		prepare(channel, BLOCK_FLUSH, 0, 0);
		start_medium(channel);
		break;
	case ATA_READ:
	case ATA_WRITE:
	case ATA_TRIM:
		if (task->is_dma)
			await_dma(channel);
		else if (task->work == ATA_READ)
			read_medium(channel);
		else
			want_block(channel, false);
		break;
	default: abort_command(channel); break;
	}
}

void ide_begin_anew(struct ide_channel *channel)
{
	const struct ata_task *task = &channel->task;

	channel->phase = PHASE_IDLE;
	if (channel->wants_reset) {
		/* It would have come after that. */
		if (!(channel->control & CONTROL_RESET))
			ide_reset_channel(channel, false);
	} else if (task->is_dma) {
		ide_run_dma(channel);
	} else if (!channel->is_packet && task->work == ATA_FLUSH) {
		prepare(channel, BLOCK_FLUSH, 0, 0);
		start_medium(channel);
	} else if (channel->is_packet || task->work == ATA_READ) {
		read_medium(channel);
	} else {
		ide_block_filled(channel);
	}
}

/* The medium has done its part. */
static void go_on(struct ide_channel *channel, int result)
{
	struct ata_task *task = &channel->task;
	uint32_t size = channel->transfer.size;

	if (channel->is_packet && (result < 0 || task->is_dma)) {
		scsi_worked(&ide_selected(channel)->unit, &channel->packet, result);
		end_packet(channel);
	} else if (result < 0 && task->work != ATA_TRIM) {
		ata_worked(ide_selected(channel), task, result);
		end_command(channel, true);
	} else if (task->work == ATA_TRIM && !channel->is_packet) {
		trim_next(channel);
	} else if (task->is_dma || channel->transfer.operation == BLOCK_FLUSH) {
		ata_worked(ide_selected(channel), task, result);
		end_command(channel, true);
	} else {
		channel->left -= size;
		channel->medium_at += size;
		if (channel->transfer.operation == BLOCK_READ) {
			channel->at = 0;
			channel->filled = size;
			offer_block(channel);
		} else if (channel->left) {
			want_block(channel, true);
		} else {
			ata_succeed(ide_selected(channel));
			end_command(channel, true);
		}
	}
}
