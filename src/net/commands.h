/*
 * Commands that run for connections: a process with the user's rights, which waits on sockets that listen and
 * starts a command of the user's for each peer. What it may start is settled before anything is confined; whoever
 * has the sockets' names can have it started, and no more.
 */
#ifndef KVIK_NET_COMMANDS_H
#define KVIK_NET_COMMANDS_H

#include "util/error.h"

/* At one time, of one network. More peers wait. */
#define NET_COMMANDS_RUNNING 64

/*
 * Start the process for `count` commands, which a shell runs with the peer as standard input, output and error. A
 * descriptor, on which it is sent the socket of each (net_commands_give), in order; it ends when that is closed by all. Or
 * -errno and `error`. While this process has one thread, and is not confined.
 */
int net_commands_start(const char *const *commands, unsigned count, struct error *error);
/* Listen at a path in the current directory for the next command. 0 or -errno. */
int net_commands_give(int runner, const char *path);

#endif
