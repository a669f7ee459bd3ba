/*
 * Microsoft Extensible Firmware Initiative FAT32 File System Specification, 1.03 ("FAT"). What is not there of it: FAT12,
 * which disks of this size do not have.
 */
#include "block/fat/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "block/fat/tree.h"
#include "util/endian.h"
#include "util/file.h"

#define SECTOR		  512
#define PARTITION_SECTOR  2048
#define SLOT		  32 /* bytes of a directory entry */
#define ROOT_SLOTS	  512 /* of a FAT16 */
#define FIRST_CLUSTER	  2
#define FAT_COPIES	  2
#define COPY_BYTES	  65536
#define SMALL_BYTES	  (504ull << 20) /* with FAT16 and clusters of 8 KiB: under 65525 of them */
#define SMALL_FILES_BYTES (400ull << 20) /* what of that may be there from the start */
#define SPARE_BYTES	  (512ull << 20) /* for the guest, with FAT32 */

enum { ATTRIBUTE_VOLUME = 0x08, ATTRIBUTE_FOLDER = 0x10, ATTRIBUTE_ARCHIVE = 0x20, ATTRIBUTE_LONG_NAME = 0x0f };

struct fat_disk {
	int fd;
	const char *path; /* the folder's */
	char label[FAT_SHORT_NAME + 1];
	bool is_fat32;
	uint32_t sectors;	 /* of the partition */
	uint32_t cluster_sectors;
	uint32_t reserved_sectors, fat_sectors;
	uint32_t data_sector;	 /* of the partition's, where the first cluster is */
	uint32_t *fat;		 /* by clusters, those in use */
	uint32_t used, room;	 /* of it */
	struct error *error;
};

static int put(const struct fat_disk *disk, uint64_t sector, const void *bytes, size_t size)
{
	return file_write_all_at(disk->fd, bytes, size, sector * SECTOR) == 0
		       ? 0
		       : error_set_errno(disk->error, ENOSPC, "no memory for a disk of '%s'", disk->path);
}

static uint64_t sector_of(const struct fat_disk *disk, uint32_t cluster)
{
	return PARTITION_SECTOR + disk->data_sector + (uint64_t)(cluster - FIRST_CLUSTER) * disk->cluster_sectors;
}

static uint32_t cluster_bytes(const struct fat_disk *disk)
{
	return disk->cluster_sectors * SECTOR;
}

/* Slots of a folder: itself and the one above but in the topmost, which has the label. */
static uint64_t folder_bytes(const struct fat_entry *folder, bool is_root)
{
	uint64_t slots = is_root ? 1 : 2;
	unsigned i;

	for (i = 0; i < folder->child_count; i++)
		slots += fat_entry_slots(&folder->children[i]);
	return slots * SLOT;
}

/* -- how large -- */

static uint64_t count_bytes(const struct fat_entry *entry, bool is_root, uint32_t cluster)
{
	uint64_t own = entry->is_folder ? folder_bytes(entry, is_root) : entry->size, bytes = (own + cluster - 1) / cluster * cluster;
	unsigned i;

	for (i = 0; i < entry->child_count; i++)
		bytes += count_bytes(&entry->children[i], false, cluster);
	return bytes;
}

static void lay_out(struct fat_disk *disk, const struct fat_entry *root, unsigned bits)
{
	uint64_t bytes;

	disk->cluster_sectors = 16;
	bytes = count_bytes(root, true, cluster_bytes(disk));
	disk->is_fat32 = bits == 32 || bytes > SMALL_FILES_BYTES || folder_bytes(root, true) > ROOT_SLOTS * SLOT;
	disk->reserved_sectors = 1;
	disk->sectors = SMALL_BYTES / SECTOR;
	if (disk->is_fat32) {
		disk->cluster_sectors = 8;
		disk->reserved_sectors = 32;
		disk->sectors = (count_bytes(root, true, cluster_bytes(disk)) + SPARE_BYTES) / SECTOR;
	}
	/* A little more than the clusters there will be: the FATs have their part of the sectors. */
	disk->fat_sectors = (disk->sectors / disk->cluster_sectors + FIRST_CLUSTER) * (disk->is_fat32 ? 4 : 2) / SECTOR + 1;
	disk->data_sector = disk->reserved_sectors + FAT_COPIES * disk->fat_sectors +
			    (disk->is_fat32 ? 0 : ROOT_SLOTS * SLOT / SECTOR);
	disk->used = disk->room = FIRST_CLUSTER;
}

/* -- clusters -- */

