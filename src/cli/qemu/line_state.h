/* A command line on its way to a machine (line.h). */
#ifndef KVIK_CLI_QEMU_LINE_STATE_H
#define KVIK_CLI_QEMU_LINE_STATE_H

#include <jansson.h>

#include "block/error_policy.h"
#include "cli/code_cache_file.h"
#include "cli/qemu/chardevs.h"
#include "cli/qemu/drives.h"
#include "cli/qemu/fdsets.h"
#include "cli/qemu/nets.h"
#include "machine/machine.h"

#define LINE_MONITORS_MAX 8
#define LINE_DEVICES_MAX  384

/* A CD-ROM drive: what is in it may change (media.h). */
struct line_drive {
	unsigned disk;	 /* of the board's */
	char id[64];	 /* of its device; "": none */
	char name[64];	 /* of the -drive that it was made for, which is the drive's from then on; "": none */
	char inside[64]; /* the -drive or node that is in it; "": none, or `own` */
	struct drive own; /* a file that a monitor has put in; its block NULL: none */
	struct block_error_policy on_error; /* of whatever is in it */
};

struct line {
	json_t *said; /* what options_parse made; owned */
	const struct machine_type *type;
	bool has_machine; /* not -machine none */
	bool has_kvm, uses_kvm;
	char accel_reason[256];
	struct code_cache_file_option code_cache_file;
	struct machine_config config;
	const json_t *ports[VIRTIO_CONSOLE_PORTS_MAX]; /* of `config`, the devices that they are */

	struct fdsets fdsets;
	struct chardevs chardevs;
	struct drives drives;
	struct nets nets;

	json_t *devices; /* all, those that other options mean among them; owned */
	char controller_names[BOARD_CONTROLLERS_MAX][64]; /* of those in `config` */
	unsigned virtio_drives, scsi_drives, bare_drives; /* -drives of these kinds so far */
	unsigned ide_units[2]; /* how many have come without unit= */
	int serials[BOARD_SERIALS_MAX], debug_console, gdb_chardev; /* chardevs; -1: none */
	struct {
		int chardev;
		bool is_control, is_pretty;
	} monitors[LINE_MONITORS_MAX];
	unsigned monitor_count;
	const char *name, *uuid; /* NULL: none */
	json_t *smbios_texts;	 /* that were read from files; owned */
	uint8_t *file_bytes[BOARD_FILES_MAX]; /* of config.files; owned */
	struct line_drive cd_drives[BOARD_DISKS_MAX];
	unsigned cd_drive_count;
	unsigned media_count; /* how many files monitors have put in */
	const char *incoming; /* NULL: it begins by itself */
	const char *loadvm; /* NULL: it boots */
	bool shows_itself; /* it has a display that nobody has asked for as a device */
	const char *gdb; /* where a debugger may connect; NULL: nowhere */
	char gdb_place[300]; /* what that may be */
};

struct machine_type {
	const char *name, *other_name, *help;
	bool has_machine;
	enum board_kind board;
	bool is_default;
};

extern const struct machine_type machine_types[];
extern const unsigned machine_type_count;

static inline bool line_is_microvm(const struct line *line)
{
	return line->type->board == BOARD_MICROVM;
}

#endif
