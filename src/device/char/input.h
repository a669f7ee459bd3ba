/* The input side of streams on descriptors: reads no more than the stream's reader has room for. */
#ifndef KVIK_DEVICE_CHAR_INPUT_H
#define KVIK_DEVICE_CHAR_INPUT_H

#include "device/char/char.h"

struct char_input {
	struct event_source source; /* while the reader has no room: watched for the end alone */
	uint8_t ahead;		    /* read before there was room for it, to see whether it was the end */
	bool has_ahead;
	bool is_open;		    /* atomic: there may be more to read */
	struct char_stream *stream;
	void (*ended)(void *context); /* the peer has gone; I/O thread. Or NULL */
	void *context;
};

/* Watch `fd`, which stays the caller's, for `stream`'s reader. 0 or -errno. I/O thread. */
int char_input_open(struct char_input *input, struct event_loop *loop, int fd,
		    struct char_stream *stream);
void char_input_close(struct char_input *input); /* I/O thread; also fine on one that is closed */
/* The reader has room again. Any thread. */
void char_input_resume(struct char_input *input);

#endif
