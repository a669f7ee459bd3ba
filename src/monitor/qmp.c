/* QMP sessions: the greeting, commands one after another, answers and events. */
#include "monitor/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "monitor/frame.h"
#include "monitor/listener.h"
#include "monitor/version.h"
#include "util/log.h"

struct qmp_session {
	struct qmp_session *next;
	struct monitor *monitor;
	struct listener listener;
	struct frame frame;
	bool is_pretty;
	bool is_ready;	/* capabilities were negotiated */
	bool is_broken; /* the peer didn't read what it asked for: nothing goes there any more */
	json_t *deferred; /* what is to be answered once the machine has stopped; NULL: nothing */
};

static void send(struct qmp_session *session, json_t *value)
{
	char *text = value ? json_dumps(value, session->is_pretty ? JSON_INDENT(4) : 0) : NULL;
	size_t size = text ? strlen(text) : 0;

	json_decref(value);
	if (!text || session->is_broken || !char_is_attached(session->listener.stream)) {
		free(text);
		return;
	}
	if (char_output_room(session->listener.stream) < size + 2) {
		log_warning("a QMP client does not read: it is not served any more");
		session->is_broken = true;
	} else {
		char_write(session->listener.stream, (const uint8_t *)text, size);
		char_write(session->listener.stream, (const uint8_t *)"\r\n", 2);
	}
	free(text);
}

static void greet(struct qmp_session *session)
{
	send(session, json_pack("{s:{s:o,s:[]}}", "QMP", "version", version_describe(), "capabilities"));
}

static void add_id(json_t *answer, const json_t *request)
{
	json_t *id = json_object_get(request, "id");

	if (id)
		json_object_set(answer, "id", id);
}

static void send_error(struct qmp_session *session, const json_t *request, const char *class,
		       const char *message)
{
	json_t *answer = json_pack("{s:{s:s,s:s}}", "error", "class", class, "desc", message);

	if (!answer) /* what is no UTF-8 is not told again */
		answer = json_pack("{s:{s:s,s:s}}", "error", "class", class, "desc", "wrong text");
	add_id(answer, request);
	send(session, answer);
}

static void send_answer(struct qmp_session *session, const json_t *request, json_t *result)
{
	json_t *answer = json_pack("{s:o}", "return", result);

	add_id(answer, request);
	send(session, answer);
}

