/* "info". */
#ifndef KVIK_MONITOR_HMP_INFO_H
#define KVIK_MONITOR_HMP_INFO_H

#include "monitor/hmp_line.h"

void hmp_info(struct hmp_line *line);

#endif
