#include "engine/run/jit/kept/shelf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"

#define TABLE_LEAST 16

void kept_shelf_init(struct kept_shelf *shelf, uint64_t limit, unsigned environments)
{
	*shelf = (struct kept_shelf){ .limit = limit, .environment_limit = environments };
}

void kept_shelf_free(struct kept_shelf *shelf)
{
	for (unsigned i = 0; i < shelf->count; i++)
		if (shelf->entries[i].is_owned)
			free((void *)shelf->entries[i].record);
	free(shelf->entries);
	free(shelf->table);
	kept_shelf_init(shelf, shelf->limit, shelf->environment_limit);
}

/* What is in front of the records, with a table of so many. */
static size_t header_bytes(unsigned table_size)
{
	return sizeof(struct kept_header) + table_size * sizeof(struct kept_bucket);
}

/* -- environments -- */

/* Its number, or -1. */
static int find_environment(const struct kept_shelf *shelf, const struct kept_environment *environment)
{
	for (unsigned i = 0; i < shelf->environment_count; i++)
		if (!memcmp(&shelf->environments[i], environment, sizeof(*environment)))
			return (int)i;
	return -1;
}

/* That of a new one, or -1: there are too many, or it is none. */
static int add_environment(struct kept_shelf *shelf, const struct kept_environment *environment)
{
	if (shelf->environment_count >= shelf->environment_limit || !kept_environment_is_sensible(environment))
		return -1;
	shelf->environments[shelf->environment_count] = *environment;
	return (int)shelf->environment_count++;
}

/* -- the table -- */

/* Half of it stays empty. */
static bool table_is_full(const struct kept_shelf *shelf)
{
	return shelf->count * 2 >= shelf->table_size;
}

static unsigned next_table_size(const struct kept_shelf *shelf)
{
	return shelf->table_size ? shelf->table_size * 2 : TABLE_LEAST;
}

/*
 * The place for a record, by its hash. NULL: all that a reader would look at are taken. So whoever chooses hashes has
 * a record left out, and makes nobody search for long.
 */
static uint32_t *free_place(uint32_t *table, unsigned size, uint32_t hash)
{
	for (unsigned i = 0; i < KEPT_PROBES; i++)
		if (!table[(hash + i) & (size - 1)])
			return &table[(hash + i) & (size - 1)];
	return NULL;
}

/*
 * Twice as large. All find a place: who comes in the same order to a table of twice the size is never farther from
 * where his hash is, as the places taken there, modulo the old size, are among those taken here.
 */
