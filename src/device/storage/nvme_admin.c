/* Admin commands (NVMe 1.4 §5): queues, IDENTIFY, features, logs. */
#include <stdio.h>
#include <string.h>

#include "device/storage/drive.h"
#include "device/storage/nvme_parts.h"

#define IDENTIFY_NAMESPACE   0x00
#define IDENTIFY_CONTROLLER  0x01
#define IDENTIFY_LIST	     0x02
#define IDENTIFY_DESCRIPTORS 0x03
#define IDENTIFY_BY_SET	     0x05
#define IDENTIFY_CONTROLLER_BY_SET 0x06

#define LOG_ERRORS   0x01
#define LOG_HEALTH   0x02
#define LOG_FIRMWARE 0x03

#define FEATURE_ARBITRATION 0x01
#define FEATURE_POWER	    0x02
#define FEATURE_TEMPERATURE 0x04
#define FEATURE_RECOVERY    0x05
#define FEATURE_COALESCING  0x08
#define FEATURE_VECTOR	    0x09
#define FEATURE_ATOMICITY   0x0a
#define FEATURE_EVENTS	    0x0b

#define KELVIN(celsius) (273 + (celsius))

static void put(uint8_t *data, unsigned offset, uint64_t value, unsigned size)
{
	memcpy(data + offset, &value, size);
}

/* --- IDENTIFY --- */

static void identify_controller(const struct nvme *nvme, uint8_t *data)
{
	put(data, 0, 0x1b36, 2);
	put(data, 2, 0x1af4, 2);
	drive_put_text(data + 4, 20, nvme->serial);
	drive_put_text(data + 24, 40, "QEMU NVMe Ctrl");
	drive_put_text(data + 64, 8, DRIVE_REVISION);
	data[72] = 6; /* arbitration burst */
	data[77] = NVME_MDTS;
	put(data, 80, NVME_VERSION, 4);
	data[111] = 1; /* an I/O controller */
	data[258] = 3; /* aborts at once, less one */
	data[259] = NVME_EVENTS_MAX - 1;
	data[260] = 0x03; /* one firmware slot, read-only */
	put(data, 266, KELVIN(70), 2);
	put(data, 268, KELVIN(100), 2);
	data[512] = 0x66; /* sizes of entries */
	data[513] = 0x44;
	put(data, 516, 1, 4); /* namespaces */
	put(data, 520, 0x000c, 2); /* DATASET MANAGEMENT, WRITE ZEROES */
	data[525] = block_info(nvme->block)->has_write_cache ? 1 : 0;
	snprintf((char *)data + 768, 256, "nqn.2019-08.org.qemu:%s", nvme->serial);
	put(data, 2048, 2500, 2); /* power state 0: 25 W */
}

static void identify_namespace(const struct nvme *nvme, uint8_t *data)
{
	uint64_t sectors = block_size(nvme->block) / NVME_SECTOR;

	put(data, 0, sectors, 8);
	put(data, 8, sectors, 8);
	put(data, 16, sectors, 8);
	data[24] = block_info(nvme->block)->can_discard ? 0x04 : 0; /* deallocated blocks are told of */
	data[99] = block_info(nvme->block)->is_readonly ? 1 : 0;
	put(data, 128 + 2, 9, 1); /* format 0: blocks of 512 bytes */
}

static uint16_t identify(struct nvme_command *command)
{
	const struct nvme *nvme = command->nvme;
	const struct nvme_sqe *sqe = &command->sqe;
	uint8_t kind = sqe->dw10, set = sqe->dw11 >> 24, *data = command->data;
	uint16_t status;

	switch (kind) {
	case IDENTIFY_NAMESPACE:
		/* All: what they have in common, which is nothing here. */
		if (sqe->namespace != 1 && sqe->namespace != UINT32_MAX)
			return NVME_BAD_NAMESPACE;
		identify_namespace(nvme, data);
		break;
	case IDENTIFY_CONTROLLER: identify_controller(nvme, data); break;
	case IDENTIFY_LIST:
		if (sqe->namespace >= UINT32_MAX - 1)
			return NVME_BAD_NAMESPACE;
		if (sqe->namespace == 0)
			put(data, 0, 1, 4);
		break;
	case IDENTIFY_DESCRIPTORS:
		if (sqe->namespace != 1)
			return NVME_BAD_NAMESPACE;
		data[0] = 4; /* its command set: NVM */
		data[1] = 1;
		break;
	case IDENTIFY_BY_SET:
	case IDENTIFY_CONTROLLER_BY_SET:
		if (set)
			return NVME_BAD_FIELD;
		break; /* no limits of its own */
	default: return NVME_BAD_FIELD;
	}
	status = nvme_read_prps(command, NVME_PAGE);
	if (status == NVME_OK)
		gather_write(&command->gather, pci_memory(&nvme->function), 0, data, NVME_PAGE);
	return status;
}

