/*
 * The store of decoded blocks, its memory and its lists: store.h.
 */
#include "engine/run/interp/store.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/x86/bytes.h"
#include "util/guarded.h"
#include "util/zeroes.h"

#define CHUNK_SIZE       (256u << 10)
#define SMALL_CHUNK_SIZE (16u << 10)
#define CHUNKS_MIN       4u
#define PAGES_SEARCHED   64 /* a range of more pages is looked for in the whole store */

_Static_assert(sizeof(struct interp_block) + sizeof(struct block_draft) < SMALL_CHUNK_SIZE, "a block fits");

/* -- creation -- */

static bool drop(struct code_holder *holder, uint64_t gpa, uint64_t last);

int interp_store_create(struct code_index *index, size_t size, size_t size_most, struct interp_store **created)
{
	struct interp_store *store = zeroes_map(sizeof(*store));

	if (!store)
		return -ENOMEM;
	store->chunk_size = size < CHUNKS_MIN * CHUNK_SIZE ? SMALL_CHUNK_SIZE : CHUNK_SIZE;
	store->chunk_count = (unsigned)(size / store->chunk_size);
	if (store->chunk_count < CHUNKS_MIN)
		store->chunk_count = CHUNKS_MIN;
	store->chunk_most = (unsigned)(size_most / store->chunk_size);
	if (store->chunk_most < store->chunk_count)
		store->chunk_most = store->chunk_count;
	store->chunk_used = calloc(store->chunk_most, sizeof(*store->chunk_used));
	if (!store->chunk_used)
		goto free_store;
	store->arena = guarded_map(store->chunk_most * store->chunk_size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, false);
	if (!store->arena)
		goto free_used;
	/* Many VMs fill little of it. */
	madvise(store->arena, store->chunk_most * store->chunk_size, MADV_NOHUGEPAGE);
	pthread_mutex_init(&store->lock, NULL);
	store->index = index;
	store->holder.drop = drop;
	code_index_add_holder(index, &store->holder);
	*created = store;
	return 0;

free_used:
	free(store->chunk_used);
free_store:
	zeroes_unmap(store, sizeof(*store));
	return -ENOMEM;
}

void interp_store_destroy(struct interp_store *store)
{
	if (!store)
		return;
	code_index_remove_holder(store->index, &store->holder);
	pthread_mutex_destroy(&store->lock);
	guarded_unmap(store->arena, store->chunk_most * store->chunk_size);
	free(store->chunk_used);
	zeroes_unmap(store, sizeof(*store));
}

/* The store has a size for one CPU, and somewhat more for each further one. With the lock held. */
static void grow(struct interp_store *store)
{
	unsigned more = (unsigned)(INTERP_STORE_SIZE_MORE / store->chunk_size);

	if (store->user_count++ == 0)
		return;
	store->chunk_count = store->chunk_most - store->chunk_count < more ? store->chunk_most :
									     store->chunk_count + more;
}

struct interp_cpu *interp_cpu_create(struct cpu *cpu, struct interp_store *store)
{
	struct interp_cpu *interp = zeroes_map(sizeof(*interp));

	if (!interp)
		return NULL;
	interp->cpu = cpu;
	interp->store = store;
	interp->epoch = cpu->code_epoch;
	interp->epoch_clock = atomic_load(&store->clock) + 1;
	pthread_mutex_lock(&store->lock);
	interp->next_user = store->users;
	store->users = interp;
	grow(store);
	pthread_mutex_unlock(&store->lock);
	store_take_rules(interp);
	return interp;
}

void interp_cpu_destroy(struct interp_cpu *interp)
{
	struct interp_cpu **at;

	if (!interp)
		return;
	pthread_mutex_lock(&interp->store->lock);
	for (at = &interp->store->users; *at != interp; at = &(*at)->next_user)
		;
	*at = interp->next_user;
	pthread_mutex_unlock(&interp->store->lock);
	zeroes_unmap(interp, sizeof(*interp));
}

/* -- what bytes mean to a CPU -- */

void store_take_rules(struct interp_cpu *interp)
{
	struct interp_store *store = interp->store;
	struct rules_copy rules;
	uint32_t number = 0;

	rules_copy_take(&rules, &interp->cpu->rules);
	pthread_mutex_lock(&store->lock);
	while (number < store->rules_count && number < STORE_RULES && !rules_copy_is(&store->rules[number], &rules))
		number++;
	if (number == store->rules_count || number == STORE_RULES) {
		number = store->rules_count++;
		if (number < STORE_RULES)
			store->rules[number] = rules;
	}
	pthread_mutex_unlock(&store->lock);
	interp->rules = number;
	interp->rules_changes = interp->cpu->rules_changes;
}

/* -- lists -- */

