/* What people read and type about a migration. */
#ifndef KVIK_MONITOR_HMP_MIGRATION_H
#define KVIK_MONITOR_HMP_MIGRATION_H

#include <jansson.h>

#include "monitor/hmp_text.h"

/* query-migrate's answer. */
void hmp_print_migration(struct hmp_text *text, const json_t *answer);
/* "max-bandwidth 32M" as migrate-set-parameters takes it; the caller's, or NULL: it is wrong. */
json_t *hmp_parse_parameter(const char *text);
/* query-dirty-rate's. */
void hmp_print_dirty_rate(struct hmp_text *text, const json_t *answer);
/* "SECONDS [PAGES]" as calc-dirty-rate takes it; the caller's, or NULL: it is wrong. */
json_t *hmp_parse_dirty_rate(char *text);
/* "events on" as migrate-set-capabilities takes it; likewise. */
json_t *hmp_parse_capability(char *text);

#endif
