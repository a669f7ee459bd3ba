/*
 * How a command goes: software writes it into a submission queue and rings a doorbell, which wakes the disk's I/O
 * thread; there it is read once, begun, and its end put into a completion queue, for which there has to be
 * room before it is begun. So a controller with work has one thread, and vCPUs never wait for it.
 *
 * A controller that is disabled (CC.EN) stays ready until its commands have ended, which then tell nobody.
 *
 * Not modelled: namespaces beyond the first, metadata, SGLs, controller memory buffers, firmware updates.
 */
#include "device/storage/nvme.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/storage/nvme_parts.h"
#include "util/log.h"

/* As QEMU's, which drivers and firmware know. */
#define VENDOR	   0x1b36
#define DEVICE	   0x0010
#define CLASS_NVME 0x010802
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100

#define REGISTER_BYTES 0x4000
#define TABLE_OFFSET   0x2000
#define PBA_OFFSET     0x3000
#define DOORBELL_BYTES (NVME_QUEUES * 8)

/* The version of the saved state from which on it has commands that wait. */
#define STATE_COMMANDS 2

/* Entries in a queue, contiguous queues, 7.5 seconds to get ready, the NVM command set. */
#define CAP_VALUE ((uint64_t)(NVME_ENTRIES_MAX - 1) | 1ull << 16 | 0xfull << 24 | 1ull << 37)

/* --- work, on the disk's I/O thread --- */

static bool cq_has_room(const struct nvme_cq *cq)
{
	unsigned used = (cq->tail + cq->size - cq->head) % cq->size;

	return used + cq->under_way < cq->size - 1u;
}

static bool may_begin(const struct nvme *nvme)
{
	return !nvme->is_held && !nvme->is_disabling && (nvme->csts & (CSTS_READY | CSTS_FATAL)) == CSTS_READY;
}

/* One command of a queue; false: there is none that may begin. */
static bool take(struct nvme *nvme, unsigned index)
{
	struct nvme_sq *sq = &nvme->sq[index];
	struct nvme_command *command;

	if (!may_begin(nvme) || !sq->exists || sq->is_leaving || sq->head == sq->tail ||
	    !cq_has_room(&nvme->cq[sq->cq]))
		return false;
	command = calloc(1, sizeof(*command));
	if (!command)
		return false;
	if (pci_dma_read(&nvme->function, sq->gpa + (uint64_t)sq->head * NVME_COMMAND_BYTES, &command->sqe,
			 sizeof(command->sqe)) < 0) {
		free(command);
		nvme_fail(nvme);
		return false;
	}
	command->sq = index;
	sq->head = (sq->head + 1) % sq->size;
	sq->under_way++;
	nvme->cq[sq->cq].under_way++;
	nvme_add(nvme, command);
	if (index)
		nvme_io_begin(command);
	else
		nvme_admin_begin(command);
	return true;
}

/* The queues in turns, as round-robin arbitration has it. */
static void work(struct nvme *nvme)
{
	bool found = true;
	unsigned i;

	while (found)
		for (found = false, i = 0; i < NVME_QUEUES; i++)
			found |= take(nvme, i);
}

/* --- registers --- */

/* CC.EN rises (§7.3). */
static void enable(struct nvme *nvme)
{
	unsigned sq_size = (nvme->aqa & 0xfff) + 1, cq_size = (nvme->aqa >> 16 & 0xfff) + 1;

	if ((nvme->cc & CC_PAGE) || sq_size < 2 || cq_size < 2) {
		nvme_fail(nvme);
		return;
	}
	nvme->sq[0] = (struct nvme_sq){.exists = true, .gpa = nvme->asq, .size = sq_size};
	nvme->cq[0] = (struct nvme_cq){.exists = true, .interrupts = true, .phase = true,
				       .gpa = nvme->acq, .size = cq_size};
	nvme->csts |= CSTS_READY;
}

static void disable(struct nvme *nvme)
{
	nvme->epoch++;
	if (nvme->under_way)
		nvme->is_disabling = true;
	else
		nvme_reset_controller(nvme);
}

/* The end of a shutdown's flush. */
static void shutdown_complete(struct storage_transfer *transfer, int result)
{
	struct nvme_command *command = transfer->context;
	struct nvme *nvme = command->nvme;

	if (result < 0)
		log_guest_at(LOG_WARNING, "NVMe: flushing: %s", strerror(-result));
	pthread_mutex_lock(&nvme->lock);
	if (command->epoch == nvme->epoch)
		nvme->csts = (nvme->csts & ~CSTS_SHUTDOWN) | CSTS_SHUT_DOWN;
	free(command);
	if (--nvme->under_way == 0) {
		if (nvme->is_disabling)
			nvme_reset_controller(nvme);
		pthread_cond_broadcast(&nvme->idle);
	}
	pthread_mutex_unlock(&nvme->lock);
}

