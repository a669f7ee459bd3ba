/*
 * The FIFO interface, "TIS" (PC Client Platform TPM Profile 1.05 §6.5.2): a page of registers for each of five localities,
 * of which one is active. Commands go into a FIFO byte by byte, and answers come out of it. There are no interrupts:
 * INTF_CAPABILITY has none, and software polls.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "device/tpm/tpm.h"
#include "device/tpm/tpm_blobs.h"
#include "util/endian.h"

#define LOCALITIES   5
#define NO_LOCALITY  0xff

/* Offsets in a locality's page. */
#define ACCESS	      0x00
#define INT_ENABLE    0x08
#define INT_VECTOR    0x0c
#define INT_STATUS    0x10
#define CAPABILITY    0x14
#define STS	      0x18
#define DATA_FIFO     0x24
#define INTERFACE_ID  0x30
#define DATA_XFIFO    0x80
#define DATA_XFIFO_END 0xc0
#define DID_VID	      0xf00
#define RID	      0xf04

/* Of ACCESS. */
#define ACCESS_VALID	   0x80
#define ACCESS_ACTIVE	   0x20
#define ACCESS_SEIZED	   0x10
#define ACCESS_SEIZE	   0x08
#define ACCESS_PENDING	   0x04
#define ACCESS_REQUEST	   0x02
#define ACCESS_NEVER	   0x01 /* no dynamic OS has been established */

/* Of STS. */
#define STS_TPM2	 (1u << 26)
#define STS_RESET_ESTABLISHED (1u << 25)
#define STS_CANCEL	 (1u << 24)
#define STS_BURST_SHIFT	 8
#define STS_VALID	 0x80
#define STS_READY	 0x40
#define STS_GO		 0x20
#define STS_AVAILABLE	 0x10
#define STS_EXPECT	 0x08
#define STS_RETRY	 0x02

/* Version 1.3 for TPM 2.0, transfers of up to 64 bytes, a burst count that changes; an interrupt would be a low level. */
#define CAPABILITY_VALUE (3u << 28 | 3u << 9 | 1u << 4)
/* A FIFO, of five localities. */
#define INTERFACE_ID_VALUE (1u << 13 | 1u << 8)
#define DID_VID_VALUE	0x00011014u /* QEMU's */
#define RID_VALUE	1

#define HEADER_SIZE  2

enum tis_state { TIS_IDLE, TIS_READY, TIS_RECEPTION, TIS_EXECUTION, TIS_COMPLETION };

struct tpm_tis {
	struct tpm_emulator *emulator;
	pthread_mutex_t lock; /* guards what follows */
	enum tis_state state; /* of the active locality; the others are idle */
	uint8_t active;
	bool has_request[LOCALITIES], was_seized[LOCALITIES];
	bool is_aborted;   /* the answer that is awaited is nobody's */
	bool wants_to_go;  /* after that one */
	uint8_t buffer[TPM_BUFFER_BYTES];
	size_t size, at; /* of the command so far; of the answer, and what was read of it */
};

/* What a command's header says; 0: it is not there yet. */
static size_t wanted_bytes(const struct tpm_tis *tis)
{
	if (tis->size < HEADER_SIZE + 4)
		return 0;
	return get_be32(tis->buffer + 2);
}

static bool expects_more(const struct tpm_tis *tis)
{
	size_t wanted = wanted_bytes(tis);

	return tis->size < TPM_BUFFER_BYTES && (!wanted || tis->size < wanted);
}

static void abort_command(struct tpm_tis *tis)
{
	if (tis->state == TIS_EXECUTION) {
		tis->is_aborted = true;
		tpm_emulator_cancel(tis->emulator);
	}
	tis->size = tis->at = 0;
	tis->wants_to_go = false;
	tis->state = TIS_IDLE;
}

/* --- reading --- */

