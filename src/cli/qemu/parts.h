/* Parts of a machine that -device does not make, by QEMU's names, and what -global may say of them. */
#ifndef KVIK_CLI_QEMU_PARTS_H
#define KVIK_CLI_QEMU_PARTS_H

#include "cli/qemu/keyval.h"

/* What the line's -global say of parts: 0, or -EINVAL and `error`. Of drivers and properties that are nowhere a line warns. */
int parts_check_globals(const json_t *globals, struct error *error);
/* Whether one switches on that property of that part. */
bool parts_switch_on(const json_t *globals, const char *part, const char *property);

/* Give types that monitors know (devices_describe_types) their properties, and add those that are missing: parts, objects,
 * machines. */
void parts_describe(json_t *types);

#endif
