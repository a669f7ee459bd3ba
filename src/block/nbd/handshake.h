/* What is agreed on with a server before the first request ("Handshake phase"). */
#ifndef KVIK_BLOCK_NBD_HANDSHAKE_H
#define KVIK_BLOCK_NBD_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "block/nbd/wire.h"
#include "util/error.h"

struct nbd_terms {
	uint64_t size; /* of the export, at most INT64_MAX */
	uint16_t flags;
	uint32_t block_bytes;	/* that requests are multiples of: a power of 2, at most 64 KiB */
	uint32_t request_bytes; /* at most, of one request: a multiple of block_bytes */
	bool is_structured;	/* structured replies */
	bool has_allocation;	/* the context base:allocation, known as ... */
	uint32_t allocation_id;
};

/* `name` is the whole name, for messages. 0, or -errno and `error`. */
int nbd_handshake(struct wire *wire, const char *name, const char *export_name, struct nbd_terms *terms,
		  struct error *error);

#endif
