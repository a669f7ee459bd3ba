/* The memory of a command line: -m, and what -device and device_add put into its slots. */
#ifndef KVIK_CLI_QEMU_LINE_MEMORY_H
#define KVIK_CLI_QEMU_LINE_MEMORY_H

#include "cli/qemu/line_state.h"

/* -m, -machine memory-backend, -numa. 0, or -EINVAL, -ENOENT and `error`. */
int line_examine_memory(struct line *line, struct error *error);

/* Open the file that it is in, if it is in one. 0, or -errno and `error`. */
int line_open_memory(struct line *line, struct error *error);
void line_close_memory(struct line *line);

/* What a pc-dimm is, checked; its slot and address as far as it says them. 0, or -errno and `error`. */
int line_dimm_of(const struct line *line, const json_t *device, struct ram_dimm *dimm, struct error *error);
/* One that is there from the start. 0, or -errno and `error`. */
int line_add_dimm(struct line *line, const json_t *device, struct error *error);

/* The device that is in a slot, of line->devices; NULL: none. */
json_t *line_find_dimm(const struct line *line, unsigned slot);
/* Where it is, as the machine has put it: said by "slot" and "addr" from now on. */
void line_note_dimm(json_t *device, const struct ram_dimm *dimm, bool is_hotplugged);
/* Whether memory's object is a DIMM's, or the machine's. */
bool line_uses_memory(const struct line *line, const char *id);

#endif
