/* How commands end, and where their data is: completion queues, PRPs (NVMe 1.4 §4). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/storage/nvme_parts.h"

/* --- interrupts --- */

void nvme_update_intx(struct nvme *nvme)
{
	bool level = false;
	unsigned i;

	for (i = 0; i < NVME_QUEUES; i++)
		level |= nvme->cq[i].exists && nvme->cq[i].interrupts &&
			 nvme->cq[i].head != nvme->cq[i].tail && !(nvme->masked & 1);
	pci_set_intx(&nvme->function, level);
}

static void interrupt(struct nvme *nvme, const struct nvme_cq *cq)
{
	if (!cq->interrupts)
		return;
	if (pci_has_messages(&nvme->function))
		pci_notify(&nvme->function, cq->vector);
	else
		nvme_update_intx(nvme);
}

/* --- queues --- */

void nvme_fail(struct nvme *nvme)
{
	nvme->csts |= CSTS_FATAL;
}

/* A completion (§4.6): where it goes, there is room. */
static void complete(struct nvme *nvme, unsigned sq_index, uint16_t id, uint32_t result, uint16_t status)
{
	struct nvme_sq *sq = &nvme->sq[sq_index];
	struct nvme_cq *cq = &nvme->cq[sq->cq];
	const uint32_t entry[4] = {result, 0, sq->head | (uint32_t)sq_index << 16,
				   id | (uint32_t)cq->phase << 16 | (uint32_t)status << 17};

	if (pci_dma_write(&nvme->function, cq->gpa + (uint64_t)cq->tail * NVME_COMPLETION_BYTES, entry,
			  sizeof(entry)) < 0) {
		nvme_fail(nvme);
		return;
	}
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	interrupt(nvme, cq);
}

void nvme_drop_anew(struct nvme *nvme)
{
	free(nvme->anew);
	nvme->anew = NULL;
	nvme->anew_count = 0;
}

void nvme_reset_controller(struct nvme *nvme)
{
	nvme->epoch++;
	nvme_drop_anew(nvme);
	nvme->flushes_anew = false;
	nvme->is_disabling = false;
	nvme->csts = 0;
	nvme->masked = 0;
	nvme->events = 0;
	memset(nvme->sq, 0, sizeof(nvme->sq));
	memset(nvme->cq, 0, sizeof(nvme->cq));
	memset(nvme->features, 0, sizeof(nvme->features));
	nvme->features[FEATURE_WRITE_CACHE] = block_info(nvme->block)->has_write_cache;
	nvme_update_intx(nvme);
}

/* It was the last one of its queue, which software wants to be gone. */
static void leave(struct nvme *nvme, unsigned sq_index)
{
	struct nvme_sq *sq = &nvme->sq[sq_index];

	if (!sq->is_leaving || sq->under_way)
		return;
	sq->exists = sq->is_leaving = false;
	nvme->cq[0].under_way--;
	complete(nvme, 0, sq->leaving_id, 0, NVME_OK);
}

void nvme_add(struct nvme *nvme, struct nvme_command *command)
{
	command->nvme = nvme;
	command->epoch = nvme->epoch;
	command->next = nvme->commands;
	command->link = &nvme->commands;
	if (command->next)
		command->next->link = &command->next;
	nvme->commands = command;
	nvme->under_way++;
}

static void free_command(struct nvme_command *command)
{
	struct nvme *nvme = command->nvme;

	*command->link = command->next;
	if (command->next)
		command->next->link = command->link;
	gather_free(&command->gather);
	free(command);
	if (--nvme->under_way)
		return;
	if (nvme->is_disabling)
		nvme_reset_controller(nvme);
	pthread_cond_broadcast(&nvme->idle);
}

void nvme_keep(struct nvme_command *command, bool keeps_room)
{
	struct nvme *nvme = command->nvme;

	nvme->sq[command->sq].under_way--;
	if (!keeps_room)
		nvme->cq[nvme->sq[command->sq].cq].under_way--;
	free_command(command);
}

void nvme_finish(struct nvme_command *command, uint16_t status)
{
	struct nvme *nvme = command->nvme;
	unsigned sq = command->sq;

	if (command->epoch == nvme->epoch) {
		nvme->sq[sq].under_way--;
		nvme->cq[nvme->sq[sq].cq].under_way--;
		complete(nvme, sq, command->sqe.id, command->result, status);
		leave(nvme, sq);
	}
	free_command(command);
}

static uint16_t add_page(struct nvme_command *command, uint64_t gpa, uint64_t size)
{
	struct nvme *nvme = command->nvme;
	int result = pci_is_master(&nvme->function)
			     ? gather_add(&command->gather, pci_memory(&nvme->function), gpa, size)
			     : -EACCES;

	return result == 0 ? NVME_OK : result == -ENOMEM ? NVME_INTERNAL : NVME_TRANSFER_ERROR;
}

/* What a list has: pages one after the other, and at the end of the list's page where it goes on. */
static uint16_t read_list(struct nvme_command *command, uint64_t list, uint64_t left)
{
	uint64_t entry, chunk;
	uint16_t status;

	while (left) {
		if ((list & 7) ||
		    pci_dma_read(&command->nvme->function, list, &entry, sizeof(entry)) < 0)
			return list & 7 ? NVME_BAD_PRP_OFFSET : NVME_TRANSFER_ERROR;
		if (entry % NVME_PAGE)
			return NVME_BAD_PRP_OFFSET;
		if (list % NVME_PAGE == NVME_PAGE - 8 && left > NVME_PAGE) {
			/* A list's first page may be all but its last entry; the next ones are whole. */
			list = entry;
			continue;
		}
		chunk = left < NVME_PAGE ? left : NVME_PAGE;
		status = add_page(command, entry, chunk);
		if (status)
			return status;
		left -= chunk;
		list += 8;
	}
	return NVME_OK;
}

uint16_t nvme_read_prps(struct nvme_command *command, uint64_t size)
{
	const struct nvme_sqe *sqe = &command->sqe;
	uint64_t chunk = NVME_PAGE - sqe->prp1 % NVME_PAGE;
	uint16_t status;

	if (sqe->flags & 0xc0)
		return NVME_BAD_FIELD; /* SGLs */
	if (sqe->prp1 & 3)
		return NVME_BAD_PRP_OFFSET;
	if (chunk > size)
		chunk = size;
	status = add_page(command, sqe->prp1, chunk);
	size -= chunk;
	if (status || !size)
		return status;
	if (size > NVME_PAGE)
		return read_list(command, sqe->prp2, size);
	if (sqe->prp2 % NVME_PAGE)
		return NVME_BAD_PRP_OFFSET;
	return add_page(command, sqe->prp2, size);
}
