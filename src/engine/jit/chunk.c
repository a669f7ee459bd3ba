/*
 * Memory for translations: a ring of chunks that fill up one after the other. When the last is full,
 * the oldest is emptied and filled again, so that room never costs more than one chunk's blocks.
 *
 * A chunk has two parts: host code, mapped twice, once writable and once executable; and what is kept
 * about each block (struct jit_block with its links and records). A block that is removed stays where
 * it is, because the CPU may be inside it. Chunks are emptied by the dispatcher, when the CPU is in no
 * translated code, and may go back to none: whoever keeps addresses of code, blocks, links or records
 * across that must forget them when jit->evictions changes.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/jit/internal.h"

#define CHUNK_SIZE       (256u << 10)
#define SMALL_CHUNK_SIZE (64u << 10)
#define CHUNKS_MIN       4

static uint8_t *map(int fd, size_t size, int protection)
{
	return mmap(NULL, size, protection, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
						   : MAP_SHARED, fd, 0);
}

int jit_chunks_create(struct jit *jit, size_t size)
{
	if (size < JIT_CACHE_SIZE_MIN || size > JIT_CACHE_SIZE_MAX)
		return -EINVAL;
	jit->chunk_size = size < CHUNKS_MIN * CHUNK_SIZE ? SMALL_CHUNK_SIZE : CHUNK_SIZE;
	jit->chunk_count = size / jit->chunk_size;
	jit->size = JIT_STUBS_SIZE + (size_t)jit->chunk_count * jit->chunk_size;
	jit->chunks = calloc(jit->chunk_count, sizeof(*jit->chunks));
	if (!jit->chunks)
		return -ENOMEM;
	jit->memory_fd = memfd_create("kvik-code", MFD_CLOEXEC);
	if (jit->memory_fd < 0 || ftruncate(jit->memory_fd, jit->size) < 0)
		return -errno;
	jit->writable = map(jit->memory_fd, jit->size, PROT_READ | PROT_WRITE);
	jit->executable = map(jit->memory_fd, jit->size, PROT_READ | PROT_EXEC);
	jit->data = map(-1, jit->size, PROT_READ | PROT_WRITE);
	if (jit->writable == MAP_FAILED || jit->executable == MAP_FAILED || jit->data == MAP_FAILED)
		return -ENOMEM;
	return 0;
}

static size_t chunk_start(const struct jit *jit)
{
	return JIT_STUBS_SIZE + (size_t)jit->chunk * jit->chunk_size;
}

/* The block's memory is about to be used again. */
static void release(struct jit *jit, struct jit_block *block)
{
	if (!block->dead) {
		jit_block_remove(jit, block);
		/* It comes back when it is warm again, so that cold code does not fill the ring. */
		jit->heat[jit_hash(block->gpa)] = 0;
	}
	if (block->page)
		jit_page_release(jit, block->page);
	free(block->script);
}

static void chunk_empty(struct jit *jit, struct jit_chunk *chunk)
{
	for (struct jit_block *block = chunk->blocks; block; block = block->next_in_chunk)
		release(jit, block);
	*chunk = (struct jit_chunk){0};
}

void jit_chunks_destroy(struct jit *jit)
{
	for (unsigned i = 0; jit->chunks && i < jit->chunk_count; i++)
		chunk_empty(jit, &jit->chunks[i]);
	if (jit->writable != MAP_FAILED)
		munmap(jit->writable, jit->size);
	if (jit->executable != MAP_FAILED)
		munmap(jit->executable, jit->size);
	if (jit->data != MAP_FAILED)
		munmap(jit->data, jit->size);
	if (jit->memory_fd >= 0)
		close(jit->memory_fd);
	free(jit->chunks);
}

void jit_chunk_next(struct jit *jit)
{
	struct jit_chunk *chunk;

	jit->chunk = (jit->chunk + 1) % jit->chunk_count;
	chunk = &jit->chunks[jit->chunk];
	if (!chunk->blocks)
		return;
	chunk_empty(jit, chunk);
	jit->evictions++;
	jit->statistics.evictions++;
}

void jit_chunk_emitter(const struct jit *jit, struct emitter *e)
{
	const struct jit_chunk *chunk = &jit->chunks[jit->chunk];
	size_t at = chunk_start(jit) + chunk->code_used;

	*e = (struct emitter){ .base = jit->writable + at, .code = jit->executable + at,
			       .size = jit->chunk_size - chunk->code_used };
}

struct jit_block *jit_chunk_room(const struct jit *jit, size_t size)
{
	const struct jit_chunk *chunk = &jit->chunks[jit->chunk];

	if (size > jit->chunk_size - chunk->data_used)
		return NULL;
	return (struct jit_block *)(jit->data + chunk_start(jit) + chunk->data_used);
}

void jit_chunk_add(struct jit *jit, struct jit_block *block, size_t size, size_t code_size)
{
	struct jit_chunk *chunk = &jit->chunks[jit->chunk];

	chunk->data_used += (size + 15) & ~(size_t)15;
	chunk->code_used += (code_size + 15) & ~(size_t)15;
	block->next_in_chunk = chunk->blocks;
	chunk->blocks = block;
}
