/* Options that the commands of `kvik image` have in common. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/image.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/objects.h"

/* The same of the option at which getopt stopped. */
static int wrong_option(char **arguments)
{
	return image_usage("%s %s: no such option, or one that wants a value: see kvik image --help",
			   arguments[0], arguments[optind - 1]);
}

/* A secret is taken, as a line has one for all that it does; nothing here asks for it: images are not encrypted, and NBD has no TLS. */
static bool take_object(const char *text)
{
	struct error error;
	json_t *object = keyval_parse(text, "qom-type", NULL, false, &error);
	const char *type = object ? keyval_text(object, "qom-type") : NULL;
	bool is_good = false;

	if (object && type && strcmp(type, "secret") != 0)
		error_set(&error, ENOTSUP, "%.60s: only a secret is taken, and none is used: no image here is encrypted, and NBD has no TLS", type);
	else if (object)
		is_good = object_check(object, &error) == 0 && object_check_file(object, &error) == 0;
	json_decref(object);
	if (!is_good)
		image_usage("--object: %.200s", error.message);
	return is_good;
}

bool image_common_option(int option, char **arguments, struct image_names *names)
{
	switch (option) {
	case 'U': names->flags |= IMAGE_SHARED; return false;
	case IMAGE_OPTION_OPTS: names->are_options = true; return false;
	case IMAGE_OPTION_OBJECT: return !take_object(optarg);
	default: wrong_option(arguments); return true;
	}
}
