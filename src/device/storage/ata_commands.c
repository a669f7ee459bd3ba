#include "device/storage/ata.h"

#include <string.h>

#include "device/storage/ata_identify.h"

/* Commands (ATA8-ACS §7). */
#define NOP		    0x00
#define DATA_SET_MANAGEMENT 0x06
#define READ_SECTORS	    0x20
#define READ_SECTORS_OLD    0x21
#define READ_SECTORS_EXT    0x24
#define READ_DMA_EXT	    0x25
#define READ_NATIVE_MAX_EXT 0x27
#define READ_MULTIPLE_EXT   0x29
#define READ_LOG_EXT	    0x2f
#define WRITE_SECTORS	    0x30
#define WRITE_SECTORS_OLD   0x31
#define WRITE_SECTORS_EXT   0x34
#define WRITE_DMA_EXT	    0x35
#define WRITE_MULTIPLE_EXT  0x39
#define WRITE_DMA_FUA_EXT   0x3d
#define VERIFY_SECTORS	    0x40
#define VERIFY_SECTORS_OLD  0x41
#define VERIFY_SECTORS_EXT  0x42
#define READ_QUEUED	    0x60
#define WRITE_QUEUED	    0x61
#define SEEK		    0x70
#define DIAGNOSTIC	    0x90
#define SET_PARAMETERS	    0x91
#define IDENTIFY_PACKET	    0xa1
#define READ_MULTIPLE	    0xc4
#define WRITE_MULTIPLE	    0xc5
#define SET_MULTIPLE	    0xc6
#define READ_DMA	    0xc8
#define READ_DMA_OLD	    0xc9
#define WRITE_DMA	    0xca
#define WRITE_DMA_OLD	    0xcb
#define WRITE_MULTIPLE_FUA_EXT 0xce
#define STANDBY_NOW	    0xe0
#define IDLE_NOW	    0xe1
#define STANDBY		    0xe2
#define IDLE		    0xe3
#define CHECK_POWER	    0xe5
#define SLEEP		    0xe6
#define FLUSH		    0xe7
#define FLUSH_EXT	    0xea
#define IDENTIFY	    0xec
#define SET_FEATURES	    0xef
#define READ_NATIVE_MAX	    0xf8

#define SUBCOMMAND_WRITE_CACHE	  0x02
#define SUBCOMMAND_TRANSFER_MODE  0x03
#define SUBCOMMAND_NO_WRITE_CACHE 0x82

#define FUA 0x80 /* in the device register of queued writes */

int ata_drive_init(struct ata_drive *drive, const struct drive_config *config, bool is_ahci,
		   struct error *error)
{
	int result;

	memset(drive, 0, sizeof(*drive));
	drive->is_ahci = is_ahci;
	drive->unit = (struct scsi_unit){.drive = &drive->drive, .is_atapi = true};
	result = drive_init(&drive->drive, config, error);
	if (result == 0)
		ata_drive_reset(drive, true);
	return result;
}

static void sign(struct ata_drive *drive)
{
	struct ata_registers *registers = &drive->registers;

	registers->count = registers->low = 1;
	registers->mid = drive->drive.is_cdrom ? 0x14 : 0x00;
	registers->high = drive->drive.is_cdrom ? 0xeb : 0x00;
	registers->count_2 = registers->low_2 = registers->mid_2 = registers->high_2 = 0;
	registers->device = 0;
}

