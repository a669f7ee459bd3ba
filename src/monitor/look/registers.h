/* A CPU's registers. */
#ifndef KVIK_MONITOR_LOOK_REGISTERS_H
#define KVIK_MONITOR_LOOK_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/look/look.h"

/* All of them; with the vector unit's only if that is wanted. */
void look_registers(const struct look *look, bool has_fpu);

/* One by its name: "rax", "eip", "pc" (with the base of CS), "cs", "fs.base", "cr3". False: there is none. */
bool look_register(const struct look *look, const char *name, size_t length, uint64_t *value);

#endif
