#include "device/tpm/tpm_blobs.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/endian.h"

enum { INIT = 2, GET_STATEBLOB = 12, SET_STATEBLOB = 13, STOP = 14, SET_BUFFERSIZE = 17 };

#define PATIENCE_MS    10000
#define FLAG_DECRYPTED 1u
#define NON_FATAL      0x800u /* a result: there is none now */

/* The socket does not block, and read(2), write(2) and poll(2) are what a confined process has. */
static int move(int fd, void *bytes, size_t size, bool is_out)
{
	struct pollfd wait = {.fd = fd, .events = is_out ? POLLOUT : POLLIN};
	uint8_t *at = bytes;
	ssize_t part;
	int ready;

	while (size) {
		ready = poll(&wait, 1, PATIENCE_MS);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready ? -errno : -ETIMEDOUT;
		part = is_out ? write(fd, at, size) : read(fd, at, size);
		if (part < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (part <= 0)
			return part ? -errno : -ECONNRESET;
		at += part;
		size -= part;
	}
	return 0;
}

/* A request of up to four numbers, with bytes behind them, and the numbers that it is answered with. */
static int ask(int control, const uint32_t *request, unsigned count, const void *bytes, size_t size, uint32_t *reply,
	       unsigned replies, struct error *error)
{
	uint8_t words[16];
	unsigned i;
	int result;

	for (i = 0; i < count; i++)
		put_be32(words + 4 * i, request[i]);
	result = move(control, words, count * 4, true);
	if (result == 0)
		result = move(control, (void *)bytes, size, true);
	if (result == 0)
		result = move(control, words, replies * 4, false);
	if (result < 0)
		return error_set_errno(error, -result, "the TPM's process does not answer");
	for (i = 0; i < replies; i++)
		reply[i] = get_be32(words + 4 * i);
	if (reply[0] && !(request[0] == GET_STATEBLOB && (reply[0] & NON_FATAL)))
		return error_set(error, EIO, "the TPM's process refuses request %u with %u", request[0], reply[0]);
	return 0;
}

static int read_blob(int control, unsigned type, struct tpm_blob *blob, struct error *error)
{
	const uint32_t request[] = {GET_STATEBLOB, FLAG_DECRYPTED, type, 0};
	uint32_t reply[4]; /* the result, flags, the size of all, and of what comes now */
	int result = ask(control, request, 4, NULL, 0, reply, 4, error);

	if (result < 0)
		return result;
	if (reply[2] != reply[3] || reply[2] > TPM_BLOB_BYTES_MAX)
		return error_set(error, EPROTO, "the TPM's process has %u bytes of state, and tells %u of them", reply[2],
				 reply[3]);
	blob->flags = reply[1];
	blob->size = reply[2];
	blob->bytes = malloc(blob->size ? blob->size : 1);
	if (!blob->bytes)
		return error_set_errno(error, ENOMEM, "the TPM's state");
	result = move(control, blob->bytes, blob->size, false);
	return result < 0 ? error_set_errno(error, -result, "the TPM's process does not answer") : 0;
}

int tpm_blobs_read(int control, struct tpm_blob blobs[TPM_BLOBS], struct error *error)
{
	unsigned i;
	int result = 0;

	memset(blobs, 0, TPM_BLOBS * sizeof(blobs[0]));
	for (i = 0; i < TPM_BLOBS && result == 0; i++)
		result = read_blob(control, i + 1, &blobs[i], error);
	return result;
}

int tpm_blobs_write(int control, const struct tpm_blob blobs[TPM_BLOBS], uint32_t buffer_bytes, struct error *error)
{
	const uint32_t stop[] = {STOP}, buffer[] = {SET_BUFFERSIZE, buffer_bytes}, init[] = {INIT, 0};
	uint32_t set[4] = {SET_STATEBLOB}, reply[4];
	int result = ask(control, stop, 1, NULL, 0, reply, 1, error);
	unsigned i;

	for (i = 0; i < TPM_BLOBS && result == 0; i++) {
		if (!blobs[i].size)
			continue;
		set[1] = blobs[i].flags;
		set[2] = i + 1;
		set[3] = blobs[i].size;
		result = ask(control, set, 4, blobs[i].bytes, blobs[i].size, reply, 1, error);
	}
	if (result == 0)
		result = ask(control, buffer, 2, NULL, 0, reply, 4, error);
	return result < 0 ? result : ask(control, init, 2, NULL, 0, reply, 1, error);
}

void tpm_blobs_free(struct tpm_blob blobs[TPM_BLOBS])
{
	unsigned i;

	for (i = 0; i < TPM_BLOBS; i++) {
		free(blobs[i].bytes);
		blobs[i].bytes = NULL;
	}
}

void tpm_blobs_transfer(struct state_stream *state, struct tpm_blob blobs[TPM_BLOBS])
{
	unsigned i;

	for (i = 0; i < TPM_BLOBS; i++) {
		state_u32(state, "blob_flags", &blobs[i].flags);
		state_u32(state, "blob_size", &blobs[i].size);
		state_check(state, "blob_size", blobs[i].size <= TPM_BLOB_BYTES_MAX);
		if (state->has_failed)
			return;
		if (state->is_loading) {
			blobs[i].bytes = calloc(1, blobs[i].size ? blobs[i].size : 1);
			if (!blobs[i].bytes) {
				state_fail(state, "%s", strerror(ENOMEM));
				return;
			}
		}
		state_bytes(state, "blob", blobs[i].bytes, blobs[i].size);
	}
}
