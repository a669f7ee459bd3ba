/*
 * How a command goes: software fills a slot in memory and sets its bit in PxCI; the slot is read once, the command
 * decoded (ata.h), its list of memory checked; the medium works; on the disk's I/O thread the end of it is
 * told by a frame in memory and an interrupt. One command at a time, or up to 32 that are queued.
 */
#include "device/storage/ahci_parts.h"

#include <stddef.h>
#include <stdlib.h>

#include "device/storage/scsi_run.h"

#define LOG_QUEUE_ERROR 0x10
#define TRIM_BYTES_MAX	4096

/* A command that is under way. */
struct ahci_command {
	struct ahci_port *port;
	unsigned slot, epoch;
	bool is_packet;
	uint64_t header; /* where, in memory */
	struct ata_task task;
	struct ata_registers registers; /* as the command had them */
	struct gather gather;
	struct storage_transfer transfer;
	unsigned range, ranges; /* of a TRIM */
	uint8_t list[TRIM_BYTES_MAX];
	struct scsi_run run;
};

/* --- the end of a command --- */

static void free_command(struct ahci_command *command)
{
	struct ahci_port *port = command->port;
	struct ahci *ahci = port->ahci;

	gather_free(&command->gather);
	port->under_way--;
	if (command->epoch == port->epoch) {
		port->begun &= ~(1u << command->slot);
		if (!command->task.is_queued)
			port->has_unqueued = false;
	}
	free(command);
	if (--ahci->under_way)
		return;
	if (ahci->ghc & GHC_RESET)
		ahci_reset_controller(ahci);
	pthread_cond_broadcast(&ahci->idle);
}

static void remember_failure(struct ahci_command *command)
{
	struct ahci_port *port = command->port;

	port->failed_tag = command->task.tag & 0x1f;
	port->failed_status = port->drive.registers.status;
	port->failed_error = port->drive.registers.error;
}

/* The registers say how it was; `moved` bytes went. */
static void finish(struct ahci_command *command, uint32_t moved)
{
	struct ahci_port *port = command->port;
	bool failed = port->drive.registers.status & ATA_ERR;

	/* Nobody is told, nor after a queued command's error, which has aborted all others. */
	if (command->epoch != port->epoch || (command->task.is_queued && (port->tfd & ATA_ERR))) {
		free_command(command);
		ahci_issue(port);
		return;
	}
	pci_dma_write(&port->ahci->function, command->header + 4, &moved, sizeof(moved));
	if (command->task.is_queued) {
		if (failed)
			remember_failure(command);
		ahci_send_device_bits(port, failed ? 0 : 1u << command->slot);
	} else {
		if (!failed)
			port->ci &= ~(1u << command->slot);
		if (!failed && !command->is_packet &&
		    (command->task.work == ATA_DATA_IN || command->task.work == ATA_READ_LOG ||
		     (command->task.work == ATA_READ && !command->task.is_dma)))
			ahci_send_pio_setup(port, moved);
		else
			ahci_send_registers(port, true);
	}
	free_command(command);
	ahci_issue(port);
}

static void abort_command(struct ahci_command *command, uint8_t error)
{
	ata_abort(&command->port->drive, error);
	finish(command, 0);
}

/* --- work on the medium --- */

static bool trim_next(struct ahci_command *command);

static void transfer_complete(struct storage_transfer *transfer, int result)
{
	struct ahci_command *command = transfer->context;
	struct ahci_port *port = command->port;
	struct ahci *ahci = port->ahci;

	if (transfer->operation == BLOCK_READ)
		gather_written(&command->gather, pci_memory(&ahci->function), transfer->size);
	pthread_mutex_lock(&ahci->lock);
	if (command->task.work == ATA_TRIM && command->epoch == port->epoch && trim_next(command)) {
		pthread_mutex_unlock(&ahci->lock);
		return;
	}
	if (command->epoch == port->epoch)
		ata_worked(&port->drive, &command->task, command->task.work == ATA_TRIM ? 0 : result);
	finish(command, result < 0 ? 0 : transfer->size);
	pthread_mutex_unlock(&ahci->lock);
}

static void start_medium(struct ahci_command *command, enum block_operation operation, uint64_t offset,
			 uint64_t size)
{
	bool is_durable = operation == BLOCK_WRITE && command->task.is_durable;

	command->transfer = (struct storage_transfer){.operation = operation,
					      .flags = is_durable ? BLOCK_FUA : 0,
					      .offset = offset,
					      .size = size,
					      .complete = transfer_complete,
					      .context = command,
					      .held = &command->port->ahci->held,
					      .gather = command->gather};
	transfer_start(&command->transfer, command->port->drive.drive.block);
}