/* --- logs --- */

static uint16_t get_log(struct nvme_command *command)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t size = (((uint64_t)sqe->dw11 & 0xffff) << 16 | sqe->dw10 >> 16) * 4 + 4;
	uint64_t offset = sqe->dw12 | (uint64_t)sqe->dw13 << 32;
	uint8_t *data = command->data;
	uint16_t status;

	switch (sqe->dw10 & 0xff) {
	case LOG_ERRORS: break;
	case LOG_HEALTH:
		put(data, 1, KELVIN(25), 2);
		data[3] = 100; /* spares */
		data[4] = 10;
		break;
	case LOG_FIRMWARE:
		data[0] = 1;
		drive_put_text(data + 8, 8, DRIVE_REVISION);
		break;
	default: return NVME_BAD_LOG;
	}
	if (offset || size > NVME_PAGE)
		return NVME_BAD_FIELD;
	status = nvme_read_prps(command, size);
	if (status == NVME_OK)
		gather_write(&command->gather, pci_memory(&command->nvme->function), 0, data, size);
	return status;
}

/* --- queues --- */

static uint16_t create_cq(struct nvme *nvme, const struct nvme_sqe *sqe)
{
	uint32_t index = sqe->dw10 & 0xffff, size = (sqe->dw10 >> 16) + 1, vector = sqe->dw11 >> 16;

	if (!index || index >= NVME_QUEUES || nvme->cq[index].exists)
		return NVME_BAD_QUEUE;
	if (size < 2 || size > NVME_ENTRIES_MAX)
		return NVME_BAD_QUEUE_SIZE;
	if (vector >= NVME_QUEUES)
		return NVME_BAD_VECTOR;
	if (!(sqe->dw11 & QUEUE_CONTIGUOUS))
		return NVME_BAD_FIELD;
	if (sqe->prp1 % NVME_PAGE)
		return NVME_BAD_PRP_OFFSET;
	nvme->cq[index] = (struct nvme_cq){.exists = true,
					   .interrupts = sqe->dw11 & QUEUE_INTERRUPTS,
					   .phase = true,
					   .gpa = sqe->prp1,
					   .size = size,
					   .vector = vector};
	return NVME_OK;
}

static uint16_t create_sq(struct nvme *nvme, const struct nvme_sqe *sqe)
{
	uint32_t index = sqe->dw10 & 0xffff, size = (sqe->dw10 >> 16) + 1, cq = sqe->dw11 >> 16;

	if (!index || index >= NVME_QUEUES || nvme->sq[index].exists)
		return NVME_BAD_QUEUE;
	if (!cq || cq >= NVME_QUEUES || !nvme->cq[cq].exists)
		return NVME_BAD_CQ;
	if (size < 2 || size > NVME_ENTRIES_MAX)
		return NVME_BAD_QUEUE_SIZE;
	if (!(sqe->dw11 & QUEUE_CONTIGUOUS))
		return NVME_BAD_FIELD;
	if (sqe->prp1 % NVME_PAGE)
		return NVME_BAD_PRP_OFFSET;
	nvme->sq[index] = (struct nvme_sq){.exists = true, .gpa = sqe->prp1, .size = size, .cq = cq};
	return NVME_OK;
}

static uint16_t delete_cq(struct nvme *nvme, const struct nvme_sqe *sqe)
{
	uint32_t index = sqe->dw10 & 0xffff, i;

	if (!index || index >= NVME_QUEUES || !nvme->cq[index].exists)
		return NVME_BAD_QUEUE;
	for (i = 0; i < NVME_QUEUES; i++)
		if (nvme->sq[i].exists && nvme->sq[i].cq == index)
			return NVME_CQ_IN_USE;
	nvme->cq[index] = (struct nvme_cq){.exists = false};
	return NVME_OK;
}

