/*
 * How images are named: by a path, by what follows "file:", as "json:{...}", and with --image-opts as "driver=qcow2,
 * file.filename=PATH". The last two are QEMU's block devices in words: a format's node on one of the host's files or exports.
 */
#ifndef KVIK_CLI_IMAGE_NAME_H
#define KVIK_CLI_IMAGE_NAME_H

#include <stdbool.h>

#include "block/image.h"
#include "util/error.h"

/* Options that a command's images have in common. */
struct image_names {
	bool are_options; /* --image-opts */
	unsigned flags;	  /* IMAGE_SHARED */
};

/*
 * What `name` means: a path that image_open takes, which lives as long as the program; `format` is set where the name says it.
 * 0, or -errno and `error`.
 */
int image_name_parse(const char *name, bool are_options, const char **path, const char **format, struct error *error);
/* The same for block_open, whose options get the format that the name says. */
int image_name_block(const char *name, const struct image_names *names, const char **path, struct block_options *options,
		     struct error *error);
/* As image_open; a name may say the format, too. */
int image_open_named(const char *name, const struct image_names *names, const struct block_options *options, unsigned flags,
		     struct node **image, struct error *error);

#endif
