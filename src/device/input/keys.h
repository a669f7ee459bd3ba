/*
 * The keys of a PC's keyboard: their names (those that QEMU's monitors know them by) and what a keyboard
 * sends for each (IBM PS/2 Hardware Interface Technical Reference, "Keyboards"; for keys that came later,
 * Microsoft's "Keyboard Scan Code Specification").
 */
#ifndef KVIK_DEVICE_INPUT_KEYS_H
#define KVIK_DEVICE_INPUT_KEYS_H

#include <stddef.h>
#include <stdint.h>

/* A scan code as a number: one byte, or two of which the first is 0xe0. */
#define KEY_EXTENDED 0xe000
/* Pause sends three bytes, breaks at once, and stands for itself in both sets. */
#define KEY_PAUSE 0xe11d

struct key {
	const char *name, *other_name; /* NULL: it has one */
	uint16_t set1, set2;	       /* what it makes in each scan code set */
};

/* NULL: there is no key of that name (of `length` characters) or with that code in set 1. */
const struct key *key_by_name(const char *name, size_t length);
const struct key *key_by_set1(unsigned set1);

/* All of them, to be listed. */
extern const struct key pc_keys[];
extern const unsigned pc_key_count;

/* What the 8042 makes of a byte below 0x80 that a keyboard in set 2 sends: set 1. */
extern const uint8_t key_set2_to_set1[128];

#endif