/* The next range of a TRIM; false: there is none any more. */
static bool trim_next(struct ahci_command *command)
{
	uint64_t offset, size;

	while (command->range < command->ranges) {
		if (!ata_trim_range(&command->port->drive, command->list + 8 * command->range++, &offset,
				    &size))
			continue;
		start_medium(command, BLOCK_DISCARD, offset, size);
		return true;
	}
	return false;
}

/* --- the beginning of a command --- */

/* As much of the slot's list as there are bytes to move; all of it when `wanted` is 0. 0 or -errno. */
static int read_list(struct ahci_command *command, uint64_t table, unsigned entries, uint64_t wanted)
{
	struct pci_function *function = &command->port->ahci->function;
	struct gather *gather = &command->gather;
	uint32_t entry[4];
	uint64_t size;
	unsigned i;
	int result;

	for (i = 0; i < entries && (!wanted || gather->size_bytes < wanted); i++) {
		result = pci_dma_read(function, table + TABLE_LIST + i * LIST_ENTRY, entry, sizeof(entry));
		if (result < 0)
			return result;
		size = (entry[3] & LIST_COUNT) + 1ull;
		if (wanted && size > wanted - gather->size_bytes)
			size = wanted - gather->size_bytes;
		result = gather_add(gather, pci_memory(function),
				    ((uint64_t)entry[1] << 32 | entry[0]) & ~1ull, size);
		if (result < 0)
			return result;
	}
	return 0;
}

static void packet_complete(struct scsi_run *run)
{
	struct ahci_command *command = (struct ahci_command *)((char *)run - offsetof(struct ahci_command, run));

	if (command->epoch == command->port->epoch)
		ata_packet_done(&command->port->drive, &run->task);
	finish(command, run->moved);
}

static void begin_packet(struct ahci_command *command)
{
	struct ahci_port *port = command->port;

	command->is_packet = true;
	command->run.unit = &port->drive.unit;
	command->run.memory = pci_memory(&port->ahci->function);
	command->run.lock = &port->ahci->lock;
	command->run.held = &port->ahci->held;
	command->run.in = command->run.out = &command->gather;
	command->run.complete = packet_complete;
	if (scsi_run_start(&command->run))
		packet_complete(&command->run);
}

/* READ LOG EXT: which logs there are, and what went wrong with a queued command (ATA8-ACS §A.7). */
static void read_log(struct ahci_command *command)
{
	struct ahci_port *port = command->port;
	uint8_t log[ATA_SECTOR] = {0}, sum = 0;
	unsigned i;

	switch (command->registers.low) {
	case 0:
		log[0] = 1; /* version */
		log[2 * LOG_QUEUE_ERROR] = 1;
		break;
	case LOG_QUEUE_ERROR:
		log[0] = port->failed_tag;
		log[2] = port->failed_status;
		log[3] = port->failed_error;
		for (i = 0; i < ATA_SECTOR - 1; i++)
			sum += log[i];
		log[ATA_SECTOR - 1] = -sum;
		break;
	default: abort_command(command, ATA_ABORTED); return;
	}
	ata_succeed(&port->drive);
	finish(command, gather_write(&command->gather, pci_memory(&port->ahci->function), 0, log,
				     sizeof(log)));
}

static void begin_work(struct ahci_command *command)
{
	struct ata_task *task = &command->task;
	struct ahci_port *port = command->port;
	const struct guest_memory *memory = pci_memory(&port->ahci->function);

	switch (task->work) {
	case ATA_DONE: finish(command, 0); break;
	case ATA_DATA_IN:
		ata_succeed(&port->drive);
		finish(command, gather_write(&command->gather, memory, 0, task->data, task->size));
		break;
	case ATA_READ_LOG: read_log(command); break;
	case ATA_SEND_PACKET: begin_packet(command); break;
	case ATA_FLUSH: start_medium(command, BLOCK_FLUSH, 0, 0); break;
	case ATA_TRIM:
		command->ranges = gather_read(&command->gather, 0, command->list, task->size) / 8;
		if (!trim_next(command)) {
			ata_succeed(&port->drive);
			finish(command, task->size);
		}
		break;
	case ATA_READ:
	case ATA_WRITE:
		start_medium(command, task->work == ATA_READ ? BLOCK_READ : BLOCK_WRITE, task->offset,
			     task->size);
		break;
	}
}

