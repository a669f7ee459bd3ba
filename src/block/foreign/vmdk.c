/*
 * VMware's sparse extents (VMware's "Virtual Disk Format 5.0", "Hosted Sparse Extents" and "Stream-Optimized
 * Compressed Sparse Extents"): a grain directory points to grain tables, which point to grains, each plain or
 * compressed. That is what `monolithicSparse` and `streamOptimized` disks are, those of OVA archives among them.
 * Disks in several files, and such that stand on others, are refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "block/foreign/blocks.h"
#include "block/foreign/formats.h"
#include "util/endian.h"

#define SECTOR	      512u
#define MAGIC	      0x564d444bu /* "KDMV" */
#define VERSION_MAX   3
#define AT_THE_END    UINT64_MAX
#define FOOTER_BYTES  1024 /* the footer and the marker behind it */
#define GRAIN_MAX     (2u << 20)
#define ENTRIES_MAX   512
#define DESCRIPTOR_MAX (64u << 10)

enum header_at {
	VERSION_AT = 4,
	FLAGS_AT = 8,
	CAPACITY_AT = 12,
	GRAIN_AT = 20,
	DESCRIPTOR_AT = 28,
	DESCRIPTOR_SIZE_AT = 36,
	ENTRIES_AT = 44,
	DIRECTORY_AT = 56,
	ALGORITHM_AT = 77,
};

#define FLAG_ZERO_GRAINS (1u << 2) /* an entry of 1: zeroes */
#define FLAG_COMPRESSED	 (1u << 16)
#define FLAG_MARKERS	 (1u << 17)
#define ALGORITHM_DEFLATE 1
#define ENTRY_ZEROES	  1

/* Before each compressed grain: its first sector, and its bytes. */
#define MARKER_BYTES   12
#define MARKER_SIZE_AT 8

struct vmdk {
	struct blocks blocks;
	uint64_t directory_at;
	uint32_t entries; /* of a grain table */
	bool has_zero_grains;
	struct vmdk_facts facts;
};

/* Entry `index` of a table of sector numbers. */
static int read_entry(struct blocks *blocks, uint64_t table_at, uint64_t index, uint64_t *at, uint32_t *entry)
{
	uint8_t bytes[4];
	int result = file_read_at(&blocks->node.file, table_at + index * sizeof(bytes), bytes, sizeof(bytes));

	*entry = result < 0 ? 0 : get_le32(bytes);
	*at = (uint64_t)*entry * SECTOR;
	return result < 0 ? result : *at < blocks->node.file.size ? 0 : -EIO;
}

static int vmdk_find(struct blocks *blocks, uint64_t index, struct blocks_place *place)
{
	const struct vmdk *vmdk = (const struct vmdk *)blocks;
	uint32_t entry;
	uint64_t at;
	int result = read_entry(blocks, vmdk->directory_at, index / vmdk->entries, &at, &entry);

	*place = (struct blocks_place){.kind = BLOCK_ABSENT};
	if (result < 0 || entry == 0)
		return result;
	result = read_entry(blocks, at, index % vmdk->entries, &at, &entry);
	if (result < 0 || entry == 0)
		return result;
	if (entry == ENTRY_ZEROES && vmdk->has_zero_grains) {
		place->kind = BLOCK_ZEROES;
		return 0;
	}
	place->kind = vmdk->facts.is_compressed ? BLOCK_PACKED : BLOCK_PLAIN;
	place->at = at;
	return 0;
}

static int vmdk_unpack(struct blocks *blocks, uint64_t index, uint64_t at, uint8_t *data)
{
	uint64_t size = blocks->block_size;
	uint8_t marker[MARKER_BYTES], *packed;
	uLongf unpacked = size;
	uint32_t length;
	int result = file_read_at(&blocks->node.file, at, marker, sizeof(marker));

	if (result < 0)
		return result;
	length = get_le32(marker + MARKER_SIZE_AT);
	if (get_le64(marker) != index * (size / SECTOR) || length == 0 || length > 2 * size)
		return -EIO;
	packed = malloc(length);
	if (!packed)
		return -ENOMEM;
	result = file_read_at(&blocks->node.file, at + sizeof(marker), packed, length);
	/* The last grain may be as short as the disk. */
	memset(data, 0, size);
	if (result == 0 && uncompress(data, &unpacked, packed, length) != Z_OK)
		result = -EIO;
	free(packed);
	return result;
}

