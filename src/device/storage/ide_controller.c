/*
 * What a register access does to a channel, and the controller's life. How commands go is in ide_command.c.
 *
 * Not modelled: the timing registers' effect, SMM traps, moving the ports by PCI's native mode, overlap.
 */
#include "device/storage/ide_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_INTEL   0x8086
#define DEVICE_82371SB 0x7010
#define CLASS_IDE      0x010180 /* a bus master; ports as they always were */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100

#define CONFIG_TIMING	     0x40 /* two registers of 16 bits, then the slaves' */
#define CONFIG_TIMING_BYTES  5
#define TIMING_DECODE	     0x8000

/* The task file's ports. */
enum { PORT_DATA, PORT_ERROR, PORT_COUNT, PORT_LOW, PORT_MID, PORT_HIGH, PORT_DEVICE, PORT_COMMAND };

/* The bus master's ports (§2.7 of the data sheet), 8 a channel. */
#define MASTER_COMMAND 0
#define MASTER_STATUS  2
#define MASTER_TABLE   4
#define MASTER_PORTS   8

/* The version of the saved state from which on it has work of the medium's. */
#define STATE_WORK 2

/* --- registers --- */

static void write_pair(uint8_t *first, uint8_t *second, uint8_t value)
{
	*second = *first;
	*first = value;
}

/* The registers of both drives are written at once. */
static void write_task_file(struct ata_registers *registers, unsigned port, uint8_t value)
{
	switch (port) {
	case PORT_ERROR: write_pair(&registers->feature, &registers->feature_2, value); break;
	case PORT_COUNT: write_pair(&registers->count, &registers->count_2, value); break;
	case PORT_LOW: write_pair(&registers->low, &registers->low_2, value); break;
	case PORT_MID: write_pair(&registers->mid, &registers->mid_2, value); break;
	case PORT_HIGH: write_pair(&registers->high, &registers->high_2, value); break;
	case PORT_DEVICE: registers->device = value; break;
	default: break;
	}
}

static void write_command(struct ide_channel *channel, uint8_t value)
{
	struct ata_drive *drive = ide_selected(channel);

	if (!drive->drive.is_present || channel->phase == PHASE_BUSY ||
	    (channel->control & CONTROL_RESET))
		return;
	if (channel->phase != PHASE_IDLE && value != ATA_RESET_DEVICE)
		return;
	channel->phase = PHASE_IDLE;
	ide_begin_command(channel, value);
}

static void write_data(struct ide_channel *channel, unsigned size, uint32_t value)
{
	if (channel->phase != PHASE_FROM_GUEST && channel->phase != PHASE_PACKET)
		return;
	/* The last byte of an odd count comes in a word. */
	if (size > channel->end - channel->at)
		size = channel->end - channel->at;
	memcpy(channel->buffer + channel->at, &value, size);
	channel->at += size;
	if (channel->at == channel->end)
		ide_block_filled(channel);
}

static uint32_t read_data(struct ide_channel *channel, unsigned size)
{
	uint32_t value = 0;

	if (channel->phase != PHASE_TO_GUEST)
		return 0;
	if (size > channel->end - channel->at)
		size = channel->end - channel->at;
	memcpy(&value, channel->buffer + channel->at, size);
	channel->at += size;
	if (channel->at == channel->end)
		ide_block_taken(channel);
	return value;
}

static uint8_t read_status(struct ide_channel *channel)
{
	const struct ata_drive *drive = ide_selected(channel);

	if (!drive->drive.is_present)
		return 0;
	/* Busy for as long as a reset waits. */
	return channel->wants_reset || (channel->control & CONTROL_RESET) ? ATA_BUSY
									   : drive->registers.status;
}

static uint8_t read_task_file(struct ide_channel *channel, unsigned port)
{
	const struct ata_drive *drive = ide_selected(channel);
	const struct ata_registers *registers = &drive->registers;
	bool second = channel->control & CONTROL_SECOND_BYTE;

	if (!drive->drive.is_present)
		return 0;
	switch (port) {
	case PORT_ERROR: return registers->error;
	case PORT_COUNT: return second ? registers->count_2 : registers->count;
	case PORT_LOW: return second ? registers->low_2 : registers->low;
	case PORT_MID: return second ? registers->mid_2 : registers->mid;
	case PORT_HIGH: return second ? registers->high_2 : registers->high;
	case PORT_DEVICE:
		return (registers->device & ~ATA_DEVICE_1) | 0xa0 |
		       (channel->selects_1 ? ATA_DEVICE_1 : 0);
	default: return read_status(channel);
	}
}

