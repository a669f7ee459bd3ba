#include "cli/qemu/net_dump.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/keyval.h"

const struct property net_dump_properties[] = {
	{"qom-type", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	{"netdev", PROPERTY_TEXT},
	{"file", PROPERTY_TEXT},
	{"maxlen", PROPERTY_NUMBER},
	{"status", PROPERTY_TEXT, "on"},
	{"queue", PROPERTY_TEXT, "all"},
	{NULL},
};

bool net_dump_is(const json_t *object)
{
	const char *type = keyval_text(object, "qom-type");

	return type && strcmp(type, "filter-dump") == 0;
}

int net_dump_check(json_t *object, struct error *error)
{
	uint64_t most = NET_CAPTURE_BYTES;

	if (keyval_check(object, net_dump_properties, error) < 0 || keyval_number(object, "maxlen", NET_CAPTURE_BYTES, &most, error) < 0)
		return -EINVAL;
	if (!most)
		return error_set(error, EINVAL, "maxlen=0: use 1 to %u", NET_CAPTURE_BYTES);
	return keyval_text(object, "netdev") && keyval_text(object, "file")
		       ? 0
		       : error_set(error, EINVAL, "use filter-dump,id=ID,netdev=ID,file=FILE");
}

int net_dump_open(const json_t *objects, const char *netdev, struct net_link *link, struct error *error)
{
	uint64_t most = NET_CAPTURE_BYTES;
	const json_t *object;
	size_t i;

	json_array_foreach((json_t *)objects, i, object) {
		if (!net_dump_is(object) || strcmp(keyval_text(object, "netdev"), netdev) != 0)
			continue;
		if (link->capture)
			return error_set(error, ENOTSUP, "netdev=%.60s: one filter-dump at a time", netdev);
		if (keyval_number(object, "maxlen", NET_CAPTURE_BYTES, &most, error) < 0)
			return -EINVAL;
		link->capture = net_capture_open(keyval_text(object, "file"), most, error);
		if (!link->capture)
			return -EIO;
	}
	return 0;
}
