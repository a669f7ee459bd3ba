/* q and Q packets: what the session can do, threads, the description of registers, `monitor`. */
#include <stdio.h>
#include <string.h>

#include "monitor/gdb/description.h"
#include "monitor/gdb/session.h"

#define DESCRIPTION_MAX 32768
#define LINE_MAX_BYTES	256

/* Does `packet` begin with this word? `rest` is what follows. */
static bool begins(const char *packet, const char *word, const char **rest)
{
	size_t length = strlen(word);

	if (strncmp(packet, word, length) != 0)
		return false;
	*rest = packet + length;
	return true;
}

/* Whether a list of features separated by ; has this one. */
static bool offers(const char *list, const char *feature)
{
	size_t length = strlen(feature);
	const char *at;

	for (at = list; (at = strstr(at, feature)); at += length)
		if ((at == list || at[-1] == ';' || at[-1] == ':') &&
		    (at[length] == ';' || !at[length]))
			return true;
	return false;
}

static void query_supported(struct gdb_session *session, const char *features)
{
	session->knows_swbreak = offers(features, "swbreak+");
	session->knows_hwbreak = offers(features, "hwbreak+");
	gdb_reply_begin(&session->reply);
	gdb_reply_format(&session->reply,
			 "PacketSize=%x;qXfer:features:read+;vContSupported+;QStartNoAckMode+;"
			 "swbreak+;hwbreak+",
			 GDB_PACKET_MAX);
	gdb_session_send_reply(session);
}

/* target.xml:OFFSET,LENGTH */
static void query_description(struct gdb_session *session, const char *text)
{
	static const char annex[] = "target.xml:";
	static char description[DESCRIPTION_MAX]; /* the I/O thread's */
	uint64_t offset, length;
	size_t size;

	if (!begins(text, annex, &text) || !gdb_take_number(&text, &offset) ||
	    !gdb_take(&text, ',') || !gdb_take_number(&text, &length)) {
		gdb_session_reply(session, "E00");
		return;
	}
	size = gdb_layout_describe(&session->layout, description, sizeof(description));
	if (offset > size)
		offset = size;
	if (length > size - offset)
		length = size - offset;
	/* Room for what has to be escaped. */
	if (length > GDB_PACKET_MAX / 2)
		length = GDB_PACKET_MAX / 2;
	gdb_reply_begin(&session->reply);
	gdb_reply_text(&session->reply, offset + length < size ? "m" : "l");
	gdb_reply_binary(&session->reply, description + offset, length);
	gdb_session_send_reply(session);
}

/* All of them fit into one packet. */
static void query_threads(struct gdb_session *session)
{
	unsigned i;

	gdb_reply_begin(&session->reply);
	gdb_reply_text(&session->reply, "m");
	for (i = 1; i <= session->target->cpus; i++)
		gdb_reply_format(&session->reply, i > 1 ? ",%x" : "%x", i);
	gdb_session_send_reply(session);
}

static const char *activity(const struct kvm_vcpu *vcpu)
{
	struct kvm_mp_state state;

	if (kvm_vcpu_ioctl(vcpu, KVM_GET_MP_STATE, &state) < 0)
		return "running";
	switch (state.mp_state) {
	case KVM_MP_STATE_HALTED: return "halted";
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED: return "not started";
	default: return "running";
	}
}

static void query_thread_info(struct gdb_session *session, const char *text)
{
	char info[64];
	uint64_t number;

	if (!gdb_take_number(&text, &number) || !number || number > session->target->cpus) {
		gdb_session_reply(session, "E16");
		return;
	}
	snprintf(info, sizeof(info), "CPU %u, %s", (unsigned)number - 1,
		 activity(session->target->vcpus[number - 1]));
	gdb_reply_begin(&session->reply);
	gdb_reply_hex(&session->reply, info, strlen(info));
	gdb_session_send_reply(session);
}

static void query_command(struct gdb_session *session, const char *text)
{
	char line[LINE_MAX_BYTES + 1];
	size_t length = strlen(text) / 2;

	if (length > LINE_MAX_BYTES || !gdb_take_hex(&text, line, length)) {
		gdb_session_reply(session, "E16");
		return;
	}
	line[length] = '\0';
	gdb_console(session, line);
}

/* As QEMU's stub has it, which scripts know. */
static void set_physical(struct gdb_session *session, const char *text)
{
	if ((*text != '0' && *text != '1') || text[1]) {
		gdb_session_reply(session, "E16");
		return;
	}
	session->memory.is_physical = *text == '1';
	gdb_session_reply(session, "OK");
}

bool gdb_query(struct gdb_session *session, const char *packet)
{
	const char *rest;

	if (begins(packet, "qSupported", &rest)) {
		query_supported(session, rest);
	} else if (begins(packet, "qXfer:features:read:", &rest)) {
		query_description(session, rest);
	} else if (strcmp(packet, "qfThreadInfo") == 0) {
		query_threads(session);
	} else if (strcmp(packet, "qsThreadInfo") == 0) {
		gdb_session_reply(session, "l");
	} else if (begins(packet, "qThreadExtraInfo,", &rest)) {
		query_thread_info(session, rest);
	} else if (strcmp(packet, "qC") == 0) {
		gdb_reply_begin(&session->reply);
		gdb_reply_format(&session->reply, "QC%x", session->cpu + 1);
		gdb_session_send_reply(session);
	} else if (strcmp(packet, "qAttached") == 0) {
		gdb_session_reply(session, "1"); /* gdb detaches at its end, and doesn't kill */
	} else if (begins(packet, "qSymbol:", &rest)) {
		gdb_session_reply(session, "OK");
	} else if (strcmp(packet, "QStartNoAckMode") == 0) {
		gdb_session_reply(session, "OK");
		session->no_ack = true;
	} else if (begins(packet, "qRcmd,", &rest)) {
		query_command(session, rest);
	} else if (strcmp(packet, "qqemu.PhyMemMode") == 0) {
		gdb_session_reply(session, session->memory.is_physical ? "1" : "0");
	} else if (begins(packet, "Qqemu.PhyMemMode:", &rest)) {
		set_physical(session, rest);
	} else {
		return false;
	}
	return true;
}
