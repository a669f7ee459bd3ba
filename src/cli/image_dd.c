/* `kvik image dd`: a copy of a part of a disk, by dd's operands. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/image.h"

struct dd_request {
	const char *input, *output, *target_format;
	uint64_t block, count, skip; /* count: UINT64_MAX: all; the others in blocks */
	struct image_names names;
	struct block_options open;
};

/* 0, or -EINVAL: it was told. */
static int take_operand(struct dd_request *request, char *text)
{
	char *value = strchr(text, '=');
	uint64_t *number;

	if (!value) {
		image_usage("image dd: '%s' is none of if=, of=, bs=, count= and skip=", text);
		return -EINVAL;
	}
	*value++ = 0;
	if (strcmp(text, "if") == 0) {
		request->input = value;
		return 0;
	}
	if (strcmp(text, "of") == 0) {
		request->output = value;
		return 0;
	}
	number = strcmp(text, "bs") == 0      ? &request->block
		 : strcmp(text, "count") == 0 ? &request->count
		 : strcmp(text, "skip") == 0  ? &request->skip
					      : NULL;
	if (!number)
		image_usage("image dd: '%s' is none of if=, of=, bs=, count= and skip=", text);
	else if (image_size_parse(value, number) < 0 || (number == &request->block && (*number == 0 || *number > INT32_MAX)))
		image_usage("image dd: %s=%s: that is no such number", text, value);
	else
		return 0;
	return -EINVAL;
}

/* Bytes [at, end) of the input. */
static int copy(const struct dd_request *request, struct node *from, struct node *to, uint64_t at, uint64_t end)
{
	uint64_t start = at, length;
	uint8_t *buffer = malloc(request->block);
	int result = buffer ? 0 : -ENOMEM;

	for (; at < end && result == 0; at += length) {
		length = end - at < request->block ? end - at : request->block;
		result = image_read(from, at, buffer, length);
		if (result == 0)
			result = image_write(to, at - start, buffer, length);
	}
	free(buffer);
	return result;
}

static int run(const struct dd_request *request, struct error *error)
{
	struct image_creation creation;
	struct block_options open = {.format = request->target_format};
	struct node *from = NULL, *to = NULL;
	uint64_t start, end;
	int result = image_open_named(request->input, &request->names, &request->open, 0, &from, error), closed;

	if (result < 0)
		return result;
	/* What is skipped counts. */
	end = image_size(from);
	if (request->count < end / request->block + 1 && request->count * request->block < end)
		end = request->count * request->block;
	start = request->skip > end / request->block ? end : request->skip * request->block;
	image_creation_init(&creation, request->target_format);
	creation.size = end - start;
	if (strcmp(request->target_format, "qcow2") == 0)
		creation.size = (creation.size + 511) & ~511ull;
	result = image_create(request->output, &creation, error);
	if (result == 0)
		result = image_open(request->output, &open, 0, &to, error);
	if (result == 0) {
		result = copy(request, from, to, start, end);
		if (result < 0)
			error_set_errno(error, -result, "cannot copy to %s", request->output);
	}
	closed = image_close(to);
	image_close(from);
	return result == 0 && closed < 0 ? error_set_errno(error, -closed, "cannot write %s", request->output) : result;
}

int image_command_dd(int count, char **arguments)
{
	static const struct option options[] = {IMAGE_COMMON_OPTIONS, {NULL}};
	struct dd_request request = {
		.target_format = "raw", .block = 512, .count = UINT64_MAX, .open = {.readonly = true}};
	struct error error;
	int option;

	while ((option = getopt_long(count, arguments, "f:O:U", options, NULL)) != -1)
		switch (option) {
		case 'f': request.open.format = optarg; break;
		case 'O': request.target_format = optarg; break;
		default:
			if (image_common_option(option, arguments, &request.names))
				return image_usage_status();
		}
	if (!image_format_is_known(request.target_format))
		return image_usage("-O %s: raw and qcow2 can be made", request.target_format);
	for (; optind < count; optind++)
		if (take_operand(&request, arguments[optind]) < 0)
			return image_usage_status();
	if (!request.input || !request.output)
		return image_usage("image dd wants if= and of=");
	return run(&request, &error) < 0 ? image_fail(&error) : EXIT_OK;
}
