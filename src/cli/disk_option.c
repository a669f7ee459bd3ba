#include "cli/disk_option.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/comma_item.h"
#include "cli/size.h"
#include "device/storage/ahci.h"
#include "device/virtio/disk.h"

#define BOOT_TURN_MAX 255

/* The first volume descriptor of ISO 9660 (§8), behind 16 sectors of anything; UDF's bridge has it, too. */
#define ISO_MAGIC    "CD001"
#define ISO_MAGIC_AT (16 * 2048 + 1)

static int parse_flag(bool *flag, const char *name, const char *value, struct error *error)
{
	if (!value || strcmp(value, "on") == 0)
		*flag = true;
	else if (strcmp(value, "off") == 0)
		*flag = false;
	else
		return error_set(error, EINVAL, "%s=%s: use on or off", name, value);
	return 0;
}

static int parse_aio(struct disk_option *option, const char *value, struct error *error)
{
	static const char *const names[] = {"auto", "io_uring", "threads"};
	unsigned i;

	for (i = 0; i < 3; i++)
		if (strcmp(value, names[i]) == 0) {
			option->block.aio = i;
			return 0;
		}
	return error_set(error, EINVAL, "aio=%s: use auto, io_uring or threads", value);
}

static int parse_queues(struct disk_option *option, const char *value, struct error *error)
{
	uint64_t number;

	if (number_parse(value, VIRTIO_DISK_QUEUES_MAX, &number) < 0 || !number)
		return error_set(error, EINVAL, "queues=%s: use 1 to %u", value,
				 VIRTIO_DISK_QUEUES_MAX);
	option->queues = number;
	return 0;
}

static int parse_bus(struct disk_option *option, const char *value, struct error *error)
{
	static const char *const names[] = {
		[BOARD_BUS_VIRTIO] = "virtio",
		[BOARD_BUS_IDE] = "ide",
		[BOARD_BUS_AHCI] = "ahci",
		[BOARD_BUS_SCSI] = "scsi",
		[BOARD_BUS_NVME] = "nvme",
		[BOARD_BUS_USB] = "usb",
	};
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(value, names[i]) == 0) {
			option->bus = i;
			option->has_bus = true;
			return 0;
		}
	return error_set(error, EINVAL, "bus=%s: use virtio, ide, ahci, scsi, nvme or usb", value);
}

static int parse_boot(struct disk_option *option, const char *value, struct error *error)
{
	uint64_t number;

	if (number_parse(value, BOOT_TURN_MAX, &number) < 0)
		return error_set(error, EINVAL, "boot=%s: use 0 (the first) to %u", value, BOOT_TURN_MAX);
	option->boot_plus_1 = number + 1;
	return 0;
}

/* Nobody is there to let a guest go on: one that stops waits (disk_patience.h). */
static int parse_on_error(struct disk_option *option, const char *value, struct error *error)
{
	static const struct {
		const char *name;
		struct block_error_policy policy;
	} words[] = {
		{"report", {BLOCK_ON_ERROR_REPORT, BLOCK_ON_ERROR_REPORT}},
		{"ignore", {BLOCK_ON_ERROR_IGNORE, BLOCK_ON_ERROR_IGNORE}},
		{"wait", {BLOCK_ON_ERROR_STOP, BLOCK_ON_ERROR_STOP}},
		{"wait-for-room", {BLOCK_ON_ERROR_REPORT, BLOCK_ON_ERROR_ENOSPC}},
	};
	unsigned i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(value, words[i].name) == 0) {
			option->on_error = words[i].policy;
			return 0;
		}
	return error_set(error, EINVAL, "on-error=%s: use report, ignore, wait or wait-for-room", value);
}

/* Those that must have a value. */
static int parse_value(struct disk_option *option, const char *name, const char *value,
		       struct error *error)
{
	if (strcmp(name, "format") == 0) {
		option->block.format = value;
	} else if (strcmp(name, "serial") == 0) {
		if (strlen(value) > BLOCK_SERIAL_MAX)
			return error_set(error, EINVAL, "serial=%s: at most %u characters", value,
					 BLOCK_SERIAL_MAX);
		option->block.serial = value;
	} else if (strcmp(name, "cache") == 0) {
		if (block_cache_parse(value, &option->block.cache) < 0)
			return error_set(error, EINVAL,
					 "cache=%s: use writeback, none, writethrough, directsync "
					 "or unsafe",
					 value);
	} else if (strcmp(name, "aio") == 0) {
		return parse_aio(option, value, error);
	} else if (strcmp(name, "bus") == 0) {
		return parse_bus(option, value, error);
	} else if (strcmp(name, "boot") == 0) {
		return parse_boot(option, value, error);
	} else if (strcmp(name, "on-error") == 0) {
		return parse_on_error(option, value, error);
	} else {
		return parse_queues(option, value, error);
	}
	return 0;
}

