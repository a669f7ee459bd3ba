/*
 * The command response buffer, "CRB" (PC Client Platform TPM Profile 1.05 §6.5.3): a buffer that has the command and then
 * its answer, and registers to say when. One locality, no interrupts.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "device/tpm/tpm.h"
#include "device/tpm/tpm_blobs.h"
#include "util/endian.h"

#define LOC_STATE	 0x00
#define LOC_CTRL	 0x08
#define LOC_STS		 0x0c
#define INTF_ID		 0x30
#define INTF_ID_HIGH	 0x34
#define CTRL_REQ	 0x40
#define CTRL_STS	 0x44
#define CTRL_CANCEL	 0x48
#define CTRL_START	 0x4c
#define CTRL_CMD_SIZE	 0x58
#define CTRL_CMD_LADDR	 0x5c
#define CTRL_RSP_SIZE	 0x64
#define CTRL_RSP_LADDR	 0x68
#define BUFFER		 0x80
#define BUFFER_BYTES	 (TPM_CRB_BYTES - BUFFER)

#define LOC_STATE_ESTABLISHED 0x01
#define LOC_STATE_ASSIGNED    0x02
#define LOC_STATE_VALID	      0x80
#define LOC_CTRL_REQUEST      0x01
#define LOC_CTRL_RELINQUISH   0x02
#define LOC_CTRL_RESET	      0x08
#define LOC_STS_GRANTED	      0x01
#define REQ_READY	      0x01
#define REQ_IDLE	      0x02
#define STS_IDLE	      0x02
#define START_INVOKE	      0x01
#define CANCEL_INVOKE	      0x01

/* A CRB of version 1, transfers of up to 64 bytes, and what is chosen is the CRB; the vendor is QEMU's. */
#define INTF_ID_VALUE	   (1u << 0 | 1u << 4 | 3u << 11 | 1u << 14 | 1u << 17)
#define INTF_ID_HIGH_VALUE 0x00011014u

#define HEADER_BYTES 10

struct tpm_crb {
	struct tpm_emulator *emulator;
	pthread_mutex_t lock; /* guards what follows */
	bool is_granted, is_idle, is_executing;
	uint8_t buffer[BUFFER_BYTES];
};

static uint32_t read_register(const struct tpm_crb *crb, unsigned offset)
{
	switch (offset) {
	case LOC_STATE:
		return LOC_STATE_VALID | (crb->is_granted ? LOC_STATE_ASSIGNED : 0) |
		       (tpm_emulator_is_established(crb->emulator) ? 0 : LOC_STATE_ESTABLISHED);
	case LOC_STS: return crb->is_granted ? LOC_STS_GRANTED : 0;
	case INTF_ID: return INTF_ID_VALUE;
	case INTF_ID_HIGH: return INTF_ID_HIGH_VALUE;
	case CTRL_STS: return crb->is_idle ? STS_IDLE : 0;
	case CTRL_START: return crb->is_executing ? START_INVOKE : 0;
	case CTRL_CMD_SIZE:
	case CTRL_RSP_SIZE: return BUFFER_BYTES;
	case CTRL_CMD_LADDR:
	case CTRL_RSP_LADDR: return TPM_GPA + BUFFER;
	default: return 0; /* others, and the addresses' high halves */
	}
}

static uint64_t tpm_crb_read(void *device, uint64_t at, unsigned size)
{
	struct tpm_crb *crb = device;
	uint64_t value = 0;
	unsigned i;

	pthread_mutex_lock(&crb->lock);
	for (i = 0; i < size; i++, at++)
		value |= (uint64_t)(at >= BUFFER ? crb->buffer[at - BUFFER]
						 : (read_register(crb, at & ~3u) >> 8 * (at & 3) & 0xff))
			 << 8 * i;
	pthread_mutex_unlock(&crb->lock);
	return value;
}

static void execute(struct tpm_crb *crb)
{
	size_t size = get_be32(crb->buffer + 2);

	if (!crb->is_granted || crb->is_executing)
		return;
	/* The TPM says itself what is wrong with a size. */
	if (size < HEADER_BYTES || size > BUFFER_BYTES)
		size = HEADER_BYTES;
	crb->is_executing = tpm_emulator_submit(crb->emulator, 0, crb->buffer, size);
}

