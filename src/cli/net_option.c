#include "cli/net_option.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/mac.h"
#include "cli/net_rom.h"
#include "cli/size.h"

#define LOOPBACK 0x7f000001u
#define BOOT_TURN_MAX 255 /* as disks' */

static int parse_port(const char *text, uint16_t *port)
{
	uint64_t number;

	if (!text || number_parse(text, UINT16_MAX, &number) < 0 || !number)
		return -EINVAL;
	*port = number;
	return 0;
}

/* tcp:[ADDRESS:]PORT:GUESTPORT, or udp:... */
static int parse_forward(struct net_option *option, char *value, struct error *error)
{
	char *parts[4] = {NULL}, *rest = value;
	struct net_forward *forward = &option->user.forwards[option->user.forward_count];
	struct in_addr address = {htonl(LOOPBACK)};
	unsigned count = 0;

	if (option->user.forward_count == NET_FORWARDS_MAX)
		return error_set(error, EINVAL, "at most %u ports can be forwarded",
				 NET_FORWARDS_MAX);
	while (rest && count < 4)
		parts[count++] = strsep(&rest, ":");
	if (rest || count < 3 || (strcmp(parts[0], "tcp") != 0 && strcmp(parts[0], "udp") != 0) ||
	    (count == 4 && inet_pton(AF_INET, parts[1], &address) != 1) ||
	    parse_port(parts[count - 2], &forward->host_port) < 0 ||
	    parse_port(parts[count - 1], &forward->guest_port) < 0)
		return error_set(error, EINVAL,
				 "forward is PROTOCOL:[ADDRESS:]PORT:GUESTPORT, as tcp:2222:22 or "
				 "udp:0.0.0.0:53:53");
	forward->is_udp = parts[0][0] == 'u';
	forward->host_address = ntohl(address.s_addr);
	option->user.forward_count++;
	return 0;
}

static int parse_model(struct net_option *option, const char *value, struct error *error)
{
	static const char *const models[] = {
		[BOARD_NET_VIRTIO] = "virtio", [BOARD_NET_E1000] = "e1000", [BOARD_NET_E1000E] = "e1000e"};
	unsigned i;

	for (i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		if (strcmp(value, models[i]) != 0)
			continue;
		option->model = i;
		return 0;
	}
	return error_set(error, EINVAL, "model=%s: use virtio, e1000 or e1000e", value);
}

static int parse_boot(struct net_option *option, const char *value, struct error *error)
{
	uint64_t number;

	if (value && number_parse(value, BOOT_TURN_MAX, &number) < 0)
		return error_set(error, EINVAL, "boot=%s: use 0 (the first) to %u", value, BOOT_TURN_MAX);
	option->boot_plus_1 = value ? number + 1 : 0;
	option->may_boot = true;
	return 0;
}

/* What a guest of its own network boots. */
static int parse_boot_file(struct net_option *option, const char *value, struct error *error)
{
	if (strlen(value) > NET_BOOT_FILE_MAX)
		return error_set(error, EINVAL, "bootfile has at most %u characters", NET_BOOT_FILE_MAX);
	option->user.boot_file = value;
	option->may_boot = true;
	return 0;
}

static int parse_property(struct net_option *option, char *item, struct error *error)
{
	char *value = strchr(item, '=');

	if (value)
		*value++ = 0;
	if (strcmp(item, "mac") == 0 && value) {
		option->has_mac = true;
		return mac_parse(value, option->mac, error);
	}
	if (strcmp(item, "model") == 0 && value)
		return parse_model(option, value, error);
	if (strcmp(item, "packed") == 0 && !value) {
		option->is_packed = true;
		return 0;
	}
	if (strcmp(item, "boot") == 0)
		return parse_boot(option, value, error);
	if (strcmp(item, "rom") == 0 && value && *value) {
		option->rom = value;
		return 0;
	}
	if (!option->tap && strcmp(item, "tftp") == 0 && value && *value) {
		option->user.tftp_folder = value;
		return 0;
	}
	if (!option->tap && strcmp(item, "bootfile") == 0 && value && *value)
		return parse_boot_file(option, value, error);
	if (!option->tap && strcmp(item, "forward") == 0 && value)
		return parse_forward(option, value, error);
	if (!option->tap && strcmp(item, "restrict") == 0 && !value) {
		option->user.is_restricted = true;
		return 0;
	}
	if (!option->tap && strcmp(item, "hostname") == 0 && value && *value) {
		option->user.hostname = value;
		return 0;
	}
	return error_set(error, EINVAL, "%s has no '%s': use %smac=ADDRESS, model=virtio|e1000|e1000e, boot[=N], rom=FILE or packed",
			 option->tap ? "tap" : "user", item,
			 option->tap ? "" : "forward=PROTOCOL:PORT:GUESTPORT, restrict, hostname=NAME, tftp=FOLDER, bootfile=NAME, ");
}

int net_option_parse(struct net_option *option, const char *text, struct error *error)
{
	char *rest, *item;
	int result = 0;

	*option = (struct net_option){.text = strdup(text)};
	if (!option->text)
		return error_set_errno(error, ENOMEM, "'%s'", text);
	rest = option->text;
	item = strsep(&rest, ",");
	if (strncmp(item, "tap=", 4) == 0 && item[4])
		option->tap = item + 4;
	else if (strcmp(item, "user") != 0)
		result = error_set(error, EINVAL, "'%s' is no network: use user, tap=NAME or none",
				   item);
	while (result == 0 && (item = strsep(&rest, ",")))
		result = parse_property(option, item, error);
	if (result < 0)
		net_option_free(option);
	return result;
}

void net_option_free(struct net_option *option)
{
	free(option->text);
	option->text = NULL;
}

int net_option_open(const struct net_option *option, unsigned number, struct board_net *net,
		    struct error *error)
{
	static const uint8_t first[MAC_BYTES] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	int result;

	*net = (struct board_net){.link = {.fd = -1, .helper = -1},
				  .rings.is_packed = option->is_packed,
				  .model = option->model};
	memcpy(net->mac, option->has_mac ? option->mac : first, MAC_BYTES);
	if (!option->has_mac)
		net->mac[MAC_BYTES - 1] += number;
	net->may_boot = option->may_boot;
	net->boot_plus_1 = net->later_boot_plus_1 = option->boot_plus_1;
	result = option->rom || option->may_boot ? net_rom_read(option->rom, net, error) : 0;
	if (result == 0)
		result = option->tap ? net_tap_open(&net->link, option->tap, 1, error)
				     : net_user_start(&net->link, &option->user, error);
	if (result < 0)
		board_net_close(net);
	return result;
}