static uint32_t port_read(void *device, uint16_t offset, unsigned size)
{
	struct ide_channel *channel = device;
	uint32_t value;

	pthread_mutex_lock(&channel->ide->lock);
	if (offset == PORT_DATA) {
		value = read_data(channel, size);
	} else {
		value = read_task_file(channel, offset);
		if (offset == PORT_COMMAND && ide_selected(channel)->drive.is_present)
			ide_lower(channel);
	}
	pthread_mutex_unlock(&channel->ide->lock);
	return value;
}

static void port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct ide_channel *channel = device;
	unsigned i;

	pthread_mutex_lock(&channel->ide->lock);
	if (offset == PORT_DATA) {
		write_data(channel, size, value);
	} else if (offset == PORT_COMMAND) {
		write_command(channel, value);
	} else if (channel->phase != PHASE_BUSY) {
		if (offset == PORT_DEVICE && channel->phase == PHASE_IDLE)
			channel->selects_1 = value & ATA_DEVICE_1;
		channel->control &= ~CONTROL_SECOND_BYTE;
		for (i = 0; i < IDE_CHANNEL_DRIVES; i++)
			write_task_file(&channel->drives[i].registers, offset, value);
	}
	pthread_mutex_unlock(&channel->ide->lock);
}

static uint32_t control_read(void *device, uint16_t offset, unsigned size)
{
	struct ide_channel *channel = device;
	uint8_t status;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&channel->ide->lock);
	status = read_status(channel);
	pthread_mutex_unlock(&channel->ide->lock);
	return status;
}

static void control_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct ide_channel *channel = device;
	bool was_resetting;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&channel->ide->lock);
	was_resetting = channel->control & CONTROL_RESET;
	channel->control = value & (CONTROL_NO_INTERRUPT | CONTROL_RESET | CONTROL_SECOND_BYTE);
	if (channel->phase == PHASE_BUSY)
		channel->wants_reset |= (value & CONTROL_RESET) != 0;
	else if (was_resetting && !(value & CONTROL_RESET))
		ide_reset_channel(channel, false);
	ide_update_irq(channel);
	pthread_mutex_unlock(&channel->ide->lock);
}

/* The data port alone is wider than a byte: of the others an access has the first. */
const struct pio_ops ide_port_ops = {port_read, port_write, 4};
const struct pio_ops ide_control_ops = {control_read, control_write, 1};

/* --- the bus master's ports --- */

static uint8_t master_get(const struct ide_channel *channel, unsigned offset)
{
	switch (offset) {
	case MASTER_COMMAND: return channel->master_command;
	case MASTER_STATUS: return channel->master_status;
	case MASTER_TABLE ... MASTER_TABLE + 3:
		return channel->master_table >> (8 * (offset - MASTER_TABLE));
	default: return 0;
	}
}

static void master_command(struct ide_channel *channel, uint8_t value)
{
	bool starts = (value & MASTER_START) && !(channel->master_command & MASTER_START);

	channel->master_command = value & (MASTER_START | MASTER_TO_MEMORY);
	if (!(value & MASTER_START)) {
		channel->master_status &= ~MASTER_ACTIVE;
	} else if (starts) {
		channel->master_status |= MASTER_ACTIVE;
		if (channel->phase == PHASE_DMA)
			ide_run_dma(channel);
	}
}

static void master_set(struct ide_channel *channel, unsigned offset, uint8_t value)
{
	unsigned shift = 8 * (offset - MASTER_TABLE);

	switch (offset) {
	case MASTER_COMMAND: master_command(channel, value); break;
	case MASTER_STATUS:
		channel->master_status &= ~(value & (MASTER_INTERRUPT | MASTER_ERROR));
		channel->master_status = (channel->master_status & ~MASTER_CAN_DMA) |
					 (value & MASTER_CAN_DMA);
		break;
	case MASTER_TABLE ... MASTER_TABLE + 3:
		channel->master_table &= ~(0xffu << shift);
		channel->master_table |= (uint32_t)value << shift;
		channel->master_table &= ~3u;
		break;
	default: break;
	}
}

static uint32_t master_read(void *device, uint16_t offset, unsigned size)
{
	struct ide *ide = device;
	uint32_t value = 0;
	unsigned i;

	pthread_mutex_lock(&ide->lock);
	for (i = 0; i < size; i++)
		value |= (uint32_t)master_get(&ide->channels[(offset + i) / MASTER_PORTS % IDE_CHANNELS],
					      (offset + i) % MASTER_PORTS)
			 << (8 * i);
	pthread_mutex_unlock(&ide->lock);
	return value;
}