void ata_drive_reset(struct ata_drive *drive, bool is_hard)
{
	const struct block_geometry *geometry;

	if (is_hard) {
		drive_reset(&drive->drive);
		scsi_unit_reset(&drive->unit, false);
		drive->multiple = drive->drive.is_cdrom ? 0 : ATA_MULTIPLE_MAX;
		drive->dma_mode = 0;
		drive->has_write_cache = !drive->drive.block ||
					 block_info(drive->drive.block)->has_write_cache;
		drive->heads = 16;
		drive->sectors = 63;
		if (drive->drive.block && !drive->drive.is_cdrom) {
			geometry = &block_info(drive->drive.block)->geometry;
			drive->heads = geometry->heads;
			drive->sectors = geometry->sectors;
		}
	}
	sign(drive);
	drive->registers.error = 0x01; /* its diagnostic passed */
	/* A packet device is not ready before its first command (ATA8-ACS §7.1). */
	drive->registers.status = !drive->drive.is_present ? 0
				  : drive->drive.is_cdrom  ? 0
							   : ATA_READY | ATA_SEEK;
}

void ata_succeed(struct ata_drive *drive)
{
	drive->registers.error = 0;
	drive->registers.status = ATA_READY | ATA_SEEK;
}

void ata_abort(struct ata_drive *drive, uint8_t error)
{
	drive->registers.error = error;
	drive->registers.status = ATA_READY | ATA_SEEK | ATA_ERR;
}

void ata_worked(struct ata_drive *drive, const struct ata_task *task, int result)
{
	if (result < 0)
		ata_abort(drive, task->work == ATA_READ ? ATA_UNCORRECTABLE : ATA_ABORTED);
	else
		ata_succeed(drive);
}

void ata_packet_done(struct ata_drive *drive, const struct scsi_task *packet)
{
	drive->registers.count = ATA_REASON_COMMAND | ATA_REASON_TO_HOST;
	if (packet->status == SCSI_GOOD)
		ata_succeed(drive);
	else
		ata_abort(drive, packet->sense.key << 4 | ATA_ABORTED);
}

static uint64_t lba_of(const struct ata_drive *drive, bool is_ext, bool *is_valid)
{
	const struct ata_registers *registers = &drive->registers;
	uint64_t low = registers->low | registers->mid << 8 | (uint32_t)registers->high << 16;
	uint32_t cylinder, head, sector;

	*is_valid = true;
	if (is_ext)
		return low | (uint64_t)registers->low_2 << 24 | (uint64_t)registers->mid_2 << 32 |
		       (uint64_t)registers->high_2 << 40;
	if (registers->device & ATA_DEVICE_LBA)
		return low | (uint64_t)(registers->device & 0xf) << 24;
	cylinder = registers->mid | registers->high << 8;
	head = registers->device & 0xf;
	sector = registers->low;
	*is_valid = sector && sector <= drive->sectors && head < drive->heads;
	return *is_valid ? ((uint64_t)cylinder * drive->heads + head) * drive->sectors + sector - 1 : 0;
}

static uint32_t count_of(const struct ata_drive *drive, bool is_ext)
{
	const struct ata_registers *registers = &drive->registers;
	uint32_t count = is_ext ? registers->count | registers->count_2 << 8 : registers->count;

	return count ? count : is_ext ? 65536 : 256;
}

/* Sectors of the medium; checked. */
static void access_sectors(struct ata_drive *drive, struct ata_task *task, enum ata_work work,
			   uint64_t lba, uint32_t count)
{
	uint64_t sectors = ata_sectors(drive);

	if (work == ATA_WRITE && drive_is_readonly(&drive->drive)) {
		ata_abort(drive, ATA_ABORTED);
	} else if (lba >= sectors || count > sectors - lba) {
		ata_abort(drive, ATA_NOT_FOUND);
	} else {
		task->work = work;
		task->offset = lba * ATA_SECTOR;
		task->size = (uint64_t)count * ATA_SECTOR;
		task->is_durable |= work == ATA_WRITE && !drive->has_write_cache;
	}
}

static void transfer_sectors(struct ata_drive *drive, struct ata_task *task, enum ata_work work,
			     bool is_ext)
{
	bool is_valid;
	uint64_t lba = lba_of(drive, is_ext, &is_valid);

	if (is_valid)
		access_sectors(drive, task, work, lba, count_of(drive, is_ext));
	else
		ata_abort(drive, ATA_NOT_FOUND);
}

