#include "cli/qemu/nets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/mac.h"
#include "cli/qemu/interface.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/net_dump.h"
#include "cli/qemu/net_features.h"
#include "cli/qemu/net_sockets.h"
#include "cli/qemu/net_taps.h"
#include "cli/qemu/net_user.h"
#include "util/log.h"

static struct net *find(struct nets *nets, const char *name)
{
	unsigned i;

	for (i = 0; i < nets->count; i++)
		if (strcmp(nets->list[i].name, name) == 0)
			return &nets->list[i];
	return NULL;
}

unsigned nets_queues(const json_t *options)
{
	return net_taps_has(keyval_text(options, "type")) ? net_taps_queues(options) : 1;
}

int nets_check(const json_t *options, struct error *error)
{
	const char *type = keyval_text(options, "type");

	if (!type || (strcmp(type, "user") != 0 && !net_taps_has(type) && !net_sockets_has(type)))
		return error_set(error, ENOTSUP, "'%.60s' is no network here: use user, tap, bridge, socket, stream or dgram",
				 type ? type : "");
	if (net_taps_has(type))
		return net_taps_check(options, error);
	if (json_object_get(options, "queues"))
		return error_set(error, EINVAL, "queues= is a tap's");
	if (strcmp(type, "user") == 0)
		return net_user_check(options, error);
	return net_sockets_has(type) ? net_sockets_check(options, error) : 0;
}

int nets_add(struct nets *nets, const json_t *options, const char **name, struct error *error)
{
	struct net *net = &nets->list[nets->count];
	const char *id = keyval_text(options, "id");

	if (nets_check(options, error) < 0)
		return -EINVAL;
	if (nets->count == NETS_MAX)
		return error_set(error, ENOSPC, "at most %u networks", NETS_MAX);
	if (id && strlen(id) >= sizeof(net->name))
		return error_set(error, EINVAL, "id=%.20s... is too long", id);
	*net = (struct net){.options = options};
	snprintf(net->name, sizeof(net->name), "%s", id ? id : "");
	if (!id)
		snprintf(net->name, sizeof(net->name), "#net%u", nets->count);
	if (find(nets, net->name))
		return error_set(error, EEXIST, "there are two with id=%s", net->name);
	nets->count++;
	*name = net->name;
	return 0;
}

int nets_open_link(const json_t *options, struct net_link *link, struct error *error)
{
	if (net_sockets_has(keyval_text(options, "type")))
		return net_sockets_open(options, link, error);
	if (net_taps_has(keyval_text(options, "type")))
		return net_taps_open(options, link, error);
	return net_user_open(options, link, error);
}

/* A card that no network is named for has one all the same, whose name is noted with it. */
static int add_nowhere(struct nets *nets, const json_t *device, struct error *error)
{
	struct net *net = &nets->list[nets->count];

	if (nets->count == NETS_MAX)
		return error_set(error, ENOSPC, "at most %u networks", NETS_MAX);
	*net = (struct net){.is_nowhere = true};
	snprintf(net->name, sizeof(net->name), "#nowhere%u", nets->nowhere_count++);
	nets->count++;
	return json_object_set_new((json_t *)device, NETS_NOTE, json_string(net->name));
}

const char *nets_name_of_device(const json_t *device)
{
	const char *netdev = keyval_text(device, "netdev");

	return netdev ? netdev : keyval_text(device, NETS_NOTE);
}

static unsigned queues_of(const struct net *net)
{
	return net->is_nowhere ? 1 : nets_queues(net->options);
}

bool nets_is_user(const struct net *net)
{
	return !net->is_nowhere && strcmp(keyval_text(net->options, "type"), "user") == 0;
}

int nets_open(struct nets *nets, const json_t *options, unsigned number, struct board_net *board,
	      struct error *error)
{
	static const uint8_t first[MAC_BYTES] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	const char *name = keyval_text(options, "netdev"), *mac = keyval_text(options, "mac"), *driver;
	int result = name ? 0 : add_nowhere(nets, options, error);
	struct net *net;

	if (result < 0)
		return result;
	net = find(nets, nets_name_of_device(options));
	if (!net)
		return error_set(error, ENOENT, "netdev=%.60s: there is no -netdev with that id", name);
	if (net->is_used)
		return error_set(error, EBUSY, "netdev=%s has a device already", net->name);
	net->is_used = true;
	*board = (struct board_net){.rings = rings_of_device(options),
				    .has_queues = json_is_true(json_object_get(options, "mq"))};
	strcpy(board->name, net->name);
	driver = keyval_text(options, "driver");
	board->model = strcmp(driver, "e1000") == 0	? BOARD_NET_E1000
		       : strcmp(driver, "e1000e") == 0 ? BOARD_NET_E1000E
						       : BOARD_NET_VIRTIO;
	if (board->model != BOARD_NET_VIRTIO && queues_of(net) != 1)
		return error_set(error, ENOTSUP, "netdev=%s has several queues, and an %s one: use virtio-net-pci", net->name, driver);
	memcpy(board->mac, first, MAC_BYTES);
	board->mac[MAC_BYTES - 1] += number;
	if ((mac && mac_parse(mac, board->mac, error) < 0) || net_features_take(options, board, error) < 0)
		return -EINVAL;
	memcpy(net->mac, board->mac, MAC_BYTES);
	if (net->is_nowhere) {
		if (keyval_text(options, "id"))
			log_warning("nic %s has no peer: what it sends is lost", keyval_text(options, "id"));
		else
			log_warning("nic %s.%u has no peer: what it sends is lost", driver, number);
		return net_nowhere_open(&board->link, error);
	}
	if (net->is_open) {
		board->link = net->link;
		net->is_open = false;
		return nets->has_started ? 0 : net_dump_open(nets->objects, net->name, &board->link, error);
	}
	if (nets->has_started && !keyval_text(net->options, "ifname"))
		return error_set(error, ENOTSUP, "netdev=%s had a device, and its network ended with it: add another",
				 net->name);
	result = nets_open_link(net->options, &board->link, error);
	if (result < 0 || nets->has_started)
		return result;
	result = net_dump_open(nets->objects, net->name, &board->link, error);
	if (result < 0)
		net_link_close(&board->link);
	return result;
}

