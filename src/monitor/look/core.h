/* All of a machine's memory and its CPUs' registers as an ELF core file, for crash and gdb. */
#ifndef KVIK_MONITOR_LOOK_CORE_H
#define KVIK_MONITOR_LOOK_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/look/look.h"
#include "util/error.h"

struct look_core {
	bool is_virtual; /* segments by the virtual addresses of the look's CPU, and not by physical ones */
	uint64_t begin, size_bytes; /* of physical memory; 0 bytes: all */
};

/*
 * Write it from the descriptor's place on, in one go (it may be a pipe). Notes: NT_PRSTATUS of each CPU as Linux
 * writes them, and "QEMU" with what else a CPU has, by which crash finds the kernel's tables; and the guest's own
 * vmcoreinfo, if it has left one. 0, or -errno and `error`.
 */
int look_write_core(const struct look *look, const struct look_core *core, int fd, struct error *error);

#endif
