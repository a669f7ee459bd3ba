/*
 * Messages between the monitor and the process of a share, by memory that both have: a ring each way, and a socket only to wake
 * whoever sleeps. Two that look for messages exchange them without a system call.
 *
 * Neither side trusts the other. What is in the memory can change at any time; a message is copied out once, and
 * means what its reader checks it to mean.
 */
#ifndef KVIK_SHARE_EXCHANGE_H
#define KVIK_SHARE_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXCHANGE_MESSAGES 16 /* of each ring: whoever has more under way than that loses some. A power of two */
#define EXCHANGE_BYTES	  4096 /* of the memory, which begins as zeroes and at a page */

struct exchange_message {
	uint32_t slot, size, room;
};

struct exchange_ring;

/* One side's. Whoever uses it on several threads has a lock. */
struct exchange_end {
	struct exchange_ring *in, *out;
	uint32_t taken, put; /* counts, modulo 2^32 */
	int socket;
};

/* `memory` and `socket` outlive it. Of the two ends, one is the server's. */
void exchange_open(struct exchange_end *end, void *memory, bool is_server, int socket);

/* 0; -EPIPE: the other side slept, and has gone. */
int exchange_put(struct exchange_end *end, const struct exchange_message *message);
/* 1; 0: there is none; -EPROTO: the other side makes things up. */
int exchange_take(struct exchange_end *end, struct exchange_message *message);
/* Whether there is one, at once. */
bool exchange_has_message(const struct exchange_end *end);
/* Look for one, some microseconds and then a turn of those that wait for this CPU. Whether there is one. */
bool exchange_look(const struct exchange_end *end);

/*
 * Say that nobody looks: the other side makes the socket readable with the next message. False: there is a
 * message, so this side is awake still.
 */
bool exchange_sleep(struct exchange_end *end);
/* Say that somebody looks again. The socket may be readable once more all the same. */
void exchange_wake(struct exchange_end *end);
/* Take from the socket what woke this side, if that is there. 0, or -EPIPE: the other side has gone. */
int exchange_hear(struct exchange_end *end);

#endif