/* PIO with `sectors` between interrupts; 0: the number was never set. */
static void transfer_pio(struct ata_drive *drive, struct ata_task *task, enum ata_work work,
			 bool is_ext, unsigned sectors)
{
	if (!sectors) {
		ata_abort(drive, ATA_ABORTED);
		return;
	}
	task->block_bytes = sectors * ATA_SECTOR;
	transfer_sectors(drive, task, work, is_ext);
}

static void transfer_dma(struct ata_drive *drive, struct ata_task *task, enum ata_work work,
			 bool is_ext)
{
	task->is_dma = true;
	transfer_sectors(drive, task, work, is_ext);
}

/* READ and WRITE FPDMA QUEUED: the count is in the feature register, the tag in the count register. */
static void transfer_queued(struct ata_drive *drive, struct ata_task *task, enum ata_work work)
{
	struct ata_registers *registers = &drive->registers;
	uint32_t count = registers->feature | registers->feature_2 << 8;
	bool is_valid;

	if (!drive->is_ahci) {
		ata_abort(drive, ATA_ABORTED);
		return;
	}
	task->is_dma = task->is_queued = true;
	task->tag = registers->count >> 3;
	task->is_durable = work == ATA_WRITE && (registers->device & FUA);
	access_sectors(drive, task, work, lba_of(drive, true, &is_valid), count ? count : 65536);
}

static void verify(struct ata_drive *drive, struct ata_task *task, bool is_ext)
{
	transfer_sectors(drive, task, ATA_READ, is_ext);
	if (task->work == ATA_READ) {
		task->work = ATA_DONE;
		ata_succeed(drive);
	}
}

static void trim(struct ata_drive *drive, struct ata_task *task)
{
	/* TRIM alone, and no more ranges than IDENTIFY says. */
	if (drive->registers.feature != 1 || drive_is_readonly(&drive->drive) ||
	    count_of(drive, true) > 8) {
		ata_abort(drive, ATA_ABORTED);
		return;
	}
	task->is_dma = true;
	task->work = ATA_TRIM;
	task->size = count_of(drive, true) * ATA_SECTOR;
}

bool ata_trim_range(const struct ata_drive *drive, const uint8_t *bytes, uint64_t *offset,
		    uint64_t *size)
{
	uint64_t lba = 0, count, sectors = ata_sectors(drive);
	unsigned i;

	for (i = 0; i < 6; i++)
		lba |= (uint64_t)bytes[i] << (8 * i);
	count = bytes[6] | bytes[7] << 8;
	if (!count || lba > sectors || count > sectors - lba)
		return false;
	*offset = lba * ATA_SECTOR;
	*size = count * ATA_SECTOR;
	return true;
}

static void set_multiple(struct ata_drive *drive)
{
	uint8_t count = drive->registers.count;

	if (count > ATA_MULTIPLE_MAX || (count & (count - 1))) {
		ata_abort(drive, ATA_ABORTED);
		return;
	}
	drive->multiple = count;
	ata_succeed(drive);
}

static void set_parameters(struct ata_drive *drive)
{
	if (!drive->registers.count) {
		ata_abort(drive, ATA_ABORTED);
		return;
	}
	drive->sectors = drive->registers.count;
	drive->heads = (drive->registers.device & 0xf) + 1;
	ata_succeed(drive);
}

static void set_features(struct ata_drive *drive, struct ata_task *task)
{
	uint8_t mode = drive->registers.count;

	switch (drive->registers.feature) {
	case SUBCOMMAND_TRANSFER_MODE:
		if ((mode & 0xf8) == 0x20 && (mode & 7) < 3)
			drive->dma_mode = mode;
		else if ((mode & 0xf8) == 0x40 && (mode & 7) < 6)
			drive->dma_mode = mode;
		else if (mode > 0x0c) {
			ata_abort(drive, ATA_ABORTED);
			return;
		}
		ata_succeed(drive);
		break;
	case SUBCOMMAND_WRITE_CACHE:
		drive->has_write_cache = true;
		ata_succeed(drive);
		break;
	case SUBCOMMAND_NO_WRITE_CACHE:
		drive->has_write_cache = false;
		task->work = ATA_FLUSH;
		break;
	default: ata_abort(drive, ATA_ABORTED); break;
	}
}

