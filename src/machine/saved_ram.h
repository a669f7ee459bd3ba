/*
 * RAM in a saved machine: runs of pages, each a guest-physical address and a length (64 bits each) and the bytes.
 * An address with its lowest bit set is of a run of zeroes, which has no bytes. A page may come more than once, and
 * the last one counts; what does not come is zero. A run of length 0 ends it, with the checksum of all bytes of the
 * runs in place of the address. Little-endian.
 */
#ifndef KVIK_MACHINE_SAVED_RAM_H
#define KVIK_MACHINE_SAVED_RAM_H

#include "machine/ram.h"
#include "util/error.h"

/* Where it goes to or comes from: all of `size` bytes, 0 or -errno (-EPIPE: there are no more). One is NULL. */
struct saved_stream {
	int (*write)(void *context, const void *bytes, size_t size);
	int (*read)(void *context, void *bytes, size_t size);
	void *context;
};

/* FNV-1a over 64-bit words: against accidents, not against people. */
#define SAVED_CHECKSUM_START 0xcbf29ce484222325ull
uint64_t saved_checksum(uint64_t sum, const void *bytes, size_t size);

/* All of it while the guest stands still. 0 or -errno. */
int saved_ram_write(const struct saved_stream *stream, const struct ram *ram);
/* What was there goes. 0, or -errno and `error`. */
int saved_ram_read(const struct saved_stream *stream, struct ram *ram, struct error *error);

/*
 * RAM that changes while it is written: all of it, then in rounds what was written to meanwhile. One thread at a
 * time; vCPUs run. What a page is sent as is what it was at some moment since it was taken from `pending`.
 */
struct live_ram {
	const struct ram *ram;
	const struct saved_stream *stream;
	/* Asked before each run; other than 0 ends the round with that -errno. NULL: nobody. */
	int (*go_on)(void *context);
	uint64_t *pending[GUEST_MEMORY_MAX_REGIONS]; /* pages of each region that are to be sent, a bit each */
	uint64_t *words;		      /* for a look at the log */
	uint8_t *copy;
	uint64_t sum;
	/* Also read by other threads, atomically: */
	uint64_t normal_pages, zero_pages, pending_pages, sent_bytes;
};
/* 0 or -ENOMEM; live_ram_end in any case. */
int live_ram_begin(struct live_ram *live, const struct ram *ram, const struct saved_stream *stream);
void live_ram_end(struct live_ram *live);
/* All pages that the RAM has are to be sent. */
void live_ram_add_all(struct live_ram *live);
/* What was written to since the last time is to be sent, too. 0, or -errno and `error`. */
int live_ram_add_written(struct live_ram *live, const struct kvm_vm *vm, struct error *error);
/* Send what is pending. 0 or -errno. */
int live_ram_send(struct live_ram *live);
/* Send the end. */
int live_ram_finish(struct live_ram *live);

#endif