static void master_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct ide *ide = device;
	unsigned i;

	pthread_mutex_lock(&ide->lock);
	for (i = 0; i < size; i++)
		master_set(&ide->channels[(offset + i) / MASTER_PORTS % IDE_CHANNELS],
			   (offset + i) % MASTER_PORTS, value >> (8 * i));
	pthread_mutex_unlock(&ide->lock);
}

static const struct pio_ops master_ops = {master_read, master_write, 4};

/* --- life --- */

static void wait_until_idle(struct ide *ide)
{
	while (ide->under_way > ide->held.count)
		pthread_cond_wait(&ide->idle, &ide->lock);
}

static void ide_reset(void *device)
{
	struct ide *ide = device;
	unsigned i;

	pthread_mutex_lock(&ide->lock);
	for (i = 0; i < IDE_CHANNELS; i++)
		ide->channels[i].wants_reset = true;
	wait_until_idle(ide);
	for (i = 0; i < IDE_CHANNELS; i++) {
		ide->channels[i].control = 0;
		ide->channels[i].master_command = ide->channels[i].master_status = 0;
		ide->channels[i].master_table = 0;
		ide_reset_channel(&ide->channels[i], true);
	}
	pthread_mutex_unlock(&ide->lock);
}

/* Commands end, and none begins: the vCPUs are parked. */
static void ide_hold(void *device)
{
	struct ide *ide = device;

	pthread_mutex_lock(&ide->lock);
	wait_until_idle(ide);
	pthread_mutex_unlock(&ide->lock);
}

/* What was loaded begins when the machine does. */
static void ide_release(void *device)
{
	struct ide *ide = device;
	struct ide_channel *channel;
	unsigned i;

	pthread_mutex_lock(&ide->lock);
	for (i = 0; i < IDE_CHANNELS; i++) {
		channel = &ide->channels[i];
		if (!channel->begins_anew)
			continue;
		channel->begins_anew = false;
		ide_begin_anew(channel);
	}
	pthread_mutex_unlock(&ide->lock);
}

struct channel_state {
	struct ata_drive_state drives[IDE_CHANNEL_DRIVES];
	struct ide_channel copy; /* but for its pointers */
	uint8_t buffer[BUFFER_BYTES];
};

static void transfer_task(struct ide_channel *copy, struct state_stream *state)
{
	struct ata_task *task = &copy->task;
	struct scsi_task *packet = &copy->packet;
	uint8_t work = task->work, packet_work = packet->work;

	state_u8(state, "work", &work);
	state_check(state, "work", work <= ATA_SEND_PACKET);
	task->work = work;
	state_bool(state, "is dma", &task->is_dma);
	state_bool(state, "is durable", &task->is_durable);
	state_u32(state, "block bytes", &task->block_bytes);
	state_check(state, "block bytes", task->block_bytes <= BUFFER_BYTES);
	state_bytes(state, "packet", packet->cdb, sizeof(packet->cdb));
	state_u8(state, "packet work", &packet_work);
	state_check(state, "packet work", packet_work <= SCSI_READ);
	packet->work = packet_work;
	state_u8(state, "packet status", &packet->status);
	state_u8(state, "packet sense", &packet->sense.key);
	state_u64(state, "packet size", &packet->size);
	state_check(state, "packet size", packet->work == SCSI_READ || packet->size <= SCSI_DATA_MAX);
	state_bytes(state, "packet data", packet->data, sizeof(packet->data));
}

static bool waits_for_dma(const struct ide_channel *channel)
{
	const struct ata_task *task = &channel->task;

	return channel->is_packet ? channel->packet.work == SCSI_READ || channel->packet.work == SCSI_DATA_IN
				  : task->work == ATA_READ || task->work == ATA_WRITE ||
					    (task->work == ATA_TRIM && channel->left <= BUFFER_BYTES);
}

/* Whether the medium can have had some of the command to do. */
static bool has_work(const struct ide_channel *channel)
{
	const struct ata_task *task = &channel->task;

	if (task->is_dma)
		return channel->left && waits_for_dma(channel) && (!channel->is_packet || channel->packet.work == SCSI_READ);
	if (channel->is_packet ? channel->packet.work == SCSI_READ : task->work == ATA_READ)
		return channel->left && task->block_bytes >= 2;
	if (channel->is_packet)
		return false;
	return task->work == ATA_FLUSH || (task->work == ATA_WRITE && task->block_bytes >= 2 && channel->filled &&
					   channel->filled <= channel->left);
}

