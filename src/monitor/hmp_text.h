/* Text that grows: what a human's command prints. */
#ifndef KVIK_MONITOR_HMP_TEXT_H
#define KVIK_MONITOR_HMP_TEXT_H

#include <stddef.h>

struct hmp_text {
	char *bytes; /* ends with a zero byte; NULL while there is none */
	size_t size, room;
};

/* What there is no memory for is left out. */
void hmp_print(struct hmp_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hmp_text_free(struct hmp_text *text);

#endif
