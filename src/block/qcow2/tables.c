/* The cache of L2 tables and refcount blocks. Guarded by the image's lock. */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

int table_cache_init(struct table_cache *cache, unsigned limit)
{
	unsigned bits = 4;

	while (bits < 16 && 1u << bits < limit)
		bits++;
	*cache = (struct table_cache){.hash_bits = bits, .limit = limit};
	cache->hash = calloc(1u << bits, sizeof(*cache->hash));
	return cache->hash ? 0 : -ENOMEM;
}

void table_cache_end(struct table_cache *cache)
{
	table_drop_all(cache);
	free(cache->hash);
	free(cache->tables);
	*cache = (struct table_cache){NULL};
}

static struct table **place_of(const struct table_cache *cache, uint64_t offset)
{
	/* Fibonacci hashing: offsets are multiples of a power of 2. */
	return &cache->hash[offset * 0x9e3779b97f4a7c15ull >> (64 - cache->hash_bits)];
}

struct table *table_find(struct table_cache *cache, uint64_t offset)
{
	struct table *table;

	for (table = *place_of(cache, offset); table; table = table->next)
		if (table->offset == offset) {
			table->was_used = true;
			return table;
		}
	return NULL;
}

static void remove_table(struct table_cache *cache, struct table *table)
{
	struct table **link = place_of(cache, table->offset);
	struct table *last = cache->tables[--cache->count];

	while (*link != table)
		link = &(*link)->next;
	*link = table->next;
	table_clean(cache, table);
	cache->tables[table->slot] = last;
	last->slot = table->slot;
	free(table->data);
	free(table);
}

static struct table *add_table(struct table_cache *cache, uint64_t offset, uint64_t size)
{
	struct table *table = calloc(1, sizeof(*table));
	struct table **place = place_of(cache, offset);

	if (cache->count == cache->capacity) {
		unsigned capacity = cache->capacity ? cache->capacity * 2 : 16;
		struct table **more = realloc(cache->tables, capacity * sizeof(struct table *));

		if (more) {
			cache->tables = more;
			cache->capacity = capacity;
		}
	}
	if (table && posix_memalign((void **)&table->data, FILE_PAGE, size) != 0)
		table->data = NULL;
	if (!table || !table->data || cache->count == cache->capacity) {
		if (table)
			free(table->data);
		free(table);
		return NULL;
	}
	table->offset = offset;
	table->was_used = true;
	table->next = *place;
	*place = table;
	table->slot = cache->count;
	cache->tables[cache->count++] = table;
	return table;
}

int table_get(struct qcow2 *image, struct table_cache *cache, uint64_t offset, struct table **table)
{
	int result;

	*table = table_find(cache, offset);
	if (*table)
		return 0;
	/* It would read as zeroes; and writing it there would blow the file up, and with it the work of each check. */
	if (offset >= __atomic_load_n(&image->node.file.size, __ATOMIC_RELAXED))
		return image_is_corrupt(image, "a table is at %#llx, beyond the end of the file",
					(unsigned long long)offset);
	*table = add_table(cache, offset, image->cluster_size);
	if (!*table)
		return -ENOMEM;
	result = file_read_at(&image->node.file, offset, (*table)->data, image->cluster_size);
	if (result < 0) {
		remove_table(cache, *table);
		*table = NULL;
	}
	return result;
}

int table_new(struct qcow2 *image, struct table_cache *cache, uint64_t offset, struct table **table)
{
	*table = table_find(cache, offset);
	if (!*table)
		*table = add_table(cache, offset, image->cluster_size);
	if (!*table)
		return -ENOMEM;
	memset((*table)->data, 0, image->cluster_size);
	table_dirty(cache, *table);
	return 0;
}

void table_dirty(struct table_cache *cache, struct table *table)
{
	cache->dirty += !table->is_dirty;
	table->is_dirty = true;
}

void table_clean(struct table_cache *cache, struct table *table)
{
	cache->dirty -= table->is_dirty;
	table->is_dirty = false;
}

void table_drop(struct table_cache *cache, uint64_t offset)
{
	struct table *table = table_find(cache, offset);

	if (table)
		remove_table(cache, table);
}

void table_drop_all(struct table_cache *cache)
{
	while (cache->count > 0)
		remove_table(cache, cache->tables[cache->count - 1]);
}

void table_trim(struct table_cache *cache)
{
	unsigned looks;

	for (looks = 2 * cache->count; cache->count > cache->limit && looks > 0; looks--) {
		struct table *table;

		if (cache->hand >= cache->count)
			cache->hand = 0;
		table = cache->tables[cache->hand];
		if (table->was_used || table->is_dirty || table->is_flushing) {
			table->was_used = false;
			cache->hand++;
		} else {
			remove_table(cache, table);
		}
	}
}
