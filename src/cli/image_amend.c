/* `kvik image amend`: what of an image's options can be changed afterwards. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/image.h"

static int amend(struct node *image, const struct image_creation *wanted, struct error *error)
{
	struct image_description now;
	int result;

	image_describe(image, &now);
	if (!now.is_qcow2)
		return error_set(error, ENOTSUP, "%s: a %s image has nothing to amend", now.path, now.format);
	if (wanted->cluster_size != now.cluster_size || wanted->is_extended != now.is_extended ||
	    strcmp(wanted->compression, now.compression) != 0 || wanted->has_preallocation)
		return error_set(error, ENOTSUP,
				 "%s: compat=1.1, lazy_refcounts, refcount_bits, data_file, data_file_raw=off and size can be changed: "
				 "for others, convert makes another image",
				 now.path);
	if (wanted->backing || wanted->backing_format)
		return error_set(error, ENOTSUP, "%s: rebase changes the backing file", now.path);
	result = image_amend(image,
			     &(struct image_amendment){.version = wanted->version,
						       .refcount_bits = wanted->refcount_bits,
						       .is_lazy = wanted->is_lazy,
						       .is_data_raw = wanted->is_data_raw,
						       .data_file = wanted->data_file},
			     error);
	if (result == 0 && wanted->size != now.size)
		result = image_resize(image, (wanted->size + 511) & ~511ull, IMAGE_PREALLOCATION_OFF, error);
	return result;
}

int image_command_amend(int count, char **arguments)
{
	static const struct option options[] = {{"force", no_argument, NULL, 'u'}, IMAGE_COMMON_OPTIONS, {NULL}};
	struct block_options open = {.discard = true};
	struct image_names names = {false};
	struct image_description now;
	struct image_creation wanted;
	char *list = NULL;
	struct node *image;
	struct error error;
	int option, result, closed;

	while ((option = getopt_long(count, arguments, "f:o:pqt:", options, NULL)) != -1)
		switch (option) {
		case 'f': open.format = optarg; break;
		case 'o': list = optarg; break;
		case 'p':
		case 'q':
		case 'u': break;
		case 't':
			if (block_cache_parse(optarg, &open.cache) < 0)
				return image_usage("-t %s: no cache mode", optarg);
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (list && image_is_help(list))
		return image_print_options(open.format ? open.format : "qcow2", true);
	if (count - optind != 1 || !list)
		return image_usage("image amend wants -o and a file");
	if (image_open_named(arguments[optind], &names, &open, IMAGE_ALONE, &image, &error) < 0)
		return image_fail(&error);
	/* What is not named stays. */
	image_describe(image, &now);
	image_creation_init(&wanted, now.format);
	wanted.size = now.size;
	if (now.is_qcow2) {
		wanted.version = now.version;
		wanted.cluster_size = now.cluster_size;
		wanted.refcount_bits = now.refcount_bits;
		wanted.is_extended = now.is_extended;
		wanted.is_lazy = now.is_lazy;
		wanted.is_data_raw = now.is_data_raw;
		wanted.compression = now.compression;
	}
	result = image_options_parse(list, &wanted, &error);
	if (result == 0)
		result = amend(image, &wanted, &error);
	closed = image_close(image);
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write %s", arguments[optind]);
	return result < 0 ? image_fail(&error) : EXIT_OK;
}
