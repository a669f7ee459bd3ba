/* The guest's memory, RAM and ROM as the CPUs read it. Devices' registers are not read, which would change what is looked at. */
#ifndef KVIK_MONITOR_LOOK_MEMORY_H
#define KVIK_MONITOR_LOOK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/look/look.h"
#include "util/error.h"

/* How people want to see numbers: "/10xw". */
struct look_format {
	unsigned count;
	char form; /* x, d, u, o, c, or i: as instructions */
	unsigned size; /* bytes of each: 1, 2, 4 or 8 */
};

/* The format that `text` begins with behind a "/", in which what is left out stays as it was. Returns what is
 * behind it and behind blanks, or NULL and `error`; without a "/" it is `text`. */
const char *look_format_parse(const char *text, struct look_format *format, struct error *error);
/* One number in its form, without its size: "0x12". */
void look_print_number(const struct look *look, char form, uint64_t value);

/* Where the CPU has a virtual address, if it is in memory. */
bool look_translate(const struct look *look, uint64_t gva, uint64_t *gpa);
/* What stands at an address. */
void look_memory(const struct look *look, const struct look_format *format, bool is_physical, uint64_t address);

/* Write memory to a file. 0, or -errno and `error`. */
int look_save(const struct look *look, bool is_physical, uint64_t address, uint64_t size_bytes, int fd,
	      struct error *error);

#endif
