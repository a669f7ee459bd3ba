/*
 * The packets of gdb's remote protocol (gdb's manual, appendix E.1): what comes from the peer, byte by
 * byte, and replies as they go out. Nothing here knows what packets mean.
 *
 * A packet is `$data#cc`, cc the sum of the data's bytes modulo 256 in hexadecimal. In the data, 7dh
 * escapes the next byte, which is XORed with 20h. Each packet is acknowledged by + or asked for again
 * by -, until both sides agree to leave that out. 03h between packets interrupts the target.
 */
#ifndef KVIK_MONITOR_GDB_PACKET_H
#define KVIK_MONITOR_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most that a packet may hold between $ and #; gdb is told. */
#define GDB_PACKET_MAX 0x4000u

enum gdb_event {
	GDB_NOTHING,   /* more is needed */
	GDB_PACKET,    /* parser->data has one */
	GDB_BROKEN,    /* one whose sum or size is wrong */
	GDB_RESEND,    /* the peer did not get the last packet */
	GDB_INTERRUPT, /* 03h */
};

struct gdb_parser {
	enum { GDB_BETWEEN, GDB_DATA, GDB_ESCAPED, GDB_SUM_HIGH, GDB_SUM_LOW } state;
	uint8_t sum;
	int sum_high; /* the first digit; -1: it is none */
	size_t size;
	bool is_too_long;
	uint8_t data[GDB_PACKET_MAX + 1]; /* of the last packet, unescaped; a 0 follows */
};

/* One byte from the peer. After GDB_PACKET, data and size are good until the next byte. */
enum gdb_event gdb_parse(struct gdb_parser *parser, uint8_t byte);

/* A reply that is being put together, framed and escaped. What doesn't fit makes it void. */
struct gdb_reply {
	size_t size;
	bool is_full;
	uint8_t bytes[2 * GDB_PACKET_MAX + 8];
};

void gdb_reply_begin(struct gdb_reply *reply);
void gdb_reply_text(struct gdb_reply *reply, const char *text);
void gdb_reply_format(struct gdb_reply *reply, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void gdb_reply_hex(struct gdb_reply *reply, const void *bytes, size_t size); /* two digits each */
void gdb_reply_binary(struct gdb_reply *reply, const void *bytes, size_t size);
/* The frame's end. A reply that did not fit becomes an error. */
void gdb_reply_end(struct gdb_reply *reply);

/* -- what packets are made of -- */

/* A hexadecimal number at *text, of at least one digit and at most 64 bits; *text goes behind it. */
bool gdb_take_number(const char **text, uint64_t *number);
/* The character `wanted` at *text; *text goes behind it. */
bool gdb_take(const char **text, char wanted);
/* `size` bytes, two digits each, at *text; *text goes behind them. */
bool gdb_take_hex(const char **text, void *bytes, size_t size);

#endif