/* What a request must look like, before its command is looked at. 0, or -EINVAL and `error`. */
static int check_request(const json_t *request, struct error *error)
{
	const char *key;
	json_t *value;

	if (!json_is_object(request))
		return error_set(error, EINVAL, "QMP input must be a JSON object");
	json_object_foreach((json_t *)request, key, value) {
		if (strcmp(key, "execute") == 0) {
			if (!json_is_string(value))
				return error_set(error, EINVAL,
						 "QMP input member 'execute' must be a string");
		} else if (strcmp(key, "arguments") == 0) {
			if (!json_is_object(value))
				return error_set(error, EINVAL,
						 "QMP input member 'arguments' must be an object");
		} else if (strcmp(key, "id") != 0) {
			return error_set(error, EINVAL, "QMP input member '%.100s' is unexpected", key);
		}
	}
	if (!json_object_get(request, "execute"))
		return error_set(error, EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static const struct qmp_command *find_command(const char *name)
{
	unsigned i;

	for (i = 0; i < qmp_command_count; i++)
		if (strcmp(qmp_commands[i].name, name) == 0)
			return &qmp_commands[i];
	return NULL;
}

json_t *qmp_run(struct qmp_call *call, const char *command)
{
	return find_command(command)->run(call);
}

/* Whether `name` is a command that may be called now; otherwise the call's error says why not. */
static bool may_run(const struct qmp_session *session, const char *name, struct qmp_call *call)
{
	bool is_negotiation = strcmp(name, "qmp_capabilities") == 0;

	call->error_class = "CommandNotFound";
	if (!find_command(name) || (session->is_ready && is_negotiation)) {
		error_set(&call->error, ENOENT, "The command %.100s has not been found", name);
		return false;
	}
	if (!session->is_ready && !is_negotiation) {
		error_set(&call->error, EPERM,
			  "Expecting capabilities negotiation with 'qmp_capabilities'");
		return false;
	}
	call->error_class = NULL;
	return schema_check(session->monitor->schema, name, call->arguments, &call->error) == 0;
}

static void serve(struct qmp_session *session, const json_t *request)
{
	struct qmp_call call = {.monitor = session->monitor,
				.session = session,
				.arguments = json_object_get(request, "arguments")};
	const char *name = json_string_value(json_object_get(request, "execute"));
	json_t *result = NULL;

	if (check_request(request, &call.error) == 0 && may_run(session, name, &call))
		result = qmp_run(&call, name);
	if (call.is_deferred) {
		session->deferred = json_deep_copy(request);
		json_decref(result);
	} else if (result) {
		/* Events of its own come before the answer; what ends the run comes after it. */
		send_answer(session, request, result);
		if (strcmp(name, "qmp_capabilities") == 0)
			session->is_ready = true;
	} else {
		send_error(session, request, call.error_class ? call.error_class : "GenericError",
			   call.error.message);
	}
}

static size_t room(void *context)
{
	const struct qmp_session *session = context;

	/* Who doesn't read answers isn't listened to. */
	return session->deferred || session->is_broken || !char_is_ready(session->listener.stream) ? 0 : 4096;
}

static void receive(void *context, const uint8_t *data, size_t size)
{
	struct qmp_session *session = context;
	struct error error;
	json_t *value;
	size_t taken;

	while (size) {
		taken = frame_take(&session->frame, (const char *)data, size, &value, &error);
		data += taken;
		size -= taken;
		if (error.message[0])
			send_error(session, NULL, "GenericError", error.message);
		if (value)
			serve(session, value);
		json_decref(value);
	}
}

static void begin(struct qmp_session *session)
{
	frame_reset(&session->frame);
	session->is_ready = session->is_broken = false;
	json_decref(session->deferred);
	session->deferred = NULL;
}

static void attached(void *context, bool is_attached)
{
	begin(context);
	if (is_attached)
		greet(context);
}

int qmp_add_session(struct monitor *monitor, struct char_stream *stream, bool is_pretty,
		    struct error *error)
{
	struct qmp_session *session = calloc(1, sizeof(*session));
	const struct char_reader reader = {
		.room = room,
		.receive = receive,
		.attached = attached,
		.context = session,
	};

	if (!session)
		return error_set_errno(error, ENOMEM, "cannot serve QMP");
	session->monitor = monitor;
	session->is_pretty = is_pretty;
	session->next = monitor->qmp;
	monitor->qmp = session;
	listener_begin(&session->listener, stream, &reader);
	return 0;
}

void qmp_end(struct monitor *monitor)
{
	struct qmp_session *session;

	while ((session = monitor->qmp)) {
		monitor->qmp = session->next;
		listener_end(&session->listener);
		json_decref(session->deferred);
		frame_free(&session->frame);
		free(session);
	}
}

void qmp_answer_deferred(struct monitor *monitor)
{
	struct qmp_session *session;
	json_t *request;

	for (session = monitor->qmp; session; session = session->next) {
		request = session->deferred;
		session->deferred = NULL;
		if (request)
			send_answer(session, request, qmp_done());
		json_decref(request);
		char_resume_input(session->listener.stream);
	}
}

void qmp_send_event(struct monitor *monitor, const char *name, json_t *data)
{
	struct qmp_session *session;
	struct timeval now;
	json_t *event;

	gettimeofday(&now, NULL);
	event = json_pack("{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
			  "microseconds", (json_int_t)now.tv_usec, "event", name);
	if (data)
		json_object_set_new(event, "data", data);
	for (session = monitor->qmp; session; session = session->next)
		if (session->is_ready)
			send(session, json_incref(event));
	json_decref(event);
}