static uint32_t read_access(const struct tpm_tis *tis, unsigned locality)
{
	uint32_t value = ACCESS_VALID;
	unsigned i;

	for (i = 0; i < LOCALITIES; i++)
		if (i != locality && tis->has_request[i])
			value |= ACCESS_PENDING;
	if (tis->active == locality)
		value |= ACCESS_ACTIVE;
	if (tis->has_request[locality])
		value |= ACCESS_REQUEST;
	if (tis->was_seized[locality])
		value |= ACCESS_SEIZED;
	if (!tpm_emulator_is_established(tis->emulator))
		value |= ACCESS_NEVER;
	return value;
}

static uint32_t read_status(const struct tpm_tis *tis)
{
	uint32_t value = STS_TPM2, burst = TPM_BUFFER_BYTES - tis->size;

	switch (tis->state) {
	case TIS_IDLE: value |= STS_VALID; break;
	case TIS_READY: value |= STS_VALID | STS_READY; break;
	case TIS_RECEPTION: value |= STS_VALID | (expects_more(tis) ? STS_EXPECT : 0); break;
	case TIS_EXECUTION: burst = 0; break;
	case TIS_COMPLETION:
		burst = tis->size - tis->at;
		value |= STS_VALID | (burst ? STS_AVAILABLE : 0);
		break;
	}
	return value | burst << STS_BURST_SHIFT;
}

static uint8_t read_fifo(struct tpm_tis *tis)
{
	return tis->state == TIS_COMPLETION && tis->at < tis->size ? tis->buffer[tis->at++] : 0xff;
}

static bool is_fifo(unsigned offset)
{
	return (offset >= DATA_FIFO && offset < DATA_FIFO + 4) || (offset >= DATA_XFIFO && offset < DATA_XFIFO_END);
}

static uint32_t read_register(const struct tpm_tis *tis, unsigned locality, unsigned offset)
{
	switch (offset) {
	case ACCESS: return read_access(tis, locality);
	case STS: return tis->active == locality ? read_status(tis) : UINT32_MAX;
	case INT_ENABLE:
	case INT_VECTOR:
	case INT_STATUS: return 0;
	case CAPABILITY: return CAPABILITY_VALUE;
	case INTERFACE_ID: return INTERFACE_ID_VALUE;
	case DID_VID: return DID_VID_VALUE;
	case RID: return RID_VALUE;
	default: return UINT32_MAX;
	}
}

static uint64_t tpm_tis_read(void *device, uint64_t at, unsigned size)
{
	struct tpm_tis *tis = device;
	unsigned locality = at >> 12, offset = at & 0xfff, i;
	uint64_t value = 0;

	pthread_mutex_lock(&tis->lock);
	if (is_fifo(offset)) {
		for (i = 0; i < size; i++)
			value |= (uint64_t)(tis->active == locality ? read_fifo(tis) : 0xff) << 8 * i;
	} else {
		value = read_register(tis, locality, offset & ~3u) >> 8 * (offset & 3);
	}
	pthread_mutex_unlock(&tis->lock);
	return value;
}

/* --- writing --- */

/* The one that has asked and is the highest, if any. */
static void choose_next(struct tpm_tis *tis)
{
	unsigned i;

	tis->active = NO_LOCALITY;
	for (i = LOCALITIES; i > 0 && tis->active == NO_LOCALITY; i--)
		if (tis->has_request[i - 1])
			tis->active = i - 1;
	if (tis->active != NO_LOCALITY)
		tis->has_request[tis->active] = false;
}

/* Of several bits that only one may be of, nothing is done (§6.5.2.4). */
static void write_access(struct tpm_tis *tis, unsigned locality, uint8_t value)
{
	switch (value & (ACCESS_ACTIVE | ACCESS_SEIZED | ACCESS_SEIZE | ACCESS_REQUEST)) {
	case ACCESS_ACTIVE:
		tis->has_request[locality] = false;
		if (tis->active == locality) {
			abort_command(tis);
			choose_next(tis);
		}
		break;
	case ACCESS_SEIZED: tis->was_seized[locality] = false; break;
	case ACCESS_SEIZE:
		if (tis->active != NO_LOCALITY && locality > tis->active) {
			tis->was_seized[tis->active] = true;
			abort_command(tis);
			tis->has_request[locality] = false;
			tis->active = locality;
		} else if (tis->active == NO_LOCALITY) {
			tis->active = locality;
		}
		break;
	case ACCESS_REQUEST:
		if (tis->active == NO_LOCALITY)
			tis->active = locality;
		else if (tis->active != locality)
			tis->has_request[locality] = true;
		break;
	default: break;
	}
}

