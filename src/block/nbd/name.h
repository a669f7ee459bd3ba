/*
 * Names of exports of NBD servers: the URIs of NetworkBlockDevice's doc/uri.md, and QEMU's older form.
 *
 *   nbd://HOST[:PORT]/[EXPORT]              nbd:HOST:PORT[:exportname=EXPORT]
 *   nbd+unix:///[EXPORT]?socket=PATH        nbd:unix:PATH[:exportname=EXPORT]
 */
#ifndef KVIK_BLOCK_NBD_NAME_H
#define KVIK_BLOCK_NBD_NAME_H

#include <stdbool.h>

#include "util/error.h"

struct nbd_name {
	char *socket; /* a path; NULL: host and port */
	char *host, *port;
	char *export_name; /* "": the server's default */
};

/* Whether it is one, be it a wrong one, and not a path. */
bool nbd_name_is_one(const char *text);
/* 0 and what nbd_name_free ends, or -errno and `error`. */
int nbd_name_parse(const char *text, struct nbd_name *name, struct error *error);
void nbd_name_free(struct nbd_name *name);

#endif
