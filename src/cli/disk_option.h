/* What `--disk` says. */
#ifndef KVIK_CLI_DISK_OPTION_H
#define KVIK_CLI_DISK_OPTION_H

#include "block/block.h"
#include "block/error_policy.h"
#include "machine/machine.h"

struct disk_option {
	char *text; /* owned: what the strings below point into */
	const char *path;
	struct block_options block;
	unsigned queues; /* 0: not said */
	bool is_packed;
	bool is_cdrom, has_bus;
	enum board_bus bus;
	unsigned boot_plus_1; /* 0: not said */
	struct block_error_policy on_error;
};

/*
 * FILE[,PROPERTY[=VALUE]]...; a comma in a value is written twice. 0, or -errno and `error`: what is
 * wrong and what would be right.
 */
int disk_option_parse(struct disk_option *option, const char *text, struct error *error);
/* Whether the file is an image of a CD or DVD, by its content. */
bool disk_option_is_cdrom_image(const struct disk_option *option);
void disk_option_free(struct disk_option *option);

/* Open the image, with all files that it consists of. 0 and the disk, or -errno and `error`. */
int disk_option_open(const struct disk_option *option, struct board_disk *disk,
		     struct error *error);
/* As many controllers as the disks' buses want: AHCI's have six places, virtio-scsi's many. 0, or -errno. */
int disk_options_add_controllers(struct machine_config *config, struct error *error);

#endif