static void execute(struct tpm_tis *tis)
{
	if (tis->state != TIS_RECEPTION || expects_more(tis))
		return;
	/* What was aborted is answered first. */
	tis->wants_to_go = !tpm_emulator_submit(tis->emulator, tis->active, tis->buffer, tis->size);
	if (!tis->wants_to_go)
		tis->state = TIS_EXECUTION;
}

static void write_status(struct tpm_tis *tis, unsigned locality, uint32_t value)
{
	if ((value & STS_RESET_ESTABLISHED) && locality >= 3)
		tpm_emulator_reset_established(tis->emulator, locality);
	if ((value & STS_CANCEL) && tis->state == TIS_EXECUTION)
		tpm_emulator_cancel(tis->emulator);
	/* Of these, one at a time. */
	switch (value & (STS_READY | STS_GO | STS_RETRY)) {
	case STS_READY:
		/* What is executed ends early, and its end makes it idle (table 19). */
		if (tis->state == TIS_EXECUTION) {
			tis->is_aborted = true;
			tpm_emulator_cancel(tis->emulator);
			break;
		}
		tis->state = TIS_READY;
		tis->size = tis->at = 0;
		break;
	case STS_GO: execute(tis); break;
	case STS_RETRY:
		if (tis->state == TIS_COMPLETION)
			tis->at = 0;
		break;
	default: break;
	}
}

static void write_fifo(struct tpm_tis *tis, uint8_t value)
{
	if (tis->state == TIS_READY)
		tis->state = TIS_RECEPTION;
	if (tis->state == TIS_RECEPTION && expects_more(tis))
		tis->buffer[tis->size++] = value;
}

static void tpm_tis_write(void *device, uint64_t at, unsigned size, uint64_t value)
{
	struct tpm_tis *tis = device;
	unsigned locality = at >> 12, offset = at & 0xfff, i;

	pthread_mutex_lock(&tis->lock);
	if (offset == ACCESS)
		write_access(tis, locality, value);
	else if (tis->active == locality && is_fifo(offset))
		for (i = 0; i < size; i++)
			write_fifo(tis, value >> 8 * i);
	else if (tis->active == locality && (offset & ~3u) == STS)
		write_status(tis, locality, (uint32_t)value << 8 * (offset & 3));
	pthread_mutex_unlock(&tis->lock);
}

const struct mmio_ops tpm_tis_mmio_ops = {.read = tpm_tis_read, .write = tpm_tis_write};

/* --- the TPM's side --- */

/* tpm_user.answered. */
static void answered(void *context, const uint8_t *answer, size_t size)
{
	struct tpm_tis *tis = context;

	pthread_mutex_lock(&tis->lock);
	if (tis->is_aborted) {
		if (tis->state == TIS_EXECUTION) {
			tis->state = TIS_READY;
			tis->size = tis->at = 0;
		}
	} else if (tis->state == TIS_EXECUTION) {
		memcpy(tis->buffer, answer, size);
		tis->size = size;
		tis->at = 0;
		tis->state = TIS_COMPLETION;
	}
	tis->is_aborted = false;
	if (tis->wants_to_go)
		execute(tis);
	pthread_mutex_unlock(&tis->lock);
}

static void tpm_tis_reset(void *device)
{
	struct tpm_tis *tis = device;

	pthread_mutex_lock(&tis->lock);
	tis->state = TIS_IDLE;
	tis->active = NO_LOCALITY;
	memset(tis->has_request, 0, sizeof(tis->has_request));
	memset(tis->was_seized, 0, sizeof(tis->was_seized));
	tis->is_aborted = tis->wants_to_go = false;
	tis->size = tis->at = 0;
	pthread_mutex_unlock(&tis->lock);
	tpm_emulator_reset(tis->emulator);
}

