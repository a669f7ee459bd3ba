/* QMP's commands about what there is to ask for. */
#include <errno.h>
#include <string.h>

#include <qmp_commands.h>

static json_t *names(const char *const *list, unsigned count)
{
	json_t *answer = json_array();
	unsigned i;

	for (i = 0; i < count; i++)
		json_array_append_new(answer, json_pack("{s:s}", "name", list[i]));
	return answer;
}

json_t *qmp_query_commands(struct qmp_call *call)
{
	json_t *answer = json_array();
	unsigned i;

	(void)call;
	for (i = 0; i < qmp_command_count; i++)
		json_array_append_new(answer, json_pack("{s:s}", "name", qmp_commands[i].name));
	return answer;
}

json_t *qmp_query_events(struct qmp_call *call)
{
	(void)call;
	return names(qmp_events, qmp_event_count);
}

json_t *qmp_query_qmp_schema(struct qmp_call *call)
{
	return json_incref(schema_description(call->monitor->schema));
}

json_t *qmp_query_command_line_options(struct qmp_call *call)
{
	const char *wanted = json_string_value(json_object_get(call->arguments, "option"));
	json_t *all = call->monitor->facts.command_line_options, *one;
	size_t i;

	if (!wanted)
		return json_incref(all);
	json_array_foreach(all, i, one)
		if (strcmp(json_string_value(json_object_get(one, "option")), wanted) == 0)
			return json_pack("[O]", one);
	error_set(&call->error, EINVAL, "invalid option name '%.100s'", wanted);
	return NULL;
}

static void look(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	if (facts->look)
		facts->look(facts->change_context);
}

json_t *qmp_query_block(struct qmp_call *call)
{
	look(call);
	/* Its own: the next look changes the array. */
	return json_copy(call->monitor->facts.blocks);
}

json_t *qmp_query_named_block_nodes(struct qmp_call *call)
{
	look(call);
	return json_copy(call->monitor->facts.block_nodes);
}

#define RING_READ_MAX 65536

json_t *qmp_ringbuf_read(struct qmp_call *call)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const struct monitor_facts *facts = &call->monitor->facts;
	const char *name = json_string_value(json_object_get(call->arguments, "device"));
	const char *format = json_string_value(json_object_get(call->arguments, "format"));
	json_int_t size = json_integer_value(json_object_get(call->arguments, "size"));
	struct char_stream *ring = facts->find_ring ? facts->find_ring(facts->context, name) : NULL;
	static uint8_t bytes[RING_READ_MAX];
	static char coded[RING_READ_MAX / 3 * 4 + 8];
	size_t count, i, used = 0;
	uint32_t group;

	if (!ring) {
		error_set(&call->error, ENODEV, "'%.100s' is not a ring buffer", name);
		return NULL;
	}
	if (size <= 0) {
		error_set(&call->error, EINVAL, "size must be greater than zero");
		return NULL;
	}
	count = char_ring_read(ring, bytes, size < RING_READ_MAX ? (size_t)size : RING_READ_MAX);
	if (!format || strcmp(format, "utf8") == 0) {
		/* What is not ASCII is no character for sure: the ring may have cut it. */
		for (i = 0; i < count; i++)
			if (!bytes[i] || bytes[i] > 0x7e)
				bytes[i] = '?';
		return json_stringn((const char *)bytes, count);
	}
	for (i = 0; i < count; i += 3) {
		group = bytes[i] << 16 | (i + 1 < count ? bytes[i + 1] << 8 : 0) |
			(i + 2 < count ? bytes[i + 2] : 0);
		coded[used++] = digits[group >> 18];
		coded[used++] = digits[group >> 12 & 63];
		coded[used++] = i + 1 < count ? digits[group >> 6 & 63] : '=';
		coded[used++] = i + 2 < count ? digits[group & 63] : '=';
	}
	return json_stringn(coded, used);
}