/* The text that says what the disk is made of; of what it says, only that it is whole counts for reading it. */
static int read_descriptor(const struct file *file, const uint8_t *header, struct vmdk_facts *facts, struct error *error)
{
	uint64_t at = get_le64(header + DESCRIPTOR_AT), size = get_le64(header + DESCRIPTOR_SIZE_AT);
	const char *parent, *cid, *type;
	char *text;
	int result = 0;

	if (at == 0)
		return 0;
	if (at > file->size / SECTOR || size == 0 || size > DESCRIPTOR_MAX / SECTOR)
		return error_set(error, EINVAL, "%s is damaged: its descriptor is not in the file", file->path);
	text = calloc(1, size * SECTOR + 1);
	if (!text)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	result = file_read_at(file, at * SECTOR, text, size * SECTOR);
	if (result < 0)
		error_set_errno(error, -result, "cannot read %s", file->path);
	parent = result < 0 ? NULL : strstr(text, "parentCID=");
	if (parent && strncasecmp(parent + 10, "ffffffff", 8) != 0)
		result = error_set(error, ENOTSUP, "%s stands on another image, which kvik cannot read: make it one by "
				   "'qemu-img convert -O qcow2'", file->path);
	cid = result < 0 ? NULL : strstr(text, "CID=");
	type = result < 0 ? NULL : strstr(text, "createType=\"");
	if (cid && type) {
		facts->cid = (uint32_t)strtoul(cid + 4, NULL, 16);
		facts->parent_cid = parent ? (uint32_t)strtoul(parent + 10, NULL, 16) : UINT32_MAX;
		type += 12;
		snprintf(facts->create_type, sizeof(facts->create_type), "%.*s", (int)strcspn(type, "\"\n"), type);
	}
	free(text);
	return result;
}

/* The header that counts: that of an image that was written in one go is at its end. */
static int read_header(const struct file *file, uint8_t header[SECTOR], struct error *error)
{
	int result = file_read_at(file, 0, header, SECTOR);

	if (result == 0 && get_le32(header) == MAGIC && get_le64(header + DIRECTORY_AT) == AT_THE_END &&
	    file->size >= FOOTER_BYTES)
		result = file_read_at(file, (file->size - FOOTER_BYTES) & ~(uint64_t)(SECTOR - 1), header, SECTOR);
	if (result < 0)
		return error_set_errno(error, -result, "cannot read %s", file->path);
	if (memcmp(header, "# Disk", 6) == 0)
		return error_set(error, ENOTSUP, "%s only names the files of a disk, which kvik cannot read: make it one by "
				 "'qemu-img convert -O qcow2'", file->path);
	if (get_le32(header) != MAGIC)
		return error_set(error, ENOTSUP, "%s is no VMDK image that kvik can read: make it one by 'qemu-img "
				 "convert -O qcow2'", file->path);
	if (get_le32(header + VERSION_AT) > VERSION_MAX)
		return error_set(error, ENOTSUP, "%s is a VMDK image of version %u: 1 to %u can be read", file->path,
				 get_le32(header + VERSION_AT), VERSION_MAX);
	return 0;
}

int vmdk_open(struct file *file, struct node **opened, struct error *error)
{
	uint8_t header[SECTOR];
	uint64_t capacity, grain, entries, tables, directory;
	uint32_t flags;
	struct vmdk_facts facts = {0};
	struct vmdk *vmdk;
	int result = read_header(file, header, error);

	if (result == 0)
		result = read_descriptor(file, header, &facts, error);
	if (result < 0)
		return result;
	flags = get_le32(header + FLAGS_AT);
	capacity = get_le64(header + CAPACITY_AT);
	grain = get_le64(header + GRAIN_AT);
	entries = get_le32(header + ENTRIES_AT);
	directory = get_le64(header + DIRECTORY_AT);
	if (capacity > INT64_MAX / SECTOR || grain == 0 || grain > GRAIN_MAX / SECTOR || grain & (grain - 1) ||
	    entries == 0 || entries > ENTRIES_MAX)
		return error_set(error, EINVAL, "%s is damaged: %llu sectors in grains of %llu, %llu of which are a table",
				 file->path, (unsigned long long)capacity, (unsigned long long)grain,
				 (unsigned long long)entries);
	tables = (capacity + grain * entries - 1) / (grain * entries);
	if (directory > file->size / SECTOR || tables * 4 > file->size - directory * SECTOR)
		return error_set(error, EINVAL, "%s is damaged: its grain directory is not in the file", file->path);
	if (flags & FLAG_COMPRESSED &&
	    (!(flags & FLAG_MARKERS) || get_le16(header + ALGORITHM_AT) != ALGORITHM_DEFLATE))
		return error_set(error, ENOTSUP, "%s is compressed in a way that kvik cannot read", file->path);
	vmdk = calloc(1, sizeof(*vmdk));
	if (!vmdk)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	vmdk->directory_at = directory * SECTOR;
	vmdk->entries = (uint32_t)entries;
	vmdk->has_zero_grains = flags & FLAG_ZERO_GRAINS;
	vmdk->facts = facts;
	vmdk->facts.is_compressed = flags & FLAG_COMPRESSED;
	vmdk->blocks.block_size = grain * SECTOR;
	vmdk->blocks.find = vmdk_find;
	vmdk->blocks.unpack = vmdk_unpack;
	blocks_init(&vmdk->blocks, BLOCKS_VMDK, capacity * SECTOR, file);
	*opened = &vmdk->blocks.node;
	return 0;
}

const struct vmdk_facts *vmdk_facts(const struct node *node)
{
	const struct blocks *blocks = blocks_of(node);
	const struct vmdk *vmdk = (const struct vmdk *)blocks;

	return blocks && blocks->find == vmdk_find && vmdk->facts.create_type[0] ? &vmdk->facts : NULL;
}