static int parse_property(struct disk_option *option, char *item, struct error *error)
{
	static const char *const valued[] = {"format", "serial", "cache",
					     "aio",    "queues", "bus",   "boot", "on-error"};
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"readonly", &option->block.readonly},
		{"snapshot", &option->block.snapshot},
		{"discard", &option->block.discard},
		{"unlocked", &option->block.unlocked},
		{"packed", &option->is_packed},
		{"cdrom", &option->is_cdrom},
	};
	char *value = strchr(item, '=');
	unsigned i;

	if (value)
		*value++ = 0;
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(item, flags[i].name) == 0)
			return parse_flag(flags[i].flag, item, value, error);
	for (i = 0; i < sizeof(valued) / sizeof(valued[0]); i++)
		if (strcmp(item, valued[i]) == 0)
			return value && *value
				       ? parse_value(option, item, value, error)
				       : error_set(error, EINVAL, "%s needs a value", item);
	return error_set(error, EINVAL,
			 "a disk has no '%s': use format, readonly, snapshot, serial, cache, "
			 "discard, aio, queues, packed, bus, boot, on-error, cdrom or unlocked",
			 item);
}

int disk_option_parse(struct disk_option *option, const char *text, struct error *error)
{
	char *rest, *item;
	int result = 0;

	*option = (struct disk_option){.text = strdup(text)};
	if (!option->text)
		return error_set_errno(error, ENOMEM, "'%s'", text);
	rest = option->text;
	option->path = comma_item_take(&rest);
	if (!*option->path)
		result = error_set(error, EINVAL, "'%s' names no file", text);
	while (result == 0 && (item = comma_item_take(&rest)))
		result = parse_property(option, item, error);
	if (result < 0)
		disk_option_free(option);
	return result;
}

void disk_option_free(struct disk_option *option)
{
	free(option->text);
	option->text = NULL;
}

bool disk_option_is_cdrom_image(const struct disk_option *option)
{
	char magic[sizeof(ISO_MAGIC) - 1];
	int fd = open(option->path, O_RDONLY | O_CLOEXEC);
	bool is_image;

	if (fd < 0)
		return false; /* which is told where it is opened to be used */
	is_image = pread(fd, magic, sizeof(magic), ISO_MAGIC_AT) == sizeof(magic) &&
		   memcmp(magic, ISO_MAGIC, sizeof(magic)) == 0;
	close(fd);
	return is_image;
}

int disk_option_open(const struct disk_option *option, struct board_disk *disk, struct error *error)
{
	struct block_options block = option->block;
	int result;

	*disk = (struct board_disk){
		.queues = option->queues,
		.rings.is_packed = option->is_packed,
		.is_cdrom = option->is_cdrom,
		.bus = option->is_cdrom && !option->has_bus ? BOARD_BUS_IDE : option->bus,
		.boot_plus_1 = option->boot_plus_1,
	};
	if (option->is_cdrom && (disk->bus == BOARD_BUS_VIRTIO || disk->bus == BOARD_BUS_NVME))
		return error_set(error, EINVAL, "%s: a CD-ROM is not on virtio-blk or NVMe: use bus=ide, ahci, scsi or usb", option->path);
	block.readonly |= option->is_cdrom;
	result = block_open(option->path, &block, &disk->block, error);
	if (result == 0)
		block_set_error_policy(disk->block, &option->on_error);
	return result;
}

/* One that has a place left for a disk of that bus. */
static unsigned find_controller(struct machine_config *config, enum board_bus bus, unsigned disks)
{
	unsigned i, wanted = bus == BOARD_BUS_AHCI ? disks / AHCI_PORTS : 0;

	for (i = 0; i < config->controller_count; i++)
		if (config->controllers[i].bus == bus && wanted-- == 0)
			return i;
	if (i < BOARD_CONTROLLERS_MAX)
		config->controllers[config->controller_count++] = (struct board_controller){
			.bus = bus,
			/* A q35 has its first one on board. */
			.place = config->board == BOARD_Q35 && bus == BOARD_BUS_AHCI && !disks
					 ? BOARD_PLACE(0, PCI_SLOT_FUNCTION(0x1f, 2))
					 : BOARD_ANYWHERE,
		};
	return i;
}

int disk_options_add_controllers(struct machine_config *config, struct error *error)
{
	unsigned i, counts[BOARD_BUSES] = {0};
	struct board_disk *disk;

	for (i = 0; i < config->disk_count; i++) {
		disk = &config->disks[i];
		if (disk->bus == BOARD_BUS_IDE && config->board == BOARD_Q35)
			disk->bus = BOARD_BUS_AHCI;
		if (disk->bus == BOARD_BUS_USB)
			config->usb.has_controller = true;
		if (disk->bus != BOARD_BUS_AHCI && disk->bus != BOARD_BUS_SCSI)
			continue;
		disk->controller = find_controller(config, disk->bus, counts[disk->bus]++);
		if (disk->controller == BOARD_CONTROLLERS_MAX)
			return error_set(error, ENOSPC, "at most %u controllers", BOARD_CONTROLLERS_MAX);
	}
	return 0;
}