/* CC.SHN (§7.6.2): what was written is made durable. */
static void shut_down(struct nvme *nvme)
{
	struct nvme_command *command = calloc(1, sizeof(*command));

	nvme->csts = (nvme->csts & ~CSTS_SHUTDOWN) | CSTS_SHUTTING_DOWN;
	if (!command) {
		nvme_fail(nvme);
		return;
	}
	command->nvme = nvme;
	command->epoch = nvme->epoch;
	command->transfer = (struct storage_transfer){.operation = BLOCK_FLUSH, .complete = shutdown_complete,
					      .context = command, .held = &nvme->held};
	nvme->under_way++;
	transfer_start(&command->transfer, nvme->block);
}

static void write_cc(struct nvme *nvme, uint32_t value)
{
	uint32_t old = nvme->cc;

	nvme->cc = value & CC_BITS;
	if (!(old & CC_ENABLE) && (value & CC_ENABLE) && !nvme->is_disabling)
		enable(nvme);
	else if ((old & CC_ENABLE) && !(value & CC_ENABLE))
		disable(nvme);
	if (!(old & CC_SHUTDOWN) && (value & CC_SHUTDOWN))
		shut_down(nvme);
	else if ((old & CC_SHUTDOWN) && !(value & CC_SHUTDOWN))
		nvme->csts &= ~CSTS_SHUTDOWN;
}

static void ring(struct nvme *nvme, unsigned offset, uint32_t value)
{
	unsigned index = offset / 8;
	struct nvme_sq *sq = &nvme->sq[index];
	struct nvme_cq *cq = &nvme->cq[index];

	if ((offset & 4) && cq->exists && value < cq->size) {
		cq->head = value;
		nvme_update_intx(nvme);
		event_signal_raise(&nvme->doorbell); /* there may be room for what waits */
	} else if (!(offset & 4) && sq->exists && value < sq->size) {
		sq->tail = value;
		event_signal_raise(&nvme->doorbell);
	}
}

static uint32_t get(const struct nvme *nvme, uint64_t offset)
{
	switch (offset) {
	case NVME_CAP: return (uint32_t)CAP_VALUE;
	case NVME_CAP + 4: return CAP_VALUE >> 32;
	case NVME_VS: return NVME_VERSION;
	case NVME_INTMS:
	case NVME_INTMC: return nvme->masked;
	case NVME_CC: return nvme->cc;
	case NVME_CSTS: return nvme->csts;
	case NVME_AQA: return nvme->aqa;
	case NVME_ASQ: return nvme->asq;
	case NVME_ASQ + 4: return nvme->asq >> 32;
	case NVME_ACQ: return nvme->acq;
	case NVME_ACQ + 4: return nvme->acq >> 32;
	default: return 0;
	}
}

static void set_half(uint64_t *value, bool is_high, uint32_t half)
{
	*value = is_high ? (*value & 0xffffffffu) | (uint64_t)half << 32 : (*value & ~0xffffffffull) | half;
	*value &= ~(uint64_t)(NVME_PAGE - 1);
}

static void set(struct nvme *nvme, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case NVME_INTMS:
		nvme->masked |= value;
		nvme_update_intx(nvme);
		break;
	case NVME_INTMC:
		nvme->masked &= ~value;
		nvme_update_intx(nvme);
		break;
	case NVME_CC: write_cc(nvme, value); break;
	case NVME_AQA: nvme->aqa = value & 0x0fff0fff; break;
	case NVME_ASQ:
	case NVME_ASQ + 4: set_half(&nvme->asq, offset & 4, value); break;
	case NVME_ACQ:
	case NVME_ACQ + 4: set_half(&nvme->acq, offset & 4, value); break;
	default:
		if (offset >= NVME_DOORBELLS && offset < NVME_DOORBELLS + DOORBELL_BYTES)
			ring(nvme, offset - NVME_DOORBELLS, value);
		break;
	}
}

static uint64_t register_read(void *device, uint64_t offset, unsigned size)
{
	struct nvme *nvme = device;
	uint64_t value;

	pthread_mutex_lock(&nvme->lock);
	value = get(nvme, offset & ~3ull);
	if (size == 8 && !(offset & 3))
		value |= (uint64_t)get(nvme, offset + 4) << 32;
	pthread_mutex_unlock(&nvme->lock);
	return value >> (8 * (offset & 3));
}

