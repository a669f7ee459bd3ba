/*
 * A debugger's session: what each packet of gdb's remote protocol means (gdb's manual, appendix E) to a
 * target whose threads are vCPUs, numbered from 1 on. All-stop mode: either all stand still and packets
 * are answered, or gdb waits for the next stop.
 */
#ifndef KVIK_MONITOR_GDB_SESSION_H
#define KVIK_MONITOR_GDB_SESSION_H

#include "monitor/gdb/breakpoints.h"
#include "monitor/gdb/packet.h"
#include "monitor/gdb/registers.h"
#include "monitor/gdb/target.h"

/* Why a vCPU stopped, or the target as a whole. */
struct gdb_stop {
	enum gdb_stop_kind {
		GDB_STOP_NONE,
		GDB_STOP_ASKED,	   /* somebody asked for it */
		GDB_STOP_STEP,
		GDB_STOP_SOFTWARE, /* breakpoints */
		GDB_STOP_HARDWARE,
		GDB_STOP_WATCH,
		GDB_STOP_CRASH,	   /* the guest cannot go on */
	} kind;
	unsigned cpu;
	enum gdb_break_kind watch; /* of GDB_STOP_WATCH */
	uint64_t address;
};

struct gdb_session {
	struct gdb_target *target;
	/* Everything that goes to the peer: whole packets and acknowledgements. */
	void (*send)(void *context, const uint8_t *bytes, size_t size);
	void *context;

	struct gdb_memory memory;
	struct gdb_breakpoints breakpoints;
	struct gdb_layout layout;
	int architecture; /* enum gdb_architecture that was asked for; -1: by the CPU's model */

	/* The peer's part; a new one begins anew. */
	bool is_there;
	bool is_waiting; /* for a stop, while the target runs */
	bool is_leaving; /* has detached or killed: nothing more is said */
	bool no_ack, knows_swbreak, knows_hwbreak;
	unsigned cpu;	 /* the one that packets are about */
	int resumed_cpu; /* Hc; -1: all */
	unsigned listed; /* threads that were told so far */
	struct gdb_stop last_stop;
	struct gdb_parser parser;
	struct gdb_reply reply;
	struct gdb_state state;
	struct gdb_order orders[GDB_CPUS_MAX];
};

void gdb_session_init(struct gdb_session *session, struct gdb_target *target);
void gdb_session_free(struct gdb_session *session);

/* A peer has come; the target stands still, or will soon. */
void gdb_session_begin(struct gdb_session *session);
/* It has gone, whether it said so or not: no breakpoint stays. The target stands still. */
void gdb_session_end(struct gdb_session *session);

/*
 * Bytes of the peer's. Returns how many were taken: no more after one that has the target go on, or the
 * peer leave. Only while the target stands still and the peer does not wait for a stop.
 */
size_t gdb_session_receive(struct gdb_session *session, const uint8_t *bytes, size_t size);

/* The target, which ran because the session had it resume, stands still. */
void gdb_session_stopped(struct gdb_session *session, const struct gdb_stop *stop);
/* It is gone, with this exit status. */
void gdb_session_exited(struct gdb_session *session, int status);

/* Around a reset of the target. */
void gdb_session_resetting(struct gdb_session *session);
void gdb_session_was_reset(struct gdb_session *session);

/* KVM_SET_GUEST_DEBUG for a vCPU that does as `order` says. */
void gdb_session_debug(const struct gdb_session *session, const struct gdb_order *order,
		       struct kvm_guest_debug *debug);

/* -- inside the session -- */

/* query.c: q and Q packets; false: nothing that is known. */
bool gdb_query(struct gdb_session *session, const char *packet);
/* console.c: what `monitor` says; the text goes to the peer. */
void gdb_console(struct gdb_session *session, const char *line);

/* answer.c: replies of common forms. */
void gdb_session_reply(struct gdb_session *session, const char *text);
void gdb_session_reply_result(struct gdb_session *session, int result); /* OK, or E and errno */
void gdb_session_send_reply(struct gdb_session *session); /* what session->reply has */

#endif