static bool grow_table(struct kept_shelf *shelf)
{
	unsigned size = next_table_size(shelf);
	uint32_t *table = calloc(size, sizeof(*table)), *place;

	if (!table)
		return false;
	for (unsigned i = 0; i < shelf->count; i++) {
		place = free_place(table, size, shelf->entries[i].hash);
		assert(place);
		*place = i + 1;
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

/* For one more record, of `size` bytes; a file without it may be at the limit. */
static bool make_room(struct kept_shelf *shelf, size_t size)
{
	unsigned table_size = table_is_full(shelf) ? next_table_size(shelf) : shelf->table_size;

	return shelf->bytes + size + header_bytes(table_size) <= shelf->limit &&
	       (shelf->count < shelf->room || grow_entries(shelf)) && (!table_is_full(shelf) || grow_table(shelf));
}

/* -- adding -- */

static size_t source_size(const struct kept_parts *parts)
{
	return (size_t)((const uint8_t *)parts->links - (const uint8_t *)parts->ranges);
}

/* Whether they are of the same guest code, in the same place and mode. */
static bool is_same(struct kept_shelf *shelf, const struct kept_entry *entry, const struct kept_parts *parts)
{
	const struct kept_record *mine = entry->record, *other = parts->record;

	if (entry->source_size != source_size(parts) || mine->mode != other->mode || mine->start != other->start ||
	    mine->is_lean != other->is_lean || mine->range_count != other->range_count)
		return false;
	shelf->compared += entry->source_size;
	return !memcmp(mine + 1, parts->ranges, entry->source_size);
}

static struct kept_entry *find(struct kept_shelf *shelf, int environment, const struct kept_parts *parts)
{
	for (unsigned i = 0; i < KEPT_PROBES && shelf->table; i++) {
		uint32_t number = shelf->table[(parts->record->hash + i) & (shelf->table_size - 1)];
		struct kept_entry *entry;

		if (!number)
			break;
		entry = &shelf->entries[number - 1];
		if (entry->hash == parts->record->hash && entry->environment == environment &&
		    is_same(shelf, entry, parts))
			return entry;
	}
	return NULL;
}

static const struct kept_record *copy_record(const struct kept_record *record)
{
	struct kept_record *copy = malloc(record->size);

	if (copy)
		memcpy(copy, record, record->size);
	return copy;
}

enum kept_added kept_shelf_add(struct kept_shelf *shelf, const struct kept_environment *environment,
			       const struct kept_parts *parts, uint32_t run, bool is_copied)
{
	const struct kept_record *record = parts->record;
	int number = find_environment(shelf, environment);
	struct kept_entry *same = number < 0 ? NULL : find(shelf, number, parts);
	uint32_t *place;

	if (same) {
		if (run > same->run)
			same->run = run;
		return KEPT_THERE;
	}
	if (source_size(parts) > UINT16_MAX || !make_room(shelf, record->size))
		return KEPT_NO_ROOM;
	place = free_place(shelf->table, shelf->table_size, record->hash);
	if (!place)
		return KEPT_NO_ROOM;
	if (is_copied)
		record = copy_record(record);
	if (record && number < 0)
		number = add_environment(shelf, environment);
	if (!record || number < 0) {
		if (is_copied)
			free((void *)record);
		return KEPT_NO_ROOM;
	}
	shelf->entries[shelf->count] = (struct kept_entry){
		.record = record,
		.run = run,
		.environment = (uint8_t)number,
		.is_owned = is_copied,
		.source_size = (uint16_t)source_size(parts),
		.hash = record->hash,
		.at = (uint32_t)(shelf->bytes / 8),
	};
	*place = ++shelf->count;
	shelf->bytes += record->size;
	return KEPT_ADDED;
}

void kept_shelf_add_shelf(struct kept_shelf *shelf, const struct kept_shelf *other)
{
	struct kept_parts parts;

	for (unsigned i = 0; i < other->count; i++) {
		const struct kept_entry *entry = &other->entries[i];

		if (kept_record_divide(entry->record, entry->record->size, &parts))
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
	const struct kept_record **list = malloc(header->bucket_count * sizeof(*list));
	struct kept_parts parts;
	unsigned count = 0;

	if (!list)
		return;
	for (unsigned i = 0; i < header->bucket_count; i++)
		if (kept_record_in(file, i, &parts) && kept_record_is_whole(&parts))
			list[count++] = parts.record;
	sort(list, count);
	for (unsigned i = 0; i < count; i++)
		if (kept_record_divide(list[i], list[i]->size, &parts))
			kept_shelf_add(shelf, &header->environments[list[i]->environment], &parts, list[i]->run,
				       false);
	free(list);
}

/* -- writing -- */

/* The header, and the table of where records will be. NULL without memory. */
static struct kept_header *make_header(const struct kept_shelf *shelf, const struct kept_maker *maker, uint32_t run)
{
	size_t size = header_bytes(shelf->table_size);
	struct kept_header *header = calloc(1, size);
	struct kept_bucket *buckets = (struct kept_bucket *)(header + 1);

	if (!header)
		return NULL;
	*header = (struct kept_header){
		.maker = *maker,
		.size = size + shelf->bytes,
		.run = run,
		.record_count = shelf->count,
		.bucket_count = shelf->table_size,
		.environment_count = shelf->environment_count,
	};
	memcpy(header->magic, KEPT_MAGIC, sizeof(header->magic));
	memcpy(header->environments, shelf->environments, sizeof(header->environments));
	header->check = kept_check(header, offsetof(struct kept_header, check));
	for (unsigned i = 0; i < shelf->table_size; i++)
		if (shelf->table[i]) {
			const struct kept_entry *entry = &shelf->entries[shelf->table[i] - 1];

			buckets[i] = (struct kept_bucket){ entry->hash, (uint32_t)(size / 8) + entry->at };
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
	record->check = kept_record_check(record);
}

int kept_shelf_write(const struct kept_shelf *shelf, const struct kept_maker *maker, uint32_t run, int fd)
{
	struct kept_header *header = shelf->table ? make_header(shelf, maker, run) : NULL;
	struct shelf_writer *writer = malloc(sizeof(*writer));
	int result = -ENOMEM;

	if (header && writer) {
		writer->fd = fd;
		writer->used = 0;
		writer->result = file_write_all(fd, header, header_bytes(shelf->table_size));
		for (unsigned i = 0; i < shelf->count; i++)
			write_entry(writer, &shelf->entries[i], run);
		flush(writer);
		result = writer->result;
	}
	free(writer);
	free(header);
	return result;
}
