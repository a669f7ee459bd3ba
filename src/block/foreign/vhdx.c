/*
 * Hyper-V's VHDX (Microsoft's [MS-VHDX], cited by section): two headers, two region tables, metadata, and a block
 * allocation table. Images that were not closed, whose log would have to be written back first, and differencing ones
 * are refused.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/foreign/blocks.h"
#include "block/foreign/formats.h"
#include "util/endian.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

/* §2.2: where each part of the header section begins. */
#define HEADERS_AT    (64 * KIB) /* two, each in its 64 KiB */
#define HEADER_BYTES  4096
#define REGIONS_AT    (192 * KIB)
#define REGIONS_BYTES (64 * KIB)
#define REGIONS_MAX   2047

/* §2.2.2 */
#define SEQUENCE_AT 8
#define LOG_GUID_AT 48
#define GUID_BYTES  16
#define CHECKSUM_AT 4 /* CRC-32C of a header or region table in which it is 0 */

/* §2.6.1 */
#define METADATA_BYTES (64 * KIB)
#define METADATA_MAX   2047
#define FLAG_HAS_PARENT (1u << 1)

#define ENTRY_BYTES 32 /* of region tables and of metadata, both behind their heads */

/* §2.5.1.1: states of payload blocks, below an offset in MiB. */
#define STATE_MASK	    7
#define STATE_PRESENT	    6
#define STATE_PARTLY	    7

static const uint8_t guid_bat[GUID_BYTES] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
					      0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
static const uint8_t guid_metadata[GUID_BYTES] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
						   0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
static const uint8_t guid_parameters[GUID_BYTES] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
						     0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
static const uint8_t guid_size[GUID_BYTES] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
					       0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
static const uint8_t guid_sector[GUID_BYTES] = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
						 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};

struct vhdx {
	struct blocks blocks;
	uint64_t table_at;
	uint64_t chunk; /* payload blocks between two entries for sector bitmaps (§2.5) */
};

struct vhdx_part {
	uint64_t at, size;
};

