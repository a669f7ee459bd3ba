/* What a monitor is told of things that only the command line knows. */
#ifndef KVIK_MONITOR_FACTS_H
#define KVIK_MONITOR_FACTS_H

#include <jansson.h>
#include <stdbool.h>

#include "device/char/char.h"
#include "machine/cpu_features.h"

/* What a command names that is opened for it. */
enum monitor_file {
	MONITOR_FILE_READ,   /* by its path */
	MONITOR_FILE_WRITE,  /* ... anew */
	MONITOR_FILE_CHANGE, /* ... to read it and change it, or to read it where it may not be changed */
	MONITOR_FILE_MAKE,   /* ... to read and write it: made where it is not; it keeps what it has */
	MONITOR_URI_OUT,     /* where a machine is sent: file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT */
	MONITOR_URI_IN,	     /* where one comes from, likewise; sockets listen */
	MONITOR_FILE_PASSED, /* a descriptor that came with the command, by the name that it gets */
	MONITOR_NETWORK,     /* netdev_add's, by its arguments as text; not by open_file */
	MONITOR_FILE_APPEND, /* by its path, to write behind what it has */
	MONITOR_DIALER,	     /* "SECONDS tcp:HOST:PORT", or unix:PATH: net/dialer.h */
};

/* What may come and go while there is a machine: QMP's command of that name. */
enum monitor_change {
	MONITOR_DEVICE_ADD,
	MONITOR_DEVICE_DEL,
	MONITOR_BLOCKDEV_ADD,
	MONITOR_BLOCKDEV_DEL,
	MONITOR_NETDEV_ADD,
	MONITOR_NETDEV_DEL,
	MONITOR_OBJECT_ADD,
	MONITOR_OBJECT_DEL,
	MONITOR_EJECT, /* of CD-ROM drives */
	MONITOR_OPEN_TRAY,
	MONITOR_CLOSE_TRAY,
	MONITOR_REMOVE_MEDIUM,
	MONITOR_INSERT_MEDIUM,
	MONITOR_CHANGE_MEDIUM,
	MONITOR_SET_LINK,
	MONITOR_FORWARD, /* hostfwd_add and, with "is-end", hostfwd_remove: "device", which may be missing, and "forward" */
	MONITOR_BLOCK_RESIZE,
	MONITOR_TRANSACTION, /* of blockdev-snapshot and blockdev-snapshot-sync */
	MONITOR_SET_LIMITS, /* block_set_io_throttle */
	MONITOR_BITMAP,	    /* cli/qemu/bitmaps.h */
	MONITOR_NEW_IMAGE,  /* BlockdevCreateOptions */
	MONITOR_NBD_START,
	MONITOR_NBD_STOP,
	MONITOR_EXPORT_ADD, /* block-export-add's arguments */
	MONITOR_EXPORT_DEL,
};

struct block;
struct block_copy;

/* JSON values are borrowed from whoever made the facts; they are answers as schema.json says. */
struct monitor_facts {
	const char *name, *uuid; /* NULL: none */
	bool has_kvm, uses_kvm;
	bool has_node; /* -numa: one, of all CPUs and all memory */
	struct cpu_feature_set cpu_features; /* that CPUs of model "max" have */
	json_t *command_line_options, *machines, *chardev_backends, *blocks, *block_nodes, *tpms;
	/* Network devices, each {"name", "text", "link" (the network's name of its own)}, with its network, if it has one, under
	 * "network", likewise; and networks without one. */
	json_t *networks;
	/* The types of objects and devices: name to {"parent", "abstract", "properties": [...]}. */
	json_t *types;
	/* The objects there are: path to {property: {"type", "value"}}; children have paths, too. */
	json_t *objects;
	/* query-chardev's answer; and QMP's commands that change consoles, by the name that they have: their answer, or NULL and
	 * `error`. A person's backend is "line" instead. The caller's; of change_context; NULL: there are none, nothing changes. */
	json_t *(*read_chardevs)(void *context);
	json_t *(*change_chardev)(void *context, const char *command, const json_t *arguments, struct error *error);
	/* The ring of that name to read from, or NULL. */
	struct char_stream *(*find_ring)(void *context, const char *name);
	/* The disk that a node or a drive of that name is, while a device has it; or NULL. */
	const struct block *(*find_disk)(void *context, const char *name);
	/* query-blockstats' answer, of disks or of their nodes; the caller's. NULL: there are none. */
	json_t *(*read_block_counts)(void *context, bool of_nodes);
	/* The thread that serves what has the -object iothread of that name; 0: this one does. NULL: likewise. */
	pid_t (*find_iothread)(void *context, const char *name);
	void *disk_context;
	/* Open what somebody names in a command. A descriptor, close-on-exec, or -errno and `error`. */
	int (*open_file)(void *context, enum monitor_file kind, const char *name, struct error *error);
	void *file_context;
	/* Change what there is, as QMP's arguments say. 0, or -errno and `error`. NULL: nothing can be changed. A
	 * device that shall go goes later: monitor_device_deleted. */
	int (*change)(void *context, enum monitor_change what, const json_t *arguments, struct error *error);
	/* QMP's add-fd, whose descriptor comes from open_file, and query-fdsets: the answer, the caller's, or NULL and `error`.
	 * And remove-fd: 0, or -errno and `error`. Of change_context; NULL, all of them: nobody keeps sets. */
	json_t *(*add_fd)(void *context, const json_t *arguments, struct error *error);
	json_t *(*read_fdsets)(void *context);
	int (*remove_fd)(void *context, const json_t *arguments, struct error *error);
	/* Begin to copy a disk (block/copy.h), as a command's arguments say; and hear that it has ended. Of change_context. */
	int (*start_copy)(void *context, const char *command, const json_t *arguments, void (*changed)(void *context),
			  void *changed_context, struct block_copy **copy, struct error *error);
	void (*copy_ended)(void *context, const char *command, const json_t *arguments, bool was_finished);
	/* Networks in user space: each {"name", "text"}, lines of connections and forwarded ports. The caller's; of change_context;
	 * NULL: there are none. */
	json_t *(*read_user_networks)(void *context);
	/* query-block-exports' answer, the caller's. Likewise; NULL: there are none. */
	json_t *(*read_exports)(void *context);
	/* Bring `blocks` and `block_nodes` up to date, of which the guest changes some. NULL: they do not change. */
	void (*look)(void *context);
	/* "DRIVER,KEY=VALUE,..." as arguments; the caller's, or NULL and `error`. */
	json_t *(*parse_device)(const char *text, struct error *error);
	/* The id of the device at a place on PCI (BOARD_PLACE); NULL: it has none. NULL: nobody knows. */
	const char *(*find_device)(void *context, unsigned place);
	/* Whether a CPU is a device, and then its id, or NULL. NULL: nobody knows. */
	bool (*find_cpu)(void *context, unsigned cpu, const char **id);
	/* The memory that is in a slot, as device_add has it, with "hotplugged"; NULL: nothing. NULL: nobody knows. */
	const json_t *(*find_memory)(void *context, unsigned slot);
	/* query-memdev's answer, the caller's. NULL: there are none. */
	json_t *(*describe_memory)(void *context);
	/* The guest has opened or closed a port of the console device, which query-chardev tells from then on. Its id; NULL: it
	 * has none. NULL: nobody knows. */
	const char *(*port_changed)(void *context, unsigned port, bool is_open);
	void *change_context;
	/* End the process, which has no machine. */
	void (*quit)(void *context);
	void *context;
};

#endif
