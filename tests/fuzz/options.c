/*
 * Fuzz target: QEMU's command line.
 *
 * Input: arguments, one a line. They are parsed and looked at up to where files would be opened. Either it
 * works, or there is an error with a message.
 */
#include "cli/qemu/chardevs.h"
#include "cli/qemu/line.h"
#include "cli/qemu/options.h"
#include "fuzz.h"

#define ARGUMENTS_MAX 64

/* Which accelerators there are is the host's; to look for them takes long. */
static void use_engine(json_t *said)
{
	json_t *machine = json_object_get(said, "machine");

	json_object_del(said, "enable-kvm");
	json_object_del(machine, "accel");
	json_object_set_new(said, "accel", json_pack("[{s:s}]", "accel", "tcg"));
}

static void examine(int count, char **arguments)
{
	struct error error = {.message = ""};
	struct line line = {.said = options_parse(count, arguments, &error)};

	if (!line.said) {
		fuzz_check(error.message[0]);
		return;
	}
	use_engine(line.said);
	if (line_examine(&line, &error) < 0)
		fuzz_check(error.message[0]);
	else
		fuzz_check(!line.has_machine || (line.config.cpus && line.config.ram_bytes));
	chardevs_close(&line.chardevs);
	line_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *rest = text, *arguments[ARGUMENTS_MAX];
	int count = 0;

	fuzz_check(text);
	memcpy(text, data, size);
	text[size] = 0;
	while (rest && count < ARGUMENTS_MAX)
		arguments[count++] = strsep(&rest, "\n");
	examine(count, arguments);
	free(text);
	return 0;
}
