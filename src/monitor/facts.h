/* What a monitor is told of things that only the command line knows. */
#ifndef KVIK_MONITOR_FACTS_H
#define KVIK_MONITOR_FACTS_H

#include <jansson.h>
#include <stdbool.h>

#include "device/char/char.h"
#include "machine/cpu_features.h"

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
	/* Open a file that somebody names in a command, to read it or to write it anew. A descriptor,
	 * close-on-exec, or -errno and `error`. */
	int (*open_file)(void *context, const char *path, bool for_writing, struct error *error);
	void *file_context;
	/* End the process, which has no machine. */
	void (*quit)(void *context);
	void *context;
};

#endif
