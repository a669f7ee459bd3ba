#include "cli/qemu/nets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/mac.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/net_sockets.h"

#define GUEST_ADDRESS "10.0.2.15"

static struct net *find(struct nets *nets, const char *name)
{
	unsigned i;

	for (i = 0; i < nets->count; i++)
		if (strcmp(nets->list[i].name, name) == 0)
			return &nets->list[i];
	return NULL;
}

int nets_check(const json_t *options, struct error *error)
{
	const char *type = keyval_text(options, "type");

	if (!type || (strcmp(type, "user") != 0 && strcmp(type, "tap") != 0 && !net_sockets_has(type)))
		return error_set(error, ENOTSUP, "'%.60s' is no network here: use user, tap, socket, stream or dgram",
				 type ? type : "");
	if (strcmp(type, "tap") == 0 && !keyval_text(options, "ifname"))
		return error_set(error, EINVAL, "tap needs ifname=NAME, of an interface that is there, and script=no");
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

static int parse_port(const char *text, uint16_t *port)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (!*text || *end || !number || number > UINT16_MAX)
		return -EINVAL;
	*port = number;
	return 0;
}

/* [tcp|udp]:[HOSTADDRESS]:HOSTPORT-[GUESTADDRESS]:GUESTPORT */
static int parse_forward(const char *text, struct net_forward *forward, struct error *error)
{
	char copy[128], *parts[4] = {NULL}, *rest = copy;
	struct in_addr address = {htonl(INADDR_ANY)};

	snprintf(copy, sizeof(copy), "%s", text);
	parts[0] = strsep(&rest, ":");
	parts[1] = strsep(&rest, ":");
	parts[2] = strsep(&rest, "-");
	parts[3] = strsep(&rest, ":");
	if (strlen(text) >= sizeof(copy) || !rest ||
	    (*parts[0] && strcmp(parts[0], "tcp") != 0 && strcmp(parts[0], "udp") != 0) ||
	    (*parts[1] && inet_pton(AF_INET, parts[1], &address) != 1) ||
	    (*parts[3] && strcmp(parts[3], GUEST_ADDRESS) != 0) ||
	    parse_port(parts[2], &forward->host_port) < 0 || parse_port(rest, &forward->guest_port) < 0)
		return error_set(error, EINVAL,
				 "hostfwd=%.80s: use PROTOCOL:[ADDRESS]:PORT-:GUESTPORT, as "
				 "tcp:127.0.0.1:2222-:22; the guest is " GUEST_ADDRESS,
				 text);
	forward->is_udp = parts[0][0] == 'u';
	forward->host_address = ntohl(address.s_addr);
	return 0;
}

/* One text, a list of texts, or of JSON's {"str": TEXT}. */
static int parse_forwards(const json_t *given, struct net_user_config *user, struct error *error)
{
	const json_t *one;
	const char *text;
	size_t i, count = json_is_array(given) ? json_array_size(given) : given != NULL;

	if (count > NET_FORWARDS_MAX)
		return error_set(error, ENOSPC, "at most %u ports can be forwarded", NET_FORWARDS_MAX);
	for (i = 0; i < count; i++) {
		one = json_is_array(given) ? json_array_get(given, i) : given;
		text = json_is_object(one) ? keyval_text(one, "str") : json_string_value(one);
		if (parse_forward(text ? text : "", &user->forwards[user->forward_count++], error) < 0)
			return -EINVAL;
	}
	return 0;
}

int nets_open_link(const json_t *options, struct net_link *link, struct error *error)
{
	struct net_user_config user = {
		.hostname = keyval_text(options, "hostname"),
		.tftp_folder = keyval_text(options, "tftp"),
		.boot_file = keyval_text(options, "bootfile"),
		.tftp_server_name = keyval_text(options, "tftp-server-name"),
	};
	int result;

	if (net_sockets_has(keyval_text(options, "type")))
		return net_sockets_open(options, link, error);
	if (strcmp(keyval_text(options, "type"), "tap") == 0)
		return net_tap_open(link, keyval_text(options, "ifname"), error);
	if (user.boot_file && strlen(user.boot_file) > NET_BOOT_FILE_MAX)
		return error_set(error, EINVAL, "bootfile= has at most %u characters", NET_BOOT_FILE_MAX);
	user.is_restricted = json_is_true(json_object_get(options, "restrict"));
	result = parse_forwards(json_object_get(options, "hostfwd"), &user, error);
	return result < 0 ? result : net_user_start(link, &user, error);
}

int nets_open(struct nets *nets, const json_t *options, unsigned number, struct board_net *board,
	      struct error *error)
{
	static const uint8_t first[MAC_BYTES] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	const char *name = keyval_text(options, "netdev"), *mac = keyval_text(options, "mac");
	struct net *net = name ? find(nets, name) : NULL;

	if (!net)
		return error_set(error, ENOENT, "netdev=%.60s: there is no -netdev with that id",
				 name ? name : "");
	if (net->is_used)
		return error_set(error, EBUSY, "netdev=%s has a device already", net->name);
	net->is_used = true;
	*board = (struct board_net){.is_packed = json_is_true(json_object_get(options, "packed"))};
	board->is_e1000 = strcmp(keyval_text(options, "driver"), "e1000") == 0;
	memcpy(board->mac, first, MAC_BYTES);
	board->mac[MAC_BYTES - 1] += number;
	if (mac && mac_parse(mac, board->mac, error) < 0)
		return -EINVAL;
	if (net->is_open) {
		board->link = net->link;
		net->is_open = false;
		return 0;
	}
	if (nets->has_started && strcmp(keyval_text(net->options, "type"), "tap") != 0)
		return error_set(error, ENOTSUP, "netdev=%s had a device, and its network ended with it: add another",
				 net->name);
	return nets_open_link(net->options, &board->link, error);
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

void nets_release(struct nets *nets, const char *name)
{
	struct net *net = find(nets, name);

	if (net)
		net->is_used = false;
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
	memmove(net, net + 1, (&nets->list[--nets->count] - net) * sizeof(*net));
	return 0;
}