/* A chain of them, one behind the other. */
static int allocate(struct fat_disk *disk, uint64_t bytes, uint32_t *first)
{
	uint32_t count = (bytes + cluster_bytes(disk) - 1) / cluster_bytes(disk), i, *grown;

	if (!count)
		return 0;
	if (disk->room < disk->used + count) {
		disk->room = (disk->used + count) * 2;
		grown = realloc(disk->fat, disk->room * sizeof(*grown));
		if (!grown)
			return error_set_errno(disk->error, ENOMEM, "%s", disk->path);
		disk->fat = grown;
	}
	*first = disk->used;
	for (i = 1; i < count; i++, disk->used++)
		disk->fat[disk->used] = disk->used + 1;
	disk->fat[disk->used++] = UINT32_MAX;
	return 0;
}

static int allocate_all(struct fat_disk *disk, struct fat_entry *entry, bool is_root)
{
	int result = 0;
	unsigned i;

	if (!is_root || disk->is_fat32)
		result = allocate(disk, entry->is_folder ? folder_bytes(entry, is_root) : entry->size, &entry->cluster);
	for (i = 0; i < entry->child_count && result == 0; i++)
		result = allocate_all(disk, &entry->children[i], false);
	return result;
}

static int write_fats(struct fat_disk *disk)
{
	unsigned width = disk->is_fat32 ? 4 : 2, i;
	uint8_t *bytes = calloc(disk->used, width);
	uint64_t at;
	int result = 0;

	if (!bytes)
		return error_set_errno(disk->error, ENOMEM, "%s", disk->path);
	disk->fat[0] = 0x0ffffff8; /* the medium; the upper four bits of FAT32's are not the FAT's */
	disk->fat[1] = 0x0fffffff;
	for (i = 0; i < disk->used; i++) {
		if (disk->is_fat32)
			put_le32(bytes + i * width, disk->fat[i] & 0x0fffffff);
		else
			put_le16(bytes + i * width, disk->fat[i]);
	}
	for (i = 0; i < FAT_COPIES && result == 0; i++) {
		at = PARTITION_SECTOR + disk->reserved_sectors + i * disk->fat_sectors;
		result = put(disk, at, bytes, (size_t)disk->used * width);
	}
	free(bytes);
	return result;
}

/* -- sectors at the start -- */

static int write_partition_table(const struct fat_disk *disk)
{
	uint8_t sector[SECTOR] = {0xcd, 0x18}; /* int 0x18: boot another */
	uint8_t *entry = sector + 446;

	put_le32(sector + 440, 0x6b76696b);
	entry[0] = 0x80;
	/* By heads and sectors it can be anywhere: LBA says where (types 0Eh and 0Ch). */
	memset(entry + 1, 0xff, 3);
	entry[4] = disk->is_fat32 ? 0x0c : 0x0e;
	memset(entry + 5, 0xff, 3);
	put_le32(entry + 8, PARTITION_SECTOR);
	put_le32(entry + 12, disk->sectors);
	put_le16(sector + 510, 0xaa55);
	return put(disk, 0, sector, sizeof(sector));
}

/* FAT §3: the BIOS parameter block. */
static int write_boot_sector(const struct fat_disk *disk)
{
	uint8_t sector[SECTOR] = {0xeb, 0x58, 0x90, 'k', 'v', 'i', 'k'}, *extended = sector + (disk->is_fat32 ? 64 : 36);
	int result;

	memset(sector + 7, ' ', 4);
	put_le16(sector + 11, SECTOR);
	sector[13] = disk->cluster_sectors;
	put_le16(sector + 14, disk->reserved_sectors);
	sector[16] = FAT_COPIES;
	put_le16(sector + 17, disk->is_fat32 ? 0 : ROOT_SLOTS);
	sector[21] = 0xf8;
	put_le16(sector + 22, disk->is_fat32 ? 0 : disk->fat_sectors);
	put_le16(sector + 24, 63);
	put_le16(sector + 26, 255);
	put_le32(sector + 28, PARTITION_SECTOR);
	put_le32(sector + 32, disk->sectors);
	if (disk->is_fat32) {
		put_le32(sector + 36, disk->fat_sectors);
		put_le32(sector + 44, FIRST_CLUSTER); /* the topmost folder's: it was the first to get one */
		put_le16(sector + 48, 1);
		put_le16(sector + 50, 6);
	}
	extended[0] = 0x80;
	extended[2] = 0x29;
	put_le32(extended + 3, 0x6b76696b);
	memcpy(extended + 7, disk->label, FAT_SHORT_NAME);
	memcpy(extended + 18, disk->is_fat32 ? "FAT32   " : "FAT16   ", 8);
	sector[0x5a] = 0xcd;
	sector[0x5b] = 0x18;
	put_le16(sector + 510, 0xaa55);
	result = put(disk, PARTITION_SECTOR, sector, sizeof(sector));
	return result < 0 || !disk->is_fat32 ? result : put(disk, PARTITION_SECTOR + 6, sector, sizeof(sector));
}

