/* A flat binary: bytes for an address, without any header. */
#ifndef KVIK_MACHINE_BOOT_FLAT_H
#define KVIK_MACHINE_BOOT_FLAT_H

#include <stddef.h>
#include <stdint.h>

#include "machine/entry.h"
#include "machine/ram.h"
#include "util/error.h"

enum flat_mode { FLAT_REAL, FLAT_PROTECTED, FLAT_LONG };

#define FLAT_DEFAULT_ADDRESS 0x1000

int flat_load(const uint8_t *image, size_t size, uint64_t address, enum flat_mode mode,
	      const struct ram *ram, struct entry *entry, struct error *error);

#endif
