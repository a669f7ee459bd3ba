/*
 * A TPM 2.0 that a process of its own is: swtpm, by the protocol of its control channel and data channel (swtpm_ioctls(3)).
 *
 * What a guest asks for is passed on without waiting: commands and what has to come before them (a reset, another
 * locality) stand in a queue, and the I/O thread takes answers as they come. A process that has gone, or says what is
 * no answer, makes every command fail from then on.
 */
#ifndef KVIK_DEVICE_TPM_TPM_EMULATOR_H
#define KVIK_DEVICE_TPM_TPM_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "util/event_loop.h"

#define TPM_BUFFER_BYTES 4096 /* no command and no answer has more */

struct state_stream;
struct tpm_emulator;

/*
 * Agree with the process behind a connected control channel, which is the emulator's from now on, also on failure.
 * Waits for its answers, for seconds at most. NULL, and `error`: it is none that can be used, or a TPM 1.2.
 */
struct tpm_emulator *tpm_emulator_create(int control, struct error *error);
void tpm_emulator_destroy(struct tpm_emulator *emulator); /* NULL is fine */

/* Who hears of answers, on the I/O thread without locks. */
struct tpm_user {
	/* The answer to what was submitted, of at least a header and at most the buffer's size. */
	void (*answered)(void *context, const uint8_t *answer, size_t size);
	void *context;
};
/* The front end it is for; commands and answers have at most `buffer_bytes`. Before tpm_emulator_reset. 0 or -errno. */
int tpm_emulator_attach(struct tpm_emulator *emulator, struct event_loop *loop, size_t buffer_bytes,
			const struct tpm_user *user);

/* The machine is reset: what is under way is not answered any more, and the TPM begins anew. I/O thread. */
void tpm_emulator_reset(struct tpm_emulator *emulator);
/* Have a command carried out, by the software at a locality. False: one is under way. Any thread; device locks may be
 * held. */
bool tpm_emulator_submit(struct tpm_emulator *emulator, uint8_t locality, const uint8_t *command, size_t size);
/* Have what is under way end early; it is answered all the same. Likewise. */
void tpm_emulator_cancel(struct tpm_emulator *emulator);
/* TPM_ACCESS's tpmEstablishment, and its end. Likewise. */
bool tpm_emulator_is_established(const struct tpm_emulator *emulator);
void tpm_emulator_reset_established(struct tpm_emulator *emulator, uint8_t locality);

/*
 * The TPM's part of a front end's state. Before that is saved, wait for what is under way, which is answered as ever, for
 * seconds at most: false, and the stream has failed. Then save what the TPM keeps; or load it: what the TPM was before is
 * lost, also when that fails. I/O thread, without locks; the vCPUs are parked.
 */
bool tpm_emulator_settle(struct tpm_emulator *emulator, struct state_stream *state);
void tpm_emulator_save(struct tpm_emulator *emulator, struct state_stream *state);
/* `blobs` were in the stream (tpm_blobs.h). 0, or -errno and `error`. */
struct tpm_blob;
int tpm_emulator_load(struct tpm_emulator *emulator, const struct tpm_blob *blobs, struct error *error);

#endif
