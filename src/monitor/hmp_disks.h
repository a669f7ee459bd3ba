/* What people type about disks, and read of them: from words to QMP's arguments, and from its answers to text. */
#ifndef KVIK_MONITOR_HMP_DISKS_H
#define KVIK_MONITOR_HMP_DISKS_H

#include <jansson.h>
#include <stdbool.h>

#include "monitor/hmp_text.h"

/* "DEVICE SIZE[KMGT]", in MiB without a letter: block_resize's arguments. NULL: it is none, and was told so. */
json_t *hmp_parse_resize(struct hmp_text *text, char *words);
/* "DEVICE BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR": block_set_io_throttle's. Likewise. */
json_t *hmp_parse_limits(struct hmp_text *text, char *words);
/* "DEVICE FILE [FORMAT]": blockdev-snapshot-sync's. Likewise. */
json_t *hmp_parse_overlay(struct hmp_text *text, char *words);

/* "[-a] [-w] HOST:PORT|unix:PATH": nbd-server-start's arguments, and whether all disks are given (-a), to be written to (-w). */
json_t *hmp_parse_server(struct hmp_text *text, char *words, bool *gives_all, bool *is_writable);
/* "[-w] DEVICE [NAME]": nbd-server-add's. "[-f] NAME": nbd-server-remove's. Likewise. */
json_t *hmp_parse_export(struct hmp_text *text, char *words);
json_t *hmp_parse_export_end(struct hmp_text *text, char *words);

/* "[-f] DEVICE": a job's, "DEVICE SPEED[KMGT]" (MiB without a letter): block-job-set-speed's, and "DEVICE [SPEED [BASE]]":
 * block-stream's. Likewise. */
json_t *hmp_parse_job(struct hmp_text *text, const char *command, char *words);
json_t *hmp_parse_job_speed(struct hmp_text *text, char *words);
json_t *hmp_parse_stream(struct hmp_text *text, char *words);

void hmp_print_block_jobs(struct hmp_text *text, const json_t *answer);	  /* query-block-jobs's */
void hmp_print_block_counts(struct hmp_text *text, const json_t *answer); /* query-blockstats's */

#endif
