/*
 * The translator: guest x86-64 code to host x86-64 code, block by block.
 *
 * Translated code keeps thirteen guest registers and the arithmetic flags in the host's own; most
 * guest instructions are copied with their registers renamed and their memory operands redirected
 * through the software TLB. Whatever is rare, and every slow path of a memory access, falls back to
 * the interpreter's handler of that one instruction, so there is one definition of what each
 * instruction does, and every exception is as precise as the interpreter's.
 *
 * The CPUs of a VM share their translations (struct jit_cache); each makes some, on its thread, and
 * runs all.
 */
#ifndef KVIK_ENGINE_RUN_JIT_JIT_H
#define KVIK_ENGINE_RUN_JIT_JIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/run/jit/frame.h"
#include "engine/run/tier/code_index.h"

/* Bytes of host code a VM; what is kept about the code takes up to as many again. */
#define JIT_CACHE_SIZE     (128u << 20) /* by default */
#define JIT_CACHE_SIZE_MIN (256u << 10)
#define JIT_CACHE_SIZE_MAX (1u << 30)  /* jumps reach 2 GiB */

#define JIT_WARMTH    8    /* runs, by default */
#define JIT_PROMOTION 8192 /* likewise */

/* By which what runs in ring 0 is promoted sooner: programs end, or are executed directly, but a kernel runs for
 * as long as its machine. Before the first program it starts, and little of that comes again. */
#define JIT_START_SOONER  32
#define JIT_KERNEL_SOONER 256

struct jit;
struct jit_cache;

/* How a VM's translations are made. */
struct jit_options {
	size_t cache_size;    /* JIT_CACHE_SIZE_MIN..MAX */
	uint8_t warmth;       /* a block's executions by the interpreter before it is translated */
	/* The runs of a program's lean translation, about, before it is made in full; 0: at once. */
	uint16_t promotion;
	bool counts_lookups;  /* translated code counts what it looks up (jit_get_count) */
	bool measures_time;   /* of translations, by a system call at each one's begin and end */
	/* Flags are kept through every access, as though its fault were sure to show them (tests). */
	bool keeps_all_flags;
	int dump_fd;          /* every block is written there as text, slowly; -1: nowhere */
	/* A file of translations that are kept, and a pipe to who keeps them (engine/run/keeper.h); -1: none.
	 * Both stay the caller's; the first is read when the cache is created. */
	int kept_fd, kept_requests_fd;
};

#define JIT_OPTIONS_DEFAULT                                                                        \
	((struct jit_options){ .cache_size = JIT_CACHE_SIZE, .warmth = JIT_WARMTH,             \
			      .promotion = JIT_PROMOTION, .dump_fd = -1, .kept_fd = -1,       \
			      .kept_requests_fd = -1 })

/*
 * A code cache, a holder of the VM's code index. 0; -ENOTSUP when the host lacks what translated code needs (LAHF in 64-bit mode) or
 * has shadow stacks on, -EINVAL for a size out of range, -ENOMEM or another error of the host: then
 * the interpreter serves alone.
 */
int jit_cache_create(const struct jit_options *options, struct code_index *index,
		     struct jit_cache **created);
/* When no CPU uses it any more; NULL is none. */
void jit_cache_destroy(struct jit_cache *cache);

/*
 * Give `cpu`, the first part of a struct jit_cpu, a translator that uses `cache`, as its next tier. CPUs
 * that share a cache share guest memory, and have a platform with exclusive sections. Others that use it
 * may run meanwhile, but not the translations that they made while they were alone: drop those
 * before this CPU runs. 0 or -ENOMEM.
 */
int jit_attach(struct cpu *cpu, struct jit_cache *cache);

/* Change keeps_all_flags for blocks that are translated from now on. No CPU runs. */
void jit_keep_all_flags(struct jit_cache *cache, bool keep);
/* Likewise `promotion`, but for blocks in which flags are live everywhere. */
void jit_set_promotion(struct jit_cache *cache, unsigned promotion);

struct kept_environment;
struct kept_request;

/*
 * For who keeps translations: make the one that a request asks for, whose granules are `bytes`, in a VM of that
 * environment. The CPU is one that never runs, and its cache's only one. The size of the record, which is put
 * at `record`, or 0: there is none to be had, or it does not fit.
 */
size_t jit_make_record(struct cpu *cpu, const struct kept_environment *environment,
		       const struct kept_request *request, const uint8_t *bytes, void *record, size_t room);


struct jit_statistics {
	uint64_t kept_blocks; /* that were taken from what is kept, instead of translated */
	uint64_t blocks, promotions;
	/* The translations that are lean, in [1], and those in full. */
	struct jit_form_statistics {
		uint64_t blocks, guest_instructions, guest_bytes;
		uint64_t host_bytes; /* of code, but for what counts lookups */
		uint64_t kept_bytes; /* struct jit_block with links and sites */
		uint64_t ns;         /* of CPU time, while lookups are counted */
	} forms[2];
	uint64_t entries, fallbacks, links;
	uint64_t evictions; /* of chunks: chunk.c */
	uint64_t stayed_blocks; /* in these: keep.c */
	uint64_t interpreted_blocks;
};
void jit_get_statistics(const struct cpu *cpu, struct jit_statistics *statistics);

#endif