/* The blocks of 128 bytes of code are in a line of the host's caches: they mostly run together. */
static struct interp_block *_Atomic *block_bucket(struct interp_store *store, uint64_t gpa, uint32_t mode)
{
	unsigned line = store_hash((gpa ^ (uint64_t)mode << 52) >> 7) & ~7u;

	return &store->hash[line | (gpa >> 4 & 7)];
}

static struct interp_block **page_bucket(struct interp_store *store, uint64_t gpa)
{
	return &store->page_hash[store_hash(gpa >> 12)];
}

struct interp_block *store_find(struct interp_store *store, uint64_t gpa, uint32_t mode)
{
	struct interp_block *block = atomic_load_explicit(block_bucket(store, gpa, mode), memory_order_acquire);

	while (block && (block_gpa(block) != gpa || block->mode != mode))
		block = atomic_load_explicit(&block->next, memory_order_acquire);
	return block;
}

/* Who looks at the block at this moment still gets on to the next one. With the lock held. */
static void remove_block(struct interp_block *block)
{
	struct interp_block *next = atomic_load_explicit(&block->next, memory_order_relaxed);

	if (block_gpa(block) == BLOCK_GPA_NONE)
		return;
	atomic_store_explicit(&block->gpa, BLOCK_GPA_NONE, memory_order_relaxed);
	atomic_store_explicit(block->previous, next, memory_order_release);
	if (next)
		next->previous = block->previous;
	*block->page_previous = block->page_next;
	if (block->page_next)
		block->page_next->page_previous = block->page_previous;
}

/* With the lock held; all else of the block is there. */
static void publish(struct interp_store *store, struct interp_block *block)
{
	struct interp_block *_Atomic *bucket = block_bucket(store, block_gpa(block), block->mode);
	struct interp_block *next = atomic_load_explicit(bucket, memory_order_relaxed);
	struct interp_block **page = page_bucket(store, block_gpa(block));

	block->page_next = *page;
	block->page_previous = page;
	if (block->page_next)
		block->page_next->page_previous = &block->page_next;
	*page = block;

	atomic_store_explicit(&block->next, next, memory_order_relaxed);
	block->previous = bucket;
	if (next)
		next->previous = &block->next;
	atomic_store_explicit(bucket, block, memory_order_release);
}

void store_remove(struct interp_store *store, struct interp_block *block)
{
	pthread_mutex_lock(&store->lock);
	remove_block(block);
	pthread_mutex_unlock(&store->lock);
}

/* -- memory -- */

static uint8_t *chunk_start(const struct interp_store *store, unsigned chunk)
{
	return store->arena + chunk * store->chunk_size;
}

static unsigned chunk_after(const struct interp_store *store, unsigned chunk)
{
	return (chunk + 1) % store->chunk_count;
}

/* NULL: the present chunk is full, and so is the next one. With the lock held. */
static struct interp_block *allocate(struct interp_store *store, unsigned bytes)
{
	struct interp_block *block;

	if (store->chunk_used[store->chunk] + bytes > store->chunk_size) {
		unsigned next = chunk_after(store, store->chunk);

		if (store->chunk_used[next])
			return NULL;
		store->chunk = next;
	}
	block = (struct interp_block *)(chunk_start(store, store->chunk) + store->chunk_used[store->chunk]);
	store->chunk_used[store->chunk] += bytes;
	return block;
}

static struct interp_block *block_of(struct interp_store *store, const struct block_draft *draft)
{
	unsigned bytes = (unsigned)(sizeof(struct interp_block) + draft->size +
				    draft->count * (sizeof(draft->insns[0]) + sizeof(draft->forms[0])) + 63) & ~63u;
	struct interp_block *block = allocate(store, bytes);

	if (!block)
		return NULL;
	atomic_store_explicit(&block->gpa, draft->gpa, memory_order_relaxed);
	atomic_store_explicit(&block->compared, draft->compared, memory_order_relaxed);
	block->mode = draft->mode;
	block->size = (uint16_t)draft->size;
	block->count = (uint8_t)draft->count;
	block->flags = draft->flags;
	block->bytes = bytes;
	atomic_store_explicit(&block->cold_runs, 0, memory_order_relaxed);
	atomic_store_explicit(&block->is_marked, false, memory_order_relaxed);
	bytes_copy(block->insns, draft->insns, draft->count * sizeof(draft->insns[0]));
	bytes_copy((struct insn_form *)block_forms(block), draft->forms, draft->count * sizeof(draft->forms[0]));
	bytes_copy((uint8_t *)block_source(block), draft->source, draft->size);
	return block;
}

/* Whether the block could have been made of the draft. */
static bool is_drafted(const struct interp_block *block, const struct block_draft *draft)
{
	return block->flags == draft->flags && block->size == draft->size && block->count == draft->count &&
	       bytes_equal(block_source(block), draft->source, draft->size);
}

