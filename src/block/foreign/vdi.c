/*
 * VirtualBox's VDI, version 1.1: a header, a table of 32-bit block numbers, blocks (as VirtualBox's VDICore.h and
 * QEMU's block/vdi.c have it). Differencing images, whose parent only VirtualBox's registry knows, are refused.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/foreign/blocks.h"
#include "block/foreign/formats.h"
#include "util/endian.h"

#define HEADER_BYTES 512
#define SIGNATURE_AT 0x40
#define SIGNATURE    0xbeda107fu
#define VERSION_AT   0x44
#define VERSION_1_1  0x00010001u
#define TYPE_AT	     0x4c
#define TABLE_AT     0x154
#define DATA_AT	     0x158
#define SIZE_AT	     0x170
#define BLOCK_AT     0x178
#define EXTRA_AT     0x17c
#define COUNT_AT     0x180

enum { TYPE_DYNAMIC = 1, TYPE_STATIC = 2 };

#define ENTRY_ABSENT 0xfffffffeu /* and what is above: free, never written */

struct vdi {
	struct blocks blocks;
	uint64_t table_at, data_at;
};

static int vdi_find(struct blocks *blocks, uint64_t index, struct blocks_place *place)
{
	const struct vdi *vdi = (const struct vdi *)blocks;
	uint8_t entry[4];
	int result = file_read_at(&blocks->node.file, vdi->table_at + index * sizeof(entry), entry, sizeof(entry));

	if (result < 0)
		return result;
	*place = (struct blocks_place){.kind = BLOCK_ZEROES};
	if (get_le32(entry) >= ENTRY_ABSENT)
		return 0;
	place->kind = BLOCK_PLAIN;
	place->at = vdi->data_at + get_le32(entry) * blocks->block_size;
	return place->at < blocks->node.file.size ? 0 : -EIO;
}

int vdi_open(struct file *file, struct node **opened, struct error *error)
{
	uint8_t header[HEADER_BYTES];
	uint64_t size, count;
	uint32_t block, type;
	struct vdi *vdi;
	int result = file_read_at(file, 0, header, sizeof(header));

	if (result < 0)
		return error_set_errno(error, -result, "cannot read %s", file->path);
	if (get_le32(header + SIGNATURE_AT) != SIGNATURE)
		return error_set(error, EINVAL, "%s is no VDI image", file->path);
	if (get_le32(header + VERSION_AT) != VERSION_1_1)
		return error_set(error, ENOTSUP, "%s is a VDI image of version %u.%u: 1.1 can be read", file->path,
				 get_le32(header + VERSION_AT) >> 16, get_le32(header + VERSION_AT) & 0xffff);
	type = get_le32(header + TYPE_AT);
	if (type != TYPE_DYNAMIC && type != TYPE_STATIC)
		return error_set(error, ENOTSUP, "%s is a VDI image of type %u: dynamic and fixed ones can be read, not "
				 "those that stand on others", file->path, type);
	size = get_le64(header + SIZE_AT);
	block = get_le32(header + BLOCK_AT);
	count = get_le32(header + COUNT_AT);
	if (block < BLOCK_SECTOR_SIZE || block > 256u << 20 || block & (block - 1) || get_le32(header + EXTRA_AT) != 0 ||
	    size > count * block)
		return error_set(error, EINVAL, "%s is damaged: a disk of %llu bytes in %llu blocks of %u", file->path,
				 (unsigned long long)size, (unsigned long long)count, block);
	vdi = calloc(1, sizeof(*vdi));
	if (!vdi)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	vdi->table_at = get_le32(header + TABLE_AT);
	vdi->data_at = get_le32(header + DATA_AT);
	if (vdi->table_at > file->size || count * 4 > file->size - vdi->table_at) {
		free(vdi);
		return error_set(error, EINVAL, "%s is damaged: its table is not in the file", file->path);
	}
	vdi->blocks.block_size = block;
	vdi->blocks.find = vdi_find;
	blocks_init(&vdi->blocks, BLOCKS_VDI, size, file);
	*opened = &vdi->blocks.node;
	return 0;
}
