/* Replies of common forms: session.h. */
#include "monitor/gdb/session.h"

void gdb_session_send_reply(struct gdb_session *session)
{
	gdb_reply_end(&session->reply);
	session->send(session->context, session->reply.bytes, session->reply.size);
}

void gdb_session_reply(struct gdb_session *session, const char *text)
{
	gdb_reply_begin(&session->reply);
	gdb_reply_text(&session->reply, text);
	gdb_session_send_reply(session);
}

void gdb_session_reply_result(struct gdb_session *session, int result)
{
	gdb_reply_begin(&session->reply);
	if (result < 0)
		gdb_reply_format(&session->reply, "E%02x", -result & 0xff);
	else
		gdb_reply_text(&session->reply, "OK");
	gdb_session_send_reply(session);
}