static void read_native_max(struct ata_drive *drive, bool is_ext)
{
	struct ata_registers *registers = &drive->registers;
	uint64_t last = (is_ext ? ata_sectors(drive) : ata_sectors_28(drive)) - 1;

	registers->low = last;
	registers->mid = last >> 8;
	registers->high = last >> 16;
	if (is_ext) {
		registers->low_2 = last >> 24;
		registers->mid_2 = last >> 32;
		registers->high_2 = last >> 40;
	} else {
		registers->device = (registers->device & 0xf0) | (last >> 24 & 0xf);
	}
	ata_succeed(drive);
}

static void begin_disk(struct ata_drive *drive, struct ata_task *task)
{
	switch (drive->registers.command) {
	case READ_SECTORS:
	case READ_SECTORS_OLD: transfer_pio(drive, task, ATA_READ, false, 1); break;
	case READ_SECTORS_EXT: transfer_pio(drive, task, ATA_READ, true, 1); break;
	case READ_MULTIPLE: transfer_pio(drive, task, ATA_READ, false, drive->multiple); break;
	case READ_MULTIPLE_EXT: transfer_pio(drive, task, ATA_READ, true, drive->multiple); break;
	case WRITE_SECTORS:
	case WRITE_SECTORS_OLD: transfer_pio(drive, task, ATA_WRITE, false, 1); break;
	case WRITE_SECTORS_EXT: transfer_pio(drive, task, ATA_WRITE, true, 1); break;
	case WRITE_MULTIPLE: transfer_pio(drive, task, ATA_WRITE, false, drive->multiple); break;
	case WRITE_MULTIPLE_FUA_EXT: task->is_durable = true; /* fall through */
	case WRITE_MULTIPLE_EXT: transfer_pio(drive, task, ATA_WRITE, true, drive->multiple); break;
	case READ_DMA:
	case READ_DMA_OLD: transfer_dma(drive, task, ATA_READ, false); break;
	case READ_DMA_EXT: transfer_dma(drive, task, ATA_READ, true); break;
	case WRITE_DMA:
	case WRITE_DMA_OLD: transfer_dma(drive, task, ATA_WRITE, false); break;
	case WRITE_DMA_FUA_EXT: task->is_durable = true; /* fall through */
	case WRITE_DMA_EXT: transfer_dma(drive, task, ATA_WRITE, true); break;
	case READ_QUEUED: transfer_queued(drive, task, ATA_READ); break;
	case WRITE_QUEUED: transfer_queued(drive, task, ATA_WRITE); break;
	case VERIFY_SECTORS:
	case VERIFY_SECTORS_OLD: verify(drive, task, false); break;
	case VERIFY_SECTORS_EXT: verify(drive, task, true); break;
	case DATA_SET_MANAGEMENT: trim(drive, task); break;
	case READ_LOG_EXT:
		if (drive->is_ahci)
			task->work = ATA_READ_LOG;
		else
			ata_abort(drive, ATA_ABORTED);
		break;
	case SET_MULTIPLE: set_multiple(drive); break;
	case SET_PARAMETERS: set_parameters(drive); break;
	case READ_NATIVE_MAX: read_native_max(drive, false); break;
	case READ_NATIVE_MAX_EXT: read_native_max(drive, true); break;
	case FLUSH:
	case FLUSH_EXT: task->work = ATA_FLUSH; break;
	case IDENTIFY:
		task->work = ATA_DATA_IN;
		task->size = ATA_SECTOR;
		ata_identify(drive, task->data);
		break;
	default:
		/* RECALIBRATE and SEEK have sixteen codes each. */
		if ((drive->registers.command & 0xf0) == 0x10 ||
		    (drive->registers.command & 0xf0) == SEEK)
			ata_succeed(drive);
		else
			ata_abort(drive, ATA_ABORTED);
		break;
	}
}

