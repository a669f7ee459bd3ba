#include "engine/run/jit/kept/shelf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"

void kept_shelf_init(struct kept_shelf *shelf, uint64_t limit)
{
	*shelf = (struct kept_shelf){ .limit = limit };
}

void kept_shelf_free(struct kept_shelf *shelf)
{
	for (unsigned i = 0; i < shelf->count; i++)
		if (shelf->entries[i].is_owned)
			free((void *)shelf->entries[i].record);
	free(shelf->entries);
	free(shelf->table);
	kept_shelf_init(shelf, shelf->limit);
}

/* The buckets of a file with so many records: half of them are empty. */
static unsigned bucket_count(unsigned records)
{
	unsigned count = 16;

	while (count < records * 2)
		count *= 2;
	return count;
}

static size_t header_bytes(unsigned records)
{
	return sizeof(struct kept_header) + bucket_count(records) * sizeof(struct kept_bucket);
}

static bool same_environment(const struct kept_environment *a, const struct kept_environment *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* Its number, as a new one if need be, or -1: there are too many. */
static int take_environment(struct kept_shelf *shelf, const struct kept_environment *environment)
{
	for (unsigned i = 0; i < shelf->environment_count; i++)
		if (same_environment(&shelf->environments[i], environment))
			return (int)i;
	if (shelf->environment_count == KEPT_ENVIRONMENTS)
		return -1;
	shelf->environments[shelf->environment_count] = *environment;
	return (int)shelf->environment_count++;
}

/* Whether they are of the same guest code, in the same place and mode. */
static bool is_same(const struct kept_record *a, const struct kept_parts *b)
{
	const struct kept_record *other = b->record;
	struct kept_parts mine;
	size_t sources;

	if (a->hash != other->hash || a->mode != other->mode || a->start != other->start ||
	    a->is_lean != other->is_lean || a->range_count != other->range_count)
		return false;
	if (!kept_record_look(a, a->size, &mine))
		return false;
	sources = (size_t)((const uint8_t *)mine.links - (const uint8_t *)mine.ranges);
	return sources == (size_t)((const uint8_t *)b->links - (const uint8_t *)b->ranges) &&
	       !memcmp(mine.ranges, b->ranges, sources);
}

static bool grow_table(struct kept_shelf *shelf)
{
	unsigned size = shelf->table_size ? shelf->table_size * 2 : 1024;
	uint32_t *table = calloc(size, sizeof(*table));

	if (!table)
		return false;
	for (unsigned i = 0; i < shelf->count; i++) {
		unsigned at = shelf->entries[i].record->hash;

		while (table[at & (size - 1)])
			at++;
		table[at & (size - 1)] = i + 1;
	}
	free(shelf->table);
	shelf->table = table;
	shelf->table_size = size;
	return true;
}

static bool grow_entries(struct kept_shelf *shelf)
{
	unsigned room = shelf->room ? shelf->room * 2 : 1024;
	struct kept_entry *entries = realloc(shelf->entries, room * sizeof(*entries));

	if (!entries)
		return false;
	shelf->entries = entries;
	shelf->room = room;
	return true;
}

static const struct kept_record *copy_record(const struct kept_record *record)
{
	struct kept_record *copy = malloc(record->size);

	if (copy)
		memcpy(copy, record, record->size);
	return copy;
}

bool kept_shelf_add(struct kept_shelf *shelf, const struct kept_environment *environment,
		    const struct kept_parts *parts, uint32_t run, bool is_copied)
{
	const struct kept_record *record = parts->record;
	unsigned at = record->hash;
	int number;

	if (shelf->bytes + record->size + header_bytes(shelf->count + 1) > shelf->limit ||
	    (shelf->count == shelf->room && !grow_entries(shelf)) ||
	    (shelf->count * 2 >= shelf->table_size && !grow_table(shelf)))
		return false;
	number = take_environment(shelf, environment);
	if (number < 0)
		return false;
	for (; shelf->table[at & (shelf->table_size - 1)]; at++) {
		struct kept_entry *other = &shelf->entries[shelf->table[at & (shelf->table_size - 1)] - 1];

		if (other->environment != number || !is_same(other->record, parts))
			continue;
		if (run > other->run)
			other->run = run;
		return false;
	}
	if (is_copied)
		record = copy_record(record);
	if (!record)
		return false;
	shelf->entries[shelf->count] = (struct kept_entry){ record, run, (uint8_t)number, is_copied };
	shelf->table[at & (shelf->table_size - 1)] = ++shelf->count;
	shelf->bytes += record->size;
	return true;
}

void kept_shelf_add_shelf(struct kept_shelf *shelf, const struct kept_shelf *other)
{
	struct kept_parts parts;

	for (unsigned i = 0; i < other->count; i++) {
		const struct kept_entry *entry = &other->entries[i];

		if (kept_record_look(entry->record, entry->record->size, &parts))
			kept_shelf_add(shelf, &other->environments[entry->environment], &parts, entry->run, false);
	}
}

/* Let what is at `at` sink in a heap whose root was used the longest ago. */
static void sink(const struct kept_record **heap, unsigned count, unsigned at)
{
	for (unsigned child = 2 * at + 1; child < count; at = child, child = 2 * at + 1) {
		const struct kept_record *moved = heap[at];

		if (child + 1 < count && heap[child + 1]->run < heap[child]->run)
			child++;
		if (moved->run <= heap[child]->run)
			return;
		heap[at] = heap[child];
		heap[child] = moved;
	}
}

/* Those that were used last come first. The C library's sort asks how much memory there is, which is no
 * business of a confined process. */
static void sort(const struct kept_record **list, unsigned count)
{
	for (unsigned i = count / 2; i-- > 0;)
		sink(list, count, i);
	for (unsigned last = count; last-- > 1;) {
		const struct kept_record *oldest = list[0];

		list[0] = list[last];
		list[last] = oldest;
		sink(list, last, 0);
	}
}

void kept_shelf_add_file(struct kept_shelf *shelf, const struct kept_file *file)
{
	const struct kept_header *header = kept_header(file);
	const struct kept_bucket *buckets = (const struct kept_bucket *)(header + 1);
	const struct kept_record **list = malloc(header->bucket_count * sizeof(*list));
	struct kept_parts parts;
	unsigned count = 0;

	if (!list)
		return;
	for (unsigned i = 0; i < header->bucket_count; i++)
		if (buckets[i].at && kept_record_at(file, buckets[i].at, &parts) &&
		    parts.record->environment < header->environment_count)
			list[count++] = parts.record;
	sort(list, count);
	for (unsigned i = 0; i < count; i++)
		if (kept_record_look(list[i], list[i]->size, &parts))
			kept_shelf_add(shelf, &header->environments[list[i]->environment], &parts, list[i]->run,
				       false);
	free(list);
}

static void enter(struct kept_bucket *buckets, unsigned count, uint32_t hash, size_t offset)
{
	unsigned at = hash;

	while (buckets[at & (count - 1)].at)
		at++;
	buckets[at & (count - 1)] = (struct kept_bucket){ hash, (uint32_t)(offset / 8) };
}

/* The header, and the table of where records will be. NULL without memory. */
static struct kept_header *make_header(const struct kept_shelf *shelf, const struct kept_maker *maker, uint32_t run)
{
	size_t at = header_bytes(shelf->count);
	struct kept_header *header = calloc(1, at);

	if (!header)
		return NULL;
	*header = (struct kept_header){
		.maker = *maker,
		.size = at + shelf->bytes,
		.run = run,
		.record_count = shelf->count,
		.bucket_count = bucket_count(shelf->count),
		.environment_count = shelf->environment_count,
	};
	memcpy(header->magic, KEPT_MAGIC, sizeof(header->magic));
	memcpy(header->environments, shelf->environments, sizeof(header->environments));
	header->check = kept_check(header, offsetof(struct kept_header, check));
	for (unsigned i = 0; i < shelf->count; i++) {
		const struct kept_record *record = shelf->entries[i].record;

		enter((struct kept_bucket *)(header + 1), header->bucket_count, record->hash, at);
		at += record->size;
	}
	return header;
}

/* Bytes on their way to a file. */
struct shelf_writer {
	int fd, result;
	size_t used;
	uint64_t bytes[(256u << 10) / 8];
};

static void flush(struct shelf_writer *writer)
{
	if (writer->result == 0)
		writer->result = file_write_all(writer->fd, writer->bytes, writer->used);
	writer->used = 0;
}

static void write_entry(struct shelf_writer *writer, const struct kept_entry *entry, uint32_t run)
{
	struct kept_record *record;

	if (entry->record->size > sizeof(writer->bytes) - writer->used)
		flush(writer);
	if (entry->record->size > sizeof(writer->bytes)) {
		writer->result = -EFBIG;
		return;
	}
	record = (struct kept_record *)((uint8_t *)writer->bytes + writer->used);
	memcpy(record, entry->record, entry->record->size);
	writer->used += record->size;
	record->run = entry->run == KEPT_NEW ? run : entry->run;
	if (record->environment == entry->environment)
		return;
	record->environment = entry->environment;
	record->check = kept_check(&record->hash, record->size - offsetof(struct kept_record, hash));
}

int kept_shelf_write(const struct kept_shelf *shelf, const struct kept_maker *maker, uint32_t run, int fd)
{
	struct kept_header *header = make_header(shelf, maker, run);
	struct shelf_writer *writer = malloc(sizeof(*writer));
	int result = -ENOMEM;

	if (header && writer) {
		writer->fd = fd;
		writer->used = 0;
		writer->result = file_write_all(fd, header, header_bytes(shelf->count));
		for (unsigned i = 0; i < shelf->count; i++)
			write_entry(writer, &shelf->entries[i], run);
		flush(writer);
		result = writer->result;
	}
	free(writer);
	free(header);
	return result;
}
