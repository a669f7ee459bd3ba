/* What people can ask of what the machine consists of. */
#ifndef KVIK_MONITOR_HMP_TREE_H
#define KVIK_MONITOR_HMP_TREE_H

#include "monitor/hmp_line.h"

void hmp_info_mtree(struct hmp_line *line);
void hmp_info_qtree(struct hmp_line *line);
void hmp_info_qom_tree(struct hmp_line *line);
void hmp_info_usb(struct hmp_line *line);
void hmp_info_mice(struct hmp_line *line);

#endif
