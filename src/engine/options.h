/* What can be chosen for a system handle of the engine, and holds for the VMs made from it. */
#ifndef KVIK_ENGINE_OPTIONS_H
#define KVIK_ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "util/stub.h"

/* How vCPUs execute guest code. */
enum engine_tier {
	/* What takes least time: translate what is warm, where the host allows it; and as DIRECT, where
	 * there are stubs and that pays. */
	ENGINE_TIER_AUTO,
	ENGINE_TIER_INTERPRETER,
	ENGINE_TIER_TRANSLATOR,  /* translate; KVM_CREATE_VCPU fails (ENOTSUP) where that can't be */
	/* Ring-3 code unmodified in stubs (docs/engine/direct.md), whatever it costs, where there are `stubs`,
	 * memory that they can map (engine_share_memory), and a host that allows it; the rest as AUTO. */
	ENGINE_TIER_DIRECT,
	ENGINE_TIER_LOCKSTEP,    /* compare the two, block by block: for one vCPU, slow */
	ENGINE_TIER_DIRECT_LOCKSTEP, /* as DIRECT, compared with the interpreter at each crossing; likewise */
};

/* Bytes of translated code for each VM; what is kept about the code takes up to as many again. */
#define ENGINE_CODE_CACHE_MIN     (256ull << 10)
#define ENGINE_CODE_CACHE_MAX     (1ull << 30)
#define ENGINE_CODE_CACHE_DEFAULT (128ull << 20)

#define ENGINE_WARMTH_DEFAULT    8
#define ENGINE_PROMOTION_DEFAULT 8192

struct engine_options {
	enum engine_tier tier;
	uint64_t code_cache_bytes; /* ENGINE_CODE_CACHE_MIN..MAX */
	uint8_t warmth; /* a block's runs by the interpreter before it is translated; 0: none */
	uint16_t promotion; /* then, about, before a program's is translated again, with effort; 0: at once */
	/* For engine_read_statistics, sample what vCPUs spend their time on, and have translated code
	 * count its lookups, which costs it some time. */
	bool keeps_statistics;
	/* All translated code is written there as text, guest and host instructions side by side: for
	 * whoever debugs the translator. Stays the caller's, and open. -1: nowhere. */
	int code_dump_fd;
	/* Translations that are kept: a file of them, and a pipe that does not block, to who keeps them
	 * (engine_keeper_serve). Both stay the caller's, and the pipe open. -1: none. */
	int kept_code_fd, kept_requests_fd;
	/* The host's own KVM, where there is one, is not asked for what is known of the processor: what a VM can do
	 * is the same without. */
	bool avoids_host_kvm;
	/* Where stubs come from that do engine_stub_function; outlives all VMs. NULL: there are none. */
	const struct stub_source *stubs;
};

#define ENGINE_OPTIONS_DEFAULT                                                                     \
	((struct engine_options){ .code_cache_bytes = ENGINE_CODE_CACHE_DEFAULT,                   \
				  .warmth = ENGINE_WARMTH_DEFAULT,                         \
				  .promotion = ENGINE_PROMOTION_DEFAULT, .code_dump_fd = -1,           \
				  .kept_code_fd = -1, .kept_requests_fd = -1 })

#endif