static void transfer(struct state_stream *state, struct tpm_tis *tis)
{
	uint8_t now = tis->state;
	uint32_t size = tis->size, at = tis->at;
	unsigned i;

	state_u8(state, "state", &now);
	state_u8(state, "active", &tis->active);
	for (i = 0; i < LOCALITIES; i++) {
		state_bool(state, "has_request", &tis->has_request[i]);
		state_bool(state, "was_seized", &tis->was_seized[i]);
	}
	state_u32(state, "size", &size);
	state_u32(state, "at", &at);
	state_bytes(state, "buffer", tis->buffer, sizeof(tis->buffer));
	/* Nothing is executed: the TPM has settled. */
	state_check(state, "state", now <= TIS_COMPLETION && now != TIS_EXECUTION);
	state_check(state, "active", tis->active < LOCALITIES || tis->active == NO_LOCALITY);
	state_check(state, "size", size <= sizeof(tis->buffer) && at <= size);
	tis->state = now;
	tis->size = size;
	tis->at = at;
}

static void tpm_tis_save(void *device, struct state_stream *state)
{
	struct tpm_tis *tis = device;

	if (!tpm_emulator_settle(tis->emulator, state))
		return;
	pthread_mutex_lock(&tis->lock);
	transfer(state, tis);
	pthread_mutex_unlock(&tis->lock);
	tpm_emulator_save(tis->emulator, state);
}

static void tpm_tis_load(void *device, struct state_stream *state)
{
	struct tpm_tis *tis = device, *loaded = calloc(1, sizeof(*loaded));
	struct tpm_blob blobs[TPM_BLOBS] = {{0}};
	struct error error;

	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer(state, loaded);
	if (!state->has_failed)
		tpm_blobs_transfer(state, blobs);
	/* What its reset has asked for comes first. */
	if (state_complete(state) && tpm_emulator_settle(tis->emulator, state)) {
		pthread_mutex_lock(&tis->lock);
		tis->state = loaded->state;
		tis->active = loaded->active;
		memcpy(tis->has_request, loaded->has_request, sizeof(tis->has_request));
		memcpy(tis->was_seized, loaded->was_seized, sizeof(tis->was_seized));
		memcpy(tis->buffer, loaded->buffer, sizeof(tis->buffer));
		tis->size = loaded->size;
		tis->at = loaded->at;
		pthread_mutex_unlock(&tis->lock);
		if (tpm_emulator_load(tis->emulator, blobs, &error) < 0)
			state_fail(state, "%s", error.message);
	}
	tpm_blobs_free(blobs);
	free(loaded);
}

static void tpm_tis_destroy(void *device)
{
	struct tpm_tis *tis = device;

	tpm_emulator_destroy(tis->emulator);
	pthread_mutex_destroy(&tis->lock);
	free(tis);
}

const struct device_ops tpm_tis_device_ops = {
	.version = 1,
	.reset = tpm_tis_reset,
	.save = tpm_tis_save,
	.load = tpm_tis_load,
	.destroy = tpm_tis_destroy,
};

struct tpm_tis *tpm_tis_create(struct tpm_emulator *emulator, struct event_loop *loop, struct error *error)
{
	struct tpm_tis *tis = calloc(1, sizeof(*tis));
	const struct tpm_user user = {answered, tis};
	int result = tis ? tpm_emulator_attach(emulator, loop, TPM_BUFFER_BYTES, &user) : -ENOMEM;

	if (result < 0) {
		error_set_errno(error, -result, "cannot create a TPM");
		tpm_emulator_destroy(emulator);
		free(tis);
		return NULL;
	}
	pthread_mutex_init(&tis->lock, NULL);
	tis->emulator = emulator;
	tis->active = NO_LOCALITY;
	return tis;
}