/* FAT §5: what nobody knows yet is all ones. */
static int write_info_sector(const struct fat_disk *disk)
{
	uint8_t sector[SECTOR] = {0};

	put_le32(sector, 0x41615252);
	put_le32(sector + 484, 0x61417272);
	put_le32(sector + 488, UINT32_MAX);
	put_le32(sector + 492, UINT32_MAX);
	put_le32(sector + 508, 0xaa550000);
	return put(disk, PARTITION_SECTOR + 1, sector, sizeof(sector));
}

/* -- files and folders -- */

/* FAT §6.1 and 6.2. */
static void fill_slot(uint8_t *slot, const char *name, uint8_t attributes, time_t when, uint32_t cluster, uint32_t size)
{
	struct tm time = {.tm_year = 80, .tm_mday = 1};
	uint16_t date, clock;

	if (localtime_r(&when, &time) == NULL || time.tm_year < 80 || time.tm_year > 207)
		time = (struct tm){.tm_year = 80, .tm_mday = 1};
	date = (time.tm_year - 80) << 9 | (time.tm_mon + 1) << 5 | time.tm_mday;
	clock = time.tm_hour << 11 | time.tm_min << 5 | time.tm_sec / 2;
	memcpy(slot, name, FAT_SHORT_NAME);
	slot[11] = attributes;
	put_le16(slot + 14, clock);
	put_le16(slot + 16, date);
	put_le16(slot + 18, date);
	put_le16(slot + 20, cluster >> 16);
	put_le16(slot + 22, clock);
	put_le16(slot + 24, date);
	put_le16(slot + 26, cluster);
	put_le32(slot + 28, size);
}

static uint8_t checksum(const char *short_name)
{
	uint8_t sum = 0;
	unsigned i;

	for (i = 0; i < FAT_SHORT_NAME; i++)
		sum = (uint8_t)(sum << 7 | sum >> 1) + (uint8_t)short_name[i];
	return sum;
}

/* FAT §7: the last part of the name comes first. Behind its end are a 0 and ones. */
static uint8_t *fill_long_name(uint8_t *slot, const struct fat_entry *entry)
{
	static const uint8_t places[] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
	unsigned count = fat_entry_slots(entry) - 1, number, i, at;

	for (number = count; number; number--, slot += SLOT) {
		slot[0] = number | (number == count ? 0x40 : 0);
		slot[11] = ATTRIBUTE_LONG_NAME;
		slot[13] = checksum(entry->short_name);
		for (i = 0; i < sizeof(places); i++) {
			at = (number - 1) * sizeof(places) + i;
			put_le16(slot + places[i], at < entry->unit_count ? entry->units[at] : at == entry->unit_count ? 0 : 0xffff);
		}
	}
	return slot;
}

static int write_folder(const struct fat_disk *disk, const struct fat_entry *folder, const struct fat_entry *above)
{
	static const char self[] = ".          ", parent[] = "..         ";
	size_t size = folder_bytes(folder, !above);
	uint8_t *slots = calloc(1, size), *slot = slots;
	uint64_t at = folder->cluster ? sector_of(disk, folder->cluster)
				      : PARTITION_SECTOR + disk->data_sector - ROOT_SLOTS * SLOT / SECTOR;
	const struct fat_entry *child;
	unsigned i;
	int result;

	if (!slots)
		return error_set_errno(disk->error, ENOMEM, "%s", disk->path);
	if (above) {
		fill_slot(slot, self, ATTRIBUTE_FOLDER, folder->time, folder->cluster, 0);
		/* The topmost is 0, wherever it is. */
		fill_slot(slot + SLOT, parent, ATTRIBUTE_FOLDER, folder->time, above->name ? above->cluster : 0, 0);
		slot += 2 * SLOT;
	} else {
		fill_slot(slot, disk->label, ATTRIBUTE_VOLUME, time(NULL), 0, 0);
		slot += SLOT;
	}
	for (i = 0; i < folder->child_count; i++, slot += SLOT) {
		child = &folder->children[i];
		if (child->units)
			slot = fill_long_name(slot, child);
		fill_slot(slot, child->short_name, child->is_folder ? ATTRIBUTE_FOLDER : ATTRIBUTE_ARCHIVE, child->time,
			  child->cluster, child->size);
	}
	result = put(disk, at, slots, size);
	free(slots);
	return result;
}

