/* QMP's commands from inside the room. */
#ifndef KVIK_MONITOR_QMP_H
#define KVIK_MONITOR_QMP_H

#include <errno.h>

#include "monitor/monitor_state.h"
#include "util/error.h"

/* One command being carried out. */
struct qmp_call {
	struct monitor *monitor;
	struct qmp_session *session; /* NULL: a human's */
	json_t *arguments;	     /* as the schema says; NULL: none */
	struct error error;	     /* filled when the answer is NULL */
	const char *error_class;     /* NULL: GenericError */
	bool is_deferred;	     /* answered with an empty object when the machine has stopped */
};

/* The answer of a command that has nothing to tell. */
static inline json_t *qmp_done(void)
{
	return json_object();
}

/* False, with the call's error, when there is no machine. */
static inline bool qmp_need_machine(struct qmp_call *call)
{
	if (!call->monitor->machine)
		error_set(&call->error, ENODEV, "there is no machine (-machine none)");
	return call->monitor->machine != NULL;
}

/* Have devices or disks change, by whoever knows the command line. 0, or -errno with the call's error. */
int qmp_change(struct qmp_call *call, enum monitor_change what, const json_t *arguments);

/* Carry out a command whose arguments were checked. The answer, the caller's, or NULL with an error. */
json_t *qmp_run(struct qmp_call *call, const char *command);

/* A session on a stream. 0, or -errno and `error`. */
int qmp_add_session(struct monitor *monitor, struct char_stream *stream, bool is_pretty,
		    struct error *error);

/* Tell all programs of an event; `data` is taken over, NULL: none. */
void qmp_send_event(struct monitor *monitor, const char *name, json_t *data);
void qmp_answer_deferred(struct monitor *monitor);
void qmp_end(struct monitor *monitor); /* all sessions */

#endif