int nets_start(struct nets *nets, bool has_room, struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < nets->count && has_room && result == 0; i++) {
		if (nets->list[i].is_used)
			continue;
		result = nets_open_link(nets->list[i].options, &nets->list[i].link, error);
		nets->list[i].is_open = result == 0;
	}
	nets->has_started = true;
	return result;
}

/* -- what is told of them -- */

static const json_t *device_by_id(const json_t *devices, const char *id)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)devices, i, one)
		if (keyval_text(one, "id") && strcmp(keyval_text(one, "id"), id) == 0)
			return one;
	return NULL;
}

const json_t *nets_device(const json_t *devices, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)devices, i, one)
		if (nets_name_of_device(one) && strcmp(nets_name_of_device(one), name) == 0)
			return one;
	return NULL;
}

const struct net *nets_find(const struct nets *nets, const json_t *devices, const char *name)
{
	const json_t *device = device_by_id(devices, name);
	const char *network = device ? nets_name_of_device(device) : NULL;

	return find((struct nets *)nets, network ? network : name);
}

/* As QEMU words it. */
static json_t *describe_network(const struct net *net)
{
	const json_t *options = net->options;
	const char *type = keyval_text(options, "type"), *network = keyval_text(options, "net");
	const char *ifname = keyval_text(options, "ifname");
	json_t *text;

	if (nets_is_user(net))
		text = json_sprintf("index=0,type=user,net=%.*s,restrict=%s",
				    network ? (int)strcspn(network, "/") : 8, network ? network : "10.0.2.0",
				    json_is_true(json_object_get(options, "restrict")) ? "on" : "off");
	else if (ifname)
		text = json_sprintf("index=0,type=tap,ifname=%s,script=no,downscript=no", ifname);
	else
		text = json_sprintf("index=0,type=%s", type);
	return json_pack("{s:s,s:o}", "name", net->name, "text", text);
}

static json_t *describe_device(const json_t *device, unsigned number, const struct net *net)
{
	const char *driver = keyval_text(device, "driver"), *id = keyval_text(device, "id");
	const uint8_t *mac = net->mac;

	return json_pack("{s:s*,s:o,s:o,s:s,s:o*}", "id", id, "name", id ? json_string(id) : json_sprintf("%s.%u", driver, number), "text",
			 json_sprintf("index=0,type=nic,model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", driver, mac[0],
				      mac[1], mac[2], mac[3], mac[4], mac[5]),
			 "link", net->name, "network", net->is_nowhere ? NULL : describe_network(net));
}

json_t *nets_describe(const struct nets *nets, const json_t *devices)
{
	json_t *answer = json_array();
	const struct net *net;
	const json_t *device;
	unsigned i;

	for (i = 0; i < nets->count; i++) {
		net = &nets->list[i];
		device = nets_device(devices, net->name);
		json_array_append_new(answer, device ? describe_device(device, i, net) : describe_network(net));
	}
	return answer;
}

void nets_close(struct nets *nets)
{
	unsigned i;

	for (i = 0; i < nets->count; i++)
		if (nets->list[i].is_open)
			net_link_close(&nets->list[i].link);
}

void nets_give(struct nets *nets, const char *name, const struct net_link *link)
{
	struct net *net = find(nets, name);

	net->link = *link;
	net->is_open = true;
}

static void forget(struct nets *nets, struct net *net)
{
	memmove(net, net + 1, (&nets->list[--nets->count] - net) * sizeof(*net));
}

void nets_release(struct nets *nets, const char *name)
{
	struct net *net = find(nets, name);

	if (!net)
		return;
	net->is_used = false;
	if (net->is_nowhere)
		forget(nets, net);
}

int nets_remove(struct nets *nets, const char *name, struct error *error)
{
	struct net *net = find(nets, name);

	if (!net)
		return error_set(error, ENOENT, "Device '%.60s' not found", name);
	if (net->is_used)
		return error_set(error, EBUSY, "'%.60s' has a device", name);
	if (net->is_open)
		net_link_close(&net->link);
	forget(nets, net);
	return 0;
}
