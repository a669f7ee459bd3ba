/* The options of `kvik run`. */
#ifndef KVIK_CLI_RUN_OPTIONS_H
#define KVIK_CLI_RUN_OPTIONS_H

#include <stdbool.h>

#include "cli/accel.h"
#include "cli/code_cache_file.h"
#include "cli/disk_option.h"
#include "cli/firmware_option.h"
#include "cli/net_option.h"
#include "cli/share_option.h"
#include "cli/vsock_option.h"
#include "machine/machine.h"

/* Where a character stream goes. */
struct stream_option {
	enum { STREAM_STDIO, STREAM_FILE, STREAM_NONE, STREAM_UNIX } kind;
	const char *path; /* of a file or a socket */
};

struct run_options {
	bool wants_help, wants_cpu_help;
	enum accel accel;
	const struct kvm_backend *engine; /* which form of kvik's engine, if it runs the guest */
	enum board_kind board;
	enum interrupts_kind irqchip;
	uint64_t memory_bytes;
	unsigned cpus; /* 0: not said */
	struct cpu_spec cpu;
	struct boot_config boot;
	struct firmware_option firmware; /* who boots the disks */
	struct stream_option serial, debug_console;
	bool has_serial, has_memory, has_debug_console, has_net; /* said, not assumed */
	struct port_option {
		char *name; /* owned; NULL: the console */
		struct stream_option where;
	} ports[VIRTIO_CONSOLE_PORTS_MAX];
	unsigned port_count;
	int print_port, debug_exit_port; /* -1: none */
#define DEBUG_EXIT_NOT_SAID (-2)
	const char *save_path, *load_path; /* or NULL */
	const char *picture_path; /* where pictures of the display go; NULL: there is none */
	struct device_option devices[DEVICE_OPTIONS_MAX];
	unsigned device_count;
	struct disk_option disks[BOARD_DISKS_MAX];
	unsigned disk_count;
	struct net_option nets[BOARD_NETS_MAX];
	unsigned net_count;
	struct share_option shares[BOARD_SHARES_MAX];
	unsigned share_count;
	struct vsock_option vsock;
	bool ends_when_saved, ends_at_reset, wants_statistics, is_confined;
	char **command; /* to run in the guest, itself first; NULL: none */
	int command_count;
	char *shell; /* that is the command because nothing else was said: in the first share. The environment's */
	const char *gdb; /* where a debugger may connect, or NULL */
	bool waits_for_gdb;
	const char *code_dump; /* path, or NULL */
	uint64_t code_cache_bytes; /* 0: the default */
	struct code_cache_file_option code_cache_file;
	int verbosity;
	char hint[256]; /* what defaults have decided that a person may want to know; empty: nothing */
};

/*
 * Parse; strings point into `arguments`. What was not said is run_defaults.h's, but with `wants_help` and the
 * like. 0, or -EINVAL with one line in `error` that names the option. run_options_free in either case.
 */
int run_options_parse(struct run_options *options, int count, char **arguments,
		      struct error *error);
void run_options_free(struct run_options *options);

extern const char run_options_help[];

#endif
