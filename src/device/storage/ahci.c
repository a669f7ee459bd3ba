/*
 * How a command goes: software fills a slot in memory and sets its bit in PxCI; the slot is read once, the command
 * decoded (ata.h), its list of memory checked; the medium works; on the disk's I/O thread the end of it is
 * told by a frame in memory and an interrupt. One command at a time, or up to 32 that are queued.
 *
 * A port that was stopped (PxCMD.ST) runs (CR) until its commands have ended, which then tell nobody; so
 * does a controller that was reset (GHC.HR). After an error nothing begins until software has restarted the port.
 *
 * Not modelled: port multipliers, power management, hot plugging, command completion coalescing, staggered
 * spin-up. They are not claimed.
 */
#include "device/storage/ahci.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "device/storage/ahci_registers.h"
#include "device/storage/ata.h"
#include "device/storage/scsi_run.h"

#define VENDOR_INTEL 0x8086
#define DEVICE_ICH9  0x2922
#define CLASS_AHCI   0x010601
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100
#define REGISTER_BAR   5
#define REGISTER_BYTES 0x1000
#define MAP_REGISTER   0x90 /* what the controller is: AHCI */
#define MAP_AHCI       0x40

#define NO_SIGNATURE 0xffffffffu
#define LOG_QUEUE_ERROR 0x10
#define TRIM_BYTES_MAX	4096

struct port {
	struct ahci *ahci;
	unsigned index;
	struct ata_drive drive;
	uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
	bool is_resetting; /* by a control frame */
	uint8_t failed_tag, failed_status, failed_error; /* of a queued command */
	unsigned under_way; /* commands */
	bool has_unqueued;  /* one of them, alone */
	bool is_issuing;
	unsigned epoch;	    /* counted when they are not to tell anybody any more */
};

struct ahci {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	unsigned under_way;
	bool is_held;
	uint32_t ghc, is;
	struct port ports[AHCI_PORTS];
	struct pci_function function;
};

/* A command that is under way. */
struct command {
	struct port *port;
	unsigned slot, epoch;
	bool is_packet;
	uint64_t header; /* where, in memory */
	struct ata_task task;
	struct ata_registers registers; /* as the command had them */
	struct gather gather;
	struct transfer transfer;
	unsigned range, ranges; /* of a TRIM */
	uint8_t list[TRIM_BYTES_MAX];
	struct scsi_run run;
};

static void issue(struct port *port);

/* --- interrupts --- */

static void update_irq(struct ahci *ahci)
{
	pci_set_intx(&ahci->function, (ahci->ghc & GHC_INTERRUPTS) && ahci->is);
}

static void raise(struct port *port, uint32_t bits)
{
	struct ahci *ahci = port->ahci;

	port->is |= bits;
	if (!(port->is & port->ie))
		return;
	ahci->is |= 1u << port->index;
	if ((ahci->ghc & GHC_INTERRUPTS) && pci_has_messages(&ahci->function))
		pci_notify(&ahci->function, 0);
	update_irq(ahci);
}

/* --- frames for software --- */

static void receive(struct port *port, unsigned offset, const uint8_t *frame, size_t size)
{
	if (port->cmd & CMD_FIS_RECEIVE)
		pci_dma_write(&port->ahci->function, ((uint64_t)port->fbu << 32 | port->fb) + offset, frame,
			      size);
}

static void fill_frame(uint8_t frame[20], const struct ata_registers *registers)
{
	memset(frame, 0, 20);
	frame[2] = registers->status;
	frame[3] = registers->error;
	frame[4] = registers->low;
	frame[5] = registers->mid;
	frame[6] = registers->high;
	frame[7] = registers->device;
	frame[8] = registers->low_2;
	frame[9] = registers->mid_2;
	frame[10] = registers->high_2;
	frame[12] = registers->count;
	frame[13] = registers->count_2;
}

static void set_task_file(struct port *port)
{
	port->tfd = port->drive.registers.status | port->drive.registers.error << 8;
}

