/*
 * What kvik and its own init in a guest say to one another, to run a command there (kvik run -- COMMAND):
 * a file that the guest boots with, and frames on a virtio port. Both ends are built together.
 */
#ifndef KVIK_GUEST_PROTOCOL_H
#define KVIK_GUEST_PROTOCOL_H

#include <stdint.h>

#define GUEST_PORT   "kvik.command"
#define GUEST_CONFIG "/kvik.config"

/*
 * The file: strings, each with a NUL behind it, whose first character says what the rest is. What
 * there can be several of comes in its order.
 */
enum guest_item {
	GUEST_MODULE = 'm',	 /* a file to load as a module */
	GUEST_TAG = 't',	 /* the tag of a share; the next path is where it goes */
	GUEST_READONLY = 'r',	 /* a path: of a share that cannot be written */
	GUEST_WRITABLE = 'w',	 /* a path: of one that can */
	GUEST_DIRECTORY = 'd',	 /* where the command begins */
	GUEST_VARIABLE = 'e',	 /* NAME=VALUE of its environment */
	GUEST_ARGUMENT = 'a',	 /* of the command, itself the first */
	GUEST_TERMINALS = 'y',	 /* which of 0, 1 and 2 are the terminal, as digits */
	GUEST_RAW = 'z',	 /* the host's side of it is raw, so the guest's is not */
	GUEST_SIZE = 's',	 /* ROWS COLUMNS */
	GUEST_HOST = 'h',	 /* its name */
	GUEST_NETWORK = 'n',	 /* there is a network in user space */
};

/* A frame: this, and `size` bytes. */
struct guest_frame {
	uint16_t kind;
	uint16_t size;
};

#define GUEST_FRAME_MAX 16384 /* bytes of one */

enum guest_frame_kind {
	/* To the guest: */
	FRAME_INPUT = 1, /* of size 0: its end */
	FRAME_SIZE,	 /* two uint16_t: rows and columns */
	FRAME_CLOSED,	 /* a uint16_t: nobody reads what the command writes to that descriptor any more */
	/* From the guest: */
	FRAME_OUTPUT = 16, /* of descriptor 1; of the terminal, if that is one */
	FRAME_ERROR,	   /* of descriptor 2 */
	FRAME_FAILED,	   /* in words, why there is no command */
	FRAME_EXIT,	   /* a uint32_t: how it ended, as a shell says it; the last one */
};

#endif
