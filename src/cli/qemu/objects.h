/* The types of -object and object-add that are here, but filter-dump (net_dump.h), and what may be said of each. */
#ifndef KVIK_CLI_QEMU_OBJECTS_H
#define KVIK_CLI_QEMU_OBJECTS_H

#include <stdio.h>

#include "cli/qemu/keyval.h"

/* Whether it can be made: 0, or -errno and `error`. */
int object_check(json_t *object, struct error *error);
/* The line's alone, which can still open files: whether one that names a file has it. Likewise. */
int object_check_file(const json_t *object, struct error *error);
/* The one of that id and type among the line's; NULL: there is none. */
const json_t *object_find(const json_t *objects, const char *type, const char *id);

/* What may be said of a type, filter-dump too. NULL: there is none. */
const struct property *object_properties(const char *type);
void objects_print_help(FILE *file);

#endif
