/* What people can type to look at CPUs and memory. */
#ifndef KVIK_MONITOR_HMP_LOOK_H
#define KVIK_MONITOR_HMP_LOOK_H

#include "monitor/hmp_line.h"

void hmp_info_registers(struct hmp_line *line);
void hmp_info_mem(struct hmp_line *line);
void hmp_info_tlb(struct hmp_line *line);
void hmp_info_pic(struct hmp_line *line);
void hmp_info_lapic(struct hmp_line *line);
void hmp_info_jit(struct hmp_line *line);
void hmp_cpu(struct hmp_line *line);
void hmp_x(struct hmp_line *line);
void hmp_xp(struct hmp_line *line);
void hmp_print_value(struct hmp_line *line);
void hmp_gva2gpa(struct hmp_line *line);
void hmp_in(struct hmp_line *line);
void hmp_out(struct hmp_line *line);
void hmp_nmi(struct hmp_line *line);
void hmp_memsave(struct hmp_line *line);
void hmp_pmemsave(struct hmp_line *line);
void hmp_dump(struct hmp_line *line);

#endif
