/* What `--firmware` says. */
#ifndef KVIK_CLI_FIRMWARE_OPTION_H
#define KVIK_CLI_FIRMWARE_OPTION_H

#include "machine/boot/firmware.h"
#include "util/error.h"

struct firmware_option {
	char *text; /* owned: what the strings below point into; NULL: nothing was said */
	const char *what; /* "bios", "uefi", or a path */
	const char *vars; /* NULL: not said */
};

/* WHAT[,vars=FILE]; 0, or -errno and `error`. */
int firmware_option_parse(struct firmware_option *option, const char *text, struct error *error);
void firmware_option_free(struct firmware_option *option);

/* The files that are meant, "bios" and "uefi" as packages install them. 0, or -errno and `error`. */
int firmware_option_find(const struct firmware_option *option, struct firmware_files *files,
			 struct error *error);

#endif
