/*
 * Kept translations: what lies in a code cache file (docs/engine/code-cache.md), and what is asked of
 * the process that makes it. Both are of one build of kvik on one kind of CPU, and nobody else's, so
 * they are C structs as they stand.
 *
 * A file is a struct kept_header, a table of struct kept_bucket (open addressing, linear probing), and
 * records. A record is a translation that depends on no address: the guest's bytes that it was made from,
 * host code as it would stand at the start of the code cache, and what in it has to be set when it is
 * copied elsewhere.
 *
 * A record is what a bucket names, and nothing else is: guests choose bytes inside of records and of the
 * header, and can make them look like anything. So nobody speaks of places in the file, but of buckets.
 */
#ifndef KVIK_ENGINE_RUN_JIT_KEPT_FORMAT_H
#define KVIK_ENGINE_RUN_JIT_KEPT_FORMAT_H

#include <stdint.h>

#include "engine/x86/cpu.h"

#define KEPT_MAGIC        "kvikcode"
#define KEPT_ENVIRONMENTS 8
#define KEPT_BUILD_ID     20 /* bytes of the build id that count */
#define KEPT_HOST_WORDS   11 /* as HOST_WORDS */
#define KEPT_SIZE_MAX     (512u << 20) /* of a file */
#define KEPT_KEY_BYTES    16 /* guest bytes, from a block's start, that its hash is of */
#define KEPT_RANGES       6
#define KEPT_PROBES       64 /* buckets, from that of its hash on, one of which names a record */

/* Which kvik on which CPU made the translations. */
struct kept_maker {
	uint8_t build_id[KEPT_BUILD_ID];
	uint32_t words[KEPT_HOST_WORDS];
	uint64_t xcr0;
	uint8_t is_amd, has_fsgsbase, has_fast_pext, is_masked;
	uint32_t zero;
};

enum kept_environment_flag {
	KEPT_HAS_FEATURES = 1 << 0,
	KEPT_HAS_LZCNT = 1 << 1,
	KEPT_HAS_TZCNT = 1 << 2,
	KEPT_IS_AMD = 1 << 3,
	KEPT_IS_ALONE = 1 << 4,
	KEPT_IS_SHARED = 1 << 5,
	KEPT_COUNTS_LOOKUPS = 1 << 6,
	KEPT_FLAGS = (1 << 7) - 1, /* all of them */
};

/* What a translation depends on besides its bytes and their mode: the VM that it is made for. */
struct kept_environment {
	uint32_t features[CPU_FEATURE_WORDS]; /* struct insn_rules'; zeroes without KEPT_HAS_FEATURES */
	uint32_t flags; /* enum kept_environment_flag */
};

struct kept_bucket {
	uint32_t hash;
	uint32_t at; /* of the record, in units of 8 bytes from the file's start; 0: empty */
};

struct kept_header {
	char magic[8];
	struct kept_maker maker;
	uint64_t size;         /* of the file */
	uint32_t run;          /* counts the times that it was written */
	uint32_t record_count;
	uint32_t bucket_count; /* a power of 2; the buckets are behind the header */
	uint32_t environment_count;
	struct kept_environment environments[KEPT_ENVIRONMENTS];
	uint64_t check;        /* kept_check of what is before it */
};

struct kept_range {
	uint16_t offset, size; /* in the page */
};

struct kept_link {
	int32_t page_distance;
	uint16_t offset;          /* as struct jit_link */
	uint16_t patch, unlinked; /* from the code's start */
	uint16_t zero;
};

struct kept_relocation {
	uint16_t at;   /* a displacement, of 32 bits, to a stub */
	uint16_t stub; /* its number: which pointer of struct jit_stubs */
};

/* With, behind it, and each of whole multiples of 8 bytes: the ranges of the page that it was made from,
 * their bytes, one after the other, the links, the sites, the relocations and the code. */
struct kept_record {
	uint32_t size;      /* bytes, a multiple of 8 */
	uint32_t run;       /* header.run when it was used last */
	uint64_t check;     /* kept_check of what is behind it, up to its size */
	uint32_t hash;      /* kept_hash */
	uint32_t mode;
	uint16_t start;     /* in the page */
	uint16_t guest_size;
	uint16_t code_size;
	uint16_t code_at;   /* struct jit_block's `code`, from its entry */
	uint16_t heat_at;   /* where the code has the offset of its heat; 0: nowhere */
	uint16_t link_count, site_count, relocation_count;
	uint8_t range_count;
	uint8_t environment; /* its number in the header */
	uint8_t entry_page_at;
	uint8_t is_lean;
	uint32_t zero;
};

/*
 * What a VM asks to be kept. Requests come in batches, each in one write of at most KEPT_BATCH bytes.
 */
#define KEPT_BATCH 4096 /* PIPE_BUF: such writes are not torn apart */

struct kept_batch {
	uint32_t size; /* bytes, this struct included */
	uint32_t zero;
	struct kept_environment environment;
};

enum kept_request_kind {
	KEPT_MAKE = 1, /* with the granules' bytes behind it, 64 each */
	KEPT_USED,     /* a record of the file that the VM was given is good */
};

struct kept_request {
	uint32_t size; /* bytes, this struct included */
	uint16_t kind;
	uint16_t start; /* in the page */
	uint32_t mode;
	uint16_t count; /* instructions at most */
	uint16_t is_lean;
	uint64_t granules; /* of KEPT_MAKE; of KEPT_USED, the number of the record's bucket */
};

#endif