struct interp_block *store_add(struct interp_cpu *interp, const struct block_draft *draft)
{
	struct interp_store *store = interp->store;
	struct interp_block *block;

	pthread_mutex_lock(&store->lock);
	block = store_find(store, draft->gpa, draft->mode);
	if (block && is_drafted(block, draft)) {
		atomic_store_explicit(&block->compared, draft->compared, memory_order_relaxed);
	} else {
		/* It is older than the draft. */
		if (block)
			remove_block(block);
		block = block_of(store, draft);
		if (block) {
			publish(store, block);
			interp->decoded++;
		}
	}
	pthread_mutex_unlock(&store->lock);
	return block;
}

/* The CPU's entries that lead to [from, to), whose memory is about to be used again. */
static void forget_jumps(struct interp_cpu *interp, const void *from, const void *to)
{
	for (unsigned i = 0; i < 1u << JUMP_BITS; i++) {
		struct jump_entry *jump = &interp->jumps[i];

		if ((const void *)jump->block >= from && (const void *)jump->block < to)
			*jump = (struct jump_entry){ .block = NULL };
	}
}

/* Whether a CPU is in a handler that a block of the chunk called, or was. */
static bool is_inside(const struct interp_store *store, unsigned chunk)
{
	const uint8_t *start = chunk_start(store, chunk);

	for (const struct interp_cpu *user = store->users; user; user = user->next_user) {
		const uint8_t *running = (const uint8_t *)user->running;

		if (running >= start && running < start + store->chunk_size)
			return true;
	}
	return false;
}

static void empty(struct interp_store *store, unsigned chunk)
{
	uint8_t *start = chunk_start(store, chunk);
	struct interp_block *block;

	for (uint32_t at = 0; at < store->chunk_used[chunk]; at += block->bytes) {
		block = (struct interp_block *)(start + at);
		remove_block(block);
	}
	for (struct interp_cpu *user = store->users; user; user = user->next_user)
		if (user->has_jumps)
			forget_jumps(user, start, start + store->chunk_size);
	store->chunk_used[chunk] = 0;
	atomic_store(&store->evictions, atomic_load(&store->evictions) + 1);
}

/* The next chunk of the ring that can be. */
static bool empty_next(struct interp_store *store)
{
	unsigned chunk = store->chunk;

	for (unsigned tries = 0; tries < store->chunk_count; tries++) {
		chunk = chunk_after(store, chunk);
		if (is_inside(store, chunk))
			continue;
		empty(store, chunk);
		store->chunk = chunk;
		return true;
	}
	return false;
}

bool store_make_room(struct interp_cpu *interp, uint64_t evictions)
{
	struct interp_store *store = interp->store;
	bool began = cpu_exclusive_begin_beside(interp->cpu), is_made = true;

	pthread_mutex_lock(&store->lock);
	if (atomic_load(&store->evictions) == evictions)
		is_made = empty_next(store);
	pthread_mutex_unlock(&store->lock);
	if (began)
		cpu_exclusive_end(interp->cpu);
	return is_made;
}

/* -- code that goes: struct code_holder's -- */

/* CPUs that are inside of a block that was removed, now or before, stop behind their present instruction. */
static void stop_inside(struct interp_store *store)
{
	for (struct interp_cpu *user = store->users; user; user = user->next_user)
		if (user->running && block_gpa(user->running) == BLOCK_GPA_NONE)
			cpu_request(user->cpu, CPU_REQUEST_STOP_BLOCK);
}

/* What one page's bucket has in the range. */
static bool drop_from(struct interp_block *block, uint64_t gpa, uint64_t last)
{
	struct interp_block *next;
	bool any = false;

	for (; block; block = next) {
		next = block->page_next;
		if (block_gpa(block) > last || block_gpa(block) + block->size <= gpa)
			continue;
		remove_block(block);
		any = true;
	}
	return any;
}

static bool drop(struct code_holder *holder, uint64_t gpa, uint64_t last)
{
	struct interp_store *store = (struct interp_store *)holder;
	uint64_t pages = (last >> 12) - (gpa >> 12) + 1;
	bool any = false;

	pthread_mutex_lock(&store->lock);
	if (pages > PAGES_SEARCHED)
		for (unsigned i = 0; i < BLOCK_HASHES; i++)
			any |= drop_from(store->page_hash[i], gpa, last);
	else
		for (uint64_t page = gpa >> 12; page <= last >> 12; page++)
			any |= drop_from(*page_bucket(store, page << 12), gpa, last);
	stop_inside(store);
	pthread_mutex_unlock(&store->lock);
	return any;
}