static void take_registers(struct ata_registers *registers, const uint8_t *frame)
{
	registers->command = frame[2];
	registers->feature = frame[3];
	registers->low = frame[4];
	registers->mid = frame[5];
	registers->high = frame[6];
	registers->device = frame[7];
	registers->low_2 = frame[8];
	registers->mid_2 = frame[9];
	registers->high_2 = frame[10];
	registers->feature_2 = frame[11];
	registers->count = frame[12];
	registers->count_2 = frame[13];
}

/* The control register alone: software reset, from its bit's rise to its fall. */
static void take_control(struct ahci_command *command, uint8_t control)
{
	struct ahci_port *port = command->port;
	bool was_resetting = port->is_resetting;

	port->is_resetting = control & CONTROL_RESET;
	port->ci &= ~(1u << command->slot);
	if (was_resetting && !port->is_resetting) {
		ahci_port_reset_drive(port, false);
		ahci_port_greet(port);
	}
	free_command(command);
}

/* The slot in memory, read once. */
static void begin(struct ahci_command *command, const uint32_t header[4])
{
	struct ahci_port *port = command->port;
	struct pci_function *function = &port->ahci->function;
	uint64_t table = (uint64_t)header[3] << 32 | (header[2] & ~0x7fu), wanted;
	struct ata_task *task = &command->task;
	uint8_t frame[20];

	if (pci_dma_read(function, table, frame, sizeof(frame)) < 0 || frame[0] != FIS_REGISTERS ||
	    (header[0] & HEADER_FIS_DWORDS) < 5) {
		ahci_raise(port, IS_BUS_FATAL);
		abort_command(command, ATA_ABORTED);
		return;
	}
	if (!(frame[1] & FIS_COMMAND)) {
		take_control(command, frame[15]);
		return;
	}
	take_registers(&port->drive.registers, frame);
	command->registers = port->drive.registers;
	ata_begin(&port->drive, task);
	/* Software may have no more than one command under way that is not queued. */
	if (task->is_queued && task->tag != command->slot) {
		task->is_queued = false;
		abort_command(command, ATA_ABORTED);
		return;
	}
	if (task->is_queued) {
		port->ci &= ~(1u << command->slot);
		port->has_unqueued = false;
	}
	wanted = task->work == ATA_SEND_PACKET ? 0 : task->work == ATA_READ_LOG ? ATA_SECTOR : task->size;
	if ((task->work == ATA_SEND_PACKET &&
	     pci_dma_read(function, table + TABLE_PACKET, command->run.task.cdb, 16) < 0) ||
	    ((wanted || task->work == ATA_SEND_PACKET) &&
	     read_list(command, table, header[0] >> 16, wanted) < 0) ||
	    command->gather.size_bytes < wanted) {
		ahci_raise(port, IS_BUS_FATAL);
		abort_command(command, ATA_ABORTED);
		return;
	}
	begin_work(command);
}

static bool issue_slot(struct ahci_port *port, unsigned slot)
{
	struct ahci *ahci = port->ahci;
	struct ahci_command *command = calloc(1, sizeof(*command));
	uint32_t header[4];

	if (!command)
		return false;
	command->port = port;
	command->slot = slot;
	command->epoch = port->epoch;
	command->header = ((uint64_t)port->clbu << 32 | port->clb) + slot * HEADER_BYTES;
	port->under_way++;
	port->begun |= 1u << slot;
	ahci->under_way++;
	/* Until it turns out to be queued. */
	port->has_unqueued = true;
	if (pci_dma_read(&ahci->function, command->header, header, sizeof(header)) < 0) {
		ahci_raise(port, IS_BUS_FATAL);
		abort_command(command, ATA_ABORTED);
	} else {
		begin(command, header);
	}
	return true;
}

/* A queued command in the slot, which may begin beside others of its kind. */
static bool is_queued(const struct ahci_port *port, unsigned slot)
{
	return port->sact >> slot & 1;
}

/*
 * Begin what may begin. It is called again from the end of each command, also from inside of itself where that
 * ends at once: a loop there, not a recursion.
 */
void ahci_issue(struct ahci_port *port)
{
	struct ahci *ahci = port->ahci;
	unsigned slot;

	if (port->is_issuing)
		return;
	port->is_issuing = true;
	while (port->ci && (port->cmd & CMD_START) && ahci_port_is_present(port) && !port->has_unqueued &&
	       !ahci->is_held && !(ahci->ghc & GHC_RESET) && !(port->tfd & ATA_ERR)) {
		slot = __builtin_ctz(port->ci);
		/* One that is not queued waits for all others. */
		if (port->under_way && !is_queued(port, slot))
			break;
		if (!issue_slot(port, slot))
			break;
	}
	port->is_issuing = false;
}
