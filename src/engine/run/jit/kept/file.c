#include "engine/run/jit/kept/file.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/x86/bytes.h"
#include "engine/x86/host/host.h"

_Static_assert(KEPT_HOST_WORDS == HOST_WORDS, "a maker has all of the host's features");

/* -- who made it -- */

struct build_search {
	uintptr_t address; /* in the object that is looked for */
	struct kept_maker *maker;
};

static bool take_build_id(struct kept_maker *maker, const uint8_t *notes, size_t size)
{
	size_t at = 0;

	while (size - at >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)(notes + at);
		size_t name = at + sizeof(*note), value = name + ((note->n_namesz + 3u) & ~3u);

		at = value + ((note->n_descsz + 3u) & ~3u);
		if (at > size)
			return false;
		if (note->n_type != NT_GNU_BUILD_ID || note->n_namesz != 4 || memcmp(notes + name, "GNU", 4))
			continue;
		memcpy(maker->build_id, notes + value,
		       note->n_descsz < KEPT_BUILD_ID ? note->n_descsz : KEPT_BUILD_ID);
		return note->n_descsz >= 8;
	}
	return false;
}

static int look_at_object(struct dl_phdr_info *object, size_t size, void *context)
{
	struct build_search *search = context;
	bool is_it = false;

	(void)size;
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		is_it |= part->p_type == PT_LOAD &&
			 search->address - (object->dlpi_addr + part->p_vaddr) < part->p_memsz;
	}
	for (unsigned i = 0; is_it && i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		if (part->p_type == PT_NOTE &&
		    take_build_id(search->maker, (const uint8_t *)(object->dlpi_addr + part->p_vaddr),
				  part->p_memsz))
			return 1;
	}
	return 0;
}

bool kept_maker_describe(struct kept_maker *maker)
{
	static const char here;
	struct build_search search = { (uintptr_t)&here, maker };

	memset(maker, 0, sizeof(*maker));
	memcpy(maker->words, host.words, sizeof(maker->words));
	maker->xcr0 = host.xcr0;
	maker->is_amd = host.is_amd;
	maker->has_fsgsbase = host.has_fsgsbase;
	maker->has_fast_pext = host.has_fast_pext;
	maker->is_masked = host.is_masked;
	return dl_iterate_phdr(look_at_object, &search) == 1;
}

/* -- hashes -- */

uint64_t kept_check(const void *bytes, size_t size)
{
	uint64_t sum = size * 0x9e3779b97f4a7c15u;

	for (const uint8_t *at = bytes; size >= 8; at += 8, size -= 8) {
		sum = (sum ^ bytes_load64(at)) * 0x9fb21c651e98df25u;
		sum ^= sum >> 32;
	}
	return sum;
}

/* Eight bytes of the page, as far as they are in it. */
static uint64_t page_word(const uint8_t *page, unsigned at)
{
	uint64_t word = 0;

	if (at + 8 <= 0x1000)
		return bytes_load64(page + at);
	for (unsigned i = 0; at + i < 0x1000; i++)
		word |= (uint64_t)page[at + i] << 8 * i;
	return word;
}

uint32_t kept_hash(const uint8_t *page, unsigned start, uint32_t mode)
{
	uint64_t sum = ((uint64_t)mode << 16 | start) * 0x9e3779b97f4a7c15u;

	sum = (sum ^ sum >> 32 ^ page_word(page, start)) * 0x9fb21c651e98df25u;
	sum = (sum ^ sum >> 32 ^ page_word(page, start + 8)) * 0x9fb21c651e98df25u;
	return (uint32_t)(sum >> 32);
}

_Static_assert(KEPT_KEY_BYTES == 16, "the hash is of two words");

/* -- the file -- */

bool kept_file_open(struct kept_file *file, const void *bytes, size_t size, const struct kept_maker *maker)
{
	const struct kept_header *header = bytes;

	file->bytes = NULL;
	if (size < sizeof(*header) || size > KEPT_SIZE_MAX)
		return false;
	if (memcmp(header->magic, KEPT_MAGIC, sizeof(header->magic)) || header->size != size ||
	    header->check != kept_check(header, offsetof(struct kept_header, check)) ||
	    memcmp(&header->maker, maker, sizeof(*maker)))
		return false;
	if (!header->bucket_count || header->bucket_count & (header->bucket_count - 1) ||
	    header->environment_count > KEPT_ENVIRONMENTS ||
	    header->bucket_count > (size - sizeof(*header)) / sizeof(struct kept_bucket))
		return false;
	file->bytes = bytes;
	file->size = size;
	file->is_mapped = false;
	return true;
}

bool kept_file_map(struct kept_file *file, int fd, const struct kept_maker *maker)
{
	struct stat status;
	void *bytes;

	file->bytes = NULL;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > (off_t)KEPT_SIZE_MAX ||
	    status.st_size < (off_t)sizeof(struct kept_header))
		return false;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return false;
	if (!kept_file_open(file, bytes, (size_t)status.st_size, maker)) {
		munmap(bytes, (size_t)status.st_size);
		return false;
	}
	file->is_mapped = true;
	return true;
}