static void write_register(struct tpm_crb *crb, unsigned offset, uint32_t value)
{
	switch (offset) {
	case LOC_CTRL:
		if (value & LOC_CTRL_RESET)
			tpm_emulator_reset_established(crb->emulator, 0);
		if (value & LOC_CTRL_RELINQUISH)
			crb->is_granted = false;
		else if (value & LOC_CTRL_REQUEST)
			crb->is_granted = true;
		break;
	case CTRL_REQ:
		if (crb->is_executing)
			break;
		if (value & REQ_READY)
			crb->is_idle = false;
		else if (value & REQ_IDLE)
			crb->is_idle = true;
		break;
	case CTRL_CANCEL:
		if ((value & CANCEL_INVOKE) && crb->is_executing)
			tpm_emulator_cancel(crb->emulator);
		break;
	case CTRL_START:
		if (value & START_INVOKE)
			execute(crb);
		break;
	default: break;
	}
}

static void tpm_crb_write(void *device, uint64_t at, unsigned size, uint64_t value)
{
	struct tpm_crb *crb = device;
	unsigned i;

	pthread_mutex_lock(&crb->lock);
	if (at < BUFFER) {
		if (at % 4 == 0)
			write_register(crb, at, value);
	} else if (!crb->is_executing) {
		for (i = 0; i < size; i++)
			crb->buffer[at - BUFFER + i] = value >> 8 * i;
	}
	pthread_mutex_unlock(&crb->lock);
}

const struct mmio_ops tpm_crb_mmio_ops = {.read = tpm_crb_read, .write = tpm_crb_write};

/* tpm_user.answered. */
static void answered(void *context, const uint8_t *answer, size_t size)
{
	struct tpm_crb *crb = context;

	pthread_mutex_lock(&crb->lock);
	if (crb->is_executing)
		memcpy(crb->buffer, answer, size);
	crb->is_executing = false;
	pthread_mutex_unlock(&crb->lock);
}

static void tpm_crb_reset(void *device)
{
	struct tpm_crb *crb = device;

	pthread_mutex_lock(&crb->lock);
	crb->is_granted = crb->is_executing = false;
	crb->is_idle = true;
	memset(crb->buffer, 0, sizeof(crb->buffer));
	pthread_mutex_unlock(&crb->lock);
	tpm_emulator_reset(crb->emulator);
}

static void transfer(struct state_stream *state, struct tpm_crb *crb)
{
	state_bool(state, "is_granted", &crb->is_granted);
	state_bool(state, "is_idle", &crb->is_idle);
	state_bytes(state, "buffer", crb->buffer, sizeof(crb->buffer));
}

/* Nothing is executed once the TPM has settled. */
static void tpm_crb_save(void *device, struct state_stream *state)
{
	struct tpm_crb *crb = device;

	if (!tpm_emulator_settle(crb->emulator, state))
		return;
	pthread_mutex_lock(&crb->lock);
	transfer(state, crb);
	pthread_mutex_unlock(&crb->lock);
	tpm_emulator_save(crb->emulator, state);
}

static void tpm_crb_load(void *device, struct state_stream *state)
{
	struct tpm_crb *crb = device, loaded = {.is_idle = true};
	struct tpm_blob blobs[TPM_BLOBS] = {{0}};
	struct error error;

	transfer(state, &loaded);
	if (!state->has_failed)
		tpm_blobs_transfer(state, blobs);
	/* What its reset has asked for comes first. */
	if (state_complete(state) && tpm_emulator_settle(crb->emulator, state)) {
		pthread_mutex_lock(&crb->lock);
		crb->is_granted = loaded.is_granted;
		crb->is_idle = loaded.is_idle;
		memcpy(crb->buffer, loaded.buffer, sizeof(crb->buffer));
		pthread_mutex_unlock(&crb->lock);
		if (tpm_emulator_load(crb->emulator, blobs, &error) < 0)
			state_fail(state, "%s", error.message);
	}
	tpm_blobs_free(blobs);
}

static void tpm_crb_destroy(void *device)
{
	struct tpm_crb *crb = device;

	tpm_emulator_destroy(crb->emulator);
	pthread_mutex_destroy(&crb->lock);
	free(crb);
}

const struct device_ops tpm_crb_device_ops = {
	.version = 1,
	.reset = tpm_crb_reset,
	.save = tpm_crb_save,
	.load = tpm_crb_load,
	.destroy = tpm_crb_destroy,
};

struct tpm_crb *tpm_crb_create(struct tpm_emulator *emulator, struct event_loop *loop, struct error *error)
{
	struct tpm_crb *crb = calloc(1, sizeof(*crb));
	const struct tpm_user user = {answered, crb};
	int result = crb ? tpm_emulator_attach(emulator, loop, BUFFER_BYTES, &user) : -ENOMEM;

	if (result < 0) {
		error_set_errno(error, -result, "cannot create a TPM");
		tpm_emulator_destroy(emulator);
		free(crb);
		return NULL;
	}
	pthread_mutex_init(&crb->lock, NULL);
	crb->emulator = emulator;
	crb->is_idle = true;
	return crb;
}