/* As much as there was when it was measured; what has been cut off since is zeroes. */
static int copy_file(const struct fat_disk *disk, const struct fat_entry *file, int folder_fd)
{
	int fd = openat(folder_fd, file->name, O_RDONLY | O_NONBLOCK | O_CLOEXEC), result = 0;
	uint8_t *bytes = malloc(COPY_BYTES);
	uint32_t at = 0;
	ssize_t got = 1;
	size_t part;

	if (fd < 0 || !bytes)
		result = error_set_errno(disk->error, fd < 0 ? errno : ENOMEM, "cannot read '%s' in '%s'", file->name, disk->path);
	while (result == 0 && got > 0 && at < file->size) {
		part = file->size - at < COPY_BYTES ? file->size - at : COPY_BYTES;
		got = read(fd, bytes, part);
		if (got < 0)
			result = error_set_errno(disk->error, errno, "cannot read '%s' in '%s'", file->name, disk->path);
		else if (got && file_write_all_at(disk->fd, bytes, got, sector_of(disk, file->cluster) * SECTOR + at) < 0)
			result = error_set_errno(disk->error, ENOSPC, "no memory for a disk of '%s'", disk->path);
		at += got > 0 ? got : 0;
	}
	free(bytes);
	if (fd >= 0)
		close(fd);
	return result;
}

static int write_tree(const struct fat_disk *disk, const struct fat_entry *folder, const struct fat_entry *above, int fd)
{
	int result = write_folder(disk, folder, above), below;
	const struct fat_entry *child;
	unsigned i;

	for (i = 0; i < folder->child_count && result == 0; i++) {
		child = &folder->children[i];
		if (!child->is_folder) {
			result = child->size ? copy_file(disk, child, fd) : 0;
			continue;
		}
		below = openat(fd, child->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (below < 0)
			return error_set_errno(disk->error, errno, "cannot read '%s' in '%s'", child->name, disk->path);
		result = write_tree(disk, child, folder, below);
		close(below);
	}
	return result;
}

/* -- the whole -- */

static int write_all(struct fat_disk *disk, struct fat_entry *root)
{
	int fd, result = allocate_all(disk, root, true);

	if (result == 0 && ftruncate(disk->fd, (PARTITION_SECTOR + (uint64_t)disk->sectors) * SECTOR) < 0)
		result = error_set_errno(disk->error, errno, "no memory for a disk of '%s'", disk->path);
	if (result == 0)
		result = write_partition_table(disk);
	if (result == 0)
		result = write_boot_sector(disk);
	if (result == 0 && disk->is_fat32)
		result = write_info_sector(disk);
	if (result == 0)
		result = write_fats(disk);
	if (result < 0)
		return result;
	fd = open(disk->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(disk->error, errno, "cannot read the folder '%s'", disk->path);
	result = write_tree(disk, root, NULL, fd);
	close(fd);
	return result;
}

static bool take_prefix(const char **text, const char *prefix)
{
	if (strncmp(*text, prefix, strlen(prefix)) != 0)
		return false;
	*text += strlen(prefix);
	return true;
}

/* What stands before the folder. 0, or -errno and the error. */
static int parse(struct fat_disk *disk, const char *name, unsigned *bits)
{
	size_t length;

	take_prefix(&name, "fat:");
	for (disk->path = NULL; !disk->path;) {
		if (take_prefix(&name, "16:"))
			*bits = 16;
		else if (take_prefix(&name, "32:"))
			*bits = 32;
		else if (strncmp(name, "12:", 3) == 0 || strncmp(name, "floppy:", 7) == 0)
			return error_set(disk->error, ENOTSUP, "there is no FAT12 and no floppy disk: use fat:rw:FOLDER");
		else if (take_prefix(&name, "label=")) {
			length = strcspn(name, ":");
			if (!name[length] || length > FAT_SHORT_NAME)
				return error_set(disk->error, EINVAL, "label=: at most %u characters and a colon", FAT_SHORT_NAME);
			memset(disk->label, ' ', FAT_SHORT_NAME);
			memcpy(disk->label, name, length);
			name += length + 1;
		} else if (!take_prefix(&name, "rw:")) {
			disk->path = name;
		}
	}
	return 0;
}

bool fat_folder_is_named(const char *path)
{
	return strncmp(path, "fat:", 4) == 0;
}

int fat_folder_open(const char *name, struct error *error)
{
	struct fat_disk disk = {.label = "KVIK       ", .error = error};
	struct fat_entry root;
	unsigned bits = 0;
	int result;

	result = parse(&disk, name, &bits);
	if (result < 0)
		return result;
	result = fat_tree_read(disk.path, &root, error);
	if (result < 0)
		return result;
	lay_out(&disk, &root, bits);
	disk.fat = calloc(disk.room, sizeof(*disk.fat));
	disk.fd = memfd_create("fat", MFD_CLOEXEC);
	if (!disk.fat || disk.fd < 0)
		result = error_set_errno(error, errno, "no memory for a disk of '%s'", disk.path);
	else
		result = write_all(&disk, &root);
	if (result < 0 && disk.fd >= 0)
		close(disk.fd);
	free(disk.fat);
	fat_tree_free(&root);
	return result < 0 ? result : disk.fd;
}
