/* What a command line has firmware and guests read: SMBIOS fields, a UUID, files of fw_cfg. */
#ifndef KVIK_CLI_QEMU_LINE_FIRMWARE_H
#define KVIK_CLI_QEMU_LINE_FIRMWARE_H

#include "cli/qemu/line_state.h"

/* 0, or -errno and `error`. */
int line_examine_firmware_facts(struct line *line, struct error *error);
void line_forget_firmware_facts(struct line *line);

#endif
