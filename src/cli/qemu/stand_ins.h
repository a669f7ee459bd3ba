/*
 * What lines ask for that is not there, but that a guest does without, or with something alike: displays of other
 * makes, older USB controllers, sound cards, what viewers have on their side. Each is told of on standard error. What
 * a guest would miss (a network card, a disk's controller, another's hardware) is not among these: it is refused.
 */
#ifndef KVIK_CLI_QEMU_STAND_INS_H
#define KVIK_CLI_QEMU_STAND_INS_H

#include <jansson.h>

#include "cli/qemu/line_state.h"

/* Of all -device and -chardev of the line, before anybody looks at them. */
void stand_ins_take(struct line *line);

/* What -vga or -display says: the name of the one there is, which may be the same. NULL: there is none like it. */
const char *stand_in_of_vga(const char *name);
const char *stand_in_of_display(const char *name);

#endif
