/*
 * Fuzz target: what a QMP client sends.
 *
 * Input: bytes as they come over a socket, in packets: a byte of length, and the packet. They go to a session
 * of a monitor without a machine. Whatever they are, each line that comes back is a JSON object.
 */
#include "fuzz.h"
#include "monitor/monitor.h"

static char line[1 << 20];
static size_t used;

static void take_output(void *context, const uint8_t *data, size_t size)
{
	json_error_t problem;
	json_t *value;
	size_t i;

	(void)context;
	for (i = 0; i < size; i++) {
		fuzz_check(used < sizeof(line));
		line[used++] = data[i];
		if (data[i] != '\n')
			continue;
		value = json_loadb(line, used, 0, &problem);
		fuzz_check(json_is_object(value));
		fuzz_check(json_object_get(value, "QMP") || json_object_get(value, "return") ||
			   json_object_get(value, "error") || json_object_get(value, "event"));
		json_decref(value);
		used = 0;
	}
}

static void quit(void *context)
{
	(void)context;
}

static struct monitor_facts make_facts(void)
{
	return (struct monitor_facts){
		.command_line_options = json_pack("[{s:s,s:[]}]", "option", "machine", "parameters"),
		.machines = json_array(),
		.chardev_backends = json_array(),
		.blocks = json_array(),
		.block_nodes = json_array(),
		.types = json_pack("{s:{s:b,s:[]},s:{s:s,s:b,s:[]}}", "object", "abstract", 1, "properties",
				   "a", "parent", "object", "abstract", 0, "properties"),
		.objects = json_pack("{s:{s:{s:s,s:s}},s:{s:{s:s,s:s}}}", "/", "type", "type", "string",
				     "value", "container", "/a", "type", "type", "string", "value", "a"),
		.quit = quit,
	};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct monitor_facts facts;
	struct error error;
	struct monitor *monitor;
	struct char_stream *stream;
	uint8_t length;

	if (!facts.types)
		facts = make_facts();
	used = 0;
	stream = char_callback_create(take_output, NULL, &error);
	monitor = monitor_create(&facts, &error);
	fuzz_check(stream && monitor);
	fuzz_check(monitor_add_qmp(monitor, stream, false, &error) == 0);
	while (size) {
		length = *data++;
		size--;
		if (length > size)
			length = size;
		fuzz_check(char_callback_input(stream, data, length) == length);
		data += length;
		size -= length;
	}
	fuzz_check(used == 0);
	monitor_destroy(monitor);
	char_destroy(stream);
	return 0;
}
