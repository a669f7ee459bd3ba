/*
 * The gdb stub: a debugger on a socket, or on a stream such as standard input and output, looks into a machine and has it
 * stop and go on.
 *
 * Whoever reaches the socket owns the guest. It is a Unix socket that only its owner may use, or a TCP
 * port of the loopback interface, unless somebody names another address.
 */
#ifndef KVIK_MONITOR_GDB_GDB_H
#define KVIK_MONITOR_GDB_GDB_H

#include "device/char/char.h"
#include "machine/machine.h"
#include "util/error.h"
#include "util/event_loop.h"

struct gdb_stub;

/*
 * Listen at `where`: tcp:[HOST]:PORT or tcp:PORT (HOST: 127.0.0.1; an address, [IPv6] in brackets) or
 * unix:PATH. Before the process confines itself. NULL, and `error`, on failure.
 */
struct gdb_stub *gdb_stub_create(const char *where, struct event_loop *loop, struct error *error);
/* Debuggers are on a stream, one after another, each from its first byte on; the stream outlives the stub. Likewise. */
struct gdb_stub *gdb_stub_create_on(struct char_stream *stream, struct event_loop *loop, struct error *error);
/* After the machine has run, and before it is destroyed. NULL is fine. */
void gdb_stub_destroy(struct gdb_stub *stub);

/*
 * Serve debuggers of this machine, before machine_run. A machine that is to wait for the first one was
 * created with MACHINE_PAUSE_DEBUGGER in config.pauses. 0 or -errno.
 */
int gdb_stub_attach(struct gdb_stub *stub, struct machine *machine, struct error *error);

#endif
