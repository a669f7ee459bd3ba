/*
 * Fuzz target: command lines.
 *
 * Input: arguments, one a line: of `kvik run` behind a line "run"; behind "image" a format, a list as `kvik image create -o`
 * has it, and a size; else of kvik-system-x86_64. They are parsed and looked at up to where files would be opened. Either it
 * works, or there is an error with a message.
 */
#include "block/image.h"
#include "cli/image.h"
#include "cli/qemu/chardevs.h"
#include "cli/qemu/line.h"
#include "cli/qemu/options.h"
#include "cli/run_defaults.h"
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

static void examine_run(int count, char **arguments)
{
	struct error error = {.message = ""};
	struct run_options options;

	if (run_options_parse(&options, count, arguments, &error) < 0)
		fuzz_check(error.message[0]);
	else if (!options.wants_help && !options.wants_cpu_help && run_defaults(&options, &error) < 0)
		fuzz_check(error.message[0]);
	run_options_free(&options);
}

static void examine_image(int count, char **arguments)
{
	struct error error = {.message = ""};
	struct image_creation creation;
	uint64_t bytes;

	if (count < 2 || !image_format_is_known(arguments[0]))
		return;
	image_creation_init(&creation, arguments[0]);
	if (image_options_parse(arguments[1], &creation, &error) < 0)
		fuzz_check(error.message[0]);
	if (count > 2)
		image_size_parse(arguments[2], &bytes);
}

static void examine_system(int count, char **arguments)
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
	if (strcmp(arguments[0], "run") == 0)
		examine_run(count - 1, arguments + 1);
	else if (strcmp(arguments[0], "image") == 0)
		examine_image(count - 1, arguments + 1);
	else
		examine_system(count, arguments);
	free(text);
	return 0;
}
