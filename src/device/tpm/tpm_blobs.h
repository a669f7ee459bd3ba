/*
 * What a TPM keeps, out of its process and into another (swtpm_ioctls(3), CMD_GET_STATEBLOB and CMD_SET_STATEBLOB): what is
 * permanent, what a reset ends, and what it has saved for a sleep. The control channel has nothing else under way.
 */
#ifndef KVIK_DEVICE_TPM_TPM_BLOBS_H
#define KVIK_DEVICE_TPM_TPM_BLOBS_H

#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "util/state.h"

#define TPM_BLOBS	   3
#define TPM_BLOB_BYTES_MAX (1u << 20)

struct tpm_blob {
	uint32_t flags, size;
	uint8_t *bytes; /* owned; NULL: none */
};

/* All of them, the caller's to free; and back, into a TPM that goes on from there, with buffers of that size. Both wait, for
 * seconds at most. 0, or -errno and `error`. */
int tpm_blobs_read(int control, struct tpm_blob blobs[TPM_BLOBS], struct error *error);
int tpm_blobs_write(int control, const struct tpm_blob blobs[TPM_BLOBS], uint32_t buffer_bytes, struct error *error);
void tpm_blobs_free(struct tpm_blob blobs[TPM_BLOBS]);

/* As fields of a saved state. What is loaded is the caller's to free. */
void tpm_blobs_transfer(struct state_stream *state, struct tpm_blob blobs[TPM_BLOBS]);

#endif
