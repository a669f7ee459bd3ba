/* What people type about disks, and read of them: from words to QMP's arguments, and from its answers to text. */
#ifndef KVIK_MONITOR_HMP_DISKS_H
#define KVIK_MONITOR_HMP_DISKS_H

#include <jansson.h>

#include "monitor/hmp_text.h"

/* "DEVICE SIZE[KMGT]", in MiB without a letter: block_resize's arguments. NULL: it is none, and was told so. */
json_t *hmp_parse_resize(struct hmp_text *text, const char *words);
/* "DEVICE FILE [FORMAT]": blockdev-snapshot-sync's. Likewise. */
json_t *hmp_parse_overlay(struct hmp_text *text, const char *words);

void hmp_print_block_counts(struct hmp_text *text, const json_t *answer); /* query-blockstats's */

#endif
