/* kvik's own init: main.c reads what to do, failure.c keeps what went wrong, system.c makes a system of shares, relay.c runs the command. */
#ifndef KVIK_GUEST_INIT_H
#define KVIK_GUEST_INIT_H

#include <stdbool.h>

#define ITEMS_MAX 4096

struct share_item {
	const char *tag, *path;
	bool is_readonly;
};

struct guest_plan {
	const char *modules[64];
	unsigned module_count;
	struct share_item shares[16];
	unsigned share_count;
	const char *directory, *host;
	bool has_network;
	bool is_terminal[3], is_raw;
	unsigned rows, columns;
	char *arguments[ITEMS_MAX + 1], *variables[ITEMS_MAX + 1];
	unsigned argument_count, variable_count;
};

/* The first failure, in words, for whoever started the machine; 0 or -1. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *failure(void);

/* Load the modules. What the kernel has built in, or has no use for, is not missed. */
void load_modules(const struct guest_plan *plan);
/* Make the shares the root directory, with what the kernel adds, and go to the command's directory. 0 or -1. */
int make_system(const struct guest_plan *plan);

/* The port to kvik, once it is there; -1: it does not come. */
int open_port(void);
/* Run the command and carry what it reads and writes; ends with the machine. */
void run_command(const struct guest_plan *plan, int port) __attribute__((noreturn));
/* Say why there is none. */
void report_failure(int port) __attribute__((noreturn));

#endif