static void send_registers(struct port *port, bool interrupts)
{
	uint8_t frame[20];

	fill_frame(frame, &port->drive.registers);
	frame[0] = FIS_FROM_DEVICE;
	frame[1] = interrupts ? FIS_INTERRUPTS : 0;
	receive(port, RECEIVED_REGISTERS, frame, sizeof(frame));
	set_task_file(port);
	raise(port, (interrupts ? IS_REGISTERS : 0) |
			    (port->drive.registers.status & ATA_ERR ? IS_TASK_FILE : 0));
}

static void send_pio_setup(struct port *port, uint32_t size)
{
	uint8_t frame[20];

	fill_frame(frame, &port->drive.registers);
	frame[0] = FIS_PIO_SETUP;
	frame[1] = FIS_INTERRUPTS | FIS_TO_HOST;
	frame[2] = ATA_READY | ATA_SEEK | ATA_DRQ;
	frame[15] = port->drive.registers.status;
	frame[16] = size;
	frame[17] = size >> 8;
	receive(port, RECEIVED_PIO, frame, sizeof(frame));
	set_task_file(port);
	raise(port, IS_PIO_SETUP);
}

/* The end of a queued command: its bit in PxSACT. */
static void send_device_bits(struct port *port, uint32_t bits)
{
	const struct ata_registers *registers = &port->drive.registers;
	uint8_t frame[8] = {FIS_DEVICE_BITS, FIS_INTERRUPTS, registers->status & 0x77, registers->error};

	memcpy(frame + 4, &bits, sizeof(bits));
	receive(port, RECEIVED_BITS, frame, sizeof(frame));
	set_task_file(port);
	port->sact &= ~bits;
	raise(port, IS_DEVICE_BITS | (registers->status & ATA_ERR ? IS_TASK_FILE : 0));
}

/* --- resets --- */

static bool is_present(const struct port *port)
{
	return port->drive.drive.is_present;
}

/* What a device sends when it is there. */
static void greet(struct port *port)
{
	if (!is_present(port))
		return;
	port->sig = port->drive.drive.is_cdrom ? SIGNATURE_CDROM : SIGNATURE_DISK;
	send_registers(port, false);
}

static void reset_drive(struct port *port, bool is_hard)
{
	ata_drive_reset(&port->drive, is_hard);
	port->is_resetting = false;
	/* A packet device is not ready; of a place with nothing all bits are as COMRESET leaves them. */
	set_task_file(port);
	if (!is_present(port))
		port->tfd = 0x7f;
}

static void drop_commands(struct port *port)
{
	port->epoch++;
	port->has_unqueued = false;
	port->ci = port->sact = 0;
}

/* COMRESET (§10.4.2): software holds PxSCTL.DET at 1 and lets it go. */
static void reset_link(struct port *port)
{
	drop_commands(port);
	reset_drive(port, true);
	port->ssts = is_present(port) ? SSTS_PRESENT : 0;
	port->serr = is_present(port) ? SERR_EXCHANGED : 0;
	greet(port);
}

static void reset_port(struct port *port)
{
	drop_commands(port);
	port->clb = port->clbu = port->fb = port->fbu = 0;
	port->is = port->ie = port->sctl = port->serr = 0;
	port->cmd = CMD_SPIN_UP | CMD_POWER;
	port->sig = NO_SIGNATURE;
	reset_drive(port, true);
	port->ssts = is_present(port) ? SSTS_PRESENT : 0;
}

static void reset_controller(struct ahci *ahci)
{
	unsigned i;

	ahci->ghc = GHC_ENABLED;
	ahci->is = 0;
	for (i = 0; i < AHCI_PORTS; i++)
		reset_port(&ahci->ports[i]);
	update_irq(ahci);
}

/* --- the end of a command --- */

static void free_command(struct command *command)
{
	struct port *port = command->port;
	struct ahci *ahci = port->ahci;

	gather_free(&command->gather);
	port->under_way--;
	if (command->epoch == port->epoch && !command->task.is_queued)
		port->has_unqueued = false;
	free(command);
	if (--ahci->under_way)
		return;
	if (ahci->ghc & GHC_RESET)
		reset_controller(ahci);
	pthread_cond_broadcast(&ahci->idle);
}

