/* Sizes and lists of snapshots for people, as QEMU's tools print them. Any thread. */
#ifndef KVIK_UTIL_SNAPSHOT_TEXT_H
#define KVIK_UTIL_SNAPSHOT_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* "1.5 GiB": three digits that count. */
void size_text(char *text, size_t room, uint64_t bytes);

/* A row's columns. */
struct snapshot_text {
	char size[32], date[32], clock[32];
};

#define SNAPSHOT_TEXT_HEAD "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n"
#define SNAPSHOT_TEXT_ROW  "%-9s %-16s %8s%20s%13s%11s\n" /* identifier, name, size, date, clock, "" */

/* `seconds` since the epoch, in the local time zone; `clock_ns` is the machine's. */
void snapshot_text_make(struct snapshot_text *text, uint64_t state_bytes, uint64_t seconds, uint64_t clock_ns);

#endif
