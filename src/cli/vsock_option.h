/* A guest's sockets (AF_VSOCK) as --vsock names them: "PATH[,cid=N]" */
#ifndef KVIK_CLI_VSOCK_OPTION_H
#define KVIK_CLI_VSOCK_OPTION_H

#include "machine/board_config.h"

struct vsock_option {
	char *path; /* owned; NULL: there are none */
	uint32_t cid;
};

/* 0, or -errno with what is wrong. vsock_option_free in any case, also of a zeroed one. */
int vsock_option_parse(struct vsock_option *option, const char *text, struct error *error);
void vsock_option_free(struct vsock_option *option);

/* Listen there. 0 or -errno. */
int vsock_option_open(const struct vsock_option *option, struct board_vsock *vsock,
		      struct error *error);

#endif
