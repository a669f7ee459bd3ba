/* HMP's commands about networks. */
#ifndef KVIK_MONITOR_HMP_NETWORK_H
#define KVIK_MONITOR_HMP_NETWORK_H

#include <jansson.h>
#include <stdbool.h>

#include "monitor/hmp_text.h"

/* "info network", in the form that QEMU's has, of monitor_facts.networks. */
/* What monitor_facts.read_user_networks tells. */
void hmp_print_user_networks(struct hmp_text *text, const json_t *networks);
void hmp_print_networks(struct hmp_text *text, const json_t *networks);

/* What set_link's words are as arguments; the caller's, or NULL: they are none. */
json_t *hmp_parse_link(char *words);

/* hostfwd_add [NETWORK] FORWARD, hostfwd_remove [NETWORK] FORWARD: as MONITOR_FORWARD has it; the caller's, or NULL. */
json_t *hmp_parse_forward(char *words, bool is_end);

#endif