/* What a phase may be in: a state that no guest could have brought about is refused. */
static bool is_possible(const struct ide_channel *channel)
{
	const struct ata_task *task = &channel->task;

	switch (channel->phase) {
	case PHASE_IDLE: return true;
	case PHASE_BUSY: return has_work(channel);
	case PHASE_TO_GUEST: return channel->at < channel->end && task->block_bytes >= 2;
	case PHASE_FROM_GUEST:
		return channel->at < channel->end && channel->end == channel->filled &&
		       task->block_bytes >= 2 &&
		       channel->filled <= (channel->is_packet ? SCSI_DATA_MAX : channel->left);
	case PHASE_PACKET: return channel->is_packet && channel->end == PACKET_BYTES && channel->at < PACKET_BYTES;
	case PHASE_DMA: return waits_for_dma(channel);
	default: return false;
	}
}

static void transfer_channel(struct ide_channel *channel, struct channel_state *loaded,
			     struct state_stream *state)
{
	struct ide_channel *copy = &loaded->copy;
	uint8_t phase = channel->phase;
	unsigned i;

	if (!state->is_loading) {
		*copy = *channel;
		memcpy(loaded->buffer, channel->buffer, BUFFER_BYTES);
	}
	for (i = 0; i < IDE_CHANNEL_DRIVES; i++)
		ata_drive_transfer(&channel->drives[i], &loaded->drives[i], state);
	state_u8(state, "control", &copy->control);
	state_bool(state, "selects 1", &copy->selects_1);
	state_bool(state, "interrupt", &copy->wants_interrupt);
	state_u8(state, "phase", &phase);
	copy->phase = phase;
	if (state->version >= STATE_WORK)
		state_bool(state, "wants reset", &copy->wants_reset);
	state_check(state, "phase", phase != PHASE_BUSY || state->version >= STATE_WORK);
	state_bool(state, "is packet", &copy->is_packet);
	transfer_task(copy, state);
	state_u64(state, "left", &copy->left);
	state_u64(state, "medium at", &copy->medium_at);
	state_u32(state, "at", &copy->at);
	state_u32(state, "end", &copy->end);
	state_u32(state, "filled", &copy->filled);
	state_check(state, "at", copy->at <= copy->end && copy->end <= copy->filled &&
					 copy->filled <= BUFFER_BYTES);
	state_check(state, "phase", is_possible(copy));
	/* A drive that is not there has no command, one of the other kind none of this kind. */
	state_check(state, "phase",
		    copy->phase == PHASE_IDLE ||
			    (channel->drives[copy->selects_1].drive.is_present &&
			     (channel->drives[copy->selects_1].drive.block || copy->is_packet) &&
			     (!copy->is_packet || channel->drives[copy->selects_1].drive.is_cdrom)));
	state_bytes(state, "buffer", loaded->buffer, copy->filled <= BUFFER_BYTES ? copy->filled : 0);
	state_u8(state, "master command", &copy->master_command);
	state_u8(state, "master status", &copy->master_status);
	state_u32(state, "master table", &copy->master_table);
}

static void restore_channel(struct ide_channel *channel, const struct channel_state *loaded)
{
	const struct ide_channel *copy = &loaded->copy;
	unsigned i;

	for (i = 0; i < IDE_CHANNEL_DRIVES; i++)
		ata_drive_restore(&channel->drives[i], &loaded->drives[i]);
	channel->control = copy->control;
	channel->selects_1 = copy->selects_1;
	channel->wants_interrupt = copy->wants_interrupt;
	channel->phase = copy->phase;
	channel->is_packet = copy->is_packet;
	channel->wants_reset = copy->wants_reset;
	channel->begins_anew = copy->phase == PHASE_BUSY;
	channel->task = copy->task;
	channel->packet = copy->packet;
	channel->left = copy->left;
	channel->medium_at = copy->medium_at;
	channel->at = copy->at;
	channel->end = copy->end;
	channel->filled = copy->filled;
	memcpy(channel->buffer, loaded->buffer, BUFFER_BYTES);
	channel->master_command = copy->master_command;
	channel->master_status = copy->master_status;
	channel->master_table = copy->master_table;
	ide_update_irq(channel);
}

static void transfer_all(struct ide *ide, struct pci_function_state *saved,
			 struct channel_state *loaded, struct state_stream *state)
{
	unsigned i;

	pci_function_transfer(&ide->function, saved, state);
	pthread_mutex_lock(&ide->lock);
	for (i = 0; i < IDE_CHANNELS; i++)
		transfer_channel(&ide->channels[i], &loaded[i], state);
	pthread_mutex_unlock(&ide->lock);
}

