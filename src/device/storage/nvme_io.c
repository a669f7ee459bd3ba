/* The NVM command set (NVMe 1.4 §6): reading, writing, zeroes, flush, deallocation. */
#include "device/storage/nvme_parts.h"

#include <string.h>

static uint64_t sectors_of(const struct nvme *nvme)
{
	return block_size(nvme->block) / NVME_SECTOR;
}

static bool next_range(struct nvme_command *command);

static uint16_t status_of(const struct nvme_command *command, int result)
{
	if (result == 0)
		return NVME_OK;
	return command->transfer.operation == BLOCK_READ ? NVME_READ_ERROR : NVME_WRITE_FAULT;
}

static void transfer_complete(struct storage_transfer *transfer, int result)
{
	struct nvme_command *command = transfer->context;
	struct nvme *nvme = command->nvme;

	if (transfer->operation == BLOCK_READ)
		gather_written(&command->gather, pci_memory(&nvme->function), transfer->size);
	pthread_mutex_lock(&nvme->lock);
	/* Deallocation is a hint: what of it fails does not matter. */
	if (command->sqe.opcode != IO_MANAGEMENT)
		nvme_finish(command, status_of(command, result));
	else if (!next_range(command))
		nvme_finish(command, NVME_OK);
	pthread_mutex_unlock(&nvme->lock);
}

static void start(struct nvme_command *command, enum block_operation operation, unsigned flags,
		  uint64_t lba, uint64_t sectors)
{
	command->transfer = (struct storage_transfer){.operation = operation,
					      .flags = flags,
					      .offset = lba * NVME_SECTOR,
					      .size = sectors * NVME_SECTOR,
					      .gather = command->gather,
					      .complete = transfer_complete,
					      .context = command,
					      .held = &command->nvme->held};
	transfer_start(&command->transfer, command->nvme->block);
}

/* The range of DW10 to DW12; a status. */
static uint16_t read_range(const struct nvme_command *command, uint64_t *lba, uint64_t *sectors)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t size = sectors_of(command->nvme);

	*lba = sqe->dw10 | (uint64_t)sqe->dw11 << 32;
	*sectors = (sqe->dw12 & 0xffff) + 1;
	return *lba > size || *sectors > size - *lba ? NVME_OUT_OF_RANGE : NVME_OK;
}

static unsigned durability(const struct nvme_command *command)
{
	bool has_cache = command->nvme->features[FEATURE_WRITE_CACHE] & 1;

	return !has_cache || (command->sqe.dw12 & RW_FUA) ? BLOCK_FUA : 0;
}

static bool is_readonly(const struct nvme_command *command)
{
	return block_info(command->nvme->block)->is_readonly;
}

static uint16_t begin_transfer(struct nvme_command *command, bool is_write)
{
	uint64_t lba, sectors;
	uint16_t status = read_range(command, &lba, &sectors);

	if (status)
		return status;
	if (is_write && is_readonly(command))
		return NVME_READ_ONLY;
	if (sectors * NVME_SECTOR > NVME_DATA_MAX)
		return NVME_BAD_FIELD;
	status = nvme_read_prps(command, sectors * NVME_SECTOR);
	if (status)
		return status;
	start(command, is_write ? BLOCK_WRITE : BLOCK_READ, is_write ? durability(command) : 0, lba,
	      sectors);
	return NVME_OK;
}

static uint16_t begin_zeroes(struct nvme_command *command)
{
	uint64_t lba, sectors;
	uint16_t status = read_range(command, &lba, &sectors);

	if (status)
		return status;
	if (is_readonly(command))
		return NVME_READ_ONLY;
	start(command, BLOCK_WRITE_ZEROES,
	      durability(command) | (command->sqe.dw12 & ZEROES_DEALLOCATE ? BLOCK_UNMAP : 0), lba, sectors);
	return NVME_OK;
}

/* The next range that is one: 4 bytes of attributes, 4 of count, 8 of its first sector. */
static bool next_range(struct nvme_command *command)
{
	uint64_t lba, size = sectors_of(command->nvme);
	uint32_t count;

	while (command->range < command->ranges) {
		const uint8_t *range = command->data + 16 * command->range++;

		memcpy(&count, range + 4, sizeof(count));
		memcpy(&lba, range + 8, sizeof(lba));
		if (!count || lba > size || count > size - lba)
			continue;
		start(command, BLOCK_DISCARD, 0, lba, count);
		return true;
	}
	return false;
}

static uint16_t begin_management(struct nvme_command *command)
{
	uint32_t size = ((command->sqe.dw10 & 0xff) + 1) * 16;
	uint16_t status = nvme_read_prps(command, size);

	if (status)
		return status;
	if (is_readonly(command))
		return NVME_READ_ONLY;
	if (command->sqe.dw11 & MANAGEMENT_DEALLOCATE)
		command->ranges = gather_read(&command->gather, 0, command->data, size) / 16;
	gather_free(&command->gather);
	if (!next_range(command))
		nvme_finish(command, NVME_OK);
	return NVME_OK;
}

void nvme_io_begin(struct nvme_command *command)
{
	uint16_t status = NVME_OK;
	uint32_t namespace = command->sqe.namespace;

	if (namespace != 1 && !(namespace == UINT32_MAX && command->sqe.opcode == IO_FLUSH)) {
		nvme_finish(command, NVME_BAD_NAMESPACE);
		return;
	}
	switch (command->sqe.opcode) {
	case IO_FLUSH: start(command, BLOCK_FLUSH, 0, 0, 0); break;
	case IO_READ: status = begin_transfer(command, false); break;
	case IO_WRITE: status = begin_transfer(command, true); break;
	case IO_WRITE_ZEROES: status = begin_zeroes(command); break;
	case IO_MANAGEMENT: status = begin_management(command); break;
	default: status = NVME_BAD_OPCODE; break;
	}
	if (status)
		nvme_finish(command, status);
}
