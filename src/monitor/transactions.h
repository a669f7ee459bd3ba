/* Actions of QMP's transactions that are more than images on top of disks. */
#ifndef KVIK_MONITOR_TRANSACTIONS_H
#define KVIK_MONITOR_TRANSACTIONS_H

#include <jansson.h>
#include <stdbool.h>

struct qmp_call;

/* Of bitmaps (commands_bitmaps.c): do it, 0 or -errno and the call's error; and then, that all was done, or that this is
 * undone. */
bool bitmap_action_is_one(const json_t *action);
int bitmap_action_begin(struct qmp_call *call, const json_t *action);
void bitmap_action_end(struct qmp_call *call, const json_t *action, bool is_done);

/* A backup (commands_block_jobs.c), likewise. */
bool backup_action_is_one(const json_t *action);
int backup_action_begin(struct qmp_call *call, const json_t *action);

#endif
