/* Writing a stream's bytes to a host descriptor: shared by the stdio and file streams. */
#ifndef KVIK_DEVICE_CHAR_OUTPUT_H
#define KVIK_DEVICE_CHAR_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct char_output {
	int fd;
	bool gone;	/* atomic: the other side has closed, or the run ends; drop output */
};

/*
 * Write all bytes, waiting while the descriptor is full, until `gone`. Writes of up to PIPE_BUF
 * bytes aren't mixed with others'. Any thread.
 */
void char_output_write(struct char_output *output, const uint8_t *data, size_t size);
void char_output_cancel(struct char_output *output);

#endif