/* CRC-32C (Castagnoli), with the four bytes at CHECKSUM_AT as zeroes. */
static uint32_t checksum(const uint8_t *bytes, size_t size)
{
	uint32_t sum = UINT32_MAX;
	size_t i;
	int bit;

	for (i = 0; i < size; i++) {
		sum ^= i - CHECKSUM_AT < 4 ? 0 : bytes[i];
		for (bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
	}
	return ~sum;
}

static int vhdx_find(struct blocks *blocks, uint64_t index, struct blocks_place *place)
{
	const struct vhdx *vhdx = (const struct vhdx *)blocks;
	uint64_t entry;
	uint8_t bytes[8];
	int result = file_read_at(&blocks->node.file, vhdx->table_at + (index + index / vhdx->chunk) * sizeof(bytes), bytes,
				  sizeof(bytes));

	if (result < 0)
		return result;
	entry = get_le64(bytes);
	*place = (struct blocks_place){.kind = BLOCK_ZEROES};
	if ((entry & STATE_MASK) == STATE_PARTLY)
		return -EIO; /* only where there is a parent */
	if ((entry & STATE_MASK) != STATE_PRESENT)
		return 0;
	place->kind = BLOCK_PLAIN;
	place->at = entry & ~(MIB - 1);
	return place->at >= MIB && place->at < blocks->node.file.size ? 0 : -EIO;
}

/* §2.2.2: of the two headers the one that is whole and newer counts. */
static int check_log(const struct file *file, struct error *error)
{
	static const uint8_t none[GUID_BYTES];
	uint8_t header[HEADER_BYTES], log[GUID_BYTES];
	uint64_t newest = 0;
	bool is_found = false;
	unsigned i;

	for (i = 0; i < 2; i++) {
		if (file_read_at(file, HEADERS_AT * (i + 1), header, sizeof(header)) < 0 ||
		    memcmp(header, "head", 4) != 0 || checksum(header, sizeof(header)) != get_le32(header + CHECKSUM_AT) ||
		    (is_found && get_le64(header + SEQUENCE_AT) <= newest))
			continue;
		is_found = true;
		newest = get_le64(header + SEQUENCE_AT);
		memcpy(log, header + LOG_GUID_AT, sizeof(log));
	}
	if (!is_found)
		return error_set(error, EINVAL, "%s is damaged: none of its headers is whole", file->path);
	if (memcmp(log, none, sizeof(log)) != 0)
		return error_set(error, ENOTSUP, "%s was not closed, and its log has to be written back first: 'qemu-img check "
				 "-r all' does", file->path);
	return 0;
}

/* An entry by its GUID in `count` of them. NULL: there is none. */
static const uint8_t *find_entry(const uint8_t *entries, unsigned count, const uint8_t guid[GUID_BYTES])
{
	for (; count > 0; count--, entries += ENTRY_BYTES)
		if (memcmp(entries, guid, GUID_BYTES) == 0)
			return entries;
	return NULL;
}

static bool is_inside(const struct file *file, uint64_t at, uint64_t size)
{
	return at >= MIB && at <= file->size && size <= file->size - at;
}

/* §2.2.3 */
static bool take_regions(const struct file *file, const uint8_t *table, struct vhdx_part *bat, struct vhdx_part *metadata)
{
	const uint8_t *bat_entry, *metadata_entry;
	uint32_t count = get_le32(table + 8);

	if (memcmp(table, "regi", 4) != 0 || count > REGIONS_MAX || checksum(table, REGIONS_BYTES) != get_le32(table + CHECKSUM_AT))
		return false;
	bat_entry = find_entry(table + 16, count, guid_bat);
	metadata_entry = find_entry(table + 16, count, guid_metadata);
	if (!bat_entry || !metadata_entry)
		return false;
	*bat = (struct vhdx_part){get_le64(bat_entry + 16), get_le32(bat_entry + 24)};
	*metadata = (struct vhdx_part){get_le64(metadata_entry + 16), get_le32(metadata_entry + 24)};
	return is_inside(file, bat->at, bat->size) && is_inside(file, metadata->at, metadata->size) &&
	       metadata->size >= METADATA_BYTES;
}

static int find_regions(const struct file *file, struct vhdx_part *bat, struct vhdx_part *metadata, struct error *error)
{
	uint8_t *table = malloc(REGIONS_BYTES);
	bool is_found = false;
	unsigned i;

	if (!table)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	for (i = 0; i < 2 && !is_found; i++)
		is_found = file_read_at(file, REGIONS_AT + i * REGIONS_BYTES, table, REGIONS_BYTES) == 0 &&
			   take_regions(file, table, bat, metadata);
	free(table);
	return is_found ? 0 : error_set(error, EINVAL, "%s is damaged: none of its region tables is whole", file->path);
}

/* The first `size` bytes of an item of the metadata (§2.6.2), or -EINVAL. */
static int read_item(const struct file *file, const struct vhdx_part *metadata, const uint8_t *table,
		     const uint8_t guid[GUID_BYTES], uint8_t *item, uint32_t size)
{
	const uint8_t *entry = find_entry(table + ENTRY_BYTES, get_le16(table + 10), guid);
	uint64_t at = entry ? get_le32(entry + 16) : 0;

	if (!entry || at < METADATA_BYTES || at + size > metadata->size || get_le32(entry + 20) < size)
		return -EINVAL;
	return file_read_at(file, metadata->at + at, item, size);
}

struct vhdx_facts {
	uint64_t size;
	uint32_t block, sector, flags;
};

static int read_facts(const struct file *file, const struct vhdx_part *metadata, struct vhdx_facts *facts, struct error *error)
{
	uint8_t *table = malloc(METADATA_BYTES), parameters[8], size[8], sector[4];
	int result = table ? file_read_at(file, metadata->at, table, METADATA_BYTES) : -ENOMEM;

	if (result == 0 && (memcmp(table, "metadata", 8) != 0 || get_le16(table + 10) > METADATA_MAX))
		result = -EINVAL;
	if (result == 0)
		result = read_item(file, metadata, table, guid_parameters, parameters, sizeof(parameters));
	if (result == 0)
		result = read_item(file, metadata, table, guid_size, size, sizeof(size));
	if (result == 0)
		result = read_item(file, metadata, table, guid_sector, sector, sizeof(sector));
	free(table);
	if (result < 0)
		return error_set_errno(error, -result, "%s: its metadata", file->path);
	*facts = (struct vhdx_facts){
		.block = get_le32(parameters), .flags = get_le32(parameters + 4), .size = get_le64(size), .sector = get_le32(sector)};
	return 0;
}

int vhdx_open(struct file *file, struct node **opened, struct error *error)
{
	struct vhdx_part bat = {0}, metadata = {0};
	struct vhdx_facts facts = {0};
	struct vhdx *vhdx;
	uint64_t chunk, count;
	uint8_t magic[8];
	int result = file_read_at(file, 0, magic, sizeof(magic));

	if (result < 0)
		return error_set_errno(error, -result, "cannot read %s", file->path);
	if (memcmp(magic, "vhdxfile", sizeof(magic)) != 0)
		return error_set(error, EINVAL, "%s is no VHDX image", file->path);
	result = check_log(file, error);
	if (result == 0)
		result = find_regions(file, &bat, &metadata, error);
	if (result == 0)
		result = read_facts(file, &metadata, &facts, error);
	if (result < 0)
		return result;
	if (facts.flags & FLAG_HAS_PARENT)
		return error_set(error, ENOTSUP, "%s stands on another image, which kvik cannot read", file->path);
	/* §2.6.2.1, §2.6.2.2, §2.6.2.4 */
	if (facts.block < MIB || facts.block > 256 * MIB || facts.block & (facts.block - 1) || facts.size > 64 * MIB * MIB ||
	    (facts.sector != 512 && facts.sector != 4096))
		return error_set(error, EINVAL, "%s is damaged: a disk of %llu bytes in blocks of %u", file->path,
				 (unsigned long long)facts.size, facts.block);
	chunk = ((uint64_t)facts.sector << 23) / (uint64_t)facts.block;
	count = (facts.size + facts.block - 1) / facts.block;
	if (count > 0 && (count + (count - 1) / chunk) * 8 > bat.size)
		return error_set(error, EINVAL, "%s is damaged: its block allocation table is too short", file->path);
	vhdx = calloc(1, sizeof(*vhdx));
	if (!vhdx)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	vhdx->table_at = bat.at;
	vhdx->chunk = chunk;
	vhdx->blocks.block_size = facts.block;
	vhdx->blocks.find = vhdx_find;
	blocks_init(&vhdx->blocks, BLOCKS_VHDX, facts.size, file);
	*opened = &vhdx->blocks.node;
	return 0;
}