static void begin_cdrom(struct ata_drive *drive, struct ata_task *task)
{
	switch (drive->registers.command) {
	case ATA_PACKET:
		/* Overlapped commands are not there. */
		if (drive->registers.feature & 2) {
			ata_abort(drive, ATA_ABORTED);
			break;
		}
		task->work = ATA_SEND_PACKET;
		task->is_dma = drive->registers.feature & 1;
		break;
	case IDENTIFY_PACKET:
		task->work = ATA_DATA_IN;
		task->size = ATA_SECTOR;
		ata_identify(drive, task->data);
		break;
	case ATA_RESET_DEVICE:
		ata_drive_reset(drive, false);
		break;
	case IDENTIFY:
	case READ_SECTORS:
		/* By this drivers tell it from a disk (ATA8-ACS §7.16.3). */
		sign(drive);
		ata_abort(drive, ATA_ABORTED);
		break;
	default: ata_abort(drive, ATA_ABORTED); break;
	}
}

static bool begin_common(struct ata_drive *drive, struct ata_task *task)
{
	switch (drive->registers.command) {
	case DIAGNOSTIC:
		ata_drive_reset(drive, false);
		return true;
	case SET_FEATURES: set_features(drive, task); return true;
	case CHECK_POWER:
		drive->registers.count = 0xff; /* active */
		ata_succeed(drive);
		return true;
	case STANDBY_NOW:
	case IDLE_NOW:
	case STANDBY:
	case IDLE:
	case SLEEP: ata_succeed(drive); return true;
	case NOP: ata_abort(drive, ATA_ABORTED); return true;
	default: return false;
	}
}

void ata_begin(struct ata_drive *drive, struct ata_task *task)
{
	task->work = ATA_DONE;
	task->is_dma = task->is_queued = task->is_durable = false;
	task->block_bytes = ATA_SECTOR;
	task->offset = task->size = 0;
	task->tag = 0;
	drive->registers.error = 0;
	if (begin_common(drive, task))
		return;
	if (drive->drive.is_cdrom)
		begin_cdrom(drive, task);
	else
		begin_disk(drive, task);
}

void ata_drive_transfer(struct ata_drive *drive, struct ata_drive_state *loaded,
			struct state_stream *state)
{
	struct ata_drive *copy = &loaded->copy;

	if (!state->is_loading)
		*copy = *drive;
	drive_transfer(&drive->drive, &loaded->drive, state);
	scsi_unit_transfer(&copy->unit, state);
	state_bytes(state, "registers", &copy->registers, sizeof(copy->registers));
	state_u8(state, "multiple", &copy->multiple);
	state_check(state, "multiple", copy->multiple <= ATA_MULTIPLE_MAX &&
					       !(copy->multiple & (copy->multiple - 1)));
	state_u8(state, "heads", &copy->heads);
	state_u8(state, "sectors", &copy->sectors);
	state_check(state, "heads", copy->heads && copy->heads <= 16 && copy->sectors);
	state_u8(state, "dma mode", &copy->dma_mode);
	state_bool(state, "write cache", &copy->has_write_cache);
}

void ata_drive_restore(struct ata_drive *drive, const struct ata_drive_state *loaded)
{
	const struct ata_drive *copy = &loaded->copy;

	drive_restore(&drive->drive, &loaded->drive);
	scsi_unit_restore(&drive->unit, &copy->unit);
	drive->registers = copy->registers;
	drive->multiple = copy->multiple;
	drive->heads = copy->heads;
	drive->sectors = copy->sectors;
	drive->dma_mode = copy->dma_mode;
	drive->has_write_cache = copy->has_write_cache;
}
