/* What people read of PCI. */
#ifndef KVIK_MONITOR_HMP_PCI_H
#define KVIK_MONITOR_HMP_PCI_H

#include <jansson.h>

#include "monitor/hmp_text.h"

/* query-pci's answer. */
void hmp_print_pci(struct hmp_text *text, const json_t *buses);

#endif
