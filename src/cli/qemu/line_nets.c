#include "cli/qemu/line_nets.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/keyval.h"
#include "cli/qemu/line_said.h"

/* The driver of a -nic or of an old -net, or NULL. */
static const char *find_nic(const struct line *line, const json_t *options, struct error *error)
{
	static const char *const names[] = {"virtio", "virtio-net-pci", "virtio-net", "virtio-net-pci-non-transitional",
					    "virtio-net-pci-transitional", "virtio-net-device"};
	const char *model = keyval_text(options, "model");
	unsigned i;

	/* Without a model: what a PC of QEMU's has. */
	if (!model)
		return line->type->board == BOARD_Q35 ? "e1000e" : board_kind_is_pc(line->type->board) ? "e1000" : "virtio-net";
	if (strcmp(model, "e1000") == 0 || strcmp(model, "e1000-82540em") == 0)
		return "e1000";
	if (strcmp(model, "e1000e") == 0)
		return "e1000e";
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(model, names[i]) == 0)
			return "virtio-net";
	error_set(error, ENOTSUP, "model=%.60s is not there: use virtio, e1000 or e1000e", model);
	return NULL;
}

/* A card, of the network of that name or, without one, of none. */
static int add_nic(struct line *line, const json_t *options, const char *network, struct error *error)
{
	const char *mac = keyval_text(options, "mac"), *driver = find_nic(line, options, error);
	json_t *device;

	if (!driver)
		return -ENOTSUP;
	device = json_pack("{s:s,s:s*}", "driver", driver, "netdev", network);
	if (mac)
		json_object_set_new(device, "mac", json_string(mac));
	return json_array_append_new(line->devices, device);
}

int line_examine_nets(struct line *line, struct error *error)
{
	json_t *default_network;
	bool has_any = has(line, "netdev") || has(line, "nic") || has(line, "net");
	const json_t *one, *card = NULL;
	const char *name, *network = NULL, *type;
	size_t i;

	json_array_foreach((json_t *)said(line, "netdev"), i, one)
		if (nets_add(&line->nets, one, &name, error) < 0)
			goto fail;
	json_array_foreach((json_t *)said(line, "nic"), i, one) {
		type = keyval_text(one, "type");
		if (type && strcmp(type, "none") == 0)
			continue;
		if (nets_add(&line->nets, one, &name, error) < 0 ||
		    add_nic(line, one, name, error) < 0)
			goto fail;
	}
	/* The old way: one card and one network, whatever connects them, or a card of a -netdev's. */
	json_array_foreach((json_t *)said(line, "net"), i, one) {
		type = keyval_text(one, "type");
		if (type && strcmp(type, "nic") == 0) {
			if (keyval_text(one, "netdev")) {
				if (add_nic(line, one, keyval_text(one, "netdev"), error) < 0)
					goto fail;
			} else {
				card = one;
				if (!find_nic(line, card, error))
					goto fail;
			}
		} else if (!type || strcmp(type, "none") != 0) {
			if (nets_add(&line->nets, one, &network, error) < 0)
				goto fail;
		}
	}
	if (card)
		return add_nic(line, card, network, error);
	if (has_any || has(line, "nodefaults") || line->type->board == BOARD_MICROVM)
		return 0;
	default_network = json_pack("{s:s}", "type", "user");
	json_object_set_new(line->said, "default network", default_network);
	if (nets_add(&line->nets, default_network, &name, error) < 0)
		goto fail;
	return add_nic(line, default_network, name, error);

fail:
	error_prefix(error, "network");
	return -EINVAL;
}
