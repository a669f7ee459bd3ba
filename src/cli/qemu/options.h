/*
 * QEMU's command line: one table says which options there are, in which form, what may be said in them,
 * and which of QEMU's are not there, with the way out. From it come parsing, -help, and what QMP's
 * query-command-line-options answers.
 */
#ifndef KVIK_CLI_QEMU_OPTIONS_H
#define KVIK_CLI_QEMU_OPTIONS_H

#include <jansson.h>
#include <stdio.h>

#include "cli/qemu/keyval.h"

/*
 * The line as one object: for each option that was said, by its name (as "device"), true (a flag), its text,
 * a list of texts, an object, or a list of objects. NULL, and `error`, on failure; else the caller's.
 */
json_t *options_parse(int count, char **arguments, struct error *error);

void options_print_help(FILE *file);
const struct property *options_machine_properties(void); /* -machine's */
/* Whether these are -netdev's, put into their own forms: for a netdev_add. 0, or -EINVAL and `error`. */
int options_check_network(json_t *options, struct error *error);
/* -chardev's words as they are said anywhere; the caller's, or NULL and `error`. */
json_t *options_parse_chardev(const char *text, struct error *error);
json_t *options_describe(void); /* query-command-line-options' answer; the caller's */

#endif
