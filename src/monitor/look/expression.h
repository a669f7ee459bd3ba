/* Numbers as people write them to a monitor: with registers, in brackets, and reckoned with. */
#ifndef KVIK_MONITOR_LOOK_EXPRESSION_H
#define KVIK_MONITOR_LOOK_EXPRESSION_H

#include <stdint.h>

#include "monitor/look/look.h"
#include "util/error.h"

/*
 * The expression that `text` begins with: numbers (0x: hexadecimal, 0: octal), 'c', $REGISTER, unary + - ~, binary
 * * / % above + - & | ^, and brackets. Returns what is behind it, or NULL and `error`.
 */
const char *look_expression(const struct look *look, const char *text, uint64_t *value, struct error *error);

#endif