static void register_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct nvme *nvme = device;

	if (size < 4 || (offset & 3))
		return;
	pthread_mutex_lock(&nvme->lock);
	set(nvme, offset, value);
	if (size == 8)
		set(nvme, offset + 4, value >> 32);
	pthread_mutex_unlock(&nvme->lock);
}

static const struct mmio_ops register_ops = {register_read, register_write};

/* --- life --- */

static void doorbell_rang(void *context)
{
	struct nvme *nvme = context;

	pthread_mutex_lock(&nvme->lock);
	if (!nvme->is_held && nvme->flushes_anew) {
		nvme->flushes_anew = false;
		shut_down(nvme);
	}
	if (may_begin(nvme))
		nvme_begin_anew(nvme);
	work(nvme);
	pthread_mutex_unlock(&nvme->lock);
}

static void nvme_reset(void *device)
{
	struct nvme *nvme = device;

	pthread_mutex_lock(&nvme->lock);
	nvme->epoch++;
	while (nvme->under_way)
		pthread_cond_wait(&nvme->idle, &nvme->lock);
	nvme->cc = nvme->aqa = 0;
	nvme->asq = nvme->acq = 0;
	nvme_reset_controller(nvme);
	pthread_mutex_unlock(&nvme->lock);
}

static void nvme_hold(void *device)
{
	struct nvme *nvme = device;

	pthread_mutex_lock(&nvme->lock);
	nvme->is_held = true;
	while (nvme->under_way > nvme->held.count)
		pthread_cond_wait(&nvme->idle, &nvme->lock);
	pthread_mutex_unlock(&nvme->lock);
}

static void nvme_release(void *device)
{
	struct nvme *nvme = device;

	pthread_mutex_lock(&nvme->lock);
	nvme->is_held = false;
	pthread_mutex_unlock(&nvme->lock);
	event_signal_raise(&nvme->doorbell);
}

static void transfer_queue(struct nvme_sq *sq, struct nvme_cq *cq, struct state_stream *state)
{
	state_bool(state, "sq", &sq->exists);
	state_u64(state, "sq address", &sq->gpa);
	state_u16(state, "sq size", &sq->size);
	state_u16(state, "sq head", &sq->head);
	state_u16(state, "sq tail", &sq->tail);
	state_u16(state, "sq cq", &sq->cq);
	state_check(state, "sq", !sq->exists || (sq->size >= 2 && sq->head < sq->size && sq->tail < sq->size &&
						 sq->cq < NVME_QUEUES));
	state_bool(state, "cq", &cq->exists);
	state_bool(state, "cq interrupts", &cq->interrupts);
	state_bool(state, "cq phase", &cq->phase);
	state_u64(state, "cq address", &cq->gpa);
	state_u16(state, "cq size", &cq->size);
	state_u16(state, "cq head", &cq->head);
	state_u16(state, "cq tail", &cq->tail);
	state_u16(state, "cq vector", &cq->vector);
	state_check(state, "cq", !cq->exists || (cq->size >= 2 && cq->head < cq->size && cq->tail < cq->size &&
						 cq->vector < NVME_QUEUES));
}

static void transfer_state(struct nvme *copy, struct state_stream *state)
{
	unsigned i;

	state_u32(state, "cc", &copy->cc);
	state_u32(state, "csts", &copy->csts);
	state_check(state, "csts", !(copy->csts & ~(CSTS_READY | CSTS_FATAL | CSTS_SHUTDOWN)));
	state_u32(state, "aqa", &copy->aqa);
	state_u32(state, "masked", &copy->masked);
	state_u64(state, "asq", &copy->asq);
	state_u64(state, "acq", &copy->acq);
	for (i = 0; i < NVME_FEATURES; i++)
		state_u32(state, "feature", &copy->features[i]);
	state_u32(state, "events", &copy->events);
	state_check(state, "events", copy->events <= NVME_EVENTS_MAX);
	for (i = 0; i < NVME_QUEUES; i++)
		transfer_queue(&copy->sq[i], &copy->cq[i], state);
	for (i = 0; i < NVME_QUEUES; i++)
		state_check(state, "sq cq", !copy->sq[i].exists || (copy->sq[i].cq < NVME_QUEUES &&
								    copy->cq[copy->sq[i].cq].exists));
	state_check(state, "csts", !(copy->csts & CSTS_READY) || (copy->sq[0].exists && copy->cq[0].exists));
}

