/* A folder as --share names it: "DIR[:ro|:rw][,PROPERTY=VALUE]..." */
#ifndef KVIK_CLI_SHARE_OPTION_H
#define KVIK_CLI_SHARE_OPTION_H

#include "machine/board_config.h"

struct share_option {
	char *text; /* owned; what follows points into it */
	const char *path;
	const char *tag; /* NULL: by its number */
	bool is_readonly;
	bool has_cache;
	uint64_t keep_s;
	enum share_protocol protocol;
	enum share_keeping keeping;
};

/* 0, or -errno with what is wrong. share_option_free in the first case. */
int share_option_parse(struct share_option *option, const char *text, struct error *error);
void share_option_free(struct share_option *option);

/* Start the share: folder `number` of the machine. 0 or -errno. */
int share_option_open(const struct share_option *option, unsigned number,
		      struct board_share *share, struct error *error);

#endif
