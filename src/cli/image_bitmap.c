/* `kvik image bitmap`: dirty bitmaps are made, changed and dropped, one action after the other. */
#include <getopt.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/image.h"

enum { ADD = 256, REMOVE, CLEAR, ENABLE, DISABLE, MERGE };

struct actions {
	struct bitmap_action {
		int what;
		const char *source; /* of MERGE */
	} list[32];
	unsigned count;
	uint64_t granularity;
};

static int merge(struct node *image, const char *name, const char *source_path, const char *source_format,
		 const char *source_name, struct error *error)
{
	struct block_options open = {.format = source_format, .readonly = true};
	struct node *source;
	int result;

	if (!source_path)
		return image_bitmap_merge(image, name, image, source_name, error);
	result = image_open(source_path, &open, IMAGE_ALONE, &source, error);
	if (result < 0)
		return result;
	result = image_bitmap_merge(image, name, source, source_name, error);
	image_close(source);
	return result;
}

int image_command_bitmap(int count, char **arguments)
{
	static const struct option options[] = {
		{"add", no_argument, NULL, ADD},
		{"remove", no_argument, NULL, REMOVE},
		{"clear", no_argument, NULL, CLEAR},
		{"enable", no_argument, NULL, ENABLE},
		{"disable", no_argument, NULL, DISABLE},
		{"merge", required_argument, NULL, MERGE},
		{"source-file", required_argument, NULL, 'b'},
		{"source-format", required_argument, NULL, 'F'},
		{"granularity", required_argument, NULL, 'g'},
		IMAGE_COMMON_OPTIONS,
		{NULL},
	};
	struct block_options open = {.discard = true};
	struct image_names names = {false};
	const char *source_path = NULL, *source_format = NULL, *name;
	struct actions actions = {.count = 0};
	struct node *image;
	struct error error;
	int option, result = 0, closed;
	unsigned i;

	while ((option = getopt_long(count, arguments, "b:F:f:g:", options, NULL)) != -1)
		switch (option) {
		case ADD:
		case REMOVE:
		case CLEAR:
		case ENABLE:
		case DISABLE:
		case MERGE:
			if (actions.count == sizeof(actions.list) / sizeof(actions.list[0]))
				return image_usage("image bitmap does %u things at once at most", actions.count);
			actions.list[actions.count++] = (struct bitmap_action){option, optarg};
			break;
		case 'b': source_path = optarg; break;
		case 'F': source_format = optarg; break;
		case 'f': open.format = optarg; break;
		case 'g':
			if (image_size_parse(optarg, &actions.granularity) < 0)
				return image_usage("-g %s: that is no size", optarg);
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (count - optind != 2)
		return image_usage("image bitmap wants a file and a bitmap's name");
	if (actions.count == 0)
		return image_usage("image bitmap does one or more of --add, --remove, --clear, --enable, --disable and --merge");
	name = arguments[optind + 1];
	if (image_open_named(arguments[optind], &names, &open, IMAGE_ALONE, &image, &error) < 0)
		return image_fail(&error);
	for (i = 0; i < actions.count && result == 0; i++) {
		static const enum image_bitmap_action changes[] = {IMAGE_BITMAP_ADD, IMAGE_BITMAP_REMOVE, IMAGE_BITMAP_CLEAR,
								   IMAGE_BITMAP_ENABLE, IMAGE_BITMAP_DISABLE};
		const struct bitmap_action *action = &actions.list[i];
		/* One that is made to be disabled never is anything else. */
		bool is_off = action->what == ADD && i + 1 < actions.count && actions.list[i + 1].what == DISABLE;

		if (action->what == MERGE)
			result = merge(image, name, source_path, source_format, action->source, &error);
		else
			result = image_bitmap_change(image, is_off ? IMAGE_BITMAP_ADD_DISABLED : changes[action->what - ADD],
						     name, actions.granularity, &error);
	}
	closed = image_close(image);
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write %s", arguments[optind]);
	return result < 0 ? image_fail(&error) : EXIT_OK;
}