void kept_file_unmap(struct kept_file *file)
{
	if (file->bytes && file->is_mapped)
		munmap((void *)file->bytes, file->size);
	file->bytes = NULL;
}

int kept_find_environment(const struct kept_file *file, const struct kept_environment *environment)
{
	const struct kept_header *header = kept_header(file);

	for (unsigned i = 0; i < header->environment_count; i++)
		if (bytes_equal(&header->environments[i], environment, sizeof(*environment)))
			return (int)i;
	return -1;
}

uint32_t kept_find(const struct kept_file *file, uint32_t hash, uint32_t *next)
{
	const struct kept_header *header = kept_header(file);

	while (*next < KEPT_PROBES) {
		uint32_t number = (hash + (*next)++) & (header->bucket_count - 1);
		const struct kept_bucket *bucket = &kept_buckets(file)[number];

		if (!bucket->at)
			break;
		if (bucket->hash == hash)
			return number;
	}
	return KEPT_NONE;
}

bool kept_environment_is_sensible(const struct kept_environment *environment)
{
	static const uint32_t none[CPU_FEATURE_WORDS];

	return !(environment->flags & ~(uint32_t)KEPT_FLAGS) &&
	       (environment->flags & KEPT_HAS_FEATURES || bytes_equal(environment->features, none, sizeof(none)));
}

/* -- records -- */

static size_t whole(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

/* The next part of a record: `bytes` of them. */
static const void *next_part(const struct kept_record *record, size_t *at, size_t bytes)
{
	const void *part = (const uint8_t *)record + *at;

	*at += whole(bytes);
	return part;
}

/* How many guest bytes the ranges have, or 0: they are not in a page. */
static size_t range_bytes(const struct kept_parts *parts)
{
	size_t sum = 0;

	for (unsigned i = 0; i < parts->record->range_count; i++) {
		if (!parts->ranges[i].size || parts->ranges[i].offset + parts->ranges[i].size > 0x1000)
			return 0;
		sum += parts->ranges[i].size;
	}
	return sum;
}

/* Whether the code's places are in the code. */
static bool places_are_inside(const struct kept_parts *parts)
{
	const struct kept_record *record = parts->record;
	unsigned size = record->code_size;

	if (size < 16 || record->code_at >= size || record->entry_page_at + 4u > size ||
	    (record->heat_at && record->heat_at + 4u > size) || record->start + record->guest_size > 0x1000 ||
	    !record->guest_size)
		return false;
	for (unsigned i = 0; i < record->link_count; i++) {
		const struct kept_link *link = &parts->links[i];

		if (link->offset > 0xfff || link->patch + 4u > size || link->unlinked + 6u > size)
			return false;
	}
	for (unsigned i = 0; i < record->relocation_count; i++)
		if (parts->relocations[i].at + 4u > size)
			return false;
	return true;
}

bool kept_record_divide(const void *bytes, size_t size, struct kept_parts *parts)
{
	const struct kept_record *record = bytes;
	size_t at = sizeof(*record), ranges, code;

	if (size < sizeof(*record) || record->size > size || record->size < sizeof(*record) || record->size % 8)
		return false;
	parts->record = record;
	if (!record->range_count || record->range_count > KEPT_RANGES)
		return false;
	parts->ranges = next_part(record, &at, record->range_count * sizeof(struct kept_range));
	if (at > record->size)
		return false;
	ranges = range_bytes(parts);
	if (!ranges)
		return false;
	parts->bytes = next_part(record, &at, ranges);
	parts->links = next_part(record, &at, record->link_count * sizeof(struct kept_link));
	parts->sites = next_part(record, &at, record->site_count * (size_t)8);
	parts->relocations = next_part(record, &at, record->relocation_count * sizeof(struct kept_relocation));
	code = at;
	parts->code = next_part(record, &at, record->code_size);
	if (code > record->size || at != record->size)
		return false;
	return places_are_inside(parts);
}

uint64_t kept_record_check(const struct kept_record *record)
{
	return kept_check(&record->hash, record->size - offsetof(struct kept_record, hash));
}

bool kept_record_is_whole(const struct kept_parts *parts)
{
	return parts->record->check == kept_record_check(parts->record);
}

bool kept_record_in(const struct kept_file *file, uint32_t bucket, struct kept_parts *parts)
{
	const struct kept_header *header = kept_header(file);
	size_t first = sizeof(*header) + header->bucket_count * sizeof(struct kept_bucket), at;

	if (bucket >= header->bucket_count)
		return false;
	at = (size_t)kept_buckets(file)[bucket].at * 8;
	return at >= first && at < file->size && kept_record_divide(file->bytes + at, file->size - at, parts) &&
	       parts->record->hash == kept_buckets(file)[bucket].hash &&
	       parts->record->environment < header->environment_count;
}

bool kept_record_matches(const struct kept_parts *parts, const uint8_t *page)
{
	const uint8_t *bytes = parts->bytes;

	for (unsigned i = 0; i < parts->record->range_count; i++) {
		const struct kept_range *range = &parts->ranges[i];

		if (!bytes_equal(page + range->offset, bytes, range->size))
			return false;
		bytes += range->size;
	}
	return true;
}
