#include "cli/qemu/interface.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/keyval.h"

#define MODERN_NAME	  "-non-transitional"
#define TRANSITIONAL_NAME "-transitional"

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Those that legacy drivers know nothing of (virtio 1.2 §5). */
static bool is_modern_only(const char *driver)
{
	static const char *const beginnings[] = {"vhost-vsock", "virtio-gpu", "virtio-vga"};
	unsigned i;

	for (i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (strncmp(driver, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

static int combine(const json_t *device, bool has_legacy, enum board_interface *interface, struct error *error)
{
	const char *driver = keyval_text(device, "driver");
	bool has_modern = !json_is_true(json_object_get(device, "disable-modern"));

	if (!has_modern && !has_legacy)
		return error_set(error, EINVAL, "it has neither interface left: say disable-modern=off, or "
						"disable-legacy=off");
	if (has_legacy && is_modern_only(driver))
		return error_set(error, EINVAL, "%.60s has no legacy interface: leave disable-legacy and "
						"disable-modern out", driver);
	*interface = !has_modern ? BOARD_LEGACY : has_legacy ? BOARD_TRANSITIONAL : BOARD_MODERN;
	return 0;
}

int interface_of_device(const json_t *device, enum board_interface *interface, struct error *error)
{
	const char *driver = keyval_text(device, "driver"), *legacy = keyval_text(device, "disable-legacy");
	unsigned place = json_integer_value(json_object_get(device, "place"));
	bool is_behind_port = place && BOARD_PLACE_PORT(place);

	*interface = BOARD_BY_PLACE;
	if (ends_with(driver, MODERN_NAME) || ends_with(driver, TRANSITIONAL_NAME)) {
		if (legacy || json_object_get(device, "disable-modern"))
			return error_set(error, EINVAL, "its name says which interfaces it has: leave "
							"disable-legacy and disable-modern out");
		*interface = ends_with(driver, MODERN_NAME) ? BOARD_MODERN : BOARD_TRANSITIONAL;
		return 0;
	}
	if (legacy && strcmp(legacy, "auto") != 0)
		return combine(device, strcmp(legacy, "off") == 0, interface, error);
	/* By its place, where nothing else is said. */
	if (!json_is_true(json_object_get(device, "disable-modern")))
		return 0;
	return combine(device, !is_behind_port, interface, error);
}

struct board_rings rings_of_device(const json_t *device)
{
	return (struct board_rings){
		.is_packed = json_is_true(json_object_get(device, "packed")),
		.has_no_event_index = json_is_false(json_object_get(device, "event_idx")),
		.has_no_indirect = json_is_false(json_object_get(device, "indirect_desc")),
	};
}