static void remember_failure(struct command *command)
{
	struct port *port = command->port;

	port->failed_tag = command->task.tag & 0x1f;
	port->failed_status = port->drive.registers.status;
	port->failed_error = port->drive.registers.error;
}

/* The registers say how it was; `moved` bytes went. */
static void finish(struct command *command, uint32_t moved)
{
	struct port *port = command->port;
	bool failed = port->drive.registers.status & ATA_ERR;

	/* Nobody is told, nor after a queued command's error, which has aborted all others. */
	if (command->epoch != port->epoch || (command->task.is_queued && (port->tfd & ATA_ERR))) {
		free_command(command);
		issue(port);
		return;
	}
	pci_dma_write(&port->ahci->function, command->header + 4, &moved, sizeof(moved));
	if (command->task.is_queued) {
		if (failed)
			remember_failure(command);
		send_device_bits(port, failed ? 0 : 1u << command->slot);
	} else {
		if (!failed)
			port->ci &= ~(1u << command->slot);
		if (!failed && !command->is_packet &&
		    (command->task.work == ATA_DATA_IN || command->task.work == ATA_READ_LOG ||
		     (command->task.work == ATA_READ && !command->task.is_dma)))
			send_pio_setup(port, moved);
		else
			send_registers(port, true);
	}
	free_command(command);
	issue(port);
}

static void abort_command(struct command *command, uint8_t error)
{
	ata_abort(&command->port->drive, error);
	finish(command, 0);
}

/* --- work on the medium --- */

static bool trim_next(struct command *command);

static void transfer_complete(struct transfer *transfer, int result)
{
	struct command *command = transfer->context;
	struct port *port = command->port;
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

static void start_medium(struct command *command, enum block_operation operation, uint64_t offset,
			 uint64_t size)
{
	bool is_durable = operation == BLOCK_WRITE && command->task.is_durable;

	command->transfer = (struct transfer){.operation = operation,
					      .flags = is_durable ? BLOCK_FUA : 0,
					      .offset = offset,
					      .size = size,
					      .complete = transfer_complete,
					      .context = command,
					      .gather = command->gather};
	transfer_start(&command->transfer, command->port->drive.drive.block);
}

/* The next range of a TRIM; false: there is none any more. */
static bool trim_next(struct command *command)
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
static int read_list(struct command *command, uint64_t table, unsigned entries, uint64_t wanted)
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
	struct command *command = (struct command *)((char *)run - offsetof(struct command, run));

	if (command->epoch == command->port->epoch)
		ata_packet_done(&command->port->drive, &run->task);
	finish(command, run->moved);
}

static void begin_packet(struct command *command)
{
	struct port *port = command->port;

	command->is_packet = true;
	command->run.unit = &port->drive.unit;
	command->run.memory = pci_memory(&port->ahci->function);
	command->run.lock = &port->ahci->lock;
	command->run.in = command->run.out = &command->gather;
	command->run.complete = packet_complete;
	if (scsi_run_start(&command->run))
		packet_complete(&command->run);
}

