/* The character devices of a command line: what -chardev, -serial, -monitor and the like lead to. */
#ifndef KVIK_CLI_QEMU_CHARDEVS_H
#define KVIK_CLI_QEMU_CHARDEVS_H

#include <jansson.h>

#include "cli/qemu/door.h"
#include "cli/qemu/fdsets.h"
#include "device/char/char.h"
#include "device/char/mux.h"
#include "util/error.h"

#define CHARDEVS_MAX 32

struct chardev {
	char *id;
	json_t *options; /* as -chardev has them; owned */
	struct char_stream *stream; /* what its user has; NULL until it is opened */
	struct char_stream *below;  /* what was opened, which is the stream itself, its front's or the mux's */
	struct char_mux *mux;	    /* NULL: is not shared */
	int given_fd;		    /* what was opened for it; -1: nothing */
	char filename[160]; /* as query-chardev tells */
	bool has_user, is_stdio, is_ring, is_socket;
	bool is_closed; /* its user is a port that the guest has not opened */
	bool is_taken; /* its socket is a device's, which speaks more than a stream */
	bool is_monitor, is_control; /* a monitor's alone, of programs */
};

struct chardevs {
	struct event_loop *loop;
	struct char_mux_commands commands;
	uint8_t escape;
	const struct fdsets *fdsets;
	struct char_stream *standard_output; /* NULL until something needs it */
	struct chardev list[CHARDEVS_MAX];
	unsigned count;
	bool are_open; /* all that the command line has */
	bool listens; /* some do */
	bool dials;   /* some have a dialer */
	struct door *door; /* for monitors of their own; NULL: none */
	bool has_door;	   /* some are behind it */
};

/* What `-chardev` says; `options` stay the caller's. 0, or -errno and `error`. */
int chardevs_add(struct chardevs *chardevs, json_t *options, struct error *error);

/*
 * What -serial and its like say: "stdio", "unix:PATH,server=on", "chardev:ID", ... A chardev is added under
 * `id` unless there is one. *index is its number; -1: "none". 0, or -errno and `error`.
 */
int chardevs_add_text(struct chardevs *chardevs, const char *text, const char *id, int *index,
		      struct error *error);

/* The same checks alone, of one that takes another's place. */
int chardevs_check(const json_t *options, struct error *error);

/* Open those on standard input and output, or all others, some of which wait for peers. */
int chardevs_open(struct chardevs *chardevs, bool stdio, struct error *error);
void chardevs_close(struct chardevs *chardevs);

/* Before they are opened: connect one that is a socket's client, for a device that takes the socket itself. The
 * descriptor, the caller's, or -errno and `error`. */
int chardevs_connect(struct chardevs *chardevs, const char *id, struct error *error);

struct chardev *chardevs_find(struct chardevs *chardevs, const char *id); /* or NULL */
/* The stream for one more user of an open one. NULL, and `error`: it has one already. */
struct char_stream *chardev_use(struct chardev *chardev, struct error *error);

/*
 * While the machine is there, on the I/O thread. `fd` is what had to be opened for it (chardev_backend.h), -1: nothing; it
 * is taken over also when this fails. Open the one that was added last; or one for another's place, which is no member
 * of the list. 0, or -errno and `error`.
 */
int chardevs_open_last(struct chardevs *chardevs, int fd, struct error *error);
int chardevs_open_other(struct chardevs *chardevs, json_t *options, int fd, struct chardev *other, struct error *error);
void chardevs_remove(struct chardevs *chardevs, unsigned index); /* one without a user; its numbers are others' then */
bool chardev_can_change(const struct chardev *chardev);
/* Lead to where `other` does, which is no more then. The vCPUs are parked. */
void chardev_take_over(struct chardev *chardev, struct chardev *other);
void chardev_discard(struct chardev *chardev); /* close one that is no member of the list */
void chardev_send_break(struct chardev *chardev);

json_t *chardevs_describe(const struct chardevs *chardevs); /* query-chardev's answer */
json_t *chardevs_describe_backends(void);		    /* query-chardev-backends' */

#endif