static void save_or_load(struct ide *ide, struct state_stream *state)
{
	struct channel_state *loaded = calloc(IDE_CHANNELS, sizeof(*loaded));
	struct pci_function_state saved;
	unsigned i;

	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer_all(ide, &saved, loaded, state);
	if (state->is_loading && state_complete(state)) {
		pci_function_restore(&ide->function, &saved);
		pthread_mutex_lock(&ide->lock);
		for (i = 0; i < IDE_CHANNELS; i++)
			restore_channel(&ide->channels[i], &loaded[i]);
		pthread_mutex_unlock(&ide->lock);
	}
	pci_function_state_free(&saved);
	free(loaded);
}

static void ide_save(void *device, struct state_stream *state)
{
	save_or_load(device, state);
}

static void ide_destroy(void *device)
{
	struct ide *ide = device;
	unsigned i, j;

	ide_hold(ide);
	for (i = 0; i < IDE_CHANNELS; i++) {
		for (j = 0; j < IDE_CHANNEL_DRIVES; j++)
			drive_close(&ide->channels[i].drives[j].drive);
		free(ide->channels[i].buffer);
	}
	pci_function_destroy(&ide->function);
	pthread_cond_destroy(&ide->idle);
	pthread_mutex_destroy(&ide->lock);
	free(ide);
}

const struct device_ops ide_device_ops = {
	.version = STATE_WORK,
	.reset = ide_reset,
	.save = ide_save,
	.load = ide_save,
	.hold = ide_hold,
	.release = ide_release,
	.destroy = ide_destroy,
};

static void describe(struct ide *ide)
{
	const uint16_t decode = TIMING_DECODE;
	struct pci_function *function = &ide->function;

	pci_function_init(function, VENDOR_INTEL, DEVICE_82371SB, CLASS_IDE, 0);
	pci_function_set_subsystem(function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	function->config[PCI_STATUS + 1] = PCI_STATUS_DEVSEL_MEDIUM >> 8;
	memcpy(function->config + CONFIG_TIMING, &decode, sizeof(decode));
	memcpy(function->config + CONFIG_TIMING + 2, &decode, sizeof(decode));
	memset(function->writable + CONFIG_TIMING, 0xff, CONFIG_TIMING_BYTES);
	function->bars[4] = (struct pci_bar){.kind = PCI_BAR_IO,
					     .size_bytes = IDE_CHANNELS * MASTER_PORTS,
					     .name = "IDE bus master",
					     .pio = &master_ops,
					     .device = ide};
}

struct ide *ide_create(struct pci_bus *bus, unsigned slot_function, const struct irq_line *irq,
		       const struct drive_config drives[IDE_DRIVES], struct error *error)
{
	struct ide *ide = calloc(1, sizeof(*ide));
	struct ide_channel *channel;
	unsigned i, taken = 0;
	int result = ide ? 0 : error_set_errno(error, ENOMEM, "cannot create an IDE controller");

	if (result == 0) {
		pthread_mutex_init(&ide->lock, NULL);
		pthread_cond_init(&ide->idle, NULL);
		ide->held = (struct block_held){.lock = &ide->lock, .changed = &ide->idle};
		describe(ide);
	}
	for (i = 0; i < IDE_CHANNELS && result == 0; i++) {
		channel = &ide->channels[i];
		channel->ide = ide;
		channel->irq = *irq;
		channel->irq.gsi = IDE_IRQ(i);
		channel->buffer = calloc(1, BUFFER_BYTES);
		if (!channel->buffer)
			result = error_set_errno(error, ENOMEM, "cannot create an IDE controller");
	}
	for (; taken < IDE_DRIVES && result == 0; taken++)
		result = ata_drive_init(&ide->channels[taken / 2].drives[taken % 2], &drives[taken], false,
					error);
	if (result == 0) {
		pci_bus_add(bus, slot_function, &ide->function);
		return ide;
	}
	for (; taken < IDE_DRIVES; taken++)
		block_close(drives[taken].block, NULL);
	if (ide)
		ide_destroy(ide);
	return NULL;
}

struct ide_channel *ide_channel(struct ide *ide, unsigned channel)
{
	return &ide->channels[channel];
}

struct tray ide_tray(struct ide *ide, unsigned place)
{
	struct ata_drive *drive = &ide->channels[place / IDE_CHANNEL_DRIVES].drives[place % IDE_CHANNEL_DRIVES];

	return (struct tray){&drive->unit, &ide->lock};
}
