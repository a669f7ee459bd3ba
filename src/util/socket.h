/* Stream sockets by address, listening and connected. All are made with close-on-exec. */
#ifndef KVIK_UTIL_SOCKET_H
#define KVIK_UTIL_SOCKET_H

#include "util/error.h"

/* Each returns a descriptor, or -errno and `error`. A socket's file that is there already is replaced when
 * listening. `host` may be a name or an address, NULL: any of this host's (listening), or its loopback. */
int socket_listen_unix(const char *path, struct error *error);
int socket_connect_unix(const char *path, struct error *error);
int socket_listen_tcp(const char *host, const char *port, struct error *error);
int socket_connect_tcp(const char *host, const char *port, struct error *error);
/* The folder that a Unix socket of that path is in (O_PATH), for those who name it from there: `name`, in the path. */
int socket_open_folder(const char *path, const char **name, struct error *error);

#endif
