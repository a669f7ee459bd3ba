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
	MONITOR_URI_OUT,     /* where a machine is sent: file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT */
	MONITOR_URI_IN,	     /* where one comes from, likewise; sockets listen */
	MONITOR_FILE_PASSED, /* a descriptor that came with the command, by the name that it gets */
};

/* JSON values are borrowed from whoever made the facts; they are answers as schema.json says. */
struct monitor_facts {
	const char *name, *uuid; /* NULL: none */
	bool has_kvm, uses_kvm;
	struct cpu_feature_set cpu_features; /* that CPUs of model "max" have */
	json_t *command_line_options, *machines, *chardevs, *chardev_backends, *blocks, *block_nodes;
	/* The types of objects and devices: name to {"parent", "abstract", "properties": [...]}. */
	json_t *types;
	/* The objects there are: path to {property: {"type", "value"}}; children have paths, too. */
	json_t *objects;
	/* The ring of that name to read from, or NULL. */
	struct char_stream *(*find_ring)(void *context, const char *name);
	/* Open what somebody names in a command. A descriptor, close-on-exec, or -errno and `error`. */
	int (*open_file)(void *context, enum monitor_file kind, const char *name, struct error *error);
	void *file_context;
	/* End the process, which has no machine. */
	void (*quit)(void *context);
	void *context;
};

#endif
