/* Text that grows: what a human's command prints. */
#ifndef KVIK_MONITOR_HMP_TEXT_H
#define KVIK_MONITOR_HMP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct hmp_text {
	char *bytes; /* ends with a zero byte; NULL while there is none */
	size_t size, room;
	bool is_full; /* the rest is left out, which the last line says */
};

/* More than that no monitor is sure to pass on (device/char/output.h). */
#define HMP_TEXT_MAX (192u << 10)

/* What there is no memory for is left out, and what comes behind HMP_TEXT_MAX. */
void hmp_print(struct hmp_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hmp_text_free(struct hmp_text *text);

#endif