/* Its commands end first: they cannot be taken back, and soon do. Whether the command waits for that. */
static bool delete_sq(struct nvme_command *command, uint16_t *status)
{
	struct nvme *nvme = command->nvme;
	uint32_t index = command->sqe.dw10 & 0xffff;
	struct nvme_sq *sq = &nvme->sq[index < NVME_QUEUES ? index : 0];

	*status = !index || index >= NVME_QUEUES || !sq->exists || sq->is_leaving ? NVME_BAD_QUEUE : NVME_OK;
	if (*status)
		return false;
	if (!sq->under_way) {
		*sq = (struct nvme_sq){.exists = false};
		return false;
	}
	sq->is_leaving = true;
	sq->leaving_id = command->sqe.id;
	return true;
}

/* --- features --- */

static bool is_feature(uint8_t feature)
{
	switch (feature) {
	case FEATURE_ARBITRATION:
	case FEATURE_POWER:
	case FEATURE_TEMPERATURE:
	case FEATURE_RECOVERY:
	case FEATURE_WRITE_CACHE:
	case FEATURE_QUEUES:
	case FEATURE_COALESCING:
	case FEATURE_VECTOR:
	case FEATURE_ATOMICITY:
	case FEATURE_EVENTS: return true;
	default: return false;
	}
}

static uint16_t get_feature(struct nvme_command *command)
{
	uint8_t feature = command->sqe.dw10;

	if (!is_feature(feature))
		return NVME_BAD_FIELD;
	command->result = feature == FEATURE_QUEUES ? (NVME_IO_QUEUES - 1) | (NVME_IO_QUEUES - 1) << 16
						    : command->nvme->features[feature];
	return NVME_OK;
}

static uint16_t set_feature(struct nvme_command *command)
{
	uint8_t feature = command->sqe.dw10;
	bool saves = command->sqe.dw10 >> 31;

	if (!is_feature(feature) || saves)
		return NVME_BAD_FIELD;
	if (feature == FEATURE_WRITE_CACHE && !block_info(command->nvme->block)->has_write_cache)
		return NVME_BAD_FIELD;
	if (feature == FEATURE_QUEUES)
		command->result = (NVME_IO_QUEUES - 1) | (NVME_IO_QUEUES - 1) << 16;
	else
		command->nvme->features[feature] = command->sqe.dw11;
	return NVME_OK;
}

/* An event that never comes: the command stays, and takes no room. */
static bool await_event(struct nvme_command *command, uint16_t *status)
{
	struct nvme *nvme = command->nvme;

	*status = nvme->events == NVME_EVENTS_MAX ? NVME_TOO_MANY_EVENTS : NVME_OK;
	if (*status)
		return false;
	nvme->events++;
	return true;
}

void nvme_admin_begin(struct nvme_command *command)
{
	struct nvme *nvme = command->nvme;
	uint16_t status;

	switch (command->sqe.opcode) {
	case ADMIN_DELETE_SQ:
		if (delete_sq(command, &status)) {
			nvme_keep(command, true);
			return;
		}
		break;
	case ADMIN_CREATE_SQ: status = create_sq(nvme, &command->sqe); break;
	case ADMIN_GET_LOG: status = get_log(command); break;
	case ADMIN_DELETE_CQ: status = delete_cq(nvme, &command->sqe); break;
	case ADMIN_CREATE_CQ: status = create_cq(nvme, &command->sqe); break;
	case ADMIN_IDENTIFY: status = identify(command); break;
	case ADMIN_ABORT:
		command->result = 1; /* it was not */
		status = NVME_OK;
		break;
	case ADMIN_SET_FEATURES: status = set_feature(command); break;
	case ADMIN_GET_FEATURES: status = get_feature(command); break;
	case ADMIN_ASYNC_EVENT:
		if (await_event(command, &status)) {
			nvme_keep(command, false);
			return;
		}
		break;
	default: status = NVME_BAD_OPCODE; break;
	}
	nvme_finish(command, status);
}
