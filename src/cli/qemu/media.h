/* The CD-ROM drives of a command line: what is in them, and what monitors do with their trays and media. All on the I/O
 * thread. */
#ifndef KVIK_CLI_QEMU_MEDIA_H
#define KVIK_CLI_QEMU_MEDIA_H

#include "cli/qemu/hotplug_state.h"

/* A drive that a device of the line is, disks[disk] of the board, with the -drive or node in it, if there is one. */
void media_add_drive(struct line *line, unsigned disk, const json_t *device, const struct drive *inside);

/* Such a number that no drive has; BOARD_DISKS_MAX: there is none. */
unsigned media_free_tray(const struct line *line);
/* The drive is no more, and what was in it is free. */
void media_forget_drive(struct line *line, unsigned disk);

/* QMP's commands of that name, for hotplug_change. 0, or -errno and `error`; -ENODEV: there is no such drive. */
int media_eject(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int media_open_tray(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int media_close_tray(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int media_remove(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int media_insert(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int media_change(struct hotplug *hotplug, const json_t *arguments, struct error *error);

/* machine_observer.tray_moved. */
void media_tray_moved(void *hotplug, unsigned disk, bool is_open);

/* What query-block says of them, and query-named-block-nodes of what monitors have put in, added to the array. A machine
 * of NULL is one that has not begun. */
void media_describe(const struct line *line, const struct machine *machine, json_t *answer);
void media_describe_nodes(const struct line *line, json_t *answer);

#endif