static void save_or_load(void *device, struct state_stream *state)
{
	struct nvme *nvme = device, *copy = calloc(1, sizeof(*copy));
	uint64_t size = block_size(nvme->block), capacity = size;
	struct pci_function_state saved;

	if (!copy) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	pci_function_transfer(&nvme->function, &saved, state);
	state_u64(state, "capacity", &capacity);
	state_check(state, "capacity", capacity == size);
	pthread_mutex_lock(&nvme->lock);
	if (!state->is_loading) {
		memcpy(copy, nvme, sizeof(*copy));
		copy->anew = NULL;
	}
	transfer_state(copy, state);
	if (state->version >= STATE_COMMANDS)
		nvme_transfer_commands(nvme, copy, state);
	pthread_mutex_unlock(&nvme->lock);
	if (state->is_loading && state_complete(state)) {
		pci_function_restore(&nvme->function, &saved);
		pthread_mutex_lock(&nvme->lock);
		nvme->cc = copy->cc;
		nvme->csts = copy->csts;
		nvme->aqa = copy->aqa;
		nvme->masked = copy->masked;
		nvme->asq = copy->asq;
		nvme->acq = copy->acq;
		nvme->events = copy->events;
		memcpy(nvme->features, copy->features, sizeof(nvme->features));
		memcpy(nvme->sq, copy->sq, sizeof(nvme->sq));
		memcpy(nvme->cq, copy->cq, sizeof(nvme->cq));
		nvme_drop_anew(nvme);
		nvme->anew = copy->anew;
		nvme->anew_count = copy->anew_count;
		copy->anew = NULL;
		nvme->flushes_anew = (copy->csts & CSTS_SHUTDOWN) == CSTS_SHUTTING_DOWN;
		if (copy->is_disabling)
			nvme_reset_controller(nvme);
		nvme_update_intx(nvme);
		pthread_mutex_unlock(&nvme->lock);
	}
	pci_function_state_free(&saved);
	free(copy->anew);
	free(copy);
}

static void detach(void *context)
{
	struct nvme *nvme = context;

	event_signal_destroy(&nvme->doorbell);
}

static void nvme_destroy(void *device)
{
	struct nvme *nvme = device;
	struct error error;

	block_call(nvme->block, detach, nvme);
	nvme_hold(nvme);
	if (block_close(nvme->block, &error) < 0)
		log_error("%s", error.message);
	nvme_drop_anew(nvme);
	pci_function_destroy(&nvme->function);
	pthread_cond_destroy(&nvme->idle);
	pthread_mutex_destroy(&nvme->lock);
	free(nvme);
}

const struct device_ops nvme_device_ops = {
	.version = STATE_COMMANDS,
	.reset = nvme_reset,
	.save = save_or_load,
	.load = save_or_load,
	.hold = nvme_hold,
	.release = nvme_release,
	.destroy = nvme_destroy,
};

static int describe(struct nvme *nvme, struct error *error)
{
	struct pci_function *function = &nvme->function;

	pci_function_init(function, VENDOR, DEVICE, CLASS_NVME, 2);
	pci_function_set_subsystem(function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	pci_function_set_pin(function, 1);
	function->bars[0] = (struct pci_bar){.kind = PCI_BAR_MEMORY64,
					     .size_bytes = REGISTER_BYTES,
					     .name = "NVMe",
					     .mmio = &register_ops,
					     .device = nvme};
	return pci_add_msix(function, NVME_QUEUES, 0, TABLE_OFFSET, PBA_OFFSET, error);
}

struct nvme *nvme_create(struct pci_bus *bus, unsigned slot_function, struct block *block,
			 unsigned number, struct error *error)
{
	struct nvme *nvme = calloc(1, sizeof(*nvme));
	int result;

	if (!nvme) {
		error_set_errno(error, ENOMEM, "cannot create an NVMe controller");
		block_close(block, NULL);
		return NULL;
	}
	pthread_mutex_init(&nvme->lock, NULL);
	pthread_cond_init(&nvme->idle, NULL);
	nvme->held = (struct block_held){.lock = &nvme->lock, .changed = &nvme->idle};
	nvme->block = block;
	nvme->is_held = true;
	if (*block_info(block)->serial)
		snprintf(nvme->serial, sizeof(nvme->serial), "%s", block_info(block)->serial);
	else
		snprintf(nvme->serial, sizeof(nvme->serial), "QM%05u", number);
	result = event_signal_init(&nvme->doorbell, block_loop(block), doorbell_rang, nvme);
	if (result < 0)
		error_set_errno(error, -result, "cannot make an eventfd");
	if (result == 0)
		result = describe(nvme, error);
	if (result == 0)
		result = block_start(block, error);
	if (result == 0) {
		pci_bus_add(bus, slot_function, &nvme->function);
		nvme_reset_controller(nvme);
		return nvme;
	}
	nvme_destroy(nvme);
	return NULL;
}