/* READ LOG EXT: which logs there are, and what went wrong with a queued command (ATA8-ACS §A.7). */
static void read_log(struct command *command)
{
	struct port *port = command->port;
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

static void begin_work(struct command *command)
{
	struct ata_task *task = &command->task;
	struct port *port = command->port;
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
static void take_control(struct command *command, uint8_t control)
{
	struct port *port = command->port;
	bool was_resetting = port->is_resetting;

	port->is_resetting = control & CONTROL_RESET;
	port->ci &= ~(1u << command->slot);
	if (was_resetting && !port->is_resetting) {
		reset_drive(port, false);
		greet(port);
	}
	free_command(command);
}

/* The slot in memory, read once. */
static void begin(struct command *command, const uint32_t header[4])
{
	struct port *port = command->port;
	struct pci_function *function = &port->ahci->function;
	uint64_t table = (uint64_t)header[3] << 32 | (header[2] & ~0x7fu), wanted;
	struct ata_task *task = &command->task;
	uint8_t frame[20];

	if (pci_dma_read(function, table, frame, sizeof(frame)) < 0 || frame[0] != FIS_REGISTERS ||
	    (header[0] & HEADER_FIS_DWORDS) < 5) {
		raise(port, IS_BUS_FATAL);
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
		raise(port, IS_BUS_FATAL);
		abort_command(command, ATA_ABORTED);
		return;
	}
	begin_work(command);
}

static bool issue_slot(struct port *port, unsigned slot)
{
	struct ahci *ahci = port->ahci;
	struct command *command = calloc(1, sizeof(*command));
	uint32_t header[4];

	if (!command)
		return false;
	command->port = port;
	command->slot = slot;
	command->epoch = port->epoch;
	command->header = ((uint64_t)port->clbu << 32 | port->clb) + slot * HEADER_BYTES;
	port->under_way++;
	ahci->under_way++;
	/* Until it turns out to be queued. */
	port->has_unqueued = true;
	if (pci_dma_read(&ahci->function, command->header, header, sizeof(header)) < 0) {
		raise(port, IS_BUS_FATAL);
		abort_command(command, ATA_ABORTED);
	} else {
		begin(command, header);
	}
	return true;
}

/* A queued command in the slot, which may begin beside others of its kind. */
static bool is_queued(const struct port *port, unsigned slot)
{
	return port->sact >> slot & 1;
}

/*
 * Begin what may begin. It is called again from the end of each command, also from inside of itself where that
 * ends at once: a loop there, not a recursion.
 */
static void issue(struct port *port)
{
	struct ahci *ahci = port->ahci;
	unsigned slot;

	if (port->is_issuing)
		return;
	port->is_issuing = true;
	while (port->ci && (port->cmd & CMD_START) && is_present(port) && !port->has_unqueued &&
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

/* --- registers --- */

static uint32_t port_get(struct port *port, unsigned offset)
{
	uint32_t running = 0;

	switch (offset) {
	case PORT_CLB: return port->clb;
	case PORT_CLBU: return port->clbu;
	case PORT_FB: return port->fb;
	case PORT_FBU: return port->fbu;
	case PORT_IS: return port->is;
	case PORT_IE: return port->ie;
	case PORT_CMD:
		if (port->cmd & CMD_FIS_RECEIVE)
			running |= CMD_FIS_RUNNING;
		if ((port->cmd & CMD_START) || port->under_way)
			running |= CMD_RUNNING;
		return port->cmd | running;
	case PORT_TFD:
		return port->has_unqueued ? (port->tfd & ~0xffu) | ATA_BUSY | ATA_READY : port->tfd;
	case PORT_SIG: return port->sig;
	case PORT_SSTS: return port->ssts;
	case PORT_SCTL: return port->sctl;
	case PORT_SERR: return port->serr;
	case PORT_SACT: return port->sact;
	case PORT_CI: return port->ci;
	default: return 0;
	}
}

static void write_cmd(struct port *port, uint32_t value)
{
	uint32_t old = port->cmd;

	if (value & CMD_OVERRIDE)
		port->tfd &= ~(uint32_t)(ATA_BUSY | ATA_DRQ);
	port->cmd = value & CMD_KEPT;
	if ((old & CMD_START) && !(value & CMD_START)) {
		drop_commands(port);
		/* The error has been seen. */
		port->tfd &= ~(uint32_t)ATA_ERR;
	}
	/* Its first frame has waited for that. */
	if (!(old & CMD_FIS_RECEIVE) && (value & CMD_FIS_RECEIVE) && port->sig == NO_SIGNATURE)
		greet(port);
	issue(port);
}

static void write_sctl(struct port *port, uint32_t value)
{
	uint32_t old = port->sctl & SCTL_DETECT;

	port->sctl = value & 0xfff;
	if (old == 1 && !(value & SCTL_DETECT)) {
		reset_link(port);
	} else if ((value & SCTL_DETECT) == 1) {
		drop_commands(port);
		port->ssts = 0;
	} else if ((value & SCTL_DETECT) == 4) {
		port->ssts = 4; /* offline */
	}
}

static void port_set(struct port *port, unsigned offset, uint32_t value)
{
	switch (offset) {
	case PORT_CLB: port->clb = value & ~0x3ffu; break;
	case PORT_CLBU: port->clbu = value; break;
	case PORT_FB: port->fb = value & ~0xffu; break;
	case PORT_FBU: port->fbu = value; break;
	case PORT_IS:
		port->is &= ~(value & IS_ALL);
		if (port->is & port->ie)
			port->ahci->is |= 1u << port->index;
		update_irq(port->ahci);
		break;
	case PORT_IE:
		port->ie = value & IS_READABLE;
		raise(port, 0);
		break;
	case PORT_CMD: write_cmd(port, value); break;
	case PORT_SCTL: write_sctl(port, value); break;
	case PORT_SERR: port->serr &= ~value; break;
	case PORT_SACT:
		if (port->cmd & CMD_START)
			port->sact |= value;
		break;
	case PORT_CI:
		if (port->cmd & CMD_START) {
			port->ci |= value;
			issue(port);
		}
		break;
	default: break;
	}
}

static uint32_t hba_get(struct ahci *ahci, unsigned offset)
{
	switch (offset) {
	case HBA_CAP:
		return (AHCI_PORTS - 1) | CAP_SLOTS(SLOTS) | CAP_AHCI_ONLY | CAP_GEN_1 | CAP_OVERRIDE |
		       CAP_QUEUES | CAP_64;
	case HBA_GHC: return ahci->ghc;
	case HBA_IS: return ahci->is;
	case HBA_PI: return (1u << AHCI_PORTS) - 1;
	case HBA_VS: return 0x00010000;
	default: return 0;
	}
}

static void hba_set(struct ahci *ahci, unsigned offset, uint32_t value)
{
	unsigned i;

	if (offset == HBA_GHC) {
		ahci->ghc = (ahci->ghc & GHC_RESET) | GHC_ENABLED | (value & GHC_INTERRUPTS);
		if (value & GHC_RESET) {
			ahci->ghc |= GHC_RESET;
			for (i = 0; i < AHCI_PORTS; i++)
				drop_commands(&ahci->ports[i]);
			if (!ahci->under_way)
				reset_controller(ahci);
		}
		update_irq(ahci);
	} else if (offset == HBA_IS) {
		ahci->is &= ~value;
		/* Those whose causes are still there come again. */
		for (i = 0; i < AHCI_PORTS; i++)
			if (ahci->ports[i].is & ahci->ports[i].ie)
				ahci->is |= 1u << i;
		if (ahci->is && (ahci->ghc & GHC_INTERRUPTS) && pci_has_messages(&ahci->function))
			pci_notify(&ahci->function, 0);
		update_irq(ahci);
	}
}

static struct port *port_at(struct ahci *ahci, uint64_t offset)
{
	uint64_t index = (offset - HBA_PORT) / PORT_REGISTERS;

	return offset >= HBA_PORT && index < AHCI_PORTS ? &ahci->ports[index] : NULL;
}

static uint32_t get(struct ahci *ahci, uint64_t offset)
{
	struct port *port = port_at(ahci, offset);

	return port ? port_get(port, (offset - HBA_PORT) % PORT_REGISTERS) : hba_get(ahci, offset);
}

static uint64_t register_read(void *device, uint64_t offset, unsigned size)
{
	struct ahci *ahci = device;
	uint64_t value;

	pthread_mutex_lock(&ahci->lock);
	value = get(ahci, offset & ~3ull);
	if (size == 8 && !(offset & 3))
		value |= (uint64_t)get(ahci, (offset & ~3ull) + 4) << 32;
	pthread_mutex_unlock(&ahci->lock);
	return value >> (8 * (offset & 3));
}

/* Whole registers, or two of them. */
static void register_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ahci *ahci = device;
	struct port *port;
	unsigned i;

	if (size < 4 || (offset & 3))
		return;
	pthread_mutex_lock(&ahci->lock);
	for (i = 0; i < size; i += 4, value >>= 32) {
		port = port_at(ahci, offset + i);
		/* During a reset there is nothing to write. */
		if (port && !(ahci->ghc & GHC_RESET))
			port_set(port, (offset + i - HBA_PORT) % PORT_REGISTERS, value);
		else if (!port)
			hba_set(ahci, offset + i, value);
	}
	pthread_mutex_unlock(&ahci->lock);
}

static const struct mmio_ops register_ops = {register_read, register_write};

/* --- life --- */

static void wait_until_idle(struct ahci *ahci)
{
	while (ahci->under_way)
		pthread_cond_wait(&ahci->idle, &ahci->lock);
}

static void ahci_reset(void *device)
{
	struct ahci *ahci = device;
	unsigned i;

	pthread_mutex_lock(&ahci->lock);
	for (i = 0; i < AHCI_PORTS; i++)
		drop_commands(&ahci->ports[i]);
	wait_until_idle(ahci);
	reset_controller(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

static void ahci_hold(void *device)
{
	struct ahci *ahci = device;

	pthread_mutex_lock(&ahci->lock);
	ahci->is_held = true;
	wait_until_idle(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

static void ahci_release(void *device)
{
	struct ahci *ahci = device;
	unsigned i;

	pthread_mutex_lock(&ahci->lock);
	ahci->is_held = false;
	for (i = 0; i < AHCI_PORTS; i++)
		issue(&ahci->ports[i]);
	pthread_mutex_unlock(&ahci->lock);
}

struct loaded {
	struct pci_function_state function;
	uint32_t ghc, is;
	struct {
		struct ata_drive_state drive;
		struct port copy;
	} ports[AHCI_PORTS];
};

static void transfer_port(struct port *port, struct ata_drive_state *drive, struct port *copy,
			  struct state_stream *state)
{
	uint32_t *const fields[] = {&copy->clb, &copy->clbu, &copy->fb,	  &copy->fbu, &copy->is,
				    &copy->ie,	&copy->cmd,  &copy->tfd,  &copy->sig, &copy->ssts,
				    &copy->sctl, &copy->serr, &copy->sact, &copy->ci};
	unsigned i;

	if (!state->is_loading)
		*copy = *port;
	ata_drive_transfer(&port->drive, drive, state);
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		state_u32(state, "port", fields[i]);
	state_check(state, "port", !(copy->clb & 0x3ff) && !(copy->fb & 0xff) && !(copy->cmd & ~CMD_KEPT));
	state_bool(state, "resetting", &copy->is_resetting);
	state_u8(state, "failed tag", &copy->failed_tag);
	state_u8(state, "failed status", &copy->failed_status);
	state_u8(state, "failed error", &copy->failed_error);
}

static void restore_port(struct port *port, const struct ata_drive_state *drive, const struct port *copy)
{
	ata_drive_restore(&port->drive, drive);
	port->clb = copy->clb;
	port->clbu = copy->clbu;
	port->fb = copy->fb;
	port->fbu = copy->fbu;
	port->is = copy->is;
	port->ie = copy->ie;
	port->cmd = copy->cmd;
	port->tfd = copy->tfd;
	port->sig = copy->sig;
	port->ssts = copy->ssts;
	port->sctl = copy->sctl;
	port->serr = copy->serr;
	port->sact = copy->sact;
	port->ci = copy->ci;
	port->is_resetting = copy->is_resetting;
	port->failed_tag = copy->failed_tag;
	port->failed_status = copy->failed_status;
	port->failed_error = copy->failed_error;
}

static void transfer_all(struct ahci *ahci, struct loaded *loaded, struct state_stream *state)
{
	unsigned i;

	pci_function_transfer(&ahci->function, &loaded->function, state);
	pthread_mutex_lock(&ahci->lock);
	if (!state->is_loading) {
		loaded->ghc = ahci->ghc;
		loaded->is = ahci->is;
	}
	state_u32(state, "ghc", &loaded->ghc);
	state_check(state, "ghc", (loaded->ghc & ~GHC_INTERRUPTS) == GHC_ENABLED);
	state_u32(state, "is", &loaded->is);
	state_check(state, "is", !(loaded->is >> AHCI_PORTS));
	for (i = 0; i < AHCI_PORTS; i++)
		transfer_port(&ahci->ports[i], &loaded->ports[i].drive, &loaded->ports[i].copy, state);
	pthread_mutex_unlock(&ahci->lock);
}

static void save_or_load(void *device, struct state_stream *state)
{
	struct ahci *ahci = device;
	struct loaded *loaded = calloc(1, sizeof(*loaded));
	unsigned i;

	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer_all(ahci, loaded, state);
	if (state->is_loading && state_complete(state)) {
		pci_function_restore(&ahci->function, &loaded->function);
		pthread_mutex_lock(&ahci->lock);
		ahci->ghc = loaded->ghc;
		ahci->is = loaded->is;
		for (i = 0; i < AHCI_PORTS; i++)
			restore_port(&ahci->ports[i], &loaded->ports[i].drive, &loaded->ports[i].copy);
		update_irq(ahci);
		pthread_mutex_unlock(&ahci->lock);
	}
	pci_function_state_free(&loaded->function);
	free(loaded);
}

static void ahci_destroy(void *device)
{
	struct ahci *ahci = device;
	unsigned i;

	ahci_hold(ahci);
	for (i = 0; i < AHCI_PORTS; i++)
		drive_close(&ahci->ports[i].drive.drive);
	pci_function_destroy(&ahci->function);
	pthread_cond_destroy(&ahci->idle);
	pthread_mutex_destroy(&ahci->lock);
	free(ahci);
}

const struct device_ops ahci_device_ops = {
	.version = 1,
	.reset = ahci_reset,
	.save = save_or_load,
	.load = save_or_load,
	.hold = ahci_hold,
	.release = ahci_release,
	.destroy = ahci_destroy,
};

static void describe(struct ahci *ahci)
{
	struct pci_function *function = &ahci->function;

	pci_function_init(function, VENDOR_INTEL, DEVICE_ICH9, CLASS_AHCI, 2);
	pci_function_set_subsystem(function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	pci_function_set_pin(function, 1);
	function->config[MAP_REGISTER] = MAP_AHCI;
	function->bars[REGISTER_BAR] = (struct pci_bar){.kind = PCI_BAR_MEMORY32,
							.size_bytes = REGISTER_BYTES,
							.name = "AHCI",
							.mmio = &register_ops,
							.device = ahci};
	pci_add_msi(function, 1);
}

struct ahci *ahci_create(struct pci_bus *bus, unsigned slot_function,
			 const struct drive_config drives[AHCI_PORTS], struct error *error)
{
	struct ahci *ahci = calloc(1, sizeof(*ahci));
	unsigned taken = 0;
	int result = ahci ? 0 : error_set_errno(error, ENOMEM, "cannot create an AHCI controller");

	if (result == 0) {
		pthread_mutex_init(&ahci->lock, NULL);
		pthread_cond_init(&ahci->idle, NULL);
		ahci->is_held = true;
		describe(ahci);
	}
	for (; taken < AHCI_PORTS && result == 0; taken++) {
		ahci->ports[taken].ahci = ahci;
		ahci->ports[taken].index = taken;
		result = ata_drive_init(&ahci->ports[taken].drive, &drives[taken], true, error);
	}
	if (result == 0) {
		pci_bus_add(bus, slot_function, &ahci->function);
		reset_controller(ahci);
		return ahci;
	}
	for (; taken < AHCI_PORTS; taken++)
		block_close(drives[taken].block, NULL);
	if (ahci)
		ahci_destroy(ahci);
	return NULL;
}
