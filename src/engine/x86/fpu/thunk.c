/*
 * The memory of thunks: allocation and deduplication.
 *
 * The memory for code (code_memory.h) is filled from the bottom. The table of thunks is an array with
 * hash chains; a thunk is looked up by its code and traits when an instruction is decoded, under one
 * lock. The guest chooses what is made here, so both have a fixed size and running full is a normal
 * case.
 */
#include "engine/x86/fpu/thunk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/x86/bytes.h"
#include "engine/x86/host/code_memory.h"

#define ARENA_SIZE   (16u << 20)
#define THUNKS       (1u << 18)
#define BUCKETS      (1u << 14)
#define CODE_ALIGN   16u
#define RETURN_ENTRY 16u /* bytes between the ways out of faulting thunks */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int status;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* All below is guarded by `lock`, but for the addresses, which never change. */
static struct code_memory arena;
static size_t arena_used;
static struct thunk *thunks;
static uint32_t thunk_count;
static uint32_t buckets[BUCKETS]; /* index + 1 of the first thunk */

/* A slot outlives its owner in the free list: its code's place in the arena is worth keeping. */
struct thunk_slot {
	struct thunk thunk; /* first, so that a slot is found from its thunk */
	struct thunk_slot *next;
};
static struct thunk_slot *free_slots;

/*
 * Thunks never move the stack pointer, so the return address is on top wherever they fault, and
 * the way out is to jump to a `mov $result, %eax; ret`.
 */
uintptr_t thunk_escape(uintptr_t pc, enum thunk_result result)
{
	uintptr_t base = (uintptr_t)arena.executable;

	return base && pc - base < ARENA_SIZE ? base + result * RETURN_ENTRY : 0;
}

static int map_arena(void)
{
	int result = code_memory_create(&arena, "kvik-thunks", ARENA_SIZE);

	if (result < 0)
		return result;
	thunks = mmap(NULL, THUNKS * sizeof(*thunks), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (thunks == MAP_FAILED) {
		result = -errno;
		code_memory_destroy(&arena);
	}
	return result;
}

static void initialize(void)
{
	uint32_t rights;

	status = map_arena();
	if (status != 0)
		return;
	rights = code_memory_open();
	for (unsigned result = 0; result <= THUNK_INVALID; result++) {
		uint8_t *out = arena.writable + result * RETURN_ENTRY;

		out[0] = 0xb8; /* mov $result, %eax */
		bytes_store32(out + 1, result);
		out[5] = 0xc3; /* ret */
	}
	code_memory_close(rights);
	arena_used = (THUNK_INVALID + 1) * RETURN_ENTRY;
}

int thunk_initialize(void)
{
	pthread_once(&once, initialize);
	return status;
}

static uint32_t hash_bytes(uint32_t hash, const void *bytes, size_t size)
{
	const uint8_t *byte = bytes;

	while (size-- > 0)
		hash = (hash ^ *byte++) * 16777619u; /* FNV-1a */
	return hash;
}

static const uint8_t *code_start(const struct thunk *thunk)
{
	return (const uint8_t *)(uintptr_t)thunk->run;
}

static void thunk_fill(struct thunk *thunk, const struct thunk_code *code,
		       const struct thunk_traits *traits, size_t offset)
{
	uint8_t *start = arena.executable + offset;
	uint32_t rights = code_memory_open();

	bytes_copy(arena.writable + offset, code->bytes, code->length);
	code_memory_close(rights);
	thunk->run = (thunk_function *)(uintptr_t)start;
	thunk->second =
		code->second ? (thunk_function *)(uintptr_t)(start + code->second) : NULL;
	thunk->traits = *traits;
	thunk->code_size = (uint16_t)code->length;
}

/* Room for `size` bytes of code: its offset, or 0 when the arena is full. */
static size_t arena_allocate(size_t size)
{
	size_t offset = arena_used;

	size = (size + CODE_ALIGN - 1) & ~(size_t)(CODE_ALIGN - 1);
	if (size > ARENA_SIZE - offset)
		return 0;
	arena_used += size;
	return offset;
}

const struct thunk *thunk_find(const struct thunk_code *code, const struct thunk_traits *traits)
{
	uint32_t hash = hash_bytes(2166136261u, code->bytes, code->length);
	struct thunk *thunk = NULL;

	if (thunk_initialize() != 0)
		return NULL;
	hash = hash_bytes(hash, traits, sizeof(*traits));
	pthread_mutex_lock(&lock);
	uint32_t *bucket = &buckets[hash % BUCKETS];

	for (uint32_t at = *bucket; at != 0; at = thunk->next) {
		thunk = &thunks[at - 1];
		if (thunk->hash == hash && thunk->code_size == code->length &&
		    bytes_equal(&thunk->traits, traits, sizeof(*traits)) &&
		    bytes_equal(code_start(thunk), code->bytes, code->length) &&
		    (thunk->second == NULL) == (code->second == 0))
			goto out;
	}
	thunk = NULL;
	if (thunk_count == THUNKS)
		goto out;

	size_t offset = arena_allocate(code->length);

	if (offset == 0)
		goto out;
	thunk = &thunks[thunk_count++];
	thunk_fill(thunk, code, traits, offset);
	thunk->hash = hash;
	thunk->next = *bucket;
	*bucket = thunk_count;
out:
	pthread_mutex_unlock(&lock);
	return thunk;
}

struct thunk *thunk_slot_create(void)
{
	struct thunk_slot *slot = NULL;

	if (thunk_initialize() != 0)
		return NULL;
	pthread_mutex_lock(&lock);
	if (free_slots != NULL) {
		slot = free_slots;
		free_slots = slot->next;
	} else {
		size_t offset = arena_allocate(THUNK_CODE_SIZE);

		slot = offset != 0 ? calloc(1, sizeof(*slot)) : NULL;
		if (slot != NULL)
			slot->thunk.run = (thunk_function *)(uintptr_t)(arena.executable + offset);
	}
	pthread_mutex_unlock(&lock);
	return slot != NULL ? &slot->thunk : NULL;
}

void thunk_slot_destroy(struct thunk *thunk)
{
	struct thunk_slot *slot = (struct thunk_slot *)(void *)thunk;

	if (slot == NULL)
		return;
	pthread_mutex_lock(&lock);
	slot->next = free_slots;
	free_slots = slot;
	pthread_mutex_unlock(&lock);
}

void thunk_slot_set(struct thunk *slot, const struct thunk_code *code,
		    const struct thunk_traits *traits)
{
	uint32_t leaf = 0;

	thunk_fill(slot, code, traits, (size_t)(code_start(slot) - arena.executable));
	/* Code that changed through another linear address needs a serializing instruction before
	 * it runs (Intel SDM vol. 3 §8.1.3). */
	__asm__ volatile("cpuid" : "+a"(leaf) : : "rbx", "rcx", "rdx", "memory");
}
